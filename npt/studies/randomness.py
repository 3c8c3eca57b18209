"""Random numbers that are the same on every machine and with every numpy.

Theory of operation
-------------------
A sequence of 64-bit words belongs to a seed, a stream (what the words are for) and a number (of a window). Its key comes from
``numpy.random.SeedSequence``, whose results numpy keeps as they are; word i is the key plus i + 1 steps of the golden ratio,
mixed as SplitMix64 does (Steele, Lea and Flood, Fast Splittable Pseudorandom Number Generators, OOPSLA 2014). What is made of
the words needs integers only. ``numpy.random.Generator`` is not used: its methods may change between versions.

Guarantees: a result depends on the arguments alone. No sequence depends on how much was taken of another.
"""

from fractions import Fraction

import numpy as np
from numpy.random import SeedSequence
from numpy.typing import NDArray

from npt._types import U64Array

__all__ = ["HOT", "LAYOUT", "PAGES", "WRITES", "below", "chosen", "shuffled", "words"]

PAGES, WRITES, HOT, LAYOUT = range(4)  # streams: which page, whether it is written, whether it is a hot one; where pages are

_WORD = 64
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIXERS = ((np.uint64(30), np.uint64(0xBF58476D1CE4E5B9)), (np.uint64(27), np.uint64(0x94D049BB133111EB)))
_LAST_SHIFT = np.uint64(31)
_HALF, _LOW_HALF = np.uint64(32), np.uint64(0xFFFFFFFF)
_ROUNDS = 4  # of a shuffle


def words(seed: int, stream: int, number: int, n: int) -> U64Array:
    """The first ``n`` words of a sequence, ``uint64``."""
    mixed = np.arange(1, n + 1, dtype=np.uint64)
    mixed *= _GOLDEN
    mixed += SeedSequence(seed, spawn_key=(stream, number)).generate_state(1, np.uint64)
    for shift, factor in _MIXERS:
        mixed ^= mixed >> shift
        mixed *= factor
    mixed ^= mixed >> _LAST_SHIFT
    return mixed


def below(drawn: U64Array, n: int | U64Array) -> U64Array:
    """A number from 0 to ``n - 1`` for each word: ``floor(word * n / 2**64)``, in place; ``n`` at most 2**32.

    No number is more likely than another by more than one word in 2**64.
    """
    count = np.asarray(n, np.uint64)
    low = drawn & _LOW_HALF
    low *= count
    low >>= _HALF
    drawn >>= _HALF
    drawn *= count
    drawn += low  # at most 2**64 - 1, since n is at most 2**32
    drawn >>= _HALF
    return drawn


def chosen(drawn: U64Array, share: float) -> NDArray[np.bool_]:
    """For each word, whether it is among the lowest ``share`` of all words; the share is taken as exact as it is."""
    bound = int(Fraction(share) * 2**_WORD)
    if bound >> _WORD:
        return np.ones(drawn.size, np.bool_)
    return drawn < np.uint64(bound)


def shuffled(places: U64Array, n: int, seed: int) -> U64Array:
    """Where a shuffle of the numbers 0 to ``n - 1`` takes these.

    A bijection of the next power of two (multiplications by odd numbers, and shifts) is repeated for those that come out at
    ``n`` or above, until none does: the way of a number below ``n`` leads back below ``n``.
    """
    bits = (n - 1).bit_length()
    factors = words(seed, LAYOUT, 0, _ROUNDS) | np.uint64(1)
    offsets = words(seed, LAYOUT, 1, _ROUNDS)
    moved = _permuted(places, bits, factors, offsets)
    outside = np.flatnonzero(moved >= np.uint64(n))
    while outside.size:
        again = _permuted(moved[outside], bits, factors, offsets)
        moved[outside] = again
        outside = outside[again >= np.uint64(n)]
    return moved


def _permuted(places: U64Array, bits: int, factors: U64Array, offsets: U64Array) -> U64Array:
    """A bijection of the numbers of so many bits."""
    mask, shift = np.uint64((1 << bits) - 1), np.uint64((bits + 1) // 2)
    moved = places.copy()
    for factor, offset in zip(factors, offsets, strict=True):
        moved *= factor
        moved += offset
        moved &= mask
        moved ^= moved >> shift
    return moved
