"""``DirtyLog``: rounds of one space, and who still owes what.

Theory of operation
-------------------
A harvest destroys information: a page that was reported is clean in the tables, and only its reader knows that it has to be
sent. A log makes that a debt. A page is *owed* from its harvest until somebody says that it was sent (``acknowledge``, or a
loop over ``copying``), or until it is dirty in the tables again (``put_back``, ``abort``). What was sent after round k settles
what rounds up to k owe; a page that was reported again since is owed by the later round, and stays so.

The order of steps is such that an error or an interrupt between any two leaves a page in two places rather than in none: a
harvest goes into a bitmap that the log has already, and counts as owed while no round is made of it; what is put back is set
in the tables first and struck off the books afterwards. A page that is sent twice is waste, a page that is not sent is lost.

Tracking that the log turned on is turned off when it pauses or stops, last of all steps. What a vCPU writes between the last
harvest and then stays dirty in the tables, and the next round reports it; what is written while tracking is off is not seen.

Lock order: log, space. Whoever only looks takes no lock.

Guarantees: a page that was written while the log ran is owed, or dirty in the tables, or was acknowledged after that.
Relies on:  nobody else harvests the range or turns tracking off meanwhile; pages are copied after the round that they are
            acknowledged for has returned.
"""

import time
from collections.abc import Iterator
from typing import Any, SupportsIndex

import numpy as np

from npt import _sync
from npt._types import Handle, U8Array
from npt.dirty.bitmap import count, difference, empty, intersection, section, union
from npt.dirty.debts import Books, LogState, clear_pages
from npt.dirty.rounds import Round, Rounds
from npt.dirty.runlists import RUN, from_runs, runs
from npt.errors import Busy, TrackingDisabled
from npt.memory.objects import MmioObject
from npt.space.vmspace import VmSpace
from npt.units import (
    PAGE_SHIFT,
    PAGE_SIZE,
    as_aligned,
    as_bitmap,
    as_count,
    as_flag,
    as_int,
    as_range,
    check_bitmap_type,
    check_inside,
)

__all__ = ["DirtyLog", "LogState"]


class DirtyLog(Handle):
    """Harvests of one range of a space, round by round, and the pages that are still to be sent.

    Parameters
    ----------
    space
        Whose writes are logged.
    gpa, length
        The range in bytes: whole pages, inside the space; to its end unless told.

    Attributes
    ----------
    space : VmSpace
        Whose log it is.
    gpa, length, n_pages : int
        The range, in bytes and in pages.

    Raises
    ------
    InvalidArgument, AddressOverflow, BeyondSpace
        Unaligned, empty, reaching 2**64 or past the end.

    Examples
    --------
    >>> from npt import PAGE_SIZE, Prot, Reservoir
    >>> with Reservoir(8 * PAGE_SIZE) as reservoir, reservoir.allocate(8 * PAGE_SIZE) as ram:
    ...     with VmSpace(8 * PAGE_SIZE, reservoir=reservoir) as space:
    ...         space.map(ram, 0, ram.length, Prot.RW)
    ...         log, client = DirtyLog(space), space.client()
    ...         log.start()
    ...         client.write(2 * PAGE_SIZE, b"x")
    ...         sent = [gpa for gpa, _ in log.copying(log.round())]
    ...         client.write(3 * PAGE_SIZE, b"x")
    ...         _ = log.round()
    ...         print(sent, log.owed, log.abort(), space.tracking)
    [8192] [8] [0] False

    Notes
    -----
    A migration: ``start(owe=log.mapped())``; then ``round`` and a loop over ``copying``, again and again; then, with the
    vCPUs stopped, ``stop`` and the last loop. Whatever goes wrong before its end: ``abort``.
    """

    def __init__(self, space: VmSpace, gpa: SupportsIndex = 0, length: SupportsIndex | None = None) -> None:
        if not isinstance(space, VmSpace):
            raise TypeError(f"space must be a VmSpace, not {type(space).__name__}")
        as_int(gpa, "gpa"), None if length is None else as_int(length, "length")
        size = space.size  # a space that is gone says so before its range is looked at
        if length is None:
            check_inside(as_aligned(gpa), PAGE_SIZE, size)
            length = size - as_int(gpa, "gpa")
        self.gpa, self.length = as_range(gpa, length)
        check_inside(self.gpa, self.length, size)
        self.space, self.n_pages = space, self.length >> PAGE_SHIFT
        self._lock = _sync.rlock("dirty log")
        self._books = Books(
            LogState.STOPPED, Rounds(self.gpa, self.length), {}, empty(self.n_pages), empty(self.n_pages), False
        )
        self._before: bool | None = None  # whether tracking was on before the log wanted it; None: nothing to restore
        self._origin: int | None = None  # when it was first started

    def __repr__(self) -> str:
        books = self._books
        return (
            f"<DirtyLog of {self.gpa:#x} + {self.length:#x}, {books.state.value}: "
            f"{len(books.rounds)} rounds, {count(books.owed())} pages owed>"
        )

    # -- what it knows ----------------------------------------------------------------------------------------------

    @property
    def state(self) -> LogState:
        """``STOPPED``, ``RUNNING`` or ``PAUSED``."""
        return self._books.state

    @property
    def rounds(self) -> Rounds:
        """What was recorded so far; numbers go on when the log is started again."""
        return self._books.rounds

    @property
    def owed(self) -> U8Array:
        """Pages that are still to be sent or put back; ``uint8``, shape ``(ceil(n_pages / 8),)``, a copy."""
        return self._books.owed()

    def owed_by(self, round: Round | SupportsIndex) -> U8Array:
        """Pages that are owed, and that this round was the last to report or to be asked for.

        Parameters
        ----------
        round
            A round of this log, or its number.

        Returns
        -------
        numpy.ndarray
            ``uint8``, shape ``(ceil(n_pages / 8),)``, a copy.

        Raises
        ------
        InvalidArgument
            There is no such round, or it is another log's.
        """
        books = self._books
        owed = books.by_round.get(books.rounds.find(round))
        return empty(self.n_pages) if owed is None else owed.copy()

    def mapped(self, *, mmio: bool = True) -> U8Array:
        """Pages of the range that are mapped: what a first full copy owes.

        Parameters
        ----------
        mmio
            Device memory, too, which has no bytes to copy.

        Returns
        -------
        numpy.ndarray
            ``uint8``, shape ``(ceil(n_pages / 8),)``.
        """
        as_flag(mmio, "mmio")
        end = self.gpa + self.length
        stretches = [
            (max(each.gpa, self.gpa), (min(each.gpa + each.length, end) - max(each.gpa, self.gpa)) >> PAGE_SHIFT)
            for each in self.space.mappings
            if each.gpa < end and self.gpa < each.gpa + each.length and (mmio or not isinstance(each.obj, MmioObject))
        ]
        return from_runs(np.array(stretches, RUN), self.n_pages, base=self.gpa)

    # -- started and stopped ----------------------------------------------------------------------------------------

    def start(self, *, owe: U8Array | None = None) -> None:
        """Turn tracking on, if it is off, and begin.

        D bits that are there stay, and the first round reports them: they may be what an abort has put back.

        Parameters
        ----------
        owe
            Bitmap of pages that are owed besides, by the round that comes; ``uint8``, at least ``ceil(n_pages / 8)`` bytes.
            ``log.mapped()`` for a first full copy.

        Raises
        ------
        InvalidArgument
            ``owe`` is too short.
        Busy
            It was started already.
        StaleHandle, Deadlock, KickTimeout
            As for ``VmSpace.set_tracking``; the log is as before.
        """
        asked = self._as_pages(owe, "owe")
        with self._changing():
            if self.state is not LogState.STOPPED:
                raise Busy("the log was started already; stop or abort it first")
            self._run(asked)

    def pause(self) -> Round | None:
        """Harvest once more and turn tracking off, if it was the log that turned it on; owed pages stay owed.

        What is written until ``resume`` is not seen then, and the next round says that it comes after a gap.

        Returns
        -------
        Round or None
            The last harvest; None if the log is paused already, or tracking is off.

        Raises
        ------
        TrackingDisabled
            The log is stopped.
        StaleHandle, Deadlock, KickTimeout
            As for ``VmSpace.track_dirty``. If the harvest failed, the log runs on; if only tracking could not be turned off,
            it is paused, and ``pause`` may be called again.
        """
        with self._changing():
            self._check_started()
            last = self._last_round()
            self._books = self._books._replace(state=LogState.PAUSED)
            self._restore_tracking()
            return last

    def resume(self, *, owe: U8Array | None = None) -> None:
        """Go on after a pause.

        Parameters
        ----------
        owe
            As for ``start``: ``log.mapped()`` if what was written meanwhile matters.

        Raises
        ------
        TrackingDisabled
            The log is stopped.
        InvalidArgument, StaleHandle, Deadlock, KickTimeout
            As for ``start``.
        """
        asked = self._as_pages(owe, "owe")
        with self._changing():
            self._check_started()
            self._run(asked)

    def stop(self) -> Round | None:
        """Harvest once more and leave tracking as it was before the start; owed pages stay owed.

        Returns
        -------
        Round or None
            The last harvest; None if the log was not running, or tracking is off.

        Raises
        ------
        StaleHandle, Deadlock, KickTimeout
            As for ``VmSpace.track_dirty``. If the harvest failed, the log runs on; if only tracking could not be turned off,
            it is stopped, and ``stop`` may be called again.
        """
        with self._changing():
            last = self._last_round()
            self._books = self._books._replace(state=LogState.STOPPED)
            self._restore_tracking()
            self._before = None
            return last

    def abort(self) -> U8Array:
        """Put back all that is owed, and leave tracking as it was before the start.

        A log that was paused or stopped, too: tracking is turned on for that.

        Returns
        -------
        numpy.ndarray
            Pages that could not be put back, because they are read-only or no longer mapped; ``uint8``, shape
            ``(ceil(n_pages / 8),)``. They stay owed, by the next round of this log; a new log may be told by ``owe``.

        Raises
        ------
        StaleHandle, Deadlock, KickTimeout
            As for ``VmSpace.set_dirty`` and ``set_tracking``; nothing is lost, and ``abort`` may be called again.
        """
        with self._changing():
            left = self._books.owed()
            if left.any():
                self._turn_on()
                left = difference(left, self._mark(left))
            self._books = self._books._replace(
                state=LogState.STOPPED, by_round={}, fresh=empty(self.n_pages), asked=left.copy()
            )
            self._restore_tracking()
            self._before = None
            return left

    # -- rounds -----------------------------------------------------------------------------------------------------

    def round(self) -> Round:
        """Harvest: what was written since the round before. It is owed from now on.

        Returns
        -------
        Round
            Copy its pages now, not before: what a vCPU wrote through a stale translation is then in the copy.

        Raises
        ------
        TrackingDisabled
            The log is not running, or somebody else has turned tracking off: ``resume`` turns it on again.
        StaleHandle, Deadlock, KickTimeout
            As for ``VmSpace.track_dirty``; nothing is lost, and no round is made.
        """
        with self._changing():
            if self.state is not LogState.RUNNING:
                raise TrackingDisabled(f"the log is {self.state.value}; call {self._remedy()} first")
            return self._harvest()

    def copying(self, round: Round | SupportsIndex, *, n_pages: SupportsIndex | None = None) -> Iterator[tuple[int, int]]:
        """Go through what rounds up to one owe, to be copied; acknowledge each stretch when the next is asked for.

        A body that raises, or breaks off, leaves its stretch and all further ones owed.

        Parameters
        ----------
        round
            A round of this log, or its number.
        n_pages
            Longest stretch; whole runs if None.

        Yields
        ------
        tuple of int
            ``(gpa, length)`` in bytes, by address.

        Raises
        ------
        TypeError, InvalidArgument
            There is no such round, it is another log's, or ``n_pages`` is not positive.
        """
        most = self.n_pages if n_pages is None else as_count(n_pages, least=1)
        number = self._books.rounds.find(round)
        return self._copy(number, most)

    def acknowledge(self, round: Round | SupportsIndex, select: U8Array | None = None) -> int:
        """Say that pages were sent, after this round and before the next: they are no longer owed by it or an earlier one.

        Pages that a later round reported again stay owed by that.

        Parameters
        ----------
        round
            A round of this log, or its number: the last that had returned when the copying began.
        select
            Bitmap of the pages; ``uint8``, at least ``ceil(n_pages / 8)`` bytes. None is all.

        Returns
        -------
        int
            Pages that are no longer owed.

        Raises
        ------
        TypeError, InvalidArgument
            There is no such round, it is another log's, or ``select`` is too short.
        Deadlock
            In a callback, or this thread is on CPU in the space.
        """
        if not isinstance(round, Round):
            as_int(round, "round")
        pages = self._as_pages(select, "select", bookkeeping=True)
        number = self._books.rounds.find(round)
        with self._changing():
            return self._books.settle(number, pages)

    def put_back(self, select: U8Array | None = None) -> int:
        """Make owed pages dirty in the tables again; then they are no longer owed.

        Parameters
        ----------
        select
            Bitmap of the pages; ``uint8``, at least ``ceil(n_pages / 8)`` bytes. None is all that are owed.

        Returns
        -------
        int
            Pages put back. Read-only pages and pages that are no longer mapped stay owed.

        Raises
        ------
        InvalidArgument
            ``select`` is too short.
        TrackingDisabled, StaleHandle, Deadlock
            As for ``VmSpace.set_dirty``; nothing has changed.
        """
        pages = self._as_pages(select, "select")
        with self._changing():
            owed = self._books.owed()
            marked = self._mark(owed if pages is None else intersection(owed, pages))
            self._books.forget(marked)
            return count(marked)

    # -- how --------------------------------------------------------------------------------------------------------

    def _as_pages(self, bitmap: Any, name: str, *, bookkeeping: bool = False) -> U8Array | None:
        """A bitmap from outside, as one of ours; type, stale handle, length: in this order."""
        if bitmap is not None:
            check_bitmap_type(bitmap, name)
        core = self.space._core
        core.exclusion.check_own() if bookkeeping else core.check_own()
        return None if bitmap is None else section(as_bitmap(bitmap, self.n_pages, name), 0, self.n_pages)

    def _changing(self) -> Any:
        """The log's lock, for who may wait for it: its owner may be waiting for the space, or for us to leave the tables."""
        self.space._core.exclusion.check_may_kick()
        return self._lock

    def _check_started(self) -> None:
        if self.state is LogState.STOPPED:
            raise TrackingDisabled("the log is stopped; call start first")

    def _remedy(self) -> str:
        return "start" if self.state is LogState.STOPPED else "resume"

    def _run(self, asked: U8Array | None) -> None:
        """Tracking on, then the books."""
        gap = self._origin is not None and not self.space.tracking
        self._turn_on()
        if self._origin is None:
            self._origin = time.monotonic_ns()
        books = self._books
        wanted = books.asked if asked is None else union(books.asked, asked)
        self._books = books._replace(state=LogState.RUNNING, asked=wanted, gap=books.gap or gap)

    def _turn_on(self) -> None:
        """Tracking on; remember how it was, unless that did not work."""
        first = self._before is None
        before = self._before = self.space.tracking if self._before is None else self._before
        try:
            self.space.set_tracking(True)
        except BaseException:
            if first and self.space._core.tracking == before:
                self._before = None
            raise

    def _restore_tracking(self) -> None:
        """Tracking as it was before; from then on writes are not seen."""
        if self._before is False:
            self._books = self._books._replace(gap=True)
            self.space.set_tracking(False)

    def _last_round(self) -> Round | None:
        return self._harvest() if self.state is LogState.RUNNING and self.space.tracking else None

    def _harvest(self) -> Round:
        self.space.track_dirty(self.gpa, self.length, into=self._books.fresh)
        assert self._origin is not None
        elapsed = time.monotonic_ns() - self._origin
        self._books, made = self._books.with_round(self.space.generation, elapsed)
        return made

    def _mark(self, pages: U8Array) -> U8Array:
        """Set pages dirty in the tables; return which of them are dirty now, by us or by the guest."""
        self.space.set_dirty(self.gpa, self.length, select=pages)
        return self.space.peek_dirty(self.gpa, self.length, select=pages)

    def _copy(self, number: int, most: int) -> Iterator[tuple[int, int]]:
        for first, n_pages in runs(self._books.owed_up_to(number), n_pages=self.n_pages).tolist():
            page, end = first >> PAGE_SHIFT, (first >> PAGE_SHIFT) + n_pages
            while page < end:
                n = min(most, end - page)
                yield self.gpa + (page << PAGE_SHIFT), n << PAGE_SHIFT
                with self._changing():
                    for each, bitmap in self._books.by_round.items():
                        if each <= number:
                            clear_pages(bitmap, page, n)
                page += n
