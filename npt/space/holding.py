"""``Holding``: what a client holds, and how that ends.

Theory of operation
-------------------
A page is released by one store (its client is then None); everything before that can be done again, and what is left after
it is done by whoever comes by: an interrupt leaves a page held, or *buries* it. References to objects are dropped last, with
no lock held, because memory may go back with them.

Guarantees: a page held for writing is in the dirty log when it is released; its frame is watched before it can be freed.
Relies on:  the gate's lock around all but the dropping.
"""

import platform
import sys
from collections.abc import Callable
from typing import Any

from npt._types import Handle, U64Array
from npt.errors import StaleHandle
from npt.memory.objects import VmObject
from npt.space.core import Core
from npt.space.gate import ONLY_LOOK, STILL, Gate, State
from npt.space.page import VmPage, VmPages

__all__ = ["Holding"]

_LOADS_IN_ORDER = platform.machine().lower() in ("x86_64", "amd64")  # elsewhere only a kernel's are
_REFERENCES_OF_A_KEPT_PAGE = 3  # the client's, the loop's, and the argument of getrefcount


class Holding(Handle):
    """The part of ``VmClient`` that is about the end of holds.

    Parameters
    ----------
    core
        The space.
    """

    def __init__(self, core: Core) -> None:
        self.core = core
        self._cells = core.table.cells
        self._touched = core.table.touched_cells
        self._dirty_bits = core.dirty_bits
        self._pages: set[VmPage] = set()
        self._batches: set[VmPages] = set()
        self.gate = Gate(core.exclusion, self)

    def _check_own(self) -> None:
        if self.gate.state & State.FOREIGN:
            raise StaleHandle(ONLY_LOOK)

    # -- one by one, and chains -------------------------------------------------------------------------------------

    def end_pages(self, choose: Callable[[], list[VmPage]]) -> int:
        """Internal: release pages, chosen under the lock, the last first; return how many were unmapped meanwhile."""
        pages: list[VmPage] = []
        try:
            with self.gate.lock:
                pages += choose()
                for page in reversed(pages):
                    self._end(page)
            return self.bury(pages)
        except BaseException:  # an interrupt: those that are released already are released altogether
            self.bury(pages)
            raise

    def _end(self, page: VmPage) -> None:
        """Release a page but for its object; the gate's lock is held. An interrupt leaves it held, or to be buried."""
        if page._client is None or self.gate.state:
            self.check_end(page)
        if page._writes and page._object is None and self.core.tracking:
            self._mark_page(page._leaf)
        page._client = None
        self.watch(page)
        page.unchain()
        self._pages.discard(page)

    def check_end(self, page: VmPage) -> None:
        """Internal: refuse to release a page in a forked child, or twice."""
        self._check_own()
        page._holder()

    def _mark(self, leaves: U64Array) -> None:
        core = self.core
        if not core.tracking or not leaves.size:
            return
        if self.gate.state & STILL:  # this thread is in the middle of a harvest
            core.exclusion.late.extend(leaves.tolist())
        else:
            core.mark(leaves)

    def _mark_page(self, leaf: int) -> None:
        bits = self._dirty_bits
        if self._cells[leaf] & bits != bits or not self._touched[leaf >> 9] or not _LOADS_IN_ORDER:
            if self.gate.state & STILL:
                self.core.exclusion.late.append(leaf)
            else:
                self.core.mark_leaf(leaf)

    def watch(self, page: VmPage) -> None:
        """Internal: have the reservoir watch a released page's views."""
        for window in page.living_windows():
            assert self.core.reservoir is not None  # it has the memory
            self.core.reservoir.watch(self.core.frame_of(page._pfn), window)
        page.forget_windows()

    def bury(self, pages: list[VmPage]) -> int:
        """Internal: what is left to do for released pages: drop objects, and whatever an interrupt kept from being done."""
        dropped = 0
        for page in pages:
            if page._client is not None:
                continue
            if page in self._pages:
                with self.gate.lock:
                    self.watch(page)
                    page.unchain()
                    self._pages.discard(page)
            if page._object is not None:
                page._object.drop(page)
                dropped += 1
        return dropped

    def abandon(self, page: VmPage) -> None:
        """Internal: the look-up that was to find it did not end well; an unmap may have come behind it."""
        page._client = None
        self.bury([page])

    def abandon_batch(self, batch: VmPages) -> None:
        """Internal: the same for a batch."""
        batch.let_go()
        self._bury_batch(batch)

    # -- batches ----------------------------------------------------------------------------------------------------

    def end_batch(self, batch: VmPages) -> int:
        """Internal: release a batch; return how many of its pages were unmapped meanwhile."""
        try:
            with self.gate.lock:
                self._check_own()
                batch._holder()
                self._mark(batch.written_leaves())
                batch.let_go()
                self._batches.discard(batch)
            return batch.drop_objects()
        except BaseException:
            if batch._client is None:
                self._bury_batch(batch)
            raise

    def _bury_batch(self, batch: VmPages) -> int:
        with self.gate.lock:
            self._batches.discard(batch)
        return batch.drop_objects()

    # -- what the space asks ----------------------------------------------------------------------------------------

    def n_dropped(self) -> int:
        """Internal: held pages that nobody but this client knows of any more, not even by their chain."""
        with self.gate.lock:
            return self._count_dropped()

    def _count_dropped(self) -> int:
        known: set[int] = set()
        kept: list[Any] = [*self._batches, *self._pages]
        while kept:
            claim = kept.pop()
            if sys.getrefcount(claim) > _REFERENCES_OF_A_KEPT_PAGE + claim.n_chained():
                known.add(id(claim))
        chains = [page.chained() for page in self._pages if page.is_first()]
        dropped = sum(len(chain) for chain in chains if known.isdisjoint(map(id, chain)))
        return dropped + sum(batch.count() for batch in self._batches if id(batch) not in known)

    def forget(self, gpa: int, length: int, keeper: object, obj: VmObject) -> None:
        """Internal: a range is being unmapped; its holds keep their pages by references to the object instead.

        Notes
        -----
        Source: ``vmc_space_unmap()``, vmm_vm.c 1028-1068 at 59d65d31, whose loop never ended (line 1048).
        """
        with self.gate.lock:
            for page in tuple(self._pages):
                if gpa <= page._gpa < gpa + length and page._object is None and page._client is not None:
                    obj.acquire(page)
                    page.forget(keeper, obj)
                    if page._client is None:  # a finalizer released it meanwhile
                        obj.drop(page)
            for batch in tuple(self._batches):
                if batch._client is None:
                    continue
                batch.forget(gpa, length, keeper, obj)
                if batch._client is None:
                    batch.drop_objects()

    def remember(self, keeper: object, obj: VmObject) -> None:
        """Internal: the mapping is not being unmapped after all; undo ``forget``, or what was done of it."""
        with self.gate.lock:
            for page in tuple(self._pages):
                if page.remember(keeper):
                    obj.drop(page)
            for batch in tuple(self._batches):
                batch.remember(keeper, obj)
