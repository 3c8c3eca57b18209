"""Pages on a Hilbert curve: neighbours in memory are neighbours in the picture."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from npt._types import U64Array
from npt.errors import InvalidArgument
from npt.space.vmspace import VmSpace
from npt.units import PAGE_SHIFT, as_count, format_size
from npt.view import style
from npt.view.pages import stretches, together

__all__ = ["curve", "hilbert"]

_MOST_ORDER = 10  # a side of 1024 cells: more are no pixels
_SQUARE = (7.0, 5.6)


def curve(order: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Column and row of each of the ``4**order`` places of a Hilbert curve; each next one is a side apart."""
    at = np.arange(4**order, dtype=np.int64)
    x, y = np.zeros_like(at), np.zeros_like(at)
    for level in range(order):
        side = np.int64(1) << level
        right = (at >> 1) & 1
        up = (at ^ right) & 1
        turned = up == 0
        flipped = turned & (right == 1)
        x[flipped], y[flipped] = side - 1 - x[flipped], side - 1 - y[flipped]
        x[turned], y[turned] = y[turned], x[turned].copy()
        x += side * right
        y += side * up
        at >>= 2
    return x, y


def hilbert(
    space: VmSpace, *, gpa: int | None = None, length: int | None = None, last_written: Any = None, ax: Axes | None = None
) -> Axes:  # fmt: skip
    """Show pages on a Hilbert curve, by state or by the round that last wrote them.

    Parameters
    ----------
    space
        Whose pages.
    gpa, length
        Range in bytes; all that is mapped unless given. What is not mapped takes no place.
    last_written
        Round by page of the range, from ``Rounds.last_written``, 0 for never; needs ``gpa`` and ``length``. Colours then say
        the round, and not the state.
    ax
        Where to draw; a new figure unless given.

    Returns
    -------
    matplotlib.axes.Axes
        Its image has a cell for each page, or, with more than 2**20 pages, for as many that follow each other; such a cell has
        the most of them: dirty before accessed before resident, or the latest round.

    Raises
    ------
    StaleHandle
        The space was destroyed.
    InvalidArgument
        A range that is none, rounds that are not as many as its pages.
    """
    found = stretches(space, gpa, length)
    gpas, states = together(found)
    values, named = (states, None) if last_written is None else _rounds(gpas, gpa, length, last_written)
    on = style.as_axes(ax, size=_SQUARE)
    order = 0
    while 4**order < gpas.size and order < _MOST_ORDER:
        order += 1
    each = -(-gpas.size // 4**order) if gpas.size else 1  # pages a cell
    cells = _most(values, each)
    grid = np.full((1 << order, 1 << order), -1 if named else 0, np.int64)
    x, y = curve(order)
    grid[y[: cells.size], x[: cells.size]] = cells
    _draw(on, grid, named)
    whole = "" if each == 1 else f", {each:,} pages a cell, the most of them shown"
    on.set_title(f"{format_size(gpas.size << PAGE_SHIFT)} mapped, {gpas.size:,} pages along a Hilbert curve{whole}")
    on.set(xticks=[], yticks=[])
    return on


def _most(values: NDArray[Any], each: int) -> NDArray[np.int64]:
    """The largest of so many values that follow each other."""
    padded = np.zeros(-(-values.size // each) * each, np.int64)
    padded[: values.size] = values
    most: NDArray[np.int64] = padded.reshape(-1, each).max(axis=1)
    return most


def _rounds(gpas: U64Array, gpa: int | None, length: int | None, last_written: Any) -> tuple[NDArray[Any], str]:
    """Rounds of the pages that are mapped."""
    if gpa is None or length is None:
        raise InvalidArgument("last_written is of a range: give its gpa and length")
    rounds = np.asarray(last_written)
    if rounds.ndim != 1 or rounds.size != length >> PAGE_SHIFT or rounds.dtype.kind not in "iu":
        raise InvalidArgument(f"last_written must be {length >> PAGE_SHIFT} integers, one for each page of the range")
    as_count(rounds.size, "last_written")
    return rounds[((gpas - np.uint64(gpa)) >> np.uint64(PAGE_SHIFT)).astype(np.int64)], "last written in round"


def _draw(ax: Axes, grid: NDArray[np.int64], named: str | None) -> None:
    if named is None:
        ax.imshow(grid, origin="lower", interpolation="nearest", **style.categories(list(style.STATES.values())))
        style.legend(ax, dict(style.STATES))
        return
    image = ax.imshow(np.ma.masked_less(grid, 0), origin="lower", interpolation="nearest", cmap=style.AMOUNT)
    assert ax.figure is not None
    ax.figure.colorbar(image, ax=ax, label=f"{named} (0: never)")
