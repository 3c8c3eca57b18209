"""Harvest, peek and mark against a loop over pages in plain Python."""

import random
from typing import Any, NamedTuple

import numpy as np
import pytest

from npt._types import U64Array
from npt.kernels import dirty
from tests.kernels.test_atomics import on_two_cpus, two_cpus
from tests.kernels.world import NONE, TOP, bitmap, bits, random_entries, u64

EMPTY = np.empty(0, np.uint64)
MARKS = [0x200, 0x40, 0x100, TOP]
RANGES = [
    (0, 512), (0, 1), (511, 512), (511, 513), (512, 513), (1, 511), (63, 65), (64, 128), (100, 1500), (0, 2048),
    (513, 1023), (2047, 2048), (0, 0), (700, 700), (512, 512), (1535, 1537),
]  # fmt: skip


class Scene(NamedTuple):
    """Leaf tables in an order of their own, some regions without one."""

    leaves: U64Array
    tables: U64Array
    slots: U64Array

    def places(self, first: int, end: int, select: U64Array) -> dict[int, int]:
        """Page, counted from the window's start -> flat index, for what is in range and selected."""
        chosen = bits(select) if select.size else None
        return {
            512 * slot + k: 512 * table + k
            for table, slot in zip(self.tables.tolist(), self.slots.tolist(), strict=True)
            for k in range(512)
            if first <= 512 * slot + k < end and (chosen is None or 512 * slot + k in chosen)
        }


def scene(seed: int) -> Scene:
    """Five tables of entries; the first, second and fourth region of a window of four have one each."""
    return Scene(random_entries(seed, 5 * 512), u64(3, 0, 4), u64(0, 1, 3))


def selections(seed: int) -> list[U64Array]:
    """None, all, none of the pages, and two random ones."""
    numbers = random.Random(seed)
    drawn = [bitmap([p for p in range(2048) if numbers.random() < share], 32) for share in (0.5, 0.02)]
    return [EMPTY, np.full(32, 2**64 - 1, np.uint64), np.zeros(32, np.uint64), *drawn]


def _cases() -> list[Any]:
    return [
        pytest.param(first, end, n, mark, id=f"{first}-{end}-select{n}-{mark:#x}")
        for first, end in RANGES
        for n in range(5)
        for mark in (MARKS[0], TOP)
    ]


@pytest.mark.parametrize(("first", "end", "n", "mark"), _cases())
def test_harvest__moves_marks_of_the_range(first: int, end: int, n: int, mark: int) -> None:
    """The bitmap has them, the entries have them no more, and every other bit and entry stays."""
    s, select, words = scene(end), selections(first)[n], np.zeros(32, np.uint64)
    before = s.leaves.tolist()
    marked = {p: leaf for p, leaf in s.places(first, end, select).items() if before[leaf] & mark}
    found = dirty.harvest(s.leaves, s.tables, s.slots, first, end, select, mark, words)
    expected = list(before)
    for leaf in marked.values():
        expected[leaf] &= ~mark
    assert (int(found), bits(words)) == (len(marked), set(marked))
    assert s.leaves.tolist() == expected


@pytest.mark.parametrize(("first", "end", "n", "mark"), _cases())
def test_peek__copies_marks_of_the_range(first: int, end: int, n: int, mark: int) -> None:
    """The same bitmap as a harvest, and no entry changes."""
    s, select, words = scene(end), selections(first)[n], np.zeros(32, np.uint64)
    before = s.leaves.tolist()
    marked = {p for p, leaf in s.places(first, end, select).items() if before[leaf] & mark}
    found = dirty.peek(s.leaves, s.tables, s.slots, first, end, select, mark, words)
    assert (int(found), bits(words), s.leaves.tolist()) == (len(marked), marked, before)


@pytest.mark.parametrize(("first", "end", "n", "mark"), _cases())
def test_mark__sets_bits_where_they_may_be(first: int, end: int, n: int, mark: int) -> None:
    """Entries with all of ``need`` get the bits; those that lacked ``told`` are reported."""
    s, select, words = scene(end), selections(first)[n], np.zeros(32, np.uint64)
    need, both = 0x3, mark | 0x100
    before = s.leaves.tolist()
    places = {p: leaf for p, leaf in s.places(first, end, select).items() if before[leaf] & need == need}
    told = {p for p, leaf in places.items() if before[leaf] & mark != mark}
    found = dirty.mark(s.leaves, s.tables, s.slots, first, end, select, need, both, mark, words)
    expected = list(before)
    for leaf in places.values():
        expected[leaf] |= both
    assert (int(found), bits(words)) == (len(told), told)
    assert s.leaves.tolist() == expected


@pytest.mark.parametrize("function", [dirty.harvest, dirty.peek], ids=["harvest", "peek"])
def test_harvest_and_peek__or_into_the_bitmap(function: Any) -> None:
    """What is in it stays."""
    s = scene(1)
    words = bitmap([0, 63, 2047], 32)
    function(s.leaves, s.tables, s.slots, 0, 2048, EMPTY, 0, words)
    assert bits(words) == {0, 63, 2047}


@pytest.mark.parametrize("function", [dirty.harvest, dirty.peek], ids=["harvest", "peek"])
def test_harvest_and_peek__no_tables(function: Any) -> None:
    """A window without a leaf table has nothing."""
    assert int(function(random_entries(1, 512), EMPTY, EMPTY, 0, 512, EMPTY, TOP, np.zeros(8, np.uint64))) == 0


def test_harvest__twice_finds_nothing_the_second_time() -> None:
    """What one call reported, no other will."""
    s, words = scene(2), np.zeros(32, np.uint64)
    assert dirty.harvest(s.leaves, s.tables, s.slots, 0, 2048, EMPTY, TOP, words) > 0
    assert int(dirty.harvest(s.leaves, s.tables, s.slots, 0, 2048, EMPTY, TOP, words)) == 0


@pytest.mark.parametrize("cut", [1, 63, 64, 511, 512, 513, 1000])
def test_harvest__in_two_parts_is_the_whole(cut: int) -> None:
    """The bitmaps of both halves of a range are the bitmap of the range."""
    whole, parts = np.zeros(32, np.uint64), np.zeros(32, np.uint64)
    s = scene(3)
    dirty.harvest(s.leaves, s.tables, s.slots, 0, 2048, EMPTY, 0x200, whole)
    s = scene(3)
    for first, end in ((0, cut), (cut, 2048)):
        dirty.harvest(s.leaves, s.tables, s.slots, first, end, EMPTY, 0x200, parts)
    assert parts.tolist() == whole.tolist()


def test_mark__puts_back_what_a_harvest_took() -> None:
    """With the harvest's bitmap as the selection, the entries are as they were."""
    s, words = scene(4), np.zeros(32, np.uint64)
    s.leaves[:] |= np.uint64(1)  # present
    before = s.leaves.tolist()
    dirty.harvest(s.leaves, s.tables, s.slots, 5, 2000, EMPTY, 0x40, words)
    dirty.mark(s.leaves, s.tables, s.slots, 5, 2000, words, 1, 0x40, 0x40, np.zeros(32, np.uint64))
    assert s.leaves.tolist() == before


@pytest.mark.parametrize(
    ("entry", "after"), [(0x7, 0x307), (TOP | 0x3, TOP | 0x303), (0x5, 0x5), (0x0, 0x0), (0x307, 0x307), (0x203, 0x303)]
)
def test_mark_leaf__if_it_has_what_is_needed(entry: int, after: int) -> None:
    """One entry; its neighbours stay."""
    leaves = u64(0x3, entry, 0x3)
    dirty.mark_leaf(leaves, 1, 0x3, 0x300)
    assert leaves.tolist() == [0x3, after, 0x3]


def test_mark_leaves__those_named() -> None:
    """The same one twice is fine, absent ones stay zero."""
    leaves = u64(0x1, 0x1, TOP | 0x1, 0x0, 0x1)
    dirty.mark_leaves(leaves, u64(2, 3, 0, 0), 0x1, 0x60)
    assert leaves.tolist() == [0x61, 0x1, TOP | 0x61, 0x0, 0x1]


def test_mark_leaves__none_is_passed_over() -> None:
    """It is no index: not that of the word before the first either."""
    level = np.full(4, 0x1, np.uint64)
    dirty.mark_leaves(level[1:], u64(NONE, 0, NONE), 0x1, 0x60)
    assert level.tolist() == [0x1, 0x61, 0x1, 0x1]


@pytest.mark.parametrize("entry", [0x107, 0x207, 0x7])
def test_mark__reports_what_lacked_any_of_the_bits(entry: int) -> None:
    """Half of them is not all of them."""
    leaves, words = np.full(512, entry, np.uint64), np.zeros(8, np.uint64)
    zero = u64(0)
    assert int(dirty.mark(leaves, zero, zero, 5, 6, EMPTY, 0x1, 0x300, 0x300, words)) == 1
    assert bits(words) == {5}


@two_cpus
@pytest.mark.slow
def test_harvest__keeps_what_is_set_meanwhile() -> None:
    """One thread harvests D while another sets A in the same entries: no A is lost, and no D comes back."""
    n_tables = 64
    tables = np.arange(n_tables, dtype=np.uint64)
    words = [np.zeros(8 * n_tables, np.uint64) for _ in range(2)]
    for _ in range(100):
        leaves = np.full(512 * n_tables, 0x207, np.uint64)
        on_two_cpus(
            (dirty.mark, (leaves, tables, tables, 0, leaves.size, EMPTY, 0x1, 0x100, 0x100, words[0])),
            (dirty.harvest, (leaves, tables, tables, 0, leaves.size, EMPTY, 0x200, words[1])),
        )
        assert (leaves == np.uint64(0x107)).all()


@two_cpus
@pytest.mark.slow
def test_harvest__each_transition_is_reported_once() -> None:
    """While one thread marks and another harvests: as many were reported as were made and are not left."""
    n_tables, rounds = 8, 4000
    leaves = np.full(512 * n_tables, 0x7, np.uint64)
    tables = np.arange(n_tables, dtype=np.uint64)
    end = 512 * n_tables
    totals = {"made": 0, "reported": 0}

    def make() -> None:
        for _ in range(rounds):
            words = np.zeros(8 * n_tables, np.uint64)
            totals["made"] += int(dirty.mark(leaves, tables, tables, 0, end, EMPTY, 0x1, 0x300, 0x200, words))

    def report() -> None:
        for _ in range(rounds):
            words = np.zeros(8 * n_tables, np.uint64)
            totals["reported"] += int(dirty.harvest(leaves, tables, tables, 0, end, EMPTY, 0x200, words))

    on_two_cpus((make, ()), (report, ()))
    left = int(((leaves & np.uint64(0x200)) != 0).sum())
    assert totals["made"] == totals["reported"] + left
    assert totals["reported"] > end  # they did meet
