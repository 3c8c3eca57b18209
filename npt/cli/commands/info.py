"""``npt info``."""

from collections.abc import Sequence
from typing import Any

import click

from npt.cli import show
from npt.cli.options import Size, results_options
from npt.cli.output import Output
from npt.studies.forecast import machine, memory_needs
from npt.studies.history import HISTORIES
from npt.studies.policies import POLICIES
from npt.studies.results import Results, provenance
from npt.studies.writers import WRITERS
from npt.units import format_size

__all__ = ["command"]


@click.command("info")
@click.argument("sizes", metavar="[SIZE]...", type=Size(), nargs=-1)
@results_options
def command(sizes: Sequence[int], out: Output) -> None:
    """Tell what this machine has, what npt knows by name, and what guests of some sizes would take.

    \b
    Examples:
      npt info
      npt info 64MiB 4GiB
      npt info 1TiB --json needs.json
    """
    has = machine()
    needs = {size: memory_needs(size) for size in sizes}
    if out.shows:
        show.facts({name.replace("_", " "): _told(name, value) for name, value in has.items()}, "this machine")
        show.facts(
            {"histories": ", ".join(HISTORIES), "patterns": ", ".join(WRITERS), "policies": ", ".join(POLICIES)},
            "known by name",
        )
        if needs:
            _show(needs, has["memory_available"])
    rows = [{**has, "size": size, **one} for size, one in needs.items()] or [has]
    out.save(Results(rows, provenance(by=["size"] if needs else ["cpu"]), dict.fromkeys(next(iter(needs.values()), {}), "B")))


def _told(name: str, value: Any) -> str:
    if value is None:
        return "not known"
    return format_size(value) if name in ("memory_available", "largest_guest") else str(value)


def _show(needs: dict[int, dict[str, int]], available: int | None) -> None:
    """A column for each size."""
    table = show.table("memory for", "|".join(map(format_size, needs)), "at most")
    for name in next(iter(needs.values())):
        table.add_row(name, *(_needed(one[name], available) for one in needs.values()))
    show.out(table)


def _needed(n_bytes: int, available: int | None) -> str:
    return format_size(n_bytes) + (" (too large now)" if available is not None and n_bytes > available else "")
