"""Accesses of a vCPU against the same walk, one access at a time, in plain Python."""

import random
import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from npt import EPT, MemAttr, Prot, PteFormat
from npt.kernels import guest
from tests.kernels.guests import (
    ABSENT,
    BASE,
    DENIED,
    DONE,
    EXEC,
    KICKED,
    NOTHING,
    READ,
    SIZE,
    WRITE,
    Guest,
    Outcome,
    addresses,
    in_both_formats,
)
from tests.kernels.test_atomics import two_cpus
from tests.kernels.world import FIRST_TABLE, TOP, u64

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
    assert len(before) == 4
    assert g.access(addresses(0x1FC), [kind], marking=False).reason == DONE
    assert [level.tolist() for level in g.world.levels] == before


@in_both_formats
def test_access__directories_are_not_marked(format: PteFormat) -> None:
    """A and D belong to leaves here."""
    g = Guest(format)
    before = [level.tolist() for level in g.world.levels[1:]]
    assert len(before) == 3
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
    assert stop - start > 200
    while start < stop:
        outcome = fast.access(gpas, kinds, values=values, loads=loads, marking=marking, start=start, stop=stop)
        assert outcome == slow.slow_access(
            gpas, kinds, values=values, loads=expected, marking=marking, start=start, stop=stop
        )  # fmt: skip
        start = outcome.completed + 1
    assert fast.state() == slow.state()
    assert loads.tolist() == expected.tolist()


@in_both_formats
@pytest.mark.parametrize("kind", [READ, WRITE, EXEC])
def test_access__one_kind_for_all(format: PteFormat, kind: int) -> None:
    """A single kind stands for every access."""
    numbers = random.Random(kind)
    gpas = addresses(*[numbers.choice([0x1FC, 0x200, 0x204, 0x200]) for _ in range(200)])
    one, each = Guest(format), Guest(format)
    assert one.access(gpas, [kind]) == each.access(gpas, [kind] * 200)
    assert one.state() == each.state()


@in_both_formats
@pytest.mark.parametrize("page", [0x1FB, 0x1FE, 0x400, 1 << 36])
@pytest.mark.parametrize("at", [0, 1, 62, 63, 64, 65, 127, 128, 129, 199])
def test_access__fault_at_every_place_of_a_block(format: PteFormat, at: int, page: int) -> None:
    """What comes before the fault is done, with marks and bytes; what comes after it is not."""
    g, n = Guest(format), 200
    g.world.levels[0][g.world.leaf(0x200)] &= ~np.uint64(format.masks.accessed)
    late = int(g.world.levels[0][g.world.leaf(0x200)])
    g.memory[:] = 0
    pages = [0x1FC] * at + [page] + [0x200] * (n - at - 1)
    gpas, values = addresses(*pages), np.arange(1, n + 1, dtype=np.uint64)
    outcome = g.access(gpas, [WRITE] * n, values=values)
    assert (outcome.reason, outcome.completed) == (DENIED if page == 0x1FE else ABSENT, at)
    assert int(g.world.levels[0][g.world.leaf(0x200)]) == late
    assert int(np.count_nonzero(g.memory)) == at
    assert bool(g.world.get(0x1FC) & int(format.masks.dirty)) == (at > 0)


@in_both_formats
@pytest.mark.parametrize("second", [1, 2, 62, 63, 64, 65])
def test_access__same_page_twice_in_a_block(format: PteFormat, second: int) -> None:
    """A page whose mark the same block has just set needs none; the later value stays and is what a read sees."""
    g, n = Guest(format), 70
    gpas = u64(*[0x200_008] * n)
    kinds = [READ] * n
    kinds[0] = kinds[second] = WRITE
    values, loads = np.arange(10, 10 + n, dtype=np.uint64), np.zeros(n, np.uint64)
    assert g.access(gpas, kinds, values=values, loads=loads).reason == DONE
    expected = [0 if k in (0, second) else 10 if k < second else 10 + second for k in range(n)]
    assert loads.tolist() == expected


def test_access__served_between_two_calls() -> None:
    """What is remembered of a call's tables does not outlive it: a table that took another's place is seen."""
    g = Guest(EPT)
    assert g.access(addresses(0x201, 0x201), [READ]).reason == DONE
    g.world.levels[1][1] = 0  # the directory entry of pages 0x200 to 0x3FF
    assert g.access(addresses(0x201), [READ]).reason == ABSENT


def test_access__a_table_that_moved() -> None:
    """The next call goes where the directory leads now."""
    g = Guest(EPT)
    g.access(addresses(0x200), [WRITE])
    other = g.world.put(0x300 << 9, BASE + 7 << 12 | EPT.leaf_bits(Prot.RW, MemAttr.WB)) // 512
    g.world.levels[1][1] = (FIRST_TABLE + other) << 12 | 7
    assert g.access(u64(0x200_000), [WRITE]).reason == DONE
    assert int(g.world.levels[0][512 * other]) & 0x300 == 0x300


def test_access__when_the_number_of_calls_comes_round() -> None:
    """Calls are numbered with 15 bits; what an old call of the same number remembered is forgotten."""
    g = Guest(EPT)
    g.access(addresses(0x201), [READ])
    first = int(g.scratch[guest._CALL])
    g.scratch[guest._CALL] = (1 << 15) - 1
    g.world.levels[1][1] = 0
    assert g.access(addresses(0x201), [READ]).reason == ABSENT
    assert int(g.scratch[guest._CALL]) == first


@pytest.mark.parametrize("tag", [1 << 47, 1 << 48, 1 << 50, 2**64 - 2**34])
def test_access__an_address_past_the_end_is_no_remembered_region(tag: int) -> None:
    """Whatever bits an address has, it does not pass for a region that another call, or this one, remembered."""
    g = Guest(EPT)
    g.access(addresses(0x201), [READ])
    for call in range(40):
        gpas = u64(0x201_000, 0x201_000 + tag, 0x201_000 + (call << 47) % 2**64)
        assert g.access(gpas, [READ] * 3).completed == 1


@in_both_formats
@given(data=st.data())
def test_access__any_program(format: PteFormat, data: st.DataObject) -> None:
    """Any addresses and kinds, on tables with holes and directories that deny: as the slow twin, call after call."""
    fast, slow = Guest(format), Guest(format)
    pages = st.sampled_from([*range(0x1FB, 0x208), 0x3FF, 0x400, 1 << 36 | 0x1FC])
    denied = data.draw(st.sampled_from([0, 0, 0, 2]))
    for g in (fast, slow):
        g.world.levels[1][1] = int(g.world.levels[1][1]) & ~denied
    for _ in range(data.draw(st.integers(1, 3))):
        program = data.draw(st.lists(st.tuples(pages, st.integers(0, 511), st.sampled_from([READ, WRITE, EXEC])), max_size=150))
        gpas = u64(*(page << 12 | word << 3 for page, word, _ in program)) if program else NOTHING
        kinds = [kind for *_, kind in program]
        n, marking = len(program), data.draw(st.booleans())
        values = np.arange(1, n + 1, dtype=np.uint64) * np.uint64(data.draw(st.integers(1, 2**32)))
        loads, expected = np.zeros(n, np.uint64), np.zeros(n, np.uint64)
        start = data.draw(st.integers(0, n))
        assert fast.access(gpas, kinds, values=values, loads=loads, marking=marking, start=start) == slow.slow_access(
            gpas, kinds, values=values, loads=expected, marking=marking, start=start
        )
        assert loads.tolist() == expected.tolist()
        assert fast.state() == slow.state()


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
            g.world.levels, g.touched, g.takes, g.format.rules, g.line, g.memory, BASE, SIZE, True, gpas, kinds, NOTHING,
            loads, 0, n, g.scratch, outcome,
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
