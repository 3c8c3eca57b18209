"""Migrations, side by side."""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from matplotlib.axes import Axes

from npt.errors import InvalidArgument
from npt.units import format_size
from npt.view import style

__all__ = ["precopy"]

_KINDS = {"live": style.COLOURS[0], "stop": style.COLOURS[5], "post": style.COLOURS[3]}
_SAID = {"live": "live", "stop": "guest stopped", "post": "guest at the target"}
_NS = 1e9
_LINE = 1 / 200  # of the longest migration


def precopy(results: Any, *, ax: Axes | None = None) -> Axes:
    """Show the sends of migrations in time: how long each took, and how many bytes it sent.

    Parameters
    ----------
    results
        A ``PrecopyResult``, or several: of one guest under several policies.
    ax
        Where to draw; a new figure unless given.

    Returns
    -------
    matplotlib.axes.Axes
        A row of bars for each, as long as its sends took, in seconds; a bar's height is its share of the largest send of all.
        Behind the last one stands for how long the guest stood still.

    Raises
    ------
    InvalidArgument
        None given.
    TypeError
        Something else.
    """
    given: Sequence[Any] = results if isinstance(results, (list, tuple)) else [results]
    if not given:
        raise InvalidArgument("give at least one migration")
    for one in given:
        if not hasattr(one, "rounds") or not hasattr(one, "downtime_ns"):
            raise TypeError(f"results must be PrecopyResult, not {type(one).__name__}")
    longest = max(max(sum(send.ns for send in one.rounds) for one in given) / _NS, 1e-9)
    on = style.as_axes(ax, size=(10.0, 1.4 + 0.6 * len(given)))
    largest = max((send.n_bytes for one in given for send in one.rounds), default=0) or 1
    for row, one in enumerate(given):
        starts = [0, *accumulate(send.ns for send in one.rounds)]
        for kind, colour in _KINDS.items():
            sends = [(start, send) for start, send in zip(starts, one.rounds, strict=False) if send.kind == kind]
            on.bar(
                [start / _NS for start, _ in sends],
                [0.85 * send.n_bytes / largest for _, send in sends],
                width=[send.ns / _NS for _, send in sends],
                bottom=-row - 0.42,
                align="edge",
                color=colour,
                edgecolor=[on.get_facecolor() if _is_wide(send, longest) else colour for _, send in sends],
                linewidth=0.5,
            )
        end = "cancelled" if one.cancelled else f"{one.downtime_ns / 1e6:,.1f} ms down"
        on.text(starts[-1] / _NS, -row + 0.12, f" {end}", va="bottom", fontsize=8)
    on.set_yticks([-row for row in range(len(given))], [str(one.policy) for one in given])
    on.set_ylim(-len(given) + 0.5, 0.6)
    on.set(xlim=(0, 1.4 * longest), xlabel="simulated seconds")
    on.set_title(f"Sends of {style.counted(len(given), 'migration')}; height is bytes, the largest {format_size(largest)}")
    style.legend(on, {_SAID[kind]: colour for kind, colour in _KINDS.items()})
    return on


def _is_wide(send: Any, longest: float) -> bool:
    """Whether there is room for a line between it and the next; what is thinner is seen by the line of its own colour."""
    return bool(send.ns / _NS > _LINE * longest)
