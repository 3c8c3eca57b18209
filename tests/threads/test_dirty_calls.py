"""Every dirty call beside a vCPU that runs: nothing lost, nothing invented, and with ``select`` only what is selected.

- The iteration oracle (``rounds.py``) with more ways to harvest: into a bitmap that is kept, over ranges wider than the guest,
  by a look and then a selected reset, put back and taken again, in KVM's granules.
- Marks are *conserved*: each bit that ``set_dirty`` says it set is reported by exactly one harvest of another thread.
- ``peek_dirty`` and ``resident`` are *bracketed*: what was written before the call is in the result, what had not been written
  after it is not.

Each oracle is shown to fail with a fault planted in what it watches. The oracle of A is in ``test_accesses.py``.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from npt import NPT, Prot, PteFormat, Reservoir, Vcpu, VmSpace
from npt._types import U8Array
from npt.dirty.kvm import KvmDirtyLog, from_words
from npt.space.dirtycalls import DirtyCalls
from npt.testing import check
from tests.threads.crew import LONG, Crew, crew
from tests.threads.rounds import FIRST, PAGE, Bools, Rounds, Way

pytestmark = pytest.mark.slow


# -- more ways to harvest -----------------------------------------------------------------------------------------------


def packed(pages: Bools) -> U8Array:
    """Bools as a bitmap."""
    return np.packbits(pages, bitorder="little")


def into_one(rounds: Rounds) -> Bools:
    """Piece after piece ORed into one bitmap, that is longer than it need be and keeps what it had."""
    n, found = rounds.n_pages, np.zeros(rounds.n_pages, np.bool_)
    cuts = [0, *sorted({int(cut) & ~7 for cut in rounds.rng.integers(0, n, 3)} - {0}), n]
    for first, end in pairwise(cuts):
        into = np.zeros(-(-(end - first) // 8) + 1, np.uint8)
        into[-1] = 0xA5
        for _ in range(2):  # the second harvest of a piece finds what was written meanwhile, and keeps what the first one found
            assert rounds.space.track_dirty(FIRST + first * PAGE, (end - first) * PAGE, into=into) is into
        assert into[-1] == 0xA5
        found[first:end] = rounds.bools(into, end - first)
    return found


def wide(rounds: Rounds) -> Bools:
    """A range that begins and ends in holes, at odd places."""
    before, after = (int(k) for k in rounds.rng.integers(1, 480, 2))
    length = before + rounds.n_pages + after
    found = rounds.bools(rounds.space.track_dirty(FIRST - before * PAGE, length * PAGE), length)
    assert not found[:before].any()
    assert not found[before + rounds.n_pages :].any()
    return found[before : before + rounds.n_pages]


def looked_at(rounds: Rounds) -> Bools:
    """What a look found is reset, all of it: nobody else takes bits. Then the rest."""
    n, space = rounds.n_pages, rounds.space
    chosen = rounds.rng.random(n) < 0.8
    seen = space.peek_dirty(FIRST, n * PAGE, select=packed(chosen))
    assert not (rounds.bools(seen, n) & ~chosen).any()
    taken = space.reset_dirty(FIRST, n * PAGE, select=seen)
    assert np.array_equal(taken, seen)
    return rounds.bools(taken | space.reset_dirty(FIRST, n * PAGE), n)


def put_back(rounds: Rounds) -> Bools:
    """Taken, some of it put back, and taken again: what was put back is there."""
    n, space = rounds.n_pages, rounds.space
    taken = rounds.bools(space.track_dirty(FIRST, n * PAGE), n)
    some = taken & (rounds.rng.random(n) < 0.5)
    became = rounds.bools(space.set_dirty(FIRST, n * PAGE, select=packed(some)), n)
    assert not (became & ~some).any()
    again = rounds.bools(space.track_dirty(FIRST, n * PAGE), n)
    return again | (taken & ~some)


def accessed_too(rounds: Rounds) -> Bools:
    """With A cleared before and after, which is nothing to D."""
    n, space = rounds.n_pages, rounds.space
    space.accessed(FIRST, n * PAGE, clear=True)
    found = space.track_dirty(FIRST, n * PAGE)
    space.accessed(FIRST, n * PAGE, clear=True)
    return rounds.bools(found, n)


def by_kvm(rounds: Rounds) -> Bools:
    """Got, and cleared granule by granule; what came in between is got by a log that clears."""
    n, space = rounds.n_pages, rounds.space
    log, found = KvmDirtyLog(space, FIRST, n * PAGE, manual=True), np.zeros(n, np.bool_)
    words = log.get()
    for first in range(0, n, 64):
        log.clear(first, min(64, n - first), words[first // 64 :])
    for some in (words, KvmDirtyLog(space, FIRST, n * PAGE).get()):
        found |= rounds.bools(from_words(some, n), n)
    return found


MORE: dict[str, Way] = {way.__name__: way for way in (into_one, wide, looked_at, put_back, accessed_too, by_kvm)}


@contextmanager
def rounds(form: PteFormat, n_pages: int, tlb: int) -> Iterator[Rounds]:
    """A guest for it, checked and taken down."""
    made = Rounds(form, n_pages, tlb)
    yield made
    made.close()


@pytest.mark.parametrize("way", MORE)
@pytest.mark.parametrize("tlb", [0, 64])
@pytest.mark.parametrize("n_pages", [65, 513])
def test_harvests__beside_a_vcpu(form: PteFormat, n_pages: int, tlb: int, way: str) -> None:
    """Reported: this round's number or the next; not reported: that of the last harvest, or the next and reported then."""
    with rounds(form, n_pages, tlb) as made:
        made.beside(10 * LONG, MORE[way])
        made.stopped(4 * LONG, MORE[way])


def fails(way: str, n_pages: int, *, stopped: bool = False) -> None:
    """The oracle tells a fault by this way, soon."""
    with rounds(NPT, n_pages, 64) as made, pytest.raises(AssertionError):
        made.stopped(40, MORE[way]) if stopped else made.beside(20_000, MORE[way])


def test_harvests__find_a_bitmap_that_is_overwritten(monkeypatch: pytest.MonkeyPatch) -> None:
    """``into`` assigned instead of ORed loses what it had."""
    track = VmSpace.track_dirty

    def overwrite(space: VmSpace, gpa: int, length: int, *, into: U8Array) -> U8Array:
        found = track(space, gpa, length)
        into[: found.size] = found
        return into

    monkeypatch.setattr(VmSpace, "track_dirty", overwrite)
    fails("into_one", 65, stopped=True)


def test_harvests__find_bits_that_are_not_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ``set_dirty`` that does nothing."""
    monkeypatch.setattr(VmSpace, "set_dirty", lambda space, gpa, length, select: np.zeros_like(select))
    fails("put_back", 65, stopped=True)


def test_harvests__find_a_selection_that_is_not_heeded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reset that takes more than it is told to, and tells what was selected."""
    reset = VmSpace.reset_dirty

    def all_of_it(space: VmSpace, gpa: int, length: int, *, select: U8Array | None = None) -> U8Array:
        found = reset(space, gpa, length)
        return found if select is None else found & select

    monkeypatch.setattr(VmSpace, "reset_dirty", all_of_it)
    fails("looked_at", 513, stopped=True)


def test_harvests__find_a_clear_of_a_that_takes_d(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both marks are in one entry."""
    accessed = VmSpace.accessed

    def both(space: VmSpace, gpa: int, length: int, *, clear: bool) -> U8Array:
        DirtyCalls.track_dirty(space, gpa, length)
        return accessed(space, gpa, length, clear=clear)

    monkeypatch.setattr(VmSpace, "accessed", both)
    fails("accessed_too", 65)


# -- set_dirty beside harvests ------------------------------------------------------------------------------------------

N_PAGES = 1537  # from the last page of a leaf table on
LENGTH = N_PAGES * PAGE
TIMES = 150 * LONG  # that bits are set, and harvested, at least


def counted(bitmap: U8Array, n_pages: int = N_PAGES) -> NDArray[np.int64]:
    """A bitmap as counts, one a page."""
    return np.unpackbits(bitmap, count=n_pages, bitorder="little").astype(np.int64)


def conserve(form: PteFormat, tlb: int) -> None:
    """Pages 0, 3, 6... are set dirty by a thread, 1, 4, 7... are written by a vCPU, 2, 5, 8... by nobody.

    A third thread harvests, puts back half of what it took as one whose copy failed, and harvests on.
    """
    with (
        Reservoir(LENGTH, backed=False) as reservoir,
        reservoir.allocate(LENGTH) as ram,
        VmSpace(1 << 40, format=form, reservoir=reservoir, track_dirty=True) as space,
    ):
        space.map(ram, FIRST, LENGTH, Prot.RW)
        vcpu, kind = Vcpu(space.client(), tlb=tlb), np.arange(N_PAGES) % 3
        was_set, put_back, reported = (np.zeros(N_PAGES, np.int64) for _ in range(3))  # of each only one thread counts
        done = [0, 0]  # sets, harvests
        gpas = np.resize(FIRST + np.flatnonzero(kind == 1) * PAGE, 1 << 15)

        def set_some(team: Crew) -> None:
            rng = np.random.default_rng(1)
            while team.working:
                select = packed((kind == 0) & (rng.random(N_PAGES) < rng.random()))
                first = int(rng.integers(0, 64)) * 8
                found = space.set_dirty(FIRST + first * PAGE, LENGTH - first * PAGE, select=select[first // 8 :])
                was_set[first:] += counted(found, N_PAGES - first)
                done[0] += 1

        def write(team: Crew) -> None:
            while team.working:
                vcpu.run(gpas, write=True)

        vcpu.run(gpas, write=True)
        rng = np.random.default_rng(2)
        with crew(set_some, write) as team:
            while team.working and min(done) < TIMES:
                found = space.track_dirty(FIRST, LENGTH)
                reported += counted(found)
                some = found & packed(rng.random(N_PAGES) < 0.5)
                put_back += counted(space.set_dirty(FIRST, LENGTH, select=some))
                done[1] += 1
        reported += counted(space.track_dirty(FIRST, LENGTH))
        assert np.array_equal(reported[kind == 0], (was_set + put_back)[kind == 0]), "marks were lost, or told twice"
        assert not reported[kind == 2].any(), "nobody touched these"
        assert (reported[kind == 1] >= np.maximum(put_back[kind == 1], 1)).all()
        assert min(was_set.sum(), put_back.sum()) > N_PAGES
        assert space.resident_count == int((was_set > 0).sum() + (kind == 1).sum())
        check(space)


@pytest.mark.parametrize("tlb", [0, 64])
def test_set_dirty__beside_harvests(form: PteFormat, tlb: int) -> None:
    """Each bit that became set is reported by exactly one harvest; pages that nobody chose or wrote never are."""
    conserve(form, tlb)


def test_set_dirty__finds_a_harvest_in_two_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look and then a clear of everything: what came in between is lost."""

    def harvest(space: VmSpace, gpa: int, length: int) -> U8Array:
        found = space.peek_dirty(gpa, length)
        for _ in range(10):
            time.sleep(0)  # let the other thread have the interpreter
        space.reset_dirty(gpa, length)
        return found

    monkeypatch.setattr(VmSpace, "track_dirty", harvest)
    with pytest.raises(AssertionError, match="lost"):
        conserve(NPT, 64)


def test_set_dirty__finds_bits_told_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ``set_dirty`` that tells what was dirty already."""
    real = VmSpace.set_dirty

    def tell_all(space: VmSpace, gpa: int, length: int, *, select: U8Array) -> U8Array:
        return real(space, gpa, length, select=select) | select

    monkeypatch.setattr(VmSpace, "set_dirty", tell_all)
    with pytest.raises(AssertionError, match="told twice"):
        conserve(NPT, 64)


# -- looks, bracketed ---------------------------------------------------------------------------------------------------

MANY, EACH = 4099, 64  # pages, and how often a vCPU writes to each before it goes on: one run takes some milliseconds
LOOKS = {"peek_dirty": 12 * LONG, "resident": 3 * LONG}  # runs; faults make one last


class Brackets:
    """A vCPU writes page after page; the host looks, and knows what had been written before and after."""

    def __init__(self, form: PteFormat, tlb: int) -> None:
        self.reservoir = Reservoir(MANY * PAGE)
        self.ram = self.reservoir.allocate(MANY * PAGE)
        self.space = VmSpace(1 << 40, format=form, reservoir=self.reservoir, track_dirty=True)
        self.vcpu = Vcpu(self.space.client(), tlb=tlb)
        start = (self.ram.pfn_at(0) - self.reservoir.base_pfn) * PAGE
        self.words = self.reservoir.buffer[start : start + self.ram.length].view(np.uint64)[:: PAGE // 8]
        self.gpas = FIRST + np.repeat(np.arange(MANY), EACH) * PAGE
        self.map()

    def map(self) -> None:
        """None is resident."""
        self.space.map(self.ram, FIRST, MANY * PAGE, Prot.RW)

    def unmap(self) -> None:
        """For the next run."""
        self.space.unmap(FIRST, MANY * PAGE)

    def run(self, number: int, look: Callable[[], Bools], among: Bools | None = None) -> int:
        """One run; looks beside it, each among some of the pages. How many saw a part of it."""
        chosen, parts = np.ones(MANY, np.bool_) if among is None else among, 0
        with crew(lambda _: self.vcpu.run(self.gpas, write=True, values=np.full(self.gpas.size, number, np.uint64))) as team:
            while team.working and team.busy():
                before = self.words == number
                seen = look()
                n_after = int((self.words == number).sum())
                assert not (before & chosen & ~seen).any(), "written before the look, and not seen"
                assert not seen[n_after + 2 :].any(), "seen, and not even begun"  # marks come before the bytes
                assert not (seen & ~chosen).any(), "seen, and not selected"
                parts += 0 < n_after < MANY
        assert np.array_equal(look(), chosen)
        return parts

    def close(self) -> None:
        """All is well inside."""
        check(self.space)
        self.space.close()
        self.ram.release()
        self.reservoir.close()


@contextmanager
def brackets(form: PteFormat, tlb: int) -> Iterator[Brackets]:
    """A guest for it, checked and taken down."""
    made = Brackets(form, tlb)
    yield made
    made.close()


def looks(made: Brackets, call: str) -> None:
    """Runs with looks beside them, by one call."""
    space, rng, parts = made.space, np.random.default_rng(3), 0
    for number in range(1, LOOKS[call] + 1):
        among = rng.random(MANY) < 0.7 if call == "peek_dirty" and number % 2 else None
        argument = {} if among is None else {"select": packed(among)}

        def look(argument: dict[str, U8Array] = argument) -> Bools:
            found = getattr(space, call)(FIRST, MANY * PAGE, **argument)
            return np.unpackbits(found, count=MANY, bitorder="little").astype(np.bool_)

        if call == "peek_dirty":  # without faults
            space.populate(FIRST, MANY * PAGE)
        parts += made.run(number, look, among)
        made.unmap()
        made.map()
    assert parts >= LOOKS[call]


@pytest.mark.parametrize("call", ["peek_dirty", "resident"])
@pytest.mark.parametrize("tlb", [0, 64])
def test_looks__beside_a_vcpu(form: PteFormat, tlb: int, call: str) -> None:
    """What was written before the look is in it, what comes later is not, and what was not selected never."""
    with brackets(form, tlb) as made:
        looks(made, call)


@pytest.mark.parametrize("call", ["peek_dirty", "resident"])
@pytest.mark.parametrize("fault", ["early", "late"])
def test_looks__find_a_look_that_is_out_of_date(monkeypatch: pytest.MonkeyPatch, call: str, fault: str) -> None:
    """The result of the look before, and one that is a few pages ahead."""
    real, kept = getattr(VmSpace, call), list[U8Array]()

    def look(space: VmSpace, gpa: int, length: int, **argument: U8Array) -> U8Array:
        found: U8Array = real(space, gpa, length, **argument)
        kept.append(found)
        if fault == "early":
            return kept[max(len(kept) - 2, 0)]
        ahead: U8Array = np.roll(found, 1)
        return found | ahead

    monkeypatch.setattr(VmSpace, call, look)
    with brackets(NPT, 0) as made, pytest.raises(AssertionError):
        looks(made, call)
