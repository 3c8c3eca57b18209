"""Tables out: in a terminal and in a pipe alike."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from npt.studies.replay import ReplayResult
from npt.studies.results import Results
from npt.studies.throughput import SIZES, largest_guest
from npt.units import PAGE_SIZE, format_size

__all__ = ["cost_sources", "default_sizes", "mechanisms_table", "progress", "replay_table", "throughput_table", "warm_up_table"]

_PIPE_WIDTH = 120
_WIDEST = 10_000
_PIPE_STEPS = 4  # lines of progress where there is no terminal to draw in

Watch = Callable[[str, int, int], None]


def _console() -> Console:
    """Standard output; wide enough for our tables where nobody says how wide it is."""
    told = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(width=None if told else _PIPE_WIDTH, highlight=False)


def _print(shown: Table | Text) -> None:
    """Print; a table that is wider than the terminal is not cut: a number without its last digits is another number."""
    console = _console()
    if isinstance(shown, Table):
        natural = console.measure(shown, options=console.options.update(width=_WIDEST)).maximum
        console.width = max(console.width, natural)
    console.print(shown)


@contextmanager
def progress() -> Iterator[Watch]:
    """Show how far the work is, on standard error: a bar in a terminal, a few lines elsewhere."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("starting", total=None)
        yield lambda what, done, total: bars.update(task, description=what, completed=done, total=total)


class _Lines:
    """Progress as lines of text."""

    def __init__(self) -> None:
        self._said: tuple[str, int] | None = None

    def __call__(self, what: str, done: int, total: int) -> None:
        say = what, done * _PIPE_STEPS // max(total, 1)
        if say != self._said:
            self._said = say
            print(f"{what}: {done}/{total}", file=sys.stderr, flush=True)


def default_sizes() -> list[int]:
    """The sizes that are measured unless others are asked for, as far as they fit this machine."""
    most = largest_guest()
    sizes = [size for size in SIZES if most is None or size <= most]
    for size in SIZES[len(sizes) :]:
        print(f"left out: {format_size(size)}, which this machine's memory cannot hold now", file=sys.stderr)
    return sizes or [SIZES[0]]


def throughput_table(results: Results) -> None:
    """What each operation took, beside the limit of the memory."""
    table = Table(
        title="one call over the whole guest, tables warm", box=box.SIMPLE_HEAD, collapse_padding=True, pad_edge=False
    )
    for column in ("format", "guest", "operation", "dirty"):
        table.add_column(column, no_wrap=True)
    for column in ("ns/page", "(median)", "Mpages/s", "of the limit"):
        table.add_column(column, justify="right", no_wrap=True)
    before = None
    for row in results.rows:
        guest = row["format"], row["size"]
        if before not in (None, guest):
            table.add_section()
        table.add_row(
            *((row["format"], format_size(row["size"])) if guest != before else ("", "")),
            row["operation"],
            "" if row["share"] is None else f"{row['share']:.4g}",
            f"{row['ns_per_page']:.3f}",
            f"{row['ns_per_page_median']:.3f}",
            f"{row['pages_per_s'] / 1e6:,.0f}",
            f"{row['of_limit']:.2f} of {row['limit']}",
        )
        before = guest
    _print(table)
    meta = results.meta
    vectors = meta["vectors"]
    _console().print(
        f"{meta['cpu']}, {meta['cpus']} CPUs; npt {meta['versions']['npt-engine']}, numpy {meta['versions']['numpy']}, "
        f"numba {meta['versions']['numba']}; kernels for {vectors['cpu']}, {vectors['vector_bits']}-bit vectors; "
        f"at most {meta['threads']} threads; least of {meta['repeat']} rounds, seed {meta['seed']}",
        style="dim",
    )


def replay_table(result: ReplayResult) -> None:
    """What a history did."""
    row = result.row()
    table = Table(title=Text(f"{result.history} on {result.format}, pages {row['layout']}"), show_header=False)
    table.add_column("what")
    table.add_column("how much", justify="right")
    table.add_row("windows checked", f"{result.windows:,}")
    table.add_row("pages of the guest", f"{result.n_pages:,} ({format_size(result.n_pages * PAGE_SIZE)})")
    for name, key in (("median", "dirtied_median"), ("90 %", "dirtied_90"), ("most", "dirtied_most")):
        table.add_row(f"pages dirtied a window, {name}", f"{row[key]:,.0f}")
    table.add_row(
        "working set (pages read or written)", f"{result.working_set:,} ({format_size(result.working_set * PAGE_SIZE)})"
    )
    table.add_row("pages written at least once", f"{result.written:,}")
    table.add_row("time in writes", f"{result.write_seconds:.3f} s")
    table.add_row("time in harvests", f"{result.harvest_seconds:.3f} s")
    table.add_row("differences", "none" if result.difference is None else str(result.difference))
    _print(table)


def warm_up_table(row: Mapping[str, Any]) -> None:
    """How many kernels there are, where they came from, and where they are kept."""
    bits = "" if row["vector_bits"] is None else f", vectors of {row['vector_bits']} bits"
    table = Table(show_header=False)
    table.add_column("what")
    table.add_column("how much", justify="right")
    table.add_row("kernels", f"{row['kernels']:,}")
    table.add_row("compiled now", f"{row['compiled']:,}")
    table.add_row("found in the cache", f"{row['cached']:,}")
    table.add_row("time", f"{row['seconds']:.1f} s")
    table.add_row("compiled for", f"{row['cpu']}{bits}")
    table.add_row("kept in", Text(row["directory"], overflow="fold"))
    _print(table)


_EVENTS = {
    "faults": "faults",
    "log-full exits": "log_full_exits",
    "ring-full exits": "ring_full_exits",
    "PTE reads": "pte_reads",
    "PTE writes": "pte_writes",
    "shoot-downs": "shoot_downs",
    "flushes": "flushes",
}
_STALL = "stall_ns, "


def mechanisms_table(results: Results) -> None:
    """What each mechanism did and would cost, for one writer."""
    first = results.rows[0]
    _print(Text(_title(first), style="italic"))
    table = Table(box=box.SIMPLE_HEAD, collapse_padding=True, pad_edge=False)
    table.add_column("", no_wrap=True)
    for row in results.rows:
        table.add_column(row["mechanism"], justify="right", no_wrap=True)
    for name, key in _EVENTS.items():
        table.add_row(name, *(f"{row[key]:,}" for row in results.rows))
    table.add_section()
    for key in first:
        if key.startswith(_STALL):
            stalls = (row[key] for row in results.rows)
            cells = ("not told" if stall is None else f"{stall / 1e6:,.3f}" for stall in stalls)
            table.add_row(f"stall, ms ({key.removeprefix(_STALL)})", *cells)
    _print(table)
    _print(
        Text(
            f"{first['reported']:,} pages reported in {first['rounds']:,} rounds; of {first['copied']:,} copied meanwhile "
            f"{first['false_dirty']:,} false dirty, {first['missed']:,} missed\n",
            style="dim",
        )
    )


def cost_sources(results: Results) -> None:
    """Where the costs are from, which are worth no more than that."""
    for name, table in results.meta["costs"].items():
        _print(Text(f"costs {name}: {table['source']}", style="dim"))


def _title(row: Mapping[str, Any]) -> str:
    known = {"accesses": "accesses", "write share": "write_share", "seed": "seed"}
    about = [f"{name} {row[key]:,}" for name, key in known.items() if row[key] is not None]
    whole = row["granule"] >= row["pages"]
    vcpus = f"{row['vcpus']} vCPU{'s' * (row['vcpus'] > 1)}"
    cleared = f"cleared {'whole' if whole else 'by ' + str(row['granule']) + ' pages'} at {row['clear_at']:g}"
    words = [f"{row['writer']}: {row['pages']:,} pages", *about, row["options"], row["format"], vcpus, cleared]
    return ", ".join(word for word in words if word)
