"""``hardware_walk``: what a processor makes of nested page tables, from its maker's manual.

Theory of operation
-------------------
A walk reads one entry a level, from the root down, until an entry maps a page. Of each entry three things are asked, in this
order, and by nothing but its 64 bits and its level:

1. Is it *present*? Where not, the walk ends, and nothing else in the entry counts.
2. Is it *well-formed*? A reserved bit that is set, or a combination that the manual reserves, ends the walk too.
3. What does it *grant*? An access must be granted by every entry of the walk. That is looked at when the walk has ended: so
   an entry that is ill-formed is told even below one that denies the access, and what lies below an absent one is not seen.

Intel: Software Developer's Manual, volume 3, "The extended page-table mechanism (EPT)" and, for the exit qualification,
"Basic VM-exit information". A processor without mode-based execute control, without supervisor shadow stacks and with
both sizes of large pages.
AMD: Architecture Programmer's Manual, volume 2, "Long-mode page translation" and "Nested paging". No-execute is enabled in the
host; nested walks are accesses of a user. With protection keys and whatever else is newer off, bits 62:52 are ignored.

Guarantees: shares nothing with the engine but names, and the checks of its arguments.
Relies on:  nobody else writes to the tables meanwhile: marks are set by plain stores.
"""

import operator
from collections.abc import Callable, MutableSequence
from functools import cache, reduce
from typing import Any, ClassVar, NamedTuple, Protocol, SupportsIndex

from npt._types import Prot, U64Array, WalkKind
from npt.errors import InvalidArgument
from npt.units import as_address, as_flag, as_int

__all__ = ["HardwareWalk", "hardware_walk"]

Table = MutableSequence[int] | U64Array

_READ, _WRITE, _EXEC = int(Prot.READ), int(Prot.WRITE), int(Prot.EXEC)
_ALL = _READ | _WRITE | _EXEC
_ROOT, _LEAF, _OF_4_LEVELS = 4, 1, 48  # the last: bits of an address that a walk translates
_LARGE = 1 << 7
_ADDRESS = (1 << 52) - (1 << 12)
_LEAST_WIDTH, _MOST_WIDTH = 32, 52  # bits of a physical address


class HardwareWalk(NamedTuple):
    """What a walk came to.

    Attributes
    ----------
    kind : WalkKind
        ``OK``, ``VIOLATION`` or, on EPT only, ``MISCONFIG``.
    qualification : int or None
        Of a violation the EPT exit qualification, or EXITINFO1 on nPT; 0 of a misconfiguration, for which the processor
        clears it; None where nothing is reported.
    level : int
        4 = root ... 1 = leaf: of the first entry that denies the access, of the entry that is ill-formed, or of the one that
        maps the page.
    hpa : int or None
        Host-physical byte address, or None where there is none.
    """

    kind: WalkKind
    qualification: int | None
    level: int
    hpa: int | None

    def __repr__(self) -> str:
        if self.kind is WalkKind.OK:
            return f"<HardwareWalk OK at level {self.level}: {self.hpa:#x}>"
        return f"<HardwareWalk {self.kind.name} at level {self.level}, qualification {self.qualification:#x}>"


class _Step(NamedTuple):
    """One entry of a walk."""

    level: int
    table: Any
    place: int
    entry: int


class _Named(Protocol):
    """An entry format: what counts is its name."""

    @property
    def name(self) -> str: ...


class _Intel:
    """EPT: a processor with so many address bits, that knows execute-only pages or does not."""

    ACCESSED, DIRTY = 1 << 8, 1 << 9
    UNKNOWN_TYPES: ClassVar = {2, 3, 7}

    def __init__(self, maxphyaddr: int, execute_only: bool) -> None:
        beyond = _bits(51, maxphyaddr)
        self._of_table = {4: beyond | _bits(7, 3), 3: beyond | _bits(6, 3), 2: beyond | _bits(6, 3)}
        self._of_page = {3: beyond | _bits(29, 12), 2: beyond | _bits(20, 12), 1: beyond}
        self._bad_rights = {_WRITE, _WRITE | _EXEC} if execute_only else {_WRITE, _WRITE | _EXEC, _EXEC}

    def is_present(self, entry: int) -> bool:
        return entry & _ALL != 0

    def is_wrong(self, entry: int, level: int, is_page: bool) -> bool:
        if entry & _ALL in self._bad_rights or (is_page and entry >> 3 & 7 in self.UNKNOWN_TYPES):
            return True
        return entry & (self._of_page if is_page else self._of_table)[level] != 0

    def grants(self, entry: int) -> int:
        return entry & _ALL

    def wrong(self, access: int) -> tuple[WalkKind, int]:
        return WalkKind.MISCONFIG, 0

    def qualification(self, access: int, granted: int, is_present: bool) -> int:
        """The access was to the final address of a linear one: bits 8 and 7."""
        return 1 << 8 | 1 << 7 | granted << 3 | access


class _Amd:
    """nPT: a processor with so many address bits. Whoever may not execute a page may still read it."""

    ACCESSED, DIRTY = 1 << 5, 1 << 6
    P, RW, US, RSV, ID, FINAL = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 4, 1 << 32  # P, RW and US stand so in entries, too
    NX = 1 << 63

    def __init__(self, maxphyaddr: int, execute_only: bool) -> None:
        beyond = _bits(51, maxphyaddr)
        self._of_table = {4: beyond | _bits(8, 7), 3: beyond, 2: beyond}
        self._of_page = {3: beyond | _bits(29, 13), 2: beyond | _bits(20, 13), 1: beyond}

    def is_present(self, entry: int) -> bool:
        return entry & self.P != 0

    def is_wrong(self, entry: int, level: int, is_page: bool) -> bool:
        return entry & (self._of_page if is_page else self._of_table)[level] != 0

    def grants(self, entry: int) -> int:
        if not (entry & self.P and entry & self.US):
            return 0
        return _READ | (_WRITE if entry & self.RW else 0) | (0 if entry & self.NX else _EXEC)

    def wrong(self, access: int) -> tuple[WalkKind, int]:
        return WalkKind.VIOLATION, self.qualification(access, 0, True) | self.RSV

    def qualification(self, access: int, granted: int, is_present: bool) -> int:
        """EXITINFO1 of an access to a final address; it does not say what would have been granted."""
        kind = {_READ: 0, _WRITE: self.RW, _EXEC: self.ID}[access]
        return self.FINAL | self.US | kind | (self.P if is_present else 0)


_MAKERS: dict[str, type[_Intel] | type[_Amd]] = {"ept": _Intel, "npt": _Amd}


def _bits(high: int, low: int) -> int:
    """Bits ``high`` to ``low``, as manuals count them; none where ``low`` is above."""
    return (1 << high + 1) - (1 << low) if high >= low else 0


@cache
def _processor(name: str, maxphyaddr: int, execute_only: bool) -> _Intel | _Amd:
    return _MAKERS[name](maxphyaddr, execute_only)


def hardware_walk(
    read_table: Callable[[int], Table], root_pfn: SupportsIndex, gpa: SupportsIndex, access: SupportsIndex, *,
    format: _Named, maxphyaddr: SupportsIndex = 46, execute_only: bool = True, ad: bool = False,
) -> HardwareWalk:  # fmt: skip
    """Walk nested page tables as a processor does.

    Parameters
    ----------
    read_table
        Gives the table of a PFN: a mutable sequence of 512 ints. What it raises goes to the caller.
    root_pfn
        Of the level-4 table.
    gpa
        Guest-physical byte address. No entry covers those from 2**48 on.
    access
        ``Prot.READ``, ``Prot.WRITE`` or ``Prot.EXEC``.
    format
        ``EPT`` or ``NPT``.
    maxphyaddr
        Bits of a physical address, 32 to 52; those of an entry's address above are reserved.
    execute_only
        Whether the processor knows EPT entries that allow execution only; where not, they are misconfigured.
    ad
        Set A in the entries of a walk that is OK, and D in the one that maps the page for a write. Otherwise nothing is
        written, on nPT either.

    Returns
    -------
    HardwareWalk
        What the access comes to.

    Raises
    ------
    InvalidArgument
        Not an address or a PFN; not one kind of access; no such width.

    Examples
    --------
    >>> import npt
    >>> with npt.Reservoir(1 << 20) as reservoir, npt.VmSpace(1 << 30, reservoir=reservoir) as space:
    ...     with reservoir.allocate(4096) as ram:
    ...         space.map(ram, 0, 4096, npt.Prot.READ)
    ...         _ = space.populate(0, 4096)
    ...         for access in (npt.Prot.READ, npt.Prot.WRITE):
    ...             hardware_walk(space.table.read_table, space.table_root >> 12, 0xABC, access, format=space.format)
    <HardwareWalk OK at level 1: 0x1000ffabc>
    <HardwareWalk VIOLATION at level 1, qualification 0x18a>
    """
    if not callable(read_table):
        raise TypeError(f"read_table must be callable, not {type(read_table).__name__}")
    pfn, gpa = as_int(root_pfn, "root_pfn"), as_int(gpa, "gpa")
    access, width = as_int(access, "access"), as_int(maxphyaddr, "maxphyaddr")
    if (name := getattr(format, "name", None)) not in ("ept", "npt"):
        raise TypeError(f"format must be EPT or NPT, not {type(format).__name__}")
    execute_only, ad = as_flag(execute_only, "execute_only"), as_flag(ad, "ad")
    if not 0 <= pfn < 1 << _MOST_WIDTH - 12:
        raise InvalidArgument(f"root_pfn {pfn:#x} is not that of a physical address")
    as_address(gpa)
    if access not in (_READ, _WRITE, _EXEC):
        raise InvalidArgument(f"access {access:#x} is not one of READ, WRITE and EXEC")
    if not _LEAST_WIDTH <= width <= _MOST_WIDTH:
        raise InvalidArgument(f"maxphyaddr {width} is not from {_LEAST_WIDTH} to {_MOST_WIDTH}")
    return _walk(_processor(name, width, execute_only), read_table, pfn, gpa, access, ad)


def _walk(
    processor: _Intel | _Amd, read_table: Callable[[int], Any], pfn: int, gpa: int, access: int, ad: bool
) -> HardwareWalk:
    if gpa >> _OF_4_LEVELS:
        return HardwareWalk(WalkKind.VIOLATION, processor.qualification(access, 0, False), _ROOT, None)
    steps: list[_Step] = []
    for level in range(_ROOT, 0, -1):
        table, place = read_table(pfn), gpa >> 3 + 9 * level & 511
        entry = operator.index(table[place])
        steps.append(_Step(level, table, place, entry))
        if not processor.is_present(entry):
            break
        is_page = level == _LEAF or (level != _ROOT and entry & _LARGE != 0)
        if processor.is_wrong(entry, level, is_page):
            return HardwareWalk(*processor.wrong(access), level, None)
        if is_page:
            break
        pfn = (entry & _ADDRESS) >> 12
    return _end(processor, steps, gpa, access, ad)


def _end(processor: _Intel | _Amd, steps: list[_Step], gpa: int, access: int, ad: bool) -> HardwareWalk:
    """What a walk without an ill-formed entry comes to."""
    level, _, _, entry = steps[-1]
    grants = [processor.grants(step.entry) for step in steps]
    for step, granted in zip(steps, grants, strict=True):
        if not granted & access:
            qualification = processor.qualification(access, reduce(operator.and_, grants), processor.is_present(entry))
            return HardwareWalk(WalkKind.VIOLATION, qualification, step.level, None)
    if ad:
        for step in steps:
            _mark(step, processor.ACCESSED | (processor.DIRTY if step.level == level and access == _WRITE else 0))
    within = (1 << 3 + 9 * level) - 1
    return HardwareWalk(WalkKind.OK, None, level, (entry & _ADDRESS & ~within) | (gpa & within))


def _mark(step: _Step, marks: int) -> None:
    """Set bits in an entry that lacks some of them."""
    if step.entry & marks != marks:
        step.table[step.place] = step.entry | marks
