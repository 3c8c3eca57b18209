"""``npt report``."""

from collections.abc import Sequence
from pathlib import Path

import click

from npt._files import write_whole
from npt.cli.options import reading
from npt.studies.results import Results

__all__ = ["command"]


def _check_parent(_: click.Context, __: click.Parameter, value: Path) -> Path:
    if not value.parent.is_dir():
        raise click.BadParameter(f"{value.parent} is not a directory")
    return value


@click.command("report")
@click.argument("files", metavar="RESULT...", nargs=-1, required=True, type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--output", "-o", "target", type=click.Path(dir_okay=False, writable=True, path_type=Path), required=True,
    callback=_check_parent, help="Page to write, all of it or nothing.",
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
    try:
        from npt.view.report import report
    except ImportError:
        raise click.ClickException("a report needs matplotlib: pip install 'npt-engine[plot]'") from None
    with reading():
        results = {_name(path, files): Results.load(path) for path in files}
    write_whole(target, report(results, title=title).encode())


def _name(path: Path, files: Sequence[Path]) -> str:
    """Without its directory, unless that would be ambiguous."""
    alone = [other.name for other in files].count(path.name) == 1
    return path.name if alone else str(path)
