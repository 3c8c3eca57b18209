"""What the mechanisms share that keep books of their own: which pages are armed, dirty, reported."""

import numpy as np

from npt import kernels
from npt._types import U8Array, U64Array
from npt.dirty.mechanisms.base import Mechanism
from npt.space.vmspace import VmSpace
from npt.units import bitmap_bytes

__all__ = ["Shadow", "empty_words"]


def empty_words(n_pages: int) -> U64Array:
    """An empty bitmap in words, as the kernels take it."""
    return np.zeros(-(-n_pages // 64), np.uint64)


class Shadow(Mechanism):
    """A mechanism that arms pages; to turn it on, and to arm k of them again, reads and writes their entries.

    Turning it on is one shoot-down, and so is a clear that arms any page.
    """

    def _begin(self, space: VmSpace, n_pages: int) -> None:
        self._unarmed, self._dirty, self._reported = (empty_words(n_pages) for _ in range(3))
        self._outcome: U64Array = np.zeros(2, np.uint64)  # pages noticed, exits because something was full
        self._begin_lists(n_pages)
        self._count(pte_reads=n_pages, pte_writes=n_pages, shoot_downs=1)

    def _begin_lists(self, n_pages: int) -> None:
        """Make what is between a write and the bitmap."""

    def _gather(self) -> None:
        """Empty that into the bitmap."""

    def _take_outcome(self) -> tuple[int, int]:
        """Pages noticed and exits of one run."""
        noticed, full = self._outcome.tolist()
        self._outcome.fill(0)
        return noticed, full

    def _collect(self) -> U8Array:
        self._gather()
        np.copyto(self._reported, self._dirty)
        return self._dirty.view(np.uint8)[: bitmap_bytes(self._n_pages)].copy()

    def _clear(self, first: int, n_pages: int) -> None:
        armed = kernels.mechanisms.rearm(self._reported, self._unarmed, self._dirty, first, n_pages)
        self._count(pte_reads=armed, pte_writes=armed, shoot_downs=int(armed > 0))
