"""AMD nPT: the ordinary x86-64 format; no-execute in bit 63, the memory type by PCD and PWT, A and D in bits 5 and 6."""

import numpy as np

from npt._types import MemAttr, Prot
from npt.formats.base import PteFormat, PteMasks

__all__ = ["NPT"]

_PRESENT, _WRITE, _USER, _NX = 1 << 0, 1 << 1, 1 << 2, 1 << 63
_UNCACHED = 1 << 4 | 1 << 3  # PCD and PWT
_ACCESSED, _DIRTY = 1 << 5, 1 << 6
_FAULT_WRITE, _FAULT_USER, _FAULT_FETCH = 1 << 1, 1 << 2, 1 << 4
_FAULT_FINAL = 1 << 32


def need(prot: Prot) -> int:
    """Bits that an entry must have for an access of this kind."""
    return _PRESENT | _USER | (_WRITE if prot & Prot.WRITE else 0)


def deny(prot: Prot) -> int:
    """Bits that an entry must not have."""
    return _NX if prot & Prot.EXEC else 0


def leaf_bits(prot: Prot, attr: MemAttr) -> int:
    """A fresh leaf: A set, D clear."""
    bits = _PRESENT | _USER | _ACCESSED | (_WRITE if prot & Prot.WRITE else 0)
    return bits | (0 if prot & Prot.EXEC else _NX) | (0 if attr == MemAttr.WB else _UNCACHED)


def prot_of(entry: int) -> Prot:
    """Protection that an entry grants."""
    if not entry & _PRESENT:
        return Prot.NONE
    return Prot.READ | (Prot.WRITE if entry & _WRITE else Prot.NONE) | (Prot.NONE if entry & _NX else Prot.EXEC)


def attr_of(entry: int) -> int:
    """Memory type of a leaf."""
    return MemAttr.UC if entry & _UNCACHED == _UNCACHED else MemAttr.WB


def root_bits(tracking: bool) -> int:
    """Low bits of nCR3: none."""
    return 0


def qualification(access: Prot, all_of: int, any_of: int) -> int:
    """EXITINFO1 of a nested page fault on a guest's final address."""
    bits = _FAULT_FINAL | _FAULT_USER | (all_of & _PRESENT)
    return bits | (_FAULT_WRITE if access == Prot.WRITE else 0) | (_FAULT_FETCH if access == Prot.EXEC else 0)


FIELDS = (
    ("no execute", 63, 63),
    ("available", 62, 52),
    ("address", 51, 12),
    ("available", 11, 9),
    ("global", 8, 8),
    ("large page / PAT", 7, 7),
    ("dirty", 6, 6),
    ("accessed", 5, 5),
    ("PCD", 4, 4),
    ("PWT", 3, 3),
    ("user", 2, 2),
    ("write", 1, 1),
    ("present", 0, 0),
)

NPT = PteFormat(
    name="npt",
    masks=PteMasks(
        present=np.uint64(_PRESENT),
        write=np.uint64(_PRESENT | _WRITE),
        accessed=np.uint64(_ACCESSED),
        dirty=np.uint64(_DIRTY),
        table=np.uint64(_PRESENT | _WRITE | _USER | _ACCESSED),
    ),
    need=tuple(need(Prot(prot)) for prot in range(8)),
    deny=tuple(deny(Prot(prot)) for prot in range(8)),
    leaf_bits=leaf_bits,
    prot_of=prot_of,
    attr_of=attr_of,
    root_bits=root_bits,
    qualification=qualification,
    fields=FIELDS,
    marks_untracked=True,
)
