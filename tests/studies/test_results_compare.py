"""Two result tables side by side, against ratios worked out by hand."""

import math
from pathlib import Path
from typing import Any

import pytest

from npt import InvalidArgument
from npt.studies import Results, compare

NAN, INF = math.nan, math.inf


def of(*rows: dict[str, Any], **units: str) -> Results:
    """A table."""
    return Results(rows, {"rows": len(rows)}, units)


def one(a: list[Any], b: list[Any]) -> dict[str, Any]:
    """The row for repeats of one case."""
    sides = (of(*({"p": 1, "x": value} for value in values)) for values in (a, b))
    (row,) = compare(*sides, by=["p"], measures=["x"]).rows
    return dict(row)


@pytest.mark.parametrize(
    ("a", "b", "ratio", "q1", "q3"),
    [
        ([2], [3], 1.5, 1.5, 1.5),
        ([1, 2], [2, 4], 2, 1.75, 2.5),  # of 1, 2, 2, 4
        ([1, 1, 1], [1, 2, 100], 2, 1, 100),
        ([0], [0], 1, 1, 1),
        ([0, 0], [0, 0.0], 1, 1, 1),
        ([0], [3], INF, INF, INF),
        ([3], [0], 0, 0, 0),
        ([0, 1], [1, 1], INF, 1, INF),  # of 1, 1, inf, inf
        ([10**400], [1], 0, 0, 0),
        ([2, None, NAN], [3, NAN], 1.5, 1.5, 1.5),
    ],
)
def test_ratio__median_and_quartiles_of_all_pairs(a: list[Any], b: list[Any], ratio: float, q1: float, q3: float) -> None:
    """A value of B over a value of A, for each pair."""
    row = one(a, b)
    assert (row["ratio"], row["ratio_q1"], row["ratio_q3"]) == (ratio, q1, q3)


def test_row__says_how_many_and_how_much() -> None:
    """Rows without a value do not count."""
    row = one([1, 3, NAN], [8, None])
    assert (row["n_a"], row["n_b"], row["a"], row["b"], row["ratio"]) == (2, 1, 2, 8, 16 / 3)


def test_cases__in_order_with_what_only_one_has() -> None:
    """A's order, then B's; nothing is left out."""
    a = of({"p": "x", "q": 1, "ns": 2}, {"p": "y", "q": 1, "ns": 4}, ns="ns")
    b = of({"p": "z", "q": 1, "ns": 7}, {"p": "y", "q": 1, "ns": 2})
    found = compare(a, b, by=["p", "q"])
    shown = [(row["p"], row["n_a"], row["n_b"], row["a"], row["b"], row["ratio"], row["ratio_q1"]) for row in found.rows]
    assert shown == [("x", 1, 0, 2, None, None, None), ("y", 1, 1, 4, 2, 0.5, 0.5), ("z", 0, 1, None, 7, None, None)]
    assert {row["unit"] for row in found.rows} == {"ns"}
    assert [found.meta[name] for name in ("matched", "only_a", "only_b", "a", "b")] == [1, 1, 1, {"rows": 2}, {"rows": 2}]


def test_cases__match_what_a_file_changed() -> None:
    """Lists for tuples, nan for nan, 1 for 1.0; text is not a number."""
    a = of(*({"p": p, "x": 1} for p in ((1, "a"), NAN, 1, "1", None, {"a": [NAN]})))
    b = of(*({"p": p, "x": 1} for p in ([1, "a"], float("nan"), 1.0, "1", None, {"a": (NAN,)})))
    found = compare(a, b, by=["p"])
    assert [row["ratio"] for row in found.rows] == [1] * 6


@pytest.mark.parametrize("units", [({"x": "ns"}, {}), ({}, {"x": "ns"}), ({"x": "ns"}, {"x": "ns"})])
def test_units__of_either(units: tuple[dict[str, str], dict[str, str]]) -> None:
    """One that only one of the two tells is taken for both, as that of a CSV."""
    (row,) = compare(*(of({"p": 1, "x": 1}, **one) for one in units), by=["p"]).rows
    assert row["unit"] == "ns"


def test_measures__are_the_other_columns_with_numbers() -> None:
    """Not text, not bools, not what only one has, not what is always None."""
    row = {"p": 1, "i": 1, "f": 2.5, "t": "x", "b": True, "n": None, "some": 3}
    found = compare(of(row, {**row, "some": None}), of({**row, "more": 1}), by=["p"])
    assert [line["measure"] for line in found.rows] == ["i", "f", "some"]


@pytest.mark.parametrize(
    ("changes", "error", "word"),
    [
        ({"by": ["other"]}, InvalidArgument, "a has no column 'other'; it has p, x, t"),
        ({"by": []}, InvalidArgument, "at least one"),
        ({"by": ["p", "p"]}, InvalidArgument, "different"),
        ({"by": "p"}, TypeError, "sequence"),
        ({"measures": "x"}, TypeError, "sequence"),
        ({"measures": []}, InvalidArgument, "at least one"),
        ({"measures": ["y"]}, InvalidArgument, "b has no column 'y'"),
        ({"measures": ["t"]}, InvalidArgument, "'t' has 'a', which is no number"),
        ({"measures": ["p"]}, InvalidArgument, "tell the cases"),
        ({"by": ["p", "x"]}, InvalidArgument, "no column to compare"),
        ({"a": Results([{"p": 1, "x": 1, "t": "a"}], {}, {"x": "ms"})}, InvalidArgument, "in ms in a and in ns in b"),
        ({"a": Results([], {})}, InvalidArgument, "a has no column 'p'; it has none"),
        ({"b": [{"p": 1}]}, TypeError, "b must be Results"),
        ({"a": None}, TypeError, "a must be Results"),
        ({"a": Results([{"p": 1, "x": True}], {}), "measures": ["x"]}, InvalidArgument, "True, which is no number"),
    ],
)
def test_compare__refuses(changes: dict[str, Any], error: type[Exception], word: str) -> None:
    """What cannot be compared, with what there is."""
    a: Any = of({"p": 1, "x": 1, "t": "a"}, {"p": 1, "x": 1, "y": 2})
    if "measures" not in changes or changes["measures"] != ["y"]:
        a = of({"p": 1, "x": 1, "t": "a"})
    arguments = {"a": a, "b": of({"p": 1, "x": 1, "t": "a"}, x="ns"), "by": ["p"], **changes}
    with pytest.raises(error, match=word):
        compare(arguments.pop("a"), arguments.pop("b"), **arguments)


def test_compare__too_many_repeats_are_refused() -> None:
    """Half the parameters left out of ``by`` are no case for a median of all pairs."""
    many = of(*({"p": 1, "x": 1 + k} for k in range(2100)))
    with pytest.raises(InvalidArgument, match="2100 and 2100 rows are no repeats"):
        compare(many, many, by=["p"])


def of_a_study(seed: int = 1) -> Results:
    """That says what its cases are told by."""
    return Results([{"p": 1, "seed": seed, "x": 2}, {"p": 2, "seed": seed, "x": 3}], {"by": ["p"]})


def test_by__is_what_both_say(tmp_path: Path) -> None:
    """Read back from a file, too; seeds are no measure."""
    path = tmp_path / "a.json"
    of_a_study().to_json(path)
    found = compare(Results.load(path), of_a_study(seed=4))
    assert [(row["p"], row["measure"], row["ratio"]) for row in found.rows] == [(1, "x", 1), (2, "x", 1)]
    assert found.meta["by"] == ["p"]
    assert [row["measure"] for row in compare(of_a_study(), of_a_study(), measures=["seed"]).rows] == ["seed"] * 2


@pytest.mark.parametrize("meta", [{}, {"by": ["x"]}, {"by": "p"}, {"by": None}])
def test_by__that_not_both_say(meta: dict[str, Any]) -> None:
    """Two studies, or a CSV: one has to be asked."""
    other = Results([{"p": 1, "x": 2}], meta)
    for a, b in ((of_a_study(), other), (other, of_a_study()), (of({"p": 1, "x": 2}), of({"p": 1, "x": 2}))):
        with pytest.raises(InvalidArgument, match="do not both name the same"):
            compare(a, b)
    assert compare(of_a_study(), other, by=["p"]).meta["matched"] == 1


def test_by__columns_that_there_are_not() -> None:
    """A result without rows has no columns."""
    with pytest.raises(InvalidArgument, match="b has no column 'p'; it has none"):
        compare(of_a_study(), Results([], {"by": ["p"]}))
