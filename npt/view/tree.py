"""The four levels of tables."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.patches import Rectangle

from npt.space.vmspace import VmSpace
from npt.units import ENTRIES, LEVELS, format_size, level_shift
from npt.view import style
from npt.view.pages import tables_shared, tables_used

__all__ = ["tables"]

_MOST = 2000  # boxes a level
_FEW = 300  # boxes that can be told apart


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
        512 entries is used, grey that none is. A frame marks tables in which several mappings lie. With more than 2000 tables
        at a level, a box stands for several that follow each other: for their mean, framed if one of them is shared. Each
        level says how many tables it has and how many of them are shared.

    Raises
    ------
    StaleHandle
        The space was destroyed.
    """
    used, shared = tables_used(space), tables_shared(space)
    on = style.as_axes(ax)
    boxes, shares, frames = [], [], []
    for level, entries in used.items():
        n = entries.size
        each = max(-(-n // _MOST), 1)
        for first in range(0, n, each):
            some = entries[first : first + each]
            boxes.append(Rectangle((first / n, level - 0.4), some.size / n, 0.8))
            shares.append(float(some.mean()) / ENTRIES)
        for number in dict.fromkeys(place // each for place in shared[level]):
            frames.append(boxes[len(boxes) - -(-n // each) + number])
    edge = 0.3 if len(boxes) < _FEW else 0
    drawn = PatchCollection(boxes, edgecolor=on.get_facecolor(), linewidth=edge, **style.amount())
    drawn.set_array(np.array(shares))
    on.add_collection(drawn)
    on.add_collection(PatchCollection(frames, facecolor="none", edgecolor=style.COLOURS[5], linewidth=1.5))
    on.set(xlim=(-0.005, 1.005), ylim=(0.5, LEVELS + 0.5), xticks=[], frame_on=False)
    names = {4: "root", 1: "leaf"}
    on.set_yticks(
        list(used),
        [
            f"level {level}{f' ({names[level]})' if level in names else ''}\n{entries.size:,} x 4 KiB\n"
            f"{len(shared[level]):,} shared\nan entry: {format_size(1 << level_shift(level))}"
            for level, entries in used.items()
        ],
    )
    assert on.figure is not None
    on.figure.colorbar(drawn, ax=on, extend="min", label="share of the 512 entries in use (grey: none)")
    n_tables = sum(entries.size for entries in used.values())
    taken = format_size(n_tables * ENTRIES * 8)
    if frames:
        on.set_xlabel("framed: several mappings lie in it")
    on.set_title(f"{style.counted(n_tables, 'table')}, {taken}, for {style.counted(space.resident_count, 'resident page')}")
    return on
