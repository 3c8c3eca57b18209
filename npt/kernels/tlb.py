"""What a vCPU with a simulated TLB does: cached translations first, the real tables where there is none that does.

Theory of operation
-------------------
The TLB is set-associative: 4 ways a set, the last set with what is left over, so that there are exactly as many entries as
were asked for. The set of a page is its number modulo the number of sets. A set fills its ways in order and then replaces
them in the same order, whatever was used last: the same accesses always hit and miss alike.

An entry has the page, its frame, what all levels allow, and whether D is set. It is used as hardware would: an access that
hits touches no table, and a write through an entry whose D was set when it was filled leaves no mark. So what the host
clears or takes away must be followed by a flush, which is the caller's: see ``Vcpu``. Whatever does not hit walks, sets
its marks, and fills or refreshes the entry of its page. A walk that faults fills nothing.

Guarantees: those of ``guest``; hits depend on the accesses and the tables alone.
Relies on:  what ``guest`` relies on; nobody else uses the TLB.
"""

import numpy as np

from npt._types import U8Array, U64Array
from npt.kernels.atomics import atomic_cas, atomic_load
from npt.kernels.hardware import (
    ACCESSED,
    COMPLETED,
    DIRTY,
    EXECUTE,
    KICK,
    KICKED,
    KIND,
    PRESENT,
    REASON,
    WRITE,
    flip_of,
    good_bits,
    move,
    permission,
    refuse,
    walk,
)  # fmt: skip
from npt.kernels.jit import inline, kernel
from npt.kernels.summary import touch
from npt.kernels.walk import ADDRESS, NONE, Levels

__all__ = ["WAYS", "access"]

_ZERO, _ONE, _NINE, _PAGE_SHIFT = np.uint64(0), np.uint64(1), np.uint64(9), np.uint64(12)
_EVERY = np.uint64(63)  # the kick is looked at whenever these bits of the count are zero

WAYS = 4
_WAYS = np.uint64(WAYS)

# Columns of an entry. Its translation has the frame where a leaf has it, a bit for each kind of access that is allowed, and
# one for D.
PAGE, TRANSLATION = _ZERO, _ONE  # page number + 1; 0 in an entry that is empty
_IS_DIRTY = np.uint64(1 << 3)


@inline
def _way(entries: U64Array, first: np.uint64, ways: np.uint64, page: np.uint64) -> np.uint64:
    """Row of a page in its set, or NONE."""
    for way in range(ways):
        if entries[first + way, PAGE] == page + _ONE:
            return first + way
    return NONE


@inline
def _translation(rules: U64Array, entry: np.uint64, both: np.uint64, either: np.uint64) -> np.uint64:
    """What a TLB remembers of a walk."""
    lacks = ~good_bits(both, either, flip_of(rules))
    known = entry & ADDRESS
    for kind in range(EXECUTE + _ONE):
        known |= np.uint64((permission(rules, np.uint64(kind)) & lacks) == _ZERO) << np.uint64(kind)
    if (entry & rules[DIRTY]) != _ZERO:
        known |= _IS_DIRTY
    return known


@kernel(
    "void(UniTuple(u8[::1], 4), u1[::1], Array(u8, 1, 'C', True), u8[::1], u8[::1], u8, u8, b1, Array(u8, 1, 'C', True), "
    "Array(u1, 1, 'C', True), Array(u8, 1, 'C', True), u8[::1], u8, u8, u8[:, ::1], u8[::1], u8[::1])"
)
def access(
    levels: Levels, touched: U8Array, rules: U64Array, line: U64Array, memory: U64Array, base_pfn: np.uint64, size: np.uint64,
    marking: bool, gpas: U64Array, kinds: U8Array, values: U64Array, loads: U64Array, start: np.uint64, stop: np.uint64,
    entries: U64Array, fills: U64Array, outcome: U64Array,
) -> None:  # fmt: skip
    """What ``guest.access`` does, through the entries of a TLB; ``fills`` counts, by set, how often one was filled."""
    outcome[REASON] = _ZERO
    i, sets, marks = np.uint64(start), np.uint64(fills.size), (rules[ACCESSED] | rules[DIRTY]) * np.uint64(marking)
    while i < np.uint64(stop):
        if ((i - np.uint64(start)) & _EVERY) == _ZERO and atomic_load(line, KICK) != _ZERO:
            outcome[REASON] = KICKED
            break
        gpa, kind = gpas[i], min(np.uint64(kinds[i if kinds.size != 1 else _ZERO]) & KIND, EXECUTE)
        page = gpa >> _PAGE_SHIFT
        number = page % sets
        ways = min(_WAYS, np.uint64(entries.shape[0]) - number * _WAYS)
        row, translation, wanted = _way(entries, number * _WAYS, ways, page), _ZERO, _ONE << kind
        if kind == WRITE and marking:
            wanted |= _IS_DIRTY
        if row != NONE:
            translation = entries[row, TRANSLATION]
        if (translation & wanted) != wanted:
            leaf, entry, both, either = walk(levels, gpa, np.uint64(size), rules[PRESENT])
            if leaf == NONE or (permission(rules, kind) & ~good_bits(both, either, flip_of(rules))) != _ZERO:
                refuse(outcome, leaf, both, either)
                break
            mark = (rules[ACCESSED] | rules[DIRTY] * np.uint64(kind == WRITE)) & marks
            if (entry & mark) != mark and not atomic_cas(levels[0], leaf, entry, entry | mark):
                continue  # somebody changed the entry: walk again
            if (mark & rules[DIRTY]) != _ZERO:
                touch(touched, leaf >> _NINE)
            translation = _translation(rules, entry | mark, both, either)
            if row == NONE:
                row = number * _WAYS + fills[number] % ways
                fills[number] += _ONE
            entries[row, PAGE] = page + _ONE
            entries[row, TRANSLATION] = translation
        move(memory, np.uint64(base_pfn), translation, gpa, kind, values, loads, i)
        i += _ONE
    outcome[COMPLETED] = i
