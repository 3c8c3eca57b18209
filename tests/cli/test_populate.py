"""``npt populate``, as a user starts it."""

import json
from itertools import product
from pathlib import Path

import pytest

from npt.studies.population import WAYS
from npt.studies.shapes import SHAPES
from tests.cli.running import Shell

pytestmark = pytest.mark.slow


def test_populate__a_line_and_a_row_for_each_way_of_each_guest(shell: Shell) -> None:
    """Formats, sizes, shapes, ways, in this order."""
    ended = shell("populate --size 2MiB --size 4MiB --mapping 1MiB --repeat 1 --touches 10 --json rows.json")
    assert ended.code == 0, ended.err
    rows = json.loads(Path("rows.json").read_text())["rows"]
    guests = product(["ept", "npt"], [2 << 20, 4 << 20], SHAPES, WAYS)
    assert [(row["format"], row["size"], row["shape"], row["way"]) for row in rows] == list(guests)
    assert all(f"{row['ns_per_page']:.3f}" in ended.out for row in rows)


def test_populate__options_reach_the_study(shell: Shell) -> None:
    """What is asked for is what the rows say; what is said twice is once."""
    ended = shell(
        "populate --size 2MiB --size 2MiB --way range --shape many --mapping 512KiB --piece 64KiB --touches 7 --format npt "
        "--repeat 2 --seed 5 --threads 1 --json -"
    )
    assert ended.code == 0, ended.err
    document = json.loads(ended.out)
    (row,) = document["rows"]
    told = {**document["meta"], **row}
    wanted = {
        "size": 2 << 20, "way": "range", "shape": "many", "mappings": 4, "piece": 64 << 10, "touches": 7,
        "format": "npt", "repeat": 2, "seed": 5, "threads": 1,
    }  # fmt: skip
    assert {name: told[name] for name in wanted} == wanted
