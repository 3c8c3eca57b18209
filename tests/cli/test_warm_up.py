"""``npt warm-up``, as a user starts it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from npt.kernels.jit import DISABLED
from tests.cli.signals import listen_to_sigint
from tests.kernels.fresh import ROOT, environment

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(DISABLED, reason="nothing is compiled with NUMBA_DISABLE_JIT=1"),
]

_NPT = [sys.executable, "-m", "npt", "warm-up"]
_FEW = """
import shutil, sys
from npt import kernels
from npt.cli import main
kernels.__all__[:] = ["jit", "words"]
"""


class Run(NamedTuple):
    """What one run said, and the row that it saved."""

    code: int
    out: str
    err: str
    row: dict[str, Any]


def _run(cache: Path | str, *prefix: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*(prefix or _NPT)],
        env=environment(ROOT, {"NUMBA_CACHE_DIR": str(cache), "COLUMNS": "120", **variables}),
        capture_output=True,
        text=True,
    )


def _with_row(cache: Path, *prefix: str) -> Run:
    file = cache / "row.json"
    done = _run(cache, *(prefix or _NPT), "--json", str(file))
    return Run(done.returncode, done.stdout, done.stderr, json.loads(file.read_text())["rows"][0])


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int, str]:
    """A cache that an interrupted run left; its exit code, and what it said after the interrupt."""
    if sys.platform == "win32":
        pytest.skip("no SIGINT to a child")
    cache = tmp_path_factory.mktemp("cache")
    going = subprocess.Popen(
        _NPT,
        env=environment(ROOT, {"NUMBA_CACHE_DIR": str(cache)}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=listen_to_sigint,
    )
    assert going.stderr is not None
    for line in going.stderr:
        if line.startswith("kernels: ") and not line.startswith("kernels: 0/"):
            break
    going.send_signal(signal.SIGINT)
    _, rest = going.communicate(timeout=300)
    return cache, going.returncode, rest


@pytest.fixture(scope="module")
def second(interrupted: tuple[Path, int, str]) -> Run:
    """The run after the interrupted one."""
    return _with_row(interrupted[0])


@pytest.fixture(scope="module")
def third(interrupted: tuple[Path, int, str], second: Run) -> Run:
    """The run after that."""
    return _with_row(interrupted[0])


def test_interrupted__ends_with_130(interrupted: tuple[Path, int, str]) -> None:
    """Ctrl-C says so in one line, without a traceback."""
    _, code, rest = interrupted
    assert code == 130
    assert "interrupted" in rest
    assert "Traceback" not in rest


def test_interrupted__next_run_goes_on(second: Run) -> None:
    """It finds what was compiled, and compiles the rest."""
    assert second.code == 0, second.err
    assert 0 < second.row["cached"] < second.row["kernels"]
    assert second.row["compiled"] == second.row["kernels"] - second.row["cached"]
    assert second.row["lost"] == 0


def test_warm__compiles_nothing(third: Run, second: Run) -> None:
    """All come from the cache."""
    kernels = second.row["kernels"]
    assert kernels > 50
    assert (third.row["kernels"], third.row["compiled"], third.row["cached"]) == (kernels, 0, kernels)


def test_output__says_what_came_from_where(third: Run, interrupted: tuple[Path, int, str]) -> None:
    """The counts, the directory and the machine are in the table."""
    n, directory = third.row["kernels"], third.row["directory"]
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in third.out.splitlines() if "│" in line]
    said = dict(line for line in lines if len(line) == 2)
    assert (said["kernels"], said["compiled now"], said["found in the cache"]) == (f"{n}", "0", f"{n}")
    assert said["compiled for"].startswith(third.row["cpu"])
    assert Path(directory).parent == interrupted[0]
    assert directory in third.out


def test_progress__goes_to_the_end(third: Run) -> None:
    """Where there is no terminal, in a few lines on standard error."""
    n = third.row["kernels"]
    said = third.err.splitlines()
    assert said[0] == f"kernels: 0/{n}"
    assert said[-1] == f"kernels: {n}/{n}"


def test_nowhere_to_write__is_said_at_once() -> None:
    """Nothing is compiled in vain: one line says what to set."""
    done = _run("/dev/null/cache")
    assert done.returncode == 1
    assert "NUMBA_CACHE_DIR" in done.stderr
    assert "kernels: 0/" not in done.stderr
    assert "Traceback" not in done.stderr


def test_plain_python__has_nothing_to_compile(tmp_path: Path) -> None:
    """With NUMBA_DISABLE_JIT=1 that is an error, and says why."""
    done = _run(tmp_path, NUMBA_DISABLE_JIT="1")
    assert done.returncode == 1
    assert "NUMBA_DISABLE_JIT" in done.stderr
    assert "Traceback" not in done.stderr


def test_lost__kernels_are_an_error(tmp_path: Path) -> None:
    """The directory is gone when they are to be saved: the row says how many, and so does the exit code."""
    spoil = "d = kernels.jit.cache_directory()\nshutil.rmtree(d)\nd.write_text('in the way')\n"
    run = _with_row(tmp_path, sys.executable, "-c", f"{_FEW}{spoil}main()", "warm-up")
    assert run.code == 1
    assert (run.row["kernels"], run.row["compiled"], run.row["lost"]) == (3, 3, 3)
    assert "3 kernels could not be saved" in run.err


def test_file__that_cannot_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    """As by the other commands."""
    done = _run(tmp_path, *_NPT, "--json", os.fspath(tmp_path / "nowhere" / "row.json"))
    assert done.returncode == 2
    assert "is not a directory" in done.stderr
    assert "kernels: 0/" not in done.stderr
