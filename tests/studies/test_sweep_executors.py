"""Sweeps on threads and processes: the same rows, few points at a time, and nothing lost with a worker."""

import itertools
import multiprocessing
import threading
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from npt.studies import sweep
from tests.studies.sweep_tasks import column, die_at, fail_at, measure, said, unreadable

GRID = {"share": [0.1, 2.0, float("nan"), 1e300], "n": range(1, 17)}


@pytest.fixture(scope="module")
def processes() -> Iterator[ProcessPoolExecutor]:
    """Two, which inherit nothing."""
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        yield pool


@pytest.mark.slow
def test_executors__give_the_same_rows(processes: ProcessPoolExecutor) -> None:
    """64 points, bit for bit, whoever runs them and whoever is first."""
    want = said(sweep(measure, GRID, seed=5))
    assert said(sweep(measure, GRID, seed=5, executor=processes)) == want
    with ThreadPoolExecutor(3) as threads:
        assert said(sweep(measure, GRID, seed=5, executor=threads)) == want
    assert said(sweep(measure, GRID, seed=6)) != want


@pytest.mark.slow
def test_executors__give_the_same_errors(processes: ProcessPoolExecutor) -> None:
    """Even one that cannot be pickled, as text."""
    for task, axes in ((fail_at, {"x": range(5), "bad": [3]}), (unreadable, {"x": [1]})):
        assert said(sweep(task, axes, executor=processes)) == said(sweep(task, axes))


class Backwards(Executor):
    """Runs the last of what it was given first, when nothing more comes."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Future[Any], Any]] = []
        self.most = 0

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Keep it until there are seven."""
        future: Future[Any] = Future()
        self.waiting.append((future, lambda: fn(*args, **kwargs)))
        self.most = max(self.most, len(self.waiting))
        if len(self.waiting) == 7:
            for each, call in reversed(self.waiting):
                each.set_result(call())
            self.waiting.clear()
        return future


def test_order__is_that_of_the_grid(tmp_path: Path) -> None:
    """Not that in which points come in; the same on going on. And no more points are handed over than was said."""
    executor, axes = Backwards(), {"x": range(28), "bad": [2]}
    found = sweep(fail_at, axes, executor=executor, in_flight=7, save=tmp_path / "s")
    assert executor.most == 7
    assert said(found) == said(sweep(fail_at, axes)) == said(sweep(fail_at, axes, save=tmp_path / "s"))


def test_in_flight__is_a_few_for_each_worker() -> None:
    """So that a million points are not all in the executor's queue."""
    lock, begun, most, told = threading.Lock(), [0], [0], [0]

    class Counted(ThreadPoolExecutor):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            with lock:
                begun[0] += 1
                most[0] = max(most[0], begun[0] - told[0])
            return super().submit(fn, *args, **kwargs)

    with Counted(3) as pool:
        sweep(fail_at, {"x": range(50), "bad": [-1]}, executor=pool, progress=lambda done, n: told.__setitem__(0, done))
    assert begun[0] == 50
    assert most[0] <= 6 + 3  # as many again may come in at once, and be told one by one


def test_interrupt__awaits_what_has_begun_and_drops_the_rest(tmp_path: Path) -> None:
    """What had begun is kept, what had not never runs, and the same call goes on."""
    ran: list[int] = []
    first, second, gone = threading.Event(), threading.Event(), threading.Event()

    def task(x: int, seed: int) -> dict[str, Any]:
        ran.append(x)
        if x == 1:
            second.set()
            assert gone.wait(60)
        return {"square": x * x}

    def progress(done: int, _: int) -> None:
        if done == 1 and not first.is_set():
            first.set()
            assert second.wait(60)  # the one worker is at the second point; two more wait
            threading.Timer(0.05, gone.set).start()
            raise KeyboardInterrupt

    with ThreadPoolExecutor(1) as pool:
        with pytest.raises(KeyboardInterrupt):
            sweep(task, {"x": range(9)}, executor=pool, save=tmp_path / "s", in_flight=4, progress=progress)
        assert gone.is_set()
        assert ran == [0, 1]
        again = sweep(task, {"x": range(9)}, executor=pool, save=tmp_path / "s")
    assert sorted(ran) == list(range(9))
    assert column(again, "square") == [x * x for x in range(9)]


# -- lost workers -------------------------------------------------------------------------------------------------------


def pool_of(method: str) -> ProcessPoolExecutor:
    """Two processes."""
    return ProcessPoolExecutor(2, multiprocessing.get_context(method))


@pytest.mark.slow
@pytest.mark.parametrize("method", sorted({"spawn", "forkserver"} & set(multiprocessing.get_all_start_methods())))
def test_lost_worker__its_points_are_tried_again(tmp_path: Path, method: str) -> None:
    """Killed once: the sweep is what it would have been, and leaves no processes."""
    axes: dict[str, Any] = {"x": range(12), "bad": [4], "mark": [str(tmp_path / "mark")]}
    before = set(multiprocessing.active_children())
    with pool_of(method) as pool:
        found = sweep(die_at, axes, executor=pool, seed=3)
    assert (tmp_path / "mark").exists()
    assert said(found) == said(sweep(die_at, axes, seed=3))  # in this process, where the mark is there by now
    assert set(multiprocessing.active_children()) == before


@pytest.mark.slow
def test_lost_worker__the_point_that_kills_is_an_error(tmp_path: Path) -> None:
    """Only that one; its neighbours, whose workers were lost with it, have their rows. It is tried again another day."""
    axes: dict[str, Any] = {"x": range(12), "bad": [4], "mark": [""]}
    before = set(multiprocessing.active_children())
    with pool_of("spawn") as pool:
        found = sweep(die_at, axes, executor=pool, save=tmp_path / "s")
        with pytest.raises(BrokenExecutor):
            pool.submit(int)
    assert column(found, "square") == [x * x if x != 4 else None for x in range(12)]
    assert [row["x"] for row in found.rows if row["error"]] == [4]
    assert "BrokenProcessPool" in found.rows[4]["error"]
    assert set(multiprocessing.active_children()) == before
    with pytest.raises(KeyboardInterrupt, match="11"):  # before it kills this process
        sweep(die_at, axes, save=tmp_path / "s", progress=stop)


def stop(done: int, _: int) -> None:
    """An interrupt, that says when."""
    raise KeyboardInterrupt(done)


class Lossy(Executor):
    """Loses calls, by their number, as a cluster does: the futures fail, the executor goes on."""

    def __init__(self, *lost: int) -> None:
        self._calls, self._lost = itertools.count(), lost

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Call or lose."""
        future: Future[Any] = Future()
        if next(self._calls) in self._lost:
            future.set_exception(RuntimeError("KilledWorker"))
        else:
            future.set_result(fn(*args, **kwargs))
        return future


@pytest.mark.parametrize(
    ("lost", "errors"), [((0,), []), ((1, 3, 6), []), ((2, 4), [2]), ((0, 1, 2, 3, 4, 5, 6, 7), [0, 1, 2, 3])]
)
def test_lost_call__is_tried_once_more(lost: tuple[int, ...], errors: list[int]) -> None:
    """Twice lost is an error. Two are under way: calls 0 and 1 are points 0 and 1, and what is lost of them comes next."""
    found = sweep(fail_at, {"x": range(6), "bad": [-1]}, executor=Lossy(*lost), in_flight=2)
    assert [row["x"] for row in found.rows if row["error"]] == errors
    assert ["RuntimeError: KilledWorker" in (row["error"] or "") for row in found.rows] == [x in errors for x in range(6)]
    assert [row["square"] for row in found.rows] == [x * x if x not in errors else None for x in range(6)]


class Crowded(ThreadPoolExecutor):
    """Loses its first call at once, and sees who is still there when another comes for it."""

    def __init__(self) -> None:
        super().__init__(2)
        self.made: list[Future[Any]] = []
        self.beside: list[bool] = []

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """The second call takes its time."""
        number, future = len(self.made), Future[Any]()
        if number == 0:
            future.set_exception(RuntimeError("lost"))
        elif number == 1:
            threading.Timer(0.1, lambda: future.set_result(fn(*args, **kwargs))).start()
        else:
            self.beside.append(not all(each.done() for each in self.made))
            future = super().submit(fn, *args, **kwargs)
        self.made.append(future)
        return future


def test_lost_call__is_tried_again_alone() -> None:
    """Otherwise it might be lost with another, and blamed for it."""
    with Crowded() as executor:
        found = sweep(fail_at, {"x": range(2), "bad": [-1]}, executor=executor, in_flight=2)
    assert executor.beside == [False]
    assert column(found, "square") == [0, 1]


class Broken(Executor):
    """Takes nothing any more, and nobody knows how to make another."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Refuse."""
        raise BrokenExecutor("gone")


def test_broken_executor__gives_rows_of_errors() -> None:
    """What was done before it broke is not lost with it."""
    found = sweep(fail_at, {"x": range(3), "bad": [-1]}, executor=Broken())
    assert ["gone" in row["error"] for row in found.rows] == [True] * 3


def test_executor__that_was_shut_down() -> None:
    """A caller's mistake is told as what it is."""
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    with pytest.raises(RuntimeError, match="shutdown"):
        sweep(fail_at, {"x": [1], "bad": [0]}, executor=pool)


@pytest.mark.slow
def test_task__that_cannot_be_pickled(processes: ProcessPoolExecutor) -> None:
    """Every row says so."""
    found = sweep(lambda x, seed: {}, {"x": [1, 2]}, executor=processes)
    assert ["ickl" in row["error"] for row in found.rows] == [True, True]
