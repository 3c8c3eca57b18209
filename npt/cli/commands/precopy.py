"""``npt precopy``."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import click

from npt.cli import show
from npt.cli.migrations import link_options, milliseconds, policy_option
from npt.cli.options import Rate, Size, results_options
from npt.cli.output import Output
from npt.studies.policies import Policy
from npt.studies.precopy import PrecopyResult, precopy
from npt.studies.results import Results, provenance
from npt.units import format_size

__all__ = ["command"]


@click.command("precopy")
@click.option("--ram", type=Size(), default="4GiB", show_default=True, help="The guest's memory.")
@click.option(
    "--dirty-rate", type=Rate(zero=True), default="400MiB", show_default=True, help="Bytes that it dirties in a second."
)
@click.option("--zero", type=Size(zero=True), default="0", show_default=True, help="Pages that the first copy leaves out.")
@policy_option
@link_options
@click.option("--rounds", is_flag=True, help="Show, and save, each send instead of each policy.")
@results_options
def command(
    ram: int, dirty_rate: int, zero: int, policies: Sequence[Policy], rounds: bool, out: Output, **link: Any
) -> None:  # fmt: skip
    """Migrate a guest in the closed model: memory of a size, a bandwidth, a rate of dirtying.

    The model has no pages: a send that takes t seconds leaves min(ram, dirty rate * t) bytes dirty. The clock is simulated, in
    whole nanoseconds. npt migrate does the same with real bytes.

    \b
    Examples:
      npt precopy --ram 4GiB --bandwidth 1000MiB --dirty-rate 400MiB
      npt precopy --policy freebsd --policy xen:sends=3 --rounds
      npt precopy --policy qemu:auto_converge=yes --dirty-rate 2GiB --rounds --json auto.json
    """
    known = {"ram": ram, "dirty_rate": dirty_rate, "zero": zero, **link}
    moved = [precopy(ram, policy=policy, dirty_rate=dirty_rate, zero=zero, **link) for policy in policies]
    if out.shows:
        _show_rounds(moved) if rounds else _show(moved)
    plain = {name: ",".join(map(str, value)) if isinstance(value, list) else value for name, value in known.items()}
    each = [
        {**plain, **row}
        for one in moved
        for row in ([{"policy": one.policy, **asdict(send)} for send in one.rounds] if rounds else [one.row()])
    ]
    by = [*plain, "policy", *(["number"] if rounds else [])]
    out.save(Results(each, provenance(by=by), {name: _UNITS[name] for name in each[0] if name in _UNITS}))


_UNITS = {
    **dict.fromkeys(("ram", "zero", "bytes_sent", "bytes_resent", "n_bytes", "wire", "dirtied"), "B"),
    **dict.fromkeys(("bandwidth", "dirty_rate"), "B/s"),
    **dict.fromkeys(("downtime", "latency"), "s"),
    **dict.fromkeys(("downtime_ns", "total_ns", "stall_ns", "ns"), "ns"),
    "throttle": "%",
}


def _show(moved: Sequence[PrecopyResult]) -> None:
    """A line for each policy."""
    table = show.table("policy|ends", "live sends|sent|sent again|downtime, ms|total, s|faults|stall, ms", "the closed model")
    for one in moved:
        table.add_row(
            one.policy,
            "cancelled" if one.cancelled else "within the target" if one.converged else "above the target",
            f"{one.live_sends:,}",
            format_size(one.bytes_sent),
            format_size(one.bytes_resent),
            milliseconds(one.downtime_ns),
            f"{one.total_time:,.3f}",
            f"{one.faults:,}",
            milliseconds(one.stall_ns),
        )
    show.out(table)


def _show_rounds(moved: Sequence[PrecopyResult]) -> None:
    """A line for each send."""
    for one in moved:
        table = show.table("send|kind", "memory|on the wire|took, ms|dirty behind it|slowed by", one.policy)
        for send in one.rounds:
            table.add_row(
                f"{send.number}",
                send.kind,
                format_size(send.n_bytes),
                format_size(send.wire),
                milliseconds(send.ns),
                format_size(send.dirtied),
                f"{send.throttle} %",
            )
        show.out(table)
