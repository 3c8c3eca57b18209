"""Bitmaps of pages, as every dirty call gives and takes them: counted, combined, searched, cut, turned into page numbers.

A bitmap is a one-dimensional ``uint8`` array; bit k of byte j is page ``8 * j + k``. Where ``n_pages`` may be given it says how
many pages count: what lies past them in the last byte is not looked at, and is zero in every result. Unless it is given, all
bits count.
"""

from typing import Any, SupportsIndex

import numpy as np

from npt import kernels
from npt._types import U8Array, U64Array
from npt.errors import InvalidArgument
from npt.units import as_bitmap, as_count, as_int, as_integers, as_u64, bitmap_bytes, check_bitmap_type, digits

__all__ = [
    "as_out",
    "count",
    "difference",
    "empty",
    "from_pages",
    "full",
    "intersection",
    "next_clear",
    "next_set",
    "section",
    "symmetric_difference",
    "to_pages",
    "union",
]

_ONES = 2**64 - 1
_OPTIONAL = ("n_pages",)


# -- checked at the door ------------------------------------------------------------------------------------------------


def check_types(bitmap: Any, **numbers: SupportsIndex | None) -> None:
    """Refuse what is no array of bytes, or no integer, whatever its value; None stands for nothing said."""
    check_bitmap_type(bitmap, "bitmap")
    for name, number in numbers.items():
        if number is not None or name not in _OPTIONAL:
            as_int(number, name)  # type: ignore[arg-type]


def as_pages(bitmap: Any, n_pages: SupportsIndex | None) -> tuple[U8Array, int]:
    """A bitmap that is read, contiguous, and how many of its pages count."""
    check_types(bitmap, n_pages=n_pages)
    n = bitmap.size * 8 if n_pages is None else as_count(n_pages)
    return np.ascontiguousarray(as_bitmap(bitmap, n)), n


def as_out(out: Any, *read: np.ndarray[Any, Any]) -> None:
    """Refuse what cannot be written to, or would change what is read from it while it is read."""
    if not (out.flags.c_contiguous and out.flags.writeable):
        raise InvalidArgument("out must be contiguous and writable")
    if any(np.may_share_memory(out, array) for array in read):
        raise InvalidArgument("out must not overlap what is read")


def _clean(bitmap: U8Array, n_pages: int) -> U8Array:
    """Clear what lies past the end, in place."""
    if n_pages % 8:
        bitmap[n_pages >> 3] &= (1 << n_pages % 8) - 1
    return bitmap


# -- made from nothing --------------------------------------------------------------------------------------------------


def empty(n_pages: SupportsIndex) -> U8Array:
    """A bitmap with no page set; ``uint8``, shape ``(ceil(n_pages / 8),)``."""
    return np.zeros(bitmap_bytes(as_count(n_pages)), np.uint8)


def full(n_pages: SupportsIndex) -> U8Array:
    """A bitmap with all pages set; ``uint8``, shape ``(ceil(n_pages / 8),)``."""
    n = as_count(n_pages)
    return _clean(np.full(bitmap_bytes(n), 0xFF, np.uint8), n)


# -- read ---------------------------------------------------------------------------------------------------------------


def count(bitmap: U8Array, *, n_pages: SupportsIndex | None = None) -> int:
    """How many pages are set.

    Parameters
    ----------
    bitmap
        ``uint8``, one-dimensional.
    n_pages
        How many pages count; all bits if None.

    Returns
    -------
    int
        Pages.

    Raises
    ------
    TypeError
        Not an array of ``uint8``, or ``n_pages`` is no integer.
    InvalidArgument
        Not one-dimensional, or too short for ``n_pages``.

    Examples
    --------
    >>> count(np.array([0b101, 0b10], np.uint8))
    3
    """
    bitmap, n = as_pages(bitmap, n_pages)
    total: int = kernels.bitmap.count(bitmap, n)
    return total


def next_set(bitmap: U8Array, start: SupportsIndex = 0, *, n_pages: SupportsIndex | None = None) -> int | None:
    """First page from ``start`` on that is set, or None.

    Parameters
    ----------
    bitmap
        ``uint8``, one-dimensional.
    start
        Page number; at or past the end there is none.
    n_pages
        How many pages count; all bits if None.

    Returns
    -------
    int or None
        Page number.

    Raises
    ------
    TypeError, InvalidArgument
        As for ``count``; ``start`` is negative.
    """
    return _find(bitmap, start, n_pages, 0)


def next_clear(bitmap: U8Array, start: SupportsIndex = 0, *, n_pages: SupportsIndex | None = None) -> int | None:
    """First page from ``start`` on that is not set, or None; else as ``next_set``."""
    return _find(bitmap, start, n_pages, _ONES)


def _find(bitmap: U8Array, start: SupportsIndex, n_pages: SupportsIndex | None, flip: int) -> int | None:
    check_types(bitmap, start=start, n_pages=n_pages)
    start = as_int(start, "start")
    bitmap, n = as_pages(bitmap, n_pages)
    if start < 0:
        raise InvalidArgument(f"start {digits(start)} is negative")
    if start >= n:
        return None
    page: int = kernels.bitmap.find(bitmap, n, start, flip)
    return None if page == kernels.bitmap.NONE else page


def to_pages(bitmap: U8Array, *, n_pages: SupportsIndex | None = None) -> U64Array:
    """Numbers of the pages that are set.

    Parameters
    ----------
    bitmap
        ``uint8``, one-dimensional.
    n_pages
        How many pages count; all bits if None.

    Returns
    -------
    numpy.ndarray
        ``uint64``, ascending, shape ``(count(bitmap),)``.

    Raises
    ------
    TypeError, InvalidArgument
        As for ``count``.

    Examples
    --------
    >>> to_pages(np.array([0b101, 0b10], np.uint8)).tolist()
    [0, 2, 9]
    """
    bitmap, n = as_pages(bitmap, n_pages)
    n_set = kernels.bitmap.count(bitmap, n)
    while True:
        pages = np.empty(n_set, np.uint64)
        n_set = kernels.bitmap.numbers(bitmap, n, pages)
        if n_set <= pages.size:  # else another thread has set more of them meanwhile
            return pages[:n_set]


def from_pages(pages: Any, n_pages: SupportsIndex) -> U8Array:
    """Bitmap of pages by number, in any order; a number may come twice.

    Parameters
    ----------
    pages
        Integers, one-dimensional, below ``n_pages``.
    n_pages
        Pages of the bitmap.

    Returns
    -------
    numpy.ndarray
        ``uint8``, shape ``(ceil(n_pages / 8),)``.

    Raises
    ------
    TypeError
        Not integers.
    InvalidArgument
        A number that is negative or not below ``n_pages``.
    """
    numbers = as_integers(pages, "pages")
    n = as_count(n_pages)
    numbers = as_u64(numbers, "pages")
    if numbers is pages:
        numbers = numbers.copy()  # what is checked is what is used, whatever another thread does to it
    if numbers.size and int(numbers.max()) >= n:
        raise InvalidArgument(f"pages holds {int(numbers.max()):#x}; the bitmap has {n:#x} pages")
    bitmap = empty(n)
    kernels.bitmap.set_bits(numbers, bitmap)
    return bitmap


def section(bitmap: U8Array, first: SupportsIndex, n_pages: SupportsIndex) -> U8Array:
    """Pages ``first`` to ``first + n_pages`` as a bitmap of their own, wherever they start.

    Parameters
    ----------
    bitmap
        ``uint8``, one-dimensional.
    first, n_pages
        Pages, inside the bitmap.

    Returns
    -------
    numpy.ndarray
        ``uint8``, shape ``(ceil(n_pages / 8),)``; a copy.

    Raises
    ------
    TypeError, InvalidArgument
        As for ``count``; the pages reach past the bitmap's end.
    """
    check_types(bitmap, first=first, n_pages=n_pages)
    bitmap, n_all = as_pages(bitmap, None)
    start, n = as_count(first, "first"), as_count(n_pages)
    if start + n > n_all:
        raise InvalidArgument(f"pages {start:#x} + {n:#x} reach past the end of a bitmap of {n_all:#x}")
    cut = bitmap[start >> 3 : bitmap_bytes(start + n)]
    if start % 8:
        words = np.zeros((cut.size + 7) >> 3, np.uint64)
        words.view(np.uint8)[: cut.size] = cut
        out = np.empty(-(-n // 64), np.uint64)
        kernels.bitmap.shift_down(words, start % 8, out)
        cut = out.view(np.uint8)[: bitmap_bytes(n)]
    else:
        cut = cut.copy()
    return _clean(cut, n)


# -- combined -----------------------------------------------------------------------------------------------------------


def _pair(a: Any, b: Any, out: Any) -> tuple[U8Array, U8Array]:
    """Two bitmaps of one length, and a third that is one of them or apart from both."""
    named = {"a": a, "b": b} if out is None else {"a": a, "b": b, "out": out}
    for name, bitmap in named.items():
        check_bitmap_type(bitmap, name)
    for name, bitmap in named.items():
        if bitmap.ndim != 1 or bitmap.size != a.size:
            raise InvalidArgument(f"{name} has shape {bitmap.shape}, a has {a.shape}; they must be of one length")
    if out is not None:
        as_out(out, *(read for read in (a, b) if not _same(read, out)))
    return a, b


def _same(array: U8Array, other: U8Array) -> bool:
    """Whether two arrays are the very same bytes, in the same order."""
    return array.ctypes.data == other.ctypes.data and array.strides == other.strides and array.size == other.size


def union(a: U8Array, b: U8Array, *, out: U8Array | None = None) -> U8Array:
    """Pages that are in one bitmap or the other.

    Parameters
    ----------
    a, b
        ``uint8``, one-dimensional, of one length.
    out
        Gets the result; ``a`` or ``b`` itself, or a bitmap of that length that overlaps neither.

    Returns
    -------
    numpy.ndarray
        ``uint8``, as long as ``a``; ``out`` if that was given.

    Raises
    ------
    TypeError
        Not arrays of ``uint8``.
    InvalidArgument
        Not one-dimensional, or of unequal length; ``out`` strided, read-only, or overlapping in part.
    """
    a, b = _pair(a, b, out)
    return np.bitwise_or(a, b, out=out)


def intersection(a: U8Array, b: U8Array, *, out: U8Array | None = None) -> U8Array:
    """Pages that are in both bitmaps; else as ``union``."""
    a, b = _pair(a, b, out)
    return np.bitwise_and(a, b, out=out)


def symmetric_difference(a: U8Array, b: U8Array, *, out: U8Array | None = None) -> U8Array:
    """Pages that are in exactly one of the bitmaps; else as ``union``."""
    a, b = _pair(a, b, out)
    return np.bitwise_xor(a, b, out=out)


def difference(a: U8Array, b: U8Array, *, out: U8Array | None = None) -> U8Array:
    """Pages that are in ``a`` and not in ``b``; else as ``union``."""
    a, b = _pair(a, b, out)
    if out is not None and _same(b, out):  # a - b = (a ^ b) & a, and b is the place for a ^ b
        np.bitwise_xor(a, b, out=out)
        return np.bitwise_and(out, a, out=out)
    if out is not None and _same(a, out):
        kernels.bitmap.remove(out, np.ascontiguousarray(b))
        return out
    result = np.empty(a.size, np.uint8) if out is None else out
    kernels.bitmap.without(np.ascontiguousarray(a), np.ascontiguousarray(b), result)
    return result
