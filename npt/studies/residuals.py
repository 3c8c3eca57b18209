"""The closed model beside the engine: how far it is off, round by round.

The model says that in t seconds ``min(ram, rate * t)`` bytes get dirty. That holds for a guest whose writes go to another page
each time (``sequential``, ``strided``) until it has written to all of its memory: then the dirty pages of a round depend on
its length only. It does not hold where pages are written again within a round: a page counts once however often it is written,
so of the pages written in each window fewer and fewer are new, the longer the round is. With ``uniform`` writes to n pages, k
writes dirty ``n * (1 - exp(-k / n))`` of them, and ``zipf`` has its hot pages in every window. There the engine sends less than
the model says, and by that has shorter rounds, too.

Writes that go to any page alike, independently, do have a model: those that would dirty x times all of memory, if no two were
to one page, dirty ``ram * (1 - exp(-x))``. It stands beside the closed one, each round given the time that the engine's round
before took; ``uniform`` writes keep to it, as long as a window is small beside memory.

For 100000 pages, a dirty rate of two fifths of the bandwidth and four live sends the engine's later sends are off by less than
1 % for ``sequential`` and ``strided``; smaller by 15 % to 20 % for ``uniform`` with 5000 accesses a window, and by a third to a
half for ``zipf`` with 10000: what a window dirties by itself, which is what the rate counts, is mostly dirty already.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict
from itertools import chain, repeat, zip_longest
from typing import Any, SupportsFloat, SupportsIndex

from npt.formats.base import PteFormat
from npt.formats.ept import EPT
from npt.studies.guests import guest
from npt.studies.measuring import check_memory, giving_back
from npt.studies.migrate import migrate
from npt.studies.migrations import policies_memory
from npt.studies.policies import Policy
from npt.studies.precopy import Round, as_course, precopy
from npt.studies.results import Results, provenance
from npt.studies.timed import Timed
from npt.studies.window import Writer
from npt.units import PAGE_SHIFT, PAGE_SIZE, as_number, as_rate

__all__ = ["residuals"]


@giving_back()
def residuals(
    writer: Writer,
    *,
    bandwidth: SupportsFloat | Sequence[SupportsFloat],
    dirty_rate: SupportsFloat,
    policy: str | Policy,
    format: PteFormat = EPT,
    downtime: SupportsFloat = 0.3,
    max_rounds: SupportsIndex = 1000,
    latency: SupportsFloat = 0,
    compression: SupportsFloat = 1,
) -> Results:
    """Migrate a guest in the closed model and in the engine, with the same parameters.

    Parameters
    ----------
    writer
        Its pages are the guest's memory; two guests of real bytes are made.
    bandwidth, dirty_rate
        Bytes a second. The writer is replayed so that each window by itself dirties at that rate.
    policy, downtime, max_rounds, latency, compression
        As for ``precopy``.
    format
        ``EPT`` or ``NPT``.

    Returns
    -------
    Results
        A row for each round of either: the writer's columns, ``format``, ``dirty_rate``, ``policy``, ``bandwidth`` (text, if
        there are several), ``downtime``, ``max_rounds``, ``latency``, ``compression``, ``round``, ``kind``; ``model_bytes`` and
        ``engine_bytes`` (of memory that were sent), ``model_ns`` and ``engine_ns``; ``residual``, the engine's bytes over the
        model's less one; ``independent_bytes`` and ``independent_residual``, the same for independent writes. None where one
        has no such round, or sends nothing; the first copy is no model's.

    Raises
    ------
    TypeError, InvalidArgument, ReservoirExhausted
        An argument cannot be, or the guests do not fit this machine.
    """
    rate = as_rate(dirty_rate, "dirty_rate", positive=True)
    if not isinstance(format, PteFormat):
        raise TypeError(f"format must be EPT or NPT, not {type(format).__name__}")
    timed = Timed(writer, pages_per_second=float(rate / PAGE_SIZE))
    course = as_course(policy, bandwidth, downtime, max_rounds, latency, compression)
    options: dict[str, Any] = {"downtime": downtime, "max_rounds": max_rounds, "latency": latency, "compression": compression}
    known = {
        **writer.row(), "format": format.name, "dirty_rate": float(rate), "policy": str(course.policy),
        "bandwidth": course.link.said, **{name: as_number(value, name) for name, value in options.items()},
    }  # fmt: skip
    length = writer.n_pages << PAGE_SHIFT
    model = precopy(length, bandwidth, dirty_rate, policy=policy, **options)
    check_memory(policies_memory(n_pages=writer.n_pages))
    with guest(length, format) as source, guest(length, format) as target:
        engine = migrate(source.space, target.space, timed, policy=policy, bandwidth=bandwidth, **options)
    before: list[Round | None] = [None, *engine.rounds]
    rows = [
        {**known, **_row(*both), **_independent(both[1], last, length, float(rate))}
        for both, last in zip(zip_longest(model.rounds, engine.rounds), chain(before, repeat(None)), strict=False)
    ]
    return Results(rows, provenance(by=[*known, "round", "kind"]), _UNITS)


_UNITS = {
    "dirty_rate": "B/s", "bandwidth": "B/s", "downtime": "s", "latency": "s",
    "model_bytes": "B", "engine_bytes": "B", "independent_bytes": "B", "model_ns": "ns", "engine_ns": "ns",
}  # fmt: skip


def _row(model: Round | None, engine: Round | None) -> dict[str, Any]:
    ours, theirs = ({} if one is None else asdict(one) for one in (engine, model))
    sent, said = ours.get("n_bytes"), theirs.get("n_bytes")
    return {
        "round": (ours or theirs)["number"],
        "kind": (ours or theirs)["kind"],
        "model_bytes": said,
        "engine_bytes": sent,
        "model_ns": theirs.get("ns"),
        "engine_ns": ours.get("ns"),
        "residual": sent / said - 1 if sent is not None and said else None,
    }


def _independent(engine: Round | None, before: Round | None, ram: int, rate: float) -> dict[str, Any]:
    """What independent writes would have dirtied in the engine's round before, slowed down as the guest was."""
    if engine is None or before is None:
        return {"independent_bytes": None, "independent_residual": None}
    times = rate * (1 - before.throttle / 100) * before.ns / 1e9 / ram
    expected = -ram * math.expm1(-times)
    return {
        "independent_bytes": expected,
        "independent_residual": engine.n_bytes / expected - 1 if expected else None,
    }  # fmt: skip
