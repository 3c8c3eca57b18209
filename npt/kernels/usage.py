"""What accessed bits and sampled contents say: when pages were seen, which pages are drawn, what a page hashes to.

A sample is one reading of the accessed bits; samples are numbered from 1, and a page that none has seen has number 0.
``reuse`` counts, by part of the range, how many samples after its last one a page was seen again; ``first`` in which sample a
page was seen for the first time.

Random words are those of SplitMix64 from a key on, integers throughout: the same on every machine.

Guarantees: a sample is recorded whole, or not at all.
Relies on:  bitmaps without a bit past the end; histograms with room for the sample's number.
"""

import numpy as np
from numpy.typing import NDArray

from npt._types import U8Array, U64Array
from npt.kernels.atomics import ctz, load_word, popcount
from npt.kernels.bitmap import word_of, words_of
from npt.kernels.jit import inline, kernel

__all__ = ["draw", "hash_pages", "pick", "recent", "record", "tally"]

_ZERO, _ONE, _THREE, _FOUR, _SIX, _SEVEN = np.uint64(0), np.uint64(1), np.uint64(3), np.uint64(4), np.uint64(6), np.uint64(7)
_GROUP, _WORDS, _PAGE = np.uint64(64), np.uint64(512), np.uint64(4096)

# -- when pages were seen -----------------------------------------------------------------------------------------------


@kernel("void(Array(u1, 1, 'C', True), u8, u8, u8, u4[::1], u8[:, ::1], u8[:, ::1], u8[::1], u8[::1], u8[::1], u8[::1])")
def record(
    bitmap: U8Array, n_pages: np.uint64, part_pages: np.uint64, now: np.uint64, last: NDArray[np.uint32],
    reuse: U64Array, first: U64Array, times: U64Array, seen: U64Array, fresh: U64Array, state: U64Array,
) -> None:  # fmt: skip
    """Enter the pages of one more sample; ``state[0]`` is the number of samples."""
    n_pages, part_pages, number = np.uint64(n_pages), np.uint64(part_pages), state[0] + _ONE
    n_seen, n_fresh, part, end = _ZERO, _ZERO, _ZERO, part_pages
    for i in range(words_of(n_pages)):
        word = word_of(bitmap, n_pages, np.uint64(i))
        n_seen += popcount(word)
        while word != _ZERO:
            page = (i << _SIX) + ctz(word)
            word &= word - _ONE
            while page >= end:
                part += _ONE
                end += part_pages
            before = np.uint64(last[page])
            last[page] = np.uint32(number)
            if before == _ZERO:
                first[part, number] += _ONE
                n_fresh += _ONE
            else:
                reuse[part, number - before] += _ONE
    times[number], seen[number], fresh[number] = np.uint64(now), n_seen, n_fresh
    state[0] = number


@kernel("u8(u4[::1], u8, u1[::1])")
def recent(last: NDArray[np.uint32], oldest: np.uint64, out: U8Array) -> np.uint64:
    """Set the bits of pages that sample ``oldest`` or a later one saw last; return how many."""
    oldest, found = max(np.uint64(oldest), _ONE), _ZERO
    for page in range(np.uint64(last.size)):
        hit = np.uint64(np.uint64(last[page]) >= oldest)
        out[page >> _THREE] |= np.uint8(hit << (page & _SEVEN))
        found += hit
    return found


@kernel("void(u4[::1], u8[::1])")
def tally(last: NDArray[np.uint32], counts: U64Array) -> None:
    """Count pages by the sample that saw them last."""
    for page in range(np.uint64(last.size)):
        counts[np.uint64(last[page])] += _ONE


# -- which pages are drawn ----------------------------------------------------------------------------------------------

_GOLDEN, _MIX_1, _MIX_2 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_S27, _S30, _S31 = np.uint64(27), np.uint64(30), np.uint64(31)


@inline
def _mix(word: np.uint64) -> np.uint64:
    """What SplitMix64 does to a word: every bit of it changes about half of the result's."""
    word = (word ^ (word >> _S30)) * _MIX_1
    word = (word ^ (word >> _S27)) * _MIX_2
    return word ^ (word >> _S31)


@kernel("void(u8, u8, u8, u1[::1])")
def draw(key: np.uint64, n_bits: np.uint64, n: np.uint64, out: U8Array) -> None:
    """Set ``n`` of the first ``n_bits`` bits of an empty bitmap, all choices alike; quick for at most half of them."""
    below, drawn, state = np.uint64(n_bits), _ZERO, np.uint64(key)
    mask = _ZERO
    while mask + _ONE < below:
        mask = mask + mask + _ONE
    while drawn < np.uint64(n):
        state += _GOLDEN
        bit = _mix(state) & mask
        if bit < below:
            place, flag = bit >> _THREE, np.uint8(_ONE << (bit & _SEVEN))
            drawn += np.uint64((out[place] & flag) == np.uint8(0))
            out[place] |= flag


@inline
def _any_of(bitmap: U8Array, first: np.uint64, n_bits: np.uint64) -> bool:
    """Whether a byte that holds any of these bits, at least one, is not zero."""
    found = np.uint8(0)
    for place in range(first >> _THREE, ((first + n_bits - _ONE) >> _THREE) + _ONE):
        found |= bitmap[place]
    return bool(found != np.uint8(0))


@kernel("u8(Array(u1, 1, 'C', True), u8, Array(u1, 1, 'C', True), u8[::1])")
def pick(bitmap: U8Array, n_pages: np.uint64, chosen: U8Array, pages: U64Array) -> np.uint64:
    """Write the numbers of those set pages whose rank among the set ones is chosen; return how many."""
    n_pages, rank, k = np.uint64(n_pages), _ZERO, _ZERO
    for i in range(words_of(n_pages)):
        word = word_of(bitmap, n_pages, np.uint64(i))
        n_set = popcount(word)
        if n_set == _ZERO or not _any_of(chosen, rank, n_set):
            rank += n_set
            continue
        while word != _ZERO:
            if (np.uint64(chosen[rank >> _THREE]) >> (rank & _SEVEN)) & _ONE != _ZERO:
                pages[k] = (i << _SIX) + ctz(word)
                k += _ONE
            word &= word - _ONE
            rank += _ONE
    return k


# -- what a page hashes to ----------------------------------------------------------------------------------------------

_P1, _P2, _P3 = np.uint64(0x9E3779B185EBCA87), np.uint64(0xC2B2AE3D27D4EB4F), np.uint64(0x165667B19E3779F9)
_P4 = np.uint64(0x85EBCA77C2B2AE63)
_S29, _S32, _S33 = np.uint64(29), np.uint64(32), np.uint64(33)
_R1, _R7, _R12, _R18 = np.uint64(1), np.uint64(7), np.uint64(12), np.uint64(18)


@inline
def _rotate(word: np.uint64, n_bits: np.uint64) -> np.uint64:
    return (word << n_bits) | (word >> (_GROUP - n_bits))


@inline
def _round(lane: np.uint64, word: np.uint64) -> np.uint64:
    return _rotate(lane + word * _P2, _S31) * _P1


@inline
def _merge(total: np.uint64, lane: np.uint64) -> np.uint64:
    return (total ^ _round(_ZERO, lane)) * _P1 + _P4


@inline
def _hash_page(pages: U8Array, at: np.uint64) -> np.uint64:
    """XXH64 of the page that starts at a byte, with seed 0."""
    a, b, c, d = _P1 + _P2, _P2, _ZERO, _ZERO - _P1
    for i in range(_ZERO, _WORDS, _FOUR):
        place = at + (i << _THREE)
        a = _round(a, load_word(pages, place))
        b = _round(b, load_word(pages, place + np.uint64(8)))
        c = _round(c, load_word(pages, place + np.uint64(16)))
        d = _round(d, load_word(pages, place + np.uint64(24)))
    total = _rotate(a, _R1) + _rotate(b, _R7) + _rotate(c, _R12) + _rotate(d, _R18)
    total = _merge(_merge(_merge(_merge(total, a), b), c), d) + _PAGE
    total = (total ^ (total >> _S33)) * _P2
    total = (total ^ (total >> _S29)) * _P3
    return total ^ (total >> _S32)


@kernel("void(Array(u1, 1, 'C', True), u8[::1])")
def hash_pages(pages: U8Array, hashes: U64Array) -> None:
    """Hash pages that lie side by side."""
    for i in range(np.uint64(hashes.size)):
        hashes[i] = _hash_page(pages, i * _PAGE)
