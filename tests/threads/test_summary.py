"""The oracle of the summary: a vCPU that has written finds its writes in its own next harvest, or somebody else took them.

``kernels/summary.py`` promises that where a write has returned, D is set and the table touched, or a harvest that took the
table since has seen D. Two vCPUs, each with a processor of its own, write to the same leaf tables and harvest right after it,
all or only their own pages. Whatever they wrote is

- in that harvest, or
- in another one that ended after the write began, and began before that harvest ended,

and at the end a last harvest leaves nothing. The windows of some faults are too short for calls from Python: those are raced
in compiled loops (``racing.py``), two threads at one entry, with the kernels themselves.
"""

import threading
from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count, islice, takewhile
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from npt import NPT, Prot, PteFormat, Reservoir, Vcpu, VmSpace, kernels
from npt.space.exclusion import Exclusion
from npt.testing import check
from tests.threads.crew import LONG, Crew, crew, processors
from tests.threads.edited import edited
from tests.threads.racing import before_its_own_harvest, beside_a_harvest

PAGE = 0x1000
N_TABLES, TABLE = 16, 512  # leaf tables, and pages of one
N_PAGES = N_TABLES * TABLE
EACH = 32  # pages of a table that a vCPU writes: one block of accesses, each twice
READS = 1 << 15  # most of them, before the writes of a round
ROUNDS = 600 * LONG  # of each vCPU
PATIENCE = 400  # times as many, in which a fault must show
Pages = NDArray[np.int64]
pytestmark = pytest.mark.slow
compiled = pytest.mark.skipif(kernels.jit.DISABLED or len(processors()) < 2, reason="needs compiled kernels on two processors")


class Write(NamedTuple):
    """Pages that were written, when that began, and when the harvest behind it had ended."""

    pages: Pages
    began: int
    harvested: int


class Report(NamedTuple):
    """What a harvest said, and when."""

    pages: frozenset[int]
    began: int
    ended: int
    thread: threading.Thread


def _began_before(time: int, report: Report) -> bool:
    return report.began < time


class Writers:
    """Two vCPUs; of each table some pages are one's, some the other's, next to each other."""

    def __init__(self, form: PteFormat, tlb: int, known: bool) -> None:
        self.known = known  # tables are known as touched when the writes come that count
        self.reservoir = Reservoir(N_PAGES * PAGE, backed=False)
        self.ram = self.reservoir.allocate(N_PAGES * PAGE)
        self.space = VmSpace(1 << 30, format=form, reservoir=self.reservoir, track_dirty=True)
        self.space.map(self.ram, 0, self.ram.length, Prot.RW)
        self.space.populate(0, self.ram.length)
        self.vcpus = [Vcpu(self.space.client(), cpu=n, tlb=tlb) for n in range(2)]
        for vcpu in self.vcpus:
            vcpu.run([])  # a kernel that has to be compiled is compiled here, not on CPU beside a kick
        self.clock = count()
        self.writes, self.reports = list[Write](), list[Report]()

    def harvest(self, first: int = 0, end: int = N_PAGES) -> int:
        """A harvest of some pages, filed; when it had ended."""
        began = next(self.clock)
        bitmap = self.space.track_dirty(first * PAGE, (end - first) * PAGE)
        ended = next(self.clock)
        found = first + np.flatnonzero(np.unpackbits(bitmap, count=end - first, bitorder="little"))
        self.reports.append(Report(frozenset(found.tolist()), began, ended, threading.current_thread()))
        return ended

    def work(self, number: int, rounds: int) -> Callable[[Crew], None]:
        """One vCPU's thread: write to own pages of some tables, table after table; harvest these tables, or all."""
        own = np.arange(N_TABLES)[:, None] * TABLE + np.tile(2 * np.arange(EACH) + number, 2)

        def run(team: Crew) -> None:
            rng = np.random.default_rng(number)
            for n in range(rounds):
                first, end = sorted(rng.choice(N_TABLES + 1, 2, replace=False).tolist()) if n % 4 == 0 else (0, N_TABLES)
                pages = own[first:end].reshape(-1)
                began = next(self.clock)
                self._run(number, pages, int(rng.integers(READS)))
                ended = self.harvest(first * TABLE, end * TABLE) if n % 2 else self.harvest()
                self.writes.append(Write(pages, began, ended))

        return run

    def _run(self, number: int, pages: Pages, n_reads: int) -> None:
        """Reads first, for some time: the other one is to be in the middle of its harvest when the writes begin."""
        others = pages - pages % TABLE + 2 * EACH + number if self.known else pages[:0]
        gpas = np.concatenate((np.resize(pages, n_reads), others, pages)) * PAGE
        self.vcpus[number].run(gpas, write=np.arange(gpas.size) >= n_reads)

    def rounds(self, n: int) -> int:
        """Both at it, and a last harvest; how many pages were not found in time, or are left."""
        self.writes.clear()
        self.reports.clear()
        with crew(self.work(0, n), self.work(1, n)) as team:
            for thread in team.threads:
                thread.join()
        self.harvest()
        left = int(np.count_nonzero(self.space.table.entries(1) & self.space.format.masks.dirty))
        return left + sum(self._missing(write, known) for write, known in self._with_reports())

    def _with_reports(self) -> Iterator[tuple[Write, list[Report]]]:
        """Each write with the reports that it may be in; those of one thread follow each other."""
        threads = {report.thread for report in self.reports}
        of_threads = [[report for report in self.reports if report.thread is thread] for thread in threads]
        ends = [[report.ended for report in reports] for reports in of_threads]
        for write in self.writes:
            known: list[Report] = []
            for reports, ended in zip(of_threads, ends, strict=True):
                those = islice(reports, bisect_left(ended, write.began), None)
                known += takewhile(partial(_began_before, write.harvested), those)
            yield write, known

    @staticmethod
    def _missing(write: Write, known: list[Report]) -> int:
        return len(set(write.pages.tolist()).difference(*(report.pages for report in known)))

    def close(self) -> None:
        """All is well inside."""
        check(self.space)
        self.space.close()
        self.ram.release()
        self.reservoir.close()


@contextmanager
def writers(form: PteFormat, tlb: int, known: bool) -> Iterator[Writers]:
    """A guest for it, checked and taken down."""
    made = Writers(form, tlb, known)
    yield made
    made.close()


@pytest.mark.parametrize(("tlb", "known"), [(0, False), (0, True), (64, False)])
def test_summary__a_vcpu_finds_its_own_writes(form: PteFormat, tlb: int, known: bool) -> None:
    """In its next harvest, or in one that went on meanwhile; and at the end nothing is left."""
    with writers(form, tlb, known) as made:
        assert made.rounds(ROUNDS) == 0
        assert len(made.reports) == 2 * ROUNDS + 1


def is_found(form: PteFormat, tlb: int, *, known: bool = False) -> bool:
    """Whether the oracle tells a fault that is planted, soon."""
    made = Writers(form, tlb, known)
    return any(made.rounds(ROUNDS) for _ in range(PATIENCE))


# -- wrong orders, seen by calls of Python ------------------------------------------------------------------------------

TAKE = "take(touched, tables[i])\n        n, left = _ZERO, _ZERO"
CLEAR = "        _clear_listed(leaves, places, n, np.uint64(mark), following)\n"
LATE = (TAKE, "n, left = _ZERO, _ZERO", CLEAR, CLEAR + "        take(touched, tables[i])\n")

SETTLE = "        n = _settle(levels, rules, size, marks, flip, scratch, block, n, lacking, following, found, outcome)\n"
TOUCH = "        if writes:\n            _touch(touched, takes, since, scratch, block, n, marks & rules[DIRTY])\n"
EARLY = (SETTLE + TOUCH, TOUCH + SETTLE)


@compiled
def test_summary__finds_a_vcpu_that_touches_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """A harvest takes the table before D is set in it."""
    monkeypatch.setattr(kernels.guest, "access", edited(kernels.guest, *EARLY).access)
    assert is_found(NPT, 0)


@compiled
def test_summary__finds_a_vcpu_that_does_not_look_for_takers(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it touched once is good for the whole run."""
    planted = edited(kernels.guest, "taken = not nothing_taken(takes, since)", "taken = False")
    monkeypatch.setattr(kernels.guest, "access", planted.access)
    assert is_found(NPT, 0, known=True)


@compiled
def test_summary__finds_plain_stores_beside_a_vcpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A harvest that takes stillness for granted: it writes eight entries where a vCPU sets one."""
    monkeypatch.setattr(Exclusion, "_lock_gates", lambda self: True)
    assert is_found(NPT, 64)


# -- raced in compiled loops --------------------------------------------------------------------------------------------

SETTING = "    _mark_entry(leaves, np.uint64(leaf), np.uint64(need), np.uint64(bits), _ZERO)\n"
TOUCHING = "    touch(touched, np.uint64(leaf) >> _NINE)\n"
IF_SET = SETTING.replace("    _mark", "    if _mark").replace("_ZERO)", "np.uint64(bits)):").replace("\n", "\n    ")
RACES = {race.__name__: race for race in (beside_a_harvest, before_its_own_harvest)}
MANY = 200_000  # rounds: a second or two

# Each with the race that finds it.
FAULTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "touched before D": ("beside_a_harvest", (SETTING + TOUCHING, TOUCHING + SETTING)),
    "taken after the scan": ("beside_a_harvest", LATE),
    "taken by a plain store": ("beside_a_harvest", (TAKE, TAKE.replace("take(touched, tables[i])", "touched[tables[i]] = 0"))),
    "D by a plain store": (
        "beside_a_harvest",
        ("if atomic_cas(leaves, leaf, entry, entry | bits):", "if _store(leaves, leaf, entry | bits):"),
    ),
    "touched by who sets D": ("before_its_own_harvest", (SETTING + TOUCHING, IF_SET + TOUCHING)),
}


@compiled
@pytest.mark.parametrize("race", RACES)
def test_summary__of_kernels_that_race(race: str) -> None:
    """A write is reported, or is there to be found; and who has written a page finds it."""
    assert RACES[race](kernels.dirty, MANY * LONG) == 0


@compiled
@pytest.mark.parametrize("fault", FAULTS)
def test_summary__races_find_a_wrong_order(fault: str) -> None:
    """Each is seen on a processor that lets loads pass stores, as all do."""
    race, pieces = FAULTS[fault]
    planted = edited(kernels.dirty, *pieces)
    assert any(RACES[race](planted, MANY) for _ in range(PATIENCE))
