"""How hardware looks at an access: permission by masks, the walk, what a refusal says, the bytes.

Theory of operation
-------------------
Permission is two masks for each kind of access: bits that every entry of the walk needs, and bits that none may have. With
the bits that forbid inverted, both are one: *good bits*, that all entries must have. So nothing here branches on the format.

Guarantees: an entry that leads outside the arrays is an absence, not a crash.
Relies on:  the caller is on CPU through its client, so that no table it can reach is reused meanwhile.
"""

import numpy as np

from npt._types import U64Array
from npt.kernels.atomics import atomic_load
from npt.kernels.jit import inline
from npt.kernels.walk import ADDRESS, NONE, Levels, child_table

__all__ = ["KICK", "LINE_WORDS", "flip_of", "good_bits", "leaf_table", "move", "permission", "refuse", "walk"]

_ZERO, _ONE, _TWO = np.uint64(0), np.uint64(1), np.uint64(2)
_ALL = np.uint64(2**64 - 1)
_NINE, _INDEX, _ENTRIES = np.uint64(9), np.uint64(511), np.uint64(512)
_PAGE_SHIFT, _WORD_SHIFT = np.uint64(12), np.uint64(3)

# Kinds of access; the mask keeps a kernel inside its arrays whatever becomes of the caller's during a call.
READ, WRITE, EXECUTE, KIND = _ZERO, _ONE, _TWO, np.uint64(3)

# Words of a client's line: 64 bytes that Python and kernels share.
KICK = _ZERO
LINE_WORDS = 8

# Words of the rules: present mask, A, D, then need and deny by kind of access.
PRESENT, ACCESSED, DIRTY, NEED, DENY = _ZERO, _ONE, _TWO, np.uint64(3), np.uint64(6)

# Words of an outcome, and what the first can say beside DONE = 0.
COMPLETED, REASON, AND_OF_ENTRIES, OR_OF_ENTRIES = _ONE, _ZERO, _TWO, np.uint64(3)
KICKED, ABSENT, DENIED = _ONE, _TWO, np.uint64(3)


@inline
def flip_of(rules: U64Array) -> np.uint64:
    """Bits that forbid. With these inverted, all bits of an entry are good ones."""
    return np.uint64(rules[DENY] | rules[DENY + _ONE] | rules[DENY + _TWO])


@inline
def permission(rules: U64Array, kind: np.uint64) -> np.uint64:
    """Good bits that a kind of access must find in all entries of its walk."""
    return np.uint64(rules[NEED + kind] | rules[DENY + kind])


@inline
def good_bits(both: np.uint64, either: np.uint64, flip: np.uint64) -> np.uint64:
    """Good bits that all entries of a walk have, from their AND and OR."""
    return (both & ~flip) | (~either & flip)


@inline
def _descend(
    levels: Levels, level: np.uint64, table: np.uint64, page: np.uint64, present: np.uint64, both: np.uint64, either: np.uint64
) -> tuple[np.uint64, np.uint64, np.uint64]:
    """Table under a page's entry in a directory of ``level``, or NONE; AND and OR of the entries up to this one."""
    entry = atomic_load(levels[level], table * _ENTRIES + ((page >> (_NINE * level)) & _INDEX))
    if (entry & present) == _ZERO:
        return NONE, _ZERO, either
    child = child_table(entry, level - _ONE)
    if child >= np.uint64(levels[level - _ONE].size) >> _NINE:
        return NONE, _ZERO, either | entry
    return child, both & entry, either | entry


@inline
def leaf_table(levels: Levels, gpa: np.uint64, size: np.uint64, present: np.uint64) -> tuple[np.uint64, np.uint64, np.uint64]:
    """Leaf table of a page, or NONE; AND (0 where the walk ended early) and OR of the directories' entries."""
    if gpa >= size:
        return NONE, _ZERO, _ZERO
    page = gpa >> _PAGE_SHIFT
    table, both, either = _descend(levels, np.uint64(3), _ZERO, page, present, _ALL, _ZERO)
    if table != NONE:
        table, both, either = _descend(levels, _TWO, table, page, present, both, either)
    if table != NONE:
        table, both, either = _descend(levels, _ONE, table, page, present, both, either)
    return table, both, either


@inline
def walk(
    levels: Levels, gpa: np.uint64, size: np.uint64, present: np.uint64
) -> tuple[np.uint64, np.uint64, np.uint64, np.uint64]:
    """Leaf index, leaf entry, AND and OR of the entries of a walk; where it ended early NONE and an AND of 0."""
    table, both, either = leaf_table(levels, gpa, size, present)
    if table == NONE:
        return NONE, _ZERO, _ZERO, either
    leaf = table * _ENTRIES + ((gpa >> _PAGE_SHIFT) & _INDEX)
    entry = atomic_load(levels[0], leaf)
    if (entry & present) == _ZERO:
        return NONE, _ZERO, _ZERO, either
    return leaf, entry, both & entry, either | entry


@inline
def refuse(outcome: U64Array, leaf: np.uint64, both: np.uint64, either: np.uint64) -> None:
    """Say why a walk does not do."""
    outcome[REASON] = ABSENT if leaf == NONE else DENIED
    outcome[AND_OF_ENTRIES] = both
    outcome[OR_OF_ENTRIES] = either


@inline
def move(
    memory: U64Array, base_pfn: np.uint64, entry: np.uint64, gpa: np.uint64, kind: np.uint64, values: U64Array,
    loads: U64Array, i: np.uint64,
) -> None:  # fmt: skip
    """Store or load the word of access ``i``, of the page that an entry points to, where that has bytes."""
    frame = ((entry & ADDRESS) >> _PAGE_SHIFT) - base_pfn
    has_bytes = frame < np.uint64(memory.size) >> _NINE
    word = frame * _ENTRIES + ((gpa >> _WORD_SHIFT) & _INDEX)
    if kind == WRITE and values.size != 0 and has_bytes:
        memory[word] = values[i]
    if kind == READ and loads.size != 0:
        loads[i] = memory[word] if has_bytes else _ZERO
