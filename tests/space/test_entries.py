"""Entries of a space, bit for bit: what translate, pte, explain and the table show."""

from collections.abc import Iterator

import pytest

from npt import (
    NO_PFN,
    MemAttr,
    MmioObject,
    Prot,
    PteFormat,
    RamObject,
    Reservoir,
    VmSpace,
)  # fmt: skip
from tests.space.scene import GIB, LEVELS, MIB, PAGE, SIZE, map_at

ADDRESS = 0x000F_FFFF_FFFF_F000


@pytest.fixture
def bare(reservoir: Reservoir, form: PteFormat) -> Iterator[VmSpace]:
    """A space with nothing in it, of 2**47 bytes."""
    with VmSpace(2**47, format=form) as made:
        yield made


def pages(gpa: int, n: int) -> list[int]:
    """Addresses of pages."""
    return [gpa + k * PAGE for k in range(n)]


# -- entries ------------------------------------------------------------------------------------------------------------

FRESH = {  # low and high bits of a fresh leaf, by format and protection
    ("ept", Prot.READ): 0x31, ("ept", Prot.RW): 0x33, ("ept", Prot.RX): 0x35, ("ept", Prot.RWX): 0x37,
    ("npt", Prot.READ): 0x25 | 1 << 63, ("npt", Prot.RW): 0x27 | 1 << 63, ("npt", Prot.RX): 0x25, ("npt", Prot.RWX): 0x27,
}  # fmt: skip


@pytest.mark.parametrize("prot", [Prot.READ, Prot.RW, Prot.RX, Prot.RWX])
def test_leaf__bit_for_bit(bare: VmSpace, ram: RamObject, prot: Prot) -> None:
    """A fresh leaf is the frame and the format's bits, by populate as by a look-up."""
    map_at(bare, ram, 0x200000, prot)
    bare.populate(0x200000, PAGE)
    bare.client().fault(0x201FFF, Prot.READ)
    for page in range(2):
        entry = FRESH[bare.format.name, prot] | ram.pfn_at(page * PAGE) << 12
        assert bare.pte(0x200000 + page * PAGE) == entry
        assert bare.translate([0x200000 + page * PAGE]).tolist() == [ram.pfn_at(page * PAGE)]


def test_leaf__mmio_is_uncached(bare: VmSpace) -> None:
    """Device memory has the memory type of the format's uncached pages."""
    mmio = bare.map_mmio(0x200000, 2 * PAGE, 0xFE00_0000)
    bare.populate(0x200000, 2 * PAGE)
    flags = {"ept": 0x3, "npt": 0x3F | 1 << 63}[bare.format.name]
    assert bare.pte(0x201000) == 0xFE00_1000 | flags
    assert (mmio.attr, bare.explain(0x201000).attr, mmio.refs) == (MemAttr.UC, MemAttr.UC, 2)
    mmio.release()


def test_mmio__lives_as_long_as_its_mapping(bare: VmSpace) -> None:
    """The caller may let go of device memory; the mapping has it."""
    mmio = bare.map_mmio(0, PAGE, 0xFE00_0000)
    mmio.release()
    assert (mmio.refs, bare.mappings[0].prot) == (1, Prot.RW)
    bare.unmap(0, PAGE)
    assert mmio.refs == 0


def test_mmio__may_be_mapped_to_be_read(bare: VmSpace) -> None:
    """An object of device memory can be mapped with any protection that reads."""
    mmio = MmioObject(2 * PAGE, 0xFE00_0000)
    bare.map(mmio, 0, PAGE, Prot.READ, PAGE)
    bare.populate(0, PAGE)
    assert bare.translate([0]).tolist() == [0xFE001]


def test_directories__bit_for_bit(bare: VmSpace, ram: RamObject) -> None:
    """A walk can be done by hand from the root, through entries that grant everything."""
    gpa = 512 * GIB + 3 * GIB + 4 * MIB + 5 * PAGE
    map_at(bare, ram, gpa)
    bare.populate(gpa, PAGE)
    pointer = bare.table_root
    for level in LEVELS:
        pointer = int(bare.table.read_table((pointer & ADDRESS) >> 12)[gpa >> (3 + 9 * level) & 511])
        if level > 1:
            assert pointer & ~ADDRESS == {"ept": 7, "npt": 0x27}[bare.format.name]
            assert (pointer & ADDRESS) >> 12 >> 27 == 64 + level - 2
    assert pointer == bare.pte(gpa)


def test_explain__tells_level_by_level(space: VmSpace) -> None:
    """A walk has four steps where there are tables, and says what is there."""
    space.populate(PAGE, PAGE)
    walk = space.explain(PAGE + 5)
    assert [(step.level, step.index) for step in walk.steps] == [(4, 0), (3, 0), (2, 0), (1, 1)]
    assert (walk.gpa, walk.leaf, walk.prot) == (PAGE, space.pte(PAGE), Prot.RW)
    assert "resident" in repr(walk)
    assert "<table" in walk._repr_html_()


def test_explain__ends_where_there_is_nothing(space: VmSpace) -> None:
    """A walk ends at the first empty entry; past the end of the space there is none."""
    assert [step.level for step in space.explain(GIB).steps] == [4, 3]
    assert space.explain(SIZE).steps == ()
    assert [space.explain(gpa).leaf for gpa in (0, GIB, SIZE)] == [0, None, None]


def test_pte__rounds_down_and_ends_with_the_space(space: VmSpace) -> None:
    """Any byte of a page tells its entry; none exists past the end."""
    space.populate(0, PAGE)
    assert space.pte(0xFFF) == space.pte(0)
    assert [space.pte(gpa) for gpa in (SIZE - 1, SIZE, 2**47, 2**48, 2**64 - 1)] == [None] * 5


def test_translate__rounds_down_and_finds_holes(space: VmSpace, ram: RamObject) -> None:
    """Anything not resident is NO_PFN: not populated, not mapped, past the end."""
    space.populate(PAGE, PAGE)
    gpas = [PAGE, PAGE + 0xFFF, 2 * PAGE - 1, 2 * PAGE, 0, GIB, SIZE, 2**64 - 1]
    assert space.translate(gpas).tolist() == [ram.pfn_at(PAGE)] * 3 + [NO_PFN] * 5


def test_table__entries_are_read_only(space: VmSpace) -> None:
    """Looking at a level changes nothing; read_table is what writes."""
    entries = space.table.entries(1)
    with pytest.raises(ValueError, match="read-only"):
        entries[0] = 1
    assert (str(entries.dtype), entries.size) == ("uint64", 512)
    space.populate(0, PAGE)
    assert entries[0] == space.pte(0)


def test_table__views_outlive_the_space(space: VmSpace) -> None:
    """Entries that somebody looks at stay there."""
    entries, table = space.table.entries(1), space.table.read_table(2**33)
    space.close()
    assert not entries.any()
    assert not table.any()
