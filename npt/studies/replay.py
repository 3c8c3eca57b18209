"""A real program's memory through the tables: its history on a vCPU, one harvest a window, each checked exactly."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from npt._types import Prot, U8Array, U64Array
from npt.errors import InvalidArgument
from npt.formats.base import PteFormat
from npt.formats.ept import EPT
from npt.memory.reservoir import Reservoir
from npt.space.vcpu import Vcpu
from npt.space.vmspace import VmSpace
from npt.studies.history import History
from npt.units import ENTRIES, PAGE_SHIFT, PAGE_SIZE, bitmap_bytes, format_size

__all__ = ["Difference", "ReplayResult", "replay"]

Progress = Callable[[int, int], None]

_WIDEST = 1 << 41  # bytes of guest that one harvest covers: a bitmap of 64 MiB
_NO_WINDOW = 0  # what a page holds that was never written


class Difference(NamedTuple):
    """Where the engine and the history disagree."""

    window: int
    page: int  # number of the guest page
    what: str

    def __str__(self) -> str:
        return f"window {self.window}, page {self.page:#x}: {self.what}"


@dataclass(frozen=True)
class ReplayResult:
    """What a replay showed.

    Attributes
    ----------
    history : str
        Name of the history.
    format : str
        ``"ept"`` or ``"npt"``.
    packed : bool
        Pages side by side, or as the program had laid them out.
    n_pages : int
        Pages of the guest.
    windows : int
        Windows checked.
    dirtied : numpy.ndarray
        ``int64``, shape ``(windows,)``: pages reported dirty, by window.
    working_set : int
        Pages read or written in all, by their A bits.
    written : int
        Pages written in all.
    write_seconds, harvest_seconds : float
        Time in the vCPU's writes, and in harvests.
    difference : Difference or None
        The first; the replay ended there.
    """

    history: str
    format: str
    packed: bool
    n_pages: int
    windows: int
    dirtied: NDArray[np.int64]
    working_set: int
    written: int
    write_seconds: float
    harvest_seconds: float
    difference: Difference | None

    def row(self) -> dict[str, object]:
        """The same as plain values, for a result table."""
        dirtied = self.dirtied if self.dirtied.size else np.zeros(1, np.int64)
        return {
            "history": self.history,
            "format": self.format,
            "layout": "packed" if self.packed else "as laid out",
            "pages": self.n_pages,
            "windows": self.windows,
            "dirtied_median": float(np.median(dirtied)),
            "dirtied_90": float(np.percentile(dirtied, 90)),
            "dirtied_most": int(dirtied.max()),
            "working_set": self.working_set,
            "written": self.written,
            "write_seconds": self.write_seconds,
            "harvest_seconds": self.harvest_seconds,
            "difference": None if self.difference is None else str(self.difference),
        }


class _Guest:
    """A guest laid out for a history: where its pages are, and the range that a harvest covers."""

    def __init__(self, history: History, format: PteFormat, packed: bool) -> None:
        pages = np.arange(history.pages.size, dtype=np.uint64) if packed else history.pages
        self.gpas: U64Array = pages << np.uint64(PAGE_SHIFT)
        self.first = int(pages[0]) // ENTRIES * ENTRIES
        self.n_pages = int(pages[-1]) + 1 - self.first
        if self.n_pages * PAGE_SIZE > _WIDEST:
            raise InvalidArgument(
                f"the pages of {history.name} are spread over {format_size(self.n_pages * PAGE_SIZE)}, more than one harvest "
                f"covers here ({format_size(_WIDEST)}); replay them packed"
            )
        self.bits = pages.astype(np.int64) - self.first
        self.reservoir = Reservoir(pages.size * PAGE_SIZE)
        self.ram = self.reservoir.allocate(pages.size * PAGE_SIZE)
        self.space = VmSpace((self.first + self.n_pages) * PAGE_SIZE, format=format, reservoir=self.reservoir, track_dirty=True)
        starts = np.concatenate(([0], np.flatnonzero(np.diff(pages) != 1) + 1))  # of runs of consecutive pages
        for start, stop in zip(starts, [*starts[1:], pages.size], strict=True):
            gpa, length = int(self.gpas[start]), int(stop - start) * PAGE_SIZE
            self.space.map(self.ram, gpa, length, Prot.RWX, int(start) * PAGE_SIZE)
            self.space.populate(gpa, length)
        self.vcpu = Vcpu(self.space.client())
        self.range = self.first << PAGE_SHIFT, self.n_pages << PAGE_SHIFT
        self._expected = np.zeros(bitmap_bytes(self.n_pages), np.uint8)

    def differs(self, bitmap: U8Array, places: NDArray[np.int64]) -> tuple[int, bool] | None:
        """First page of a bitmap that is not as the history says, and whether it is missing."""
        bits = self.bits[places]
        np.bitwise_or.at(self._expected, bits >> 3, (1 << (bits & 7)).astype(np.uint8))
        try:
            if np.array_equal(bitmap, self._expected):
                return None
            byte = int((bitmap != self._expected).argmax())
            wrong = int(bitmap[byte] ^ self._expected[byte])
            bit = (wrong & -wrong).bit_length() - 1
            return self.first + byte * 8 + bit, bool(self._expected[byte] >> bit & 1)
        finally:
            self._expected[bits >> 3] = 0

    def close(self) -> None:
        """Give everything back."""
        self.space.close()
        self.ram.release()
        self.reservoir.close()


def replay(
    history: History, *, format: PteFormat = EPT, packed: bool = False, progress: Progress | None = None
) -> ReplayResult:
    """Run a history through a vCPU over a populated guest, with one harvest a window.

    Each window's reads and writes are performed on the real tables, each written page gets the window's number as its first
    word, and then the harvest must report exactly the pages that the history says. At the end the A bits must be those
    of the pages that occurred, and every page must hold the number of the last window that wrote it.

    Parameters
    ----------
    history
        Of a program; see ``History.load``.
    format
        ``EPT`` or ``NPT``.
    packed
        Lay the pages side by side instead of where the program had them.
    progress
        Called with ``(windows done, windows in all)``.

    Returns
    -------
    ReplayResult
        Up to the first difference, if there is one.

    Raises
    ------
    InvalidArgument
        The pages are spread too far for one harvest.
    """
    guest = _Guest(history, format, packed)
    try:
        return _Run(guest, history, packed).run(progress)
    finally:
        guest.close()


class _Run:
    """One replay under way."""

    def __init__(self, guest: _Guest, history: History, packed: bool) -> None:
        self._guest, self._history, self._packed = guest, history, packed
        self._dirtied: list[int] = []
        self._last_window = np.full(history.pages.size, _NO_WINDOW, np.uint64)
        self._seen = np.zeros(history.pages.size, bool)
        self._write_ns = self._harvest_ns = 0

    def run(self, progress: Progress | None) -> ReplayResult:
        """All windows, or those up to the first difference."""
        space, n_windows = self._guest.space, self._history.n_windows
        space.accessed(*self._guest.range, clear=True)  # fresh nPT leaves have A set
        difference = None
        for window in range(n_windows):
            difference = self._window(window)
            if difference is not None:
                break
            if progress is not None:
                progress(window + 1, n_windows)
        accessed = space.accessed(*self._guest.range)
        if difference is None:
            difference = self._check_marks(accessed) or self._check_memory()
        return ReplayResult(
            history=self._history.name,
            format=space.format.name,
            packed=self._packed,
            n_pages=self._history.pages.size,
            windows=len(self._dirtied),
            dirtied=np.array(self._dirtied, np.int64),
            working_set=int(np.bitwise_count(accessed).sum()),
            written=int(np.count_nonzero(self._last_window)),
            write_seconds=self._write_ns / 1e9,
            harvest_seconds=self._harvest_ns / 1e9,
            difference=difference,
        )

    def _window(self, window: int) -> Difference | None:
        guest, written, read = self._guest, self._history.written(window), self._history.read(window)
        guest.vcpu.run(guest.gpas[read])
        start = time.perf_counter_ns()
        guest.vcpu.run(guest.gpas[written], write=True, values=np.full(written.size, window + 1, np.uint64))
        middle = time.perf_counter_ns()
        bitmap = guest.space.track_dirty(*guest.range)
        self._write_ns += middle - start
        self._harvest_ns += time.perf_counter_ns() - middle
        self._last_window[written] = window + 1
        self._seen[written] = self._seen[read] = True
        wrong = guest.differs(bitmap, written)
        if wrong is None:
            self._dirtied.append(written.size)
            return None
        page, missing = wrong
        return Difference(window, page, "written, but not reported dirty" if missing else "reported dirty, but not written")

    def _check_marks(self, accessed: U8Array) -> Difference | None:
        wrong = self._guest.differs(accessed, np.flatnonzero(self._seen))
        if wrong is None:
            return None
        page, missing = wrong
        what = "touched, but not marked accessed" if missing else "marked accessed, but never touched"
        return Difference(self._history.n_windows - 1, page, what)

    def _check_memory(self) -> Difference | None:
        held = self._guest.reservoir.buffer.view(np.uint64)[:: PAGE_SIZE // 8]
        frames = self._guest.space.translate(self._guest.gpas) - np.uint64(self._guest.reservoir.base_pfn)
        wrong = np.flatnonzero(held[frames] != self._last_window)
        if not wrong.size:
            return None
        place = int(wrong[0])
        page = int(self._guest.gpas[place]) >> PAGE_SHIFT
        return Difference(int(self._last_window[place]) - 1, page, "does not hold what was written to it last")
