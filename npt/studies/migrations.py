"""One writer under every policy: the same guest is migrated again and again, and each time all of it has to arrive."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, SupportsFloat, SupportsIndex

import numpy as np

from npt._types import U64Array
from npt.errors import InvalidArgument
from npt.formats.base import PteFormat
from npt.formats.ept import EPT
from npt.studies.guests import guest
from npt.studies.measuring import check_memory, giving_back
from npt.studies.migrate import migrate
from npt.studies.policies import POLICIES, Policy
from npt.studies.precopy import UNITS as PRECOPY_UNITS
from npt.studies.precopy import as_course
from npt.studies.randomness import PAGES, shuffled, words
from npt.studies.results import Results, provenance
from npt.studies.timed import Timed
from npt.studies.window import Writer
from npt.units import PAGE_SHIFT, PAGE_SIZE, as_count, as_int, as_number, as_rate

__all__ = ["UNITS", "compare_policies", "policies_memory"]

_SPARE = 64 << 20
_PAGE_BYTES, _ACCESS_BYTES = 160, 64  # tables, bitmaps, addresses; a window and what is made of it

Progress = Callable[[str, int, int], object]


@giving_back()
def compare_policies(
    writer: Writer,
    policies: Iterable[str | Policy] = tuple(POLICIES),
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
    """Migrate a guest under several policies, with the same memory each time, and prove each time that all of it arrived.

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
        A row for each policy: the writer's columns, ``format`` and ``target_format``; ``bandwidth`` (text, if there are
        several) and the other parameters; what ``PrecopyResult.row`` has; ``proven``: every page of the target was compared
        with the source's, and was equal; None for a migration that was cancelled.

    Raises
    ------
    TypeError, InvalidArgument, ReservoirExhausted
        An argument cannot be, or two such guests do not fit this machine.
    LinkDown
        The bandwidth was nothing for a send.
    InvariantError
        A page did not arrive.
    """
    if isinstance(policies, (str, Policy)) or not isinstance(policies, Iterable):
        raise TypeError(f"policies must be several, not {type(policies).__name__}")
    link: dict[str, Any] = {
        "bandwidth": bandwidth, "downtime": downtime, "max_rounds": max_rounds, "latency": latency, "compression": compression
    }  # fmt: skip
    courses = [as_course(one, **link) for one in policies]
    if not courses:
        raise InvalidArgument(f"give at least one policy; there are {', '.join(POLICIES)}")
    formats = format, format if target_format is None else target_format
    if not all(isinstance(one, PteFormat) for one in formats):
        raise TypeError("format and target_format must be EPT or NPT")
    share = as_number(zero, "zero")
    if not 0 <= share <= 1:
        raise InvalidArgument(f"zero {zero} is not a share of pages, from 0 to 1")
    start = as_count(seed, "seed", end=1 << 64)
    timed = partial(_timed, writer, seconds_per_window, dirty_rate)
    rates = timed().row()
    shared = {
        **writer.row(), "format": formats[0].name, "target_format": formats[1].name, "bandwidth": courses[0].link.said,
        **{name: as_number(link[name], name) for name in ("downtime", "latency", "compression")},
        "max_rounds": as_int(max_rounds, "max_rounds"), "zero": share,
        **{name: rates[name] for name in ("seconds_per_window", "pages_per_second")},
    }  # fmt: skip
    check_memory(policies_memory(n_pages=writer.n_pages, accesses=_accesses(writer)))
    length = writer.n_pages << PAGE_SHIFT
    rows: list[dict[str, Any]] = []
    with guest(length, formats[0]) as source, guest(length, formats[1]) as target:
        for course in courses:
            _fill(source.words, target.words, share, start)
            said: dict[str, Any] = {
                "policy": course.policy,
                "skip_zero": share > 0,
                "progress": _watch(course.policy, progress),
            }
            moved = migrate(source.space, target.space, timed(), **said, **link)
            rows.append({**shared, **moved.row(), "proven": None if moved.cancelled else True})
    return Results(rows, provenance(seed=start, by=[*shared, "policy"]), UNITS)


UNITS = {
    **PRECOPY_UNITS, "bandwidth": "B/s", "downtime": "s", "latency": "s", "seconds_per_window": "s", "pages_per_second": "1/s",
}  # fmt: skip


def policies_memory(*, n_pages: SupportsIndex, accesses: SupportsIndex = 0) -> int:
    """How much memory ``compare_policies`` takes for a writer of so many pages, and accesses a window: no less than that.

    In bytes. The interpreter, its libraries and compiled kernels are not counted, nor a history, which is there before.
    """
    pages, most = as_count(n_pages, "n_pages", least=1), as_count(accesses, "accesses")
    return _SPARE + pages * (2 * PAGE_SIZE + _PAGE_BYTES) + most * _ACCESS_BYTES


def _accesses(writer: Writer) -> int:
    """Of a window, as far as the writer says so; with those of the writers that it is made of, which have windows, too."""
    said = writer.row().get("accesses")
    return (said if isinstance(said, int) else 0) + sum(map(_accesses, getattr(writer, "writers", ())))


def _timed(writer: Writer, seconds_per_window: Any, dirty_rate: Any) -> Timed:
    if dirty_rate is None:
        return Timed(writer, seconds_per_window=0.001 if seconds_per_window is None else seconds_per_window)
    if seconds_per_window is not None:
        raise InvalidArgument("a guest goes by seconds_per_window or by dirty_rate, not by both")
    return Timed(writer, pages_per_second=float(as_rate(dirty_rate, "dirty_rate", positive=True) / PAGE_SIZE))


def _watch(policy: Policy, progress: Progress | None) -> Callable[[int, int, int], object] | None:
    return None if progress is None else lambda send, done, total: progress(f"{policy}, send {send}", done, total)


def _fill(memory: U64Array, other: U64Array, zero: float, seed: int) -> None:
    """Every page of the memory has words of its own, but for a share of them; the other is all zero."""
    n_pages = memory.shape[0]
    memory.fill(0)
    other.fill(0)
    memory[:, 0] = words(seed, PAGES, 0, n_pages) | 1
    memory[:, -1] = memory[:, 0] >> 1
    n_zero = round(zero * n_pages)
    memory[shuffled(np.arange(n_zero, dtype=np.uint64), n_pages, seed).astype(np.int64)] = 0
