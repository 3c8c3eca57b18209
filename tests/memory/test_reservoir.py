"""The reservoir: what it hands out, what comes back, what it refuses."""

import copy
import gc
import os
import pickle
import sys
import threading
from collections.abc import Callable, Iterator
from types import CodeType, FrameType
from typing import Any

import numpy as np
import pytest

from npt import kernels
from npt._types import U8Array
from npt.errors import Busy, Deadlock, InvalidArgument, NotSupported, ReservoirExhausted, StaleHandle
from npt import _host as host
from npt.memory.objects import RamObject
from npt.memory.reservoir import Reservoir
from npt.memory.watch import Watch

PAGE = 0x1000
SIZE = 0x20 * PAGE
LIMIT = 0x30 * PAGE
BASE = 0x100000


@pytest.fixture
def reservoir() -> Reservoir:
    return Reservoir(SIZE, limit=LIMIT)


def frames(ram: RamObject) -> list[int]:
    """Frames of an object, counted from 0."""
    base = ram.reservoir.base_pfn
    return [pfn - base for span in ram.spans for pfn in range(span.pfn, span.pfn + span.n_pages)]


def fill(ram: RamObject, value: int) -> None:
    for frame in frames(ram):
        ram.reservoir.view(frame, writable=True)[:] = value


def freed_with_view(reservoir: Reservoir, *, transient: bool = False) -> tuple[int, U8Array]:
    """A frame of an object that is gone, and a view of it that is not."""
    ram = reservoir.allocate(PAGE, transient=transient)
    (frame,) = frames(ram)
    view = reservoir.view(frame, writable=True)
    view[:] = 7
    reservoir.watch(frame, view)
    ram.release()
    return frame, view


# -- making one --------------------------------------------------------------------------------------------------------

BAD_RESERVOIRS: list[tuple[tuple[Any, ...], dict[str, Any], type[Exception]]] = [
    ((), {}, TypeError),
    ((1.0,), {}, TypeError),
    (("4GiB",), {}, TypeError),
    ((True,), {}, TypeError),
    ((PAGE,), {"limit": 1.0}, TypeError),
    ((PAGE,), {"base_pfn": None}, TypeError),
    ((PAGE,), {"backed": 1}, TypeError),
    ((0,), {"backed": 1}, TypeError),
    ((0,), {}, InvalidArgument),
    ((-PAGE,), {}, InvalidArgument),
    ((PAGE + 1,), {}, InvalidArgument),
    ((PAGE,), {"limit": 0}, InvalidArgument),
    ((PAGE,), {"limit": PAGE + 1}, InvalidArgument),
    ((2 * PAGE,), {"limit": PAGE}, InvalidArgument),
    ((PAGE,), {"base_pfn": -1}, InvalidArgument),
    ((PAGE,), {"base_pfn": 2**33}, InvalidArgument),
    ((PAGE,), {"base_pfn": 2**33 - 1, "limit": 2 * PAGE}, InvalidArgument),
    ((2**46,), {"backed": False}, InvalidArgument),
    ((2**80,), {}, InvalidArgument),
]


@pytest.mark.parametrize(("given", "named", "error"), BAD_RESERVOIRS)
def test_reservoir__bad_arguments_are_refused(
    given: tuple[Any, ...], named: dict[str, Any], error: type[Exception]
) -> None:
    """Sizes are whole pages, the limit is no less, and frames end where tables begin."""
    with pytest.raises(error):
        Reservoir(*given, **named)


def test_reservoir__limit_is_the_size_by_default() -> None:
    """Without a limit there is no room beyond the size."""
    made = Reservoir(np.int32(SIZE))
    assert (made.size, made.limit, made.base_pfn) == (SIZE, SIZE, BASE)
    assert type(made.size) is int


def test_reservoir__last_frame_may_be_the_last_below_tables() -> None:
    """RAM can reach up to where page tables begin."""
    assert Reservoir(PAGE, base_pfn=2**33 - 1).allocate(PAGE).pfn_at(0) == 2**33 - 1


def test_reservoir__more_than_available_is_refused_before_it_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit, not the size, is asked of the machine; the message says what it has."""
    monkeypatch.setattr(host, "available_bytes", lambda: 4 * PAGE)
    with pytest.raises(ReservoirExhausted, match="0x4000"):
        Reservoir(PAGE, limit=5 * PAGE)
    assert Reservoir(PAGE, limit=4 * PAGE).limit == 4 * PAGE


def test_reservoir__unknown_availability_is_no_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the machine does not say what it has, the attempt is made."""
    monkeypatch.setattr(host, "available_bytes", lambda: None)
    assert Reservoir(PAGE).size == PAGE


def test_reservoir__allocator_that_refuses_is_exhausted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ``MemoryError`` of Python's own becomes ours."""
    monkeypatch.setattr(host, "available_bytes", lambda: None)
    with pytest.raises(ReservoirExhausted):
        Reservoir(2**44)


# -- allocating --------------------------------------------------------------------------------------------------------


def test_allocate__takes_the_end_of_a_larger_span(reservoir: Reservoir) -> None:
    """The first object lies at the end of the size."""
    assert frames(reservoir.allocate(4 * PAGE)) == [0x1C, 0x1D, 0x1E, 0x1F]


def test_allocate__takes_the_best_fit(reservoir: Reservoir) -> None:
    """A hole that just fits is preferred to a larger one."""
    parts = [reservoir.allocate(n * PAGE) for n in (5, 1, 3, 1)]
    hole = frames(parts[2])
    parts[0].release()
    parts[2].release()
    assert frames(reservoir.allocate(3 * PAGE)) == hole


def test_allocate__scatters_when_nothing_fits() -> None:
    """An object may lie in several spans."""
    reservoir = Reservoir(8 * PAGE)
    parts = [reservoir.allocate(2 * PAGE) for _ in range(4)]
    parts[1].release()
    parts[3].release()
    assert [span.n_pages for span in reservoir.allocate(4 * PAGE).spans] == [2, 2]


def test_release__merges_with_its_neighbours() -> None:
    """What was cut up is whole again when all is back."""
    reservoir = Reservoir(8 * PAGE)
    parts = [reservoir.allocate(PAGE) for _ in range(8)]
    for at in (3, 0, 7, 1, 5, 2, 6, 4):
        parts[at].release()
    assert len(reservoir.allocate(8 * PAGE).spans) == 1


@pytest.mark.parametrize("transient", [False, True])
def test_allocate__too_much_changes_nothing(reservoir: Reservoir, transient: bool) -> None:
    """A request that does not fit takes nothing, though parts of it would fit."""
    parts = [reservoir.allocate(PAGE, transient=transient) for _ in range(3)]
    parts[1].release()
    before = reservoir.usage
    with pytest.raises(ReservoirExhausted, match="0x1f000"):
        reservoir.allocate(0x1F * PAGE, transient=transient)
    assert reservoir.usage == before


BAD_ALLOCATIONS: list[tuple[Any, Any, type[Exception]]] = [
    (1.0, False, TypeError),
    (True, False, TypeError),
    (None, False, TypeError),
    (PAGE, 1, TypeError),
    (0, None, TypeError),
    (0, False, InvalidArgument),
    (-PAGE, False, InvalidArgument),
    (PAGE + 1, False, InvalidArgument),
    (2**80, False, ReservoirExhausted),
]


@pytest.mark.parametrize(("length", "transient", "error"), BAD_ALLOCATIONS)
def test_allocate__bad_arguments_are_refused(
    reservoir: Reservoir, length: Any, transient: Any, error: type[Exception]
) -> None:
    """A length is whole pages, and transient is a bool."""
    with pytest.raises(error):
        reservoir.allocate(length, transient=transient)


def test_allocate__memory_is_zero_after_use(reservoir: Reservoir) -> None:
    """Nobody sees what the last owner wrote, in whichever spans it lies."""
    parts = [reservoir.allocate(n * PAGE) for n in (4, 8, 0x14)]
    for part in parts:
        fill(part, 0xAA)
    parts[0].release()
    parts[2].release()
    ram = reservoir.allocate(0x18 * PAGE)
    assert len(ram.spans) == 2
    assert not any(reservoir.view(frame, writable=False).any() for frame in frames(ram))
    assert reservoir.view(frames(parts[1])[0], writable=False).all()


def test_allocate__forgotten_object_keeps_its_memory(reservoir: Reservoir) -> None:
    """References are counted, not guessed from what Python still knows."""
    reservoir.allocate(PAGE)
    assert reservoir.usage.allocated == PAGE


# -- accounts ----------------------------------------------------------------------------------------------------------


def test_usage__sums_to_the_size(reservoir: Reservoir) -> None:
    """Free, allocated and quarantined bytes are the size; the limit is apart."""
    reservoir.allocate(3 * PAGE)
    _, view = freed_with_view(reservoir)
    assert reservoir.usage == (SIZE - 4 * PAGE, 3 * PAGE, 0, PAGE, LIMIT)
    assert view.size == PAGE


def test_transient__comes_from_beyond_the_size(reservoir: Reservoir) -> None:
    """Transient objects leave the ordinary memory alone."""
    ram = reservoir.allocate(4 * PAGE, transient=True)
    assert min(frames(ram)) >= 0x20
    assert reservoir.usage == (SIZE, 0, 4 * PAGE, 0, LIMIT)


def test_transient__goes_back_beyond_the_size(reservoir: Reservoir) -> None:
    """Transient memory is empty again, zero, and does not become free."""
    ram = reservoir.allocate(0x10 * PAGE, transient=True)
    fill(ram, 1)
    ram.release()
    assert reservoir.usage == (SIZE, 0, 0, 0, LIMIT)
    assert not reservoir.buffer.any()
    assert reservoir.allocate(0x10 * PAGE, transient=True).length == 0x10 * PAGE


def test_transient__needs_a_larger_limit() -> None:
    """With the default limit there is no room for transient objects, and the message says so."""
    with pytest.raises(ReservoirExhausted, match="larger limit"):
        Reservoir(SIZE).allocate(PAGE, transient=True)


# -- resizing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [0, PAGE, 3 * PAGE, LIMIT * 2])
@pytest.mark.parametrize("target", [0, PAGE, SIZE - PAGE, SIZE, SIZE + PAGE, LIMIT])
def test_resize__reaches_its_target_in_any_steps(reservoir: Reservoir, target: int, chunk: int) -> None:
    """The size follows, up to the limit and down to nothing, and back."""
    assert reservoir.resize(target, chunk=chunk) == target
    assert reservoir.usage == (target, 0, 0, 0, LIMIT)
    assert reservoir.resize(SIZE, chunk=chunk) == reservoir.size == SIZE


@pytest.mark.parametrize("chunk", [0, 3 * PAGE])
def test_resize__shrinks_by_what_is_free(reservoir: Reservoir, chunk: int) -> None:
    """Objects stay; the size stops at what they and the quarantine need."""
    reservoir.allocate(5 * PAGE)
    _, view = freed_with_view(reservoir)
    assert reservoir.resize(0, chunk=chunk) == 6 * PAGE
    assert reservoir.usage == (0, 5 * PAGE, 0, PAGE, LIMIT)
    assert view.size == PAGE


def test_resize__shrinks_from_the_highest_addresses(reservoir: Reservoir) -> None:
    """The lowest frames are those that stay."""
    reservoir.resize(4 * PAGE, chunk=PAGE)
    assert frames(reservoir.allocate(4 * PAGE)) == [0, 1, 2, 3]


def test_resize__grows_by_the_lowest_addresses(reservoir: Reservoir) -> None:
    """The size grows upwards, so that what is beyond stays whole."""
    reservoir.resize(SIZE + 2 * PAGE, chunk=PAGE)
    assert frames(reservoir.allocate(SIZE + 2 * PAGE)) == list(range(0x22))


def test_resize__grows_by_what_is_empty(reservoir: Reservoir) -> None:
    """Transient objects are in the way of growth."""
    reservoir.allocate(4 * PAGE, transient=True)
    assert reservoir.resize(LIMIT, chunk=5 * PAGE) == LIMIT - 4 * PAGE


def test_resize__makes_room_for_transient_objects(reservoir: Reservoir) -> None:
    """What a shrink sets free of the size, transient objects can use."""
    reservoir.resize(0)
    assert reservoir.allocate(LIMIT, transient=True).length == LIMIT


def test_resize__lets_others_in_between_steps(reservoir: Reservoir, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock is taken anew for each step: an allocation after the first keeps its memory."""
    step, parts = Reservoir._step, list[RamObject]()

    def step_and_allocate(self: Reservoir, target: int, chunk: int) -> tuple[int, bool]:
        answer = step(self, target, chunk)
        if not parts:
            parts.append(self.allocate(PAGE))
        return answer

    monkeypatch.setattr(Reservoir, "_step", step_and_allocate)
    assert reservoir.resize(0, chunk=4 * PAGE) == PAGE
    assert reservoir.usage.allocated == PAGE


BAD_RESIZES: list[tuple[Any, Any, type[Exception]]] = [
    (1.0, 0, TypeError),
    (True, 0, TypeError),
    (PAGE, 1.0, TypeError),
    (1, None, TypeError),
    (-PAGE, 0, InvalidArgument),
    (1, 0, InvalidArgument),
    (PAGE, 1, InvalidArgument),
    (PAGE, -PAGE, InvalidArgument),
    (LIMIT + PAGE, 1, InvalidArgument),
    (LIMIT + PAGE, 0, ReservoirExhausted),
]


@pytest.mark.parametrize(("target", "chunk", "error"), BAD_RESIZES)
def test_resize__bad_arguments_are_refused(
    reservoir: Reservoir, target: Any, chunk: Any, error: type[Exception]
) -> None:
    """Targets and chunks are whole pages, and the limit is the limit."""
    with pytest.raises(error):
        reservoir.resize(target, chunk=chunk)
    assert reservoir.size == SIZE


# -- views -------------------------------------------------------------------------------------------------------------


def test_view__shows_the_frame_without_a_copy(reservoir: Reservoir) -> None:
    """What is written through one view is read through another, and in the buffer."""
    reservoir.view(3, writable=True)[5] = 9
    assert reservoir.view(3, writable=False)[5] == 9
    assert np.flatnonzero(reservoir.buffer).tolist() == [3 * PAGE + 5]


def test_view__for_reading_cannot_be_made_writable(reservoir: Reservoir) -> None:
    """A view for reading stays one."""
    view = reservoir.view(0, writable=False)
    assert view.shape == (PAGE,)
    with pytest.raises(ValueError, match="WRITEABLE"):
        view.flags.writeable = True


def test_buffer__is_read_only_and_whole(reservoir: Reservoir) -> None:
    """The buffer shows all there is, limit and all, and cannot be written."""
    buffer = reservoir.buffer
    assert buffer.shape == (LIMIT,)
    assert buffer.dtype == np.uint8
    with pytest.raises(ValueError, match="WRITEABLE"):
        buffer.flags.writeable = True


def test_buffer__does_not_make_busy(reservoir: Reservoir) -> None:
    """A view of the whole keeps nobody from closing."""
    buffer = reservoir.buffer
    reservoir.close()
    assert buffer.size == LIMIT


def test_memory__is_writable_bytes_and_words(reservoir: Reservoir) -> None:
    """The rooms above get the backing as bytes and as words."""
    reservoir.words[1] = 1 << 8
    assert reservoir.memory[9] == 1
    assert (reservoir.memory.size, reservoir.words.size) == (LIMIT, LIMIT // 8)


def test_unbacked__has_no_bytes() -> None:
    """Without backing there is nothing to view, and the rooms above get empty arrays."""
    bare = Reservoir(2**40, backed=False)
    with pytest.raises(NotSupported):
        _ = bare.buffer
    with pytest.raises(NotSupported):
        bare.view(0, writable=False)
    assert (bare.backed, bare.memory.size, bare.words.size) == (False, 0, 0)


def test_unbacked__allocates_and_frees(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames are handed out whether or not there are bytes behind them, and cost the machine nothing."""
    monkeypatch.setattr(host, "available_bytes", lambda: 0)
    with Reservoir(2**44, backed=False) as bare:
        with bare.allocate(2**43) as ram:
            assert ram.pfn_at(2**43 - 1) == BASE + 2**32 - 1
        assert bare.usage.free == 2**44


# -- quarantine --------------------------------------------------------------------------------------------------------


DERIVED: dict[str, Callable[[Any], Any]] = {
    "itself": lambda view: view,
    "slice": lambda view: view[8:16],
    "slice of a slice": lambda view: view[8:][::2],
    "reshape": lambda view: view.reshape(64, 64),
    "other type": lambda view: view.view(np.uint64),
    "transpose": lambda view: view.reshape(64, 64).T,
    "memoryview": lambda view: memoryview(view),
    "memoryview slice": lambda view: memoryview(view)[1:2],
    "array of memoryview": lambda view: np.frombuffer(memoryview(view)[8:16], dtype=np.uint32),
}


@pytest.mark.parametrize("derived", DERIVED)
def test_quarantine__lasts_as_long_as_anything_derived(reservoir: Reservoir, derived: str) -> None:
    """A frame that can be reached through anything made of a view is not handed out."""
    frame, view = freed_with_view(reservoir)
    reach = DERIVED[derived](view)
    del view
    assert reservoir.usage.quarantined == PAGE
    ram = reservoir.allocate(SIZE - PAGE)
    assert frame not in frames(ram)
    del reach
    assert frames(reservoir.allocate(PAGE)) == [frame]


def test_quarantine__frame_is_zeroed_at_once(reservoir: Reservoir) -> None:
    """An old view sees no more than zeroes once the object is gone."""
    _, view = freed_with_view(reservoir)
    assert not view.any()


def test_quarantine__frame_is_zeroed_again(reservoir: Reservoir) -> None:
    """What an old view wrote is not seen by the frame's next owner."""
    frame, view = freed_with_view(reservoir)
    view[:] = 5
    del view
    assert frames(reservoir.allocate(SIZE))[frame] == frame
    assert not reservoir.buffer.any()


def test_quarantine__only_the_viewed_frames(reservoir: Reservoir) -> None:
    """The other frames of the object are free at once."""
    ram = reservoir.allocate(8 * PAGE)
    views = [(frame, reservoir.view(frame, writable=False)) for frame in frames(ram)[::3]]
    for frame, view in views:
        reservoir.watch(frame, view)
    del view
    ram.release()
    assert reservoir.usage == (SIZE - 3 * PAGE, 0, 0, 3 * PAGE, LIMIT)
    views.pop(1)
    assert reservoir.usage.quarantined == 2 * PAGE


def test_quarantine__until_the_last_of_several_views(reservoir: Reservoir) -> None:
    """Two holds of one page can leave a view each."""
    ram = reservoir.allocate(PAGE)
    (frame,) = frames(ram)
    views = [reservoir.view(frame, writable=writable) for writable in (False, True)]
    for view in views:
        reservoir.watch(frame, view)
    del view
    ram.release()
    views.pop()
    assert reservoir.usage.quarantined == PAGE
    views.pop()
    assert reservoir.usage.quarantined == 0


def test_quarantine__view_that_died_before_the_object_is_forgotten(reservoir: Reservoir) -> None:
    """A view that is gone in time costs nothing."""
    ram = reservoir.allocate(PAGE)
    view = reservoir.view(frames(ram)[0], writable=True)
    reservoir.watch(frames(ram)[0], view)
    del view
    ram.release()
    assert reservoir.usage == (SIZE, 0, 0, 0, LIMIT)


def test_quarantine__view_in_a_cycle_goes_with_the_collector(reservoir: Reservoir) -> None:
    """The collector's finding counts like the end of the last name."""
    _, view = freed_with_view(reservoir)
    cycle: list[Any] = [view]
    cycle.append(cycle)
    del view, cycle
    gc.collect()
    assert reservoir.usage.quarantined == 0


def test_quarantine__of_a_transient_object_counts_as_transient(reservoir: Reservoir) -> None:
    """Transient memory in quarantine is not part of the size, and goes back beyond it."""
    _, view = freed_with_view(reservoir, transient=True)
    assert reservoir.usage == (SIZE, 0, PAGE, 0, LIMIT)
    del view
    assert reservoir.usage == (SIZE, 0, 0, 0, LIMIT)


def test_quarantine__view_that_dies_while_its_frame_is_zeroed(
    reservoir: Reservoir, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its frame is zeroed once more, because the view may have written meanwhile."""
    ram, zeroed, views = reservoir.allocate(PAGE), list[Any](), list[U8Array]()
    views.append(reservoir.view(frames(ram)[0], writable=True))
    reservoir.watch(frames(ram)[0], views[0])
    zero_spans = kernels.frames.zero_spans

    def write_late(memory: U8Array, spans: Any) -> None:
        zero_spans(memory, spans)
        zeroed.append(spans.tolist())
        if views:
            views.pop()[:] = 9
        assert reservoir.usage.free == SIZE - PAGE  # as another thread's call would, this settles what it can

    monkeypatch.setattr(kernels.frames, "zero_spans", write_late)
    ram.release()
    assert reservoir.usage.free == SIZE
    assert zeroed == [[[0x1F, 1]], [[0x1F, 1]]]
    assert not reservoir.buffer.any()


# -- closing -----------------------------------------------------------------------------------------------------------


def test_close__busy_with_objects(reservoir: Reservoir) -> None:
    """Memory that is in use is not given up, transient or not."""
    for transient in (False, True):
        with reservoir.allocate(PAGE, transient=transient), pytest.raises(Busy):
            reservoir.close()
    reservoir.close()


def test_close__busy_with_views(reservoir: Reservoir) -> None:
    """A view that outlived its object keeps the reservoir."""
    _, view = freed_with_view(reservoir)
    with pytest.raises(Busy):
        reservoir.close()
    del view
    reservoir.close()


def test_close__twice_does_nothing(reservoir: Reservoir) -> None:
    """Closing is idempotent."""
    reservoir.close()
    reservoir.close()


def test_context__never_hides_an_error(reservoir: Reservoir) -> None:
    """The error that ends the block is raised, not ``Busy``; the reservoir stays open."""
    reservoir.allocate(PAGE)
    with pytest.raises(ZeroDivisionError), reservoir:
        raise ZeroDivisionError
    assert reservoir.usage.allocated == PAGE


def test_context__busy_at_its_end_is_told(reservoir: Reservoir) -> None:
    """Without an error, memory left over is one."""
    with pytest.raises(Busy), reservoir:
        reservoir.allocate(PAGE)


USES: dict[str, Callable[[Reservoir], Any]] = {
    "size": lambda made: made.size,
    "limit": lambda made: made.limit,
    "base_pfn": lambda made: made.base_pfn,
    "usage": lambda made: made.usage,
    "buffer": lambda made: made.buffer,
    "backed": lambda made: made.backed,
    "memory": lambda made: made.memory,
    "words": lambda made: made.words,
    "view": lambda made: made.view(0, writable=False),
    "watch": lambda made: made.watch(0, np.zeros(1, dtype=np.uint8)),
    "allocate": lambda made: made.allocate(-1),
    "resize": lambda made: made.resize(-1),
    "enter": lambda made: made.__enter__(),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("backed", [True, False])
def test_closed__everything_is_stale(use: str, backed: bool) -> None:
    """A closed reservoir refuses everything, before it looks at arguments."""
    made = Reservoir(PAGE, backed=backed)
    made.close()
    with pytest.raises(StaleHandle):
        USES[use](made)


def test_closed__types_are_looked_at_first(reservoir: Reservoir) -> None:
    """A wrong type is told even by a closed reservoir."""
    reservoir.close()
    with pytest.raises(TypeError):
        reservoir.allocate(1.0)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        reservoir.resize(0, chunk=1.0)  # type: ignore[arg-type]


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, pickle.dumps])
def test_reservoir__cannot_be_copied(reservoir: Reservoir, duplicate: Callable[[Any], Any]) -> None:
    """A copy would hand out the same memory."""
    with pytest.raises(TypeError):
        duplicate(reservoir)


def test_repr__short_and_never_stale(reservoir: Reservoir) -> None:
    """A repr works on closed reservoirs, too."""
    assert repr(reservoir) == "<Reservoir of 128 KiB, 128 KiB free, base_pfn 0x100000>"
    assert "unbacked" in repr(Reservoir(PAGE, backed=False))
    reservoir.close()
    assert repr(reservoir) == "<Reservoir, closed>"


# -- forks, threads, interrupts ----------------------------------------------------------------------------------------


@pytest.fixture
def child(reservoir: Reservoir, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reservoir]:
    """A reservoir as a forked child sees it: another process, and a lock that must not be touched."""
    freed_with_view(reservoir)  # something to settle
    reservoir.allocate(PAGE)
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: 0)
        patch.setattr(reservoir, "_lock", None)
        yield reservoir


def test_fork__child_may_look(child: Reservoir) -> None:
    """Looking works without the lock, which another thread may have held at the fork."""
    assert (child.size, child.usage.limit, child.usage.allocated) == (SIZE, LIMIT, PAGE)
    assert child.buffer.size == LIMIT
    assert repr(child)


CHANGES: dict[str, Callable[[Reservoir], Any]] = {
    "allocate": lambda made: made.allocate(PAGE),
    "resize": lambda made: made.resize(0),
    "watch": lambda made: made.watch(0, np.zeros(1, dtype=np.uint8)),
    "close": lambda made: made.close(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_fork__child_may_not_change(child: Reservoir, change: str) -> None:
    """Changing is the parent's."""
    with pytest.raises(StaleHandle):
        CHANGES[change](child)


def test_fork__child_leaves_a_context_without_a_word(child: Reservoir) -> None:
    """The parent's context is not the child's to close."""
    child.__exit__(None, None, None)
    assert child.size == SIZE


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_fork__real_child_looks_and_is_refused(reservoir: Reservoir) -> None:
    """In a true child, what the parent has is seen and cannot be freed."""
    ram = reservoir.allocate(PAGE)
    pid = os.fork()
    if not pid:
        code = 1
        try:
            ram.release()
        except StaleHandle:
            code = 0 if reservoir.usage.allocated == PAGE and ram.refs == 1 else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    ram.release()


def test_threads__allocate_and_free_side_by_side(reservoir: Reservoir) -> None:
    """Two threads never get the same frame, never get dirty memory, and leave everything as it was."""
    faults = list[str]()

    def work(mark: int) -> None:
        for turn in range(100):
            with reservoir.allocate((turn % 7 + 1) * PAGE, transient=bool(turn & 1)) as ram:
                views = [reservoir.view(frame, writable=True) for frame in frames(ram)]
                if any(view.any() for view in views):
                    faults.append("dirty memory")
                for view in views:
                    view[:] = mark
                if not all((view == mark).all() for view in views):
                    faults.append("shared memory")

    threads = [threading.Thread(target=work, args=(mark,)) for mark in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert reservoir.usage == (SIZE, 0, 0, 0, LIMIT)


class Interrupt:
    """Raises ``KeyboardInterrupt`` once, at the n-th place in npt.memory where a signal could be noticed.

    Python looks for signals when a function begins and when a built-in returns: both are profile events.
    """

    def __init__(self, n: int) -> None:
        self.left = n

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        code: CodeType = frame.f_code
        if event in ("call", "c_return") and f"npt{os.sep}memory" in code.co_filename:
            self.left -= 1
            if self.left == 0:
                sys.setprofile(None)
                raise KeyboardInterrupt

    def __enter__(self) -> "Interrupt":
        self.before = sys.getprofile()
        sys.setprofile(self)
        return self

    def __exit__(self, *exc_info: object) -> None:
        sys.setprofile(self.before)


def interrupted_everywhere(scene: Callable[[Reservoir, Interrupt], None]) -> None:
    """Play a scene with one interrupt at each place in turn; everything must be free and zero afterwards."""
    for n in range(1, 2000):
        reservoir, interrupt = Reservoir(SIZE, limit=LIMIT), Interrupt(n)
        scene(reservoir, interrupt)
        assert reservoir.usage == (SIZE, 0, 0, 0, LIMIT), f"interrupted at place {n}"
        assert len(reservoir.allocate(SIZE).spans) == 1
        assert not reservoir.buffer.any()
        if interrupt.left > 0:
            return
    pytest.fail("the scene never ends")


def test_interrupt__allocation_loses_nothing() -> None:
    """An interrupted allocation either never was or is undone."""

    def scene(reservoir: Reservoir, interrupt: Interrupt) -> None:
        ram = None
        try:
            with interrupt:
                ram = reservoir.allocate(4 * PAGE)
        except KeyboardInterrupt:
            assert ram is None
        else:
            ram.release()

    interrupted_everywhere(scene)


def test_interrupt__release_loses_nothing() -> None:
    """An interrupted release either never was or is finished by whoever comes next."""

    def scene(reservoir: Reservoir, interrupt: Interrupt) -> None:
        ram = reservoir.allocate(4 * PAGE)
        fill(ram, 3)
        try:
            with interrupt:
                ram.release()
        except KeyboardInterrupt:
            if ram.refs:
                ram.release()

    interrupted_everywhere(scene)


def test_interrupt__quarantine_loses_nothing() -> None:
    """Frames in quarantine come back whatever is interrupted on their way in or out."""

    def scene(reservoir: Reservoir, interrupt: Interrupt) -> None:
        ram = reservoir.allocate(3 * PAGE)
        views = [reservoir.view(frame, writable=True) for frame in frames(ram)[:2]]
        for frame, view in zip(frames(ram), views, strict=False):
            reservoir.watch(frame, view)
        del view
        try:
            with interrupt:
                ram.release()
                views.pop()[:] = 6
                _ = reservoir.usage
                views.pop()[:] = 6
                _ = reservoir.usage
        except KeyboardInterrupt:
            if ram.refs:
                ram.release()
        views.clear()

    interrupted_everywhere(scene)


def test_interrupt__error_while_zeroing_is_made_good(reservoir: Reservoir, monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames whose zeroing failed are not handed out before it is done."""

    def fail(memory: U8Array, spans: Any) -> None:
        raise KeyboardInterrupt

    ram = reservoir.allocate(SIZE)
    fill(ram, 4)
    with monkeypatch.context() as patch:
        patch.setattr(kernels.frames, "zero_spans", fail)
        with pytest.raises(KeyboardInterrupt):
            ram.release()
    assert reservoir.allocate(SIZE).refs == 1
    assert not reservoir.buffer.any()


@pytest.fixture
def in_finalizer(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """Have a call made in the middle of the reservoir's next freeing, as the collector does with finalizers."""

    def arrange(call: Callable[[], None]) -> None:
        within = Watch.within

        def within_and_call(self: Watch, spans: Any) -> list[int]:
            monkeypatch.setattr(Watch, "within", within)
            call()
            return within(self, spans)

        monkeypatch.setattr(Watch, "within", within_and_call)

    return arrange


def test_finalizer__may_release(reservoir: Reservoir, in_finalizer: Callable[[Callable[[], None]], None]) -> None:
    """A release under our own lock waits for nobody and is finished by the next call."""
    first, second = reservoir.allocate(PAGE), reservoir.allocate(PAGE)
    in_finalizer(second.release)
    first.release()
    assert reservoir.usage.free == SIZE


def test_finalizer__may_not_allocate(reservoir: Reservoir, in_finalizer: Callable[[Callable[[], None]], None]) -> None:
    """Anything else that changes would undo what it interrupts."""
    refused = list[BaseException]()

    def allocate() -> None:
        with pytest.raises(Deadlock) as caught:
            reservoir.allocate(PAGE)
        refused.append(caught.value)

    in_finalizer(allocate)
    reservoir.allocate(PAGE).release()
    assert len(refused) == 1
    assert reservoir.usage.free == SIZE
