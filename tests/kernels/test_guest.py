"""Accesses of a vCPU against the same walk, one access at a time, in plain Python."""

import random
import threading
from typing import Any, NamedTuple

import numpy as np
import pytest

from npt import EPT, NPT, MemAttr, Prot, PteFormat
from npt._types import U64Array
from npt.kernels import guest
from tests.kernels.test_atomics import two_cpus
from tests.kernels.world import ADDRESS, FIRST_TABLE, TOP, World, u64

FORMATS = [EPT, NPT]
in_both_formats = pytest.mark.parametrize("format", FORMATS, ids=[f.name for f in FORMATS])
DONE, KICKED, ABSENT, DENIED = 0, 1, 2, 3
READ, WRITE, EXEC = 0, 1, 2
BASE = 0x10_0000  # PFN of frame 0
N_FRAMES = 8
SIZE = 0x400_000
NOTHING = np.empty(0, np.uint64)


class Outcome(NamedTuple):
    """What ``access`` says: reason, number of the access not done, AND and OR of its entries."""

    reason: int
    completed: int
    all_of: int
    any_of: int


class Guest:
    """A small guest: 8 frames of RAM, mapped twice over a leaf-table border, some pages absent, read-only, or MMIO."""

    def __init__(self, format: PteFormat) -> None:
        self.format = format
        self.world = World((4, 2, 2, 1), int(format.masks.table))
        self.memory = np.arange(N_FRAMES * 512, dtype=np.uint64) * np.uint64(0x0101_0101_0101)
        self.line = np.zeros(8, np.uint64)
        for k, prot in enumerate([Prot.RWX, Prot.RW, Prot.READ, Prot.RX, Prot.RWX, Prot.RW, Prot.READ, Prot.RX]):
            self.world.put(0x1FC + k, (BASE + k) << 12 | format.leaf_bits(prot, MemAttr.WB))
        self.world.put(0x204, 0xFEE0_0000 | format.leaf_bits(Prot.RW, MemAttr.UC))  # below the RAM: no bytes
        self.world.put(0x205, (BASE + N_FRAMES) << 12 | format.leaf_bits(Prot.RW, MemAttr.UC))  # just above it
        self.world.put(0x206, 0xFF0 << 52 | (BASE + 1) << 12 | format.leaf_bits(Prot.RW, MemAttr.WB))

    def access(
        self, gpas: U64Array, kinds: list[int], *, values: U64Array = NOTHING, loads: U64Array = NOTHING,
        marking: bool = True, start: int = 0, stop: int | None = None,
    ) -> Outcome:  # fmt: skip
        """The kernel's turn."""
        outcome = u64(99, 99, 99, 99)
        guest.access(
            self.world.levels, self.format.rules, self.line, self.memory, BASE, SIZE, marking, gpas,
            np.array(kinds, np.uint8), values, loads, start, gpas.size if stop is None else stop, outcome,
        )  # fmt: skip
        return Outcome(*outcome.tolist())

    def slow_access(
        self, gpas: U64Array, kinds: list[int], *, values: U64Array = NOTHING, loads: U64Array = NOTHING,
        marking: bool = True, start: int = 0, stop: int | None = None,
    ) -> Outcome:  # fmt: skip
        """The same, slowly."""
        rules = self.format.rules.tolist()
        for i in range(start, gpas.size if stop is None else stop):
            if (i - start) % 64 == 0 and int(self.line[0]):
                return Outcome(KICKED, i, 99, 99)
            gpa, kind = int(gpas[i]), kinds[i]
            index, all_of, any_of = self._walk(gpa, rules[0])
            if all_of & rules[3 + kind] != rules[3 + kind] or any_of & rules[6 + kind]:
                return Outcome(DENIED if index is not None else ABSENT, i, all_of, any_of)
            assert index is not None
            if marking:
                self.world.levels[0][index] |= np.uint64(rules[1] | (rules[2] if kind == WRITE else 0))
            frame = (int(self.world.levels[0][index]) & ADDRESS) // 4096 - BASE
            has_bytes, word = 0 <= frame < N_FRAMES, 512 * frame + gpa % 4096 // 8
            if kind == WRITE and values.size and has_bytes:
                self.memory[word] = values[i]
            if kind == READ and loads.size:
                loads[i] = self.memory[word] if has_bytes else 0
        return Outcome(DONE, gpas.size if stop is None else stop, 99, 99)

    def _walk(self, gpa: int, present: int) -> tuple[int | None, int, int]:
        all_of, any_of, table = 2**64 - 1, 0, 0
        if gpa >= SIZE:
            return None, 0, 0
        for level in (3, 2, 1, 0):
            index = 512 * table + (gpa >> 12 + 9 * level & 511)
            entry = int(self.world.levels[level][index])
            if not entry & present:
                return None, 0, any_of
            all_of, any_of = all_of & entry, any_of | entry
            if level:
                table = ((entry & ADDRESS) >> 12) - FIRST_TABLE - (level - 1 << 27)
        return index, all_of, any_of

    def state(self) -> list[list[int]]:
        """All entries, and the memory."""
        return [level.tolist() for level in self.world.levels] + [self.memory.tolist()]


def addresses(*pages: int) -> U64Array:
    """Addresses in pages, at different words of them."""
    return u64(*(page << 12 | 8 * (37 * k % 512) for k, page in enumerate(pages)))


# -- one access ---------------------------------------------------------------------------------------------------------


@in_both_formats
@pytest.mark.parametrize("marking", [True, False])
@pytest.mark.parametrize("kind", [READ, WRITE, EXEC])
@pytest.mark.parametrize("page", [0x0, 0x1FB, *range(0x1FC, 0x208), 0x3FF, 0x400, 1 << 36 | 0x1FC, 2**52 - 1])
def test_access__one_page(format: PteFormat, marking: bool, kind: int, page: int) -> None:
    """Each kind of access to each kind of page: outcome, entries and memory as the slow twin's."""
    fast, slow = Guest(format), Guest(format)
    gpas, values = addresses(page), u64(0xABCD)
    got, expected = np.zeros(1, np.uint64), np.zeros(1, np.uint64)
    assert fast.access(gpas, [kind], values=values, loads=got, marking=marking) == slow.slow_access(
        gpas, [kind], values=values, loads=expected, marking=marking
    )
    assert fast.state() == slow.state()
    assert got.tolist() == expected.tolist()


@in_both_formats
@pytest.mark.parametrize(("kind", "accessed", "dirty"), [(READ, True, False), (WRITE, True, True), (EXEC, True, False)])
def test_access__marks(format: PteFormat, kind: int, accessed: bool, dirty: bool) -> None:
    """A for every access, D for a write; all other bits stay."""
    g = Guest(format)
    page = 0x1FC
    leaf = g.world.leaf(page)
    g.world.levels[0][leaf] &= ~np.uint64(format.masks.accessed)
    before = int(g.world.levels[0][leaf])
    assert g.access(addresses(page), [kind]).reason == DONE
    marks = int(format.masks.accessed) * accessed | int(format.masks.dirty) * dirty
    assert int(g.world.levels[0][leaf]) == before | marks


@in_both_formats
@pytest.mark.parametrize("kind", [READ, WRITE, EXEC])
def test_access__without_marking_no_entry_changes(format: PteFormat, kind: int) -> None:
    """EPT hardware does not mark while tracking is off."""
    g = Guest(format)
    before = [level.tolist() for level in g.world.levels]
    assert g.access(addresses(0x1FC), [kind], marking=False).reason == DONE
    assert [level.tolist() for level in g.world.levels] == before


@in_both_formats
def test_access__directories_are_not_marked(format: PteFormat) -> None:
    """A and D belong to leaves here."""
    g = Guest(format)
    before = [level.tolist() for level in g.world.levels[1:]]
    g.access(addresses(0x1FC, 0x201), [WRITE, WRITE])
    assert [level.tolist() for level in g.world.levels[1:]] == before


@pytest.mark.parametrize("size_bit", [2**47, 2**48, 2**63, 2**64 - SIZE])
def test_access__beyond_the_space_is_absent(size_bit: int) -> None:
    """An address past the end does not come round to a page below it."""
    g = Guest(EPT)
    outcome = g.access(u64(0x1FC_000 + size_bit), [READ])
    assert outcome == Outcome(ABSENT, 0, 0, 0)


@in_both_formats
def test_access__first_byte_past_the_end(format: PteFormat) -> None:
    """The size is the first address that is not there, even if an entry is."""
    g = Guest(format)
    g.world.put(SIZE >> 12, BASE << 12 | format.leaf_bits(Prot.RWX, MemAttr.WB))
    assert g.access(u64(SIZE), [READ]).reason == ABSENT


# -- what a denial says --------------------------------------------------------------------------------------------------


@in_both_formats
def test_access__absent_leaf_has_and_zero(format: PteFormat) -> None:
    """The OR is that of the directories on the way."""
    g = Guest(format)
    outcome = g.access(addresses(0x1FB), [READ])
    directories = 0
    for level, place in ((3, 0), (2, 0), (1, 0)):
        directories |= int(g.world.levels[level][place])
    assert outcome == Outcome(ABSENT, 0, 0, directories)


@in_both_formats
@pytest.mark.parametrize("level", [1, 2, 3])
def test_access__absent_directory_has_and_zero(format: PteFormat, level: int) -> None:
    """Wherever the walk ends early."""
    g = Guest(format)
    g.world.levels[level][0] = 0
    outcome = g.access(addresses(0x1FC), [READ])
    assert (outcome.reason, outcome.all_of) == (ABSENT, 0)


@in_both_formats
def test_access__denial_gives_and_and_or_of_all_four(format: PteFormat) -> None:
    """A write to a read-only page."""
    g = Guest(format)
    entries = [int(g.world.levels[level][0]) for level in (3, 2, 1)] + [g.world.get(0x1FE)]
    outcome = g.access(addresses(0x1FE), [WRITE])
    both, either = entries[0], 0
    for entry in entries:
        both, either = both & entry, either | entry
    assert outcome == Outcome(DENIED, 0, both, either)


@pytest.mark.parametrize("level", [1, 2, 3])
@pytest.mark.parametrize("kind", [WRITE, EXEC])
@in_both_formats
def test_access__a_directory_may_deny(format: PteFormat, kind: int, level: int) -> None:
    """Permission is what all four levels allow."""
    g = Guest(format)
    entry = int(g.world.levels[level][0])
    if kind == WRITE:
        entry &= ~2
    else:
        entry = entry & ~4 if format is EPT else entry | TOP
    g.world.levels[level][0] = entry
    assert g.access(addresses(0x1FC), [kind]).reason == DENIED
    assert g.access(addresses(0x1FC), [READ]).reason == DONE


@pytest.mark.parametrize("level", [1, 2, 3])
@pytest.mark.parametrize("entry", [0x7, 0x1000_0007, (2**33 - 1) << 12 | 7, (2**33 + 5000) << 12 | 7, 2**64 - 1])
def test_access__entry_that_names_no_table(level: int, entry: int) -> None:
    """A directory entry that somebody spoilt is a fault, not a wild read."""
    g = Guest(EPT)
    g.world.levels[level][0] = entry
    assert g.access(addresses(0x1FC), [READ]).reason == ABSENT


def test_access__all_present_but_nothing_in_common_is_denied() -> None:
    """Four present entries whose AND happens to be zero are a denial: no entry is absent."""
    g = Guest(EPT)
    g.world.levels[3][0] = int(g.world.levels[3][0]) & ~4  # read and write
    g.world.put(0x1FC, BASE << 12 | 4)  # execute only
    outcome = g.access(addresses(0x1FC), [READ])
    assert (outcome.reason, outcome.all_of) == (DENIED, 0)


# -- bytes --------------------------------------------------------------------------------------------------------------


@in_both_formats
def test_access__values_and_loads(format: PteFormat) -> None:
    """What is written through one address is read back through it, and the neighbours stay."""
    g = Guest(format)
    before = g.memory.tolist()
    at, loads = u64(0x1FC_008, 0x1FC_008, 0x1FC_010, 0x1FC_000), np.full(4, 7, np.uint64)
    g.access(at, [WRITE, READ, READ, READ], values=u64(TOP | 5, 0, 0, 0), loads=loads)
    assert loads.tolist() == [7, TOP | 5, before[2], before[0]]
    assert g.memory.tolist() == [before[0], TOP | 5, *before[2:]]


@pytest.mark.parametrize("page", [0x204, 0x205])
def test_access__pages_without_bytes(page: int) -> None:
    """Values go nowhere, loads give 0, marks are set."""
    g = Guest(EPT)
    before, loads = g.memory.tolist(), np.full(2, 7, np.uint64)
    outcome = g.access(addresses(page, page), [WRITE, READ], values=u64(5, 5), loads=loads)
    assert (outcome.reason, loads.tolist(), g.memory.tolist()) == (DONE, [7, 0], before)
    assert g.world.get(page) & 0x300 == 0x300


def test_access__no_memory_at_all() -> None:
    """An unbacked reservoir has no bytes anywhere."""
    g = Guest(EPT)
    g.memory = np.empty(0, np.uint64)
    loads = np.full(2, 7, np.uint64)
    assert g.access(addresses(0x1FC, 0x1FC), [WRITE, READ], values=u64(5, 5), loads=loads).reason == DONE
    assert loads.tolist() == [7, 0]


def test_access__denied_write_stores_nothing() -> None:
    """Neither a value nor a mark."""
    g = Guest(EPT)
    before = g.state()
    g.access(addresses(0x1FE), [WRITE], values=u64(5))
    assert g.state() == before


# -- many ---------------------------------------------------------------------------------------------------------------


@in_both_formats
@pytest.mark.parametrize("marking", [True, False])
@pytest.mark.parametrize("seed", range(6))
def test_access__any_mix(format: PteFormat, marking: bool, seed: int) -> None:
    """Hundreds of accesses, resumed behind each fault, from any start to any stop."""
    numbers = random.Random(seed)
    n = 400
    pages = [numbers.choice([0x1FC, 0x1FC, 0x1FD, 0x200, 0x200, 0x201, 0x204, 0x206, 0x1FE, 0x1FB]) for _ in range(n)]
    gpas, kinds = addresses(*pages), [numbers.choice([READ, READ, WRITE, EXEC]) for _ in range(n)]
    values = np.array([numbers.getrandbits(64) for _ in range(n)], np.uint64)
    values.flags.writeable = gpas.flags.writeable = False
    fast, slow = Guest(format), Guest(format)
    loads, expected = np.zeros(n, np.uint64), np.zeros(n, np.uint64)
    start, stop = numbers.randrange(100), n - numbers.randrange(100)
    while start < stop:
        outcome = fast.access(gpas, kinds, values=values, loads=loads, marking=marking, start=start, stop=stop)
        assert outcome == slow.slow_access(
            gpas, kinds, values=values, loads=expected, marking=marking, start=start, stop=stop
        )  # fmt: skip
        start = outcome.completed + 1
    assert fast.state() == slow.state()
    assert loads.tolist() == expected.tolist()


def test_access__none() -> None:
    """Nothing to do is done."""
    assert Guest(EPT).access(NOTHING, []) == Outcome(DONE, 0, 99, 99)


# -- kicks --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", [1, TOP, 2**64 - 1])
@pytest.mark.parametrize("start", [0, 1, 63, 64, 100])
def test_access__kicked_before_the_first(word: int, start: int) -> None:
    """A kick that is there already lets nothing through, wherever the call starts."""
    g = Guest(EPT)
    g.line[0] = word
    before = g.state()
    assert g.access(addresses(*[0x1FC] * 128), [WRITE] * 128, start=start) == Outcome(KICKED, start, 99, 99)
    assert g.state() == before


@pytest.mark.parametrize("start", [0, 5])
@pytest.mark.parametrize("at", [0, 1, 62, 63, 64, 65, 127, 128])
def test_access__kick_is_seen_within_64(at: int, start: int) -> None:
    """The guest writes its own kick word, at a known access: it stops at the next multiple of 64."""
    g = Guest(EPT)
    n = 300
    gpas, values = addresses(*[0x1FC] * n), np.zeros(n, np.uint64)
    g.memory[:] = 0
    g.line = g.memory[2048:2056]
    gpas[start + at], values[start + at] = 0x200_000, 1  # frame 4, word 0
    outcome = g.access(gpas, [WRITE] * n, values=values, start=start)
    assert outcome == Outcome(KICKED, start + (at // 64 + 1) * 64, 99, 99)


def test_access__other_words_of_the_line_are_no_kick() -> None:
    """Only the first is."""
    g = Guest(EPT)
    g.line[1:] = TOP
    assert g.access(addresses(0x1FC), [READ]).reason == DONE


@two_cpus
@pytest.mark.slow
def test_access__sees_a_kick_from_another_thread() -> None:
    """The word is loaded anew in a running call, not once at its start."""
    n = 1 << 22
    gpas, kinds = np.full(n, 0x1FC_000, np.uint64), np.zeros(n, np.uint8)

    def once() -> tuple[int, int]:
        g, loads, outcome = Guest(EPT), np.full(n, 7, np.uint64), u64(99, 99, 99, 99)
        arguments: tuple[Any, ...] = (
            g.world.levels, g.format.rules, g.line, g.memory, BASE, SIZE, True, gpas, kinds, NOTHING, loads, 0, n, outcome
        )  # fmt: skip
        thread = threading.Thread(target=guest.access, args=arguments)
        thread.start()
        while loads[0] == 7:  # until it is inside
            pass
        g.line[0] = 1
        thread.join()
        return int(outcome[0]), int(outcome[1])

    outcomes = [once() for _ in range(20)]
    assert any(reason == KICKED and completed % 64 == 0 for reason, completed in outcomes)
