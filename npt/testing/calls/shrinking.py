"""Makes the calls that lead to a difference few.

Calls name what they are about, so any of them can be left out, also what callbacks do: one that is about something that was
never made is passed over by both sides.
"""

from dataclasses import replace

from npt.testing.calls.duel import Differ, Duel

__all__ = ["shrink"]


def shrink(duel: Duel, found: Differ) -> Differ:
    """A difference with as few calls as can be left, or the one that was found if it does not show again.

    Parameters
    ----------
    duel
        In which it was found; a new one is made for each attempt.
    found
        What was found in it.
    """
    best = duel.again(found.calls)
    if best is None:
        return found
    size = max(len(best.calls) // 2, 1)
    while size:
        best = _without_pieces(duel, best, size)
        size //= 2
    return _without_callbacks(duel, best)


def _without_pieces(duel: Duel, best: Differ, size: int) -> Differ:
    """Leave out each piece of so many calls, if the difference stays."""
    first = max(len(best.calls) - 1 - size, 0)
    while True:
        left = [*best.calls[:first], *best.calls[first + size :]]
        found = duel.again(left) if len(left) < len(best.calls) else None
        best = best if found is None else found
        if first == 0:
            return best
        first = max(min(first, len(best.calls)) - size, 0)


def _without_callbacks(duel: Duel, best: Differ) -> Differ:
    """Leave out what callbacks do during each call, if the difference stays."""
    for n in reversed(range(len(best.calls))):
        if n < len(best.calls) and best.calls[n].inside:
            left = [*best.calls[:n], replace(best.calls[n], inside=()), *best.calls[n + 1 :]]
            best = duel.again(left) or best
    return best
