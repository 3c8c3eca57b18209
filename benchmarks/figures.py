"""What is timed, what it is set beside, and the row that comes of it.

Theory of operation
-------------------
A figure is a ratio: a work of npt's beside its *peers*, which are limits of the memory (a sum, a fill, a copy of as many
bytes), the per-page baseline, or another form of the same work. In each round the peers are timed first, one after the other,
and then the work itself, by pytest-benchmark, whose setup is what goes before. So all meet the machine in the same state,
and each round gives a ratio of its own.

The first round is not timed: it touches memory, loads kernels, and is where every result is checked. It also says how long a
round takes, and from that, how many there will be.

Guarantees: no row without a checked first round; of n timings the least, the median and the quartiles are told, never a mean.
"""

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

__all__ = ["YARDSTICK", "Beside", "Figure", "Peer", "Work", "limit", "longer", "slower"]

_MOST_ROUNDS = 500
_NPT = "npt"
YARDSTICK = "yardstick"
_STICK_TURNS = 1000


def _nothing(*_: Any) -> None:
    """For what needs no preparation, no check, no end."""


@dataclass(frozen=True)
class Work:
    """Something to be timed.

    Parameters
    ----------
    run
        What is timed.
    prepare
        Done before each run, untimed.
    after
        Done behind each run, untimed: puts things back. Of npt's own work it is not done; its ``prepare`` must do.
    check
        Gets the result of the first run, and raises if it is not right.
    """

    run: Callable[[], Any]
    prepare: Callable[[], Any] = _nothing
    after: Callable[[], Any] = _nothing
    check: Callable[[Any], Any] = _nothing


@dataclass(frozen=True)
class Peer:
    """What a work is set beside.

    Parameters
    ----------
    name
        In words that a ratio can be followed by: ``read``, ``the baseline``.
    kind
        ``limit`` and ``slower``: the ratio is the peer's time over ours. ``longer``: ours over the peer's; ``more`` is that of
        what is no time.
    work
        What is timed.
    target
        What the ratio must be at least; at most, for ``longer`` and ``more``. None: no target.
    n
        Units that the peer does, where they are not as many as ours.
    """

    name: str
    kind: str
    work: Work
    target: float | None = None
    n: int | None = None


class Beside(Protocol):
    """Somebody who is to be at work while something else is timed."""

    def ready(self) -> None:
        """Return when at work."""

    def there(self) -> bool:
        """Whether it was, since then."""


def limit(name: str, run: Callable[[], Any], *, at_least: float | None = None, **more: Callable[..., Any]) -> Peer:
    """A limit of the memory: 1 is as fast as that."""
    return Peer(name, "limit", Work(run, **more), at_least)


def slower(
    name: str, run: Callable[[], Any], *, at_least: float | None = None, n: int | None = None, **more: Callable[..., Any]
) -> Peer:
    """A peer that is to be beaten: how many times as fast npt is."""
    return Peer(name, "slower", Work(run, **more), at_least, n)


def longer(
    name: str, run: Callable[[], Any], *, at_most: float | None = None, n: int | None = None, **more: Callable[..., Any]
) -> Peer:
    """A peer that is less work: how many times as long npt takes."""
    return Peer(name, "longer", Work(run, **more), at_most, n)


class Figure:
    """Takes the one figure of a benchmark.

    Parameters
    ----------
    benchmark
        pytest-benchmark's fixture.
    what
        Columns that the row begins with.
    rounds
        Timed rounds, at least.
    seconds
        More rounds are done while they fit into this.
    alone
        Leave the peers out, and time a yardstick right before and behind each run instead: work that is always the same, and
        takes longer only when somebody disturbs this process. For ``benchmarks.compare``, whose peer is another npt.
    keep
        Gets the row.
    """

    def __init__(
        self,
        benchmark: Any,
        what: dict[str, Any],
        *,
        rounds: int,
        seconds: float,
        alone: bool,
        keep: Callable[[dict[str, Any]], None],
    ) -> None:
        self._benchmark, self._what, self._keep = benchmark, what, keep
        self._rounds, self._seconds, self._alone = rounds, seconds, alone

    def take(
        self,
        title: str,
        run: Callable[[], Any],
        *peers: Peer | None,
        n: int,
        unit: str = "page",
        prepare: Callable[[], Any] = _nothing,
        check: Callable[[Any], Any] = _nothing,
        beside: Beside | None = None,
        notes: Callable[[], dict[str, Any]] | None = None,
    ) -> None:
        """Check a work and its peers, time them, and keep the row.

        Parameters
        ----------
        title
            What is measured, in words.
        run, prepare, check
            As in ``Work``.
        peers
            What it is set beside; None is left out.
        n, unit
            How many of what a run does.
        beside
            Somebody who is to be at work meanwhile; rounds without do not count.
        notes
            Called at the end; more that belongs to the row.
        """
        there = [] if self._alone else [peer for peer in peers if peer is not None]
        seconds: dict[str, list[float]] = {peer.name: [] for peer in there}
        assert len(seconds) == len(there), "two peers of one name"
        sticks: list[float] = []
        counts: list[bool] = []

        def setup() -> None:
            for peer in there:
                seconds[peer.name].append(_time(peer.work)[0])
            prepare()
            if self._alone:
                sticks.append(_time(_STICK)[0])
            if beside is not None:
                beside.ready()

        def teardown() -> None:
            counts.append(beside is None or beside.there())
            if self._alone:
                sticks[-1] = max(sticks[-1], _time(_STICK)[0])

        collecting = gc.isenabled()
        gc.collect()
        gc.disable()
        try:
            rounds = self._first(there, Work(run, prepare, check=check))
            self._benchmark.pedantic(run, setup=setup, teardown=teardown, rounds=rounds)
        finally:
            if collecting:
                gc.enable()
        if self._benchmark.stats is None:  # --benchmark-disable
            return
        seconds[_NPT] = list(self._benchmark.stats.stats.data)
        if sticks:
            seconds[YARDSTICK] = sticks
        kept = {name: _counting(times, counts) for name, times in seconds.items()}
        self._finish(_row({**self._what, "work": title, "unit": f"ns {_a(unit)}"}, kept, n, there), notes)

    def value(self, title: str, value: float, unit: str, name: str, peer: float, *, at_most: float) -> None:
        """Keep what is no time: a number of units, beside another one."""
        self._benchmark.pedantic(_nothing)
        row = {**self._what, "work": title, "unit": unit, "n": 1, "rounds": 1}
        ratio = value / peer
        row |= dict.fromkeys(("least", "median", "q1", "q3"), value)
        kept = dict.fromkeys(("ratio", "ratio_median", "ratio_q1", "ratio_q3"), ratio)
        row["peers"] = [{"name": name, "kind": "more", "least": peer, **kept, **_judge("more", at_most, ratio, ratio)}]
        self._finish(row | {"seconds": {}}, None)

    def _first(self, peers: Sequence[Peer], ours: Work) -> int:
        """The round that is checked; how many others there will be."""
        start = time.perf_counter()
        for work in (*(peer.work for peer in peers), ours):
            work.check(_time(work)[1])
        elapsed = time.perf_counter() - start
        return min(max(self._rounds, int(self._seconds / elapsed)), max(self._rounds, _MOST_ROUNDS))

    def _finish(self, row: dict[str, Any], notes: Callable[[], dict[str, Any]] | None) -> None:
        row["notes"] = {} if notes is None else notes()
        self._benchmark.extra_info.update(row)
        self._keep(row)


def _stick() -> None:
    for _ in range(_STICK_TURNS):
        pass


_STICK = Work(_stick)


def _time(work: Work) -> tuple[float, Any]:
    """Seconds of one run, and its result."""
    work.prepare()
    start = time.perf_counter()
    result = work.run()
    elapsed = time.perf_counter() - start
    work.after()
    return elapsed, result


def _counting(times: list[float], counts: list[bool]) -> list[float]:
    """Those of the rounds that count; all, if none does: the machine is too busy for better."""
    return [one for one, does in zip(times, counts, strict=True) if does] or times


def _row(what: dict[str, Any], seconds: dict[str, list[float]], n: int, peers: Sequence[Peer]) -> dict[str, Any]:
    ours = np.array(seconds[_NPT]) / n
    row = {**what, "n": n, "rounds": ours.size, **_spread(ours * 1e9)}
    row["peers"] = [_beside(peer, ours, np.array(seconds[peer.name]) / (peer.n or n)) for peer in peers]
    row["seconds"] = {name: [round(one, 9) for one in times] for name, times in seconds.items()}
    return row


def _a(unit: str) -> str:
    return f"{'an' if unit[0] in 'aeio' else 'a'} {unit}"


def _spread(values: np.ndarray[Any, Any]) -> dict[str, float]:
    q1, median, q3 = (float(q) for q in np.quantile(values, (0.25, 0.5, 0.75)))
    return {"least": float(values.min()), "median": median, "q1": q1, "q3": q3}


def _beside(peer: Peer, ours: np.ndarray[Any, Any], theirs: np.ndarray[Any, Any]) -> dict[str, Any]:
    """The ratio of the least times; median and quartiles of the ratios of the rounds."""
    over, under = (ours, theirs) if peer.kind == "longer" else (theirs, ours)
    ratio, each = float(over.min() / under.min()), _spread(over / under)
    kept = {"ratio": ratio, "ratio_median": each["median"], "ratio_q1": each["q1"], "ratio_q3": each["q3"]}
    judged = _judge(peer.kind, peer.target, ratio, each["median"])
    return {"name": peer.name, "kind": peer.kind, "least": float(theirs.min() * 1e9), **kept, **judged}


def _judge(kind: str, target: float | None, *ratios: float) -> dict[str, Any]:
    """Whether a target is met by the least times and by the median round; not sure where they differ."""
    if target is None:
        return {"target": None, "met": None}
    met = [ratio <= target if kind in ("longer", "more") else ratio >= target for ratio in ratios]
    return {
        "target": target,
        "met": "yes" if all(met) else "no" if not any(met) else "by the least" if met[0] else "by the median",
    }
