"""How far a sample can be trusted: the hypergeometric distribution, and the exact interval from it.

Theory of operation
-------------------
Of N pages n were looked at, chosen at random without repeats, and k had changed. Each number M of changed pages among the N
makes such a k more or less likely. The interval holds every M under which neither k or more, nor k or fewer, is less likely
than half of what the level leaves. So whatever M is, the interval misses it no more often than the level allows: nothing is
approximated by a bell curve, and small samples, and samples of nearly all pages, are right as well.

Guarantees: the probabilities are sums and products of IEEE doubles, the same on every machine, good to ten digits; where a
            bound is that close, the interval is the wider one.
"""

import math
from bisect import bisect_right
from collections.abc import Iterator
from typing import SupportsFloat, SupportsIndex

from npt.errors import InvalidArgument
from npt.units import as_count, as_int, as_number

__all__ = ["as_level", "interval", "tails"]

_NEGLIGIBLE = 1e-20  # of the likeliest outcome: all less likely ones together are less than 1e-15
_CLOSE = 1e-9  # to half of what the level leaves, relative: more than the sums can be wrong by


def as_level(value: SupportsFloat) -> float:
    """A level of confidence."""
    level = as_number(value, "level")
    if not 0 < level < 1:
        raise InvalidArgument(f"level {level} is not between 0 and 1")
    return level


def _weights(n_pages: int, marked: int, sampled: int) -> Iterator[tuple[int, float]]:
    """How likely each number of marked pages in the sample is, relative to the likeliest; all that matter."""
    unmarked = n_pages - marked
    least, most = max(0, sampled - unmarked), min(sampled, marked)
    mode = min(max((sampled + 1) * (marked + 1) // (n_pages + 2), least), most)
    yield mode, 1.0
    weight, x = 1.0, mode
    while x < most and weight > _NEGLIGIBLE:
        weight *= ((marked - x) * (sampled - x)) / ((x + 1) * (unmarked - sampled + x + 1))
        x += 1
        yield x, weight
    weight, x = 1.0, mode
    while x > least and weight > _NEGLIGIBLE:
        weight *= (x * (unmarked - sampled + x)) / ((marked - x + 1) * (sampled - x + 1))
        x -= 1
        yield x, weight


def tails(n_pages: int, marked: int, sampled: int, changed: int) -> tuple[float, float]:
    """How likely a sample has at most, and at least, so many marked pages, if so many of all pages are marked.

    Parameters
    ----------
    n_pages, marked
        Pages, and how many of them are marked.
    sampled, changed
        Pages of the sample, chosen without repeats, and how many of them.

    Returns
    -------
    tuple of float
        Probabilities of ``changed`` or fewer, and of ``changed`` or more.
    """
    sums: tuple[list[float], list[float], list[float]] = [], [], []
    for x, weight in _weights(n_pages, marked, sampled):
        sums[(x >= changed) + (x > changed)].append(weight)
    fewer, same, more = (math.fsum(weights) for weights in sums)
    total = fewer + same + more
    return (fewer + same) / total, (same + more) / total


def interval(
    n_pages: SupportsIndex, sampled: SupportsIndex, changed: SupportsIndex, *, level: SupportsFloat = 0.95
) -> tuple[int, int]:
    """Exact confidence interval of a number of pages, from a sample without repeats.

    Parameters
    ----------
    n_pages
        All pages.
    sampled, changed
        Pages of the sample, and how many of them had changed.
    level
        How often the interval is to hold the truth, at least; between 0 and 1.

    Returns
    -------
    tuple of int
        Fewest and most changed pages among all.

    Raises
    ------
    InvalidArgument
        More sampled than there are, more changed than sampled, or a level outside 0 to 1.

    Notes
    -----
    Each side takes half of what the level leaves (Clopper and Pearson's way, with the hypergeometric distribution).

    Examples
    --------
    >>> interval(1 << 18, 512, 26)  # a guest of 1 GiB, 5 % of the sample changed
    (8770, 19267)
    """
    as_int(n_pages, "n_pages"), as_int(sampled, "sampled"), as_int(changed, "changed")
    as_number(level, "level")
    total = as_count(n_pages)
    n = as_count(sampled, "sampled", end=total + 1)
    k = as_count(changed, "changed", end=n + 1)
    enough = (1 - as_level(level)) / 2 * (1 - _CLOSE)
    possible = range(k, total - n + k + 1)
    low = bisect_right(possible, enough, key=lambda marked: tails(total, marked, n, k)[1])
    below = bisect_right(possible[::-1], enough, key=lambda marked: tails(total, marked, n, k)[0])
    return possible[low], possible[::-1][below]
