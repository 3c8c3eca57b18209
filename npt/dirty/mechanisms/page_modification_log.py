"""``PageModificationLog``: hardware logs the pages whose D bit it sets, and exits when the log is full."""

from typing import SupportsIndex

from npt import kernels
from npt._types import U8Array, U64Array
from npt.dirty.mechanisms.shadow import Listed
from npt.errors import InvalidArgument
from npt.units import as_int

__all__ = ["PML_ENTRIES", "PageModificationLog"]

PML_ENTRIES = 512  # one page of 8-byte addresses, for each vCPU


class PageModificationLog(Listed):
    """Page-modification logging (PML): a log for each vCPU, which it leaves the guest to have drained when it is full.

    Counts: turning it on and clearing are as for ``WriteProtect``, with D bits cleared instead of permission. A write that
    sets D puts the page into the vCPU's log; when an entry is due and the log is full, that is a log-full exit, and it is
    drained first. So N first writes of one vCPU are ``(N - 1) // 512`` exits; a collect drains the rest.

    Parameters
    ----------
    entries
        Of each vCPU's log.

    Raises
    ------
    InvalidArgument
        No entries.

    Notes
    -----
    Source: Intel SDM volume 3, "Page-Modification Logging". That the hypervisor drains the log at other exits, too, as KVM
    does, is not counted: there are no others here.
    """

    def __init__(self, *, entries: SupportsIndex = PML_ENTRIES) -> None:
        super().__init__()
        self.entries = as_int(entries, "entries")
        if self.entries < 1:
            raise InvalidArgument(f"entries {self.entries} is not positive")
        self._room = self.entries

    @property
    def name(self) -> str:
        return "pml" if self.entries == PML_ENTRIES else f"pml-{self.entries}"

    def _observe(self, number: int, gpas: U64Array, kinds: U8Array) -> None:
        _, exits = self._fill(kernels.mechanisms.log, number, gpas, kinds)
        self._count(log_full_exits=exits)
