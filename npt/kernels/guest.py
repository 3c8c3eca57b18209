"""What a vCPU does: walk the real tables, set A and D as hardware does, store and load.

Theory of operation
-------------------
Accesses are done in blocks of up to 64, in passes that have no branch to mispredict and keep many loads under way:

1. *Find* the leaf of each access. Leaf tables are remembered by region of 2 MiB, as processors remember directories in
   their paging-structure caches, and no longer than one call: whoever unlinks a table kicks, and nobody reuses it before
   the call has ended. Only tables are remembered whose directories grant everything. A block ends before an access whose
   table is not to be had; at the head of the next block it is walked by itself.
2. *Test* the leaf entries. What an access wants of an entry is one word: the bits that permission needs, those that forbid
   it (they are inverted first: ``flip``), and the marks. An access whose entry lacks none of them is done by that.
3. *Settle* the others in order. Marks are set by compare-and-swap from the very entry that was tested: had somebody cleared
   it meanwhile, the access walks again, and a cleared entry never comes back half-alive. An access that the tables refuse
   ends the block. Nothing behind it has had an effect: what lacked nothing was only looked at.
4. *Touch* the leaf tables of what was written in the summary (``summary.py``). That is remembered with the table, and good as
   long as no harvest has taken any.
5. *Move* the bytes of what is done, in order.

The next block is found before this one is settled, because a locked instruction waits for all loads before it: so each
fetches one leaf of the next block ahead.

Guarantees: D is set before the value is stored; accesses take effect in order; a kick is seen within 64 of them.
Relies on:  the caller is on CPU through its client, so that no table it can reach is reused during the call; nobody else
            uses the scratch, which was zero when it was made.
"""

import numpy as np

from npt._types import U8Array, U64Array
from npt.kernels.atomics import atomic_cas, atomic_load, ctz, prefetch
from npt.kernels.hardware import (
    ACCESSED,
    COMPLETED,
    DIRTY,
    EXECUTE,
    KICK,
    KICKED,
    KIND,
    LINE_WORDS,
    PRESENT,
    READ,
    REASON,
    WRITE,
    flip_of,
    good_bits,
    leaf_table,
    move,
    permission,
    refuse,
    walk,
)  # fmt: skip
from npt.kernels.jit import inline, kernel
from npt.kernels.summary import nothing_taken, touch
from npt.kernels.walk import NONE, Levels

__all__ = ["KICK", "LINE_WORDS", "SCRATCH_WORDS", "access"]

_ZERO, _ONE = np.uint64(0), np.uint64(1)
_ALL = np.uint64(2**64 - 1)
_NINE, _INDEX = np.uint64(9), np.uint64(511)
_PAGE_SHIFT, _REGION_SHIFT = np.uint64(12), np.uint64(21)
_BLOCK = np.uint64(64)

# Words of the scratch: wants by kind, number of the call; two blocks that take turns; leaf tables by region.
_WANTS, _CALL, _FIRST, _SECOND, _TABLES = _ZERO, np.uint64(4), np.uint64(8), np.uint64(328), np.uint64(648)
SCRATCH_WORDS = 648 + 8192

# Words of a block, by access: address, want, entry of the remembered table, leaf, leaf entry.
_GPA, _WANT, _TABLE, _LEAF, _ENTRY = _ZERO, np.uint64(64), np.uint64(128), np.uint64(192), np.uint64(256)

# Entry of a remembered table: call, what its slot does not say of the region, flat index of its first leaf; 15, 13, 36 bits.
# The lowest, which that index does not need, says that the table was touched during the call.
_SLOT, _TAG_SHIFT, _TAG_BITS = np.uint64(8191), np.uint64(34), np.uint64(13)
_BASE, _BASE_BITS, _TOUCHED = np.uint64((1 << 36) - (1 << 9)), np.uint64(36), _ONE
_LAST_CALL = np.uint64((1 << 15) - 1)


@inline
def _begin(scratch: U64Array, rules: U64Array, marks: np.uint64, kinds: U8Array) -> None:
    """Forget the tables of the last call; what each kind of access wants, into the blocks already if all are of one."""
    for kind in range(_ZERO, KIND + _ONE):
        known = min(np.uint64(kind), EXECUTE)
        dirty = rules[DIRTY] * np.uint64(known == WRITE)
        scratch[_WANTS + kind] = permission(rules, known) | ((rules[ACCESSED] | dirty) & marks)
    scratch[_CALL] += _ONE
    if scratch[_CALL] > _LAST_CALL:
        for slot in range(_SLOT + _ONE):
            scratch[_TABLES + slot] = _ZERO
        scratch[_CALL] = _ONE
    if kinds.size == 1:
        want = scratch[_WANTS + (np.uint64(kinds[0]) & KIND)]
        for k in range(_BLOCK):
            scratch[_FIRST + _WANT + k] = want
            scratch[_SECOND + _WANT + k] = want


@inline
def _recall(scratch: U64Array, block: np.uint64, n: np.uint64, size: np.uint64) -> np.uint64:
    """Leaves of a block by the tables that are remembered; return which are not to be had like that, as bits of a word."""
    call = scratch[_CALL] << _TAG_BITS
    unknown = np.uint64(0)
    for k in range(n):
        scratch[block + _TABLE + k] = _TABLES + ((scratch[block + _GPA + k] >> _REGION_SHIFT) & _SLOT)
    for k in range(n):
        scratch[block + _TABLE + k] = scratch[scratch[block + _TABLE + k]]
    for k in range(n):
        gpa, table = scratch[block + _GPA + k], scratch[block + _TABLE + k]
        scratch[block + _LEAF + k] = (table & _BASE) | ((gpa >> _PAGE_SHIFT) & _INDEX)
        other = ((table >> _BASE_BITS) ^ call ^ (gpa >> _TAG_SHIFT)) | np.uint64(gpa >= size)
        unknown |= np.uint64(other != _ZERO) << np.uint64(k)
    return unknown


@inline
def _find(
    levels: Levels, rules: U64Array, size: np.uint64, gpas: U64Array, kinds: U8Array, start: np.uint64, n: np.uint64,
    scratch: U64Array, block: np.uint64,
) -> np.uint64:  # fmt: skip
    """Begin a block of ``n`` accesses; return how many come before the first that must be walked by itself."""
    for k in range(n):
        scratch[block + _GPA + k] = gpas[start + k]
    if kinds.size != 1:
        for k in range(n):
            scratch[block + _WANT + k] = scratch[_WANTS + (np.uint64(kinds[start + k]) & KIND)]
    unknown = _recall(scratch, block, n, size)
    if unknown == _ZERO:
        return n
    flip = flip_of(rules)
    all_of_it = permission(rules, READ) | permission(rules, WRITE) | permission(rules, EXECUTE)
    while unknown != _ZERO:
        new = ctz(unknown)
        gpa = scratch[block + _GPA + new]
        table, both, either = leaf_table(levels, gpa, size, rules[PRESENT])
        if table == NONE or (good_bits(both, either, flip) & all_of_it) != all_of_it:
            return new
        base = table << _NINE
        tag = (scratch[_CALL] << _TAG_BITS) | (gpa >> _TAG_SHIFT)
        scratch[_TABLES + ((gpa >> _REGION_SHIFT) & _SLOT)] = (tag << _BASE_BITS) | base
        scratch[block + _LEAF + new] = base | ((gpa >> _PAGE_SHIFT) & _INDEX)
        scratch[block + _TABLE + new] = base
        unknown &= unknown - _ONE
    return n


@inline
def _test(levels: Levels, scratch: U64Array, block: np.uint64, n: np.uint64, flip: np.uint64) -> np.uint64:
    """Load the leaf entries of a block; return which lack something, as bits of a word."""
    lacking = np.uint64(0)
    for k in range(n):
        scratch[block + _ENTRY + k] = atomic_load(levels[0], scratch[block + _LEAF + k])
    for k in range(n):
        lacks = scratch[block + _WANT + k] & ~(scratch[block + _ENTRY + k] ^ flip)
        lacking |= np.uint64(lacks != _ZERO) << np.uint64(k)
    return lacking


@inline
def _settle(
    levels: Levels, rules: U64Array, size: np.uint64, marks: np.uint64, flip: np.uint64, scratch: U64Array, block: np.uint64,
    n: np.uint64, lacking: np.uint64, following: np.uint64, n_following: np.uint64, outcome: U64Array,
) -> np.uint64:  # fmt: skip
    """Do the accesses that lack something, or are to be walked; return how many of the block are done."""
    while lacking != _ZERO:
        k = ctz(lacking)
        leaf, want = scratch[block + _LEAF + k], scratch[block + _WANT + k]
        if k < n_following:
            prefetch(levels[0], scratch[following + _LEAF + k])
        if leaf != NONE:
            entry = atomic_load(levels[0], leaf)
            lacks = want & ~(entry ^ flip)
            settled = lacks == _ZERO
            if not settled and (lacks & ~marks) == _ZERO:
                settled = atomic_cas(levels[0], leaf, entry, entry | (want & marks))
            if settled:
                scratch[block + _ENTRY + k] = entry
                lacking &= lacking - _ONE
                continue
        leaf, entry, both, either = walk(levels, scratch[block + _GPA + k], size, rules[PRESENT])
        if leaf == NONE or (want & ~marks & ~good_bits(both, either, flip)) != _ZERO:
            refuse(outcome, leaf, both, either)
            return k
        scratch[block + _LEAF + k] = leaf
        scratch[block + _TABLE + k] = leaf & _BASE
    return n


@inline
def _touch(
    touched: U8Array, takes: U64Array, since: np.uint64, scratch: U64Array, block: np.uint64, n: np.uint64, dirty: np.uint64
) -> None:
    """Touch the leaf tables that accesses of a block wrote to; mostly that was done since the last harvest took any."""
    any_unknown = _ZERO
    for k in range(n):
        written = (scratch[block + _WANT + k] & dirty) != _ZERO
        any_unknown |= np.uint64(written) & (scratch[block + _TABLE + k] ^ _TOUCHED)
    taken = not nothing_taken(takes, since)
    if any_unknown == _ZERO and not taken:
        return
    unknown = _ZERO
    for k in range(n):
        unknown |= (np.uint64(taken) | ((scratch[block + _TABLE + k] ^ _TOUCHED) & _TOUCHED)) << np.uint64(k)
    while unknown != _ZERO:
        one = ctz(unknown)
        unknown &= unknown - _ONE
        if (scratch[block + _WANT + one] & dirty) != _ZERO:
            leaf, slot = scratch[block + _LEAF + one], (scratch[block + _GPA + one] >> _REGION_SHIFT) & _SLOT
            touch(touched, leaf >> _NINE)
            if (scratch[_TABLES + slot] & _BASE) == (leaf & _BASE):
                scratch[_TABLES + slot] |= _TOUCHED


@kernel(
    "void(UniTuple(u8[::1], 4), u1[::1], u8[::1], Array(u8, 1, 'C', True), u8[::1], u8[::1], u8, u8, b1, "
    "Array(u8, 1, 'C', True), Array(u1, 1, 'C', True), Array(u8, 1, 'C', True), u8[::1], u8, u8, u8[::1], u8[::1])"
)
def access(
    levels: Levels, touched: U8Array, takes: U64Array, rules: U64Array, line: U64Array, memory: U64Array,
    base_pfn: np.uint64, size: np.uint64, marking: bool, gpas: U64Array, kinds: U8Array, values: U64Array, loads: U64Array,
    start: np.uint64, stop: np.uint64, scratch: U64Array, outcome: U64Array,
) -> None:  # fmt: skip
    """Perform accesses ``start`` to ``stop``; end early at a kick or at the first that the tables do not allow.

    ``kinds`` is one for all, or one each. ``values`` are stored by writes and ``loads`` filled by reads where they are not
    empty and the page has bytes; ``outcome`` gets the reason, the number of the access not done, and the AND and OR of the
    entries it met.
    """
    outcome[REASON] = _ZERO
    i, stop, size = np.uint64(start), np.uint64(stop), np.uint64(size)
    flip, marks = flip_of(rules), (rules[ACCESSED] | rules[DIRTY]) * np.uint64(marking)
    writes = marking and (kinds.size != 1 or np.uint64(kinds[_ZERO]) == WRITE)
    _begin(scratch, rules, marks, kinds)
    since = atomic_load(takes, _ZERO)
    block, following = _FIRST, _SECOND
    n_following = min(stop - i, _BLOCK)
    found = _find(levels, rules, size, gpas, kinds, i, n_following, scratch, block)
    while i < stop and outcome[REASON] == _ZERO:
        if atomic_load(line, KICK) != _ZERO:
            outcome[REASON] = KICKED
            break
        n, lacking = found, _ONE
        if n != _ZERO:
            lacking = _test(levels, scratch, block, n, flip)
        else:
            n = _ONE
            scratch[block + _LEAF] = NONE  # and of no table
            scratch[block + _TABLE] = _ZERO
        n_following = min(stop - i - n, _BLOCK)
        found = _find(levels, rules, size, gpas, kinds, i + n, n_following, scratch, following)
        n = _settle(levels, rules, size, marks, flip, scratch, block, n, lacking, following, found, outcome)
        if writes:
            _touch(touched, takes, since, scratch, block, n, marks & rules[DIRTY])
        if values.size != 0 or loads.size != 0:
            for k in range(n):
                kind = np.uint64(kinds[i + k if kinds.size != 1 else _ZERO]) & KIND
                gpa, entry = scratch[block + _GPA + k], scratch[block + _ENTRY + k]
                move(memory, np.uint64(base_pfn), entry, gpa, kind, values, loads, i + k)
        i += n
        block, following = following, block
    outcome[COMPLETED] = i
