"""Views of frames, and the quarantine they cause."""

import gc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from npt import _host as host
from npt import kernels
from npt._types import U8Array
from npt.errors import NotSupported
from npt.memory.reservoir import Reservoir
from tests.memory.scene import BASE, LIMIT, PAGE, SIZE, frames, freed_with_view, view_of

# -- views -------------------------------------------------------------------------------------------------------------


def test_view__shows_the_frame_without_a_copy(reservoir: Reservoir) -> None:
    """What is written through one view is read through another, and in the buffer."""
    view_of(reservoir, 3, writable=True)[5] = 9
    assert view_of(reservoir, 3, writable=False)[5] == 9
    assert np.flatnonzero(reservoir.buffer).tolist() == [3 * PAGE + 5]


def test_view__for_reading_cannot_be_made_writable(reservoir: Reservoir) -> None:
    """A view for reading stays one."""
    view = view_of(reservoir, 0, writable=False)
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
    views = [(frame, view_of(reservoir, frame, writable=False)) for frame in frames(ram)[::3]]
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
    views = [view_of(reservoir, frame, writable=writable) for writable in (False, True)]
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
    view = view_of(reservoir, frames(ram)[0], writable=True)
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


def test_quarantine__view_that_dies_while_its_frame_is_zeroed(reservoir: Reservoir, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its frame is zeroed once more, because the view may have written meanwhile."""
    ram, zeroed, views = reservoir.allocate(PAGE), list[Any](), list[U8Array]()
    views.append(view_of(reservoir, frames(ram)[0], writable=True))
    reservoir.watch(frames(ram)[0], views[0])
    zero_spans = kernels.frames.zero_spans

    def write_late(memory: U8Array, spans: Any, first: int, end: int) -> None:
        zero_spans(memory, spans, first, end)
        zeroed.append(spans.tolist())
        if views:
            views.pop()[:] = 9
        assert reservoir.usage.free == SIZE - PAGE  # as another thread's call would, this settles what it can

    monkeypatch.setattr(kernels.frames, "zero_spans", write_late)
    ram.release()
    assert reservoir.usage.free == SIZE
    assert zeroed == [[[0x1F, 1]], [[0x1F, 1]]]
    assert not reservoir.buffer.any()
