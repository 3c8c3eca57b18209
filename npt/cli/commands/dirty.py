"""``npt dirty``."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import click
from rich.text import Text

from npt.cli import show
from npt.cli.options import FORMATS, Number, Words, format_option, reading, results_options
from npt.cli.output import Output
from npt.dirty.mechanisms import COSTS, Costs, Events
from npt.studies import tracking
from npt.studies.history import HISTORIES
from npt.studies.results import Results
from npt.studies.writers import WRITERS, writer

__all__ = ["command"]

_MECHANISMS = tuple(tracking.MECHANISMS)


def _as_costs(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> dict[str, float]:
    """Costs like faults=2000."""
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


@click.command("dirty")
@click.argument("writers", metavar="WRITER...", type=Words((*HISTORIES, *WRITERS), file=True), nargs=-1, required=True)
@click.option(
    "--mechanism", "mechanisms", type=click.Choice(_MECHANISMS), multiple=True, help="Of noticing; repeatable.  [all]"
)
@format_option
@click.option("--vcpus", type=click.IntRange(min=1), default=1, show_default=True, help="That share the accesses.")
@click.option("--ring", type=click.IntRange(min=1), default=4096, show_default=True, help="Entries of each vCPU's ring.")
@click.option("--granule", default="whole", callback=_as_granule, help="Pages cleared at once, a multiple of 64.  [whole]")
@click.option(
    "--clear-at",
    type=Number(0, 2),
    default=0.0,
    show_default=True,
    help="0: when reported; 1: just before the copy; above: after it, when writes are missed.",
)
@click.option("--windows", type=click.IntRange(min=1), help="Of each writer, one a round.  [all]")
@click.option("--cost", "costs", multiple=True, callback=_as_costs, help="A cost table of yours, like faults=2000; repeatable.")
@results_options
def command(
    writers: tuple[str, ...], mechanisms: tuple[str, ...], format_name: str, vcpus: int, ring: int, granule: int | None,
    clear_at: float, windows: int | None, costs: dict[str, float], out: Output,
) -> None:  # fmt: skip
    """Run writers under every mechanism that notices writes; tell what each would cost the guest.

    A WRITER is a recorded program (xz, sqlite, sort, or an .npz file), or a pattern (uniform, sequential, strided, zipf,
    hotcold), alone or with parameters: zipf:exponent=1.2,size=256MiB,windows=100,accesses=10000,write_share=0.5,seed=3.

    \b
    Examples:
      npt dirty sqlite --windows 50
      npt dirty zipf:size=64MiB,windows=10 --mechanism pml --mechanism ring --ring 512 --csv dirty.csv
    """
    with reading():
        made = [writer(text) for text in writers]
    tables = {**COSTS, "yours": Costs(**costs, source="the command line")} if costs else COSTS
    parts: list[Results] = []
    with out.progress() as watch:
        for one in made:
            parts.append(
                tracking.compare_mechanisms(
                    one,
                    mechanisms=tuple(dict.fromkeys(mechanisms)) or _MECHANISMS,
                    format=FORMATS[format_name],
                    ring=ring,
                    vcpus=vcpus,
                    granule=granule,
                    clear_at=clear_at,
                    windows=windows,
                    costs=tables,
                    progress=partial(watch, one.name),
                )
            )
    if out.shows:
        for part in parts:
            _show(part)
        for name, table in parts[0].meta["costs"].items():  # they are worth no more than where they are from
            show.note(f"costs {name}: {table['source']}")
    out.save(Results([row for part in parts for row in part.rows], parts[0].meta))


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


def _show(results: Results) -> None:
    """What each mechanism did and would cost, for one writer."""
    first = results.rows[0]
    show.out(Text(_title(first), style="italic"))
    table = show.table("", "|".join(row["mechanism"] for row in results.rows))
    for name, key in _EVENTS.items():
        table.add_row(name, *(f"{row[key]:,}" for row in results.rows))
    table.add_section()
    for key in first:
        if key.startswith(_STALL):
            stalls = (row[key] for row in results.rows)
            cells = ("not told" if stall is None else f"{stall / 1e6:,.3f}" for stall in stalls)
            table.add_row(f"stall, ms ({key.removeprefix(_STALL)})", *cells)
    show.out(table)
    show.note(
        f"{first['reported']:,} pages reported in {first['rounds']:,} rounds; of {first['copied']:,} copied meanwhile "
        f"{first['false_dirty']:,} false dirty, {first['missed']:,} missed\n"
    )


def _title(row: Mapping[str, Any]) -> str:
    known = {"accesses": "accesses", "write share": "write_share", "seed": "seed"}
    about = [f"{name} {row[key]:,}" for name, key in known.items() if row[key] is not None]
    whole = row["granule"] >= row["pages"]
    vcpus = f"{row['vcpus']} vCPU{'s' * (row['vcpus'] > 1)}"
    cleared = f"cleared {'whole' if whole else 'by ' + str(row['granule']) + ' pages'} at {row['clear_at']:g}"
    words = [f"{row['writer']}: {row['pages']:,} pages", *about, row["options"], row["format"], vcpus, cleared]
    return ", ".join(word for word in words if word)
