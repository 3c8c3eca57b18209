"""``VmClient``: one party that looks pages up, holds them, or runs a vCPU."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npt._types import FaultCode, Prot
from npt.errors import Busy, Fault, InvalidArgument, Orphaned, StaleHandle
from npt.testing.oracle.arguments import (
    PAGE_SIZE,
    Handle,
    address,
    addresses,
    aligned,
    byte_range,
    bytes_like,
    check_aligned,
    flag,
    integer,
    integers,
    numbers,
    protection,
)  # fmt: skip
from npt.testing.oracle.guest import Guest, Mapping
from npt.testing.oracle.page import Batch, Claim, VmPage, VmPages

__all__ = ["VmClient"]


class VmClient(Handle):
    """One party that uses a space; from ``VmSpace.client``."""

    def __init__(self, guest: Guest) -> None:
        self.guest = guest
        self.callback: Callable[[int, int], object] | None = None
        self.on_cpu = False
        self.destroyed = False
        self._ended_as_orphan = False
        self.pages: list[Claim] = []
        self.batches: list[Batch] = []
        guest.clients.append(self)

    # -- state ----------------------------------------------------------------------------------------------------------

    def check_alive(self) -> None:
        """Refuse a client that was destroyed."""
        if self.destroyed:
            raise StaleHandle("the client was destroyed")

    def check_use(self) -> None:
        """Refuse an orphan."""
        self.check_alive()
        if self.guest.destroyed:
            raise Orphaned("the space of this client is gone")

    def _check_look_up(self) -> None:
        self.check_use()
        self.guest.check_may_change()

    @property
    def holds(self) -> int:
        """How many pages it holds."""
        self.check_alive()
        return len(self.pages) + sum(len(batch.claims) for batch in self.batches)

    @property
    def orphaned(self) -> bool:
        """Whether its space is gone; also answers after ``destroy``, which leaves it as it was."""
        return self._ended_as_orphan if self.destroyed else self.guest.destroyed

    @property
    def kicked(self) -> bool:
        """Whether it was asked to leave the tables: never, because nobody else is there who could ask."""
        self.check_alive()
        return False

    # -- holds ----------------------------------------------------------------------------------------------------------

    def hold(self, gpa: Any, prot: Any, *, defer_dirty: Any = False) -> VmPage:
        """Hold a page, made resident if it is not; for READ or WRITE at least."""
        integers(gpa=gpa, prot=prot)
        defer_dirty = flag(defer_dirty, "defer_dirty")
        self.check_alive()
        gpa, prot = aligned(gpa), protection(prot, Prot.RW)
        self._check_look_up()
        claim = self._claim([gpa], prot, defer_dirty)[0]
        self.pages.append(claim)
        return VmPage(self, claim)

    def hold_many(self, gpas: Any, prot: Any, *, defer_dirty: Any = False) -> VmPages:
        """Hold many pages, or none if one cannot be held: then the first such page is told."""
        integer(prot, "prot")
        defer_dirty = flag(defer_dirty, "defer_dirty")
        values = numbers(gpas, "gpas")
        self.check_alive()
        pages, prot = addresses(values), protection(prot, Prot.RW)
        check_aligned(pages)
        self._check_look_up()
        batch = Batch(self._claim(pages, prot, defer_dirty), prot)
        self.batches.append(batch)
        return VmPages(self, batch)

    def _claim(self, gpas: list[int], prot: Prot, defer_dirty: bool) -> list[Claim]:
        for gpa in gpas:
            self.guest.check_access(gpa, prot)
        writes = bool(prot & Prot.WRITE) and not defer_dirty
        return [Claim(gpa, prot, self.guest.install(gpa), writes) for gpa in gpas]

    def end(self, claim: Claim) -> bool:
        """A hold is over: what was written is dirty from now on. Tell whether the page was unmapped meanwhile."""
        if claim.lost:
            claim.leaf.obj.drop()
        elif claim.writes and self.guest.tracking:
            claim.leaf.accessed = claim.leaf.dirty = True
        return claim.lost

    def lose(self, mapping: Mapping) -> None:
        """A mapping goes: the pages held in it are kept by a reference to the object each."""
        for claim in [*self.pages, *(claim for batch in self.batches for claim in batch.claims)]:
            if mapping.gpa <= claim.gpa < mapping.end and not claim.lost:
                claim.lost = True
                mapping.obj.keep()

    def release_all(self) -> int:
        """Release every page that this client holds; tell how many there were."""
        n = self.holds
        for batch in list(self.batches):
            batch.handle_or_new(self).release()
        for claim in list(self.pages):
            claim.handle_or_new(self).release()
        return n

    def n_dropped(self) -> int:
        """How many pages it holds that nobody has a handle of any more, nor one of a page in their chain."""
        chains = [claim.chain() for claim in self.pages if claim.before is None]
        n = sum(len(chain) for chain in chains if not any(claim.is_known() for claim in chain))
        return n + sum(len(batch.claims) for batch in self.batches if not batch.is_known())

    # -- faults ---------------------------------------------------------------------------------------------------------

    def fault(self, gpa: Any, prot: Any) -> None:
        """Make a page resident, as for a vCPU that faulted on it."""
        integers(gpa=gpa, prot=prot)
        self.check_alive()
        gpa, prot = address(gpa), protection(prot, Prot.RWX)
        code = self.serve(gpa, prot)
        if code:
            raise Fault(f"{prot!r} of the page at {gpa:#x}", FaultCode(code))

    def fault_many(self, gpas: Any, prot: Any) -> NDArray[np.uint8]:
        """The same for many, each by itself: 0, or why not."""
        integer(prot, "prot")
        values = numbers(gpas, "gpas")
        self.check_alive()
        pages, prot = addresses(values), protection(prot, Prot.RWX)
        self._check_look_up()
        return np.array([self.serve(gpa, prot) for gpa in pages], np.uint8)

    def serve(self, gpa: int, prot: Prot) -> int:
        """Make a page resident if that access to it is allowed; else tell the fault code. It is counted in any case."""
        self._check_look_up()
        self.guest.faults += 1
        code = self.guest.look_up(gpa, prot)
        if not code:
            self.guest.install(gpa)
        return code

    # -- bytes ----------------------------------------------------------------------------------------------------------

    def read(self, gpa: Any, n: Any) -> bytes:
        """Copy bytes out, across pages; all must be there."""
        integers(gpa=gpa, n=n)
        self.check_alive()
        gpa, n = byte_range(gpa, n)
        self._check_look_up()
        pages = self._pages_with_bytes(gpa, n, Prot.READ)
        first = gpa % PAGE_SIZE
        return b"".join(claim.memory() for claim in pages)[first : first + n]

    def write(self, gpa: Any, data: Any) -> None:
        """Copy bytes in, across pages: all pages are found before the first byte is written."""
        integer(gpa, "gpa")
        source = bytes_like(data)
        self.check_alive()
        gpa, _ = byte_range(gpa, len(source))
        self._check_look_up()
        for claim in self._pages_with_bytes(gpa, len(source), Prot.WRITE):
            start = max(gpa, claim.gpa)
            piece = source[start - gpa : claim.gpa + PAGE_SIZE - gpa]
            claim.memory()[start - claim.gpa : start - claim.gpa + len(piece)] = piece
            self.end(claim)

    def _pages_with_bytes(self, gpa: int, n: int, prot: Prot) -> list[Claim]:
        """Holds of the pages of a byte range, of all or of none."""
        pages = range(gpa // PAGE_SIZE * PAGE_SIZE, gpa + n, PAGE_SIZE) if n else range(0)
        for page in pages:
            self.guest.check_access(page, prot)
        for page in pages:
            self.guest.check_bytes(page)
        return self._claim(list(pages), prot, defer_dirty=False)

    # -- vCPU -----------------------------------------------------------------------------------------------------------

    def check_may_enter(self) -> None:
        """Refuse a second vCPU, and one that comes when the space is being closed."""
        self.check_use()
        if self.guest.closing:
            raise Orphaned("the space of this client is being closed")
        if self.on_cpu:
            raise Busy("a vCPU is inside through this client")

    def table_enter(self) -> int:
        """A vCPU begins to use the tables; the generation is returned."""
        self.check_may_enter()
        self.on_cpu = True
        return self.guest.generation

    def table_exit(self) -> None:
        """It does so no more; works on orphans, too."""
        self.check_alive()
        if not self.on_cpu:
            raise InvalidArgument("table_exit without table_enter")
        self.on_cpu = False

    # -- callbacks, clones, the end -------------------------------------------------------------------------------------

    def on_invalidate(self, callback: Any) -> None:
        """Have a function called with ``(gpa, length)`` of whatever becomes stale; or None."""
        if callback is not None and not callable(callback):
            raise TypeError(f"callback must be callable or None, not {type(callback).__name__}")
        self._check_look_up()
        self.callback = callback

    def clone(self) -> "VmClient":
        """Another client of the same space, with neither holds nor callback."""
        self._check_look_up()
        return VmClient(self.guest)

    def destroy(self) -> None:
        """End the client. Does nothing the second time."""
        if self.destroyed:
            return
        if not self.guest.destroyed:
            self.guest.check_may_change()
        if self.pages or self.batches:
            raise Busy("the client holds pages")
        if self.on_cpu:
            raise Busy("a vCPU is inside through this client")
        self.guest.clients.remove(self)
        self.destroyed, self._ended_as_orphan = True, self.guest.destroyed
