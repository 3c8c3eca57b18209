"""Bitmaps of one range, one a round, as a grid of pages by rounds."""

from collections.abc import Iterable, Iterator, Sequence
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from npt._types import U8Array
from npt.dirty.rounds import Rounds
from npt.errors import InvalidArgument
from npt.units import PAGE_SHIFT, as_count, as_range, check_bitmap_type

__all__ = ["Grid", "grid"]

_WAYS = ("share", "any")


class Grid(NamedTuple):
    """Cells that stand for some pages in some rounds.

    Attributes
    ----------
    cells : numpy.ndarray
        ``float64``, a row for each stretch of pages, lowest first, a column for each stretch of rounds.
    gpa : int
        Byte address of the first row.
    per_page, per_round : int
        What a cell stands for; the last ones for less.
    first, n_rounds : int
        Number of the first round, from 1, and how many there are.
    n_set : int
        How often a page was set, in all.
    n_pages : int
        How many pages the rows stand for.
    """

    cells: NDArray[np.float64]
    gpa: int
    per_page: int
    per_round: int
    first: int
    n_rounds: int
    n_set: int
    n_pages: int


def grid(
    rounds: Rounds | Sequence[U8Array], *, gpa: int, n_pages: int | None, how: str, first: int, last: int | None,
    most: tuple[int, int],
) -> Grid:  # fmt: skip
    """Bin bitmaps to at most so many rows and columns, from the first page that is ever set to the last."""
    if how not in _WAYS:
        raise InvalidArgument(f"how {how!r} must be 'share' or 'any'")
    if not len(rounds):
        raise InvalidArgument("this needs rounds, at least one")
    if isinstance(rounds, Rounds):
        gpa, total = rounds.gpa, rounds.n_pages
    else:
        n_bits = _n_bits(rounds)
        total = n_bits if n_pages is None else as_count(n_pages, "n_pages", least=1, end=n_bits + 1)
    gpa, _ = as_range(gpa, total << PAGE_SHIFT)
    start = as_count(first, "first", least=1, end=len(rounds) + 1) - 1
    stop = len(rounds) if last is None else as_count(last, "last", least=start + 1, end=len(rounds) + 1)
    low, high = _used(_shown(rounds, start, stop), total)
    per_page, per_round = -(-(high - low) // most[0]), -(-(stop - start) // most[1])
    cells, n_set = _cells(_shown(rounds, start, stop), stop - start, (low, high), (per_page, per_round), how)
    return Grid(cells, gpa + (low << PAGE_SHIFT), per_page, per_round, start + 1, stop - start, n_set, high - low)


def _n_bits(bitmaps: Sequence[Any]) -> int:
    """How many each has; refuse what are no bitmaps of one range."""
    for one in bitmaps:
        check_bitmap_type(one, "a bitmap")
        if one.ndim != 1 or one.size != bitmaps[0].size:
            raise InvalidArgument("this needs bitmaps of one size and one-dimensional")
    return 8 * int(bitmaps[0].size)


def _shown(rounds: Rounds | Sequence[U8Array], start: int, stop: int) -> Iterator[U8Array]:
    """Bitmaps one by one: those of a log are unpacked only while they are looked at."""
    for number in range(start, stop):
        yield rounds[number + 1].bitmap if isinstance(rounds, Rounds) else rounds[number]


def _used(bitmaps: Iterable[U8Array], n_pages: int) -> tuple[int, int]:
    """The pages between the first and the last that are ever set; all if none is."""
    ever = reduce(np.bitwise_or, bitmaps)
    pages = np.flatnonzero(np.unpackbits(ever, count=n_pages, bitorder="little"))
    return (int(pages[0]), int(pages[-1]) + 1) if pages.size else (0, n_pages)


def _cells(
    bitmaps: Iterable[U8Array], n_rounds: int, pages: tuple[int, int], per: tuple[int, int], how: str
) -> tuple[NDArray[Any], int]:  # fmt: skip
    """What each cell shows, and how many bits are set."""
    (low, high), (per_page, per_round) = pages, per
    starts = np.arange(0, high - low, per_page)
    widths = np.diff([*starts.tolist(), high - low])
    sums = np.zeros((starts.size, -(-n_rounds // per_round)))
    sizes = np.zeros_like(sums)
    for number, bitmap in enumerate(bitmaps):
        found = np.unpackbits(bitmap, count=high, bitorder="little")[low:]
        sums[:, number // per_round] += np.add.reduceat(found, starts, dtype=np.int64)
        sizes[:, number // per_round] += widths
    return sums / sizes if how == "share" else (sums > 0).astype(np.float64), int(sums.sum())
