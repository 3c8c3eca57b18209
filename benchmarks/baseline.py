"""The peer that everybody has: the source's algorithms, a page at a time, compiled by the same compiler.

Each call of the source walks from the root for every page: ``vmm_vm.c`` 314-324 (harvest), 806-813 (populate) and 699-705
(unmap). These do the same on the same tables, with the same atomics, for one contiguous object; a fault is the same for one
page.
"""

import numpy as np

from npt._types import U8Array, U64Array
from npt.kernels.atomics import atomic_cas, atomic_clear, atomic_load
from npt.kernels.jit import kernel
from npt.kernels.walk import NONE, Levels, child_table, leaf_index

__all__ = ["checked_walk", "fault", "harvest", "leaves", "populate", "unmap", "walk"]

_ZERO, _ONE, _THREE, _SEVEN, _SHIFT = np.uint64(0), np.uint64(1), np.uint64(3), np.uint64(7), np.uint64(12)
_NINE, _INDEX, _ENTRIES = np.uint64(9), np.uint64(511), np.uint64(512)


@kernel("u8(UniTuple(u8[::1], 4), u8, u8, u8)")
def populate(levels: Levels, first: np.uint64, end: np.uint64, entry: np.uint64) -> np.uint64:
    """Install a leaf for each page where there is none; return how many."""
    added = _ZERO
    for page in range(np.uint64(first), np.uint64(end)):
        leaf = leaf_index(levels, np.uint64(page))
        wanted = entry + ((page - np.uint64(first)) << _SHIFT)
        if leaf != NONE and atomic_load(levels[0], leaf) == _ZERO and atomic_cas(levels[0], leaf, _ZERO, wanted):
            added += _ONE
    return added


@kernel("u8(UniTuple(u8[::1], 4), Array(u8, 1, 'C', True), u8, u1[::1])")
def fault(levels: Levels, gpas: U64Array, entry: np.uint64, outcomes: U8Array) -> np.uint64:
    """Make single pages of an object at address 0 resident; say of each what came of it, and how many there were."""
    added = _ZERO
    for i in range(np.uint64(gpas.size)):
        page = gpas[i] >> _SHIFT
        leaf = leaf_index(levels, page)
        outcomes[i] = np.uint8(leaf == NONE)
        if leaf == NONE or atomic_load(levels[0], leaf) != _ZERO:
            continue
        if atomic_cas(levels[0], leaf, _ZERO, np.uint64(entry) + (page << _SHIFT)):
            added += _ONE
    return added


@kernel("u8(UniTuple(u8[::1], 4), u8, u8, u8, u1[::1])")
def harvest(levels: Levels, first: np.uint64, end: np.uint64, dirty: np.uint64, bitmap: U8Array) -> np.uint64:
    """Move each page's dirty bit into a bitmap of bytes; return how many there were."""
    found = _ZERO
    for page in range(np.uint64(first), np.uint64(end)):
        leaf = leaf_index(levels, np.uint64(page))
        bit = _ZERO
        if leaf != NONE and (atomic_load(levels[0], leaf) & dirty) != _ZERO:
            atomic_clear(levels[0], leaf, dirty)
            bit = _ONE
            found += _ONE
        k = page - np.uint64(first)
        bitmap[k >> _THREE] |= np.uint8(bit << (k & _SEVEN))  # for every page, as there
    return found


@kernel("u8(UniTuple(u8[::1], 4), u8, u8)")
def unmap(levels: Levels, first: np.uint64, end: np.uint64) -> np.uint64:
    """Clear each page's leaf; return how many were present."""
    removed = _ZERO
    for page in range(np.uint64(first), np.uint64(end)):
        leaf = leaf_index(levels, np.uint64(page))
        if leaf != NONE and atomic_load(levels[0], leaf) != _ZERO:
            levels[0][leaf] = _ZERO
            removed += _ONE
    return removed


@kernel("void(UniTuple(u8[::1], 4), u8, u8[::1])")
def leaves(levels: Levels, first: np.uint64, found: U64Array) -> None:
    """Leaf entries of pages side by side, 0 where there is no table: to check by, not to time."""
    for k in range(np.uint64(found.size)):
        leaf = leaf_index(levels, np.uint64(first) + k)
        found[k] = _ZERO if leaf == NONE else atomic_load(levels[0], leaf)


@kernel("u8(UniTuple(u8[::1], 4), Array(u8, 1, 'C', True))")
def walk(levels: Levels, gpas: U64Array) -> np.uint64:
    """Sum of the leaf entries of addresses: four loads each, and no test at all."""
    total = _ZERO
    for i in range(np.uint64(gpas.size)):
        page, table = gpas[i] >> _SHIFT, _ZERO
        for depth in range(_ZERO, _THREE):
            level = _THREE - depth
            entry = levels[level][table * _ENTRIES + ((page >> (_NINE * level)) & _INDEX)]
            table = child_table(entry, level - _ONE)
        total += levels[0][table * _ENTRIES + (page & _INDEX)]
    return total


@kernel("u8(UniTuple(u8[::1], 4), Array(u8, 1, 'C', True), u8)")
def checked_walk(levels: Levels, gpas: U64Array, present: np.uint64) -> np.uint64:
    """The same for tables with holes: every entry is tested for being present."""
    total = _ZERO
    for i in range(np.uint64(gpas.size)):
        page, table, level, entry = gpas[i] >> _SHIFT, _ZERO, _THREE, _ZERO
        while True:
            entry = levels[level][table * _ENTRIES + ((page >> (_NINE * level)) & _INDEX)]
            if (entry & np.uint64(present)) == _ZERO or level == _ZERO:
                break
            level -= _ONE
            table = child_table(entry, level)
        if level == _ZERO:
            total += entry
    return total
