"""The iteration oracle: rounds in which a vCPU writes the round's number, beside harvests or between them.

Theory of operation
-------------------
In round r a vCPU writes r here and there; then r + 1 to the *clock*, a page apart; then r + 1 to the same pages, one after the
other: all in one ``run``, so that it does it through translations that it has cached. The host sees the clock change and
harvests: all writes of r are done, those of r + 1 go on beside it, and there are no others. Right after the harvest the numbers
that the pages have are noted, the vCPU still writing. So for a page that harvest r

- reported, the number is r or r + 1: it was written since the last harvest;
- did not report, the number is what it was after the last harvest, or r + 1. A page that has r + 1 by then, and was not
  reported, was written behind the harvest: the next one must report it.

With the vCPU stopped for the harvest there is no r + 1, and the rule is: reported if, and only if, the number is r.
A number is a page's first word; every write of a vCPU in that page goes there. What a vCPU stores in order others see in order:
it does so on x86.
"""

import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from npt import Prot, PteFormat, RamObject, Reservoir, Vcpu, VmSpace
from npt._types import U64Array
from npt.testing import check
from tests.threads.crew import Crew, crew, together

__all__ = ["FEWEST", "FIRST", "PAGE", "WAYS", "Bools", "Rounds", "Way"]

PAGE = 0x1000
FIRST = 0x1FF000  # the last page of a leaf table: a guest of 513 pages is in three of them, or two
FEWEST = 256  # writes of a round
CLOCK = 0x4000_0000
_HALF = 1 << 15  # writes of a run to either side of the clock: the vCPU is inside for a while
Bools = NDArray[np.bool_]


class Rounds:
    """A guest, the number of the round, and what was seen."""

    def __init__(self, form: PteFormat, n_pages: int, tlb: int, seed: int = 1) -> None:
        self.n_pages, self.rng = n_pages, np.random.default_rng(seed)
        self.reservoir = Reservoir((n_pages + 1) * PAGE)
        self.ram = self.reservoir.allocate(n_pages * PAGE)
        self.space = VmSpace(1 << 40, format=form, reservoir=self.reservoir, track_dirty=True)
        self.space.map(self.ram, FIRST, self.ram.length, Prot.RW)
        self.vcpu = Vcpu(self.space.client(), tlb=tlb)
        self.clock = self.reservoir.allocate(PAGE)
        self.space.map(self.clock, CLOCK, PAGE, Prot.RW)
        self.number = 0
        self.turns: queue.SimpleQueue[int] = queue.SimpleQueue()  # rounds that the vCPU may begin
        self.before = self.numbers()
        self.owed = np.zeros(n_pages, np.bool_)  # written behind the last harvest

    def _words(self, ram: RamObject) -> U64Array:
        """The first word of each page, as it is and will be."""
        start = (ram.pfn_at(0) - self.reservoir.base_pfn) * PAGE
        return self.reservoir.buffer[start : start + ram.length].view(np.uint64)[:: PAGE // 8]

    def numbers(self) -> U64Array:
        """What the pages have, now."""
        return self._words(self.ram).copy()

    def bools(self, bitmap: NDArray[np.uint8], n_pages: int) -> Bools:
        """A bitmap, one bool a page."""
        return np.unpackbits(bitmap, count=n_pages, bitorder="little").astype(np.bool_)

    # -- the vCPU ---------------------------------------------------------------------------------------------------

    def _choose(self, number: int, n: int) -> U64Array:
        """Addresses in a third of the pages, and in none that is neither in this round nor in the next."""
        pages = self.rng.choice(self.n_pages, -(-self.n_pages // 3), replace=False)
        if self.n_pages > 1:
            pages = np.setdiff1d(pages, [number % self.n_pages, (number - 1) % self.n_pages])
        gpas: U64Array = np.uint64(FIRST) + self.rng.choice(pages, n).astype(np.uint64) * np.uint64(PAGE)
        return gpas

    def _write(self, gpas: U64Array, numbers: U64Array) -> None:
        """A guest of one page is only read in every other round, or it would always be dirty."""
        writes = np.ones(gpas.size, np.bool_) if self.n_pages > 1 else (numbers % 2 == 0) | (gpas == CLOCK)
        self.vcpu.run(gpas, write=writes, values=numbers)

    def write(self, team: Crew) -> None:
        """The vCPU's thread: a run for each round, until the crew is told to end."""
        while team.working:
            with suppress(queue.Empty):
                number = self.turns.get(timeout=0.05)
                gpas = self._choose(number, _HALF)
                numbers = np.full(2 * _HALF + 1, number, np.uint64)
                numbers[_HALF:] += np.uint64(1)
                self._write(np.concatenate((gpas, [np.uint64(CLOCK)], np.sort(gpas))), numbers)

    # -- the rules --------------------------------------------------------------------------------------------------

    def beside(self, n_rounds: int, way: "Way") -> None:
        """Rounds whose harvest the vCPU runs beside; at the end a harvest with the vCPU stopped."""
        clock = self._words(self.clock)
        with crew(self.write) as team:
            for _ in range(n_rounds):
                self.number += 1
                self.turns.put(self.number)
                while team.working and clock[0] != self.number + 1:
                    time.sleep(0)  # let it have the interpreter
                if team.working:
                    self._check_beside(self.number, way(self), self.numbers())
        assert not (self.owed & ~way(self)).any(), "written behind the last harvest, and not reported"
        self.number, self.before, self.owed = self.number + 1, self.numbers(), np.zeros(self.n_pages, np.bool_)

    def _check_beside(self, number: int, reported: Bools, numbers: U64Array) -> None:
        newer = numbers == number + 1
        assert (newer | (numbers == number))[reported].all(), "reported, and not written since the last harvest"
        assert ((numbers == self.before) | newer)[~reported].all(), "written, and not reported"
        assert not (self.owed & ~reported).any(), "written behind the last harvest, and not reported by this one"
        self._check_weight(number, reported)
        self.owed, self.before = newer & ~reported & (numbers != self.before), numbers

    def stopped(self, n_rounds: int, way: "Way") -> None:
        """Rounds whose harvest comes when the vCPU is out."""
        for _ in range(n_rounds):
            self.number += 1
            number, gpas = self.number, self._choose(self.number, FEWEST)
            together(lambda _, gpas=gpas, number=number: self._write(gpas, np.full(FEWEST, number, np.uint64)))  # type: ignore[misc]
            reported, numbers = way(self), self.numbers()
            assert ((numbers == number) == reported).all()
            self._check_weight(number, reported)
            self.before = numbers

    def _check_weight(self, number: int, reported: Bools) -> None:
        """A round proves nothing in which all pages were dirty, or none; one page is both in turns."""
        if self.n_pages > 1:
            assert reported.any()
            assert not reported.all()
        elif not number % 2:
            assert reported.all()

    def close(self) -> None:
        """All is well inside, and nothing leaked."""
        check(self.space)
        self.space.close()
        self.ram.release()
        self.clock.release()
        self.reservoir.close()


# -- ways to harvest ----------------------------------------------------------------------------------------------------

Way = Callable[[Rounds], Bools]


def _stretch(rounds: Rounds, first: int, end: int) -> Bools:
    """Harvest some of the pages."""
    found = np.zeros(rounds.n_pages, np.bool_)
    if end > first:
        bitmap = rounds.space.track_dirty(FIRST + first * PAGE, (end - first) * PAGE)
        found[first:end] = rounds.bools(bitmap, end - first)
    return found


def full(rounds: Rounds) -> Bools:
    """One harvest of all."""
    return _stretch(rounds, 0, rounds.n_pages)


def split(rounds: Rounds) -> Bools:
    """One after the other, cut at odd places, the last first."""
    n = rounds.n_pages
    cuts = sorted({0, n, *(int(cut) | 1 for cut in rounds.rng.integers(0, n, 4) if int(cut) | 1 < n)}, reverse=True)
    found = np.zeros(n, np.bool_)
    for end, first in pairwise(cuts):
        found |= _stretch(rounds, first, end)
    return found


def selected(rounds: Rounds) -> Bools:
    """Some pages, chosen at random, and then the others."""
    n = rounds.n_pages
    chosen = rounds.rng.random(n) < rounds.rng.random()
    found = np.zeros(n, np.bool_)
    for select in (chosen, ~chosen):
        bits = np.packbits(select, bitorder="little")
        bitmap = rounds.space.reset_dirty(FIRST, n * PAGE, select=bits)
        some = rounds.bools(bitmap, n)
        assert not (some & ~select).any()
        found |= some
    return found


def _two(rounds: Rounds, *stretches: tuple[int, int]) -> list[Bools]:
    found: list[Bools] = []
    start = threading.Barrier(len(stretches))

    def harvest(first: int, end: int) -> None:
        start.wait()
        found.append(_stretch(rounds, first, end))

    together(*(lambda _, cut=cut: harvest(*cut) for cut in stretches))
    return found


def two_apart(rounds: Rounds) -> Bools:
    """Two threads, each its part."""
    cut = int(rounds.rng.integers(0, rounds.n_pages)) | 1
    first, second = _two(rounds, (0, min(cut, rounds.n_pages)), (cut, rounds.n_pages))
    return first | second


def two_over_each_other(rounds: Rounds) -> Bools:
    """Two threads, each all of it: what either found counts."""
    first, second = _two(rounds, (0, rounds.n_pages), (0, rounds.n_pages))
    return first | second


WAYS: dict[str, Way] = {way.__name__: way for way in (full, split, selected, two_apart, two_over_each_other)}
