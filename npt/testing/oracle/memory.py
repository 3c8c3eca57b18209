"""The reservoir: how much memory there is, who has it, and what its bytes are.

Frames are counted, not placed: every object gets frames of its own that no other ever had. So a stale PFN or a stale view is
seen for what it is, and PFNs of RAM cannot be compared with those of an engine that uses frames again.
"""

import weakref
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from npt.errors import Busy, InvalidArgument, NotSupported, ReservoirExhausted, StaleHandle
from npt.testing.oracle.arguments import PAGE_SIZE, Handle, flag, integer, integers, length_of, pages_of
from npt.testing.oracle.objects import FRAMES_END, RamObject

__all__ = ["Reservoir", "ReservoirUsage"]

View = weakref.ref[NDArray[np.uint8]]


class ReservoirUsage(NamedTuple):
    """Where the memory is, in bytes; ``free + allocated + quarantined`` is the size, ``transient`` comes on top."""

    free: int
    allocated: int
    transient: int
    quarantined: int
    limit: int


class Reservoir(Handle):
    """Host memory. It takes what is touched only, and so is never too large for the machine."""

    def __init__(self, size: Any, *, limit: Any = None, base_pfn: Any = 0x100000, backed: Any = True) -> None:
        limit = size if limit is None else limit
        integers(size=size, limit=limit, base_pfn=base_pfn)
        self._backed = flag(backed, "backed")
        self._size, self._limit = length_of(size, "size"), length_of(limit, "limit")
        self._base_pfn = self._next_pfn = integer(base_pfn, "base_pfn")
        if self._limit < self._size:
            raise InvalidArgument("the limit is below the size")
        if self._base_pfn < 0 or self._base_pfn + self._limit // PAGE_SIZE > FRAMES_END:
            raise InvalidArgument("frames are from 0 to below 2**33")
        self._allocated = self._transient = 0  # bytes in objects of either kind
        self._frames: dict[int, bytearray] = {}  # that were touched, by PFN
        self._views: dict[int, list[View]] = {}  # that holds gave out, by PFN
        self._quarantine: dict[int, bool] = {}  # frames of dead objects that have views, by PFN: is it transient
        self._closed = False

    # -- what it is -----------------------------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """Bytes for ordinary objects."""
        self.check_open()
        return self._size

    @property
    def limit(self) -> int:
        """Most bytes it may ever hold."""
        self.check_open()
        return self._limit

    @property
    def base_pfn(self) -> int:
        """The first frame."""
        self.check_open()
        return self._base_pfn

    @property
    def usage(self) -> ReservoirUsage:
        """Where the memory is now."""
        self.check_open()
        quarantined = self._quarantined(False)
        free = self._size - self._allocated - quarantined
        return ReservoirUsage(free, self._allocated, self._transient + self._quarantined(True), quarantined, self._limit)

    @property
    def buffer(self) -> NDArray[np.uint8]:
        """Not modelled, because frames have no place here: zeros of the right shape, read-only."""
        self.check_open()
        if not self._backed:
            raise NotSupported("the reservoir is unbacked")
        return np.broadcast_to(np.uint8(0), self._limit)

    # -- what changes it ------------------------------------------------------------------------------------------------

    def allocate(self, length: Any, *, transient: Any = False) -> RamObject:
        """Take memory; its bytes are zero, and the caller owns one reference."""
        integer(length, "length")
        transient = flag(transient, "transient")
        self.check_open()
        length = length_of(length)
        if length > (self._empty() if transient else self.usage.free):
            raise ReservoirExhausted(f"{length:#x} bytes are not there")
        if transient:
            self._transient += length
        else:
            self._allocated += length
        pfn = self._next_pfn
        self._next_pfn += length // PAGE_SIZE
        return RamObject(self, pfn, length, transient)

    def resize(self, target: Any, *, chunk: Any = 0) -> int:
        """Move the size towards a target as far as empty or free memory goes; the steps of ``chunk`` nobody sees."""
        integers(target=target, chunk=chunk)
        self.check_open()
        target, _ = pages_of(target, "target"), pages_of(chunk, "chunk")
        if target > self._limit:
            raise ReservoirExhausted(f"{target:#x} bytes are beyond the limit")
        self._size = (
            min(target, self._size + self._empty()) if target > self._size else max(target, self._size - self.usage.free)
        )
        return self._size

    def take_back(self, pfn: int, n_pages: int, transient: bool) -> None:
        """An object is dead: its memory is zeroed, and its frames that still have views go into quarantine."""
        if transient:
            self._transient -= n_pages * PAGE_SIZE
        else:
            self._allocated -= n_pages * PAGE_SIZE
        for frame in [frame for frame in self._frames if pfn <= frame < pfn + n_pages]:
            memory = self._frames.pop(frame)
            memory[:] = bytes(PAGE_SIZE)
            if self._is_viewed(frame):
                self._quarantine[frame] = transient
            else:
                self._views.pop(frame, None)

    def close(self) -> None:
        """Give all up, which needs that nobody has any of it. Does nothing the second time."""
        if self._closed:
            return
        self._end_quarantine()
        if self._allocated or self._transient or self._quarantine:
            raise Busy("objects or views of the reservoir are alive")
        self._closed = True

    def __enter__(self) -> Self:
        self.check_open()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self.close()
        except Busy:
            if kind is None:  # an error that ends the block is the one to see
                raise

    # -- bytes and views ------------------------------------------------------------------------------------------------

    def frame(self, pfn: int) -> bytearray:
        """The bytes of a frame that an object has; zero when they are first asked for."""
        if not self._backed:
            raise NotSupported("the reservoir is unbacked")
        if pfn not in self._frames:
            self._frames[pfn] = bytearray(PAGE_SIZE)
        return self._frames[pfn]

    def view(self, pfn: int, memory: bytearray, *, writable: bool) -> NDArray[np.uint8]:
        """An array over a frame, which keeps that from reuse for as long as it, or anything derived from it, is alive."""
        window = memoryview(memory)
        array = np.frombuffer(window if writable else window.toreadonly(), np.uint8)
        self._views[pfn] = [view for view in self._views.get(pfn, ()) if view() is not None]
        self._views[pfn].append(weakref.ref(array))
        return array

    def windows(self) -> list[NDArray[np.uint8]]:
        """Arrays over all memory that somebody else may have a view of."""
        arrays = (view() for views in self._views.values() for view in views)
        return [array for array in arrays if array is not None]

    # -- counting -------------------------------------------------------------------------------------------------------

    def check_open(self) -> None:
        """Refuse a closed reservoir."""
        if self._closed:
            raise StaleHandle("the reservoir is closed")

    def _is_viewed(self, pfn: int) -> bool:
        return any(view() is not None for view in self._views.get(pfn, ()))

    def _end_quarantine(self) -> None:
        for pfn in [pfn for pfn in self._quarantine if not self._is_viewed(pfn)]:
            del self._quarantine[pfn], self._views[pfn]

    def _quarantined(self, transient: bool) -> int:
        """Bytes in quarantine of one kind."""
        self._end_quarantine()
        return sum(kind is transient for kind in self._quarantine.values()) * PAGE_SIZE

    def _empty(self) -> int:
        """Bytes beyond the size that nobody has."""
        return self._limit - self._size - self._transient - self._quarantined(True)
