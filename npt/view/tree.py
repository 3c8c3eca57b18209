"""The four levels of tables."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.patches import Rectangle

from npt.space.vmspace import VmSpace
from npt.units import ENTRIES, LEVELS, format_size, level_shift
from npt.view import style
from npt.view.pages import tables_used

__all__ = ["tables"]

_MOST = 2000  # boxes a level


def tables(space: VmSpace, *, ax: Axes | None = None) -> Axes:
    """Show the tables of a space as an icicle: root above, leaves below, each as wide as the tables beside it allow.

    Parameters
    ----------
    space
        Whose tables.
    ax
        Where to draw; a new figure unless given.

    Returns
    -------
    matplotlib.axes.Axes
        A box for each table that is in use, by address, every level as wide as all others; its colour says which share of its
        512 entries is used. With more than 2000 tables at a level, a box stands for several that follow each other. A title
        under each level says how many there are and what they take.

    Raises
    ------
    StaleHandle
        The space was destroyed.
    """
    used = tables_used(space)
    on = style.as_axes(ax)
    boxes, shares = [], []
    for level, entries in used.items():
        n = entries.size
        each = max(-(-n // _MOST), 1)
        for first in range(0, n, each):
            some = entries[first : first + each]
            boxes.append(Rectangle((first / n, level - 0.4), some.size / n, 0.8))
            shares.append(float(some.mean()) / ENTRIES)
    drawn = PatchCollection(boxes, cmap=style.AMOUNT, edgecolor="white", linewidth=0.3 if len(boxes) < 300 else 0)
    drawn.set_array(np.array(shares))
    drawn.set_clim(0, 1)
    on.add_collection(drawn)
    on.set(xlim=(0, 1), ylim=(0.5, LEVELS + 0.5), xticks=[], frame_on=False)
    names = {4: "root", 1: "leaf"}
    on.set_yticks(
        list(used),
        [
            f"level {level}{f' ({names[level]})' if level in names else ''}\n{entries.size:,} x 4 KiB\n"
            f"an entry: {format_size(1 << level_shift(level))}"
            for level, entries in used.items()
        ],
    )
    assert on.figure is not None
    on.figure.colorbar(drawn, ax=on, label="share of the 512 entries in use")
    n_tables = sum(entries.size for entries in used.values())
    on.set_title(f"{n_tables:,} tables, {format_size(n_tables * ENTRIES * 8)}, for {space.resident_count:,} resident pages")
    return on
