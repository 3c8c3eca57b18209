"""``npt import``."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from npt.cli import show
from npt.cli.options import Size, reading, results_options
from npt.cli.output import Output
from npt.studies.history import History
from npt.studies.imports import import_bitmaps, import_lackey
from npt.studies.results import Results, provenance
from npt.units import PAGE_SIZE, format_size

__all__ = ["command"]


def _check_file(_: click.Context, __: click.Parameter, value: Path) -> Path:
    if value.suffix != ".npz":
        raise click.BadParameter(f"{value} must end in .npz")
    if not value.parent.is_dir():
        raise click.BadParameter(f"{value.parent} is not a directory")
    return value


_source = click.argument("source", type=click.Path(allow_dash=True))
_target = click.option(
    "--output", "-o", "target", type=click.Path(dir_okay=False, writable=True, path_type=Path), required=True,
    callback=_check_file, help="History to write, an .npz file; its name is the history's.",
)  # fmt: skip
_cut = click.option("--allow-cut", is_flag=True, help="Take what there is of input that was cut short.")


@click.group("import")
def command() -> None:
    """Make a write history of what valgrind saw a program do, or KVM a guest.

    \b
    Examples:
      npt import lackey trace.txt -o program.npz
      npt import bitmaps rounds/ -o guest.npz
      npt replay program.npz
    """


@command.command("lackey", short_help="A trace of valgrind's lackey.")
@_source
@_target
@click.option("--window-instructions", type=click.IntRange(min=1), help="Instructions a window.  [200000]")
@click.option("--window-accesses", type=click.IntRange(min=1), help="Or loads, stores and modifies a window.")
@click.option("--windows", "n_windows", type=click.IntRange(min=1), help="Stop after so many.")
@click.option("--fetches", is_flag=True, help="To fetch an instruction is to read its page.")
@_cut
@results_options
def lackey(
    source: str, target: Path, window_instructions: int | None, window_accesses: int | None, n_windows: int | None,
    fetches: bool, allow_cut: bool, out: Output,
) -> None:  # fmt: skip
    """Import a trace of valgrind's lackey; SOURCE is a file, gzipped or not, or - for standard input.

    \b
    Examples:
      valgrind --tool=lackey --trace-mem=yes --log-file=trace.txt sort words.txt
      npt import lackey trace.txt -o sort.npz
      npt import lackey trace.txt.gz -o sort.npz --window-instructions 50000 --windows 100
    """
    if window_instructions is not None and window_accesses is not None:
        raise click.UsageError("a window has so many instructions or so many accesses, not both")
    _import(
        import_lackey, source, target, out, window_instructions=window_instructions, window_accesses=window_accesses,
        n_windows=n_windows, fetches=fetches, allow_cut=allow_cut,
    )  # fmt: skip


@command.command("bitmaps", short_help="Dirty bitmaps as KVM_GET_DIRTY_LOG gives them.")
@_source
@_target
@click.option("--pages", "n_pages", type=click.IntRange(min=1), help="Of the memory slot.  [as many as a file has bits]")
@click.option("--size", type=Size(), help="Or the slot's size, like 4GiB.")
@click.option("--first-page", type=click.IntRange(min=0), default=0, show_default=True, help="Number of the slot's first page.")
@_cut
@results_options
def bitmaps(
    source: str, target: Path, n_pages: int | None, size: int | None, first_page: int, allow_cut: bool, out: Output
) -> None:  # fmt: skip
    """Import dirty bitmaps as KVM_GET_DIRTY_LOG gives them, one a round.

    SOURCE is a directory of files with a bitmap each, one file of bitmaps one after the other, or - for standard input; for the
    last two --pages or --size has to say where one ends.

    \b
    Examples:
      npt import bitmaps rounds/ -o guest.npz
      npt import bitmaps log.bin.gz -o guest.npz --size 4GiB
    """
    if size is not None:
        if n_pages is not None:
            raise click.UsageError("--pages and --size say the same")
        n_pages = size // PAGE_SIZE
    if n_pages is None and not Path(source).is_dir():
        raise click.UsageError(
            f"{source} is no directory, and bitmaps in one file need --pages or --size: it says where each ends"
        )
    _import(import_bitmaps, source, target, out, n_pages=n_pages, first_page=first_page, allow_cut=allow_cut)


def _import(make: Callable[..., History], source: str, target: Path, out: Output, **options: Any) -> None:
    """Read, write, tell."""
    with out.progress() as watch, reading():
        made = make(
            source, name=target.stem, progress=lambda done, total: watch(f"reading {source}", done, total or 0), **options
        )  # fmt: skip
    made.save(target)
    if out.shows:
        show.facts(
            {
                "windows": f"{made.n_windows:,} of {made.window_length:,} {made.window_unit}",
                "pages": f"{made.n_pages:,} ({format_size(made.n_pages * PAGE_SIZE)})",
                "written": f"{made.write_pages.size:,} times a page in a window",
                "read": f"{made.read_pages.size:,} times a page in a window",
                "history": str(target),
            }
        )
    row = {
        **made.row(), "window_length": made.window_length, "window_unit": made.window_unit,
        "writes": int(made.write_pages.size), "reads": int(made.read_pages.size),
    }  # fmt: skip
    out.save(Results([row], provenance(by=["writer"], source=source)))
