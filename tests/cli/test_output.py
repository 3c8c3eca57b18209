"""Where results go: files whole or not at all, and standard output fit for a pipe."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from npt.studies import Results
from tests.cli.running import Shell

pytestmark = pytest.mark.slow


@contextmanager
def _files_of_at_most(n_bytes: int) -> Iterator[None]:
    """As on a disk that gets full: what is written beyond is refused."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("form", ["json", "csv"])
def test_file__is_written_whole_or_not_at_all(form: str, shell: Shell) -> None:
    """The old one stays until the new one is there; the message names the file, not the way there."""
    Path("rows").write_text("old")
    with _files_of_at_most(100):
        ended = shell(f"precopy --{form} rows")
    assert ended.code == 1
    assert ended.err == "Error: rows: File too large\n"
    assert "freebsd" in ended.out  # the work is not lost
    assert [path.read_text() for path in Path().iterdir()] == ["old"]
    assert shell(f"precopy --{form} rows -q") == (0, "", "")
    assert Path("rows").stat().st_size > 100


_FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")


@_FULL
@pytest.mark.parametrize(("file", "said"), [
    ("/dev/full", "No space left on device"), ("/proc/rows.csv", "No such file or directory"),
])  # fmt: skip
def test_file__that_takes_nothing(file: str, said: str, shell: Shell) -> None:
    """One line that names it, and 1."""
    assert shell(f"precopy -q --csv {file}") == (1, "", f"Error: {file}: {said}\n")


@_FULL
def test_standard_output__that_takes_nothing() -> None:
    """Is told, not lost when the process ends."""
    done = subprocess.run(f"{sys.executable} -m npt precopy > /dev/full", shell=True, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (1, "Error: No space left on device\n")


def test_standard_output__takes_one_form_or_the_other(shell: Shell) -> None:
    """And then nothing else, progress apart."""
    ended = shell("dirty uniform:pages=10,windows=1,accesses=3 --csv -")
    assert ended.code == 0
    assert [line.split(",")[0] for line in ended.out.splitlines()] == ["writer", *["uniform"] * 4]
    both = shell("precopy --csv - --json rows.json")
    assert both.out.startswith("ram,")
    assert len(Results.load("rows.json").rows) == both.out.count("\n") - 1


@pytest.mark.skipif(not Path("/dev/stdout").exists(), reason="no /dev/stdout")
def test_standard_output__by_its_name_is_not_replaced(tmp_path: Path) -> None:
    """What a file has is kept, and what others write to it afterwards."""
    log = tmp_path / "log"
    command = f"(echo before; {sys.executable} -m npt precopy -q --policy xen --csv /dev/stdout; echo behind) > {log}"
    subprocess.run(command, shell=True, check=True)
    assert [line.split(",")[0] for line in log.read_text().splitlines()] == ["before", "ram", "4294967296", "behind"]


@pytest.mark.skipif(sys.platform == "win32", reason="no way to close it")
def test_standard_output__that_is_closed_is_no_bug() -> None:
    """Nothing is said, and nothing is wrong."""
    done = subprocess.run(f"{sys.executable} -m npt precopy >&- 2>&-", shell=True)
    assert done.returncode == 0


def test_names__are_no_markup(shell: Shell) -> None:
    """A column or a case may be called anything."""
    Results([{"case": case, "n": 1} for case in ("[/bold] :smile: [red]x", "y")], {"by": ["case"]}).to_json("a.json")
    ended = shell("compare a.json a.json")
    assert ended.code == 0, ended.err
    assert "[/bold] :smile: [red]x" in ended.out


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
def test_terminal__gets_bars_and_colours() -> None:
    """A pseudo-terminal; where there is none, no test of an example finds a control character."""
    words = [sys.executable, "-m", "npt", "dirty", "uniform:pages=10,windows=1,accesses=3"]
    environment = {name: value for name, value in os.environ.items() if name not in ("FORCE_COLOR", "NO_COLOR")}
    code = f"import pty, sys; sys.exit(pty.spawn({words!r}) >> 8)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        env={**environment, "TERM": "xterm-256color"},
    )
    assert done.returncode == 0, done.stdout
    assert b"\x1b[2m" in done.stdout  # dim, of a note
    assert b"\x1b[?25l" in done.stdout  # no cursor, of a bar
    assert b"shoot-downs" in done.stdout
