"""What several test files of this room start from."""

import numpy as np

from npt._types import U8Array
from npt.memory.objects import RamObject
from npt.memory.reservoir import Reservoir

PAGE = 0x1000
SIZE = 0x20 * PAGE
LIMIT = 0x30 * PAGE
BASE = 0x100000


def frames(ram: RamObject) -> list[int]:
    """Frames of an object, counted from 0."""
    base = ram.reservoir.base_pfn
    return [pfn - base for span in ram.spans for pfn in range(span.pfn, span.pfn + span.n_pages)]


def view_of(reservoir: Reservoir, frame: int, *, writable: bool) -> U8Array:
    """One frame, counted from 0, as holds give it out."""
    return np.frombuffer(reservoir.backing.windows[writable], np.uint8, PAGE, frame * PAGE)


def fill(ram: RamObject, value: int) -> None:
    for frame in frames(ram):
        view_of(ram.reservoir, frame, writable=True)[:] = value


def freed_with_view(reservoir: Reservoir, *, transient: bool = False) -> tuple[int, U8Array]:
    """A frame of an object that is gone, and a view of it that is not."""
    ram = reservoir.allocate(PAGE, transient=transient)
    (frame,) = frames(ram)
    view = view_of(reservoir, frame, writable=True)
    view[:] = 7
    reservoir.watch(frame, view)
    ram.release()
    return frame, view
