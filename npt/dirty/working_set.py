"""Working sets: what a guest uses, by the accessed bits of its pages.

Theory of operation
-------------------
A sample reads the A bits of a range and clears them, so that it says which pages were used since the sample before. No bitmap
is kept. Of each page there is the number of the sample that saw it last; and for each part of the range there are two
histograms: after how many samples a page was seen again, and in which sample one was seen first. They are enough for the mean
working set of any window, exactly. A window of w samples misses a page if it lies inside one of the page's gaps: before the
first sample that saw it, between two that did and none in between, or after the last. A gap of d steps has max(0, d - w)
places for such a window, where the steps of the first and the last gap are counted from sample 0 and to the sample after
the last. So the sum over all windows is (pages seen) x (windows) - (sum of max(0, d - w) over all gaps).

Guarantees: every time A goes from set to clear it is in exactly one sample, also if several threads take samples.
Relies on:  nobody else clears A in the range (``VmSpace.accessed``, another ``WorkingSet``), and on EPT nobody turns tracking
            off between samples: uses would not be seen here.
"""

import os
import time
import weakref
from dataclasses import dataclass
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from npt import _sync, kernels
from npt._types import Handle, U8Array, U64Array
from npt.dirty.bitmap import difference, empty, intersection
from npt.errors import InvalidArgument, NotSupported, TrackingDisabled
from npt.space.vmspace import VmSpace
from npt.units import PAGE_SHIFT, as_count, as_flag, as_int, as_integers, as_range, as_u64, check_inside

__all__ = ["Sample", "WorkingSet", "check_space", "idle"]

_TRIES = 100  # to read two bits of each page while nothing is unmapped
_FEW = 64  # samples that there is room for at first
_END = 1 << 32  # of sample numbers


def check_space(space: Any, gpa: SupportsIndex, length: SupportsIndex) -> tuple[int, int]:
    """Refuse what is no range of a space."""
    if not isinstance(space, VmSpace):
        raise TypeError(f"space must be a VmSpace, not {type(space).__name__}")
    as_int(gpa, "gpa"), as_int(length, "length")
    size = space.size
    gpa, length = as_range(gpa, length)
    check_inside(gpa, length, size)
    return gpa, length


def _check_marks(space: VmSpace) -> None:
    """Refuse a space whose vCPUs leave no marks."""
    if not (space.format.marks_untracked or space.tracking):
        raise TrackingDisabled(
            f"{space.format.name} sets A only while dirty tracking is on; turn it on with set_tracking(True)"
        )


def idle(space: VmSpace, gpa: SupportsIndex, length: SupportsIndex) -> U8Array:
    """Pages that are resident and were not used since their A bits were cleared last; nothing changes.

    Parameters
    ----------
    space
        Whose pages.
    gpa, length
        Range in bytes, whole pages, inside the space.

    Returns
    -------
    numpy.ndarray
        ``uint8``, shape ``(ceil(n_pages / 8),)``; bit k of byte j is page ``8 * j + k`` of the range.

    Raises
    ------
    InvalidArgument, AddressOverflow, BeyondSpace, StaleHandle
        As for ``VmSpace.accessed``.

    Notes
    -----
    On EPT, A is set only while tracking is on: without it all pages look idle that were not used before. On nPT a page has A
    set from when it becomes resident.

    Both bits are read again while others harvest or unmap in between. If they never pause, a page counts that was resident
    just before and just after its A bit was read.
    """
    gpa, length = check_space(space, gpa, length)
    for _ in range(_TRIES):
        generation = space.generation
        resident = space.resident(gpa, length)
        found = difference(resident, space.accessed(gpa, length), out=resident)
        if space.generation == generation:  # nothing that was resident has gone in between
            return found
    return intersection(found, space.resident(gpa, length), out=found)


@dataclass(frozen=True)
class Sample:
    """One reading of the A bits.

    Attributes
    ----------
    number : int
        Of the sample, from 1.
    time_ns : int
        Nanoseconds since the working set was made, by a clock that only goes forward.
    accessed : int
        Pages whose A bit was set: used since the sample before. Without clearing: used ever.
    new : int
        Those among them that no earlier sample saw.
    """

    number: int
    time_ns: int
    accessed: int
    new: int


class WorkingSet(Handle):
    """Samples of the A bits of a range, and what they say.

    Parameters
    ----------
    space
        Whose pages.
    gpa, length
        Range in bytes, whole pages, inside the space.
    clear
        Clear the A bits with each sample, and once here: what was used before does not count. A sample is then a harvest: it
        raises the generation and calls back. Without, bits only grow, and all that can be asked is what was touched so far.
    part_pages
        Pages of a part, if ``reuse`` and ``curve`` are to be asked for parts of the range; the last part has what is left.

    Raises
    ------
    InvalidArgument, AddressOverflow, BeyondSpace, StaleHandle
        Not a range of the space, or ``part_pages`` is not positive.
    TrackingDisabled
        An EPT space that does not track: its vCPUs do not set A.
    Deadlock, KickTimeout
        With ``clear``, as from ``VmSpace.accessed``.

    Notes
    -----
    Pages count by their address: one that is unmapped stays in what was seen. On nPT a page has A set from when it becomes
    resident, so the next sample counts it, whoever populated it; populate first.

    Takes 4 bytes a page, and 16 for each part and sample; there is one part unless told. What an interrupt keeps from being
    entered here, between a harvest and that, counts for the next sample.

    Threads may share a working set: samples count in the order in which they are entered.
    """

    def __init__(
        self,
        space: VmSpace,
        gpa: SupportsIndex,
        length: SupportsIndex,
        *,
        clear: bool = True,
        part_pages: SupportsIndex | None = None,
    ) -> None:
        if part_pages is not None:
            as_int(part_pages, "part_pages")
        clears = as_flag(clear, "clear")
        gpa, length = check_space(space, gpa, length)
        n_pages = length >> PAGE_SHIFT
        part = n_pages if part_pages is None else as_count(part_pages, "part_pages", least=1)
        _check_marks(space)
        self._space, self._range, self._clears = space, (gpa, length), clears
        self._n_pages, self._part_pages, self._n_parts = n_pages, part, -(-n_pages // part)
        self._last = np.zeros(n_pages, np.uint32)
        self._state = np.zeros(1, np.uint64)
        self._reuse = self._first = np.zeros((self._n_parts, 0), np.uint64)
        self._times = self._seen = self._fresh = np.zeros(0, np.uint64)
        self._lock = _sync.rlock("working set")
        self._make_room()
        _EVERY.add(self)
        if clears:
            space.accessed(gpa, length, clear=True)
        self._start_ns = time.monotonic_ns()
        self._late: list[U8Array] = []  # read and cleared, but not entered: an interrupt came

    def __repr__(self) -> str:
        how = "" if self._clears else ", without clearing"
        return f"<WorkingSet of {self._n_pages} pages, {self._number} samples{how}>"

    # -- sampling ---------------------------------------------------------------------------------------------------

    @property
    def n_pages(self) -> int:
        """Pages of the range."""
        return self._n_pages

    @property
    def _number(self) -> int:
        return int(self._state[0])

    def _make_room(self) -> None:
        """See that one more sample can be entered."""
        room, needed = self._fresh.size, self._number + 2  # numbers count from 1; the array that grows last
        if room >= needed:
            return
        if needed > _END:
            raise NotSupported(f"a working set takes {_END - 1} samples")
        room = max(_FEW, 2 * room)
        grown = [_widened(array, room) for array in (self._reuse, self._first, self._times, self._seen, self._fresh)]
        self._reuse, self._first, self._times, self._seen, self._fresh = grown

    def sample(self) -> Sample:
        """Read the A bits, and clear them if that is how this working set was made.

        Returns
        -------
        Sample
            What was found.

        Raises
        ------
        StaleHandle
            The space is gone.
        TrackingDisabled
            An EPT space that does not track now; nothing was read.
        Deadlock, KickTimeout
            With clearing, as from ``VmSpace.accessed``: the bits are as they were, and there is no new sample.
        """
        with self._lock:
            self._make_room()  # before anything is cleared
        _check_marks(self._space)
        found = self._space.accessed(*self._range, clear=self._clears)  # with no lock of ours: callbacks may ask us things
        try:
            with self._lock:
                return self._enter(found)
        except BaseException:  # an interrupt
            self._late.append(found)
            raise

    def _enter(self, found: U8Array) -> Sample:
        self._make_room()  # another thread may have taken it
        late = len(self._late)  # an interrupt may add to them while the kernel runs
        for one in self._late[:late]:
            found |= one
        kernels.usage.record(
            found, self._n_pages, self._part_pages, time.monotonic_ns() - self._start_ns, self._last,
            self._reuse, self._first, self._times, self._seen, self._fresh, self._state,
        )  # fmt: skip
        del self._late[:late]
        return self._sample(self._number)

    def _sample(self, number: int) -> Sample:
        return Sample(number, int(self._times[number]), int(self._seen[number]), int(self._fresh[number]))

    @property
    def samples(self) -> tuple[Sample, ...]:
        """All samples so far, in order."""
        with self._lock:
            return tuple(self._sample(number) for number in range(1, self._number + 1))

    # -- what they say ----------------------------------------------------------------------------------------------

    @property
    def last_seen(self) -> NDArray[np.uint32]:
        """Number of the sample that saw each page last, 0 for none; ``uint32``, shape ``(n_pages,)``, a copy."""
        self._check_clears("when a page was used last")
        with self._lock:
            return self._last.copy()

    def pages(
        self, window: SupportsIndex | None = None, *, first: SupportsIndex = 0, n_pages: SupportsIndex | None = None
    ) -> U8Array:
        """Pages that the last samples saw.

        Parameters
        ----------
        window
            How many samples, at least 1 and no more than there are; None for all.
        first, n_pages
            Which pages of the range, by number; to its end if ``n_pages`` is None.

        Returns
        -------
        numpy.ndarray
            ``uint8``, shape ``(ceil(n_pages / 8),)``; bit k of byte j is page ``first + 8 * j + k``.

        Raises
        ------
        InvalidArgument
            There are not so many samples, or not these pages.
        NotSupported
            A window, and A bits are not cleared.
        """
        return self._recent(window, first, n_pages)[0]

    def size(
        self, window: SupportsIndex | None = None, *, first: SupportsIndex = 0, n_pages: SupportsIndex | None = None
    ) -> int:
        """How many pages the last samples saw, each counted once; else as ``pages``."""
        return self._recent(window, first, n_pages)[1]

    def idle(
        self, window: SupportsIndex | None = None, *, first: SupportsIndex = 0, n_pages: SupportsIndex | None = None
    ) -> U8Array:
        """Pages that are resident and that none of the last samples saw; else as ``pages``.

        Raises
        ------
        StaleHandle
            The space is gone.
        """
        seen = self.pages(window, first=first, n_pages=n_pages)
        start, n = self._part(first, n_pages)
        return difference(self._space.resident(self._range[0] + (start << PAGE_SHIFT), n << PAGE_SHIFT), seen, out=seen)

    def _recent(self, window: Any, first: Any, n_pages: Any) -> tuple[U8Array, int]:
        if window is not None:
            as_int(window, "window")
        start, n = self._part(first, n_pages)
        if window is not None:
            self._check_clears("what was used in a window")
        with self._lock:
            number = self._number
            oldest = 1 if window is None else number + 1 - as_count(window, "window", least=1, end=number + 1)
            bitmap = empty(n)
            return bitmap, kernels.usage.recent(self._last[start : start + n], oldest, bitmap)

    def _part(self, first: Any, n_pages: Any) -> tuple[int, int]:
        """Pages of the range, by number."""
        as_int(first, "first"), None if n_pages is None else as_int(n_pages, "n_pages")
        start = as_count(first, "first", end=self._n_pages)
        most = self._n_pages - start
        return start, most if n_pages is None else as_count(n_pages, least=1, end=most + 1)

    def _check_clears(self, what: str) -> None:
        if not self._clears:
            raise NotSupported(f"A bits that are not cleared do not say {what}: make the working set with clear=True")

    # -- histograms -------------------------------------------------------------------------------------------------

    def reuse(self, *, first: SupportsIndex = 0, n_pages: SupportsIndex | None = None) -> U64Array:
        """After how many samples pages were seen again.

        Parameters
        ----------
        first, n_pages
            Which pages of the range, by number; they begin and end where parts do (``part_pages``).

        Returns
        -------
        numpy.ndarray
            ``uint64``, one element for each sample so far: element d says how often a page was seen and then not until d
            samples later; element 0 is 0.

        Raises
        ------
        InvalidArgument
            Not whole parts.
        NotSupported
            A bits are not cleared.
        """
        parts, _ = self._parts(first, n_pages)
        with self._lock:
            again: U64Array = self._reuse[parts, : self._number].sum(axis=0)
            return again

    def curve(
        self, windows: Any = None, *, first: SupportsIndex = 0, n_pages: SupportsIndex | None = None
    ) -> NDArray[np.float64]:
        """Mean working-set size by length of the window.

        Parameters
        ----------
        windows
            Lengths in samples, at least 1 and no more than there are samples; integers of shape ``(n,)``. None for all, from 1.
        first, n_pages
            As for ``reuse``.

        Returns
        -------
        numpy.ndarray
            ``float64``, shape ``(n,)``: pages seen in a window of that many samples, the mean over all such windows. It is
            the correctly rounded quotient of exact integers.

        Raises
        ------
        InvalidArgument
            Not whole parts, or a length of which there is no window.
        NotSupported
            A bits are not cleared.
        """
        lengths = None if windows is None else as_integers(windows, "windows")
        parts, pages = self._parts(first, n_pages)
        with self._lock:
            number = self._number
            wanted = np.arange(1, number + 1) if lengths is None else as_u64(lengths, "windows")
            if wanted.size and not 1 <= int(wanted.min()) <= int(wanted.max()) <= number:
                raise InvalidArgument(f"windows must be from 1 to {number}, the samples so far")
            gaps = self._gaps(parts, pages)
            n_seen = int(self._first[parts].sum())
        beyond = gaps[::-1].cumsum()[::-1]  # [d]: gaps of d steps or more
        missed = beyond[::-1].cumsum()[::-1]  # [d]: sum of max(0, gap - d + 1)
        means = [_mean(n_seen, number + 1 - length, int(missed[length + 1])) for length in wanted.tolist()]
        return np.array(means, np.float64)

    def _gaps(self, parts: slice, pages: slice) -> NDArray[np.int64]:
        """Histogram of the gaps of all pages that were seen, also those before the first and after the last sample of each."""
        number = self._number
        gaps = np.zeros(number + 2, np.int64)
        gaps[: number + 1] = (self._reuse + self._first)[parts, : number + 1].sum(axis=0)
        last = np.zeros(number + 1, np.uint64)
        kernels.usage.tally(self._last[pages], last)
        gaps[1 : number + 1] += last[:0:-1].astype(np.int64)  # seen last in sample n: a gap of number + 1 - n
        return gaps

    def _parts(self, first: Any, n_pages: Any) -> tuple[slice, slice]:
        """Whole parts, and their pages."""
        start, n = self._part(first, n_pages)
        self._check_clears("when a page was used again")
        end, size = start + n, self._part_pages
        if start % size or (end % size and end != self._n_pages):
            raise InvalidArgument(f"pages {start} + {n} are not whole parts of {size} pages (part_pages)")
        return slice(start // size, -(-end // size)), slice(start, end)


def _widened(array: U64Array, room: int) -> U64Array:
    """The same numbers, with room for more in each row."""
    wide = np.zeros((*array.shape[:-1], room), np.uint64)
    wide[..., : array.shape[-1]] = array
    return wide


def _mean(n_seen: int, n_windows: int, missed: int) -> float:
    return (n_seen * n_windows - missed) / n_windows


_EVERY: "weakref.WeakSet[WorkingSet]" = weakref.WeakSet()


def _renew_locks() -> None:
    """In a forked child: another thread may have had them."""
    for one in _EVERY:
        one._lock = _sync.rlock("working set")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)
