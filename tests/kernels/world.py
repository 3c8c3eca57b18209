"""What kernels work on, made by hand in slow and obvious Python: level arrays, extents, leaf tables."""

import random
from collections.abc import Iterable

import numpy as np

from npt._types import U8Array, U64Array

TOP = 1 << 63  # an entry with this bit set must never be taken for a negative number
ADDRESS = 0x000F_FFFF_FFFF_F000
NONE = 2**64 - 1
FIRST_TABLE = 1 << 33


def u64(*values: int) -> U64Array:
    """Words."""
    return np.array(values, np.uint64)


def bitmap(bits: Iterable[int], n_words: int) -> U64Array:
    """Words with these bits set."""
    words = [0] * n_words
    for bit in bits:
        words[bit // 64] |= 1 << bit % 64
    return np.array(words, np.uint64)


def bits(words: U64Array | U8Array) -> set[int]:
    """Numbers of the bits that are set."""
    size = words.dtype.itemsize * 8
    return {size * i + k for i, word in enumerate(words.tolist()) for k in range(size) if word >> k & 1}


class World:
    """Four level arrays with room for a few tables each, filled entry by entry.

    Parameters
    ----------
    n_tables
        Room of each level, leaf level first; the root is table 0 of the last.
    table_bits
        What a directory entry has beside its address.
    """

    def __init__(self, n_tables: tuple[int, int, int, int] = (16, 8, 4, 1), table_bits: int = 0x7) -> None:
        self.levels = tuple(np.zeros(512 * n, np.uint64) for n in n_tables)
        self.words = np.zeros(8, np.uint64)
        self.table_bits = table_bits
        self._tables: list[dict[int, int]] = [{}, {}, {}, {0: 0}]  # by level: what a table covers -> its number

    def table(self, page: int, level: int = 0) -> int:
        """Number of the table of a level (0 = leaf) that covers a page; made, and linked, if it is not there."""
        tables = self._tables[level]
        covered = page >> 9 * (level + 1)
        if covered not in tables:
            parent = self.table(page, level + 1)
            tables[covered] = number = len(tables)
            pfn = FIRST_TABLE + (level << 27) + number
            self.levels[level + 1][512 * parent + (covered & 511)] = pfn << 12 | self.table_bits
        return tables[covered]

    def leaf(self, page: int) -> int:
        """Flat index of a page's leaf entry, whose table is made if it is not there."""
        return 512 * self.table(page) + page % 512

    def put(self, page: int, entry: int) -> int:
        """Store a leaf entry; return its flat index."""
        leaf = self.leaf(page)
        self.levels[0][leaf] = entry
        return leaf

    def covers(self, page: int) -> bool:
        """Whether there is a leaf table for a page."""
        return page >> 9 in self._tables[0]

    def get(self, page: int) -> int:
        """A leaf entry; 0 where there is no table."""
        return int(self.levels[0][self.leaf(page)]) if self.covers(page) else 0


def extents_of(*rows: tuple[int, int, int, int]) -> U64Array:
    """Extents: first page, page after the last, entry of the first page, protection."""
    return np.array(rows, np.uint64).reshape(-1, 4)


def entry_in(extents: U64Array, page: int) -> tuple[int, int] | None:
    """Fresh entry and protection of a page of an extent, or None where there is none."""
    for first, end, entry, prot in extents.tolist():
        if first <= page < end:
            return (entry + (page - first << 12)) % 2**64, prot
    return None


def random_entries(seed: int, n: int, *, absent: float = 0.3) -> U64Array:
    """Entries with every bit drawn, bit 63 among them; some are zero."""
    numbers = random.Random(seed)
    return np.array([0 if numbers.random() < absent else numbers.getrandbits(64) for _ in range(n)], np.uint64)
