"""Building, vacating, relinking and releasing tables, audited entry by entry in plain Python."""

import itertools
import random

import numpy as np
import pytest

from npt.kernels import tables
from npt.kernels.tables import Rows
from tests.kernels.world import ADDRESS, FIRST_TABLE, TOP, bits, random_entries

Range = tuple[int, int]
ROOM = (24, 12, 6, 1)
GIB, TIB_HALF = 1 << 18, 1 << 27  # in pages: what a level-2 table and a level-3 table cover


class Tree:
    """The arrays of a page table, and the audit of what is in them."""

    def __init__(self, table_bits: int = 0x7) -> None:
        self.levels = tuple(np.zeros(512 * n, np.uint64) for n in ROOM)
        self.counts = tuple(np.zeros(n, np.uint16) for n in ROOM)
        self.free = tuple(np.zeros(n, np.uint32) for n in ROOM)
        self.marks = tuple(np.zeros(n, np.uint8) for n in ROOM)
        self.state = np.zeros(8, np.uint64)
        self.state[6] = 1  # the root
        self.words = np.zeros(8, np.uint64)
        self.table_bits = table_bits

    def build(self, first: int, end: int) -> None:
        notes = np.zeros(tables.NOTES, np.uint64)
        tables.build(self.levels, self.counts, self.free, self.state, first, end, self.table_bits, notes)

    def vacate(self, first: int, end: int, *, cut: int | None = None) -> tuple[int, Rows]:
        """Clear, in two parts if it is cut, and unlink."""
        unlinked, notes = np.full((32, tables.ROW), 2**32 - 1, np.uint32), np.zeros(tables.NOTES, np.uint64)
        for part in ((first, end),) if cut is None else ((first, cut), (cut, end), (first, cut)):
            tables.clear(self.levels, self.words, *part, notes)
        tables.unlink(self.levels, self.counts, first, end, unlinked, notes)
        assert notes[4:].tolist() == [notes[4], 1, 0, 1]  # begun and taken, and not counted any more
        return int(notes[4]), unlinked[: int(notes[0])]

    def release(self, unlinked: Rows) -> None:
        tables.release_tables(self.levels, self.free, self.state, self.marks, unlinked)

    def relink(self, unlinked: Rows) -> None:
        tables.relink(self.levels, self.counts, self.table_bits, unlinked)

    def in_use(self) -> list[int]:
        """Tables in use, leaf level first."""
        return [int(self.state[2 * n] - self.state[2 * n + 1]) for n in range(4)]

    def free_tables(self, level: int) -> list[int]:
        return [int(table) for table in self.free[level][: int(self.state[2 * level + 1])]]

    def linked(self) -> list[dict[int, int]]:
        """By level: what a linked table covers -> its number, found from the root."""
        found: list[dict[int, int]] = [{}, {}, {}, {0: 0}]
        for level in (3, 2, 1):
            for covered, table in found[level].items():
                for index, entry in enumerate(self.levels[level][512 * table : 512 * table + 512].tolist()):
                    if entry:
                        assert entry & ~ADDRESS == self.table_bits
                        child = ((entry & ADDRESS) >> 12) - FIRST_TABLE - (level - 1 << 27)
                        found[level - 1][covered << 9 | index] = child
        return found

    def audit(self, ranges: list[Range]) -> None:
        """The tree is exactly that of these ranges: links, counts, free tables, zeroes."""
        linked = self.linked()
        covering: dict[int, int] = {}
        for first, end in ranges:
            for page in range(first, end):
                covering[page >> 9] = covering.get(page >> 9, 0) + 1
        wanted = [{r >> 9 * level for r in covering} for level in range(3)] + [{0}]
        assert [set(level) for level in linked] == wanted
        for level in range(4):
            used = list(linked[level].values())
            free = self.free_tables(level)
            assert len(set(used)) == len(used)  # nobody shares a table
            assert sorted(used + free) == list(range(int(self.state[2 * level])))
            assert not any(self.levels[level][512 * table : 512 * table + 512].any() for table in free)
        assert {r: int(self.counts[0][table]) for r, table in linked[0].items()} == covering
        for level in (1, 2, 3):
            below = [covered >> 9 for covered in linked[level - 1]]
            counts = {covered: int(self.counts[level][table]) for covered, table in linked[level].items()}
            assert counts == {covered: below.count(covered) for covered in linked[level]}


RANGES: list[Range] = [
    (0, 1), (0, 511), (0, 512), (0, 513), (511, 512), (511, 513), (512, 513), (100, 1600),
    (GIB - 1, GIB), (GIB, GIB + 1), (GIB - 1, GIB + 1), (GIB - 513, GIB + 513),
    (TIB_HALF - 1, TIB_HALF), (TIB_HALF - 1, TIB_HALF + 1), (TIB_HALF - 600, TIB_HALF + 600),
    (2**35 - 1, 2**35), (2**35 - 700, 2**35),
]  # fmt: skip


@pytest.mark.parametrize("table_bits", [0x7, 0x27])
@pytest.mark.parametrize(("first", "end"), RANGES)
def test_build__one_range(first: int, end: int, table_bits: int) -> None:
    """Tables down to the leaf over each page, counted, and no other."""
    tree = Tree(table_bits)
    tree.build(first, end)
    tree.audit([(first, end)])


@pytest.mark.parametrize(("first", "end"), RANGES)
def test_build__nothing_present(first: int, end: int) -> None:
    """New leaves are zero."""
    tree = Tree()
    tree.build(first, end)
    assert not tree.levels[0].any()


def test_build__empty_range() -> None:
    """It makes nothing."""
    tree = Tree()
    tree.build(700, 700)
    assert tree.in_use() == [0, 0, 0, 1]


@pytest.mark.parametrize(("first", "end"), RANGES)
def test_build__neighbours_share_tables(first: int, end: int) -> None:
    """A range cut in two takes as many tables as the whole."""
    whole, halves = Tree(), Tree()
    middle = (first + end) // 2
    whole.build(first, end)
    halves.build(middle, end)
    halves.build(first, middle)
    halves.audit([(first, middle), (middle, end)])
    assert halves.in_use() == whole.in_use()


@pytest.mark.parametrize(("first", "end"), RANGES)
def test_vacate__unlinks_all_but_the_root(first: int, end: int) -> None:
    """After the last range only the root is linked, and it is all zero."""
    tree = Tree()
    tree.build(first, end)
    _, unlinked = tree.vacate(first, end)
    assert not tree.levels[3].any()
    assert [sum(1 for row in unlinked.tolist() if row[0] >> 30 == n) for n in range(4)] == [*tree.in_use()[:3], 0]


@pytest.mark.parametrize(("first", "end"), RANGES)
def test_release__gives_back_what_was_unlinked(first: int, end: int) -> None:
    """The tables are free and zero."""
    tree = Tree()
    tree.build(first, end)
    tree.release(tree.vacate(first, end)[1])
    tree.audit([])
    assert tree.in_use() == [0, 0, 0, 1]


@pytest.mark.parametrize(("first", "end"), RANGES)
def test_release__tables_are_used_again(first: int, end: int) -> None:
    """The second build of a range takes no new table."""
    tree = Tree()
    tree.build(first, end)
    ever = tree.state[::2].tolist()
    tree.release(tree.vacate(first, end)[1])
    tree.build(first, end)
    tree.audit([(first, end)])
    assert tree.state[::2].tolist() == ever


@pytest.mark.parametrize(("first", "end"), RANGES)
def test_vacate__clears_leaves_and_counts_them(first: int, end: int) -> None:
    """Those of the range, and not the neighbours' in the same table."""
    tree = Tree()
    low, high = max(first - 3, 0), min(end + 3, 2**35)
    tree.build(first, end)
    tree.build(low, first)
    tree.build(end, high)
    tree.words[0] = 5000
    linked = tree.linked()[0]
    leaf = {page: 512 * linked[page >> 9] + page % 512 for page in range(low, high)}
    entries = dict(zip(leaf, random_entries(end, high - low).tolist(), strict=True))
    for page, entry in entries.items():
        tree.levels[0][leaf[page]] = entry
    present, unlinked = tree.vacate(first, end)
    expected = sum(1 for page in range(first, end) if entries[page])
    assert (present, int(tree.words[0])) == (expected, 5000 - expected)
    assert len(leaf) == high - low > 0
    for page, index in leaf.items():
        assert int(tree.levels[0][index]) == (0 if first <= page < end else entries[page])
    tree.release(unlinked)
    tree.audit([r for r in ((low, first), (end, high)) if r[0] < r[1]])


@pytest.mark.parametrize(("first", "end"), RANGES)
def test_relink__undoes_an_unlinking(first: int, end: int) -> None:
    """With another build the tree is as it was, in the same tables, but its leaves are empty."""
    tree = Tree()
    tree.build(first, end)
    before = tree.linked()
    _, unlinked = tree.vacate(first, end)
    tree.relink(unlinked)
    tree.build(first, end)
    assert tree.linked() == before
    tree.audit([(first, end)])


def test_vacate__record_says_where_each_table_hung() -> None:
    """Level and table in one, and the place of its entry in the parent, from the leaf up."""
    tree = Tree()
    tree.build(GIB + 513, GIB + 514)
    _, unlinked = tree.vacate(GIB + 513, GIB + 514)
    assert unlinked.tolist() == [[0 << 30, 1], [1 << 30, 1], [2 << 30, 0]]


def test_release__zeroes_what_somebody_wrote() -> None:
    """A table that was written through a view while it was unlinked comes back zero."""
    tree = Tree()
    tree.build(0, 1)
    for level in range(3):
        tables.hand_out(tree.marks[level], 0)
    _, unlinked = tree.vacate(0, 1)
    for level in range(3):
        tree.levels[level][:512] = TOP
    tree.release(unlinked)
    tree.audit([])
    assert [bool(marks.any()) for marks in tree.marks] == [False] * 4


@pytest.mark.parametrize(("first", "end"), RANGES)
def test_release__once_more_does_no_harm(first: int, end: int) -> None:
    """Who was interrupted releases the same record again: no table is free twice."""
    tree = Tree()
    tree.build(first, end)
    _, unlinked = tree.vacate(first, end)
    tree.release(unlinked)
    tree.release(unlinked)
    tree.audit([])


@pytest.mark.parametrize(("first", "end"), RANGES)
def test_relink__once_more_does_no_harm(first: int, end: int) -> None:
    """Nor is a table counted twice that is linked back again."""
    tree = Tree()
    tree.build(first, end)
    _, unlinked = tree.vacate(first, end)
    tree.relink(unlinked)
    tree.relink(unlinked)
    tree.build(first, end)
    tree.audit([(first, end)])


@pytest.mark.parametrize("mark", [0, 1, 3])
def test_release__freed_tables_are_clean(mark: int) -> None:
    """Whatever was known of them; others keep what is."""
    tree = Tree()
    tree.build(0, 1)
    tree.build(512, 513)
    tree.marks[0][:2] = mark
    tree.release(tree.vacate(0, 1)[1])
    assert tree.marks[0][:2].tolist() == [0, mark]


@pytest.mark.parametrize("cut", [101, 511, 512, 1000, 1599])
def test_clear__in_parts_and_again(cut: int) -> None:
    """Each page is cleared, and counted once."""
    tree = Tree()
    tree.build(100, 1600)
    tree.levels[0][:2048] = random_entries(cut, 2048)
    present = sum(1 for page in range(100, 1600) if tree.levels[0][page])
    tree.levels[0][:100] = tree.levels[0][1600:] = 0
    assert tree.vacate(100, 1600, cut=cut)[0] == present
    assert not tree.levels[0].any()


@pytest.mark.parametrize("seed", range(12))
def test_build_and_vacate__any_sequence(seed: int) -> None:
    """Disjoint ranges come and go in any order, some unmappings undone; the tree is exact after each step."""
    numbers = random.Random(seed)
    tree, ranges = Tree(numbers.choice([0x7, 0x27])), list[Range]()
    edges = sorted({max(0, border + numbers.randint(-600, 600)) for border in (0, 512, GIB, TIB_HALF) for _ in range(3)})
    spans = [(a, b) for a, b in itertools.pairwise(edges) if b - a < 1300]
    for _ in range(16):
        span = numbers.choice(spans)
        if span not in ranges:
            tree.build(*span)
            ranges.append(span)
        else:
            _, unlinked = tree.vacate(*span)
            if numbers.random() < 0.3:
                tree.relink(unlinked)
                tree.build(*span)
            else:
                tree.release(unlinked)
                ranges.remove(span)
        tree.audit(ranges)


def test_audit__sees_a_stray_bit() -> None:
    """The audit above is no rubber stamp."""
    tree = Tree()
    tree.build(0, 512)
    tree.release(tree.vacate(0, 512)[1])
    tree.levels[0][17] = 1
    assert bits(tree.levels[0]) == {17 * 64}
    with pytest.raises(AssertionError):
        tree.audit([])
