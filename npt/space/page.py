"""``VmPage`` and ``VmPages``: claims on resident pages, one and many.

Theory of operation
-------------------
A view of a page is a numpy array over a memoryview of its own, its *window*, which everything derived from the view keeps
alive. The page keeps the windows of its views; at release, and not before, it counts who else knows them. A window that
nobody else knows belongs to views that are dead, and no weak reference of anybody's brings them back; the others the
reservoir watches. (This costs half of what a weak reference on each view does.)

Guarantees: a view that lives when its page is released is watched before the page's frame can be freed.
Relies on:  ``numpy.frombuffer`` making a memoryview for each array; no free-threading.
"""

from collections.abc import Iterable
from sys import getrefcount
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self

import numpy as np
from numpy import frombuffer

from npt import _html, kernels
from npt._types import Handle, Prot, U8Array, U64Array
from npt.errors import AccessDenied, Busy, InvalidArgument, StaleHandle
from npt.memory.backing import U8
from npt.memory.objects import VmObject
from npt.units import PAGE_SHIFT, PAGE_SIZE, as_select, check_bitmap_type, check_writable

if TYPE_CHECKING:
    from npt.space.client import VmClient

__all__ = ["VmPage", "VmPages"]

_NO_PAGES = np.empty(0, np.uint64)
_NO_LEAF = np.uint64(2**64 - 1)
_MANY_VIEWS = 16
_NO_WINDOWS: Any = ()


def _references() -> tuple[int, int]:
    """How many references a window has that only its list knows: asked in a loop over that, and by index."""
    windows = [memoryview(b"")]
    for window in windows:
        in_loop = getrefcount(window)
    del window
    return in_loop, getrefcount(windows[0])


_KNOWN_TO_LOOP, _KNOWN_TO_LIST = _references()  # they differ by Python's version
_READS = (False, True, False, True, False, True, False, True)  # by protection
_WRITES = (False, False, True, True, False, False, True, True)


class VmPage(Handle):
    """A client's claim on one resident page; from ``VmClient.hold``.

    The page stays readable and writable until its release, even when it is unmapped or the space destroyed meanwhile. What
    was written is in the dirty log from the release on.

    Notes
    -----
    Source: ``struct vm_page``, vmm_vm.c 202-212 at 59d65d31.
    """

    __slots__ = (
        "__weakref__",
        "_address", "_before", "_client", "_gpa", "_keeper", "_leaf", "_next", "_object", "_prot", "_windows", "_writes",
    )  # fmt: skip

    _client: "VmClient | None"  # None when released
    _gpa: int
    _prot: Prot
    _writes: bool  # dirty at release
    _leaf: int  # flat index of the entry, while the page is mapped
    _address: int  # in the host
    _windows: list[Any]  # of its views
    _object: VmObject | None  # referenced since the page was unmapped
    _keeper: object  # of the mapping that it was in
    _next: "VmPage | None"
    _before: "VmPage | None"

    def __repr__(self) -> str:
        state = "released" if self._client is None else "unmapped" if self._object is not None else "held"
        return f"<VmPage {self._gpa:#x} {self._prot.name}, pfn {self._pfn:#x}, {state}>"

    def forget(self, keeper: object, obj: VmObject) -> None:
        """Internal: it is unmapped, and kept by a reference to the object."""
        self._keeper, self._object = keeper, obj

    def remember(self, keeper: object) -> bool:
        """Internal: undo that, if it was for this mapping; say whether there may be a reference to be dropped."""
        if self._object is not None and self._keeper != keeper:
            return False
        self._keeper = self._object = None
        return True

    def _holder(self) -> "VmClient":
        if self._client is None:
            raise StaleHandle(f"the page at {self._gpa:#x} was released")
        return self._client

    @property
    def gpa(self) -> int:
        """Guest-physical byte address of the page; also after its release."""
        return self._gpa

    @property
    def pfn(self) -> int:
        """Host frame number."""
        self._holder()
        return self._pfn

    @property
    def _pfn(self) -> int:
        return self._address >> PAGE_SHIFT

    @property
    def prot(self) -> Prot:
        """What it was held for."""
        self._holder()
        return self._prot

    @property
    def next(self) -> "VmPage | None":
        """The page chained to this one."""
        self._holder()
        return self._next

    # -- bytes ------------------------------------------------------------------------------------------------------

    def readable(self) -> U8Array:
        """The page's bytes, read-only.

        Returns
        -------
        numpy.ndarray
            ``uint8``, shape ``(4096,)``; guest memory itself, not a copy. It may be kept beyond the release: the frame is
            then kept from reuse until the last view of it is gone.

        Raises
        ------
        StaleHandle
            The page was released.
        AccessDenied
            It was not held for reading.
        NotSupported
            It is MMIO, or its reservoir is unbacked.

        Notes
        -----
        Source: ``vmp_get_readable()``, vmm_vm.c 1283-1289 at 59d65d31.
        """
        windows = self._windows  # first: a release takes them away last
        client = self._client
        if client is None or not _READS[self._prot]:
            self._deny(Prot.READ)
        core = client.core
        try:
            view = frombuffer(core.windows[0], U8, PAGE_SIZE, self._address - core.base_address)
        except ValueError:  # outside the memory
            core.frame_of(self._pfn)
            raise
        windows.append(view.base)  # before it is looked whether the page is still held: a release counts after that
        if self._client is None or len(windows) > _MANY_VIEWS:
            self._forget_dead_views()
        return view

    def writable(self) -> U8Array:
        """The page's bytes, to be written; otherwise as ``readable``.

        Raises
        ------
        StaleHandle
            The page was released.
        AccessDenied
            It was not held for writing.
        NotSupported
            It is MMIO, or its reservoir is unbacked.

        Notes
        -----
        Source: ``vmp_get_writable()``, vmm_vm.c 1297-1303 at 59d65d31.
        """
        windows = self._windows  # first: a release takes them away last
        client = self._client
        if client is None or not _WRITES[self._prot]:
            self._deny(Prot.WRITE)
        core = client.core
        try:
            view = frombuffer(core.windows[1], U8, PAGE_SIZE, self._address - core.base_address)
        except ValueError:  # outside the memory
            core.frame_of(self._pfn)
            raise
        windows.append(view.base)  # before it is looked whether the page is still held: a release counts after that
        if self._client is None or len(windows) > _MANY_VIEWS:
            self._forget_dead_views()
        return view

    def _deny(self, need: Prot) -> NoReturn:
        self._holder()
        raise AccessDenied(f"the page at {self._gpa:#x} is held for {self._prot.name}, not for {need.name}")

    def _forget_dead_views(self) -> None:
        with self._holder().gate.lock:  # one thread at a time, and no release meanwhile
            self._holder()
            for i in reversed(range(len(self._windows))):
                if getrefcount(self._windows[i]) <= _KNOWN_TO_LIST:
                    del self._windows[i]  # in place: another thread may be appending

    def forget_windows(self) -> None:
        """Internal: the reservoir watches them, and the page must not keep them alive."""
        self._windows = _NO_WINDOWS

    def living_windows(self) -> list[Any]:
        """Internal: windows of views that are still in somebody's hands."""
        windows = self._windows
        return [windows[i] for i in range(len(windows)) if getrefcount(windows[i]) > _KNOWN_TO_LIST]

    def mark_dirty(self) -> None:
        """Take ``defer_dirty`` back: the page will be dirty from its release on.

        Raises
        ------
        StaleHandle
            The page was released.
        AccessDenied
            It was not held for writing.

        Notes
        -----
        Source: ``vmp_mark_dirty()``, vmm_vm.c 1318-1324 at 59d65d31.
        """
        self._holder()
        if not _WRITES[self._prot]:
            self._deny(Prot.WRITE)
        self._writes = True

    # -- chains -----------------------------------------------------------------------------------------------------

    def chain(self, page: "VmPage") -> None:
        """Put a page behind this one, so that ``release_chain`` releases both.

        Raises
        ------
        StaleHandle
            Either was released.
        InvalidArgument
            The page is another client's, or the chain would be a ring.
        Busy
            This page has a next one already, or the other one a page before it.

        Notes
        -----
        Source: ``vmp_chain()``, vmm_vm.c 1329-1335 at 59d65d31.
        """
        if not isinstance(page, VmPage):
            raise TypeError(f"page must be a VmPage, not {type(page).__name__}")
        client = self._holder()
        if page._holder() is not client:
            raise InvalidArgument("the page was held through another client")
        with client.gate.lock:
            self._holder(), page._holder()  # still
            last: VmPage | None = page
            while last is not None:
                if last is self:
                    raise InvalidArgument(f"chaining {page._gpa:#x} to {self._gpa:#x} would make a ring")
                last = last._next
            if self._next is not None or page._before is not None:
                raise Busy(f"a page can be chained once; {self._gpa:#x} to {page._gpa:#x} would be the second time")
            self._next, page._before = page, self

    def chained(self) -> "list[VmPage]":
        """Internal: this page and all behind it."""
        pages: list[VmPage] = []
        page: VmPage | None = self
        while page is not None:
            pages.append(page)
            page = page._next
        return pages

    def _chain_held(self) -> "list[VmPage]":
        self._holder()
        return self.chained()

    def is_first(self) -> bool:
        """Internal: whether no page is before it."""
        return self._before is None

    def n_chained(self) -> int:
        """Internal: how many know this page that are not its user: neighbours in the chain, and the object it keeps."""
        return (self._next is not None) + (self._before is not None) + (self._object is not None)

    def unchain(self) -> None:
        """Internal: leave the chain; the pages on either side close up."""
        if self._before is not None:
            self._before._next = self._next
        if self._next is not None:
            self._next._before = self._before
        self._next = self._before = None

    # -- the end ----------------------------------------------------------------------------------------------------

    def release(self) -> bool:
        """Give the page up.

        Returns
        -------
        bool
            Whether it was unmapped meanwhile.

        Raises
        ------
        StaleHandle
            It was released before.

        Notes
        -----
        Sets D and A if the page was held for writing, not deferred, tracking is on and it is still mapped.
        Source: ``vmp_release()``, vmm_vm.c 1385-1396 at 59d65d31.
        """
        client = self._client
        if client is None:
            client = self._holder()
        gate = client.gate
        try:
            with gate.lock:  # as Holding.end does it, for one page without a call
                if self._client is None or gate.state:
                    client.check_end(self)
                if self._writes and self._object is None and client.core.tracking:
                    client._mark_page(self._leaf)
                self._client = None
                for window in self._windows:
                    if getrefcount(window) > _KNOWN_TO_LOOP:
                        client.watch(self)
                        break
                self._windows = _NO_WINDOWS
                if self._next is not None or self._before is not None:
                    self.unchain()
                client._pages.discard(self)
            return self._object is not None and client.bury([self]) > 0
        except BaseException:
            client.bury([self])
            raise

    def release_chain(self) -> bool:
        """Give up this page and all that are chained behind it.

        Returns
        -------
        bool
            Whether any was unmapped meanwhile.

        Raises
        ------
        StaleHandle
            This page was released before.

        Notes
        -----
        Source: ``vmp_release_chain()``, vmm_vm.c 1405-1427 at 59d65d31.
        """
        return self._holder().end_pages(self._chain_held) > 0

    def __enter__(self) -> Self:
        self._holder()
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._client is not None:
            self.release()


class VmPages(Handle):
    """A client's claim on many resident pages; from ``VmClient.hold_many``.

    Attributes
    ----------
    leaves : numpy.ndarray
        Internal: flat index of each page's entry, while it is mapped.
    """

    def __init__(self, client: "VmClient", gpas: U64Array, prot: Prot, writes: bool) -> None:
        self._client: VmClient | None = client
        self._gpas = gpas
        self.leaves = self._pfns = _NO_PAGES
        self._prot = prot
        self._writes: Any = writes  # dirty at release: all, none, or which
        self._forgotten: dict[object, tuple[VmObject, Any]] = {}  # by mapping that was unmapped: object, which pages

    def __repr__(self) -> str:
        state = ", released" if self._client is None else ""
        return f"<VmPages of {self._gpas.size} pages {self._prot.name}{state}>"

    def _shown(self) -> Iterable[str]:
        rows = ((f"{gpa:#x}", f"{pfn:#x}") for gpa, pfn in zip(self._gpas, self._pfns, strict=True))
        yield _html.table("pages", ("gpa", "frame"), rows, self._gpas.size)

    def __len__(self) -> int:
        self._holder()
        return self._gpas.size

    def _holder(self) -> "VmClient":
        if self._client is None:
            raise StaleHandle("the pages were released")
        return self._client

    @property
    def prot(self) -> Prot:
        """What they were held for."""
        self._holder()
        return self._prot

    def n_chained(self) -> int:
        """Internal: how many know this batch that are not its user: the objects it keeps."""
        return len(self._forgotten)

    def settle(self, leaves: U64Array, pfns: U64Array) -> None:
        """Internal: the look-up has found them."""
        self.leaves, self._pfns = leaves, pfns

    def _unmapped(self) -> Any:
        """Which pages were unmapped since they were held."""
        unmapped = np.zeros(self._gpas.size, np.bool_)
        for _, pages in self._forgotten.values():
            unmapped |= pages
        return unmapped

    def count(self) -> int:
        """Internal: how many pages, also after the release."""
        return self._gpas.size

    def let_go(self) -> None:
        """Internal: no client has them any more."""
        self._client = None

    @property
    def gpas(self) -> U64Array:
        """Byte addresses, as given; ``uint64``, shape ``(n,)``, read-only."""
        self._holder()
        self._gpas.flags.writeable = False  # now: in most batches nobody asks
        return self._gpas

    @property
    def pfns(self) -> U64Array:
        """Host frame numbers; ``uint64``, shape ``(n,)``, read-only."""
        self._holder()
        self._pfns.flags.writeable = False
        return self._pfns

    def gather(self, *, out: U8Array | None = None) -> U8Array:
        """Copy the pages out.

        Parameters
        ----------
        out
            Where to: ``uint8``, shape ``(n, 4096)``, C-contiguous, writable, and no memory of the guest's own. A new array
            costs more than the copy does, so keep one for what is done again and again.

        Returns
        -------
        numpy.ndarray
            ``uint8``, shape ``(n, 4096)``; ``out``, if it was given.

        Raises
        ------
        StaleHandle
            The pages were released.
        InvalidArgument
            ``out`` does not fit.
        AccessDenied
            They were not held for reading.
        NotSupported
            One is MMIO, or the reservoir is unbacked.
        """
        if out is not None:
            check_bitmap_type(out, "out")
        client, core = self._holder(), self._holder().core
        if out is not None:
            self._check_shape(out, "out")
            check_writable(out, "out", core.memory, *core.table.levels)
        self._check(Prot.READ)
        frames = core.frames_of(self._pfns)
        pages = np.empty((frames.size, PAGE_SIZE), np.uint8) if out is None else out
        with client.gate.lock:  # no release frees the frames meanwhile
            self._holder()
            kernels.frames.gather(core.memory, frames, pages.reshape(-1))
        return pages

    def _check_shape(self, pages: U8Array, name: str) -> None:
        if pages.shape != (self._gpas.size, PAGE_SIZE):
            raise InvalidArgument(f"{name} must be of shape ({self._gpas.size}, {PAGE_SIZE}), not {pages.shape}")

    def scatter(self, data: Any) -> None:
        """Copy into the pages.

        Parameters
        ----------
        data
            ``uint8``, shape ``(n, 4096)``.

        Raises
        ------
        StaleHandle
            The pages were released.
        InvalidArgument
            Another shape.
        AccessDenied
            They were not held for writing.
        NotSupported
            One is MMIO, or the reservoir is unbacked.
        """
        check_bitmap_type(data, "data")
        client, core = self._holder(), self._holder().core
        self._check_shape(data, "data")
        self._check(Prot.WRITE)
        frames = core.frames_of(self._pfns)
        if np.may_share_memory(data, core.memory):
            data = data.copy()
        source = np.ascontiguousarray(data).reshape(-1)
        with client.gate.lock:  # no release frees the frames meanwhile
            self._holder()
            kernels.frames.scatter(core.memory, core.words, frames, source)

    def mark_dirty(self, select: U8Array | None = None) -> None:
        """Take ``defer_dirty`` back for all pages, or for those selected.

        Parameters
        ----------
        select
            Bitmap, ``uint8``, at least ``ceil(n / 8)`` bytes; bit k of byte j is page ``8 * j + k`` of these.

        Raises
        ------
        StaleHandle
            The pages were released.
        InvalidArgument
            ``select`` is too short.
        AccessDenied
            They were not held for writing.
        """
        if select is not None:
            check_bitmap_type(select, "select")
        client = self._holder()
        chosen: Any = True
        if select is not None:
            chosen = np.unpackbits(as_select(select, self._gpas.size), count=self._gpas.size, bitorder="little").view(bool)
        self._check(Prot.WRITE)
        with client.gate.lock:  # one thread at a time
            self._writes = self._writes | chosen

    def written_leaves(self) -> U64Array:
        """Internal: entries to be marked dirty at release."""
        if self._writes is False:
            return self.leaves[:0]
        if self._writes is True and not self._forgotten:  # nearly always
            return self.leaves
        return np.where(self._writes & ~self._unmapped(), self.leaves, _NO_LEAF)

    def forget(self, gpa: int, length: int, keeper: object, obj: VmObject) -> None:
        """Internal: a range is being unmapped; keep its pages by references to the object."""
        inside = (self._gpas >= np.uint64(gpa)) & (self._gpas < np.uint64(gpa + length)) & ~self._unmapped()
        n = int(np.count_nonzero(inside))
        if n:
            obj.acquire((self, keeper), n)
            self._forgotten[keeper] = obj, inside

    def remember(self, keeper: object, obj: VmObject) -> None:
        """Internal: undo that."""
        self._forgotten.pop(keeper, None)
        obj.drop((self, keeper))

    def drop_objects(self) -> int:
        """Internal: drop the references; return how many pages were unmapped."""
        if not self._forgotten:
            return 0
        for keeper, (obj, _) in self._forgotten.items():
            obj.drop((self, keeper))
        return int(np.count_nonzero(self._unmapped()))

    def release(self) -> int:
        """Give the pages up.

        Returns
        -------
        int
            How many were unmapped meanwhile.

        Raises
        ------
        StaleHandle
            They were released before.
        """
        return self._holder().end_batch(self)

    def _check(self, need: Prot) -> None:
        if not self._prot & need:
            raise AccessDenied(f"the pages are held for {self._prot.name}, not for {need.name}")

    def __enter__(self) -> Self:
        self._holder()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._client is not None:
            self.release()
