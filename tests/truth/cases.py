"""Entries for the truth tables, group by group: each group is a product, gone through completely.

A *walk* here is four entries, of levels 4 to 1, of which those below a page are never to be read.
"""

from collections.abc import Iterator
from itertools import product

import numpy as np

from tests.truth.manuals import LEVELS, RIGHTS

__all__ = ["ACCESSES", "GPA", "GROUPS", "INDEX", "ROOT_PFN", "WIDTHS", "Walk", "allowed", "legal_rights"]

Walk = tuple[int, ...]

ACCESSES = "RWX"
WIDTHS = (32, 36, 46, 52)
GPA = 0x51C_D57A_8ABC  # bit 12 is clear: it would hide the same bit of an entry
ROOT_PFN = 0xFEDC
INDEX = {4: 0x00A, 3: 0x073, 2: 0x0AB, 1: 0x1A8}  # where each table's entry of that address is

# Addresses below 4 GiB, so that they are good for each width; that of a large page has no bit below its size.
TABLE_AT = {4: 0x8123_4000, 3: 0x9ABC_D000, 2: 0x4321_5000}
PAGE_AT = {3: 0xC000_0000, 2: 0xA5A0_0000, 1: 0xB6B7_D000}
PAGE_BITS = {"ept": {3: 0xB0, 2: 0xB0, 1: 0x30}, "npt": {3: 0x80, 2: 0x80, 1: 0x00}}  # that it is a page, and write-back
SHIFTS = {"ept": (0, 1, 2), "npt": (0, 1, 2, 63)}  # of the bits of rights
FREE: dict[
    str, dict[int, tuple[int, ...]]
] = {  # bits of a page's entry that are neither rights nor type nor address, and may be either way
    "ept": {3: (6, 8, 9), 2: (6, 8, 9), 1: (6, 7, 8, 9)},
    "npt": {3: (3, 4, 5, 6, 8, 9, 12), 2: (3, 4, 5, 6, 8, 9, 12), 1: (3, 4, 5, 6, 7, 8, 9)},
}
PAGE_LEVELS = (1, 2, 3)


def all_rights(format: str) -> list[int]:
    """Each combination of the bits that grant something."""
    return [sum(bit << shift for bit, shift in zip(bits, SHIFTS[format], strict=True)) for bits in _bits(len(SHIFTS[format]))]


def legal_rights(format: str) -> list[int]:
    """Those that are no misconfiguration where execute-only is known."""
    return [bits for bits in all_rights(format) if RIGHTS[format][_digits(format, bits)] != "wrong"]


def allowed(format: str) -> int:
    """The rights that grant everything."""
    return next(bits for bits in all_rights(format) if RIGHTS[format][_digits(format, bits)] == "RWX")


def _digits(format: str, rights: int) -> str:
    return "".join(str(rights >> shift & 1) for shift in reversed(SHIFTS[format]))


def _bits(n: int) -> Iterator[tuple[int, ...]]:
    return product((0, 1), repeat=n)


def entry(format: str, level: int, rights: int, *, page_level: int) -> int:
    """A good entry of a walk to a page of ``page_level``, but for its rights."""
    if level > page_level:
        return TABLE_AT[level] | rights
    return PAGE_AT.get(level, 0) | PAGE_BITS[format].get(level, 0) | rights


def _walk_to(format: str, page_level: int) -> dict[int, int]:
    return {level: entry(format, level, allowed(format), page_level=page_level) for level in LEVELS}


def rights(format: str) -> Iterator[Walk]:
    """Rights of each entry of a walk, all with all, for each size of page."""
    for page_level in PAGE_LEVELS:
        good = _walk_to(format, page_level)
        for combination in product(all_rights(format), repeat=5 - page_level):
            above = [
                entry(format, level, bits, page_level=page_level) for level, bits in zip(LEVELS, combination, strict=False)
            ]
            yield (*above, *(good[level] for level in LEVELS[len(above) :]))


def single_bits(format: str) -> Iterator[Walk]:
    """Each single bit of each entry the other way round, with all rights of that entry, for each size of page."""
    for page_level in PAGE_LEVELS:
        good = _walk_to(format, page_level)
        for level, bits, bit in product(LEVELS[: 5 - page_level], all_rights(format), range(64)):
            changed = good | {level: entry(format, level, bits, page_level=page_level) ^ 1 << bit}
            yield tuple(changed.values())


def pages(format: str) -> Iterator[Walk]:
    """Types, marks and ignored bits of the entry that maps the page, all with all and all rights, for each size of page."""
    types = range(8 if format == "ept" else 1)
    for page_level in PAGE_LEVELS:
        good, free = _walk_to(format, page_level), FREE[format][page_level]
        for bits, kind, flags in product(all_rights(format), types, _bits(len(free))):
            page = entry(format, page_level, bits, page_level=page_level) & ~(7 << 3) | kind << 3
            page |= sum(flag << bit for flag, bit in zip(flags, free, strict=True))
            yield tuple((good | {page_level: page}).values())


def troubles(format: str) -> Iterator[Walk]:
    """Entries of each kind at each level, all with all: who ends the walk, and what wins."""
    for combination in product(range(len(_kinds(format, 1))), repeat=4):
        yield tuple(_kinds(format, level)[kind] for level, kind in zip(LEVELS, combination, strict=True))


def _kinds(format: str, level: int) -> list[int]:
    """One entry of each kind: absent, ill-formed, granting less and less, a page, an ill-formed page."""
    table = TABLE_AT.get(level, PAGE_AT.get(level, 0) | PAGE_BITS[format].get(level, 0))
    page = PAGE_AT.get(level, 0) | (0x80 if level > 1 else 0)
    if format == "ept":
        kinds = [0, ~7, table | 2, table | 6, table | 1 << 51 | 7, table | 1 << 6 | 1 << 3 | 3]
        kinds += [table | 4, table | 1, table | 3, table | 5, table | 7, page | 0x37, page | 0x30 | 1, page | 0x18 | 7]
        return [kind % 2**64 for kind in [*kinds, page | 0x1000 | 7 | 0x30]]
    kinds = [0, ~1, table | 1 << 51 | 7, table | 1 << 47 | 5, table | 3, table | 1 << 63 | 5, table | 5, table | 1 << 63 | 7]
    kinds += [table | 7, page | 7, page | 1 << 63 | 5, page | 0x2000 | 7, page | 0x100 | 7]
    return [kind % 2**64 for kind in kinds]


def drawn(format: str) -> Iterator[Walk]:
    """Entries drawn at random (the same in each run): a good walk with a few bits of each entry the other way round."""
    draw = np.random.default_rng(9)
    for page_level, at_most, _ in product(PAGE_LEVELS, (1, 2, 4), range(500)):
        flips = [sum({1 << int(bit) for bit in draw.integers(0, 64, draw.integers(0, at_most + 1))}) for _ in LEVELS]
        yield tuple(good ^ flip for good, flip in zip(_walk_to(format, page_level).values(), flips, strict=True))


GROUPS = {"rights": rights, "single bits": single_bits, "pages": pages, "troubles": troubles, "drawn": drawn}
