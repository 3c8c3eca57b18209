"""Ranges around borders, and trees built over them; for the tests of this room."""

import numpy as np
import pytest

from npt import EPT, NPT, MemAttr, Prot, PteFormat
from npt._types import U64Array
from npt.table.tree import PageTable

PAGE, MIB, GIB = 1 << 12, 1 << 20, 1 << 30
SIZE = 1 << 47
SHIFT = {1: 21, 2: 30, 3: 39}  # what a table of a level covers
FORMATS = [EPT, NPT]
in_both_formats = pytest.mark.parametrize("format", FORMATS, ids=["ept", "npt"])
Range = tuple[int, int]

# Around the borders of a leaf table, of 1 GiB, of 512 GiB, of the whole space.
RANGES: list[Range] = [
    (0, PAGE), (0, 2 * MIB), (0, 2 * MIB + PAGE), (2 * MIB - PAGE, PAGE), (2 * MIB - PAGE, 2 * PAGE), (2 * MIB, PAGE),
    (MIB, 8 * MIB), (GIB - PAGE, 2 * PAGE), (GIB - 3 * MIB, 6 * MIB), (512 * GIB - PAGE, 2 * PAGE),
    (512 * GIB - 3 * MIB, 6 * MIB), (SIZE - PAGE, PAGE), (SIZE - 3 * MIB, 3 * MIB), (GIB - 2 * MIB, GIB + 4 * MIB),
]  # fmt: skip
IDS = [f"{gpa:#x}+{length:#x}" for gpa, length in RANGES]


def in_use(table: PageTable) -> list[int]:
    """Tables in use, root first."""
    return [table.tables_in_use(level) for level in (4, 3, 2, 1)]


def wanted(*ranges: Range) -> list[int]:
    """Tables that ranges need, root first: the slow way."""
    pages = {page for gpa, length in ranges for page in range(gpa, gpa + length, PAGE)}
    return [1] + [len({page >> SHIFT[level] for page in pages}) for level in (3, 2, 1)]


def extent(format: PteFormat, gpa: int, length: int, prot: Prot = Prot.RW) -> U64Array:
    """One extent, with a host frame for each page that tells which page it is."""
    entry = host(gpa) << 12 | format.leaf_bits(prot, MemAttr.WB)
    return np.array([(gpa >> 12, (gpa + length) >> 12, entry, int(prot))], np.uint64)


def host(gpa: int) -> int:
    """Frame behind a page: any, as long as it is its own and below 2**33."""
    return (gpa >> 12) % (1 << 32) + 0x10_0000


def take_down(table: PageTable, gpa: int, length: int) -> int:
    """Vacate and release."""
    record = table.vacate(gpa, length)
    table.release(record)
    return record.n_present
