"""Whether two handfuls of times differ, and by how much, by their ranks alone.

Theory of operation
-------------------
Nothing is assumed of how times are distributed. Under the hypothesis that A and B are the same, each way of dealing the ranks
to them is as likely as any other (Mann and Whitney 1947); how many ways give which sum is counted exactly, ties and all. The
ratio is that of Hodges and Lehmann (1963): the median of all ratios of a time of B to one of A. Its interval is that of the
same counting. Many tests at once are corrected for by Holm's (1979) step-down.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from npt.errors import InvalidArgument

__all__ = ["MOST", "holm", "least_p", "p_value", "ratio"]

MOST = 50  # values a side: the counts of deals are exact in a double's range, and quickly made


def _deals(ranks: NDArray[np.int64], n: int) -> NDArray[np.float64]:
    """By sum: how many choices of ``n`` of the ranks have it."""
    counts = np.zeros((n + 1, int(ranks.sum()) + 1))
    counts[0, 0] = 1
    for rank in ranks.tolist():
        counts[1:, rank:] += counts[:-1, : counts.shape[1] - rank].copy()
    return np.asarray(counts[n])


def _ranks(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Twice the ranks from 1, equal values sharing the middle of theirs: twice, so that they are integers."""
    _, place, n = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(n)
    return np.asarray((2 * last - n + 1)[place])


def _check(a: Sequence[float], b: Sequence[float]) -> None:
    if not 0 < len(a) <= MOST or not 0 < len(b) <= MOST:
        raise InvalidArgument(f"{len(a)} and {len(b)} values: each side must have 1 to {MOST}")
    if not (np.isfinite(a).all() and np.isfinite(b).all() and min(*a, *b) > 0):
        raise InvalidArgument("times must be finite and positive")


def p_value(a: Sequence[float], b: Sequence[float]) -> float:
    """Two-sided p value of Mann and Whitney's test, exact.

    Raises
    ------
    InvalidArgument
        No values, too many, or such as are no times.
    """
    _check(a, b)
    ranks = _ranks(np.concatenate((a, b)).astype(float))
    deals = _deals(ranks, len(a))
    sums = np.arange(deals.size)
    middle = ranks.sum() * len(a) / ranks.size
    far = np.abs(sums - middle) >= abs(ranks[: len(a)].sum() - middle)
    return min(float(deals[far].sum() / deals.sum()), 1.0)


def least_p(n: int) -> float:
    """The least p value that ``n`` and ``n`` values can have."""
    return p_value(range(1, n + 1), range(n + 1, 2 * n + 1))


def ratio(a: Sequence[float], b: Sequence[float], *, error: float = 0.05) -> tuple[float, float, float]:
    """How many times as large B's values are as A's, and between what; the interval misses in ``error`` of all cases.

    Too few values for such an interval leave it open: 0 to infinity.

    Raises
    ------
    InvalidArgument
        As for ``p_value``.
    """
    _check(a, b)
    ratios = np.sort((np.asarray(b, float)[:, None] / np.asarray(a, float)).ravel())
    deals = _deals(np.arange(1, len(a) + len(b) + 1), len(a))
    below = np.cumsum(deals[deals.nonzero()[0][0] :]) / deals.sum()  # P(U <= k)
    k = int(np.searchsorted(below, error / 2, side="right"))  # P(U <= k - 1) <= error / 2
    if k == 0:
        return float(np.median(ratios)), 0.0, float("inf")
    return float(np.median(ratios)), float(ratios[k - 1]), float(ratios[-k])


def holm(p_values: Sequence[float]) -> list[float]:
    """P values corrected for their number, in their order."""
    order = sorted(range(len(p_values)), key=lambda k: p_values[k])
    corrected, most = [0.0] * len(p_values), 0.0
    for place, k in enumerate(order):
        most = max(most, min((len(p_values) - place) * p_values[k], 1.0))
        corrected[k] = most
    return corrected
