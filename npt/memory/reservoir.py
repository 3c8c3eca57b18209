"""The reservoir: one big buffer, and who has which frame of it.

Theory of operation
-------------------
All state that matters is one immutable ledger. A call reads it under the lock, makes the next one, and adopts it with
one assignment; nothing else happens under the lock, neither zeroing nor code of others.

Frames come back through ``settling``: zeroed outside the lock, and quarantined while views of them are alive.

Guarantees: memory is zero when handed out; no frame that a view can reach is handed out; no interrupt loses a frame.
Relies on:  holds referencing their object, and registering views (``watch``) before they drop that reference.
Locks:      one, the last in the order space, client, reservoir. Looking takes none beyond what settling needs, and a
            forked child does not settle. It is reentrant only to be recognised: a finalizer that the collector runs
            under it may release (the next call finishes that), and gets ``Deadlock`` from anything else that changes.
"""

import os
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, NamedTuple, NoReturn, Self, SupportsIndex

import numpy as np

from npt import _html
from npt._threads import default_threads
from npt._types import U8Array, U64Array
from npt.errors import Busy, Deadlock, InvalidArgument, NotSupported, ReservoirExhausted, StaleHandle
from npt.memory.backing import U8, Backing
from npt.memory.ledger import Ledger, Parting
from npt.memory.objects import RAM_FRAMES_END, RamObject
from npt.memory.settling import Settling
from npt.memory.spans import Span
from npt.units import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE, as_flag, as_int, as_length, format_size

__all__ = ["Reservoir", "ReservoirUsage"]


class ReservoirUsage(NamedTuple):
    """Where a reservoir's memory is, in bytes; ``free + allocated + quarantined`` is its size.

    Attributes
    ----------
    free : int
        Ready for ordinary objects.
    allocated : int
        In ordinary objects, or on its way back from them.
    transient : int
        Beyond the size, in transient objects, on its way back from them, or quarantined after them.
    quarantined : int
        Freed by ordinary objects, but still reachable through a view.
    limit : int
        Most the reservoir may ever hold.
    """

    free: int
    allocated: int
    transient: int
    quarantined: int
    limit: int


class Reservoir(_html.Shown, Settling):
    """Host memory for guests: taken once, handed out as objects, zero each time.

    Parameters
    ----------
    size
        Bytes for ordinary objects, whole pages.
    limit
        Most bytes it may ever hold, transient objects included; at least, and by default, ``size``. It is paid for at
    once. base_pfn
        Host frame number of the first frame. The last must be below frame 2**33.
    backed
        False makes a reservoir without bytes, for studies of tables alone: views of its memory raise ``NotSupported``.

    Raises
    ------
    InvalidArgument
        An unaligned or empty size, a limit below the size, or frames beyond 2**33.
    ReservoirExhausted
        ``limit`` is more than this machine, or this process's control group, can give now.

    Notes
    -----
    An object that is forgotten without its release keeps its memory: references are counted, not guessed.

    Safe to use from several threads. A forked child may look at it; to change anything there raises ``StaleHandle``.

    Source: follows the reservoir that vmm_vm.c at 59d65d31 allocates its objects from: best fit, several spans where
    none fits, transient memory from the empty ones, resizing in chunks.

    Examples
    --------
    >>> with Reservoir(1 << 20, backed=False) as reservoir, reservoir.allocate(1 << 16) as ram:
    ...     reservoir.usage.allocated, hex(ram.pfn_at(0))
    (65536, '0x1000f0')
    """

    def __init__(
        self,
        size: SupportsIndex,
        *,
        limit: SupportsIndex | None = None,
        base_pfn: SupportsIndex = 0x100000,
        backed: bool = True,
    ) -> None:
        as_int(size, "size")
        limit = as_int(size if limit is None else limit, "limit")
        self._base_pfn = as_int(base_pfn, "base_pfn")
        self._backed = as_flag(backed, "backed")
        default_threads()  # a bad variable is told now, not when memory comes back
        size, limit = as_length(size), as_length(limit, "limit")
        _check_frames(size, limit, self._base_pfn)
        super().__init__(Ledger.fresh(size >> PAGE_SHIFT, limit >> PAGE_SHIFT), Backing(limit if self._backed else 0))
        self._limit = limit
        self._pid = os.getpid()

    # -- looking ----------------------------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """Bytes for ordinary objects: free, allocated and quarantined."""
        return self._open().size << PAGE_SHIFT

    @property
    def base_pfn(self) -> int:
        """Host frame number of the first frame."""
        self._open()
        return self._base_pfn

    @property
    def limit(self) -> int:
        """Most bytes it may ever hold."""
        self._open()
        return self._limit

    @property
    def usage(self) -> ReservoirUsage:
        """Where the memory is now."""
        if self._is_own():
            self.settle()
        ledger = self._open()
        counts = (ledger.free.total, ledger.allocated, ledger.transient, ledger.quarantined, ledger.limit)
        return ReservoirUsage(*(n << PAGE_SHIFT for n in counts))

    @property
    def free_spans(self) -> tuple[Span, ...]:
        """Frames that are ready for ordinary objects, ``(pfn, n_pages)``, by address; ``StaleHandle`` once it is closed."""
        return tuple(Span(self._base_pfn + first, n) for first, n in self._open().free)

    @property
    def buffer(self) -> U8Array:
        """The whole backing, read-only, without a copy; ``uint8``, shape ``(limit,)``.

        Frame ``base_pfn + i`` is bytes ``4096 * i`` and on. Such a view neither quarantines frames nor makes the
        reservoir busy: it may show memory of objects that are gone, and of those that came after.

        Raises
        ------
        NotSupported
            There are no bytes.
        """
        self._check_bytes()
        return np.frombuffer(self._backing.windows[False], U8)

    # -- changing ---------------------------------------------------------------------------------------------------

    def allocate(self, length: SupportsIndex, *, transient: bool = False) -> RamObject:
        """Take memory for an object.

        Parameters
        ----------
        length
            Bytes, whole pages.
        transient
            Take it from beyond the reservoir's size, up to its limit, and count it apart.

        Returns
        -------
        RamObject
            Its bytes are zero; the caller owns one reference.

        Raises
        ------
        StaleHandle
            The reservoir is closed, or another process's.
        ReservoirExhausted
            Too little is free, or empty for a transient object; nothing was taken.

        Notes
        -----
        The smallest span that fits is used, of equals the lowest; from a larger one, its end. Where none fits, the
        object gets several: the largest whole, and the rest from the best fit.
        """
        as_int(length, "length")
        transient = as_flag(transient, "transient")
        self._check_own()
        length = as_length(length)
        self._begin()
        taken: Parting | None = None
        try:
            with self._lock:
                ledger, parting = self._cut(length, transient)
                self._ledger, taken = ledger, parting
            return RamObject(self, taken, partial(self._leavers.append, taken))
        except BaseException:  # an interrupt between taking the frames and handing them over
            if taken is not None:
                self._leavers.append(taken)
            raise

    def resize(self, target: SupportsIndex, *, chunk: SupportsIndex = 0) -> int:
        """Grow or shrink as far as empty or free memory allows.

        Parameters
        ----------
        target
            Bytes wanted, whole pages; may be 0.
        chunk
            Bytes to move in one step, whole pages; 0 moves all in one. Other threads get in between steps, and an
            interrupt leaves the steps done so far.

        Returns
        -------
        int
            Bytes reached. Short of ``target`` where objects, or frames in quarantine, are in the way.

        Raises
        ------
        StaleHandle
            The reservoir is closed, or another process's.
        InvalidArgument
            Negative, or not whole pages.
        ReservoirExhausted
            ``target`` is beyond the limit.
        """
        target, chunk = as_int(target, "target"), as_int(chunk, "chunk")
        self._check_own()
        _check_pages(target, "target")
        _check_pages(chunk, "chunk")
        if target > self._limit:
            raise ReservoirExhausted(f"{target:#x} bytes are beyond the limit, {self._limit:#x}; make a new one")
        self._begin()
        reached, moved = self._step(target, chunk)
        while moved:
            reached, moved = self._step(target, chunk)
        return reached

    def close(self) -> None:
        """Give the memory up. Does nothing the second time.

        Raises
        ------
        Busy
            Objects, or views of their memory, are alive.
        StaleHandle
            The reservoir is another process's.
        """
        if self._ledger is None:
            return
        self._check_own()
        self._begin()
        with self._lock:
            ledger = self._open()
            in_use = ledger.allocated + ledger.transient
            if in_use:
                raise Busy(f"objects hold {in_use << PAGE_SHIFT:#x} bytes of the reservoir; release them first")
            if self._watch or ledger.quarantine:
                raise Busy("views of the reservoir's memory are alive; delete them first")
            self._ledger, self._backing = None, Backing(0)

    def __enter__(self) -> Self:
        self._open()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if not self._is_own():
            return
        if kind is None:
            self.close()
        else:
            with suppress(Busy):  # the error that ends the block is the one to see
                self.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Reservoir cannot be copied or pickled: it is memory of this process")

    def __repr__(self) -> str:
        ledger = self._ledger
        if ledger is None:
            return "<Reservoir, closed>"
        size, free = format_size(ledger.size << PAGE_SHIFT), format_size(ledger.free.total << PAGE_SHIFT)
        return f"<Reservoir of {size}{'' if self._backed else ', unbacked'}, {free} free, base_pfn {self._base_pfn:#x}>"

    def _shown(self) -> Iterable[str]:
        ledger = self._ledger
        if ledger is None:
            return
        parts = {
            "allocated": ledger.allocated, "quarantined": ledger.quarantined, "free": ledger.free.total,
            "transient": ledger.transient,
        }  # fmt: skip
        yield _html.bar(parts, {name: format_size(n << PAGE_SHIFT) for name, n in parts.items()})
        last = self._base_pfn + ledger.limit - 1
        yield _html.facts(
            {
                "frames": f"{self._base_pfn:#x} to {last:#x}",
                "free spans": f"{len(ledger.free):,}, the largest of {format_size(ledger.free.largest << PAGE_SHIFT)}",
            }
        )

    # -- for the rooms above ----------------------------------------------------------------------------------------

    @property
    def backed(self) -> bool:
        """Internal: whether there are bytes."""
        self._open()
        return self._backed

    @property
    def backing(self) -> Backing:
        """Internal: the bytes, or none; for views without a call in between."""
        self._open()
        return self._backing

    @property
    def memory(self) -> U8Array:
        """Internal: the backing, writable, shape ``(limit,)``; shape ``(0,)`` where there is none."""
        self._open()
        return self._backing.memory

    @property
    def words(self) -> U64Array:
        """Internal: ``memory`` as ``uint64``."""
        return self.memory.view(np.uint64)

    def watch(self, frame: int, window: Any) -> None:
        """Internal: keep a frame from reuse while a window to it, the memoryview under an array, is alive.

        To be called when a hold is released and its view is not gone, before the hold's object reference is dropped.
        """
        self._check_own()
        self._watch.add(frame, window)

    # -- the machinery ----------------------------------------------------------------------------------------------

    def _is_own(self) -> bool:
        return os.getpid() == self._pid

    def _check_own(self) -> None:
        self._open()
        if not self._is_own():
            raise StaleHandle("the reservoir belongs to the process that made it; a forked child may only look")

    def _check_bytes(self) -> None:
        self._open()
        if not self._backed:
            raise NotSupported("the reservoir was made with backed=False: its memory has no bytes")

    def _cut(self, length: int, transient: bool) -> tuple[Ledger, Parting]:
        ledger = self._open()
        cut = ledger.take(length >> PAGE_SHIFT, transient=transient)
        if cut is not None:
            return cut[0], Parting(cut[1], transient)
        if transient:
            left, advice = ledger.empty.total, "make the reservoir with a larger limit, or shrink it"
        else:
            left, advice = ledger.free.total, "release objects, or resize it"
        raise ReservoirExhausted(
            f"{length:#x} bytes wanted, {left << PAGE_SHIFT:#x} {'empty' if transient else 'free'}; {advice}"
        )

    def _begin(self) -> None:
        """Refuse to change what a call of the same thread is in the middle of changing; then settle."""
        if self._is_interrupted():
            raise Deadlock("a finalizer came in the middle of a reservoir call of its own thread; it may only release")
        self.settle()

    def _step(self, target: int, chunk: int) -> tuple[int, bool]:
        """Move one chunk; return the bytes reached and whether there may be more to move."""
        with self._lock:
            before = self._open()
            after = before.resize(target >> PAGE_SHIFT, (chunk or self._limit) >> PAGE_SHIFT)
            self._ledger = after
        return after.size << PAGE_SHIFT, after is not before and after.size << PAGE_SHIFT != target


def _check_frames(size: int, limit: int, base_pfn: int) -> None:
    if limit < size:
        raise InvalidArgument(f"limit {limit:#x} is below the size, {size:#x}")
    if base_pfn < 0:
        raise InvalidArgument(f"base_pfn {base_pfn:#x} is negative")
    end = base_pfn + (limit >> PAGE_SHIFT)
    if end > RAM_FRAMES_END:
        raise InvalidArgument(f"frames {base_pfn:#x} to {end:#x} reach past {RAM_FRAMES_END:#x}, where tables begin")


def _check_pages(n_bytes: int, name: str) -> None:
    """Whole pages, or none."""
    if n_bytes < 0 or n_bytes & PAGE_MASK:
        raise InvalidArgument(f"{name} {n_bytes:#x} is negative or not a multiple of the page size {PAGE_SIZE:#x}")
