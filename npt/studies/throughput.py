"""How fast this machine maps, populates, harvests and unmaps guests; each figure beside the limit of its memory.

Speed is a ratio to a limit measured in the same run: the sum of as many bytes as the leaf entries take (read) for what only
looks, a fill with a non-zero value for what stores. A harvest that finds little is faster than that: what is clean is not
read. Milliseconds alone are no result on a shared machine.
"""

import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import NamedTuple, SupportsFloat, SupportsIndex

import numpy as np

from npt import kernels
from npt._host import available_bytes
from npt._types import Prot, U8Array, U64Array
from npt.errors import InvalidArgument, ReservoirExhausted
from npt.formats.base import PteFormat
from npt.memory.objects import RamObject
from npt.memory.reservoir import Reservoir
from npt.space.vmspace import VmSpace
from npt.studies.measuring import as_threads
from npt.studies.results import Results, provenance
from npt.units import PAGE_SIZE, as_count, as_length, as_number, format_size

__all__ = ["SHARES", "SIZES", "Throughput", "largest_guest", "throughput"]

SIZES = (64 << 20, 1 << 30, 4 << 30)
SHARES = (0.0, 0.01, 0.1, 1.0)
_REPEAT = 5
_SPARE = 256 << 20  # for the process itself
_TABLE_SHARE = 0.012  # of a guest: tables, the limits' array, bitmaps (8 bytes a page are 0.2 %)
_VALUE = 0x5A5A5A5A5A5A5A5A  # not zero: zeroing can be cheaper than storing

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Throughput:
    """One operation on one guest.

    Attributes
    ----------
    format : str
        ``"ept"`` or ``"npt"``.
    size : int
        Bytes of the guest.
    operation : str
        ``map``, ``populate``, ``harvest`` or ``unmap``.
    share : float or None
        Of the pages that were dirty, for a harvest.
    ns_per_page, ns_per_page_median : float
        Least and median over the repeats.
    pages_per_s : float
        From the least.
    limit : str
        ``read`` or ``fill``: what the memory was measured at, for as many bytes.
    of_limit : float
        The limit's least time over this one's: 1 is as fast as the memory.
    """

    format: str
    size: int
    operation: str
    share: float | None
    ns_per_page: float
    ns_per_page_median: float
    pages_per_s: float
    limit: str
    of_limit: float


def largest_guest() -> int | None:
    """Bytes of the largest guest that fits this machine's memory now; None where that is not known."""
    available = available_bytes()
    if available is None:
        return None
    return max(int((available - _SPARE) / (1 + _TABLE_SHARE)) // (1 << 20) * (1 << 20), 0)


def throughput(
    formats: Iterable[PteFormat],
    *,
    sizes: Iterable[SupportsIndex] = SIZES,
    shares: Iterable[SupportsFloat] = SHARES,
    repeat: SupportsIndex = _REPEAT,
    seed: SupportsIndex = 0,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Results:
    """Measure map, populate, harvest and unmap, with no vCPU on CPU.

    Parameters
    ----------
    formats
        ``EPT``, ``NPT`` or both.
    sizes
        Of the guests, in bytes, whole pages; their memory is really taken.
    shares
        Of the pages that are dirty before a harvest, 0 to 1, drawn at random.
    repeat
        Timed rounds; one untimed goes before.
    seed
        Of the random pages.
    threads
        Most threads that a call is split over, as for ``VmSpace``.
    progress
        Called with ``(what, steps done, steps in all)``.

    Returns
    -------
    Results
        A row for each format, size, operation and share, with the columns of ``Throughput``.

    Raises
    ------
    TypeError
        An argument of another type.
    InvalidArgument
        Nothing to measure, a share outside 0 to 1, a size that is not whole pages, a number that cannot be.
    ReservoirExhausted
        A guest is too large for this machine; nothing was allocated.
    """
    setting = _check(formats, sizes, shares, repeat, seed)
    steps = _Steps(progress, len(setting.formats) * len(setting.sizes) * (setting.repeat + 1))
    rows: list[Throughput] = []
    largest = max(setting.sizes)
    steps.start(f"taking {format_size(largest)} of memory")
    with Reservoir(largest) as reservoir, reservoir.allocate(largest) as ram:
        for format in setting.formats:
            for size in setting.sizes:
                rows += _Bench(ram, format, size, setting, threads).run(steps)
    meta = provenance(
        by=["format", "size", "operation", "share"],
        seed=setting.seed,
        repeat=setting.repeat,
        threads=as_threads(threads),
        vectors=kernels.jit.target()._asdict(),
    )
    return Results([asdict(row) for row in rows], meta, _UNITS)


_UNITS = {"size": "B", "ns_per_page": "ns", "ns_per_page_median": "ns", "pages_per_s": "1/s"}


class _Setting(NamedTuple):
    """What is asked for, checked."""

    formats: tuple[PteFormat, ...]
    sizes: tuple[int, ...]
    shares: tuple[float, ...]
    repeat: int
    seed: int


def _check(
    formats: Iterable[PteFormat], sizes: Iterable[SupportsIndex], shares: Iterable[SupportsFloat], repeat: SupportsIndex,
    seed: SupportsIndex,
) -> _Setting:  # fmt: skip
    setting = _Setting(
        tuple(formats), tuple(as_length(size, "size") for size in sizes), tuple(as_number(share, "share") for share in shares),
        as_count(repeat, "repeat", least=1), as_count(seed, "seed", end=1 << 64),
    )  # fmt: skip
    if not all(isinstance(format, PteFormat) for format in setting.formats):
        raise TypeError("formats must be EPT, NPT or both")
    if not setting.formats or not setting.sizes or not setting.shares:
        raise InvalidArgument("give at least one format, one size and one share")
    if not all(0 <= share <= 1 for share in setting.shares):
        raise InvalidArgument(f"shares {list(setting.shares)} must be between 0 and 1")
    most = largest_guest()
    if most is not None and max(setting.sizes) > most:
        raise ReservoirExhausted(
            f"a guest of {format_size(max(setting.sizes))} does not fit this machine's memory; the largest that fits now is "
            f"{format_size(most)}"
        )
    return setting


class _Steps:
    """Counts rounds for whoever watches."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0

    def start(self, what: str) -> None:
        if self._progress is not None:
            self._progress(what, self._done, self._total)

    def end(self, what: str) -> None:
        self._done += 1
        self.start(what)


class _Bench:
    """One guest of one format."""

    def __init__(
        self, ram: RamObject, format: PteFormat, size: int, setting: _Setting, threads: int | None
    ) -> None:  # fmt: skip
        self._ram, self._size, self._shares, self._repeat = ram, size, setting.shares, setting.repeat
        self._n_pages = size // PAGE_SIZE
        self._space = VmSpace(size, format=format, reservoir=ram.reservoir, track_dirty=True, threads=threads)
        self._entries: U64Array = np.full(self._n_pages, _VALUE, np.uint64)
        self._seconds: dict[tuple[str, float | None], list[float]] = {}
        random = np.random.default_rng(setting.seed)
        self._dirty = {share: _some_pages(random, self._n_pages, share) for share in setting.shares}

    def run(self, steps: _Steps) -> Iterator[Throughput]:
        """All rounds, then a row for each operation."""
        what = f"{self._space.format.name} {format_size(self._size)}"
        steps.start(what)
        with self._space as space:
            for number in range(self._repeat + 1):
                self._round()
                if number == 0:  # the first touches memory and loads kernels
                    self._seconds.clear()
                steps.end(what)
            format = space.format.name
        yield from self._rows(format)

    def _time(self, name: str, share: float | None, work: Callable[[], object]) -> None:
        start = time.perf_counter()
        work()
        self._seconds.setdefault((name, share), []).append(time.perf_counter() - start)

    def _round(self) -> None:
        space, size = self._space, self._size
        self._entries.fill(_VALUE)  # as warm as the tables will be
        self._time("read", None, self._entries.sum)
        self._time("fill", None, lambda: self._entries.fill(_VALUE))
        self._time("map", None, lambda: space.map(self._ram, 0, size, Prot.RWX))
        self._time("populate", None, lambda: space.populate(0, size))
        for share in self._shares:
            space.set_dirty(0, size, select=self._dirty[share])
            self._time("harvest", share, lambda: space.track_dirty(0, size))
        self._time("unmap", None, lambda: space.unmap(0, size))

    def _rows(self, format: str) -> Iterator[Throughput]:
        for (operation, share), seconds in self._seconds.items():
            if operation in ("read", "fill"):
                continue
            limit = "read" if operation == "harvest" else "fill"
            least = min(seconds)
            yield Throughput(
                format=format,
                size=self._size,
                operation=operation,
                share=share,
                ns_per_page=least * 1e9 / self._n_pages,
                ns_per_page_median=statistics.median(seconds) * 1e9 / self._n_pages,
                pages_per_s=self._n_pages / least,
                limit=limit,
                of_limit=min(self._seconds[limit, None]) / least,
            )


def _some_pages(random: np.random.Generator, n_pages: int, share: float) -> U8Array:
    """Bitmap of exactly that share of the pages."""
    chosen = np.zeros(n_pages, bool)
    chosen[random.permutation(n_pages)[: round(share * n_pages)]] = True
    return np.packbits(chosen, bitorder="little")
