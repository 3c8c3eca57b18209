"""What there is to see of a guest, so that two of them can be compared; and how many examples a law gets.

The profile's number of examples (100 in CI, 2,000 at night) is for what takes no guest; laws about guests get a part of it.
"""

import numpy as np
from hypothesis import HealthCheck, settings

from npt import PAGE_SIZE, VmSpace
from npt._types import U8Array
from npt.testing import check
from npt.testing.strategies import Built

__all__ = ["bits", "bitmap_of", "few", "entries_of", "pages_of_range", "seen", "tables"]


def few(percent: int) -> settings:
    """So many examples, in percent of the profile's; fixtures go with all examples of a test."""
    n = max(1, settings().max_examples * percent // 100)
    return settings(max_examples=n, suppress_health_check=list(HealthCheck))


def bits(bitmap: U8Array) -> list[int]:
    """Pages that a bitmap names."""
    pages: list[int] = np.flatnonzero(np.unpackbits(bitmap, bitorder="little")).tolist()
    return pages


def bitmap_of(pages: list[int], n_pages: int) -> list[int]:
    """Bytes of the bitmap that names these pages."""
    made = [0] * -(-n_pages // 8)
    for page in pages:
        made[page // 8] |= 1 << page % 8
    return made


def pages_of_range(gpa: int, length: int) -> list[int]:
    """Addresses of its pages."""
    return list(range(gpa, gpa + length, PAGE_SIZE))


def tables(space: VmSpace) -> list[int]:
    """Tables in use, root first."""
    return [space.table.tables_in_use(level) for level in (4, 3, 2, 1)]


def entries_of(space: VmSpace) -> dict[int, int | None]:
    """Leaf entries of all pages that are mapped, by address."""
    return {gpa: space.pte(gpa) for mapping in space.mappings for gpa in pages_of_range(mapping.gpa, mapping.length)}


def seen(built: Built) -> dict[str, object]:
    """All that two guests of one description must have in common, whatever was done first; checked on the way."""
    space = built.space
    check(space)
    return {
        "mappings": [(m.gpa, m.length, m.offset, m.prot) for m in space.mappings],
        "entries": entries_of(space),
        "tables": tables(space),
        "resident": space.resident_count,
        "refs": [obj.refs for obj in built.objects],
        "usage": built.reservoir.usage,
        "bytes": built.reservoir.buffer.tobytes(),
        "generation": space.generation,
        "tracking": space.tracking,
    }
