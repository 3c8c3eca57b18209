"""``Tracking``: threads, bytes, failures in the middle, what it says when somebody goes behind its back."""

import os
import threading
from collections.abc import Callable

import numpy as np
import pytest

from npt import (
    EPT,
    Busy,
    Deadlock,
    InvalidArgument,
    InvariantError,
    KickTimeout,
    Prot,
    PteFormat,
    Reservoir,
    StaleHandle,
    TrackingDisabled,
    Vcpu,
    VmSpace,
)  # fmt: skip
from npt._types import U8Array, U64Array
from npt.dirty.mechanisms import DirtyBits, DirtyRing, Events, PageModificationLog, Tracking, WriteProtect
from tests.dirty.watched import Watched
from tests.space.scene import PAGE, SIZE, bits, caught, map_at, on_cpu_elsewhere


def in_threads(*works: Callable[[], object]) -> None:
    """All at once; what one of them raises is raised here."""
    barrier, errors = threading.Barrier(len(works)), list[BaseException]()

    def do(work: Callable[[], object]) -> None:
        try:
            barrier.wait(10)
            work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=do, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


# -- threads ------------------------------------------------------------------------------------------------------------


def test_threads__totals_are_right(form: PteFormat) -> None:
    """Three vCPUs run at once, each over pages of its own: exits and faults are the sums of each alone."""
    shares = [1500, 900, 513]
    starts = [0, 1500, 2400]
    with Watched(form, 3000, n_vcpus=3, rings=[(100, 10)]) as watched:

        def work(number: int) -> Callable[[], None]:
            pages = np.arange(starts[number], starts[number] + shares[number], dtype=np.uint64)

            def run() -> None:
                for part in np.array_split(pages, 30):
                    watched.tracking.run(number, part * PAGE, write=True)
                    watched.tracking.run(number, part * PAGE)

            return run

        in_threads(work(0), work(1), work(2))
        assert watched.tracking.accesses == 2 * sum(shares)
        assert watched.counts("pml")["log_full_exits"] == sum((n - 1) // 512 for n in shares)
        assert watched.counts("ring-100-10")["ring_full_exits"] == sum(n // 90 for n in shares)
        assert watched.counts("write-protect")["faults"] == sum(shares)
        assert bits(watched.tracking.harvest()) == list(range(sum(shares)))


def test_threads__harvests_beside_them_lose_nothing(form: PteFormat) -> None:
    """What all rounds report together are as many pages as were noticed, and none is missed."""
    with Watched(form, 600, n_vcpus=3, tlb=16) as watched:
        tracking, over, reported = watched.tracking, threading.Event(), list[int]()

        def work(number: int) -> Callable[[], None]:
            numbers = np.random.default_rng(number)

            def run() -> None:
                for _ in range(200):
                    tracking.run(number, numbers.integers(0, 600, 50) * PAGE, write=numbers.random(50) < 0.5)

            return run

        def host() -> None:
            while not over.is_set():
                pages = bits(tracking.harvest())
                reported.append(len(pages))
                tracking.copy(pages)

        thread = threading.Thread(target=host)
        thread.start()
        in_threads(work(0), work(1), work(2))
        over.set()
        thread.join()
        reported.append(len(bits(tracking.harvest())))
        assert sum(reported) == tracking.events["write-protect"].faults == tracking.events["dirty-bits"].pte_writes
        assert tracking.events["dirty-bits"].shoot_downs == len(reported)
        assert tracking.missed == 0  # though a run may have come between the harvest and the copy
        assert watched.space.counters.flushes == tracking.events["dirty-bits"].flushes


# -- bytes --------------------------------------------------------------------------------------------------------------


def test_run__stores_and_loads(form: PteFormat) -> None:
    """Values go to memory and loads come back, also where loads overwrite the addresses."""
    with (
        Reservoir(4 * PAGE) as reservoir,
        reservoir.allocate(4 * PAGE) as ram,
        VmSpace(SIZE, format=form, reservoir=reservoir, track_dirty=True) as space,
    ):
        map_at(space, ram, 0)
        tracking = Tracking(space, 0, 4 * PAGE, [DirtyBits(), WriteProtect()], [Vcpu(space.client())])
        gpas = np.array([0, PAGE + 8, 2 * PAGE], np.uint64)
        tracking.run(0, gpas, write=[True, True, False], values=[7, 8, 9])
        tracking.run(0, gpas, into=gpas)
        assert gpas.tolist() == [7, 8, 0]
        assert bits(tracking.collect()) == [0, 1]
        tracking.run(0, gpas := np.array([3 * PAGE, 0], np.uint64), write=[True, False], into=gpas)
        assert gpas.tolist() == [3 * PAGE, 7]
        assert bits(tracking.collect()) == [0, 1, 3]


def test_run__read_only_page_ends_it(form: PteFormat) -> None:
    """A write that a mapping forbids is not observed."""
    reservoir = Reservoir(4 * PAGE, backed=False)
    with VmSpace(SIZE, format=form, reservoir=reservoir, track_dirty=True) as space:
        map_at(space, reservoir.allocate(2 * PAGE), 0)
        map_at(space, reservoir.allocate(2 * PAGE), 2 * PAGE, Prot.READ)
        tracking = Tracking(space, 0, 4 * PAGE, [WriteProtect(), DirtyBits()], [Vcpu(space.client())])
        assert [tracking.run(0, [0], execute=flags).completed for flags in (True, [True])] == [0, 0]  # nor may it be executed
        exit = tracking.run(0, [0, 2 * PAGE, 3 * PAGE, PAGE], write=[True, False, True, True])
        assert (exit.reason.name, exit.completed) == ("FAULT", 2)
        assert bits(tracking.collect()) == [0]


# -- without the engine's own -------------------------------------------------------------------------------------------


def test_without_dirty_bits__no_dirty_log_is_needed(form: PteFormat) -> None:
    """The others keep books of their own: the space need not track, and its generation stays."""
    with Watched(form, 8) as watched:
        watched.space.set_tracking(False)
        generation = watched.space.generation
        tracking = Tracking(watched.space, 0, 8 * PAGE, [DirtyRing(3), WriteProtect()], watched.vcpus)
        tracking.run(0, [0, PAGE], write=True)
        assert bits(tracking.harvest()) == [0, 1]
        assert watched.space.generation == generation


def test_start__forgets_what_was_dirty(form: PteFormat) -> None:
    """Turning D bits on is a harvest, counted apart from what comes after."""
    with Watched(form, 600) as watched:
        watched.run(0, range(5))
        mechanism = DirtyBits()
        mechanism.start(watched.space, 0, 600 * PAGE)
        assert mechanism.setup == Events(pte_reads=600, pte_writes=5, shoot_downs=1)
        assert mechanism.events == Events()
        assert bits(mechanism.collect()) == []
        with pytest.raises(InvalidArgument):  # one vCPU, unless told
            mechanism.observe(1, [], np.ones(1, np.uint8))


def test_mechanism__alone(form: PteFormat) -> None:
    """It can be told by hand what vCPUs did; a clear is of all of it, unless told."""
    with Watched(form, 100) as watched:
        mechanism = WriteProtect()
        mechanism.start(watched.space, 50 * PAGE, 20 * PAGE)
        mechanism.observe(0, [50 * PAGE, 51 * PAGE, 69 * PAGE + 5, 70 * PAGE, 49 * PAGE], np.ones(1, np.uint8))
        assert (mechanism.n_pages, bits(mechanism.collect())) == (20, [0, 1, 19])
        mechanism.clear()
        assert bits(mechanism.harvest()) == []
        assert mechanism.events == Events(faults=3, pte_reads=6, pte_writes=6, shoot_downs=1, flushes=1)


# -- when something fails -----------------------------------------------------------------------------------------------


def test_differ__says_who_and_where(form: PteFormat) -> None:
    """A write through a hold is seen by the D bits alone."""
    with (
        Reservoir(16 * PAGE) as reservoir,
        reservoir.allocate(16 * PAGE) as ram,
        VmSpace(SIZE, format=form, reservoir=reservoir, track_dirty=True) as space,
    ):
        map_at(space, ram, 0)
        mechanisms = [WriteProtect(), DirtyBits(), PageModificationLog()]
        tracking = Tracking(space, 0, 16 * PAGE, mechanisms, [Vcpu(space.client())])
        tracking.run(0, [0, 8 * PAGE], write=True)
        space.client().write(11 * PAGE, b"x")
        space.client().write(13 * PAGE, b"x")
        with pytest.raises(InvariantError, match=r"page 0xb of .* dirty for dirty-bits and not for write-protect, pml"):
            tracking.collect()
        tracking.run(0, [11 * PAGE, 13 * PAGE], write=True)
        assert bits(tracking.collect()) == [0, 8, 11, 13]
        tracking.clear()
        assert bits(tracking.collect()) == []


@pytest.mark.parametrize("n_before", [1, 2, 3])
def test_differ__any_of_them(form: PteFormat, n_before: int) -> None:
    """The one that saw less may be the only other one, or any."""
    with Watched(form, 10) as watched:
        seeing = [DirtyRing(4), WriteProtect(), PageModificationLog()][:n_before]
        tracking = Tracking(watched.space, 0, 10 * PAGE, [*seeing, Blind()], watched.vcpus)
        tracking.run(0, [PAGE], write=True)
        with pytest.raises(InvariantError, match=r"page 0x1 .* not for blind;"):
            tracking.collect()


@pytest.mark.parametrize("call", ["harvest", "clear"])
def test_kick_timeout__changes_nothing(form: PteFormat, call: str) -> None:
    """A vCPU that does not leave: no mechanism has cleared anything, and the next time all do."""
    with Watched(form, 100) as watched:
        watched.run(0, [1, 70])
        watched.collect()
        before = watched.tracking.events
        with on_cpu_elsewhere(watched.space.client(), leaves=False), pytest.raises(KickTimeout):
            getattr(watched.tracking, call)()
        assert watched.tracking.events == before
        assert watched.collect() == {1, 70}
        watched.clear(64)
        assert watched.harvest() == {1}
        watched.check()


def test_tracking_off__changes_nothing(form: PteFormat) -> None:
    """Without a dirty log there is nothing to collect; with it, all is there."""
    with Watched(form, 100) as watched:
        watched.run(0, [1])
        before = watched.tracking.events
        watched.space.set_tracking(False)
        for call in (watched.tracking.collect, watched.tracking.clear, watched.tracking.harvest):
            with pytest.raises(TrackingDisabled):
                call()
        watched.space.set_tracking(True)
        assert watched.tracking.events == before
        assert watched.harvest() == {1}


def test_callback__cannot_use_the_tracking(form: PteFormat) -> None:
    """It runs in the middle of a harvest."""
    with Watched(form, 10) as watched:
        errors: list[BaseException | None] = []
        listener = watched.space.client()
        for call in (watched.tracking.collect, watched.tracking.harvest, watched.tracking.clear):
            listener.on_invalidate(lambda gpa, length, call=call: errors.append(caught(call)))  # type: ignore[misc]
            watched.run(0, [1])
            assert watched.harvest() == {1}
        assert [type(error) for error in errors] == [Deadlock] * 3
        watched.check()


def test_callback__that_raises_leaves_all_as_it_was(form: PteFormat) -> None:
    """The engine puts its bits back, and the others have not cleared theirs."""

    def fail(gpa: int, length: int) -> None:
        raise ZeroDivisionError

    with Watched(form, 10) as watched:
        watched.run(0, [1])
        listener = watched.space.client()
        listener.on_invalidate(fail)
        with pytest.raises(ZeroDivisionError):
            watched.tracking.harvest()
        listener.on_invalidate(None)
        assert watched.harvest() == {1}


class Blind(WriteProtect):
    """A mechanism that sees nothing."""

    name = "blind"

    def _observe(self, number: int, gpas: U64Array, kinds: U8Array) -> None:
        pass


class Interrupted(WriteProtect):
    """A mechanism in whose look, or answer, an interrupt arrives."""

    name = "interrupted"
    when = ""

    def _observe(self, number: int, gpas: U64Array, kinds: U8Array) -> None:
        if self.when == "run":
            raise KeyboardInterrupt
        super()._observe(number, gpas, kinds)

    def _collect(self) -> U8Array:
        if self.when == "collect":
            raise KeyboardInterrupt
        return super()._collect()


@pytest.mark.parametrize("when", ["run", "collect"])
def test_interrupt__is_told_from_then_on(form: PteFormat, when: str) -> None:
    """Some mechanisms have seen more than others: nothing that this reports could be believed."""
    with Watched(form, 10) as watched:
        mechanism = Interrupted()
        tracking = Tracking(watched.space, 0, 10 * PAGE, [mechanism, WriteProtect()], watched.vcpus)
        mechanism.when = when
        with pytest.raises(KeyboardInterrupt):
            tracking.run(0, [0], write=True) if when == "run" else tracking.collect()
        mechanism.when = ""
        for call in (tracking.collect, tracking.clear, tracking.harvest, lambda: tracking.run(0, [0])):
            with pytest.raises(StaleHandle, match="start new ones"):
                call()
        again = Tracking(watched.space, 0, 10 * PAGE, [WriteProtect(), PageModificationLog()], watched.vcpus)
        again.run(0, [PAGE], write=True)
        assert bits(again.collect()) == [1]


def test_busy__vcpu_that_runs_elsewhere(form: PteFormat) -> None:
    """It did nothing for us; later it does."""
    with Watched(form, 10) as watched:
        with on_cpu_elsewhere(watched.vcpus[0].client, leaves=False), pytest.raises(Busy):
            watched.tracking.run(0, [0], write=True)
        watched.run(0, [3])
        assert watched.harvest() == {3}
        watched.check()


def test_space_gone__is_told(form: PteFormat) -> None:
    """Counts stay to be read."""
    with Watched(form, 10) as watched:
        watched.run(0, [1])
        watched.space.close()
        for call in (watched.tracking.collect, watched.tracking.clear, lambda: watched.tracking.copy([0])):
            with pytest.raises(StaleHandle):
                call()
        assert watched.tracking.events["write-protect"].faults == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_fork__child_may_read_counts_only() -> None:
    """Though another thread was in the middle of a call when it was made."""
    with Watched(EPT, 10) as watched:
        tracking, inside, over = watched.tracking, threading.Event(), threading.Event()
        listener = watched.space.client()

        def stay(gpa: int, length: int) -> None:
            inside.set()
            over.wait(10)

        listener.on_invalidate(stay)
        thread = threading.Thread(target=tracking.harvest)
        thread.start()
        inside.wait(10)
        child = os.fork()
        if not child:
            calls = (tracking.collect, tracking.harvest, lambda: tracking.copy([0]), lambda: tracking.run(0, [0]))
            good = all(isinstance(caught(call), StaleHandle) for call in calls) and tracking.events["pml"] == Events()
            os._exit(0 if good else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        over.set()
        thread.join()
        listener.on_invalidate(None)
