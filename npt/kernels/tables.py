"""Building directories and leaf tables, and taking down those that nobody covers.

Theory of operation
-------------------
Each leaf table counts the pages of mappings that cover it, each directory its children. Building goes down from the root
and links a child only when it is all zero, which a table that was never used or is on the free list always is. Taking down
first clears the leaves; that may be done in parts, side by side, and again. Then ``unlink`` unlinks every table whose count
came to zero, upwards, up to but not including the root. What was unlinked is recorded and *not* freed: a walker may be inside
until it has been kicked. Then ``release_tables`` puts the tables on the free list, or ``relink`` undoes the unlinking, if a
vCPU would not leave.

Unlinked tables are all zero: their leaves were cleared, their children unlinked. Only who got one from ``read_table`` can
have written something else into it, so those are looked at.

Guarantees: a table on the free list is all zero; a published entry leads to a zeroed table; nothing moves. A caller who was
            interrupted can see from its record what was begun and what was done, and releases or relinks no table twice.
Relies on:  one caller at a time but for ``clear``, under the space's exclusion; room for the new tables, checked before.
"""

import numpy as np
from numpy.typing import NDArray

from npt._types import U8Array, U64Array
from npt.kernels.atomics import atomic_add, atomic_store, publish
from npt.kernels.jit import inline, kernel
from npt.kernels.leaves import clear_run
from npt.kernels.summary import CLEAN, HANDED_OUT
from npt.kernels.walk import FIRST_TABLE, NONE, RESIDENT, TABLES, Levels, child_table, leaf_index

__all__ = ["NOTES", "ROW", "build", "clear", "first_unsound", "hand_out", "release_tables", "relink", "unlink"]

Counts = tuple[NDArray[np.uint16], ...]  # by level, of each table
Free = tuple[NDArray[np.uint32], ...]  # by level, a stack of table numbers
Marks = tuple[U8Array, ...]  # by level, of each table; the summary is that of the leaf level
Rows = NDArray[np.uint32]

_ZERO, _ONE, _TWO = np.uint64(0), np.uint64(1), np.uint64(2)
_NINE, _INDEX, _PAGE_SHIFT, _ENTRIES = np.uint64(9), np.uint64(511), np.uint64(12), np.uint64(512)
_DIRECTORY = np.uint64((1 << 18) - 1)  # pages under a directory of leaf tables, less one

# Columns of the record of an unlinked table: its level (0 = leaf) above its number; the place of its entry in the parent.
_TABLE, _PARENT = np.uint64(0), np.uint64(1)
_LEVEL_SHIFT, _NUMBER = np.uint64(30), np.uint64((1 << 30) - 1)
_DONE = np.uint64(2**32 - 1)
ROW = 2

# Words of the notes of a taking down; 1 to 3 are for notes on the way.
UNLINKED, PRESENT, TAKEN, COUNTED, BEGUN = np.uint64(0), np.uint64(4), np.uint64(5), np.uint64(6), np.uint64(7)
NOTES = 8


@inline
def _directory_entry(level: np.uint64, table: np.uint64, table_bits: np.uint64) -> np.uint64:
    """Entry that names a table of a level (0 = leaf)."""
    return np.uint64(((FIRST_TABLE + level * TABLES + table) << _PAGE_SHIFT) | table_bits)


@inline
def _take(free: Free, state: U64Array, level: np.uint64) -> np.uint64:
    """A zeroed table of a level (0 = leaf): from the free list, else a new one."""
    ever, n_free = _TWO * level, _TWO * level + _ONE
    if state[n_free] != _ZERO:
        state[n_free] -= _ONE
        return np.uint64(free[level][state[n_free]])
    state[ever] += _ONE
    return np.uint64(state[ever] - _ONE)


@inline
def _child(
    levels: Levels, counts: Counts, free: Free, state: U64Array, level: np.uint64, table: np.uint64, page: np.uint64,
    table_bits: np.uint64,
) -> np.uint64:  # fmt: skip
    """Table under a page's entry in a directory of ``level``, made if there is none."""
    place = table * _ENTRIES + ((page >> (_NINE * level)) & _INDEX)
    entry = levels[level][place]
    if entry != _ZERO:
        return child_table(entry, level - _ONE)
    child = _take(free, state, level - _ONE)
    publish(levels[level], place, _directory_entry(level - _ONE, child, table_bits))
    counts[level][table] += np.uint16(1)
    return child


@kernel("void(UniTuple(u8[::1], 4), UniTuple(u2[::1], 4), UniTuple(u4[::1], 4), u8[::1], u8, u8, u8, u8[::1])")
def build(
    levels: Levels, counts: Counts, free: Free, state: U64Array, first: np.uint64, end: np.uint64, table_bits: np.uint64,
    notes: U64Array,
) -> None:  # fmt: skip
    """Make sure leaf tables exist over pages ``first`` to ``end`` and count those pages in; ``notes`` says so."""
    page, end = np.uint64(first), np.uint64(end)
    while page < end:
        table = _child(levels, counts, free, state, np.uint64(3), _ZERO, page, np.uint64(table_bits))
        table = _child(levels, counts, free, state, _TWO, table, page, np.uint64(table_bits))
        directory_end = min(end, (page | _DIRECTORY) + _ONE)
        while page < directory_end:
            stop = min(end, (page | _INDEX) + _ONE)
            leaf = _child(levels, counts, free, state, _ONE, table, page, np.uint64(table_bits))
            counts[0][leaf] += np.uint16(stop - page)
            page = stop
    notes[COUNTED] = _ONE


@kernel("u8(UniTuple(u8[::1], 4), u8, u8, b1)")
def first_unsound(levels: Levels, first: np.uint64, end: np.uint64, may_lack: bool) -> np.uint64:
    """First page of a range whose directories lead nowhere, or NONE; with ``may_lack`` an empty entry is fine.

    Only writes through ``read_table`` can make one; taking tables down or building on them would go astray.
    """
    page, end = np.uint64(first), np.uint64(end)
    while page < end:
        table, directory_end = _ZERO, (page | _DIRECTORY) + _ONE
        for depth in range(_ZERO, np.uint64(2)):
            level = np.uint64(3) - depth
            entry = levels[level][table * _ENTRIES + ((page >> (_NINE * level)) & _INDEX)]
            table = child_table(entry, level - _ONE)
            if entry == _ZERO and may_lack:
                page = directory_end
                break
            if entry == _ZERO or table >= np.uint64(levels[level - _ONE].size) >> _NINE:
                return page
        while page < min(end, directory_end):
            entry = levels[1][table * _ENTRIES + ((page >> _NINE) & _INDEX)]
            leads_out = child_table(entry, _ZERO) >= np.uint64(levels[0].size) >> _NINE
            if (leads_out and entry != _ZERO) or (entry == _ZERO and not may_lack):
                return page
            page = (page | _INDEX) + _ONE
    return NONE


@kernel("void(UniTuple(u8[::1], 4), u8[::1], u8, u8, u8[::1])")
def clear(levels: Levels, words: U64Array, first: np.uint64, end: np.uint64, notes: U64Array) -> None:
    """Clear the leaves of pages ``first`` to ``end``; add how many were present to ``notes``."""
    atomic_store(notes, BEGUN, _ONE)
    page, end = np.uint64(first), np.uint64(end)
    removed = _ZERO
    while page < end:
        stop = min(end, (page | _INDEX) + _ONE)
        removed += clear_run(levels[0], leaf_index(levels, page), stop - page)
        page = stop
    atomic_add(words, RESIDENT, _ZERO - removed)  # modulo 2**64: a subtraction
    atomic_add(notes, PRESENT, removed)


@kernel("void(UniTuple(u8[::1], 4), UniTuple(u2[::1], 4), u8, u8, u4[:, ::1], u8[::1])")
def unlink(levels: Levels, counts: Counts, first: np.uint64, end: np.uint64, unlinked: Rows, notes: U64Array) -> None:
    """Count pages ``first`` to ``end`` out and unlink what nobody covers.

    ``unlinked`` gets a row for each table unlinked, ``notes`` their number, and that it is done.
    """
    page, end = np.uint64(first), np.uint64(end)
    rows = _ZERO
    while page < end:
        stop = min(end, (page | _INDEX) + _ONE)
        table = _ZERO
        for depth in range(_ZERO, np.uint64(3)):
            level = np.uint64(3) - depth
            notes[level] = table * _ENTRIES + ((page >> (_NINE * level)) & _INDEX)
            table = child_table(levels[level][notes[level]], level - _ONE)
        counts[0][table] -= np.uint16(stop - page)
        level = _ZERO
        while level < np.uint64(3) and counts[level][table] == 0:
            parent = level + _ONE
            place = notes[parent]
            unlinked[rows, _TABLE] = np.uint32((level << _LEVEL_SHIFT) | table)
            unlinked[rows, _PARENT] = np.uint32(place)
            rows += _ONE
            atomic_store(levels[parent], place, _ZERO)
            level, table = parent, place >> _NINE
            counts[level][table] -= np.uint16(1)
        page = stop
    notes[UNLINKED], notes[TAKEN], notes[COUNTED] = rows, _ONE, _ZERO


@kernel("void(UniTuple(u8[::1], 4), UniTuple(u2[::1], 4), u8, u4[:, ::1])")
def relink(levels: Levels, counts: Counts, table_bits: np.uint64, unlinked: Rows) -> None:
    """Undo an unlinking, directories before what hangs below them; ``build`` then counts the pages in again."""
    for i in range(np.uint64(unlinked.shape[0])):
        row = np.uint64(unlinked.shape[0]) - _ONE - i
        known, place = np.uint64(unlinked[row, _TABLE]), np.uint64(unlinked[row, _PARENT])
        if known != _DONE:
            level = known >> _LEVEL_SHIFT
            counts[level + _ONE][place >> _NINE] += np.uint16(1)
            atomic_store(levels[level + _ONE], place, _directory_entry(level, known & _NUMBER, np.uint64(table_bits)))
            unlinked[row, _TABLE] = np.uint32(_DONE)


@kernel("void(UniTuple(u8[::1], 4), UniTuple(u4[::1], 4), u8[::1], UniTuple(u1[::1], 4), u4[:, ::1])")
def release_tables(levels: Levels, free: Free, state: U64Array, marks: Marks, unlinked: Rows) -> None:
    """Put unlinked tables on the free list, all zero."""
    for row in range(np.uint64(unlinked.shape[0])):
        known = np.uint64(unlinked[row, _TABLE])
        if known == _DONE:
            continue
        level, table = known >> _LEVEL_SHIFT, known & _NUMBER
        unlinked[row, _TABLE] = np.uint32(_DONE)
        if marks[level][table] == HANDED_OUT:
            clear_run(levels[level], table * _ENTRIES, _ENTRIES)
        if marks[level][table] != CLEAN:
            atomic_store(marks[level], table, CLEAN)
        n_free = _TWO * level + _ONE
        free[level][state[n_free]] = np.uint32(table)
        state[n_free] += _ONE


@kernel("void(u1[::1], u8)")
def hand_out(marks: U8Array, table: np.uint64) -> None:
    """Say that somebody may write into a table, whatever he likes, until it is freed."""
    atomic_store(marks, np.uint64(table), HANDED_OUT)
