"""The commands, and what becomes of errors and interrupts."""

import math
import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import click

import npt
from npt.cli import show
from npt.errors import InvalidArgument, NptError
from npt.studies.results import Results, provenance
from npt.units import parse_size

__all__ = ["cli", "run"]

_INTERRUPTED = 130
_MECHANISMS = ("dirty-bits", "write-protect", "pml", "ring")
_FORMATS = {"ept": npt.EPT, "npt": npt.NPT}


class _Size(click.ParamType[int]):
    """A size like 64MiB."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Bytes of what the user wrote."""
        if isinstance(value, int):
            return value
        try:
            size = parse_size(value)
        except InvalidArgument as error:
            self.fail(str(error.strerror), param, ctx)
        if size <= 0 or size % npt.PAGE_SIZE:
            self.fail(f"{value!r} is not a positive number of whole pages of {npt.PAGE_SIZE} bytes", param, ctx)
        return size


def _check_target(_: click.Context, __: click.Parameter, value: Path | None) -> Path | None:
    """A result file must be writable before the work, not after it."""
    if value is None or _is_stream(value):
        return value
    if not (value.parent.is_dir() and os.access(value.parent, os.W_OK)):
        raise click.BadParameter(f"{value.parent} is not a directory that can be written to")
    return value


def _check_shares(_: click.Context, __: click.Parameter, values: tuple[float, ...]) -> tuple[float, ...]:
    """A range of floats lets nan in."""
    if any(math.isnan(value) for value in values):
        raise click.BadParameter("nan is not a share")
    return values


def _check_moment(_: click.Context, __: click.Parameter, value: float) -> float:
    """Nor is nan a moment."""
    if math.isnan(value):
        raise click.BadParameter("nan is not a moment")
    return value


def _check_apart(context: click.Context, parameter: click.Parameter, value: Path | None) -> Path | None:
    """The second of two result files must not take the place of the first."""
    target = _check_target(context, parameter, value)
    first = context.params.get("json_file")
    if target is not None and first is not None and target.resolve() == first.resolve() and not _is_stream(target):
        raise click.BadParameter(f"{target} is the file for the other form, too")
    return target


def _is_stream(path: Path) -> bool:
    """A pipe or device takes whatever comes, and nothing is replaced."""
    return path.exists() and not path.is_file()


def _save(results: Results, json_file: Path | None, csv_file: Path | None) -> None:
    """Into the files that were asked for."""
    if json_file is not None:
        results.to_json(json_file)
    if csv_file is not None:
        results.to_csv(csv_file)


_target = click.Path(dir_okay=False, writable=True, path_type=Path)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(npt.__version__, prog_name="npt")
def cli() -> None:
    """Guest memory of a hypervisor: how fast it is here, and what real programs do in it."""


@cli.command()
@click.option("--size", "sizes", type=_Size(), multiple=True, help="Size of a guest, like 1GiB; repeatable.  [64MiB 1GiB 4GiB]")
@click.option(
    "--dirty",
    "shares",
    type=click.FloatRange(0, 1),
    multiple=True,
    callback=_check_shares,
    help="Share of dirty pages; repeatable.  [0 0.01 0.1 1]",
)
@click.option("--format", "formats", type=click.Choice(list(_FORMATS)), multiple=True, help="Repeatable.  [both]")
@click.option("--repeat", type=click.IntRange(min=1), default=5, show_default=True, help="Timed rounds.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the pages that are dirty.")
@click.option(
    "--threads", type=click.IntRange(min=1), help="Most threads that a call is split over.  [NPT_THREADS, or one a processor]"
)
@click.option(
    "--json", "json_file", type=_target, is_eager=True, callback=_check_target, help="Save rows and how they came about."
)
@click.option("--csv", "csv_file", type=_target, callback=_check_apart, help="Save the rows.")
def bench(
    sizes: tuple[int, ...], shares: tuple[float, ...], formats: tuple[str, ...], repeat: int, seed: int, threads: int | None,
    json_file: Path | None, csv_file: Path | None,
) -> None:  # fmt: skip
    """Map, populate, harvest and unmap guests; tell the speed as a share of what this machine's memory can do."""
    from npt.studies.throughput import SHARES, throughput

    with show.progress() as watch:
        results = throughput(
            [_FORMATS[name] for name in dict.fromkeys(formats)] or list(_FORMATS.values()),
            sizes=list(dict.fromkeys(sizes)) or show.default_sizes(),
            shares=list(dict.fromkeys(shares)) or SHARES,
            repeat=repeat,
            seed=seed,
            threads=threads,
            progress=watch,
        )
    show.throughput_table(results)
    _save(results, json_file, csv_file)


@cli.command()
@click.argument("history", metavar="NAME_OR_FILE")
@click.option("--pack", is_flag=True, help="Lay the pages side by side instead of where the program had them.")
@click.option("--format", "format_name", type=click.Choice(list(_FORMATS)), default="ept", show_default=True)
@click.option(
    "--json", "json_file", type=_target, is_eager=True, callback=_check_target, help="Save the row and how it came about."
)
@click.option("--csv", "csv_file", type=_target, callback=_check_apart, help="Save the row.")
def replay(history: str, pack: bool, format_name: str, json_file: Path | None, csv_file: Path | None) -> None:
    """Run a real program's write history through the tables and check every window: xz, sqlite, sort, or an .npz file."""
    from npt.studies.history import History
    from npt.studies.replay import replay as run_replay

    loaded = History.load(history)
    with show.progress() as watch:
        result = run_replay(
            loaded,
            format=_FORMATS[format_name],
            packed=pack,
            progress=lambda done, total: watch(f"{loaded.name} {format_name}", done, total),
        )
    show.replay_table(result)
    _save(Results([result.row()], provenance()), json_file, csv_file)
    if result.difference is not None:
        raise click.ClickException(f"the tables and the history differ: {result.difference}")


def _as_costs(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> dict[str, float]:
    """Costs like faults=2000."""
    from npt.dirty.mechanisms import Events

    costs: dict[str, float] = {}
    for value in values:
        name, _equals, cost = value.partition("=")
        if name not in Events._fields:
            raise click.BadParameter(f"{value!r}: the events are {', '.join(Events._fields)}")
        if name in costs:
            raise click.BadParameter(f"{name} is said twice")
        try:
            costs[name] = float(cost)
        except ValueError:
            raise click.BadParameter(f"{value!r} is not of the form {name}=NANOSECONDS") from None
    return costs


def _as_granule(_: click.Context, __: click.Parameter, value: str) -> int | None:
    """Pages, or None for the whole range."""
    if value == "whole":
        return None
    if not value.isdecimal() or not int(value) or int(value) % 64:
        raise click.BadParameter(f"{value!r} is neither a multiple of 64 pages nor 'whole'")
    return int(value)


@cli.command()
@click.argument("writers", metavar="WRITER...", nargs=-1, required=True)
@click.option("--mechanism", "mechanisms", type=click.Choice(_MECHANISMS), multiple=True, help="Repeatable.  [all]")
@click.option("--format", "format_name", type=click.Choice(list(_FORMATS)), default="ept", show_default=True)
@click.option("--vcpus", type=click.IntRange(min=1), default=1, show_default=True, help="That share the accesses.")
@click.option("--ring", type=click.IntRange(min=1), default=4096, show_default=True, help="Entries of each vCPU's ring.")
@click.option("--granule", default="whole", callback=_as_granule, help="Pages cleared at once, a multiple of 64.  [whole]")
@click.option(
    "--clear-at",
    type=click.FloatRange(0, 2),
    default=0.0,
    show_default=True,
    callback=_check_moment,
    help="0: when reported; 1: just before the copy; above: after it, when writes are missed.",
)
@click.option("--windows", type=click.IntRange(min=1), help="Of each writer, one a round.  [all]")
@click.option("--cost", "costs", multiple=True, callback=_as_costs, help="A cost table of yours, like faults=2000; repeatable.")
@click.option(
    "--json", "json_file", type=_target, is_eager=True, callback=_check_target, help="Save rows and how they came about."
)
@click.option("--csv", "csv_file", type=_target, callback=_check_apart, help="Save the rows.")
def dirty(
    writers: tuple[str, ...], mechanisms: tuple[str, ...], format_name: str, vcpus: int, ring: int, granule: int | None,
    clear_at: float, windows: int | None, costs: dict[str, float], json_file: Path | None, csv_file: Path | None,
) -> None:  # fmt: skip
    """Run writers under every mechanism that notices writes; tell what each would cost the guest.

    A WRITER is a recorded program (xz, sqlite, sort, or an .npz file), or a pattern (uniform, sequential, strided, zipf,
    hotcold), alone or with parameters: zipf:exponent=1.2,size=256MiB,windows=100,accesses=10000,write_share=0.5,seed=3.
    """
    from npt.dirty.mechanisms import COSTS, Costs
    from npt.studies import tracking
    from npt.studies.writers import writer

    made = [writer(text) for text in writers]
    tables = {**COSTS, "yours": Costs(**costs, source="the command line")} if costs else COSTS
    parts: list[Results] = []
    with show.progress() as watch:
        for one in made:
            parts.append(
                tracking.compare_mechanisms(
                    one,
                    mechanisms=tuple(dict.fromkeys(mechanisms)) or _MECHANISMS,
                    format=_FORMATS[format_name],
                    ring=ring,
                    vcpus=vcpus,
                    granule=granule,
                    clear_at=clear_at,
                    windows=windows,
                    costs=tables,
                    progress=partial(watch, one.name),
                )
            )
    for part in parts:
        show.mechanisms_table(part)
    show.cost_sources(parts[0])
    _save(Results([row for part in parts for row in part.rows], parts[0].meta), json_file, csv_file)


@cli.command("warm-up")
@click.option("--json", "json_file", type=_target, callback=_check_target, help="Save the row and how it came about.")
def warm_up(json_file: Path | None) -> None:
    """Compile all kernels now, so that no later call has to.

    They are kept on disk, each as soon as it is compiled: after an interrupt the next run goes on where this one was.
    """
    from npt.kernels import jit

    if jit.DISABLED:
        raise click.ClickException("NUMBA_DISABLE_JIT is set: kernels run as plain Python, and none is compiled")
    directory = jit.cache_directory()
    if directory is None:
        raise click.ClickException(
            "compiled kernels can be kept nowhere: set NUMBA_CACHE_DIR to a directory that can be written to"
        )
    start = time.perf_counter()
    with show.progress() as watch:
        n_kernels = npt.warm_up(partial(watch, "kernels"))
    row = {
        "kernels": n_kernels,
        **jit.origins()._asdict(),
        "seconds": time.perf_counter() - start,
        "directory": str(directory),
        **jit.target()._asdict(),
    }
    show.warm_up_table(row)
    _save(Results([row], provenance()), json_file, None)
    if row["lost"]:
        raise click.ClickException(f"{row['lost']} kernels could not be saved in {directory}: is it full?")


def run() -> None:
    """Run the command line and exit: 0 well, 1 an error, 2 wrong usage, 130 interrupted."""
    try:
        cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        sys.exit(_INTERRUPTED)
    except BrokenPipeError:  # whoever read our output has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except NptError as error:
        click.echo(f"Error: {error.strerror}", err=True)
        sys.exit(1)
    except OSError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(1)
    except MemoryError as error:
        click.echo(f"Error: not enough memory: {error}", err=True)
        sys.exit(1)
