"""Where a command's results go."""

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, NamedTuple

import click

from npt.cli import show
from npt.cli.exits import told
from npt.studies.results import Results

__all__ = ["STDOUT", "Output", "is_stream"]

STDOUT = Path("-")


def is_stream(path: Path) -> bool:
    """Standard output, or a pipe or device: it takes whatever comes, and nothing is replaced."""
    return path == STDOUT or (path.exists() and not path.is_file())


class Output(NamedTuple):
    """What ``--json``, ``--csv`` and ``--quiet`` asked for."""

    json_file: Path | None
    csv_file: Path | None
    quiet: bool

    @property
    def shows(self) -> bool:
        """Whether there are tables: not where nobody wants them, nor among JSON and CSV."""
        return not self.quiet and STDOUT not in (self.json_file, self.csv_file)

    def progress(self) -> AbstractContextManager[show.Watch]:
        """A bar, lines, or nothing."""
        return show.progress(self.quiet)

    def save(self, results: Results) -> None:
        """Into the files that were asked for."""
        for file, write in ((self.json_file, results.to_json), (self.csv_file, results.to_csv)):
            if file is not None:
                _write(write, file)


def _write(write: Callable[[Path | BinaryIO], None], file: Path) -> None:
    if file == STDOUT:
        write(sys.stdout.buffer)
        return
    try:
        write(file)
    except BrokenPipeError:
        raise
    except OSError as error:  # which may name a file that it was to be written by way of
        raise click.ClickException(told(error, file)) from None
