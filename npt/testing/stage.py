"""Where schedules are run: the scenario is built, played and looked at, and everything is put back.

Threads are kept from schedule to schedule, on one processor: handing a baton over is four times as quick there. The garbage
collector is off, since its finalizers would run at points that differ from run to run; it gets its turn between schedules.
"""

import gc
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Self

from npt import _sync
from npt.testing.failures import ScheduleMismatch
from npt.testing.scheduled import ScheduledMakers
from npt.testing.scheduler import Pick, Run, running, set_running
from npt.testing.twins import Twins
from npt.testing.workers import Pool

__all__ = ["Play", "Stage"]

_COLLECT_EVERY = 64  # schedules


@dataclass(frozen=True)
class Play:
    """A scenario, built for one schedule.

    Attributes
    ----------
    threads : sequence of callable
        What runs side by side; their numbers in schedules are their places here. An exception that comes out is a failure.
    finish : callable, optional
        Called when all have ended, with all locks free; checks the outcome by raising.
    each_step : callable, optional
        Called by a thread outside the scenario while all its threads are parked at a point or have ended, once for each state
        that the search comes through. Locks that one of them has raise `NotFree` when it wants them.
    may_time_out : bool
        Timed waits may end because nothing else can run. With False that is a failure: what would be a missed wake-up is
        not covered up by a time-out.
    names : mapping of str to array, optional
        What arrays are called in traces, instead of what kernels call them.
    """

    threads: Sequence[Callable[[], object]]
    finish: Callable[[], object] | None = None
    each_step: Callable[[], object] | None = None
    may_time_out: bool = True
    names: Mapping[str, Any] = field(default_factory=dict)


class Stage:
    """A context in which schedules are run."""

    def __init__(self, twins: Twins | None, max_steps: int) -> None:
        self._twins = Twins() if twins is None else twins
        self._max_steps = max_steps
        self._pool = Pool()
        self._done = 0
        self._cleanup = ExitStack()

    def __enter__(self) -> Self:
        if running() is not None:
            raise RuntimeError("a scenario is being run already")
        with ExitStack() as cleanup:
            cleanup.callback(self._pool.close)
            _on_one_processor(cleanup)
            _without_collector(cleanup)
            cleanup.enter_context(self._twins.installed())
            self._cleanup = cleanup.pop_all()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._cleanup.close()

    def run(self, make: Callable[[], Play], schedule: Sequence[int], *, pick: Pick | None = None, check_from: int = 0) -> Run:
        """Play one schedule.

        Raises
        ------
        ScenarioFailed, ScheduleMismatch, SchedulerStuck
            As ``explore`` and ``replay`` say.
        """
        run = Run(schedule, pick=pick, max_steps=self._max_steps)
        _sync.install(ScheduledMakers(run))
        set_running(run)
        try:
            self._play(run, make(), check_from)
        finally:
            set_running(None)
            _sync.install(None)
        self._done += 1
        if self._done % _COLLECT_EVERY == 0:
            gc.collect()
        if run.failure is not None:
            raise run.failure from run.cause
        return run

    def _play(self, run: Run, play: Play, check_from: int) -> None:
        run.names = {array.ctypes.data: name for name, array in play.names.items()}
        run.play(self._pool, play.threads, each_step=play.each_step, check_from=check_from, may_time_out=play.may_time_out)
        if run.failure is None and len(run.points) < len(run.schedule):
            n, given = len(run.points), len(run.schedule)
            run.failure = ScheduleMismatch(f"the schedule has {given} choices, but the run ended after {n}")
        if run.failure is None and play.finish is not None:
            run.finish(play.finish)


def _on_one_processor(cleanup: ExitStack) -> None:
    """Keep this thread, and those it starts, on one processor; tests run side by side each on their own."""
    if not hasattr(os, "sched_setaffinity"):
        return
    allowed = os.sched_getaffinity(0)
    chosen = sorted(allowed)[os.getpid() % len(allowed)]
    try:
        os.sched_setaffinity(0, {chosen})
    except OSError:  # not allowed here
        return
    cleanup.callback(os.sched_setaffinity, 0, allowed)


def _without_collector(cleanup: ExitStack) -> None:
    """Switch the garbage collector off, and let it pass over what there is already when it is asked."""
    if gc.isenabled():
        cleanup.callback(gc.enable)
    gc.disable()
    if gc.get_freeze_count() == 0:
        gc.freeze()
        cleanup.callback(gc.unfreeze)
