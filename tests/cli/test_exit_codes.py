"""How ``npt`` ends, and what it says when it is not well: in one line, with the option, its value and what would be right."""

from pathlib import Path
from typing import Any

import click
import pytest

from npt.cli.commands import info
from npt.studies import HISTORIES, POLICIES, WRITERS, History, Results
from tests.cli.running import Shell

pytestmark = pytest.mark.slow

_NO_POLICY = f"'nix' is no policy; there are {', '.join(POLICIES)}"
_NO_WRITER = f"'nix' is neither a writer ({', '.join(WRITERS)}) nor a history ({', '.join(HISTORIES)}) nor a file"

USAGE = [
    ("nix", "No such command 'nix'"),
    ("precopy extra", "unexpected extra argument (extra)"),
    ("precopy --policy nix", f"Invalid value for '--policy': {_NO_POLICY}"),
    ("migrate --policy qemu:nix=1", "'nix' is no option of it; these are: auto_converge"),
    ("migrate --policy xen:sends=few", "sends must be an integer, not 'few'"),
    ("precopy --bandwidth 0", "'--bandwidth': '0' is not a positive rate"),
    ("precopy --bandwidth=-1GiB", "'--bandwidth': '-1GiB' is not a rate; write it like"),
    ("precopy --bandwidth 1GiB,nan", "'--bandwidth': 'nan' is not a rate"),
    ("migrate --bandwidth inf", "'--bandwidth': 'inf' is not a rate"),
    ("precopy --dirty-rate=-1", "'--dirty-rate': '-1' is not a rate"),
    ("migrate --dirty-rate 0", "'--dirty-rate': '0' is not a positive rate"),
    ("migrate --window 0", "'--window': '0' is not a positive time"),
    ("migrate --window 1ms --dirty-rate 1MiB", "by --window or by --dirty-rate, not by both"),
    ("precopy --downtime nan", "'--downtime': 'nan' is not a time"),
    ("precopy --compression 0", "'--compression': 0.0 is not in the range x>0"),
    ("migrate --compression inf", "'--compression': inf is not a finite number"),
    ("migrate --zero nan", "'--zero': nan is not a finite number"),
    ("precopy --ram 4Gigs", "'--ram': '4Gigs' is not a size; write it like 64MiB or 4GiB"),
    ("precopy --ram 1GiB --zero 2GiB", "zero 2147483648 is not from 0 to below"),
    ("precopy --max-rounds 0", "'--max-rounds': 0 is not in the range x>=1"),
    ("migrate --history zipf:nix=1", "'nix' is no parameter of it; these are: size, pages"),
    ("dirty zipf:pages=0", "n_pages must be from 1"),
    ("dirty zipf --granule 63", "'63' is neither a multiple of 64 pages nor 'whole'"),
    ("bench --dirty nan", "'--dirty': nan is not a finite number"),
    ("populate --way nix", "'nix' is not one of 'eager', 'range'"),
    ("dirty-log --pin 0,x", "'0,x' is not a list of processors like 0,1"),
    ("dirty-log -b 64MiB -x 3", "cannot be divided evenly into 3 slots"),
    ("info 5000", "'5000' is not a positive number of whole pages"),
    ("sweep nix --axis a=1", "'nix' is not one of 'precopy', 'migrate'"),
    ("sweep precopy", "Missing option '--axis'"),
    ("sweep precopy --axis ram", "--axis: 'ram' is not of the form NAME=VALUE,VALUE"),
    ("sweep precopy --axis ram=", "--axis: ram has no values"),
    ("sweep precopy --axis nix=1", "'nix' is no parameter of the task; these are: ram, bandwidth"),
    ("sweep precopy --axis ram=1GiB,,2GiB", "--axis ram: '' is not a size"),
    ("sweep precopy --axis policy=xen,nix", f"--axis policy: {_NO_POLICY}"),
    ("sweep precopy --axis bandwidth=0", "--axis bandwidth: '0' is not a positive rate"),
    ("sweep dirty --axis mechanism=nix", "--axis mechanism: 'nix' is not one of 'dirty-bits'"),
    ("sweep precopy --axis ram=1GiB --axis ram=2GiB", "ram is said twice"),
    ("sweep precopy --axis ram=1GiB --set ram=1GiB", "--set: ram is an axis, too"),
    ("sweep precopy --axis ram=1GiB --set zero=0,4KiB", "--set: zero has 2 values; give it to --axis"),
    ("sweep precopy --axis ram=1GiB --executor threads --scheduler x", "in threads or where --scheduler says, not in both"),
    ("sweep precopy --axis ram=1GiB --save -", "--save: nobody goes on from standard output"),
    ("sweep precopy --axis ram=1GiB --save nowhere/part", "'--save': nowhere is not a directory that can be written to"),
    ("sweep precopy --axis ram=1GiB --save /dev/null", "/dev/null is not a file that a sweep can be continued from"),
    ("sweep precopy --axis ram=1GiB --save x --csv x", "--save: x is the file for the rows, too"),
    ("precopy --json nowhere/x", "'--json': nowhere is not a directory that can be written to"),
    ("precopy --json x --csv ./x", "'--csv': x is the file for --json, too"),
    ("precopy --json - --csv -", "'--csv': standard output takes one form, and --json has it"),
    ("compare a", "Missing argument 'B'"),
    ("import nix", "No such command 'nix'"),
    ("import lackey trace.txt", "Missing option '--output'"),
    ("import lackey trace.txt -o x.txt", "x.txt must end in .npz"),
    ("import bitmaps nix -o x.npz", "nix is no directory, and bitmaps in one file need --pages or --size"),
    ("import bitmaps nix -o x.npz --size 4GiB --pages 1", "--pages and --size say the same"),
    ("completion tcsh", "'tcsh' is not one of 'bash', 'zsh', 'fish'"),
]
UNREADABLE = [
    ("dirty nix", _NO_WRITER),
    ("migrate --history nix", _NO_WRITER),
    ("replay nix", f"'nix' is neither a history ({', '.join(sorted(HISTORIES))}) nor a file"),
    ("replay cut.npz", "cut.npz is not an .npz file"),
    ("migrate --history cut.npz", "cut.npz is not an .npz file"),
    ("compare nix.json cut.json", "nix.json: No such file or directory"),
    ("compare cut.json cut.json", "cut.json is not a result file of the form npt-results/1"),
    ("compare cut.jsonl cut.jsonl", "cut.jsonl was cut short"),
    ("compare cut.csv cut.csv --by policy", "cut.csv has 11 cells in row 6, and 20 columns"),
    ("import lackey nix -o x.npz", "nix: No such file or directory"),
    ("import lackey cut.json -o x.npz", "cut.json, line 1: '{' is no record of lackey's"),
    ("import bitmaps cut.npz --size 4GiB -o x.npz", "cut.npz is cut short: round 0 has"),
]


@pytest.mark.parametrize(("line", "said"), USAGE)
def test_usage__is_2(line: str, said: str, shell: Shell) -> None:
    """Before any work; nothing is made."""
    ended = shell(line)
    assert (ended.code, ended.out) == (2, "")
    assert said in " ".join(ended.err.split())
    assert list(Path().iterdir()) == []


@pytest.fixture
def cut(shell: Shell) -> None:
    """Real files, without their ends."""
    assert shell("precopy --json cut.json --csv cut.csv -q").code == 0
    Results.load("cut.json").to_jsonl("cut.jsonl")
    History.load("sort").save("cut.npz")
    for path in Path().iterdir():
        whole = path.read_bytes()
        path.write_bytes(whole[: whole.rindex(b"post-copy,") + 14] if path.suffix == ".csv" else whole[: len(whole) * 2 // 3])


@pytest.mark.usefixtures("cut")
@pytest.mark.parametrize(("line", "said"), UNREADABLE)
def test_unreadable__is_3(line: str, said: str, shell: Shell) -> None:
    """A file that is missing, cut short or of another form; nothing is made."""
    before = sorted(Path().iterdir())
    ended = shell(line)
    assert (ended.code, ended.out) == (3, "")
    assert said in ended.err
    assert sorted(Path().iterdir()) == before


@pytest.mark.parametrize("line", [
    "bench --size 64TiB", "populate --size 16TiB --shape one", "dirty-log -b 8TiB", "migrate --history uniform:size=8TiB",
    "dirty uniform:size=16TiB",
])  # fmt: skip
def test_too_large__is_4(line: str, shell: Shell) -> None:
    """Told before it is taken."""
    ended = shell(line)
    assert (ended.code, ended.out) == (4, "")
    assert "memory" in ended.err


@pytest.mark.parametrize(("error", "code", "said"), [
    (RuntimeError("planted"), 70, "please report it with the lines above"),
    (AssertionError("planted"), 70, "AssertionError: planted"),
    (MemoryError("planted"), 4, "Error: not enough memory: planted"),
    (KeyboardInterrupt(), 130, "interrupted"),
    (click.Abort(), 130, "interrupted"),
    (OSError(28, "No space left on device", "/x"), 1, "Error: /x: No space left on device"),
    (click.ClickException("planted"), 1, "Error: planted"),
])  # fmt: skip
def test_error__of_a_kind(error: BaseException, code: int, said: str, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a bug of ours comes with its traceback."""

    def fails() -> Any:
        raise error

    monkeypatch.setattr(info, "machine", fails)
    ended = shell("info")
    assert (ended.code, ended.out) == (code, "")
    assert said in ended.err
    assert ("Traceback" in ended.err) == (code == 70)


def test_fine__is_0(shell: Shell) -> None:
    """The version is asked for, and told."""
    ended = shell("--version")
    assert (ended.code, ended.err) == (0, "")
