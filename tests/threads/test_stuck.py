"""vCPUs that do not leave when they are kicked, and those whose thread died inside."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from npt import Busy, ExitReason, KickTimeout, Orphaned, Prot, PteFormat, Vcpu, VmClient
from tests.threads.crew import crew, together
from tests.threads.guest import N_PAGES, OTHER, PAGE, Guest, guest, run_on, stay_inside, throw_into, thrown

TIMEOUT = 0.02
pytestmark = pytest.mark.slow

KICKING: dict[str, Callable[[Guest], object]] = {
    "unmap": lambda g: g.space.unmap(0, g.ram.length),
    "track_dirty": lambda g: g.space.track_dirty(0, g.ram.length),
    "reset_dirty": lambda g: g.space.reset_dirty(0, g.ram.length),
    "accessed": lambda g: g.space.accessed(0, g.ram.length, clear=True),
    "set_tracking": lambda g: g.space.set_tracking(False),
    "close": lambda g: g.space.close(),
}


@contextmanager
def stuck(client: VmClient) -> Iterator[Callable[[], None]]:
    """A client is on CPU, and stays until it is let go, or the block ends."""
    entered, leave = threading.Event(), threading.Event()
    with crew(stay_inside(client, entered, leave)) as team:

        def let_go() -> None:
            leave.set()
            team.threads[0].join()

        try:
            assert entered.wait(30)
            yield let_go
        finally:
            leave.set()


@pytest.mark.parametrize("name", KICKING)
def test_stuck__times_out_and_loses_nothing(form: PteFormat, name: str) -> None:
    """Every call that kicks raises KickTimeout; dirty bits stay unless the leaves went; it works once the vCPU has left."""
    with guest(form, kick_timeout=TIMEOUT) as made:
        Vcpu(made.client).run([0, 3 * PAGE], write=True)
        page = made.client.hold(5 * PAGE, Prot.RW)
        with stuck(made.space.client()) as let_go:
            for n in (1, 2):
                assert thrown(lambda: KICKING[name](made)) is KickTimeout
                assert made.space.counters.timeouts == n
            assert made.space.tracking
            assert len(made.space.mappings) == 2
            assert made.dirty() == (set() if name == "unmap" else {0, 3})
            assert made.client.fault_many([0, PAGE], Prot.RW).tolist() == [0, 0]
            assert page.release() is (name == "unmap")
            let_go()
            KICKING[name](made)
        gone = {"unmap": 1, "close": None}.get(name, 2)
        assert (None if made.space.destroyed else len(made.space.mappings)) == gone


@pytest.mark.parametrize("name", ["track_dirty", "reset_dirty", "accessed", "set_tracking"])
def test_stuck__beside_one_that_runs(form: PteFormat, name: str) -> None:
    """What a vCPU writes while calls time out because of another is in the log of the first that works."""
    with guest(form, kick_timeout=TIMEOUT) as made:
        runner, writes = Vcpu(made.space.client(), tlb=64), Vcpu(made.space.client())
        with stuck(made.space.client()) as let_go:
            with crew(run_on(runner)):
                for _ in range(5):
                    assert thrown(lambda: KICKING[name](made)) is KickTimeout
            let_go()
        writes.run([0], write=True)
        assert made.dirty() == set(range(N_PAGES))


def test_stuck__unmap_leaves_an_empty_mapping_that_serves(form: PteFormat) -> None:
    """A running vCPU faults its pages in again after an unmap timed out, until the unmap that works."""
    with guest(form, kick_timeout=TIMEOUT) as made:
        runner = Vcpu(made.space.client(), tlb=64)
        with stuck(made.space.client()) as let_go:
            assert runner.run([0, PAGE], write=True).reason is ExitReason.DONE
            assert thrown(lambda: KICKING["unmap"](made)) is KickTimeout
            assert made.space.resident_count == 0
            assert runner.run([0, PAGE], write=True).reason is ExitReason.DONE
            assert made.dirty() == {0, 1}
            let_go()
            made.space.unmap(0, made.ram.length)
            assert runner.run([0]).reason is ExitReason.FAULT


# -- threads that died inside -------------------------------------------------------------------------------------------


class Died(Exception):
    """What a vCPU's thread died of."""


def die_inside(client: VmClient) -> None:
    """A thread enters and ends by an error, without leaving."""

    def work(team: object) -> None:
        client.table_enter()
        raise Died

    with pytest.raises(Died):
        together(work)


NOTICING: dict[str, Callable[[Guest, VmClient], object]] = {
    "track_dirty": lambda g, _: g.space.track_dirty(0, g.ram.length),
    "unmap": lambda g, _: g.space.unmap(0, g.ram.length),
    "accessed": lambda g, _: g.space.accessed(0, g.ram.length, clear=True),
    "set_tracking": lambda g, _: g.space.set_tracking(False),
    "enter": lambda g, client: client.table_enter(),
    "run": lambda g, client: Vcpu(client).run([0]),
    "client.destroy": lambda g, client: client.destroy(),
    "close": lambda g, _: g.space.close(),
}


@pytest.mark.parametrize("name", NOTICING)
def test_dead__noticed_by(form: PteFormat, name: str) -> None:
    """A vCPU whose thread died inside is out for every call that asks; nothing waits for it."""
    with guest(form) as made:
        client = made.space.client()
        die_inside(client)
        NOTICING[name](made, client)
        if name == "enter":
            client.table_exit()
        assert made.space.destroyed or made.space.counters.timeouts == 0


def test_dead__noticed_by_destroy(form: PteFormat) -> None:
    """A space can be destroyed over it, and its client is orphaned."""
    with guest(form) as made:
        client = made.space.client()
        die_inside(client)
        made.space.unmap(0, made.ram.length)
        die_inside(client)
        made.space.unmap(OTHER, made.other.length)
        die_inside(client)
        made.space.destroy()
        assert client.orphaned
        assert thrown(client.table_enter) is Orphaned


def test_dead__while_it_was_waited_for(form: PteFormat) -> None:
    """A kick that waits for a vCPU goes on when its thread dies, long before the time-out."""
    with guest(form, kick_timeout=600) as made:
        client = made.space.client()
        entered = threading.Event()

        def die(team: object) -> None:
            client.table_enter()
            entered.set()
            while not client.kicked:
                pass
            raise Died

        def wait_for_it() -> None:
            with crew(die):
                assert entered.wait(30)
                made.space.track_dirty(0, made.ram.length)

        with pytest.raises(Died):
            wait_for_it()
        assert made.space.counters.timeouts == 0


def test_dead__client_is_usable_again(form: PteFormat) -> None:
    """Afterwards its vCPU runs, and what it writes is in the log."""
    with guest(form) as made:
        client = made.space.client()
        vcpu = Vcpu(client, tlb=64)
        die_inside(client)
        assert vcpu.run([2 * PAGE], write=True).reason is ExitReason.DONE
        assert made.dirty() == {2}
        with stuck(client):
            assert thrown(lambda: vcpu.run([0])) is Busy


# -- interrupts ---------------------------------------------------------------------------------------------------------


def test_interrupted__run_leaves_the_tables(form: PteFormat) -> None:
    """KeyboardInterrupt in the middle of a run: the vCPU is out, nothing it wrote is missing, and it runs again."""
    with guest(form) as made:
        for tlb in (0, 64):
            client = made.space.client()
            vcpu = Vcpu(client, tlb=tlb)
            interrupted: list[bool] = []
            run = run_on(vcpu)

            def work(team: object, run: object = run, interrupted: list[bool] = interrupted) -> None:
                try:
                    run(team)  # type: ignore[operator]
                except KeyboardInterrupt:
                    interrupted.append(True)

            with crew(work) as team:
                while made.dirty() != set(range(N_PAGES)):
                    pass
                throw_into(team.threads[0], KeyboardInterrupt)
                team.threads[0].join()
                assert interrupted == [True]
            assert not client.gate.inside
            assert made.dirty() == set(range(N_PAGES))
            assert vcpu.run([0], write=True).reason is ExitReason.DONE
            made.space.track_dirty(0, made.ram.length)
            client.destroy()
