"""Bitmaps as runs: maximal stretches of set bits, each an address and a number of pages, side by side in one array of words.

Theory of operation
-------------------
A run starts and ends where a bit differs from the one before: these *edges* of a word are ``w ^ (w << 1 | last bit before)``.
They come in turn, a start and an end, and are appended to one stream: a start as an address, an end as the number of pages
since the start. A block of 512 bytes that goes on as it began has no edge; it is only read. Where the stream has no more
room, the kernel stops before the word that does not fit and can be called again with more.

Guarantees: by address; no two runs touch; no bit past ``n_pages`` counts.
Relies on:  bitmaps of at least ``ceil(n_pages / 8)`` bytes; addresses below 2**64.
"""

import numpy as np

from npt._types import U8Array, U64Array
from npt.kernels.atomics import ctz, load_word, popcount
from npt.kernels.bitmap import last_word, words_of
from npt.kernels.jit import inline, kernel

__all__ = ["EDGES", "STATE_WORDS", "WORD", "append", "count_edges", "cut"]

_ZERO, _ONE, _TWO, _SIX, _THREE = np.uint64(0), np.uint64(1), np.uint64(2), np.uint64(6), np.uint64(3)
_TOP, _PAGE_SHIFT = np.uint64(63), np.uint64(12)
_BLOCK = np.uint64(64)  # words that are tested at once

# Words of the state of a stream: next word of the bitmap, edges so far, page of the last, last bit of the last word.
WORD, EDGES, _PAGE, _CARRY = 0, 1, 2, 3
STATE_WORDS = 4


@inline
def _is_constant(bitmap: U8Array, i: np.uint64, expected: np.uint64) -> bool:
    """Whether all words of a block are as expected."""
    other = _ZERO
    for j in range(_BLOCK):
        other |= load_word(bitmap, (i + j) << _THREE) ^ expected
    return bool(other == _ZERO)


@inline
def _append_edges(edges: np.uint64, i: np.uint64, base: np.uint64, out: U64Array, k: np.uint64, before: np.uint64) -> np.uint64:
    """Append the edges of word ``i``, from place ``k``; return the page of the last."""
    while edges != _ZERO:
        page = (i << _SIX) + ctz(edges)
        out[k] = page - before if (k & _ONE) != _ZERO else base + (page << _PAGE_SHIFT)
        before = page
        k += _ONE
        edges &= edges - _ONE
    return before


@kernel("b1(Array(u1, 1, 'C', True), u8, u8, u8[::1], u8[::1])")
def append(bitmap: U8Array, n_pages: np.uint64, base: np.uint64, out: U64Array, state: U64Array) -> bool:
    """Append runs to ``out`` from where ``state`` says; return whether that was all of them."""
    n_pages, base, room = np.uint64(n_pages), np.uint64(base), np.uint64(out.size)
    n_words, n_full = words_of(n_pages), n_pages >> _SIX
    i, k, before, carry = state[WORD], state[EDGES], state[_PAGE], state[_CARRY]
    while i < n_words:
        if i + _BLOCK <= n_full and _is_constant(bitmap, i, _ZERO - carry):
            i += _BLOCK
            continue
        end = min(i + _BLOCK, n_words)
        while i < end:
            word = load_word(bitmap, i << _THREE) if i < n_full else last_word(bitmap, n_pages)
            edges = word ^ ((word << _ONE) | carry)
            n = popcount(edges)
            if k + n > room:
                break
            before = _append_edges(edges, i, base, out, k, before)
            k += n
            carry = word >> _TOP
            i += _ONE
        if i < end:
            break
    done = i == n_words
    if done and carry != _ZERO:  # the last run ends with the bitmap
        done = k < room
        if done:
            out[k] = n_pages - before
            k += _ONE
            carry = _ZERO
    state[WORD], state[EDGES], state[_PAGE], state[_CARRY] = i, k, before, carry
    return bool(done)


@kernel("u8(Array(u1, 1, 'C', True), u8, u8)")
def count_edges(bitmap: U8Array, n_pages: np.uint64, start: np.uint64) -> np.uint64:
    """Edges from word ``start`` on, with the one at the very end: what ``append`` that stopped there has still to append."""
    n_pages, start = np.uint64(n_pages), np.uint64(start)
    n_words, n_full = words_of(n_pages), n_pages >> _SIX
    if start >= n_words:
        return _ONE
    carry = load_word(bitmap, (start - _ONE) << _THREE) >> _TOP if start != _ZERO else _ZERO
    total = _ZERO
    if start < n_full:
        word = load_word(bitmap, start << _THREE)
        total += popcount(word ^ ((word << _ONE) | carry))
        for i in range(start + _ONE, n_full):  # no step waits for the one before it: this becomes vectors
            word, earlier = load_word(bitmap, i << _THREE), load_word(bitmap, (i - _ONE) << _THREE)
            total += popcount(word ^ ((word << _ONE) | (earlier >> _TOP)))
        carry = load_word(bitmap, (n_full - _ONE) << _THREE) >> _TOP
    if n_full == n_words:
        return total + carry
    word = last_word(bitmap, n_pages)
    return total + popcount(word ^ ((word << _ONE) | carry))


@kernel("u8(Array(u8, 1, 'C', True), u8, u8[::1], u8[::1])")
def cut(runs: U64Array, n_pages: np.uint64, out: U64Array, ends: U64Array) -> np.uint64:
    """Cut runs where ``n_pages`` pages are full, again and again; return how many pieces that makes.

    ``ends`` gets the number of pieces up to the end of each part; ``out`` the pieces, in the form of runs.
    """
    n_pages = np.uint64(n_pages)
    k, part, room = _ZERO, _ZERO, n_pages
    for i in range(np.uint64(runs.size) >> _ONE):
        gpa, left = runs[_TWO * i], runs[_TWO * i + _ONE]
        while left != _ZERO:
            n = min(left, room)
            out[_TWO * k], out[_TWO * k + _ONE] = gpa, n
            gpa += n << _PAGE_SHIFT
            left -= n
            room -= n
            k += _ONE
            if room == _ZERO:
                ends[part] = k
                part += _ONE
                room = n_pages
    if room != n_pages:
        ends[part] = k
    return k
