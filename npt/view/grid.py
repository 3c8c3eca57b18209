"""Bitmaps of one range, one a round, as a grid of pages by rounds."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from npt._types import U8Array
from npt.dirty.rounds import Rounds
from npt.errors import InvalidArgument
from npt.units import PAGE_SHIFT, as_count

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
    """

    cells: NDArray[np.float64]
    gpa: int
    per_page: int
    per_round: int
    first: int
    n_rounds: int
    n_set: int


def grid(
    rounds: Rounds | Sequence[U8Array], *, gpa: int, n_pages: int | None, how: str, first: int, last: int | None,
    most: tuple[int, int],
) -> Grid:  # fmt: skip
    """Bin bitmaps to at most so many rows and columns, from the first page that is ever set to the last."""
    if how not in _WAYS:
        raise InvalidArgument(f"how {how!r} must be 'share' or 'any'")
    if isinstance(rounds, Rounds):
        gpa, n_pages = rounds.gpa, rounds.n_pages
        bitmaps = [one.bitmap for one in rounds]
    else:
        bitmaps = [np.asarray(one, np.uint8) for one in rounds]
    if not bitmaps or any(one.size != bitmaps[0].size for one in bitmaps):
        raise InvalidArgument("this needs rounds, at least one, with bitmaps of one size")
    n_bits = bitmaps[0].size * 8
    total = n_bits if n_pages is None else as_count(n_pages, "n_pages", least=1, end=n_bits + 1)
    start = as_count(first, "first", least=1, end=len(bitmaps) + 1) - 1
    stop = len(bitmaps) if last is None else as_count(last, "last", least=start + 1, end=len(bitmaps) + 1)
    shown = bitmaps[start:stop]
    low, high = _used(shown, total)
    per_page, per_round = -(-(high - low) // most[0]), -(-(stop - start) // most[1])
    cells, n_set = _cells(shown, low, high, per_page, per_round, how)
    return Grid(cells, gpa + (low << PAGE_SHIFT), per_page, per_round, start + 1, stop - start, n_set)


def _used(bitmaps: Sequence[U8Array], n_pages: int) -> tuple[int, int]:
    """The pages between the first and the last that are ever set; all if none is."""
    ever = np.bitwise_or.reduce(np.stack(bitmaps), axis=0)
    pages = np.flatnonzero(np.unpackbits(ever, count=n_pages, bitorder="little"))
    return (int(pages[0]), int(pages[-1]) + 1) if pages.size else (0, n_pages)


def _cells(
    bitmaps: Sequence[U8Array], low: int, high: int, per_page: int, per_round: int, how: str
) -> tuple[NDArray[Any], int]:  # fmt: skip
    """What each cell shows, and how many bits are set."""
    starts = np.arange(0, high - low, per_page)
    widths = np.diff([*starts.tolist(), high - low])
    sums = np.zeros((starts.size, -(-len(bitmaps) // per_round)))
    sizes = np.zeros_like(sums)
    for number, bitmap in enumerate(bitmaps):
        found = np.unpackbits(bitmap, count=high, bitorder="little")[low:]
        sums[:, number // per_round] += np.add.reduceat(found, starts, dtype=np.int64)
        sizes[:, number // per_round] += widths
    return sums / sizes if how == "share" else (sums > 0).astype(np.float64), int(sums.sum())
