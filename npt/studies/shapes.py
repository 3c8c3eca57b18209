"""Shapes that a guest's memory can have: one mapping, many side by side, many with holes between."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from npt._types import U64Array
from npt.studies.randomness import LAYOUT, below, words
from npt.units import ENTRIES, LEVELS, PAGE_SHIFT, PAGE_SIZE, level_shift

__all__ = ["SHAPES", "Shape", "table_bytes"]

_STRIDE = 4  # a scattered mapping is somewhere in four times its own length


class Shape(NamedTuple):
    """Where the parts of a guest's memory are.

    Attributes
    ----------
    size : int
        Bytes of the address space.
    gpas, lengths : numpy.ndarray
        Of the mappings, in bytes, by address; ``uint64``. Their offsets in the memory are the sums of the lengths before.
    """

    size: int
    gpas: U64Array
    lengths: U64Array

    def mappings(self) -> list[tuple[int, int, int]]:
        """Address, length and offset of each."""
        offsets = np.cumsum(self.lengths) - self.lengths
        return list(zip(self.gpas.tolist(), self.lengths.tolist(), offsets.tolist(), strict=True))

    def pages(self) -> U64Array:
        """Address of each page, in order."""
        counts = (self.lengths >> np.uint64(PAGE_SHIFT)).astype(np.int64)
        first = np.repeat(self.gpas - (np.cumsum(self.lengths) - self.lengths), counts)
        first += np.arange(first.size, dtype=np.uint64) << np.uint64(PAGE_SHIFT)
        return first


def _one(length: int, piece: int, seed: int) -> Shape:
    return Shape(length, np.zeros(1, np.uint64), np.full(1, length, np.uint64))


def _lengths(length: int, piece: int) -> U64Array:
    """Of all mappings; the last is what is left."""
    lengths = np.full(-(-length // piece), piece, np.uint64)
    lengths[-1] = length - (lengths.size - 1) * piece
    return lengths


def _many(length: int, piece: int, seed: int) -> Shape:
    lengths = _lengths(length, piece)
    return Shape(length, np.cumsum(lengths) - lengths, lengths)


def _scattered(length: int, piece: int, seed: int) -> Shape:
    lengths = _lengths(length, piece)
    n, stride = lengths.size, _STRIDE * piece
    places = below(words(seed, LAYOUT, 0, n), (_STRIDE - 1) * piece // PAGE_SIZE) << np.uint64(PAGE_SHIFT)
    return Shape(n * stride, np.arange(n, dtype=np.uint64) * np.uint64(stride) + places, lengths)


SHAPES: Mapping[str, Callable[[int, int, int], Shape]] = MappingProxyType({"one": _one, "many": _many, "scattered": _scattered})


def table_bytes(shape: Shape) -> int:
    """What the tables of a shape take: those that any of its pages is under, at each level."""
    n_tables = 0
    last = shape.gpas + shape.lengths - np.uint64(1)
    for level in range(1, LEVELS + 1):
        shift = np.uint64(level_shift(level + 1))
        first, end = shape.gpas >> shift, (last >> shift) + np.uint64(1)
        first[1:] = np.maximum(first[1:], end[:-1])  # one that the mapping before is under, too, counts once
        n_tables += int((end - first).sum())
    return n_tables * ENTRIES * 8
