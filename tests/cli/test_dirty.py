"""``npt dirty``, as a user starts it."""

import csv
import json
import os
import signal
import subprocess
import sys
from importlib.resources import as_file, files
from pathlib import Path

import pytest
from click.testing import CliRunner

from npt.cli.app import cli
from tests.cli.running import Shell
from tests.cli.signals import listen_to_sigint

pytestmark = pytest.mark.slow

_NPT = [sys.executable, "-m", "npt"]
_OPTIONS = [
    "--mechanism", "ring", "--format", "npt", "--vcpus", "3", "--ring", "32", "--granule", "128", "--clear-at", "1.5",
    "--windows", "2", "--cost", "faults=7",
]  # fmt: skip
_SMALL = "zipf:pages=500,windows=4,accesses=300,seed=2"


def test_dirty__a_table_a_writer(tmp_path: Path) -> None:
    """A history and a pattern: every mechanism has a line in each table, and the files have the same rows."""
    files = ["--json", str(tmp_path / "d.json"), "--csv", str(tmp_path / "d.csv")]
    result = CliRunner().invoke(cli, ["dirty", "sort", _SMALL, "--windows", "20", *files])
    assert result.exit_code == 0, result.output
    document = json.loads((tmp_path / "d.json").read_text())
    for name in ("dirty-bits", "write-protect", "pml", "ring-4096"):
        assert result.stdout.count(f" {name} ") == 2
    assert result.stdout.count("shoot-downs") == 2
    assert all(f"costs {name}: " in result.stdout for name in document["meta"]["costs"])
    assert [(row["writer"], row["rounds"]) for row in document["rows"]] == [("sort", 20)] * 4 + [("zipf", 4)] * 4
    assert set(document["meta"]) >= {"command", "versions", "cpu", "commit", "costs"}
    with (tmp_path / "d.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [line["mechanism"] for line in lines] == [row["mechanism"] for row in document["rows"]]
    assert [line["seed"] for line in lines] == [""] * 4 + ["2"] * 4


def test_dirty__options_reach_the_study(tmp_path: Path) -> None:
    """What is asked for is what the rows say."""
    result = CliRunner().invoke(cli, ["dirty", _SMALL, *_OPTIONS, "--json", str(tmp_path / "d.json")])
    assert result.exit_code == 0, result.output
    (row,) = json.loads((tmp_path / "d.json").read_text())["rows"]
    wanted = {"mechanism": "ring-32", "format": "npt", "vcpus": 3, "granule": 128, "clear_at": 1.5, "rounds": 2}
    assert {key: row[key] for key in wanted} == wanted
    assert row["stall_ns, yours"] == 7 * row["faults"]
    assert "cleared by 128 pages at 1.5" in " ".join(result.stdout.split())


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ([], "Missing argument"), (["nix"], "neither a writer"), (["zipf:pages=x"], "pages must be an integer"),
        ([_SMALL, "--granule", "63"], "63"), ([_SMALL, "--granule", "half"], "half"), ([_SMALL, "--clear-at", "nan"], "nan"),
        ([_SMALL, "--clear-at", "3"], "3"), ([_SMALL, "--mechanism", "x"], "'x' is not one of"),
        ([_SMALL, "--cost", "x=1"], "x=1"),
        ([_SMALL, "--cost", "faults=x"], "faults=x"), ([_SMALL, "--cost", "faults=-1"], "faults cannot cost"),
        ([_SMALL, "--cost", "faults=1", "--cost", "faults=2"], "said twice"),
        ([_SMALL, "--csv", "/tmp/npt-x", "--json", "/tmp/../tmp/npt-x"], "is the file for --json, too"),
        ([_SMALL, "--ring", "0"], "ring"), ([_SMALL, "--json", "/nowhere/x"], "/nowhere"),
    ],
)  # fmt: skip
def test_dirty__bad_arguments(arguments: list[str], word: str, shell: Shell) -> None:
    """A message that names the trouble, and an exit code that says so."""
    ended = shell(" ".join(["dirty", *arguments]))
    assert ended.code == (3 if arguments == ["nix"] else 2)
    assert word in ended.err


@pytest.mark.parametrize("columns", [None, "20", "60", "80", "200"])
def test_dirty__no_digit_is_cut_off(columns: str | None, tmp_path: Path) -> None:
    """Every number of the rows is in the output, however narrow that is; so is every name."""
    file = tmp_path / "d.json"
    command = [*_NPT, "dirty", "uniform:pages=70000,windows=2,accesses=3000000", "--cost", "faults=12345", "--json", str(file)]
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    if columns is not None:
        environment["COLUMNS"] = columns
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    words = done.stdout.split()
    rows = json.loads(file.read_text())["rows"]
    assert len(rows) > 3
    for row in rows:
        names = ("faults", "pte_reads", "pte_writes", "shoot_downs", "reported", "false_dirty")
        wanted = {f"{row[name]:,}" for name in names}
        stalls = (value for name, value in row.items() if name.startswith("stall_ns") and value is not None)
        wanted |= {f"{value / 1e6:,.3f}" for value in stalls}
        assert wanted | {row["mechanism"], "shoot-downs"} <= set(words)


def test_dirty__writers_that_differ_in_one_parameter() -> None:
    """Each has a table of its own, and says what it is."""
    texts = [f"uniform:pages=100,windows=2,accesses={n},write_share=0.5,seed=3" for n in (10, 20)]
    result = CliRunner().invoke(cli, ["dirty", *texts, "--mechanism", "pml"])
    assert result.exit_code == 0, result.output
    told = " ".join(result.stdout.split())
    assert "accesses 10, write share 0.5, seed 3" in told
    assert "accesses 20, write share 0.5, seed 3" in told
    assert told.count("pages reported in 2 rounds") == 2


def test_dirty__results_into_a_pipe() -> None:
    """``/dev/stdout`` is a result file like any other, though its pipe has no name."""
    command = [*_NPT, "dirty", "uniform:pages=10,windows=1,accesses=3", "--json", "/dev/stdout"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert '"rows": [' in done.stdout


def test_dirty__names_are_no_markup(tmp_path: Path) -> None:
    """A file may be called anything."""
    with as_file(files("npt") / "data" / "sort.npz") as history:
        (tmp_path / "[bold]x.npz").write_bytes(history.read_bytes())
    result = CliRunner().invoke(cli, ["dirty", str(tmp_path / "[bold]x.npz"), "--windows", "2"])
    assert result.exit_code == 0, result.output
    assert "[bold]x: 7,241 pages" in result.stdout


def test_dirty__interrupt() -> None:
    """Ctrl-C ends it at once, with 130 and a word."""
    command = [*_NPT, "dirty", "uniform:pages=65536,windows=100000,accesses=100000"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=listen_to_sigint) as process:
        assert process.stderr is not None
        process.stderr.readline()  # it has begun
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in told
    assert "Traceback" not in told
