"""What ``Tracking`` refuses in the middle of other things, and what is left when a run or a harvest fails: nothing is lost."""

import signal
import threading
from collections.abc import Callable

import numpy as np
import pytest

from npt import EPT, Busy, Deadlock, InvariantError, PteFormat, StaleHandle, TrackingDisabled, Vcpu, VcpuExit, VmSpace
from npt._types import U8Array, U64Array
from npt.dirty.mechanisms import (
    Account,
    DirtyBits,
    DirtyRing,
    Mechanism,
    PageModificationLog,
    Tracking,
    WriteProtect,
)  # fmt: skip
from npt.space.accesses import Accesses
from tests.dirty.watched import Watched
from tests.space.scene import PAGE, bits, caught, dirty, on_cpu

CALLS: dict[str, Callable[[Tracking], object]] = {
    "run": lambda t: t.run(0, [0], write=True),
    "collect": lambda t: t.collect(),
    "harvest": lambda t: t.harvest(),
    "clear": lambda t: t.clear(),
    "copy": lambda t: t.copy([0]),
}


# -- who may not wait for it --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CALLS)
def test_callback__of_another_call_does_not_wait(name: str) -> None:
    """Another thread has the tracking and waits for the space: a deadlock that is told, and both go on."""
    watched = Watched(EPT, 10)  # not closed if this fails: that would wait, too
    tracking, errors = watched.tracking, list[BaseException | None]()
    listener = watched.space.client()

    def call(gpa: int, length: int) -> None:
        waiter.start()
        while tracking._lock.acquire(blocking=False):  # until the waiter has it
            tracking._lock.release()
        errors.append(caught(lambda: CALLS[name](tracking)))

    waiter = threading.Thread(target=watched.collect, daemon=True)
    caller = threading.Thread(target=lambda: watched.space.accessed(0, PAGE, clear=True), daemon=True)
    listener.on_invalidate(call)
    caller.start()
    caller.join(10)
    waiter.join(10)
    assert not caller.is_alive()
    assert not waiter.is_alive()
    assert [type(error) for error in errors] == [Deadlock]
    listener.on_invalidate(None)
    watched.run(0, [1])
    assert watched.harvest() == {1}
    watched.check()
    watched.space.close()


@pytest.mark.parametrize("name", CALLS)
def test_callback__of_another_call_changes_nothing(form: PteFormat, name: str) -> None:
    """It is refused, though nobody is waiting, and all goes on as before."""
    with Watched(form, 10) as watched:
        watched.run(0, [1, 2])
        errors: list[BaseException | None] = []
        listener = watched.space.client()
        listener.on_invalidate(lambda gpa, length: errors.append(caught(lambda: CALLS[name](watched.tracking))))
        watched.space.accessed(0, PAGE, clear=True)
        listener.on_invalidate(None)
        assert [type(error) for error in errors] == [Deadlock]
        watched.run(0, [3])
        assert watched.harvest() == {1, 2, 3}
        watched.check()


@pytest.mark.parametrize("name", CALLS)
def test_on_cpu__does_not_wait(form: PteFormat, name: str) -> None:
    """Who has the tracking may be waiting for this thread to leave the tables."""
    with Watched(form, 10) as watched:
        watched.run(0, [1])
        with on_cpu(watched.space):
            assert type(caught(lambda: CALLS[name](watched.tracking))) is Deadlock
        assert watched.harvest() == {1}
        watched.check()


class Curious(WriteProtect):
    """A mechanism in whose look a signal arrives."""

    name = "curious"

    def _observe(self, number: int, gpas: U64Array, kinds: U8Array) -> None:
        signal.raise_signal(signal.SIGTERM)
        super()._observe(number, gpas, kinds)


@pytest.mark.parametrize("name", CALLS)
def test_signal_handler__cannot_use_a_tracking_that_is_in_use(name: str) -> None:
    """Its thread has the lock already; what it interrupted goes on."""
    with Watched(EPT, 10) as watched:
        tracking = Tracking(watched.space, 0, 10 * PAGE, [DirtyBits(), Curious(), DirtyRing(2)], watched.vcpus)
        errors: list[BaseException | None] = []
        before = signal.signal(signal.SIGTERM, lambda *_: errors.append(caught(lambda: CALLS[name](tracking))))
        try:
            tracking.run(0, [PAGE, 2 * PAGE], write=True)
        finally:
            signal.signal(signal.SIGTERM, before)
        assert [type(error) for error in errors] == [Deadlock]
        assert bits(tracking.harvest()) == [1, 2]


# -- runs ---------------------------------------------------------------------------------------------------------------


class Met(Vcpu):
    """A vCPU that finds its client taken when it comes back from a fault that it had served after three accesses."""

    thread: threading.Thread | None = None

    def _stay(self, accesses: Accesses, start: int = 0) -> VcpuExit:
        if start == 3:
            self.thread = threading.Thread(target=self._sit)
            self.inside, self.over = threading.Event(), threading.Event()
            self.thread.start()
            self.inside.wait(10)
        return super()._stay(accesses, start)

    def _sit(self) -> None:
        self.client.table_enter()
        self.inside.set()
        self.over.wait(10)
        self.client.table_exit()


def test_run__that_is_refused_in_the_middle(form: PteFormat) -> None:
    """Its first accesses were done, and no mechanism saw them: that is told from then on, and never guessed."""
    with Watched(form, 10) as watched:
        watched.space.unmap(0, 10 * PAGE)
        with watched.reservoir.allocate(10 * PAGE) as ram:
            watched.space.map(ram, 0, 10 * PAGE, 3)  # not resident
        vcpu = Met(watched.space.client())
        tracking = Tracking(watched.space, 0, 10 * PAGE, [DirtyBits(), WriteProtect()], [vcpu])
        with pytest.raises(Busy):
            tracking.run(0, np.arange(5) * PAGE, write=True)
        vcpu.over.set()
        assert vcpu.thread is not None
        vcpu.thread.join()
        assert dirty(watched.space, 0, 10 * PAGE) == [0, 1, 2]
        for call in CALLS.values():
            with pytest.raises(StaleHandle, match="start new ones"):
                call(tracking)


class Meddler(WriteProtect):
    """A mechanism that changes the caller's array when it has looked, as another thread might."""

    name = "meddler"
    gpas: U64Array

    def _observe(self, number: int, gpas: U64Array, kinds: U8Array) -> None:
        super()._observe(number, gpas, kinds)
        self.gpas[:] = 9 * PAGE


def test_run__of_an_array_that_changes_meanwhile(form: PteFormat) -> None:
    """Every mechanism sees what the vCPU did."""
    with Watched(form, 10) as watched:
        meddler = Meddler()
        meddler.gpas = np.array([PAGE, 2 * PAGE], np.uint64)
        mechanisms = [DirtyBits(), meddler, PageModificationLog(), DirtyRing(1)]
        tracking = Tracking(watched.space, 0, 10 * PAGE, mechanisms, watched.vcpus)
        tracking.copy([1, 9])
        tracking.run(0, meddler.gpas, write=True)
        assert meddler.gpas.tolist() == [9 * PAGE] * 2
        assert bits(tracking.collect()) == [1, 2]
        assert tracking.total == Account(copied=2, false_dirty=0, missed=0)


# -- harvests -----------------------------------------------------------------------------------------------------------


class Blind(WriteProtect):
    """A mechanism that does not see page 3."""

    name = "blind"

    def _observe(self, number: int, gpas: U64Array, kinds: U8Array) -> None:
        super()._observe(number, gpas[gpas != 3 * PAGE], kinds)


class TurningOff(Blind):
    """Another, while which answers somebody turns tracking off."""

    def __init__(self, space: VmSpace) -> None:
        super().__init__()
        self._of = space

    def _collect(self) -> U8Array:
        self._of.set_tracking(False)
        return super()._collect()


def each_says(tracking: Tracking) -> dict[str, list[int]]:
    """What each mechanism reports."""
    return {mechanism.name: bits(mechanism.collect()) for mechanism in tracking.mechanisms}


def test_harvest__that_finds_a_difference_loses_nothing(form: PteFormat) -> None:
    """It was a collect: all is still dirty, for who saw it; copies are accounted for later; a clear of all ends it."""
    with Watched(form, 10) as watched:
        mechanisms = [WriteProtect(), DirtyBits(), PageModificationLog(entries=2), DirtyRing(2)]
        tracking = Tracking(watched.space, 0, 10 * PAGE, mechanisms, watched.vcpus)
        tracking.run(0, [PAGE, 5 * PAGE], write=True)
        tracking.copy([1])
        watched.vcpus[0].run([3 * PAGE], write=True)
        for _ in range(2):
            with pytest.raises(InvariantError, match=r"page 0x3 .* dirty for dirty-bits and not for write-protect, pml-2"):
                tracking.harvest()
            assert dirty(watched.space, 0, 10 * PAGE) == [1, 3, 5]
        assert tracking.total == Account()
        assert each_says(tracking) == {one.name: [1, 3, 5] if one.touches_entries else [1, 5] for one in mechanisms}
        with pytest.raises(InvariantError):
            tracking.harvest()
        tracking.clear()
        assert each_says(tracking) == {one.name: [] for one in mechanisms}
        tracking.run(0, [2 * PAGE], write=True)
        assert bits(tracking.harvest()) == [2]
        assert tracking.total == Account(copied=1)
        assert bits(tracking.harvest()) == []


def test_harvest__that_finds_a_difference_among_the_others(form: PteFormat) -> None:
    """Without D bits, too, nobody has cleared anything."""
    with Watched(form, 10) as watched:
        mechanisms: list[Mechanism] = [WriteProtect(), Blind(), DirtyRing(2)]
        tracking = Tracking(watched.space, 0, 10 * PAGE, mechanisms, watched.vcpus)
        tracking.run(0, [PAGE, 3 * PAGE], write=True)
        for _ in range(2):
            with pytest.raises(InvariantError, match=r"page 0x3 .* dirty for write-protect, ring-2 and not for blind"):
                tracking.harvest()
        assert each_says(tracking) == {"write-protect": [1, 3], "blind": [1], "ring-2": [1, 3]}
        tracking.clear()
        assert bits(tracking.harvest()) == []


def test_harvest__whose_bits_cannot_be_put_back(form: PteFormat) -> None:
    """Then D bits are gone, and that is told from then on."""
    with Watched(form, 10) as watched:
        tracking = Tracking(watched.space, 0, 10 * PAGE, [DirtyBits(), TurningOff(watched.space)], watched.vcpus)
        tracking.run(0, [3 * PAGE], write=True)
        with pytest.raises(TrackingDisabled):
            tracking.harvest()
        watched.space.set_tracking(True)
        with pytest.raises(StaleHandle):
            tracking.collect()


def test_unmapping__is_named_as_a_cause(form: PteFormat) -> None:
    """It takes D bits with it, and the others do not know; after a clear of all they agree."""
    with Watched(form, 10) as watched:
        watched.run(0, [4])
        watched.space.unmap(0, 10 * PAGE)
        for call in (watched.tracking.collect, watched.tracking.harvest):
            with pytest.raises(InvariantError, match="wrote, harvested or unmapped it but through this tracking"):
                call()
        watched.tracking.clear()
        assert bits(watched.tracking.harvest()) == []
