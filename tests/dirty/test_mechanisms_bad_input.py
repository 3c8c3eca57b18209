"""What mechanisms and ``Tracking`` refuse; nothing changes by it."""

import copy
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from npt import (
    EPT,
    AddressOverflow,
    BeyondSpace,
    Busy,
    InvalidArgument,
    NotSupported,
    StaleHandle,
    TrackingDisabled,
    Vcpu,
    VmSpace,
)  # fmt: skip
from npt.dirty.mechanisms import (
    DirtyBits,
    DirtyRing,
    Events,
    Mechanism,
    PageModificationLog,
    Tracking,
    WriteProtect,
)  # fmt: skip
from tests.dirty.watched import Watched
from tests.space.scene import GIB, PAGE, SIZE, dirty

WRITE = np.ones(1, np.uint8)
KINDS: dict[str, Callable[[], Mechanism]] = {
    "dirty-bits": DirtyBits,
    "write-protect": WriteProtect,
    "pml": PageModificationLog,
    "ring": lambda: DirtyRing(8),
}


@pytest.fixture(scope="module")
def watched() -> Iterator[Watched]:
    """A guest in the middle of a round, for all cases: what is refused changes nothing."""
    with Watched(EPT, 100, n_vcpus=2) as made:
        made.run(0, [1, 2, 3])
        made.collect()
        made.run(1, [4])
        yield made


def state(watched: Watched) -> tuple[object, ...]:
    """All that a refused call could have changed."""
    tracking, space = watched.tracking, watched.space
    return tracking.events, tracking.accesses, tracking.total, space.generation, dirty(space, 0, 100 * PAGE)


def refused(watched: Watched, kind: type[BaseException], call: Callable[[], object]) -> None:
    before = state(watched)
    with pytest.raises(kind) as caught:
        call()
    assert caught.type is kind
    assert state(watched) == before


CALLS: list[tuple[str, type[BaseException], Callable[[Tracking], object]]] = [
    ("run: number", InvalidArgument, lambda t: t.run(2, [0])),
    ("run: negative number", InvalidArgument, lambda t: t.run(-1, [0])),
    ("run: number a bool", TypeError, lambda t: t.run(True, [0])),
    ("run: number a float", TypeError, lambda t: t.run(1.0, [0])),  # type: ignore[arg-type]
    ("run: gpas floats", TypeError, lambda t: t.run(0, [0.5])),
    ("run: gpas negative", InvalidArgument, lambda t: t.run(0, [-1])),
    ("run: write no bool", TypeError, lambda t: t.run(0, [0], write=1)),
    ("run: write too short", InvalidArgument, lambda t: t.run(0, [0, 1], write=[True])),
    ("run: write and execute", InvalidArgument, lambda t: t.run(0, [0], write=True, execute=True)),
    ("run: values too short", InvalidArgument, lambda t: t.run(0, [0, 8], write=True, values=[1])),
    ("run: into too short", InvalidArgument, lambda t: t.run(0, [0, 8], into=np.zeros(1, np.uint64))),
    ("clear: negative", InvalidArgument, lambda t: t.clear(-1, 5)),
    ("clear: no pages", InvalidArgument, lambda t: t.clear(0, 0)),
    ("clear: too many", InvalidArgument, lambda t: t.clear(1, 100)),
    ("clear: huge", InvalidArgument, lambda t: t.clear(0, 2**70)),
    ("clear: behind the end", InvalidArgument, lambda t: t.clear(100)),
    ("clear: a float", TypeError, lambda t: t.clear(0.0)),  # type: ignore[arg-type]
    ("clear: a bool", TypeError, lambda t: t.clear(0, True)),
    ("copy: too high", InvalidArgument, lambda t: t.copy([100])),
    ("copy: negative", InvalidArgument, lambda t: t.copy([0, -1])),
    ("copy: floats", TypeError, lambda t: t.copy([0.0])),
    ("copy: bools", TypeError, lambda t: t.copy([True])),
    ("copy: two dimensions", InvalidArgument, lambda t: t.copy([[1]])),
    ("copy: a number", InvalidArgument, lambda t: t.copy(1)),
    ("copy: negative moment", InvalidArgument, lambda t: t.copy([1], -1)),
    ("copy: moment too late", InvalidArgument, lambda t: t.copy([1], 2**62)),
    ("copy: moment far too late", InvalidArgument, lambda t: t.copy([1], 2**64)),
    ("copy: moments too few", InvalidArgument, lambda t: t.copy([1, 2, 3], [1, 2])),
    ("copy: one moment in a list", InvalidArgument, lambda t: t.copy([1, 2, 3], [1])),
    ("copy: negative moments", InvalidArgument, lambda t: t.copy([1, 2], [1, -2])),
    ("copy: moment a float", TypeError, lambda t: t.copy([1], 1.5)),
    ("copy: moment a bool", TypeError, lambda t: t.copy([1], True)),
]


@pytest.mark.parametrize(("kind", "call"), [pytest.param(kind, call, id=name) for name, kind, call in CALLS])
def test_tracking__refuses(watched: Watched, kind: type[BaseException], call: Callable[[Tracking], object]) -> None:
    """Bad arguments of its calls."""
    refused(watched, kind, lambda: call(watched.tracking))


def test_tracking__is_as_it_was_after_all_that(watched: Watched) -> None:
    """The round goes on; no copy of a refused call is left."""
    assert watched.collect() == {1, 2, 3, 4}
    watched.check()


def _two_of_entries() -> list[Mechanism]:
    class Other(DirtyBits):
        name = "other"

    return [DirtyBits(), Other()]


MAKING: list[tuple[str, type[BaseException], Callable[[Watched], object]]] = [
    ("no space", TypeError, lambda w: Tracking(None, 0, PAGE, [WriteProtect()], w.vcpus)),  # type: ignore[arg-type]
    ("unaligned", InvalidArgument, lambda w: Tracking(w.space, 1, PAGE, [WriteProtect()], w.vcpus)),
    ("empty", InvalidArgument, lambda w: Tracking(w.space, 0, 0, [WriteProtect()], w.vcpus)),
    ("a float", TypeError, lambda w: Tracking(w.space, 0.0, PAGE, [WriteProtect()], w.vcpus)),  # type: ignore[arg-type]
    ("overflow", AddressOverflow, lambda w: Tracking(w.space, 2**64 - PAGE, PAGE, [WriteProtect()], w.vcpus)),
    ("beyond", BeyondSpace, lambda w: Tracking(w.space, SIZE, PAGE, [WriteProtect()], w.vcpus)),
    ("no mechanism", InvalidArgument, lambda w: Tracking(w.space, 0, PAGE, [], w.vcpus)),
    ("no vCPU", InvalidArgument, lambda w: Tracking(w.space, 0, PAGE, [WriteProtect()], [])),
    ("one mechanism", TypeError, lambda w: Tracking(w.space, 0, PAGE, WriteProtect(), w.vcpus)),  # type: ignore[arg-type]
    ("a name", TypeError, lambda w: Tracking(w.space, 0, PAGE, ["pml"], w.vcpus)),  # type: ignore[list-item]
    ("a class", TypeError, lambda w: Tracking(w.space, 0, PAGE, [WriteProtect], w.vcpus)),  # type: ignore[list-item]
    ("a client", TypeError, lambda w: Tracking(w.space, 0, PAGE, [WriteProtect()], [w.vcpus[0].client])),  # type: ignore[list-item]
    ("a name twice", InvalidArgument, lambda w: Tracking(w.space, 0, PAGE, [WriteProtect(), WriteProtect()], w.vcpus)),
    ("entries twice", InvalidArgument, lambda w: Tracking(w.space, 0, PAGE, _two_of_entries(), w.vcpus)),
    ("a vCPU twice", InvalidArgument, lambda w: Tracking(w.space, 0, PAGE, [WriteProtect()], w.vcpus[:1] * 2)),
    ("started", Busy, lambda w: Tracking(w.space, 0, PAGE, w.tracking.mechanisms, w.vcpus)),
]


@pytest.mark.parametrize(("kind", "make"), [pytest.param(kind, make, id=name) for name, kind, make in MAKING])
def test_tracking__is_not_made(watched: Watched, kind: type[BaseException], make: Callable[[Watched], object]) -> None:
    """Of bad arguments; nothing is started, and no bit is cleared."""
    refused(watched, kind, lambda: make(watched))


def test_tracking__vcpu_of_another_space(watched: Watched) -> None:
    """Its accesses are to other memory."""
    with VmSpace(GIB) as other:
        stranger = Vcpu(other.client())
        make = lambda: Tracking(watched.space, 0, PAGE, [WriteProtect()], [*watched.vcpus, stranger])  # noqa: E731
        refused(watched, InvalidArgument, make)


def test_tracking__one_that_cannot_start_takes_the_others_back(watched: Watched) -> None:
    """They may be started again."""
    with VmSpace(GIB) as space:
        mechanisms, vcpu = [DirtyBits(), WriteProtect(), DirtyRing(3)], Vcpu(space.client())
        with pytest.raises(TrackingDisabled):
            Tracking(space, 0, PAGE, mechanisms, [vcpu])
        assert [(one.n_pages, one.events, one.setup) for one in mechanisms] == [(0, Events(), Events())] * 3
        space.set_tracking(True)
        assert Tracking(space, 0, PAGE, mechanisms, [vcpu]).mechanisms == tuple(mechanisms)


class Unstartable(WriteProtect):
    """A mechanism that there is no memory for."""

    name = "unstartable"

    def _begin(self, space: VmSpace, n_pages: int) -> None:
        raise MemoryError


@pytest.mark.parametrize("n_before", [0, 1, 2])
def test_tracking__one_that_cannot_start_clears_no_bits(n_before: int) -> None:
    """What was dirty still is: the mechanism whose start clears D bits is started when all others are."""
    with Watched(EPT, 10) as watched:
        watched.run(0, [1, 2])
        mechanisms: list[Mechanism] = [DirtyBits(), WriteProtect()]
        mechanisms.insert(n_before, Unstartable())
        generation = watched.space.generation
        with pytest.raises(MemoryError):
            Tracking(watched.space, 0, 10 * PAGE, mechanisms, watched.vcpus)
        assert dirty(watched.space, 0, 10 * PAGE) == [1, 2]
        assert watched.space.generation == generation
        assert [one.n_pages for one in mechanisms] == [0, 0, 0]


def test_mechanism__only_dirty_bits_can_undo_a_harvest() -> None:
    """The others are never asked to."""
    with pytest.raises(NotSupported):
        WriteProtect().put_back(np.zeros(1, np.uint8))


def test_tracking__closed_space() -> None:
    """A stale handle is told before bad numbers."""
    space = VmSpace(GIB)
    vcpu = Vcpu(space.client())
    space.close()
    with pytest.raises(StaleHandle):
        Tracking(space, 1, 0, [WriteProtect()], [vcpu])


@pytest.mark.parametrize("name", KINDS)
def test_mechanism__refuses(watched: Watched, name: str) -> None:
    """Each checks for itself, for those who use it without a ``Tracking``."""
    mechanism = KINDS[name]()
    calls: list[tuple[type[BaseException], Callable[[], Any]]] = [
        (InvalidArgument, mechanism.collect),
        (InvalidArgument, mechanism.clear),
        (InvalidArgument, mechanism.harvest),
        (InvalidArgument, lambda: mechanism.observe(0, [0], WRITE)),
        (TypeError, lambda: mechanism.start(0, 0, PAGE)),  # type: ignore[arg-type]
        (TypeError, lambda: mechanism.start(watched.space, 0, PAGE, 1.0)),  # type: ignore[arg-type]
        (InvalidArgument, lambda: mechanism.start(watched.space, 0, PAGE, 0)),
        (InvalidArgument, lambda: mechanism.start(watched.space, 0, PAGE + 1)),
        (BeyondSpace, lambda: mechanism.start(watched.space, 0, SIZE + PAGE)),
    ]
    for kind, call in calls:
        refused(watched, kind, call)
    assert (mechanism.n_pages, mechanism.events) == (0, Events())
    mechanism.start(watched.space, GIB, 70 * PAGE, 2)
    events = mechanism.events
    calls = [
        (Busy, lambda: mechanism.start(watched.space, 0, PAGE)),
        (TypeError, lambda: mechanism.observe("0", [0], WRITE)),  # type: ignore[arg-type]
        (TypeError, lambda: mechanism.observe(0, [0.0], WRITE)),
        (TypeError, lambda: mechanism.observe(0, [0], True)),  # type: ignore[arg-type]
        (TypeError, lambda: mechanism.observe(0, [0], np.ones(1, np.int8))),
        (InvalidArgument, lambda: mechanism.observe(2, [0], WRITE)),
        (InvalidArgument, lambda: mechanism.observe(-1, [0], WRITE)),
        (InvalidArgument, lambda: mechanism.observe(0, [0, 1, 2], np.ones(2, np.uint8))),
        (InvalidArgument, lambda: mechanism.observe(0, [[0]], WRITE)),
        (InvalidArgument, lambda: mechanism.clear(70)),
        (InvalidArgument, lambda: mechanism.clear(0, 71)),
        (TypeError, lambda: mechanism.clear(None)),  # type: ignore[arg-type]
    ]
    before = mechanism.events
    for kind, call in calls:
        with pytest.raises(kind):
            call()
    assert mechanism.events == before == events


@pytest.mark.parametrize(("size", "reserved"), [(0, 0), (-1, 0), (8, 8), (8, 9), (8, -1)])
def test_ring__refuses(size: int, reserved: int) -> None:
    """Room for one page at least."""
    with pytest.raises(InvalidArgument):
        DirtyRing(size, reserved)


def test_ring_and_log__types() -> None:
    """Numbers of entries are integers."""
    for bad in (1.5, "8", True, None):
        for make in (DirtyRing, lambda n: DirtyRing(8, n), lambda n: PageModificationLog(entries=n)):
            with pytest.raises(TypeError):
                make(bad)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument):
        PageModificationLog(entries=0)


def test_handles__are_of_this_process(watched: Watched) -> None:
    """Neither copied nor pickled."""
    for thing in (watched.tracking, *watched.tracking.mechanisms):
        with pytest.raises(TypeError):
            pickle.dumps(thing)
        with pytest.raises(TypeError):
            copy.copy(thing)


def test_repr__is_short(watched: Watched) -> None:
    """What it is, in a line."""
    assert repr(watched.tracking) == (
        "<Tracking of 100 pages, 2 vCPUs: write-protect, pml, pml-7, dirty-bits, ring-16, ring-10-3>"
    )
    assert (DirtyRing(64).name, PageModificationLog(entries=64).name) == ("ring-64", "pml-64")
    assert repr(DirtyRing(64, 8)) == "<DirtyRing ring-64-8, not started>"
    assert repr(watched.tracking.mechanisms[0]) == "<WriteProtect write-protect, 100 pages, 2 vCPUs>"
