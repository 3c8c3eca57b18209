"""``npt compare``, as a user starts it."""

import json
from pathlib import Path

import pytest

from npt.studies import Results
from tests.cli.running import Shell

pytestmark = pytest.mark.slow


@pytest.fixture
def pair(shell: Shell) -> None:
    """Two files: b's measures are twice and half a's; one case is in b only."""
    meta = {"by": ["case"]}
    Results([{"case": "x", "ns": 10, "touch": 8.0}], meta, {"ns": "ns"}).to_json("a.json")
    Results([{"case": "x", "ns": 20, "touch": 4.0}, {"case": "y", "ns": 1, "touch": 1.0}], meta).to_json("b.json")


@pytest.mark.usefixtures("pair")
def test_compare__ratios_case_by_case(shell: Shell) -> None:
    """B by A, and how many cases match."""
    ended = shell("compare a.json b.json --json ratios.json")
    assert ended.code == 0, ended.err
    rows = json.loads(Path("ratios.json").read_text())["rows"]
    assert [(row["case"], row["measure"], row["ratio"]) for row in rows if row["case"] == "x"] == [
        ("x", "ns", 2.0),
        ("x", "touch", 0.5),
    ]
    assert "1 cases in both, 0 in A only, 1 in B only; told apart by case" in ended.out


@pytest.mark.usefixtures("pair")
@pytest.mark.parametrize(("options", "code"), [
    ("--at-most 2", 1),  # y has no ratio
    ("a.json --at-most 1", 0), ("a.json --at-most 0.9", 1),
])  # fmt: skip
def test_compare__at_most_is_a_check(options: str, code: int, shell: Shell) -> None:
    """The table is shown in any case."""
    ended = shell(f"compare a.json {options if options.startswith('a') else 'b.json ' + options}")
    assert ended.code == code
    assert "ratios are above" in ended.err or not code
    assert "B / A" in ended.out


@pytest.mark.usefixtures("pair")
def test_compare__columns_are_named(shell: Shell) -> None:
    """--by for a CSV, which does not know; --measure for less; a column that there is not is refused with those there are."""
    for name in ("a", "b"):
        Results.load(f"{name}.json").to_csv(f"{name}.csv")
    assert shell("compare a.csv b.csv").code == 2
    ended = shell("compare a.csv b.csv --by case --measure touch --csv -")
    assert ended.code == 0, ended.err
    assert [line.split(",")[1] for line in ended.out.splitlines()[1:]] == ["touch", "touch"]
    ended = shell("compare a.json b.json --measure nix")
    assert ended.code == 2
    assert "nix" in ended.err
    assert "touch" in ended.err
