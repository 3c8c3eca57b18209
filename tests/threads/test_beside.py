"""Calls beside each other: clients that come and go, two harvesters, segments under unmap."""

import threading
from contextlib import suppress
from itertools import count
from time import sleep
from typing import Any

import numpy as np
import pytest

from npt import (
    Busy,
    Fault,
    NoSuchMapping,
    Orphaned,
    Prot,
    PteFormat,
    Reservoir,
    ReservoirExhausted,
    StaleHandle,
    Vcpu,
    Vm,
)
from npt.testing import check
from tests.threads.crew import LONG, Crew, crew, together
from tests.threads.guest import N_PAGES, OTHER, PAGE, bits, guest, thrown

ROUNDS = 60 * LONG
pytestmark = pytest.mark.slow


def test_beside__clients_come_and_go(form: PteFormat) -> None:
    """Clients are made, cloned, hold, run a vCPU and end, while others harvest and map: what they wrote is in the log."""
    with guest(form) as made:
        found: set[int] = set()

        def visit(page: int) -> Any:
            def work(_: Crew) -> None:
                for _round in range(ROUNDS):
                    client = made.space.client()
                    twin = client.clone()
                    client.write(page * PAGE, b"x")
                    Vcpu(twin, tlb=4).run([(page + 1) * PAGE], write=True)
                    held = twin.hold(page * PAGE, Prot.READ)
                    assert thrown(twin.destroy) is Busy
                    held.release()
                    twin.destroy()
                    client.destroy()

            return work

        def harvest(_: Crew) -> None:
            for _round in range(2 * ROUNDS):
                found.update(bits(made.space.track_dirty(0, made.ram.length)))

        together(visit(0), visit(5), harvest)
        assert found | made.dirty() == {0, 1, 5, 6}
        assert len(made.space._core.exclusion.gates) == 1


def test_beside__two_harvesters_share_the_bits(form: PteFormat) -> None:
    """Every bit that becomes set is reported to exactly one of two harvesters."""
    with guest(form) as made:
        for _ in range(ROUNDS):
            Vcpu(made.client).run(np.arange(N_PAGES) * PAGE, write=True)
            start, reports = threading.Barrier(2), list[set[int]]()

            def harvest(_: Crew, start: threading.Barrier = start, reports: list[set[int]] = reports) -> None:
                start.wait()
                reports.append(bits(made.space.track_dirty(0, made.ram.length)))

            together(harvest, harvest)
            assert reports[0] | reports[1] == set(range(N_PAGES))
            assert not reports[0] & reports[1]


def test_beside__harvest_and_put_back(form: PteFormat) -> None:
    """One harvests and puts back, another harvests for good, a vCPU writes: nothing is lost between them."""
    with guest(form) as made:
        found: set[int] = set()

        def put_back(team: Crew) -> None:
            while team.working:
                some = made.space.track_dirty(0, made.ram.length)
                made.space.set_dirty(0, made.ram.length, select=some)

        vcpu = Vcpu(made.space.client(), tlb=64)
        with crew(put_back):
            for page in range(N_PAGES):
                vcpu.run([page * PAGE], write=True)
                found |= bits(made.space.track_dirty(0, made.ram.length))
        assert found | made.dirty() == set(range(N_PAGES))


def test_beside__segments_under_unmap(form: PteFormat) -> None:
    """Segments read and write whole pages or fault, while the mapping under them comes and goes; its bytes stay."""
    with Reservoir(0x40 * PAGE) as reservoir, Vm(reservoir, format=form, track_dirty=True) as vm:
        ram = vm.alloc_memseg(0, 8 * PAGE)
        vm.map_memseg(0, 0, 8 * PAGE, Prot.RW)
        straight = vm.map_object(0, 0, 8 * PAGE, Prot.RW)
        guests = [vm.map_guest(0, 8 * PAGE, Prot.RW) for _ in range(2)]
        outcomes: set[str] = set()

        def use(number: int) -> Any:
            def work(team: Crew) -> None:
                for n in count(1):
                    if not team.working:
                        return
                    data = bytes([n % 250 + 1]) * (2 * PAGE)
                    where = (4 * number + n % 3) * PAGE
                    try:
                        guests[number].write(where, data)
                        assert straight.read(where, 2 * PAGE) == data
                        assert guests[number].read(where, 2 * PAGE) == data
                        outcomes.add("done")
                    except Fault:
                        outcomes.add("fault")

            return work

        with crew(use(0), use(1)) as team:
            for n in range(5 * ROUNDS):
                if not team.working:
                    break
                vm.unmap_memseg(0, 8 * PAGE)
                if n % 8 == 0:
                    sleep(0.001)  # so that somebody finds nothing
                vm.map_memseg(0, 0, 8 * PAGE, Prot.RW)
                vm.space.track_dirty(0, 8 * PAGE)
        assert outcomes == {"done", "fault"}
        assert ram.refs == 3  # the Vm's, the mapping's, the straight segment's
        check(vm.space)


def test_beside__end_of_a_vm_under_its_users(form: PteFormat) -> None:
    """A Vm that is destroyed under vCPUs, segments and clients ends them all: each gets its error, nothing hangs."""
    for _ in range(5):
        with Reservoir(0x40 * PAGE) as reservoir:
            vm = Vm(reservoir, format=form, track_dirty=True)
            vm.alloc_memseg(0, 8 * PAGE)
            vm.map_memseg(0, 0, 8 * PAGE, Prot.RW)
            segment, client, begun = vm.map_guest(0, 8 * PAGE, Prot.RW), vm.space.client(), threading.Barrier(4)
            ended: list[type[BaseException] | None] = []

            def until_it_ends(act: Any, begun: threading.Barrier = begun, ended: list[Any] = ended) -> Any:
                def work(team: Crew) -> None:
                    act()
                    begun.wait()
                    while (error := thrown(act)) is None or error in (Fault, NoSuchMapping):
                        pass
                    ended.append(error)

                return work

            gpas = np.arange(1 << 14, dtype=np.uint64) % np.uint64(8) * np.uint64(PAGE)
            vcpu = vm.vcpu(0, tlb=64)
            acts = (
                lambda vcpu=vcpu, gpas=gpas: vcpu.run(gpas, write=True),
                lambda segment=segment: segment.write(0, b"x" * 100),
                lambda client=client: client.hold(0, Prot.RW).release(),
            )
            with crew(*(until_it_ends(act) for act in acts)) as team:
                begun.wait()
                vm.destroy()
                for thread in team.threads:
                    thread.join()
            assert set(ended) <= {Orphaned, StaleHandle}
            assert len(ended) == 3


def test_beside__reservoir_from_three_threads() -> None:
    """Allocating, freeing and resizing beside each other loses no frame, and hands out zeroes."""
    with Reservoir(0x100 * PAGE, limit=0x180 * PAGE) as reservoir:

        def allocate(seed: int) -> Any:
            def work(_: Crew) -> None:
                rng = np.random.default_rng(seed)
                for _round in range(3 * ROUNDS):
                    with suppress(ReservoirExhausted), reservoir.allocate(int(rng.integers(1, 0x60)) * PAGE) as ram:
                        assert ram.spans
                        for span in ram.spans:
                            start = (span.pfn - reservoir.base_pfn) * PAGE
                            assert not reservoir.buffer[start : start + span.n_pages * PAGE].any()
                            reservoir.memory[start : start + span.n_pages * PAGE] = seed

            return work

        def resize(team: Crew) -> None:
            for n in range(3 * ROUNDS):
                reservoir.resize((0x100 + n % 0x80) * PAGE, chunk=0x10 * PAGE)

        together(allocate(1), allocate(2), resize)
        reservoir.resize(0x100 * PAGE)
        usage = reservoir.usage
        assert (usage.free, usage.allocated, usage.quarantined, usage.transient) == (0x100 * PAGE, 0, 0, 0)
        assert not reservoir.buffer.any()


def test_beside__unmap_against_populate_and_holds(form: PteFormat) -> None:
    """populate, holds and unmap of one mapping, from three threads: resident_count is exact at the end."""
    with guest(form) as made:

        def populate(team: Crew) -> None:
            while team.working:
                with suppress(NoSuchMapping):
                    made.space.populate(OTHER, made.other.length)

        held = [0]

        def hold(team: Crew) -> None:
            while team.working:
                with suppress(Fault), made.client.hold_many(OTHER + np.arange(4) * PAGE, Prot.RW) as pages:
                    assert pages.gather().shape == (4, PAGE)
                    held[0] += 1

        with crew(populate, hold) as team:
            rounds = 0
            while team.working and (rounds < 5 * ROUNDS or not held[0]):
                rounds += 1
                made.space.unmap(OTHER, made.other.length)
                made.space.map(made.other, OTHER, made.other.length, Prot.RW)
        assert held[0]
        resident = int((made.space.translate(OTHER + np.arange(4) * PAGE) != np.uint64(2**64 - 1)).sum())
        assert made.space.resident_count == resident
