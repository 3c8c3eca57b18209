"""``npt replay``."""

import click

from npt.cli import show
from npt.cli.options import FORMATS, Words, format_option, reading, results_options
from npt.cli.output import Output
from npt.studies.history import HISTORIES, History
from npt.studies.replay import ReplayResult
from npt.studies.replay import replay as run_replay
from npt.studies.results import Results, provenance
from npt.units import PAGE_SIZE, format_size

__all__ = ["command"]


@click.command("replay")
@click.argument("history", metavar="NAME_OR_FILE", type=Words(HISTORIES, file=True))
@click.option("--pack", is_flag=True, help="Lay the pages side by side instead of where the program had them.")
@format_option
@results_options
def command(history: str, pack: bool, format_name: str, out: Output) -> None:
    """Run a real program's write history through the tables and check every window: xz, sqlite, sort, or an .npz file.

    \b
    Examples:
      npt replay sqlite --pack
      npt replay sort --pack --format npt --json sort.json
    """
    with reading():
        loaded = History.load(history)
    with out.progress() as watch:
        result = run_replay(
            loaded,
            format=FORMATS[format_name],
            packed=pack,
            progress=lambda done, total: watch(f"{loaded.name} {format_name}", done, total),
        )
    if out.shows:
        _show(result)
    out.save(Results([result.row()], provenance()))
    if result.difference is not None:
        raise click.ClickException(f"the tables and the history differ: {result.difference}")


def _show(result: ReplayResult) -> None:
    """What a history did."""
    row = result.row()
    dirtied = {"median": "dirtied_median", "90 %": "dirtied_90", "most": "dirtied_most"}
    show.facts(
        {
            "windows checked": f"{result.windows:,}",
            "pages of the guest": _pages(result.n_pages),
            **{f"pages dirtied a window, {name}": f"{row[key]:,.0f}" for name, key in dirtied.items()},
            "working set (pages read or written)": _pages(result.working_set),
            "pages written at least once": f"{result.written:,}",
            "time in writes": f"{result.write_seconds:.3f} s",
            "time in harvests": f"{result.harvest_seconds:.3f} s",
            "differences": "none" if result.difference is None else str(result.difference),
        },
        f"{result.history} on {result.format}, pages {row['layout']}",
    )


def _pages(n: int) -> str:
    return f"{n:,} ({format_size(n * PAGE_SIZE)})"
