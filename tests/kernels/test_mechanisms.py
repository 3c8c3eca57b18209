"""The kernels of the mechanisms against loops over sets of pages in plain Python."""

import random
from typing import Any

import numpy as np
import pytest

from npt._types import U64Array
from npt.kernels import mechanisms
from tests.kernels.world import TOP, bitmap, bits, u64

BASE = 0x7000
SIZES = [1, 2, 63, 64, 65, 127, 128, 129, 200]
READ, WRITE, EXECUTE = 0, 1, 2


def accesses(seed: int, n_pages: int, n: int = 300) -> tuple[U64Array, Any]:
    """Anywhere in the range, and a little beside it; of all kinds."""
    numbers = random.Random(seed)
    pages = [numbers.randrange(-2, n_pages + 2) for _ in range(n)]
    gpas = [BASE + page * 4096 + numbers.randrange(4096) for page in pages]
    return u64(*gpas), np.array([numbers.choice([READ, WRITE, WRITE, EXECUTE]) for _ in range(n)], np.uint8)


def written(gpas: U64Array, kinds: Any, n_pages: int) -> list[int]:
    """Pages of the range that are written, in order."""
    each = kinds.tolist() * len(gpas) if len(kinds) == 1 else kinds.tolist()
    pages = [((gpa - BASE) // 4096, kind) for gpa, kind in zip(gpas.tolist(), each, strict=True)]
    return [page for page, kind in pages if kind == WRITE and 0 <= page < n_pages]


def words(n_pages: int, pages: Any = ()) -> U64Array:
    return bitmap(pages, -(-n_pages // 64))


@pytest.mark.parametrize("n_pages", SIZES)
def test_protect__disarms_what_is_written(n_pages: int) -> None:
    """Once each, and counts it; pages that were not armed are passed over."""
    gpas, kinds = accesses(n_pages, n_pages)
    before = set(range(0, n_pages, 3))
    unarmed, outcome = words(n_pages, before), u64(5, 9)
    mechanisms.protect(gpas, kinds, BASE, n_pages, unarmed, outcome)
    new = set(written(gpas, kinds, n_pages)) - before
    assert (bits(unarmed), outcome.tolist()) == (before | new, [5 + len(new), 9])


@pytest.mark.parametrize("kind", [READ, WRITE, EXECUTE, 3, 255])
def test_protect__one_kind_for_all(kind: int) -> None:
    """Only writes count, whatever else there may be."""
    unarmed, outcome = words(3), u64(0, 0)
    mechanisms.protect(u64(BASE, BASE + 0x1FFF), np.array([kind], np.uint8), BASE, 3, unarmed, outcome)
    assert (bits(unarmed), outcome.tolist()) == (({0, 1}, [2, 0]) if kind == WRITE else (set(), [0, 0]))


@pytest.mark.parametrize(
    "gpa", [0, BASE - 1, BASE - 4096, BASE + 64 * 4096, BASE + TOP, TOP, 2**64 - 1, 2**64 - 4096, (BASE + 2**52) % 2**64]
)
def test_written__addresses_outside(gpa: int) -> None:
    """Below the range, behind it, and with bit 63: nothing is touched, nothing wraps into it."""
    state = [words(64) for _ in range(2)]
    entries, used, outcome, last = np.zeros(64, np.uint64), u64(0), u64(0, 0), np.zeros(64, np.uint64)
    one = np.ones(1, np.uint8)
    mechanisms.protect(u64(gpa), one, BASE, 64, state[0], outcome)
    mechanisms.log(u64(gpa), one, BASE, 64, *state, entries, used, 1, outcome)
    mechanisms.push(u64(gpa), one, BASE, 64, *state, entries, used, 1, outcome)
    mechanisms.note_writes(u64(gpa), one, BASE, 64, 0, last)
    assert not any(array.any() for array in (*state, entries, used, outcome, last))


@pytest.mark.parametrize("capacity", [1, 2, 7, 64, 1000])
@pytest.mark.parametrize("n_pages", SIZES)
def test_log__drains_when_an_entry_is_due(n_pages: int, capacity: int) -> None:
    """Entries are in the order of first writes, those drained are in the bitmap."""
    gpas, kinds = accesses(n_pages, n_pages)
    unarmed, dirty = words(n_pages), words(n_pages)
    entries, used, outcome = np.zeros(min(capacity, n_pages), np.uint64), u64(0), u64(0, 0)
    mechanisms.log(gpas, kinds, BASE, n_pages, unarmed, dirty, entries, used, capacity, outcome)
    first = list(dict.fromkeys(written(gpas, kinds, n_pages)))
    drained = (len(first) - 1) // capacity
    assert outcome.tolist() == [len(first), drained]
    assert entries[: int(used[0])].tolist() == first[drained * capacity :]
    assert (bits(dirty), bits(unarmed)) == (set(first[: drained * capacity]), set(first))


@pytest.mark.parametrize("limit", [1, 2, 7, 64, 1000])
@pytest.mark.parametrize("n_pages", SIZES)
def test_push__arms_again_when_it_is_full(n_pages: int, limit: int) -> None:
    """So a page may be pushed again at once."""
    gpas, kinds = accesses(n_pages, n_pages)
    unarmed, dirty = words(n_pages), words(n_pages)
    entries, used, outcome = np.zeros(min(limit, n_pages), np.uint64), u64(0), u64(0, 0)
    mechanisms.push(gpas, kinds, BASE, n_pages, unarmed, dirty, entries, used, limit, outcome)
    ring: list[int] = []
    found, pushes, exits = set[int](), 0, 0
    for page in written(gpas, kinds, n_pages):
        if page in ring:
            continue
        ring, pushes = [*ring, page], pushes + 1
        if len(ring) == limit:
            found, ring, exits = found | set(ring), [], exits + 1
    assert outcome.tolist() == [pushes, exits]
    assert entries[: int(used[0])].tolist() == ring
    assert (bits(dirty), bits(unarmed)) == (found, set(ring))


def test_drain__empties_the_list() -> None:
    """Its filled part goes to the bitmap, which keeps what it had."""
    entries, used, dirty = u64(3, 70, 5, 6), u64(2), words(128, {0, 3})
    mechanisms.drain(entries, used, dirty)
    assert (bits(dirty), used.tolist()) == ({0, 3, 70}, [0])


PARTS = [
    (0, 200),
    (0, 1),
    (0, 63),
    (0, 64),
    (0, 65),
    (1, 63),
    (63, 1),
    (63, 2),
    (64, 64),
    (65, 70),
    (128, 72),
    (199, 1),
    (0, 0),
]


@pytest.mark.parametrize(("first", "n"), PARTS)
def test_rearm__reported_pages_of_the_part(first: int, n: int) -> None:
    """They are neither reported nor dirty, and armed; those armed before are not counted; others stay."""
    numbers = random.Random(first * 1000 + n)
    reported, unarmed, dirty = ({page for page in range(200) if numbers.random() < 0.5} for _ in range(3))
    state = [words(200, pages) for pages in (reported, unarmed, dirty)]
    part = reported & set(range(first, first + n))
    assert mechanisms.rearm(*state, first, n) == len(part & unarmed)
    assert [bits(one) for one in state] == [reported - part, unarmed - part, dirty - part]


def test_rearm__one_bitmap_for_two() -> None:
    """Where what is not armed is what is dirty, both may be the same array."""
    reported, both = words(100, {1, 2, 99}), words(100, {1, 2, 3})
    assert mechanisms.rearm(reported, both, both, 0, 50) == 2
    assert (bits(reported), bits(both)) == ({99}, {3})


@pytest.mark.parametrize(("first", "n"), PARTS)
def test_drop__bits_of_the_part(first: int, n: int) -> None:
    """No others."""
    all_of_them = words(200, range(200))
    mechanisms.drop(all_of_them, first, n)
    assert bits(all_of_them) == set(range(200)) - set(range(first, first + n))


@pytest.mark.parametrize("n_pages", SIZES)
def test_note_writes__last_access_of_each_page(n_pages: int) -> None:
    """Numbered from 1, on from those before; what is not written keeps its number."""
    gpas, kinds = accesses(n_pages, n_pages, 60)
    last = np.full(n_pages, 5, np.uint64)
    mechanisms.note_writes(gpas, kinds, BASE, n_pages, 1000, last)
    expected = [5] * n_pages
    for i in range(60):
        for page in written(gpas[i : i + 1], kinds[i : i + 1], n_pages):
            expected[page] = 1000 + i + 1
    assert last.tolist() == expected


@pytest.mark.parametrize(
    ("since", "last", "again", "expected"),
    [
        (5, 4, False, [1, 0, 0]),
        (5, 4, True, [1, 1, 0]),
        (5, 5, True, [1, 0, 0]),
        (5, 5, False, [1, 0, 1]),
        (5, 6, False, [1, 0, 1]),
        (0, 6, False, [0, 0, 0]),
        (0, 0, True, [0, 0, 0]),
        (1, 0, True, [1, 1, 0]),
        (2**64 - 1, 2**63, True, [1, 1, 0]),
    ],
)
def test_settle__one_page(since: int, last: int, again: bool, expected: list[int]) -> None:
    """It must be reported exactly if the first access after its copy, or a later one, wrote it."""
    copied, lasts, outcome = np.zeros(20, np.uint64), np.zeros(20, np.uint64), u64(0, 0, 0)
    copied[13], lasts[13] = since, last
    reported = np.array([0xFF, 0x20 if again else 0xDF, 0xFF], np.uint8)
    mechanisms.settle(u64(13), copied, lasts, reported, outcome)
    assert outcome.tolist() == expected
    assert not copied.any()


def test_settle__a_page_that_is_named_twice() -> None:
    """Counts once; counts add up."""
    copied, outcome = u64(1, 1, 0, 1), u64(10, 20, 30)
    mechanisms.settle(u64(0, 1, 0, 1), copied, u64(0, 7, 0, 0), np.array([0b0001], np.uint8), outcome)
    assert (outcome.tolist(), copied.tolist()) == ([12, 21, 31], [0, 0, 0, 1])


def test_kernels__read_only_arrays() -> None:
    """What is only read may be somebody's."""
    gpas, kinds, reported = u64(BASE), np.ones(1, np.uint8), np.zeros(8, np.uint8)
    for array in (gpas, kinds, reported):
        array.flags.writeable = False
    protected = words(1)
    mechanisms.protect(gpas, kinds, BASE, 1, protected, u64(0, 0))
    mechanisms.settle(u64(0), u64(0), u64(0), reported, u64(0, 0, 0))
    assert (bits(protected), gpas.tolist(), kinds.tolist(), reported.tolist()) == ({0}, [BASE], [1], [0] * 8)


def test_kernels__no_accesses() -> None:
    """Nothing happens."""
    none, no_kinds, state = np.empty(0, np.uint64), np.empty(0, np.uint8), words(64)
    mechanisms.protect(none, no_kinds, 0, 64, state, u64(0, 0))
    mechanisms.log(none, no_kinds, 0, 64, state, state, none, u64(0), 1, u64(0, 0))
    mechanisms.push(none, no_kinds, 0, 64, state, state, none, u64(0), 1, u64(0, 0))
    assert not state.any()
