"""``python -m benchmarks.report``: run the benchmarks, or read what was saved of a run, and make one table.

Options that it does not know are pytest's and the benchmarks' (``-k harvest``, ``--size 1GiB``, ``--format ept``, ``--scale``).
A run can be interrupted at any time: what was measured so far is reported. With ``--out`` a directory, ``rows.jsonl`` there
holds every row as soon as it is measured, even if the process is killed; ``--from`` reads it.
"""

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from benchmarks import rows
from npt._files import write_whole
from npt.errors import NptError
from npt.studies.results import Results

__all__ = ["main", "report"]

_HERE = Path(__file__).resolve().parent
_FORMS = (".json", ".md", ".txt")
_INTERRUPTED = 130


def report(results: Results) -> str:
    """The table, with how the figures came about above it."""
    return f"{_said(results.meta)}\n\n{rows.table([dict(row) for row in results.rows])}"


def _said(meta: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in meta.get("versions", {}).items())
    lines = {
        "Command": " ".join(meta.get("command", [])),
        "Time": meta.get("time"),
        "Machine": f"{meta.get('cpu')}, {meta.get('cpus')} CPUs, {meta.get('platform')}",
        "Versions": f"Python {meta.get('python')}, {versions}",
        "Commit": meta.get("commit"),
        "Seed": meta.get("seed"),
    }
    return "\n".join(f"- {name}: {value}" for name, value in lines.items())


def _run(arguments: Sequence[str], path: Path) -> tuple[int, Results]:
    """Run the benchmarks; what they measured, however that ended."""
    where = [] if any(Path(one.split("::")[0]).is_file() for one in arguments) else [str(_HERE)]
    status = int(pytest.main([*where, f"--rootdir={_HERE.parent}", f"--rows={path}", *arguments]))
    try:
        found = rows.read(path)
    except (NptError, FileNotFoundError):  # nothing was measured; pytest has said why
        raise SystemExit(_said_by(status)) from None
    return status, Results(found.rows, {**found.meta, "command": ["python -m benchmarks.report", *sys.argv[1:]]})


def _said_by(status: int) -> int:
    return _INTERRUPTED if status == pytest.ExitCode.INTERRUPTED else status


def _save(results: Results, out: Path | None) -> None:
    if out is None:
        return
    for path in [out / f"report{form}" for form in _FORMS] if out.is_dir() else [out]:
        if path.suffix == ".json":
            results.to_json(path)
        else:
            write_whole(path, report(results).encode())
        print(f"wrote {path}")


def _parse(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=__doc__, allow_abbrev=False)
    parser.add_argument("--out", type=Path, help="directory, made if need be, or a file that ends in .json, .md or .txt")
    parser.add_argument("--from", dest="saved", type=Path, action="append", help="saved rows instead of a run; repeatable")
    given, others = parser.parse_known_args(arguments)
    if given.saved and others:
        parser.error(f"--from runs nothing: {' '.join(others)} would be lost")
    if given.out is not None and given.out.suffix not in _FORMS:
        try:
            given.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            parser.error(f"--out: {error}")
    elif given.out is not None and not given.out.parent.is_dir():
        parser.error(f"--out: {given.out.parent} is not a directory")
    return given, others


def _read(paths: Sequence[Path]) -> Results:
    """All rows of some files; how they came about is that of the first, and of all."""
    found = [rows.read(path) for path in paths]
    sources = {"sources": [dict(one.meta) for one in found]} if len(found) > 1 else {}
    return Results([row for one in found for row in one.rows], {**found[0].meta, **sources})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run or read, print, save; the status is pytest's, or 130 after an interrupt."""
    given, others = _parse(sys.argv[1:] if arguments is None else arguments)
    try:
        with ExitStack() as stack:
            if given.saved:
                status, results = 0, _read(given.saved)
            else:
                folder = given.out if given.out is not None and given.out.is_dir() else None
                path = folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
                status, results = _run(others, path / "rows.jsonl")
            print(report(results))
            _save(results, given.out)
    except (NptError, OSError) as error:
        print(f"error: {error.strerror or error}", file=sys.stderr)
        return 2
    return _said_by(status)


if __name__ == "__main__":
    sys.exit(main())
