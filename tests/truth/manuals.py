"""The manuals' tables, written down by hand: what each bit of an entry is, what an entry grants, what is reported of an access.

Nothing here knows ``npt``. ``judge`` reads one entry off the tables; ``walk`` puts the verdicts of a walk together.

Intel SDM volume 3, "The extended page-table mechanism (EPT)": formats of the entries, misconfigurations, violations, accessed
and dirty flags; and the table of exit qualifications for EPT violations. AMD APM volume 2, "Long-mode page translation": the
figures of PML4E, PDPE, PDE and PTE; "Nested paging": nested page faults. Below, M is the physical-address width.
"""

from functools import cache, lru_cache
from typing import NamedTuple

__all__ = ["LEVELS", "Expected", "Verdict", "judge", "walk"]

LEVELS = (4, 3, 2, 1)

# What each bit is, high to low, by level and by what the entry leads to. Bit 7 tells a page from a table where both are.
EPT_FIGURES = {
    (4, "table"): "63:52 ignored, 51:M reserved, M-1:12 address, 11:9 ignored, 8 accessed, 7:3 reserved, 2:0 rights",
    (3, "table"): "63:52 ignored, 51:M reserved, M-1:12 address, 11:9 ignored, 8 accessed, 7 zero, 6:3 reserved, 2:0 rights",
    (2, "table"): "63:52 ignored, 51:M reserved, M-1:12 address, 11:9 ignored, 8 accessed, 7 zero, 6:3 reserved, 2:0 rights",
    (3, "page"): "63:52 ignored, 51:M reserved, M-1:30 address, 29:12 reserved, 11:10 ignored, "
    "9 dirty, 8 accessed, 7 one, 6 ignored, 5:3 type, 2:0 rights",
    (2, "page"): "63:52 ignored, 51:M reserved, M-1:21 address, 20:12 reserved, 11:10 ignored, "
    "9 dirty, 8 accessed, 7 one, 6 ignored, 5:3 type, 2:0 rights",
    (1, "page"): "63:52 ignored, 51:M reserved, M-1:12 address, 11:10 ignored, "
    "9 dirty, 8 accessed, 7:6 ignored, 5:3 type, 2:0 rights",
}
NPT_FIGURES = {
    (4, "table"): "63 rights, 62:52 ignored, 51:M reserved, M-1:12 address, 11:9 ignored, 8:7 reserved, 6 ignored, "
    "5 accessed, 4:3 ignored, 2:0 rights",
    (3, "table"): "63 rights, 62:52 ignored, 51:M reserved, M-1:12 address, 11:8 ignored, 7 zero, 6 ignored, "
    "5 accessed, 4:3 ignored, 2:0 rights",
    (2, "table"): "63 rights, 62:52 ignored, 51:M reserved, M-1:12 address, 11:8 ignored, 7 zero, 6 ignored, "
    "5 accessed, 4:3 ignored, 2:0 rights",
    (3, "page"): "63 rights, 62:52 ignored, 51:M reserved, M-1:30 address, 29:13 reserved, 12:8 ignored, 7 one, "
    "6 dirty, 5 accessed, 4:3 ignored, 2:0 rights",
    (2, "page"): "63 rights, 62:52 ignored, 51:M reserved, M-1:21 address, 20:13 reserved, 12:8 ignored, 7 one, "
    "6 dirty, 5 accessed, 4:3 ignored, 2:0 rights",
    (1, "page"): "63 rights, 62:52 ignored, 51:M reserved, M-1:12 address, 11:7 ignored, "
    "6 dirty, 5 accessed, 4:3 ignored, 2:0 rights",
}
FIGURES = {"ept": EPT_FIGURES, "npt": NPT_FIGURES}

# What the bits of "rights", high to low, grant. EPT: execute, write, read. nPT: no-execute, user, write, present; a nested
# walk is an access of a user, and who may read may execute unless that is forbidden.
RIGHTS = {
    "ept": {
        "000": "absent", "001": "R", "010": "wrong", "011": "RW",
        "100": "X", "101": "RX", "110": "wrong", "111": "RWX",
    },
    "npt": {
        "0000": "absent", "0001": "", "0010": "absent", "0011": "",
        "0100": "absent", "0101": "RX", "0110": "absent", "0111": "RWX",
        "1000": "absent", "1001": "", "1010": "absent", "1011": "",
        "1100": "absent", "1101": "R", "1110": "absent", "1111": "RW",
    },
}  # fmt: skip

# The memory types of an EPT page, by the bits of "type".
TYPES = {"000": "UC", "001": "WC", "010": None, "011": None, "100": "WT", "101": "WP", "110": "WB", "111": None}

# The exit qualification of an EPT violation: the access in bits 2:0, what the whole walk grants in bits 5:3, and that the
# guest-linear address is valid (7) and the access was to its translation (8).
EPT_ALWAYS, EPT_ACCESS, EPT_GRANTED = 0x180, {"R": 0x01, "W": 0x02, "X": 0x04}, {"R": 0x08, "W": 0x10, "X": 0x20}

# EXITINFO1 of a nested page fault: the guest's final address (32) and a user (2) always; a write (1), a fetch (4); P where no
# entry was absent; RSV.
NPT_ALWAYS, NPT_ACCESS, NPT_P, NPT_RSV = 0x1_0000_0004, {"R": 0x00, "W": 0x02, "X": 0x10}, 0x1, 0x8


class Verdict(NamedTuple):
    """What one entry comes to."""

    what: str  # "absent", "wrong", "table" or "page"
    grants: str  # of "RWX"
    address: int
    size: int  # of a page, in bytes
    accessed: int  # the entry once A is set
    dirty: int  # the entry once A and D are set


class Expected(NamedTuple):
    """What a walk comes to, the tables that are read, and the entries afterwards if marks are set (none for no marks)."""

    kind: str
    qualification: int | None
    level: int
    hpa: int | None
    pfns: list[int]
    entries: list[int]
    absent: bool  # an entry of the walk is absent


@cache
def _figure(format: str, level: int, leads_to: str, width: int) -> dict[str, tuple[int, ...]]:
    """Bits by what they are, high to low."""
    found: dict[str, tuple[int, ...]] = {}
    for part in FIGURES[format][level, leads_to].split(", "):
        where, what = part.split()
        high, _, low = where.replace("M-1", str(width - 1)).replace("M", str(width)).partition(":")
        found[what] = found.get(what, ()) + tuple(range(int(high), int(low or high) - 1, -1))
    assert sorted(bit for bits in found.values() for bit in bits) == list(range(64)), (format, level, leads_to)
    return found


def _field(entry: int, bits: tuple[int, ...]) -> str:
    """The bits of an entry as a manual writes them."""
    return "".join(str(entry >> bit & 1) for bit in bits)


def _leads_to(format: str, level: int, entry: int) -> str:
    """Whose figure is that of the entry."""
    choice = [what for of_level, what in FIGURES[format] if of_level == level]
    if len(choice) == 1:
        return choice[0]
    return "page" if entry >> 7 & 1 else "table"


@lru_cache(1 << 16)
def judge(format: str, level: int, entry: int, width: int, execute_only: bool) -> Verdict:
    """Read one entry off the tables."""
    leads_to = _leads_to(format, level, entry)
    figure = _figure(format, level, leads_to, width)
    rights = RIGHTS[format][_field(entry, figure["rights"])]
    if rights == "absent":
        return Verdict("absent", "", 0, 1, entry, entry)
    wrong = (
        rights == "wrong"
        or (rights == "X" and not execute_only)
        or "1" in _field(entry, figure.get("reserved", ()))
        or ("type" in figure and TYPES[_field(entry, figure["type"])] is None)
    )
    if wrong:
        return Verdict("wrong", "", 0, 1, entry, entry)
    address = sum(1 << bit for bit in figure["address"] if entry >> bit & 1)
    accessed = entry | sum(1 << bit for bit in figure["accessed"])
    dirty = accessed | sum(1 << bit for bit in figure.get("dirty", ()))
    return Verdict(leads_to, rights, address, 1 << min(figure["address"]), accessed, dirty)


def walk(format: str, verdicts: list[Verdict], access: str, gpa: int, root_pfn: int) -> Expected:
    """Put together what a walk comes to, from the verdicts of the entries at levels 4 to 1; it may end before the last."""
    end = next(k for k, verdict in enumerate(verdicts) if verdict.what != "table")
    walked = verdicts[: end + 1]
    last = walked[-1]
    pfns = [root_pfn] + [verdict.address >> 12 for verdict in walked[:-1]]
    if last.what == "wrong":
        if format == "ept":
            return Expected("misconfig", 0, LEVELS[end], None, pfns, [], False)
        return Expected("violation", NPT_ALWAYS | NPT_ACCESS[access] | NPT_P | NPT_RSV, LEVELS[end], None, pfns, [], False)
    denying = [level for level, verdict in zip(LEVELS, walked, strict=False) if access not in verdict.grants]
    if denying:
        if format == "ept":
            report = _qualification(access, [verdict.grants for verdict in walked])
        else:
            report = NPT_ALWAYS | NPT_ACCESS[access] | (NPT_P if last.what == "page" else 0)
        return Expected("violation", report, denying[0], None, pfns, [], last.what == "absent")
    entries = [verdict.accessed for verdict in walked[:-1]] + [last.dirty if access == "W" else last.accessed]
    return Expected("ok", None, LEVELS[end], last.address + gpa % last.size, pfns, entries, False)


def _qualification(access: str, grants: list[str]) -> int:
    everywhere = [letter for letter in "RWX" if all(letter in each for each in grants)]
    return EPT_ALWAYS | EPT_ACCESS[access] | sum(EPT_GRANTED[letter] for letter in everywhere)
