"""Everything at once, for as long as is asked: guests that are written to, copied and churned, studies, and fuzzing.

Theory of operation
-------------------
Time goes by in shifts of some seconds. During a shift run, side by side: two guests, one in each format, each with a vCPU
that writes without a pause, a thread that maps, holds, writes and unmaps, and a migration by its dirty log; a thread that
migrates other guests under every policy; and one that makes random calls of the engine and the oracle. After each shift all of
them rest: then each copy is compared with its guest, their insides are checked, and the process's memory is looked at.

Guarantees: what fails in any of them ends the soak and is raised; the numbers so far are kept.
"""

import gc
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from itertools import count, cycle

from npt import EPT, NPT, Vcpu
from npt.studies import POLICIES, compare_policies, writer
from npt.testing import check, fuzz
from tests.threads.crew import Crew, crew
from tests.threads.migration import STINT, Migration, addresses

__all__ = ["SHIFT", "Report", "soak"]

SHIFT = 15.0  # seconds
WARM = 4  # shifts until memory is what it will be
GROWTH = 64 << 20  # bytes that it may grow by after that
_TLBS = {"EPT": 64, "NPT": 2048}
_FUZZED = 500  # calls in one go


@dataclass
class Report:
    """What was done; ``lost`` and ``differences`` of a soak that has ended are zero, else it would have raised."""

    seconds: float = 0
    shifts: int = 0
    checks: int = 0
    written: int = 0
    harvests: int = 0
    kicks: int = 0
    pages_copied: int = 0
    unmaps: int = 0
    pages_lost: int = 0
    migrations: int = 0
    fuzzed_calls: int = 0
    fuzzed_facts: int = 0
    memory: list[int] = field(default_factory=list)  # bytes, after each shift

    def __str__(self) -> str:
        told = {name: value for name, value in asdict(self).items() if name != "memory"}
        grown = (self.memory[-1] - self.memory[min(WARM, len(self.memory)) - 1]) >> 20 if self.memory else 0
        numbers = ", ".join(f"{name.replace('_', ' ')} {value:,.0f}" for name, value in told.items())
        return f"{numbers}, memory {self.memory[-1] >> 20 if self.memory else 0} MiB (grown by {grown} MiB since shift {WARM})"


class _Soaked:
    """One guest, its vCPU and its copy."""

    def __init__(self, format: str, seed: int) -> None:
        self.guest = Migration({"EPT": EPT, "NPT": NPT}[format], seed)
        self.vcpu = Vcpu(self.guest.space.client(), tlb=_TLBS[format])
        self._patterns = cycle(("random", "zipf"))

    def write(self, until: Callable[[], bool]) -> None:
        """Stint after stint."""
        while until():
            self.guest.write(self.vcpu, addresses(next(self._patterns), self.guest.rng, touches=True))
            self.guest.written += STINT

    def migrate(self, until: Callable[[], bool]) -> None:
        """Copy what is reported, while the vCPU is inside."""
        while until():
            if self.vcpu.client.gate.inside is None:
                time.sleep(0)
            else:
                self.guest.harvest()

    def settle(self) -> None:
        """At rest: what is left of the log is copied; then copy and guest are equal, and all is well inside."""
        self.guest.harvest()
        lost = self.guest.compare()
        assert lost == 0, f"{lost} pages were lost"
        check(self.guest.space)


def soak(
    seconds: float, *, seed: int = 0, shift: float = SHIFT, progress: Callable[[Report], object] = lambda _: None
) -> Report:
    """Run all of it for a time.

    Parameters
    ----------
    seconds
        How long; the shift that is under way then is ended.
    seed
        Of the guests' addresses and of the random calls. Which thread runs when is not repeatable.
    shift
        Seconds between two rests.
    progress
        Called with the report after each shift; what it raises ends the soak.

    Raises
    ------
    AssertionError
        Something was lost, differs, is not well inside, or memory grows.
    """
    report, begun, seeds = Report(), time.monotonic(), count(seed * 1_000_000)
    with _guests(seed) as guests:
        while report.seconds < seconds:
            _work(guests, min(shift, seconds - report.seconds), report, seeds)
            _rest(guests, report)
            report.seconds = time.monotonic() - begun
            progress(report)
    return report


@contextmanager
def _guests(seed: int) -> Iterator[list[_Soaked]]:
    with ExitStack() as stack:
        guests = [_Soaked(format, seed + n) for n, format in enumerate(_TLBS)]
        for soaked in guests:
            stack.callback(soaked.guest.close)
        yield guests


def _work(guests: list[_Soaked], seconds: float, report: Report, seeds: Iterator[int]) -> None:
    """One shift."""
    until = time.monotonic() + seconds
    works: list[Callable[[Crew], object]] = []
    for soaked in guests:
        works += [lambda team, one=soaked: one.write(_until(team, until)), soaked.guest.churn]  # type: ignore[misc]
        works += [lambda team, one=soaked: one.migrate(_until(team, until))]  # type: ignore[misc]
    works += [lambda team: _study(_until(team, until), report), lambda team: _fuzz(_until(team, until), report, seeds)]
    with crew(*works) as team:
        while team.working and time.monotonic() < until:
            threading.Event().wait(0.05)


def _until(team: Crew, end: float) -> Callable[[], bool]:
    return lambda: team.working and time.monotonic() < end


def _study(going: Callable[[], bool], report: Report) -> None:
    """Other guests, moved under every policy; each target is compared with its source as it arrives."""
    while going():
        for policy in POLICIES:
            if going():
                compare_policies(writer("zipf:size=1MiB"), [policy], dirty_rate=1 << 26, bandwidth=1 << 28, max_rounds=20)
                report.migrations += 1


def _fuzz(going: Callable[[], bool], report: Report, seeds: Iterator[int]) -> None:
    """Random calls of the engine and the oracle."""
    while going():
        for format in _TLBS:
            fuzzed = fuzz(format, operations=_FUZZED, seed=next(seeds))
            report.fuzzed_calls += fuzzed.calls
            report.fuzzed_facts += fuzzed.facts


def _rest(guests: list[_Soaked], report: Report) -> None:
    """All threads are out: look at everything."""
    for soaked in guests:
        soaked.settle()
    gc.collect()
    report.shifts += 1
    report.checks += len(guests)
    report.written = sum(one.guest.written for one in guests)
    report.harvests = sum(one.guest.rounds for one in guests)
    report.kicks = sum(one.guest.space.counters.kicks for one in guests)
    report.pages_copied = sum(one.guest.copied for one in guests)
    report.unmaps = sum(one.guest.churned for one in guests)
    report.pages_lost = sum(one.guest.lost for one in guests)
    report.memory.append(resident())
    grown = report.memory[-1] - report.memory[min(WARM, report.shifts) - 1]
    assert grown <= GROWTH, f"memory grew by {grown >> 20} MiB in {report.shifts - WARM} shifts"


def resident() -> int:
    """Bytes of this process that are in memory; 0 where that is not known."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")
    except OSError:
        return 0
