"""Which pages, in which round: written, or accessed."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.colors import to_hex

from npt._types import U8Array
from npt.dirty.rounds import Rounds
from npt.units import PAGE_SHIFT
from npt.view import style
from npt.view.grid import grid

__all__ = ["heat"]

_ROWS, _COLUMNS = 256, 512


def heat(
    rounds: Rounds | Sequence[U8Array], *, gpa: int = 0, n_pages: int | None = None, how: str = "share", first: int = 1,
    last: int | None = None, what: str = "dirty", ax: Axes | None = None,
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
    what
        What a page is that is set, for the title: ``"dirty"``, ``"accessed"``.
    ax
        Where to draw; a new figure unless given.

    Returns
    -------
    matplotlib.axes.Axes
        Its image has an address a row and a round a column, at most 256 rows and 512 columns; what a cell stands for is in the
        title. Grey is none at all; the lightest colour is the largest share that there is. Pages that were never dirty at
        either end of the range are left out.

    Raises
    ------
    InvalidArgument
        No rounds, bitmaps of different sizes or of none, another ``how``, rounds or pages that there are not, an unaligned
        ``gpa``.
    TypeError
        Bitmaps that are not ``uint8``.
    """
    found = grid(rounds, gpa=gpa, n_pages=n_pages, how=how, first=first, last=last, most=(_ROWS, _COLUMNS))
    if not isinstance(what, str):
        raise TypeError(f"what must be a word, not {type(what).__name__}")
    on = style.as_axes(ax)
    n_rows, n_columns = found.cells.shape
    left = found.first - 0.5
    image = on.imshow(
        found.cells, aspect="auto", origin="lower", interpolation="nearest", **style.amount(float(found.cells.max()) or 1.0),
        extent=(
            left, left + n_columns * found.per_round, found.gpa, found.gpa + (n_rows * found.per_page << PAGE_SHIFT)
        ),
    )  # fmt: skip
    on.set(xlim=(left, left + found.n_rounds), ylim=(found.gpa, found.gpa + (found.n_pages << PAGE_SHIFT)))
    style.address_axis(on.yaxis)
    style.count_axis(on.xaxis, "round")
    said = [f"{n:,} {what}" for n, what in ((found.per_page, "pages"), (found.per_round, "rounds")) if n > 1]
    each = f"\na cell is {' by '.join(said)}, {how} of them" if said else ""
    times, of = style.counted(found.n_set, "time"), style.counted(found.n_rounds, "round")
    on.set_title(f"{times} a page was {what} in {of}{each}")
    assert on.figure is not None
    if how == "share":
        on.figure.colorbar(image, ax=on, extend="min", label="share of pages and rounds (grey: none)")
    else:
        style.legend(on, {"any": to_hex(image.cmap(1.0)), "none": style.NONE})
    return on
