"""``npt dirty-log``, as a user starts it."""

import json
import signal
import sys
from pathlib import Path

import pytest

from tests.cli.running import Shell, start

pytestmark = pytest.mark.slow


def test_dirty_log__prints_what_the_selftest_prints(shell: Shell) -> None:
    """Phase by phase, with totals and averages; the rows have the same phases."""
    ended = shell("dirty-log -b 2MiB -i 3 -s none --json log.json")
    assert ended.code == 0, ended.err
    for words in (
        "Test iterations: 3", "Populate memory time: ", "Enabling dirty logging time: ", "Iteration 1 dirty memory time: ",
        "Iteration 3 get dirty log time: ", "Iteration 3 clear dirty log time: ", "Disabling dirty logging time: ",
    ):  # fmt: skip
        assert words in ended.out
    phases = {row["phase"] for row in json.loads(Path("log.json").read_text())["rows"]}
    assert phases >= {"populate", "enable", "dirty", "get", "clear", "disable"}


def test_dirty_log__letters_and_names_are_the_same(shell: Shell) -> None:
    """Every knob arrives, by either."""
    short = "-i 4 -p 1GiB -g -b 2MiB -v 2 -o -s none -x 2 -w 30 -a -r 7 -e"
    long = (
        "--iterations 4 --offset 1GiB --no-manual-protect --bytes 2MiB --vcpus 2 --overlap --backing none --slots 2 "
        "--write-percent 30 --random-access --seed 7 --run-while-disabling"
    )
    seen = []
    for options in (short, long):
        ended = shell(f"dirty-log {options} --format npt --fault-around 64 --threads 1 --json -")
        assert ended.code == 0, ended.err
        document = json.loads(ended.out)
        row = document["rows"][0]
        seen.append({
            name: row.get(name, document["meta"].get(name))
            for name in (
                "iterations", "offset", "manual_protect", "vcpu_bytes", "vcpus", "overlap", "backing", "slots", "write_percent",
                "random_access", "seed", "run_while_disabling", "format", "fault_around",
            )
        })  # fmt: skip
    assert seen[0] == seen[1]
    assert seen[0] == {
        "iterations": 4, "offset": 1 << 30, "manual_protect": False, "vcpu_bytes": 2 << 20, "vcpus": 2, "overlap": True,
        "backing": "none", "slots": 2, "write_percent": 30, "random_access": True, "seed": 7, "run_while_disabling": True,
        "format": "npt", "fault_around": 64,
    }  # fmt: skip


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to a child")
def test_dirty_log__interrupted(tmp_path: Path) -> None:
    """Ctrl-C ends it with 130 and a word, whatever its vCPUs are doing."""
    going = start(["dirty-log", "-b", "64MiB", "-v", "2", "-i", "100000", "-s", "none"], tmp_path)
    assert going.stderr is not None
    for line in going.stderr:
        if line.startswith("Iteration"):
            break
    going.send_signal(signal.SIGINT)
    out, err = going.communicate(timeout=60)
    assert (going.returncode, out) == (130, "")
    assert err.endswith("interrupted\n")
    assert "Traceback" not in err
