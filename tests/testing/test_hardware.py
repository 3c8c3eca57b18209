"""``npt.testing.hardware_walk``, by hand from the manuals. (All cases: ``tests/truth``.)"""

from typing import Any

import numpy as np
import pytest

from npt import EPT, NPT, InvalidArgument, Prot, PteFormat, WalkKind
from npt.testing.hardware import HardwareWalk, hardware_walk

OK, VIOLATION, MISCONFIG = WalkKind.OK, WalkKind.VIOLATION, WalkKind.MISCONFIG
READ, WRITE, EXEC = Prot.READ, Prot.WRITE, Prot.EXEC
NX = 1 << 63
LEAF = {"ept": 0x37, "npt": 0x07}
GPA = 0x7F_C123_4567  # entries 0, 511, 9 and 52
INDEX = {4: 0, 3: 511, 2: 9, 1: 52}


class Tables:
    """Four tables at PFNs 4 to 1, by level, and a page at 0x5000; all is allowed."""

    def __init__(self, format: PteFormat) -> None:
        self.format = format
        self.tables: dict[int, Any] = {level: [0] * 512 for level in INDEX}
        for level in (4, 3, 2):
            self[level] = level - 1 << 12 | 7
        self[1] = 0x5000 | LEAF[format.name]

    def __setitem__(self, level: int, entry: int) -> None:
        self.tables[level][INDEX[level]] = entry

    def __getitem__(self, level: int) -> int:
        return int(self.tables[level][INDEX[level]])

    def walk(self, access: Prot = READ, **options: Any) -> HardwareWalk:
        """Walk to the page."""
        return hardware_walk(self.tables.__getitem__, 4, GPA, access, format=self.format, **options)


@pytest.fixture
def ept() -> Tables:
    """Of EPT."""
    return Tables(EPT)


@pytest.fixture
def amd() -> Tables:
    """Of nPT."""
    return Tables(NPT)


@pytest.fixture(params=[EPT, NPT], ids=["ept", "npt"])
def form(request: pytest.FixtureRequest) -> PteFormat:
    """Each entry format in turn."""
    assert isinstance(request.param, PteFormat)
    return request.param


# -- translations -------------------------------------------------------------------------------------------------------


def test_walk__page_of_each_size(form: PteFormat) -> None:
    """The address is that of the page, and what is within it: 12, 21 or 30 bits."""
    tables = Tables(form)
    assert tables.walk() == (OK, None, 1, 0x5567)
    tables[2] = 0x60_0000 | LEAF[form.name] | 0x80
    assert tables.walk() == (OK, None, 2, 0x60_0000 | GPA & 0x1F_FFFF)
    tables[3] = 0x8000_0000 | LEAF[form.name] | 0x80
    assert tables.walk() == (OK, None, 3, 0x8000_0000 | GPA & 0x3FFF_FFFF)


def test_walk__page_attribute_of_a_large_page_is_no_address(amd: Tables) -> None:
    """Bit 12 of a large nPT page is PAT."""
    amd[2] = 0x60_0000 | 0x1000 | 0x87
    assert amd.walk() == (OK, None, 2, 0x60_0000 | GPA & 0x1F_FFFF)


def test_walk__numpy_tables_and_high_bits(form: PteFormat) -> None:
    """Tables may be arrays of uint64; addresses come out as Python ints, all 52 bits of them."""
    tables = Tables(form)
    tables.tables = {level: np.array(table, np.uint64) for level, table in tables.tables.items()}
    tables[1] = 0xF_FFFF_FFFF_F000 | LEAF[form.name]
    walk = tables.walk(WRITE, maxphyaddr=52, ad=True)
    assert type(walk.hpa) is int
    assert walk == (OK, None, 1, 0xF_FFFF_FFFF_F567)
    assert tables[1] == 0xF_FFFF_FFFF_F000 | LEAF[form.name] | (0x300 if form is EPT else 0x60)


# -- EPT ----------------------------------------------------------------------------------------------------------------


def test_ept__qualification_says_access_and_what_all_entries_grant(ept: Tables) -> None:
    """Read-only directory, leaf without execution: a write finds what is left, at the first that denies it."""
    ept[3], ept[1] = 0x2000 | 0b101, 0x5000 | 0x30 | 0b011
    assert ept.walk(WRITE) == (VIOLATION, 0x180 | 1 << 3 | 2, 3, None)
    assert ept.walk(EXEC) == (VIOLATION, 0x180 | 1 << 3 | 4, 1, None)
    assert ept.walk(READ).kind is OK


def test_ept__absent_entry_grants_nothing(ept: Tables) -> None:
    """Whatever else is in it; and what denied the access above is still the first to deny it."""
    ept[2] = 2**64 - 8
    assert ept.walk(READ) == (VIOLATION, 0x181, 2, None)
    ept[4] = 0x3000 | 1
    assert ept.walk(WRITE) == (VIOLATION, 0x182, 4, None)
    assert ept.walk(READ) == (VIOLATION, 0x181, 2, None)


@pytest.mark.parametrize("rights", [0b010, 0b110])
@pytest.mark.parametrize("level", [4, 3, 2, 1])
def test_ept__writable_but_not_readable_is_misconfigured(ept: Tables, level: int, rights: int) -> None:
    """At each level, also below an entry that denies the access, for any access."""
    if level < 4:
        ept[4] = 0x3000 | 4
    ept[level] = ept[level] & ~7 | rights
    assert [ept.walk(access) for access in (READ, WRITE, EXEC)] == [(MISCONFIG, 0, level, None)] * 3


def test_ept__execute_only_is_the_processors_choice(ept: Tables) -> None:
    """Where it is known, reads are denied and fetches are not; where not, it is misconfigured."""
    ept[1] = 0x5000 | 0x30 | 4
    assert ept.walk(READ) == (VIOLATION, 0x180 | 4 << 3 | 1, 1, None)
    assert ept.walk(EXEC).kind is OK
    assert ept.walk(EXEC, execute_only=False) == (MISCONFIG, 0, 1, None)
    ept[2] = 0x1000 | 4
    assert ept.walk(EXEC, execute_only=False) == (MISCONFIG, 0, 2, None)


def test_ept__memory_types(ept: Tables) -> None:
    """UC, WC, WT, WP and WB; 2, 3 and 7 are no types. Directories have none: their bits 6:3 are reserved."""
    kinds = [ept.walk().kind for ept[1] in (0x5000 | kind << 3 | 7 for kind in range(8))]
    assert kinds == [OK, OK, MISCONFIG, MISCONFIG, OK, OK, OK, MISCONFIG]
    ept[1] = 0x5037
    for bit in (3, 4, 5, 6):
        for level in (2, 3, 4):
            good = ept[level]
            ept[level] = good | 1 << bit
            assert ept.walk() == (MISCONFIG, 0, level, None), (bit, level)
            ept[level] = good


def test_ept__bit_7_at_each_level(ept: Tables) -> None:
    """Reserved in the root, a page at levels 3 and 2, ignored in a leaf."""
    ept[1] |= 0x80
    assert ept.walk() == (OK, None, 1, 0x5567)
    ept[4] |= 0x80
    assert ept.walk() == (MISCONFIG, 0, 4, None)


def test_ept__reserved_address_bits(ept: Tables) -> None:
    """Below a large page's size, and above the processor's width."""
    for level, highest in ((2, 20), (3, 29)):
        for bit, kind in ((12, MISCONFIG), (highest, MISCONFIG), (highest + 1, OK), (45, OK), (46, MISCONFIG), (51, MISCONFIG)):
            ept[level] = 1 << bit | 0xB7
            assert ept.walk().kind is kind, (level, bit)
    ept[3] = 1 << 36 | 0xB7
    assert [ept.walk(maxphyaddr=width).kind for width in (36, 37)] == [MISCONFIG, OK]


def test_ept__high_bits_are_ignored(ept: Tables) -> None:
    """Bits 63:52 are the software's, or belong to features that are off."""
    for level in INDEX:
        ept[level] |= 0xFFF << 52
    assert ept.walk() == (OK, None, 1, 0x5567)


# -- nPT ----------------------------------------------------------------------------------------------------------------


def test_amd__error_code(amd: Tables) -> None:
    """P for what is there, US always, RW of a write, ID of a fetch, and bit 32 for the final address."""
    amd[2] = 0x1000 | NX | 5
    assert amd.walk(WRITE) == (VIOLATION, 1 << 32 | 0b00111, 2, None)
    assert amd.walk(EXEC) == (VIOLATION, 1 << 32 | 0b10101, 2, None)
    assert amd.walk(READ).kind is OK
    amd[1] = 2**64 - 2
    assert [amd.walk(access).qualification for access in (READ, WRITE, EXEC)] == [1 << 32 | bits for bits in (4, 6, 0x14)]
    assert [amd.walk(access).level for access in (READ, WRITE, EXEC)] == [1, 2, 2]


@pytest.mark.parametrize("level", [4, 3, 2, 1])
def test_amd__nested_walks_are_a_users(amd: Tables, level: int) -> None:
    """An entry that is the supervisor's denies everything."""
    amd[level] &= ~4
    assert amd.walk(READ) == (VIOLATION, 1 << 32 | 0b101, level, None)


def test_amd__reserved_bits_are_violations(amd: Tables) -> None:
    """RSV and P are set, also below an entry that denies the access; there are no misconfigurations."""
    amd[4] &= ~2
    amd[1] |= 1 << 46
    assert amd.walk(WRITE) == (VIOLATION, 1 << 32 | 0b01111, 1, None)
    assert amd.walk(EXEC) == (VIOLATION, 1 << 32 | 0b11101, 1, None)
    assert amd.walk(EXEC, maxphyaddr=47).kind is OK
    amd[3] |= 1 << 51
    assert amd.walk(READ) == (VIOLATION, 1 << 32 | 0b01101, 3, None)


def test_amd__bits_7_and_8_at_each_level(amd: Tables) -> None:
    """Both are reserved in the root; 8 is ignored below and 7 in a leaf."""
    for bit in (7, 8):
        amd[4] = 0x3007 | 1 << bit
        assert amd.walk() == (VIOLATION, 1 << 32 | 0b1101, 4, None)
    amd[4] = 0x3007
    amd[3], amd[2], amd[1] = 0x2107, 0x1107, 0x5187
    assert amd.walk() == (OK, None, 1, 0x5567)


def test_amd__reserved_bits_of_large_pages(amd: Tables) -> None:
    """20:13 of 2 MiB and 29:13 of 1 GiB."""
    for level, highest in ((2, 20), (3, 29)):
        for bit, kind in ((12, OK), (13, VIOLATION), (highest, VIOLATION), (highest + 1, OK), (46, VIOLATION)):
            amd[level] = 1 << bit | 0x87
            assert amd.walk().kind is kind, (level, bit)


# -- marks --------------------------------------------------------------------------------------------------------------


def test_marks__in_all_entries(form: PteFormat) -> None:
    """A in each entry of the walk, D in the last, and only for a write; nothing without ``ad``."""
    tables = Tables(form)
    before = [tables[level] for level in INDEX]
    accessed, dirty = (0x100, 0x200) if form is EPT else (0x20, 0x40)
    tables.walk(WRITE)
    assert [tables[level] for level in INDEX] == before
    for access in (READ, EXEC):
        tables.walk(access, ad=True)
        assert [tables[level] for level in INDEX] == [entry | accessed for entry in before]
    tables.walk(WRITE, ad=True)
    assert [tables[level] for level in INDEX] == [entry | accessed for entry in before[:3]] + [before[3] | accessed | dirty]
    assert sum(np.count_nonzero(table) for table in tables.tables.values()) == 4


def test_marks__of_a_large_page(form: PteFormat) -> None:
    """D goes where the page is mapped; the entry below is not looked at."""
    tables = Tables(form)
    tables[2] = large = 0x60_0000 | LEAF[form.name] | 0x80
    leaf = tables[1]
    tables.walk(WRITE, ad=True)
    assert (tables[2], tables[1]) == (large | (0x300 if form is EPT else 0x60), leaf)


def test_marks__none_of_a_refused_walk(form: PteFormat) -> None:
    """A walk that fails leaves no mark, anywhere."""
    tables = Tables(form)
    tables[1] = 0
    before = [tables[level] for level in INDEX]
    assert tables.walk(WRITE, ad=True).kind is VIOLATION
    assert [tables[level] for level in INDEX] == before


# -- arguments ----------------------------------------------------------------------------------------------------------


def test_walk__reads_the_tables_that_entries_name(form: PteFormat) -> None:
    """The root's PFN as given, then those in the address bits, and no more than the walk needs."""
    tables, asked = Tables(form), []

    def read_table(pfn: int) -> Any:
        asked.append(pfn)
        return tables.tables[pfn]

    hardware_walk(read_table, np.int64(4), np.uint64(GPA), READ, format=form)
    tables[2] = 0
    hardware_walk(read_table, 4, GPA, 1, format=form)
    assert asked == [4, 3, 2, 1, 4, 3, 2]


@pytest.mark.parametrize("gpa", [1 << 48, 2**64 - 1])
def test_walk__beyond_four_levels(form: PteFormat, gpa: int) -> None:
    """No entry covers the address, and the one of the low 48 bits is not taken for it."""
    tables = Tables(form)
    walk = hardware_walk(tables.tables.__getitem__, 4, gpa, WRITE, format=form)
    assert walk == (VIOLATION, 0x182 if form is EPT else 1 << 32 | 6, 4, None)


GOOD: dict[str, Any] = {
    "read_table": lambda pfn: [0] * 512,
    "root_pfn": 4,
    "gpa": 0,
    "access": 1,
    "format": EPT,
    "maxphyaddr": 46,
}
WRONG_TYPES = [
    ("read_table", [0]), ("read_table", None), ("root_pfn", 4.0), ("root_pfn", True), ("root_pfn", "4"), ("gpa", 0.0),
    ("gpa", np.bool_(False)), ("gpa", None), ("access", 1.0), ("access", True), ("access", "r"), ("format", None),
    ("format", "ept"), ("maxphyaddr", 46.0), ("maxphyaddr", False), ("execute_only", 1), ("ad", 0), ("ad", None),
]  # fmt: skip
WRONG_VALUES = [
    ("root_pfn", -1), ("root_pfn", 1 << 40), ("gpa", -1), ("gpa", 1 << 64), ("access", 0), ("access", 3), ("access", 8),
    ("access", Prot.RWX), ("access", -1), ("maxphyaddr", 31), ("maxphyaddr", 53), ("maxphyaddr", -46),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), WRONG_TYPES)
def test_walk__wrong_type(name: str, value: Any) -> None:
    """Each argument of a wrong type is refused, before a wrong value elsewhere."""
    with pytest.raises(TypeError):
        hardware_walk(**(GOOD | {"gpa": -1} | {name: value}))


@pytest.mark.parametrize(("name", "value"), WRONG_VALUES)
def test_walk__wrong_value(name: str, value: Any) -> None:
    """Each argument out of its range is refused, and no table read."""
    with pytest.raises(InvalidArgument):
        hardware_walk(**(GOOD | {"read_table": pytest.fail} | {name: value}))


def test_walk__what_read_table_raises_is_the_callers(form: PteFormat) -> None:
    """A directory that names no table is the table owner's to tell."""
    tables = Tables(form)
    tables[3] = 0x9000 | 7
    with pytest.raises(KeyError):
        tables.walk()


def test_walk__says_what_it_is(ept: Tables) -> None:
    """In one line, numbers in hex."""
    assert repr(ept.walk()) == "<HardwareWalk OK at level 1: 0x5567>"
    ept[3] = 0
    assert repr(ept.walk()) == "<HardwareWalk VIOLATION at level 3, qualification 0x181>"
