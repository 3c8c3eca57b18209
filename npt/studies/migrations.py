"""One writer under every policy: the same guest is migrated again and again, and each time all of it has to arrive."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, SupportsFloat, SupportsIndex

import numpy as np

from npt._types import U64Array
from npt.errors import InvalidArgument
from npt.formats.base import PteFormat
from npt.formats.ept import EPT
from npt.studies.guests import guest
from npt.studies.measuring import check_memory
from npt.studies.migrate import migrate
from npt.studies.policies import POLICIES, Policy
from npt.studies.policies import policy as as_policy
from npt.studies.precopy import PrecopyResult
from npt.studies.randomness import PAGES, shuffled, words
from npt.studies.results import Results, provenance
from npt.studies.timed import Timed
from npt.studies.window import Writer
from npt.units import PAGE_SHIFT, PAGE_SIZE, as_count, as_number

__all__ = ["compare_policies", "policies_memory"]

_SPARE = 64 << 20
_PAGE_BYTES = 160  # tables, bitmaps, addresses, and what windows take

Progress = Callable[[str, int, int], object]


def compare_policies(
    writer: Writer,
    policies: Sequence[str | Policy] = tuple(POLICIES),
    *,
    format: PteFormat = EPT,
    target_format: PteFormat | None = None,
    bandwidth: SupportsFloat | Sequence[SupportsFloat] = 1 << 30,
    downtime: SupportsFloat = 0.3,
    max_rounds: SupportsIndex = 1000,
    latency: SupportsFloat = 0,
    compression: SupportsFloat = 1,
    zero: SupportsFloat = 0,
    seconds_per_window: SupportsFloat | None = None,
    dirty_rate: SupportsFloat | None = None,
    seed: SupportsIndex = 0,
    progress: Progress | None = None,
) -> Results:
    """Migrate a guest under several policies, from the same state each time, and prove each time that all of it arrived.

    Parameters
    ----------
    writer
        What the guest does; its pages are the guest's memory.
    policies
        As ``policy`` reads them.
    format, target_format
        ``EPT`` or ``NPT``, of the source and of the target; the target's is the source's unless said.
    bandwidth, downtime, max_rounds, latency, compression
        As for ``precopy``.
    zero
        Share of the pages that are all zero at first: the first copy leaves them out.
    seconds_per_window
        What a window takes; 0.001 unless said.
    dirty_rate
        Or bytes a second that each window dirties by itself.
    seed
        Of what is in memory at first, and which pages are zero.
    progress
        Called with ``(policy and send, pages sent, pages to send)``.

    Returns
    -------
    Results
        A row for each policy: the writer's columns, ``format`` and ``target_format``; ``bandwidth`` and the other parameters;
        what ``PrecopyResult.row`` has; ``proven``: every page of the target was compared with the source's, and was equal; None
        for a migration that was cancelled.

    Raises
    ------
    TypeError, InvalidArgument, ReservoirExhausted
        An argument cannot be, or two such guests do not fit this machine.
    LinkDown
        The bandwidth was nothing for a send.
    InvariantError
        A page did not arrive.
    """
    made = [as_policy(one) for one in policies]
    if not made:
        raise InvalidArgument(f"give at least one policy; there are {', '.join(POLICIES)}")
    formats = format, format if target_format is None else target_format
    if not all(isinstance(one, PteFormat) for one in formats):
        raise TypeError("format and target_format must be EPT or NPT")
    share = as_number(zero, "zero")
    if not 0 <= share <= 1:
        raise InvalidArgument(f"zero {zero} is not a share of pages, from 0 to 1")
    start = as_count(seed, "seed", end=1 << 64)
    timed = partial(_timed, writer, seconds_per_window, dirty_rate)
    timed()
    check_memory(policies_memory(n_pages=writer.n_pages))
    link: dict[str, Any] = {"bandwidth": bandwidth, "downtime": downtime, "latency": latency, "compression": compression}
    rows: list[dict[str, Any]] = []
    for one in made:
        known = {
            **writer.row(), "format": formats[0].name, "target_format": formats[1].name, "policy": str(one),
            **{name: _plain(value) for name, value in link.items()}, "max_rounds": int(max_rounds), "zero": share,
            **{name: timed().row()[name] for name in ("seconds_per_window", "pages_per_second")},
        }  # fmt: skip
        move = partial(
            migrate, policy=one, max_rounds=max_rounds, skip_zero=share > 0, progress=_watch(str(one), progress), **link
        )
        result = _move(move, timed(), formats, share, start)
        rows.append({**known, **result.row(), "proven": None if result.cancelled else True})
    return Results(rows, provenance(seed=start, by=_BY), _UNITS)


_BY = [
    "writer", "options", "format", "target_format", "policy", "bandwidth", "downtime", "latency", "compression", "max_rounds",
    "zero", "seconds_per_window", "pages_per_second",
]  # fmt: skip
_UNITS = {
    "bytes_sent": "B", "bytes_resent": "B", "downtime_ns": "ns", "total_ns": "ns", "stall_ns": "ns", "bandwidth": "B/s",
    "downtime": "s", "latency": "s", "seconds_per_window": "s", "pages_per_second": "1/s",
}  # fmt: skip


def policies_memory(*, n_pages: SupportsIndex) -> int:
    """How much memory ``compare_policies`` takes for a writer of so many pages, in bytes: no less than that."""
    return _SPARE + as_count(n_pages, "n_pages", least=1) * (2 * PAGE_SIZE + _PAGE_BYTES)


def _plain(value: Any) -> Any:
    """A list of bandwidths is text in a row."""
    return ",".join(f"{float(one):g}" for one in value) if isinstance(value, (list, tuple)) else float(value)


def _timed(writer: Writer, seconds_per_window: Any, dirty_rate: Any) -> Timed:
    if dirty_rate is None:
        return Timed(writer, seconds_per_window=0.001 if seconds_per_window is None else seconds_per_window)
    if seconds_per_window is not None:
        raise InvalidArgument("a guest goes by seconds_per_window or by dirty_rate, not by both")
    return Timed(writer, pages_per_second=as_number(dirty_rate, "dirty_rate") / PAGE_SIZE)


def _watch(policy: str, progress: Progress | None) -> Callable[[int, int, int], object] | None:
    return None if progress is None else lambda send, done, total: progress(f"{policy}, send {send}", done, total)


def _move(
    move: Callable[..., PrecopyResult], timed: Timed, formats: tuple[PteFormat, PteFormat], zero: float, seed: int
) -> PrecopyResult:  # fmt: skip
    """One migration between two new guests."""
    length = timed.n_pages << PAGE_SHIFT
    with guest(length, formats[0]) as source, guest(length, formats[1]) as target:
        _fill(source.words, zero, seed)
        return move(source.space, target.space, timed)


def _fill(memory: U64Array, zero: float, seed: int) -> None:
    """Every page has words of its own, but for a share of them."""
    n_pages = memory.shape[0]
    memory[:, 0] = words(seed, PAGES, 0, n_pages) | 1
    memory[:, -1] = memory[:, 0] >> 1
    n_zero = round(zero * n_pages)
    memory[shuffled(np.arange(n_zero, dtype=np.uint64), n_pages, seed).astype(np.int64)] = 0
