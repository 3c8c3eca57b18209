"""``VmPage`` and ``VmPages``: claims on resident pages, one and many.

A client keeps the claims; users have handles of them. So a page whose handle is dropped stays held.
"""

import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from npt._types import Prot
from npt.errors import AccessDenied, Busy, InvalidArgument, StaleHandle
from npt.testing.oracle.arguments import PAGE_SIZE, Handle, bitmap, bitmap_type, written
from npt.testing.oracle.entries import Leaf
from npt.testing.oracle.objects import RamObject

if TYPE_CHECKING:
    from npt.testing.oracle.client import VmClient

__all__ = ["Batch", "Claim", "VmPage", "VmPages"]


@dataclass(eq=False)
class Claim:
    """One held page."""

    gpa: int
    prot: Prot
    leaf: Leaf
    writes: bool  # dirty at release
    lost: bool = False  # unmapped meanwhile, and kept by a reference to the object
    next: "Claim | None" = None
    before: "Claim | None" = None
    handle: "weakref.ref[VmPage] | None" = None

    def memory(self) -> bytearray:
        """The page's bytes."""
        return self.leaf.obj.page(self.leaf.number)

    def chain(self) -> "list[Claim]":
        """This claim and all behind it."""
        claims = [self]
        while claims[-1].next is not None:
            claims.append(claims[-1].next)
        return claims

    def unchain(self) -> None:
        """Leave the chain; the claims on either side close up."""
        if self.before is not None:
            self.before.next = self.next
        if self.next is not None:
            self.next.before = self.before
        self.next = self.before = None

    def is_known(self) -> bool:
        """Whether somebody has a handle of it."""
        return self.handle is not None and self.handle() is not None

    def handle_or_new(self, client: "VmClient") -> "VmPage":
        """The handle that somebody has of it, or one for nobody else."""
        known = self.handle() if self.handle is not None else None
        return VmPage(client, self) if known is None else known


@dataclass(eq=False)
class Batch:
    """Pages that are held together."""

    claims: list[Claim]
    prot: Prot
    handle: "weakref.ref[VmPages] | None" = None

    def is_known(self) -> bool:
        """Whether somebody has a handle of it."""
        return self.handle is not None and self.handle() is not None

    def handle_or_new(self, client: "VmClient") -> "VmPages":
        """The handle that somebody has of it, or one for nobody else."""
        known = self.handle() if self.handle is not None else None
        return VmPages(client, self) if known is None else known


class VmPage(Handle):
    """A client's claim on one page; from ``VmClient.hold``."""

    def __init__(self, client: "VmClient", claim: Claim) -> None:
        self._client = client
        self._claim = claim
        self._released = False
        claim.handle = weakref.ref(self)

    def _held(self) -> Claim:
        if self._released:
            raise StaleHandle("the page was released")
        return self._claim

    @property
    def gpa(self) -> int:
        """Its address; also after its release."""
        return self._claim.gpa

    @property
    def pfn(self) -> int:
        """Its host frame."""
        return self._held().leaf.pfn

    @property
    def prot(self) -> Prot:
        """What it was held for."""
        return self._held().prot

    # -- bytes ----------------------------------------------------------------------------------------------------------

    def readable(self) -> NDArray[np.uint8]:
        """Its bytes, read-only."""
        return self._view(Prot.READ)

    def writable(self) -> NDArray[np.uint8]:
        """Its bytes."""
        return self._view(Prot.WRITE)

    def _view(self, need: Prot) -> NDArray[np.uint8]:
        claim = self._held()
        _check_prot(claim.prot, need)
        memory, obj = claim.memory(), claim.leaf.obj
        assert isinstance(obj, RamObject)  # it has bytes
        return obj.reservoir.view(claim.leaf.pfn, memory, writable=need is Prot.WRITE)

    def mark_dirty(self) -> None:
        """Take ``defer_dirty`` back."""
        claim = self._held()
        _check_prot(claim.prot, Prot.WRITE)
        claim.writes = True

    # -- chains ---------------------------------------------------------------------------------------------------------

    @property
    def next(self) -> "VmPage | None":
        """The page chained to this one."""
        following = self._held().next
        return None if following is None else following.handle_or_new(self._client)

    def chain(self, page: Any) -> None:
        """Put a page behind this one: once, of the same client, and not in a ring."""
        if not isinstance(page, VmPage):
            raise TypeError(f"page must be a VmPage, not {type(page).__name__}")
        claim, following = self._held(), page._held()
        if page._client is not self._client:
            raise InvalidArgument("the page was held through another client")
        if claim in following.chain():
            raise InvalidArgument("the chain would be a ring")
        if claim.next is not None or following.before is not None:
            raise Busy("a page can be chained once")
        claim.next, following.before = following, claim

    def release_chain(self) -> bool:
        """Give up this page and all behind it; tell whether any was unmapped meanwhile."""
        pages = [claim.handle_or_new(self._client) for claim in self._held().chain()]
        return sum(page.release() for page in pages) > 0  # all of them: any() would stop at the first

    # -- the end --------------------------------------------------------------------------------------------------------

    def release(self) -> bool:
        """Give the page up; tell whether it was unmapped meanwhile."""
        claim = self._held()
        self._released = True
        claim.unchain()
        self._client.pages.remove(claim)
        return self._client.end(claim)

    def __enter__(self) -> Self:
        self._held()
        return self

    def __exit__(self, *exc_info: object) -> None:
        if not self._released:
            self.release()


class VmPages(Handle):
    """A client's claim on many pages; from ``VmClient.hold_many``."""

    def __init__(self, client: "VmClient", batch: Batch) -> None:
        self._client = client
        self._batch = batch
        self._released = False
        batch.handle = weakref.ref(self)

    def _held(self) -> list[Claim]:
        if self._released:
            raise StaleHandle("the pages were released")
        return self._batch.claims

    def __len__(self) -> int:
        return len(self._held())

    @property
    def prot(self) -> Prot:
        """What they were held for."""
        self._held()
        return self._batch.prot

    @property
    def gpas(self) -> NDArray[np.uint64]:
        """Their addresses, as given; read-only."""
        return _read_only([claim.gpa for claim in self._held()])

    @property
    def pfns(self) -> NDArray[np.uint64]:
        """Their host frames; read-only."""
        return _read_only([claim.leaf.pfn for claim in self._held()])

    def gather(self, *, out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """Copy the pages out."""
        if out is not None:
            bitmap_type(out, "out")
        claims = self._held()
        if out is not None:
            self._check_shape(out)
            written(out, "out", self._client.guest.windows())
        _check_prot(self._batch.prot, Prot.READ)
        memories = [claim.memory() for claim in claims]
        pages = np.empty((len(claims), PAGE_SIZE), np.uint8) if out is None else out
        for k, memory in enumerate(memories):
            pages[k] = np.frombuffer(memory, np.uint8)
        return pages

    def scatter(self, data: Any) -> None:
        """Copy into the pages."""
        if not isinstance(data, np.ndarray) or data.dtype != np.uint8:
            raise TypeError("data must be an array of uint8")
        claims = self._held()
        self._check_shape(data)
        _check_prot(self._batch.prot, Prot.WRITE)
        memories, rows = [claim.memory() for claim in claims], [row.tobytes() for row in data]
        for memory, row in zip(memories, rows, strict=True):
            memory[:] = row

    def _check_shape(self, pages: NDArray[np.uint8]) -> None:
        if pages.shape != (len(self._batch.claims), PAGE_SIZE):
            raise InvalidArgument(f"shape {pages.shape} does not fit the pages")

    def mark_dirty(self, select: NDArray[np.uint8] | None = None) -> None:
        """Take ``defer_dirty`` back for all of them, or for those selected."""
        if select is not None:
            bitmap_type(select, "select")
        claims = self._held()
        if select is not None:
            bitmap(select, len(claims), "select")
        _check_prot(self._batch.prot, Prot.WRITE)
        for k, claim in enumerate(claims):
            claim.writes = claim.writes or select is None or bool(int(select[k // 8]) >> k % 8 & 1)

    def release(self) -> int:
        """Give them up; tell how many were unmapped meanwhile."""
        claims = self._held()
        self._released = True
        self._client.batches.remove(self._batch)
        return sum(self._client.end(claim) for claim in claims)

    def __enter__(self) -> Self:
        self._held()
        return self

    def __exit__(self, *exc_info: object) -> None:
        if not self._released:
            self.release()


def _check_prot(prot: Prot, need: Prot) -> None:
    if not prot & need:
        raise AccessDenied(f"held for {prot!r}, not for {need!r}")


def _read_only(values: list[int]) -> NDArray[np.uint64]:
    array = np.array(values, np.uint64)
    array.flags.writeable = False
    return array
