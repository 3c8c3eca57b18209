"""``VmSpace``: one guest's physical address space."""

import warnings
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self, SupportsFloat, SupportsIndex

from npt import _html
from npt._host import available_bytes
from npt._threads import default_threads
from npt._types import Prot, U64Array
from npt.errors import Busy, InvalidArgument, NptError, ReservoirExhausted
from npt.formats.base import PteFormat
from npt.formats.ept import EPT
from npt.memory.objects import MmioObject, VmObject
from npt.memory.reservoir import Reservoir
from npt.space.client import VmClient
from npt.space.core import Core
from npt.space.dirtycalls import DirtyCalls
from npt.space.ending import Ending
from npt.space.exclusion import Counters
from npt.space.mappings import Mapping
from npt.table.explain import Walk, WalkStep
from npt.table.tree import PageTable
from npt.table.window import Window
from npt.units import (
    PAGE_SHIFT,
    as_address,
    as_count,
    as_flag,
    as_gpas,
    as_int,
    as_integers,
    as_length,
    as_number,
    as_prot,
    as_range,
    check_inside,
    format_size,
    page_down,
)  # fmt: skip

__all__ = ["VmSpace"]

_SIZE_END = 1 << 47
_LONGEST_TIMEOUT = 1e9
_WORTH_ASKING = 64 << 20  # bytes of new tables from which on it is asked whether they fit


class VmSpace(DirtyCalls):
    """A guest-physical address space: mappings, the tables behind them, the clients that use them.

    Parameters
    ----------
    size
        Bytes, whole pages, at most 2**47.
    format
        ``EPT`` (Intel) or ``NPT`` (AMD).
    reservoir
        Where the RAM mapped here is from; None adopts that of the first RAM mapped.
    track_dirty
        Keep a dirty log from the start.
    kick_timeout
        Seconds to wait for a vCPU that was asked to leave.
    threads
        Most threads that one call on a large range is split over; None is what the environment's ``NPT_THREADS`` says, else
        as many as there are processors, at most 8. Small ranges are not split. (Memory that comes back is zeroed by its
        reservoir, in as many threads as that would be by default.)

    Raises
    ------
    InvalidArgument
        A size that is none, a time-out or a number of threads that is not positive.

    Notes
    -----
    Source: ``vmspace_alloc()``, vmm_vm.c 227-252 at 59d65d31.
    """

    def __init__(
        self,
        size: SupportsIndex,
        *,
        format: PteFormat = EPT,
        reservoir: Reservoir | None = None,
        track_dirty: bool = False,
        kick_timeout: SupportsFloat = 5.0,
        threads: SupportsIndex | None = None,
    ) -> None:
        as_int(size, "size")
        if not isinstance(format, PteFormat):
            raise TypeError(f"format must be EPT or NPT, not {type(format).__name__}")
        if reservoir is not None and not isinstance(reservoir, Reservoir):
            raise TypeError(f"reservoir must be a Reservoir or None, not {type(reservoir).__name__}")
        tracking = as_flag(track_dirty, "track_dirty")
        seconds = as_number(kick_timeout, "kick_timeout")
        if threads is not None:
            as_int(threads, "threads")
        if reservoir is not None:
            _ = reservoir.size  # a closed one is told before bad numbers
        _check_seconds(seconds)
        size = as_length(size, "size")
        if size > _SIZE_END:
            raise InvalidArgument(f"size {size:#x} is beyond {_SIZE_END:#x}")
        if threads is None:
            default_threads()  # a bad variable is told now; what it says counts when there is something to split
        else:
            threads = as_count(threads, "threads", least=1)
        self._core = Core(size, format, reservoir, seconds, threads)
        self._core.tracking = tracking

    def __repr__(self) -> str:
        core = self._core
        if core.destroyed:
            return "<VmSpace, destroyed>"
        tracking = ", tracking dirty pages" if core.tracking else ""
        return (
            f"<VmSpace of {format_size(core.size)}, {core.format.name}, {len(core.mappings)} mappings, "
            f"{core.table.resident} pages resident{tracking}>"
        )

    def _shown(self) -> Iterable[str]:
        core = self._core
        if core.destroyed:
            return
        mappings = core.mappings.all()
        mapped, resident = sum(one.length for one in mappings), core.table.resident << PAGE_SHIFT
        parts = {"resident": resident, "mapped only": max(mapped - resident, 0)}
        yield _html.bar(parts, {name: format_size(n) for name, n in parts.items()})
        yield _html.facts({"root pointer": f"{self.table_root:#x}", "generation": core.exclusion.generation})
        rows = (
            (f"{m.gpa:#x}", format_size(m.length), m.prot.name, repr(m.obj).strip("<>"), f"{m.offset:#x}") for m in mappings
        )
        yield _html.table("mappings", ("gpa", "size", "allows", "object", "from offset"), rows, len(mappings))

    # -- what it is -------------------------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """Bytes of address space."""
        self._core.check_alive()
        return self._core.size

    @property
    def format(self) -> PteFormat:
        """``EPT`` or ``NPT``."""
        self._core.check_alive()
        return self._core.format

    @property
    def table(self) -> PageTable:
        """The page table, to be looked at."""
        self._core.check_alive()
        return self._core.table

    @property
    def resident_count(self) -> int:
        """Pages that are present in the leaf tables, exactly."""
        self._core.check_alive()
        return self._core.table.resident

    @property
    def generation(self) -> int:
        """Raised whenever cached translations may be stale; 1 at first."""
        self._core.check_alive()
        return self._core.exclusion.generation

    @property
    def table_root(self) -> int:
        """Root pointer as hardware takes it: EPTP or nCR3."""
        self._core.check_alive()
        return self._core.table.root(self._core.tracking)

    @property
    def counters(self) -> Counters:
        """Totals of kicks, faults and the like since the space was made."""
        self._core.check_alive()
        return self._core.exclusion.counters()

    @property
    def mappings(self) -> tuple[Mapping, ...]:
        """All mappings, by address."""
        self._core.check_alive()
        with self._core.exclusion.reading():
            return self._core.mappings.all()

    @property
    def destroyed(self) -> bool:
        """Whether the space was destroyed or closed."""
        return self._core.destroyed

    # -- mappings ---------------------------------------------------------------------------------------------------

    def map(
        self, obj: VmObject, gpa: SupportsIndex, length: SupportsIndex, prot: SupportsIndex, offset: SupportsIndex = 0
    ) -> None:
        """Map a stretch of an object, taking a reference to it; nothing becomes resident yet.

        Parameters
        ----------
        obj
            RAM of the space's reservoir, or MMIO.
        gpa, length
            Where, in bytes; whole pages.
        prot
            READ and what else is allowed.
        offset
            Byte of the object that ``gpa`` shows; page-aligned.

        Raises
        ------
        StaleHandle
            The object or the space is gone.
        InvalidArgument
            Unaligned, empty, out of the object's bounds, without READ, or an object of another reservoir.
        AddressOverflow, BeyondSpace
            Reaching 2**64, or past the end of the space.
        Overlap
            Some of the range is mapped.
        ReservoirExhausted
            There is no memory for the tables.
        Deadlock
            In a callback.
        KickTimeout
            This would be the first RAM of a space that was made without a reservoir, and a vCPU did not leave.

        Notes
        -----
        Source: ``vmspace_map()``, vmm_vm.c 630-667 at 59d65d31.
        """
        core = self._core
        if not isinstance(obj, VmObject):
            raise TypeError(f"obj must be a VmObject, not {type(obj).__name__}")
        for value, name in ((gpa, "gpa"), (length, "length"), (prot, "prot"), (offset, "offset")):
            as_int(value, name)
        core.check_own()
        _ = obj.length  # a stale object is told before bad numbers
        gpa, length = as_range(gpa, length)
        prot = as_prot(prot, any_of=Prot.READ)
        offset, _ = obj.check_window(offset, length)
        core.check_host(obj)
        check_inside(gpa, length, core.size)
        self._check_memory(gpa, length)
        core.exclusion.check_may_change()
        with core.exclusion.lock:
            core.check_alive()
            core.mappings.check_gap(gpa, length)
            core.check_host(obj)
            with core.exclusion.hold():
                self._insert(Mapping(gpa, length, obj, offset, prot))

    def _insert(self, mapping: Mapping) -> None:
        """Reference the object, build the tables and add the mapping; or nothing of it.

        Once there are tables, vCPUs can be in them: from there the way is forward, an interrupt comes behind.
        """
        core, keeper, is_first = self._core, self._core.mappings.keeper(mapping), self._core.reservoir is None
        record = core.table.vacancy(mapping.gpa, mapping.length)
        contents = core.mappings.with_one(mapping)
        try:
            mapping.obj.acquire(keeper)
            core.take_in(mapping.obj)
            core.table.build(mapping.gpa, mapping.length, record)
            core.mappings.adopt(contents)
        except BaseException:
            if record.counted:
                core.mappings.adopt(contents)
            else:
                if is_first:
                    core.let_go()
                mapping.obj.drop(keeper)
            raise

    def _check_memory(self, gpa: int, length: int) -> None:
        needed = self._core.table.memory_needed(gpa, length)
        if needed >= _WORTH_ASKING:
            available = available_bytes()
            if available is not None and needed > available:
                raise ReservoirExhausted(
                    f"the tables of {length:#x} bytes take {format_size(needed)}; this machine has {format_size(available)}"
                )

    def map_mmio(self, gpa: SupportsIndex, length: SupportsIndex, hpa: SupportsIndex) -> MmioObject:
        """Map device memory, readable and writable, uncached.

        Parameters
        ----------
        gpa, length
            Where, in bytes; whole pages.
        hpa
            Host-physical byte address of the device's memory, page-aligned, apart from RAM and below frame 2**33.

        Returns
        -------
        MmioObject
            The caller owns one reference, the mapping another.

        Raises
        ------
        InvalidArgument, AddressOverflow, BeyondSpace, Overlap, Deadlock
            As for ``map``.

        Notes
        -----
        Source: ``vmm_mmio_alloc()``, vmm_vm.c 423-440 at 59d65d31.
        """
        for value, name in ((gpa, "gpa"), (length, "length"), (hpa, "hpa")):
            as_int(value, name)
        self._core.check_own()
        gpa, length = as_range(gpa, length)
        obj = MmioObject(length, hpa)
        self.map(obj, gpa, length, Prot.RW)
        return obj

    def unmap(self, gpa: SupportsIndex, length: SupportsIndex) -> None:
        """Unmap exactly one whole mapping.

        Pages held in it stay readable and writable until their release, which tells that they were unmapped.

        Parameters
        ----------
        gpa, length
            The mapping, in bytes.

        Raises
        ------
        InvalidArgument, AddressOverflow
            Unaligned, empty, or reaching 2**64.
        NoSuchMapping
            There is no such mapping.
        Deadlock
            In a callback, or this thread is on CPU in the space.
        KickTimeout
            A vCPU did not leave: the leaves are cleared, the mapping stays and works, and this may be called again.

        Notes
        -----
        Source: ``vmspace_unmap()``, vmm_vm.c 675-721 at 59d65d31; the kick comes before the tables are freed.
        """
        as_int(gpa, "gpa"), as_int(length, "length")
        core, exclusion = self._core, self._core.exclusion
        core.check_own()
        gpa, length = as_range(gpa, length)
        if exclusion.in_callback or exclusion.is_on_cpu():
            core.mappings.exact(gpa, length)
        exclusion.check_may_kick()
        ending = None
        try:
            with exclusion.lock:
                core.check_alive()
                mapping = core.mappings.exact(gpa, length)
                exclusion.check_off_cpu()
                core.table.check_sound(gpa, length)
                ending = Ending(core, mapping)
                with exclusion.hold():
                    ending.run()
            ending.let_go()
        except BaseException:
            if ending is not None:
                ending.let_go()
            raise
        ending.report()

    def populate(self, gpa: SupportsIndex, length: SupportsIndex) -> int:
        """Make all pages of a range resident. An interrupt leaves those resident that were done by then.

        Parameters
        ----------
        gpa, length
            Any range inside one mapping, in bytes.

        Returns
        -------
        int
            How many were not resident before.

        Raises
        ------
        InvalidArgument, AddressOverflow
            Unaligned, empty, or reaching 2**64.
        NoSuchMapping
            Not inside one mapping.
        Deadlock
            In a callback.

        Notes
        -----
        Source: ``vmspace_populate()``, vmm_vm.c 788-818 at 59d65d31.
        """
        as_int(gpa, "gpa"), as_int(length, "length")
        core = self._core
        core.check_own()
        gpa, length = as_range(gpa, length)
        if core.exclusion.in_callback:
            core.mappings.around(gpa, length)
        core.exclusion.check_may_change()
        with core.exclusion.lock:
            core.check_alive()
            core.mappings.around(gpa, length)
            core.table.check_sound(gpa, length)
            with core.exclusion.hold():
                return core.table.populate(core.mappings.extents, gpa, length)

    # -- looking ----------------------------------------------------------------------------------------------------

    def translate(self, gpas: Any) -> U64Array:
        """Host frames behind addresses.

        Parameters
        ----------
        gpas
            Byte addresses; integer array of shape ``(n,)``.

        Returns
        -------
        numpy.ndarray
            ``uint64``, shape ``(n,)``: PFNs, ``NO_PFN`` where nothing is resident.
        """
        integers = as_integers(gpas, "gpas")
        core = self._core
        core.check_alive()
        addresses = as_gpas(integers)
        with core.exclusion.reading():
            core.check_alive()
            return core.table.translate(addresses, core.size)

    def pte(self, gpa: SupportsIndex) -> int | None:
        """Raw leaf entry of a page; 0 if it is not resident, None where no leaf table exists.

        Parameters
        ----------
        gpa
            Byte address, anywhere in the page.
        """
        return self.explain(gpa).leaf

    def ptes(self, gpa: SupportsIndex, length: SupportsIndex) -> U64Array:
        """Raw leaf entries of a range, as they are now.

        Parameters
        ----------
        gpa, length
            Range in bytes, whole pages, inside the space.

        Returns
        -------
        numpy.ndarray
            ``uint64``, shape ``(n_pages,)``, a copy; 0 for pages that are not resident or not mapped. vCPUs go on meanwhile:
            of two entries one may be older than the other.

        Raises
        ------
        InvalidArgument, AddressOverflow, BeyondSpace
            Unaligned, empty, reaching 2**64 or past the end.
        """
        gpa, length = self._check(gpa, length, changing=False)
        core = self._core
        with core.exclusion.reading():
            core.check_alive()
            return core.table.leaves(Window(gpa, length))

    def explain(self, gpa: SupportsIndex) -> Walk:
        """Entries of one translation, level by level, for people.

        Parameters
        ----------
        gpa
            Byte address, anywhere in the page.
        """
        as_int(gpa, "gpa")
        core = self._core
        core.check_alive()
        gpa = page_down(as_address(gpa))
        with core.exclusion.reading():
            core.check_alive()
            steps = core.table.walk(gpa) if gpa < core.size else ()
            return Walk(gpa, core.format, tuple(WalkStep(*step) for step in steps))

    # -- clients and the end ----------------------------------------------------------------------------------------

    def client(self) -> VmClient:
        """A new client of this space.

        Raises
        ------
        StaleHandle
            The space was destroyed.
        Deadlock
            In a callback.

        Notes
        -----
        Source: ``vmspace_client_alloc()``, vmm_vm.c 823-843 at 59d65d31.
        """
        self._core.check_own()
        return VmClient(self._core)

    def destroy(self) -> None:
        """End the space; clients that are left are orphaned, their pages readable and writable until released.

        Raises
        ------
        Deadlock
            In a callback, or this thread is on CPU in the space.
        Busy
            Mappings are left, or another thread's vCPU is on CPU.

        Notes
        -----
        Source: ``vmspace_destroy()``, vmm_vm.c 258-288 at 59d65d31.
        """
        core, exclusion = self._core, self._core.exclusion
        core.check_own()
        exclusion.check_may_kick()
        with exclusion.lock:
            core.check_alive()
            exclusion.check_off_cpu()
            if len(core.mappings):
                raise Busy(f"{len(core.mappings)} mappings are left; unmap them, or close the space")
            exclusion.orphan_all()

    def close(self) -> None:
        """Kick vCPUs out, unmap everything, destroy. Does nothing on a space that is destroyed.

        Raises
        ------
        Deadlock
            In a callback, or this thread is on CPU in the space.
        KickTimeout
            A vCPU did not leave; nothing was unmapped, and newcomers may enter again.

        Warns
        -----
        ResourceWarning
            Pages are held that nobody has a handle of any more.
        """
        core, exclusion = self._core, self._core.exclusion
        if core.destroyed:
            return
        exclusion.check_may_kick()
        endings: list[Ending] = []
        try:
            with exclusion.lock:
                if core.destroyed:
                    return
                exclusion.check_off_cpu()
                mappings = core.mappings.all()
                for mapping in mappings:
                    core.table.check_sound(mapping.gpa, mapping.length)
                n_dropped = sum(gate.client.n_dropped() for gate in exclusion.gates)
                endings += (Ending(core, mapping) for mapping in mappings)
                self._end(endings)
            _let_go(endings)
        except BaseException:
            _let_go(endings)
            raise
        if n_dropped:
            warnings.warn(f"{n_dropped} held pages were never released", ResourceWarning, stacklevel=2)
        for ending in endings:
            ending.report()

    def _end(self, endings: list[Ending]) -> None:
        """Turn newcomers away, get every vCPU out, take the mappings down, orphan the clients."""
        exclusion = self._core.exclusion
        try:
            exclusion.dying = exclusion.closing = True
            with exclusion.hold():  # who came in without seeing that is now inside, at an epoch before the next
                exclusion.raise_epoch(generation=False)
                exclusion.kick()
                for ending in endings:
                    ending.run()
            exclusion.orphan_all()
        except BaseException:
            exclusion.dying = exclusion.closing = exclusion.destroyed
            raise

    def __enter__(self) -> Self:
        self._core.check_alive()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self.close()
        except NptError:
            if kind is None:  # an error that ends the block is the one to see
                raise


def _let_go(endings: list[Ending]) -> None:
    for ending in endings:
        ending.let_go()


def _check_seconds(seconds: float) -> None:
    if not 0 < seconds < _LONGEST_TIMEOUT:
        raise InvalidArgument(f"kick_timeout {seconds} s is not between 0 and {_LONGEST_TIMEOUT:g} s")
