"""Building directories and leaf tables, and taking down those that nobody covers.

Theory of operation
-------------------
Each leaf table counts the pages of mappings that cover it, each directory its children. Building goes down from the root
and links a child only when it is all zero, which a table that was never used or is on the free list always is. Taking down
clears the leaves, then unlinks every table whose count came to zero, upwards, up to but not including the root. What was
unlinked is recorded and *not* freed: a walker may be inside until it has been kicked. Then ``release_tables`` zeroes the
tables and puts them on the free list, or ``relink`` undoes the unlinking, if a vCPU would not leave.

Guarantees: a table on the free list is all zero; a published entry leads to a zeroed table; nothing moves. A caller who was
            interrupted can see from its record whether a kernel ran, and releases or relinks no table twice.
Relies on:  one caller at a time, under the space's exclusion; room for the new tables, checked before.
"""

import numpy as np

from npt._types import U64Array
from npt.kernels.atomics import atomic_add, atomic_store
from npt.kernels.jit import inline, kernel
from npt.kernels.leaves import clear_run
from npt.kernels.walk import FIRST_TABLE, NONE, RESIDENT, TABLES, Levels, child_table

__all__ = ["NOTES", "ROW", "build", "first_unsound", "release_tables", "relink", "vacate"]

_ZERO, _ONE, _TWO = np.uint64(0), np.uint64(1), np.uint64(2)
_NINE, _INDEX, _PAGE_SHIFT, _ENTRIES = np.uint64(9), np.uint64(511), np.uint64(12), np.uint64(512)

# Columns of the record of an unlinked table.
_LEVEL, _TABLE, _PARENT, _ENTRY = np.uint64(0), np.uint64(1), np.uint64(2), np.uint64(3)
ROW = 4

# Words of the notes of a taking down; 1 to 3 are for notes on the way.
UNLINKED, PRESENT, TAKEN, COUNTED = np.uint64(0), np.uint64(4), np.uint64(5), np.uint64(6)
NOTES = 7


@inline
def _take(free: Levels, state: U64Array, level: np.uint64) -> np.uint64:
    """A zeroed table of a level (0 = leaf): from the free list, else a new one."""
    ever, n_free = _TWO * level, _TWO * level + _ONE
    if state[n_free] != _ZERO:
        state[n_free] -= _ONE
        return np.uint64(free[level][state[n_free]])
    state[ever] += _ONE
    return np.uint64(state[ever] - _ONE)


@kernel("void(UniTuple(u8[::1], 4), UniTuple(u8[::1], 4), UniTuple(u8[::1], 4), u8[::1], u8, u8, u8, u8[::1])")
def build(
    levels: Levels,
    counts: Levels,
    free: Levels,
    state: U64Array,
    first: np.uint64,
    end: np.uint64,
    table_bits: np.uint64,
    notes: U64Array,
) -> None:
    """Make sure leaf tables exist over pages ``first`` to ``end`` and count those pages in; ``notes`` says so."""
    page, end = np.uint64(first), np.uint64(end)
    while page < end:
        stop = min(end, (page | _INDEX) + _ONE)
        table = _ZERO
        for depth in range(_ZERO, np.uint64(3)):
            level = np.uint64(3) - depth  # of the directory: 3 is the root
            place = table * _ENTRIES + ((page >> (_NINE * level)) & _INDEX)
            entry = levels[level][place]
            if entry == _ZERO:
                child = _take(free, state, level - _ONE)
                pfn = FIRST_TABLE + (level - _ONE) * TABLES + child
                atomic_store(levels[level], place, (pfn << _PAGE_SHIFT) | np.uint64(table_bits))
                counts[level][table] += _ONE
                table = child
            else:
                table = child_table(entry, level - _ONE)
        counts[0][table] += stop - page
        page = stop
    notes[COUNTED] = _ONE


@kernel("u8(UniTuple(u8[::1], 4), u8, u8, b1)")
def first_unsound(levels: Levels, first: np.uint64, end: np.uint64, may_lack: bool) -> np.uint64:
    """First page of a range whose directories lead nowhere, or NONE; with ``may_lack`` an empty entry is fine.

    Only writes through ``read_table`` can make one; taking tables down or building on them would go astray.
    """
    page, end = np.uint64(first), np.uint64(end)
    while page < end:
        table = _ZERO
        for depth in range(_ZERO, np.uint64(3)):
            level = np.uint64(3) - depth
            entry = levels[level][table * _ENTRIES + ((page >> (_NINE * level)) & _INDEX)]
            if entry == _ZERO and may_lack:
                break
            table = child_table(entry, level - _ONE)
            if entry == _ZERO or table >= np.uint64(levels[level - _ONE].size) >> _NINE:
                return page
        page = (page | _INDEX) + _ONE
    return NONE


@kernel("u8(UniTuple(u8[::1], 4), UniTuple(u8[::1], 4), u8[::1], u8, u8, u8[:, ::1], u8[::1])")
def vacate(
    levels: Levels,
    counts: Levels,
    words: U64Array,
    first: np.uint64,
    end: np.uint64,
    unlinked: U64Array,
    notes: U64Array,
) -> np.uint64:
    """Clear pages ``first`` to ``end``, count them out, unlink what nobody covers; return how many were present.

    ``unlinked`` gets a row for each table unlinked (level, table, place of its entry in the parent, that entry), ``notes``
    their number, that of the pages that were present, and that it is done.
    """
    page, end = np.uint64(first), np.uint64(end)
    removed, rows = _ZERO, _ZERO
    while page < end:
        stop = min(end, (page | _INDEX) + _ONE)
        table = _ZERO
        for depth in range(_ZERO, np.uint64(3)):
            level = np.uint64(3) - depth
            notes[level] = table * _ENTRIES + ((page >> (_NINE * level)) & _INDEX)
            table = child_table(levels[level][notes[level]], level - _ONE)
        removed += clear_run(levels[0], table * _ENTRIES + (page & _INDEX), stop - page)
        counts[0][table] -= stop - page
        level = _ZERO
        while level < np.uint64(3) and counts[level][table] == _ZERO:
            parent = level + _ONE
            place = notes[parent]
            unlinked[rows, _LEVEL] = level
            unlinked[rows, _TABLE] = table
            unlinked[rows, _PARENT] = place
            unlinked[rows, _ENTRY] = levels[parent][place]
            rows += _ONE
            atomic_store(levels[parent], place, _ZERO)
            level, table = parent, place >> _NINE
            counts[level][table] -= _ONE
        page = stop
    atomic_add(words, RESIDENT, _ZERO - removed)  # modulo 2**64: a subtraction
    notes[UNLINKED], notes[PRESENT], notes[TAKEN], notes[COUNTED] = rows, removed, _ONE, _ZERO
    return removed


@kernel("void(UniTuple(u8[::1], 4), UniTuple(u8[::1], 4), u8[:, ::1])")
def relink(levels: Levels, counts: Levels, unlinked: U64Array) -> None:
    """Undo an unlinking, directories before what hangs below them; ``build`` then counts the pages in again."""
    for i in range(np.uint64(unlinked.shape[0])):
        row = np.uint64(unlinked.shape[0]) - _ONE - i
        parent, place = unlinked[row, _LEVEL] + _ONE, unlinked[row, _PARENT]
        if unlinked[row, _TABLE] != NONE:
            counts[parent][place >> _NINE] += _ONE
            atomic_store(levels[parent], place, unlinked[row, _ENTRY])
            unlinked[row, _TABLE] = NONE


@kernel("void(UniTuple(u8[::1], 4), UniTuple(u8[::1], 4), u8[::1], u8[:, ::1])")
def release_tables(levels: Levels, free: Levels, state: U64Array, unlinked: U64Array) -> None:
    """Put unlinked tables on the free list, all zero.

    They are already, unless somebody wrote through ``read_table``; the look costs a read, not a write.
    """
    for row in range(np.uint64(unlinked.shape[0])):
        level, table = unlinked[row, _LEVEL], unlinked[row, _TABLE]
        if table == NONE:
            continue
        unlinked[row, _TABLE] = NONE
        clear_run(levels[level], table * _ENTRIES, _ENTRIES)
        n_free = _TWO * level + _ONE
        free[level][state[n_free]] = table
        state[n_free] += _ONE
