"""Dirty rates of writers, three ways, against counts in plain Python."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import pytest

from npt import EPT, NPT, InvalidArgument, PteFormat
from npt.dirty.hypergeometric import interval
from npt.studies.history import History
from npt.studies.randomness import chosen, words
from npt.studies.rates import dirty_rates
from npt.studies.results import Results
from npt.studies.synthetic import HotCold, Sequential, Uniform
from npt.studies.window import Window, Writer

ALL = 1 << 18  # pages a GiB: every page
FORMATS = pytest.mark.parametrize("form", [EPT, NPT], ids=["ept", "npt"])


class Given:
    """A writer whose windows are given: lists of pages, negative for a read of the page before -1."""

    name = "given"

    def __init__(self, n_pages: int, *accesses: list[int]) -> None:
        self.n_pages, self.n_windows, self._accesses = n_pages, len(accesses), accesses

    def windows(self) -> Iterator[Window]:
        """As given."""
        for accesses in self._accesses:
            pages = np.array([page if page >= 0 else -page - 1 for page in accesses], np.uint64)
            yield Window(pages, np.array([page >= 0 for page in accesses], bool))

    def row(self) -> dict[str, object]:
        """Its name is enough."""
        return {"writer": self.name}


def written(writer: Writer, period: int) -> list[set[int]]:
    """Pages written in each period, in plain Python."""
    windows = iter(writer.windows())
    periods = []
    while some := list(islice(windows, period)):
        pairs = [pair for one in some for pair in zip(one.pages.tolist(), one.write.tolist(), strict=True)]
        periods.append({page for page, write in pairs if write})
    return periods


WRITERS: dict[str, tuple[Writer, int]] = {
    "uniform": (Uniform(n_pages=700, n_windows=5, accesses=200, write_share=0.6, seed=3), 2),
    "sequential": (Sequential(n_pages=512, n_windows=4, accesses=100, seed=1), 1),
    "hotcold": (HotCold(n_pages=600, n_windows=4, accesses=300, seed=2), 3),
    "given": (Given(5, [0, -1, 0, 4], [], [-1, -3], [3, 2]), 1),
}


@FORMATS
@pytest.mark.parametrize("name", WRITERS)
def test_rates__every_page_sampled(form: PteFormat, name: str) -> None:
    """The truth, the bitmap and a sample of everything are one."""
    writer, period = WRITERS[name]
    results = dirty_rates(writer, format=form, period=period, per_gib=ALL, window_seconds=0.5)
    truths = [len(pages) for pages in written(writer, period)]
    assert truths
    assert [row["written"] for row in results.rows] == truths
    for row, truth in zip(results.rows, truths, strict=True):
        assert row["bitmap"] == row["estimate"] == row["low"] == row["high"] == row["changed"] == truth
        assert (row["bitmap_error"], row["estimate_error"]) == (0.0, 0.0)
        assert row["bytes_per_s"] == truth * 4096 / row["seconds"]
        assert (row["format"], row["sample"], row["writer"]) == (form.name, writer.n_pages, writer.name)


@pytest.mark.slow
@FORMATS
def test_rates__of_a_history(form: PteFormat) -> None:
    """A real program's first thousand windows, ten at a time."""
    history = History.load("sqlite")
    results = dirty_rates(history, format=form, period=10, n_periods=100, per_gib=ALL // 8)
    assert len(results.rows) == 100
    assert [row["written"] for row in results.rows] == [len(pages) for pages in written(history, 10)[:100]]
    assert all(row["bitmap"] == row["written"] == row["changed"] for row in results.rows)
    assert all(row["sample"] == -(-history.n_pages // 8) for row in results.rows)
    covered = sum(row["covers_written"] for row in results.rows)
    assert covered >= 95


def test_rates__the_sample_is_told() -> None:
    """Estimate, interval, error and what it covers follow from the numbers sampled; another seed samples others."""
    writer = Uniform(n_pages=2000, n_windows=6, accesses=300, seed=1)
    rows = dirty_rates(writer, per_gib=ALL // 10, level=0.8, seed=5).rows
    for row in rows:
        assert row["sample"] == 200
        assert row["estimate"] == row["sample_changed"] * 10
        assert (row["low"], row["high"]) == interval(2000, 200, row["sample_changed"], level=0.8)
        assert row["estimate_error"] == (row["estimate"] - row["written"]) / row["written"]
        assert row["covers_written"] is (row["low"] <= row["written"] <= row["high"])
    again, other = (dirty_rates(writer, per_gib=ALL // 10, level=0.8, seed=seed).rows for seed in (5, 6))
    assert rows == again
    assert [row["sample_changed"] for row in rows] != [row["sample_changed"] for row in other]


def test_rates__periods_sample_other_pages() -> None:
    """With the same pages written in each, not the same number of the sample changed."""
    pages = list(range(0, 1000, 2))
    rows = dirty_rates(Given(1000, *[pages] * 8), per_gib=ALL // 20).rows
    assert len({row["sample_changed"] for row in rows}) > 1


def test_rates__periods() -> None:
    """So many windows each, the last what is left; stopped where told."""
    writer = Given(4, [0], [1], [0, 2], [3], [3])
    rows = dirty_rates(writer, period=2, window_seconds=3, per_gib=ALL).rows
    assert [(r["period"], r["period_windows"], r["seconds"], r["written"]) for r in rows] == [
        (1, 2, 6, 2),
        (2, 2, 6, 3),
        (3, 1, 3, 1),
    ]
    assert dirty_rates(writer, period=2, n_periods=2, per_gib=ALL).rows == [
        {**row, "seconds": 2.0, "bytes_per_s": row["bytes_per_s"] * 3} for row in rows[:2]
    ]
    assert dirty_rates(writer, n_periods=0).rows == []
    assert len(dirty_rates(writer, period=9, n_periods=9).rows) == 1


def test_unchanged__hashes_do_not_see_it() -> None:
    """All writes store what is there: the bitmap has them, contents do not change."""
    results = dirty_rates(Given(50, [*range(10)] * 3, [3, 3, 4]), unchanged=1.0, per_gib=ALL)
    assert len(results.rows) == 2
    for row in results.rows:
        assert row["bitmap"] == row["written"] > 0
        assert (row["changed"], row["estimate"], row["estimate_error"]) == (0, 0.0, -1.0)
        assert (row["covers_written"], row["covers_changed"]) == (False, True)


def test_unchanged__a_share() -> None:
    """Some pages of each window; a page that is changed in one window of a period and not in another has changed."""
    writer = Uniform(n_pages=3000, n_windows=8, accesses=1000, seed=4)
    rows = dirty_rates(writer, unchanged=0.25, per_gib=ALL, period=2).rows
    for row in rows:
        assert row["bitmap"] == row["written"]
        assert row["estimate"] == row["low"] == row["high"] == row["changed"]
        assert 0.7 < row["changed"] / row["written"] < 0.9
    assert rows == dirty_rates(writer, unchanged=0.25, per_gib=ALL, period=2).rows
    assert rows != dirty_rates(writer, unchanged=0.25, per_gib=ALL, period=2, seed=1).rows


def test_unchanged__each_window_by_itself() -> None:
    """Which pages are stored as they were is drawn anew for each window, whatever the periods are."""
    pages = list(range(64))
    silent = [chosen(words(3, 16, window, 64), 0.5) for window in range(6)]
    for period in (1, 2, 3):
        rows = dirty_rates(Given(64, *[pages] * 6), unchanged=0.5, seed=3, period=period, per_gib=ALL).rows
        wanted = [int((~np.logical_and.reduce(silent[at : at + period])).sum()) for at in range(0, 6, period)]
        assert [row["changed"] for row in rows] == [row["estimate"] for row in rows] == wanted
        assert all(row["bitmap_error"] == 0.0 for row in rows)


def test_nothing_written__is_no_error(tmp_path: Any) -> None:
    """Nothing is what all three say; the table can be saved and read."""
    results = dirty_rates(Given(9, [-1, -5], []), per_gib=ALL)
    for row in results.rows:
        assert (row["written"], row["bitmap"], row["estimate"], row["bitmap_error"], row["estimate_error"]) == (
            0,
            0,
            0.0,
            0.0,
            0.0,
        )
    results.to_json(tmp_path / "rates.json")
    results.to_csv(tmp_path / "rates.csv")
    assert Results.load(tmp_path / "rates.json").rows == results.rows
    assert len((tmp_path / "rates.csv").read_text().splitlines()) == 3


def test_progress__is_told() -> None:
    """After each period."""
    told: list[tuple[int, int]] = []
    dirty_rates(Given(2, [0], [1], [0]), period=2, progress=lambda done, n: told.append((done, n)))
    assert told == [(1, 2), (2, 2)]


@pytest.mark.parametrize(
    ("more", "error"),
    [
        ({"writer": None}, TypeError),
        ({"format": "ept"}, TypeError),
        ({"period": 0}, InvalidArgument),
        ({"period": 1.0}, TypeError),
        ({"n_periods": -1}, InvalidArgument),
        ({"n_periods": "2"}, TypeError),
        ({"window_seconds": 0}, InvalidArgument),
        ({"window_seconds": None}, TypeError),
        ({"per_gib": 0}, InvalidArgument),
        ({"per_gib": True}, TypeError),
        ({"level": 1}, InvalidArgument),
        ({"level": "1"}, TypeError),
        ({"unchanged": 1.5}, InvalidArgument),
        ({"unchanged": -0.1}, InvalidArgument),
        ({"unchanged": float("nan")}, InvalidArgument),
        ({"unchanged": True}, TypeError),
        ({"seed": -1}, InvalidArgument),
        ({"seed": 0.5}, TypeError),
    ],
)
def test_rates__refuse(more: dict[str, Any], error: type[Exception]) -> None:
    """What is no writer, no format, no number."""
    arguments: dict[str, Any] = {"writer": Given(2, [0]), **more}
    with pytest.raises(error):
        dirty_rates(arguments.pop("writer"), **arguments)
