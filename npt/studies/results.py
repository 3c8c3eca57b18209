"""Result tables: rows of plain values, their units, and how they came about."""

import datetime
import io
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from npt import _html
from npt._files import write_whole
from npt._html import Shown
from npt.studies import result_arrays, result_text

if TYPE_CHECKING:
    import pyarrow
    import xarray

__all__ = ["Results", "provenance"]

Target = str | os.PathLike[str] | BinaryIO  # a file's name, or an open file of bytes

_MOST_COLUMNS = 12  # shown in a notebook
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


def _write(target: Target, content: bytes) -> None:
    """Into an open file as it is; else the whole file, or nothing."""
    if isinstance(target, (str, os.PathLike)):
        write_whole(Path(target), content)
    elif isinstance(target, io.TextIOBase) or not hasattr(target, "write"):  # type: ignore[redundant-expr]
        raise TypeError(f"where to must be a file's name or an open file of bytes, not {type(target).__name__}")
    else:
        target.write(content)


@dataclass(frozen=True, repr=False)
class Results(Shown):
    """Rows of one experiment.

    Attributes
    ----------
    rows : sequence of mapping
        Plain values by column: None, bools, integers, floats, text. A column that a row has not counts as None in it.
    meta : mapping
        How they came about.
    units : mapping
        Unit by column, of those that have one.
    """

    rows: Sequence[Mapping[str, Any]]
    meta: Mapping[str, Any]
    units: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"<Results of {len(self.rows)} rows>"

    def _shown(self) -> Iterable[str]:
        shown = self.columns[:_MOST_COLUMNS]
        heads = [f"{name}, {self.units[name]}" if name in self.units else name for name in shown]
        rows = (["" if (cell := row.get(name)) is None else cell for name in shown] for row in self.rows)
        left = len(self.columns) - len(shown)
        more = f", the first {len(shown)} of {len(self.columns)} columns" if left else ""
        yield _html.table(f"rows{more}", heads, rows, len(self.rows))

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns, in the order in which the rows bring them up.

        Raises
        ------
        TypeError
            A name is no text.
        """
        return result_text.columns(self.rows)

    def to_json(self, path: Target) -> None:
        """Save all of it as one document; ``load`` reads it back whole."""
        _write(path, result_text.as_json(self.rows, self.meta, self.units).encode())

    def to_jsonl(self, path: Target) -> None:
        """Save it as lines of JSON, the first with meta and units, then one a row; ``load`` reads it back whole."""
        _write(path, result_text.as_lines(self.rows, self.meta, self.units).encode())

    def to_csv(self, path: Target) -> None:
        """Save the rows as a table; every row repeats seed, CPU and commit, so that it can stand alone.

        Raises
        ------
        InvalidArgument
            Text that UTF-8 cannot say.
        """
        kept = {key: self.meta[key] for key in ("seed", "cpu", "commit") if key in self.meta}
        rows = [{**row, **{key: kept[key] for key in kept if key not in row}} for row in self.rows]
        _write(path, result_text.as_csv(rows))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Results":
        """Read what ``to_json``, ``to_jsonl`` or, where the name ends in ``.csv``, ``to_csv`` wrote.

        A CSV has no meta and no units, and does not tell text from what it looks like: an empty cell is None, ``True`` a
        bool, ``12`` an integer, ``1.5`` and ``nan`` are floats.

        Raises
        ------
        Unreadable
            The file is something else, or was cut short.
        """
        content, name = Path(path).read_bytes(), os.fspath(path)
        if Path(path).suffix.lower() == ".csv":
            return cls(result_text.from_csv(content, name), {})
        return cls(*result_text.from_json(content, name))

    def to_numpy(self) -> NDArray[np.void]:
        """All rows as a structured array.

        Columns of bools, of integers of 64 bits, of floats and of text get such a type; None among numbers makes them
        floats, with NaN for it; what has no one type without loss is a column of objects.

        Raises
        ------
        InvalidArgument
            A column has no name.
        """
        return result_arrays.structured(self.columns, self.rows)

    def to_xarray(self, by: Sequence[str] = ()) -> "xarray.Dataset":
        """An ``xarray.Dataset`` with a variable for each column, its unit in ``attrs["units"]``; meta in the set's ``attrs``.

        Parameters
        ----------
        by
            Columns to make dimensions of, such as a sweep's axes; each row must have other values there, and what no row has
            is missing as None is. Without any the one dimension is ``row``.

        Raises
        ------
        ImportError
            xarray is not installed.
        InvalidArgument
            A column that there is not, or two rows for one place.
        """
        return result_arrays.dataset(self.columns, self.rows, self.meta, self.units, by)

    def to_arrow(self) -> "pyarrow.Table":
        """A ``pyarrow.Table``; units in the fields' metadata, meta as JSON in the schema's.

        Raises
        ------
        ImportError
            pyarrow is not installed.
        InvalidArgument
            A column that Arrow has no one type for.
        """
        return result_arrays.table(self.columns, self.rows, self.meta, self.units)
