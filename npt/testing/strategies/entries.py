"""Raw entries of both formats: words of 64 bits in which every bit has a chance, sensible ones and absurd ones.

An entry is put together field by field: permissions, memory type, A, D, the large-page bit, what is ignored, what is reserved,
the frame. So an absent entry with a frame is drawn as well as a present one with reserved bits set.
"""

import hypothesis.strategies as st

from npt._types import MemAttr, Prot
from npt.formats.amd import NPT
from npt.formats.base import FIRST_TABLE_PFN, PFN_END, TABLES_A_LEVEL, PteFormat, table_pfn
from npt.formats.ept import EPT
from npt.testing.strategies.addresses import protections

__all__ = ["entries", "leaf_entries", "pfns", "table_entries"]

_BASE_PFN = 0x100000  # of a reservoir, unless told
_TOP_PFN = (1 << 40) - 1  # of 52 address bits


def pfns(end: int = _TOP_PFN + 1) -> st.SearchStrategy[int]:
    """Frame numbers below ``end``, mostly near limits: of RAM and MMIO, of tables, of 46 and 52 address bits.

    Examples
    --------
    >>> from hypothesis import find
    >>> find(pfns(), lambda pfn: pfn >= 1 << 33) == 1 << 33
    True
    """
    limits = (0, _BASE_PFN, PFN_END, FIRST_TABLE_PFN + TABLES_A_LEVEL, 1 << 34, 1 << 36, 1 << 39, _TOP_PFN, end)
    near = sorted({limit + step for limit in limits for step in (-1, 0, 1) if 0 <= limit + step < end})
    high = st.integers(0, end - 1).map(lambda pfn: end - 1 - pfn)  # integers are mostly small ones
    return st.sampled_from(near) | st.integers(0, end - 1) | high


def _field(high: int, low: int) -> st.SearchStrategy[int]:
    """What a field may hold, in its place: nothing, all ones, anything."""
    most = (1 << high - low + 1) - 1
    held = st.sampled_from([0, most]) if most == 1 else st.sampled_from([0, most]) | st.integers(0, most)
    return held.map(lambda value: value << low)


def entries(format: PteFormat | None = None) -> st.SearchStrategy[int]:
    """Words of 64 bits, made of the fields of a format; of either format if that is None.

    Bits that are reserved, ignored or mean a large page are drawn like all others; a third of the words are 0, or leaves as
    the engine makes them.

    Examples
    --------
    >>> from hypothesis import find
    >>> find(entries(), lambda entry: entry >> 63) >> 63
    1
    """
    if format is None:
        return entries(EPT) | entries(NPT)
    fields = [_field(high, low) for name, high, low in format.fields if name != "address"]
    frame = pfns().map(lambda pfn: pfn << 12)
    absurd = st.tuples(frame, *fields).map(sum)
    return st.just(0) | absurd | leaf_entries(format) | absurd


@st.composite
def leaf_entries(draw: st.DrawFn, format: PteFormat) -> int:
    """Present leaves as the engine makes and marks them: a protection that includes READ, RAM or MMIO, A and D or not.

    Examples
    --------
    >>> from hypothesis import find
    >>> from npt import EPT
    >>> hex(find(leaf_entries(EPT), lambda entry: entry & 0x200))
    '0x331'
    """
    prot, attr = draw(protections(Prot.READ)), draw(st.sampled_from([MemAttr.WB, MemAttr.UC]))
    accessed, dirty = int(format.masks.accessed), int(format.masks.dirty)
    marks = draw(st.sampled_from([0, accessed, accessed | dirty]))
    return draw(pfns(PFN_END)) << 12 | format.leaf_bits(prot, attr) | marks


@st.composite
def table_entries(draw: st.DrawFn, format: PteFormat, level: int, *, n_tables: int = 4) -> int:
    """Directory entries that name a table of a level (1 = leaf tables): one of the first ``n_tables``, or just not.

    What they name instead is the next table after those, one of another level, the last of the level, or RAM; some are 0.

    Examples
    --------
    >>> from hypothesis import find
    >>> from npt import EPT
    >>> hex(find(table_entries(EPT, 1), lambda entry: entry))
    '0x200000000007'
    """
    good = st.integers(0, n_tables - 1).map(lambda table: table_pfn(level, table))
    others = [table_pfn(other, 0) for other in (1, 2, 3, 4) if other != level]
    bad = [table_pfn(level, n_tables), table_pfn(level, TABLES_A_LEVEL - 1), _BASE_PFN, PFN_END - 1, *others]
    named = draw(good | good | st.sampled_from(bad))
    return draw(st.sampled_from([named << 12 | int(format.masks.table)] * 3 + [0]))
