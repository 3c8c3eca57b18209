"""A figure is taken as it says: what is checked, what is timed, and what the row tells."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import figures, rows
from benchmarks.figures import Figure, Work, limit, longer, slower


class Clock:
    """Time goes by only when somebody works; what was done is noted."""

    def __init__(self) -> None:
        self.now = 0.0
        self.done: list[str] = []

    def work(self, name: str, *seconds: float) -> Callable[[], str]:
        """Something that takes so long, each time the next."""
        times: Iterator[float] = iter(seconds)

        def run() -> str:
            self.done.append(name)
            self.now += next(times)
            return name

        return run


class Benchmark:
    """As much of pytest-benchmark's fixture as is used."""

    def __init__(self, clock: Clock) -> None:
        self._clock, self.extra_info = clock, dict[str, Any]()
        self.stats = SimpleNamespace(stats=SimpleNamespace(data=list[float]()))

    def pedantic(
        self,
        run: Callable[[], Any],
        *,
        setup: Callable[[], None] = lambda: None,
        teardown: Callable[[], None] = lambda: None,
        rounds: int = 1,
    ) -> None:
        for _ in range(rounds):
            setup()
            start = self._clock.now
            run()
            self.stats.stats.data.append(self._clock.now - start)
            teardown()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Instead of the real one."""
    made = Clock()
    monkeypatch.setattr(figures, "time", SimpleNamespace(perf_counter=lambda: made.now))
    return made


@pytest.fixture
def kept() -> list[dict[str, Any]]:
    """Rows."""
    return []


def taker(clock: Clock, kept: list[dict[str, Any]], *, rounds: int = 3, seconds: float = 0, alone: bool = False) -> Figure:
    """A figure of something."""
    what = {"name": "bench_it", "format": "ept", "size": 1 << 30}
    return Figure(Benchmark(clock), what, rounds=rounds, seconds=seconds, alone=alone, keep=kept.append)


def test_figure__peers_are_timed_in_turn_with_the_work(clock: Clock, kept: list[dict[str, Any]]) -> None:
    """Each round anew, and what goes before and behind is not timed."""
    read = limit("read", clock.work("read", 9, 1, 1, 1), prepare=clock.work("warm", *[5.0] * 4), at_least=0.5)
    peer = slower("peer", clock.work("peer", 9, 8, 8, 8), after=clock.work("mend", *[5.0] * 4))
    run = clock.work("run", 9, 2, 2, 2)
    taker(clock, kept).take("it", run, read, peer, None, n=4, prepare=clock.work("ready", *[5.0] * 4))
    assert clock.done == ["warm", "read", "peer", "mend", "ready", "run"] * 4
    (row,) = kept
    assert (row["least"], row["rounds"], row["unit"]) == (2e9 / 4, 3, "ns a page")
    assert [(one["name"], one["ratio"], one["met"]) for one in row["peers"]] == [("read", 0.5, "yes"), ("peer", 4.0, None)]


def test_figure__least_median_and_quartiles(clock: Clock, kept: list[dict[str, Any]]) -> None:
    """The ratio of least times, and the middle of the rounds' own; the first round counts nowhere."""
    cycle = longer("cycle", clock.work("cycle", 100, 1, 2, 1, 1, 4), at_most=3)
    taker(clock, kept, rounds=5).take("it", clock.work("run", 100, 2, 8, 6, 5, 4), cycle, n=1)
    (row,) = kept
    assert [row[name] / 1e9 for name in ("least", "q1", "median", "q3")] == [2, 4, 5, 6]
    (peer,) = row["peers"]  # of the rounds: 2, 4, 6, 5, 1
    assert [peer[name] for name in ("ratio", "ratio_q1", "ratio_median", "ratio_q3")] == [2, 2, 4, 5]
    assert peer["met"] == "by the least"
    assert "2.00 times as long as cycle (4.00, 2.00-5.00), target <= 3: by the least only" in rows.line(row)


@pytest.mark.parametrize("wrong", ["ours", "theirs"])
def test_figure__what_is_wrong_is_not_timed(clock: Clock, kept: list[dict[str, Any]], wrong: str) -> None:
    """The first result of each is looked at; there is no row of what fails."""

    def check(result: object) -> None:
        assert result == wrong

    peer = slower("peer", clock.work("theirs", 1, 1), check=check if wrong == "ours" else lambda _: None)
    with pytest.raises(AssertionError):
        taker(clock, kept).take("it", clock.work("ours", 1, 1), peer, n=1, check=check if wrong == "theirs" else lambda _: None)
    assert kept == []
    assert clock.done.count("ours") <= 1


def test_figure__more_rounds_where_they_are_short(clock: Clock, kept: list[dict[str, Any]]) -> None:
    """As many as fit into the time, and no fewer than asked for."""
    taker(clock, kept, seconds=10).take("it", clock.work("run", *[0.5] * 21), n=1)
    taker(clock, kept, seconds=10).take("it", clock.work("run", *[20.0] * 4), n=1)
    assert [row["rounds"] for row in kept] == [20, 3]


def test_figure__alone(clock: Clock, kept: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its peers, but with a yardstick before and behind each round, of which the longer counts."""
    stick = clock.work("stick", 1, 2, 5, 3, 1, 1)
    monkeypatch.setattr(figures, "_STICK", Work(stick))
    taker(clock, kept, alone=True).take("it", clock.work("run", *[7.0] * 4), slower("peer", clock.work("peer")), n=1)
    assert clock.done == ["run", *["stick", "run", "stick"] * 3]
    assert kept[0]["peers"] == []
    assert kept[0]["seconds"] == {"npt": [7, 7, 7], "yardstick": [2, 5, 1]}


def test_figure__rounds_that_were_not_beside_anybody_do_not_count(clock: Clock, kept: list[dict[str, Any]]) -> None:
    """Neither their times nor their peers'; unless there are no others."""
    for there, ours, theirs in ([True, False, True], [2, 4], [1, 1]), ([False] * 3, [2, 1, 4], [1, 0.5, 1]):
        answers = iter(there)
        other = SimpleNamespace(ready=clock.work("ready", 0, 0, 0), there=lambda answers=answers: next(answers))
        cycle = longer("cycle", clock.work("cycle", 9, 1, 0.5, 1))
        taker(clock, kept).take("it", clock.work("run", 9, 2, 1, 4), cycle, n=1, beside=other)
        assert clock.done[-3:] == ["cycle", "ready", "run"]
        assert kept[-1]["seconds"] == {"npt": ours, "cycle": theirs}


def test_figure__of_what_is_no_time(clock: Clock, kept: list[dict[str, Any]]) -> None:
    """A number of bytes beside another."""
    taker(clock, kept).value("memory", 8.2, "bytes a page", "8 bytes a page", 8, at_most=1.01)
    assert "8.20 bytes a page" in rows.line(kept[0])
    assert kept[0]["peers"][0]["met"] == "no"
