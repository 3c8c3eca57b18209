"""Which pages, in which round: written, or accessed."""

from collections.abc import Sequence

from matplotlib.axes import Axes

from npt._types import U8Array
from npt.dirty.rounds import Rounds
from npt.units import PAGE_SHIFT
from npt.view import style
from npt.view.grid import grid

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
    found = grid(rounds, gpa=gpa, n_pages=n_pages, how=how, first=first, last=last, most=(_ROWS, _COLUMNS))
    on = style.as_axes(ax)
    n_rows, n_columns = found.cells.shape
    left = found.first - 0.5
    image = on.imshow(
        found.cells, aspect="auto", origin="lower", interpolation="nearest", cmap=style.AMOUNT, vmin=0, vmax=1,
        extent=(
            left, left + n_columns * found.per_round, found.gpa, found.gpa + (n_rows * found.per_page << PAGE_SHIFT)
        ),
    )  # fmt: skip
    style.address_axis(on.yaxis)
    style.count_axis(on.xaxis, "round")
    said = [f"{n:,} {what}" for n, what in ((found.per_page, "pages"), (found.per_round, "rounds")) if n > 1]
    each = f"\na cell is {' by '.join(said)}, {how} of them" if said else ""
    on.set_title(f"{found.n_set:,} times a page was dirty in {found.n_rounds:,} rounds{each}")
    assert on.figure is not None
    on.figure.colorbar(image, ax=on, label="share of pages and rounds" if how == "share" else "any (1) or none (0)")
    return on
