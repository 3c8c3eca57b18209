"""Sweeps on a Dask cluster of two processes: the serial rows, a killed worker, an interrupt."""

import os
from collections.abc import Iterator
from concurrent.futures import Executor
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from npt.studies import sweep
from tests.studies.sweep_tasks import column, count, die_at, fail_at, measure, need_dask, said

pytestmark = pytest.mark.slow

GRID = {"share": [0.1, 2.0, float("nan"), 1e300], "n": range(1, 17)}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A client of two worker processes; the scheduler gives up on a call when its first worker is lost.

    Whoever wants something that a lost worker had gives up sooner, too: usually Dask tries for half a minute.
    """
    need_dask()
    dask, distributed = import_module("dask"), import_module("distributed")
    settings = {"distributed.scheduler.allowed-failures": 0, "distributed.comm.timeouts.connect": "3s"}
    with (
        dask.config.set(settings),
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50) as local,
        distributed.Client(local) as client,
    ):
        yield client


@pytest.fixture
def executor(cluster: Any) -> Iterator[Executor]:
    """What the client gives; a new one for each test."""
    with cluster.get_executor() as found:
        yield found


def test_dask__gives_the_serial_rows(executor: Executor) -> None:
    """64 points, bit for bit."""
    assert said(sweep(measure, GRID, seed=5, executor=executor)) == said(sweep(measure, GRID, seed=5))


def test_dask__errors_are_rows(executor: Executor) -> None:
    """As anywhere."""
    axes = {"x": range(5), "bad": [3]}
    assert said(sweep(fail_at, axes, executor=executor)) == said(sweep(fail_at, axes))


def test_dask__calls_anew_each_time(tmp_path: Path, executor: Executor) -> None:
    """Dask knows a call by its arguments, and would give an earlier one's outcome for the same."""
    for n in (3, 6):
        sweep(count, {"x": range(3), "folder": [str(tmp_path)]}, executor=executor)
        assert len(os.listdir(tmp_path)) == n


def test_dask__a_killed_worker(tmp_path: Path, executor: Executor) -> None:
    """Its points are tried again; nothing is missing and nothing differs."""
    axes: dict[str, Any] = {"x": range(64), "bad": [20], "mark": [str(tmp_path / "mark")]}
    found = sweep(die_at, axes, seed=3, executor=executor)
    assert (tmp_path / "mark").exists()
    assert said(found) == said(sweep(die_at, axes, seed=3))  # in this process, where the mark is there by now


def test_dask__a_point_that_kills(executor: Executor) -> None:
    """Is an error, and the only one."""
    found = sweep(die_at, {"x": range(8), "bad": [3], "mark": [""]}, executor=executor)
    assert column(found, "square") == [x * x if x != 3 else None for x in range(8)]
    assert ["KilledWorker" in (row["error"] or "") for row in found.rows] == [x == 3 for x in range(8)]


def test_dask__goes_on_after_an_interrupt(tmp_path: Path, executor: Executor) -> None:
    """From the file, with the serial rows in the end; what was kept is not done again."""
    path, told = tmp_path / "s", list[int]()

    def stop(done: int, _: int) -> None:
        if done == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep(measure, GRID, seed=5, executor=executor, save=path, progress=stop)
    kept = len(path.read_text().splitlines()) - 1
    assert 20 <= kept < 64
    found = sweep(measure, GRID, seed=5, executor=executor, save=path, progress=lambda done, n: told.append(done))
    assert told == list(range(kept, 65))
    assert said(found) == said(sweep(measure, GRID, seed=5))
