"""One task at every point of a grid, on whatever can run it: this process, threads, processes, a cluster."""

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Any, SupportsIndex

from numpy.typing import NDArray

from npt.studies.grid import Grid
from npt.studies.outcome import Outcome, Task
from npt.studies.results import Results, provenance
from npt.studies.sweep_file import SweepFile
from npt.studies.underway import UnderWay
from npt.units import as_count

__all__ = ["sweep"]


def sweep(
    task: Task,
    axes: Mapping[str, Sequence[Any] | NDArray[Any]],
    *,
    executor: Executor | None = None,
    seed: SupportsIndex = 0,
    save: str | os.PathLike[str] | None = None,
    in_flight: SupportsIndex | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> Results:
    """Call a task at every point of a grid.

    Parameters
    ----------
    task
        Called with a value of each axis and a ``seed``, all by name. Returns a row (a mapping from columns to plain values), a
        list of rows, or ``Results``.
    axes
        Values by name, plain ones: None, bools, numbers, text. Every choice of one from each is a point; the last axis is the
        fastest. Points have independent seeds of 64 bits, by their place alone; an axis called ``seed`` takes their place.
    executor
        Where tasks run: None for this thread, a pool of threads or processes, Dask's ``client.get_executor()``. Results are
        the same, in the same order, as far as the task depends on nothing but its arguments.
    seed
        What the points' seeds are made of.
    save
        File that each point is written to when it is done. The same call goes on from there, and tries again what failed.
    in_flight
        Most points handed to the executor at a time; None for two a worker.
    progress
        Called with ``(points done, points in all)``, at first and after each; what it raises ends the sweep.

    Returns
    -------
    Results
        The rows of all points in the grid's order: the axes, ``seed``, what the task returned, and ``error``, which is None.
        A point that raised, or lost its worker twice, has one row with its ``error`` instead, and None for what is missing.

    Raises
    ------
    TypeError
        An argument of another type, an axis that is no sequence, or with other values than plain ones.
    InvalidArgument
        No axis, one without values, a name that cannot be; a file of another sweep.

    Notes
    -----
    An interrupt cancels what has not begun; what has is awaited and saved. A second one does not wait. A pool of processes
    begins one point more than it has workers; Dask cannot tell what has begun, and cancels that, too.

    Examples
    --------
    >>> def double(x, seed):
    ...     return {"twice": 2 * x}
    >>> [row["twice"] for row in sweep(double, {"x": [1, 2, 3]}).rows]
    [2, 4, 6]
    """
    if not callable(task):
        raise TypeError(f"task must be callable, not {type(task).__name__}")
    if executor is not None and not isinstance(executor, Executor):
        raise TypeError(
            f"executor must be a concurrent.futures.Executor, not {type(executor).__name__}; "
            "npt.studies.executor(...) gives one to a with statement, Dask's client.get_executor()"
        )
    grid = Grid.of(axes, seed)
    limit = None if in_flight is None else as_count(in_flight, "in_flight", least=1)
    about = {"task": _task_name(task), "seed": grid.seed, "axes": {name: list(values) for name, values in grid.axes.items()}}
    with SweepFile(save, about, len(grid)) as file, UnderWay(executor, task, limit) as under_way:
        outcomes = _run(grid, file, under_way, progress or (lambda done, total: None))
    by = list(dict.fromkeys([*grid.axes, *(name for outcome in outcomes for name in outcome.by)]))
    return Results(_rows(outcomes), provenance(**about, by=by), _units(outcomes))


def _run(
    grid: Grid, file: SweepFile, under_way: UnderWay, progress: Callable[[int, int], object]
) -> list[Outcome]:  # fmt: skip
    """Outcomes of all points, in order."""
    outcomes = dict(file.done)
    progress(len(outcomes), len(grid))
    try:
        for place, outcome in under_way.outcomes(grid.points(file.done)):
            file.keep(place, outcome)
            outcomes[place] = outcome
            progress(len(outcomes), len(grid))
    except BaseException:
        for place, outcome in under_way.end():
            file.keep(place, outcome)
        raise
    return [outcomes[place] for place in range(len(grid))]


def _task_name(task: Task) -> str:
    """What tells one task from another."""
    if isinstance(task, partial):
        return f"{_task_name(task.func)} with {task.args!r} {task.keywords!r}"
    kind = task if hasattr(task, "__qualname__") else type(task)
    return f"{kind.__module__}.{kind.__qualname__}"


def _rows(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """All rows, all with the same columns."""
    rows = [row for outcome in outcomes for row in outcome.rows]
    names = dict.fromkeys(name for row in rows for name in row)
    names = {**{name: None for name in names if name != "error"}, "error": None}
    return [{**names, **row} for row in rows]


def _units(outcomes: Sequence[Outcome]) -> dict[str, str]:
    """Units that all points agree on, as far as they tell."""
    told: dict[str, set[str]] = {}
    for outcome in outcomes:
        for name, unit in outcome.units.items():
            told.setdefault(name, set()).add(unit)
    return {name: units.pop() for name, units in told.items() if len(units) == 1}
