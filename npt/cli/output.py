"""Where a command's results go."""

import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from npt.cli import show
from npt.studies.results import Results

__all__ = ["Output", "is_stream"]

_STDOUT = Path("-")


def is_stream(path: Path) -> bool:
    """Standard output, or a pipe or device: it takes whatever comes, and nothing is replaced."""
    return path == _STDOUT or (path.exists() and not path.is_file())


class Output(NamedTuple):
    """What ``--json``, ``--csv`` and ``--quiet`` asked for."""

    json_file: Path | None
    csv_file: Path | None
    quiet: bool

    @property
    def shows(self) -> bool:
        """Whether there are tables: not where nobody wants them, nor among JSON and CSV."""
        return not self.quiet and _STDOUT not in (self.json_file, self.csv_file)

    def progress(self) -> AbstractContextManager[show.Watch]:
        """A bar, lines, or nothing."""
        return show.progress(self.quiet)

    def save(self, results: Results) -> None:
        """Into the files that were asked for."""
        if self.json_file is not None:
            results.to_json(_opened(self.json_file))
        if self.csv_file is not None:
            results.to_csv(_opened(self.csv_file))


def _opened(path: Path) -> Path | BinaryIO:
    return sys.stdout.buffer if path == _STDOUT else path
