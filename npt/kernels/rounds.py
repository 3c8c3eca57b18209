"""Rounds of a dirty log: which of them wrote each page last.

Relies on:  bitmaps of at least ``ceil(n_pages / 8)`` bytes; pages below what ``out`` has.
"""

import numpy as np
from numpy.typing import NDArray

from npt._types import U8Array, U64Array
from npt.kernels.atomics import ctz
from npt.kernels.bitmap import word_of, words_of
from npt.kernels.jit import kernel

__all__ = ["stamp_bits", "stamp_runs"]

_ZERO, _ONE, _TWO, _SIX, _PAGE_SHIFT = np.uint64(0), np.uint64(1), np.uint64(2), np.uint64(6), np.uint64(12)


@kernel("void(Array(u1, 1, 'C', True), u8, u4, u4[::1])")
def stamp_bits(bitmap: U8Array, n_pages: np.uint64, number: np.uint32, out: NDArray[np.uint32]) -> None:
    """Give each page whose bit is set the number of a round."""
    n_pages = np.uint64(n_pages)
    for i in range(words_of(n_pages)):
        word = word_of(bitmap, n_pages, np.uint64(i))
        while word != _ZERO:
            out[(i << _SIX) + ctz(word)] = number
            word &= word - _ONE


@kernel("void(Array(u8, 1, 'C', True), u4, u4[::1])")
def stamp_runs(runs: U64Array, number: np.uint32, out: NDArray[np.uint32]) -> None:
    """Give the pages of runs the number of a round; runs are an address and a number of pages in turn, page 0 is at 0."""
    for i in range(np.uint64(runs.size) >> _ONE):
        first = runs[_TWO * i] >> _PAGE_SHIFT
        for page in range(first, first + runs[_TWO * i + _ONE]):
            out[page] = number
