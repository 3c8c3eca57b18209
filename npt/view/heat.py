"""Which pages, in which round: written, or accessed."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from npt._types import U8Array
from npt.dirty.bitmap import count
from npt.dirty.rounds import Rounds
from npt.errors import InvalidArgument
from npt.units import PAGE_SIZE, as_count
from npt.view import style

__all__ = ["heat"]

_ROWS, _COLUMNS = 256, 512


def heat(
    rounds: Rounds | Sequence[U8Array], *, gpa: int = 0, n_pages: int | None = None, how: str = "share", first: int = 1,
    last: int | None = None, ax: Axes | None = None,
) -> Axes:  # fmt: skip
    """Show pages by rounds: when each was dirty, or accessed.

    Parameters
    ----------
    rounds
        ``DirtyLog.rounds``, or bitmaps of one range, one a round.
    gpa, n_pages
        Where the range of bitmaps starts, in bytes, and how many pages it has, if not 8 a byte. Rounds know theirs.
    how
        What a cell shows that stands for several pages or rounds: ``"share"`` of them, or ``"any"``.
    first, last
        Rounds to show, from 1, both included; all unless said.
    ax
        Where to draw; a new figure unless given.

    Returns
    -------
    matplotlib.axes.Axes
        Its image has an address a row and a round a column, at most 256 rows and 512 columns; what a cell stands for is in the
        title. Pages that were never dirty at either end of the range are left out.

    Raises
    ------
    InvalidArgument
        No rounds, bitmaps of different sizes, another ``how``.
    """
    if how not in ("share", "any"):
        raise InvalidArgument(f"how {how!r} must be 'share' or 'any'")
    if isinstance(rounds, Rounds):
        gpa, n_pages = rounds.gpa, rounds.n_pages
        bitmaps = [one.bitmap for one in rounds]
    else:
        bitmaps = [np.asarray(one, np.uint8) for one in rounds]
    if not bitmaps or any(one.size != bitmaps[0].size for one in bitmaps):
        raise InvalidArgument("heat needs rounds, at least one, with bitmaps of one size")
    total = bitmaps[0].size * 8 if n_pages is None else as_count(n_pages, "n_pages", least=1, end=bitmaps[0].size * 8 + 1)
    start = as_count(first, "first", least=1, end=len(bitmaps) + 1) - 1
    stop = len(bitmaps) if last is None else as_count(last, "last", least=start + 1, end=len(bitmaps) + 1)
    low, high = _used(bitmaps[start:stop], total)
    per_page, per_round = -(-(high - low) // _ROWS), -(-(stop - start) // _COLUMNS)
    cells = _cells(bitmaps[start:stop], low, high, per_page, per_round, how)
    on = style.as_axes(ax)
    n_rows, n_columns = cells.shape
    bottom, left = gpa + low * PAGE_SIZE, start + 0.5
    image = on.imshow(
        cells, aspect="auto", origin="lower", interpolation="nearest", cmap=style.AMOUNT, vmin=0, vmax=1,
        extent=(left, left + n_columns * per_round, bottom, bottom + n_rows * per_page * PAGE_SIZE),
    )  # fmt: skip
    style.address_axis(on.yaxis)
    style.count_axis(on.xaxis, "round")
    said = [f"{n:,} {what}" for n, what in ((per_page, "pages"), (per_round, "rounds")) if n > 1]
    each = f"\na cell is {' by '.join(said)}, {how} of them" if said else ""
    on.set_title(f"{sum(map(count, bitmaps[start:stop])):,} times a page was dirty in {stop - start:,} rounds{each}")
    assert on.figure is not None
    on.figure.colorbar(image, ax=on, label="share of pages and rounds" if how == "share" else "any (1) or none (0)")
    return on


def _used(bitmaps: Sequence[U8Array], n_pages: int) -> tuple[int, int]:
    """The pages between the first and the last that are ever set."""
    ever = np.bitwise_or.reduce(np.stack(bitmaps), axis=0)
    pages = np.flatnonzero(np.unpackbits(ever, count=n_pages, bitorder="little"))
    return (int(pages[0]), int(pages[-1]) + 1) if pages.size else (0, n_pages)


def _cells(
    bitmaps: Sequence[U8Array], low: int, high: int, per_page: int, per_round: int, how: str
) -> NDArray[Any]:  # fmt: skip
    """What each cell shows: rows are pages, columns are rounds."""
    n_rows, n_columns = -(-(high - low) // per_page), -(-len(bitmaps) // per_round)
    sums, sizes = np.zeros((n_rows, n_columns)), np.zeros((n_rows, n_columns))
    starts = np.arange(0, high - low, per_page)
    widths = np.diff([*starts.tolist(), high - low])
    for number, bitmap in enumerate(bitmaps):
        found = np.unpackbits(bitmap, count=high, bitorder="little")[low:]
        sums[:, number // per_round] += np.add.reduceat(found, starts, dtype=np.int64)
        sizes[:, number // per_round] += widths
    return sums / sizes if how == "share" else (sums > 0).astype(np.float64)
