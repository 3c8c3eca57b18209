"""Accesses through a simulated TLB: exact hits, and the same outcome as a slow twin with dicts."""

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from npt import EPT, MemAttr, Prot, PteFormat
from npt._types import U64Array
from npt.kernels import tlb
from tests.kernels.guests import (
    ABSENT,
    BASE,
    DENIED,
    DONE,
    EXEC,
    KICKED,
    N_FRAMES,
    NOTHING,
    READ,
    SIZE,
    WRITE,
    Guest,
    Outcome,
    addresses,
    in_both_formats,
)  # fmt: skip
from tests.kernels.world import ADDRESS, TOP, u64

SIZES = [1, 2, 3, 4, 5, 64, 2048]


class Cached(NamedTuple):
    """What the slow twin remembers of a page."""

    page: int
    frame: int
    kinds: frozenset[int]
    dirty: bool


class TlbGuest(Guest):
    """The small guest, seen through a TLB; ``slow_access`` has one of its own, made of lists."""

    def __init__(self, format: PteFormat, n: int) -> None:
        super().__init__(format)
        self.n = n
        self.entries = np.zeros((n, 2), np.uint64)
        self.fills = np.zeros(-(-n // 4), np.uint64)
        self.slow: list[list[Cached]] = [[] for _ in self.fills]
        self.next = [0] * len(self.slow)
        self.walks = 0

    def access(
        self, gpas: U64Array, kinds: list[int], *, values: U64Array = NOTHING, loads: U64Array = NOTHING,
        marking: bool = True, start: int = 0, stop: int | None = None,
    ) -> Outcome:  # fmt: skip
        """The kernel's turn."""
        outcome = u64(99, 99, 99, 99)
        tlb.access(
            self.world.levels, self.touched, self.format.rules, self.line, self.memory, BASE, SIZE, marking, gpas,
            np.array(kinds, np.uint8), values, loads, start, gpas.size if stop is None else stop,
            self.entries, self.fills, outcome,
        )  # fmt: skip
        return Outcome(*outcome.tolist())

    def slow_access(
        self, gpas: U64Array, kinds: list[int], *, values: U64Array = NOTHING, loads: U64Array = NOTHING,
        marking: bool = True, start: int = 0, stop: int | None = None,
    ) -> Outcome:  # fmt: skip
        """The same, slowly."""
        end = gpas.size if stop is None else stop
        for i in range(start, end):
            if (i - start) % 64 == 0 and int(self.line[0]):
                return Outcome(KICKED, i, 99, 99)
            gpa, kind = int(gpas[i]), kinds[i if len(kinds) > 1 else 0]
            cached = self._cached(gpa >> 12)
            if cached is None or kind not in cached.kinds or (kind == WRITE and marking and not cached.dirty):
                found = self._fill(gpa, kind, i, marking)
                if isinstance(found, Outcome):
                    return found
                cached = found
            has_bytes, word = 0 <= cached.frame < N_FRAMES, 512 * cached.frame + gpa % 4096 // 8
            if kind == WRITE and values.size and has_bytes:
                self.memory[word] = values[i]
            if kind == READ and loads.size:
                loads[i] = self.memory[word] if has_bytes else 0
        return Outcome(DONE, end, 99, 99)

    def _cached(self, page: int) -> Cached | None:
        return next((one for one in self.slow[page % len(self.slow)] if one.page == page), None)

    def _fill(self, gpa: int, kind: int, i: int, marking: bool) -> Cached | Outcome:
        self.walks += 1
        rules = self.format.rules.tolist()
        index, all_of, any_of = self._walk(gpa, rules[0])
        allowed = [all_of & rules[3 + k] == rules[3 + k] and not any_of & rules[6 + k] for k in range(3)]
        if index is None or not allowed[kind]:
            return Outcome(ABSENT if index is None else DENIED, i, all_of, any_of)
        if marking:
            self.mark(index, kind)
        entry, page = int(self.world.levels[0][index]), gpa >> 12
        kinds = frozenset(k for k in range(3) if allowed[k])
        new = Cached(page, (entry & ADDRESS) // 4096 - BASE, kinds, bool(entry & rules[2]))
        number = page % len(self.slow)
        ways, entries = min(4, self.n - 4 * number), self.slow[number]
        old = self._cached(page)
        if old is not None:
            entries[entries.index(old)] = new
        elif len(entries) < ways:
            entries.append(new)
        else:
            entries[self.next[number]] = new
            self.next[number] = (self.next[number] + 1) % ways
        return new

    def dirty(self, page: int) -> bool:
        """Whether D is set in the page's entry."""
        return bool(self.world.get(page) & int(self.format.masks.dirty))

    def forget(self, *pages: int) -> None:
        """Clear A and D of pages, behind the TLB's back."""
        marks = np.uint64(self.format.masks.accessed | self.format.masks.dirty)
        for page in pages:
            self.world.levels[0][self.world.leaf(page)] &= ~marks

    def walked(self, page: int, kind: int = READ) -> bool:
        """Whether an access of a page, made now, looks at the tables: A comes back only then."""
        self.forget(page)
        assert self.access(u64(page << 12), [kind]).reason == DONE
        return bool(self.world.get(page) & int(self.format.masks.accessed))


# -- hits, by hand --------------------------------------------------------------------------------------------------------


@in_both_formats
def test_hit__a_cached_dirty_write_leaves_no_mark(format: PteFormat) -> None:
    """D, cleared behind the TLB's back, stays clear, and the value is stored: why a harvest must flush."""
    g = TlbGuest(format, 4)
    assert g.access(u64(0x1FC_008), [WRITE], values=u64(5)).reason == DONE
    g.forget(0x1FC)
    assert g.access(u64(0x1FC_008), [WRITE], values=u64(6)).reason == DONE
    assert (g.dirty(0x1FC), int(g.memory[1])) == (False, 6)


@in_both_formats
def test_hit__an_unmapped_page_is_still_there(format: PteFormat) -> None:
    """So is the frame that its entry led to: why an unmap must flush."""
    g = TlbGuest(format, 4)
    g.access(u64(0x1FC_000), [READ])
    g.world.put(0x1FC, 0)
    loads = np.zeros(1, np.uint64)
    assert g.access(u64(0x1FC_008), [READ], loads=loads).reason == DONE
    assert loads.tolist() == [int(g.memory[1])]


@in_both_formats
def test_miss__a_read_fill_does_not_do_for_a_write(format: PteFormat) -> None:
    """The write walks and sets D; after that, writes hit."""
    g = TlbGuest(format, 4)
    g.access(u64(0x1FC_000), [READ])
    assert not g.dirty(0x1FC)
    assert g.walked(0x1FC, WRITE)
    assert g.dirty(0x1FC)
    assert not g.walked(0x1FC, WRITE)


@in_both_formats
def test_hit__a_read_of_a_dirty_page_caches_that(format: PteFormat) -> None:
    """Whoever set D: a write through that entry leaves no mark."""
    g = TlbGuest(format, 4)
    g.world.levels[0][g.world.leaf(0x1FC)] |= np.uint64(format.masks.dirty)
    g.access(u64(0x1FC_000), [READ])
    assert not g.walked(0x1FC, WRITE)


@in_both_formats
def test_hit__one_entry_for_reads_writes_and_fetches(format: PteFormat) -> None:
    """An entry remembers what may be done, not what was."""
    g = TlbGuest(format, 4)
    g.access(u64(0x1FC_000), [WRITE])
    assert [g.walked(0x1FC, kind) for kind in (READ, WRITE, EXEC)] == [False, False, False]


@in_both_formats
@pytest.mark.parametrize(("page", "kind"), [(0x1FE, WRITE), (0x1FE, EXEC), (0x1FD, EXEC), (0x1FF, WRITE)])
def test_miss__what_the_entry_does_not_allow_walks(format: PteFormat, page: int, kind: int) -> None:
    """It faults with what the tables say, changes nothing in the TLB, and works once the tables allow it."""
    g = TlbGuest(format, 4)
    g.access(u64(page << 12), [READ])
    before = g.entries.tolist(), g.fills.tolist()
    assert g.access(u64(page << 12), [kind]).reason == DENIED
    assert (g.entries.tolist(), g.fills.tolist()) == before
    g.world.put(page, BASE << 12 | format.leaf_bits(Prot.RWX, MemAttr.WB))
    assert g.access(u64(page << 12), [kind]).reason == DONE
    assert g.fills.tolist() == [1]  # refreshed in its place


@in_both_formats
@pytest.mark.parametrize("page", [0x1FB, 0x400, 1 << 36 | 0x1FC])
def test_miss__a_fault_fills_nothing(format: PteFormat, page: int) -> None:
    """Absent, unmapped, past the end."""
    g = TlbGuest(format, 4)
    assert g.access(u64(page << 12), [READ]).reason == ABSENT
    assert not g.entries.any()
    assert not g.fills.any()


@in_both_formats
def test_unmarked__writes_hit_without_d(format: PteFormat) -> None:
    """While nothing is marked, D need not be cached; when marking begins without a flush, a clean entry still walks."""
    g = TlbGuest(format, 4)
    g.access(u64(0x1FC_000), [READ], marking=False)
    g.world.put(0x1FC, 0)
    assert g.access(u64(0x1FC_000), [WRITE], marking=False).reason == DONE
    assert g.access(u64(0x1FC_000), [WRITE], marking=True).reason == ABSENT


# -- geometry -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "ways"), [(1, [1]), (3, [3]), (4, [4]), (5, [4, 1]), (8, [4, 4]), (11, [4, 4, 3])])
def test_sets__have_4_ways_the_last_what_is_left(n: int, ways: list[int]) -> None:
    """As many pages as a set has ways stay in it; with one more, the first of them goes."""
    for number, room in enumerate(ways):
        g = TlbGuest(EPT, n)
        pages = [number + len(ways) * k for k in range(0x40, 0x40 + room + 1)]
        for page in pages:
            g.world.put(page, BASE << 12 | EPT.leaf_bits(Prot.RW, MemAttr.WB))
        g.access(u64(*(page << 12 for page in pages[:-1])), [READ] * room)
        assert [g.walked(page) for page in pages[:-1]] == [False] * room
        g.access(u64(pages[-1] << 12), [READ])
        assert [g.walked(page) for page in reversed(pages[1:])] == [False] * room
        assert g.walked(pages[0])


def test_sets__replace_in_the_order_of_filling() -> None:
    """Round-robin: use does not keep an entry."""
    g = TlbGuest(EPT, 4)
    pages = list(range(0x40, 0x46))
    for page in pages:
        g.world.put(page, BASE << 12 | EPT.leaf_bits(Prot.RW, MemAttr.WB))
    g.access(u64(*(page << 12 for page in [*pages[:4], pages[0], pages[0], pages[4], pages[5]])), [READ] * 8)
    assert g.entries[:, 0].tolist() == [page + 1 for page in (pages[4], pages[5], pages[2], pages[3])]


def test_page_zero__is_no_empty_entry() -> None:
    """An empty TLB has not page 0."""
    g = TlbGuest(EPT, 4)
    assert g.access(u64(0), [READ]).reason == ABSENT
    g.world.put(0, BASE << 12 | EPT.leaf_bits(Prot.RW, MemAttr.WB))
    assert [g.walked(0), g.walked(0)] == [True, False]


# -- kicks and the twin ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", [0, 5])
@pytest.mark.parametrize("at", [0, 1, 62, 63, 64, 127, 128])
def test_kick__is_seen_within_64(at: int, start: int) -> None:
    """Also by a run that only hits."""
    g = TlbGuest(EPT, 4)
    n = 300
    gpas, values = addresses(*[0x1FC] * n), np.zeros(n, np.uint64)
    g.memory[:] = 0
    g.line = g.memory[2048:2056]
    gpas[start + at], values[start + at] = 0x200_000, 1
    outcome = g.access(gpas, [WRITE], values=values, start=start)
    assert outcome == Outcome(KICKED, start + (at // 64 + 1) * 64, 99, 99)
    g.line[0] = TOP
    assert g.access(gpas, [WRITE], start=start) == Outcome(KICKED, start, 99, 99)


@pytest.mark.parametrize("n", SIZES)
@in_both_formats
@given(data=st.data())
def test_access__any_program(format: PteFormat, n: int, data: st.DataObject) -> None:
    """Any accesses, with marks cleared and pages taken away behind the TLB's back: outcome, tables and bytes as the twin's."""
    fast, slow = TlbGuest(format, n), TlbGuest(format, n)
    pages = st.sampled_from([*range(0x1FB, 0x208), 0x3FF, 0x400, 1 << 36 | 0x1FC])
    for _ in range(data.draw(st.integers(1, 4))):
        program = data.draw(st.lists(st.tuples(pages, st.sampled_from([READ, WRITE, EXEC])), max_size=80))
        gpas = addresses(*(page for page, _ in program)) if program else NOTHING
        kinds, size = [kind for _, kind in program], len(program)
        values = np.arange(1, size + 1, dtype=np.uint64)
        loads, expected = np.zeros(size, np.uint64), np.zeros(size, np.uint64)
        marking = data.draw(st.booleans())
        start = 0
        while start <= size:
            outcome = fast.access(gpas, kinds, values=values, loads=loads, marking=marking, start=start)
            assert outcome == slow.slow_access(gpas, kinds, values=values, loads=expected, marking=marking, start=start)
            start = outcome.completed + 1
        assert loads.tolist() == expected.tolist()
        assert fast.state() == slow.state()
        for change in (fast.forget, slow.forget):
            change(0x1FC, 0x200)
        if data.draw(st.booleans()):
            for g in (fast, slow):
                g.world.put(0x201, 0)
