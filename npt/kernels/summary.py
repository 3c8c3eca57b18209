"""Which leaf tables may hold dirty entries: a byte a leaf table, so that a harvest does not read those that are clean.

Theory of operation
-------------------
Who sets D in an entry *touches* its table afterwards, on every write, also on one that found D set: whoever set that may
not have come to touch the table yet. The byte is loaded first and changed only where it is clean, because a store each time
would send the cache line around between vCPUs. Who harvests a table *takes* it first and scans it then, and touches it again
if dirty entries stay behind. So where a write has returned, its D is set and its table touched, or a harvest that took the
table since has seen D. A byte that is set for nothing costs a scan. (Had the harvest scanned before it took, or the writer
touched before it set D, a set D could be left under a clean byte.)

The byte stands by the table's own number, not by its place in the directory: who has a leaf index has it, and a table that
is reached through two directory entries has one.

Who writes to the same tables again and again need not load their bytes each time: what was touched stays so until a harvest
takes it. A word counts that: it is odd while a harvest takes tables, and even, and larger, when it has ended. Who reads an even
number, then touches a table, then sets or sees D in it, and finds the same number still, knows that it is touched. (An odd
one would not do: that harvest may have this table still before it.)

A table that was handed out for writing by ``read_table`` can get D from anybody: it stays marked until it is freed.

Guarantees: a table whose D was set by a call that has returned is not clean, unless a harvest has cleared it since.
Relies on:  D being set before ``touch``, and scanned after ``take``.
"""

import numpy as np

from npt._types import U8Array, U64Array
from npt.kernels.atomics import atomic_cas, atomic_load, fence
from npt.kernels.jit import inline

__all__ = ["CLEAN", "HANDED_OUT", "TOUCHED", "is_clean", "nothing_taken", "take", "touch"]

_ZERO, _ONE = np.uint64(0), np.uint64(1)
CLEAN, TOUCHED, HANDED_OUT = np.uint8(0), np.uint8(1), np.uint8(3)  # bit 0: not clean


@inline
def is_clean(touched: U8Array, table: np.uint64) -> bool:
    """Whether no entry of a leaf table can be dirty; never where ``touched`` is empty."""
    return touched.size != 0 and atomic_load(touched, table) == CLEAN


@inline
def touch(touched: U8Array, table: np.uint64) -> None:
    """Say that D was set in a leaf table; nothing where ``touched`` is empty."""
    if touched.size != 0 and atomic_load(touched, table) == CLEAN:
        atomic_cas(touched, table, CLEAN, TOUCHED)


@inline
def nothing_taken(takes: U64Array, since: np.uint64) -> bool:
    """Whether no table was taken since ``takes[0]`` was read; said only if none was being taken then."""
    return bool((since & _ONE) == _ZERO and atomic_load(takes, _ZERO) == since)


@inline
def take(touched: U8Array, table: np.uint64) -> None:
    """Say that a leaf table is going to be scanned; nothing where ``touched`` is empty."""
    if touched.size != 0 and atomic_load(touched, table) == TOUCHED:
        atomic_cas(touched, table, TOUCHED, CLEAN)
        fence()  # the scan's plain loads must not pass that
