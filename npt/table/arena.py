"""One level of the tree: a flat array of tables that grows without moving.

Theory of operation
-------------------
The array is a view over an anonymous mapping that only reserves address space; memory comes when a table is first touched.
So it never moves, a walker inside it stays valid while tables are added, and "pointer to an entry" is a flat index. The
count and mark of each table and the stack of free ones are reserved the same way; they take 7 bytes a table.

Guarantees: fresh memory reads zero; the array lives as long as any view of it.
Relies on:  the operating system giving out address space it does not back (Linux and macOS do; elsewhere, and under strict
            limits, an arena is only as large as the memory there is, and ``capacity`` says so).
"""

import mmap
import sys
from contextlib import suppress
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from npt._host import available_bytes
from npt.errors import ReservoirExhausted
from npt.units import ENTRIES, PAGE_SIZE

__all__ = ["Arena"]

_NORESERVE = 0x4000 if sys.platform == "linux" else 0  # Python 3.11 has no name for it
_HUGE = 2 << 20  # worth a huge page
_Number = TypeVar("_Number", np.uint64, np.uint32, np.uint16, np.uint8)


def _reserve(n: int, dtype: type[_Number]) -> tuple[mmap.mmap, NDArray[_Number]]:
    """Address space for ``n`` numbers that read zero."""
    n_bytes = max(n * np.dtype(dtype).itemsize, PAGE_SIZE)
    if sys.platform == "win32":
        area = mmap.mmap(-1, n_bytes)
    else:
        area = mmap.mmap(-1, n_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NORESERVE)
    return area, np.frombuffer(area, dtype, n)


class Arena:
    """All tables of one level.

    Parameters
    ----------
    capacity
        How many tables the level may ever need.

    Attributes
    ----------
    entries : numpy.ndarray
        ``uint64``, shape ``(512 * capacity,)``; table t is entries ``512 t`` to ``512 (t + 1)``.
    counts : numpy.ndarray
        ``uint16``, shape ``(capacity,)``: pages of mappings that cover a leaf table, children of a directory.
    cut : bool
        The capacity is less than was asked for.
    free : numpy.ndarray
        ``uint32``, shape ``(capacity,)``: a stack of tables that were used and are zero again.
    marks : numpy.ndarray
        ``uint8``, shape ``(capacity,)``: whether a leaf table may hold dirty entries, or a table was handed out for writing
        (``kernels/summary.py``).
    """

    def __init__(self, capacity: int) -> None:
        self.cut = False
        try:
            self._take(capacity)
        except OSError:
            fitting = (available_bytes() or 1 << 30) // (4 * PAGE_SIZE)
            if fitting >= capacity:
                raise ReservoirExhausted(f"no address space for {capacity:#x} tables") from None
            self._take(fitting)
            self.cut = True

    def _take(self, capacity: int) -> None:
        self._area, self.entries = _reserve(capacity * ENTRIES, np.uint64)
        self.counts = _reserve(capacity, np.uint16)[1]
        self.free = _reserve(capacity, np.uint32)[1]
        self.marks = _reserve(capacity, np.uint8)[1]
        self.capacity = capacity

    def expect(self, n_tables: int) -> None:
        """Ask for huge pages before many tables are touched; it may be that the system has none."""
        if n_tables * PAGE_SIZE >= _HUGE and hasattr(mmap, "MADV_HUGEPAGE"):
            with suppress(OSError):
                self._area.madvise(mmap.MADV_HUGEPAGE)
