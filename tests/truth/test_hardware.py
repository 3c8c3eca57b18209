"""``hardware_walk`` against the manuals' tables, case by case; some 20 seconds of one processor, done ahead in processes.

The products are exhaustive in this sense, each for both formats, three kinds of access and pages of 4 KiB, 2 MiB and 1 GiB:

- *rights*: all rights of each entry of the walk with all rights of each other, execute-only or not;
- *single bits*: each of the 64 bits of each entry of a good walk the other way round, with all rights of that entry, for
  physical addresses of each of four widths, execute-only or not;
- *pages*: all memory types, marks and ignored low bits of the entry that maps the page, with all its rights, A and D on and
  off, execute-only or not;
- *troubles*: an entry of each kind (absent, ill-formed in several ways, each grant, page, ill-formed page) at each level with
  each kind at each other level, execute-only or not;
- *drawn*: not exhaustive; several bits of all entries at once.
"""

from itertools import product
from typing import NamedTuple

import pytest

from npt import EPT, NPT, Prot
from npt.testing.hardware import hardware_walk
from tests.ahead import Done, ahead
from tests.truth.cases import ACCESSES, GPA, GROUPS, INDEX, ROOT_PFN, WIDTHS, Walk
from tests.truth.manuals import LEVELS, Expected, judge, walk

FORMATS = {"ept": EPT, "npt": NPT}
PROTS = {"R": Prot.READ, "W": Prot.WRITE, "X": Prot.EXEC}
POISON = {"ept": 0x2, "npt": 1 << 51 | 1}  # of all other entries: ill-formed, so that whoever reads one says so


class Processor(NamedTuple):
    """What kind of processor walks."""

    width: int = 46
    execute_only: bool = True


class Group(NamedTuple):
    """How often each walk of a group is done."""

    cases: dict[str, int]  # how many there are, by format
    widths: tuple[int, ...] = (46,)
    marking: tuple[bool, ...] = (True, False)


PLAN = {
    "rights": Group({"ept": 28032, "npt": 209664}, marking=(True,)),
    "single bits": Group({"ept": 110592, "npt": 110592}, WIDTHS, (True,)),
    "pages": Group({"ept": 24576, "npt": 36864}),
    "troubles": Group({"ept": 303750, "npt": 85683}, marking=(True,)),
    "drawn": Group({"ept": 54000, "npt": 27000}),
}
EXHAUSTIVE = ("rights", "single bits", "pages", "troubles")
IN_TURN = [(name, format) for name in sorted(PLAN, key=lambda name: -PLAN[name].cases["npt"]) for format in FORMATS]


class Tables:
    """Four tables of 512 entries, one a level, and which were asked for."""

    def __init__(self, format: str) -> None:
        self.format = format
        self.tables = {level: [POISON[format]] * 512 for level in LEVELS}
        self.asked: list[int] = []

    def read(self, pfn: int) -> list[int]:
        """The next table of the walk, whatever is asked for."""
        self.asked.append(pfn)
        return self.tables[5 - len(self.asked)]

    def put(self, entries: Walk) -> None:
        """Begin with these entries."""
        for level, entry in zip(LEVELS, entries, strict=True):
            self.tables[level][INDEX[level]] = entry
        self.asked.clear()

    def entries(self) -> Walk:
        """What they have become."""
        return tuple(self.tables[level][INDEX[level]] for level in LEVELS)

    def check_others(self) -> None:
        """Nothing but the entries of the walk was written to."""
        self.put((POISON[self.format],) * 4)
        assert len(self.tables) == 4
        assert all(table == [POISON[self.format]] * 512 for table in self.tables.values())


def compare(tables: Tables, entries: Walk, processor: Processor, access: str, marking: bool, expected: Expected) -> None:
    """One case."""
    tables.put(entries)
    seen = hardware_walk(
        tables.read, ROOT_PFN, GPA, PROTS[access], format=FORMATS[tables.format], maxphyaddr=processor.width,
        execute_only=processor.execute_only, ad=marking,
    )  # fmt: skip
    told = (seen.kind.value, seen.qualification, seen.level, seen.hpa, tables.asked)
    after = (*expected.entries, *entries[len(expected.entries) :]) if marking else entries
    if told != expected[:5] or tables.entries() != after:
        shown = " ".join(f"{entry:#018x}" for entry in entries)
        raise AssertionError(f"{tables.format} {shown} {access} {processor}: {told}, not {expected}; now {tables.entries()}")


def go_through(name: str, format: str) -> int:
    """Compare all cases of a group; return how many there were."""
    tables, group, count = Tables(format), PLAN[name], 0
    processors = [Processor(*one) for one in product(group.widths, (True, False) if format == "ept" else (True,))]
    for entries, processor in product(GROUPS[name](format), processors):
        verdicts = [judge(format, level, entry, *processor) for level, entry in zip(LEVELS, entries, strict=True)]
        for access in ACCESSES:
            expected = walk(format, verdicts, access, GPA, ROOT_PFN)
            for marking in group.marking:
                compare(tables, entries, processor, access, marking, expected)
                count += 1
    tables.check_others()
    return count


@pytest.mark.slow
@pytest.mark.parametrize(("name", "format"), IN_TURN)
@ahead(go_through)
def test_hardware_walk__is_as_the_manuals_say(name: str, format: str, done: Done) -> None:
    """Kind, qualification, level, address, the tables read and the entries afterwards, in each case of a group."""
    assert done() == PLAN[name].cases[format]


def test_plan__is_half_a_million_cases() -> None:
    """The exhaustive groups alone are more than that, and each has cases of both formats."""
    assert sum(sum(PLAN[name].cases.values()) for name in EXHAUSTIVE) >= 500_000
    assert set(PLAN) == set(GROUPS)
    assert all(set(group.cases) == set(FORMATS) for group in PLAN.values())
