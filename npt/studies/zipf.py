"""``Zipf``: few pages get most of the accesses."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from npt._types import U64Array
from npt.errors import InvalidArgument
from npt.studies import randomness
from npt.studies.parameters import flag, real
from npt.studies.synthetic import Synthetic

__all__ = ["Zipf", "thresholds"]

_MOST_PAGES = 1 << 26
_STEP_BITS = 10
_STEPS = 1 << _STEP_BITS  # an exponent is a multiple of 1 / _STEPS
_LARGEST = 8
_BLOCK = 1 << 15  # ranks at once: what is computed of them stays in the cache
_SCALE_BITS = 62
_HALF = 32


@dataclass(frozen=True)
class Zipf(Synthetic):
    """The page of rank r is accessed with a probability proportional to ``r ** -exponent``.

    Parameters
    ----------
    n_pages, n_windows, accesses, write_share, seed
        As for ``Synthetic``, but at most 2**26 pages (256 GiB): the first window makes a table of 8 bytes a page and keeps it,
        which takes about 0.1 microseconds a page.
    exponent
        From 0 (all pages alike) to 8; the nearest multiple of 1/1024 is taken (0.99 becomes 0.990234375).
    spread
        Whether the ranks are spread over the guest by a bijection that depends on the seed. Else page 0 is the first, page 1
        the second, and so on.

    Notes
    -----
    A rank is found by comparing a random word with the thresholds between ranks. These are computed with additions,
    multiplications, divisions and square roots of doubles alone, whose results IEEE 754 prescribes to the last bit, as it does
    not for powers and logarithms: that is what limits the exponents. Each threshold is off by at most
    ``2**-46 + n_pages * 2**-62`` of all words.
    """

    name = "zipf"

    exponent: float = field(default=0.99, kw_only=True, metadata=real("exponent", 0, _LARGEST))
    spread: bool = field(default=True, kw_only=True, metadata=flag("spread"))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_pages > _MOST_PAGES:
            raise InvalidArgument(
                f"n_pages {self.n_pages} is too much for a zipf writer, which keeps a table of 8 bytes a page; "
                f"it must be at most {_MOST_PAGES}"
            )
        object.__setattr__(self, "exponent", round(Fraction(self.exponent) * _STEPS) / _STEPS)

    @cached_property
    def _thresholds(self) -> U64Array:
        return thresholds(self.n_pages, self.exponent)

    def _pages(self, window: int) -> U64Array:
        drawn = self._words(randomness.PAGES, window)
        ranks = np.searchsorted(self._thresholds, drawn, side="right").astype(np.uint64)
        return randomness.shuffled(ranks, self.n_pages, self.seed) if self.spread else ranks


def thresholds(n_ranks: int, exponent: float) -> U64Array:
    """The first words of ranks 2 to ``n_ranks``: those below the first of them are rank 1's.

    Every rank has at least one word.
    """
    total = sum(_sum(weights) for _, weights in _weights(n_ranks, exponent))
    factor = float(Fraction(1 << (64 + _SCALE_BITS), total))
    ends = np.empty(n_ranks, np.uint64)
    for first, weights in _weights(n_ranks, exponent):
        ends[first : first + weights.size] = np.maximum(weights * factor, 1.0) if n_ranks > 1 else 0
    np.cumsum(ends, out=ends)
    ends -= ends[-1]  # counted from the end, 2**64: what was rounded off falls to the first rank, which has most
    return ends[:-1]


def _weights(n_ranks: int, exponent: float) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Index and weights of one block of ranks after the other."""
    for first in range(0, n_ranks, _BLOCK):
        ranks = np.arange(first + 1, min(first + _BLOCK, n_ranks) + 1, dtype=np.float64)
        yield first, 1.0 / _powers(ranks, round(exponent * _STEPS))


def _powers(bases: NDArray[np.float64], steps: int) -> NDArray[np.float64]:
    """``bases ** (steps / _STEPS)``, from roots of roots."""
    powers = np.ones_like(bases)
    for _ in range(steps >> _STEP_BITS):
        powers *= bases
    roots = bases
    for bit in reversed(range(_STEP_BITS)):
        roots = np.sqrt(roots)
        if steps >> bit & 1:
            powers *= roots
    return powers


def _sum(weights: NDArray[np.float64]) -> int:
    """Sum of weights up to 1, in units of 2**-_SCALE_BITS: of integers, so that the order does not matter."""
    scaled = (weights * 2.0**_SCALE_BITS).astype(np.uint64)
    return (int((scaled >> np.uint64(_HALF)).sum()) << _HALF) + int((scaled & np.uint64((1 << _HALF) - 1)).sum())
