"""Writers in simulated time: what is due when, to the last access."""

from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from itertools import chain, count
from typing import Any

import numpy as np
import pytest

from npt import InvalidArgument
from npt.studies import Timed
from npt.studies.history import History
from npt.studies.writers import Mix, Phases, Sequential, Uniform, Window, Writer, Zipf
from tests.studies.test_mixes import Scripted, accesses

XZ = History.load("xz")
UNEVEN = Scripted(((), (1, 2, 3), (4, 5), (), (), (6, 7, 8, 9, 1, 1, 3)))

TIMED: list[tuple[Writer, dict[str, Any]]] = [
    (UNEVEN, {"accesses_per_second": 7e8}),
    (UNEVEN, {"accesses_per_second": 123456789.125, "part": 2}),
    (UNEVEN, {"accesses_per_second": 2.5e9, "repeat": False}),
    (UNEVEN, {"seconds_per_window": 1.3e-9}),
    (UNEVEN, {"seconds_per_window": 7e-10, "part": 5}),
    (UNEVEN, {"seconds_per_window": 3e-9, "repeat": False}),
    (UNEVEN, {"pages_per_second": 1.1e9}),
    (UNEVEN, {"pages_per_second": 3.3e8, "repeat": False, "part": 1}),
    (Sequential(10, 3, 7), {"accesses_per_second": 3e8}),
    (Sequential(99, 3, 49), {"accesses_per_second": 1e9}),  # in doubles, 49 * (1 / 49) is less than 1
    (Uniform(10, 3, 7, write_share=0.5), {"pages_per_second": 1e8}),
    (Phases([Uniform(10, 3, 7), UNEVEN]), {"seconds_per_window": 1e-8}),
    (Mix([Zipf(10, 3, 7), UNEVEN], [1, 2]), {"accesses_per_second": 333333333.3}),
]


def slow_times(writer: Writer, rate: dict[str, Any]) -> Iterator[tuple[Fraction, tuple[int, bool]]]:
    """When each access is done, in nanoseconds, one at a time."""
    start = Fraction(0)
    for _ in count() if rate.get("repeat", True) else range(1):
        for window in writer.windows():
            own = accesses([window])
            if "seconds_per_window" in rate:
                takes = Fraction(str(rate["seconds_per_window"])) * 10**9
            elif "accesses_per_second" in rate:
                takes = len(own) * 10**9 / Fraction(str(rate["accesses_per_second"]))
            else:
                takes = len({page for page, write in own if write}) * 10**9 / Fraction(str(rate["pages_per_second"]))
            for done, one in enumerate(own, 1):
                yield start + takes * done / len(own), one
            start += takes


def slow_until(writer: Writer, rate: dict[str, Any], end: int) -> list[tuple[int, bool]]:
    """All accesses that are done at a moment."""
    made = []
    for moment, one in slow_times(writer, rate):
        if moment > end:
            break
        made.append(one)
    return made


# -- exact -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("writer", "rate"), TIMED, ids=range(len(TIMED)))
@pytest.mark.parametrize("end", [0, 1, 2, 3, 10, 111, 1000])
def test_during__is_what_the_slow_twin_says(writer: Writer, rate: dict[str, Any], end: int) -> None:
    """From the start, over the ends of windows and of the writer."""
    timed = Timed(writer, **rate)
    made = accesses(list(timed.during(end)))
    assert made == slow_until(writer, rate, end)
    assert (timed.now, timed.accesses) == (end, len(made))


@pytest.mark.parametrize(("writer", "rate"), TIMED, ids=range(len(TIMED)))
def test_during__many_short_ones_are_one_long_one(writer: Writer, rate: dict[str, Any]) -> None:
    """A thousand nanoseconds one by one, or in uneven steps, give the same accesses in the same order; nothing drifts."""
    whole, ones, uneven = (Timed(writer, **rate) for _ in range(3))
    expected = accesses(list(whole.during(1000)))
    assert accesses(list(chain.from_iterable(ones.during(1) for _ in range(1000)))) == expected
    assert accesses(list(chain.from_iterable(uneven.during(ns) for ns in (0, 17, 400, 3, 0, 579, 1)))) == expected


def test_during__long_times_are_exact() -> None:
    """After an hour of 10.1 seconds each window, and of a third of an access each nanosecond, none is missing."""
    timed = Timed(Scripted(((1, 2),)), seconds_per_window=10.1)
    assert sum(one.pages.size for _ in range(360) for one in timed.during(10_100_000_000)) == 720
    slow = Timed(Sequential(10, 1, 1000), accesses_per_second=Fraction(10**9, 3))
    assert sum(one.pages.size for _ in range(1000) for one in slow.during(1001)) == 1_001_000 // 3


def test_during__the_leads_question() -> None:
    """4 096 000 000 ns at a rate per second."""
    timed = Timed(Uniform(1000, 10, 1000), accesses_per_second=100_000)
    assert sum(one.pages.size for one in timed.during(4_096_000_000)) == 409_600


# -- rates -------------------------------------------------------------------------------------------------------------


def test_accesses_per_second__windows_without_accesses_take_no_time() -> None:
    """A second has as many accesses as it says, whatever the windows."""
    timed = Timed(UNEVEN, accesses_per_second=5)
    assert [accesses(list(timed.during(10**9))) for _ in range(2)] == [
        [(1, True), (2, False), (3, True), (4, False), (5, True)],
        [(6, False), (7, True), (8, False), (9, True), (1, True)],
    ]


def test_seconds_per_window__windows_without_accesses_take_theirs() -> None:
    """Each second has its window."""
    timed = Timed(UNEVEN, seconds_per_window=1)
    assert [sum(one.pages.size for one in timed.during(10**9)) for _ in range(7)] == [0, 3, 2, 0, 0, 7, 0]


def test_pages_per_second__counts_what_is_written_once_a_window() -> None:
    """The last window writes 1, 3, 7 and 9 and takes four seconds at one page a second; those that only read take none."""
    timed = Timed(Scripted(((2, 4), (1, 1, 3, 7, 9, 8, 8, 8), (6,))), pages_per_second=1)
    made = [[page for page, _ in accesses(list(timed.during(10**9)))] for _ in range(5)]
    assert made == [[2, 4, 1, 1], [3, 7], [9, 8], [8, 8, 6, 2, 4], [1, 1]]


@pytest.mark.parametrize("rate", [0.1, "0.1", Decimal("0.1"), Fraction(1, 10), np.float64(0.1)])
def test_rate__is_the_decimal_that_it_is_written_as(rate: Any) -> None:
    """A window of a tenth of a second is over after 100 000 000 ns, not one later."""
    if isinstance(rate, str):
        with pytest.raises(TypeError, match="must be a number"):
            Timed(UNEVEN, seconds_per_window=rate)  # type: ignore[arg-type]
        return
    timed = Timed(Scripted(((1,),)), seconds_per_window=rate)
    assert [len(list(timed.during(ns))) for ns in (99_999_999, 1)] == [0, 1]


# -- handed out in parts -----------------------------------------------------------------------------------------------


def test_during__parts_are_of_the_length_that_was_given() -> None:
    """Short windows are joined and long ones are cut; only the last part is shorter."""
    timed = Timed(Phases([Sequential(50, 1, 1000), UNEVEN]), accesses_per_second=1e9, part=64)
    assert [one.pages.size for one in timed.during(2003)] == [64] * 31 + [2003 - 64 * 31]


def test_during__a_billion_accesses_are_made_as_they_are_taken() -> None:
    """The first part of a year comes before the rest of it is thought of."""
    timed = Timed(Uniform(1000, 2**32, 100, seed=1), accesses_per_second=1e9)
    parts = timed.during(365 * 86400 * 10**9)
    assert next(parts).pages.size == timed.accesses == 1 << 16


def test_during__what_was_not_taken_comes_next() -> None:
    """Time goes on when it is asked for, accesses when they are taken: none is lost and none comes twice."""
    whole, left = (Timed(Sequential(1000, 9, 10), accesses_per_second=1e9, part=7) for _ in range(2))
    expected = accesses(list(whole.during(80)))
    begun = left.during(50)
    made = [next(begun), next(begun)]
    later = left.during(30)
    made += [next(later), next(begun), *later, *begun]
    assert accesses(made) == expected
    assert left.now == whole.now == 80


def test_during__of_an_older_one_ends_where_it_would() -> None:
    """When the newer one has gone past its end, nothing is left for it."""
    timed = Timed(Scripted(((2, 4), (1,))), pages_per_second=1e9)
    older = timed.during(3)
    list(timed.during(4))
    assert list(older) == []


def test_during__of_an_older_one_in_the_middle_of_a_window_that_takes_no_time() -> None:
    """What is left of it is not due for one that ends before."""
    timed = Timed(Scripted(((1,), (2, 4))), pages_per_second=1e9, part=1)
    older, newer = timed.during(0), timed.during(1)
    assert [next(newer).pages.tolist() for _ in range(2)] == [[1], [2]]
    assert list(older) == []
    assert next(newer).pages.tolist() == [4]


# -- the end -----------------------------------------------------------------------------------------------------------


def test_repeat__begins_again_from_the_first_window() -> None:
    """Unless told, a writer has no end."""
    timed = Timed(Sequential(4, 1, 3), accesses_per_second=1e9)
    assert [page for page, _ in accesses(list(timed.during(8)))] == [0, 1, 2, 0, 1, 2, 0, 1]
    assert not timed.finished


def test_repeat__or_stops() -> None:
    """Each window once, then nothing, however long."""
    timed = Timed(Sequential(4, 2, 3), accesses_per_second=1e9, repeat=False)
    assert len(accesses(list(timed.during(5)))) == 5
    assert not timed.finished
    assert [page for page, _ in accesses(list(timed.during(5)))] == [1]
    assert timed.finished
    assert list(timed.during(10**12)) == []


@pytest.mark.parametrize(
    ("writer", "rate", "message"),
    [
        (Scripted(((), ())), "accesses_per_second", "scripted has no accesses in any of its windows"),
        (Scripted(((2, 4), (6,))), "pages_per_second", "scripted writes nothing in any of its windows"),
    ],
)
def test_during__windows_that_take_no_time(writer: Writer, rate: str, message: str) -> None:
    """It is said, and not tried for ever; a writer that stops may be so."""
    with pytest.raises(InvalidArgument, match=message):
        list(Timed(writer, **{rate: 1}).during(1))  # type: ignore[arg-type]
    once = Timed(writer, **{rate: 1}, repeat=False)
    assert accesses(list(once.during(1))) == accesses(list(writer.windows()))
    assert once.finished


def test_during__nothing_happens_in_time() -> None:
    """A history of empty windows of a second each is one of nothing."""
    assert list(Timed(Scripted(((), ())), seconds_per_window=1).during(10**11)) == []


class Failing(Scripted):
    """Its third window cannot be had at the first time."""

    failed = False

    def windows(self) -> Iterator[Window]:
        """Those of the script."""
        for number, window in enumerate(super().windows()):
            if number == 2 and not type(self).failed:
                type(self).failed = True
                raise KeyboardInterrupt
            yield window


@pytest.mark.parametrize("repeat", [True, False])
def test_during__goes_on_after_an_interrupt(repeat: bool) -> None:
    """What was on its way when a window could not be had comes again: none is lost, and the writer is not at its end."""
    Failing.failed = False
    timed = Timed(Failing(((1,), (2,), (3,), (4,))), seconds_per_window=1e-9, repeat=repeat)
    assert [one.pages.tolist() for one in timed.during(1)] == [[1]]
    parts = timed.during(2)
    with pytest.raises(KeyboardInterrupt):
        next(parts)
    assert timed.accesses == 1
    assert [one.pages.tolist() for one in timed.during(1)] == [[2, 3, 4]]
    assert [one.pages.tolist() for one in timed.during(2)] == ([[1, 2]] if repeat else [])


# -- refused, and told -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({}, "one of accesses_per_second, seconds_per_window, pages_per_second must be given, not none"),
        ({"accesses_per_second": 1, "pages_per_second": 1}, "not accesses_per_second and pages_per_second"),
        *(
            ({kind: wrong}, f"{kind} must be a positive number")
            for kind in ("accesses_per_second", "seconds_per_window", "pages_per_second")
            for wrong in (0, -1, float("nan"), float("inf"), 10**400, Decimal("-0.5"))
        ),
        ({"accesses_per_second": 1, "part": 0}, "part 0 is not"),
        ({"accesses_per_second": 1, "part": 2**30 + 1}, "part"),
    ],
)
def test_timed__bad_values(more: dict[str, Any], message: str) -> None:
    """InvalidArgument when it is made."""
    with pytest.raises(InvalidArgument, match=message):
        Timed(UNEVEN, **more)


@pytest.mark.parametrize(
    "more",
    [
        {"accesses_per_second": True},
        {"accesses_per_second": "1"},
        {"accesses_per_second": 1, "seconds_per_window": "1"},
        {"accesses_per_second": 1, "repeat": 1},
        {"accesses_per_second": 1, "part": 1.0},
        {"writer": "zipf", "accesses_per_second": 1},
    ],
)
def test_timed__bad_types(more: dict[str, Any]) -> None:
    """TypeError."""
    with pytest.raises(TypeError, match="must be"):
        Timed(**{"writer": UNEVEN, **more})


def test_during__bad_durations() -> None:
    """Refused when asked for, before time goes on."""
    timed = Timed(UNEVEN, seconds_per_window=1)
    with pytest.raises(InvalidArgument, match="ns -1 is negative"):
        timed.during(-1)
    for wrong in (1.0, True, None):
        with pytest.raises(TypeError, match="ns must be an integer"):
            timed.during(wrong)  # type: ignore[arg-type]
    assert timed.now == 0


def test_timed__a_writer_without_windows() -> None:
    """There is nothing to begin again."""
    with pytest.raises(InvalidArgument, match="scripted has no windows"):
        Timed(Scripted(()), accesses_per_second=1)


def test_row__has_the_rate() -> None:
    """Beside the writer's own columns, as plain values."""
    row = Timed(XZ, seconds_per_window=Fraction(1, 4)).row()
    assert row == {
        **XZ.row(), "accesses_per_second": None, "seconds_per_window": 0.25, "pages_per_second": None, "repeat": True,
    }  # fmt: skip


def test_repr__is_short() -> None:
    """Whose, how fast, and when."""
    timed = Timed(XZ, accesses_per_second=1e6)
    timed.during(5)
    assert (repr(timed), timed.n_pages) == ("<Timed xz, accesses_per_second 1e+06, at 5 ns>", XZ.n_pages)
