"""Encode, then decode: what an entry was made of is what it says; fields do not overlap, in either format."""

import itertools

import hypothesis.strategies as st
import pytest
from hypothesis import given

from npt import EPT, NPT, MemAttr, Prot, PteFormat
from npt.formats.base import ADDRESS, PFN_END, table_pfn
from npt.testing.strategies import entries, pfns
from tests.properties.states import few

in_both_formats = pytest.mark.parametrize("format", [EPT, NPT], ids=["ept", "npt"])
WITH_READ = [prot for prot in map(Prot, range(8)) if prot & Prot.READ]
LEAVES = list(itertools.product(WITH_READ, [MemAttr.WB, MemAttr.UC], [False, True], [False, True]))


@in_both_formats
@given(pfn=pfns())
def test_leaf__says_what_it_was_made_of(format: PteFormat, pfn: int) -> None:
    """Protection, memory type, frame, A and D: each by itself, whatever the others are."""
    masks = format.masks
    assert len(LEAVES) == 4 * 2 * 2 * 2
    for prot, attr, accessed, dirty in LEAVES:
        marks = int(masks.accessed) * accessed | int(masks.dirty) * dirty
        entry = format.leaf_bits(prot, attr) & ~int(masks.accessed) | marks | pfn << 12
        assert (format.prot_of(entry), format.attr_of(entry), format.pfn_of(entry)) == (prot, attr, pfn)
        assert (bool(entry & int(masks.accessed)), bool(entry & int(masks.dirty))) == (accessed, dirty)
        assert format.is_present(entry)
        assert entry < 2**64


@in_both_formats
@pytest.mark.parametrize("access", [Prot.READ, Prot.WRITE, Prot.EXEC])
@few(50)
@given(data=st.data())
def test_entry__is_allowed_what_its_protection_says(format: PteFormat, access: Prot, data: st.DataObject) -> None:
    """By masks as by decoding, also where reserved and ignored bits are set; nPT asks for the user bit as well."""
    entry = data.draw(entries(format))
    by_masks = entry & format.need[access] == format.need[access] and not entry & format.deny[access]
    user = format is EPT or bool(entry & 4)
    assert by_masks == (bool(format.prot_of(entry) & access) and user)


@in_both_formats
@few(50)
@given(data=st.data())
def test_entry__is_the_sum_of_its_fields(format: PteFormat, data: st.DataObject) -> None:
    """Every bit belongs to exactly one of them."""
    entry = data.draw(entries(format))
    parts = [(entry >> low & (1 << high - low + 1) - 1) << low for _, high, low in format.fields]
    assert sum(parts) == entry
    assert sum(high - low + 1 for _, high, low in format.fields) == 64


@in_both_formats
@given(level=st.integers(1, 3), table=st.integers(0, (1 << 27) - 1))
def test_directory_entry__says_which_table(format: PteFormat, level: int, table: int) -> None:
    """Level and number, from a frame that is neither RAM's nor MMIO's and fits 46 address bits."""
    entry = table_pfn(level, table) << 12 | int(format.masks.table)
    pfn = format.pfn_of(entry)
    assert divmod(pfn - PFN_END, 1 << 27) == (level - 1, table)
    assert pfn < 1 << 34
    assert format.prot_of(entry) == Prot.RWX


@in_both_formats
@pytest.mark.parametrize("tracking", [False, True])
def test_root__leaves_room_for_the_address(format: PteFormat, tracking: bool) -> None:
    """All in the low twelve bits, and as the manuals have it."""
    bits = format.root_bits(tracking)
    assert not bits & ADDRESS
    assert bits == ((0x5E if tracking else 0x1E) if format is EPT else 0)
