"""Phases and mixes: whose accesses come when, and that they are values as all writers are."""

import copy
import pickle
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, cycle
from typing import Any

import numpy as np
import pytest

from npt import InvalidArgument
from npt.studies.history import History
from npt.studies.streams import Stream
from npt.studies.writers import Mix, Phases, Sequential, Uniform, Window, Writer, Zipf
from tests.studies import slow_writers

WHOSE = 17

XZ, SORT = History.load("xz"), History.load("sort")
MADE: list[Phases | Mix] = [
    Phases([Sequential(100, 2, 7), Uniform(300, 3, 9, write_share=0.5, seed=2), Sequential(100, 2, 7)]),
    Phases([SORT, Zipf(5000, 3, 100, seed=4)]),
    Mix([Sequential(100, 3, 40), Uniform(300, 5, 60, write_share=0.5, seed=2)], [0.7, 0.3]),
    Mix([Sequential(100, 3, 40), XZ, Zipf(50, 2, 11, seed=9)], [1, 2, 4], disjoint=True, n_windows=7, accesses=133, seed=8),
    Mix([XZ, SORT], [1, 1], n_windows=2, accesses=150),
    Mix([Phases([Uniform(9, 2, 3), Sequential(8, 1, 5)]), Mix([Sequential(7, 1, 4), Sequential(7, 1, 4)], [1, 9])], [1, 1]),
    Phases([Phases([Uniform(9, 2, 3), Uniform(7, 1, 2)]), Mix([Sequential(7, 1, 4), Sequential(7, 1, 4)], [1, 9], seed=3)]),
]


@dataclass(frozen=True)
class Scripted:
    """Somebody else's writer: windows as they are given."""

    script: tuple[tuple[int, ...], ...]
    n_pages: int = 10
    name: str = "scripted"

    @property
    def n_windows(self) -> int:
        return len(self.script)

    def windows(self) -> Iterator[Window]:
        return (Window(np.array(pages, np.uint64), np.array(pages, np.uint64) % 2 == 1) for pages in self.script)

    def row(self) -> dict[str, object]:
        return {
            "writer": "scripted", "pages": 10, "windows": self.n_windows, "accesses": None, "write_share": None, "seed": None,
            "options": "",
        }  # fmt: skip


def accesses(windows: Iterator[Window] | Sequence[Window]) -> list[tuple[int, bool]]:
    """Of windows, in their order."""
    return list(chain.from_iterable(zip(one.pages.tolist(), one.write.tolist(), strict=True) for one in windows))


# -- phases ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phases", [one for one in MADE if isinstance(one, Phases)], ids=range(3))
def test_phases__are_one_writer_after_the_other(phases: Phases) -> None:
    """All windows of the first, unchanged, then those of the next; they can be had again."""
    expected = [accesses([window]) for one in phases.writers for window in one.windows()]
    assert len(expected) >= 4
    for _ in range(2):
        assert [accesses([window]) for window in phases.windows()] == expected
    assert len(expected) == phases.n_windows


def test_phases__the_guest_is_the_largest_one() -> None:
    """Page 0 is the same page for all."""
    assert Phases([Uniform(3, 1, 1), Uniform(70, 2, 1), Uniform(5, 4, 1)]).n_pages == 70


# -- mixes -------------------------------------------------------------------------------------------------------------


def again_and_again(one: Writer) -> Iterator[tuple[int, bool]]:
    """The accesses of a writer without an end."""
    while True:
        for window in one.windows():
            yield from accesses([window])


def slow_mix(mix: Mix) -> list[tuple[int, bool]]:
    """The accesses of a mix in plain Python, one at a time."""
    sums = [sum(map(Fraction, mix.shares[: number + 1])) for number in range(len(mix.shares))]
    bounds = [int(one / sums[-1] * 2**64) for one in sums[:-1]]
    own = [again_and_again(one) for one in mix.writers]
    firsts = [sum(one.n_pages for one in mix.writers[:number]) if mix.disjoint else 0 for number in range(len(own))]
    made = []
    for number in range(mix.n_windows):
        for i in range(mix.accesses):
            whose = bisect_right(bounds, slow_writers.word(mix.seed, WHOSE, number, i))
            page, write = next(own[whose])
            made.append((page + firsts[whose], write))
    return made


@pytest.mark.parametrize("mix", [one for one in MADE if isinstance(one, Mix)], ids=range(4))
def test_mix__is_what_the_slow_twin_says(mix: Mix) -> None:
    """Access by access, over the ends of windows and writers; again when asked again; all windows are of one length."""
    expected = slow_mix(mix)
    for _ in range(2):
        windows = list(mix.windows())
        assert accesses(windows) == expected
        assert [one.pages.size for one in windows] == [mix.accesses] * mix.n_windows


def test_mix__shares_are_kept() -> None:
    """Of 100,000 accesses, each writer's number is within six standard deviations of its share."""
    mix = Mix([Uniform(10, 10, 10_000, seed=one) for one in range(3)], [5, 3, 2], disjoint=True, seed=4)
    counts = Counter(page // 10 for page, _ in accesses(mix.windows()))
    for number, share in enumerate((0.5, 0.3, 0.2)):
        assert abs(counts[number] - 100_000 * share) < 6 * (100_000 * share * (1 - share)) ** 0.5


def test_mix__disjoint_pages_are_side_by_side() -> None:
    """The first writer's pages are the first ones, the next one's follow; else they are the same."""
    writers: list[Writer] = [Sequential(3, 1, 100), Sequential(5, 1, 100)]
    apart, same = Mix(writers, [1, 1], disjoint=True), Mix(writers, [1, 1])
    assert (apart.n_pages, {page for page, _ in accesses(apart.windows())}) == (8, set(range(8)))
    assert (same.n_pages, {page for page, _ in accesses(same.windows())}) == (5, set(range(5)))


def test_mix__each_writer_goes_on_where_it_was() -> None:
    """A sequential writer's accesses stay page after page, whatever comes between."""
    mix = Mix([Sequential(1000, 2, 50), Uniform(10, 2, 50)], [1, 2], disjoint=True)
    own = [page for page, _ in accesses(mix.windows()) if page < 1000]
    assert own == list(range(len(own)))


def test_mix__what_is_not_said() -> None:
    """As many windows as the writer with most, as many accesses as the most that one says, seed 0, the same pages."""
    writers: list[Writer] = [Uniform(10, 7, 3), XZ, Uniform(10, 2, 30)]
    assert Mix(writers, [1, 1, 1]) == Mix(writers, [1, 1, 1], disjoint=False, n_windows=1500, accesses=30, seed=0)


def test_mix__shares_in_proportion() -> None:
    """7 and 3 are 0.7 and 0.3, as good as doubles can say it."""
    pairs = [Mix([Uniform(10, 3, 50), Uniform(9, 3, 50, seed=1)], shares) for shares in ([7, 3], [3.5, 1.5], [70, 30])]
    assert accesses(pairs[0].windows()) == accesses(pairs[1].windows()) == accesses(pairs[2].windows())


def test_mix__a_share_that_is_almost_nothing() -> None:
    """All accesses are the other one's, whichever is the larger."""
    for shares, page in (([1, 1e-300], 0), ([5e-324, 1e300], 1)):
        mix = Mix([Sequential(1, 1, 500), Sequential(1, 1, 500)], shares, disjoint=True)
        assert {one for one, _ in accesses(mix.windows())} == {page}


# -- streams -----------------------------------------------------------------------------------------------------------


def test_stream__pieces_of_any_length_are_the_accesses_in_order() -> None:
    """Over the ends of windows, past empty ones, and on from the first when all were taken."""
    own = Scripted(((), (1, 2, 3), (), (4,), (5, 6)))
    stream = Stream(own)
    taken = [stream.take(n) for n in (0, 1, 2, 4, 0, 13, 1)]
    endless = cycle(range(1, 7))
    assert accesses(taken) == [(page, page % 2 == 1) for page in (next(endless) for _ in range(21))]


def test_stream__of_a_writer_without_accesses() -> None:
    """It says so, and does not look for one for ever."""
    with pytest.raises(InvalidArgument, match="scripted has no accesses in any of its windows"):
        Stream(Scripted(((), ()))).take(1)


@pytest.mark.parametrize(
    "made", [Phases([Uniform(9, 1, 9), Scripted(((3, 10),))]), Mix([Scripted(((10,),)), XZ], [1, 1], accesses=9)]
)
def test_windows__of_a_part_that_is_not_of_the_form(made: Writer) -> None:
    """A page that the part's guest has not got is refused, also where the whole guest has it."""
    with pytest.raises(InvalidArgument, match="window 0 of scripted: page 10 is none of 10"):
        list(made.windows())


# -- values ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("made", MADE, ids=range(len(MADE)))
def test_composed__equal_hashable_picklable(made: Phases | Mix) -> None:
    """A copy is equal, with the same hash, and writes the same."""
    for other in (pickle.loads(pickle.dumps(made)), copy.deepcopy(made)):
        assert other == made
        assert hash(other) == hash(made)
        assert accesses(other.windows()) == accesses(made.windows())
    assert made not in [one for one in MADE if one is not made]


@pytest.mark.parametrize("made", MADE, ids=range(len(MADE)))
def test_composed__satisfies_the_protocol(made: Phases | Mix) -> None:
    """The columns of its row are those of all writers; its windows are of the form."""
    assert isinstance(made, Writer)
    assert list(made.row()) == list(Uniform(1, 1, 1).row())
    assert (made.row()["writer"], made.row()["pages"], made.row()["windows"]) == (made.name, made.n_pages, made.n_windows)
    window = next(iter(made.windows()))
    assert window.pages.dtype == np.uint64
    assert window.write.dtype == np.bool_


def test_row__what_all_have_in_common() -> None:
    """A column has a value where all writers have the same, and tells all that makes a difference in its options."""
    same = Phases([Uniform(10, 2, 3, write_share=0.5), Sequential(4, 1, 3, write_share=0.5, seed=1)]).row()
    assert (same["accesses"], same["write_share"], same["seed"]) == (3, 0.5, None)
    rows = [one.row()["options"] for one in MADE]
    assert len(set(rows)) == len(rows)
    assert str(SORT.row()["options"]) in str(MADE[1].row()["options"])


def test_composed__cannot_be_changed() -> None:
    """They are values."""
    with pytest.raises(AttributeError):
        MADE[2].seed = 3  # type: ignore[misc,union-attr]


# -- refused -----------------------------------------------------------------------------------------------------------

TWO = [Uniform(10, 2, 3), Uniform(10, 2, 3)]


@pytest.mark.parametrize(
    ("writers", "shares", "more", "message"),
    [
        (TWO[:1], [1], {}, "two or more, not 1"),
        ([], [], {}, "two or more, not 0"),
        (TWO, [1], {}, "2 writers, and 1 shares"),
        (TWO, [1, 2, 3], {}, "2 writers, and 3 shares"),
        (TWO, [1, 0], {}, "positive number, not 0"),
        (TWO, [1, -1], {}, "positive number, not -1"),
        (TWO, [float("nan"), 1], {}, "positive number, not nan"),
        (TWO, [float("inf"), 1], {}, "positive number, not inf"),
        (TWO, [1, 1], {"n_windows": 0}, "n_windows must be from 1 to"),
        (TWO, [1, 1], {"accesses": 2**30 + 1}, "accesses must be from 1 to"),
        (TWO, [1, 1], {"accesses": 0}, "accesses must be from 1 to"),
        (TWO, [1, 1], {"seed": -1}, "seed -1 is not"),
        (TWO, [1, 1], {"seed": 2**64}, "seed"),
        ([XZ, XZ], [1, 1], {}, "none of the writers says how many accesses a window has: give accesses"),
        ([Uniform(2**32, 1, 1)] * 9, [1] * 9, {"disjoint": True}, "more than the largest space has"),
        ([TWO[0], Scripted(())], [1, 1], {}, "scripted has no windows, or no pages"),
    ],
)
def test_mix__bad_values(writers: Any, shares: Any, more: dict[str, Any], message: str) -> None:
    """InvalidArgument when it is made."""
    with pytest.raises(InvalidArgument, match=message):
        Mix(writers, shares, **more)


@pytest.mark.parametrize(
    ("writers", "shares", "more"),
    [
        (TWO[0], [1, 1], {}),
        ("zipf", [1, 1], {}),
        (3, [1, 1], {}),
        ([TWO[0], "zipf"], [1, 1], {}),
        (TWO, "11", {}),
        (TWO, 1, {}),
        (TWO, [1, True], {}),
        (TWO, ["1", 1], {}),
        (TWO, [1, 1], {"disjoint": 1}),
        (TWO, [1, 1], {"n_windows": 2.0}),
        (TWO, [1, 1], {"accesses": True}),
        (TWO, [1, 1], {"seed": None}),
        (TWO, [0, 1], {"seed": 1.5}),
    ],
)
def test_mix__bad_types(writers: Any, shares: Any, more: dict[str, Any]) -> None:
    """TypeError, even beside a wrong value."""
    with pytest.raises(TypeError, match="must be"):
        Mix(writers, shares, **more)


def test_phases__bad_writers() -> None:
    """Two writers at least, and nothing else."""
    with pytest.raises(InvalidArgument, match="two or more, not 1"):
        Phases(TWO[:1])
    with pytest.raises(InvalidArgument, match="no windows, or no pages"):
        Phases([TWO[0], Scripted((), n_pages=0)])
    for wrong in (TWO[0], "zipf|uniform", None, [TWO[0], 3]):
        with pytest.raises(TypeError, match="must be"):
            Phases(wrong)  # type: ignore[arg-type]
