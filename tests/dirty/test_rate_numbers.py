"""Rates that are known, and which pages a sample draws."""

import math

import numpy as np
import pytest

from npt import (
    InvalidArgument,
)  # fmt: skip
from npt.dirty.bitmap import from_pages
from npt.dirty.rate import Rate, by_bitmap, draw, exact

N = 40
ALL = 1 << 18  # pages a GiB: every page


# -- rates --------------------------------------------------------------------------------------------------------------


def test_exact__distinct_pages() -> None:
    """However often they were written."""
    rate = exact([3, 0, 3, 3, 9], 10, 2)
    assert (rate.pages, rate.n_pages, rate.low, rate.high, rate.method, rate.level) == (3, 10, 3, 3, "exact", 1.0)
    assert (rate.share, rate.pages_per_s, rate.bytes_per_s) == (0.3, 1.5, 6144.0)


def test_exact__nothing_of_nothing() -> None:
    """No pages, no writes."""
    rate = exact([], 0, 0.5)
    assert (rate.pages, rate.n_pages, rate.share, rate.bytes_per_s) == (0, 0, 0.0, 0.0)


def test_by_bitmap__counts() -> None:
    """All bits, or as many as are said to count."""
    bitmap = np.array([0b1000_0001, 0b11], np.uint8)
    assert (by_bitmap(bitmap, 1).pages, by_bitmap(bitmap, 1).n_pages) == (4, 16)
    assert (by_bitmap(bitmap, 1, n_pages=9).pages, by_bitmap(bitmap, 1, n_pages=9).n_pages) == (3, 9)
    assert by_bitmap(bitmap, 0.25).bytes_per_s == 4 * 4 * 4096
    assert by_bitmap(bitmap, 1).method == "bitmap"


def test_error__relative_to_the_truth() -> None:
    """Positive if too much; infinite, unless right, where nothing was written."""
    rate = Rate(15, 100, 1.0, 10, 20, "sampled")
    assert (rate.error(10), rate.error(30), rate.error(15), rate.error(0)) == (0.5, -0.5, 0.0, math.inf)
    assert rate.error(exact([1, 2], 10, 1)) == 6.5
    assert exact([], 10, 1).error(0) == 0.0


def test_covers__both_ends() -> None:
    """The interval is closed."""
    rate = Rate(15, 100, 1.0, 10, 20, "sampled")
    assert [rate.covers(n) for n in (9, 10, 20, 21)] == [False, True, True, False]
    assert rate.covers(exact(range(12), 100, 1))


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ("exact([1], 2, 0)", InvalidArgument),
        ("exact([1], 2, -1.0)", InvalidArgument),
        ("exact([1], 2, float('nan'))", InvalidArgument),
        ("exact([1], 2, float('inf'))", InvalidArgument),
        ("exact([1], 2, True)", TypeError),
        ("exact([1], 2, '1')", TypeError),
        ("exact([2], 2, 1)", InvalidArgument),
        ("exact([-1], 2, 1)", InvalidArgument),
        ("exact([1.0], 2, 1)", TypeError),
        ("exact([1], 2.0, 1)", TypeError),
        ("exact([1], -1, 1)", InvalidArgument),
        ("by_bitmap(bitmap, 0)", InvalidArgument),
        ("by_bitmap(bitmap, None)", TypeError),
        ("by_bitmap(bitmap, 1, n_pages=17)", InvalidArgument),
        ("by_bitmap(bitmap, 1, n_pages=-1)", InvalidArgument),
        ("by_bitmap(bitmap.reshape(1, 2), 1)", InvalidArgument),
        ("by_bitmap(bitmap.astype(bool), 1)", TypeError),
        ("by_bitmap([1, 2], 1)", TypeError),
        ("by_bitmap(bitmap, 1).error(1.0)", TypeError),
        ("by_bitmap(bitmap, 1).covers(True)", TypeError),
    ],
)
def test_rates__refuse(call: str, error: type[Exception]) -> None:
    """Times, numbers and bitmaps that are none."""
    with pytest.raises(error):
        eval(call, {"exact": exact, "by_bitmap": by_bitmap, "bitmap": np.zeros(2, np.uint8)})


# -- drawing ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [0, 1, 2, 7, 100, 500, 999, 1000])
def test_draw__ascending_without_repeats(n: int) -> None:
    """Pages of the population, rounded up to so many."""
    population = from_pages(range(5, 5000, 5), 5001)  # 999 pages
    found = draw(population, n << 8, 3) if n else draw(population[:0], ALL, 3)
    assert found.size == min(999, -(-999 * n // 1024)) if n else not found.size
    assert not found.size or (np.diff(found.astype(np.int64)) > 0).all()
    assert set(found.tolist()) <= set(range(5, 5000, 5))


@pytest.mark.parametrize(("per_gib", "n"), [(1, 1), (512, 2), (1 << 16, 250), (3 << 16, 750), (ALL - 1, 1000), (ALL, 1000)])
def test_draw__how_many(per_gib: int, n: int) -> None:
    """So many for each GiB, rounded up: never none."""
    assert draw(np.full(125, 0xFF, np.uint8), per_gib, 0).size == n


def test_draw__same_on_every_machine() -> None:
    """The choice of seed 0 from 64 pages, and of another seed."""
    everything = np.full(8, 0xFF, np.uint8)
    few = draw(everything, 1 << 15, 0).tolist()
    assert few == [12, 13, 14, 19, 36, 39, 45, 56]  # low bits of SplitMix64's words from key 0xDB2CD7E7B0F478BE on
    assert draw(everything, 1 << 15, 1).tolist() != few
    assert draw(everything, 1 << 15, 2**200).size == 8


def test_draw__most_of_them_are_chosen_alike_too() -> None:
    """Where more than half are drawn, those left out are: each about as often."""
    left_out = np.zeros(40)
    for seed in range(2000):
        left = np.ones(40, bool)
        left[draw(np.full(5, 0xFF, np.uint8), ALL * 9 // 10, seed)] = False
        assert left.sum() == 4
        left_out += left
    assert (np.abs(left_out - 200) < 5 * 180**0.5).all()
