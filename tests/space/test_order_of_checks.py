"""What is wrong in one call only, and what is told of it; what can be wrong with all, ``test_order_of_pairs`` has."""

from collections.abc import Callable

import numpy as np
import pytest

from npt import (
    AccessDenied,
    Busy,
    Deadlock,
    Fault,
    InvalidArgument,
    NoSuchMapping,
    OutOfSegment,
    Overlap,
)  # fmt: skip
from tests.space.everything import DEVICE, HOLE, PAGE, RAM, ROM, Scene, refused
from tests.space.scene import in_callback

SHORT, SQUARE = np.zeros(1, np.uint8), np.zeros((8, 8), np.uint8)
N = 64 * PAGE
TWO_FAULTS: dict[str, tuple[type[Exception], Callable[[Scene], object]]] = {
    # no such mapping
    "unmap part": (NoSuchMapping, lambda s: s.space.unmap(RAM, PAGE)),
    "unmap more": (NoSuchMapping, lambda s: s.space.unmap(RAM, 65 * PAGE)),
    "unmap two": (NoSuchMapping, lambda s: s.space.unmap(RAM, ROM + 8 * PAGE - RAM)),
    "unmap a hole": (NoSuchMapping, lambda s: s.space.unmap(HOLE, PAGE)),
    "populate into a hole": (NoSuchMapping, lambda s: s.space.populate(ROM + 7 * PAGE, 2 * PAGE)),
    "populate from a hole": (NoSuchMapping, lambda s: s.space.populate(ROM - PAGE, 2 * PAGE)),
    "map_memseg unknown over another": (NoSuchMapping, lambda s: s.vm.map_memseg(9, RAM, PAGE, 3)),
    # the call's own
    "map overlapping": (Overlap, lambda s: s.space.map(s.spare, RAM - PAGE, 2 * PAGE, 3)),
    "map_mmio overlapping": (Overlap, lambda s: s.space.map_mmio(DEVICE, PAGE, 0xFD00_0000)),
    "destroy with mappings": (Busy, lambda s: s.space.destroy()),
    "client.destroy with holds": (Busy, lambda s: s.client.destroy()),
    "scatter wrong shape to read": (InvalidArgument, lambda s: s.readers.scatter(SQUARE)),
    "scatter to read": (AccessDenied, lambda s: s.readers.scatter(np.zeros((2, PAGE), np.uint8))),
    "mark_dirty short to read": (InvalidArgument, lambda s: s.readers.mark_dirty(SHORT[:0])),
    "mark_dirty to read": (AccessDenied, lambda s: s.readers.mark_dirty(SHORT)),
    "page.mark_dirty to read": (AccessDenied, lambda s: s.reader.mark_dirty()),
    "page.writable to read": (AccessDenied, lambda s: s.reader.writable()),
    "write outside, to read": (OutOfSegment, lambda s: s.object_reader.write(4 * PAGE, b"x")),
    "write, to read": (AccessDenied, lambda s: s.guest_reader.write(0, b"x")),
    "hold read-only to write": (Fault, lambda s: s.client.hold(ROM, 3)),
    "hold a hole": (Fault, lambda s: s.client.hold(HOLE, 1)),
    "alloc_memseg taken": (InvalidArgument, lambda s: s.vm.alloc_memseg(0, PAGE)),
    "alloc_memseg taken and too much": (InvalidArgument, lambda s: s.vm.alloc_memseg(0, 2**40)),
}


@pytest.mark.parametrize("name", TWO_FAULTS)
def test_two_faults(scene: Scene, name: str) -> None:
    """Of two faults the one that is checked first is told."""
    error, act = TWO_FAULTS[name]
    refused(scene, lambda: act(scene), error)


@pytest.mark.parametrize("act", [lambda s: s.client.read(HOLE, 0), lambda s: s.client.fault_many([], 1)], ids=["read", "fault"])
def test_nothing_at_all__in_a_callback(scene: Scene, act: Callable[[Scene], object]) -> None:
    """A look-up may not be made in a callback, even if it is for nothing."""
    failure = in_callback(scene.space, lambda: refused(scene, lambda: act(scene), Deadlock))
    if failure is not None:
        raise failure
