"""Marks in a tree through windows, and trees after any sequence of changes."""

import random

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from npt import EPT, NPT, Prot, PteFormat
from npt.table.tree import NO_EXTENTS, NO_SELECTION, PageTable, Window
from tests.kernels.world import bits
from tests.table.ranges import (
    FORMATS,
    GIB,
    MIB,
    PAGE,
    SIZE,
    extent,
    in_use,
    take_down,
    wanted,
)

# -- marks through windows ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", [0, 1, 63, 511, 512, 513, 1000])
@pytest.mark.parametrize("still", [False, True], ids=["beside vCPUs", "still"])
@pytest.mark.parametrize("n_pages", [1, 7, 64, 513, 1500])
def test_mark_peek_harvest__any_range(page: int, n_pages: int, still: bool) -> None:
    """What was marked is peeked at, harvested once, and gone; holes and absent pages read 0."""
    table, gpa = PageTable(NPT, SIZE), 0x100 * PAGE
    length = 0x500 * PAGE
    table.build(gpa, length)
    rows = extent(NPT, gpa, length)
    table.populate(rows, gpa, 0x480 * PAGE)
    window, dirty = Window(page * PAGE, n_pages * PAGE), NPT.masks.dirty
    select = np.frombuffer(random.Random(page).randbytes(-(-n_pages // 8)), np.uint8)
    expected = {k for k in bits(select) if k < n_pages and 0x100 <= page + k < 0x580}
    became = table.mark(window, window.selection(select), NPT.masks.present, int(dirty), dirty)
    assert bits(became) == expected
    assert bits(table.peek(window, NO_SELECTION, dirty)) == expected
    words = window.words()
    table.harvest(window, NO_SELECTION, dirty, words, still=still)
    assert bits(window.bitmap(words)) == expected
    assert bits(table.peek(window, NO_SELECTION, dirty)) == set()


@pytest.mark.parametrize("selected", [True, False])
def test_populate_selected__without_a_selection_is_all(selected: bool) -> None:
    """Of the window, and writable only."""
    table, gpa, length = PageTable(EPT, SIZE), 0x1FE * PAGE, 6 * PAGE
    table.build(gpa, length)
    rows = np.concatenate((extent(EPT, gpa, 3 * PAGE), extent(EPT, gpa + 3 * PAGE, 3 * PAGE, Prot.READ)))
    window = Window(gpa + PAGE, 4 * PAGE)
    select = window.selection(np.array([0b1010], np.uint8)) if selected else NO_SELECTION
    expected = {2} if selected else {1, 2}
    table.populate_selected(rows, window, select)
    assert table.resident == len(expected)
    assert {k for k in range(6) if table.entry(gpa + k * PAGE)} == expected


def test_find__huge_window_over_few_tables() -> None:
    """128 TiB with two leaf tables in it: both are found, at once."""
    table = PageTable(EPT, SIZE)
    table.build(5 * MIB, PAGE)
    table.build(SIZE - PAGE, PAGE)
    tables, slots = table.find(Window(0, SIZE))
    assert (len(tables), slots.tolist()) == (2, [2, 2**26 - 1])


def test_find__empty_tree() -> None:
    """Nothing."""
    tables, slots = PageTable(EPT, SIZE).find(Window(0, SIZE))
    assert (tables.size, slots.size) == (0, 0)


def test_no_extents__is_an_empty_table_of_four_columns() -> None:
    """What a space without mappings looks up in."""
    assert NO_EXTENTS.shape == (0, 4)
    assert NO_EXTENTS.dtype == np.uint64


# -- any sequence -----------------------------------------------------------------------------------------------------

BORDERS = [0, 2 * MIB, GIB, 512 * GIB, SIZE]
STARTS = sorted(
    {min(max(border + k * PAGE, 0), SIZE - PAGE) for border in BORDERS for k in (-513, -512, -2, -1, 0, 1, 511, 700)}
)


class PageTableMachine(RuleBasedStateMachine):
    """Mappings come and go near all borders; a dictionary of pages knows what must be there."""

    def __init__(self) -> None:
        super().__init__()
        self.mappings: dict[int, int] = {}
        self.pages: dict[int, int] = {}  # resident page -> entry

    @initialize(format=st.sampled_from(FORMATS))
    def make(self, format: PteFormat) -> None:
        self.table = PageTable(format, SIZE)
        self.places = [level.ctypes.data for level in self.table.levels]

    def _free(self, gpa: int, length: int) -> bool:
        return gpa + length <= SIZE and all(gpa + length <= g or g + n <= gpa for g, n in self.mappings.items())

    @rule(gpa=st.sampled_from(STARTS), n_pages=st.sampled_from([1, 2, 3, 511, 512, 513, 1030]))
    def map(self, gpa: int, n_pages: int) -> None:
        if self._free(gpa, n_pages * PAGE):
            self.table.build(gpa, n_pages * PAGE)
            self.mappings[gpa] = n_pages * PAGE

    def _pick(self, data: st.DataObject) -> tuple[int, int]:
        gpa = data.draw(st.sampled_from(sorted(self.mappings)))
        return gpa, self.mappings[gpa]

    @precondition(lambda self: self.mappings)
    @rule(data=st.data())
    def populate(self, data: st.DataObject) -> None:
        gpa, length = self._pick(data)
        first = data.draw(st.integers(0, length // PAGE - 1))
        n_pages = data.draw(st.integers(1, length // PAGE - first))
        rows = extent(self.table.format, gpa, length)
        base = int(rows[0, 2])
        new = 0
        for k in range(first, first + n_pages):
            if gpa + k * PAGE not in self.pages:
                self.pages[gpa + k * PAGE] = base + (k << 12)
                new += 1
        assert int(self.table.populate(rows, gpa + first * PAGE, n_pages * PAGE)) == new

    @precondition(lambda self: self.pages)
    @rule(data=st.data())
    def mark(self, data: st.DataObject) -> None:
        page = data.draw(st.sampled_from(sorted(self.pages)))
        masks = self.table.format.masks
        marks = int(masks.dirty | masks.accessed)
        self.table.mark(Window(page, PAGE), NO_SELECTION, masks.write, marks, masks.dirty)
        self.pages[page] |= marks

    @precondition(lambda self: self.mappings)
    @rule(data=st.data(), undone=st.booleans())
    def unmap(self, data: st.DataObject, undone: bool) -> None:
        gpa, length = self._pick(data)
        gone = [page for page in self.pages if gpa <= page < gpa + length]
        record = self.table.vacate(gpa, length)
        assert record.n_present == len(gone)
        for page in gone:
            del self.pages[page]
        if undone:
            self.table.restore(record)
        else:
            self.table.release(record)
            del self.mappings[gpa]

    @invariant()
    def agrees(self) -> None:
        ranges = list(self.mappings.items())
        assert in_use(self.table) == wanted(*ranges)
        assert self.table.resident == len(self.pages)
        assert int((self.table.entries(1) != 0).sum()) == len(self.pages)
        covered = {page >> 21 for gpa, length in ranges for page in range(gpa, gpa + length, PAGE)}
        for page in STARTS:
            expected = self.pages.get(page, 0) if page >> 21 in covered else None
            assert self.table.entry(page) == expected

    def teardown(self) -> None:
        if not hasattr(self, "table"):
            return
        for gpa, length in self.mappings.items():
            take_down(self.table, gpa, length)
        assert in_use(self.table) == [1, 0, 0, 0]
        assert not any(self.table.entries(level).any() for level in (4, 3, 2, 1))
        assert [level.ctypes.data for level in self.table.levels] == self.places


@pytest.mark.slow
def test_page_table__any_sequence() -> None:
    """Whatever is mapped, populated, marked and unmapped, in whatever order: tables, counts and entries are the model's."""
    run_state_machine_as_test(
        PageTableMachine, settings=settings(settings(), max_examples=40, stateful_step_count=25, deadline=None)
    )
