"""What a vCPU does: walk the real tables, set A and D as hardware does, store and load.

Theory of operation
-------------------
Each access walks the four levels, ANDing and ORing the entries on its way, so that permission is two mask tests for either
format. The marks are set by compare-and-swap from the very entry that was checked: had the host cleared it meanwhile, the
access walks again, and a cleared entry never comes back half-alive. The kick word of the client is loaded before the first
access and after every 64.

Guarantees: D is set before the value is stored; a kick is seen within 64 accesses.
Relies on:  the caller is on CPU through its client, so that no table it can reach is reused during the call.
"""

import numpy as np

from npt._types import U8Array, U64Array
from npt.kernels.atomics import atomic_cas, atomic_load
from npt.kernels.jit import inline, kernel
from npt.kernels.walk import ADDRESS, NONE, Levels, child_table

__all__ = ["KICK", "LINE_WORDS", "access"]

_ZERO, _ONE = np.uint64(0), np.uint64(1)
_NINE, _INDEX, _PAGE_SHIFT = np.uint64(9), np.uint64(511), np.uint64(12)
_ENTRIES, _OFFSET_WORDS = np.uint64(512), np.uint64(511)
_ALL = np.uint64(2**64 - 1)
_EVERY = np.uint64(63)  # the kick is looked at whenever these bits of the count are zero

# Words of a client's line: 64 bytes that Python and kernels share.
KICK = _ZERO
LINE_WORDS = 8

# Words of the rules: present mask, A, D, then need and deny by kind of access (0 read, 1 write, 2 execute).
_PRESENT, _ACCESSED, _DIRTY, _NEED, _DENY = np.uint64(0), np.uint64(1), np.uint64(2), np.uint64(3), np.uint64(6)

# Words of an outcome, and what the first can say beside DONE = 0.
COMPLETED, REASON, AND_OF_ENTRIES, OR_OF_ENTRIES = np.uint64(1), np.uint64(0), np.uint64(2), np.uint64(3)
KICKED, ABSENT, DENIED = np.uint64(1), np.uint64(2), np.uint64(3)


@inline
def _walk(
    levels: Levels, gpa: np.uint64, size: np.uint64, present: np.uint64
) -> tuple[np.uint64, np.uint64, np.uint64, np.uint64]:
    """Leaf index, leaf entry, AND and OR of the entries of a walk; where it ended early NONE and an AND of 0."""
    both, either, table = _ALL, _ZERO, _ZERO
    if gpa >= size:
        return NONE, _ZERO, _ZERO, _ZERO
    page = gpa >> _PAGE_SHIFT
    for depth in range(_ZERO, np.uint64(3)):
        level = np.uint64(3) - depth
        entry = atomic_load(levels[level], table * _ENTRIES + ((page >> (_NINE * level)) & _INDEX))
        if (entry & present) == _ZERO:
            return NONE, _ZERO, _ZERO, either
        both &= entry
        either |= entry
        table = child_table(entry, level - _ONE)
        if table >= np.uint64(levels[level - _ONE].size) >> _NINE:
            return NONE, _ZERO, _ZERO, either
    leaf = table * _ENTRIES + (page & _INDEX)
    entry = atomic_load(levels[0], leaf)
    if (entry & present) == _ZERO:
        return NONE, _ZERO, _ZERO, either
    return leaf, entry, both & entry, either | entry


@kernel(
    "void(UniTuple(u8[::1], 4), Array(u8, 1, 'C', True), u8[::1], u8[::1], u8, u8, b1, Array(u8, 1, 'C', True), u1[::1], "
    "Array(u8, 1, 'C', True), u8[::1], u8, u8, u8[::1])"
)
def access(
    levels: Levels, rules: U64Array, line: U64Array, memory: U64Array, base_pfn: np.uint64, size: np.uint64, marking: bool,
    gpas: U64Array, kinds: U8Array, values: U64Array, loads: U64Array, start: np.uint64, stop: np.uint64, outcome: U64Array,
) -> None:  # fmt: skip
    """Perform accesses ``start`` to ``stop``; end early at a kick or at the first that the tables do not allow.

    ``values`` are stored by writes and ``loads`` filled by reads where they are not empty and the page has bytes;
    ``outcome`` gets the reason, the number of the access not done, and the AND and OR of the entries it met.
    """
    outcome[REASON] = _ZERO
    present, accessed, dirty = rules[_PRESENT], rules[_ACCESSED], rules[_DIRTY]
    i, stop = np.uint64(start), np.uint64(stop)
    while i < stop:
        if ((i - np.uint64(start)) & _EVERY) == _ZERO and atomic_load(line, KICK) != _ZERO:
            outcome[REASON] = KICKED
            break
        kind = np.uint64(kinds[i])
        need, deny = rules[_NEED + kind], rules[_DENY + kind]
        leaf, entry, both, either = _walk(levels, gpas[i], np.uint64(size), present)
        if leaf == NONE or (both & need) != need or (either & deny) != _ZERO:
            outcome[REASON] = ABSENT if leaf == NONE else DENIED
            outcome[AND_OF_ENTRIES], outcome[OR_OF_ENTRIES] = both, either
            break
        if marking:
            marks = accessed | dirty if kind == _ONE else accessed
            if (entry & marks) != marks and not atomic_cas(levels[0], leaf, entry, entry | marks):
                continue  # somebody changed the entry: walk again
        frame = ((entry & ADDRESS) >> _PAGE_SHIFT) - np.uint64(base_pfn)
        has_bytes = frame < np.uint64(memory.size) >> _NINE
        word = frame * _ENTRIES + ((gpas[i] >> np.uint64(3)) & _OFFSET_WORDS)
        if kind == _ONE and values.size != 0 and has_bytes:
            memory[word] = values[i]
        if kind == _ZERO and loads.size != 0:
            loads[i] = memory[word] if has_bytes else _ZERO
        i += _ONE
    outcome[COMPLETED] = i
