"""Sequences of calls of the contract, on what the calls before them have made."""

from typing import Any

import hypothesis.strategies as st

from npt.testing.calls.call import Call
from npt.testing.calls.drawing import Drawer
from npt.testing.calls.player import Implementation, Player
from npt.testing.oracle import Oracle

__all__ = ["Choices", "operations"]


class Choices:
    """Choices that Hypothesis makes, and can make simpler.

    Parameters
    ----------
    draw
        Draws from a strategy: the first argument of a composite, or ``data.draw``.
    """

    def __init__(self, draw: Any) -> None:
        self._draw = draw

    def below(self, n: int) -> int:
        """A number under ``n``."""
        return int(self._draw(st.integers(0, n - 1)))


@st.composite
def operations(draw: Any, format: str = "EPT", *, most: int = 30, model: Implementation | None = None) -> list[Call]:
    """Calls for a ``Player``: a world to begin with, then any calls, about a third of which are refused.

    Parameters
    ----------
    format
        ``"EPT"`` or ``"NPT"``, of all spaces.
    most
        Most calls behind those that make the world.
    model
        On which they are tried while they are drawn; None is an ``Oracle``.

    Examples
    --------
    >>> from hypothesis import find
    >>> found = find(operations(most=3), lambda calls: len(calls) > 24)
    >>> found[0].name
    'Reservoir'
    """
    player = Player(Oracle() if model is None else model)
    drawer = Drawer(player, Choices(draw), format)
    calls = list(drawer.begin())
    for call in calls:
        player.play(call)
    for _ in range(draw(st.integers(0, most))):
        calls.append(drawer.next())
        player.play(calls[-1])
    return calls
