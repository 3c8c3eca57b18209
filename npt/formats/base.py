"""What every entry format has: its masks, and the few functions that masks cannot express.

A page may be accessed when ``(entry & need) == need and (entry & deny) == 0`` with the ``need`` and ``deny`` of the
protection asked for. So no kernel branches on the format, and one compiled kernel serves both.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from npt._types import MemAttr, Prot, U64Array

__all__ = ["ADDRESS", "FIRST_TABLE_PFN", "PFN_END", "TABLES_A_LEVEL", "PteFormat", "PteMasks", "table_pfn"]

ADDRESS = 0x000F_FFFF_FFFF_F000  # bits 51:12 of an entry, in both formats
PFN_END = 1 << 33  # RAM and MMIO end below this frame
FIRST_TABLE_PFN = PFN_END
TABLES_A_LEVEL = 1 << 27

_ACCESSES = (Prot.READ, Prot.WRITE, Prot.EXEC)  # by kind of access: 0, 1, 2


def table_pfn(level: int, table: int) -> int:
    """Synthetic PFN of a table: above all RAM and MMIO, within 46 physical address bits."""
    return FIRST_TABLE_PFN + (level - 1) * TABLES_A_LEVEL + table


class PteMasks(NamedTuple):
    """Bits of an entry, as kernels want them."""

    present: np.uint64  # any of these set: the entry leads somewhere
    write: np.uint64  # all of these set: present and writable
    accessed: np.uint64
    dirty: np.uint64
    table: np.uint64  # an entry that points to a table, beside its address


@dataclass(frozen=True, eq=False)
class PteFormat:
    """One entry format; there are two, ``EPT`` and ``NPT``.

    Attributes
    ----------
    name : str
        ``"ept"`` or ``"npt"``.
    masks : PteMasks
        The bits that kernels test and set.
    need, deny : tuple of int
        By ``Prot`` (0 to 7): bits an entry must have all, and none, of.
    rules : numpy.ndarray
        The same for a vCPU's kernel: present, A, D, then need and deny of a read, a write and a fetch.
    leaf_bits : callable
        ``leaf_bits(prot, attr)``: a fresh leaf entry without its address.
    prot_of, attr_of : callable
        What an entry says of protection and memory type.
    root_bits : callable
        ``root_bits(tracking)``: the low 12 bits of the root pointer.
    qualification : callable
        ``qualification(access, all_of, any_of)``: what hardware reports of a refused access, given the AND (0 if one was
        absent) and the OR of the entries on its walk.
    fields : tuple of (name, high, low)
        Every field of a leaf entry, for people.
    marks_untracked : bool
        Hardware sets A and D even while dirty tracking is off.
    """

    name: str
    masks: PteMasks
    need: tuple[int, ...]
    deny: tuple[int, ...]
    leaf_bits: Callable[[Prot, MemAttr], int]
    prot_of: Callable[[int], Prot]
    attr_of: Callable[[int], int]
    root_bits: Callable[[bool], int]
    qualification: Callable[[Prot, int, int], int]
    fields: tuple[tuple[str, int, int], ...]
    marks_untracked: bool
    rules: U64Array = field(init=False, repr=False)

    def __post_init__(self) -> None:
        words = [self.masks.present, self.masks.accessed, self.masks.dirty]
        words += [np.uint64(self.need[a]) for a in _ACCESSES] + [np.uint64(self.deny[a]) for a in _ACCESSES]
        rules = np.array(words, np.uint64)
        rules.flags.writeable = False  # all spaces share it
        object.__setattr__(self, "rules", rules)

    def __repr__(self) -> str:
        return f"<PteFormat {self.name}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _by_name, (self.name,)  # there is one of each

    def pfn_of(self, entry: int) -> int:
        """Frame that an entry points to."""
        return (entry & ADDRESS) >> 12

    def is_present(self, entry: int) -> bool:
        """Whether an entry leads somewhere."""
        return bool(entry & int(self.masks.present))


def _by_name(name: str) -> PteFormat:
    """The format of a name, to unpickle it."""
    from npt import formats

    return {"ept": formats.EPT, "npt": formats.NPT}[name]
