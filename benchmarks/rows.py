"""Rows of figures: as a line, as a table, and from the files that they are kept in."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from npt import format_size
from npt.errors import InvalidArgument
from npt.studies.results import Results

__all__ = ["is_figure", "line", "read", "table"]

_HEAD = ("work", "tables", "size", "least", "median (quartiles)", "unit", "rounds", "beside the limit or peer", "target", "met")


def is_figure(row: dict[str, Any]) -> bool:
    """Whether it was measured, not skipped or failed."""
    return "least" in row


def line(row: dict[str, Any]) -> str:
    """A row for the terminal."""
    if not is_figure(row):
        word = "skipped" if "skipped" in row else "failed"
        return f"{row['name']}: {word}: {row[word]}"
    least, spread, unit = _value(row)
    said = [f"{row['format']:<3} {_size(row):>7} {row['work']:<40}  {least} {unit} ({spread})"]
    for peer in row["peers"]:
        judged = f", target {_target(peer)}: {_met(peer)}" if peer["target"] is not None else ""
        said.append(f"{_ratio(peer)}{judged}")
    return "; ".join(said)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """All figures as one table, which is Markdown and lined up; below it what was skipped or failed.

    A row that is set beside several peers takes several lines.
    """
    cells = [_HEAD]
    for row in filter(is_figure, rows):
        what = (row["work"], row["format"], _size(row), *_value(row), str(row["rounds"]))
        for k, peer in enumerate(row["peers"] or [None]):
            judged = ("", "", "") if peer is None else (_ratio(peer), _target(peer), _met(peer))
            cells.append((*(what if k == 0 else [""] * len(what)), *judged))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lined = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(one, widths, strict=True)) + " |" for one in cells]
    lined.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    others = [f"- {line(row)}" for row in rows if not is_figure(row)]
    return "\n".join([*lined, *([""] if others else []), *others]) + "\n"


def _size(row: dict[str, Any]) -> str:
    return "" if row["size"] is None else format_size(row["size"])


def _number(value: float) -> str:
    """Three digits, without an exponent."""
    return f"{value:.3f}" if value < 1 else f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def _value(row: dict[str, Any]) -> tuple[str, str, str]:
    """Least value, median with quartiles, and their unit; long times in milliseconds."""
    unit, part = row["unit"], 1.0
    if unit.startswith("ns ") and row["least"] >= 1e6:
        unit, part = f"ms {unit[3:]}", 1e-6
    least, median, q1, q3 = (_number(row[name] * part) for name in ("least", "median", "q1", "q3"))
    return least, f"{median}, {q1}-{q3}", unit


def _ratio(peer: dict[str, Any]) -> str:
    """A ratio of least times in words, then that of the medians and the quartiles of the rounds' own."""
    words = {"limit": "of", "slower": "x", "longer": "times as long as", "more": "times"}[peer["kind"]]
    space = "" if peer["kind"] == "slower" else " "
    spread = ", ".join((_number(peer["ratio_median"]), f"{_number(peer['ratio_q1'])}-{_number(peer['ratio_q3'])}"))
    return f"{_number(peer['ratio'])}{space}{words} {peer['name']} ({spread})"


def _target(peer: dict[str, Any]) -> str:
    if peer["target"] is None:
        return ""
    return f"{'<=' if peer['kind'] in ('longer', 'more') else '>='} {peer['target']:g}"


def _met(peer: dict[str, Any]) -> str:
    return {None: "", "yes": "met", "no": "missed"}.get(peer["met"], f"{peer['met']} only")


def read(path: Path) -> Results:
    """Rows from a file: of ``--rows``, of ``benchmarks.report``, or of ``--benchmark-json``.

    Raises
    ------
    InvalidArgument
        The file is something else, or has nothing in it.
    """
    try:
        text = path.read_text(encoding="utf-8")
        found = _of_lines(text) if text.startswith('{"meta"') else _of_document(path, json.loads(text))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, InvalidArgument | OSError):
            raise
        found = Results([], {})
    if not found.rows or not all("name" in row for row in found.rows):
        raise InvalidArgument(f"{path} has no rows of benchmarks")
    return found


def _of_lines(text: str) -> Results:
    """A line that was not finished, because the process was ended in it, does not count."""
    documents = [json.loads(one) for one in text.splitlines(keepends=True) if one.endswith("\n")]
    return Results(documents[1:], documents[0]["meta"])


def _of_document(path: Path, document: dict[str, Any]) -> Results:
    if "benchmarks" not in document:
        return Results.load(path)
    return Results([one["extra_info"] for one in document["benchmarks"]], document["npt"])
