"""Migration of real bytes between two spaces, while a vCPU writes, under the rules of hypervisors.

Theory of operation
-------------------
The clock is simulated: a send of so many bytes takes as long as the link says, and during it the guest does just what its
writer does in that time. Both happen at once: the vCPU runs in a thread of its own while pages are copied, so a page may be
copied before a write to it, after it, or in the middle. What is copied too early is dirty, and harvested behind the send.
So what is dirty does not depend on who was faster, and the result is the same each time.

Every bitmap that was harvested is kept until the guest has moved. If anything fails, or the policy cancels, all of them are
put back: the source's log is as if nobody had read it.

Guarantees: at the end every page of the target is equal to the source's, or ``InvariantError`` is raised; without success
            the source's log is whole and no thread runs on.
Relies on:  nobody but the migration's vCPU writes to the source meanwhile.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from itertools import chain
from typing import SupportsFloat, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from npt._types import ExitReason, Prot, U8Array, U64Array
from npt.dirty.bitmap import empty, to_pages, union
from npt.errors import InvalidArgument, InvariantError
from npt.space.client import VmClient
from npt.space.vcpu import Vcpu
from npt.space.vmspace import VmSpace
from npt.studies.policies import Policy, Verdict
from npt.studies.precopy import Course, PrecopyResult, as_course
from npt.studies.timed import Timed
from npt.studies.window import Window, Writer
from npt.units import PAGE_SHIFT, PAGE_SIZE, as_flag, as_range

__all__ = ["migrate"]

_SECOND = 10**9  # ns
_PERCENT = 100
_AT_ONCE = 1024  # pages copied by one call
_SLICES = 64  # of a send, where the guest's writes are limited
_WORDS = PAGE_SIZE // 8
_PUSHED = 64  # pages sent in order, while the guest runs at the target

Progress = Callable[[int, int, int], object]


def migrate(
    source: VmSpace,
    target: VmSpace,
    writer: Writer | Timed,
    *,
    policy: str | Policy,
    bandwidth: SupportsFloat | Sequence[SupportsFloat] = 1 << 30,
    gpa: SupportsIndex = 0,
    downtime: SupportsFloat = 0.3,
    max_rounds: SupportsIndex = 1000,
    latency: SupportsFloat = 0,
    compression: SupportsFloat = 1,
    skip_zero: bool = False,
    seconds_per_window: SupportsFloat = 0.001,
    progress: Progress | None = None,
) -> PrecopyResult:
    """Move a guest that is written to from one space to another, and prove that it has arrived.

    Parameters
    ----------
    source, target
        Spaces in which the writer's pages are mapped for reading and writing from ``gpa`` on, with bytes; the source tracks
        dirty pages.
    writer
        What the guest does. A ``Timed`` writer goes on from where it is.
    policy
        ``"qemu"``, ``"xen:sends=3"``, or a ``Policy``.
    bandwidth
        Bytes a simulated second; or one for each send, as for ``precopy``.
    gpa
        Address of the writer's page 0.
    downtime, max_rounds, latency, compression
        As for ``precopy``.
    skip_zero
        Whether the first copy leaves out pages that are all zero at both ends.
    seconds_per_window
        What a window of a writer takes that is not ``Timed``.
    progress
        Called with ``(number of the send, pages sent of it, pages of it in all)``. What it raises ends the migration.

    Returns
    -------
    PrecopyResult
        With ``cancelled``, if the policy gave up: the guest is still at the source.

    Raises
    ------
    TypeError, InvalidArgument
        An argument cannot be; nothing was done.
    TrackingDisabled
        The source does not track dirty pages.
    LinkDown, Fault, Orphaned, StaleHandle, KickTimeout, KeyboardInterrupt, ...
        It failed in the middle. The source's log is whole, the guest can go on there, and another try is right.
    InvariantError
        A page of the target differs from the source's.

    See Also
    --------
    precopy : the closed model of the same.
    """
    for space, name in ((source, "source"), (target, "target")):
        if not isinstance(space, VmSpace):
            raise TypeError(f"{name} must be a VmSpace, not {type(space).__name__}")
    if source is target:
        raise InvalidArgument("source and target are one space")
    timed = writer if isinstance(writer, Timed) else Timed(writer, seconds_per_window=seconds_per_window)
    start, length = as_range(gpa, timed.n_pages << PAGE_SHIFT)
    course = as_course(policy, bandwidth, downtime, max_rounds, latency, compression)
    skip = as_flag(skip_zero, "skip_zero")
    return _Migration(source, target, start, length, timed, progress).run(course, skip)


class _Guest:
    """A vCPU that does what a writer does, with a value of its own in each write."""

    def __init__(self, space: VmSpace, start: int) -> None:
        self._client = space.client()
        self._vcpu = Vcpu(self._client)
        self._start = np.uint64(start)

    def close(self) -> None:
        """Let go of the space."""
        self._client.destroy()

    def access(self, window: Window, value: int) -> None:
        """Perform a window's accesses; the writes store ``value`` and what follows, each in another word of its page."""
        values = np.arange(value, value + window.pages.size, dtype=np.uint64)
        words = values % np.uint64(_WORDS) * np.uint64(8)
        gpas = self._start + (window.pages << np.uint64(PAGE_SHIFT)) + words
        exit = self._vcpu.run(gpas, write=window.write, values=values)
        if exit.reason is not ExitReason.DONE:
            raise InvalidArgument(f"the writer's page at {exit.gpa:#x} cannot be accessed: {exit!r}")


class _Budget:
    """How many pages a guest may still dirty."""

    def __init__(self, n_pages: int, most: int | None) -> None:
        self._dirtied = np.zeros(0 if most is None else n_pages, np.bool_)
        self._left = most

    @property
    def spent(self) -> bool:
        """Whether it may dirty none any more."""
        return self._left is not None and self._left <= 0

    def spend(self, window: Window) -> int:
        """How many accesses of a window may be done: as many as dirty no more pages than that."""
        if self._left is None:
            return window.pages.size
        written = np.flatnonzero(window.write)
        pages, first = np.unique(window.pages[written].astype(np.int64), return_index=True)
        new = np.sort(written[first[~self._dirtied[pages]]])  # where a page is written for the first time
        if new.size <= self._left:
            n = window.pages.size
        else:
            n = int(new[self._left])
        self._dirtied[window.pages[:n][window.write[:n]].astype(np.int64)] = True
        self._left -= min(new.size, self._left)
        return n


class _Migration:
    """One try."""

    def __init__(
        self, source: VmSpace, target: VmSpace, start: int, length: int, timed: Timed, progress: Progress | None
    ) -> None:  # fmt: skip
        self._source, self._target, self._timed = source, target, timed
        self._start, self._length, self._n_pages = start, length, length >> PAGE_SHIFT
        self._all: U64Array = np.arange(self._n_pages, dtype=np.uint64)
        self._progress = progress
        self._stopped = threading.Event()
        self._done = 0  # accesses
        self._kept: list[Window] = []  # what the guest would have done had it not been kept waiting
        self._number = 0  # of the send
        self._arrived = 0  # pages at the target, since the guest runs there
        self._log = empty(self._n_pages)  # all that was harvested
        self._dirty = empty(self._n_pages)  # by the last harvest
        self._buffer: U8Array = np.empty((_AT_ONCE, PAGE_SIZE), np.uint8)

    def run(self, course: Course, skip_zero: bool) -> PrecopyResult:
        """All sends, and the proof."""
        with ExitStack() as stack:
            self._reader, self._storer = self._source.client(), self._target.client()
            stack.callback(self._storer.destroy)
            stack.callback(self._reader.destroy)
            guest = _Guest(self._source, self._start)
            stack.callback(guest.close)
            try:
                return self._run(course, guest, skip_zero)
            except BaseException:
                self._put_back()
                raise

    def _run(self, course: Course, guest: _Guest, skip_zero: bool) -> PrecopyResult:
        self._harvest()
        pages = self._not_zero() if skip_zero else self._all
        while True:
            verdict = course.live(pages.size << PAGE_SHIFT, partial(self._live, guest, pages))
            pages = to_pages(self._dirty, n_pages=self._n_pages)
            if verdict is not Verdict.GO_ON:
                break
        if verdict is Verdict.CANCEL:
            self._put_back()
            return course.cancel()
        if verdict is Verdict.STOP:
            self._send(pages)
            self._compare(self._all)
            return course.stop(pages.size << PAGE_SHIFT)
        return self._post(course, pages)

    # -- live -------------------------------------------------------------------------------------------------------

    def _live(self, guest: _Guest, pages: U64Array, ns: int, throttle: int, limit: int | None) -> int:
        """Copy pages while the guest goes on; bytes that are dirty behind that."""
        with ThreadPoolExecutor(1, "migrating guest") as thread:
            going = thread.submit(self._go_on, guest, ns * (_PERCENT - throttle) // _PERCENT, limit)
            try:
                self._send(pages)
                going.result()
            except BaseException:
                self._stopped.set()
                raise
        self._harvest()
        return to_pages(self._dirty).size << PAGE_SHIFT

    def _go_on(self, guest: _Guest, ns: int, limit: int | None) -> None:
        """What the guest does in so many nanoseconds; with a limit it waits when it has dirtied so much, and goes on later."""
        budget = _Budget(self._n_pages, None if limit is None else limit * ns // _SECOND >> PAGE_SHIFT)
        n_slices = 1 if limit is None else _SLICES
        kept, self._kept = self._kept, []
        for number in range(n_slices):
            if budget.spent or self._kept:
                break
            windows = self._timed.during(ns * (number + 1) // n_slices - ns * number // n_slices)
            for window in chain(kept, windows):
                if self._stopped.is_set():
                    return
                n = 0 if self._kept else budget.spend(window)
                self._access(guest, Window(window.pages[:n], window.write[:n]))
                if n < window.pages.size:
                    self._kept.append(Window(window.pages[n:], window.write[n:]))
            kept = []
        self._kept = [*kept, *self._kept]

    def _access(self, guest: _Guest, window: Window) -> None:
        guest.access(window, self._done + 1)
        self._done += window.pages.size

    def _harvest(self) -> None:
        self._dirty = self._source.track_dirty(self._start, self._length)
        union(self._log, self._dirty, out=self._log)

    def _put_back(self) -> None:
        """The source's log is as if nobody had read it."""
        self._source.set_dirty(self._start, self._length, select=self._log)

    # -- pages ------------------------------------------------------------------------------------------------------

    def _parts(self, pages: U64Array) -> Iterator[tuple[U64Array, U8Array]]:
        """Addresses of some pages at a time, and room for their bytes."""
        for first in range(0, pages.size, _AT_ONCE):
            part = pages[first : first + _AT_ONCE]
            yield np.uint64(self._start) + (part << np.uint64(PAGE_SHIFT)), self._buffer[: part.size]

    def _read(self, client: VmClient, gpas: U64Array, room: U8Array) -> U8Array:
        with client.hold_many(gpas, Prot.READ) as held:
            return held.gather(out=room)

    def _send(self, pages: U64Array) -> None:
        """Copy pages as they are now."""
        self._number += 1
        self._copy(pages, 0, pages.size)

    def _copy(self, pages: U64Array, sent: int, of: int) -> None:
        """Copy pages of a send that has so many in all."""
        for gpas, room in self._parts(pages):
            data = self._read(self._reader, gpas, room)
            with self._storer.hold_many(gpas, Prot.RW) as held:
                held.scatter(data)
            sent += gpas.size
            if self._progress is not None:
                self._progress(self._number, sent, of)

    def _not_zero(self) -> U64Array:
        """Pages that are not all zero at one end or the other."""
        found: list[U64Array] = [np.empty(0, np.uint64)]
        for gpas, room in self._parts(self._all):
            there = self._read(self._reader, gpas, room).any(axis=1)
            there |= self._read(self._storer, gpas, room).any(axis=1)
            found.append((gpas[there] - np.uint64(self._start)) >> np.uint64(PAGE_SHIFT))
        return np.concatenate(found)

    def _compare(self, pages: U64Array) -> None:
        """These pages of the target are the source's."""
        other: U8Array = np.empty_like(self._buffer)
        for gpas, room in self._parts(pages):
            ours = self._read(self._reader, gpas, room)
            theirs = self._read(self._storer, gpas, other[: gpas.size])
            differ = (ours != theirs).any(axis=1)
            if differ.any():
                raise InvariantError(f"the page at {int(gpas[differ.argmax()]):#x} did not arrive as it is at the source")

    # -- post-copy --------------------------------------------------------------------------------------------------

    def _post(self, course: Course, pages: U64Array) -> PrecopyResult:
        """The guest runs at the target; what it misses it waits for, the rest comes in order meanwhile.

        The source does not change any more, so all pages are compared when they arrive, before the guest can write to them.
        """
        page_ns = course.last_ns(PAGE_SIZE)  # a link that is down refuses now, before the guest has moved
        missing = np.zeros(self._n_pages, np.bool_)
        missing[pages.astype(np.int64)] = True
        guest, faults = _Guest(self._target, self._start), 0
        self._number += 1
        try:
            self._compare(self._all[~missing])
            for first in range(0, pages.size, _PUSHED):
                part = pages[first : first + _PUSHED]
                for window in self._timed.during(course.last_ns(part.size << PAGE_SHIFT) - course.link.latency):
                    wanted = np.unique(window.pages[missing[window.pages.astype(np.int64)]])
                    self._fetch(wanted, missing, pages.size)
                    faults += wanted.size
                    self._access(guest, window)
                self._fetch(part[missing[part.astype(np.int64)]], missing, pages.size)
        finally:
            guest.close()
        return course.post(pages.size << PAGE_SHIFT, faults, faults * page_ns)

    def _fetch(self, pages: U64Array, missing: NDArray[np.bool_], of: int) -> None:
        """Some of the last send's pages."""
        self._copy(pages, self._arrived, of)
        self._arrived += pages.size
        self._compare(pages)
        missing[pages.astype(np.int64)] = False
