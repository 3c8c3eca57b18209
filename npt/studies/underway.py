"""Points under way on an executor: never many, none lost.

Theory of operation
-------------------
A task's own exceptions are rows already (``run_point``), so that a call that fails did so because a worker was lost, or because
task or outcome could not travel. A lost worker takes others' points with it: a broken process pool all that it had. So first
all others are awaited, then each lost point is tried once more with nothing beside it. What is lost twice is to blame itself
and becomes a row with its error. A process pool that broke is of no more use; another like it takes its place.

Guarantees: each point has one outcome, and at most ``limit`` points are in the executor.
Relies on:  an executor's futures end, whatever happens to its workers.
"""

import os
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from contextlib import AbstractContextManager
from itertools import islice
from types import TracebackType
from typing import Any
from uuid import uuid4

from npt.studies.grid import Point
from npt.studies.outcome import Outcome, Task, failure, run_point

__all__ = ["UnderWay"]

_A_WORKER = 2  # points: one that it works on, and one that waits, so that it need not


class UnderWay(AbstractContextManager["UnderWay", None]):
    """The points that an executor has now; leaving the context ends a pool that was made here."""

    def __init__(self, executor: Executor | None, task: Task, limit: int | None) -> None:
        self._executor = _Here() if executor is None else executor
        self._task, self._limit = task, _limit(self._executor) if limit is None else limit
        self._futures: dict[Future[Outcome], Point] = {}
        self._lost: list[Point] = []
        self._own: Executor | None = None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._own is not None:
            self._own.shutdown(cancel_futures=True)

    def outcomes(self, points: Iterator[Point]) -> Iterator[tuple[int, Outcome]]:
        """Run all points; each one's place and outcome, as they come in."""
        while True:
            for point in islice(points, self._limit - len(self._futures)):
                self._submit(point)
            if not self._futures:
                return
            yield from self._landed()
            if self._lost:
                yield from self._again()

    def end(self) -> Iterator[tuple[int, Outcome]]:
        """Cancel what has not begun; await the rest, and what came of it."""
        begun = {future: point for future, point in self._futures.items() if not future.cancel()}
        wait(begun)
        for future, point in begun.items():
            if future.exception() is None:
                yield point.place, future.result()

    def _landed(self) -> Iterator[tuple[int, Outcome]]:
        """At least one that is under way comes in."""
        for future in wait(self._futures, return_when=FIRST_COMPLETED).done:
            point = self._futures.pop(future)
            try:
                outcome = future.result()
            except Exception:
                self._lost.append(point)
            else:
                yield point.place, outcome

    def _again(self) -> Iterator[tuple[int, Outcome]]:
        """Each lost point alone, once."""
        while self._futures:
            yield from self._landed()
        while self._lost:
            point = self._lost.pop()
            future = self._submit(point)
            wait([future])
            del self._futures[future]
            try:
                outcome = future.result()
            except Exception as error:
                outcome = failure(point.arguments, error)
            yield point.place, outcome

    def _submit(self, point: Point) -> Future[Outcome]:
        try:
            future = self._call(point)
        except BrokenExecutor as error:
            future = self._call_elsewhere(point, error)
        self._futures[future] = point
        return future

    def _call(self, point: Point) -> Future[Outcome]:
        """A call that is like no other: Dask would take an earlier one's outcome for its own."""
        return self._executor.submit(run_point, self._task, point.arguments, uuid4().hex)

    def _call_elsewhere(self, point: Point, error: BrokenExecutor) -> Future[Outcome]:
        """In another pool like the broken one, which this object owns; or nowhere, if nobody knows how to make one."""
        pool = _like(self._executor)
        if pool is None:
            future: Future[Outcome] = Future()
            future.set_exception(error)
            return future
        if self._own is not None:
            self._own.shutdown()
        self._executor = self._own = pool
        return self._call(point)


class _Here(Executor):
    """Calls in this thread, one at a time."""

    _max_workers = 1

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Call it now."""
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


def _limit(executor: Executor) -> int:
    """A few for each worker, as far as can be known how many there are."""
    if isinstance(executor, _Here):
        return 1
    workers = getattr(executor, "_max_workers", None)
    client: Any = getattr(executor, "_client", None)
    if workers is None and hasattr(client, "nthreads"):  # of Dask
        workers = sum(client.nthreads().values())
    return _A_WORKER * max(workers or os.cpu_count() or 1, 1)


def _like(executor: Executor) -> Executor | None:
    """A new process pool with what the old one was made with; None for other executors."""
    from concurrent.futures import ProcessPoolExecutor

    if not isinstance(executor, ProcessPoolExecutor):
        return None
    made: dict[str, Any] = vars(executor)
    names = ("max_workers", "mp_context", "initializer", "initargs", "max_tasks_per_child")
    return ProcessPoolExecutor(**{name: made[f"_{name}"] for name in names if f"_{name}" in made})
