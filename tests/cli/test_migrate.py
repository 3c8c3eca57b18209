"""``npt migrate``, as a user starts it."""

import json
import signal
import sys
from pathlib import Path

import pytest

from npt import VmSpace
from npt.studies import POLICIES
from tests.cli.running import Shell, start

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("history", ["sqlite", "sort", "xz"])
def test_migrate__every_policy_proves_its_target_equal(history: str, shell: Shell) -> None:
    """A row a policy in the table and in the file."""
    ended = shell(f"migrate --history {history} --policy all --json rows.json")
    assert ended.code == 0, ended.err
    lines = [line.split() for line in ended.out.splitlines() if " equal " in line]
    assert [line[0] for line in lines] == list(POLICIES)
    rows = json.loads(Path("rows.json").read_text())["rows"]
    assert [(row["policy"], row["writer"], row["proven"]) for row in rows] == [(name, history, True) for name in POLICIES]
    assert all(f"{row['bytes_resent'] // 4096:,}" in line for row, line in zip(rows, lines, strict=True))


def test_migrate__quiet_says_nothing(shell: Shell) -> None:
    """On either stream; files are written all the same."""
    assert shell("migrate --quiet --policy xen --csv rows.csv") == (0, "", "")
    assert Path("rows.csv").read_text().count("\n") == 2


def test_migrate__json_to_standard_output_is_all_there_is(shell: Shell) -> None:
    """One document; progress is elsewhere."""
    ended = shell("migrate --policy xen --policy propolis --json -")
    assert ended.code == 0
    assert [row["policy"] for row in json.loads(ended.out)["rows"]] == ["xen", "propolis"]
    assert "sqlite, xen, send 1" in ended.err


def test_migrate__options_reach_the_study(shell: Shell) -> None:
    """What is asked for is what the rows say."""
    ended = shell(
        "migrate --writer zipf:pages=300,windows=5,accesses=200 --policy freebsd:rounds=2 --bandwidth 8Mbit/s --downtime 2ms "
        "--max-rounds 7 --latency 1us --compression 2 --zero 0.5 --dirty-rate 4MiB --format npt --target-format ept --seed 9 "
        "--json -"
    )  # fmt: skip
    assert ended.code == 0, ended.err
    document = json.loads(ended.out)
    wanted = {
        "writer": "zipf", "pages": 300, "policy": "freebsd:rounds=2", "bandwidth": 1e6, "downtime": 0.002, "max_rounds": 7,
        "latency": 1e-6, "compression": 2.0, "zero": 0.5, "pages_per_second": 1024.0, "format": "npt", "target_format": "ept",
        "live_sends": 2,
    }  # fmt: skip
    (row,) = document["rows"]
    assert {name: row[name] for name in wanted} == wanted
    assert document["meta"]["seed"] == 9


def test_migrate__a_page_that_did_not_arrive_is_a_bug(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log that loses a page is found, though all else went well."""
    harvest = VmSpace.track_dirty

    def losing(self: VmSpace, *arguments: object, **options: object) -> object:
        bitmap = harvest(self, *arguments, **options)  # type: ignore[arg-type]
        bitmap[bitmap.nonzero()[0][:1]] = 0
        return bitmap

    monkeypatch.setattr(VmSpace, "track_dirty", losing)
    ended = shell("migrate --policy xen")
    assert ended.code == 70
    assert "did not arrive as it is at the source" in ended.err
    assert "please report" in ended.err


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to a child")
def test_migrate__interrupted(tmp_path: Path) -> None:
    """Ctrl-C ends it with 130 and a word."""
    going = start(
        ["migrate", "--writer", "uniform:pages=65536,windows=100000,accesses=50000", "--policy", "freebsd:rounds=100"], tmp_path
    )
    assert going.stderr is not None
    going.stderr.readline()
    going.send_signal(signal.SIGINT)
    out, err = going.communicate(timeout=60)
    assert (going.returncode, out) == (130, "")
    assert err.endswith("interrupted\n")
    assert "Traceback" not in err
