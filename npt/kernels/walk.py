"""From a guest page to its leaf entry, one at a time and many.

Theory of operation
-------------------
``levels`` are the four flat arrays, leaf level first. An entry of a directory names a table by a synthetic PFN, from which
the table's place in the next array follows by subtraction. A leaf's flat index in level 1 is the handle that everybody
keeps. What is mapped but not resident is looked up in the *extents*: rows, by guest page, of stretches that lie side by
side both in the guest and in the host, with the entry of their first page ready made.

Guarantees: a leaf is installed by compare-and-swap from zero, so two look-ups of one page make one entry; the resident
            count moves with it.
Relies on:  tables are not freed and extents not exchanged during the call (client lock and HOLD, or the space lock).
"""

import numpy as np

from npt._types import U8Array, U64Array
from npt.kernels.atomics import atomic_add, atomic_cas, atomic_load, load_at, prefetch
from npt.kernels.jit import inline, kernel
from npt.kernels.summary import is_clean

__all__ = [
    "AHEAD",
    "EXTENT_COLUMNS",
    "NONE",
    "find_extent",
    "find_many",
    "find_resident",
    "install_many",
    "leaf_index",
    "leaf_tables",
    "look_up",
    "look_up_many",
    "translate",
]

Levels = tuple[U64Array, ...]  # four, leaf level first
Path = tuple[np.uint64, np.uint64, np.uint64, np.uint64]  # region, its leaf table; 512 GiB, the directory under the root

_ZERO, _ONE = np.uint64(0), np.uint64(1)
_PAGE_SHIFT, _REGION_SHIFT, _NINE, _EIGHTEEN, _INDEX = np.uint64(12), np.uint64(21), np.uint64(9), np.uint64(18), np.uint64(511)
_BLOCK = np.uint64(128)  # addresses that are walked before their entries are looked at
AHEAD = np.uint64(64)
_ENTRIES = np.uint64(512)
NONE = np.uint64(2**64 - 1)
NOWHERE = (NONE, NONE, NONE, NONE)
ADDRESS = np.uint64(0x000F_FFFF_FFFF_F000)  # bits 51:12, in both formats
FIRST_TABLE = np.uint64(1 << 33)  # PFN of table 0 of level 1; the other levels follow 2**27 apart
TABLES = np.uint64(1 << 27)

# Columns of an extent.
FIRST, END, ENTRY, PROT = np.uint64(0), np.uint64(1), np.uint64(2), np.uint64(3)
EXTENT_COLUMNS = 4

# What a look-up says, beside leaf indices and outcomes.
NOMAP, FORBIDDEN = 1, 2
RESIDENT = _ZERO  # where the count of present leaves stands in a table's words

# Words of a context: addresses of the level arrays and how many tables each has room for, leaf level first; then need and
# deny by protection.
TABLES_OF, NEED, DENY = np.uint64(4), np.uint64(8), np.uint64(16)
CONTEXT_WORDS = 24
_WORD_BYTES = np.uint64(8)
_PROT, _RW, _WITHIN_PAGE = np.uint64(7), np.uint64(3), np.uint64(4095)
_WITHIN_PAGE_OR_BEYOND = np.uint64(2**64 - 2**48 + 4095)  # bits that no page's address has


@inline
def child_table(entry: np.uint64, level: np.uint64) -> np.uint64:
    """Number, in the array of ``level`` (0 = leaf), of the table that a directory entry names; huge if it names none."""
    return ((entry & ADDRESS) >> _PAGE_SHIFT) - FIRST_TABLE - level * TABLES


@inline
def descend(levels: Levels, level: np.uint64, table: np.uint64, index: np.uint64) -> np.uint64:
    """Table under entry ``index`` of a directory of ``level`` (3 = root), or NONE."""
    child = child_table(atomic_load(levels[level], table * _ENTRIES + index), level - _ONE)
    if child >= np.uint64(levels[level - _ONE].size) >> _NINE:
        return NONE
    return child


@inline
def leaf_table(levels: Levels, region: np.uint64) -> np.uint64:
    """Leaf table of a region of 512 pages, or NONE."""
    return lower_table(levels, descend(levels, np.uint64(3), _ZERO, (region >> _EIGHTEEN) & _INDEX), region)


@inline
def lower_table(levels: Levels, table: np.uint64, region: np.uint64) -> np.uint64:
    """The same from the directory under the root, if there is one."""
    if table != NONE:
        table = descend(levels, np.uint64(2), table, (region >> _NINE) & _INDEX)
    if table != NONE:
        table = descend(levels, _ONE, table, region & _INDEX)
    return table


@inline
def leaf_index(levels: Levels, page: np.uint64) -> np.uint64:
    """Flat index of a page's leaf entry, or NONE where there is no leaf table."""
    table = leaf_table(levels, page >> _NINE)
    if table == NONE:
        return NONE
    return table * _ENTRIES + (page & _INDEX)


@inline
def _find_leaf(levels: Levels, gpa: np.uint64, size: np.uint64, path: Path) -> tuple[np.uint64, Path]:
    """Flat index of the leaf entry of an address, or NONE; the entry is being fetched. ``path`` is the way to the last one."""
    region, table, top, upper = path
    leaf = NONE
    if gpa < size:
        if gpa >> _REGION_SHIFT != region:
            region = gpa >> _REGION_SHIFT
            if region >> _EIGHTEEN != top:
                top = region >> _EIGHTEEN
                upper = descend(levels, np.uint64(3), _ZERO, top & _INDEX)
            table = lower_table(levels, upper, region)
        if table != NONE:
            leaf = (table << _NINE) | ((gpa >> _PAGE_SHIFT) & _INDEX)
            prefetch(levels[0], leaf)
    return leaf, (region, table, top, upper)


@inline
def _find_leaves(levels: Levels, gpas: U64Array, start: np.uint64, stop: np.uint64, size: np.uint64, leaves: U64Array) -> None:
    """The same for a block of addresses: it is walked, then looked at, so that many entries are on their way at once."""
    path = NOWHERE
    for i in range(start, stop):
        leaves[i], path = _find_leaf(levels, gpas[i], size, path)


@inline
def find_extent(extents: U64Array, page: np.uint64) -> np.uint64:
    """Row of the extent that covers a page, or NONE."""
    low, high = _ZERO, np.uint64(extents.shape[0])
    while low < high:
        middle = (low + high) >> _ONE
        if extents[middle, END] <= page:
            low = middle + _ONE
        else:
            high = middle
    if low == np.uint64(extents.shape[0]) or extents[low, FIRST] > page:
        return NONE
    return low


@inline
def extent_entry(extents: U64Array, row: np.uint64, page: np.uint64) -> np.uint64:
    """Fresh leaf entry of a page of an extent."""
    return np.uint64(extents[row, ENTRY] + ((page - extents[row, FIRST]) << _PAGE_SHIFT))


@inline
def _known_extent(extents: U64Array, row: np.uint64, page: np.uint64) -> np.uint64:
    """The same, quickly if it is ``row``."""
    if row < np.uint64(extents.shape[0]) and extents[row, FIRST] <= page and page < extents[row, END]:
        return row
    return find_extent(extents, page)


@inline
def _check(
    extents: U64Array, row: np.uint64, page: np.uint64, entry: np.uint64, need: np.uint64, deny: np.uint64, prot: np.uint64
) -> tuple[int, np.uint64]:
    """Whether a page with this entry may be accessed, as a fault code; and the row of its extent if it is not resident."""
    if entry != _ZERO:
        return FORBIDDEN if (entry & need) != need or (entry & deny) != _ZERO else 0, row
    row = _known_extent(extents, row, page)
    if row == NONE:
        return NOMAP, row
    return FORBIDDEN if (extents[row, PROT] & prot) != prot else 0, row


@inline
def _install(levels: Levels, leaf: np.uint64, entry: np.uint64) -> np.uint64:
    """Make a page resident; 1 if nobody was quicker."""
    return np.uint64(atomic_cas(levels[0], leaf, _ZERO, entry))


@kernel("i8(UniTuple(u8[::1], 4), u8[:, ::1], u8[::1], u8, u8, u8, u8)")
def look_up(
    levels: Levels, extents: U64Array, words: U64Array, page: np.uint64, need: np.uint64, deny: np.uint64, prot: np.uint64
) -> int:
    """Make one page resident if it may be accessed; return its leaf index, or minus the fault code."""
    leaf = leaf_index(levels, np.uint64(page))
    if leaf == NONE:
        return -NOMAP
    entry = atomic_load(levels[0], leaf)
    code, row = _check(extents, NONE, np.uint64(page), entry, np.uint64(need), np.uint64(deny), np.uint64(prot))
    if code != 0:
        return -code
    if entry == _ZERO and _install(levels, leaf, extent_entry(extents, row, np.uint64(page))) != _ZERO:
        atomic_add(words, RESIDENT, _ONE)
    return int(leaf)


@kernel("UniTuple(i8, 2)(u8, u8)", nogil=False)
def find_resident(context: np.uint64, gpa: np.uint64) -> tuple[int, int]:
    """Leaf index and host address of a page that is resident and may be held; else -1, and ``look_up`` knows why.

    Takes the address of a context instead of arrays, because unpacking those costs more than the walk; the protection is
    added to it.
    """
    prot, page, table, entry = np.uint64(context) & _PROT, np.uint64(gpa) >> _PAGE_SHIFT, _ZERO, _ZERO
    base = np.uint64(context) - prot
    if np.uint64(gpa) & _WITHIN_PAGE_OR_BEYOND != _ZERO or prot & _RW == _ZERO:
        return -1, 0
    for depth in range(_ZERO, np.uint64(4)):
        level = np.uint64(3) - depth
        place = table * _ENTRIES + ((page >> (_NINE * level)) & _INDEX)
        entry = load_at(load_at(base + level * _WORD_BYTES) + place * _WORD_BYTES)
        if entry == _ZERO:
            return -1, 0
        if level == _ZERO:
            table = place
            break
        table = child_table(entry, level - _ONE)
        if table >= load_at(base + (TABLES_OF + level - _ONE) * _WORD_BYTES):
            return -1, 0
    need = load_at(base + (NEED + prot) * _WORD_BYTES)
    deny = load_at(base + (DENY + prot) * _WORD_BYTES)
    if (entry & need) != need or (entry & deny) != _ZERO:
        return -1, 0
    return int(table), int(entry & ADDRESS)


@kernel("void(UniTuple(u8[::1], 4), u8[:, ::1], u8[::1], Array(u8, 1, 'C', True), u8, u8, u8, u8, u1[::1], u8[::1])")
def look_up_many(
    levels: Levels, extents: U64Array, words: U64Array, gpas: U64Array,
    size: np.uint64, need: np.uint64, deny: np.uint64, prot: np.uint64, outcomes: U8Array, ahead: U64Array,
) -> None:  # fmt: skip
    """Make pages resident that may be accessed, by address; the fault code of the others becomes their outcome.

    Outcomes are 0 before: the locked instruction of an installation would wait for the store of another 0. Leaves are found
    ``AHEAD`` of where they are needed, between two such instructions; ``ahead`` has room for so many.
    """
    need, deny, prot = np.uint64(need), np.uint64(deny), np.uint64(prot)
    n, added, path = np.uint64(gpas.size), _ZERO, NOWHERE
    first, n_pages, entry_of_0, allowed = _ZERO, _ZERO, _ZERO, _ZERO  # of the last extent
    for i in range(min(n, AHEAD)):
        ahead[i], path = _find_leaf(levels, gpas[i], np.uint64(size), path)
    for i in range(n):
        leaf, page = ahead[i % AHEAD], gpas[i] >> _PAGE_SHIFT
        if i + AHEAD < n:
            ahead[i % AHEAD], path = _find_leaf(levels, gpas[i + AHEAD], np.uint64(size), path)
        if leaf == NONE:
            outcomes[i] = NOMAP
            continue
        entry = atomic_load(levels[0], leaf)
        if entry != _ZERO:
            if (entry & need) != need or (entry & deny) != _ZERO:
                outcomes[i] = FORBIDDEN
            continue
        if page - first >= n_pages:
            row = find_extent(extents, page)
            if row == NONE:
                outcomes[i] = NOMAP
                continue
            first, n_pages = extents[row, FIRST], extents[row, END] - extents[row, FIRST]
            entry_of_0, allowed = extents[row, ENTRY] - (first << _PAGE_SHIFT), extents[row, PROT]
        if (allowed & prot) != prot:
            outcomes[i] = FORBIDDEN
        else:
            added += _install(levels, leaf, entry_of_0 + (page << _PAGE_SHIFT))
    if added != _ZERO:
        atomic_add(words, RESIDENT, added)


@kernel("UniTuple(i8, 3)(UniTuple(u8[::1], 4), u8[:, ::1], Array(u8, 1, 'C', True), u8, u8, u8, u8, u8[::1], u8[::1])")
def find_many(
    levels: Levels, extents: U64Array, gpas: U64Array, size: np.uint64, need: np.uint64, deny: np.uint64, prot: np.uint64,
    leaves: U64Array, pfns: U64Array,
) -> tuple[int, int, int]:  # fmt: skip
    """Leaf index and PFN of pages by address, nothing installed, up to the first that is unaligned or not to be accessed.

    Returns its number and fault code (or how many there are, and 0), and how many of those before it are not resident.
    """
    start, end, row, absent = _ZERO, np.uint64(gpas.size), NONE, 0
    while start < end:
        stop = min(start + _BLOCK, end)
        _find_leaves(levels, gpas, start, stop, np.uint64(size), leaves)
        for i in range(start, stop):
            if leaves[i] == NONE or gpas[i] & _WITHIN_PAGE != _ZERO:
                return int(i), NOMAP, absent
            entry, page = atomic_load(levels[0], leaves[i]), gpas[i] >> _PAGE_SHIFT
            code, row = _check(extents, row, page, entry, np.uint64(need), np.uint64(deny), np.uint64(prot))
            if code != 0:
                return int(i), code, absent
            if entry == _ZERO:
                absent += 1
                entry = extent_entry(extents, row, page)
            pfns[i] = (entry & ADDRESS) >> _PAGE_SHIFT
        start = stop
    return int(end), 0, absent


@kernel("void(UniTuple(u8[::1], 4), u8[:, ::1], u8[::1], Array(u8, 1, 'C', True), u8[::1])")
def install_many(levels: Levels, extents: U64Array, words: U64Array, gpas: U64Array, leaves: U64Array) -> None:
    """Make pages resident that ``find_many`` has found."""
    row, added = NONE, _ZERO
    for i in range(np.uint64(gpas.size)):
        if atomic_load(levels[0], leaves[i]) == _ZERO:
            page = gpas[i] >> _PAGE_SHIFT
            row = _known_extent(extents, row, page)
            if row != NONE:
                added += _install(levels, leaves[i], extent_entry(extents, row, page))
    atomic_add(words, RESIDENT, added)


@kernel("void(UniTuple(u8[::1], 4), Array(u8, 1, 'C', True), u8, u8[::1])")
def translate(levels: Levels, gpas: U64Array, size: np.uint64, pfns: U64Array) -> None:
    """PFNs behind addresses, NONE where not resident; nothing is installed."""
    start, end = _ZERO, np.uint64(gpas.size)
    while start < end:
        stop = min(start + _BLOCK, end)
        _find_leaves(levels, gpas, start, stop, np.uint64(size), pfns)
        for i in range(start, stop):
            entry = _ZERO
            if pfns[i] != NONE:
                entry = atomic_load(levels[0], pfns[i])
            pfns[i] = ((entry & ADDRESS) >> _PAGE_SHIFT) | (_ZERO - np.uint64(entry == _ZERO))
        start = stop


@kernel("i8(UniTuple(u8[::1], 4), u1[::1], u8, u8, u8[::1], u8[::1])")
def leaf_tables(levels: Levels, touched: U8Array, first: np.uint64, end: np.uint64, tables: U64Array, slots: U64Array) -> int:
    """List the leaf tables under regions ``first`` to ``end`` and each one's place in that range; return how many.

    With ``touched``, the summary, those that are clean are left out; it is empty for all. What no directory covers is skipped
    at once, so the cost is that of the tables that are there.
    """
    found = _ZERO
    region, end = np.uint64(first), np.uint64(end)
    while region < end:
        table = descend(levels, np.uint64(3), _ZERO, (region >> _EIGHTEEN) & _INDEX)
        if table == NONE:
            region = ((region >> _EIGHTEEN) + _ONE) << _EIGHTEEN
            continue
        table = descend(levels, np.uint64(2), table, (region >> _NINE) & _INDEX)
        if table == NONE:
            region = ((region >> _NINE) + _ONE) << _NINE
            continue
        stop = min(end, ((region >> _NINE) + _ONE) << _NINE)
        while region < stop:
            leaf = descend(levels, _ONE, table, region & _INDEX)
            room = found < np.uint64(tables.size)  # too little only if somebody copied directory entries
            if room and leaf != NONE and not is_clean(touched, leaf):
                tables[found] = leaf
                slots[found] = region - np.uint64(first)
                found += _ONE
            region += _ONE
    return int(found)
