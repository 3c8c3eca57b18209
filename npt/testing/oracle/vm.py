"""``Vm``: memory segments by number, as a VMM sees its guest."""

from contextlib import suppress
from types import TracebackType
from typing import Any, Self, TypeVar

from npt._types import Prot
from npt.errors import InvalidArgument, NoSuchMapping, NptError, StaleHandle
from npt.testing.oracle.arguments import (
    Handle,
    flag,
    inside,
    integer,
    integers,
    length_of,
    natural,
    protection,
    range_of,
)  # fmt: skip
from npt.testing.oracle.entries import EPT
from npt.testing.oracle.memory import Reservoir
from npt.testing.oracle.objects import RamObject
from npt.testing.oracle.segment import GuestSegment, ObjectSegment, Segment
from npt.testing.oracle.space import VmSpace
from npt.testing.oracle.vcpu import Vcpu

__all__ = ["Vm"]

_Kind = TypeVar("_Kind", bound=Segment)


class Vm(Handle):
    """A guest: one address space, memory segments and vCPUs by number."""

    def __init__(self, reservoir: Any, *, format: Any = EPT, track_dirty: Any = False, size: Any = 1 << 47) -> None:
        if not isinstance(reservoir, Reservoir):
            raise TypeError(f"reservoir must be a Reservoir, not {type(reservoir).__name__}")
        self._space = VmSpace(size, format=format, reservoir=reservoir, track_dirty=track_dirty)
        self._reservoir = reservoir
        self._memsegs: dict[int, RamObject] = {}
        self._vcpus: dict[int, Vcpu] = {}
        self._segments: list[Segment] = []
        self._destroyed = False

    def _check_alive(self) -> None:
        if self._destroyed:
            raise StaleHandle("the vm was destroyed")

    @property
    def space(self) -> VmSpace:
        """Its address space."""
        self._check_alive()
        return self._space

    # -- memory segments ------------------------------------------------------------------------------------------------

    def alloc_memseg(self, segid: Any, length: Any, *, transient: Any = False) -> RamObject:
        """Allocate a memory segment; the only reference is the ``Vm``'s."""
        integers(segid=segid, length=length)
        flag(transient, "transient")
        self._check_alive()
        segid, length = natural(segid, "segid"), length_of(length)
        if segid in self._memsegs:
            raise InvalidArgument(f"memory segment {segid} exists already")
        obj = self._reservoir.allocate(length, transient=transient)
        obj.keep()
        obj.release()
        self._memsegs[segid] = obj
        return obj

    def memseg(self, segid: Any) -> RamObject:
        """The memory segment of a number."""
        segid = integer(segid, "segid")
        self._check_alive()
        if segid not in self._memsegs:
            raise NoSuchMapping(f"there is no memory segment {segid}")
        return self._memsegs[segid]

    def map_memseg(self, segid: Any, gpa: Any, length: Any, prot: Any, offset: Any = 0) -> None:
        """Map a stretch of a memory segment. That there is none is told after the end of the space."""
        integers(segid=segid, gpa=gpa, length=length, prot=prot, offset=offset)
        self._check_alive()
        gpa, length = range_of(gpa, length)
        protection(prot, Prot.READ)
        if integer(segid, "segid") not in self._memsegs:
            inside(gpa, length, self._space.size)
        self._space.map(self.memseg(segid), gpa, length, prot, offset)

    def unmap_memseg(self, gpa: Any, length: Any) -> None:
        """Unmap exactly one mapping."""
        integers(gpa=gpa, length=length)
        self._check_alive()
        self._space.unmap(gpa, length)

    # -- windows --------------------------------------------------------------------------------------------------------

    def map_object(self, segid: Any, offset: Any, length: Any, prot: Any) -> Segment:
        """A window straight to a memory segment."""
        integers(segid=segid, offset=offset, length=length, prot=prot)
        self._check_alive()
        offset, length = range_of(offset, length, "offset")
        prot = protection(prot, Prot.READ)
        obj = self.memseg(segid)
        obj.window(offset, length)
        return self._keep(ObjectSegment(obj, offset, length, prot))

    def map_guest(self, gpa: Any, length: Any, prot: Any) -> Segment:
        """A window to the guest's address space; may span holes."""
        integers(gpa=gpa, length=length, prot=prot)
        self._check_alive()
        gpa, length = range_of(gpa, length)
        prot = protection(prot, Prot.READ)
        inside(gpa, length, self._space.size)
        return self._keep(GuestSegment(self._space.client(), gpa, length, prot))

    def _keep(self, segment: _Kind) -> _Kind:
        self._segments.append(segment)
        return segment

    # -- vCPUs and the end ----------------------------------------------------------------------------------------------

    def vcpu(self, cpu: Any, *, tlb: Any = 0) -> Vcpu:
        """The vCPU of a number, made with a client of its own when first asked for."""
        integers(cpu=cpu, tlb=tlb)
        self._check_alive()
        cpu, tlb = natural(cpu, "cpu"), natural(tlb, "tlb")
        if cpu not in self._vcpus:
            self._vcpus[cpu] = self._new_vcpu(cpu, tlb)
        if tlb and tlb != self._vcpus[cpu].tlb:
            raise InvalidArgument(f"vCPU {cpu} was made with another tlb")
        return self._vcpus[cpu]

    def _new_vcpu(self, cpu: int, tlb: int) -> Vcpu:
        client = self._space.client()
        try:
            return Vcpu(client, cpu=cpu, tlb=tlb)
        except InvalidArgument:
            client.destroy()
            raise

    def destroy(self) -> None:
        """Unmap everything, close the segments, free the memory. Does nothing the second time.

        A callback that fails keeps nothing from that, and is told at the end.
        """
        if self._destroyed:
            return
        failure: BaseException | None = None
        try:
            self._space.close()
        except BaseException as error:
            if not self._space.destroyed:
                raise
            failure = error
        self._destroyed = True
        for segment in self._segments:
            segment.close()
        for vcpu in self._vcpus.values():
            with suppress(NptError):  # somebody destroyed its client already, or keeps it on CPU
                vcpu.client.release_all()
                vcpu.client.destroy()
        for memseg in self._memsegs.values():
            memseg.drop()
        if failure is not None:
            raise failure

    def __enter__(self) -> Self:
        self._check_alive()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self.destroy()
        except NptError:
            if kind is None:  # an error that ends the block is the one to see
                raise
