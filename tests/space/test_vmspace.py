"""Mappings, the tables under them, residency: a space as its owner sees it."""

import copy
import pickle
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import pytest

from npt import (
    EPT,
    NO_PFN,
    NPT,
    BeyondSpace,
    FaultCode,
    InvalidArgument,
    MmioObject,
    NoSuchMapping,
    Overlap,
    Prot,
    PteFormat,
    RamObject,
    Reservoir,
    StaleHandle,
    VmClient,
    VmSpace,
)  # fmt: skip
from tests.space.scene import GIB, LEVELS, MIB, PAGE, TABLES_OF_NOBODY, caught, map_at, tables


@pytest.fixture
def bare(reservoir: Reservoir, form: PteFormat) -> Iterator[VmSpace]:
    """A space with nothing in it, of 2**47 bytes."""
    with VmSpace(2**47, format=form) as made:
        yield made


@pytest.fixture
def scattered(reservoir: Reservoir) -> Iterator[RamObject]:
    """Six pages in three runs of frames, of 1, 3 and 2."""
    reservoir.resize(8 * PAGE)
    parts = [reservoir.allocate(n * PAGE) for n in (2, 1, 3, 1, 1)]
    for free in (0, 2, 4):
        parts[free].release()
    with reservoir.allocate(6 * PAGE) as made:
        assert len(made.spans) == 3
        yield made
    for kept in (1, 3):
        parts[kept].release()


def pfns(obj: RamObject | MmioObject) -> list[int]:
    """Frames of an object, page by page."""
    return [obj.pfn_at(offset) for offset in range(0, obj.length, PAGE)]


def pages(gpa: int, n: int) -> list[int]:
    """Addresses of pages."""
    return [gpa + k * PAGE for k in range(n)]


# -- what a new space is ------------------------------------------------------------------------------------------------


def test_new__has_a_root_and_nothing_else(bare: VmSpace) -> None:
    """One table, all zero; generation 1; nothing resident."""
    assert tables(bare.table) == TABLES_OF_NOBODY
    assert not bare.table.entries(4).any()
    assert (bare.generation, bare.resident_count, bare.mappings, bare.tracking) == (1, 0, (), False)


def test_new__counts_nothing(bare: VmSpace) -> None:
    """All counters begin at 0."""
    assert tuple(bare.counters) == (0, 0, 0, 0, 0, 0)
    assert bare.counters._fields == ("kicks", "kick_ns", "held_ns", "faults", "flushes", "timeouts")


def test_root__is_what_hardware_takes() -> None:
    """EPTP says four levels, write-back, and A and D while tracking; nCR3 has no flags."""
    ept, npt = VmSpace(PAGE), VmSpace(PAGE, format=NPT)
    for enabled, flags in ((True, 0x5E), (False, 0x1E)):
        ept.set_tracking(enabled)
        npt.set_tracking(enabled)
        assert (ept.table_root & 0xFFF, npt.table_root & 0xFFF) == (flags, 0)
    assert ept.table_root >> 12 == 2**33 + (3 << 27)


@pytest.mark.parametrize(
    "size", [PAGE, 3 * PAGE, 2 * MIB, 2 * MIB + PAGE, GIB, 512 * GIB, 512 * GIB + PAGE, 2**47 - PAGE, 2**47]
)
def test_size__every_size_can_be_mapped_at_its_end(ram: RamObject, form: PteFormat, size: int) -> None:
    """The last page of a space of any size can be mapped, and the next one not."""
    with VmSpace(size, format=form) as space:
        space.map(ram, size - PAGE, PAGE, Prot.RW)
        assert space.populate(size - PAGE, PAGE) == 1
        assert space.translate([size - PAGE, size]).tolist() == [ram.pfn_at(0), NO_PFN]
        with pytest.raises(BeyondSpace):
            space.map(ram, size, PAGE, Prot.RW)


COPIES: list[Callable[[object], object]] = [copy.copy, copy.deepcopy, pickle.dumps]


@pytest.mark.parametrize("make", COPIES, ids=lambda make: str(make.__name__))
def test_handles__are_neither_copied_nor_pickled(space: VmSpace, client: VmClient, make: Callable[[object], object]) -> None:
    """A handle is one thing of this process."""
    page, many = client.hold(0, Prot.RW), client.hold_many([0], Prot.RW)
    for handle in (space, client, page, many, space.mappings[0].obj, space.table):
        with pytest.raises(TypeError):
            make(handle)


@pytest.mark.parametrize("form", [EPT, NPT], ids=["ept", "npt"])
def test_formats__are_pickled_by_name(form: PteFormat) -> None:
    """There is one of each format, also after a journey to another process."""
    assert pickle.loads(pickle.dumps(form)) is form
    assert copy.copy(form) is form


# -- map ----------------------------------------------------------------------------------------------------------------


def test_map__makes_nothing_resident(space: VmSpace) -> None:
    """Mapping builds tables down to empty leaves, and raises no generation."""
    assert (space.resident_count, space.pte(0), space.generation) == (0, 0, 1)
    assert tables(space.table) == (1, 1, 1, 1)


def test_map__is_listed_by_address(space: VmSpace, ram: RamObject) -> None:
    """Mappings are told by address, whatever their order in time."""
    space.map(ram, 0x400000, 2 * PAGE, Prot.RX, 3 * PAGE)
    space.map(ram, 0x200000, PAGE, Prot.READ)
    assert [tuple(m) for m in space.mappings] == [
        (0, ram.length, ram, 0, Prot.RW),
        (0x200000, PAGE, ram, 0, Prot.READ),
        (0x400000, 2 * PAGE, ram, 3 * PAGE, Prot.RX),
    ]
    assert space.mappings[0]._fields == ("gpa", "length", "obj", "offset", "prot")


BORDERS = [2 * MIB, GIB, 512 * GIB]


@pytest.mark.parametrize("border", BORDERS, ids=["2MiB", "1GiB", "512GiB"])
def test_map__across_a_border(bare: VmSpace, ram: RamObject, border: int) -> None:
    """A mapping over a border between tables of any level has its pages on both sides."""
    gpa = border - 5 * PAGE
    map_at(bare, ram, gpa)
    level = {2 * MIB: 1, GIB: 2, 512 * GIB: 3}[border]
    assert tables(bare.table) == tuple(2 if n <= level else 1 for n in LEVELS)
    assert bare.populate(gpa, ram.length) == 16
    assert bare.translate(pages(gpa - PAGE, 18)).tolist() == [NO_PFN, *pfns(ram), NO_PFN]
    bare.unmap(gpa, ram.length)
    assert tables(bare.table) == TABLES_OF_NOBODY
    assert not any(bare.table.entries(n).any() for n in LEVELS)


@pytest.mark.parametrize("first", [510, 511, 512, 513])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_map__around_page_512(bare: VmSpace, ram: RamObject, first: int, n: int) -> None:
    """Pages 511 and 512 are in different leaf tables."""
    bare.map(ram, first * PAGE, n * PAGE, Prot.RW)
    bare.populate(first * PAGE, n * PAGE)
    wanted = [ram.pfn_at((page - first) * PAGE) if first <= page < first + n else NO_PFN for page in range(509, 517)]
    assert bare.translate(pages(509 * PAGE, 8)).tolist() == wanted
    assert bare.table.tables_in_use(1) == 1 + (first <= 511 < first + n - 1)


def test_map__neighbours_share_a_leaf_table(bare: VmSpace, ram: RamObject) -> None:
    """A leaf table lives as long as anybody is in it; its entries of nobody read 0, not None."""
    bare.map(ram, 0x200000, 2 * PAGE, Prot.RW)
    bare.map(ram, 0x202000, 2 * PAGE, Prot.RW)
    assert tables(bare.table) == (1, 1, 1, 1)
    bare.unmap(0x200000, 2 * PAGE)
    assert (bare.pte(0x200000), bare.pte(0x3FF000), bare.pte(0x400000)) == (0, 0, None)
    bare.unmap(0x202000, 2 * PAGE)
    assert bare.pte(0x202000) is None
    assert tables(bare.table) == TABLES_OF_NOBODY


def test_map__neighbours_share_the_middle_table_of_three(bare: VmSpace, ram: RamObject) -> None:
    """Two mappings that meet in a leaf table take down what is theirs alone."""
    bare.map(ram, 2 * MIB - 2 * PAGE, 4 * PAGE, Prot.RW)
    bare.map(ram, 2 * MIB + 2 * PAGE, 4 * PAGE, Prot.RW)
    assert bare.table.tables_in_use(1) == 2
    bare.unmap(2 * MIB - 2 * PAGE, 4 * PAGE)
    assert bare.table.tables_in_use(1) == 1
    bare.unmap(2 * MIB + 2 * PAGE, 4 * PAGE)
    assert tables(bare.table) == TABLES_OF_NOBODY


@pytest.mark.parametrize(("gpa", "n"), [(0, 1), (0xF000, 1), (0xF000, 2), (PAGE, 1), (0, 17), (0x5000, 3)])
def test_map__overlap_is_refused(space: VmSpace, ram: RamObject, reservoir: Reservoir, gpa: int, n: int) -> None:
    """Not a page may be mapped twice."""
    before = space.mappings, ram.refs, tables(space.table)
    with reservoir.allocate(n * PAGE) as other:
        with pytest.raises(Overlap):
            map_at(space, other, gpa)
        assert other.refs == 1
    assert before == (space.mappings, ram.refs, tables(space.table))


def test_map__side_by_side_is_fine(space: VmSpace, ram: RamObject) -> None:
    """Mappings may touch on both sides."""
    map_at(space, ram, 2 * ram.length)
    map_at(space, ram, ram.length)
    assert len(space.mappings) == 3


def test_map__the_same_object_twice(space: VmSpace, client: VmClient, ram: RamObject) -> None:
    """Two mappings of an object show the same bytes."""
    map_at(space, ram, 0x200000)
    client.write(PAGE, b"seen twice")
    assert client.read(0x200000 + PAGE, 10) == b"seen twice"


def test_map__of_an_object_whose_caller_let_go(space: VmSpace, ram: RamObject) -> None:
    """A mapped object can be mapped again, though nobody but the mapping has it."""
    ram.release()
    map_at(space, ram, 0x200000)
    assert ram.refs == 2
    space.unmap(0, ram.length)
    space.unmap(0x200000, ram.length)
    assert ram.refs == 0


def test_map__offset_shifts_frames(bare: VmSpace, ram: RamObject) -> None:
    """A window into an object shows its frames from there on."""
    bare.map(ram, 0x200000, 2 * PAGE, Prot.RW, 5 * PAGE)
    bare.populate(0x200000, 2 * PAGE)
    assert bare.translate(pages(0x200000, 2)).tolist() == pfns(ram)[5:7]


def test_map__scattered_object(scattered: RamObject, bare: VmSpace) -> None:
    """Runs of frames follow each other in the guest as in the object, also over a leaf table's border."""
    gpa = 2 * MIB - 2 * PAGE
    map_at(bare, scattered, gpa)
    assert bare.populate(gpa + PAGE, 3 * PAGE) == 3
    assert bare.translate(pages(gpa, 6)).tolist() == [NO_PFN, *pfns(scattered)[1:4], NO_PFN, NO_PFN]
    client = bare.client()
    assert client.fault_many(pages(gpa, 6), Prot.RW).tolist() == [0] * 6
    assert bare.translate(pages(gpa, 6)).tolist() == pfns(scattered)


def test_map__window_of_a_scattered_object(scattered: RamObject, bare: VmSpace) -> None:
    """A window may begin and end inside runs."""
    bare.map(scattered, 0, 3 * PAGE, Prot.RW, 2 * PAGE)
    bare.populate(0, 3 * PAGE)
    assert bare.translate(pages(0, 3)).tolist() == pfns(scattered)[2:5]


def test_map__adopts_a_reservoir(bare: VmSpace, ram: RamObject) -> None:
    """A space made without a reservoir takes that of its first RAM, for good."""
    map_at(bare, ram, 0)
    bare.unmap(0, ram.length)
    with Reservoir(PAGE, base_pfn=0x300000) as other, other.allocate(PAGE) as foreign, pytest.raises(InvalidArgument):
        map_at(bare, foreign, 0)


@pytest.mark.parametrize("first", ["ram", "mmio"])
def test_map_mmio__right_beside_ram(bare: VmSpace, ram: RamObject, reservoir: Reservoir, first: str) -> None:
    """Device memory may end where the reservoir begins, and begin where it ends, whichever comes first."""
    begin, end = reservoir.base_pfn * PAGE, reservoir.base_pfn * PAGE + reservoir.limit
    if first == "ram":
        map_at(bare, ram, 0)
    for gpa, hpa in ((MIB, begin - PAGE), (2 * MIB, end)):
        bare.map_mmio(gpa, PAGE, hpa).release()
    map_at(bare, ram, GIB)
    for hpa in (begin, end - PAGE):
        with pytest.raises(InvalidArgument):
            bare.map_mmio(3 * MIB, PAGE, hpa)


def test_map__first_ram_may_not_be_under_mmio(bare: VmSpace, ram: RamObject) -> None:
    """Device memory that was mapped first keeps RAM of the same frames out."""
    mmio = bare.map_mmio(0, PAGE, ram.pfn_at(0) * PAGE)
    with pytest.raises(InvalidArgument):
        map_at(bare, ram, 0x200000)
    assert (mmio.refs, ram.refs) == (2, 1)


# -- populate and unmap -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("gpa", "n"), [(0, 16), (0, 1), (0xF000, 1), (3 * PAGE, 7)])
def test_populate__any_range_inside_one_mapping(space: VmSpace, gpa: int, n: int) -> None:
    """Populating counts what was not resident before."""
    space.client().fault(gpa, Prot.READ)
    assert space.populate(gpa, n * PAGE) == n - 1
    assert space.populate(gpa, n * PAGE) == 0
    assert (space.resident_count, space.generation) == (n, 1)


def test_populate__not_over_two_mappings(space: VmSpace, ram: RamObject) -> None:
    """A range in two mappings that touch is in neither."""
    map_at(space, ram, ram.length)
    with pytest.raises(NoSuchMapping):
        space.populate(ram.length - PAGE, 2 * PAGE)
    assert space.resident_count == 0


def test_populate__leaves_marks_alone(space: VmSpace, client: VmClient) -> None:
    """A page that is there is not touched."""
    client.write(3 * PAGE, b"x")
    before = space.pte(3 * PAGE)
    assert space.populate(0, 8 * PAGE) == 7
    assert space.pte(3 * PAGE) == before


@pytest.mark.parametrize(("first", "n"), [(0, 2000), (1, 1000), (63, 66), (64, 64), (500, 600), (511, 1), (511, 2), (512, 512)])
def test_populate__large_ranges(form: PteFormat, first: int, n: int) -> None:
    """Ranges that begin and end anywhere become resident, and nothing around them."""
    with Reservoir(2000 * PAGE, backed=False) as table_only, table_only.allocate(2000 * PAGE) as obj:  # noqa: SIM117
        with VmSpace(GIB, format=form) as space:
            map_at(space, obj, 0)
            assert space.populate(first * PAGE, n * PAGE) == n
            found = space.translate(np.arange(2000) * PAGE)
            wanted = np.full(2000, NO_PFN, np.uint64)
            wanted[first : first + n] = obj.pfn_at(0) + np.arange(first, first + n)
            assert (found == wanted).all()
            assert space.resident_count == n
            space.unmap(0, obj.length)
            assert not space.table.entries(1).any()


def test_unmap__wants_exactly_one_mapping(space: VmSpace, ram: RamObject) -> None:
    """Neither a part nor two at once."""
    map_at(space, ram, ram.length)
    for gpa, length in ((0, PAGE), (PAGE, ram.length - PAGE), (0, 2 * ram.length), (PAGE, ram.length), (GIB, PAGE)):
        with pytest.raises(NoSuchMapping):
            space.unmap(gpa, length)
    assert len(space.mappings) == 2


def test_unmap__leaves_neighbours_alone(space: VmSpace, ram: RamObject) -> None:
    """Entries of another mapping in the same leaf table stay."""
    map_at(space, ram, ram.length)
    space.populate(0, ram.length)
    space.populate(ram.length, ram.length)
    kept = space.pte(ram.length)
    space.unmap(0, ram.length)
    assert (space.pte(ram.length), space.resident_count, space.pte(0)) == (kept, 16, 0)
    assert space.translate([ram.length]).tolist() == [ram.pfn_at(0)]


def test_unmap__neighbours_can_still_be_looked_up(space: VmSpace, client: VmClient, ram: RamObject) -> None:
    """Pages of the mappings on either side that were never resident, up to the borders."""
    map_at(space, ram, ram.length)
    map_at(space, ram, 2 * ram.length)
    space.unmap(ram.length, ram.length)
    last = ram.length - PAGE
    for gpa, offset in ((last, last), (2 * ram.length, 0), (2 * ram.length + last, last)):
        client.fault(gpa, Prot.READ)
        assert space.translate([gpa]).tolist() == [ram.pfn_at(offset)]
    assert client.fault_many([ram.length, 2 * ram.length - PAGE], Prot.READ).tolist() == [FaultCode.NOMAP] * 2


def test_unmap__and_map_again_starts_afresh(space: VmSpace, client: VmClient, ram: RamObject) -> None:
    """Tables that come back from the free list are empty."""
    client.write(0, b"x")
    space.unmap(0, ram.length)
    map_at(space, ram, 0x200000)
    assert (space.pte(0x200000), space.pte(0), space.table.entries(1).size) == (0, None, 512)


def test_unmap__bytes_stay_with_the_object(space: VmSpace, client: VmClient, ram: RamObject) -> None:
    """Unmapping does not touch memory; the last release does."""
    client.write(0, b"kept")
    space.unmap(0, ram.length)
    map_at(space, ram, 0x200000)
    assert client.read(0x200000, 4) == b"kept"


def test_unmap__frees_an_object_that_nobody_else_has(space: VmSpace, ram: RamObject, reservoir: Reservoir) -> None:
    """With the last reference the memory goes back, zeroed."""
    space.client().write(0, b"secret")
    ram.release()
    space.unmap(0, 0x10 * PAGE)
    assert reservoir.usage.free == reservoir.size
    assert not reservoir.buffer.any()


def test_tables__cost_8_bytes_a_page_and_a_percent(form: PteFormat) -> None:
    """The tables of a large mapping are its leaf entries and hardly anything more."""
    with Reservoir(GIB, backed=False) as table_only, table_only.allocate(GIB) as obj, VmSpace(2**40, format=form) as space:
        map_at(space, obj, GIB - 2 * MIB)
        assert sum(tables(space.table)) * PAGE <= 8 * (GIB // PAGE) * 1.01


# -- the end ------------------------------------------------------------------------------------------------------------


def test_repr__says_what_it_is(space: VmSpace, bare: VmSpace) -> None:
    """A space can be looked at, alive and gone."""
    assert "1 TiB" in repr(space)
    assert "tracking" in repr(space)
    assert "tracking" not in repr(bare)
    space.close()
    assert "destroyed" in repr(space)


def test_closed__every_look_is_refused(space: VmSpace) -> None:
    """A space that is closed answers nothing."""
    space.close()
    for name in ("size", "generation", "mappings", "table", "counters", "resident_count", "tracking"):
        assert isinstance(caught(partial(getattr, space, name)), StaleHandle)
