"""Each single instruction against what it means in Python ints, and from two threads at once."""

import os
import threading
from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from npt._types import U8Array, U64Array
from npt.kernels import atomics
from npt.kernels.jit import DISABLED, kernel
from tests.kernels.world import TOP, bits, random_entries, u64

WORDS = st.one_of(st.integers(0, 2**64 - 1), st.sampled_from([0, 1, 2, TOP - 1, TOP, TOP + 1, 2**64 - 1]))
EDGES = [0, 1, 63, 64, 447, 448]  # of 512 entries, so that 64 fit from each


@kernel("u8(u8[::1], u8)")
def load(words: U64Array, at: np.uint64) -> np.uint64:
    return atomics.atomic_load(words, np.uint64(at))


@kernel("void(u8[::1], u8, u8)")
def store(words: U64Array, at: np.uint64, value: np.uint64) -> None:
    atomics.atomic_store(words, np.uint64(at), np.uint64(value))


@kernel("void(u8[::1], u8, u8)")
def set_bits(words: U64Array, at: np.uint64, value: np.uint64) -> None:
    atomics.atomic_or(words, np.uint64(at), np.uint64(value))


@kernel("void(u8[::1], u8, u8)")
def clear_bits(words: U64Array, at: np.uint64, value: np.uint64) -> None:
    atomics.atomic_clear(words, np.uint64(at), np.uint64(value))


@kernel("void(u8[::1], u8, u8)")
def add(words: U64Array, at: np.uint64, value: np.uint64) -> None:
    atomics.atomic_add(words, np.uint64(at), np.uint64(value))


@kernel("u8(u8[::1], u8, u8)")
def exchange(words: U64Array, at: np.uint64, value: np.uint64) -> np.uint64:
    return atomics.atomic_xchg(words, np.uint64(at), np.uint64(value))


@kernel("b1(u8[::1], u8, u8, u8)")
def compare_and_swap(words: U64Array, at: np.uint64, expected: np.uint64, value: np.uint64) -> bool:
    return atomics.atomic_cas(words, np.uint64(at), np.uint64(expected), np.uint64(value))


@kernel("u8(u8[::1], u8, u8)")
def mask(words: U64Array, first: np.uint64, wanted: np.uint64) -> np.uint64:
    return atomics.mask64(words, np.uint64(first), np.uint64(wanted))


@kernel("void(u8[::1], u8, u8, u8)")
def fill(words: U64Array, first: np.uint64, value: np.uint64, step: np.uint64) -> None:
    atomics.fill64(words, np.uint64(first), np.uint64(value), np.uint64(step))


@kernel("void(u8[::1], u8, u8)")
def put_out(words: U64Array, at: np.uint64, value: np.uint64) -> None:
    atomics.publish(words, np.uint64(at), np.uint64(value))


@kernel("void(u8[::1], u8, u8)")
def clear_line(words: U64Array, first: np.uint64, value: np.uint64) -> None:
    atomics.clear8(words, np.uint64(first), np.uint64(value))


@kernel("u1(u1[::1], u8)")
def load_byte(data: U8Array, at: np.uint64) -> np.uint8:
    return atomics.atomic_load(data, np.uint64(at))


@kernel("void(u1[::1], u8, u1)")
def store_byte(data: U8Array, at: np.uint64, value: np.uint8) -> None:
    atomics.atomic_store(data, np.uint64(at), np.uint8(value))


@kernel("b1(u1[::1], u8, u1, u1)")
def swap_byte(data: U8Array, at: np.uint64, expected: np.uint8, value: np.uint8) -> bool:
    return atomics.atomic_cas(data, np.uint64(at), np.uint8(expected), np.uint8(value))


@kernel("u8(u8)")
def count(word: np.uint64) -> np.uint64:
    return atomics.popcount(np.uint64(word))


@kernel("u8(u8)")
def lowest(word: np.uint64) -> np.uint64:
    return atomics.ctz(np.uint64(word))


@kernel("void(u1[::1], u8, u1[::1], u8, u8)")
def copy(target: U8Array, to: np.uint64, source: U8Array, at: np.uint64, n_bytes: np.uint64) -> None:
    atomics.copy_bytes(target, np.uint64(to), source, np.uint64(at), np.uint64(n_bytes))


@kernel("void(u1[::1], u8, u8)")
def zero(target: U8Array, to: np.uint64, n_bytes: np.uint64) -> None:
    atomics.zero_bytes(target, np.uint64(to), np.uint64(n_bytes))


# -- one thread ----------------------------------------------------------------------------------------------------


@given(word=WORDS)
def test_load__what_is_there(word: int) -> None:
    """The element named, not its neighbours."""
    assert int(load(u64(1, word, 2), 1)) == word


@given(word=WORDS)
def test_store__puts_it_in_one_place(word: int) -> None:
    """The neighbours stay."""
    words = u64(1, 5, 2)
    store(words, 1, word)
    assert words.tolist() == [1, word, 2]


@given(word=WORDS, value=WORDS)
def test_or__sets_bits(word: int, value: int) -> None:
    """In one element."""
    words = u64(1, word, 2)
    set_bits(words, 1, value)
    assert words.tolist() == [1, word | value, 2]


@given(word=WORDS, value=WORDS)
def test_clear__clears_bits(word: int, value: int) -> None:
    """Those named, and no others."""
    words = u64(1, word, 2)
    clear_bits(words, 1, value)
    assert words.tolist() == [1, word & ~value, 2]


@given(word=WORDS, value=WORDS)
def test_add__modulo_2_to_64(word: int, value: int) -> None:
    """Adding the complement subtracts."""
    words = u64(1, word, 2)
    add(words, 1, value)
    assert words.tolist() == [1, (word + value) % 2**64, 2]


@given(word=WORDS, value=WORDS)
def test_xchg__gives_what_was_there(word: int, value: int) -> None:
    """And leaves the new value."""
    words = u64(1, word, 2)
    assert int(exchange(words, 1, value)) == word
    assert words.tolist() == [1, value, 2]


@given(word=WORDS, expected=WORDS, value=WORDS)
def test_cas__only_from_the_expected_value(word: int, expected: int, value: int) -> None:
    """Anything else is left alone."""
    words = u64(1, word, 2)
    assert bool(compare_and_swap(words, 1, expected, value)) is (word == expected)
    assert words.tolist() == [1, value if word == expected else word, 2]


@given(word=WORDS, value=WORDS)
def test_cas__from_the_value_that_is_there(word: int, value: int) -> None:
    """It always succeeds."""
    words = u64(1, word, 2)
    assert compare_and_swap(words, 1, word, value)
    assert words.tolist() == [1, value, 2]


@pytest.mark.parametrize("first", EDGES)
@pytest.mark.parametrize("wanted", [1, 0x40, 0x240, TOP, TOP | 1, 2**64 - 1, 0])
def test_mask64__bit_per_entry_with_any_of_the_bits(first: int, wanted: int) -> None:
    """From any entry on, aligned to 64 or not."""
    words = random_entries(first, 512)
    expected = {k for k in range(64) if int(words[first + k]) & wanted}
    assert bits(u64(int(mask(words, first, wanted)))) == expected


@pytest.mark.parametrize("k", range(64))
def test_mask64__each_lane_has_its_own_bit(k: int) -> None:
    """One entry alone is one bit alone."""
    words = np.zeros(192, np.uint64)
    words[64 + k] = TOP
    assert int(mask(words, 64, TOP)) == 1 << k


def test_mask64__looks_at_64_entries_only() -> None:
    """What stands before and behind does not count."""
    words = np.full(192, 2**64 - 1, np.uint64)
    words[64:128] = 0
    assert int(mask(words, 64, 2**64 - 1)) == 0


def test_mask64__leaves_the_entries() -> None:
    """It only reads."""
    words = random_entries(3, 64)
    before = words.copy()
    mask(words, 0, 2**64 - 1)
    assert words.tolist() == before.tolist()


@pytest.mark.parametrize("first", EDGES)
@pytest.mark.parametrize("value", [0, 0x10_0000_0037, TOP | 0x25, 2**64 - 4096])
@pytest.mark.parametrize("step", [0, 1, 4096, TOP, 2**64 - 1])
def test_fill64__a_ramp(first: int, value: int, step: int) -> None:
    """Each entry is its own value, modulo 2**64; the others stay."""
    words = random_entries(first, 512)
    expected = words.tolist()
    expected[first : first + 64] = [(value + k * step) % 2**64 for k in range(64)]
    fill(words, first, value, step)
    assert words.tolist() == expected


@pytest.mark.parametrize("first", [0, 1, 7, 8, 120])
def test_clear8__eight_entries(first: int) -> None:
    """The bits in those entries; other bits and entries stay."""
    words = np.array([k << 32 | 0x307 for k in range(128)], np.uint64)
    clear_line(words, first, 0x202)
    assert words.tolist() == [k << 32 | (0x105 if first <= k < first + 8 else 0x307) for k in range(128)]


def test_publish__puts_it_in_one_place() -> None:
    """As a store."""
    words = np.zeros(3, np.uint64)
    put_out(words, 1, TOP | 5)
    assert words.tolist() == [0, TOP | 5, 0]


def test_bytes__one_at_a_time() -> None:
    """Load, store and compare-and-swap of a byte leave its neighbours."""
    data = np.array([1, 2, 255, 4], np.uint8)
    assert [load_byte(data, k) for k in range(4)] == [1, 2, 255, 4]
    store_byte(data, 1, 200)
    assert (swap_byte(data, 2, 254, 7), swap_byte(data, 3, 4, 9)) == (False, True)
    assert data.tolist() == [1, 200, 255, 9]


@given(word=WORDS)
def test_popcount__counts_bits(word: int) -> None:
    """All 64."""
    assert int(count(word)) == word.bit_count()


@pytest.mark.parametrize("k", range(64))
def test_ctz__lowest_bit(k: int) -> None:
    """Whatever stands above it."""
    assert [int(lowest(1 << k)), int(lowest((2**64 - 1) << k & 2**64 - 1))] == [k, k]


@pytest.mark.parametrize(("to", "at", "n_bytes"), [(0, 0, 4096), (1, 3, 4095), (4096, 1, 1), (7, 5, 0), (1, 0, 8191)])
def test_copy_bytes__that_many_from_there_to_there(to: int, at: int, n_bytes: int) -> None:
    """Not a byte more."""
    source = (np.arange(8192) % 251).astype(np.uint8)
    target = np.full(8192, 0xEE, np.uint8)
    expected = target.tolist()
    expected[to : to + n_bytes] = source.tolist()[at : at + n_bytes]
    copy(target, to, source, at, n_bytes)
    assert target.tolist() == expected


@pytest.mark.parametrize(("to", "n_bytes"), [(0, 4096), (1, 1), (4095, 2), (5, 0), (0, 8192)])
def test_zero_bytes__that_many_from_there(to: int, n_bytes: int) -> None:
    """Not a byte more."""
    target = np.full(8192, 0xEE, np.uint8)
    expected = target.tolist()
    expected[to : to + n_bytes] = [0] * n_bytes
    zero(target, to, n_bytes)
    assert target.tolist() == expected


# -- two threads on two CPUs ---------------------------------------------------------------------------------------

CELLS = 512
ROUNDS = 400


@kernel("void(u8[::1], u8, u8)")
def set_each_bit_once(words: U64Array, low: np.uint64, high: np.uint64) -> None:
    for k in range(np.uint64(low), np.uint64(high)):
        for i in range(np.uint64(words.size)):
            atomics.atomic_or(words, np.uint64(i), np.uint64(1) << k)


@kernel("void(u8[::1], u8, u8)")
def clear_each_bit_once(words: U64Array, low: np.uint64, high: np.uint64) -> None:
    for k in range(np.uint64(low), np.uint64(high)):
        for i in range(np.uint64(words.size)):
            atomics.atomic_clear(words, np.uint64(i), np.uint64(1) << k)


@kernel("void(u8[::1], u8, u8)")
def add_each_round(words: U64Array, value: np.uint64, rounds: np.uint64) -> None:
    for _ in range(np.uint64(rounds)):
        for i in range(np.uint64(words.size)):
            atomics.atomic_add(words, np.uint64(i), np.uint64(value))


@kernel("void(u8[::1], u8, u8)")
def swap_each_round(words: U64Array, value: np.uint64, rounds: np.uint64) -> None:
    for _ in range(np.uint64(rounds)):
        for i in range(np.uint64(words.size)):
            while True:
                before = atomics.atomic_load(words, np.uint64(i))
                if atomics.atomic_cas(words, np.uint64(i), before, before + np.uint64(value)):
                    break


@kernel("void(u8[::1], u8[::1])")
def trade(cell: U64Array, hand: U64Array) -> None:
    for i in range(np.uint64(hand.size)):
        hand[i] = atomics.atomic_xchg(cell, np.uint64(0), hand[i])


def _cpus() -> list[int]:
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def on_two_cpus(*calls: tuple[Callable[..., Any], tuple[Any, ...]]) -> None:
    """Make the calls at once, each in a thread that stays on a CPU of its own."""
    cpus, barrier = _cpus(), threading.Barrier(len(calls))
    failures: list[BaseException] = []

    def run(cpu: int, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        try:
            os.sched_setaffinity(0, {cpu})  # of this thread alone
            barrier.wait()
            function(*arguments)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(cpu, *call)) for cpu, call in zip(cpus, calls, strict=False)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


two_cpus = pytest.mark.skipif(
    DISABLED or len(_cpus()) < 2, reason="needs compiled kernels and two CPUs that threads can be pinned to"
)


@two_cpus
@pytest.mark.slow
def test_or__loses_no_update() -> None:
    """Each of 64 bits of each word is set exactly once, by one of two threads, and all are there."""
    set_each_bit_once(np.zeros(1, np.uint64), 0, 0)  # compiled before the race
    for _ in range(ROUNDS):
        words = np.zeros(CELLS, np.uint64)
        on_two_cpus((set_each_bit_once, (words, 0, 32)), (set_each_bit_once, (words, 32, 64)))
        assert (words == np.uint64(2**64 - 1)).all()


@two_cpus
@pytest.mark.slow
def test_clear__loses_no_update() -> None:
    """Each of 64 bits of each word is cleared exactly once, by one of two threads, and none is left."""
    clear_each_bit_once(np.zeros(1, np.uint64), 0, 0)
    for _ in range(ROUNDS):
        words = np.full(CELLS, 2**64 - 1, np.uint64)
        on_two_cpus((clear_each_bit_once, (words, 0, 32)), (clear_each_bit_once, (words, 32, 64)))
        assert not words.any()


@two_cpus
@pytest.mark.slow
@pytest.mark.parametrize("function", [add_each_round, swap_each_round], ids=["add", "cas"])
def test_add_and_cas__lose_no_update(function: Any) -> None:
    """What two threads add to the same words is their sum."""
    words, rounds = np.zeros(8, np.uint64), 200_000
    function(words, 0, 0)
    on_two_cpus((function, (words, 1, rounds)), (function, (words, 1 << 32, rounds)))
    assert words.tolist() == [rounds << 32 | rounds] * 8


@two_cpus
@pytest.mark.slow
def test_xchg__hands_each_value_to_one_thread() -> None:
    """Two threads trade numbered tokens through one cell: none is doubled and none is lost."""
    n = 400_000
    cell = u64(2 * n)
    hands = np.arange(n, dtype=np.uint64), np.arange(n, 2 * n, dtype=np.uint64)
    trade(cell, np.empty(0, np.uint64))
    on_two_cpus((trade, (cell, hands[0])), (trade, (cell, hands[1])))
    after = np.sort(np.concatenate((*hands, cell)))
    assert (after == np.arange(2 * n + 1, dtype=np.uint64)).all()
