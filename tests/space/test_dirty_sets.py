"""Every dirty call against plain Python sets: any range, any selection, any order, over holes, mappings and leaf tables."""

from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from npt import EPT, NPT, MmioObject, Prot, PteFormat, Reservoir, TrackingDisabled, Vcpu, VmSpace
from npt._types import U8Array
from npt.testing import check
from tests.space.scene import GIB, PAGE, bits

START = GIB - 600 * PAGE  # leaf tables begin at pages 88, 600, 1112 and 1624; 600 is also the border of 1 GiB
N = 1800
TABLES = (88, 600, 1112, 1624)
# First page, pages, protection. Between 1100 and 1630 there is a leaf table that does not exist.
MAPPINGS = (
    (3, 90, Prot.RW), (93, 5, Prot.READ), (98, 422, Prot.RWX), (530, 570, Prot.RW), (1630, 70, Prot.RX), (1700, 50, Prot.RW),
)  # fmt: skip
DEVICE = (1760, 4)
COMES_AND_GOES = MAPPINGS[3]
BORDERS = sorted({0, N, *TABLES, *(edge for first, n, _ in MAPPINGS for edge in (first, first + n)), *DEVICE})


def _around(borders: list[int], most: int) -> st.SearchStrategy[int]:
    return st.builds(lambda border, k: min(max(border + k, 0), N - 1), st.sampled_from(borders), st.integers(-most, most))


WORDS = list(range(24, N, 64))  # where a word of a leaf table's bitmap begins
pages = st.one_of(_around(BORDERS, 9), _around(WORDS, 1), st.integers(0, N - 1))
ranges = st.one_of(
    st.builds(lambda a, b: (min(a, b), abs(a - b) + 1), pages, pages),
    st.builds(lambda first, n: (first, min(n, N - first)), pages, st.sampled_from([1, 7, 8, 9, 63, 64, 65, 511, 512, 513, N])),
)
seeds = st.integers(0, 2**32 - 1)
selections = st.one_of(st.none(), st.sampled_from([0x00, 0xFF, 0x55, 0xAA, 0x80, 0x01]), seeds.map(lambda seed: seed + 0x100))


def a_bitmap(kind: int, n_pages: int) -> U8Array:
    """One of the byte, or a random one; a byte longer than it need be, and strided."""
    n = -(-n_pages // 8) + 1
    if kind < 0x100:
        return np.full(2 * n, kind, np.uint8)[::2]
    return np.random.default_rng(kind).integers(0, 256, n, np.uint8)


def _pages(bitmap: U8Array, first: int) -> set[int]:
    return {first + k for k in bits(bitmap)}


class DirtyMachine(RuleBasedStateMachine):
    """Sets of pages that are resident, accessed and dirty; pages are numbers from ``START``."""

    form: PteFormat

    @initialize(tlb=st.sampled_from([0, 8]))
    def make(self, tlb: int) -> None:
        self.reservoir = Reservoir(N * PAGE, backed=False)
        self.ram = self.reservoir.allocate(N * PAGE)
        self.space = VmSpace(2 * GIB, format=self.form, reservoir=self.reservoir, track_dirty=True)
        self.tracking, self.generation = True, 1
        self.writable: set[int] = set()
        self.readable: set[int] = set()
        self.resident: set[int] = set()
        self.accessed: set[int] = set()
        self.dirty: set[int] = set()
        for first, n, prot in MAPPINGS:
            self._map(first, n, prot)
        self.mmio = MmioObject(DEVICE[1] * PAGE, 0xFE00_0000)
        self.space.map(self.mmio, START + DEVICE[0] * PAGE, self.mmio.length, Prot.RW)
        device = set(range(DEVICE[0], sum(DEVICE)))
        self.writable |= device
        self.readable |= device
        self.client = self.space.client()
        self.vcpu = Vcpu(self.client, tlb=tlb)

    def _map(self, first: int, n: int, prot: Prot) -> None:
        self.space.map(self.ram, START + first * PAGE, n * PAGE, prot, first * PAGE)
        pages = set(range(first, first + n))
        self.readable |= pages
        self.writable |= pages if prot & Prot.WRITE else set()

    # -- what the sets say ------------------------------------------------------------------------------------------

    def _install(self, pages: set[int]) -> None:
        if self.form is NPT:
            self.accessed |= pages - self.resident  # a fresh leaf has A
        self.resident |= pages

    def _mark(self, pages: set[int], *, write: bool) -> None:
        self.accessed |= pages
        self.dirty |= pages if write else set()

    def _result(self, found: U8Array, first: int, n: int, expected: set[int]) -> None:
        """The shape, the bits, and no bit past the end."""
        assert (str(found.dtype), found.shape) == ("uint8", (-(-n // 8),))
        assert _pages(found, first) == expected

    def _chosen(self, first: int, n: int, kind: int | None) -> tuple[set[int], dict[str, Any]]:
        """Pages of a range that are selected, and the argument that says so."""
        if kind is None:
            return set(range(first, first + n)), {}
        bitmap = a_bitmap(kind, n)
        return _pages(bitmap, first) & set(range(first, first + n)), {"select": bitmap}

    def _bytes(self, span: tuple[int, int]) -> tuple[int, int]:
        return START + span[0] * PAGE, span[1] * PAGE

    # -- who makes pages dirty --------------------------------------------------------------------------------------

    def _run(self, pages: list[int], write: bool) -> None:
        assert self.vcpu.run([START + page * PAGE for page in pages], write=write).completed == len(pages)
        self._install(set(pages))
        if self.tracking or self.form is NPT:
            self._mark(set(pages), write=write)

    @rule(seed=seeds, count=st.integers(1, 60), write=st.booleans())
    def run(self, seed: int, count: int, write: bool) -> None:
        """A vCPU reads or writes here and there."""
        able = sorted(self.writable if write else self.readable)
        self._run(np.random.default_rng(seed).choice(able, count).tolist(), write)

    @rule(span=ranges, write=st.booleans())
    def run_through(self, span: tuple[int, int], write: bool) -> None:
        """A vCPU reads or writes page after page."""
        able = self.writable if write else self.readable
        self._run(sorted(able & set(range(span[0], sum(span)))), write)

    @rule(seed=seeds, count=st.integers(1, 20))
    def hold(self, seed: int, count: int) -> None:
        """Pages held to be written are dirty from their release on, while tracking is on."""
        pages = np.random.default_rng(seed).choice(sorted(self.writable), count).tolist()
        self.client.hold_many([START + page * PAGE for page in pages], Prot.RW).release()
        self._install(set(pages))
        if self.tracking:
            self._mark(set(pages), write=True)

    @rule(which=st.sampled_from(MAPPINGS[:3]))
    def populate(self, which: tuple[int, int, Prot]) -> None:
        """Resident, and nothing more."""
        pages = set(range(which[0], which[0] + which[1]))
        assert self.space.populate(START + which[0] * PAGE, which[1] * PAGE) == len(pages - self.resident)
        self._install(pages)

    @rule()
    def come_or_go(self) -> None:
        """What is unmapped is clean when it is mapped again."""
        first, n, prot = COMES_AND_GOES
        pages = set(range(first, first + n))
        if pages & self.readable:
            self.space.unmap(START + first * PAGE, n * PAGE)
            self.generation += bool(pages & self.resident)
            for kept in (self.readable, self.writable, self.resident, self.accessed, self.dirty):
                kept -= pages
        else:
            self._map(first, n, prot)

    # -- the calls --------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.tracking)
    @rule(span=ranges, fill=st.one_of(st.none(), st.integers(0, 255)))
    def track(self, span: tuple[int, int], fill: int | None) -> None:
        """A harvest takes all of its range; into a bitmap it ORs, and touches no bit of others."""
        (first, n), (gpa, length) = span, self._bytes(span)
        expected = self.dirty & set(range(first, first + n))
        if fill is None:
            self._result(self.space.track_dirty(gpa, length), first, n, expected)
        else:
            into = np.full(-(-n // 8) + 2, fill, np.uint8)
            before = into.copy()
            assert self.space.track_dirty(gpa, length, into=into) is into
            assert not (into & before != before).any()
            assert _pages(into & ~before, first) == expected - _pages(before, first)
        self.dirty -= expected
        self.generation += 1

    @precondition(lambda self: self.tracking)
    @rule(span=ranges, select=selections)
    def peek(self, span: tuple[int, int], select: int | None) -> None:
        """A look changes nothing."""
        (first, n), (gpa, length) = span, self._bytes(span)
        chosen, argument = self._chosen(first, n, select)
        self._result(self.space.peek_dirty(gpa, length, **argument), first, n, self.dirty & chosen)

    @precondition(lambda self: self.tracking)
    @rule(span=ranges, select=selections)
    def reset(self, span: tuple[int, int], select: int | None) -> None:
        """What is selected is harvested, and what is not stays."""
        (first, n), (gpa, length) = span, self._bytes(span)
        chosen, argument = self._chosen(first, n, select)
        self._result(self.space.reset_dirty(gpa, length, **argument), first, n, self.dirty & chosen)
        self.dirty -= chosen
        self.generation += 1

    @precondition(lambda self: self.tracking)
    @rule(span=ranges, select=selections)
    def set(self, span: tuple[int, int], select: int | None) -> None:
        """Selected writable pages become resident, accessed and dirty; those that were not are told."""
        (first, n), (gpa, length) = span, self._bytes(span)
        chosen, argument = self._chosen(first, n, select)
        chosen &= self.writable
        self._result(self.space.set_dirty(gpa, length, **argument), first, n, chosen - self.dirty)
        self._install(chosen)
        self._mark(chosen, write=True)

    @rule(span=ranges, clear=st.booleans())
    def look_at_accessed(self, span: tuple[int, int], clear: bool) -> None:
        """With tracking on or off."""
        (first, n), (gpa, length) = span, self._bytes(span)
        pages = set(range(first, first + n))
        self._result(self.space.accessed(gpa, length, clear=clear), first, n, self.accessed & pages)
        if clear:
            self.accessed -= pages
            self.generation += 1

    @rule(span=ranges)
    def look_at_resident(self, span: tuple[int, int]) -> None:
        """With tracking on or off."""
        (first, n), (gpa, length) = span, self._bytes(span)
        self._result(self.space.resident(gpa, length), first, n, self.resident & set(range(first, first + n)))

    @rule(enabled=st.booleans())
    def set_tracking(self, enabled: bool) -> None:
        """Bits outlast it; nothing happens if it is so already."""
        self.space.set_tracking(enabled)
        self.generation += enabled != self.tracking
        self.tracking = enabled

    @precondition(lambda self: not self.tracking)
    @rule(span=ranges)
    def refuse(self, span: tuple[int, int]) -> None:
        """Without a log there is nothing to be asked."""
        gpa, length = self._bytes(span)
        for call in (self.space.track_dirty, self.space.peek_dirty, self.space.reset_dirty, self.space.set_dirty):
            with pytest.raises(TrackingDisabled):
                call(gpa, length)

    # -- always -----------------------------------------------------------------------------------------------------

    @invariant()
    def counted(self) -> None:
        """Cheap enough for every step."""
        if hasattr(self, "space"):
            state = self.space.resident_count, self.space.generation, self.space.tracking
            assert state == (len(self.resident), self.generation, self.tracking)

    def teardown(self) -> None:
        """Entry by entry, by the format's own bits."""
        if not hasattr(self, "space"):
            return
        a, d = (0x100, 0x200) if self.form is EPT else (0x20, 0x40)
        entries = {page: self.space.pte(START + page * PAGE) or 0 for page in sorted(self.readable)}
        assert {page for page, entry in entries.items() if entry} == self.resident
        assert {page for page, entry in entries.items() if entry & a} == self.accessed
        assert {page for page, entry in entries.items() if entry & d} == self.dirty
        check(self.space)
        self.space.close()
        self.mmio.release()
        self.ram.release()
        self.reservoir.close()


@pytest.mark.slow
@pytest.mark.parametrize("form", [EPT, NPT], ids=["ept", "npt"])
def test_dirty_calls__against_sets(form: PteFormat) -> None:
    """Whatever is called in whatever order: the bits, the resident pages and the generation are those of the sets."""
    machine = type("DirtyMachineOf", (DirtyMachine,), {"form": form})
    run_state_machine_as_test(machine, settings=settings(max_examples=40, stateful_step_count=25))
