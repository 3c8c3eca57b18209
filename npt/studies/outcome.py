"""One point of a sweep: its task is called, and whatever comes of it is rows."""

from collections.abc import Callable, Mapping
from traceback import format_exception_only
from typing import Any, NamedTuple

from npt.studies.grid import plain
from npt.studies.results import Results

__all__ = ["Outcome", "Task", "failure", "run_point"]

Task = Callable[..., Any]


class Outcome(NamedTuple):
    """What came of a point.

    Attributes
    ----------
    rows : list of dict
        The point's arguments, then measures, then ``error``: None, or what went wrong.
    units : dict
        Unit by column, as far as the task told.
    by : list of str
        Columns that tell rows of a point apart, as far as the task told.
    """

    rows: list[dict[str, Any]]
    units: dict[str, str]
    by: list[str] = []  # noqa: RUF012  # nobody changes it

    @property
    def failed(self) -> bool:
        """Whether it should be tried again."""
        return any(row["error"] is not None for row in self.rows)


def run_point(task: Task, arguments: dict[str, Any], _: str = "") -> Outcome:
    """Call the task; its exceptions are rows, too. This runs wherever the executor's workers are."""
    try:
        return _outcome(task(**arguments), arguments)
    except Exception as error:
        return failure(arguments, error)


def failure(arguments: Mapping[str, Any], error: BaseException) -> Outcome:
    """A row that says what went wrong."""
    return Outcome([{**arguments, "error": "".join(format_exception_only(error)).strip()}], {})


def _outcome(found: Any, arguments: dict[str, Any]) -> Outcome:
    units = dict(found.units) if isinstance(found, Results) else {}
    by = _by(found.meta.get("by")) if isinstance(found, Results) else []
    rows = found.rows if isinstance(found, Results) else [found] if isinstance(found, Mapping) else found
    if not isinstance(rows, (list, tuple)) or not all(isinstance(row, Mapping) for row in rows):
        raise TypeError(f"the task must return a row, a list of rows or Results, not {found!r:.100}")
    return Outcome([_row(row, arguments) for row in rows], units, by)


def _by(said: Any) -> list[str]:
    """Columns that a task's meta names; none if it uses the word for something else."""
    return [str(name) for name in said] if isinstance(said, (list, tuple)) else []


def _row(measures: Mapping[str, Any], arguments: dict[str, Any]) -> dict[str, Any]:
    """Arguments and measures as plain values; a column of both must say the same in both."""
    own = {**arguments, "error": None}
    row = dict(arguments)
    for name, value in measures.items():
        if not isinstance(name, str):
            raise TypeError(f"names of columns must be text, not {type(name).__name__}")
        value = _value(value, f"column {name!r}")
        if name not in own:
            row[name] = value
        elif value is not own[name] and value != own[name]:
            raise ValueError(f"the task's column {name!r} says {value!r}, where the sweep's own says {own[name]!r}")
    return {**row, "error": None}


def _value(value: Any, what: str) -> Any:
    """A plain value, or lists and mappings of such."""
    if isinstance(value, (list, tuple)):
        return [_value(one, what) for one in value]
    if isinstance(value, Mapping) and all(isinstance(name, str) for name in value):
        return {name: _value(one, what) for name, one in value.items()}
    return plain(value, what)
