"""Calls of kernels with arguments drawn by a seed: the same seed makes the same arguments, in memory of their own.

What is drawn has bit 63 set often, bits past the end, empty arrays, ranges that end at the borders of words and tables.
"""

from collections.abc import Callable, Iterator
from random import Random
from typing import Any, NamedTuple

import numpy as np

from npt._types import U8Array, U64Array

__all__ = ["CASES", "Call", "a_bitmap", "a_number", "a_range", "case", "some_bytes", "some_words"]

_BORDERS = (0, 1, 7, 8, 9, 63, 64, 65, 511, 512, 513)


class Call(NamedTuple):
    """The arguments of one call."""

    arguments: tuple[Any, ...]
    more: tuple[np.ndarray[Any, Any], ...] = ()  # what else the kernel may change

    def arrays(self) -> Iterator[np.ndarray[Any, Any]]:
        """Everything that the kernel may change."""
        for argument in (*self.arguments, *self.more):
            if isinstance(argument, np.ndarray):
                yield argument
            elif isinstance(argument, tuple):
                yield from argument


CASES: dict[str, Callable[[Random], Call]] = {}
"""By name of the kernel: what makes a call of a seed."""


def case(*names: str) -> Callable[[Callable[[Random], Call]], Callable[[Random], Call]]:
    """Say which kernels a function makes calls of."""

    def note(make: Callable[[Random], Call]) -> Callable[[Random], Call]:
        assert names
        for name in names:
            assert name not in CASES, name
            CASES[name] = make
        return make

    return note


def a_number(numbers: Random, most: int) -> int:
    """From 0 to ``most``, often one of the borders, often the last."""
    return numbers.choice([numbers.randint(0, most), min(numbers.choice(_BORDERS), most), most])


def a_range(numbers: Random, end: int) -> tuple[int, int]:
    """First and end of a stretch, perhaps empty, inside 0 to ``end``."""
    first, last = sorted((a_number(numbers, end), a_number(numbers, end)))
    return first, last


def some_words(numbers: Random, n: int) -> U64Array:
    """So many words: all clear, all set, with few bits, or with any; bit 63 is set in many."""
    kind = numbers.randrange(5)
    if kind < 2:
        return np.full(n, (0, 2**64 - 1)[kind], np.uint64)
    words = [numbers.getrandbits(64) & (numbers.getrandbits(64) if kind == 2 else -1) for _ in range(n)]
    if kind == 3:
        words = [word if numbers.random() < 0.1 else 0 for word in words]
    return np.array([word & 2**64 - 1 for word in words], np.uint64)


def some_bytes(numbers: Random, n: int) -> U8Array:
    """So many bytes, of the same kinds."""
    return some_words(numbers, (n + 7) // 8).view(np.uint8)[:n].copy()


def a_bitmap(numbers: Random, most: int = 1300) -> tuple[U8Array, int]:
    """A bitmap and how many of its pages count: mostly fewer than there are bits."""
    n_pages = a_number(numbers, most)
    return some_bytes(numbers, (n_pages + 7) // 8 + numbers.choice([0, 0, 1, 9])), n_pages
