"""The closed model beside the engine: how far it is off, round by round.

The model says that in t seconds ``min(ram, rate * t)`` bytes get dirty. That holds for a guest whose writes go to another page
each time (``sequential``, ``strided``) until it has written to all of its memory: then the dirty pages of a round depend on
its length only. It does not hold where pages are written again within a round: a page counts once however often it is written,
so of the pages written in each window fewer and fewer are new, the longer the round is. With ``uniform`` writes to n pages, k
writes dirty ``n * (1 - exp(-k / n))`` of them, and ``zipf`` has its hot pages in every window. There the engine sends less than
the model says, most so in the long first rounds.
"""

from dataclasses import asdict
from itertools import zip_longest
from typing import Any, SupportsFloat

from npt.errors import InvalidArgument
from npt.formats.base import PteFormat
from npt.formats.ept import EPT
from npt.studies.guests import guest
from npt.studies.migrate import migrate
from npt.studies.policies import Policy
from npt.studies.precopy import Round, as_rate, precopy
from npt.studies.results import Results, provenance
from npt.studies.timed import Timed
from npt.studies.window import Writer
from npt.units import PAGE_SHIFT, PAGE_SIZE

__all__ = ["residuals"]


def residuals(
    writer: Writer, *, bandwidth: SupportsFloat, dirty_rate: SupportsFloat, policy: str | Policy, format: PteFormat = EPT,
    **options: Any,
) -> Results:  # fmt: skip
    """Migrate a guest in the closed model and in the engine, with the same parameters.

    Parameters
    ----------
    writer
        Its pages are the guest's memory; two guests of real bytes are made.
    bandwidth, dirty_rate
        Bytes a second. The writer is replayed so that each window by itself dirties at that rate.
    policy
        As for ``precopy``.
    format
        ``EPT`` or ``NPT``.
    **options
        ``downtime``, ``max_rounds``, ``latency``, ``compression``, as for ``precopy``.

    Returns
    -------
    Results
        A row for each round of either: the writer's columns, ``policy``, ``bandwidth``, ``dirty_rate``, ``round``, ``kind``;
        ``model_bytes`` and ``engine_bytes`` (of memory that were sent), ``model_ns`` and ``engine_ns``; ``residual``, the
        engine's bytes over the model's less one. None where one has no such round, or sends nothing.

    Raises
    ------
    TypeError, InvalidArgument, ReservoirExhausted
        An argument cannot be, or the guests do not fit this machine.
    """
    rate = as_rate(dirty_rate, "dirty_rate", positive=True)
    if not isinstance(format, PteFormat):
        raise TypeError(f"format must be EPT or NPT, not {type(format).__name__}")
    timed = Timed(writer, pages_per_second=float(rate / PAGE_SIZE))
    length = writer.n_pages << PAGE_SHIFT
    if unknown := set(options) - {"downtime", "max_rounds", "latency", "compression"}:
        raise InvalidArgument(f"{', '.join(sorted(unknown))}: no option of the model and the engine")
    model = precopy(length, bandwidth, dirty_rate, policy=policy, **options)
    with guest(length, format) as source, guest(length, format) as target:
        engine = migrate(source.space, target.space, timed, policy=policy, bandwidth=bandwidth, **options)
    known = {**writer.row(), "policy": model.policy, "bandwidth": float(bandwidth), "dirty_rate": float(rate)}
    rows = [{**known, **_row(*both)} for both in zip_longest(model.rounds, engine.rounds)]
    return Results(rows, provenance(by=[*known, "round", "kind"]))


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
