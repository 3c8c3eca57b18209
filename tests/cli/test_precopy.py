"""``npt precopy``, as a user starts it."""

import json
from typing import Any

import pytest

from npt.studies import POLICIES, Results
from tests.cli.running import Shell

pytestmark = pytest.mark.slow


def _rows(out: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(out)["rows"]
    return rows


def test_precopy__worked_example(shell: Shell) -> None:
    """4096 MiB at 1000 MiB/s with 400 MiB/s dirtied: 4 live sends, 6756.7616 MiB in all, 104.8576 ms downtime."""
    ended = shell(
        "precopy --ram 4GiB --bandwidth 1000MiB --dirty-rate 400MiB --policy freebsd --json -"
    )  # fmt: skip
    assert (ended.code, ended.err) == (0, "")
    (row,) = _rows(ended.out)
    assert (row["live_sends"], row["downtime_ns"]) == (4, 104_857_600)
    assert f"{row['bytes_sent'] / 2**20:.4f}" == "6756.7616"
    assert (row["policy"], row["ram"], row["bandwidth"], row["dirty_rate"]) == ("freebsd", 4 << 30, 1000 << 20, 400 << 20)


def test_precopy__a_line_a_policy(shell: Shell) -> None:
    """All of them unless some are asked for; the same one twice is one."""
    for options, policies in (
        ("", [*POLICIES]), ("--policy all --policy xen", [*POLICIES]),
        ("--policy xen:sends=3 --policy xen --policy xen:sends=3", ["xen:sends=3", "xen"]),
    ):  # fmt: skip
        ended = shell(f"precopy {options}")
        assert ended.code == 0
        assert [line.split()[0] for line in ended.out.splitlines()[4:] if line.strip()] == policies


def test_precopy__rounds_are_rows(shell: Shell) -> None:
    """Each send has a line and a row, and what is saved can be compared by what the file names."""
    ended = shell("precopy --policy freebsd --policy propolis --bandwidth 1000MiB --rounds --json rounds.json")
    assert ended.code == 0
    assert "104.858" in ended.out
    saved = Results.load("rounds.json")
    assert (saved.units["wire"], saved.units["ns"], saved.units["bandwidth"]) == ("B", "ns", "B/s")
    assert [(row["policy"], row["number"]) for row in saved.rows] == [("freebsd", n) for n in range(1, 6)] + [
        ("propolis", 1),
        ("propolis", 2),
    ]
    assert "7 cases in both" in shell("compare rounds.json rounds.json").out


def test_precopy__a_bandwidth_for_each_send(shell: Shell) -> None:
    """The last one is for all others; nothing ends the migration, and the guest stays."""
    ended = shell("precopy --ram 1GiB --policy freebsd --dirty-rate 0 --bandwidth 1GiB,512MiB --json -")
    assert _rows(ended.out)[0]["bandwidth"] == f"{1 << 30},{512 << 20}"
    down = shell("precopy --policy freebsd --bandwidth 1GiB,0")
    assert (down.code, down.out) == (1, "")
    assert down.err == "Error: send 2: the bandwidth went to nothing; the guest is still at the source\n"
