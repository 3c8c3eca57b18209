"""Bitmaps as runs: maximal stretches of set bits, each an address and a number of pages, side by side in one array of words.

Theory of operation
-------------------
A run starts and ends where a bit differs from the one before: these *edges* of a word are ``w ^ (w << 1 | last bit before)``.
They come in turn, a start and an end, and are appended to one stream as page numbers; after each block of 512 bytes what is
there in pairs becomes runs. A block that goes on as it began has no edge; it is only read. Where the stream has no more room,
the kernel stops before the word that does not fit and can be called again with more.

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
_FOUR, _TOP, _TOP_BIT, _PAGE_SHIFT = np.uint64(4), np.uint64(63), np.uint64(1 << 63), np.uint64(12)
_BLOCK = np.uint64(64)  # words that are tested at once

# Words of the state of a stream: next word of the bitmap, edges so far, last bit of the last word.
WORD, EDGES, _CARRY = 0, 1, 2
STATE_WORDS = 3


@inline
def _is_constant(bitmap: U8Array, i: np.uint64, expected: np.uint64) -> bool:
    """Whether all words of a block are as expected."""
    other = _ZERO
    for j in range(_BLOCK):
        other |= load_word(bitmap, (i + j) << _THREE) ^ expected
    return bool(other == _ZERO)


@inline
def _append_exactly(edges: np.uint64, first: np.uint64, out: U64Array, k: np.uint64) -> None:
    """Append the pages of the edges of a word."""
    while edges != _ZERO:
        out[k] = first + ctz(edges)
        k += _ONE
        edges &= edges - _ONE


@inline
def _append_at_least_four(edges: np.uint64, first: np.uint64, out: U64Array, k: np.uint64) -> None:
    """The same where four more places may be written: what most words have needs no branch that could be mispredicted."""
    for _ in range(_FOUR):
        out[k] = first + ctz(edges | _TOP_BIT)
        k += _ONE
        edges &= edges - _ONE
    _append_exactly(edges, first, out, k)


@inline
def _settle(out: U64Array, start: np.uint64, k: np.uint64, base: np.uint64) -> None:
    """Turn pages of edges into runs, from place ``start`` as far as they are in pairs."""
    for i in range(start >> _ONE, k >> _ONE):
        first = out[_TWO * i]
        out[_TWO * i] = base + (first << _PAGE_SHIFT)
        out[_TWO * i + _ONE] -= first


@kernel("b1(Array(u1, 1, 'C', True), u8, u8, u8[::1], u8[::1])")
def append(bitmap: U8Array, n_pages: np.uint64, base: np.uint64, out: U64Array, state: U64Array) -> bool:
    """Append runs to ``out`` from where ``state`` says; return whether that was all of them."""
    n_pages, room = np.uint64(n_pages), np.uint64(out.size)
    n_words, n_full = words_of(n_pages), n_pages >> _SIX
    i, k, carry = state[WORD], state[EDGES], state[_CARRY]
    full = False
    while i < n_words and not full:
        if i + _BLOCK <= n_full and _is_constant(bitmap, i, _ZERO - carry):
            i += _BLOCK
            continue
        end, settled = min(i + _BLOCK, n_words), k
        while i < end:
            word = load_word(bitmap, i << _THREE) if i < n_full else last_word(bitmap, n_pages)
            edges = word ^ ((word << _ONE) | carry)
            n = popcount(edges)
            if k + max(n, _FOUR) <= room:
                _append_at_least_four(edges, i << _SIX, out, k)
            elif k + n <= room:
                _append_exactly(edges, i << _SIX, out, k)
            else:
                full = True
                break
            k += n
            carry = word >> _TOP
            i += _ONE
        _settle(out, settled, k, np.uint64(base))
    done = not full
    if done and carry != _ZERO:  # the last run ends with the bitmap
        done = k < room
        if done:
            out[k] = n_pages
            _settle(out, k, k + _ONE, np.uint64(base))
            k += _ONE
            carry = _ZERO
    state[WORD], state[EDGES], state[_CARRY] = i, k, carry
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
