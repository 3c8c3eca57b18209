"""The test by ranks, against counting by hand and against published values."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.ranks import MOST, holm, least_p, p_value, ratio
from npt.errors import InvalidArgument

FEW = st.lists(st.integers(1, 6), min_size=1, max_size=5)


def by_hand(a: list[int], b: list[int]) -> float:
    """Share of all deals of the values whose rank sum is at least as far from the middle as that of this one."""
    values = a + b
    rank = {value: sum(other < value for other in values) + (values.count(value) + 1) / 2 for value in values}
    middle = sum(rank[value] for value in values) * len(a) / len(values)
    far = abs(sum(rank[value] for value in a) - middle)
    deals = [
        abs(sum(rank[values[k]] for k in deal) - middle) >= far - 1e-9 for deal in combinations(range(len(values)), len(a))
    ]
    return sum(deals) / len(deals)


@given(FEW, FEW)
def test_p_value__is_the_share_of_deals(a: list[int], b: list[int]) -> None:
    """Counted one by one, ties and all."""
    assert p_value(a, b) == pytest.approx(by_hand(a, b))


def test_p_value__published() -> None:
    """The example of SciPy's mannwhitneyu: U is 17, and 14 of 126 deals are as far out."""
    assert p_value([19, 22, 16, 29, 24], [20, 11, 17, 12]) == pytest.approx(14 / 126)


@pytest.mark.parametrize(("n", "p"), [(1, 1.0), (2, 2 / 6), (5, 2 / 252), (10, 2 / 184756)])
def test_least_p__is_two_deals_of_all(n: int, p: float) -> None:
    """All of one side below all of the other, either way round."""
    assert least_p(n) == pytest.approx(p)


def test_p_value__many_a_side() -> None:
    """The counts are larger than any integer of 64 bits, and still right where they are known."""
    a = list(range(1, MOST + 1))
    assert p_value(a, a) == pytest.approx(1.0)
    assert 0 < least_p(MOST) < 1e-28


@pytest.mark.parametrize(("a", "b"), [([], [1]), ([1], []), ([1] * (MOST + 1), [1]), ([0.0], [1]), ([1], [float("nan")])])
def test_p_value__refuses_what_is_no_time(a: list[float], b: list[float]) -> None:
    """Nothing, too much, zero, not a number."""
    with pytest.raises(InvalidArgument, match=r"values|times"):
        p_value(a, b)


def test_ratio__is_the_median_of_all_ratios() -> None:
    """One wild value on either side does not move it."""
    times, low, high = ratio([1, 1, 1, 1, 50], [2, 2, 2, 2, 0.1])
    assert times == 2
    assert low < 2 <= high


def test_ratio__interval_of_five_and_five() -> None:
    """The tables' critical U is 2: the third ratio from each end."""
    a, b = [1.0, 1.1, 1.3, 1.7, 1.9], [2.0, 2.3, 2.9, 3.1, 3.7]
    ratios = sorted(y / x for x in a for y in b)
    assert ratio(a, b)[1:] == (ratios[2], ratios[-3])


def test_ratio__interval_that_just_fits() -> None:
    """Four of 252 deals are below U of 3: an interval may miss with them on either side."""
    a, b = [1.0, 1.1, 1.3, 1.7, 1.9], [2.0, 2.3, 2.9, 3.1, 3.7]
    ratios = sorted(y / x for x in a for y in b)
    assert ratio(a, b, error=8 / 252)[1:] == (ratios[2], ratios[-3])
    assert ratio(a, b, error=7 / 252)[1:] == (ratios[1], ratios[-2])


def test_ratio__too_few_for_an_interval() -> None:
    """One of twenty deals is more than a fortieth."""
    assert ratio([1, 1, 1], [2, 2, 2]) == (2.0, 0.0, float("inf"))


def test_holm__published() -> None:
    """As R's p.adjust: the order is kept, and none falls below one that is smaller."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
