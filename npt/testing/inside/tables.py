"""One look at a page table: its arrays, and what can be reached from the root.

Tables are walked level by level with numpy; no kernel is called.
"""

from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from npt._types import U64Array
from npt.formats.base import ADDRESS, FIRST_TABLE_PFN, TABLES_A_LEVEL
from npt.table.tree import PageTable
from npt.units import ENTRIES, LEVELS, PAGE_SHIFT

__all__ = ["Directory", "IntArray", "TablesInside"]

IntArray = NDArray[np.int64]


class Directory(NamedTuple):
    """Present entries of the linked directories of a level, side by side."""

    level: int
    tables: IntArray  # which table each is in
    indices: IntArray  # and where
    entries: U64Array
    children: IntArray  # table of the next level that each names
    starts: IntArray  # first page under each


class TablesInside:
    """A page table: what is there, and what can be reached from the root."""

    def __init__(self, table: PageTable) -> None:
        self.format = table.format
        state = [int(word) for word in table._state]
        self.n_ever = state[0::2]  # by level - 1: tables ever used
        self.n_free = state[1::2]
        self.levels = [
            entries[: n * ENTRIES].reshape(-1, ENTRIES) for entries, n in zip(table.levels, self.n_ever, strict=True)
        ]
        self.counts = [counts[:n].astype(np.int64) for counts, n in zip(table._counts, self.n_ever, strict=True)]
        self.free = [stack[:n].astype(np.int64) for stack, n in zip(table._free, self.n_free, strict=True)]
        self.in_use = [table.tables_in_use(level) for level in range(1, LEVELS + 1)]
        self.resident = int(table.words[0])
        self.touched = table._summary(True)[: self.n_ever[0]]  # by leaf table: 0 if nothing in it is dirty; empty if not used

    @cached_property
    def directories(self) -> list[Directory]:
        """Levels 4 to 2, from the root down; an entry that leads nowhere is listed and not followed."""
        found = []
        tables, starts = np.zeros(1, np.int64), np.zeros(1, np.int64)
        for place in range(LEVELS - 1, 0, -1):
            rows, indices = np.nonzero(self.levels[place][tables])
            entries = self.levels[place][tables[rows], indices]
            pfns = ((entries & np.uint64(ADDRESS)) >> np.uint64(PAGE_SHIFT)).astype(np.int64)
            children = pfns - (FIRST_TABLE_PFN + (place - 1) * TABLES_A_LEVEL)
            below = starts[rows] + (indices << 9 * place)
            found.append(Directory(place + 1, tables[rows], indices, entries, children, below))
            good = self.is_table(place - 1, children)
            tables, starts = children[good], below[good]
        return found

    def is_table(self, place: int, numbers: IntArray) -> NDArray[np.bool_]:
        """Which numbers are those of tables that were ever used."""
        return (numbers >= 0) & (numbers < self.n_ever[place])

    def linked(self, place: int) -> tuple[IntArray, IntArray]:
        """Tables of a level that can be reached, each as often as it can, and the first page under each."""
        if place == LEVELS - 1:
            return np.zeros(1, np.int64), np.zeros(1, np.int64)
        above = self.directories[LEVELS - 2 - place]
        good = self.is_table(place, above.children)
        return above.children[good], above.starts[good]

    @cached_property
    def leaves(self) -> tuple[IntArray, IntArray, U64Array]:
        """Page, flat index and entry of every leaf that is not zero."""
        tables, starts = self.linked(0)
        rows, indices = np.nonzero(self.levels[0][tables])
        places = tables[rows] * ENTRIES + indices
        return starts[rows] + indices, places, self.levels[0].reshape(-1)[places]

    def leaf_of(self, pages: IntArray) -> IntArray:
        """Flat index of pages' leaves, -1 where no leaf table is."""
        tables, starts = self.linked(0)
        order = np.argsort(starts, kind="stable")
        tables, starts = tables[order], starts[order]
        at = np.searchsorted(starts, pages, side="right") - 1
        if not starts.size:
            return np.full(pages.shape, -1, np.int64)
        return np.where((at >= 0) & (pages < starts[at] + ENTRIES), tables[at] * ENTRIES + (pages & (ENTRIES - 1)), -1)
