"""What the mechanisms share that keep books of their own: which pages are armed, dirty, reported."""

from typing import Any

import numpy as np

from npt import kernels
from npt._types import U8Array, U64Array
from npt.dirty.mechanisms.base import Mechanism
from npt.space.vmspace import VmSpace
from npt.units import bitmap_bytes

__all__ = ["Listed", "Shadow", "empty_words"]


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


class Listed(Shadow):
    """One that has a list of page numbers for each vCPU between a write and the bitmap; it takes ``_room`` pages."""

    _room: int

    def _begin_lists(self, n_pages: int) -> None:
        self._used: U64Array = np.zeros((self._n_vcpus, 1), np.uint64)
        self._lists: U64Array = np.zeros((self._n_vcpus, min(self._room, n_pages)), np.uint64)

    def _gather(self) -> None:
        for entries, used in zip(self._lists, self._used, strict=True):
            kernels.mechanisms.drain(entries, used, self._dirty)

    def _fill(self, kernel: Any, number: int, gpas: U64Array, kinds: U8Array) -> tuple[int, int]:
        """Put the pages that a vCPU writes into its list, as a kernel does it; return how many, and how often it was full."""
        room = min(self._room, self._n_pages + 1)  # that is as good as any larger one, and the kernel can count it
        kernel(
            gpas, kinds, self._gpa, self._n_pages, self._unarmed, self._dirty, self._lists[number], self._used[number],
            room, self._outcome,
        )  # fmt: skip
        return self._take_outcome()
