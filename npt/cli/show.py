"""Tables out: in a terminal and in a pipe alike."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import groupby
from typing import Any

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from npt.studies.replay import ReplayResult
from npt.studies.results import Results
from npt.studies.throughput import SIZES, largest_guest
from npt.units import PAGE_SIZE, format_size

__all__ = ["default_sizes", "mechanisms_table", "progress", "replay_table", "throughput_table"]

_PIPE_WIDTH = 120
_PIPE_STEPS = 4  # lines of progress where there is no terminal to draw in

Watch = Callable[[str, int, int], None]


def _console() -> Console:
    """Standard output; wide enough for our tables where nobody says how wide it is."""
    return Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH, highlight=False)


@contextmanager
def progress() -> Iterator[Watch]:
    """Show how far the work is, on standard error: a bar in a terminal, a few lines elsewhere."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
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
    console = _console()
    console.print(table)
    meta = results.meta
    console.print(
        f"{meta['cpu']}, {meta['cpus']} CPUs; npt {meta['versions']['npt-engine']}, numpy {meta['versions']['numpy']}, "
        f"numba {meta['versions']['numba']}; least of {meta['repeat']} rounds, seed {meta['seed']}",
        style="dim",
    )


def replay_table(result: ReplayResult) -> None:
    """What a history did."""
    row = result.row()
    table = Table(title=f"{result.history} on {result.format}, pages {row['layout']}", show_header=False)
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
    _console().print(table)


_EVENTS = (
    ("faults", "faults"), ("log full", "log_full_exits"), ("ring full", "ring_full_exits"), ("PTE reads", "pte_reads"),
    ("PTE writes", "pte_writes"), ("shoot-downs", "shoot_downs"), ("flushes", "flushes"),
)  # fmt: skip
_STALL = "stall_ns, "


def mechanisms_table(results: Results) -> None:
    """What each mechanism did and would cost, a table for each writer."""
    console = _console()
    tables = [key.removeprefix(_STALL) for key in results.rows[0] if key.startswith(_STALL)]
    for _, group in groupby(results.rows, key=lambda row: (row["writer"], row["options"], row["pages"], row["seed"])):
        rows = list(group)
        first = rows[0]
        table = Table(title=_title(first), box=box.SIMPLE_HEAD, collapse_padding=True, pad_edge=False)
        table.add_column("mechanism", no_wrap=True)
        for column, _ in _EVENTS:
            table.add_column(column, justify="right")
        for name in tables:
            table.add_column(f"stall, ms ({name})", justify="right")
        for row in rows:
            counts = (f"{row[key]:,}" for _, key in _EVENTS)
            table.add_row(row["mechanism"], *counts, *(f"{row[_STALL + name] / 1e6:,.3f}" for name in tables))
        console.print(table)
        console.print(
            f"{first['reported']:,} pages reported in {first['rounds']:,} rounds; of {first['copied']:,} copied meanwhile "
            f"{first['false_dirty']:,} false dirty, {first['missed']:,} missed",
            style="dim",
        )


def _title(row: Mapping[str, Any]) -> str:
    options = f" ({row['options']})" if row["options"] else ""
    whole = row["granule"] >= row["pages"]
    cleared = f"cleared {'whole' if whole else 'by ' + str(row['granule']) + ' pages'} at {row['clear_at']:g}"
    return f"{row['writer']}{options}: {row['pages']:,} pages, {row['format']}, {row['vcpus']} vCPU, {cleared}"
