"""One history under every tracking mechanism: what each costs, and what is reported for nothing.

A round is a window of the writer: the pages reported at its start are copied while it runs, at an even pace, and what was
reported is cleared before that, bit by bit or at once. What is written between its clear and its copy is in the copy, and is
reported again nevertheless: *false dirty*. What is written between its copy and a later clear is *missed*: no VMM clears that
late, and here one can see why.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from types import MappingProxyType
from typing import Any, NamedTuple, SupportsFloat, SupportsIndex

import numpy as np

from npt._host import available_bytes
from npt._types import ExitReason, Prot, U64Array
from npt.dirty.bitmap import to_pages
from npt.dirty.mechanisms import (
    COSTS,
    Costs,
    DirtyBits,
    DirtyRing,
    Events,
    Mechanism,
    PageModificationLog,
    Tracking,
    WriteProtect,
)
from npt.errors import InvalidArgument, InvariantError, ReservoirExhausted
from npt.formats.base import PteFormat
from npt.formats.ept import EPT
from npt.memory.reservoir import Reservoir
from npt.space.vcpu import Vcpu
from npt.space.vmspace import VmSpace
from npt.studies.results import Results, provenance
from npt.studies.window import Window, Writer, checked
from npt.units import PAGE_SHIFT, PAGE_SIZE, as_count, as_int, as_number, format_size

__all__ = ["GRANULE_PAGES", "MECHANISMS", "compare_mechanisms"]

MECHANISMS: Mapping[str, Callable[[int], Mechanism]] = MappingProxyType(
    {
        "dirty-bits": lambda ring: DirtyBits(),
        "write-protect": lambda ring: WriteProtect(),
        "pml": lambda ring: PageModificationLog(),
        "ring": lambda ring: DirtyRing(ring),
    }
)
GRANULE_PAGES = 64  # what is cleared at once is a multiple of these, as KVM's words are
RING = 4096
_AT_COPY, _LATEST = 1.0, 2.0
_VCPUS_END = 1025
_PAGE_BYTES, _ACCESS_BYTES = 26, 44  # what a run takes: tables, the truth, bitmaps; a window and what is made of it

Progress = Callable[[int, int], None]


class _Setting(NamedTuple):
    """What is asked for, checked."""

    mechanisms: tuple[str, ...]
    format: PteFormat
    ring: int
    vcpus: int
    granule: int
    clear_at: float
    rounds: int

    def row(self) -> dict[str, object]:
        """The same for a result table; the mechanisms have rows of their own."""
        return {
            "format": self.format.name,
            "vcpus": self.vcpus,
            "granule": self.granule,
            "clear_at": self.clear_at,
            "rounds": self.rounds,
        }


class _Guest:
    """The writer's pages side by side, resident and without bytes, under all mechanisms."""

    def __init__(self, n_pages: int, setting: _Setting) -> None:
        length = n_pages * PAGE_SIZE
        self.reservoir = Reservoir(length, backed=False)
        self.ram = self.reservoir.allocate(length)
        self.space = VmSpace(length, format=setting.format, reservoir=self.reservoir, track_dirty=True)
        self.space.map(self.ram, 0, length, Prot.RWX)
        self.space.populate(0, length)
        self.vcpus = [Vcpu(self.space.client(), cpu=number) for number in range(setting.vcpus)]
        mechanisms = [MECHANISMS[name](setting.ring) for name in setting.mechanisms]
        self.tracking = Tracking(self.space, 0, length, mechanisms, self.vcpus)

    def run(self, window: Window, start: int, stop: int) -> None:
        """Accesses of a window in order; each vCPU does those of its own part."""
        n, n_vcpus = window.pages.size, len(self.vcpus)
        for number in range(n_vcpus):
            first, end = max(start, n * number // n_vcpus), min(stop, n * (number + 1) // n_vcpus)
            if first < end:
                gpas = window.pages[first:end] << np.uint64(PAGE_SHIFT)
                exit = self.tracking.run(number, gpas, write=window.write[first:end])
                if exit.reason is not ExitReason.DONE:
                    raise InvariantError(f"an access to memory that is mapped ended with {exit!r}")

    def close(self) -> None:
        """Give everything back."""
        self.space.close()
        self.ram.release()
        self.reservoir.close()


class _Round:
    """Pages that were reported, when each is copied, and when it is cleared, in accesses since they were reported."""

    def __init__(self, pages: U64Array, n_accesses: int, granule: int, clear_at: float) -> None:
        self.pages = pages
        self.copied = np.arange(1, pages.size + 1, dtype=np.uint64) * np.uint64(n_accesses) // np.uint64(pages.size + 1)
        self._granule, self._clear_at, self._n_accesses = granule, clear_at, n_accesses

    def clears(self) -> Iterator[tuple[int, int]]:
        """When a granule is cleared, and its first page, in order."""
        if not self.pages.size:
            return
        granules = self.pages // np.uint64(self._granule)
        starts = np.concatenate(([0], np.flatnonzero(np.diff(granules)) + 1))
        ends = np.append(starts[1:], granules.size) - 1
        when = [self._moment(int(self.copied[a]), int(self.copied[b])) for a, b in zip(starts, ends, strict=True)]
        firsts = (int(granules[start]) * self._granule for start in starts)
        yield from sorted(zip(when, firsts, strict=True))

    def _moment(self, first: int, last: int) -> int:
        if self._clear_at <= _AT_COPY:
            return int(first * self._clear_at)
        return last + int((self._n_accesses - last) * (self._clear_at - _AT_COPY))


def compare_mechanisms(
    writer: Writer,
    *,
    mechanisms: Iterable[str] = tuple(MECHANISMS),
    format: PteFormat = EPT,
    ring: SupportsIndex = RING,
    vcpus: SupportsIndex = 1,
    granule: SupportsIndex | None = None,
    clear_at: SupportsFloat = 0.0,
    windows: SupportsIndex | None = None,
    costs: Mapping[str, Costs] = COSTS,
    progress: Progress | None = None,
) -> Results:
    """Run a writer on a guest that all mechanisms watch, one round a window.

    Parameters
    ----------
    writer
        A history or a pattern; its pages lie side by side in the guest.
    mechanisms
        Names in ``MECHANISMS``.
    format
        ``EPT`` or ``NPT``.
    ring
        Entries of each vCPU's ring.
    vcpus
        How many share the accesses: each window is cut into as many parts, which they do one after the other.
    granule
        Pages that are cleared at once, a multiple of 64; all if None.
    clear_at
        When a granule is cleared: 0 at once when its pages are reported, 1 just before the first of them is copied, between
        these as far on the way; beyond 1 after the last of them was copied, at 2 when the round is over.
    windows
        How many windows of the writer; all if None.
    costs
        Tables of nanoseconds an event, by name.
    progress
        Called with ``(windows done, windows in all)``.

    Returns
    -------
    Results
        A row for each mechanism: the writer's parameters, ``format``, ``vcpus``, ``granule``, ``clear_at``, ``mechanism``,
        ``rounds``, ``reported`` (page-rounds), ``copied``, ``false_dirty`` and ``missed`` (of the copied), the events, and
        ``stall_ns`` by table of costs: None where the table has no cost for anything that happened.

    Raises
    ------
    TypeError
        An argument of another type.
    InvalidArgument
        No mechanism or one that is unknown or named twice, a granule that is no multiple of 64, a moment outside 0 to 2, no
        vCPU or more than 1024; a window of the writer has pages that its guest has not.
    ReservoirExhausted
        There is not enough memory for it.
    InvariantError
        The mechanisms do not report the same pages.
    """
    setting, tables = _as_setting(writer, mechanisms, format, ring, vcpus, granule, clear_at, windows), _as_costs(costs)
    if progress is not None and not callable(progress):
        raise TypeError(f"progress must be a function, not {type(progress).__name__}")
    _check_memory(writer)
    guest = _Guest(writer.n_pages, setting)
    try:
        reported = _run(guest, checked(writer, setting.rounds), setting, progress)
        shared = {**writer.row(), **setting.row(), "reported": reported, **guest.tracking.total._asdict()}
        rows = [
            {**shared, "mechanism": one.name, **one.events._asdict(), **_stalls(one.events, tables)}
            for one in guest.tracking.mechanisms
        ]
    finally:
        guest.close()
    by = [*writer.row(), *setting.row(), "mechanism"]
    units = {name: "ns" for name in rows[0] if name.startswith("stall_ns")}
    return Results(rows, provenance(by=by, costs={name: asdict(table) for name, table in tables.items()}), units)


def _as_setting(
    writer: Any, mechanisms: Any, format: Any, ring: Any, vcpus: Any, granule: Any, clear_at: Any, windows: Any
) -> _Setting:
    """All arguments checked: types first."""
    if not isinstance(writer, Writer):
        raise TypeError(f"writer must be a writer, as npt.studies.writer makes, not {type(writer).__name__}")
    if isinstance(mechanisms, str) or not isinstance(mechanisms, Iterable):
        raise TypeError(f"mechanisms must be several names, not {type(mechanisms).__name__}")
    if not isinstance(format, PteFormat):
        raise TypeError(f"format must be EPT or NPT, not {type(format).__name__}")
    for value, name in ((ring, "ring"), (vcpus, "vcpus"), (granule, "granule"), (windows, "windows")):
        if value is not None or name in ("ring", "vcpus"):
            as_int(value, name)
    moment, names = as_number(clear_at, "clear_at"), tuple(mechanisms)
    if not names or not set(names) <= set(MECHANISMS) or len(set(names)) < len(names):
        raise InvalidArgument(
            f"mechanisms {', '.join(map(str, names)) or '()'} must be some of {', '.join(MECHANISMS)}, each once"
        )
    if not 0 <= moment <= _LATEST:
        raise InvalidArgument(f"clear_at {clear_at} is not from 0 (when reported) to {_LATEST:g} (when the round is over)")
    rounds = writer.n_windows
    if windows is not None:
        rounds = min(rounds, as_count(windows, "windows", least=1))
    return _Setting(
        names, format, as_count(ring, "ring", least=1), as_count(vcpus, "vcpus", least=1, end=_VCPUS_END),
        _as_granule(granule, writer.n_pages), moment, rounds,
    )  # fmt: skip


def _as_granule(granule: SupportsIndex | None, n_pages: int) -> int:
    whole = -(-n_pages // GRANULE_PAGES) * GRANULE_PAGES
    if granule is None:
        return whole
    pages = as_count(granule, "granule", least=1)
    if pages % GRANULE_PAGES:
        raise InvalidArgument(f"granule {pages} is not a multiple of {GRANULE_PAGES} pages")
    return min(pages, whole)


def _as_costs(costs: Any) -> dict[str, Costs]:
    if not isinstance(costs, Mapping) or not all(isinstance(table, Costs) for table in costs.values()):
        raise TypeError("costs must be a mapping from names to Costs")
    return dict(costs)


def _check_memory(writer: Writer) -> None:
    """Refuse at the start what would end in the middle for want of memory."""
    accesses = writer.row().get("accesses")
    needed = writer.n_pages * _PAGE_BYTES + (accesses if isinstance(accesses, int) else 0) * _ACCESS_BYTES
    available = available_bytes()
    if available is not None and needed > available:
        raise ReservoirExhausted(
            f"{writer.name} takes about {format_size(needed)} of memory; {format_size(available)} are available"
        )


def _run(guest: _Guest, windows: Iterator[Window], setting: _Setting, progress: Progress | None) -> int:
    """All rounds; return how many pages were reported in all."""
    tracking, total = guest.tracking, 0
    at_once = setting.clear_at == 0 and setting.granule >= tracking.n_pages
    report = tracking.harvest if at_once else tracking.collect
    pages = to_pages(report(), n_pages=tracking.n_pages)
    for number, window in enumerate(windows, 1):
        round = _Round(pages, window.pages.size, setting.granule, setting.clear_at)
        tracking.copy(round.pages, round.copied)
        done = 0
        for when, first in () if at_once else round.clears():
            guest.run(window, done, when)
            tracking.clear(first, min(setting.granule, tracking.n_pages - first))
            done = when
        guest.run(window, done, window.pages.size)
        pages = to_pages(report(), n_pages=tracking.n_pages)
        total += pages.size
        if progress is not None:
            progress(number, setting.rounds)
    return total


def _stalls(events: Events, costs: Mapping[str, Costs]) -> dict[str, float | None]:
    return {f"stall_ns, {name}": table.stall_ns(events) if table.tells(events) else None for name, table in costs.items()}
