"""How memory is cut up: a reservoir's free spans, a log's dirty runs."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from npt.dirty.runlists import RUN
from npt.dirty.runlists import runs as as_runs
from npt.memory.reservoir import Reservoir
from npt.units import PAGE_SHIFT, PAGE_SIZE, format_size
from npt.view import style

__all__ = ["fragmentation", "runs"]

_FEW = 10  # bars whose labels have room


def runs(bitmap: NDArray[Any], *, ax: Axes | None = None) -> Axes:
    """Show how long the dirty runs are: how many pages are in runs of which length.

    Parameters
    ----------
    bitmap
        ``uint8``, shape ``(n_bytes,)``, as ``track_dirty`` gives it; or its runs, from ``dirty.runs``.
    ax
        Where to draw; a new figure unless given.

    Returns
    -------
    matplotlib.axes.Axes
        A bar for each power of two: its height is the pages in runs of at least that and less than twice that length.

    Raises
    ------
    TypeError
        Neither a bitmap nor runs.
    """
    found = bitmap if getattr(bitmap, "dtype", None) == RUN else as_runs(bitmap)
    lengths = found["n_pages"].astype(np.int64)
    on = style.as_axes(ax)
    most = int(lengths.max()).bit_length() if lengths.size else 1
    pages = np.bincount(np.log2(np.maximum(lengths, 1)).astype(np.int64), weights=lengths, minlength=most)
    on.bar(np.arange(pages.size), pages, color=style.COLOURS[0], width=0.9)
    on.set_xticks(
        np.arange(pages.size),
        [_range(1 << power) for power in range(pages.size)],
        rotation=30 if pages.size <= _FEW else 60,
        ha="right",
    )
    on.set_xlabel("pages a run")
    style.count_axis(on.yaxis, "pages in such runs")
    on.set_ylim(bottom=0)
    on.set_title(f"{style.counted(int(lengths.sum()), 'dirty page')} in {style.counted(lengths.size, 'run')}")
    return on


def _range(least: int) -> str:
    return "1" if least == 1 else f"{least:,} to {2 * least - 1:,}"


def fragmentation(reservoir: Reservoir, *, ax: Axes | None = None) -> Axes:
    """Show a reservoir's free spans: how much of what is free is in spans of at least a length.

    Parameters
    ----------
    reservoir
        Whose free memory.
    ax
        Where to draw; a new figure unless given.

    Returns
    -------
    matplotlib.axes.Axes
        A falling curve: at a length, the share of the free bytes that an object of that length could take without being split.

    Raises
    ------
    StaleHandle
        The reservoir was closed.
    TypeError
        It is none.
    """
    if not isinstance(reservoir, Reservoir):
        raise TypeError(f"reservoir must be a Reservoir, not {type(reservoir).__name__}")
    spans, limit = reservoir.free_spans, reservoir.limit
    lengths = np.sort(np.array([n for _, n in spans], np.int64))[::-1] << PAGE_SHIFT
    on = style.as_axes(ax)
    free = int(lengths.sum())
    if free:
        share = np.cumsum(lengths) / free  # of the largest, the two largest, ...
        on.step([*lengths, PAGE_SIZE], [*share, 1.0], where="post", color=style.COLOURS[0], marker=".")
    on.set_xscale("log", base=2)
    style.size_axis(on.xaxis, "in spans of at least")
    on.set(xlim=(PAGE_SIZE / 2, 2 * max(limit, PAGE_SIZE)), ylim=(0, 1.02), ylabel="share of the free memory")
    on.set_title(f"{format_size(free)} free in {style.counted(lengths.size, 'span')}" if free else "nothing is free")
    return on
