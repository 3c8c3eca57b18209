"""What a space, its clients and its vCPUs share."""

from collections.abc import Callable

import numpy as np

from npt import kernels
from npt._types import Handle, U8Array, U64Array
from npt.errors import InvalidArgument, NotSupported, StaleHandle
from npt.formats.base import PteFormat
from npt.memory.backing import Backing
from npt.memory.objects import MmioObject, RamObject, VmObject
from npt.memory.reservoir import Reservoir
from npt.space.exclusion import Exclusion
from npt.space.mappings import Mappings
from npt.table.tree import PageTable
from npt.units import PAGE_SHIFT

__all__ = ["Core"]

_PRESENT = 1  # bit 0 of what can be held, in both formats
_NO_BYTES = np.empty(0, np.uint8)
_NO_WORDS = np.empty(0, np.uint64)


class Core(Handle):
    """The state of one address space.

    Attributes
    ----------
    tracking : bool
        Dirty tracking is on. Changes under HOLD only.
    untold : set of int
        Starts of mappings whose leaves an unmap cleared before it timed out: no client was told yet.
    memory, words : numpy.ndarray
        The reservoir's bytes, as ``uint8`` and as ``uint64``; empty where there are none.
    windows : tuple of memoryview
        The same bytes for reading and for writing, to cut views from.
    base_address : int
        Of their first byte in the host.
    """

    def __init__(
        self, size: int, format: PteFormat, reservoir: Reservoir | None, kick_timeout: float, threads: int | None
    ) -> None:
        self.size = size
        self.format = format
        self.table = PageTable(format, size, threads)
        self.mappings = Mappings(format)
        self.exclusion = Exclusion(kick_timeout)
        self.tracking = False
        self.untold: set[int] = set()
        self.reservoir: Reservoir | None
        self.memory: U8Array
        self.words: U64Array
        self.windows: tuple[memoryview, memoryview]
        self.let_go()
        self.dirty_bits = int(format.masks.accessed | format.masks.dirty)
        if reservoir is not None:
            self._adopt(reservoir)

    @property
    def destroyed(self) -> bool:
        """Whether the space is gone."""
        return self.exclusion.destroyed

    def check_alive(self) -> None:
        """Refuse a space that was destroyed."""
        if self.destroyed:
            raise StaleHandle("the space was destroyed")

    def in_stillness(self, work: Callable[[bool], object]) -> None:
        """Do what changes leaf entries where nobody else does, if that can be had; ``Exclusion.in_stillness``."""
        try:
            self.exclusion.in_stillness(work)
            self._mark_late()
        except BaseException:
            self._mark_late()
            raise

    def _mark_late(self) -> None:
        """Mark the pages that were released in stillness by its own thread."""
        late = self.exclusion.late
        while late:
            self.mark_leaf(late[-1])
            late.pop()

    def mark_leaf(self, leaf: int) -> None:
        """Set A and D of a leaf, if it is present."""
        kernels.dirty.mark_leaf(self.table.levels[0], self.table.touched, leaf, _PRESENT, self.dirty_bits)

    def mark(self, leaves: U64Array) -> None:
        """Set A and D of leaves that are present."""
        kernels.dirty.mark_leaves(self.table.levels[0], self.table.touched, leaves, _PRESENT, self.dirty_bits)

    def check_own(self) -> None:
        """Refuse a change to a space that was destroyed, or that is another process's."""
        self.check_alive()
        self.exclusion.check_own()

    # -- host memory ------------------------------------------------------------------------------------------------

    def _adopt(self, reservoir: Reservoir) -> None:
        self.memory, self.words, self.base_pfn = reservoir.memory, reservoir.words, reservoir.base_pfn
        self.reservoir, self.n_frames = reservoir, self.memory.size >> PAGE_SHIFT
        self.windows, self.base_address = reservoir.backing.windows, self.base_pfn << PAGE_SHIFT

    def check_host(self, obj: VmObject) -> None:
        """Refuse an object whose frames cannot be told from others' here: another reservoir's, or MMIO over RAM."""
        if isinstance(obj, RamObject):
            if self.reservoir is None:
                for mapping in self.mappings.all():
                    self._check_apart(mapping.obj, obj.reservoir)
            elif obj.reservoir is not self.reservoir:
                raise InvalidArgument("the object is from another reservoir than the space's")
        elif self.reservoir is not None:
            self._check_apart(obj, self.reservoir)

    @staticmethod
    def _check_apart(obj: VmObject, reservoir: Reservoir) -> None:
        first, n_pages = obj.pfn_at(0), obj.length >> PAGE_SHIFT
        end = reservoir.base_pfn + (reservoir.limit >> PAGE_SHIFT)
        if isinstance(obj, MmioObject) and first < end and first + n_pages > reservoir.base_pfn:
            raise InvalidArgument(f"MMIO frames {first:#x} + {n_pages:#x} overlap the reservoir's RAM")

    def take_in(self, obj: VmObject) -> None:
        """Adopt the reservoir of the first RAM that is mapped; if this fails, or what comes behind it, ``let_go``.

        Raises
        ------
        KickTimeout
            A vCPU that knows of no bytes did not leave.
        """
        if self.reservoir is None and isinstance(obj, RamObject):
            self._adopt(obj.reservoir)
            self.exclusion.raise_epoch(generation=False)
            self.exclusion.kick()

    def let_go(self) -> None:
        """Draw from no reservoir: nothing is mapped."""
        self.memory, self.words, self.base_pfn, self.n_frames = _NO_BYTES, _NO_WORDS, 0, 0
        self.windows, self.base_address = Backing(0).windows, 0
        self.reservoir = None

    def frame_of(self, pfn: int) -> int:
        """Frame of the reservoir that a PFN is.

        Raises
        ------
        NotSupported
            The page has no bytes: MMIO, or an unbacked reservoir.
        """
        frame = pfn - self.base_pfn
        if not 0 <= frame < self.n_frames:
            raise NotSupported(f"the page at pfn {pfn:#x} has no bytes here: it is MMIO, or its reservoir is unbacked")
        return frame

    def frames_of(self, pfns: U64Array) -> U64Array:
        """The same for many."""
        frames = pfns - np.uint64(self.base_pfn)  # below the base wraps to huge: refused as well
        outside = frames >= np.uint64(self.memory.size >> PAGE_SHIFT)
        if outside.any():
            self.frame_of(int(pfns[outside.argmax()]))
        return frames
