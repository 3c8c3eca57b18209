"""Pages on a Hilbert curve: neighbours in memory are neighbours in the picture."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from npt.errors import InvalidArgument
from npt.space.vmspace import VmSpace
from npt.units import PAGE_SHIFT, format_size
from npt.view import style
from npt.view.pages import ABSENT, ACCESSED, DEVICE, DIRTY, MAPPED, RESIDENT, Stretch, stretches, together

__all__ = ["curve", "hilbert"]

_MOST_ORDER = 10  # a side of 1024 cells: more are no pixels
_SQUARE = (7.0, 5.6)
_RANKS = np.array([ABSENT, MAPPED, DEVICE, RESIDENT, ACCESSED, DIRTY], np.uint8)  # of some states, a cell shows the last
_RANK = np.argsort(_RANKS).astype(np.uint8)  # of a state


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
        the most of them: dirty before accessed, resident, device and mapped, or the latest round. Cells behind the last page
        are empty.

    Raises
    ------
    StaleHandle
        The space was destroyed.
    InvalidArgument
        A range that is none, rounds that are not as many as its pages, or below 0.
    BeyondSpace
        A range that reaches past the end.
    """
    found = stretches(space, gpa, length)
    states = together(found)
    values = _RANK[states] if last_written is None else _rounds(found, gpa, length, last_written)
    on = style.as_axes(ax, size=_SQUARE)
    order = 0
    while 4**order < states.size and order < _MOST_ORDER:
        order += 1
    each = -(-states.size // 4**order) if states.size else 1  # pages a cell
    cells = _most(values, each) if last_written is not None else _RANKS[_most(values, each)]
    grid = np.ma.masked_array(np.full((1 << order, 1 << order), ABSENT, np.int64), mask=True)
    x, y = curve(order)
    grid[y[: cells.size], x[: cells.size]] = cells
    _draw(on, grid, by_state=last_written is None)
    whole = "" if each == 1 else f", {each:,} pages a cell,\nthe most of them shown"
    pages = style.counted(states.size, "page")
    size = format_size(states.size << PAGE_SHIFT)
    on.set_title(f"{size} mapped, {pages} along a Hilbert curve{whole}" if found else "nothing is mapped")
    on.set(xticks=[], yticks=[])
    return on


def _most(values: NDArray[Any], each: int) -> NDArray[np.int64]:
    """The largest of so many values that follow each other."""
    padded = np.zeros(-(-values.size // each) * each, values.dtype)
    padded[: values.size] = values
    most: NDArray[np.int64] = padded.reshape(-1, each).max(axis=1).astype(np.int64)
    return most


def _rounds(found: Sequence[Stretch], gpa: Any, length: Any, last_written: Any) -> NDArray[Any]:
    """Rounds of the pages that are mapped."""
    if gpa is None or length is None:
        raise InvalidArgument("last_written is of a range: give its gpa and length")
    rounds, n_pages = np.asarray(last_written), int(length) >> PAGE_SHIFT
    if rounds.ndim != 1 or rounds.size != n_pages or rounds.dtype.kind not in "iu" or int(rounds.min()) < 0:
        raise InvalidArgument(f"last_written must be {n_pages} integers, one for each page of the range, 0 or more")
    starts = [(one.gpa - int(gpa) >> PAGE_SHIFT, one.states.size) for one in found]
    return np.concatenate([rounds[:0], *(rounds[start : start + size] for start, size in starts)])


def _draw(ax: Axes, grid: NDArray[np.int64], *, by_state: bool) -> None:
    if by_state:
        ax.imshow(grid, origin="lower", interpolation="nearest", **style.categories(list(style.STATES.values())))
        style.legend(ax, {name: colour for name, colour in style.STATES.items() if name != "not mapped"})
        return
    image = ax.imshow(grid, origin="lower", interpolation="nearest", **style.amount(max(float(grid.max() or 0), 2), least=1))
    assert ax.figure is not None
    bar = ax.figure.colorbar(image, ax=ax, extend="min")
    style.count_axis(bar.ax.yaxis, "last written in round (grey: never)")
