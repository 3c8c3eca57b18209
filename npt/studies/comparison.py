"""Two result tables side by side: what belongs together, and how many times as large the second's measures are.

Theory of operation
-------------------
Rows that agree in the columns ``by`` are repeats of one case. Of a case's values in A and in B every pair gives a ratio; their
median is the estimate of Hodges and Lehmann (1963), which a few stray values do not move, and their quartiles tell the spread.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npt.errors import InvalidArgument
from npt.studies.results import Results, provenance
from npt.units import as_number

__all__ = ["compare"]

_PAIRS = 1 << 22  # of one case: beyond it they are no repeats
_NAN = object()  # a nan that is equal to another

Key = tuple[Any, ...]
Rows = Sequence[Mapping[str, Any]]


def compare(a: Results, b: Results, *, by: Sequence[str] | None = None, measures: Sequence[str] | None = None) -> Results:
    """Set two results side by side, case by case.

    Parameters
    ----------
    a, b
        The results; ratios are B's values over A's.
    by
        Columns that tell which rows belong together; both results have them. Rows that agree in all of them are repeats.
        None for those that both results name in their meta, as all studies here do.
    measures
        Columns to compare; None for all others that both have, but ``seed``, with numbers in them and nothing else.

    Returns
    -------
    Results
        A row for each case of either, in A's order and then B's, and each measure: the columns of ``by``; ``measure`` and
        its ``unit``, or None; ``n_a`` and ``n_b``, how many rows had a value: 0 for a case that is in one of the two only;
        ``a`` and ``b``, the medians; ``ratio`` with its quartiles ``ratio_q1`` and ``ratio_q3``, None where either has no
        value. Without a value is None or nan. Of 0 and 0 the ratio is 1, of 0 and something infinite. The meta counts
        cases: ``matched``, ``only_a``, ``only_b``.

    Raises
    ------
    TypeError
        An argument of another type.
    InvalidArgument
        A column that one of the two has not, or has with another unit, or with what is no number; nothing to compare; too
        many repeats.
    """
    for results, name in ((a, "a"), (b, "b")):
        if not isinstance(results, Results):
            raise TypeError(f"{name} must be Results, not {type(results).__name__}")
    by = _checked(_said(a, b) if by is None else by, "by", a, b)
    measures = _numeric(a, b, by) if measures is None else _checked(measures, "measures", a, b)
    for name in measures:
        _check_measure(name, by, a, b)
    if not measures:
        raise InvalidArgument("there is no column to compare: no other has numbers in both, and nothing else")
    cases_a, cases_b = _cases(a.rows, by), _cases(b.rows, by)
    keys = dict.fromkeys((*cases_a, *cases_b))
    rows = [
        _row(cases_a.get(key, ()), cases_b.get(key, ()), by, name, a.units.get(name, b.units.get(name)))
        for key in keys
        for name in measures
    ]
    matched = len(cases_a.keys() & cases_b.keys())
    counts = {"matched": matched, "only_a": len(cases_a) - matched, "only_b": len(cases_b) - matched}
    return Results(rows, provenance(by=list(by), **counts, a=dict(a.meta), b=dict(b.meta)))


# -- checks -------------------------------------------------------------------------------------------------------------


def _said(a: Results, b: Results) -> list[str]:
    """The columns that both say cases are told by."""
    said = a.meta.get("by"), b.meta.get("by")
    if not isinstance(said[0], list) or said[0] != said[1]:
        raise InvalidArgument("give the columns that tell cases apart: the results do not both name the same ones")
    return said[0]


def _checked(names: Sequence[str], what: str, a: Results, b: Results) -> tuple[str, ...]:
    """Columns that both have."""
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise TypeError(f"{what} must be a sequence of columns, not {type(names).__name__}")
    if not names or len(set(names)) < len(names):
        raise InvalidArgument(f"{what} {list(names)} must be different columns, at least one")
    for there, side in ((a.columns, "a"), (b.columns, "b")):
        for name in names:
            if name not in there:
                raise InvalidArgument(f"{what}: {side} has no column {name!r}; it has {', '.join(there) or 'none'}")
    return tuple(names)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _numeric(a: Results, b: Results, by: Sequence[str]) -> tuple[str, ...]:
    """Columns with numbers in both, and nothing else."""
    found, in_b = [], b.columns
    for name in a.columns:
        if name not in (*by, "seed") and name in in_b:
            values = [value for row in (*a.rows, *b.rows) if (value := row.get(name)) is not None]
            if values and all(map(_is_number, values)):
                found.append(name)
    return tuple(found)


def _check_measure(name: str, by: Sequence[str], a: Results, b: Results) -> None:
    if name in by:
        raise InvalidArgument(f"column {name!r} cannot tell the cases and be compared, too")
    units = [results.units[name] for results in (a, b) if name in results.units]
    if len(set(units)) > 1:
        raise InvalidArgument(f"column {name!r} is in {units[0]} in a and in {units[1]} in b")
    for row in (*a.rows, *b.rows):
        if row.get(name) is not None and not _is_number(row[name]):
            raise InvalidArgument(f"column {name!r} has {row[name]!r}, which is no number")


# -- cases --------------------------------------------------------------------------------------------------------------


def _same(value: Any) -> Any:
    """Equal for what counts as the same: nan, too, and a list that came back from a file for a tuple."""
    if isinstance(value, (list, tuple)):
        return tuple(map(_same, value))
    if isinstance(value, Mapping):
        return frozenset((name, _same(one)) for name, one in value.items())
    return _NAN if isinstance(value, float) and math.isnan(value) else value


def _cases(rows: Rows, by: Sequence[str]) -> dict[Key, list[Mapping[str, Any]]]:
    found: dict[Key, list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault(tuple(_same(row.get(name)) for name in by), []).append(row)
    return found


def _values(rows: Rows, name: str) -> list[float]:
    found = [as_number(row[name], name) for row in rows if row.get(name) is not None]
    return [value for value in found if not math.isnan(value)]


def _row(a: Rows, b: Rows, by: Sequence[str], measure: str, unit: str | None) -> dict[str, Any]:
    """One measure of one case."""
    values_a, values_b = _values(a, measure), _values(b, measure)
    ratio = _ratio(values_a, values_b) if values_a and values_b else (None, None, None)
    return {
        **{name: (a or b)[0].get(name) for name in by},
        "measure": measure,
        "unit": unit,
        "n_a": len(values_a),
        "n_b": len(values_b),
        "a": statistics.median(values_a) if values_a else None,
        "b": statistics.median(values_b) if values_b else None,
        **dict(zip(("ratio", "ratio_q1", "ratio_q3"), ratio, strict=True)),
    }


def _ratio(a: Sequence[float], b: Sequence[float]) -> tuple[float, float, float]:
    """Median and quartiles of all ratios of a value of B to one of A."""
    if len(a) * len(b) > _PAIRS:
        raise InvalidArgument(f"{len(a)} and {len(b)} rows are no repeats of one case: give more columns in by")
    over, under = np.asarray(b)[:, None], np.asarray(a)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratios = np.where(over == under, 1.0, over / under)
    ordered = np.sort(ratios, axis=None)
    return _quantile(ordered, 0.5), _quantile(ordered, 0.25), _quantile(ordered, 0.75)


def _quantile(ordered: NDArray[np.float64], share: float) -> float:
    """As numpy's own, but that a part of the way from a number to infinity is infinity, not nan."""
    place, part = divmod(share * (ordered.size - 1), 1)
    low, high = float(ordered[math.floor(place)]), float(ordered[math.ceil(place + part)])
    return low if low == high else low * (1 - part) + high * part
