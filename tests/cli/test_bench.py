"""``npt bench``, as a user starts it."""

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from npt.cli.app import cli
from npt.cli.commands import bench
from npt.studies import Results
from tests.cli.running import Shell
from tests.cli.signals import listen_to_sigint

pytestmark = pytest.mark.slow

_SMALL = ["bench", "--size", "4MiB", "--repeat", "1"]
_NPT = [sys.executable, "-m", "npt"]


def _run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments)


def _start(*arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*_NPT, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "120"},
        preexec_fn=listen_to_sigint if sys.platform != "win32" else None,
    )


def test_bench__has_a_row_for_each_format_share_and_operation(tmp_path: Path) -> None:
    """Both formats, four shares of dirty pages and four operations, unless others are asked for."""
    file = tmp_path / "bench.json"
    result = _run(*_SMALL, "--json", str(file))
    assert result.exit_code == 0, result.output
    rows = Results.load(file).rows
    assert [(row["operation"], row["share"]) for row in rows if row["format"] == "ept"] == [
        ("map", None), ("populate", None), ("harvest", 0.0), ("harvest", 0.01), ("harvest", 0.1), ("harvest", 1.0),
        ("unmap", None),
    ]  # fmt: skip
    assert {row["format"] for row in rows} == {"ept", "npt"}
    assert all(row["ns_per_page"] > 0 and row["of_limit"] > 0 for row in rows)


def test_bench__size_replaces_the_default_sizes_and_may_be_repeated(tmp_path: Path) -> None:
    """Only the sizes asked for are measured."""
    file = tmp_path / "bench.json"
    result = _run(
        "bench", "--size", "2MiB", "--size", "4MiB", "--dirty", "0.5", "--format", "npt", "--repeat", "1", "--json", str(file)
    )
    assert result.exit_code == 0, result.output
    rows = Results.load(file).rows
    assert {row["size"] for row in rows} == {2 << 20, 4 << 20}
    assert {row["format"] for row in rows} == {"npt"}
    assert [row["share"] for row in rows if row["operation"] == "harvest"] == [0.5, 0.5]


def test_bench__json_says_how_the_figures_came_about(tmp_path: Path) -> None:
    """Command, seed, versions, CPU and commit are in every result file."""
    file = tmp_path / "bench.json"
    assert _run(*_SMALL, "--seed", "7", "--json", str(file)).exit_code == 0
    meta = json.loads(file.read_text())["meta"]
    assert meta["seed"] == 7
    assert meta["repeat"] == 1
    assert {"command", "versions", "cpu", "commit", "python", "time"} <= meta.keys()
    assert set(meta["versions"]) == {"npt-engine", "numpy", "numba", "llvmlite"}


def test_bench__csv_has_the_rows(tmp_path: Path) -> None:
    """A header and a line a row."""
    file = tmp_path / "bench.csv"
    assert _run(*_SMALL, "--csv", str(file)).exit_code == 0
    with file.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert len(rows) == 14
    assert rows[0]["operation"] == "map"
    assert float(rows[0]["ns_per_page"]) > 0


def test_bench__in_a_pipe_tells_its_progress_in_lines() -> None:
    """The table goes to standard output whole, progress to standard error, and neither has control characters."""
    done = _start(*_SMALL)
    table, progress = done.communicate()
    assert done.returncode == 0, progress
    assert "ns/page" in table
    assert "of the limit" in table
    assert "ept 4 MiB: 2/4" in progress
    assert "\x1b" not in table + progress


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
def test_bench__in_a_terminal_draws_a_bar() -> None:
    """A pseudo-terminal gets a bar and the same table."""
    code = f"import pty, sys; sys.exit(pty.spawn({[*_NPT, *_SMALL]!r}) >> 8)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout
    assert b"\x1b" in done.stdout
    assert b"ns/page" in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to a child")
def test_bench__interrupted_ends_with_130() -> None:
    """Ctrl-C says so in one line, without a traceback."""
    going = _start("bench", "--size", "4MiB", "--repeat", "10000000")
    assert going.stderr is not None
    for line in going.stderr:
        if "ept 4 MiB" in line:
            break
    going.send_signal(signal.SIGINT)
    _, rest = going.communicate(timeout=60)
    assert going.returncode == 130
    assert "interrupted" in rest
    assert "Traceback" not in rest


def test_bench__says_what_is_left_out_unless_it_is_to_be_quiet(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the sizes that nobody asked for."""
    monkeypatch.setattr(bench, "largest_guest", lambda: 64 << 20)
    options = "--format ept --dirty 1 --repeat 1"
    assert "left out: 1 GiB, which this machine's memory cannot hold now\n" in shell(f"bench {options}").err
    assert shell(f"bench {options} -q") == (0, "", "")


@pytest.mark.parametrize("size", ["64TiB", "1PiB", "5000000 TiB"])
def test_bench__a_guest_too_large_is_refused_with_the_largest_that_fits(size: str, shell: Shell) -> None:
    """Before anything is allocated: the message names the size and what would fit."""
    ended = shell(f"bench --size '{size}'")
    assert ended.code == 4
    assert "does not fit this machine's memory" in ended.err
    assert "the largest that fits now is" in ended.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--size", "big"], "is not a size"),
        (["--size", "0"], "not a positive number of whole pages"),
        (["--size", "5000"], "not a positive number of whole pages"),
        (["--dirty", "1.5"], "1.5 is not in the range"),
        (["--dirty", "nan"], "nan"),
        (["--format", "pae"], "'pae' is not one of"),
        (["--repeat", "0"], "0 is not in the range"),
        (["--seed", "-1"], "-1 is not in the range"),
        (["--json", "/nowhere/at/all.json"], "is not a directory that can be written to"),
        (["extra"], "unexpected extra argument"),
    ],
)
def test_bench__bad_usage_is_told_and_ends_with_2(arguments: list[str], said: str, shell: Shell) -> None:
    """Usage errors come before any work."""
    ended = shell(" ".join(["bench", *arguments]))
    assert (ended.code, ended.out) == (2, "")
    assert said in " ".join(ended.err.split())


def test_bench__same_seed_same_pages(tmp_path: Path) -> None:
    """The pages that are dirty depend on the seed alone."""
    import numpy as np

    from npt.studies.throughput import _some_pages

    first, again, other = (_some_pages(np.random.default_rng(seed), 1000, 0.1) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert int(np.bitwise_count(first).sum()) == 100
