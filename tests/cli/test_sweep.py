"""``npt sweep``, as a user starts it."""

import json
import os
import signal
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from click.testing import CliRunner

from npt.cli.app import cli
from npt.studies import executors
from tests.cli.running import Shell, start

pytestmark = pytest.mark.slow

_DASK = pytest.param(
    "dask",
    marks=pytest.mark.skipif(
        os.environ.get("CI") != "true" and find_spec("distributed") is None, reason="distributed is not installed"
    ),
)
_GRID = (
    "sweep precopy --axis policy=freebsd,xen:sends=3,pages=9,qemu,post-copy --axis dirty_rate=0,100MiB,1GiB,10Gbit/s "
    "--axis ram=4KiB,1GiB --axis downtime=0,300ms"
)


def test_sweep__rows_are_the_grid_in_order(shell: Shell) -> None:
    """The last axis is the fastest; options of a policy are no values of their own; --set is the same everywhere."""
    ended = shell("sweep precopy --axis policy=xen:sends=3,pages=9,qemu --axis ram=1GiB,2GiB --set zero=4KiB --seed 3 --json -")
    assert ended.code == 0, ended.err
    document = json.loads(ended.out)
    seen = [(row["policy"], row["ram"]) for row in document["rows"]]
    assert seen == [(policy, ram << 30) for policy in ("xen:sends=3,pages=9", "qemu") for ram in (1, 2)]
    assert {row["zero"] for row in document["rows"]} == {4096}
    assert document["meta"]["seed"] == 3
    assert {"policy", "ram"} <= set(document["meta"]["by"])


@pytest.mark.parametrize("executor", ["threads", _DASK])
def test_sweep__64_points_are_the_same_wherever_they_run(executor: str, shell: Shell) -> None:
    """Byte for byte, with Dask in two processes."""
    assert shell(f"{_GRID} --csv serial.csv -q") == (0, "", "")
    assert shell(f"{_GRID} --csv spread.csv -q --executor {executor} --workers 2") == (0, "", "")
    serial = Path("serial.csv").read_bytes()
    assert serial.count(b"\n") == 65
    assert Path("spread.csv").read_bytes() == serial


@pytest.mark.parametrize("line", [
    "dirty --axis mechanism=pml,ring --axis windows=1,2 --set history=uniform:pages=64,windows=3",
    "migrate --axis history=uniform:pages=64,windows=3,sort --set policy=propolis --set zero=0.5 --set window=1ms",
    "dirty-log --axis overlap=yes,no --set vcpu_bytes=64KiB --set backing=none",
    "populate --axis way=eager,range --axis format=ept,npt --set size=1MiB --set repeat=1",
])  # fmt: skip
def test_sweep__every_task_takes_its_parameters(line: str, shell: Shell) -> None:
    """As words, of whatever type they are."""
    ended = shell(f"sweep {line}")
    assert ended.code == 0, ended.err
    assert ended.out.count("\n") > 6


def test_sweep__a_point_that_fails_is_a_row(shell: Shell) -> None:
    """The others are done; the command says so, and ends with 1."""
    ended = shell("sweep precopy --axis ram=4KiB,8KiB --axis zero=0,8KiB --json rows.json")
    assert ended.code == 1
    assert "1 of 4 rows are errors; the first: " in ended.err
    errors = [row["error"] for row in json.loads(Path("rows.json").read_text())["rows"]]
    assert [error is None for error in errors] == [True, False, True, True]


def test_sweep__a_scheduler_that_does_not_answer(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the address."""
    pytest.importorskip("distributed")
    monkeypatch.setattr(executors, "_PATIENCE", "100ms")
    ended = shell("sweep precopy --axis ram=1GiB --scheduler tcp://127.0.0.1:1")
    assert (ended.code, ended.out) == (1, "")
    assert "no Dask scheduler answers at tcp://127.0.0.1:1" in ended.err


def test_sweep__a_saved_part_of_another_is_refused(shell: Shell) -> None:
    """Other values, another seed, another task, or no sweep at all; the file stays as it is."""
    assert shell("sweep precopy --axis ram=1GiB,2GiB --save part.jsonl -q").code == 0
    saved = Path("part.jsonl").read_bytes()
    for line, code in (
        ("precopy --axis ram=1GiB,4GiB", 2), ("precopy --axis ram=1GiB,2GiB --seed 1", 2),
        ("precopy --axis ram=1GiB,2GiB --set zero=4KiB", 2), ("migrate --axis zero=0,0.5", 2),
    ):  # fmt: skip
        ended = shell(f"sweep {line} --save part.jsonl")
        assert ended.code == code
        assert "part.jsonl is of a sweep with another" in ended.err
    assert Path("part.jsonl").read_bytes() == saved
    Path("notes.txt").write_text("mine")
    assert shell("sweep precopy --axis ram=1GiB --save notes.txt").code == 3
    assert Path("notes.txt").read_text() == "mine"


_SLOW = ["sweep", "dirty", "--set", "mechanism=dirty-bits", "--axis",
    "history=" + ",".join(f"uniform:pages=65536,windows={n},accesses=100000" for n in range(80, 88))]  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The rows of a sweep that nobody interrupted."""
    rows = tmp_path_factory.mktemp("whole") / "rows.csv"
    assert CliRunner().invoke(cli, [*_SLOW, "--csv", str(rows), "-q"]).exit_code == 0
    return rows.read_bytes()


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to a child")
@pytest.mark.parametrize("executor", ["none", "processes", _DASK])
def test_sweep__interrupted_goes_on_from_there(executor: str, whole: bytes, shell: Shell, tmp_path: Path) -> None:
    """Ctrl-C, which a terminal sends to the workers, too: no traceback, nobody is left, and what was done is not done again."""
    words = [*_SLOW, "--executor", executor, "--save", "part.jsonl", "--csv", "rows.csv"]
    going = start(words, tmp_path)
    assert going.stderr is not None
    for line in going.stderr:
        if "dirty: 2" <= line < "dirty: 8":  # two workers may step over a number
            break
    else:
        pytest.fail("it ended, or told nothing on its way")
    os.killpg(going.pid, signal.SIGINT)
    out, err = going.communicate(timeout=60)  # which ends when the last process that could still say something has ended
    assert (going.returncode, out) == (130, "")
    assert err.split("\n") == [
        "the points that are done are in part.jsonl; the same command goes on from there",
        "",
        "interrupted",
        "",
    ]
    part = Path("part.jsonl").read_bytes()
    least = 4 if executor == "processes" else 2  # points; a pool's that have begun are awaited
    assert 1 + least <= part.count(b"\n") < 9
    assert not Path("rows.csv").exists()
    ended = shell(" ".join(words))
    assert ended.code == 0, ended.err
    assert "dirty: 0/8" not in ended.err
    assert Path("part.jsonl").read_bytes().startswith(part)
    assert Path("rows.csv").read_bytes() == whole


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="no signals to keep from anybody")
@pytest.mark.parametrize("kind", ["processes", _DASK])
def test_workers__hear_of_no_interrupt(kind: str) -> None:
    """From their first moment on: what is said of one while they load their modules would be a traceback."""
    with executors.executor(kind) as pool:
        assert pool is not None
        assert signal.SIGINT in pool.submit(signal.pthread_sigmask, signal.SIG_BLOCK, []).result()
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="no signals to keep from anybody")
def test_interrupt__while_workers_begin_is_heard_when_they_have() -> None:
    """Late, but not lost; and the next one is heard at once."""
    before, steps = signal.getsignal(signal.SIGINT), []

    def begin() -> None:
        with executors._undisturbed():
            os.kill(os.getpid(), signal.SIGINT)
            steps.append("begun")
        steps.append("not heard")

    with pytest.raises(KeyboardInterrupt):
        begin()
    assert steps == ["begun"]
    assert signal.getsignal(signal.SIGINT) is before
