"""``Vm``: memory segments by number, as a VMM sees its guest."""

import os
import weakref
from collections.abc import Iterable
from contextlib import suppress
from types import TracebackType
from typing import Self, SupportsIndex

from npt import _html, _sync
from npt._types import Handle, Prot
from npt.errors import InvalidArgument, NoSuchMapping, NptError, StaleHandle
from npt.formats.base import PteFormat
from npt.formats.ept import EPT
from npt.memory.objects import RamObject
from npt.memory.reservoir import Reservoir
from npt.space.segment import GuestSegment, ObjectSegment, Segment
from npt.space.vcpu import Vcpu
from npt.space.vmspace import VmSpace
from npt.units import as_flag, as_int, as_length, as_prot, as_range, check_inside, digits

__all__ = ["Vm"]


class Vm(Handle):
    """A guest: one address space, memory segments by number, vCPUs by number.

    Parameters
    ----------
    reservoir
        Where its memory is from.
    format, track_dirty, size
        As for ``VmSpace``.
    """

    def __init__(
        self, reservoir: Reservoir, *, format: PteFormat = EPT, track_dirty: bool = False, size: SupportsIndex = 1 << 47
    ) -> None:
        if not isinstance(reservoir, Reservoir):
            raise TypeError(f"reservoir must be a Reservoir, not {type(reservoir).__name__}")
        self._space = VmSpace(size, format=format, reservoir=reservoir, track_dirty=track_dirty)
        self._reservoir = reservoir
        self._memsegs: dict[int, RamObject] = {}
        self._vcpus: dict[int, Vcpu] = {}
        self._segments: list[Segment] = []
        self._destroyed = False
        self._ended = False  # and all that it had is given up
        self._lock = _sync.rlock("vm")  # over which segments and vCPUs there are
        _EVERY.add(self)

    def __repr__(self) -> str:
        if self._destroyed:
            return "<Vm, destroyed>"
        return f"<Vm with {len(self._memsegs)} memory segments and {len(self._vcpus)} vCPUs, {self._space!r}>"

    def _shown(self) -> Iterable[str]:
        if self._destroyed:
            return
        segments, vcpus = list(self._memsegs.items()), list(self._vcpus.items())
        rows = ((number, repr(ram).strip("<>")) for number, ram in segments)
        yield _html.table("memory segments", ("number", "object"), rows, len(segments))
        yield _html.table("vCPUs", ("number", ""), ((n, repr(vcpu).strip("<>")) for n, vcpu in vcpus), len(vcpus))
        yield self._space._repr_html_()

    def _check_alive(self) -> None:
        if self._destroyed:
            raise StaleHandle("the vm was destroyed")

    @property
    def space(self) -> VmSpace:
        """Its address space."""
        self._check_alive()
        return self._space

    # -- memory segments --------------------------------------------------------------------------------------------

    def alloc_memseg(self, segid: SupportsIndex, length: SupportsIndex, *, transient: bool = False) -> RamObject:
        """Allocate a memory segment; the ``Vm`` owns it.

        Parameters
        ----------
        segid
            Its number, not negative.
        length, transient
            As for ``Reservoir.allocate``.

        Raises
        ------
        InvalidArgument
            The number is taken or negative, or the length is not whole pages.
        ReservoirExhausted
            There is too little memory.
        """
        segid, length = as_int(segid, "segid"), as_int(length, "length")
        as_flag(transient, "transient")
        self._check_alive()
        if segid < 0:
            raise InvalidArgument(f"segid {digits(segid)} is negative")
        as_length(length)
        with self._lock:
            self._check_alive()
            if segid in self._memsegs:
                raise InvalidArgument(f"memory segment {digits(segid)} exists already")
            obj = self._reservoir.allocate(length, transient=transient)
            try:
                obj.acquire(self)
                obj.release()  # the reference is the Vm's: a caller can take its own, and cannot give this one up
                self._memsegs[segid] = obj
            except BaseException:  # nobody knows it
                self._memsegs.pop(segid, None)
                obj.drop(self)
                obj.__exit__()  # the caller's reference, if it is still there
                raise
            return obj

    def memseg(self, segid: SupportsIndex) -> RamObject:
        """The memory segment of a number.

        Raises
        ------
        NoSuchMapping
            There is none.
        """
        segid = as_int(segid, "segid")
        self._check_alive()
        return self._memseg(segid)

    def _memseg(self, segid: int) -> RamObject:
        if segid not in self._memsegs:
            raise NoSuchMapping(f"there is no memory segment {digits(segid)}")
        return self._memsegs[segid]

    def map_memseg(
        self, segid: SupportsIndex, gpa: SupportsIndex, length: SupportsIndex, prot: SupportsIndex,
        offset: SupportsIndex = 0,
    ) -> None:  # fmt: skip
        """Map a stretch of a memory segment; otherwise as ``VmSpace.map``.

        Raises
        ------
        NoSuchMapping
            There is no such segment.
        """
        segid = as_int(segid, "segid")
        for value, name in ((gpa, "gpa"), (length, "length"), (prot, "prot"), (offset, "offset")):
            as_int(value, name)
        self._check_alive()
        gpa, length = as_range(gpa, length)
        as_prot(prot, any_of=Prot.READ)
        as_range(offset, length, "offset")
        if segid not in self._memsegs:
            check_inside(gpa, length, self._space.size)
        self._space.map(self._memseg(segid), gpa, length, prot, offset)

    def unmap_memseg(self, gpa: SupportsIndex, length: SupportsIndex) -> None:
        """Unmap exactly one mapping; as ``VmSpace.unmap``."""
        as_int(gpa, "gpa"), as_int(length, "length")
        self._check_alive()
        self._space.unmap(gpa, length)

    # -- windows ----------------------------------------------------------------------------------------------------

    def map_object(self, segid: SupportsIndex, offset: SupportsIndex, length: SupportsIndex, prot: SupportsIndex) -> Segment:
        """A window straight to a memory segment; what is written through it is never dirty.

        Parameters
        ----------
        segid
            The memory segment.
        offset, length
            Range of it in bytes, whole pages.
        prot
            READ, or READ and WRITE.

        Raises
        ------
        InvalidArgument
            Unaligned, empty, or out of bounds; without READ.
        NoSuchMapping
            There is no such segment.
        """
        segid = as_int(segid, "segid")
        for value, name in ((offset, "offset"), (length, "length"), (prot, "prot")):
            as_int(value, name)
        self._check_alive()
        offset, length = as_range(offset, length, "offset")
        prot = as_prot(prot, any_of=Prot.READ)
        obj = self._memseg(segid)
        obj.check_window(offset, length)
        return self._keep(ObjectSegment(obj, offset, length, prot))

    def map_guest(self, gpa: SupportsIndex, length: SupportsIndex, prot: SupportsIndex) -> Segment:
        """A window to the guest's address space, through a client of its own; it may span holes.

        Parameters
        ----------
        gpa, length
            Range in bytes, whole pages.
        prot
            READ, or READ and WRITE.

        Raises
        ------
        InvalidArgument, AddressOverflow, BeyondSpace
            Unaligned, empty, without READ, reaching 2**64 or past the end of the space.
        """
        for value, name in ((gpa, "gpa"), (length, "length"), (prot, "prot")):
            as_int(value, name)
        self._check_alive()
        gpa, length = as_range(gpa, length)
        prot = as_prot(prot, any_of=Prot.READ)
        check_inside(gpa, length, self._space.size)
        return self._keep(GuestSegment(self._space, gpa, length, prot))

    def _keep(self, segment: Segment) -> Segment:
        """Open a segment and know it, or neither."""
        try:
            segment.open()
            with self._lock:
                self._check_alive()
                self._segments = [kept for kept in self._segments if not kept.closed]
                self._segments.append(segment)
            return segment
        except BaseException:
            segment.close()
            raise

    # -- vCPUs and the end ------------------------------------------------------------------------------------------

    def vcpu(self, cpu: SupportsIndex, *, tlb: SupportsIndex = 0) -> Vcpu:
        """The vCPU of a number, made with a client of its own when first asked for.

        Parameters
        ----------
        cpu
            Its number, not negative.
        tlb
            As for ``Vcpu``; of one that exists, 0 or what it was made with.

        Raises
        ------
        InvalidArgument
            A negative number, or another ``tlb`` than it was made with.
        """
        cpu, tlb = as_int(cpu, "cpu"), as_int(tlb, "tlb")
        self._check_alive()
        if cpu < 0 or tlb < 0:
            raise InvalidArgument(f"cpu {digits(cpu)} and tlb {digits(tlb)} must not be negative")
        with self._lock:
            self._check_alive()
            return self._vcpu(cpu, tlb)

    def _vcpu(self, cpu: int, tlb: int) -> Vcpu:
        made = self._vcpus.get(cpu)
        if made is None:
            client = self._space.client()
            try:
                made = self._vcpus[cpu] = Vcpu(client, cpu=cpu, tlb=tlb)
            except BaseException:
                client.destroy()
                raise
        elif tlb and tlb != made.tlb:
            raise InvalidArgument(f"vCPU {digits(cpu)} was made with tlb={made.tlb}")
        return made

    def destroy(self) -> None:
        """Close the segments, kick the vCPUs out, unmap everything, free the memory. Does nothing the second time.

        Raises
        ------
        Deadlock, KickTimeout
            As for ``VmSpace.close``; it may be called again, as after an interrupt: what is left to do is done then.
        """
        if self._ended:
            return
        error = self._close_space()  # with no lock: a callback may ask for a vCPU or a segment
        with self._lock:
            self._destroyed = True
        for segment in self._segments:
            segment.close()
        for vcpu in self._vcpus.values():
            with suppress(NptError):  # somebody destroyed it already, or keeps it on CPU
                vcpu.client.release_all()
                vcpu.client.destroy()
        for memseg in self._memsegs.values():
            memseg.drop(self)
        self._ended = True
        if error is not None:
            raise error

    def _close_space(self) -> BaseException | None:
        """Close the space; an error that kept it from closing is raised, one of a callback is returned."""
        try:
            self._space.close()
        except BaseException as error:
            if not self._space.destroyed:
                raise
            return error
        return None

    def __enter__(self) -> Self:
        self._check_alive()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self.destroy()
        except NptError:
            if kind is None:  # an error that ends the block is the one to see
                raise


_EVERY: "weakref.WeakSet[Vm]" = weakref.WeakSet()


def _renew_locks() -> None:
    """In a forked child: another thread may have had them; the child may only look, but is to be told so."""
    for vm in _EVERY:
        vm._lock = _sync.rlock("vm")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)
