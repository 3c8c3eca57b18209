"""Synthetic writers: the same everywhere, and what they say they are."""

import copy
import pickle
import tracemalloc
import zlib
from collections import Counter
from dataclasses import replace
from decimal import Decimal, localcontext
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from numpy.random import SeedSequence

from npt.studies import randomness
from npt.studies.writers import WRITERS, HotCold, Sequential, Strided, Synthetic, Uniform, Window, Writer, Zipf
from npt.studies.zipf import thresholds
from tests.studies import slow_writers

SMALL: list[Synthetic] = [
    Uniform(1000, 5, 300, write_share=0.3, seed=1),
    Uniform(2**32, 2**32, 10, seed=2**64 - 1),
    Uniform(2**32 - 1, 3, 10, write_share=1e-300),
    Uniform(1, 3, 10, write_share=0.0),
    Sequential(100, 5, 70, write_share=0.5, seed=3),
    Sequential(2**32, 2**32, 2, seed=4),
    Sequential(2**32 - 1, 2**32, 3),
    Strided(96, 5, 70, stride=36, write_share=0.5, seed=3),
    Strided(97, 5, 250, stride=8),
    Strided(10, 3, 25, stride=10),
    Strided(2**32 - 1, 2**32, 4, stride=2**32 - 2),
    Strided(2**32, 2**32, 4, stride=2**31 + 2**30),
    Zipf(1000, 5, 100, write_share=0.7, seed=5),
    Zipf(1025, 5, 100, exponent=1.5, seed=6),
    Zipf(513, 5, 100, exponent=0.25, spread=False),
    Zipf(1, 2, 5),
    Zipf(2, 2, 40, exponent=0),
    HotCold(1000, 25, 200, write_share=0.9, seed=7),
    HotCold(999, 9, 200, hot_share=0.25, hot_accesses=0.5, move_every=2, step=700, seed=8),
    HotCold(2, 4, 50, hot_share=0.5, hot_accesses=1.0, move_every=1),
    HotCold(2**32, 2**32, 20, hot_share=0.99, hot_accesses=0.3, move_every=1, step=2**32 - 1),
]

GOLDEN = {  # CRC-32 of the first and the last window
    "uniform": (0x08684977, 0x07771274),
    "sequential": (0xF5EAE0CA, 0xE4FB33C5),
    "strided": (0x635A91B0, 0x3DE14187),
    "zipf": (0xC0C856D8, 0xF3FCF0F0),
    "hotcold": (0xB0940C64, 0xA62AAA7A),
}


def crc(window: Window) -> int:
    """Of pages and writes."""
    return zlib.crc32(window.write.tobytes(), zlib.crc32(window.pages.astype("<u8").tobytes()))


def some_windows(writer: Synthetic) -> list[int]:
    """The first, one in the middle, and the last."""
    return sorted({0, writer.n_windows // 2, writer.n_windows - 1})


# -- the same everywhere -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("writer", SMALL, ids=str)
def test_windows__are_those_of_the_slow_twin(writer: Synthetic) -> None:
    """First, middle and last window are what plain Python integers and floats say, access by access."""
    some = range(0, writer.accesses, 1 + writer.accesses // 30)
    for number in some_windows(writer):
        pages, write = slow_writers.window(writer, number, some)
        found = writer.window(number)
        assert (found.pages[some].tolist(), found.write[some].tolist()) == (pages, write)


@pytest.mark.parametrize("text", list(WRITERS))
def test_windows__kept_values(text: str) -> None:
    """Pages and writes are to the bit what they were on the machine where this was written."""
    writer = WRITERS[text](65536, 12, 5000, write_share=0.75, seed=42)
    assert (crc(writer.window(0)), crc(writer.window(11))) == GOLDEN[text]


@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1, 2**32, 2**64 - 1])
@pytest.mark.parametrize("key", [(0, 0), (1, 2**32 - 1), (3, 2**32), (0, 2**33 + 5)])
def test_words__begin_with_the_key_that_numpy_makes(seed: int, key: tuple[int, int]) -> None:
    """The twin's SeedSequence is numpy's."""
    assert slow_writers.seed_key(seed, key) == int(SeedSequence(seed, spawn_key=key).generate_state(1, np.uint64)[0])


@pytest.mark.parametrize("n", [1, 2, 3, 1000, 2**31, 2**32 - 1, 2**32])
def test_below__is_the_exact_product(n: int) -> None:
    """No word is too large or too small for the largest guest."""
    words = [0, 1, 2**32 - 1, 2**32, 2**63, 2**64 - 2**32, 2**64 - 2, 2**64 - 1, 0x0123456789ABCDEF]
    assert randomness.below(np.array(words, np.uint64), n).tolist() == [word * n >> 64 for word in words]


@pytest.mark.parametrize("share", [0.0, 5e-324, 2.0**-64, 2.0**-63, 0.5, 0.1, 1 - 2.0**-53, 1.0])
def test_chosen__takes_the_share_as_exact_as_it_is(share: float) -> None:
    """The words around the bound fall on its right side."""
    bound = int(Fraction(share) * 2**64)
    words = sorted({0, max(bound - 1, 0), min(bound, 2**64 - 1), 2**64 - 1})
    assert randomness.chosen(np.array(words, np.uint64), share).tolist() == [word < bound for word in words]


@pytest.mark.parametrize("n", [*range(1, 70), 511, 512, 513, 4095, 4096, 4097, 70_000])
def test_shuffled__is_a_bijection(n: int) -> None:
    """Every number below n is met once."""
    moved = randomness.shuffled(np.arange(n, dtype=np.uint64), n, seed=9)
    assert np.array_equal(np.sort(moved), np.arange(n, dtype=np.uint64))


def test_shuffled__leaves_its_input_alone() -> None:
    """The ranks that come in are the caller's."""
    ranks = np.arange(1000, dtype=np.uint64)
    randomness.shuffled(ranks, 1000, seed=0)
    assert np.array_equal(ranks, np.arange(1000, dtype=np.uint64))


def test_shuffled__spreads_neighbours() -> None:
    """The first 256 of 65536 come to no fewer than 40 of 64 equal parts, with no more than 16 in one, for ten seeds."""
    for seed in range(10):
        parts = Counter((randomness.shuffled(np.arange(256, dtype=np.uint64), 65536, seed) >> np.uint64(10)).tolist())
        assert len(parts) >= 40
        assert max(parts.values()) <= 16


# -- windows -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("writer", SMALL, ids=str)
def test_window__out_of_order_is_the_same(writer: Synthetic) -> None:
    """A window depends on its number, not on what was asked for before; another writer of the same parameters gives it too."""
    first = {number: crc(writer.window(number)) for number in some_windows(writer)}
    again = {number: crc(replace(writer).window(number)) for number in reversed(some_windows(writer))}
    assert first == again


@pytest.mark.parametrize("writer", [one for one in SMALL if one.n_windows < 100], ids=str)
def test_windows__are_each_window_in_turn(writer: Synthetic) -> None:
    """The iterator gives windows 0 to the last, and can be had again."""
    expected = [crc(writer.window(number)) for number in range(writer.n_windows)]
    assert [crc(one) for one in writer.windows()] == [crc(one) for one in writer.windows()] == expected


@pytest.mark.parametrize("writer", SMALL, ids=str)
def test_window__has_the_form(writer: Synthetic) -> None:
    """Pages of the guest as uint64, a bool for each, and both are the caller's own."""
    window = writer.window(0)
    assert isinstance(window, Window)
    assert window.pages.dtype == np.uint64
    assert window.write.dtype == np.bool_
    assert window.pages.shape == window.write.shape == (writer.accesses,)
    assert int(window.pages.max()) < writer.n_pages
    assert window.pages.flags.writeable
    kept = crc(window)
    window.pages[:] = 0
    window.write[:] = False
    assert crc(writer.window(0)) == kept


@pytest.mark.parametrize("kind", WRITERS.values(), ids=WRITERS)
def test_window__another_seed_is_another_history(kind: type[Synthetic]) -> None:
    """What is random differs from seed to seed and from window to window."""
    one, other = kind(1000, 2, 500, write_share=0.5, seed=0), kind(1000, 2, 500, write_share=0.5, seed=1)
    assert len({one.window(0).write.tobytes(), one.window(1).write.tobytes(), other.window(0).write.tobytes()}) == 3
    random_pages = not isinstance(one, (Sequential, Strided))
    assert np.array_equal(one.window(0).pages, other.window(0).pages) is not random_pages


def test_window__writes_and_pages_are_drawn_apart() -> None:
    """The share of writes changes no page."""
    assert np.array_equal(Uniform(99, 1, 99, write_share=0.5).window(0).pages, Uniform(99, 1, 99).window(0).pages)


@pytest.mark.parametrize("kind", WRITERS.values(), ids=WRITERS)
def test_windows__are_streamed(kind: type[Synthetic]) -> None:
    """Five windows of 200,000 accesses take no more memory at once than six arrays of one."""
    writer = kind(65536, 5, 200_000, write_share=0.5)
    writer.window(0)  # zipf's table is there
    tracemalloc.start()
    for _ in writer.windows():
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6 * 200_000 * 8


# -- what they say they are --------------------------------------------------------------------------------------------


def all_pages(writer: Synthetic) -> list[int]:
    """Pages of all windows, in order."""
    return np.concatenate([one.pages for one in writer.windows()]).tolist()  # type: ignore[no-any-return]


def test_uniform__counts_are_even() -> None:
    """100,000 accesses to 100 pages: each page within six standard deviations of 1000."""
    counts = Counter(all_pages(Uniform(100, 10, 10_000, seed=11)))
    assert len(counts) == 100
    assert all(abs(count - 1000) < 6 * 31.5 for count in counts.values())


def test_sequential__counts_and_order_are_exact() -> None:
    """Page after page, over the ends of windows and of the guest."""
    assert all_pages(Sequential(7, 5, 4)) == [i % 7 for i in range(20)]


@pytest.mark.parametrize(("n_pages", "stride"), [(12, 1), (12, 5), (12, 8), (12, 12), (12, 11), (97, 8), (96, 64), (1, 1)])
def test_strided__every_page_once_in_any_n_accesses(n_pages: int, stride: int) -> None:
    """Any n accesses in a row are to n pages, and all but those that begin a round are a stride apart."""
    pages = all_pages(Strided(n_pages, 9, n_pages // 2 + 1, stride=stride))
    for first in range(len(pages) - n_pages + 1):
        assert sorted(pages[first : first + n_pages]) == list(range(n_pages))
    steps = Counter((b - a) % n_pages for a, b in pairwise(pages[:n_pages]))
    assert steps[stride % n_pages] >= n_pages - 1 - np.gcd(n_pages, stride)


def test_strided__first_pages() -> None:
    """0, 8, 16 ... and, back at 0, one further."""
    assert all_pages(Strided(24, 1, 7)) == [0, 8, 16, 1, 9, 17, 2]


PRECISE = [0.0, 0.0009765625, 0.5, 0.990234375, 1.0, 1.9990234375, 3.75, 8.0]


@pytest.mark.parametrize(
    ("n", "exponent"),
    [
        *((n, exponent) for n in (1, 2, 3, 1000) for exponent in PRECISE),
        pytest.param(33_000, 0.990234375, marks=pytest.mark.slow),
    ],
)
def test_zipf__thresholds_are_those_of_plain_python(n: int, exponent: float) -> None:
    """To the bit: floats one at a time and integers of any size, over the end of a block too."""
    assert thresholds(n, exponent).tolist() == slow_writers.zipf_thresholds(n, exponent)


@pytest.mark.parametrize("n", [2, 10, 200])
@pytest.mark.parametrize("exponent", PRECISE)
def test_zipf__thresholds_are_right(n: int, exponent: float) -> None:
    """Within the stated error of what 60 decimal digits say."""
    with localcontext(prec=60):
        weights = [Decimal(rank) ** -Decimal(exponent) for rank in range(1, n + 1)]
        ends = [sum(weights[:rank], Decimal(0)) / sum(weights, Decimal(0)) for rank in range(1, n)]
        wrong = [abs(int(found) / Decimal(2**64) - end) for found, end in zip(thresholds(n, exponent), ends, strict=True)]
        assert max(wrong) <= Decimal(2) ** -46 + n * Decimal(2) ** -62


def test_zipf__thresholds_of_a_large_guest_ascend() -> None:
    """Every rank has a word, even where its share of them is less than one."""
    found = thresholds(1 << 17, 8.0)
    assert (found[1:] > found[:-1]).all()
    assert int(found[-1]) == 2**64 - 1


def test_zipf__frequencies() -> None:
    """100,000 accesses: each of the first ranks within six standard deviations of its share, and so are all others together."""
    writer = Zipf(5000, 10, 10_000, exponent=1.0, spread=False, seed=12)
    counts = Counter(all_pages(writer))
    harmonic = sum(1 / rank for rank in range(1, 5001))
    shares = [1 / (rank * harmonic) for rank in range(1, 21)]
    for page, share in enumerate(shares):
        assert abs(counts[page] - 100_000 * share) < 6 * (100_000 * share) ** 0.5
    rest = sum(count for page, count in counts.items() if page >= 20)
    assert abs(rest - 100_000 * (1 - sum(shares))) < 6 * 100_000**0.5 / 2


def test_zipf__spread_moves_ranks_and_nothing_else() -> None:
    """The spread pages are a one-to-one image of the ranks, the same in all windows."""
    ranks, places = Zipf(3000, 3, 5000, spread=False, seed=3), Zipf(3000, 3, 5000, seed=3)
    pairs = set(zip(all_pages(ranks), all_pages(places), strict=True))
    assert len(pairs) == len({rank for rank, _ in pairs}) == len({place for _, place in pairs})
    assert any(rank != place for rank, place in pairs)


@pytest.mark.parametrize(
    ("given", "kept"), [(0.99, 1014 / 1024), (0.1, 102 / 1024), (1.2, 1229 / 1024), (1, 1.0), (0.0, 0.0), (8, 8.0), (1e-9, 0)]
)
def test_zipf__exponent_is_the_nearest_multiple_of_a_1024th(given: float, kept: float) -> None:
    """What is said of a writer is what it does; writers whose exponents are taken alike are equal."""
    writer = Zipf(10, 1, 1, exponent=given)
    assert (writer.exponent, writer) == (kept, Zipf(10, 1, 1, exponent=kept))


def test_zipf__table_is_made_once_and_left_behind_by_pickle() -> None:
    """Made by the first window, kept by the instance, not pickled."""
    writer = Zipf(100_000, 2, 10)
    assert set(vars(writer)) == set(vars(Uniform(1, 1, 1))) | {"exponent", "spread"}
    writer.window(0)
    table = writer._thresholds
    writer.window(1)
    assert writer._thresholds is table
    assert len(pickle.dumps(writer)) < 1000


def in_hot_set(writer: HotCold, number: int) -> float:
    """Share of a window's accesses that are to the hot set, as the parameters say where that is."""
    step = writer.step if writer.step is not None else writer.hot_pages
    start = number // writer.move_every * step % writer.n_pages
    hot = {(start + i) % writer.n_pages for i in range(writer.hot_pages)}
    return sum(page in hot for page in writer.window(number).pages.tolist()) / writer.accesses


@pytest.mark.parametrize("step", [None, 0, 1, 130, 999])
def test_hotcold__share_of_the_hot_set(step: int | None) -> None:
    """80 % of the accesses are to the 150 pages of the hot set, wherever it has moved to, over the end of the guest too."""
    writer = HotCold(1000, 20, 2000, hot_share=0.15, hot_accesses=0.8, move_every=2, step=step, seed=4)
    assert writer.hot_pages == 150
    assert all(abs(in_hot_set(writer, number) - 0.8) < 0.06 for number in range(20))


def test_hotcold__moves_when_it_is_time() -> None:
    """The start stays for move_every windows, then is a step further, modulo the guest."""
    writer = HotCold(100, 9, 1, hot_share=0.5, move_every=3, step=60)
    assert [writer.hot_start(number) for number in range(9)] == [0, 0, 0, 60, 60, 60, 20, 20, 20]


def test_hotcold__next_set_is_beside_the_last() -> None:
    """Without a step it moves by its own size."""
    writer = HotCold(100, 9, 1, hot_share=0.3, move_every=1)
    assert [writer.hot_start(number) for number in range(5)] == [0, 30, 60, 90, 20]


@pytest.mark.parametrize(("hot_accesses", "share"), [(0.0, 0.0), (1.0, 1.0)])
def test_hotcold__all_or_nothing(hot_accesses: float, share: float) -> None:
    """With 1 every access is hot, with 0 none; the pages of each set are met, and no others."""
    writer = HotCold(50, 4, 2000, hot_share=0.2, hot_accesses=hot_accesses, move_every=1)
    assert [in_hot_set(writer, number) for number in range(4)] == [share] * 4
    assert len(set(writer.window(3).pages.tolist())) == (10 if share else 40)


@pytest.mark.parametrize("kind", WRITERS.values(), ids=WRITERS)
@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_write_share(kind: type[Synthetic], share: float) -> None:
    """None, a quarter (within six standard deviations), or all of the accesses write."""
    writes = sum(int(one.write.sum()) for one in kind(1000, 4, 5000, write_share=share).windows())
    assert abs(writes - share * 20_000) <= 6 * (20_000 * share * (1 - share)) ** 0.5


# -- values ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("writer", SMALL, ids=str)
def test_writer__equal_hashable_picklable(writer: Synthetic) -> None:
    """One made of the same parameters is equal, with the same hash; so is what pickle and copy give, also once it was used."""
    writer.window(0)
    for other in (replace(writer), pickle.loads(pickle.dumps(writer)), copy.deepcopy(writer)):
        assert other == writer
        assert hash(other) == hash(writer)
        assert crc(other.window(0)) == crc(writer.window(0))
    assert replace(writer, seed=77) != writer


@pytest.mark.parametrize("writer", SMALL, ids=str)
def test_writer__satisfies_the_protocol(writer: Synthetic) -> None:
    """Names, sizes, windows and a row."""
    assert isinstance(writer, Writer)
    assert list(writer.row()) == ["writer", "pages", "windows", "accesses", "write_share", "seed", "options"]
    assert writer.row()["writer"] == writer.name


def test_writer__equal_numbers_are_different_patterns() -> None:
    """Classes are told apart."""
    made: list[Synthetic] = [Uniform(10, 1, 1), Sequential(10, 1, 1)]
    assert made[0] != made[1]


def test_row__options_are_what_only_this_one_has() -> None:
    """The columns of all writers are the same."""
    assert Zipf(10, 2, 3, seed=4).row() == {
        "writer": "zipf", "pages": 10, "windows": 2, "accesses": 3, "write_share": 1.0, "seed": 4,
        "options": "exponent=0.990234375,spread=true",
    }  # fmt: skip


def test_repr__is_short() -> None:
    """What makes another of it."""
    assert repr(Strided(10, 2, 3)) == "Strided(n_pages=10, n_windows=2, accesses=3, write_share=1.0, seed=0, stride=8)"


def test_writer__what_is_not_said() -> None:
    """Eight pages, 0.99, spread; a tenth of the pages gets nine tenths of the accesses and moves every ten windows."""
    assert Strided(99, 1, 1) == Strided(99, 1, 1, stride=8)
    assert Zipf(99, 1, 1) == Zipf(99, 1, 1, exponent=0.99, spread=True)
    assert HotCold(99, 1, 1) == HotCold(99, 1, 1, hot_share=0.1, hot_accesses=0.9, move_every=10, step=None)


def test_writer__keeps_plain_numbers() -> None:
    """Numpy's integers and floats become Python's, so that a row can be saved as JSON."""
    writer = HotCold(np.uint64(10), np.int8(2), np.int32(3), hot_share=np.float32(0.5), seed=np.uint8(1))  # type: ignore[arg-type]
    assert [type(value) for value in vars(writer).values()] == [int, int, int, float, int, float, float, int, type(None)]
