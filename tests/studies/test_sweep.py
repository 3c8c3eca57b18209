"""Sweeps in this process: the grid, seeds, rows, errors, and what is refused."""

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.random import SeedSequence

from npt import InvalidArgument, Prot
from npt.studies import Results, sweep
from tests.studies.sweep_tasks import column, fail_at, leave_out_provenance, said, square, stop_after, unreadable


def nothing(**point: Any) -> dict[str, Any]:
    """Take anything, measure nothing."""
    return {}


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
NAMES = st.text(min_size=1).filter(lambda name: name not in ("seed", "error"))
AXES = st.dictionaries(NAMES, st.lists(VALUES, min_size=1, max_size=4), min_size=1, max_size=3)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(axes=AXES, seed=st.integers(0, 2**64 - 1))
def test_grid__last_axis_fastest_and_seeds_by_place(
    monkeypatch: pytest.MonkeyPatch, axes: dict[str, list[Any]], seed: int
) -> None:
    """Every choice once, in order; each with the seed that numpy spawns for its place."""
    leave_out_provenance(monkeypatch)
    found = sweep(nothing, axes, seed=seed)
    choices = list(itertools.product(*axes.values()))
    seeds = [int(each.generate_state(1, np.uint64)[0]) for each in SeedSequence(seed).spawn(len(choices))]
    want = [
        {**dict(zip(axes, choice, strict=True)), "seed": one, "error": None} for choice, one in zip(choices, seeds, strict=True)
    ]
    assert repr(list(found.rows)) == repr(want)


def test_task__gets_the_values_and_the_seed() -> None:
    """By name, numpy's as Python's own."""
    got: list[dict[str, Any]] = []

    def task(**point: Any) -> dict[str, Any]:
        got.append(point)
        return {}

    sweep(task, {"a": np.array([1, 2**63], np.uint64), "b": (np.float64(0.5), np.str_("x"))})
    assert [(one["a"], one["b"]) for one in got] == [(1, 0.5), (1, "x"), (2**63, 0.5), (2**63, "x")]
    assert {type(value) for one in got for value in one.values()} == {int, float, str}


def test_seed__an_axis_takes_its_place() -> None:
    """The same history for every policy."""
    found = sweep(square, {"x": [1, 2], "seed": [7, 8]})
    assert [(row["x"], row["seed"]) for row in found.rows] == [(1, 7), (1, 8), (2, 7), (2, 8)]


@pytest.mark.parametrize(
    ("returned", "squares"),
    [
        ({"s": 1}, [1]),
        ([{"s": 1}, {"s": 2}], [1, 2]),
        (({"s": 1},), [1]),
        (Results([{"s": 3}], {"time": "now"}, {"s": "ns"}), [3]),
        ([], []),
    ],
)
def test_task__returns_a_row_rows_or_results(returned: Any, squares: list[int]) -> None:
    """All become rows behind the point's own columns."""
    found = sweep(lambda x, seed: returned, {"x": [5]})
    assert column(found, "s") == squares
    assert [(list(row), row["x"]) for row in found.rows] == [(["x", "seed", "s", "error"], 5)] * len(squares)


def test_units__are_what_all_points_say() -> None:
    """One that they do not agree on is left out."""
    found = sweep(lambda x, seed: Results([{"a": 1, "b": 2}], {}, {"a": "ns", "b": ["s", "ms"][x]}), {"x": [0, 1]})
    assert found.units == {"a": "ns"}


def test_by__the_axes_and_what_the_points_say(tmp_path: Path) -> None:
    """From a file, too; a meta that uses the word for something else says nothing."""

    def task(x: int, seed: int) -> Results:
        return Results([{"phase": 1}, {"phase": 2}], {"by": [["phase", "x"], "phase", None, 7][x]})

    path = tmp_path / "s"
    for _ in range(2):
        found = sweep(task, {"x": range(4)}, save=path)
        assert column(found, "error") == [None] * 8
        assert found.meta["by"] == ["x", "phase"]
    assert len(path.read_text().splitlines()) == 5


def test_rows__all_have_the_same_columns() -> None:
    """None where a point had no such measure."""
    found = sweep(lambda x, seed: {"ab"[x]: x}, {"x": [0, 1]})
    assert [list(row) for row in found.rows] == [["x", "seed", "a", "b", "error"]] * 2
    assert [(row["a"], row["b"]) for row in found.rows] == [(0, None), (None, 1)]


def test_meta__says_how_it_came_about() -> None:
    """Task, axes and seed, beside versions and machine."""
    meta = sweep(square, {"x": range(2)}, seed=4).meta
    assert (meta["task"], meta["axes"], meta["seed"]) == (f"{square.__module__}.square", {"x": [0, 1]}, 4)
    assert "versions" in meta


# -- errors -------------------------------------------------------------------------------------------------------------


def test_error__is_a_row_of_its_own() -> None:
    """The others are what they would have been."""
    found = sweep(fail_at, {"x": [0, 1, 2], "bad": [1]})
    seeds = column(found, "seed")
    assert found.rows == [
        {"x": 0, "bad": 1, "seed": seeds[0], "square": 0, "of": seeds[0], "error": None},
        {"x": 1, "bad": 1, "seed": seeds[1], "square": None, "of": None, "error": "ValueError: no 1\nat all"},
        {"x": 2, "bad": 1, "seed": seeds[2], "square": 4, "of": seeds[2], "error": None},
    ]


def test_error__that_cannot_say_what_it_is() -> None:
    """Its type is told at least."""
    (row,) = sweep(unreadable, {"x": [1]}).rows
    assert "Unreadable" in row["error"]


@pytest.mark.parametrize(
    ("returned", "word"),
    [
        (3, "must return a row"),
        (None, "must return a row"),
        ("ab", "must return a row"),
        ([{"a": 1}, 2], "must return a row"),
        ({"x": 6}, "says 6, where the sweep's own says 5"),
        ({"seed": 0}, "'seed' says 0"),
        ({"error": "mine"}, "'error' says 'mine'"),
        ({"a": object()}, "column 'a' has a object"),
        ({"a": [1, {"b": b""}]}, "column 'a' has a bytes"),
        ({1: 2}, "names of columns"),
        ({"a": {1: 2}}, "column 'a' has a dict"),
    ],
)
def test_error__a_task_that_returns_something_else(returned: Any, word: str) -> None:
    """Told in its row."""
    (row,) = sweep(lambda x, seed: returned, {"x": [5]}).rows
    assert word in row["error"]
    assert set(row) == {"x", "seed", "error"}


def test_rows__may_repeat_the_point() -> None:
    """Studies' rows say what they were called with; nan is what it was."""
    (row,) = sweep(lambda x, seed: {"seed": seed, "x": x}, {"x": [math.nan]}).rows
    assert row["error"] is None


def test_rows__hold_plain_values(tmp_path: Path) -> None:
    """Whatever the task had, so that a file gives back what was returned; what repeats the point is allowed."""
    made = {"x": 5.0, "i": np.int32(3), "f": np.float32(0.5), "l": (1, [np.bool_(True)]), "d": {"k": (2,)}, "p": Prot.RW}
    found = sweep(lambda x, seed: made, {"x": [5]}, save=tmp_path / "s")
    assert said(found) == said(sweep(lambda x, seed: made, {"x": [5]}, save=tmp_path / "s"))
    (row,) = found.rows
    assert repr({name: row[name] for name in made}) == repr(
        {"x": 5, "i": 3, "f": 0.5, "l": [1, [True]], "d": {"k": [2]}, "p": 3}
    )  # fmt: skip


# -- what is refused ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("axes", "error", "word"),
    [
        ({}, InvalidArgument, "at least one axis"),
        ({"a": []}, InvalidArgument, "axis 'a' has no values"),
        ({"a": [1], "b": range(0)}, InvalidArgument, "axis 'b' has no values"),
        ({"a": np.array([])}, InvalidArgument, "axis 'a' has no values"),
        ({"a": "xen"}, TypeError, "axis 'a' must be a sequence"),
        ({"a": b"xen"}, TypeError, "axis 'a' must be a sequence"),
        ({"a": {1, 2}}, TypeError, "not set"),
        ({"a": {1: 2}}, TypeError, "not dict"),
        ({"a": iter([1])}, TypeError, "must be a sequence"),
        ({"a": 3}, TypeError, "not int"),
        ({"a": None}, TypeError, "not NoneType"),
        ({"a": np.zeros((2, 2))}, TypeError, "must be a sequence"),
        ({"a": [[1]]}, TypeError, "axis 'a' has a list"),
        ({"a": [object()]}, TypeError, "axis 'a' has a object"),
        ({"a": [b"x"]}, TypeError, "axis 'a' has a bytes"),
        ({1: [1]}, TypeError, "name of an axis must be text"),
        ({"": [1]}, InvalidArgument, "cannot be called ''"),
        ({"error": [1]}, InvalidArgument, "cannot be called 'error'"),
        ([("a", [1])], TypeError, "axes must be a mapping"),
    ],
)
def test_axes__refused(tmp_path: Path, axes: Any, error: type[Exception], word: str) -> None:
    """Before anything runs, and before a file is made."""
    with pytest.raises(error, match=word):
        sweep(lambda **point: pytest.fail("it ran"), axes, save=tmp_path / "s")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "error", "word"),
    [
        ({"task": 3}, TypeError, "task must be callable"),
        ({"seed": -1}, InvalidArgument, "seed"),
        ({"seed": 2**64}, InvalidArgument, "seed"),
        ({"seed": 1.0}, TypeError, "seed"),
        ({"seed": True}, TypeError, "seed"),
        ({"in_flight": 0}, InvalidArgument, "in_flight"),
        ({"in_flight": 1.5}, TypeError, "in_flight"),
        ({"executor": "threads"}, TypeError, "get_executor"),
        ({"save": "folder"}, InvalidArgument, "not a file"),
        ({"save": "absent/s"}, FileNotFoundError, "absent"),
    ],
)
def test_arguments__refused(tmp_path: Path, changes: dict[str, Any], error: type[Exception], word: str) -> None:
    """Clearly, with nothing done."""
    (tmp_path / "folder").mkdir()
    if "save" in changes:
        changes = {"save": tmp_path / changes["save"]}
    arguments = {"task": lambda **point: pytest.fail("it ran"), "axes": {"x": [1]}, **changes}
    with pytest.raises(error, match=word):
        sweep(**arguments)
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


# -- progress, large grids ----------------------------------------------------------------------------------------------


def test_progress__is_told_at_first_and_after_each() -> None:
    """Points done, and in all."""
    told: list[tuple[int, int]] = []
    sweep(square, {"x": [1, 2, 3]}, progress=lambda done, n: told.append((done, n)))
    assert told == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_grid__points_are_made_when_they_are_due() -> None:
    """So many would never fit: a sweep of 10**18 points begins at once."""
    axis = range(1000)
    with pytest.raises(KeyboardInterrupt):
        sweep(stop_after(3), dict.fromkeys("abcdef", axis))
