"""Calls of the kernels that change page tables: marks, leaves, directories."""

from random import Random
from typing import Any

import numpy as np

from npt._types import U8Array, U64Array
from npt.kernels import tables
from tests.kernels.guests import BASE
from tests.kernels.test_tables import Tree
from tests.kernels.world import World, extents_of
from tests.properties.bitmap_calls import zeros
from tests.properties.calls import Call, a_number, a_range, case, some_bytes, some_words

_NONE = 2**64 - 1
_Marked = tuple[U64Array, U8Array, U64Array, U64Array, int, int, U64Array]


def some_entries(numbers: Random, n: int) -> U64Array:
    """Leaf entries: absent, of any bits, or all alike but for a few."""
    kind, share = numbers.randrange(3), numbers.choice([0.0, 0.01, 0.5, 1.0])
    if kind == 0:
        return some_words(numbers, n)
    marked = 0x267 | numbers.choice([0, 1 << 63])
    return np.array([numbers.choice([0x7, 0x107, 0]) if numbers.random() >= share else marked for _ in range(n)], np.uint64)


# -- marks --------------------------------------------------------------------------------------------------------------


def _marked(numbers: Random) -> _Marked:
    """Leaf tables, the summary, which tables they are and where in the window, the range, the selection."""
    order = np.array(numbers.sample(range(3), numbers.randrange(4)), np.uint64)
    slots = np.array(sorted(numbers.sample(range(3), order.size)), np.uint64)
    touched = (some_bytes(numbers, 3) & np.uint8(1) | np.uint8(numbers.choice([0, 0, 3])))[: numbers.choice([0, 3, 3])]
    leaves, select = some_entries(numbers, 3 * 512), some_words(numbers, numbers.choice([0, 24]))
    return leaves, touched, order, slots, *a_range(numbers, 1536), select


def _a_mark(numbers: Random) -> int:
    return numbers.choice([0x200, 0x100, 0x40, 1 << 63])


@case("dirty.harvest")
def harvest(numbers: Random) -> Call:
    return Call((*_marked(numbers), _a_mark(numbers), zeros(512), some_words(numbers, 24)))


@case("dirty.harvest_still")
def harvest_still(numbers: Random) -> Call:
    return Call((*_marked(numbers), _a_mark(numbers), some_words(numbers, 24)))


@case("dirty.peek")
def peek(numbers: Random) -> Call:
    leaves, _, *others = _marked(numbers)
    return Call((leaves, *others, _a_mark(numbers), some_words(numbers, 24)))


@case("dirty.mark")
def mark(numbers: Random) -> Call:
    need, bits = numbers.choice([0x1, 0x3, 1 << 63]), numbers.choice([0x300, 0x60, 1 << 63])
    return Call((*_marked(numbers), need, bits, numbers.choice([0x200, 0x40, bits]), some_words(numbers, 24)))


@case("dirty.mark_leaf")
def mark_leaf(numbers: Random) -> Call:
    return Call((some_entries(numbers, 1024), some_bytes(numbers, 2) & 3, a_number(numbers, 1023), 0x1, 0x300))


@case("dirty.mark_leaves")
def mark_leaves(numbers: Random) -> Call:
    indices = [numbers.choice([_NONE, a_number(numbers, 1023)]) for _ in range(numbers.randrange(9))]
    return Call((some_entries(numbers, 1024), some_bytes(numbers, 2) & 3, np.array(indices, np.uint64), 0x1, 0x300))


# -- leaves -------------------------------------------------------------------------------------------------------------


@case("leaves.populate")
def populate(numbers: Random) -> Call:
    world, end = World(), 1200
    for page in range(0, end, 512):
        world.leaf(page)
    world.levels[0][:] = some_entries(numbers, world.levels[0].size)
    middle = numbers.randint(1, end - 1)
    entries = (0x8000_0000_0010_0037, (BASE + 5) << 12 | 0x37)
    extents = extents_of((0, middle, entries[0], 7), (middle, end, entries[1], 7))
    return Call((world.levels, extents, world.words, *a_range(numbers, end), zeros(1)))


@case("leaves.populate_selected")
def populate_selected(numbers: Random) -> Call:
    world, region = World(), numbers.choice([0, 511, (1 << 18) - 1])
    slots = sorted(numbers.sample(range(3), numbers.randrange(4)))
    found = [world.table((region + slot) << 9) for slot in slots]
    world.levels[0][:] = some_entries(numbers, world.levels[0].size)
    first, end = a_range(numbers, 1536)
    start = region << 9
    rows = (0, 700, 1 << 63 | 0x1037, 3), (700, 900, 0x37, 1), (1000, 1500, 0x37, 7)
    extents = extents_of(*((start + a, start + b, entry, prot) for a, b, entry, prot in rows))
    places = np.array(found, np.uint64), np.array(slots, np.uint64)
    return Call((world.levels, extents, world.words, region, *places, first, end, some_words(numbers, 24)))


# -- directories --------------------------------------------------------------------------------------------------------

_RANGES = ((0, 1), (511, 513), (100, 900), ((1 << 18) - 1, (1 << 18) + 1), ((1 << 27) - 3, (1 << 27) + 600))
_UNTOUCHED = 2**32 - 1


class Built:
    """A tree over some ranges, with leaves of any bits; one that was built and released left free tables behind."""

    def __init__(self, numbers: Random) -> None:
        self.tree = Tree(numbers.choice([0x7, 0x27]))
        gone, *self.ranges = numbers.sample(_RANGES, numbers.randint(2, 5))
        self.tree.build(*gone)
        self.tree.release(self.tree.vacate(*gone)[1])
        for made in self.ranges:
            self.tree.build(*made)
        self.picked = numbers.choice(self.ranges)

    def fill(self, numbers: Random) -> None:
        """Give the pages of the range that is picked entries."""
        for page in range(*self.picked):
            self.tree.levels[0][self._leaf(page)] = numbers.choice([0, 1 << 63 | 7, numbers.getrandbits(64)])

    def _leaf(self, page: int) -> int:
        return 512 * self.tree.linked()[0][page >> 9] + page % 512

    def unlinked(self) -> Any:
        """The record of the range that is picked, unlinked."""
        return self.tree.vacate(*self.picked)[1]


@case("tables.build")
def build(numbers: Random) -> Call:
    tree, (first, end) = Built(numbers).tree, numbers.choice(_RANGES)
    return Call((tree.levels, tree.counts, tree.free, tree.state, first, end, tree.table_bits, zeros(tables.NOTES)))


@case("tables.first_unsound")
def first_unsound(numbers: Random) -> Call:
    built = Built(numbers)
    if numbers.random() < 0.6:
        level = numbers.randint(1, 3)
        there = np.flatnonzero(built.tree.levels[level])
        built.tree.levels[level][int(numbers.choice(there.tolist()))] = numbers.choice([0, 7, numbers.getrandbits(64)])
    return Call((built.tree.levels, *built.picked, numbers.random() < 0.5))


@case("tables.clear")
def clear(numbers: Random) -> Call:
    built = Built(numbers)
    if built.picked[1] - built.picked[0] < 10:
        built.fill(numbers)
    else:
        leaves = np.flatnonzero(built.tree.counts[0])
        built.tree.levels[0][512 * int(leaves[0]) : 512 * int(leaves[-1] + 1)] = np.uint64(1 << 63 | 7)
    return Call((built.tree.levels, built.tree.words, *built.picked, zeros(tables.NOTES)))


@case("tables.unlink")
def unlink(numbers: Random) -> Call:
    built = Built(numbers)
    rows = np.full((32, tables.ROW), _UNTOUCHED, np.uint32)
    return Call((built.tree.levels, built.tree.counts, *built.picked, rows, zeros(tables.NOTES)))


@case("tables.relink")
def relink(numbers: Random) -> Call:
    built = Built(numbers)
    return Call((built.tree.levels, built.tree.counts, built.tree.table_bits, built.unlinked()))


@case("tables.release_tables")
def release_tables(numbers: Random) -> Call:
    built = Built(numbers)
    unlinked, tree = built.unlinked(), built.tree
    for known in (unlinked[:, 0] & np.uint32((1 << 30) - 1))[:2].tolist():
        tree.marks[0][known] = numbers.choice([0, 1, 3])
        tree.levels[0][512 * known] = 1 << 63 if tree.marks[0][known] == 3 else 0
    return Call((tree.levels, tree.free, tree.state, tree.marks, unlinked))


@case("tables.hand_out")
def hand_out(numbers: Random) -> Call:
    return Call((some_bytes(numbers, 5) & 1, numbers.randrange(5)))
