"""``npt replay``, as a user starts it."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from npt import VmSpace
from npt.cli.app import cli
from tests.cli.running import Shell
from tests.cli.signals import listen_to_sigint

pytestmark = pytest.mark.slow

_NPT = [sys.executable, "-m", "npt"]


def _history(path: Path, windows: int = 4, **changes: Any) -> Path:
    """A small history: pages 5, 6, 600 and 2**20; window w writes pages 0 to w % 4, reads the last."""
    offsets = np.cumsum([0, *(w % 4 + 1 for w in range(windows))])
    arrays = {
        "window_instructions": np.int64(1000),
        "pages": np.array([5, 6, 600, 1 << 20], np.uint64),
        "write_offsets": offsets,
        "write_pages": np.concatenate([np.arange(w % 4 + 1) for w in range(windows)]).astype(np.uint32),
        "read_offsets": np.arange(windows + 1),
        "read_pages": np.full(windows, 3, np.uint32),
    }
    np.savez(path, **{**arrays, **changes})
    return path


@pytest.mark.parametrize("name", ["xz", "sqlite", "sort"])
@pytest.mark.parametrize("layout", [[], ["--pack"]])
@pytest.mark.parametrize("format", ["ept", "npt"])
def test_replay__every_window_of_the_shipped_histories_agrees(
    name: str, layout: list[str], format: str, tmp_path: Path
) -> None:
    """All windows are checked exactly, in either format and layout; the counts are the history's own."""
    file = tmp_path / "replay.json"
    result = CliRunner().invoke(cli, ["replay", name, *layout, "--format", format, "--json", str(file)])
    assert result.exit_code == 0, result.output
    row = json.loads(file.read_text())["rows"][0]
    with np.load(Path(__file__).parents[2] / "npt" / "data" / f"{name}.npz") as history:
        a_window = np.diff(history["write_offsets"])
        assert row["windows"] == a_window.size
        assert row["dirtied_median"] == float(np.median(a_window))
        assert row["dirtied_90"] == float(np.percentile(a_window, 90))
        assert row["dirtied_most"] == int(a_window.max())
        assert row["working_set"] == np.union1d(history["write_pages"], history["read_pages"]).size
        assert row["written"] == np.unique(history["write_pages"]).size
    assert row["difference"] is None


def test_replay__a_lost_page_is_told_with_window_and_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A harvest that drops a bit ends the replay there, with exit code 1."""
    harvest, calls = VmSpace.track_dirty, iter(range(100))

    def losing(self: VmSpace, gpa: int, length: int) -> Any:
        bitmap = harvest(self, gpa, length)
        if next(calls) == 2:
            bitmap[600 // 8] &= ~np.uint8(1 << 600 % 8)
        return bitmap

    monkeypatch.setattr(VmSpace, "track_dirty", losing)
    result = CliRunner().invoke(cli, ["replay", str(_history(tmp_path / "h.npz"))])
    assert result.exit_code == 1
    assert "window 2, page 0x258: written, but not reported dirty" in result.output


def test_replay__a_page_too_many_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A harvest that invents a bit ends the replay there."""
    harvest = VmSpace.track_dirty

    def inventing(self: VmSpace, gpa: int, length: int) -> Any:
        bitmap = harvest(self, gpa, length)
        bitmap[0] |= np.uint8(1 << 7)
        return bitmap

    monkeypatch.setattr(VmSpace, "track_dirty", inventing)
    result = CliRunner().invoke(cli, ["replay", str(_history(tmp_path / "h.npz"))])
    assert result.exit_code == 1
    assert "window 0, page 0x7: reported dirty, but not written" in result.output


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to a child")
def test_replay__interrupted_ends_with_130(tmp_path: Path) -> None:
    """Ctrl-C says so in one line, without a traceback."""
    file = _history(tmp_path / "long.npz", windows=400_000)
    going = subprocess.Popen(
        [*_NPT, "replay", str(file), "--pack"],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=listen_to_sigint,
    )
    assert going.stderr is not None
    going.stderr.readline()
    going.send_signal(signal.SIGINT)
    _, rest = going.communicate(timeout=60)
    assert going.returncode == 130
    assert "interrupted" in rest
    assert "Traceback" not in rest


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"pages": np.array([6, 5, 600, 700], np.uint64)}, "not ascending"),
        ({"pages": np.array([], np.uint64)}, "pages is empty"),
        ({"pages": np.array([5, 6, 600, 1 << 35], np.uint64)}, "beyond the largest space"),
        ({"pages": np.array([1.0, 2, 3, 4])}, "not a one-dimensional array of integers"),
        ({"write_offsets": np.array([0, 1, 2])}, "does not divide write_pages"),
        ({"write_pages": np.full(10, 4, np.uint32)}, "no places in pages"),
        ({"read_offsets": np.array([0, 4])}, "different numbers of windows"),
        ({"pages": np.array([5, 6, 600, 1 << 34], np.uint64)}, "replay them packed"),
    ],
)
def test_replay__a_file_of_another_form_is_refused(shell: Shell, changes: dict[str, Any], said: str) -> None:
    """What does not fit is told before anything runs."""
    ended = shell(f"replay {_history(Path('h.npz'), **changes)}")
    assert ended.code == (2 if "packed" in said else 3)
    assert said in ended.err


@pytest.mark.parametrize("text", [b"", b"no archive", b"PK\x03\x04 torn"])
def test_replay__a_file_that_is_no_archive_is_refused(shell: Shell, text: bytes) -> None:
    """Also one that only begins like one."""
    Path("h.npz").write_bytes(text)
    ended = shell("replay h.npz")
    assert ended.code == 3
    assert "is not an .npz file" in ended.err


def test_replay__an_unknown_name_is_told_with_those_there_are(shell: Shell) -> None:
    """The message lists the names."""
    ended = shell("replay vim")
    assert ended.code == 3
    assert "sort, sqlite, xz" in ended.err


def test_replay__memory_holds_what_was_written_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that lost its contents is found at the end."""
    harvest, calls = VmSpace.track_dirty, iter(range(100))

    def clobbering(self: VmSpace, gpa: int, length: int) -> Any:
        bitmap = harvest(self, gpa, length)
        if next(calls) == 3:
            reservoir = self.mappings[0].obj.reservoir  # type: ignore[attr-defined]
            reservoir.memory[0] = 99
        return bitmap

    monkeypatch.setattr(VmSpace, "track_dirty", clobbering)
    result = CliRunner().invoke(cli, ["replay", str(_history(tmp_path / "h.npz"))])
    assert result.exit_code == 1
    assert "page 0x5: does not hold what was written to it last" in result.output
