"""``DirtyRing``: write-protection whose faults fill a ring of page numbers for each vCPU."""

from typing import SupportsIndex

import numpy as np

from npt import kernels
from npt._types import U8Array, U64Array
from npt.dirty.mechanisms.shadow import Shadow
from npt.errors import InvalidArgument
from npt.units import as_int

__all__ = ["DirtyRing"]


class DirtyRing(Shadow):
    """A ring for each vCPU, which it leaves the guest to have reaped and reset when it is nearly full.

    Counts: turning it on is as for ``WriteProtect``. A write to an armed page is a fault, which reads and writes its entry
    and pushes the page. As soon as a ring holds ``size - reserved`` pages, that is a ring-full exit: they are reaped, and
    armed again, which reads and writes their entries and is one shoot-down. So N writes of one vCPU to different pages are
    ``N // (size - reserved)`` exits. A collect reaps all rings and arms nothing. A clear reaps them, too, and arms as for
    ``WriteProtect``: pages that an exit armed already are not counted again.

    Parameters
    ----------
    size
        Entries of each vCPU's ring.
    reserved
        Entries that are left free when it counts as full.

    Raises
    ------
    InvalidArgument
        No entries, or all reserved.

    Notes
    -----
    KVM does it like this: its rings have a power of two entries and reserve 64, and as many more as hardware logs by itself
    (512 with PML). An exit is then one to user space, which reaps and resets. There the write that filled the ring is still
    to be done when its page is armed again, so it faults once more; here it is done.
    """

    def __init__(self, size: SupportsIndex, reserved: SupportsIndex = 0) -> None:
        super().__init__()
        self.size, self.reserved = as_int(size, "size"), as_int(reserved, "reserved")
        if not 0 <= self.reserved < self.size:
            raise InvalidArgument(f"a ring of {self.size} entries cannot reserve {self.reserved}")
        self._limit = self.size - self.reserved

    @property
    def name(self) -> str:
        return f"ring-{self.size}" + (f"-{self.reserved}" if self.reserved else "")

    def _begin_lists(self, n_pages: int) -> None:
        self._used: U64Array = np.zeros((self._n_vcpus, 1), np.uint64)
        self._rings: U64Array = np.zeros((self._n_vcpus, min(self._limit, n_pages)), np.uint64)

    def _gather(self) -> None:
        for ring, used in zip(self._rings, self._used, strict=True):
            kernels.mechanisms.drain(ring, used, self._dirty)

    def _observe(self, number: int, gpas: U64Array, kinds: U8Array) -> None:
        kernels.mechanisms.push(
            gpas, kinds, self._gpa, self._n_pages, self._unarmed, self._dirty, self._rings[number], self._used[number],
            min(self._limit, self._n_pages + 1), self._outcome,
        )  # fmt: skip
        faults, exits = self._take_outcome()
        touched = faults + exits * self._limit
        self._count(faults=faults, ring_full_exits=exits, pte_reads=touched, pte_writes=touched, shoot_downs=exits)

    def _clear(self, first: int, n_pages: int) -> None:
        self._gather()
        super()._clear(first, n_pages)
