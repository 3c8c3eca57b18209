"""Addresses, lengths, ranges and protections around the borders of tables; good ones, and deliberately bad ones.

A table of level 1 covers 512 pages (2 MiB), of level 2 1 GiB, of level 3 512 GiB. What is drawn lies mostly a page or two from
such a border, from an end of the space, or from where a word or a byte of a bitmap ends; anything else that is allowed has a
chance, too.
"""

from functools import lru_cache
from typing import Any

import hypothesis.strategies as st

from npt._types import Prot
from npt.units import ADDRESS_END, PAGE_SHIFT, PAGE_SIZE

__all__ = [
    "BORDERS",
    "bad_gpas",
    "bad_lengths",
    "bad_protections",
    "bad_ranges",
    "gpas",
    "lengths",
    "not_integers",
    "page_counts",
    "page_numbers",
    "protections",
    "ranges",
    "sizes",
]

SPACE_END = 1 << 47  # bytes of the largest space
BORDERS = (512, 512**2, 512**3)
"""Pages under a table of levels 1, 2 and 3."""

_WORDS = (8, 64, 128)  # bits of a byte and of words
_NEAR = (-2, -1, 0, 1, 2)
_CROSSING = tuple(border - n for border in BORDERS for n in (0, 1))  # pages before and at a border


@lru_cache(256)
def _near(n_pages: int) -> tuple[int, ...]:
    """Page numbers below ``n_pages`` that are near a border, in order."""
    middles = {0, n_pages} | {border * k for border in (*_WORDS, *BORDERS) for k in (1, 2, 3)} | {n_pages - b for b in BORDERS}
    return tuple(sorted(page for page in {middle + step for middle in middles for step in _NEAR} if 0 <= page < n_pages))


@lru_cache(1024)  # to make a strategy costs more than to draw from it
def _or_any(first: tuple[int, ...], numbers: tuple[int, ...], least: int, end: int) -> st.SearchStrategy[int]:
    """One of some numbers, or often of the first few, or now and then any from ``least`` to below ``end``."""
    ends = tuple(sorted({number for number in first if least <= number < end}))
    near = st.sampled_from(numbers)
    return near | st.sampled_from(ends) | st.sampled_from(ends) | st.integers(least, end - 1)


def page_numbers(n_pages: int = SPACE_END >> PAGE_SHIFT) -> st.SearchStrategy[int]:
    """Numbers of pages below ``n_pages``, mostly near borders.

    Examples
    --------
    >>> from hypothesis import find
    >>> find(page_numbers(), lambda page: page >= 512)
    512
    """
    return _or_any((0, *_CROSSING, n_pages - 1), _near(n_pages), 0, n_pages)


def page_counts(most: int, *, first: int = 0) -> st.SearchStrategy[int]:
    """Numbers of pages from 1 to ``most``; mostly so many that a range from page ``first`` on ends near a border.

    Examples
    --------
    >>> from hypothesis import find
    >>> find(page_counts(2000, first=510), lambda n: 510 + n > 512)
    3
    """
    counts = {end - first for end in _near(first + most + 1) if end > first} | set(_near(most + 1)) - {0}
    return _or_any((1, 2, *(border - first for border in BORDERS), 513, most), tuple(sorted(counts)), 1, most + 1)


def sizes(most: int = SPACE_END) -> st.SearchStrategy[int]:
    """Sizes of spaces in bytes: whole pages, at least one, at most ``most``.

    Examples
    --------
    >>> from hypothesis import find
    >>> find(sizes(), lambda size: size > 1 << 30) == (1 << 30) + 4096
    True
    """
    return page_counts(most >> PAGE_SHIFT).map(_in_bytes)


def _in_bytes(n_pages: int) -> int:
    return n_pages << PAGE_SHIFT


def gpas(size: int = SPACE_END, *, aligned: bool = True) -> st.SearchStrategy[int]:
    """Addresses inside a space of ``size`` bytes, near the borders of tables and the ends of the space.

    Parameters
    ----------
    size
        Bytes of the space.
    aligned
        Whether all start a page; else first and last bytes of pages and anything between are drawn, too.

    Examples
    --------
    >>> from hypothesis import find
    >>> find(gpas(1 << 30), lambda gpa: gpa > 0)
    4096
    >>> find(gpas(1 << 30, aligned=False), lambda gpa: gpa > 4096)
    4097
    """
    pages = page_numbers(size >> PAGE_SHIFT).map(_in_bytes)
    if aligned:
        return pages
    within = _or_any((0, PAGE_SIZE - 1), (0, 1, 7, 8, PAGE_SIZE - 8, PAGE_SIZE - 1), 0, PAGE_SIZE)
    return st.builds(int.__add__, pages, within)


def bad_gpas(size: int = SPACE_END) -> st.SearchStrategy[int]:
    """Integers that are no page of a space of ``size`` bytes: unaligned, negative, 2**64 or more, at or past its end.

    Among those past the end are aliases of good ones: the same low bits with some above 46 set.

    Examples
    --------
    >>> from hypothesis import find
    >>> find(bad_gpas(1 << 30), lambda gpa: gpa % 4096 == 0 and gpa < 1 << 47) == 1 << 30
    True
    """
    unaligned = st.builds(int.__add__, gpas(size), st.sampled_from([1, 8, PAGE_SIZE // 2, PAGE_SIZE - 1]))
    beyond = st.sampled_from([size, size + PAGE_SIZE, 2 * size, SPACE_END, 1 << 48, 1 << 52, 1 << 63, ADDRESS_END - PAGE_SIZE])
    aliases = st.builds(int.__or__, gpas(size), st.sampled_from([1 << bit for bit in (47, 48, 52, 62, 63)]))
    outside = st.sampled_from([-1, -PAGE_SIZE, -(1 << 63), -(1 << 64), ADDRESS_END, ADDRESS_END + PAGE_SIZE, 1 << 65])
    return unaligned | beyond | aliases | outside


def lengths(most: int = SPACE_END) -> st.SearchStrategy[int]:
    """Lengths in bytes: whole pages, at least one, at most ``most``; mostly near borders.

    Examples
    --------
    >>> from hypothesis import find
    >>> find(lengths(1 << 30), lambda length: length > 2 << 20) == 513 * 4096
    True
    """
    return sizes(most)


def bad_lengths() -> st.SearchStrategy[int]:
    """Integers that are no length of a range: zero, negative, or no whole number of pages.

    Examples
    --------
    >>> from hypothesis import find
    >>> find(bad_lengths(), lambda length: length > 0)
    1
    """
    plain = [0, 1, PAGE_SIZE - 1, PAGE_SIZE + 1, ADDRESS_END - 1, ADDRESS_END + 1]
    return st.sampled_from(plain) | st.sampled_from([-1, -PAGE_SIZE, -(1 << 63), -(1 << 64)])


def ranges(size: int = SPACE_END, *, most: int | None = None) -> st.SearchStrategy[tuple[int, int]]:
    """Ranges ``(gpa, length)`` inside a space; both ends are near borders, and many cross one.

    Parameters
    ----------
    size
        Bytes of the space.
    most
        Bytes of the longest range; None for all of the space.

    Examples
    --------
    >>> from hypothesis import find
    >>> find(ranges(1 << 40, most=8192), lambda r: r[0] < 1 << 21 < sum(r)) == ((1 << 21) - 4096, 8192)
    True
    """
    if most is None or most >= size:
        return _ranges(size, size) | st.just((0, size))
    return _ranges(size, most)


@st.composite
def _ranges(draw: st.DrawFn, size: int, most: int) -> tuple[int, int]:
    n_pages = size >> PAGE_SHIFT
    first = draw(page_numbers(n_pages))
    longest = min(n_pages - first, most >> PAGE_SHIFT)
    return first << PAGE_SHIFT, draw(page_counts(longest, first=first)) << PAGE_SHIFT


def bad_ranges(size: int = SPACE_END) -> st.SearchStrategy[tuple[int, int]]:
    """Ranges ``(gpa, length)`` that a space of ``size`` bytes refuses: a bad address, a bad length, or past its end.

    Examples
    --------
    >>> from hypothesis import find
    >>> find(bad_ranges(1 << 30), lambda r: r[0] == 4096 and r[1] > 0 and r[1] % 4096 == 0) == (4096, 1 << 30)
    True
    """
    beyond = st.builds(lambda gpa, more: (gpa, size - gpa + more), gpas(size), lengths(PAGE_SIZE << 9))
    overflowing = gpas(size).map(lambda gpa: (gpa, ADDRESS_END - gpa))
    bad_start = st.tuples(bad_gpas(size), lengths(size))
    return beyond | overflowing | st.tuples(gpas(size), bad_lengths()) | bad_start


def protections(need: Prot = Prot.NONE) -> st.SearchStrategy[Prot]:
    """Protections with all of ``need``, and never none at all.

    Examples
    --------
    >>> from hypothesis import find
    >>> find(protections(Prot.READ), lambda prot: bool(prot & Prot.WRITE)) == Prot.RW
    True
    """
    return st.sampled_from([Prot(bits) for bits in range(1, 8) if bits & need == need])


def bad_protections() -> st.SearchStrategy[int]:
    """Integers that are no protection: none of the three, or bits that mean nothing.

    Examples
    --------
    >>> from hypothesis import find
    >>> find(bad_protections(), lambda prot: prot > 0)
    8
    """
    return st.sampled_from([0, 8, 9, 15, 1 << 8, 1 << 64, -1, -8])


def not_integers() -> st.SearchStrategy[Any]:
    """What looks like a number and is refused with ``TypeError`` where an integer is wanted.

    Examples
    --------
    >>> from hypothesis import find
    >>> find(not_integers(), lambda value: isinstance(value, float))
    0.0
    """
    return st.sampled_from([None, True, False, 0.0, 4096.0, "4096", b"4096", [4096], 4096j, float("nan")])
