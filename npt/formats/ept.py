"""Intel EPT: read, write and execute as three bits, the memory type in the entry, A and D in bits 8 and 9."""

import numpy as np

from npt._types import MemAttr, Prot
from npt.formats.base import PteFormat, PteMasks

__all__ = ["EPT"]

_READ, _WRITE, _EXEC = 1 << 0, 1 << 1, 1 << 2
_TYPE_SHIFT, _TYPE = 3, 7 << 3
_ACCESSED, _DIRTY = 1 << 8, 1 << 9
_WALK_OF_4, _WALK_WB, _ENABLE_AD = 3 << 3, 6, 1 << 6
_LINEAR_VALID, _FINAL = 1 << 7, 1 << 8


def need(prot: Prot) -> int:
    """Bits that an entry must have for an access of this kind."""
    return int(prot)


def deny(prot: Prot) -> int:
    """Bits that an entry must not have."""
    return 0


def leaf_bits(prot: Prot, attr: MemAttr) -> int:
    """A fresh leaf: A and D clear."""
    return int(prot) | attr << _TYPE_SHIFT


def prot_of(entry: int) -> Prot:
    """Protection that an entry grants."""
    return Prot(entry & (_READ | _WRITE | _EXEC))


def attr_of(entry: int) -> int:
    """Memory type of a leaf: a ``MemAttr``, or the bare number of one that is never built here."""
    kind = (entry & _TYPE) >> _TYPE_SHIFT
    return MemAttr(kind) if kind in (MemAttr.UC, MemAttr.WB) else kind


def root_bits(tracking: bool) -> int:
    """Low bits of the EPT pointer: write-back, four levels, A and D enabled while tracking."""
    return _WALK_WB | _WALK_OF_4 | (_ENABLE_AD if tracking else 0)


def qualification(access: Prot, all_of: int, any_of: int) -> int:
    """Exit qualification of an EPT violation, for an access through a linear address."""
    return _LINEAR_VALID | _FINAL | int(access) | (all_of & (_READ | _WRITE | _EXEC)) << 3


FIELDS = (
    ("reserved", 63, 52),
    ("address", 51, 12),
    ("ignored", 11, 10),
    ("dirty", 9, 9),
    ("accessed", 8, 8),
    ("large page", 7, 7),
    ("ignore PAT", 6, 6),
    ("memory type", 5, 3),
    ("execute", 2, 2),
    ("write", 1, 1),
    ("read", 0, 0),
)

EPT = PteFormat(
    name="ept",
    masks=PteMasks(
        present=np.uint64(_READ | _WRITE | _EXEC),
        write=np.uint64(_WRITE),
        accessed=np.uint64(_ACCESSED),
        dirty=np.uint64(_DIRTY),
        table=np.uint64(_READ | _WRITE | _EXEC),
    ),
    need=tuple(need(Prot(prot)) for prot in range(8)),
    deny=tuple(deny(Prot(prot)) for prot in range(8)),
    leaf_bits=leaf_bits,
    prot_of=prot_of,
    attr_of=attr_of,
    root_bits=root_bits,
    qualification=qualification,
    fields=FIELDS,
    marks_untracked=False,
)
