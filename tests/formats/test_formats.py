"""Both entry formats, bit for bit, against tables written by hand from the manuals."""

import ast
import copy
import inspect
import pickle

import numpy as np
import pytest

import npt
from npt import EPT, NPT, MemAttr, Prot, PteFormat
from npt.formats import amd, base, ept

FORMATS = [EPT, NPT]
PROTS = [Prot(p) for p in range(8)]
ATTRS = list(MemAttr)
in_both_formats = pytest.mark.parametrize("format", FORMATS, ids=[f.name for f in FORMATS])
NX = 1 << 63

# By Prot, 0 to 7. EPT: read, write, execute in bits 2:0; memory type in bits 5:3, write-back is 6.
EPT_LEAF = {
    MemAttr.UC: (0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07),
    MemAttr.WB: (0x30, 0x31, 0x32, 0x33, 0x34, 0x35, 0x36, 0x37),
}
# nPT: P, U and A always (0x25), W is bit 1, no-execute is bit 63; uncached is PCD and PWT (0x18).
NPT_LEAF = {
    MemAttr.UC: (0x3D | NX, 0x3D | NX, 0x3F | NX, 0x3F | NX, 0x3D, 0x3D, 0x3F, 0x3F),
    MemAttr.WB: (0x25 | NX, 0x25 | NX, 0x27 | NX, 0x27 | NX, 0x25, 0x25, 0x27, 0x27),
}
LEAF = {"ept": EPT_LEAF, "npt": NPT_LEAF}

NEED = {"ept": (0, 1, 2, 3, 4, 5, 6, 7), "npt": (5, 5, 7, 7, 5, 5, 7, 7)}
DENY = {"ept": (0,) * 8, "npt": (0, 0, 0, 0, NX, NX, NX, NX)}

# Masks: present, write, accessed, dirty, table.
MASKS = {"ept": (0x7, 0x2, 0x100, 0x200, 0x7), "npt": (0x1, 0x3, 0x20, 0x40, 0x27)}

# Address bits, and all of them: they must change nothing.
PFNS = [0, 1, 0x10_0000, 2**33 - 1, 2**40 - 1]


def _every_leaf() -> list[object]:
    return [
        pytest.param(f, prot, attr, id=f"{f.name}-{int(prot)}-{attr.name}") for f in FORMATS for prot in PROTS for attr in ATTRS
    ]


@pytest.mark.parametrize(("format", "prot", "attr"), _every_leaf())
def test_leaf_bits__as_in_the_manual(format: PteFormat, prot: Prot, attr: MemAttr) -> None:
    """A fresh leaf has exactly the bits of the table above."""
    assert format.leaf_bits(prot, attr) == LEAF[format.name][attr][prot]


@pytest.mark.parametrize(("format", "prot", "attr"), _every_leaf())
def test_leaf_bits__fresh_leaf_is_clean(format: PteFormat, prot: Prot, attr: MemAttr) -> None:
    """D is clear; A is clear in EPT and set in nPT."""
    bits = format.leaf_bits(prot, attr)
    assert not bits & int(format.masks.dirty)
    assert bool(bits & int(format.masks.accessed)) is (format is NPT)


@pytest.mark.parametrize(("format", "prot", "attr"), _every_leaf())
@pytest.mark.parametrize("pfn", PFNS)
def test_attr_of__gives_back_the_memory_type(format: PteFormat, prot: Prot, attr: MemAttr, pfn: int) -> None:
    """Whatever the protection and the address."""
    assert format.attr_of(format.leaf_bits(prot, attr) | pfn << 12) is attr


@in_both_formats
@pytest.mark.parametrize("prot", [Prot.READ, Prot.RW, Prot.RX, Prot.RWX])
@pytest.mark.parametrize("attr", ATTRS)
@pytest.mark.parametrize("pfn", PFNS)
def test_prot_of__gives_back_the_protection(format: PteFormat, prot: Prot, attr: MemAttr, pfn: int) -> None:
    """For each protection that a mapping may have, with A and D set too."""
    entry = format.leaf_bits(prot, attr) | pfn << 12
    marks = int(format.masks.accessed | format.masks.dirty)
    assert (format.prot_of(entry), format.prot_of(entry | marks)) == (prot, prot)


@pytest.mark.parametrize("prot", PROTS)
def test_prot_of__ept_says_all_eight(prot: Prot) -> None:
    """EPT has a bit for each right, so even what is never built reads back."""
    assert EPT.prot_of(EPT.leaf_bits(prot, MemAttr.WB)) == prot


@pytest.mark.parametrize("prot", PROTS)
def test_prot_of__npt_always_reads(prot: Prot) -> None:
    """A present nPT entry is readable: the format cannot say otherwise."""
    assert NPT.prot_of(NPT.leaf_bits(prot, MemAttr.WB)) == prot | Prot.READ


@pytest.mark.parametrize(("format", "entry"), [(EPT, 0x0), (EPT, 0x3F8), (NPT, 0x0), (NPT, NX | 0x7E)])
def test_prot_of__absent_entry_grants_nothing(format: PteFormat, entry: int) -> None:
    """Without a present bit nothing is allowed, whatever the others say."""
    assert format.prot_of(entry) is Prot.NONE


@pytest.mark.parametrize("entry", [0x8, 0x10])
def test_attr_of__npt_needs_both_bits_for_uncached(entry: int) -> None:
    """PCD alone or PWT alone is not what we write for uncached."""
    assert NPT.attr_of(0x27 | entry) is MemAttr.WB


@in_both_formats
@pytest.mark.parametrize("prot", PROTS)
def test_need__bits_that_an_access_wants(format: PteFormat, prot: Prot) -> None:
    """One value for each of the eight protections."""
    assert format.need[prot] == NEED[format.name][prot]


@in_both_formats
@pytest.mark.parametrize("prot", PROTS)
def test_deny__bits_that_an_access_refuses(format: PteFormat, prot: Prot) -> None:
    """Only nPT has one: no-execute, in bit 63, for a fetch."""
    assert format.deny[prot] == DENY[format.name][prot]


@pytest.mark.parametrize(("format", "granted", "attr"), _every_leaf())
@pytest.mark.parametrize("asked", PROTS[1:])
def test_need_and_deny__truth(format: PteFormat, granted: Prot, attr: MemAttr, asked: Prot) -> None:
    """The two mask tests say yes exactly if every right asked for is granted."""
    entry = format.leaf_bits(granted, attr) | 0xF_FFFF_FFFF << 12
    allowed = entry & format.need[asked] == format.need[asked] and not entry & format.deny[asked]
    assert allowed is (format.prot_of(entry) & asked == asked)


@in_both_formats
@pytest.mark.parametrize("asked", PROTS[1:])
def test_need__refuses_an_absent_entry(format: PteFormat, asked: Prot) -> None:
    """Zero lacks a needed bit, so no test for "present" is wanted beside it."""
    assert 0 & format.need[asked] != format.need[asked]


@in_both_formats
def test_masks__as_in_the_manual(format: PteFormat) -> None:
    """Present, write, accessed, dirty, and the bits of an entry that points to a table."""
    assert tuple(int(m) for m in format.masks) == MASKS[format.name]


@in_both_formats
def test_masks__are_machine_words(format: PteFormat) -> None:
    """A mask of another type would make signed or float arithmetic of a kernel's."""
    assert {type(m) for m in format.masks} == {np.uint64}


@in_both_formats
def test_rules__for_the_vcpu_kernel(format: PteFormat) -> None:
    """Present, A, D, then need and deny of a read, a write and a fetch."""
    need, deny = NEED[format.name], DENY[format.name]
    present, _, accessed, dirty, _ = MASKS[format.name]
    assert format.rules.dtype == np.uint64
    assert format.rules.tolist() == [present, accessed, dirty, need[1], need[2], need[4], deny[1], deny[2], deny[4]]


@pytest.mark.parametrize(
    ("format", "tracking", "bits"), [(EPT, False, 0x1E), (EPT, True, 0x5E), (NPT, False, 0), (NPT, True, 0)]
)
def test_root_bits__as_in_the_manual(format: PteFormat, tracking: bool, bits: int) -> None:
    """EPTP: four levels, write-back, A and D enabled while tracking; nCR3: none."""
    assert format.root_bits(tracking) == bits


QUALIFICATIONS = [
    # EPT: 0x180, the access in bits 2:0, what all entries allow in bits 5:3.
    (EPT, Prot.READ, 0x0, 0x0, 0x181),
    (EPT, Prot.WRITE, 0x0, 0x0, 0x182),
    (EPT, Prot.EXEC, 0x0, 0x0, 0x184),
    (EPT, Prot.WRITE, 0x31, 0x37, 0x18A),
    (EPT, Prot.WRITE, 0x35, 0x37, 0x1AA),
    (EPT, Prot.EXEC, 0x33, 0x37, 0x19C),
    (EPT, Prot.EXEC, 0xFFFF_FFFF_FFFF_FF33, 0xFFFF_FFFF_FFFF_FF37, 0x19C),
    (EPT, Prot.READ, 0x8000_0000_0000_0004, 0x8000_0000_0000_0007, 0x1A1),
    # nPT: bit 32 and US (4), P from the entries, RW (2) for a write, ID (0x10) for a fetch.
    (NPT, Prot.READ, 0x0, 0x0, 0x1_0000_0004),
    (NPT, Prot.WRITE, 0x0, 0x27, 0x1_0000_0006),
    (NPT, Prot.EXEC, 0x0, 0x27, 0x1_0000_0014),
    (NPT, Prot.WRITE, 0x25, 0x27, 0x1_0000_0007),
    (NPT, Prot.EXEC, 0x27, 0x8000_0000_0000_0027, 0x1_0000_0015),
    (NPT, Prot.EXEC, 0x8000_0000_0000_0025, 0x8000_0000_0000_0027, 0x1_0000_0015),
    (NPT, Prot.READ, 0x1, 0x27, 0x1_0000_0005),
]


@pytest.mark.parametrize(("format", "access", "all_of", "any_of", "expected"), QUALIFICATIONS)
def test_qualification__as_hardware_reports(format: PteFormat, access: Prot, all_of: int, any_of: int, expected: int) -> None:
    """Exit qualification of an EPT violation, EXITINFO1 of a nested page fault."""
    assert format.qualification(access, all_of, any_of) == expected


@in_both_formats
@pytest.mark.parametrize("pfn", PFNS)
def test_pfn_of__takes_address_bits_only(format: PteFormat, pfn: int) -> None:
    """Bits 51:12, with every other bit set, too."""
    assert format.pfn_of(pfn << 12 | 0xFFF0_0000_0000_0FFF) == pfn


@pytest.mark.parametrize(
    ("format", "entry", "present"),
    [(EPT, 0x1, True), (EPT, 0x2, True), (EPT, 0x4, True), (EPT, 0x8000_0000_0000_0FF8, False),
     (NPT, 0x1, True), (NPT, 0x8000_0000_0000_0FFE, False)],
)  # fmt: skip
def test_is_present__any_of_rwx_or_p(format: PteFormat, entry: int, present: bool) -> None:
    """EPT: any right; nPT: bit 0 alone."""
    assert format.is_present(entry) is present


@in_both_formats
def test_fields__cover_each_bit_once(format: PteFormat) -> None:
    """From bit 63 to bit 0 without gap or overlap."""
    bits = [bit for _, high, low in format.fields for bit in range(high, low - 1, -1)]
    assert bits == list(range(63, -1, -1))


@in_both_formats
@pytest.mark.parametrize(("name", "mask"), [("dirty", "dirty"), ("accessed", "accessed")])
def test_fields__agree_with_the_masks(format: PteFormat, name: str, mask: str) -> None:
    """The bit shown to people is the bit that kernels test."""
    ((high, low),) = [(high, low) for field, high, low in format.fields if field == name]
    assert high == low
    assert 1 << low == int(getattr(format.masks, mask))


@in_both_formats
def test_fields__address_agrees_with_the_mask(format: PteFormat) -> None:
    """Bits 51:12."""
    ((high, low),) = [(high, low) for field, high, low in format.fields if field == "address"]
    assert (1 << high + 1) - (1 << low) == base.ADDRESS


@pytest.mark.parametrize(("format", "expected"), [(EPT, False), (NPT, True)])
def test_marks_untracked__only_amd(format: PteFormat, expected: bool) -> None:
    """EPT hardware sets A and D only when asked, nPT always."""
    assert format.marks_untracked is expected


@pytest.mark.parametrize(("level", "table", "pfn"), [(1, 0, 2**33), (1, 5, 2**33 + 5), (4, 0, 2**33 + 3 * 2**27)])
def test_table_pfn__above_all_memory(level: int, table: int, pfn: int) -> None:
    """Levels are 2**27 tables apart, from frame 2**33 on."""
    assert base.table_pfn(level, table) == pfn


def test_table_pfn__fits_46_address_bits() -> None:
    """The last table of the last level still has a physical address below 2**46."""
    assert (base.table_pfn(4, 2**27 - 1) + 1) << 12 <= 2**46


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@in_both_formats
def test_pickle__gives_the_one_there_is(format: PteFormat, protocol: int) -> None:
    """A format is pickled by name, so that ``is`` works in another process."""
    assert pickle.loads(pickle.dumps(format, protocol)) is format


@in_both_formats
def test_copy__gives_the_one_there_is(format: PteFormat) -> None:
    """There is one of each."""
    assert copy.copy(format) is format
    assert copy.deepcopy(format) is format


@in_both_formats
def test_repr__is_short(format: PteFormat) -> None:
    """The name says it all."""
    assert repr(format) == f"<PteFormat {format.name}>"


@in_both_formats
def test_format__cannot_be_changed(format: PteFormat) -> None:
    """Its masks are in compiled kernels' arguments and in living entries."""
    with pytest.raises(AttributeError):
        format.name = "other"  # type: ignore[misc]


def _outline(module: object) -> list[str]:
    """Functions and their arguments, in the order of the file."""
    tree = ast.parse(inspect.getsource(module))  # type: ignore[arg-type]
    return [f"{node.name}({ast.unparse(node.args)})" for node in tree.body if isinstance(node, ast.FunctionDef)]


def test_files__same_functions_in_the_same_order() -> None:
    """So that the two can be compared by eye."""
    assert _outline(ept) == _outline(amd)


def test_formats__are_public() -> None:
    """``npt.EPT`` and ``npt.NPT`` are these."""
    assert (npt.EPT, npt.NPT) == (ept.EPT, amd.NPT)
