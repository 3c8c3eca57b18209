"""``VmClient``: one party that looks pages up, holds them, or runs a vCPU."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import islice, pairwise
from typing import Any, SupportsIndex

import numpy as np

from npt import _html, kernels
from npt._types import FaultCode, Prot, U8Array, U64Array
from npt.errors import Busy, Fault, Orphaned, StaleHandle
from npt.formats.base import ADDRESS
from npt.space.core import Core
from npt.space.gate import State
from npt.space.holding import Holding
from npt.space.page import VmPage, VmPages
from npt.units import (
    PAGE_MASK,
    PAGE_SHIFT,
    PAGE_SIZE,
    as_address,
    as_aligned,
    as_flag,
    as_gpas,
    as_int,
    as_integers,
    as_prot,
    check_aligned,
    check_overflow,
    page_down,
)  # fmt: skip

__all__ = ["VmClient"]

_READ, _WRITE, _RW, _RWX = 1, 2, 3, 7  # plain ints: an operator of IntFlag costs a microsecond
_WRITES = (False, False, True, True, False, False, True, True)


_MOST_SHOWN = 10  # pages, and batches of them


class VmClient(Holding):
    """One party that uses a space; from ``VmSpace.client``.

    A client is for one thread at a time, or shared: its calls exclude each other. Give every vCPU, device and thread one of
    its own, so that they do not wait for each other.

    Notes
    -----
    Source: "Exclusion" and ``struct vm_client``, vmm_vm.c 86-121 and 167-181 at 59d65d31.
    """

    def __init__(self, core: Core) -> None:
        super().__init__(core)
        self._contexts = tuple(core.table.context + prot for prot in range(8))
        self._find_resident = kernels.jit.entry_point(kernels.walk.find_resident)
        try:
            core.exclusion.join(self.gate)
        except BaseException:
            self.destroy()
            raise

    def __repr__(self) -> str:
        state = State(self.gate.state | (State.ON_CPU if self.gate.inside is not None else 0))
        return f"<VmClient, {self._count()} pages held{', ' + state.name if state and state.name else ''}>"

    def _shown(self) -> Iterable[str]:
        pages, batches = list(islice(self._pages, _MOST_SHOWN)), list(islice(self._batches, _MOST_SHOWN))
        rows = [(f"{page.gpa:#x}", f"{page.pfn:#x}", page.prot.name) for page in sorted(pages, key=lambda page: page.gpa)]
        if rows:
            yield _html.table("pages held one by one", ("gpa", "frame", "for"), rows)
        if batches:
            yield _html.table("pages held together", ("pages", "for"), [(f"{one.count():,}", one.prot.name) for one in batches])

    # -- state ------------------------------------------------------------------------------------------------------

    @property
    def holds(self) -> int:
        """How many pages are held; those of ``hold_many`` count each."""
        self.gate.check_alive()
        return self._count()

    def _count(self) -> int:
        return len(self._pages) + sum(batch.count() for batch in tuple(self._batches))

    @property
    def orphaned(self) -> bool:
        """Whether the space is gone; also after ``destroy``."""
        return bool(self.gate.state & State.ORPHANED)

    @property
    def kicked(self) -> bool:
        """Whether the vCPU was asked to leave; cleared by ``table_exit``."""
        self.gate.check_alive()
        return self.gate.kicked

    # -- look-ups ---------------------------------------------------------------------------------------------------

    def _find(self, gpa: int, prot: int) -> int:
        """Leaf index of a page, made resident; or minus the fault code. The gate's lock is held."""
        core = self.core
        if gpa >= core.size:
            return -int(FaultCode.NOMAP)
        table, format = core.table, core.format
        leaf: int = kernels.walk.look_up(
            table.levels,
            core.mappings.extents,
            table.words,
            gpa >> PAGE_SHIFT,
            format.need[prot],
            format.deny[prot],
            prot,
        )
        return leaf

    def _find_many(self, gpas: U64Array, prot: int, *, bytes_needed: bool) -> tuple[U64Array, U64Array]:
        """Leaf indices and PFNs of pages, all made resident or, if one cannot be had, none; the gate's lock is held."""
        core = self.core
        table, format, extents = core.table, core.format, core.mappings.extents
        leaves, pfns = np.empty(gpas.size, np.uint64), np.empty(gpas.size, np.uint64)
        n, code, n_absent = kernels.walk.find_many(
            table.levels, extents, gpas, core.size, format.need[prot], format.deny[prot], prot, leaves, pfns
        )
        if code:
            check_aligned(gpas)
            raise _fault(int(gpas[n]), prot, code)
        if bytes_needed:
            core.frames_of(pfns)
        if n_absent:
            kernels.walk.install_many(table.levels, extents, table.words, gpas, leaves)
        return leaves, pfns

    def hold(self, gpa: SupportsIndex, prot: SupportsIndex, *, defer_dirty: bool = False) -> VmPage:
        """Hold a page, making it resident if it is not.

        Parameters
        ----------
        gpa
            Byte address, page-aligned.
        prot
            What for; READ or WRITE at least.
        defer_dirty
            Do not mark the page dirty at its release, unless ``mark_dirty`` was called.

        Raises
        ------
        InvalidArgument
            Unaligned, or a protection without READ and WRITE.
        Orphaned
            The space is gone.
        Fault
            Nothing is mapped there (``NOMAP``), or not for that (``PROT``).
        Deadlock
            In a callback, or on CPU in this space while it keeps look-ups out.

        Notes
        -----
        Source: ``vmc_hold_ext()``, vmm_vm.c 1118-1156 at 59d65d31.
        """
        if type(gpa) is not int or type(prot) is not Prot or defer_dirty is not False:
            gpa, bits, defer_dirty = as_int(gpa, "gpa"), as_int(prot, "prot"), as_flag(defer_dirty, "defer_dirty")
            gpa, prot = self._check(gpa, bits)
        gate, find = self.gate, self._find_resident
        page = VmPage()  # filled in here: an __init__ would cost as much as the look-up
        page._client = self
        page._gpa = gpa
        page._prot = prot
        page._windows = []
        page._object = page._keeper = page._next = page._before = None
        try:
            page._writes = _WRITES[prot] and not defer_dirty
            with gate.lock:
                if not gate.state:
                    leaf, address = find(self._contexts[prot], gpa)
                    page._leaf, page._address = leaf, address
                    if leaf < 0:
                        self._take(page, gpa, prot)
                    self._pages.add(page)
                    return page
            self._check(gpa, prot)
            with gate.turn(), gate.lock:
                gate.go_in()
                self._take(page, gpa, prot)
                self._pages.add(page)
                return page
        except BaseException as error:
            self.abandon(page)
            if isinstance(error, (OverflowError, IndexError)):  # numbers that no kernel takes
                self._check(gpa, prot)
            raise

    def _check(self, gpa: int, prot: int) -> tuple[int, Prot]:
        self.gate.check_usable()
        return as_aligned(gpa), as_prot(prot, any_of=_RW)

    def _take(self, page: VmPage, gpa: int, prot: Prot) -> None:
        """Look a page up and have it; the gate's lock is held."""
        self._check(gpa, prot)
        leaf = self._find(gpa, int(prot))
        if leaf < 0:
            raise _fault(gpa, prot, -leaf)
        page._leaf, page._address = leaf, self._cells[leaf] & ADDRESS

    def hold_many(self, gpas: Any, prot: SupportsIndex, *, defer_dirty: bool = False) -> VmPages:
        """Hold many pages, or none if one of them cannot be held.

        Parameters
        ----------
        gpas
            Byte addresses, page-aligned; integer array of shape ``(n,)``.
        prot, defer_dirty
            As for ``hold``.

        Raises
        ------
        InvalidArgument, Orphaned, Fault, Deadlock
            As for ``hold``; ``Fault`` is for the first page that cannot be held.
        """
        as_int(prot, "prot")
        defer = as_flag(defer_dirty, "defer_dirty")
        integers = as_integers(gpas, "gpas")
        self.gate.check_usable()
        pages, prot = as_gpas(integers).copy(), as_prot(prot, any_of=_RW)  # the caller's array stays the caller's
        bits = int(prot)
        if self.gate.state:
            check_aligned(pages)  # now, because it will not come to a look-up, or late
        batch = VmPages(self, pages, prot, not defer and bool(bits & _WRITE))
        try:
            self.gate.look(self._take_all, batch, bits)
            return batch
        except BaseException:
            self.abandon_batch(batch)
            raise

    def _take_all(self, batch: VmPages, prot: int) -> None:
        batch.settle(*self._find_many(batch._gpas, prot, bytes_needed=False))
        self._batches.add(batch)

    def fault(self, gpa: SupportsIndex, prot: SupportsIndex) -> None:
        """Make a page resident, as for a vCPU that faulted on it.

        Parameters
        ----------
        gpa
            Byte address, anywhere in the page.
        prot
            The access: READ, WRITE or EXEC.

        Raises
        ------
        Orphaned, Fault, Deadlock
            As for ``hold``.

        Notes
        -----
        Source: ``vmc_fault()``, vmm_vm.c 1167-1180 at 59d65d31.
        """
        as_int(gpa, "gpa"), as_int(prot, "prot")
        self.gate.check_usable()
        gpa, prot = page_down(as_address(gpa)), as_prot(prot, any_of=_RWX)
        code = self.serve(gpa, int(prot))
        if code:
            raise _fault(gpa, prot, code)

    def serve(self, gpa: int, prot: int) -> int:
        """Internal: the same for checked arguments; the fault code, or 0."""
        code: int = self.gate.look(self._serve, gpa, prot)
        return code

    def _serve(self, gpa: int, prot: int) -> int:
        leaf = self._find(gpa, prot)
        self.gate.faults += 1
        return max(-leaf, 0)

    def fault_many(self, gpas: Any, prot: SupportsIndex) -> U8Array:
        """Make many pages resident, each by itself.

        Parameters
        ----------
        gpas
            Byte addresses, anywhere in the pages; integer array of shape ``(n,)``.
        prot
            The access: READ, WRITE or EXEC.

        Returns
        -------
        numpy.ndarray
            ``uint8``, shape ``(n,)``: 0 where the page is resident now, else a ``FaultCode``.

        Raises
        ------
        Orphaned, Deadlock
            As for ``hold``.
        """
        as_int(prot, "prot")
        integers = as_integers(gpas, "gpas")
        self.gate.check_usable()
        pages, prot = as_gpas(integers), as_prot(prot, any_of=_RWX)
        outcomes: U8Array = self.gate.look(self._serve_many, pages, int(prot))
        return outcomes

    def _serve_many(self, pages: U64Array, prot: int) -> U8Array:
        core = self.core
        table, format = core.table, core.format
        outcomes, ahead = np.zeros(pages.size, np.uint8), np.empty(kernels.walk.AHEAD, np.uint64)
        kernels.walk.look_up_many(
            table.levels, core.mappings.extents, table.words, pages, core.size,
            format.need[prot], format.deny[prot], prot, outcomes, ahead,
        )  # fmt: skip
        self.gate.faults += pages.size
        return outcomes

    # -- bytes ------------------------------------------------------------------------------------------------------

    def read(self, gpa: SupportsIndex, n: SupportsIndex) -> bytes:
        """Copy bytes out of the guest, across pages.

        Parameters
        ----------
        gpa
            Byte address.
        n
            How many bytes; may be 0.

        Raises
        ------
        InvalidArgument, AddressOverflow, Orphaned, Fault, Deadlock
            As for ``hold``.
        NotSupported
            A page is MMIO, or the reservoir is unbacked.
        """
        gpa, n = as_int(gpa, "gpa"), as_int(n, "n")
        if 0 < n <= PAGE_SIZE - (gpa & PAGE_MASK):
            text = self._exchange(gpa, n, None)
            if text is not None:
                return text
        self.gate.check_usable()
        _check_bytes_range(gpa, n)
        whole: bytes = self.gate.look(self._read, gpa, n)
        return whole

    def _exchange(self, gpa: int, n: int, source: Any) -> bytes | None:
        """Read bytes of one page, or write them if there are some: at once, or not at all and return None."""
        gate, core, find = self.gate, self.core, self._find_resident
        try:
            with gate.lock:
                if gate.state:
                    return None
                leaf, address = find(self._contexts[_READ if source is None else _WRITE], gpa & ~PAGE_MASK)
                start = address + (gpa & PAGE_MASK) - core.base_address
                if leaf < 0 or not 0 <= start < core.memory.size:
                    return None
                if source is None:
                    return core.windows[0][start : start + n].tobytes()
                try:
                    core.windows[1][start : start + n] = source
                    self._mark_written(leaf)
                except BaseException:
                    self._mark_written(leaf)
                    raise
                return b""
        except OverflowError:  # a number that no kernel takes
            return None

    def _mark_written(self, leaf: int) -> None:
        if self.core.tracking:
            self._mark_page(leaf)

    def _read(self, gpa: int, n: int) -> bytes:
        self._check_mapped(gpa, n)
        frames, _ = self._frames(gpa, n, _READ)
        return b"".join(_pieces(self.core.windows[0], frames, gpa & PAGE_MASK, n))

    def write(self, gpa: SupportsIndex, data: Any) -> None:
        """Copy bytes into the guest, across pages; all pages are found before the first byte is written.

        Parameters
        ----------
        gpa
            Byte address.
        data
            Anything that has bytes; may be empty.

        Raises
        ------
        InvalidArgument, AddressOverflow, Orphaned, Fault, Deadlock
            As for ``hold``.
        NotSupported
            A page is MMIO, or the reservoir is unbacked.
        """
        gpa = as_int(gpa, "gpa")
        small = data if type(data) is bytes else as_bytes(data)
        n = len(small)
        if 0 < n <= PAGE_SIZE - (gpa & PAGE_MASK) and self._exchange(gpa, n, small) is not None:
            return
        self.gate.check_usable()
        _check_bytes_range(gpa, n)
        source = as_bytes(small)
        if np.may_share_memory(source, self.core.memory):
            source = source.copy()
        self.gate.look(self._write, gpa, source)

    def _write(self, gpa: int, source: U8Array) -> None:
        frames, leaves = self._frames(gpa, source.size, _WRITE)
        try:
            kernels.frames.copy_in(self.core.memory, frames, gpa & PAGE_MASK, source)
            self._mark(leaves)
        except BaseException:
            self._mark(leaves)
            raise

    def _check_mapped(self, gpa: int, n: int) -> None:
        """Fault on a hole before memory is taken for what lies around it."""
        end = self.core.mappings.covered_from(gpa) if n else gpa
        if end < gpa + n:
            raise _fault(max(page_down(gpa), end), _READ, FaultCode.NOMAP)

    def _frames(self, gpa: int, n: int, prot: int) -> tuple[U64Array, U64Array]:
        """Frames and leaves of the pages of a byte range; the gate's lock is held."""
        first = page_down(gpa)
        n_pages = -(-(gpa + n - first) // PAGE_SIZE) if n else 0
        pages = np.uint64(first) + np.arange(n_pages, dtype=np.uint64) * np.uint64(PAGE_SIZE)
        leaves, pfns = self._find_many(pages, prot, bytes_needed=True)
        return self.core.frames_of(pfns), leaves

    def release_all(self) -> int:
        """Release every page that this client holds.

        Returns
        -------
        int
            How many there were.
        """
        self.gate.check_usable()
        released = self._count()
        for batch in tuple(self._batches):
            with suppress(StaleHandle):  # another thread was quicker
                batch.release()
        self.end_pages(lambda: list(self._pages))
        return released

    # -- vCPU -------------------------------------------------------------------------------------------------------

    def table_enter(self) -> int:
        """A vCPU begins to use the tables.

        Returns
        -------
        int
            The generation; cached translations of another one must be flushed.

        Raises
        ------
        Orphaned
            The space is gone or being closed.
        Busy
            One is inside already.
        Deadlock
            It would have to wait for a call of this very thread.

        Notes
        -----
        A thread that dies while inside is noticed, and counts as outside, unless Python's ``threading`` did not start it.

        Source: ``vmc_table_enter()``, vmm_vm.c 907-926 at 59d65d31, which reads the generation too early (line 920).
        """
        return self.gate.enter(self)

    def table_exit(self) -> None:
        """The vCPU does not use the tables any more.

        Raises
        ------
        InvalidArgument
            None was inside.

        Notes
        -----
        Source: ``vmc_table_exit()``, vmm_vm.c 933-946 at 59d65d31.
        """
        self.gate.exit(self)

    # -- callbacks, clones, the end ---------------------------------------------------------------------------------

    def on_invalidate(self, callback: Callable[[int, int], object] | None) -> None:
        """Have a function called with ``(gpa, length)`` whenever cached views of a range become stale.

        Parameters
        ----------
        callback
            Or None, for no more calls: once this returns, the old one does not run any more. It may release pages and read
            the space; all else raises ``Deadlock`` in it.

        Raises
        ------
        Orphaned, Deadlock
            As for ``hold``.

        Notes
        -----
        Source: ``vmc_set_inval_cb()``, vmm_vm.c 1199-1212 at 59d65d31.
        """
        if callback is not None and not callable(callback):
            raise TypeError(f"callback must be callable or None, not {type(callback).__name__}")
        self.gate.check_usable()
        self.gate.look(setattr, self.gate, "callback", callback)

    def clone(self) -> "VmClient":
        """Another client of the same space, with neither holds nor callback.

        Raises
        ------
        Orphaned
            The space is gone or being closed.
        Deadlock
            In a callback.

        Notes
        -----
        Source: ``vmc_clone()``, vmm_vm.c 1187-1193 at 59d65d31.
        """
        self.gate.refuse()
        try:
            return VmClient(self.core)
        except StaleHandle:
            raise Orphaned("the space of this client is gone") from None

    def destroy(self) -> None:
        """End the client. Does nothing the second time.

        Raises
        ------
        Busy
            It holds pages, or a vCPU is inside.
        Deadlock
            In a callback.

        Notes
        -----
        Source: ``vmc_destroy()``, vmm_vm.c 1221-1266 at 59d65d31.
        """
        gate = self.gate
        if gate.state & State.DESTROY:
            return
        self._check_own()
        if not gate.state & State.ORPHANED:
            gate.exclusion.check_may_change()
        with gate.exclusion.lock, gate.lock:
            if self._pages or self._batches:
                raise Busy(f"the client holds {self._count()} pages; release them first")
            if gate.is_occupied():
                raise Busy("a vCPU is inside through this client; it must exit first")
            gate.exclusion.part(gate)


def _fault(gpa: int, prot: int, code: int) -> Fault:
    why = "nothing is mapped there" if code == FaultCode.NOMAP else "the mapping forbids it"
    return Fault(f"{Prot(prot).name} of the page at {gpa:#x}: {why}", FaultCode(code))


def _pieces(window: memoryview, frames: U64Array, skip: int, n: int) -> list[memoryview]:
    """``n`` bytes of frames that follow each other in the guest, from byte ``skip`` on; a piece for what lies side by side."""
    pieces: list[memoryview] = []
    breaks = (np.flatnonzero(np.diff(frames) != 1) + 1).tolist() if n else []
    for first, end in pairwise([0, *breaks, frames.size] if n else []):
        start = (int(frames[first]) << PAGE_SHIFT) + skip
        size = min(((end - first) << PAGE_SHIFT) - skip, n)
        pieces.append(window[start : start + size])
        skip, n = 0, n - size
    return pieces


def _check_bytes_range(gpa: int, n: int) -> None:
    check_overflow(as_address(gpa), as_address(n, "n"))


def as_bytes(data: Any) -> U8Array:
    """The bytes of anything that has some, without a copy where they are contiguous."""
    try:
        view = memoryview(data)
    except (TypeError, ValueError):
        raise TypeError(f"data must be bytes-like, not {type(data).__name__}") from None
    if "O" in view.format:  # pointers of this process are nobody's data
        raise TypeError("data must be bytes-like, not an array of objects")
    return np.frombuffer(view if view.c_contiguous else view.tobytes(), np.uint8)
