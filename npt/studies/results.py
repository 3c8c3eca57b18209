"""Result tables: rows of plain values, and how they came about."""

import csv
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from npt._files import write_whole
from npt.errors import InvalidArgument

__all__ = ["Results", "provenance"]

_FORMAT = "npt-results/1"
_PACKAGES = ("npt-engine", "numpy", "numba", "llvmlite")


def provenance(**more: Any) -> dict[str, Any]:
    """How a figure came about: command, time, versions, machine, commit; and whatever else is given."""
    return {
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in _PACKAGES},
        "platform": platform.platform(),
        "cpu": _cpu(),
        "cpus": os.cpu_count(),
        "commit": _commit(),
        **more,
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _commit() -> str | None:
    """Commit of the checkout that this is run from, with a ``+`` if it was changed; None for an installed package."""
    here = Path(__file__).resolve().parents[2]
    if not (here / ".git").exists():
        return None
    git = ["git", "-C", str(here)]
    try:
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True, timeout=10).stdout
        changed = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, check=True, timeout=10).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return head.strip() + ("+" if changed.strip() else "")


@dataclass(frozen=True)
class Results:
    """Rows of one experiment.

    Attributes
    ----------
    rows : sequence of mapping
        Plain values by column; all rows have the same columns.
    meta : mapping
        How they came about.
    """

    rows: Sequence[Mapping[str, Any]]
    meta: Mapping[str, Any]

    def __repr__(self) -> str:
        return f"<Results of {len(self.rows)} rows>"

    def save_json(self, path: str | os.PathLike[str]) -> None:
        """Save rows and meta; ``load_json`` reads them back."""
        text = json.dumps({"format": _FORMAT, "meta": dict(self.meta), "rows": [dict(row) for row in self.rows]}, indent=1)
        write_whole(Path(path), (text + "\n").encode())

    @classmethod
    def load_json(cls, path: str | os.PathLike[str]) -> "Results":
        """Read what ``save_json`` wrote.

        Raises
        ------
        InvalidArgument
            The file is something else.
        """
        try:
            document = json.loads(Path(path).read_text(encoding="utf-8"))
            if document["format"] != _FORMAT:
                raise KeyError(document["format"])
            return cls(document["rows"], document["meta"])
        except (ValueError, KeyError, TypeError):
            raise InvalidArgument(f"{os.fspath(path)} is not a result file of the form {_FORMAT}") from None

    def save_csv(self, path: str | os.PathLike[str]) -> None:
        """Save the rows as a table; every row repeats seed, CPU and commit, so that it can stand alone."""
        lines: list[list[Any]] = []
        kept = {key: self.meta[key] for key in ("seed", "cpu", "commit") if key in self.meta}
        for row in self.rows:
            line = {**row, **{key: value for key, value in kept.items() if key not in row}}
            if not lines:
                lines.append(list(line))
            lines.append(list(line.values()))
        with tempfile.TemporaryFile("w+", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(lines)
            file.seek(0)
            write_whole(Path(path), file.read().encode())
