"""The studies as tasks: the same rows as the studies', on every executor, where axes have the names of columns, too."""

import pickle
from collections.abc import Mapping
from typing import Any

import pytest

from npt import EPT, NPT
from npt.studies import TASKS, compare, compare_mechanisms, compare_policies, executor, precopy, sweep, writer
from npt.studies.tasks import dirty_log_point, dirty_point, migrate_point, populate_point, precopy_point
from tests.studies.sweep_tasks import column, leave_out_provenance, need_dask, said

SMALL = "zipf:pages=64,windows=4,accesses=50,seed=9"
PAGE = 4096
GRID: dict[str, Any] = {
    "policy": ["freebsd:rounds=2", "xen", "qemu:auto_converge=yes", "post-copy"],
    "dirty_rate": [0, 10**8, 10**9, 10**10],
    "latency": [0, 0.1],
    "zero": [0, 1 << 20],
}
MOVES: dict[str, Any] = {"history": [SMALL], "policy": ["xen:sends=3", "post-copy"], "latency": [0.0, 0.002], "zero": [0, 0.5]}


def without(row: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """A row less some columns."""
    return {name: value for name, value in row.items() if name not in names}


def test_precopy__is_the_model() -> None:
    """Another call with the same numbers."""
    (row,) = precopy_point(ram=1 << 30, dirty_rate=10**8, policy="xen:sends=2", latency=0.1, zero=PAGE).rows
    assert row == precopy(1 << 30, 1 << 30, 10**8, policy="xen:sends=2", latency=0.1, zero=PAGE).row()


def test_migrate__is_the_study() -> None:
    """Its row, but what is said in other words here."""
    (row,) = migrate_point(history=SMALL, policy="post-copy", window=0.01, target_format="npt", seed=5).rows
    (same,) = compare_policies(writer(SMALL), ["post-copy"], target_format=NPT, seconds_per_window=0.01, seed=5).rows
    assert row == without(same, "seed", "seconds_per_window", "pages_per_second")


def test_dirty__is_the_study() -> None:
    """A ring of any size has the name that was asked for."""
    (row,) = dirty_point(history=SMALL, mechanism="ring", ring=8, windows=3).rows
    (same,) = compare_mechanisms(writer(SMALL), mechanisms=["ring"], ring=8, windows=3).rows
    assert same["mechanism"] == "ring-8"
    assert row == without(same, "seed", "windows") | {"mechanism": "ring"}


def test_formats__by_name() -> None:
    """The others are refused."""
    for task in (migrate_point, dirty_point):
        assert task(history=SMALL, format="npt").rows[0]["format"] == NPT.name
    with pytest.raises(ValueError, match=f"'x' is no format; there are {EPT.name}, {NPT.name}"):
        dirty_log_point(format="x")
    assert populate_point(size=PAGE, repeat=1).rows[0]["format"] == EPT.name


@pytest.mark.parametrize(
    ("name", "axes", "n_rows"),
    [
        ("precopy", {"policy": ["xen"], "zero": [0, PAGE], "compression": [1, 2.5]}, 4),
        (
            "migrate",
            {"history": [SMALL], "policy": ["qemu:auto_converge=yes"], "bandwidth": [10**7, 10**8], "format": ["npt"]},
            2,
        ),
        ("dirty", {"history": [SMALL], "mechanism": ["pml", "ring"], "ring": [8, 16], "windows": [2]}, 4),
        ("dirty-log", {"vcpu_bytes": [PAGE], "vcpus": [1, 2], "seed": [3]}, 18),
        ("populate", {"size": [1 << 20], "way": ["eager", "range"], "piece": [PAGE], "touches": [999], "repeat": [1]}, 2),
    ],
)
def test_sweep__of_each(monkeypatch: pytest.MonkeyPatch, name: str, axes: dict[str, Any], n_rows: int) -> None:
    """No point fails because an axis is a column, too; cases are told apart; tasks can travel."""
    leave_out_provenance(monkeypatch)
    assert pickle.loads(pickle.dumps(TASKS[name])) is TASKS[name]
    found = sweep(TASKS[name], axes)
    assert column(found, "error") == [None] * n_rows
    assert compare(found, found).meta["matched"] == n_rows
    assert set(found.units.values()) <= {"B", "ns", "s", "B/s", "1/s"}
    assert found.units


def test_sweep__of_a_policy_that_there_is_not() -> None:
    """Is a row with the list of those that there are."""
    rows = sweep(precopy_point, {"policy": ["xen", "vmware"]}).rows
    assert rows[0]["error"] is None
    assert "vmware" in rows[1]["error"]
    assert "propolis" in rows[1]["error"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["threads", "processes", "dask"])
def test_sweep__is_the_same_everywhere(kind: str) -> None:
    """64 points of the model and 8 migrations: bit for bit what this thread gives."""
    if kind == "dask":
        need_dask()
    with executor(kind, 2) as pool:
        for task, axes in ((precopy_point, GRID), (migrate_point, MOVES)):
            found = sweep(task, axes, seed=7, executor=pool)
            assert column(found, "error") == [None] * (64 if axes is GRID else 8)
            assert said(found) == said(sweep(task, axes, seed=7))
