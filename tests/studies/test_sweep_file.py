"""Sweeps that are interrupted, or go on from a file: nothing is done twice, and nobody else's file is touched."""

import json
import math
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from npt import InvalidArgument
from npt.studies import Results, sweep
from tests.interrupts.interrupt import KINDS, interrupted
from tests.studies.sweep_tasks import column, fail_at, leave_out_provenance, measure, said, square, stop_after


def lines(path: Path) -> list[Any]:
    """What stands in a file of a sweep, behind its first line."""
    return [json.loads(line) for line in path.read_text().splitlines()][1:]


def test_interrupt__keeps_what_was_done(tmp_path: Path) -> None:
    """The same call goes on from there, and ends with the same rows."""
    path, told = tmp_path / "s", list[int]()
    with pytest.raises(KeyboardInterrupt):
        sweep(stop_after(4), {"x": range(6)}, save=path)
    assert [line["point"] for line in lines(path)] == [0, 1, 2]
    task = stop_after(100)
    again = sweep(task, {"x": range(6)}, save=path, progress=lambda done, n: told.append(done))
    assert told == [3, 4, 5, 6]
    assert said(again) == said(sweep(stop_after(100), {"x": range(6)}))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*unclosed file:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_interrupt__anywhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str) -> None:
    """Whatever was going on, the file can be continued, and ends as if nothing had been."""
    leave_out_provenance(monkeypatch)
    path, axes = tmp_path / "s", {"x": [1, 2]}
    want, n = said(sweep(square, axes)), 1
    while interrupted(lambda: sweep(square, axes, save=path), kind, n):
        assert set(tmp_path.iterdir()) <= {path}
        assert said(sweep(square, axes, save=path)) == want
        path.unlink()
        n += 1
    assert n > 50


def test_save__nothing_is_done_twice(tmp_path: Path) -> None:
    """All of it is read back, exactly."""
    axes: dict[str, list[float]] = {"share": [0.1, math.inf, math.nan], "n": [1, 7]}
    first = sweep(measure, axes, save=tmp_path / "s")
    again = sweep(
        measure, axes, save=tmp_path / "s", progress=lambda done, n: None if (done, n) == (6, 6) else pytest.fail("ran")
    )
    assert said(again) == said(first) == said(sweep(measure, axes))


def test_save__keeps_units_and_points_without_rows(tmp_path: Path) -> None:
    """What a row cannot say."""

    def task(x: int, seed: int) -> Results:
        return Results([{"a": 1}] * x, {}, {"a": "ns"})

    first = sweep(task, {"x": [0, 2]}, save=tmp_path / "s")
    again = sweep(task, {"x": [0, 2]}, save=tmp_path / "s", progress=lambda done, n: None if done == 2 else pytest.fail("ran"))
    assert (said(again), again.units) == (said(first), {"a": "ns"})


def test_save__what_failed_is_tried_again(tmp_path: Path) -> None:
    """And only that; what came of it counts from then on."""
    bad, ran = [1], list[int]()

    def task(x: int, seed: int) -> dict[str, Any]:
        ran.append(x)
        return dict(fail_at(x, bad[0], seed))

    assert column(sweep(task, {"x": range(3)}, save=tmp_path / "s"), "square") == [0, None, 4]
    bad[0] = 9
    for _ in range(2):
        assert column(sweep(task, {"x": range(3)}, save=tmp_path / "s"), "square") == [0, 1, 4]
    assert ran == [0, 1, 2, 1]


@pytest.mark.parametrize("cut", [1, 5, 30])
def test_save__a_torn_last_line_is_done_again(tmp_path: Path, cut: int) -> None:
    """The process may be ended in the middle of one; what comes next stands on a line of its own."""
    path = tmp_path / "s"
    want = said(sweep(square, {"x": range(3)}, save=path))
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    assert said(sweep(square, {"x": range(3)}, save=path)) == want
    assert path.read_bytes() == whole


def test_save__a_longer_torn_line_goes(tmp_path: Path) -> None:
    """All of it, even where nothing is left to do."""
    path = tmp_path / "s"
    want = said(sweep(square, {"x": range(3)}, save=path))
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"point": 2, "rows": [' + b" " * 10_000)
    assert said(sweep(square, {"x": range(3)}, save=path)) == want
    assert path.read_bytes() == whole


def test_save__what_a_partial_was_given_tells_it_apart(tmp_path: Path) -> None:
    """The same goes on, another is refused."""
    for _ in range(2):
        sweep(partial(fail_at, bad=1), {"x": [1, 2]}, save=tmp_path / "s")
    with pytest.raises(InvalidArgument, match="another task"):
        sweep(partial(fail_at, bad=2), {"x": [1, 2]}, save=tmp_path / "s")


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"task": fail_at}, "another task"),
        ({"task": partial(fail_at, bad=1)}, "another task"),
        ({"seed": 1}, "another seed"),
        ({"axes": {"x": [1, 3]}}, "another axes"),
        ({"axes": {"x": [1, 2.0]}}, "another axes"),
        ({"axes": {"x": [True, 2]}}, "another axes"),
        ({"axes": {"y": [1, 2]}}, "another axes"),
        ({"axes": {"x": [1, 2], "z": [1]}}, "another axes"),
    ],
)
def test_save__another_sweep_is_refused(tmp_path: Path, changes: dict[str, Any], word: str) -> None:
    """Its file stays as it is."""
    path = tmp_path / "s"
    sweep(square, {"x": [1, 2]}, save=path)
    before = path.read_bytes()
    with pytest.raises(InvalidArgument, match=word):
        sweep(**{"task": square, "axes": {"x": [1, 2]}, "save": path, **changes})
    assert path.read_bytes() == before


HEAD = '{"format": "npt-sweep/1", "task": "%s", "seed": 0, "axes": {"x": [1, 2]}}\n' % f"{square.__module__}.square"  # noqa: UP031
ROW = '{"point": %s, "rows": %s, "units": {}}\n'
ONE = '[{"x": 1, "seed": 1, "square": 77, "error": null}]'


def test_save__is_read_as_it_stands(tmp_path: Path) -> None:
    """So that the next test refuses for the reason it thinks: this file has a point that no call made."""
    (tmp_path / "s").write_text(HEAD + ROW % (0, ONE))
    assert column(sweep(square, {"x": [1, 2]}, save=tmp_path / "s"), "square") == [77, 4]


@pytest.mark.parametrize(
    "text",
    [
        "my thesis", "my thesis\n", "[]\n", '{"format": "other"}\n', HEAD[:-1], "\n" + HEAD, "[" * 100_000 + "\n",
        HEAD + "\n", HEAD + "torn\n" + ROW % (0, ONE), HEAD + "[]\n",
        HEAD + ROW % (2, ONE), HEAD + ROW % (-1, ONE), HEAD + ROW % ('"0"', ONE), HEAD + ROW % ("true", ONE),
        HEAD + ROW % (0, "{}"), HEAD + ROW % (0, "[1]"), HEAD + ROW % (0, '[{"x": 1}]'), HEAD + ROW % (0, "null"),
    ],
    ids=range(18),
)  # fmt: skip
def test_save__another_file_is_refused(tmp_path: Path, text: str) -> None:
    """Nobody's file is overwritten, and no half of a point is believed."""
    path = tmp_path / "s"
    path.write_text(text)
    with pytest.raises(InvalidArgument, match="is not"):
        sweep(square, {"x": [1, 2]}, save=path)
    assert path.read_text() == text


def test_save__an_empty_file_is_free(tmp_path: Path) -> None:
    """As ``mktemp`` makes them."""
    (tmp_path / "s").touch()
    sweep(square, {"x": [1, 2]}, save=tmp_path / "s")
    assert len(lines(tmp_path / "s")) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit of a file's size")
def test_save__cannot_be_written(tmp_path: Path) -> None:
    """The sweep ends with the system's error at the first point that it cannot keep, and the file can be continued."""
    import resource

    path, ran, limits = tmp_path / "s", list[int](), resource.getrlimit(resource.RLIMIT_FSIZE)

    def task(x: int, seed: int) -> dict[str, Any]:
        ran.append(x)
        if ran == [0, 1, 2]:
            resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 20, limits[1]))
        return {"square": x * x}

    try:
        with pytest.raises(OSError, match="too large"):
            sweep(task, {"x": range(5)}, save=path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert len(path.read_text().splitlines()[-1]) == 20
    assert column(sweep(task, {"x": range(5)}, save=path), "square") == [0, 1, 4, 9, 16]
    assert ran == [0, 1, 2, 2, 3, 4]
