"""Speeds, each beside the limit of the memory."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from npt.errors import InvalidArgument
from npt.studies.results import Results
from npt.units import format_size
from npt.view import style

__all__ = ["bench"]


def bench(results: Results, *, format: str | None = None, ax: Axes | None = None) -> Axes:
    """Show throughput against size and share of dirty pages, with the limit drawn.

    Parameters
    ----------
    results
        Of ``studies.throughput``, or ``npt bench --json``.
    format
        ``"ept"`` or ``"npt"``; the first one there is unless said.
    ax
        Where to draw; a new figure unless given.

    Returns
    -------
    matplotlib.axes.Axes
        A group of bars for each operation, a bar for each size: how fast it was as a share of what the memory can do, which
        is the line at 1.

    Raises
    ------
    InvalidArgument
        Results of something else, or not of this format.
    """
    if not isinstance(results, Results):
        raise TypeError(f"results must be Results, not {type(results).__name__}")
    rows = _rows(results, format)
    sizes = sorted({row["size"] for row in rows})
    names = list(dict.fromkeys(_name(row) for row in rows))
    on = style.as_axes(ax)
    width = 0.8 / len(sizes)
    for number, size in enumerate(sizes):
        found = {_name(row): row["of_limit"] for row in rows if row["size"] == size}
        at = np.arange(len(names)) + (number - (len(sizes) - 1) / 2) * width
        heights = [np.nan if found.get(name) is None else float(found[name]) for name in names]
        on.bar(at, heights, width=width, color=style.COLOURS[number % len(style.COLOURS)], label=format_size(size))
    on.axhline(1, color=style.GREY, linewidth=1, linestyle="--")
    on.set_xticks(np.arange(len(names)), names, rotation=20, ha="right")
    on.set_yscale("log")
    on.yaxis.set_major_formatter("{x:g}")
    on.set_ylabel("share of what the memory can do (1: its limit)")
    on.legend(title="guest", frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1.0))
    on.set_title(f"{rows[0]['format']}: throughput beside the limit of the memory")
    return on


def _rows(results: Results, format: str | None) -> Sequence[Mapping[str, Any]]:
    if not {"format", "size", "operation", "share", "of_limit"} <= set(results.columns):
        raise InvalidArgument(f"{results!r} is not of the throughput study")
    wanted = results.rows[0]["format"] if format is None else format
    rows = [row for row in results.rows if row["format"] == wanted]
    if not rows:
        raise InvalidArgument(f"there is nothing of format {format!r} in {results!r}")
    return rows


def _name(row: Mapping[str, Any]) -> str:
    return str(row["operation"]) if row["share"] is None else f"{row['operation']}, {100 * row['share']:g} %"
