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

Tracking that logs of a space turned on is turned off when the last of them pauses or stops (``switch.py``), last of all
steps. What a vCPU writes between the last harvest and then stays dirty in the tables, and the next round reports it; what is
written while tracking is off is not seen.

Where an unmap took dirty bits away, what is mapped next is owed as a whole (``mapped.py``). A round looks at the mappings after
its harvest. Whatever bits an unmap kept from the harvest, the mapping that took the place is then there to be seen, or it
comes later, and the next round sees it. Were they looked at before, a mapping made between the two would have been harvested
and not be owed: nothing would be lost as long as another round comes, but none comes after the last. Mappings that the log
knows stay known through a stop: what was put back may be unmapped, too. The first start looks before tracking comes on.

Lock order: log, switch, space. Whoever only looks takes no lock. Locks of logs and switches can be taken again by the thread
that has them, so that an interrupt leaves none behind; a call that comes in that way, from a signal handler or a finalizer in
the middle of another, is refused instead: it would change books of which the other has taken a copy.

Guarantees: a page that was written while the log ran is owed, or dirty in the tables, or was acknowledged after that, or
            will be owed by the next round because it is mapped anew.
Relies on:  nobody else harvests the range or turns tracking off meanwhile; pages are copied after the round that they are
            acknowledged for has returned. Who else harvests: ``VmSpace.track_dirty`` and ``reset_dirty``, another log whose
            range overlaps, ``KvmDirtyLog``, the mechanism ``DirtyBits`` under a ``Tracking``, a migration of ``npt.studies``.
"""

import time
from collections.abc import Iterable, Iterator
from typing import Any, SupportsIndex

from npt import _sync
from npt._types import Handle, U8Array
from npt.dirty.bitmap import count, difference, empty, intersection, section, union
from npt.dirty.debts import Books, LogState, clear_pages
from npt.dirty.mapped import covered, look
from npt.dirty.rounds import Round, Rounds
from npt.dirty.runlists import runs
from npt.dirty.switch import switch_of
from npt.errors import Busy, Deadlock, InvalidArgument, TrackingDisabled
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
        The range in bytes: whole pages, inside the space. Without a length it goes to the end of the highest mapping that
        there is now; what is mapped beyond that later is not in the log.

    Attributes
    ----------
    space : VmSpace
        Whose log it is.
    gpa, length, n_pages : int
        The range, in bytes and in pages.

    Raises
    ------
    InvalidArgument, AddressOverflow, BeyondSpace
        Unaligned, empty, reaching 2**64 or past the end; no length, and nothing is mapped at ``gpa`` or above it.

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

    What is mapped while the log is under way is owed by the next round, as if it had been asked for; it is not in that round's
    bitmap. Only what is mapped between ``mapped`` and ``start`` is in neither: if that can happen, ``start`` first and
    ``resume(owe=log.mapped())`` then.

    What a client writes through a held page is dirty from the page's release on, or from ``mark_dirty``: release before the
    last round. A hold that an unmap cut off marks nothing any more.

    Nobody else may harvest the range: not ``track_dirty`` or ``reset_dirty`` by hand, not a log that overlaps, not
    ``KvmDirtyLog``, not the mechanism ``DirtyBits``, not another migration. Logs of separate ranges go side by side. Tracking
    that they turned on stays on until the last of them pauses or stops; a log that is dropped without that no longer counts.
    If somebody else turned it off, the next round, be it that of ``pause`` or ``stop``, has ``gap`` True, and tracking is off
    again in the end; if it is off and on again between two rounds, nothing tells.

    Calls that change the log, made inside such a call of the same thread (in a signal handler, a finalizer or an invalidate
    callback), raise ``Deadlock`` and change nothing.
    """

    def __init__(self, space: VmSpace, gpa: SupportsIndex = 0, length: SupportsIndex | None = None) -> None:
        if not isinstance(space, VmSpace):
            raise TypeError(f"space must be a VmSpace, not {type(space).__name__}")
        as_int(gpa, "gpa"), None if length is None else as_int(length, "length")
        size = space.size  # a space that is gone says so before its range is looked at
        if length is None:
            check_inside(as_aligned(gpa), PAGE_SIZE, size)
            length = _mapped_from(space, as_int(gpa, "gpa"))
        self.gpa, self.length = as_range(gpa, length)
        check_inside(self.gpa, self.length, size)
        self.space, self.n_pages = space, self.length >> PAGE_SHIFT
        self._lock = _sync.rlock("dirty log")
        self._books = Books(
            LogState.STOPPED, Rounds(self.gpa, self.length), {}, empty(self.n_pages), empty(self.n_pages), False
        )
        self._switch = switch_of(space)
        self._origin: int | None = None  # when it was first started

    def __repr__(self) -> str:
        books = self._books
        return (
            f"<DirtyLog of {self.gpa:#x} + {self.length:#x}, {books.state.value}: "
            f"{len(books.rounds)} rounds, {count(books.owed())} pages owed>"
        )

    def _shown(self) -> Iterable[str]:
        yield self._books.rounds._repr_html_()

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
        return covered(self.space.mappings, self.gpa, self.n_pages, mmio=mmio)

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
        """Harvest once more and turn tracking off, if logs turned it on and no other wants it; owed pages stay owed.

        What is written until ``resume`` is not seen then, and the next round says that it comes after a gap.

        Returns
        -------
        Round or None
            The last harvest; None if the log is paused already. If somebody turned tracking off, it is on again for as long
            as the harvest takes: what was dirty before is in this round, and its ``gap`` is True.

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
            self._switch.let_go(self.space, self, stays=True)
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

        If another log of the space wants tracking, it stays on until that stops.

        Returns
        -------
        Round or None
            The last harvest; None if the log was not running. As for ``pause`` if somebody turned tracking off.

        Raises
        ------
        StaleHandle, Deadlock, KickTimeout
            As for ``VmSpace.track_dirty``. If the harvest failed, the log runs on; if only tracking could not be turned off,
            it is stopped, and ``stop`` may be called again.
        """
        with self._changing():
            last = self._last_round()
            self._books = self._books._replace(state=LogState.STOPPED)
            self._switch.let_go(self.space, self, stays=False)
            return last

    def abort(self) -> U8Array:
        """Put back all that is owed, and leave tracking as it was before the start.

        A log that was paused or stopped, too: tracking is turned on for that. What was mapped since the last round is put
        back, too, unless the log was stopped.

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
            if self.state is not LogState.STOPPED:
                self._note_mapped()
            left = self._books.owed()
            if left.any():
                self._switch.turn_on(self.space, self)
                left = difference(left, self._mark(left))
            self._books = self._books._replace(
                state=LogState.STOPPED, by_round={}, fresh=empty(self.n_pages), asked=left.copy()
            )
            self._switch.let_go(self.space, self, stays=False)
            return left

    # -- rounds -----------------------------------------------------------------------------------------------------

    def round(self) -> Round:
        """Harvest: what was written since the round before. It is owed from now on, and so is what was mapped since.

        Returns
        -------
        Round
            Copy its pages now, not before: what a vCPU wrote through a stale translation is then in the copy.

        Raises
        ------
        TrackingDisabled
            The log is not running, or somebody else has turned tracking off: ``resume`` turns it on again, and the next
            round comes after a gap.
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
        _check_round_type(round)
        n_pages is None or as_int(n_pages, "n_pages")
        number = self._books.rounds.find(round)
        return self._copy(number, self.n_pages if n_pages is None else as_count(n_pages, least=1))

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
            In a callback or another call of the log, or this thread is on CPU in the space.
        """
        _check_round_type(round)
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
        """The log's lock, for who may wait for it: its owner may be waiting for the space, or for us to leave the tables.

        That the locks themselves are asked leaves nothing behind if an interrupt ends a call.
        """
        self.space._core.exclusion.check_may_kick()
        if self._lock._is_owned() or self._switch.lock._is_owned():
            raise Deadlock("this thread is in a call of a log already; call again when that has returned")
        return self._lock

    def _check_started(self) -> None:
        if self.state is LogState.STOPPED:
            raise TrackingDisabled("the log is stopped; call start first")

    def _remedy(self) -> str:
        return "start" if self.state is LogState.STOPPED else "resume"

    def _run(self, asked: U8Array | None) -> None:
        """Tracking on, then the books."""
        first = self._books.known is None
        known = self._books.known or look(self.space)  # before tracking is on: what is mapped from then on is news
        self._switch.turn_on(self.space, self)
        if first:
            self._origin = time.monotonic_ns()
        books, turns = self._books, self._switch.turns
        wanted = books.asked if asked is None else union(books.asked, asked)
        gap = books.gap or not (first or turns == books.turns)
        self._books = books._replace(state=LogState.RUNNING, asked=wanted, gap=gap, turns=turns, known=known)

    def _last_round(self) -> Round | None:
        """What is dirty; if somebody else turned tracking off, what was so before, and the round says that it has a gap."""
        if self.state is not LogState.RUNNING:
            return None
        self._switch.turn_on(self.space, self)
        return self._harvest()

    def _harvest(self) -> Round:
        turns = self._switch.turns  # before: a turn beside the harvest counts for this round and for the next
        try:
            self.space.track_dirty(self.gpa, self.length, into=self._books.fresh)
        except TrackingDisabled:
            self._books = self._books._replace(gap=True)  # whoever turns it on again
            raise
        assert self._origin is not None
        elapsed = time.monotonic_ns() - self._origin
        self._note_mapped()
        gap = self._books.gap or self._switch.turns != self._books.turns
        self._books, made = self._books._replace(gap=gap, turns=turns).with_round(self.space.generation, elapsed)
        return made

    def _note_mapped(self) -> None:
        self._books = self._books.with_mapped(look(self.space))

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


def _mapped_from(space: VmSpace, gpa: int) -> int:
    """Bytes from an address to the end of the highest mapping."""
    end = max((each.gpa + each.length for each in space.mappings), default=0)
    if end <= gpa:
        raise InvalidArgument(f"nothing is mapped at {gpa:#x} or above it; map memory first, or say the length of the log")
    return end - gpa


def _check_round_type(round: Any) -> None:
    if not isinstance(round, Round):
        as_int(round, "round")
