"""Reading, clearing and setting the marks (A and D) that vCPUs leave in leaf entries.

Theory of operation
-------------------
A leaf table covers 512 pages: eight words of 64 entries. Each word is tested with vector compares; a clean word costs a
read and nothing else. Marked entries are cleared one by one with an atomic AND, because a vCPU may be setting bits in them
right now; by vector stores to the cache lines that have some, if all are known to be out and kept out (``harvest_still``).

``touched`` is the summary of D by leaf table (``summary.py``); empty where the mark is another. Bitmaps here are words that
start where the first leaf table of the range starts, so that a table's marks are eight whole words of them; ``bitmap.py``
shifts them to where the caller's range starts. ``first`` and ``end`` are the range's pages counted from there; ``select`` is
a bitmap of that form, or empty for all.

Guarantees: every set-to-clear transition of a mark is reported by exactly one call.
Relies on:  tables are not freed during the call (the caller holds the space lock); in ``harvest_still``, stillness.
"""

import numpy as np

from npt._types import U8Array, U64Array
from npt.kernels.atomics import any64, atomic_cas, atomic_clear, atomic_load, clear8, ctz, mask64, prefetch
from npt.kernels.jit import inline, kernel
from npt.kernels.summary import take, touch

__all__ = ["harvest", "harvest_still", "mark", "mark_leaf", "mark_leaves", "peek"]

_ZERO, _ONE, _GROUP, _WORDS, _NINE = np.uint64(0), np.uint64(1), np.uint64(64), np.uint64(8), np.uint64(9)
_THREE, _EIGHT, _LINES = np.uint64(3), np.uint64(8), np.uint64(63)  # a line has 8 entries, a table 64 lines
_ALL = np.uint64(2**64 - 1)
_FIRST_OF_EIGHT = np.uint64(0x0101_0101_0101_0101)
NONE = _ALL


@inline
def _wanted(word: np.uint64, first: np.uint64, end: np.uint64, select: U64Array) -> np.uint64:
    """Pages of a bitmap word that are in the range and selected."""
    start = word * _GROUP
    wanted = _ALL
    if start < first:
        wanted = _ZERO if start + _GROUP <= first else wanted << (first - start)
    if start + _GROUP > end:
        wanted = _ZERO if start >= end else wanted & (_ALL >> (start + _GROUP - end))
    if select.size != 0:
        wanted &= select[word]
    return wanted


@inline
def _list(leaf: np.uint64, marked: np.uint64, places: U64Array, n: np.uint64) -> np.uint64:
    """Add the places of a group's marked entries to a list; return how long it is now."""
    while marked != _ZERO:
        places[n] = leaf + ctz(marked)
        n += _ONE
        marked &= marked - _ONE
    return n


@inline
def _clear_listed(leaves: U64Array, places: U64Array, n: np.uint64, mark: np.uint64, following: np.uint64) -> None:
    """Clear a mark in entries one by one, beside vCPUs, while the leaf table behind them is brought near, line by line."""
    for k in range(n):
        prefetch(leaves, following + ((k & _LINES) << _THREE))
        atomic_clear(leaves, places[k], mark)


@kernel("void(u8[::1], u1[::1], u8[::1], u8[::1], u8, u8, u8[::1], u8, u8[::1], u8[::1])")
def harvest(
    leaves: U64Array, touched: U8Array, tables: U64Array, slots: U64Array, first: np.uint64, end: np.uint64, select: U64Array,
    mark: np.uint64, places: U64Array, words: U64Array,
) -> None:  # fmt: skip
    """Move marks from entries into a bitmap, beside vCPUs; ``places`` is scratch, of 512 words.

    First a table is read, then its entries are cleared: a locked instruction lets no load pass.
    """
    for i in range(np.uint64(tables.size)):
        take(touched, tables[i])
        n, left = _ZERO, _ZERO
        for w in range(_WORDS):
            leaf = (tables[i] << _NINE) + w * _GROUP
            if not any64(leaves, leaf, np.uint64(mark)):
                continue
            marked = mask64(leaves, leaf, np.uint64(mark))
            word = slots[i] * _WORDS + w
            wanted = marked & _wanted(word, np.uint64(first), np.uint64(end), select)
            words[word] |= wanted
            left |= marked ^ wanted
            n = _list(leaf, wanted, places, n)
        following = tables[min(i + _ONE, np.uint64(tables.size) - _ONE)] << _NINE
        _clear_listed(leaves, places, n, np.uint64(mark), following)
        if left != _ZERO:
            touch(touched, tables[i])


@inline
def _clear_lines(leaves: U64Array, leaf: np.uint64, marked: np.uint64, mark: np.uint64) -> None:
    """Clear a mark in the cache lines of a group that have marked entries; nobody else is there."""
    lines = marked | (marked >> np.uint64(4))
    lines |= lines >> np.uint64(2)
    lines = (lines | (lines >> _ONE)) & _FIRST_OF_EIGHT
    if lines == _FIRST_OF_EIGHT:
        for line in range(_EIGHT):
            clear8(leaves, leaf + (line << _THREE), mark)
        return
    while lines != _ZERO:
        clear8(leaves, leaf + ctz(lines), mark)
        lines &= lines - _ONE


@kernel("void(u8[::1], u1[::1], u8[::1], u8[::1], u8, u8, u8[::1], u8, u8[::1])")
def harvest_still(
    leaves: U64Array, touched: U8Array, tables: U64Array, slots: U64Array, first: np.uint64, end: np.uint64, select: U64Array,
    mark: np.uint64, words: U64Array,
) -> None:  # fmt: skip
    """Move marks from entries into a bitmap while nobody else touches them."""
    for i in range(np.uint64(tables.size)):
        take(touched, tables[i])
        left = _ZERO
        for w in range(_WORDS):
            leaf = (tables[i] << _NINE) + w * _GROUP
            if not any64(leaves, leaf, np.uint64(mark)):
                continue
            marked = mask64(leaves, leaf, np.uint64(mark))
            word = slots[i] * _WORDS + w
            wanted = marked & _wanted(word, np.uint64(first), np.uint64(end), select)
            words[word] |= wanted
            left |= marked ^ wanted
            if marked == wanted:
                _clear_lines(leaves, leaf, wanted, np.uint64(mark))
                continue
            while wanted != _ZERO:
                leaves[leaf + ctz(wanted)] &= ~np.uint64(mark)
                wanted &= wanted - _ONE
        if left != _ZERO:
            touch(touched, tables[i])


@kernel("void(u8[::1], u8[::1], u8[::1], u8, u8, u8[::1], u8, u8[::1])")
def peek(
    leaves: U64Array, tables: U64Array, slots: U64Array, first: np.uint64, end: np.uint64, select: U64Array,
    mark: np.uint64, words: U64Array,
) -> None:  # fmt: skip
    """Copy marks into a bitmap."""
    for i in range(np.uint64(tables.size)):
        for w in range(_WORDS):
            leaf = (tables[i] << _NINE) + w * _GROUP
            if not any64(leaves, leaf, np.uint64(mark)):
                continue
            word = slots[i] * _WORDS + w
            wanted = _wanted(word, np.uint64(first), np.uint64(end), select)
            words[word] |= mask64(leaves, leaf, np.uint64(mark)) & wanted


@inline
def _mark_entry(leaves: U64Array, leaf: np.uint64, need: np.uint64, bits: np.uint64, told: np.uint64) -> bool:
    """Set bits of an entry that has all of ``need``; say whether it lacked those of ``told``."""
    while True:
        entry = atomic_load(leaves, leaf)
        if (entry & need) != need or (entry & bits) == bits:
            return False
        if atomic_cas(leaves, leaf, entry, entry | bits):
            return bool((entry & told) != told)


@kernel("void(u8[::1], u1[::1], u8[::1], u8[::1], u8, u8, u8[::1], u8, u8, u8, u8[::1])")
def mark(
    leaves: U64Array, touched: U8Array, tables: U64Array, slots: U64Array, first: np.uint64, end: np.uint64, select: U64Array,
    need: np.uint64, bits: np.uint64, told: np.uint64, words: U64Array,
) -> None:  # fmt: skip
    """Set bits of entries that have all of ``need``; report those that lacked ``told``."""
    for i in range(np.uint64(tables.size)):
        any_wanted = _ZERO
        for w in range(_WORDS):
            word = slots[i] * _WORDS + w
            wanted = _wanted(word, np.uint64(first), np.uint64(end), select)
            any_wanted |= wanted
            while wanted != _ZERO:
                k = ctz(wanted)
                wanted &= wanted - _ONE
                leaf = (tables[i] << _NINE) + w * _GROUP + k
                if _mark_entry(leaves, leaf, np.uint64(need), np.uint64(bits), np.uint64(told)):
                    words[word] |= _ONE << k
        if any_wanted != _ZERO:
            touch(touched, tables[i])


@kernel("void(u8[::1], u1[::1], u8, u8, u8)")
def mark_leaf(leaves: U64Array, touched: U8Array, leaf: np.uint64, need: np.uint64, bits: np.uint64) -> None:
    """Set bits of one entry, if it has all of ``need``."""
    _mark_entry(leaves, np.uint64(leaf), np.uint64(need), np.uint64(bits), _ZERO)
    touch(touched, np.uint64(leaf) >> _NINE)


@kernel("void(u8[::1], u1[::1], u8[::1], u8, u8)")
def mark_leaves(leaves: U64Array, touched: U8Array, indices: U64Array, need: np.uint64, bits: np.uint64) -> None:
    """Set bits of the entries named, where present; NONE is passed over."""
    for i in range(np.uint64(indices.size)):
        if indices[i] != NONE:
            _mark_entry(leaves, indices[i], np.uint64(need), np.uint64(bits), _ZERO)
            touch(touched, indices[i] >> _NINE)
