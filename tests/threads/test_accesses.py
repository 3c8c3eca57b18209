"""The oracle of A: ``accessed(clear=True)`` beside a vCPU that reads loses no access, and invents none.

After each call the host stores its number in every page. A vCPU reads here and there, and says what it loaded. So

- who loaded number w read after call w had returned, and before w + 1 was stored: call w + 1 reports the page, or call w + 2 if
  the read came behind the clearing of w + 1. If neither does, an access was lost.
- a page that call w reports was read behind the clearing of w - 1 and before that of w: that read loaded w - 2 or w - 1. If
  nobody did, an access was invented.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from npt import NPT, ExitReason, Prot, PteFormat, Reservoir, Vcpu, VmSpace
from npt._types import U8Array, U64Array
from npt.testing import check, without_shootdown
from tests.threads.crew import LONG, crew

PAGE = 0x1000
FIRST = 0x1FF000  # the last page of a leaf table
N_PAGES = 513
STINT = 1 << 18  # reads of each half of a run
STINTS = 6 * LONG
HOT = 32  # pages that the second half of a stint keeps to: they stay in any TLB
PATIENCE = 1000  # stints in which a fault must show
Bools = NDArray[np.bool_]
pytestmark = pytest.mark.slow


class Readings:
    """A guest that is only read, and what calls and loads said of it."""

    def __init__(self, form: PteFormat, tlb: int) -> None:
        self.rng = np.random.default_rng(4)
        self.reservoir = Reservoir(N_PAGES * PAGE)
        self.ram = self.reservoir.allocate(N_PAGES * PAGE)
        self.space = VmSpace(1 << 40, format=form, reservoir=self.reservoir, track_dirty=True)
        self.space.map(self.ram, FIRST, self.ram.length, Prot.RW)
        self.space.populate(FIRST, self.ram.length)
        self.vcpu = Vcpu(self.space.client(), tlb=tlb)
        self.vcpu.run([])  # a kernel that has to be compiled is compiled here, not on CPU beside a kick
        start = (self.ram.pfn_at(0) - self.reservoir.base_pfn) * PAGE
        self.words = self.reservoir.memory[start : start + self.ram.length].view(np.uint64)[:: PAGE // 8]
        self.number = 0  # of the last call
        self.call()  # nPT makes entries with A

    def call(self) -> Bools:
        """One call, over all of it or piece by piece."""
        self.number += 1
        cuts = [0, N_PAGES]
        if self.number % 3 == 0:
            cuts[1:1] = [int(self.rng.integers(1, N_PAGES))]
        found = np.zeros(N_PAGES, np.bool_)
        for first, end in pairwise(cuts):
            bitmap = self.space.accessed(FIRST + first * PAGE, (end - first) * PAGE, clear=True)
            found[first:end] = np.unpackbits(bitmap, count=end - first, bitorder="little")
        self.words[:] = self.number
        return found

    def stint(self) -> int:
        """Reads in a third of the pages, one page after the other, then in few of them; calls beside it. How many."""
        pages = self.rng.choice(N_PAGES, N_PAGES // 3, replace=False)
        where = np.concatenate((np.repeat(pages, STINT // pages.size), self.rng.choice(pages[:HOT], STINT)))
        loads, base = np.zeros(where.size, np.uint64), self.number
        reported = [np.zeros(N_PAGES, np.bool_)]  # by the call whose number is base
        with crew(lambda _: self._read(where, loads)) as team:
            while team.working and team.busy():
                if self.vcpu.client.gate.inside is None:
                    time.sleep(0)  # let it have the interpreter
                else:
                    reported.append(self.call())
        reported.append(self.call())
        self._check(np.array(reported), where, loads.astype(np.int64) - base)
        return len(reported) - 1

    def _check(self, reported: Bools, where: NDArray[np.int64], loads: NDArray[np.int64]) -> None:
        """Both by number, counted from that of the call before the stint, and by page."""
        loaded = np.zeros_like(reported)
        loaded[loads, where] = True
        none = np.zeros((2, N_PAGES), np.bool_)
        behind, before = np.concatenate((reported, none)), np.concatenate((none, loaded))
        assert not (loaded & ~behind[1:-1] & ~behind[2:]).any(), "read, and not reported"
        assert not (reported & ~before[:-2] & ~before[1:-1]).any(), "reported, and not read"
        assert loaded.any(axis=0).sum() == N_PAGES // 3

    def _read(self, where: NDArray[np.int64], loads: U64Array) -> None:
        exit = self.vcpu.run(np.uint64(FIRST) + where.astype(np.uint64) * np.uint64(PAGE), into=loads)
        assert exit.reason is ExitReason.DONE

    def close(self) -> None:
        """All is well inside."""
        check(self.space)
        self.space.close()
        self.ram.release()
        self.reservoir.close()


@contextmanager
def readings(form: PteFormat, tlb: int) -> Iterator[Readings]:
    """A guest for it, checked and taken down."""
    made = Readings(form, tlb)
    yield made
    made.close()


@pytest.mark.parametrize("tlb", [0, 64])
def test_accesses__are_all_reported(form: PteFormat, tlb: int) -> None:
    """What was read after a call is in the next ones; what a call reports was read since the one before."""
    with readings(form, tlb) as made:
        assert sum(made.stint() for _ in range(STINTS)) > 2 * STINTS


def stints_until_it_fails(made: Readings) -> None:
    """That it does is what the oracle is for."""
    for _ in range(PATIENCE):
        made.stint()


def test_accesses__without_shootdown_are_lost() -> None:
    """Translations that stay cached set no A."""
    with readings(NPT, 64) as made, without_shootdown(made.space), pytest.raises(AssertionError, match="not reported"):
        stints_until_it_fails(made)


def test_accesses__find_a_call_in_two_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look and then a clear: what came in between is lost."""
    accessed = VmSpace.accessed

    def in_two_steps(space: VmSpace, gpa: int, length: int, *, clear: bool) -> U8Array:
        found = accessed(space, gpa, length)
        accessed(space, gpa, length, clear=clear)
        return found

    with readings(NPT, 0) as made:
        monkeypatch.setattr(VmSpace, "accessed", in_two_steps)
        with pytest.raises(AssertionError, match="not reported"):
            stints_until_it_fails(made)


def test_accesses__find_bits_that_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that clears nothing reports what was read long ago."""
    accessed = VmSpace.accessed
    with readings(NPT, 0) as made:
        monkeypatch.setattr(VmSpace, "accessed", lambda space, gpa, length, clear: accessed(space, gpa, length))
        with pytest.raises(AssertionError, match="not read"):
            stints_until_it_fails(made)
