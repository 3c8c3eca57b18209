"""Many vCPUs, each in a thread of its own: what the counters say, and how they are got out."""

import threading
import time
from typing import Any

import numpy as np
import pytest

from npt import Busy, ExitReason, Orphaned, Prot, PteFormat, Vcpu, VmSpace
from npt.testing import check
from tests.threads.crew import LONG, Crew, crew, together
from tests.threads.guest import N_PAGES, OTHER, PAGE, Guest, bits, guest, run_on, thrown

N_VCPUS = 4
HARVESTS = 50 * LONG
pytestmark = pytest.mark.slow


def vcpus(made: Guest, tlb: int) -> list[Vcpu]:
    """Four vCPUs, each with a client of its own."""
    return [Vcpu(made.space.client(), cpu=cpu, tlb=tlb) for cpu in range(N_VCPUS)]


@pytest.mark.parametrize("tlb", [0, 64])
def test_many__counters(form: PteFormat, tlb: int) -> None:
    """One fault a page, no time-out, no more kicks than vCPUs a harvest, a flush for each entry with a new generation."""
    with guest(form) as made:
        made.space.populate(0, made.ram.length)
        several = vcpus(made, tlb)
        with crew(*(run_on(vcpu) for vcpu in several)) as team:
            before = made.space.counters
            for n in range(1, HARVESTS + 1):
                made.space.track_dirty(0, made.ram.length)
                now = made.space.counters
                assert now.kicks - before.kicks <= n * N_VCPUS
                assert now >= before
            assert team.working
        last = made.space.counters
        assert last.kicks > 0
        assert last.kick_ns > 0
        assert last.held_ns >= last.kick_ns
        assert (last.faults, last.timeouts) == (0, 0)
        assert last.flushes <= HARVESTS * N_VCPUS
        assert (last.flushes == 0) == (tlb == 0)
        if tlb:
            assert last.flushes >= last.kicks - N_VCPUS * 2  # who was kicked comes back, but for the last time


def test_many__faults_are_counted_once(form: PteFormat) -> None:
    """Each vCPU faults its own pages in, beside harvests: one fault a page, whoever is kicked meanwhile."""
    with guest(form) as made:
        several = vcpus(made, 0)
        own = np.arange(N_PAGES, dtype=np.uint64).reshape(N_VCPUS, -1) * np.uint64(PAGE)

        def harvest(_: Crew) -> None:
            for _round in range(10):
                made.space.track_dirty(0, made.ram.length)

        works = [lambda _, vcpu=vcpu, gpas=gpas: vcpu.run(np.tile(gpas, 1000)) for vcpu, gpas in zip(several, own, strict=True)]
        together(harvest, *works)
        assert made.space.counters.faults == N_PAGES
        for vcpu in several:
            vcpu.client.destroy()
        assert made.space.counters.faults == N_PAGES  # clients that are gone count


def test_many__on_one_page_all_writes_are_logged(form: PteFormat) -> None:
    """Four vCPUs on the same pages: each page is in the log after the last of them has stopped, with all values there."""
    with guest(form) as made:
        several = vcpus(made, 64)
        n = 1 << 14

        def write(vcpu: Vcpu) -> Any:
            gpas = np.arange(n, dtype=np.uint64) % np.uint64(N_PAGES) * np.uint64(PAGE) + np.uint64(8 * vcpu.cpu)
            return lambda _: [vcpu.run(gpas, write=True, values=np.arange(k, k + n, dtype=np.uint64)) for k in range(20)]

        found: set[int] = set()

        def harvest(team: Crew) -> None:
            for _ in range(30):
                found.update(bits(made.space.track_dirty(0, made.ram.length)))

        together(*(write(vcpu) for vcpu in several), harvest)
        found |= made.dirty()
        assert found == set(range(N_PAGES))
        for page in range(N_PAGES):
            words = np.frombuffer(made.client.read(page * PAGE, 8 * N_VCPUS), np.uint64)
            assert set(words.tolist()) == {19 + n - N_PAGES + page}


@pytest.mark.parametrize("tlb", [0, 64])
def test_many__close_gets_all_out(form: PteFormat, tlb: int) -> None:
    """A space that is closed under running vCPUs kicks them out: they get Orphaned, and nothing hangs."""
    with guest(form) as made:
        ended: list[type[BaseException] | None] = []

        def run(vcpu: Vcpu) -> Any:
            work = run_on(vcpu)
            return lambda team: ended.append(thrown(lambda: work(team)))

        with crew(*(run(vcpu) for vcpu in vcpus(made, tlb))) as team:
            while made.dirty() != set(range(N_PAGES)):
                pass
            made.space.close()
            for thread in team.threads:
                thread.join()
        assert ended == [Orphaned] * N_VCPUS


def test_many__destroy_is_busy_beside_them(form: PteFormat) -> None:
    """destroy kicks nobody: beside a vCPU that is inside it is Busy, and the vCPU goes on."""
    with guest(form) as made:
        client, entered, leave = made.space.client(), threading.Event(), threading.Event()
        made.space.unmap(0, made.ram.length)
        made.space.unmap(OTHER, made.other.length)

        def stay(team: Crew) -> None:
            client.table_enter()
            entered.set()
            leave.wait()
            assert not client.kicked
            client.table_exit()

        with crew(stay):
            assert entered.wait(30)
            assert thrown(made.space.destroy) is Busy
            made.space.client().destroy()
            leave.set()
        made.space.destroy()
        assert client.orphaned


def test_many__unmap_under_all_of_them(form: PteFormat) -> None:
    """While four vCPUs write everywhere a mapping comes and goes under them: they fault there, and nowhere else."""
    with guest(form) as made:
        gpas = np.arange(1 << 14, dtype=np.uint64) % np.uint64(N_PAGES) * np.uint64(PAGE)
        gpas[::64] = OTHER
        spaces: list[VmSpace] = [made.space]
        stays = [0] * N_VCPUS

        def work(vcpu: Vcpu) -> Any:
            def run(team: Crew) -> None:
                done = 0
                while team.working:
                    exit = vcpu.run(gpas[done:], write=True)
                    done = (done + exit.completed + 1) % gpas.size
                    assert exit.reason is ExitReason.DONE or exit.gpa == OTHER
                    stays[vcpu.cpu] += 1

            return run

        with crew(*(work(vcpu) for vcpu in vcpus(made, 64))) as team:
            for _ in range(HARVESTS):
                made.space.unmap(OTHER, made.other.length)
                assert made.space.pte(OTHER) in (0, None)
                made.space.map(made.other, OTHER, made.other.length, Prot.RW)
                if not team.working:
                    break
            while team.working and not all(stays):
                time.sleep(0)
        assert min(stays) > 0
        check(spaces[0])
