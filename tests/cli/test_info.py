"""``npt info``, as a user starts it."""

import json

import pytest

from npt.studies import HISTORIES, POLICIES, WRITERS, memory_needs
from tests.cli.running import Shell

pytestmark = pytest.mark.slow


def test_info__tells_all_names(shell: Shell) -> None:
    """Histories, patterns, policies."""
    ended = shell("info")
    assert (ended.code, ended.err) == (0, "")
    for names in (HISTORIES, WRITERS, POLICIES):
        assert ", ".join(names) in ended.out


def test_info__tells_what_guests_take(shell: Shell) -> None:
    """A column and a row for each size; what this machine cannot hold is marked."""
    ended = shell("info 64MiB 256TiB --json needs.json")
    assert ended.code == 2  # no space is as large
    ended = shell("info 64MiB 8TiB --json -")
    rows = json.loads(ended.out)["rows"]
    assert [row["size"] for row in rows] == [64 << 20, 8 << 40]
    for row in rows:
        assert {name: row[name] for name in memory_needs(row["size"])} == memory_needs(row["size"])
    shown = shell("info 64MiB 8TiB").out
    assert "8 TiB (too large now)" in shown
    assert "64 MiB (too large now)" not in shown


def test_info__without_a_size_is_one_row(shell: Shell) -> None:
    """Of the machine."""
    (row,) = json.loads(shell("info --json -").out)["rows"]
    assert {"cpu", "cpus", "memory_available", "largest_guest"} <= row.keys()
