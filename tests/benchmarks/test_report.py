"""``python -m benchmarks.report``: one table and JSON of a run, or of what was saved; and all benchmarks work, small."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks import rows
from benchmarks.report import main
from npt.errors import InvalidArgument

ROOT = Path(__file__).parents[2]
META = {"command": ["it"], "seed": 3, "cpu": "a CPU", "cpus": 2, "commit": "c0ffee+", "versions": {"numpy": "2"}, "python": "3"}
PEER = {"name": "read", "kind": "limit", "ratio": 0.5, "ratio_median": 0.4, "ratio_q1": 0.3, "ratio_q3": 0.45, "target": 0.45}
ROW = {
    "name": "bench_it", "work": "harvest", "format": "ept", "size": 1 << 30, "unit": "ns a page", "rounds": 7,
    "least": 0.25, "median": 0.3, "q1": 0.28, "q3": 12.345, "peers": [{**PEER, "met": "by the least"}, {**PEER, "met": "yes"}],
}  # fmt: skip
SKIPPED = {"name": "bench_large", "skipped": "a guest of 4 TiB takes 9 GiB; 3 GiB are available"}


def saved(path: Path, *found: dict[str, Any], end: str = "") -> Path:
    """A file of rows as a run leaves it."""
    path.write_text("".join(json.dumps(one) + "\n" for one in ({"meta": META}, *found)) + end)
    return path


def test_report__of_saved_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Rows with their peers, what was skipped and why, and how the figures came about; a half-written line does not count."""
    path = saved(tmp_path / "rows.jsonl", ROW, SKIPPED, end='{"name": "bench_h')
    assert main(["--from", str(path), "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    head, _, first, second = [line for line in said.splitlines() if line.startswith("|")]
    assert first.startswith("| harvest | ept    | 1 GiB | 0.250 | 0.300, 0.280-12.3")
    assert first.endswith("| 0.500 of read (0.400, 0.300-0.450) | >= 0.45 | by the least only |")
    assert second.endswith("| >= 0.45 | met               |")
    assert len({len(line) for line in (head, first, second)}) == 1
    assert "- bench_large: skipped: a guest of 4 TiB takes 9 GiB" in said
    assert "- Commit: c0ffee+\n- Seed: 3" in said
    assert (tmp_path / "out" / "report.md").read_text() == (tmp_path / "out" / "report.txt").read_text()
    assert main(["--from", str(tmp_path / "out" / "report.json")]) == 0
    assert capsys.readouterr().out == said[: said.index("wrote ")]


def test_report__into_one_file(tmp_path: Path) -> None:
    """Its ending says which form."""
    path = saved(tmp_path / "rows.jsonl", ROW)
    for name in ("it.json", "it.md"):
        assert main(["--from", str(path), "--out", str(tmp_path / name)]) == 0
    assert json.loads((tmp_path / "it.json").read_text())["meta"] == META
    assert (tmp_path / "it.md").read_text().startswith("- Command: it\n")


def test_report__of_two_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The rows of both."""
    one, other = saved(tmp_path / "one", ROW), saved(tmp_path / "other", {**ROW, "work": "populate"})
    assert main(["--from", str(one), "--from", str(other)]) == 0
    assert [name in capsys.readouterr().out for name in ("| harvest", "| populate")] == [True, False]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"meta": {}}\n', '{"meta": {}}\n[]\n', '{"benchmarks": [{}]}', "\udcff"])
def test_report__refuses_other_files(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    """With the name of the file, not with a traceback."""
    (tmp_path / "it").write_bytes(text.encode(errors="surrogateescape"))
    assert main(["--from", str(tmp_path / "it")]) == 2
    assert f"error: {tmp_path / 'it'} " in capsys.readouterr().err
    with pytest.raises(InvalidArgument):
        rows.read(tmp_path / "it")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--from", "it", "-k", "map"], "--from runs nothing: -k map would be lost"),
        (["--out", "/nowhere/it.json"], "/nowhere is not a directory"),
    ],
)
def test_report__refuses(capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    """Before anything is measured."""
    with pytest.raises(SystemExit):
        main(arguments)
    assert said in capsys.readouterr().err


def test_report__no_such_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As the system says it."""
    assert main(["--from", str(tmp_path / "it")]) == 2
    assert "No such file" in capsys.readouterr().err


def test_report__of_an_interrupted_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was measured so far is told and kept; the status is that of an interrupt."""

    def interrupted(arguments: Sequence[str]) -> int:
        (path,) = (one.removeprefix("--rows=") for one in arguments if one.startswith("--rows="))
        saved(Path(path), ROW)
        return pytest.ExitCode.INTERRUPTED

    monkeypatch.setattr(pytest, "main", interrupted)
    assert main(["--out", str(tmp_path), "-k", "harvest"]) == 130
    assert "| harvest | ept" in capsys.readouterr().out
    assert len(json.loads((tmp_path / "report.json").read_text())["rows"]) == 1


def test_report__interrupted_before_the_first_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is nothing to tell, and it is no mistake of the user's."""
    monkeypatch.setattr(pytest, "main", lambda _: pytest.ExitCode.INTERRUPTED)
    with pytest.raises(SystemExit, match="130"):
        main(["--out", str(tmp_path)])
    assert list(tmp_path.iterdir()) == []


# -- the benchmarks themselves ------------------------------------------------------------------------------------------


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The report in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.report", *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


@pytest.mark.slow
def test_benchmarks__all_work(tmp_path: Path) -> None:
    """The tiny form of each: right results, a row each, none fails; and pytest-benchmark's own file has the rows, too."""
    done = run("--tiny", "--format", "ept", "--out", str(tmp_path), f"--benchmark-json={tmp_path / 'theirs.json'}")
    assert done.returncode == 0, done.stdout + done.stderr
    ours = json.loads((tmp_path / "report.json").read_text())
    names = {row["name"].split("::")[0] for row in ours["rows"]}
    assert names == {path.name for path in (ROOT / "benchmarks").glob("bench_*.py")}
    figures = [row for row in ours["rows"] if rows.is_figure(row)]
    assert len(figures) > 70
    assert {"command", "seed", "versions", "cpu", "commit"} <= set(ours["meta"])
    theirs = rows.read(tmp_path / "theirs.json")
    assert [row["name"] for row in theirs.rows] == [row["name"] for row in figures]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--size", "5KiB"], "--size: 5KiB is not a positive multiple of 32 KiB"),
        (["--size", "huge"], "--size: "),
        (["--rounds", "0"], "--rounds must be at least 1"),
        (["--format", "arm"], "invalid choice: 'arm'"),
    ],
)
def test_benchmarks__refuse(arguments: list[str], said: str) -> None:
    """With a line, before anything is measured."""
    done = run("--tiny", *arguments)
    assert done.returncode == 4
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_benchmarks__what_does_not_fit_is_skipped() -> None:
    """With what it takes and what there is, before any of it is taken."""
    done = run("--tiny", "--format", "ept", "--size", "16TiB", "-k", "bench_map.py")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped: a guest of 16 TiB takes" in done.stdout


@pytest.mark.slow
def test_benchmarks__a_wrong_result_has_no_figure(tmp_path: Path) -> None:
    """A harvest that loses a bit is told, and its row is not a time."""
    planted = tmp_path / "planted.py"
    planted.write_text(
        "from npt import VmSpace\n"
        "right = VmSpace.track_dirty\n"
        "def wrong(*arguments, **more):\n"
        "    found = right(*arguments, **more)\n"
        "    found[:] &= found - (found > 0)\n"
        "    return found\n"
        "VmSpace.track_dirty = wrong\n"
    )
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{tmp_path}"}
    command = [sys.executable, "-m", "pytest", "benchmarks/bench_harvest.py", "-p", "planted", "--tiny", "-k", "quiesced-ept"]
    options = [f"--rows={tmp_path / 'rows'}", "-p", "no:cacheprovider"]
    done = subprocess.run([*command, *options], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    found = {row["name"]: row for row in rows.read(tmp_path / "rows").rows}
    assert "not what it should be" in found["bench_harvest.py::bench_harvest[quiesced-ept-4MiB-100pct-all]"]["failed"]
    assert rows.is_figure(dict(found["bench_harvest.py::bench_harvest[quiesced-ept-4MiB-0pct-clean]"]))
