"""``DirtyRing``: write-protection whose faults fill a ring of page numbers for each vCPU."""

from typing import SupportsIndex

from npt import kernels
from npt._types import U8Array, U64Array
from npt.dirty.mechanisms.shadow import Listed
from npt.errors import InvalidArgument
from npt.units import as_int

__all__ = ["DirtyRing"]


class DirtyRing(Listed):
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
        self._room = self.size - self.reserved

    @property
    def name(self) -> str:
        return f"ring-{self.size}" + (f"-{self.reserved}" if self.reserved else "")

    def _observe(self, number: int, gpas: U64Array, kinds: U8Array) -> None:
        faults, exits = self._fill(kernels.mechanisms.push, number, gpas, kinds)
        touched = faults + exits * self._room
        self._count(faults=faults, ring_full_exits=exits, pte_reads=touched, pte_writes=touched, shoot_downs=exits)

    def _clear(self, first: int, n_pages: int) -> None:
        self._gather()
        super()._clear(first, n_pages)
