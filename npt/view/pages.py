"""What is known of each mapped page: the numbers behind the pictures of a space."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from npt._types import U8Array, U64Array
from npt.errors import InvalidArgument
from npt.memory.objects import MmioObject
from npt.space.mappings import Mapping
from npt.space.vmspace import VmSpace
from npt.units import ENTRIES, LEVELS, PAGE_SHIFT, as_range, check_inside, level_shift

__all__ = [
    "ABSENT",
    "ACCESSED",
    "DEVICE",
    "DIRTY",
    "MAPPED",
    "RESIDENT",
    "Stretch",
    "as_space",
    "stretches",
    "tables_shared",
    "tables_used",
    "together",
]

ABSENT, MAPPED, RESIDENT, ACCESSED, DIRTY, DEVICE = range(6)  # in the order of ``style.STATES``

_PIECE = 1 << 30  # bytes of addresses that are looked at at a time: what a level 2 table covers


class Stretch(NamedTuple):
    """Mapped pages side by side.

    Attributes
    ----------
    gpa : int
        Byte address of the first.
    states : numpy.ndarray
        ``uint8``, one of the constants above for each page.
    """

    gpa: int
    states: U8Array

    @property
    def length(self) -> int:
        """In bytes."""
        return self.states.size << PAGE_SHIFT


def as_space(space: Any) -> VmSpace:
    """A space that is there."""
    if not isinstance(space, VmSpace):
        raise TypeError(f"space must be a VmSpace, not {type(space).__name__}")
    _ = space.size  # one that is destroyed says so
    return space


def stretches(space: VmSpace, gpa: int | None = None, length: int | None = None) -> list[Stretch]:
    """All that is mapped, by address, neighbours together; with a range, its part of that.

    Raises
    ------
    StaleHandle
        The space was destroyed.
    InvalidArgument
        A ``gpa`` without a ``length``, or the other way round, or a range that is none.
    BeyondSpace
        A range that reaches past the end.
    """
    made = as_space(space)
    if (gpa is None) != (length is None):
        raise InvalidArgument("give a gpa and a length, or neither")
    first, n_bytes = (0, made.size) if gpa is None or length is None else as_range(gpa, length)
    check_inside(first, n_bytes, made.size)
    found: list[tuple[int, list[U8Array]]] = []
    reached = -1
    for start, states in _parts(made, first, first + n_bytes):
        if start != reached:
            found.append((start, []))
        found[-1][1].append(states)
        reached = start + (states.size << PAGE_SHIFT)
    return [Stretch(start, np.concatenate(parts)) for start, parts in found]


def _parts(space: VmSpace, first: int, end: int) -> Iterator[tuple[int, U8Array]]:
    """Address and states of what each mapping has in a range."""
    for mapping in space.mappings:
        start, stop = max(mapping.gpa, first), min(mapping.gpa + mapping.length, end)
        for gpa, entries in _entries(space, start, stop):
            states = _states(space, entries)
            if isinstance(mapping.obj, MmioObject):
                states[:] = DEVICE
            yield gpa, states


def _entries(space: VmSpace, start: int, stop: int) -> Iterator[tuple[int, U64Array]]:
    """Addresses and entries, cut where directories end, so that what is in memory at a time is little."""
    while start < stop:
        end = min((start // _PIECE + 1) * _PIECE, stop)
        yield start, space.ptes(start, end - start)
        start = end


def _states(space: VmSpace, entries: U64Array) -> U8Array:
    """What the entries say; where A and D bits are not set while nobody tracks them (EPT), none are seen."""
    masks = space.format.masks
    states: U8Array = np.full(entries.size, MAPPED, np.uint8)
    states[entries != 0] = RESIDENT
    states[(entries & masks.accessed) != 0] = ACCESSED
    states[(entries & masks.dirty) != 0] = DIRTY
    return states


def together(found: Sequence[Stretch]) -> U8Array:
    """States of all pages, side by side."""
    return np.concatenate([np.empty(0, np.uint8), *(one.states for one in found)])


def tables_used(space: VmSpace) -> dict[int, NDArray[np.int64]]:
    """How many entries each table has in use, by level from the root, in the order of addresses."""
    parts = [
        _leaves(gpa, entries)
        for one in as_space(space).mappings
        for gpa, entries in _entries(space, one.gpa, one.gpa + one.length)
    ]
    nothing = np.empty(0, np.int64)
    parents, which = np.unique(np.concatenate([nothing, *(numbers for numbers, _ in parts)]), return_inverse=True)
    leaves = np.zeros(parents.size, np.int64)
    np.add.at(leaves, which, np.concatenate([nothing, *(counts for _, counts in parts)]))
    used = {1: leaves}
    for level in range(2, LEVELS + 1):
        parents, counts = np.unique(parents // ENTRIES, return_counts=True)
        used[level] = counts.astype(np.int64)
    if not used[LEVELS].size:
        used[LEVELS] = np.zeros(1, np.int64)  # the root is always there
    return {level: used[level] for level in range(LEVELS, 0, -1)}


def _leaves(gpa: int, entries: U64Array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers of the leaf tables that entries lie in, and how many of each are in use."""
    first = gpa >> PAGE_SHIFT
    numbers = np.arange(first // ENTRIES, (first + entries.size - 1) // ENTRIES + 1, dtype=np.int64)
    starts = np.maximum(numbers * ENTRIES - first, 0)
    return numbers, np.add.reduceat(entries != 0, starts, dtype=np.int64)


def tables_shared(space: VmSpace) -> dict[int, list[int]]:
    """Places, in the order of addresses, of the tables in which more than one mapping lies, by level from the root."""
    mappings = as_space(space).mappings
    return {level: _shared(mappings, level_shift(level + 1)) for level in range(LEVELS, 0, -1)}


def _shared(mappings: Sequence[Mapping], shift: int) -> list[int]:
    """Those of a level whose tables cover ``2**shift`` bytes each."""
    shared: list[int] = []
    place = last = -1
    for one in mappings:
        first, end = one.gpa >> shift, (one.gpa + one.length - 1) >> shift
        if first != last:
            place += 1
        elif shared[-1:] != [place]:
            shared.append(place)
        place, last = place + end - first, end
    return shared
