"""Reading, clearing and setting the marks (A and D) that vCPUs leave in leaf entries.

Theory of operation
-------------------
A leaf table covers 512 pages: eight words of 64 entries. Each word is tested with vector compares; a clean word costs a
read and nothing else. Marked entries are cleared one by one with an atomic AND, because a vCPU may be setting bits in them
right now. Bitmaps here are words that start where the first leaf table of the range starts, so that a table's marks are
eight whole words of them; ``bitmap.py`` shifts them to where the caller's range starts. ``first`` and ``end`` are the
range's pages counted from there; ``select`` is a bitmap of that form, or empty for all.

Guarantees: every set-to-clear transition of a mark is reported by exactly one call.
Relies on:  tables are not freed during the call (the caller holds the space lock).
"""

import numpy as np

from npt._types import U64Array
from npt.kernels.atomics import any64, atomic_cas, atomic_clear, atomic_load, ctz, mask64, popcount
from npt.kernels.jit import inline, kernel

__all__ = ["harvest", "mark", "mark_leaf", "mark_leaves", "peek"]

_ZERO, _ONE, _GROUP, _WORDS, _NINE = np.uint64(0), np.uint64(1), np.uint64(64), np.uint64(8), np.uint64(9)
_ALL = np.uint64(2**64 - 1)
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


@kernel("u8(u8[::1], u8[::1], u8[::1], u8, u8, u8[::1], u8, u8[::1])")
def harvest(
    leaves: U64Array,
    tables: U64Array,
    slots: U64Array,
    first: np.uint64,
    end: np.uint64,
    select: U64Array,
    mark: np.uint64,
    words: U64Array,
) -> np.uint64:
    """Move marks from entries into a bitmap; return how many there were."""
    found = _ZERO
    for i in range(np.uint64(tables.size)):
        for w in range(_WORDS):
            leaf = (tables[i] << _NINE) + w * _GROUP
            if not any64(leaves, leaf, np.uint64(mark)):
                continue
            marked = mask64(leaves, leaf, np.uint64(mark))
            word = slots[i] * _WORDS + w
            marked &= _wanted(word, np.uint64(first), np.uint64(end), select)
            words[word] |= marked
            found += popcount(marked)
            while marked != _ZERO:
                atomic_clear(leaves, leaf + ctz(marked), np.uint64(mark))
                marked &= marked - _ONE
    return found


@kernel("u8(u8[::1], u8[::1], u8[::1], u8, u8, u8[::1], u8, u8[::1])")
def peek(
    leaves: U64Array,
    tables: U64Array,
    slots: U64Array,
    first: np.uint64,
    end: np.uint64,
    select: U64Array,
    mark: np.uint64,
    words: U64Array,
) -> np.uint64:
    """Copy marks into a bitmap; return how many there were."""
    found = _ZERO
    for i in range(np.uint64(tables.size)):
        for w in range(_WORDS):
            leaf = (tables[i] << _NINE) + w * _GROUP
            if not any64(leaves, leaf, np.uint64(mark)):
                continue
            marked = mask64(leaves, leaf, np.uint64(mark))
            word = slots[i] * _WORDS + w
            marked &= _wanted(word, np.uint64(first), np.uint64(end), select)
            words[word] |= marked
            found += popcount(marked)
    return found


@inline
def _mark_entry(leaves: U64Array, leaf: np.uint64, need: np.uint64, bits: np.uint64, told: np.uint64) -> bool:
    """Set bits of an entry that has all of ``need``; say whether it lacked those of ``told``."""
    while True:
        entry = atomic_load(leaves, leaf)
        if (entry & need) != need or (entry & bits) == bits:
            return False
        if atomic_cas(leaves, leaf, entry, entry | bits):
            return bool((entry & told) != told)


@kernel("u8(u8[::1], u8[::1], u8[::1], u8, u8, u8[::1], u8, u8, u8, u8[::1])")
def mark(
    leaves: U64Array, tables: U64Array, slots: U64Array, first: np.uint64, end: np.uint64, select: U64Array,
    need: np.uint64, bits: np.uint64, told: np.uint64, words: U64Array,
) -> np.uint64:  # fmt: skip
    """Set bits of entries that have all of ``need``; report those that lacked ``told``, and return how many."""
    found = _ZERO
    for i in range(np.uint64(tables.size)):
        for w in range(_WORDS):
            word = slots[i] * _WORDS + w
            wanted = _wanted(word, np.uint64(first), np.uint64(end), select)
            while wanted != _ZERO:
                k = ctz(wanted)
                wanted &= wanted - _ONE
                leaf = (tables[i] << _NINE) + w * _GROUP + k
                if _mark_entry(leaves, leaf, np.uint64(need), np.uint64(bits), np.uint64(told)):
                    words[word] |= _ONE << k
                    found += _ONE
    return found


@kernel("void(u8[::1], u8, u8, u8)")
def mark_leaf(leaves: U64Array, leaf: np.uint64, need: np.uint64, bits: np.uint64) -> None:
    """Set bits of one entry, if it has all of ``need``."""
    _mark_entry(leaves, np.uint64(leaf), np.uint64(need), np.uint64(bits), _ZERO)


@kernel("void(u8[::1], u8[::1], u8, u8)")
def mark_leaves(leaves: U64Array, indices: U64Array, need: np.uint64, bits: np.uint64) -> None:
    """Set bits of the entries named, where present; NONE is passed over."""
    for i in range(np.uint64(indices.size)):
        if indices[i] != NONE:
            _mark_entry(leaves, indices[i], np.uint64(need), np.uint64(bits), _ZERO)
