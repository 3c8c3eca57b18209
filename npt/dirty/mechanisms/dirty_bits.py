"""``DirtyBits``: the engine's own way, a scan of the D bits in the leaf entries."""

import numpy as np
from numpy.typing import NDArray

from npt import kernels
from npt._types import U8Array, U64Array
from npt.dirty.mechanisms.base import Mechanism
from npt.dirty.mechanisms.shadow import empty_words
from npt.space.mappings import Mapping
from npt.space.vmspace import VmSpace
from npt.units import ENTRIES, PAGE_SHIFT, bitmap_bytes

__all__ = ["DirtyBits"]


class DirtyBits(Mechanism):
    """D bits: hardware sets them for nothing, the host reads every entry to find them.

    Counts, for a range or the part of it that is cleared: a collect reads the entry of each page that has a leaf table, and
    so does a clear; a clear writes those that it clears D in, and is one shoot-down, always. A harvest reads once. To turn
    it on is a harvest.

    Notes
    -----
    Uses ``peek_dirty``, ``reset_dirty`` and ``track_dirty`` of the space, so tracking must be on, and what was dirty before
    the start is forgotten by it: peek first, if somebody needs it. Nobody else may harvest the range meanwhile.
    """

    touches_entries = True

    @property
    def name(self) -> str:
        return "dirty-bits"

    def _begin(self, space: VmSpace, n_pages: int) -> None:
        self._space, self._length = space, n_pages << PAGE_SHIFT
        self._mappings: tuple[Mapping, ...] | None = None
        self._reported = empty_words(n_pages)
        self._harvest()

    def _observe(self, number: int, gpas: U64Array, kinds: U8Array) -> None:
        """The marks are in the entries already."""

    def _collect(self) -> U8Array:
        found = self._space.peek_dirty(self._gpa, self._length)
        self._reported.view(np.uint8)[: found.size] = found
        self._count(pte_reads=self._with_table(self._gpa, self._length))
        return found

    def _clear(self, first: int, n_pages: int) -> None:
        gpa, length = self._gpa + (first << PAGE_SHIFT), n_pages << PAGE_SHIFT
        part = empty_words(n_pages)
        kernels.bitmap.shift_down(self._reported, first, part)
        cleared = self._space.reset_dirty(gpa, length, select=part.view(np.uint8)[: bitmap_bytes(n_pages)])
        kernels.mechanisms.drop(self._reported, first, n_pages)
        self._count_clear(gpa, length, cleared)

    def _harvest(self) -> U8Array:
        found = self._space.track_dirty(self._gpa, self._length)
        self._reported.fill(0)
        self._count_clear(self._gpa, self._length, found)
        return found

    def _count_clear(self, gpa: int, length: int, cleared: U8Array) -> None:
        n_cleared = int(np.bitwise_count(cleared).sum(dtype=np.int64))
        self._count(pte_reads=self._with_table(gpa, length), pte_writes=n_cleared, shoot_downs=1)

    def put_back(self, bitmap: U8Array) -> None:
        self._space.set_dirty(self._gpa, self._length, select=bitmap)
        self._reported.view(np.uint8)[: bitmap.size] = bitmap

    # -- which pages have a leaf table ------------------------------------------------------------------------------

    def _with_table(self, gpa: int, length: int) -> int:
        """Pages of a range whose entries exist."""
        mappings = self._space.mappings
        if mappings is not self._mappings:
            self._starts, self._ends = _stretches(mappings)
            self._mappings = mappings
        first = gpa >> PAGE_SHIFT
        pages = np.minimum(self._ends, first + (length >> PAGE_SHIFT)) - np.maximum(self._starts, first)
        return int(pages[pages > 0].sum())


def _stretches(mappings: tuple[Mapping, ...]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First pages, and those after the last, of disjoint stretches of whole leaf tables that cover mappings."""
    starts: list[int] = []
    ends: list[int] = []
    for mapping in mappings:  # by address
        first, end = mapping.gpa >> PAGE_SHIFT, (mapping.gpa + mapping.length) >> PAGE_SHIFT
        start, end = first // ENTRIES * ENTRIES, -(-end // ENTRIES) * ENTRIES
        if ends and start <= ends[-1]:
            ends[-1] = end
        else:
            starts.append(start)
            ends.append(end)
    return np.array(starts, np.int64), np.array(ends, np.int64)
