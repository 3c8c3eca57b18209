"""``Tracking``: real vCPUs on real tables, watched by several mechanisms at once.

Theory of operation
-------------------
One lock makes each run, with the look that every mechanism takes at it, one step: so all see the same accesses in the same
order. The mechanism that touches entries is asked first, because it alone can fail, and then has changed nothing; the others
keep books in memory of their own. While not all have seen the same this object is not *whole*, and an error or an interrupt
there leaves it so for ever. A run that is refused before its vCPU was in the tables has changed nothing: a vCPU that leaves
them is counted.

Who waits for the lock may have to wait for the space, and for vCPUs to leave: so whoever they might wait for is refused first.
Lock order: tracking, space.

Beside them stands the truth: for each page the number of the last access that wrote it. A page that is copied at a moment
must be reported again exactly if it was written later.

Guarantees: all mechanisms saw the same, or ``InvariantError`` says which differ and where.
Relies on:  writes to the range come from these vCPUs through ``run``; nobody else harvests it or changes its mappings.
"""

from collections.abc import Callable, Iterable
from typing import Any, SupportsIndex

import numpy as np

from npt import _sync, kernels
from npt._types import Handle, U8Array, U64Array
from npt.dirty.mechanisms.base import Events, Mechanism
from npt.dirty.mechanisms.copies import Account, Copies
from npt.errors import Busy, Deadlock, InvalidArgument, InvariantError, StaleHandle
from npt.space.accesses import Accesses, check
from npt.space.gate import EXITS
from npt.space.vcpu import Vcpu, VcpuExit
from npt.space.vmspace import VmSpace
from npt.units import PAGE_SHIFT, as_int, as_integers, as_range, check_inside

__all__ = ["Tracking"]


class Tracking(Handle):
    """Mechanisms that watch a range of a space while vCPUs run through here.

    Parameters
    ----------
    space
        Whose pages are watched.
    gpa, length
        Range in bytes, whole pages, inside the space.
    mechanisms
        New ones, of different names; they are started here.
    vcpus
        Of this space, at least one; ``run`` names them by their place.

    Raises
    ------
    InvalidArgument, AddressOverflow, BeyondSpace
        Unaligned, empty, reaching 2**64 or past the end; no mechanism or two of a name, no vCPU, the same twice, or one of
        another space.
    Busy
        A mechanism was started before.
    TrackingDisabled, KickTimeout, Deadlock
        As for ``VmSpace.track_dirty``, where ``DirtyBits`` is among the mechanisms.

    Notes
    -----
    Runs of several threads follow each other. What others do to the range is seen by ``DirtyBits`` only, and ends in an
    ``InvariantError``: writes of vCPUs without ``run``, or through holds; harvests; unmapping, which takes D bits away.
    """

    def __init__(
        self, space: VmSpace, gpa: SupportsIndex, length: SupportsIndex, mechanisms: Iterable[Mechanism],
        vcpus: Iterable[Vcpu],
    ) -> None:  # fmt: skip
        if not isinstance(space, VmSpace):
            raise TypeError(f"space must be a VmSpace, not {type(space).__name__}")
        as_int(gpa, "gpa"), as_int(length, "length")
        self._mechanisms: tuple[Mechanism, ...] = _all_of(mechanisms, Mechanism, "mechanisms")
        self._vcpus: tuple[Vcpu, ...] = _all_of(vcpus, Vcpu, "vcpus")
        size = space.size
        self._gpa, length = as_range(gpa, length)
        self._check_choice(space)
        check_inside(self._gpa, length, size)
        self._n_pages = length >> PAGE_SHIFT
        self._core = self._vcpus[0].client.core
        self._lock = _sync.rlock("tracking")
        self._whole = True
        self._order = sorted(self._mechanisms, key=lambda mechanism: not mechanism.touches_entries)
        self._copies = Copies(self._gpa, self._n_pages)
        self._start(space, length)

    def __repr__(self) -> str:
        names = ", ".join(mechanism.name for mechanism in self._mechanisms)
        return f"<Tracking of {self._n_pages} pages, {len(self._vcpus)} vCPUs: {names}>"

    def _check_choice(self, space: VmSpace) -> None:
        if not self._mechanisms or not self._vcpus:
            raise InvalidArgument("there must be a mechanism and a vCPU at least")
        names = [mechanism.name for mechanism in self._mechanisms]
        if len(set(names)) < len(names):
            raise InvalidArgument(f"two mechanisms have the same name: {', '.join(names)}")
        if sum(mechanism.touches_entries for mechanism in self._mechanisms) > 1:
            raise InvalidArgument("one mechanism at most may touch the entries: they would clear each other's bits")
        if len(set(map(id, self._vcpus))) < len(self._vcpus):
            raise InvalidArgument("a vCPU is named twice")
        if any(vcpu.client.core.table is not space.table for vcpu in self._vcpus):
            raise InvalidArgument("a vCPU is of another space")
        for mechanism in self._mechanisms:
            if mechanism.n_pages:
                raise Busy(f"{mechanism.name} watches a range already; make another one")

    def _start(self, space: VmSpace, length: int) -> None:
        """Start all mechanisms or none: the one whose start others could see comes last."""
        started: list[Mechanism] = []
        try:
            for mechanism in reversed(self._order):
                mechanism.start(space, self._gpa, length, len(self._vcpus))
                started.append(mechanism)
        except BaseException:
            for mechanism in started:
                mechanism.forget()
            raise

    # -- what there is ----------------------------------------------------------------------------------------------

    @property
    def n_pages(self) -> int:
        """Pages of the range."""
        return self._n_pages

    @property
    def mechanisms(self) -> tuple[Mechanism, ...]:
        """The mechanisms, as they were given."""
        return self._mechanisms

    @property
    def events(self) -> dict[str, Events]:
        """What each mechanism has cost since its start, by name."""
        return {mechanism.name: mechanism.events for mechanism in self._mechanisms}

    @property
    def accesses(self) -> int:
        """Accesses that all vCPUs have completed since the last collect."""
        return self._copies.moment

    @property
    def total(self) -> Account:
        """What became of all copies, up to the last collect."""
        return self._copies.total

    @property
    def last_round(self) -> Account:
        """What became of those that the last collect settled."""
        return self._copies.last_round

    @property
    def false_dirty(self) -> int:
        """Pages reported again although nothing was written since their copy, in all."""
        return self._copies.total.false_dirty

    @property
    def missed(self) -> int:
        """Pages written since their copy and not reported, in all."""
        return self._copies.total.missed

    # -- the guest --------------------------------------------------------------------------------------------------

    def run(
        self, number: SupportsIndex, gpas: Any, *, write: Any = False, execute: Any = False, values: Any = None,
        into: U64Array | None = None,
    ) -> VcpuExit:  # fmt: skip
        """Run a vCPU, and show every mechanism the accesses that it completed.

        Parameters
        ----------
        number
            Place of the vCPU among those given.
        gpas, write, execute, values, into
            As for ``Vcpu.run``.

        Returns
        -------
        VcpuExit
            As from ``Vcpu.run``; the accesses from the one that faulted on are not observed.

        Raises
        ------
        InvalidArgument
            There is no such vCPU; or as for ``Vcpu.run``.
        StaleHandle, Orphaned, Busy
            As for ``Vcpu.run``. If its vCPU has been in the tables before that, as after an interrupt of a run, the
            mechanisms may lack a part of the accesses: then everything here is refused from now on.
        Deadlock
            In a callback, on CPU in the space, or within a call of this object.
        """
        number = as_int(number, "number")
        if not 0 <= number < len(self._vcpus):
            raise InvalidArgument(f"number {number}: there are {len(self._vcpus)} vCPUs")
        vcpu = self._vcpus[number]
        own = as_integers(gpas, "gpas").copy()  # the caller's may change before the last mechanism has seen it
        accesses = check(vcpu.client, own, write, execute, values, into)
        with self._turn():
            self._begin()
            exit = self._run(vcpu, accesses, None if values is None else accesses.values, into)
            n, kinds = exit.completed, accesses.kinds
            self._observe(number, accesses.gpas[:n], kinds if kinds.size == 1 else kinds[:n])
            self._whole = True
        return exit

    def _run(self, vcpu: Vcpu, accesses: Accesses, values: U64Array | None, into: U64Array | None) -> VcpuExit:
        """Run a vCPU; if it is refused before it has been in the tables, nothing has changed."""
        kinds, line = accesses.kinds, vcpu.client.gate.line
        write, execute = (bool(kinds[0] == k) if kinds.size == 1 else kinds == k for k in (1, 2))
        left = kernels.words.load(line, EXITS)
        try:
            return vcpu.run(accesses.gpas, write=write, execute=execute, values=values, into=into)
        except Exception:
            self._whole = kernels.words.load(line, EXITS) == left  # whoever comes in leaves, too
            raise

    def _observe(self, number: int, gpas: U64Array, kinds: U8Array) -> None:
        for mechanism in self._mechanisms:
            mechanism.observe(number, gpas, kinds)
        self._copies.note_writes(gpas, kinds)

    # -- the host ---------------------------------------------------------------------------------------------------

    def collect(self) -> U8Array:
        """Report what is dirty, as every mechanism does; nothing is cleared.

        Returns
        -------
        numpy.ndarray
            ``uint8``, shape ``(ceil(n_pages / 8),)``; bit k of byte j is page ``8 * j + k`` of the range.

        Raises
        ------
        InvariantError
            The mechanisms differ.
        TrackingDisabled, StaleHandle
            As for ``VmSpace.peek_dirty``; a run was interrupted.
        Deadlock
            As for ``run``.
        """
        with self._turn():
            return self._report(clear=False)

    def harvest(self) -> U8Array:
        """Collect and clear, all at once.

        If the mechanisms differ, nothing is cleared: then it was a collect. A ``clear`` of all makes them agree again.

        Returns
        -------
        numpy.ndarray
            As from ``collect``.

        Raises
        ------
        InvariantError
            The mechanisms differ.
        TrackingDisabled, KickTimeout, Deadlock, StaleHandle
            As for ``VmSpace.track_dirty``, and for ``run``; a run was interrupted.
        """
        with self._turn():
            return self._report(clear=True)

    def clear(self, first: SupportsIndex = 0, n_pages: SupportsIndex | None = None) -> None:
        """Arm the pages of a part again that the last collect reported; they are not dirty any more.

        Parameters
        ----------
        first, n_pages
            The part, in pages of the range; to its end if ``n_pages`` is None.

        Raises
        ------
        InvalidArgument
            No pages, or not all of them in the range.
        TrackingDisabled, KickTimeout, Deadlock, StaleHandle
            As for ``VmSpace.reset_dirty``, and for ``run``; a run was interrupted.

        Notes
        -----
        Copy pages after this. What is written between the clear and the copy is reported again, though the copy has it;
        what is written between a copy and a later clear is lost.
        """
        first, n_pages = self._order[0].check_part(first, n_pages)
        with self._turn():
            self._ask(lambda mechanism: mechanism.clear(first, n_pages))
            self._whole = True

    def copy(self, pages: Any, at: Any = None) -> None:
        """Say that pages are copied, for the next collect to account for.

        Parameters
        ----------
        pages
            Pages of the range; integer array of shape ``(n,)``.
        at
            When: how many accesses all vCPUs had completed, or will have, since the last collect; an integer, or an array of
            shape ``(n,)``. None is now. What does not come to pass before the next collect is copied just before that.

        Raises
        ------
        InvalidArgument
            Pages outside the range, arrays of unequal length, a negative moment.
        StaleHandle, Deadlock
            As for ``collect``.
        """
        checked = self._copies.check(pages, at)
        with self._turn():
            self._begin()
            self._copies.add(*checked)
            self._whole = True

    # -- how --------------------------------------------------------------------------------------------------------

    def _turn(self) -> Any:
        """The lock, for who may wait for it: its owner may be waiting for the space, or for us to leave the tables."""
        self._core.check_own()
        self._core.exclusion.check_may_kick()
        if self._lock._is_owned():
            raise Deadlock("a call of this tracking is under way in this very thread")
        return self._lock

    def _begin(self) -> None:
        """From now on, until somebody says otherwise, not all have seen the same."""
        if not self._whole:
            raise StaleHandle("a run or a collect was interrupted: mechanisms may have missed accesses; start new ones")
        self._whole = False

    def _ask(self, call: Callable[[Mechanism], Any]) -> list[Any]:
        """What each mechanism answers, in our order of asking; all do it or none does."""
        self._begin()
        try:
            answers = [call(self._order[0])]
        except Exception:
            self._whole = True
            raise
        answers += (call(mechanism) for mechanism in self._order[1:])
        return answers

    def _report(self, *, clear: bool) -> U8Array:
        """What all mechanisms report, and perhaps clear: what they differ about is cleared nowhere."""
        bitmaps: list[U8Array] = self._ask(lambda one: one.harvest() if clear and one.touches_entries else one.collect())
        difference = self._difference(bitmaps)
        if clear:
            self._clear_others(bitmaps[0], undo=difference is not None)
        if difference is None:
            self._copies.settle(bitmaps[0])
        self._whole = True
        if difference is not None:
            raise difference
        return bitmaps[0]

    def _clear_others(self, bitmap: U8Array, *, undo: bool) -> None:
        """After a harvest of the entries alone: have the others clear, or the entries as they were."""
        for mechanism in self._order:
            if not mechanism.touches_entries and not undo:
                mechanism.clear()
            if mechanism.touches_entries and undo:
                mechanism.put_back(bitmap)

    def _difference(self, bitmaps: list[U8Array]) -> InvariantError | None:
        """Which mechanisms differ, at the first page where two do."""
        other = next((bitmap for bitmap in bitmaps if not np.array_equal(bitmap, bitmaps[0])), None)
        if other is None:
            return None
        byte = int((bitmaps[0] != other).argmax())
        wrong = int(bitmaps[0][byte] ^ other[byte])
        bit = (wrong & -wrong).bit_length() - 1
        told: dict[bool, list[str]] = {True: [], False: []}
        for mechanism, bitmap in zip(self._order, bitmaps, strict=True):
            told[bool(bitmap[byte] >> bit & 1)].append(mechanism.name)
        return InvariantError(
            f"page {8 * byte + bit:#x} of the range is dirty for {', '.join(told[True])} and not for {', '.join(told[False])}; "
            "if nobody wrote, harvested or unmapped it but through this tracking, please report"
        )


def _all_of(things: Iterable[Any], kind: type, name: str) -> tuple[Any, ...]:
    """Several of a kind, as a tuple."""
    try:
        made = tuple(things)
    except TypeError:
        raise TypeError(f"{name} must be several of {kind.__name__}, not {type(things).__name__}") from None
    for one in made:
        if not isinstance(one, kind):
            raise TypeError(f"{name} must be of {kind.__name__}, not {type(one).__name__}")
    return made
