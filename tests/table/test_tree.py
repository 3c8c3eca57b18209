"""``PageTable``: built, filled, looked up, taken down; against a slow model of what is mapped."""

from typing import Any

import numpy as np
import pytest

from npt import EPT, NO_PFN, InvalidArgument, MemAttr, Prot, PteFormat
from npt.table.tree import PageTable
from tests.table.ranges import (
    GIB,
    IDS,
    MIB,
    PAGE,
    RANGES,
    SIZE,
    extent,
    host,
    in_both_formats,
    in_use,
    take_down,
    wanted,
)

# -- one mapping ---------------------------------------------------------------------------------------------------


@in_both_formats
def test_new_table__has_only_a_root(format: PteFormat) -> None:
    """All zero."""
    table = PageTable(format, SIZE)
    assert in_use(table) == [1, 0, 0, 0]
    assert table.entries(4).tolist() == [0] * 512
    assert table.resident == 0


@pytest.mark.parametrize(("gpa", "length"), RANGES, ids=IDS)
def test_build__tables_that_the_range_needs(gpa: int, length: int) -> None:
    """At each level as many as it touches."""
    table = PageTable(EPT, SIZE)
    table.build(gpa, length)
    assert in_use(table) == wanted((gpa, length))


@pytest.mark.parametrize(("gpa", "length"), RANGES, ids=IDS)
def test_needed__is_what_a_first_mapping_takes(gpa: int, length: int) -> None:
    """The estimate is exact where nothing is shared, and memory is counted in tables."""
    table = PageTable(EPT, SIZE)
    needed = table.needed(gpa, length)
    table.build(gpa, length)
    assert list(needed) == in_use(table)[:0:-1]
    assert table.memory_needed(gpa, length) == sum(needed) * PAGE


@in_both_formats
@pytest.mark.parametrize(("gpa", "length"), RANGES, ids=IDS)
def test_entry__zero_inside_none_where_no_table_is(format: PteFormat, gpa: int, length: int) -> None:
    """A leaf table's other pages read 0 too."""
    table = PageTable(format, SIZE)
    table.build(gpa, length)
    first, last = gpa >> 21 << 21, ((gpa + length - 1) >> 21) + 1 << 21
    inside = [first, gpa, gpa + length - PAGE, last - PAGE]
    outside = [page for page in (first - PAGE, last) if 0 <= page < SIZE]
    assert [table.entry(page) for page in inside] == [0] * 4
    assert [table.entry(page) for page in outside] == [None] * len(outside)


@in_both_formats
@pytest.mark.parametrize(("gpa", "length"), RANGES, ids=IDS)
def test_populate__each_page_its_frame(format: PteFormat, gpa: int, length: int) -> None:
    """As many as there are pages; the entries are format bits and the frame."""
    table = PageTable(format, SIZE)
    table.build(gpa, length)
    assert int(table.populate(extent(format, gpa, length), gpa, length)) == table.resident == length // PAGE
    pages = sorted({gpa, gpa + length - PAGE, gpa + length // 2 // PAGE * PAGE})
    base = host(gpa) - (gpa >> 12)
    leaf_bits = format.leaf_bits(Prot.RW, MemAttr.WB)
    assert [table.entry(page) for page in pages] == [base + (page >> 12) << 12 | leaf_bits for page in pages]


@pytest.mark.parametrize(("gpa", "length"), RANGES, ids=IDS)
def test_translate__inside_and_outside(gpa: int, length: int) -> None:
    """NO_PFN one page before and one behind, and at 2**48 more."""
    table = PageTable(EPT, SIZE)
    table.build(gpa, length)
    table.populate(extent(EPT, gpa, length), gpa, length)
    gpas = [gpa, gpa + 0xFFF, gpa + length - 1, gpa - PAGE if gpa else SIZE, gpa + length, gpa + 2**48, 2**64 - 1]
    base = host(gpa) - (gpa >> 12)
    frames = [base + (g >> 12) for g in gpas[:3]] + [NO_PFN] * 4
    assert table.translate(np.array(gpas, np.uint64), SIZE).tolist() == frames


@in_both_formats
@pytest.mark.parametrize("populated", [False, True], ids=["empty", "populated"])
@pytest.mark.parametrize(("gpa", "length"), RANGES, ids=IDS)
def test_take_down__leaves_only_the_root_all_zero(format: PteFormat, gpa: int, length: int, populated: bool) -> None:
    """Every level, every entry that was ever used, is zero."""
    table = PageTable(format, SIZE)
    table.build(gpa, length)
    present = int(table.populate(extent(format, gpa, length), gpa, length)) if populated else 0
    assert take_down(table, gpa, length) == present
    assert in_use(table) == [1, 0, 0, 0]
    assert not any(table.entries(level).any() for level in (4, 3, 2, 1))
    assert table.resident == 0


@pytest.mark.parametrize(("gpa", "length"), RANGES, ids=IDS)
def test_take_down__tables_are_used_again(gpa: int, length: int) -> None:
    """Mapping the same range over and over takes no new tables."""
    table = PageTable(EPT, SIZE)
    table.build(gpa, length)
    ever = [table.entries(level).size for level in (4, 3, 2, 1)]
    for _ in range(3):
        take_down(table, gpa, length)
        table.build(gpa, length)
    assert [table.entries(level).size for level in (4, 3, 2, 1)] == ever


@pytest.mark.parametrize(("gpa", "length"), RANGES, ids=IDS)
def test_vacate__unlinked_tables_are_not_reused_before_release(gpa: int, length: int) -> None:
    """A vCPU may still be inside: what is built meanwhile gets other tables."""
    table = PageTable(EPT, SIZE)
    table.build(gpa, length)
    record = table.vacate(gpa, length)
    inside = {(known >> 30, known & (1 << 30) - 1) for known, _ in record.unlinked.tolist()}
    table.build(GIB * 3, PAGE)
    used = set()
    for level, _, entry in table.walk(GIB * 3):
        if entry:
            used.add((level - 2, table.format.pfn_of(entry) % (1 << 27)))
    assert not used & inside


@pytest.mark.parametrize(("gpa", "length"), RANGES, ids=IDS)
def test_restore__as_before_but_empty(gpa: int, length: int) -> None:
    """The same tables, no page present, and it can be populated and taken down again."""
    table = PageTable(EPT, SIZE)
    rows = extent(EPT, gpa, length)
    table.build(gpa, length)
    directories = [table.entries(level).tolist() for level in (4, 3, 2)]
    table.populate(rows, gpa, length)
    record = table.vacate(gpa, length)
    table.restore(record)
    assert [table.entries(level).tolist() for level in (4, 3, 2)] == directories
    assert (table.resident, in_use(table)) == (0, wanted((gpa, length)))
    assert int(table.populate(rows, gpa, length)) == length // PAGE
    assert take_down(table, gpa, length) == length // PAGE
    assert in_use(table) == [1, 0, 0, 0]


# -- neighbours ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("border", [MIB, 2 * MIB, GIB, GIB + MIB, 512 * GIB, 512 * GIB + MIB])
@pytest.mark.parametrize("first_out", [0, 1])
def test_neighbours__one_goes_the_other_stays(border: int, first_out: int) -> None:
    """Shared tables stay for whoever is left, with its entries."""
    table = PageTable(EPT, SIZE)
    ranges = [(border - 3 * PAGE, 3 * PAGE), (border, 5 * PAGE)]
    for gpa, length in ranges:
        table.build(gpa, length)
        table.populate(extent(EPT, gpa, length), gpa, length)
    assert in_use(table) == wanted(*ranges)
    gone, left = ranges[first_out], ranges[1 - first_out]
    before = {page: table.entry(page) for page in range(left[0], left[0] + left[1], PAGE)}
    take_down(table, *gone)
    assert in_use(table) == wanted(left)
    assert {page: table.entry(page) for page in before} == before
    assert table.resident == left[1] // PAGE


def test_neighbours__a_shared_leaf_table_makes_zero_not_none() -> None:
    """Unmapped, but its table is there for the neighbour."""
    table = PageTable(EPT, SIZE)
    table.build(0, PAGE)
    table.build(PAGE, PAGE)
    take_down(table, 0, PAGE)
    assert table.entry(0) == 0
    take_down(table, PAGE, PAGE)
    assert table.entry(0) is None


# -- looking ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [1, 2, 3, 4])
def test_entries__are_read_only(level: int) -> None:
    """Through this view; ``read_table`` is for those who mean it."""
    table = PageTable(EPT, SIZE)
    table.build(0, PAGE)
    with pytest.raises(ValueError, match="read-only"):
        table.entries(level)[0] = 1


def test_entries__are_no_copy() -> None:
    """What changes later is seen."""
    table = PageTable(EPT, SIZE)
    table.build(0, PAGE)
    view = table.entries(1)
    table.populate(extent(EPT, 0, PAGE), 0, PAGE)
    assert int(view[0]) == table.entry(0) != 0


@pytest.mark.parametrize("level", [0, 5, -1, 2**64])
@pytest.mark.parametrize("method", ["entries", "tables_in_use"])
def test_level__one_to_four(method: str, level: int) -> None:
    """There are no others."""
    with pytest.raises(InvalidArgument, match="level"):
        getattr(PageTable(EPT, SIZE), method)(level)


@pytest.mark.parametrize("level", [None, 1.0, True, "4"])
@pytest.mark.parametrize("method", ["entries", "tables_in_use"])
def test_level__is_an_integer(method: str, level: Any) -> None:
    """And no bool."""
    with pytest.raises(TypeError):
        getattr(PageTable(EPT, SIZE), method)(level)


@in_both_formats
@pytest.mark.parametrize(("gpa", "length"), RANGES, ids=IDS)
def test_read_table__walks_as_hardware_does(format: PteFormat, gpa: int, length: int) -> None:
    """From the root pointer, by the address bits alone, to the leaf."""
    table = PageTable(format, SIZE)
    table.build(gpa, length)
    table.populate(extent(format, gpa, length), gpa, length)
    page = gpa + length - PAGE
    pfn, entry = table.root(True) >> 12, 0
    for shift in (39, 30, 21, 12):
        entry = int(table.read_table(pfn)[page >> shift & 511])
        assert entry & int(format.masks.present)
        pfn = (entry & 0x000F_FFFF_FFFF_F000) >> 12
    assert entry == table.entry(page)


def test_read_table__is_writable_and_no_copy() -> None:
    """512 entries of the table itself."""
    table = PageTable(EPT, SIZE)
    table.build(0, PAGE)
    leaf_pfn = EPT.pfn_of(int(table.entries(2)[0]))
    view = table.read_table(leaf_pfn)
    view[5] = 1 << 63 | 7
    assert view.shape == (512,)
    assert table.entry(5 * PAGE) == 1 << 63 | 7


@pytest.mark.parametrize("pfn", [0, 0x10_0000, 2**33 - 1, 2**33 + 1, 2**33 + 2**27 + 1, 2**33 + 3 * 2**27 + 1,
                                 2**33 + 4 * 2**27, 2**63, 2**64, -1])  # fmt: skip
def test_read_table__no_table_there(pfn: int) -> None:
    """RAM, tables that were never made, and nonsense."""
    table = PageTable(EPT, SIZE)
    table.build(0, PAGE)
    with pytest.raises(InvalidArgument, match="pfn"):
        table.read_table(pfn)


@pytest.mark.parametrize("pfn", [None, True, 2.0, "1"])
def test_read_table__pfn_is_an_integer(pfn: Any) -> None:
    """And no bool."""
    with pytest.raises(TypeError):
        PageTable(EPT, SIZE).read_table(pfn)


@in_both_formats
@pytest.mark.parametrize("tracking", [True, False])
def test_root__points_to_the_root_table(format: PteFormat, tracking: bool) -> None:
    """With the format's low bits; within 46 bits."""
    root = PageTable(format, SIZE).root(tracking)
    assert root == (2**33 + 3 * 2**27) << 12 | format.root_bits(tracking)
    assert root < 2**46


def test_repr__counts() -> None:
    """Tables from the root down, and resident pages."""
    table = PageTable(EPT, SIZE)
    table.build(GIB - PAGE, 2 * PAGE)
    table.populate(extent(EPT, GIB - PAGE, PAGE), GIB - PAGE, PAGE)
    assert repr(table) == "<PageTable ept: 1 + 1 + 2 + 2 tables, 1 pages resident>"


# -- memory ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gpa", [0, PAGE, GIB - PAGE, 512 * GIB - GIB // 2])
@pytest.mark.parametrize("n_gib", [1, 2, 64])
def test_memory__eight_bytes_a_page_and_one_percent(gpa: int, n_gib: int) -> None:
    """For one mapping of 1 GiB or more, wherever it starts."""
    table = PageTable(EPT, SIZE)
    table.build(gpa, n_gib * GIB)
    n_bytes = sum(in_use(table)) * PAGE
    assert n_bytes <= 1.01 * 8 * (n_gib * GIB // PAGE)
