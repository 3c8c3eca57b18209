"""What accessed bits and sampled contents say: the kernels against slow and obvious Python."""

import random
from collections import Counter
from itertools import combinations
from math import comb
from typing import Any

import numpy as np
import pytest

from npt._types import U8Array, U64Array
from npt.kernels import usage
from npt.kernels.jit import DISABLED
from tests.kernels.fresh import run

WORD = 1 << 64
PRIMES = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63


def packed(pages: set[int], n_pages: int) -> U8Array:
    """A bitmap of pages."""
    bitmap = np.zeros(-(-n_pages // 8), np.uint8)
    for page in pages:
        bitmap[page // 8] |= 1 << page % 8
    return bitmap


def pages_of(bitmap: U8Array) -> list[int]:
    """Pages of a bitmap, ascending."""
    return [8 * i + k for i, byte in enumerate(bitmap.tolist()) for k in range(8) if byte >> k & 1]


# -- hashes -------------------------------------------------------------------------------------------------------------


def rotated(word: int, n: int) -> int:
    """A 64-bit word, rotated to the left."""
    return (word << n | word >> 64 - n) % WORD


def stirred(lane: int, word: int) -> int:
    """A lane of XXH64 after one more word."""
    return rotated((lane + word * PRIMES[1]) % WORD, 31) * PRIMES[0] % WORD


def xxh64(page: bytes) -> int:
    """XXH64 of whole stripes, with seed 0, from its description."""
    lanes = [(PRIMES[0] + PRIMES[1]) % WORD, PRIMES[1], 0, -PRIMES[0] % WORD]
    for at in range(0, len(page), 8):
        number = at // 8 % 4
        lanes[number] = stirred(lanes[number], int.from_bytes(page[at : at + 8], "little"))
    total = sum(rotated(lane, n) for lane, n in zip(lanes, (1, 7, 12, 18), strict=True)) % WORD
    for lane in lanes:
        total = ((total ^ stirred(0, lane)) * PRIMES[0] + PRIMES[3]) % WORD
    total = (total + len(page)) % WORD
    total = (total ^ total >> 33) * PRIMES[1] % WORD
    total = (total ^ total >> 29) * PRIMES[2] % WORD
    return total ^ total >> 32


def hashes(*pages: bytes) -> list[int]:
    """What the kernel makes of pages."""
    out = np.zeros(len(pages), np.uint64)
    usage.hash_pages(np.frombuffer(b"".join(pages), np.uint8), out)
    return [int(word) for word in out]


def test_hash__is_xxh64() -> None:
    """As the xxhash library (3.5, called from elsewhere) says of pages of zeroes, of a ramp and of ones."""
    ramp = bytes(i % 256 for i in range(4096))
    wanted = [0xAC869B6F32D8BBDB, 0x0F6E64BE186AF6A4, 0x10AF2CB94282321F]
    assert hashes(bytes(4096), ramp, b"\xff" * 4096) == wanted


def test_hash__like_the_description() -> None:
    """Of random pages, side by side."""
    numbers = random.Random(1)
    pages = [numbers.randbytes(4096) for _ in range(5)]
    assert hashes(*pages) == [xxh64(page) for page in pages]


def test_hash__every_word_counts() -> None:
    """A bit in any word of the page makes another hash, and no two are alike."""
    changed = []
    for at in range(0, 4096, 8):
        page = bytearray(4096)
        page[at + at // 8 % 8] = 0x80
        changed.append(bytes(page))
    assert len(set(hashes(bytes(4096), *changed))) == 513


# -- drawing ------------------------------------------------------------------------------------------------------------


def drawn(key: int, n_bits: int, n: int) -> list[int]:
    """Bits that the kernel draws."""
    out = np.zeros(-(-n_bits // 8), np.uint8)
    usage.draw(key, n_bits, n, out)
    return pages_of(out)


@pytest.mark.parametrize("n_bits", [*range(20), 31, 32, 33, 63, 64, 65, 127, 128, 129])
def test_draw__so_many_and_none_beyond(n_bits: int) -> None:
    """Exactly as many bits as asked for, all below the end."""
    for n in range(n_bits + 1):
        found = drawn(n_bits * 1000 + n, n_bits, n)
        assert len(found) == n
        assert not found or found[-1] < n_bits


def splitmix64(key: int) -> Any:
    """Words of SplitMix64, in plain Python."""
    while True:
        key = (key + 0x9E3779B97F4A7C15) % WORD
        word = (key ^ key >> 30) * 0xBF58476D1CE4E5B9 % WORD
        word = (word ^ word >> 27) * 0x94D049BB133111EB % WORD
        yield word ^ word >> 31


@pytest.mark.parametrize(("key", "n_bits", "n"), [(0, 1, 1), (1, 37, 12), (2**64 - 1, 64, 20), (0x1234, 100, 50)])
def test_draw__takes_low_bits_of_splitmix64(key: int, n_bits: int, n: int) -> None:
    """Words that are too large, and bits drawn before, are passed over: so it is the same on every machine."""
    wanted: set[int] = set()
    for word in splitmix64(key):
        if len(wanted) == n:
            break
        bit = word % (1 << (n_bits - 1).bit_length())
        if bit < n_bits:
            wanted.add(bit)
    assert drawn(key, n_bits, n) == sorted(wanted)


def test_splitmix64__is_what_its_authors_say() -> None:
    """The first words from key 0, as published with the algorithm."""
    words = splitmix64(0)
    assert [next(words) for _ in range(3)] == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


@pytest.mark.skipif(DISABLED, reason="ten thousand drawings")
def test_draw__all_choices_alike() -> None:
    """Each of the 35 threes of seven bits comes as often as the others, as far as chance lets it."""
    trials = 10_500
    seen = Counter(tuple(drawn(key, 7, 3)) for key in range(trials))
    assert set(seen) == set(combinations(range(7), 3))
    expected = trials / comb(7, 3)
    assert sum((n - expected) ** 2 / expected for n in seen.values()) < 65.2  # chi-square of 34 degrees: one in a thousand


@pytest.mark.parametrize("n_pages", [1, 8, 63, 64, 65, 200, 513])
@pytest.mark.parametrize("share", [0.02, 0.5, 1.0])
def test_pick__by_rank(n_pages: int, share: float) -> None:
    """Bit r of the choice stands for the page that has r set pages before it."""
    numbers = random.Random(n_pages)
    pages = sorted(page for page in range(n_pages) if numbers.random() < share)
    for chance in (0.0, 0.05, 0.5, 1.0):
        ranks = {rank for rank in range(len(pages)) if numbers.random() < chance}
        out: U64Array = np.full(n_pages + 1, 2**63, np.uint64)
        n = usage.pick(packed(set(pages), n_pages), n_pages, packed(ranks, max(len(pages), 1)), out)
        assert out[:n].tolist() == [page for rank, page in enumerate(pages) if rank in ranks]
        assert set(out[n:].tolist()) == {2**63}


# -- when pages were seen -----------------------------------------------------------------------------------------------


class Log:
    """The arrays of a working set, filled by the kernel, and the same in dicts."""

    def __init__(self, n_pages: int, part_pages: int, room: int) -> None:
        self.n_pages, self.part_pages = n_pages, part_pages
        n_parts = -(-n_pages // part_pages)
        self.last = np.zeros(n_pages, np.uint32)
        self.reuse, self.first = np.zeros((2, n_parts, room), np.uint64)
        self.times, self.seen, self.fresh = np.zeros((3, room), np.uint64)
        self.state = np.zeros(1, np.uint64)
        self.known: dict[int, int] = {}
        self.again: Counter[tuple[int, int]] = Counter()
        self.new: Counter[tuple[int, int]] = Counter()

    def record(self, pages: set[int], now: int) -> None:
        """One more sample, in both."""
        usage.record(
            packed(pages, self.n_pages), self.n_pages, self.part_pages, now, self.last,
            self.reuse, self.first, self.times, self.seen, self.fresh, self.state,
        )  # fmt: skip
        number = int(self.state[0])
        for page in pages:
            part = page // self.part_pages
            if page in self.known:
                self.again[part, number - self.known[page]] += 1
            else:
                self.new[part, number] += 1
            self.known[page] = number


@pytest.mark.parametrize(("n_pages", "part_pages"), [(1, 1), (7, 3), (64, 64), (65, 64), (130, 7), (200, 200), (512, 1)])
def test_record__like_dicts(n_pages: int, part_pages: int) -> None:
    """Last samples, reuse and first sights by part, counts and times."""
    numbers = random.Random(n_pages)
    log = Log(n_pages, part_pages, 12)
    sizes, fresh = [0], [0]
    for number in range(1, 11):
        pages = {page for page in range(n_pages) if numbers.random() < number % 4 / 4}
        fresh.append(len(pages - set(log.known)))
        sizes.append(len(pages))
        log.record(pages, 2**63 + number)
    assert log.state[0] == 10
    assert log.last.tolist() == [log.known.get(page, 0) for page in range(n_pages)]
    for array, wanted in ((log.reuse, log.again), (log.first, log.new)):
        assert {(int(p), int(d)): int(array[p, d]) for p, d in np.argwhere(array)} == wanted
    assert log.seen[:11].tolist() == sizes
    assert log.fresh[:11].tolist() == fresh
    assert log.times[1:11].tolist() == [2**63 + number for number in range(1, 11)]
    assert not log.seen[11]


@pytest.mark.parametrize("n_pages", [1, 7, 8, 9, 64, 100])
@pytest.mark.parametrize("oldest", [0, 1, 3, 6, 7])
def test_recent__pages_seen_since(n_pages: int, oldest: int) -> None:
    """Of that sample or later; a page never seen is not, not even since sample 0."""
    last = np.array([page * 5 % 7 for page in range(n_pages)], np.uint32)
    out = np.zeros(-(-n_pages // 8), np.uint8)
    n = usage.recent(last, oldest, out)
    wanted = [page for page in range(n_pages) if last[page] and last[page] >= oldest]
    assert (pages_of(out), n) == (wanted, len(wanted))


def test_recent__sample_numbers_have_32_bits() -> None:
    """The last number that there is is later than the first."""
    out = np.zeros(1, np.uint8)
    assert usage.recent(np.array([2**32 - 1, 1, 2**31], np.uint32), 2**31, out) == 2
    assert out[0] == 0b101


def test_tally__pages_by_last_sample() -> None:
    """Those never seen are in place 0; what was counted before stays."""
    counts = np.array([0, 1, 0, 0], np.uint64)
    usage.tally(np.array([0, 3, 1, 3, 0, 3], np.uint32), counts)
    assert counts.tolist() == [2, 2, 0, 3]


# -- interpreted --------------------------------------------------------------------------------------------------------

SCENARIO = """
import json
import numpy as np
from npt.kernels import usage
out, pages, hashes = np.zeros(15, np.uint8), np.zeros(40, np.uint64), np.zeros(2, np.uint64)
usage.draw(99, 118, 40, out)  # 118 bits of the bitmap below are set
n = usage.pick(np.full(20, 0xB7, np.uint8), 157, out, pages)
usage.hash_pages((np.arange(8192) * 77 % 251).astype(np.uint8), hashes)
last, state, arrays = np.zeros(157, np.uint32), np.zeros(1, np.uint64), np.zeros((3, 8), np.uint64)
reuse, first = np.zeros((2, 8, 8), np.uint64)
for byte in (0x11, 0xFF, 0x31):
    bitmap = np.full(20, byte, np.uint8)
    bitmap[19] &= 0x1F
    usage.record(bitmap, 157, 20, 5, last, reuse, first, *arrays, state)
seen, counts = np.zeros(20, np.uint8), np.zeros(4, np.uint64)
found = usage.recent(last, 3, seen)
usage.tally(last, counts)
made = (out, pages, hashes, last, state, arrays, reuse, first, seen, counts)
print(json.dumps([n, found, *(one.tolist() for one in made)]))
"""


@pytest.mark.slow
@pytest.mark.skipif(DISABLED, reason="compares with compiled kernels")
def test_interpreted__same_results() -> None:
    """Compiled, in plain Python, and without a warning."""
    assert run(SCENARIO) == run(SCENARIO, NUMBA_DISABLE_JIT="1")
