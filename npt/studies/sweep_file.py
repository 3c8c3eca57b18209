"""What is done of a sweep, kept in a file as it is done: a line of JSON that says which sweep, then a line for each point.

A line that was not finished, because the process was ended in it, does not count: its point is done again.
"""

import json
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any

from npt._files import write_whole
from npt.errors import InvalidArgument, Unreadable
from npt.studies.outcome import Outcome

__all__ = ["SweepFile"]

_FORMAT = "npt-sweep/1"


class SweepFile(AbstractContextManager["SweepFile", None]):
    """A sweep's file, open for more; without a path nothing is kept.

    Attributes
    ----------
    done : dict
        Outcomes by place, of an earlier call; those that failed are left out, to be tried again.
    """

    def __init__(self, path: str | os.PathLike[str] | None, sweep: Mapping[str, Any], n_points: int) -> None:
        self.done: dict[int, Outcome] = {}
        self._file = None
        if path is None:
            return
        path = Path(path)
        if path.exists() and not path.is_file():
            raise InvalidArgument(f"{path} is not a file that a sweep can be continued from")
        if not path.exists() or path.stat().st_size == 0:
            write_whole(path, _line({"format": _FORMAT, **sweep}))
        end = self._read(path, sweep, n_points)
        self._file = open(path, "r+b")  # noqa: SIM115  # the context's exit closes it
        self._file.seek(end)
        self._file.truncate()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._file is not None:
            self._file.close()

    def keep(self, place: int, outcome: Outcome) -> None:
        """Write down what came of a point."""
        if self._file is not None:
            self._file.write(_line({"point": place, **outcome._asdict()}))
            self._file.flush()

    def _read(self, path: Path, sweep: Mapping[str, Any], n_points: int) -> int:
        """Take over what is done; return where the last whole line ends."""
        end = 0
        with open(path, "rb") as file:
            for number, line in enumerate(file, 1):
                whole = line.endswith(b"\n")
                if number == 1:
                    _check(_parsed(line) if whole else None, sweep, path)
                elif whole:
                    self._take(_parsed(line), n_points, f"{path}, line {number},")
                end += len(line) if whole else 0
        return end

    def _take(self, document: Any, n_points: int, where: str) -> None:
        try:
            place, rows, units = document["point"], document["rows"], document["units"]
            by = document.get("by", [])
            outcome = Outcome(rows, units, by)
            right = type(place) is int and 0 <= place < n_points and isinstance(rows, list) and isinstance(units, dict)
            right = right and isinstance(by, list) and all(isinstance(name, str) for name in by)
            failed = outcome.failed
        except (TypeError, KeyError):
            right = False
        if not right:
            raise Unreadable(f"{where} is not a point of this sweep")
        if not failed:
            self.done[place] = outcome


def _line(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document).encode() + b"\n"


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _check(document: Any, sweep: Mapping[str, Any], path: Path) -> None:
    """Refuse a file of something else."""
    if not isinstance(document, dict) or document.get("format") != _FORMAT:
        raise Unreadable(f"{path} is not a file of a sweep; give a name that is free")
    for name, value in sweep.items():
        if json.dumps(document.get(name)) != json.dumps(value):  # as text, so that 1 is not 1.0 and nan is nan
            raise InvalidArgument(f"{path} is of a sweep with another {name}; remove it, or give a name that is free")
