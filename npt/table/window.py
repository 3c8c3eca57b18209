"""A range of pages as the dirty kernels see it: leaf tables, and bitmaps that start where the first of them starts."""

import numpy as np

from npt import kernels
from npt._types import U8Array, U64Array
from npt.units import ENTRIES, PAGE_SHIFT, bitmap_bytes

__all__ = ["Window"]

_WORDS_A_TABLE = ENTRIES // 64
NO_SELECTION = np.empty(0, np.uint64)


class Window:
    """Pages of a range, counted from the start of the first leaf table that covers it.

    Parameters
    ----------
    gpa, length
        Range in bytes, checked.

    Attributes
    ----------
    region, n_regions : int
        The 512-page regions that the range touches.
    first, end : int
        The range's own pages, counted from the first page of ``region``.
    """

    def __init__(self, gpa: int, length: int) -> None:
        page, n_pages = gpa >> PAGE_SHIFT, length >> PAGE_SHIFT
        self.n_pages = n_pages
        self.region = page // ENTRIES
        self.n_regions = -(-(page + n_pages) // ENTRIES) - self.region
        self.first = page % ENTRIES
        self.end = self.first + n_pages

    def words(self) -> U64Array:
        """An empty bitmap over all regions of the window."""
        return np.zeros(self.n_regions * _WORDS_A_TABLE, np.uint64)

    def bitmap(self, words: U64Array) -> U8Array:
        """The range's own bits of such a bitmap; ``uint8``, shape ``(ceil(n_pages / 8),)``."""
        if self.first:
            out = np.empty(-(-self.n_pages // 64), np.uint64)
            kernels.bitmap.shift_down(words, self.first, out)
            words = out
        return words.view(np.uint8)[: bitmap_bytes(self.n_pages)]

    def selection(self, select: U8Array) -> U64Array:
        """A caller's bitmap over the range, moved to where the window starts."""
        n_bytes = bitmap_bytes(self.n_pages)
        padded = np.zeros(-(-n_bytes // 8), np.uint64)
        padded.view(np.uint8)[:n_bytes] = select[:n_bytes]
        words = self.words()
        kernels.bitmap.shift_up(padded, self.first, words)
        return words
