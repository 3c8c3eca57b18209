"""Objects that can be mapped into a guest: memory of a reservoir, and device memory.

Theory of operation
-------------------
An object is a row of host frames, cut into runs, a list with one element for each reference of the caller, and a dictionary
of who else keeps it: how many references each mapping, hold or segment has. A keeper is entered once and struck once, so
whoever was interrupted can do either again. When nobody is left the object is dead for good, and its memory goes back.

Guarantees: a dead object is never revived; its memory goes back once, outside the lock of the references.
Relies on:  holds keeping their object for as long as they last.
"""

import os
from abc import ABC, abstractmethod
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import accumulate
from typing import TYPE_CHECKING, NoReturn, Self, SupportsIndex

import numpy as np

from npt import _html, _sync
from npt._html import Shown
from npt._types import MemAttr, U64Array
from npt.errors import InvalidArgument, StaleHandle
from npt.memory.ledger import Parting
from npt.memory.spans import Span
from npt.units import PAGE_SHIFT, as_int, as_length, as_range, format_size

if TYPE_CHECKING:
    from npt.memory.reservoir import Reservoir

__all__ = ["RAM_FRAMES_END", "MmioObject", "RamObject", "VmObject"]

RAM_FRAMES_END = 1 << 33
"""Frames of RAM and MMIO are below this one; those of page tables begin there."""


class VmObject(Shown, ABC):
    """Something that can be mapped: consecutive bytes for the guest, runs of frames on the host.

    Leaving its context drops one of the caller's references, if there is one.

    Notes
    -----
    A forked child may look at an object, but not count references to it: that raises ``StaleHandle``.
    """

    _attr: MemAttr

    def __init__(self, spans: tuple[Span, ...], leave: Callable[[], object]) -> None:
        self._spans = spans
        self._leave = leave  # says that the last reference is gone; a built-in, or made of one
        self._rows: U64Array = np.array(spans, dtype=np.uint64)
        ends = list(accumulate(span.n_pages for span in spans))
        self._starts = [0, *ends[:-1]]  # page of the object that each span begins with
        self._n_pages = ends[-1]
        self._callers: list[None] = [None]  # one for each reference of the caller
        self._keepers: dict[object, int] = {}  # who else keeps it, and by how many references
        self._lock = _sync.rlock("object")  # a finalizer may drop a reference in the middle of another change
        self._pid = os.getpid()

    # -- what it is -------------------------------------------------------------------------------------------------

    @property
    def length(self) -> int:
        """Bytes."""
        self._alive()
        return self._n_pages << PAGE_SHIFT

    @property
    def attr(self) -> MemAttr:
        """Memory type it is mapped with."""
        self._alive()
        return self._attr

    @property
    def refs(self) -> int:
        """References altogether, the caller's and those of mappings and holds; 0 when it is dead."""
        return len(self._callers) + sum(self._keepers.copy().values())

    def pfn_at(self, offset: SupportsIndex) -> int:
        """Host frame of the page that a byte is in.

        Parameters
        ----------
        offset
            Byte of the object, not necessarily the first of a page.

        Raises
        ------
        StaleHandle
            The object is dead.
        InvalidArgument
            Negative, or at the object's length or beyond.
        """
        offset = as_int(offset, "offset")
        self._alive()
        if not 0 <= offset >> PAGE_SHIFT < self._n_pages:
            raise InvalidArgument(f"offset {offset:#x} is outside the object of {self.length:#x} bytes")
        page = offset >> PAGE_SHIFT
        at = bisect_right(self._starts, page) - 1
        return self._spans[at].pfn + page - self._starts[at]

    def check_window(self, offset: SupportsIndex, length: SupportsIndex) -> tuple[int, int]:
        """Internal: refuse a window that is unaligned or reaches out of the object; return it as Python ints."""
        as_int(offset, "offset"), as_int(length, "length")
        self._alive()
        offset, length = as_range(offset, length, "offset")
        if offset + length > self._n_pages << PAGE_SHIFT:
            raise InvalidArgument(f"offset {offset:#x} + {length:#x} reaches past the object's {self.length:#x} bytes")
        return offset, length

    def runs(self, offset: SupportsIndex, length: SupportsIndex) -> U64Array:
        """Internal: host frames behind a window, as ``(pfn, n_pages)`` rows, shape (k, 2), in the guest's order."""
        offset, length = self.check_window(offset, length)
        first, end = offset >> PAGE_SHIFT, (offset + length) >> PAGE_SHIFT
        begin, stop = bisect_right(self._starts, first) - 1, bisect_left(self._starts, end)
        rows = self._rows[begin:stop].copy()
        ahead = first - self._starts[begin]
        rows[0, 0] += ahead
        rows[0, 1] -= ahead
        rows[-1, 1] -= self._starts[stop - 1] + self._spans[stop - 1].n_pages - end
        return rows

    # -- how long it lives ------------------------------------------------------------------------------------------

    def reference(self) -> None:
        """Take one more reference for the caller.

        Raises
        ------
        StaleHandle
            The object is dead.
        """
        self._change(self._callers.append, None)

    def release(self) -> None:
        """Give up one of the caller's references; the last of all lets the object's memory go.

        Raises
        ------
        StaleHandle
            The caller has none left; mappings and holds may still have theirs.
        """
        self._change(self._callers.pop)

    def acquire(self, keeper: object, n: int = 1) -> None:
        """Internal: let a mapping or a hold keep the object, counted as ``n`` references; nothing if it does already."""
        self._change(self._keepers.__setitem__, keeper, n)

    def drop(self, keeper: object) -> None:
        """Internal: the keeper does so no more; nothing if it does not. Holds no lock while the memory goes."""
        self._check_own()
        with suppress(StaleHandle):  # dead: somebody else was quicker
            self._change(self._keepers.pop, keeper, None)

    def __enter__(self) -> Self:
        self._alive()
        return self

    def __exit__(self, *exc_info: object) -> None:
        with suppress(StaleHandle):  # released already, or in a forked child: nothing of the caller's to drop
            self.release()

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"a {type(self).__name__} cannot be copied or pickled: it is memory of this process")

    def _alive(self) -> None:
        if self._is_dead():
            raise StaleHandle("the object was released; its last reference is gone")

    def _check_own(self) -> None:
        if os.getpid() != self._pid:
            raise StaleHandle("the object belongs to the process that made it; a forked child may only look")

    def _is_dead(self) -> bool:
        return not (self._callers or self._keepers)

    def _change(self, change: Callable[..., object], *arguments: object) -> None:
        """Make one change, which is one built-in: a finalizer may come in between two, and make changes of its own."""
        self._check_own()
        try:
            with self._lock:
                self._alive()
                self._make(change, arguments)
        finally:
            if self._is_dead():
                self._settle()

    def _make(self, change: Callable[..., object], arguments: tuple[object, ...]) -> None:
        try:
            change(*arguments)
            self._leave_if_dead()
        except IndexError:
            raise StaleHandle("the caller has no reference left to release; mappings or holds keep the object") from None
        except BaseException:  # an interrupt behind the last reference
            self._leave_if_dead()
            raise

    def _leave_if_dead(self) -> None:
        if self._is_dead():
            self._leave()  # once more does no harm

    @abstractmethod
    def _settle(self) -> None:
        """Finish what leaving began, with no lock held."""


class RamObject(VmObject):
    """Memory of a reservoir. Made by ``Reservoir.allocate`` only; its constructor is internal.

    Attributes
    ----------
    length : int
        Bytes.
    attr : MemAttr
        ``WB``.
    """

    _attr = MemAttr.WB

    def __init__(self, reservoir: "Reservoir", parting: Parting, leave: Callable[[], object]) -> None:
        super().__init__(tuple(Span(reservoir.base_pfn + first, n) for first, n in parting.spans), leave)
        self._reservoir = reservoir
        self._parting = parting

    @property
    def reservoir(self) -> "Reservoir":
        """Where the memory is from."""
        self._alive()
        return self._reservoir

    @property
    def transient(self) -> bool:
        """Whether it was taken from beyond the reservoir's size."""
        self._alive()
        return self._parting.transient

    @property
    def spans(self) -> tuple[Span, ...]:
        """Host frames that back it, ``(pfn, n_pages)``, in the order of its bytes."""
        self._alive()
        return self._spans

    def _settle(self) -> None:
        self._reservoir.settle()

    def __repr__(self) -> str:
        if self._is_dead():
            return "<RamObject, released>"
        kind = "transient, " if self._parting.transient else ""
        size = format_size(self._n_pages << PAGE_SHIFT)
        return f"<RamObject of {size}, {kind}spans: {len(self._spans)}, refs: {self.refs}>"

    def _shown(self) -> Iterable[str]:
        if not self._is_dead():
            rows = ((f"{pfn:#x}", f"{n:,}", format_size(n << PAGE_SHIFT)) for pfn, n in self._spans)
            yield _html.table("host frames", ("first frame", "frames", "size"), rows, len(self._spans))


class MmioObject(VmObject):
    """Device memory: host-physical addresses without bytes here.

    Parameters
    ----------
    length
        Bytes, whole pages.
    hpa
        Host-physical byte address, page-aligned. The object must end at or below frame 2**33.

    Attributes
    ----------
    length : int
        Bytes.
    attr : MemAttr
        ``UC``.

    Raises
    ------
    InvalidArgument
        Unaligned, empty, or reaching past frame 2**33.
    """

    _attr = MemAttr.UC

    def __init__(self, length: SupportsIndex, hpa: SupportsIndex) -> None:
        as_int(length, "length"), as_int(hpa, "hpa")
        hpa, length = as_range(hpa, as_length(length), "hpa")
        if hpa + length > RAM_FRAMES_END << PAGE_SHIFT:
            end = RAM_FRAMES_END << PAGE_SHIFT
            raise InvalidArgument(f"hpa {hpa:#x} + {length:#x} reaches past {end:#x}, where tables begin")
        super().__init__((Span(hpa >> PAGE_SHIFT, length >> PAGE_SHIFT),), bool)

    def _settle(self) -> None:
        """Nothing of ours to give back."""

    def __repr__(self) -> str:
        if self._is_dead():
            return "<MmioObject, released>"
        size = format_size(self._n_pages << PAGE_SHIFT)
        return f"<MmioObject of {size} at {self._spans[0].pfn << PAGE_SHIFT:#x}, refs: {self.refs}>"
