"""Leaf entries as facts, and the 64 bits and exit qualifications that the two formats make of them."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from npt._types import MemAttr, Prot, WalkKind
from npt.testing.oracle.objects import VmObject

__all__ = ["EPT", "Format", "Leaf", "Walk", "fresh_leaf", "is_format", "leaf_bits", "qualification", "root_pointer"]

ROOT_PFN = 2**33 + (3 << 27)  # the first table of level 4

_BIT_63 = 1 << 63


class Format(NamedTuple):
    """What a space is made with unless told: only the name counts."""

    name: str


EPT = Format("ept")


def is_format(value: Any) -> bool:
    """Whether this is one of the two formats."""
    return getattr(value, "name", None) in ("ept", "npt")


@dataclass(slots=True)
class Leaf:
    """A resident page."""

    obj: VmObject
    number: int  # of the page in its object
    pfn: int
    prot: Prot
    attr: MemAttr
    accessed: bool
    dirty: bool = False


class Walk(NamedTuple):
    """What a hardware walk comes to.

    Attributes
    ----------
    kind : WalkKind
        ``OK`` or ``VIOLATION``: nothing here is ever misconfigured.
    qualification : int
        The EPT exit qualification or EXITINFO1; 0 where the access is allowed.
    level : int
        Of the first entry that denies; 1 where none does.
    hpa : int or None
        Host-physical byte address where the access is allowed.
    """

    kind: WalkKind
    qualification: int
    level: int
    hpa: int | None


def fresh_leaf(format: Any, obj: VmObject, number: int, prot: Prot) -> Leaf:
    """A page that becomes resident: nPT sets A at once, EPT does not."""
    return Leaf(obj, number, obj.pfn_at(number * 4096), prot, obj.attr, accessed=format.name == "npt")


def leaf_bits(format: Any, leaf: Leaf) -> int:
    """A leaf entry as it stands in the table."""
    return leaf.pfn << 12 | (_ept_bits(leaf) if format.name == "ept" else _npt_bits(leaf))


def _ept_bits(leaf: Leaf) -> int:
    bits = int(leaf.prot)  # read 0, write 1, execute 2: the bits of Prot
    bits |= (6 if leaf.attr == MemAttr.WB else 0) << 3
    bits |= 1 << 8 if leaf.accessed else 0
    bits |= 1 << 9 if leaf.dirty else 0
    return bits


def _npt_bits(leaf: Leaf) -> int:
    bits = 1 << 0 | 1 << 2  # present, user
    bits |= 1 << 1 if leaf.prot & Prot.WRITE else 0
    bits |= 0 if leaf.attr == MemAttr.WB else 1 << 4 | 1 << 3  # PCD, PWT
    bits |= 1 << 5 if leaf.accessed else 0
    bits |= 1 << 6 if leaf.dirty else 0
    bits |= 0 if leaf.prot & Prot.EXEC else _BIT_63  # no execute
    return bits


def root_pointer(format: Any, tracking: bool) -> int:
    """EPTP: write-back, four levels, A and D enabled while tracking; nCR3: the bare address."""
    low = (0x1E | (0x40 if tracking else 0)) if format.name == "ept" else 0
    return ROOT_PFN << 12 | low


def qualification(format: Any, access: Prot, granted: Prot) -> int:
    """What hardware reports of a refused access; ``granted`` is what all entries of its walk allow, or nothing.

    Directories allow everything, so that is what the leaf allows.
    """
    if format.name == "ept":
        return 0x180 | int(access) | int(granted) << 3
    present = 1 if granted else 0
    write, fetch = (1 << 1 if access == Prot.WRITE else 0), (1 << 4 if access == Prot.EXEC else 0)
    return 1 << 32 | fetch | 1 << 2 | write | present
