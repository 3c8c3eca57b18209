"""The exact interval: against integers and fractions, for every possible truth, and by many samples."""

from fractions import Fraction
from functools import cache
from itertools import pairwise
from math import comb
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from npt import InvalidArgument
from npt.dirty.hypergeometric import interval, tails
from npt.dirty.rate import draw
from npt.kernels.jit import DISABLED

LEVELS = (0.5, 0.8, 0.9, 0.95, 0.99, 0.999)


def ways(total: int, marked: int, n: int, k: int) -> int:
    """How many choices of ``n`` pages of ``total`` have exactly ``k`` of the ``marked``."""
    return comb(marked, k) * comb(total - marked, n - k) if 0 <= k <= n else 0


def exactly(total: int, marked: int, n: int, k: int) -> tuple[Fraction, Fraction]:
    """How likely ``k`` or fewer, and ``k`` or more, are marked."""
    few = sum(ways(total, marked, n, x) for x in range(max(0, n - total + marked), min(k, marked) + 1))
    choices = comb(total, n)
    return Fraction(few, choices), Fraction(choices - few + ways(total, marked, n, k), choices)


@pytest.mark.parametrize("total", range(13))
def test_tails__of_small_populations(total: int) -> None:
    """Every population, sample and outcome, possible or not, against math.comb."""
    for marked in range(total + 1):
        for n in range(total + 1):
            for k in range(n + 1):
                wanted = [float(tail) for tail in exactly(total, marked, n, k)]
                assert tails(total, marked, n, k) == pytest.approx(wanted, rel=1e-13, abs=1e-18)


@given(st.integers(1, 3000), st.data())
def test_tails__of_larger_ones(total: int, data: st.DataObject) -> None:
    """To eleven digits, as far out as matters."""
    marked, n = data.draw(st.integers(0, total)), data.draw(st.integers(0, min(total, 300)))
    k = data.draw(st.integers(0, n))
    wanted = [float(tail) for tail in exactly(total, marked, n, k)]
    assert tails(total, marked, n, k) == pytest.approx(wanted, rel=1e-11, abs=1e-15)


@pytest.mark.parametrize(
    ("total", "marked", "n", "k"),
    [(1 << 18, 13_000, 512, 20), (1 << 18, 26, 512, 0), (1 << 18, (1 << 18) - 1, 512, 511), (1 << 20, 1 << 19, 2048, 1000)],
)
def test_tails__of_guests(total: int, marked: int, n: int, k: int) -> None:
    """A GiB and four of them, with 512 pages a GiB."""
    wanted = [float(tail) for tail in exactly(total, marked, n, k)]
    assert tails(total, marked, n, k) == pytest.approx(wanted, rel=1e-11, abs=1e-15)


@cache
def known(total: int, n: int, k: int, level: float) -> tuple[int, int]:
    """The interval, asked for once."""
    return interval(total, n, k, level=level)


def coverage(total: int, truth: int, n: int, level: float) -> Fraction:
    """How often the interval holds a truth."""
    held = 0
    for k in range(max(0, n - total + truth), min(n, truth) + 1):
        low, high = known(total, n, k, level)
        held += ways(total, truth, n, k) if low <= truth <= high else 0
    return Fraction(held, comb(total, n))


@pytest.mark.parametrize("level", LEVELS)
def test_interval__holds_the_truth_as_often_as_it_says(level: float) -> None:
    """Every population up to 20 pages, every sample, every truth, in fractions: never less often than the level."""
    for total in range(21):
        for n in range(total + 1):
            for truth in range(total + 1):
                assert coverage(total, truth, n, level) >= Fraction(str(level)), (total, n, truth)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(("total", "n"), [(40, 1), (40, 7), (60, 30), (61, 60), (97, 20)])
def test_interval__is_no_wider_than_it_must(total: int, n: int, level: float) -> None:
    """It ends where one more truth would make what was seen too unlikely, on either side."""
    enough = (1 - Fraction(str(level))) / 2
    for k in range(n + 1):
        low, high = interval(total, n, k, level=level)
        possible = range(k, total - n + k + 1)
        held = [m for m in possible if min(exactly(total, m, n, k)) >= enough]
        surely = [m for m in possible if min(exactly(total, m, n, k)) > enough]
        assert (surely[0], surely[-1]) == (low, high) or (held[0], held[-1]) == (low, high)


def test_interval__at_a_tie_is_the_wider_one() -> None:
    """One page of forty: a single changed one among all is seen with probability 1/40, just what the level leaves."""
    assert exactly(40, 1, 1, 1)[1] == Fraction(1, 40)
    assert interval(40, 1, 1, level=0.95) == (1, 40)
    assert interval(40, 1, 0, level=0.95) == (0, 39)


@given(st.integers(0, 10**6), st.data())
def test_interval__is_possible(total: int, data: st.DataObject) -> None:
    """It holds the estimate, and nothing that the sample excludes; swapping changed and unchanged mirrors it."""
    n = data.draw(st.integers(0, min(total, 1000)))
    k = data.draw(st.integers(0, n))
    low, high = interval(total, n, k, level=0.9)
    assert k <= low <= high <= total - n + k
    if n:
        assert low <= Fraction(k * total, n) <= high
    mirrored = interval(total, n, n - k, level=0.9)
    assert mirrored == (total - high, total - low)


@pytest.mark.parametrize(
    ("total", "n", "k", "wanted"),
    [
        (0, 0, 0, (0, 0)),  # no pages
        (10, 0, 0, (0, 10)),  # no sample
        (1, 1, 0, (0, 0)),  # one page
        (1, 1, 1, (1, 1)),
        (1000, 1000, 0, (0, 0)),  # all of it sampled
        (1000, 1000, 1000, (1000, 1000)),
        (1000, 1000, 123, (123, 123)),
        (1000, 999, 5, (5, 5)),  # all but one, which is one of six with probability 6/1000
        (1000, 999, 500, (500, 501)),
    ],
)
def test_interval__edges(total: int, n: int, k: int, wanted: tuple[int, int]) -> None:
    """Where nothing is left to chance, low and high are the number itself."""
    assert interval(total, n, k) == wanted


def test_interval__narrows_with_sample_and_level() -> None:
    """More pages, or less certainty: a narrower interval inside the wider one."""
    widths = [interval(1 << 18, n, n // 16) for n in (128, 512, 2048, 16384)]
    levels = [interval(1 << 18, 512, 32, level=level) for level in (0.999, 0.99, 0.95, 0.5)]
    for series in (widths, levels):
        for (low, high), (inner_low, inner_high) in pairwise(series):
            assert low < inner_low < inner_high < high


@pytest.mark.slow
@pytest.mark.skipif(DISABLED, reason="thousands of samples")
@pytest.mark.parametrize(("total", "marked", "per_gib"), [(4096, 300, 8192), (4096, 4, 16384), (1000, 500, 13000)])
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_samples__intervals_hold_the_truth(total: int, marked: int, per_gib: int, level: float) -> None:
    """Of two thousand seeded samples as many hold the truth as should, to four standard deviations; that is enough of them."""
    everything = np.full(total // 8, 0xFF, np.uint8)
    changed = np.zeros(total, bool)
    changed[np.argsort((np.arange(total) * 7919) % total)[:marked]] = True
    n, held, trials = -(-total * per_gib // 2**18), 0, 2000
    for seed in range(trials):
        pages = draw(everything, per_gib, seed)
        low, high = known(total, pages.size, int(changed[pages].sum()), level)
        held += low <= marked <= high
    said = coverage(total, marked, n, level)
    assert said >= Fraction(str(level))
    assert abs(held - said * trials) <= 4 * (float(said * (1 - said)) * trials) ** 0.5 + 1


BAD = [
    ((10, 5, 2), {"level": 0}, InvalidArgument),
    ((10, 5, 2), {"level": 1}, InvalidArgument),
    ((10, 5, 2), {"level": -0.5}, InvalidArgument),
    ((10, 5, 2), {"level": float("nan")}, InvalidArgument),
    ((10, 5, 2), {"level": 10**400}, InvalidArgument),
    ((10, 5, 2), {"level": True}, TypeError),
    ((10, 5, 2), {"level": "0.95"}, TypeError),
    ((10, 5, 2), {"level": None}, TypeError),
    ((-1, 0, 0), {}, InvalidArgument),
    ((10, 11, 2), {}, InvalidArgument),
    ((10, -1, 0), {}, InvalidArgument),
    ((10, 5, 6), {}, InvalidArgument),
    ((10, 5, -1), {}, InvalidArgument),
    ((10.0, 5, 1), {}, TypeError),
    ((10, True, 1), {}, TypeError),
    ((10, 5, "1"), {}, TypeError),
]


@pytest.mark.parametrize(("numbers", "more", "error"), BAD)
def test_interval__refuses(numbers: Any, more: Any, error: type[Exception]) -> None:
    """More changed than sampled, more sampled than there are, levels that are none."""
    with pytest.raises(error):
        interval(*numbers, **more)


def test_interval__any_integers_and_numbers() -> None:
    """numpy's, too."""
    assert interval(np.uint64(1000), np.int32(100), np.uint8(3), level=np.float32(0.5)) == interval(1000, 100, 3, level=0.5)
