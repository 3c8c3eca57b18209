"""What every mechanism has: exact counts of what it cost, and the same five calls.

Theory of operation
-------------------
A mechanism watches one range of a space for ``n_vcpus`` vCPUs. It is told which accesses each of them completed, in order
(``observe``), and asked what is dirty (``collect``), which changes nothing for the guest. What a collect has reported may
be cleared afterwards, in parts and at any time (``clear``): only then are the pages armed again. What was written since that
collect is not cleared by it, unless it had been reported, too: such a write is lost if the page was copied before it, so copy
after clearing.

Guarantees: given the same accesses and calls, all mechanisms report the same pages.
Relies on:  one thread at a time (``Tracking`` sees to that).
"""

from abc import ABC, abstractmethod
from typing import Any, NamedTuple, SupportsIndex

import numpy as np

from npt._types import Handle, U8Array, U64Array
from npt.errors import Busy, InvalidArgument, NotSupported
from npt.space.vmspace import VmSpace
from npt.units import PAGE_SHIFT, as_int, as_integers, as_range, as_u64, check_bitmap_type, check_inside

__all__ = ["Events", "Mechanism"]


class Events(NamedTuple):
    """What tracking cost, counted; these add and subtract element by element.

    Attributes
    ----------
    faults : int
        Writes that a protection stopped.
    log_full_exits, ring_full_exits : int
        Exits because a vCPU's log or ring was full.
    pte_reads, pte_writes : int
        Leaf entries that the host read and wrote. What hardware does by itself is not counted.
    shoot_downs : int
        Times when all cached translations of the range became stale.
    flushes : int
        Runs of vCPUs that began after a shoot-down since their last run had begun.
    """

    faults: int = 0
    log_full_exits: int = 0
    ring_full_exits: int = 0
    pte_reads: int = 0
    pte_writes: int = 0
    shoot_downs: int = 0
    flushes: int = 0

    def __add__(self, other: object) -> "Events":  # a tuple would be joined
        if not isinstance(other, Events):
            return NotImplemented
        return Events(*(one + two for one, two in zip(self, other, strict=True)))

    def __radd__(self, other: int) -> "Events":  # sum() begins with 0
        return self if other == 0 else NotImplemented

    def __sub__(self, other: object) -> "Events":
        if not isinstance(other, Events):
            return NotImplemented
        return Events(*(one - two for one, two in zip(self, other, strict=True)))


class Mechanism(Handle, ABC):
    """A way to notice which pages vCPUs write.

    See Also
    --------
    Tracking : feeds mechanisms with the accesses of real vCPUs.
    """

    touches_entries = False  # whether it is the engine's D bits that it reads and clears; then it has a put_back
    _n_pages = 0

    def __init__(self) -> None:
        self._total = self._setup = Events()

    # -- what it is -------------------------------------------------------------------------------------------------

    @property
    @abstractmethod
    def name(self) -> str:
        """What it is called in tables."""

    @property
    def n_pages(self) -> int:
        """Pages of the range; 0 before the start."""
        return self._n_pages

    @property
    def setup(self) -> Events:
        """What it cost to turn on."""
        return self._setup

    @property
    def events(self) -> Events:
        """What it has cost since then."""
        return self._total - self._setup

    def __repr__(self) -> str:
        state = f"{self._n_pages} pages, {self._n_vcpus} vCPUs" if self._n_pages else "not started"
        return f"<{type(self).__name__} {self.name}, {state}>"

    # -- the calls --------------------------------------------------------------------------------------------------

    def start(self, space: VmSpace, gpa: SupportsIndex, length: SupportsIndex, n_vcpus: SupportsIndex = 1) -> None:
        """Turn it on for a range; nothing is dirty then.

        Parameters
        ----------
        space
            Whose pages it watches.
        gpa, length
            Range in bytes, whole pages, inside the space.
        n_vcpus
            vCPUs that will be observed, numbered from 0.

        Raises
        ------
        InvalidArgument, AddressOverflow, BeyondSpace
            Unaligned, empty, reaching 2**64 or past the end; no vCPU.
        Busy
            It was started before: each is for one range.
        """
        if not isinstance(space, VmSpace):
            raise TypeError(f"space must be a VmSpace, not {type(space).__name__}")
        as_int(gpa, "gpa"), as_int(length, "length")
        n_vcpus, size = as_int(n_vcpus, "n_vcpus"), space.size
        gpa, length = as_range(gpa, length)
        if n_vcpus < 1:
            raise InvalidArgument(f"n_vcpus {n_vcpus} is not positive")
        check_inside(gpa, length, size)
        if self._n_pages:
            raise Busy(f"{self.name} watches a range already; make another one")
        self._gpa, self._n_vcpus = gpa, n_vcpus
        self._seen = [0] * n_vcpus  # shoot-downs there had been when each vCPU's last run began
        self._begin(space, length >> PAGE_SHIFT)
        self._setup, self._n_pages = self._total, length >> PAGE_SHIFT

    def forget(self) -> None:
        """Undo a start: what it counted is dropped, and it may be started again. D bits that it cleared stay clear."""
        self._n_pages = 0
        self._total = self._setup = Events()

    def observe(self, number: SupportsIndex, gpas: Any, kinds: U8Array) -> None:
        """A vCPU has run: look at the accesses that it completed, in order.

        Parameters
        ----------
        number
            Which vCPU.
        gpas
            Byte addresses; integer array of shape ``(n,)``, may be empty.
        kinds
            0 read, 1 write, 2 execute; ``uint8``, shape ``(n,)``, or ``(1,)`` where all are of one kind.

        Raises
        ------
        InvalidArgument
            No such vCPU, arrays of unequal length; it was not started.
        """
        number, integers = as_int(number, "number"), as_integers(gpas, "gpas")
        check_bitmap_type(kinds, "kinds")
        self._check_started()
        if not 0 <= number < self._n_vcpus:
            raise InvalidArgument(f"number {number}: there are {self._n_vcpus} vCPUs")
        addresses = as_u64(integers, "gpas")
        if kinds.shape not in ((1,), addresses.shape):
            raise InvalidArgument(f"kinds has shape {kinds.shape}; there are {addresses.size} accesses")
        if self._seen[number] != self._total.shoot_downs:
            self._seen[number] = self._total.shoot_downs
            self._count(flushes=1)
        self._observe(number, addresses, np.ascontiguousarray(kinds))

    def collect(self) -> U8Array:
        """Report what is dirty: written since it was last cleared. Nothing is cleared.

        Returns
        -------
        numpy.ndarray
            ``uint8``, shape ``(ceil(n_pages / 8),)``; bit k of byte j is page ``8 * j + k`` of the range.

        Raises
        ------
        InvalidArgument
            It was not started.
        """
        self._check_started()
        return self._collect()

    def clear(self, first: SupportsIndex = 0, n_pages: SupportsIndex | None = None) -> None:
        """Arm the pages of a part again that the last collect reported; they are not dirty any more.

        What was cleared since that collect is not cleared again.

        Parameters
        ----------
        first, n_pages
            The part, in pages of the range; to its end if ``n_pages`` is None.

        Raises
        ------
        InvalidArgument
            No pages, or not all of them in the range; it was not started.
        """
        self._clear(*self.check_part(first, n_pages))

    def harvest(self) -> U8Array:
        """Collect and clear, all at once.

        Returns
        -------
        numpy.ndarray
            As from ``collect``.

        Raises
        ------
        InvalidArgument
            It was not started.
        """
        self._check_started()
        return self._harvest()

    def put_back(self, bitmap: U8Array) -> None:
        """Make what the last harvest reported dirty again, as if it had been a collect; what it cost stays counted."""
        raise NotSupported(f"{self.name} cannot undo a harvest")

    def check_part(self, first: SupportsIndex, n_pages: SupportsIndex | None) -> tuple[int, int]:
        """A part of the range, as ``clear`` takes it; checked."""
        first = as_int(first, "first")
        n_pages = None if n_pages is None else as_int(n_pages, "n_pages")
        self._check_started()
        if n_pages is None:
            n_pages = self._n_pages - first
        if first < 0 or n_pages < 1 or first + n_pages > self._n_pages:
            raise InvalidArgument(f"pages {first} + {n_pages} are not a part of {self._n_pages} pages")
        return first, n_pages

    # -- what makes it this one -------------------------------------------------------------------------------------

    @abstractmethod
    def _begin(self, space: VmSpace, n_pages: int) -> None:
        """Turn it on; if that fails, nothing was changed."""

    @abstractmethod
    def _observe(self, number: int, gpas: U64Array, kinds: U8Array) -> None:
        """See the accesses of one run."""

    @abstractmethod
    def _collect(self) -> U8Array:
        """What is dirty, in an array of its own."""

    @abstractmethod
    def _clear(self, first: int, n_pages: int) -> None:
        """Arm reported pages of a part."""

    def _harvest(self) -> U8Array:
        bitmap = self._collect()
        self._clear(0, self._n_pages)
        return bitmap

    def _count(self, **events: int) -> None:
        self._total += Events(**events)

    def _check_started(self) -> None:
        if not self._n_pages:
            raise InvalidArgument(f"{self.name} was not started")
