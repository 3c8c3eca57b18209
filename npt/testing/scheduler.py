"""One schedule: real threads, of which one runs at a time.

Theory of operation
-------------------
Each thread has a *baton*, a lock that it sleeps on. At a scheduling point a thread says which operation it is about to do
(take a lock, load a word, ...) and picks who goes on, among those whose operation is possible: itself, and nothing more
happens; or another, then it gives that one's baton and sleeps on its own. So a schedule is the list of who was picked at each
point, and a point costs a switch between real threads only where the schedule switches. The main thread sleeps until all have
ended, or until it is asked to look at the scenario while all are parked.

When something fails, the threads that have not ended are woken one after the other, and ``Unwind`` is raised in each at its
point; from then on locks of the run let everybody pass.

Guarantees: the same scenario under the same schedule takes the same steps; no thread is left behind, save where
            ``SchedulerStuck`` says so.
Relies on:  threads of the scenario wait for each other through the run's locks, conditions and points, nothing else.
"""

import sys
import traceback
from _thread import allocate_lock, get_ident
from collections.abc import Callable, Hashable, Sequence
from typing import Any

from npt.testing.failures import (
    DeadlockFound,
    LivelockFound,
    ScenarioFailed,
    ScheduleMismatch,
    SchedulerStuck,
    Unwind,
    describe,
)  # fmt: skip
from npt.testing.operations import END, Blocker, Operation, Point
from npt.testing.workers import Pool, Worker

__all__ = ["Pick", "Run", "running", "set_running"]

_STUCK_AFTER = 60.0  # real seconds in which a thread must come to its next point
_MOST_PASSES = 100_000  # points that unwinding threads may pass before they are taken to be spinning


Pick = Callable[[int, "Worker | None", tuple[int, ...], int], int]


class Run:
    """One schedule of one scenario.

    Attributes
    ----------
    points : list of Point
        The choices so far.
    trace : list of (int, Operation)
        What was done: thread, operation.
    loose : bool
        The run has failed: its locks let everybody pass.
    """

    def __init__(self, schedule: Sequence[int] = (), *, pick: Pick | None = None, max_steps: int = 20_000) -> None:
        self.schedule, self.pick, self.max_steps = schedule, pick, max_steps
        self.points: list[Point] = []
        self.trace: list[tuple[int, Operation]] = []
        self.failure: Exception | None = None
        self.cause: BaseException | None = None
        self.loose = False
        self.timeouts_fired = 0
        self.clock = 0.0
        self.current: Worker | None = None
        self.arrays: dict[int, tuple[Any, int, Any]] = {}  # those that were touched, by id, with address and name
        self.names: dict[int, str] = {}  # of arrays, by address
        self._made: dict[int, int] = {}
        self._workers: list[Worker] = []
        self._main = allocate_lock()
        self._main.acquire()
        self._each_step: Callable[[], object] | None = None
        self._check_from = 0
        self._visitor: Worker | None = None
        self._passes = 0
        self._threads_may_time_out = True

    # -- who is asking ----------------------------------------------------------------------------------------------

    def here(self) -> Worker | None:
        """The thread of the scenario that this is; None elsewhere, and once the run has failed."""
        me = self.current
        return me if me is not None and not self.loose and me.ident == get_ident() else None

    def pass_by(self) -> None:
        """A point after the run has failed: let it pass, but end a thread that goes round and round there."""
        self._passes += 1
        if self._passes > _MOST_PASSES and self.current is not None:
            raise Unwind

    def next_key(self, kind: str) -> Hashable:
        """A name for a new object that tells it from others, and is the same one in other runs, as far as may be."""
        me = self.here()
        maker = -1 if me is None else me.number
        self._made[maker] = self._made.get(maker, 0) + 1
        return kind, maker, self._made[maker]

    # -- the main thread's side -------------------------------------------------------------------------------------

    def play(
        self,
        pool: Pool,
        functions: Sequence[Callable[[], object]],
        *,
        each_step: Callable[[], object] | None = None,
        check_from: int = 0,
        may_time_out: bool = True,
    ) -> None:
        """Run the functions to their ends; ``failure`` says how it went."""
        self._workers = pool.take(len(functions))
        self._each_step, self._check_from, self._threads_may_time_out = each_step, check_from, may_time_out
        if not self._workers:
            return
        if each_step is not None and check_from == 0:
            self._look()
        for worker, function in zip(self._workers, functions, strict=True):
            worker.assign(self, function)
        self._hand_on(None if self.loose else self._choose(None))
        try:
            self._serve()
        except SchedulerStuck:
            raise
        except BaseException:  # an interrupt: have the threads end, then let it out
            self.loose = True
            self._serve()
            raise
        finally:
            self.current = None
            self.arrays.clear()

    def _serve(self) -> None:
        """Sleep until all threads have ended; look at the scenario when asked to."""
        while True:
            if not self._main.acquire(timeout=_STUCK_AFTER):
                raise SchedulerStuck(self._stacks())
            if self._visitor is None:
                return
            visitor, self._visitor, self.current = self._visitor, None, None
            try:
                self._look()
            finally:
                self._resume(visitor)

    def _look(self) -> None:
        try:
            self._each_step()  # type: ignore[misc]
        except (KeyboardInterrupt, SystemExit):
            self.loose = True
            raise
        except BaseException as error:  # what pytest.fail raises is no Exception
            self.fail(f"each_step raised {describe(error)}", cause=error)

    def finish(self, check: Callable[[], object]) -> None:
        """Look at the outcome."""
        try:
            check()
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # what pytest.fail raises is no Exception
            self.fail(f"finish raised {describe(error)}", cause=error)

    def _stacks(self) -> str:
        self.loose = True
        frames = sys._current_frames()
        stacks = [
            f"thread {worker.number}, {worker.operation}:\n" + "".join(traceback.format_stack(frames[worker.ident or 0]))
            for worker in self._workers
            if worker.job is not None
        ]
        return f"no thread came to a scheduling point within {_STUCK_AFTER:.0f} s\n" + "\n".join(stacks)

    # -- the threads' side ------------------------------------------------------------------------------------------

    def arrive(
        self, me: Worker, operation: Operation, blocker: Blocker | None = None, *, deadline: float | None = None
    ) -> None:
        """A scheduling point: returns when it is this thread's turn, and its operation is possible."""
        me.operation, me.blocker, me.deadline = operation, blocker, deadline
        if self._each_step is not None:
            self._show(me)
        chosen = None if self.loose else self._choose(me)
        if chosen is not me:
            if chosen is None:
                raise Unwind
            self._resume(chosen)
            me.baton.acquire()
            if self.loose:
                raise Unwind
        me.blocker = me.deadline = None

    def _show(self, me: Worker) -> None:
        """Have the main thread look at the scenario, unless a run with the same beginning has been looked at."""
        if len(self.points) >= self._check_from and not self.loose:
            self._visitor = me
            self._main.release()
            me.baton.acquire()

    def leave(self, me: Worker) -> None:
        """A thread has ended: whose turn is it?"""
        if not self.loose and me.held:
            self.fail(f"thread {me.number} ended with {', '.join(me.held)} held")
        if self._each_step is not None:
            self._show(me)
        me.ended = True
        self._hand_on(None if self.loose or all(worker.ended for worker in self._workers) else self._choose(None))

    def _hand_on(self, chosen: Worker | None) -> None:
        """Resume the one chosen; or, in a run that has failed, any that has not ended; or the main thread."""
        for worker in self._workers if chosen is None else (chosen,):
            if not worker.ended:
                self._resume(worker)
                return
        self.current = None
        self._main.release()

    def _resume(self, worker: Worker) -> None:
        self.current = worker
        worker.baton.release()

    def _choose(self, me: Worker | None) -> Worker | None:
        """Whose turn it is; None where the run has failed."""
        if len(self.points) >= self.max_steps:
            status = "; ".join(f"thread {w.number} is at {w.operation}" for w in self._workers if not w.ended)
            self.fail(f"no end after {self.max_steps} steps: {status}", LivelockFound)
            return None
        options = tuple([worker.number for worker in self._workers if worker.can_run()])
        while not options:
            if not self._fire():
                return None
            options = tuple([worker.number for worker in self._workers if worker.can_run()])
        arrived, pending = (-1, END) if me is None else (me.number, me.operation)
        number = arrived if arrived in options else options[0]
        at = len(self.points)
        if at < len(self.schedule):
            number = self.schedule[at]
        elif self.pick is not None:
            number = self.pick(at, me, options, number)
        if number not in options:
            self._mismatch(at, number, options)
            return None
        chosen = self._workers[number]
        self.points.append(Point(arrived, options, number, pending, chosen.operation))
        if chosen.operation.verb:
            self.trace.append((number, chosen.operation))
        return chosen

    def _fire(self) -> bool:
        """Nothing can run: end the timed wait of the lowest-numbered thread that has one."""
        waiting = [w for w in self._workers if not w.ended and w.deadline is not None and not w.timed_out]
        report = "; ".join(worker.status() for worker in self._workers if not worker.ended)
        if not waiting:
            self.fail(f"no thread can run: {report}", DeadlockFound)
            return False
        first = waiting[0]
        self.timeouts_fired += 1
        self.trace.append((first.number, Operation("time out:", first.operation.name)))
        if not self._threads_may_time_out:
            self.fail(f"nothing but a time-out can go on: {report}", DeadlockFound)
            return False
        first.timed_out = True
        self.clock = max(self.clock, first.deadline or 0.0)
        return True

    def _mismatch(self, at: int, number: int, options: tuple[int, ...]) -> None:
        why = f"the schedule's choice {number} at point {at} cannot run there; those that can: {list(options)}"
        self._stop(ScheduleMismatch(why), None)

    def fail(self, reason: str, kind: type[ScenarioFailed] = ScenarioFailed, *, cause: BaseException | None = None) -> None:
        """Take the first failure down and let nobody go on."""
        self._stop(kind(reason, self.taken(), self.steps(), self.timeouts_fired), cause)

    def _stop(self, failure: Exception, cause: BaseException | None) -> None:
        if self.failure is None:
            self.failure, self.cause = failure, cause
        self.loose = True

    # -- what happened ----------------------------------------------------------------------------------------------

    def taken(self) -> list[int]:
        """The schedule so far, without the default choices at its end."""
        points = self.points
        n = len(points)
        while n and points[n - 1].chosen == points[n - 1].default:
            n -= 1
        return [point.chosen for point in points[:n]]

    def steps(self) -> list[str]:
        """What was done, for people."""
        return [f"{number} {operation}" for number, operation in self.trace]


_running: Run | None = None


def running() -> Run | None:
    """The run under way, if there is one."""
    return _running


def set_running(run: Run | None) -> None:
    """Say which run is under way."""
    global _running
    _running = run
