"""One history under every tracking mechanism: what each costs, and what is reported for nothing.

A round is a window of the writer: the pages reported at its start are copied while it runs, at an even pace, and what was
reported is cleared before that, bit by bit or at once. What is written between its clear and its copy is in the copy, and is
reported again nevertheless: *false dirty*. What is written between its copy and a later clear is *missed*: no VMM clears that
late, and here one can see why.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice, pairwise
from types import MappingProxyType
from typing import Any, SupportsIndex

import numpy as np

from npt._types import Prot, U64Array
from npt.dirty.bitmap import to_pages
from npt.dirty.mechanisms import COSTS, Costs, DirtyBits, DirtyRing, Mechanism, PageModificationLog, Tracking, WriteProtect
from npt.errors import InvalidArgument
from npt.formats.base import PteFormat
from npt.formats.ept import EPT
from npt.memory.reservoir import Reservoir
from npt.space.vcpu import Vcpu
from npt.space.vmspace import VmSpace
from npt.studies.results import Results, provenance
from npt.studies.window import Window, Writer
from npt.units import PAGE_SHIFT, PAGE_SIZE, as_count, as_int

__all__ = ["MECHANISMS", "compare_mechanisms"]

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

Progress = Callable[[int, int], None]


class _Guest:
    """The writer's pages side by side, resident and without bytes, under all mechanisms."""

    def __init__(self, n_pages: int, format: PteFormat, mechanisms: Sequence[Mechanism], vcpus: int) -> None:
        length = n_pages * PAGE_SIZE
        self.reservoir = Reservoir(length, backed=False)
        self.ram = self.reservoir.allocate(length)
        self.space = VmSpace(length, format=format, reservoir=self.reservoir, track_dirty=True)
        self.space.map(self.ram, 0, length, Prot.RWX)
        self.space.populate(0, length)
        self.vcpus = [Vcpu(self.space.client(), cpu=number) for number in range(vcpus)]
        self.tracking = Tracking(self.space, 0, length, mechanisms, self.vcpus)

    def run(self, gpas: U64Array, write: np.ndarray[Any, Any]) -> None:
        """Accesses in order, a part for each vCPU."""
        ends = [gpas.size * number // len(self.vcpus) for number in range(len(self.vcpus) + 1)]
        for number, (start, stop) in enumerate(pairwise(ends)):
            if start < stop:
                self.tracking.run(number, gpas[start:stop], write=write[start:stop])

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
    mechanisms: Sequence[str] = tuple(MECHANISMS),
    format: PteFormat = EPT,
    ring: SupportsIndex = RING,
    vcpus: SupportsIndex = 1,
    granule: SupportsIndex | None = None,
    clear_at: float = 0.0,
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
        ``stall_ns`` by table of costs.

    Raises
    ------
    InvalidArgument
        No mechanism or one that is unknown or named twice, a granule that is no multiple of 64, a moment outside 0 to 2.
    InvariantError
        The mechanisms do not report the same pages.
    """
    ring, n_vcpus = as_int(ring, "ring"), as_count(vcpus, "vcpus", least=1)
    n_windows = writer.n_windows if windows is None else min(as_count(windows, "windows", least=1), writer.n_windows)
    pages = _as_granule(granule, writer.n_pages)
    _check(mechanisms, clear_at)
    made = [MECHANISMS[name](ring) for name in mechanisms]
    guest = _Guest(writer.n_pages, format, made, n_vcpus)
    try:
        reported = _run(guest, islice(writer.windows(), n_windows), n_windows, pages, clear_at, progress)
        setting = {"format": format.name, "vcpus": n_vcpus, "granule": pages, "clear_at": clear_at}
        shared = {**writer.row(), **setting, "rounds": n_windows, "reported": reported, **guest.tracking.total._asdict()}
        rows = [
            {**shared, "mechanism": one.name, **one.events._asdict(), **_stalls(one, costs)}
            for one in guest.tracking.mechanisms
        ]
    finally:
        guest.close()
    return Results(rows, provenance(costs={name: table.source for name, table in costs.items()}))


def _as_granule(granule: SupportsIndex | None, n_pages: int) -> int:
    whole = -(-n_pages // GRANULE_PAGES) * GRANULE_PAGES
    if granule is None:
        return whole
    pages = as_count(granule, "granule", least=1)
    if pages % GRANULE_PAGES:
        raise InvalidArgument(f"granule {pages} is not a multiple of {GRANULE_PAGES} pages")
    return min(pages, whole)


def _check(mechanisms: Sequence[str], clear_at: float) -> None:
    unknown = [name for name in mechanisms if name not in MECHANISMS]
    if unknown or not mechanisms or len(set(mechanisms)) < len(mechanisms):
        raise InvalidArgument(f"mechanisms {list(mechanisms)} must be some of {', '.join(MECHANISMS)}, each once")
    if isinstance(clear_at, bool) or not isinstance(clear_at, (int, float)):
        raise TypeError(f"clear_at must be a number, not {type(clear_at).__name__}")
    if not 0 <= clear_at <= _LATEST:
        raise InvalidArgument(f"clear_at {clear_at} is not from 0 (when reported) to {_LATEST:g} (when the round is over)")


def _run(
    guest: _Guest, windows: Iterator[Window], n_windows: int, granule: int, clear_at: float, progress: Progress | None
) -> int:
    """All rounds; return how many pages were reported in all."""
    tracking, total = guest.tracking, 0
    at_once = clear_at == 0 and granule >= tracking.n_pages
    report = tracking.harvest if at_once else tracking.collect
    pages = to_pages(report(), n_pages=tracking.n_pages)
    for number, window in enumerate(windows, 1):
        gpas = window.pages << np.uint64(PAGE_SHIFT)
        round = _Round(pages, gpas.size, granule, clear_at)
        tracking.copy(round.pages, round.copied)
        done = 0
        for when, first in () if at_once else round.clears():
            guest.run(gpas[done:when], window.write[done:when])
            tracking.clear(first, min(granule, tracking.n_pages - first))
            done = when
        guest.run(gpas[done:], window.write[done:])
        pages = to_pages(report(), n_pages=tracking.n_pages)
        total += pages.size
        if progress is not None:
            progress(number, n_windows)
    return total


def _stalls(mechanism: Mechanism, costs: Mapping[str, Costs]) -> dict[str, float]:
    return {f"stall_ns, {name}": table.stall_ns(mechanism.events) for name, table in costs.items()}
