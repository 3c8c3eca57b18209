"""Bitmaps: counted, searched, made of page numbers and turned into them, made coarser; shifted by any number of bits.

Bit k of byte j is page ``8 * j + k``. Bytes are read eight at a time, wherever they start, as words: bit k of word j is page
``64 * j + k``, on a little-endian machine. ``n_pages`` says how many bits count; what lies past them is not looked at.

Guarantees: no bit past the end is ever set.
Relies on:  bitmaps of at least ``ceil(n_pages / 8)`` bytes; page numbers below what the bitmap has.
"""

import numpy as np

from npt._types import U8Array, U64Array
from npt.kernels.atomics import ctz, load_word, popcount
from npt.kernels.jit import inline, kernel

__all__ = [
    "coarsen",
    "count",
    "find",
    "numbers",
    "refine",
    "remove",
    "set_bits",
    "set_runs",
    "shift_down",
    "shift_up",
    "without",
]

_ZERO, _ONE, _TWO, _GROUP, _LOW, _SIX = np.uint64(0), np.uint64(1), np.uint64(2), np.uint64(64), np.uint64(63), np.uint64(6)
_BYTE, _THREE, _SEVEN = np.uint64(8), np.uint64(3), np.uint64(7)
_ALL, _ALL_OF_BYTE, _PAGE_SHIFT = np.uint64(2**64 - 1), np.uint64(255), np.uint64(12)
NONE = _ALL


@inline
def last_word(bitmap: U8Array, n_pages: np.uint64) -> np.uint64:
    """The pages after the last full word, as a word."""
    word = np.uint64(0)
    for at in range(n_pages >> _SIX << _THREE, (n_pages + _SEVEN) >> _THREE):
        word |= np.uint64(bitmap[at]) << ((np.uint64(at) & _SEVEN) << _THREE)
    return word & ~(_ALL << (n_pages & _LOW))


@inline
def word_of(bitmap: U8Array, n_pages: np.uint64, i: np.uint64) -> np.uint64:
    """Word ``i`` of the pages that count."""
    return load_word(bitmap, i << _THREE) if i < n_pages >> _SIX else last_word(bitmap, n_pages)


@inline
def words_of(n_pages: np.uint64) -> np.uint64:
    """How many words the pages take, the last of them perhaps in part."""
    return (n_pages >> _SIX) + np.uint64((n_pages & _LOW) != _ZERO)


@kernel("u8(Array(u1, 1, 'C', True), u8)")
def count(bitmap: U8Array, n_pages: np.uint64) -> np.uint64:
    """How many bits are set."""
    n_pages, total = np.uint64(n_pages), _ZERO
    for i in range(n_pages >> _SIX):
        total += popcount(load_word(bitmap, i << _THREE))
    return total + popcount(last_word(bitmap, n_pages))


@kernel("u8(Array(u1, 1, 'C', True), u8, u8, u8)")
def find(bitmap: U8Array, n_pages: np.uint64, start: np.uint64, flip: np.uint64) -> np.uint64:
    """First page from ``start`` whose bit is set, or with ``flip`` all ones clear; NONE if there is none."""
    n_pages, start = np.uint64(n_pages), np.uint64(start)
    i, n_words = start >> _SIX, words_of(n_pages)
    hidden = _ALL << (start & _LOW)
    while i < n_words:
        word = (word_of(bitmap, n_pages, i) ^ np.uint64(flip)) & hidden
        if word != _ZERO:
            page = (i << _SIX) + ctz(word)
            return page if page < n_pages else NONE
        hidden = _ALL
        i += _ONE
    return NONE


@kernel("void(Array(u1, 1, 'C', True), Array(u1, 1, 'C', True), u1[::1])")
def without(bitmap: U8Array, other: U8Array, out: U8Array) -> None:
    """``out`` becomes what is in one bitmap and not in the other; it must be apart from both."""
    for i in range(np.uint64(out.size)):
        out[i] = bitmap[i] & ~other[i]


@kernel("void(u1[::1], Array(u1, 1, 'C', True))")
def remove(bitmap: U8Array, other: U8Array) -> None:
    """Clear in one bitmap what is in the other."""
    for i in range(np.uint64(bitmap.size)):
        bitmap[i] &= ~other[i]


@kernel("u8(Array(u1, 1, 'C', True), u8, u8[::1])")
def numbers(bitmap: U8Array, n_pages: np.uint64, out: U64Array) -> np.uint64:
    """Write the numbers of the pages whose bits are set, as many as there is room for; return how many there are."""
    n_pages, k, room = np.uint64(n_pages), _ZERO, np.uint64(out.size)
    for i in range(words_of(n_pages)):
        word = word_of(bitmap, n_pages, np.uint64(i))
        while word != _ZERO:
            if k < room:
                out[k] = (i << _SIX) + ctz(word)
            k += _ONE
            word &= word - _ONE
    return k


@kernel("void(Array(u8, 1, 'C', True), u1[::1])")
def set_bits(pages: U64Array, out: U8Array) -> None:
    """Set the bits of pages by number."""
    for i in range(np.uint64(pages.size)):
        out[pages[i] >> _THREE] |= np.uint8(_ONE << (pages[i] & _SEVEN))


@inline
def _set_range(out: U8Array, first: np.uint64, end: np.uint64) -> None:
    """Set the bits of pages ``first`` to ``end``, at least one."""
    head, tail = _ALL_OF_BYTE << (first & _SEVEN), _ALL_OF_BYTE >> (_SEVEN - ((end - _ONE) & _SEVEN))
    at, last = first >> _THREE, (end - _ONE) >> _THREE
    if at == last:
        out[at] |= np.uint8(head & tail & _ALL_OF_BYTE)
        return
    out[at] |= np.uint8(head & _ALL_OF_BYTE)
    for i in range(at + _ONE, last):
        out[i] = np.uint8(_ALL_OF_BYTE)
    out[last] |= np.uint8(tail)


@kernel("void(Array(u8, 1, 'C', True), u8, u1[::1])")
def set_runs(runs: U64Array, base: np.uint64, out: U8Array) -> None:
    """Set the bits of runs: address and number of pages in turn; the first page is at ``base``."""
    for i in range(np.uint64(runs.size) >> _ONE):
        first, n_pages = (runs[_TWO * i] - np.uint64(base)) >> _PAGE_SHIFT, runs[_TWO * i + _ONE]
        if n_pages != _ZERO:
            _set_range(out, first, first + n_pages)


@kernel("void(Array(u1, 1, 'C', True), u8, u8, u8, u1[::1])")
def coarsen(bitmap: U8Array, n_pages: np.uint64, offset: np.uint64, shift: np.uint64, out: U8Array) -> None:
    """Set the bit of each granule of ``2**shift`` pages that has a page set; the first page is ``offset`` into its granule."""
    n_pages, offset, shift = np.uint64(n_pages), np.uint64(offset), np.uint64(shift)
    for i in range(words_of(n_pages)):
        word = word_of(bitmap, n_pages, np.uint64(i))
        while word != _ZERO:
            granule = ((i << _SIX) + ctz(word) + offset) >> shift
            out[granule >> _THREE] |= np.uint8(_ONE << (granule & _SEVEN))
            beyond = ((granule + _ONE) << shift) - offset - (i << _SIX)  # first bit of the next granule
            word = word & (_ALL << beyond) if beyond < _GROUP else _ZERO


@kernel("void(Array(u1, 1, 'C', True), u8, u8, u8, u1[::1])")
def refine(coarse: U8Array, n_pages: np.uint64, offset: np.uint64, shift: np.uint64, out: U8Array) -> None:
    """Set the bits of all pages of the granules that are set: the other way of ``coarsen``."""
    n_pages, offset, shift = np.uint64(n_pages), np.uint64(offset), np.uint64(shift)
    n_granules = ((n_pages + offset - _ONE) >> shift) + _ONE
    for i in range(words_of(n_granules)):
        word = word_of(coarse, n_granules, np.uint64(i))
        while word != _ZERO:
            granule = (i << _SIX) + ctz(word)
            word &= word - _ONE
            first, end = granule << shift, (granule + _ONE) << shift
            _set_range(out, max(first, offset) - offset, min(end - offset, n_pages))


@kernel("void(u8[::1], u8, u8[::1])")
def shift_down(words: U64Array, offset: np.uint64, out: U64Array) -> None:
    """``out`` bit k becomes ``words`` bit ``k + offset``; past the end of ``words`` is zero."""
    skip, low = np.uint64(offset) >> _SIX, np.uint64(offset) & _LOW
    size = np.uint64(words.size)
    for i in range(np.uint64(out.size)):
        at = i + skip
        out[i] = words[at] >> low if at < size else _ZERO
        if low != _ZERO and at + _ONE < size:
            out[i] |= words[at + _ONE] << (_GROUP - low)


@kernel("void(u8[::1], u8, u8[::1])")
def shift_up(words: U64Array, offset: np.uint64, out: U64Array) -> None:
    """OR ``words`` bit k into ``out`` bit ``k + offset``; what does not fit is dropped."""
    skip, low = np.uint64(offset) >> _SIX, np.uint64(offset) & _LOW
    size = np.uint64(out.size)
    for i in range(np.uint64(words.size)):
        at = i + skip
        if at < size:
            out[at] |= words[i] << low
        if low != _ZERO and at + _ONE < size:
            out[at + _ONE] |= words[i] >> (_GROUP - low)
