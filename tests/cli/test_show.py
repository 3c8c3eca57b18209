"""``npt show`` and ``npt report``, as a user starts them."""

import errno
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from npt import PAGE_SIZE, Prot, Reservoir, Vcpu, VmSpace
from npt.dirty import DirtyLog, from_pages
from npt.dirty.packed import Entry, pack
from npt.dirty.rounds import Rounds
from npt.studies import Results
from tests.cli.running import Shell

pytestmark = pytest.mark.slow


def _log(path: Path) -> None:
    """Three rounds: pages 0 and 31, page 31, nothing."""
    with (
        Reservoir(32 * PAGE_SIZE) as reservoir,
        reservoir.allocate(32 * PAGE_SIZE) as ram,
        VmSpace(1 << 30, reservoir=reservoir) as space,
    ):
        space.map(ram, 0x40000, ram.length, Prot.RW)
        log, vcpu = DirtyLog(space, 0x40000, ram.length), Vcpu(space.client())
        log.start()
        for pages in ([0, 31], [31], []):
            vcpu.run([0x40000 + page * PAGE_SIZE for page in pages], write=True)
            log.round()
        log.rounds.save(path)
        log.abort()


def test_show__a_dirty_log(shell: Shell, tmp_path: Path) -> None:
    """The highest address first; a full character for a page that was dirty in its round."""
    _log(tmp_path / "log.npz")
    ended = shell("show log.npz")
    assert ended.code == 0, ended.err
    lines = [line.rstrip() for line in ended.out.splitlines()]
    assert lines[1].split() == ["0x5f000", "██"]
    assert lines[32].split() == ["0x40000", "█"]
    assert lines[33].startswith("3 rounds from 1; a character: 1 pages by 1 rounds")


def test_show__a_log_with_gaps_or_without_rounds(shell: Shell) -> None:
    """Where writes may be missing it says so, and nothing to see is no error."""
    rounds = Rounds(0x40000, 8 * PAGE_SIZE)
    rounds.save("none.npz")
    ended = shell("show none.npz")
    assert (ended.code, ended.out) == (0, "none.npz: a dirty log of 0x40000 + 0x8000, without a round\n")
    for number in range(3):
        rounds = rounds.with_one(Entry(pack(from_pages([number], 8), 8), 7 + number, 1000 * number, gap=number != 0))
    rounds.save("gaps.npz")
    ended = shell("show gaps.npz")
    assert ended.code == 0, ended.err
    assert ended.out.splitlines()[-1] == "2 rounds come after a gap, and writes may be missing: 2, 3"


@pytest.mark.parametrize("columns", [1, 20, 300])
def test_show__in_a_terminal_of_any_width(columns: int, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is wider, and a heat map is as wide as it can be."""
    monkeypatch.setenv("COLUMNS", str(columns))
    ended = shell("show sqlite")
    assert (ended.code, max(map(len, ended.out.splitlines()))) == (0, columns if columns < 300 else 18 + 250)


@pytest.mark.parametrize(("what", "said"), [("sqlite", "sqlite: pages written by window"), ("--demo", "tables by level")])
def test_show__what_has_a_name(what: str, said: str, shell: Shell) -> None:
    """A history, a guest to look at; nothing wider than a pipe's width."""
    ended = shell(f"show {what}")
    assert ended.code == 0, ended.err
    assert said in ended.out
    assert max(map(len, ended.out.splitlines())) <= 120
    assert "░" in ended.out


def test_show__a_result(shell: Shell) -> None:
    """Its rows."""
    Results([{"a": 7, "b": "x"}, {"a": None, "b": "[bold]"}], {}).to_csv("r.csv")
    ended = shell("show r.csv")
    assert ended.code == 0, ended.err
    assert "[bold]" in ended.out


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("show", 2, "give a file, a name, or --demo"), ("show sqlite --demo", 2, "one of them only"),
        ("show nix.npz", 3, "nix.npz"), ("show cut.npz", 3, "is not an .npz file"),
        ("show other.npz", 3, "other.npz is neither a history (other.npz has no array 'pages'"),
        ("show cut.json", 3, "cut.json"),
        ("report", 2, "Missing argument"), ("report r.json", 2, "--output"), ("report nix.json -o r.html", 3, "nix.json"),
        ("report r.json -o nowhere/r.html", 2, "is not a directory"), ("report r.json -o r.json", 2, "is one of the results"),
        ("report cut.json -o r.html", 3, "cut.json"),
    ],
)  # fmt: skip
def test_show__refuses(line: str, code: int, said: str, shell: Shell, tmp_path: Path) -> None:
    """In words, with the number for it, and nothing is written."""
    Results([{"a": 1}], {}).to_json("r.json")
    np.savez("other.npz", a=np.arange(3))
    for name in ("cut.npz", "cut.json"):
        Path(name).write_text('{"format": "npt-res')
    ended = shell(line)
    assert (ended.code, said in ended.err) == (code, True), ended.err
    assert not (tmp_path / "r.html").exists()


def test_report__is_one_page(shell: Shell) -> None:
    """With the title and all results; two files of one name are told apart."""
    pytest.importorskip("matplotlib")
    Path("other").mkdir()
    for path in ("r.json", "other/r.json"):
        Results([{"a": 1}], {"seed": 3}).to_json(path)
    ended = shell("report r.json other/r.json -o page.html --title mine")
    assert (ended.code, ended.out, ended.err) == (0, "", "")
    page = Path("page.html").read_text(encoding="utf-8")
    assert "<h1>mine</h1>" in page
    assert ">other/r.json</h2>" in page


def test_report__into_a_pipe(shell: Shell, tmp_path: Path) -> None:
    """A dash is standard output, as for --json."""
    pytest.importorskip("matplotlib")
    Results([{"a": 1}], {}).to_json("r.json")
    ended = shell("report r.json -o -")
    assert (ended.code, ended.out.splitlines()[0]) == (0, "<!doctype html>")
    assert [path.name for path in tmp_path.iterdir()] == ["r.json"]


def test_report__that_cannot_be_written(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was there stays; the file that is named is the user's, and nothing half-written is left."""
    pytest.importorskip("matplotlib")
    Results([{"a": 1}], {}).to_json("r.json")
    Path("page.html").write_text("old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", ".npt-0123")

    monkeypatch.setattr("os.replace", full)
    ended = shell("report r.json -o page.html")
    assert (ended.code, ended.err) == (1, "Error: page.html: No space left on device\n")
    assert Path("page.html").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["page.html", "r.json"]


@pytest.mark.parametrize("code", [
    "from npt import view; view.hilbert",
    "import sys; sys.argv = ['npt', 'report', 'r.json', '-o', 'r.html']; from npt.cli import main; main()",
])  # fmt: skip
def test_pictures__without_matplotlib(code: str, tmp_path: Path) -> None:
    """One line that says what to install; characters need none of it."""
    Results([{"a": 1}], {}).to_json(tmp_path / "r.json")
    hidden = f"import sys; sys.modules['matplotlib'] = None; from npt.view import blocks; {code}"
    done = subprocess.run([sys.executable, "-c", hidden], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith("pip install 'npt-engine[plot]'")
