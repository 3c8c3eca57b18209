"""A bitmap that is kept: in whichever of three forms takes the least memory.

Bits cost one bit a page whatever they say; page numbers cost 4 bytes for each page that is set, runs cost 8 for each
stretch of them (8 and 16 from 2**32 pages on).
"""

from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from npt import kernels
from npt._types import U8Array, U64Array
from npt.dirty.bitmap import empty
from npt.dirty.runlists import runs
from npt.units import PAGE_SHIFT

__all__ = ["Entry", "Form", "Packed", "number_type", "pack"]

_SHIFT = np.uint64(PAGE_SHIFT)


class Form(IntEnum):
    """What the numbers of a packed bitmap mean."""

    BITS = 0  # bit k of byte j is page 8 j + k
    PAGES = 1  # numbers of pages, ascending
    RUNS = 2  # first page and number of pages in turn, ascending; no two runs touch


def number_type(n_pages: int) -> np.dtype[Any]:
    """Type of the numbers in which a bitmap of so many pages is kept."""
    return np.dtype(np.uint32 if n_pages < 1 << 32 else np.uint64)


class Packed(NamedTuple):
    """A bitmap of ``n_pages`` in one of its forms; ``n_set`` pages of it are set."""

    form: Form
    data: NDArray[Any]
    n_set: int
    n_pages: int

    def bitmap(self) -> U8Array:
        """The bitmap, as a new array."""
        bitmap = empty(self.n_pages)
        self.add_to(bitmap)
        return bitmap

    def add_to(self, bitmap: U8Array) -> None:
        """OR it into a bitmap of as many pages."""
        if self.form is Form.BITS:
            np.bitwise_or(bitmap, self.data, out=bitmap)
        elif self.form is Form.PAGES:
            kernels.bitmap.set_bits(self.data.astype(np.uint64), bitmap)
        else:
            kernels.bitmap.set_runs(self._runs(), 0, bitmap)

    def stamp(self, number: int, out: NDArray[np.uint32]) -> None:
        """Give its pages a number in an array with one element a page."""
        if self.form is Form.BITS:
            kernels.rounds.stamp_bits(self.data, self.n_pages, number, out)
        elif self.form is Form.PAGES:
            out[self.data] = number
        else:
            kernels.rounds.stamp_runs(self._runs(), number, out)

    def _runs(self) -> U64Array:
        """Runs as kernels take them: address and number of pages in turn, page 0 at address 0."""
        words = self.data.astype(np.uint64)
        words[0::2] <<= _SHIFT
        return words


class Entry(NamedTuple):
    """A round as it is kept."""

    packed: Packed
    generation: int
    time_ns: int
    gap: bool


def pack(bitmap: U8Array, n_pages: int) -> Packed:
    """A clean bitmap in its smallest form; the array itself if that is its bits."""
    n_set = kernels.bitmap.count(bitmap, n_pages)
    n_edges = kernels.runs.count_edges(bitmap, n_pages, 0)
    number = number_type(n_pages)
    sizes = {Form.BITS: bitmap.size, Form.PAGES: n_set * number.itemsize, Form.RUNS: n_edges * number.itemsize}
    form = min(sizes, key=lambda each: sizes[each])
    data: NDArray[Any] = bitmap
    if form is Form.PAGES:
        data = np.empty(n_set, np.uint64)
        kernels.bitmap.numbers(bitmap, n_pages, data)
        data = data.astype(number)
    elif form is Form.RUNS:
        words = runs(bitmap, n_pages=n_pages).view(np.uint64)
        words[0::2] >>= _SHIFT
        data = words.astype(number)
    return Packed(form, data, n_set, n_pages)
