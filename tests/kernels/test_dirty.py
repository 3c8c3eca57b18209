"""Harvest, peek and mark against a loop over pages in plain Python."""

import random
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pytest

from npt._types import U8Array, U64Array
from npt.kernels import dirty
from tests.kernels.test_atomics import on_two_cpus, two_cpus
from tests.kernels.world import NONE, TOP, bitmap, bits, random_entries, u64

EMPTY = np.empty(0, np.uint64)
NO_SUMMARY = np.empty(0, np.uint8)
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


def harvest(
    s: Scene, first: int, end: int, select: U64Array, mark: int, words: U64Array,
    *, touched: U8Array = NO_SUMMARY, still: bool = False,
) -> None:  # fmt: skip
    """Either form."""
    if still:
        dirty.harvest_still(s.leaves, touched, s.tables, s.slots, first, end, select, mark, words)
    else:
        places = np.full(512, NONE, np.uint64)
        dirty.harvest(s.leaves, touched, s.tables, s.slots, first, end, select, mark, places, words)


def peek(s: Scene, first: int, end: int, select: U64Array, mark: int, words: U64Array) -> None:
    """The kernel."""
    dirty.peek(s.leaves, s.tables, s.slots, first, end, select, mark, words)


both_forms = pytest.mark.parametrize("still", [False, True], ids=["beside vCPUs", "still"])


def _cases() -> list[Any]:
    return [
        pytest.param(first, end, n, mark, id=f"{first}-{end}-select{n}-{mark:#x}")
        for first, end in RANGES
        for n in range(5)
        for mark in (MARKS[0], TOP)
    ]


@both_forms
@pytest.mark.parametrize(("first", "end", "n", "mark"), _cases())
def test_harvest__moves_marks_of_the_range(first: int, end: int, n: int, mark: int, still: bool) -> None:
    """The bitmap has them, the entries have them no more, and every other bit and entry stays."""
    s, select, words = scene(end), selections(first)[n], np.zeros(32, np.uint64)
    before = s.leaves.tolist()
    marked = {p: leaf for p, leaf in s.places(first, end, select).items() if before[leaf] & mark}
    harvest(s, first, end, select, mark, words, still=still)
    expected = list(before)
    for leaf in marked.values():
        expected[leaf] &= ~mark
    assert bits(words) == set(marked)
    assert s.leaves.tolist() == expected


@pytest.mark.parametrize(("first", "end", "n", "mark"), _cases())
def test_peek__copies_marks_of_the_range(first: int, end: int, n: int, mark: int) -> None:
    """The same bitmap as a harvest, and no entry changes."""
    s, select, words = scene(end), selections(first)[n], np.zeros(32, np.uint64)
    before = s.leaves.tolist()
    marked = {p for p, leaf in s.places(first, end, select).items() if before[leaf] & mark}
    peek(s, first, end, select, mark, words)
    assert (bits(words), s.leaves.tolist()) == (marked, before)


@pytest.mark.parametrize(("first", "end", "n", "mark"), _cases())
def test_mark__sets_bits_where_they_may_be(first: int, end: int, n: int, mark: int) -> None:
    """Entries with all of ``need`` get the bits; those that lacked ``told`` are reported."""
    s, select, words = scene(end), selections(first)[n], np.zeros(32, np.uint64)
    need, both = 0x3, mark | 0x100
    before = s.leaves.tolist()
    places = {p: leaf for p, leaf in s.places(first, end, select).items() if before[leaf] & need == need}
    told = {p for p, leaf in places.items() if before[leaf] & mark != mark}
    dirty.mark(s.leaves, NO_SUMMARY, s.tables, s.slots, first, end, select, need, both, mark, words)
    expected = list(before)
    for leaf in places.values():
        expected[leaf] |= both
    assert bits(words) == told
    assert s.leaves.tolist() == expected


@pytest.mark.parametrize("function", [harvest, partial(harvest, still=True), peek], ids=["harvest", "still", "peek"])
def test_harvest_and_peek__or_into_the_bitmap(function: Any) -> None:
    """What is in it stays."""
    s = scene(1)
    words = bitmap([0, 63, 2047], 32)
    function(s, 0, 2048, EMPTY, 0, words)
    assert bits(words) == {0, 63, 2047}


@pytest.mark.parametrize("function", [harvest, partial(harvest, still=True), peek], ids=["harvest", "still", "peek"])
def test_harvest_and_peek__no_tables(function: Any) -> None:
    """A window without a leaf table has nothing."""
    words = np.zeros(8, np.uint64)
    function(Scene(random_entries(1, 512), EMPTY, EMPTY), 0, 512, EMPTY, TOP, words)
    assert not words.any()


@both_forms
def test_harvest__twice_finds_nothing_the_second_time(still: bool) -> None:
    """What one call reported, no other will."""
    s, words, again = scene(2), np.zeros(32, np.uint64), np.zeros(32, np.uint64)
    harvest(s, 0, 2048, EMPTY, TOP, words, still=still)
    harvest(s, 0, 2048, EMPTY, TOP, again, still=still)
    assert words.any()
    assert not again.any()


@pytest.mark.parametrize("share", [0.0, 0.002, 0.02, 0.2, 0.5, 0.98, 1.0])
def test_harvest__both_forms_do_the_same(share: float) -> None:
    """Whatever the share of marked entries, lines and words."""
    numbers = random.Random(int(share * 1000))
    entries = np.array([0x7 | (0x200 if numbers.random() < share else 0) | k << 12 for k in range(4 * 512)], np.uint64)
    got = []
    for still in (False, True):
        s, words = Scene(entries.copy(), u64(2, 0, 3, 1), u64(0, 1, 2, 3)), np.zeros(32, np.uint64)
        harvest(s, 0, 2048, EMPTY, 0x200, words, still=still)
        got.append((s.leaves.tolist(), words.tolist()))
    assert got[0] == got[1]
    assert got[0][0] == (entries & ~np.uint64(0x200)).tolist()


@both_forms
@pytest.mark.parametrize("cut", [1, 63, 64, 511, 512, 513, 1000])
def test_harvest__in_two_parts_is_the_whole(cut: int, still: bool) -> None:
    """The bitmaps of both halves of a range are the bitmap of the range."""
    whole, parts = np.zeros(32, np.uint64), np.zeros(32, np.uint64)
    s = scene(3)
    harvest(s, 0, 2048, EMPTY, 0x200, whole, still=still)
    s = scene(3)
    for first, end in ((0, cut), (cut, 2048)):
        harvest(s, first, end, EMPTY, 0x200, parts, still=still)
    assert parts.tolist() == whole.tolist()


def test_mark__puts_back_what_a_harvest_took() -> None:
    """With the harvest's bitmap as the selection, the entries are as they were."""
    s, words = scene(4), np.zeros(32, np.uint64)
    s.leaves[:] |= np.uint64(1)  # present
    before = s.leaves.tolist()
    harvest(s, 5, 2000, EMPTY, 0x40, words)
    dirty.mark(s.leaves, NO_SUMMARY, s.tables, s.slots, 5, 2000, words, 1, 0x40, 0x40, np.zeros(32, np.uint64))
    assert s.leaves.tolist() == before


@pytest.mark.parametrize(
    ("entry", "after"), [(0x7, 0x307), (TOP | 0x3, TOP | 0x303), (0x5, 0x5), (0x0, 0x0), (0x307, 0x307), (0x203, 0x303)]
)
def test_mark_leaf__if_it_has_what_is_needed(entry: int, after: int) -> None:
    """One entry; its neighbours stay."""
    leaves = u64(0x3, entry, 0x3)
    dirty.mark_leaf(leaves, NO_SUMMARY, 1, 0x3, 0x300)
    assert leaves.tolist() == [0x3, after, 0x3]


def test_mark_leaves__those_named() -> None:
    """The same one twice is fine, absent ones stay zero."""
    leaves = u64(0x1, 0x1, TOP | 0x1, 0x0, 0x1)
    dirty.mark_leaves(leaves, NO_SUMMARY, u64(2, 3, 0, 0), 0x1, 0x60)
    assert leaves.tolist() == [0x61, 0x1, TOP | 0x61, 0x0, 0x1]


def test_mark_leaves__none_is_passed_over() -> None:
    """It is no index: not that of the word before the first either."""
    level = np.full(4, 0x1, np.uint64)
    dirty.mark_leaves(level[1:], NO_SUMMARY, u64(NONE, 0, NONE), 0x1, 0x60)
    assert level.tolist() == [0x1, 0x61, 0x1, 0x1]


@pytest.mark.parametrize("entry", [0x107, 0x207, 0x7])
def test_mark__reports_what_lacked_any_of_the_bits(entry: int) -> None:
    """Half of them is not all of them."""
    leaves, words = np.full(512, entry, np.uint64), np.zeros(8, np.uint64)
    zero = u64(0)
    dirty.mark(leaves, NO_SUMMARY, zero, zero, 5, 6, EMPTY, 0x1, 0x300, 0x300, words)
    assert bits(words) == {5}


# -- the summary ---------------------------------------------------------------------------------------------------------

CLEAN, TOUCHED, HANDED_OUT = 0, 1, 3


@both_forms
@pytest.mark.parametrize(
    ("first", "end", "chosen", "before", "after"),
    [
        pytest.param(0, 512, None, TOUCHED, CLEAN, id="all of it"),
        pytest.param(0, 512, {3, 300}, TOUCHED, CLEAN, id="all that are dirty"),
        pytest.param(3, 301, None, TOUCHED, CLEAN, id="the dirty part"),
        pytest.param(4, 512, None, TOUCHED, TOUCHED, id="one is left before the range"),
        pytest.param(0, 300, None, TOUCHED, TOUCHED, id="one is left behind it"),
        pytest.param(0, 512, {3}, TOUCHED, TOUCHED, id="one is not selected"),
        pytest.param(0, 512, set(), TOUCHED, TOUCHED, id="none is selected"),
        pytest.param(0, 512, None, HANDED_OUT, HANDED_OUT, id="handed out"),
        pytest.param(0, 100, None, HANDED_OUT, HANDED_OUT, id="handed out, some left"),
    ],
)
def test_harvest__says_what_may_still_be_dirty(
    first: int, end: int, chosen: set[int] | None, before: int, after: int, still: bool
) -> None:
    """A table is clean afterwards unless a dirty entry stays, or it was handed out; its neighbours' bytes stay."""
    leaves = np.full(3 * 512, 0x7, np.uint64)
    leaves[[512 + 3, 512 + 300]] |= np.uint64(0x200)
    touched = np.array([CLEAN, before, TOUCHED], np.uint8)
    select = EMPTY if chosen is None else bitmap(chosen, 8)
    harvest(Scene(leaves, u64(1), u64(0)), first, end, select, 0x200, np.zeros(8, np.uint64), touched=touched, still=still)
    assert touched.tolist() == [CLEAN, after, TOUCHED]


@pytest.mark.parametrize(("before", "after"), [(CLEAN, TOUCHED), (TOUCHED, TOUCHED), (HANDED_OUT, HANDED_OUT)])
def test_mark__touches_the_table(before: int, after: int) -> None:
    """Also where the entry was dirty before: who made it so may not have touched the table yet."""
    for entry in (0x7, 0x307):
        leaves, words = np.full(1024, entry, np.uint64), np.zeros(8, np.uint64)
        touched = np.array([[before, before]] * 3, np.uint8)
        dirty.mark(leaves, touched[0], u64(1), u64(0), 5, 6, EMPTY, 0x1, 0x300, 0x300, words)
        dirty.mark_leaf(leaves, touched[1], 517, 0x1, 0x300)
        dirty.mark_leaves(leaves, touched[2], u64(NONE, 1023), 0x1, 0x300)
        assert touched.tolist() == [[before, after]] * 3


def test_mark__touches_no_table_that_it_does_not_mark() -> None:
    """Nothing is selected in it."""
    leaves, touched = np.full(1024, 0x7, np.uint64), np.zeros(2, np.uint8)
    select = bitmap([512], 16)
    dirty.mark(leaves, touched, u64(0, 1), u64(0, 1), 0, 1024, select, 0x1, 0x300, 0x300, np.zeros(16, np.uint64))
    assert touched.tolist() == [CLEAN, TOUCHED]


# -- two threads ---------------------------------------------------------------------------------------------------------


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
            (dirty.mark, (leaves, NO_SUMMARY, tables, tables, 0, leaves.size, EMPTY, 0x1, 0x100, 0x100, words[0])),
            (harvest, (Scene(leaves, tables, tables), 0, leaves.size, EMPTY, 0x200, words[1])),
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
            dirty.mark(leaves, NO_SUMMARY, tables, tables, 0, end, EMPTY, 0x1, 0x300, 0x200, words)
            totals["made"] += int(np.bitwise_count(words).sum())

    def report() -> None:
        for _ in range(rounds):
            words = np.zeros(8 * n_tables, np.uint64)
            harvest(Scene(leaves, tables, tables), 0, end, EMPTY, 0x200, words)
            totals["reported"] += int(np.bitwise_count(words).sum())

    on_two_cpus((make, ()), (report, ()))
    left = int(((leaves & np.uint64(0x200)) != 0).sum())
    assert totals["made"] == totals["reported"] + left
    assert totals["reported"] > end  # they did meet
