"""``npt migrate``."""

from collections.abc import Mapping, Sequence
from typing import Any

import click

from npt.cli import show
from npt.cli.migrations import link_options, milliseconds, policy_option
from npt.cli.options import FORMATS, Duration, Number, Rate, Words, format_option, reading, results_options, seed_option
from npt.cli.output import Output
from npt.studies.history import HISTORIES
from npt.studies.migrations import compare_policies
from npt.studies.policies import Policy
from npt.studies.results import Results
from npt.studies.writers import WRITERS, writer
from npt.units import PAGE_SIZE, format_size

__all__ = ["command"]


@click.command("migrate")
@click.option(
    "--history",
    "--writer",
    "texts",
    type=Words((*HISTORIES, *WRITERS), file=True),
    multiple=True,
    default=["sqlite"],
    show_default=True,
    help="What the guest does: xz, sqlite, sort, an .npz file, or a pattern, as for npt dirty; repeatable.",
)
@policy_option
@link_options
@click.option("--zero", type=Number(0, 1), default=0.0, show_default=True, help="Share of pages that are zero.")
@click.option("--window", type=Duration(), help="Time that a window of the writer takes.  [1ms]")
@click.option("--dirty-rate", type=Rate(), help="Or bytes a second that its windows dirty, each by itself.")
@format_option
@click.option("--target-format", type=click.Choice(list(FORMATS)), help="Of the target.  [the source's]")
@seed_option("Of what is in memory at first.")
@results_options
def command(
    texts: Sequence[str], policies: Sequence[Policy], zero: float, window: float | None, dirty_rate: int | None,
    format_name: str, target_format: str | None, seed: int, out: Output, **link: Any,
) -> None:  # fmt: skip
    """Migrate real bytes between two guests while one is written to, under the rules of hypervisors.

    The guest does what a writer does, in simulated time; each target is compared with its source, page by page, and a
    difference ends the command with an error. Times are exact, and the same on every machine.

    \b
    Examples:
      npt migrate --history sqlite --policy all
      npt migrate --history sqlite --history sort --policy xen --bandwidth 200MiB --csv policies.csv
      npt migrate --writer zipf:size=32MiB,windows=50 --policy post-copy:rounds=2 --target-format npt
    """
    if window is not None and dirty_rate is not None:
        raise click.UsageError("a guest goes by --window or by --dirty-rate, not by both")
    with reading():
        made = [writer(text) for text in dict.fromkeys(texts)]
    parts: list[Results] = []
    with out.progress() as watch:
        for one in made:
            parts.append(
                compare_policies(
                    one,
                    policies,
                    format=FORMATS[format_name],
                    target_format=None if target_format is None else FORMATS[target_format],
                    zero=zero,
                    seconds_per_window=window,
                    dirty_rate=dirty_rate,
                    seed=seed,
                    progress=lambda what, done, total, name=one.name: watch(f"{name}, {what}", done, total),  # type: ignore[misc]
                    **link,
                )
            )
    if out.shows:
        for part in parts:
            _show(part.rows)
    out.save(Results([row for part in parts for row in part.rows], parts[0].meta, parts[0].units))


def _show(rows: Sequence[Mapping[str, Any]]) -> None:
    """A line for each policy."""
    first = rows[0]
    table = show.table(
        "policy|ends|target", "rounds|sent|pages sent again|downtime, ms|total, ms|faults|stall, ms",
        f"{first['writer']}: {first['pages']:,} pages, {first['format']} to {first['target_format']}",
    )  # fmt: skip
    for row in rows:
        table.add_row(
            row["policy"],
            "cancelled" if row["cancelled"] else "within the target" if row["converged"] else "above the target",
            "equal" if row["proven"] else "not there",
            f"{row['live_sends']:,}",
            format_size(row["bytes_sent"]),
            f"{row['bytes_resent'] // PAGE_SIZE:,}",
            milliseconds(row["downtime_ns"]),
            milliseconds(row["total_ns"]),
            f"{row['faults']:,}",
            milliseconds(row["stall_ns"]),
        )
    show.out(table)
