"""Migrations, side by side."""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from matplotlib.axes import Axes

from npt.errors import InvalidArgument
from npt.view import style

__all__ = ["precopy"]

_KINDS = {"live": style.COLOURS[0], "stop": style.COLOURS[5], "post": style.COLOURS[3]}
_SAID = {"live": "live", "stop": "guest stopped", "post": "guest at the target"}
_NS = 1e9


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
        A row of bars for each, as long as its sends took; a bar's height is its share of the largest send.

    Raises
    ------
    InvalidArgument
        None given.
    """
    given: Sequence[Any] = results if isinstance(results, (list, tuple)) else [results]
    if not given:
        raise InvalidArgument("give at least one migration")
    for one in given:
        if not hasattr(one, "rounds") or not hasattr(one, "downtime_ns"):
            raise TypeError(f"results must be PrecopyResult, not {type(one).__name__}")
    on = style.as_axes(ax, size=(9.0, 1.4 + 0.6 * len(given)))
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
                edgecolor="white",
                linewidth=0.5,
            )
        end = "cancelled" if one.cancelled else f"{one.downtime_ns / 1e6:,.1f} ms down"
        on.text(starts[-1] / _NS, -row + 0.12, f" {end}", va="bottom", fontsize=8)
    on.set_yticks([-row for row in range(len(given))], [str(one.policy) for one in given])
    on.set_ylim(-len(given) + 0.5, 0.6)
    on.margins(x=0.2)
    on.set(xlabel="simulated seconds", ylabel="height: bytes of a send")
    on.set_title(f"Sends of {len(given)} migration{'s' * (len(given) > 1)}")
    style.legend(on, {_SAID[kind]: colour for kind, colour in _KINDS.items()})
    return on
