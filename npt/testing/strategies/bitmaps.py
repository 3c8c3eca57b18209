"""Bitmaps of pages: empty, full, sparse, in runs, random; with junk behind their end, and longer than they need be."""

from functools import lru_cache

import hypothesis.strategies as st
import numpy as np

from npt._types import U8Array
from npt.testing.strategies.addresses import page_numbers
from npt.units import bitmap_bytes

__all__ = ["bitmaps", "page_sets", "selects"]

_TAIL = st.just(0) | st.integers(0, 255)
_MORE = st.just(b"") | st.binary(max_size=9)
_RANDOM_BYTES = 1 << 10  # of the random bitmaps; what is longer is repeated


@st.composite
def _runs(draw: st.DrawFn, n_pages: int) -> frozenset[int]:
    """A run of pages or two, whose ends are near borders."""
    edges = sorted(draw(st.lists(page_numbers(n_pages + 1), min_size=2, max_size=4)))
    return frozenset(page for first, end in zip(edges[::2], edges[1::2], strict=False) for page in range(first, end))


def page_sets(n_pages: int) -> st.SearchStrategy[frozenset[int]]:
    """Sets of page numbers below ``n_pages``: a few near borders, runs, all or none.

    Examples
    --------
    >>> from hypothesis import find
    >>> sorted(find(page_sets(1000), lambda pages: 1 < len(pages) < 1000))
    [0, 1]
    """
    return _page_sets(n_pages)


@lru_cache(256)  # to make a strategy costs more than to draw from it
def _page_sets(n_pages: int) -> st.SearchStrategy[frozenset[int]]:
    few = st.frozensets(page_numbers(n_pages), max_size=8)
    return few | _runs(n_pages) | st.just(frozenset(range(n_pages)))


@lru_cache(256)
def _clean(n_pages: int) -> st.SearchStrategy[U8Array]:
    """Bitmaps of sets, and random ones with anything in the rest of their last byte."""
    return _page_sets(n_pages).map(lambda pages: _of_set(pages, n_pages)) | _random(n_pages)


def _random(n_pages: int) -> st.SearchStrategy[U8Array]:
    """Bitmaps of random bytes, with anything behind their end."""
    n_bytes = bitmap_bytes(n_pages)
    drawn = st.binary(min_size=min(n_bytes, _RANDOM_BYTES), max_size=min(n_bytes, _RANDOM_BYTES))
    return drawn.map(lambda text: np.resize(np.frombuffer(text, np.uint8), n_bytes))


def _of_set(pages: frozenset[int], n_pages: int) -> U8Array:
    flags = np.zeros(8 * bitmap_bytes(n_pages), np.uint8)
    flags[sorted(pages)] = 1
    return np.packbits(flags, bitorder="little")


@st.composite
def bitmaps(draw: st.DrawFn, n_pages: int, *, junk: bool = True) -> U8Array:
    """Bitmaps of ``n_pages`` pages; bit k of byte j is page ``8 * j + k``.

    Parameters
    ----------
    n_pages
        Pages, at least one.
    junk
        Set bits behind the last page, too, and add bytes that nobody asked for: what a call that reads a bitmap ignores.
        Without, what lies behind the last page in its byte is zero, and there are no more bytes.

    Examples
    --------
    >>> from hypothesis import find
    >>> bool(find(bitmaps(3), lambda bitmap: bitmap[0] >> 3).any())
    True
    >>> find(bitmaps(3, junk=False), lambda bitmap: bitmap.any()).size
    1
    """
    bitmap = draw(_clean(n_pages)).copy()
    tail = (0xFF << n_pages % 8) & 0xFF if n_pages % 8 else 0
    bitmap[-1] &= ~np.uint8(tail)
    if not junk:
        return bitmap
    bitmap[-1] |= np.uint8(draw(_TAIL) & tail)
    return np.concatenate([bitmap, np.frombuffer(draw(_MORE), np.uint8)])


def selects(n_pages: int) -> st.SearchStrategy[U8Array | None]:
    """What may be said to select pages of a range: nothing, or a bitmap with junk.

    Examples
    --------
    >>> from hypothesis import find
    >>> find(selects(9), lambda select: True) is None
    True
    """
    return st.none() | bitmaps(n_pages)
