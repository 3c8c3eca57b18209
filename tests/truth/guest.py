"""A guest of 512 pages whose entries are written by hand, and what a vCPU of the engine makes of them, case by case."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from npt import ExitReason, FaultCode, Prot, PteFormat, Reservoir, Vcpu, VmClient, VmSpace
from npt.testing import check
from tests.truth.cases import ACCESSES
from tests.truth.manuals import LEVELS, Expected, Verdict, judge, walk

__all__ = ["FIRST", "PAGE", "PAGES", "Case", "Guest", "compare", "guest"]

PAGE, PAGES = 0x1000, 512
SIZE = 1 << 47
FIRST = 0x2AB_7EE0_0000  # of the guest's only leaf table: at each level above, an entry of its own
WORD = 0x9A8  # where in a page is said which it is
PREFIX = 4  # accesses that are fine before one that is not
WIDTH = 46
NOTHING = 2**64 - 1  # what stands where nothing was loaded


class Case(NamedTuple):
    """An access to a page."""

    page: int
    access: str

    @property
    def gpa(self) -> int:
        return FIRST + self.page * PAGE + WORD


class Guest:
    """A space with one leaf table; its client; where its entries are."""

    def __init__(self, space: VmSpace) -> None:
        self.space, self.format = space, space.format.name
        self.root_pfn = space.table_root >> 12
        self.entries: dict[int, NDArray[np.uint64]] = {}
        pfn = self.root_pfn
        for level in LEVELS[:3]:
            index = FIRST >> 3 + 9 * level & 511
            self.entries[level] = space.table.read_table(pfn)[index : index + 1]
            pfn = (int(self.entries[level][0]) & (1 << 52) - (1 << 12)) >> 12
        self.leaves = space.table.read_table(pfn)
        self.client: VmClient = space.client()
        self.frames = [int(entry) & (1 << 52) - (1 << 12) for entry in self.leaves]
        self.addresses = {level: int(entry[0]) & (1 << 52) - (1 << 12) for level, entry in self.entries.items()}

    def put(self, directories: Sequence[int], leaves: Sequence[int]) -> list[list[Expected]]:
        """Write entries without their addresses, which stay; what is then expected of each page and each access.

        Leaves that are not given are zero.
        """
        above = [self.addresses[level] | bits for level, bits in zip(LEVELS[:3], directories, strict=True)]
        for level, entry in zip(LEVELS[:3], above, strict=True):
            self.entries[level][0] = entry
        n = len(leaves)
        self.leaves[n:] = 0
        self.leaves[:n] = np.array(leaves, np.uint64) | np.array(self.frames[:n], np.uint64)
        over = [judge(self.format, level, entry, WIDTH, True) for level, entry in zip(LEVELS[:3], above, strict=True)]
        assert "wrong" not in {verdict.what for verdict in over}
        return [self._expected(over, page) for page in range(n)]

    def _expected(self, over: list[Verdict], page: int) -> list[Expected]:
        leaf = judge(self.format, 1, int(self.leaves[page]), WIDTH, True)
        assert leaf.what != "wrong"
        return [walk(self.format, [*over, leaf], access, Case(page, access).gpa, self.root_pfn) for access in ACCESSES]

    def step(self, vcpu: Vcpu, cases: Sequence[Case], into: NDArray[np.uint64]) -> tuple[object, ...]:
        """What a vCPU says of some accesses, in one call."""
        gpas = np.array([case.gpa for case in cases], np.uint64)
        write = np.array([case.access == "W" for case in cases], np.bool_)
        execute = np.array([case.access == "X" for case in cases], np.bool_)
        exit = vcpu.step(gpas, write=write, execute=execute, into=into[: len(cases)])
        return exit.reason, exit.completed, exit.gpa, exit.code, exit.qualification

    def restore(self, entries: dict[int, int], leaves: NDArray[np.uint64]) -> None:
        """Write back what the engine wrote."""
        self.leaves[:] = leaves
        for level, entry in entries.items():
            self.entries[level][0] = entry

    def directories(self) -> list[int]:
        """The entries above the leaves."""
        return [int(entry[0]) for entry in self.entries.values()]


@contextmanager
def guest(form: PteFormat, *, tracking: bool) -> Iterator[Guest]:
    """Page k says so in one of its words. At the end the entries are as they were, and all is well."""
    with Reservoir(PAGES * PAGE) as reservoir, VmSpace(SIZE, format=form, reservoir=reservoir, track_dirty=tracking) as space:
        with reservoir.allocate(PAGES * PAGE) as ram:
            space.map(ram, FIRST, PAGES * PAGE, Prot.RWX)
        space.populate(FIRST, PAGES * PAGE)
        made = Guest(space)
        for page in range(PAGES):
            made.client.write(FIRST + page * PAGE + WORD, page.to_bytes(8, "little"))
        entries, leaves = {level: int(entry[0]) for level, entry in made.entries.items()}, made.leaves.copy()
        try:
            yield made
        finally:
            made.restore(entries, leaves)
        check(space)


def compare(guest: Guest, vcpu: Vcpu, expected: list[list[Expected]], marks: bool) -> int:
    """All pages, all accesses: those that are fine in one call, then each other behind some of them; return how many."""
    cases = {Case(page, access): one[k] for page, one in enumerate(expected) for k, access in enumerate(ACCESSES)}
    fine = [case for case, one in cases.items() if one.kind == "ok"]
    directories, after = guest.directories(), guest.leaves.copy()
    for case in fine if marks else []:
        after[case.page] |= np.uint64(cases[case].entries[-1])
    loads = np.full(len(fine) + 1, NOTHING, np.uint64)
    assert guest.step(vcpu, fine, loads) == (ExitReason.DONE, len(fine), None, None, None), directories
    assert loads[: len(fine)].tolist() == [case.page if case.access == "R" else NOTHING for case in fine], (
        "bytes of another page"
    )
    np.testing.assert_array_equal(guest.leaves, after, "entries after what is fine")
    for case, one in cases.items():
        if one.kind != "ok":
            said = guest.step(vcpu, [*fine[:PREFIX], case], loads)
            code = FaultCode.NOMAP if one.absent else FaultCode.PROT
            wanted = (ExitReason.FAULT, min(PREFIX, len(fine)), case.gpa, code, one.qualification)
            assert said == wanted, (case, f"{int(guest.leaves[case.page]):#x}", directories)
    np.testing.assert_array_equal(guest.leaves, after, "entries after what is refused")
    assert guest.directories() == directories
    return len(cases)
