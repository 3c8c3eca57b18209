"""Bitmaps at coarser granules: what is reported and sent if a bit stands for 64 KiB, 2 MiB or 1 GiB.

Granules lie at multiples of their size in guest memory, as large pages do; ``base`` says where the bitmap's first page is.
"""

from typing import SupportsIndex

import numpy as np

from npt import kernels
from npt._types import U8Array
from npt.dirty.bitmap import as_pages, check_types, count, empty
from npt.errors import InvalidArgument
from npt.units import PAGE_SHIFT, PAGE_SIZE, as_aligned, as_bitmap, as_count, as_int, check_bitmap_type, check_overflow

__all__ = ["coarsen", "inflation", "n_granules", "refine"]

_LARGEST = 1 << 47  # bytes of the largest space


def _as_granule(granule: SupportsIndex) -> int:
    """Log2 of the pages of a granule."""
    size = as_int(granule, "granule")
    if not PAGE_SIZE <= size <= _LARGEST or size & (size - 1):
        raise InvalidArgument(f"granule {size:#x} is not a power of two from {PAGE_SIZE:#x} to {_LARGEST:#x} bytes")
    return size.bit_length() - 1 - PAGE_SHIFT


def _as_range(base: SupportsIndex, granule: SupportsIndex, n_pages: SupportsIndex) -> tuple[int, int, int]:
    """Address of the first page, log2 of the pages of a granule, number of pages; types before values."""
    for number, name in ((base, "base"), (granule, "granule"), (n_pages, "n_pages")):
        as_int(number, name)
    gpa, shift, n = as_aligned(base, "base"), _as_granule(granule), as_count(n_pages)
    check_overflow(gpa, n << PAGE_SHIFT, "base")
    return gpa, shift, n


def _offset(base: int, shift: int) -> int:
    """Place of the first page in its granule, in pages."""
    return base >> PAGE_SHIFT & (1 << shift) - 1


def n_granules(granule: SupportsIndex, n_pages: SupportsIndex, *, base: SupportsIndex = 0) -> int:
    """How many granules a range of pages touches: the bits of a coarse bitmap.

    Raises
    ------
    TypeError, InvalidArgument
        As for ``coarsen``.
    """
    base, shift, n = _as_range(base, granule, n_pages)
    return -(-(n + _offset(base, shift)) >> shift) if n else 0


def coarsen(
    bitmap: U8Array, granule: SupportsIndex, *, base: SupportsIndex = 0, n_pages: SupportsIndex | None = None
) -> U8Array:
    """Bitmap of the granules that have a page set.

    Parameters
    ----------
    bitmap
        ``uint8``, one-dimensional, one bit a page.
    granule
        Bytes; a power of two, 4 KiB or more.
    base
        Address of the first page, in bytes, page-aligned.
    n_pages
        How many pages count; all bits if None.

    Returns
    -------
    numpy.ndarray
        ``uint8``, one bit for each of ``n_granules(...)`` granules, the first of them the one that ``base`` is in.

    Raises
    ------
    TypeError
        Not an array of ``uint8``, or not integers.
    InvalidArgument
        Not one-dimensional, too short for ``n_pages``, ``base`` unaligned, or a granule that is none.
    AddressOverflow
        The range reaches 2**64.

    Examples
    --------
    >>> coarsen(np.array([1, 0, 0, 0x80], np.uint8), 64 << 10).tolist()
    [3]
    """
    check_types(bitmap, granule=granule, base=base, n_pages=n_pages)
    bitmap, n = as_pages(bitmap, n_pages)
    base, shift, n = _as_range(base, granule, n)
    out = empty(n_granules(PAGE_SIZE << shift, n, base=base))
    kernels.bitmap.coarsen(bitmap, n, _offset(base, shift), shift, out)
    return out


def refine(coarse: U8Array, granule: SupportsIndex, n_pages: SupportsIndex, *, base: SupportsIndex = 0) -> U8Array:
    """Bitmap of all pages of the granules that are set: what is sent at that granule.

    Parameters
    ----------
    coarse
        ``uint8``, one-dimensional, as ``coarsen`` gives it.
    granule
        Bytes; a power of two, 4 KiB or more.
    n_pages
        Pages of the range.
    base
        Address of the first page, in bytes, page-aligned.

    Returns
    -------
    numpy.ndarray
        ``uint8``, shape ``(ceil(n_pages / 8),)``.

    Raises
    ------
    TypeError, InvalidArgument
        As for ``coarsen``.
    """
    check_bitmap_type(coarse, "coarse")
    base, shift, n = _as_range(base, granule, n_pages)
    coarse = np.ascontiguousarray(as_bitmap(coarse, n_granules(PAGE_SIZE << shift, n, base=base), "coarse"))
    out = empty(n)
    if n:
        kernels.bitmap.refine(coarse, n, _offset(base, shift), shift, out)
    return out


def inflation(
    bitmap: U8Array, granule: SupportsIndex, *, base: SupportsIndex = 0, n_pages: SupportsIndex | None = None
) -> float:
    """How many times as many pages a coarser granule sends: pages of the granules that are set, by pages that are set.

    Parameters
    ----------
    bitmap, granule, base, n_pages
        As for ``coarsen``.

    Returns
    -------
    float
        1.0 or more; 1.0 where nothing is set.

    Raises
    ------
    TypeError, InvalidArgument
        As for ``coarsen``.

    Examples
    --------
    >>> inflation(np.array([1, 0, 0, 0x80], np.uint8), 64 << 10)
    16.0
    """
    check_types(bitmap, granule=granule, base=base, n_pages=n_pages)
    bitmap, n = as_pages(bitmap, n_pages)
    coarse = coarsen(bitmap, granule, base=base, n_pages=n)
    set_here = count(bitmap, n_pages=n)
    return count(refine(coarse, granule, n, base=base)) / set_here if set_here else 1.0
