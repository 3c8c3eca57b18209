"""``Walk``: entries level by level, for people."""

import re

import pytest

from npt import EPT, NPT, MemAttr, Prot, PteFormat, Walk, WalkStep
from npt.formats.base import table_pfn

GPA = 0x1234_5678_9000 & 2**47 - 1
INDEX = {level: GPA >> 12 + 9 * (level - 1) & 511 for level in (4, 3, 2, 1)}


def walk(format: PteFormat, leaf: int | None, depth: int = 4) -> Walk:
    """A walk of that many tables, ending in a leaf entry or in an empty directory entry."""
    bits = int(format.masks.table)
    steps = [WalkStep(level, INDEX[level], table_pfn(level - 1, 5) << 12 | bits) for level in (4, 3, 2)][: depth - 1]
    last = 5 - depth
    return Walk(GPA, format, (*steps, WalkStep(last, INDEX[last], leaf or 0)))


IN_BOTH = pytest.mark.parametrize("format", [EPT, NPT], ids=["ept", "npt"])


@IN_BOTH
@pytest.mark.parametrize("prot", [Prot.READ, Prot.RW, Prot.RX, Prot.RWX])
@pytest.mark.parametrize("attr", list(MemAttr))
def test_walk__says_what_the_leaf_says(format: PteFormat, prot: Prot, attr: MemAttr) -> None:
    """Frame, protection, memory type."""
    entry = 0x12_3456 << 12 | format.leaf_bits(prot, attr)
    seen = walk(format, entry)
    assert (seen.leaf, seen.pfn, seen.prot, seen.attr) == (entry, 0x12_3456, prot, attr)


@IN_BOTH
def test_walk__leaf_that_is_empty(format: PteFormat) -> None:
    """Mapped, but not resident."""
    seen = walk(format, 0)
    assert (seen.leaf, seen.pfn, seen.prot, seen.attr) == (0, None, None, None)
    assert "not resident" in repr(seen)


@IN_BOTH
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_walk__directory_that_is_empty(format: PteFormat, depth: int) -> None:
    """No leaf table: no leaf entry at all."""
    seen = walk(format, None, depth)
    assert (seen.leaf, seen.pfn) == (None, None)
    assert "not mapped" in repr(seen)


def test_walk__past_the_end() -> None:
    """No steps."""
    seen = Walk(2**47, EPT, ())
    assert seen.leaf is None
    assert repr(seen) == "<Walk ept 0x800000000000: past the end of the space>"


def test_repr__a_line_each_level() -> None:
    """Index, entry in hex, and what it means."""
    lines = repr(walk(EPT, 0x12_3456 << 12 | 0x333)).splitlines()
    assert lines == [
        "<Walk ept 0x123456789000: resident",
        "  level 4 [ 36] 0x0000210000005007 table 0x210000005",
        "  level 3 [209] 0x0000208000005007 table 0x208000005",
        "  level 2 [179] 0x0000200000005007 table 0x200000005",
        "  level 1 [393] 0x0000000123456333 pfn 0x123456 RW WB A D>",
    ]


def test_repr__npt_with_bit_63() -> None:
    """All 64 bits are shown."""
    last = repr(walk(NPT, 1 << 63 | 0x12_3456 << 12 | 0x27)).splitlines()[-1]
    assert last == "  level 1 [393] 0x8000000123456027 pfn 0x123456 RW WB A>"


@pytest.mark.parametrize("entry", [1 << 3 | 7, 5 << 3 | 7, 7 << 3 | 1, 0x2, 0x4, 0x6, 0x8, 2**64 - 1])
def test_repr__entry_that_nobody_here_would_write(entry: int) -> None:
    """Whatever was stored through ``read_table``, it can be shown: that is what explain is for."""
    seen = walk(EPT, entry)
    assert f"{entry:#018x}" in repr(seen)
    assert f"{entry:#018x}" in seen._repr_html_()


@IN_BOTH
def test_html__a_row_each_level(format: PteFormat) -> None:
    """A plain table, styled inline, without style sheets or scripts."""
    html = walk(format, 0x1000 | format.leaf_bits(Prot.RW, MemAttr.WB))._repr_html_()
    assert html.startswith("<table")
    assert len(re.findall("<tr>", html)) == 1 + 4
    assert not re.search(r"<(style|script|link)\b", html)


@IN_BOTH
def test_html__says_the_same_as_the_text(format: PteFormat) -> None:
    """Verdict, indices and entries."""
    seen = walk(format, 0x1000 | format.leaf_bits(Prot.RW, MemAttr.UC))
    html = seen._repr_html_()
    assert "resident" in html
    assert len(seen.steps) == 4
    for step in seen.steps:
        assert f">{step.entry:#018x}<" in html
        assert f">{step.index}<" in html
        assert f">{seen.describe(step)}<" in html


def test_html__past_the_end() -> None:
    """A table without rows."""
    assert "past the end of the space" in Walk(2**47, EPT, ())._repr_html_()
