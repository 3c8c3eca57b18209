"""``npt import``, as a user starts it."""

import gzip
import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from npt.studies import History
from tests.cli.running import Shell

pytestmark = pytest.mark.slow

_TRACE = b"".join(b"I  0401ab70,3\n S 1fff%06x,8\n" % (0x1000 * n) for n in range(10)) + b"==1== Exit code:       0\n"


def _written(name: str) -> list[list[int]]:
    made = History.load(name)
    return [made.pages[made.written(number)].tolist() for number in range(made.n_windows)]


def test_lackey__makes_a_history_that_can_be_replayed(shell: Shell) -> None:
    """Windows of so many instructions; the table and the row say what is in it."""
    Path("trace.txt").write_bytes(_TRACE)
    ended = shell("import lackey trace.txt -o made.npz --window-instructions 4 --json made.json")
    assert ended.code == 0, ended.err
    assert "3 of 4 instructions" in ended.out
    row = json.loads(Path("made.json").read_text())["rows"][0]
    assert (row["writer"], row["windows"], row["writes"], row["window_unit"]) == ("made", 3, 10, "instructions")
    assert shell("replay made.npz --pack -q") == (0, "", "")
    assert shell("migrate --history made.npz --policy xen -q") == (0, "", "")


def test_lackey__reads_standard_input(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """As from valgrind's pipe, gzipped or not."""
    for content in (_TRACE, gzip.compress(_TRACE)):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        assert shell("import lackey - -o made.npz -q") == (0, "", "")
        assert History.load("made.npz").n_windows == 1


def test_lackey__cut_short(shell: Shell) -> None:
    """Is refused, unless it is asked for; nothing is written then, and what was there stays."""
    Path("old.npz").write_bytes(b"old")
    for name, content in (("a.txt", _TRACE[:100]), ("a.txt.gz", gzip.compress(_TRACE)[:-20])):
        Path(name).write_bytes(content)
        ended = shell(f"import lackey {name} -o old.npz")
        assert ended.code == 3
        assert "cut short" in ended.err
        assert Path("old.npz").read_bytes() == b"old"
        assert shell(f"import lackey {name} -o new.npz --allow-cut -q").code == 0
    assert sorted(path.name for path in Path().iterdir()) == ["a.txt", "a.txt.gz", "new.npz", "old.npz"]


def test_bitmaps__make_a_history(shell: Shell) -> None:
    """A directory of rounds, and one file of all of them, are the same."""
    rounds = [np.array([0b101], "<u8").tobytes(), np.array([1 << 63], "<u8").tobytes()]
    Path("rounds").mkdir()
    for number, content in enumerate(rounds):
        Path(f"rounds/round-{number}").write_bytes(content)
    Path("all.bin").write_bytes(b"".join(rounds))
    for words in ("rounds", "all.bin --pages 64", "all.bin --size 256KiB"):
        assert shell(f"import bitmaps {words} -o made.npz -q --first-page 16") == (0, "", "")
        assert _written("made.npz") == [[16, 18], [16 + 63]]
    Path("all.bin").write_bytes(b"".join(rounds)[:-1])
    ended = shell("import bitmaps all.bin --pages 64 -o cut.npz")
    assert ended.code == 3
    assert "cut short: round 1 has 7 bytes" in ended.err
