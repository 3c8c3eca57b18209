"""Filling and clearing leaf entries.

Theory of operation
-------------------
Populating goes by groups of 64 entries: a group that is all zero is filled with vector stores; in any other only the zero
entries are stored, because a vCPU may be setting A and D in the present ones. Clearing is by plain stores: whatever a vCPU
does to an entry, it does by compare-and-swap from a present one, so a zero that is stored stays.

Guarantees: a present entry is never rewritten; the counts returned are exact.
Relies on:  one writer a leaf table, and no look-ups that install (HOLD); leaf tables exist over the whole range.
"""

import numpy as np

from npt._types import U64Array
from npt.kernels.atomics import atomic_add, atomic_cas, ctz, fill64, mask64, popcount
from npt.kernels.jit import inline, kernel
from npt.kernels.walk import (
    END,
    NONE,
    PROT,
    RESIDENT,
    Levels,
    extent_entry,
    find_extent,
    leaf_index,
)  # fmt: skip

__all__ = ["clear_run", "populate", "populate_selected"]

_ZERO, _ONE, _GROUP = np.uint64(0), np.uint64(1), np.uint64(64)
_ALL = np.uint64(2**64 - 1)
_PAGE, _PAGE_SHIFT = np.uint64(4096), np.uint64(12)
_INDEX, _NINE, _WORDS = np.uint64(511), np.uint64(9), np.uint64(8)
_WRITE = np.uint64(2)


@inline
def _fill_run(leaves: U64Array, leaf: np.uint64, n_pages: np.uint64, entry: np.uint64) -> np.uint64:
    """Store fresh entries where there is none, for pages side by side in the host; return how many."""
    added, done = _ZERO, _ZERO
    while done + _GROUP <= n_pages:
        first = leaf + done
        empty = ~mask64(leaves, first, _ALL)
        if empty == _ALL:
            fill64(leaves, first, entry + done * _PAGE, _PAGE)
        else:
            added += popcount(empty)
            while empty != _ZERO:
                k = ctz(empty)
                leaves[first + k] = entry + (done + k) * _PAGE
                empty &= empty - _ONE
            added -= _GROUP
        added += _GROUP
        done += _GROUP
    while done < n_pages:
        if leaves[leaf + done] == _ZERO:
            leaves[leaf + done] = entry + done * _PAGE
            added += _ONE
        done += _ONE
    return added


@kernel("void(UniTuple(u8[::1], 4), u8[:, ::1], u8[::1], u8, u8, u8[::1])")
def populate(levels: Levels, extents: U64Array, words: U64Array, first: np.uint64, end: np.uint64, new: U64Array) -> None:
    """Make pages ``first`` to ``end``, all of one mapping, resident; add to ``new`` how many were not."""
    page, end = np.uint64(first), np.uint64(end)
    row = find_extent(extents, page)
    added = _ZERO
    while page < end:
        leaf = leaf_index(levels, page)
        table_end = min(end, (page | _INDEX) + _ONE)
        while page < table_end:
            if extents[row, END] <= page:
                row += _ONE
            run_end = min(table_end, extents[row, END])
            added += _fill_run(levels[0], leaf, run_end - page, extent_entry(extents, row, page))
            leaf += run_end - page
            page = run_end
    atomic_add(words, RESIDENT, added)
    atomic_add(new, _ZERO, added)


@kernel("void(UniTuple(u8[::1], 4), u8[:, ::1], u8[::1], u8, u8[::1], u8[::1], u8, u8, u8[::1])")
def populate_selected(
    levels: Levels, extents: U64Array, words: U64Array, region: np.uint64, tables: U64Array, slots: U64Array,
    first: np.uint64, end: np.uint64, select: U64Array,
) -> None:  # fmt: skip
    """Make the selected pages that are writable resident.

    By compare-and-swap, because look-ups may be installing too. Pages are numbered from the start of ``region``, as the
    bits of ``select`` are.
    """
    start = np.uint64(region) << _NINE
    added = _ZERO
    for i in range(np.uint64(tables.size)):
        for w in range(_WORDS):
            chosen = select[slots[i] * _WORDS + w]
            if chosen != _ZERO:
                chosen &= ~mask64(levels[0], (tables[i] << _NINE) + w * _GROUP, _ALL)
            while chosen != _ZERO:
                offset = w * _GROUP + ctz(chosen)
                chosen &= chosen - _ONE
                within = (slots[i] << _NINE) + offset
                if within < np.uint64(first) or within >= np.uint64(end):
                    continue
                page = start + within
                row = find_extent(extents, page)
                if row == NONE or (extents[row, PROT] & _WRITE) == _ZERO:
                    continue
                if atomic_cas(levels[0], (tables[i] << _NINE) + offset, _ZERO, extent_entry(extents, row, page)):
                    added += _ONE
    atomic_add(words, RESIDENT, added)


@inline
def clear_run(leaves: U64Array, leaf: np.uint64, n_pages: np.uint64) -> np.uint64:
    """Zero entries; return how many were not."""
    removed, done = _ZERO, _ZERO
    while done + _GROUP <= n_pages:
        present = mask64(leaves, leaf + done, _ALL)
        if present != _ZERO:  # a clean group costs a read and nothing else
            removed += popcount(present)
            fill64(leaves, leaf + done, _ZERO, _ZERO)
        done += _GROUP
    while done < n_pages:
        if leaves[leaf + done] != _ZERO:
            leaves[leaf + done] = _ZERO
            removed += _ONE
        done += _ONE
    return removed
