"""Rows as text and back: one JSON document, lines of JSON, CSV."""

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from npt.errors import InvalidArgument, Unreadable

__all__ = ["as_csv", "as_json", "as_lines", "columns", "from_csv", "from_json"]

_FORMAT = "npt-results/1"
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,999})")
_FLOAT = re.compile(r"-?[0-9]+(\.[0-9]+|(\.[0-9]+)?e[+-]?[0-9]+)|nan|-?inf", re.IGNORECASE)
_WORDS = {"": None, "True": True, "False": False}

Rows = Sequence[Mapping[str, Any]]
Parts = tuple[list[dict[str, Any]], dict[str, Any], dict[str, str]]


def columns(rows: Rows) -> tuple[str, ...]:
    """Names of all columns, in the order in which the rows bring them up."""
    found: dict[Any, None] = {}
    for row in rows:
        found.update(dict.fromkeys(row))
    for name in found:
        if not isinstance(name, str):
            raise TypeError(f"names of columns must be text, not {type(name).__name__}")
    return tuple(found)


# -- JSON ---------------------------------------------------------------------------------------------------------------


def as_json(rows: Rows, meta: Mapping[str, Any], units: Mapping[str, str]) -> str:
    """One document."""
    columns(rows)
    document = {"format": _FORMAT, "meta": dict(meta), "units": dict(units), "rows": [dict(row) for row in rows]}
    return json.dumps(document, indent=1) + "\n"


def as_lines(rows: Rows, meta: Mapping[str, Any], units: Mapping[str, str]) -> str:
    """A line for how the rows came about and how many there are, then one for each."""
    columns(rows)
    head = {"format": _FORMAT, "meta": dict(meta), "units": dict(units), "n_rows": len(rows)}
    return "".join(json.dumps(line) + "\n" for line in (head, *map(dict, rows)))


def from_json(content: bytes, name: str) -> Parts:
    """What ``as_json`` or ``as_lines`` said: rows, meta, units."""
    try:
        text = content.decode()
        first, _, rest = text.partition("\n")
        if '"n_rows"' in first and "rows" not in (head := json.loads(first)):
            return _from_lines(head, rest, name)
        document = json.loads(text)
        return _parts(document, document["rows"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        if isinstance(error, InvalidArgument):
            raise
        raise Unreadable(f"{name} is not a result file of the form {_FORMAT}") from None


def _from_lines(head: dict[str, Any], rest: str, name: str) -> Parts:
    lines = rest.split("\n")
    if len(lines) - 1 != head["n_rows"] or lines[-1]:
        raise Unreadable(f"{name} was cut short, or grew: it says {head['n_rows']} rows and has {len(lines) - 1} whole lines")
    return _parts(head, [json.loads(line) for line in lines[:-1]])


def _parts(document: dict[str, Any], rows: Any) -> Parts:
    meta: Any = document["meta"]
    units: Any = document.get("units", {})  # files from before there were units have none
    right = (
        document["format"] == _FORMAT and isinstance(rows, list) and all(isinstance(one, dict) for one in (meta, units, *rows))
    )
    if not right or not all(isinstance(unit, str) for unit in units.values()):
        raise ValueError
    return rows, meta, units


# -- CSV ----------------------------------------------------------------------------------------------------------------


def as_csv(rows: Rows) -> bytes:
    """A line of names, then one for each row; None is empty."""
    names = columns(rows)
    text = io.StringIO()
    usual, quoted = (csv.writer(text, lineterminator="\n", quoting=how) for how in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL))
    for line in (names, *([row.get(name) for name in names] for row in rows)) if names else ():
        returns = any(isinstance(cell, str) and "\r" in cell for cell in line)  # which readers end a line at, and csv lets bare
        (quoted if returns else usual).writerow(line)
    try:
        return text.getvalue().encode()
    except UnicodeEncodeError as error:
        raise InvalidArgument(f"a CSV is written in UTF-8, which has no {error.object[error.start : error.end]!r}") from None


def from_csv(content: bytes, name: str) -> list[dict[str, Any]]:
    """Rows of what ``as_csv`` said, or of another CSV with a line of names; cells by what they look like."""
    try:
        lines = [line for line in csv.reader(io.StringIO(content.decode(), newline=""), strict=True) if line]
    except (UnicodeDecodeError, csv.Error) as error:
        raise Unreadable(f"{name} is not a CSV: {error}") from None
    names = lines[0] if lines else []
    if len(set(names)) < len(names):
        raise Unreadable(f"{name} has two columns of one name")
    for number, line in enumerate(lines[1:], 1):
        if len(line) != len(names):
            raise Unreadable(f"{name} has {len(line)} cells in row {number}, and {len(names)} columns")
    return [dict(zip(names, map(_value, line), strict=True)) for line in lines[1:]]


def _value(cell: str) -> Any:
    """What a cell looks like."""
    if cell in _WORDS:
        return _WORDS[cell]
    if _INTEGER.fullmatch(cell):
        return int(cell)
    return float(cell) if _FLOAT.fullmatch(cell) else cell
