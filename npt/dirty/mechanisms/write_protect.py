"""``WriteProtect``: pages are made read-only, and the first write to each is stopped."""

from npt import kernels
from npt._types import U8Array, U64Array
from npt.dirty.mechanisms.shadow import Shadow

__all__ = ["WriteProtect"]


class WriteProtect(Shadow):
    """Write-protection: a fault for each first write after each clear.

    Counts: to turn it on reads and writes the entry of each page of the range, and is one shoot-down. A write to an armed
    page is a fault, which reads its entry and writes it. A clear reads and writes the entries of the pages that it arms
    again, and is one shoot-down if there are any.
    """

    @property
    def name(self) -> str:
        return "write-protect"

    def _begin_lists(self, n_pages: int) -> None:
        self._dirty = self._unarmed  # what is writable is what was written

    def _observe(self, number: int, gpas: U64Array, kinds: U8Array) -> None:
        kernels.mechanisms.protect(gpas, kinds, self._gpa, self._n_pages, self._unarmed, self._outcome)
        faults, _ = self._take_outcome()
        self._count(faults=faults, pte_reads=faults, pte_writes=faults)
