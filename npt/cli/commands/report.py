"""``npt report``."""

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from npt._files import write_whole
from npt.cli.exits import told
from npt.cli.options import check_target, reading
from npt.cli.output import STDOUT, is_stream
from npt.studies.results import Results

__all__ = ["command"]


@click.command("report")
@click.argument("files", metavar="RESULT...", nargs=-1, required=True, type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--output", "-o", "target", type=click.Path(dir_okay=False, writable=True, allow_dash=True, path_type=Path), required=True,
    callback=check_target, help="Page to write, all of it or nothing; - is standard output.",
)  # fmt: skip
@click.option("--title", default="npt", show_default=True, help="Of the page.")
def command(files: Sequence[Path], target: Path, title: str) -> None:
    """Make one page of results: tables that sort, pictures, and how each came about. It needs no network and no other file.

    RESULT is a file that --json or --csv wrote. Needs matplotlib: pip install 'npt-engine[plot]'.

    \b
    Examples:
      npt precopy --json model.json
      npt report model.json -o report.html
    """
    if not is_stream(target) and target.resolve() in [path.resolve() for path in files]:
        raise click.BadParameter(f"{target} is one of the results", param_hint="--output")
    try:
        from npt.view.report import report
    except ImportError:
        raise click.ClickException("a report needs matplotlib: pip install 'npt-engine[plot]'") from None
    with reading():
        results = {_name(path, files): Results.load(path) for path in files}
    _write(target, report(results, title=title).encode())


def _write(target: Path, page: bytes) -> None:
    if target == STDOUT:
        sys.stdout.buffer.write(page)
        return
    try:
        write_whole(target, page)
    except BrokenPipeError:
        raise
    except OSError as error:  # which may name a file that it was to be written by way of
        raise click.ClickException(told(error, target)) from None


def _name(path: Path, files: Sequence[Path]) -> str:
    """Without its directory, unless that would be ambiguous."""
    alone = [other.name for other in files].count(path.name) == 1
    return path.name if alone else str(path)
