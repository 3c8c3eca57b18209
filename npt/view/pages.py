"""What is known of each mapped page: the numbers behind the pictures of a space."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from npt._types import U8Array, U64Array
from npt.errors import InvalidArgument
from npt.memory.objects import MmioObject
from npt.space.vmspace import VmSpace
from npt.units import ENTRIES, LEVELS, PAGE_SHIFT, PAGE_SIZE, as_range

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
    "tables_used",
    "together",
]

ABSENT, MAPPED, RESIDENT, ACCESSED, DIRTY, DEVICE = range(6)  # in the order of ``style.STATES``


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
    """
    made = as_space(space)
    if (gpa is None) != (length is None):
        raise InvalidArgument("give a gpa and a length, or neither")
    first, end = (0, made.size) if gpa is None or length is None else _bounds(gpa, length)
    found: list[Stretch] = []
    for start, states in _parts(made, first, end):
        if found and found[-1].gpa + found[-1].length == start:
            found[-1] = Stretch(found[-1].gpa, np.concatenate((found[-1].states, states)))
        else:
            found.append(Stretch(start, states))
    return found


def _bounds(gpa: int, length: int) -> tuple[int, int]:
    start, n_bytes = as_range(gpa, length)
    return start, start + n_bytes


def _parts(space: VmSpace, first: int, end: int) -> Iterator[tuple[int, U8Array]]:
    """Address and states of what each mapping has in a range."""
    for mapping in space.mappings:
        start, stop = max(mapping.gpa, first), min(mapping.gpa + mapping.length, end)
        if start < stop:
            states = _states(space, space.ptes(start, stop - start))
            if isinstance(mapping.obj, MmioObject):
                states[:] = DEVICE
            yield start, states


def _states(space: VmSpace, entries: U64Array) -> U8Array:
    """What the entries say; where dirty bits are not set while nobody tracks them (EPT), none is seen."""
    masks = space.format.masks
    states: U8Array = np.full(entries.size, MAPPED, np.uint8)
    states[entries != 0] = RESIDENT
    states[(entries & masks.accessed) != 0] = ACCESSED
    states[(entries & masks.dirty) != 0] = DIRTY
    return states


def together(found: Sequence[Stretch]) -> tuple[U64Array, U8Array]:
    """Addresses and states of all pages, side by side."""
    if not found:
        return np.empty(0, np.uint64), np.empty(0, np.uint8)
    gpas = [np.uint64(one.gpa) + np.arange(one.states.size, dtype=np.uint64) * np.uint64(PAGE_SIZE) for one in found]
    return np.concatenate(gpas), np.concatenate([one.states for one in found])


def tables_used(space: VmSpace) -> dict[int, NDArray[np.int64]]:
    """How many entries each table has in use, by level from the root, in the order of addresses."""
    mappings = as_space(space).mappings
    firsts = [np.uint64(one.gpa >> PAGE_SHIFT) + np.arange(one.length >> PAGE_SHIFT, dtype=np.uint64) for one in mappings]
    mapped = np.concatenate([np.empty(0, np.uint64), *firsts])
    resident = np.concatenate([np.empty(0, np.bool_), *(space.ptes(one.gpa, one.length) != 0 for one in mappings)])
    used: dict[int, NDArray[np.int64]] = {}
    parents, first = np.unique(mapped // np.uint64(ENTRIES), return_index=True)
    used[1] = np.add.reduceat(resident.astype(np.int64), first) if first.size else np.zeros(0, np.int64)
    for level in range(2, LEVELS + 1):
        above, counts = np.unique(parents // np.uint64(ENTRIES), return_counts=True)
        used[level] = counts.astype(np.int64)
        parents = above
    if not used[LEVELS].size:
        used[LEVELS] = np.zeros(1, np.int64)  # the root is always there
    return {level: used[level] for level in range(LEVELS, 0, -1)}
