"""All schedules of a scenario with few preemptions, or many random ones.

Theory of operation
-------------------
A schedule is found by running it: the search is over prefixes of choices, each run going on by default where its prefix ends.
At every later point the run left choices untried, and each becomes a new prefix. A choice costs a *preemption* where it
takes the turn from a thread that could have gone on; where that thread is blocked or has ended, choices are free. Prefixes
wait by the preemptions they have used, and those with fewer are run first: the first failure found needs as few as any.

So every schedule within the bound is run exactly once, save those that differ from another only in where operations on things
of one thread alone stand (``shared.py``). What looked like one thread's own may turn out to be shared later: the prefixes not
taken for its sake are kept, and join the search then.

Most bugs need one or two preemptions. For programs that are too large for all schedules with two, random priorities find a
bug of depth d (d ordered events) with a probability of at least 1 / (n * k**(d - 1)) a schedule, for n threads and k steps:
Burckhardt et al., A Randomized Scheduler with Probabilistic Guarantees of Finding Bugs (ASPLOS 2010).

Guarantees: no thread, lock, clock or kernel of the scenario is left in place afterwards, whatever happens.
Relies on:  ``make`` giving an equal scenario each time, with nothing random in it.
"""

import random
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass

from npt.testing.scheduler import Run
from npt.testing.shared import Touched
from npt.testing.stage import Play, Stage
from npt.testing.twins import Twins
from npt.testing.workers import Worker

__all__ = ["Explored", "explore", "replay", "sample"]

MAX_STEPS = 20_000


@dataclass(frozen=True)
class Explored:
    """What a search that found no failure has done.

    Attributes
    ----------
    schedules : int
        How many were run.
    steps : int
        Scheduling points, in all.
    longest : int
        Scheduling points of the longest.
    complete : bool
        All schedules within the bound were run.
    timeouts_fired : int
        Timed waits, in all, that ended because nothing else could run.
    """

    schedules: int = 0
    steps: int = 0
    longest: int = 0
    complete: bool = False
    timeouts_fired: int = 0

    def __add__(self, run: Run) -> "Explored":
        n = len(run.points)
        fired = self.timeouts_fired + run.timeouts_fired
        return Explored(self.schedules + 1, self.steps + n, max(self.longest, n), self.complete, fired)


Make = Callable[[], Play]
Progress = Callable[[Explored], object]


def explore(
    make: Make,
    *,
    preemptions: int = 2,
    limit: int | None = None,
    progress: Progress | None = None,
    twins: Twins | None = None,
    reduce: bool = True,
    max_steps: int = MAX_STEPS,
) -> Explored:
    """Run a scenario under every schedule with at most so many preemptions.

    Parameters
    ----------
    make
        Builds the scenario anew for each schedule.
    preemptions
        How often the turn may be taken from a thread that could go on. Switches where a thread is blocked or ends are free.
    limit
        Run no more schedules than this.
    progress
        Called after each schedule, with what was done so far.
    twins
        Kernels that appear as their steps, and edits of them; by default ``Twins()``. ``Twins(())``: none.
    reduce
        Do not switch before operations on things that only one thread touches, or that are only read.
    max_steps
        Scheduling points after which a run is taken to be a livelock.

    Returns
    -------
    Explored
        ``complete`` if ``limit`` was not reached.

    Raises
    ------
    ScenarioFailed
        A thread, ``finish`` or ``each_step`` raised, or a thread ended with a lock held. Its ``schedule`` is for `replay`.
    DeadlockFound, LivelockFound
        No thread can go on; or there is no end.
    SchedulerStuck
        A thread waits for something that is not of the scenario.

    See Also
    --------
    sample : random schedules, for scenarios that are too large.
    replay : one schedule.

    Examples
    --------
    Two threads add to a number without excluding each other; the search finds the one lost update there can be:

    >>> from npt.testing import Play, ScenarioFailed, Twins, explore, step
    >>> def make():
    ...     number = [0]
    ...     def add():
    ...         seen = number[0]
    ...         step("store")
    ...         number[0] = seen + 1
    ...     def finish():
    ...         assert number[0] == 2, f"{number[0]} is not 2"
    ...     return Play([add, add], finish)
    >>> explore(make, preemptions=0, twins=Twins(())).schedules
    2
    >>> try:
    ...     explore(make, preemptions=1, twins=Twins(()))
    ... except ScenarioFailed as failure:
    ...     print(failure)
    finish raised AssertionError: 1 is not 2
    schedule: [1, 0]
    steps:
      1 start
      0 start
      0 store
      1 store
    """
    with Stage(twins, max_steps) as stage:
        return _Search(stage, make, preemptions, reduce).go(limit, progress)


@dataclass(frozen=True, slots=True)
class _Untried:
    """A choice that a run left: its own choices up to there, then another thread."""

    choices: Sequence[int]
    at: int
    choice: int
    used: int  # preemptions

    def prefix(self) -> list[int]:
        """The schedule that tries it."""
        return [*self.choices[: self.at], self.choice]


class _Search:
    """The state of one ``explore``."""

    def __init__(self, stage: Stage, make: Make, bound: int, reduce: bool) -> None:
        self._stage, self._make, self._bound, self._reduce = stage, make, bound, reduce
        self._waiting: list[list[_Untried]] = [[] for _ in range(bound + 1)]  # by preemptions used
        self._private: dict[Hashable, list[_Untried]] = {}  # not tried for the sake of things of one thread
        self._shared: set[Hashable] = set()

    def go(self, limit: int | None, progress: Progress | None) -> Explored:
        """Run everything."""
        done = Explored()
        for start, used, prefix in self._prefixes():
            if limit is not None and done.schedules >= limit:
                return done
            run = self._stage.run(self._make, prefix, check_from=start)
            done += run
            self._branch(run, start, used)
            if progress is not None:
                progress(done)
        return Explored(done.schedules, done.steps, done.longest, True, done.timeouts_fired)

    def _prefixes(self) -> Iterator[tuple[int, int, list[int]]]:
        """Length, preemptions and prefix of what is to be run, until there is no more."""
        yield 0, 0, []
        while waiting := next((one for one in self._waiting if one), None):
            untried = waiting.pop()
            yield untried.at + 1, untried.used, untried.prefix()

    def _branch(self, run: Run, start: int, used: int) -> None:
        """Keep what a run left untried after its prefix."""
        touched = Touched(run)
        if self._reduce:
            for key in touched.shared() - self._shared:
                self._shared.add(key)
                for untried in self._private.pop(key, ()):
                    self._waiting[untried.used].append(untried)
        choices = tuple([point.chosen for point in run.points])
        for at in range(start, len(choices)):
            point = run.points[at]
            cost = used + (point.arrived in point.options)
            if len(point.options) == 1 or cost > self._bound:
                continue
            waiting = self._waiting[cost]
            if cost > used and self._reduce:
                key = touched.key(point.pending)
                if key is not None and key not in self._shared:
                    waiting = self._private.setdefault(key, [])
            waiting += [_Untried(choices, at, choice, cost) for choice in point.options if choice != point.chosen]


def sample(
    make: Make,
    n: int,
    *,
    seed: int = 0,
    depth: int = 3,
    progress: Progress | None = None,
    twins: Twins | None = None,
    max_steps: int = MAX_STEPS,
) -> Explored:
    """Run a scenario under random schedules.

    Each gives the threads random priorities, and lowers that of whoever runs at ``depth - 1`` random points. The first is
    the default schedule, which tells how long a run is.

    Parameters
    ----------
    make, progress, twins, max_steps
        As for `explore`.
    n
        How many schedules.
    seed
        The same seed gives the same schedules.
    depth
        How many events in a certain order a bug may need.

    Returns
    -------
    Explored
        ``complete`` is False: chance promises nothing.

    Raises
    ------
    ScenarioFailed, DeadlockFound, LivelockFound, SchedulerStuck
        As for `explore`.
    """
    done = Explored()
    with Stage(twins, max_steps) as stage:
        for number in range(n):
            chance = random.Random(f"{seed}:{number}")
            done += stage.run(make, (), pick=_Priorities(chance, depth, done.longest) if number else None)
            if progress is not None:
                progress(done)
    return done


class _Priorities:
    """Who runs, by random priorities that change at a few random points."""

    def __init__(self, chance: random.Random, depth: int, n_steps: int) -> None:
        self._chance, self._depth = chance, depth
        changes = [chance.randrange(max(n_steps, 1)) for _ in range(depth - 1)]
        self._changes = {at: number for number, at in enumerate(changes)}
        self._priorities: dict[int, float] = {}

    def __call__(self, at: int, me: Worker | None, options: tuple[int, ...], default: int) -> int:
        if at in self._changes and me is not None:
            self._priorities[me.number] = self._changes[at]  # below all that are drawn
        return max(options, key=self._priority)

    def _priority(self, thread: int) -> float:
        if thread not in self._priorities:
            self._priorities[thread] = self._depth + self._chance.random()
        return self._priorities[thread]


def replay(make: Make, schedule: Sequence[int], *, twins: Twins | None = None, max_steps: int = MAX_STEPS) -> list[str]:
    """Run a scenario under one schedule.

    Parameters
    ----------
    make, twins, max_steps
        As for `explore`.
    schedule
        The thread chosen at each scheduling point; after its end the default: go on with the same thread while it can run,
        else with the lowest-numbered one that can.

    Returns
    -------
    list of str
        What was done, in order.

    Raises
    ------
    ScheduleMismatch
        It names a thread that cannot run at its point, or is longer than the run.
    ScenarioFailed, DeadlockFound, LivelockFound, SchedulerStuck
        As for `explore`.
    """
    with Stage(twins, max_steps) as stage:
        return stage.run(make, list(schedule)).steps()
