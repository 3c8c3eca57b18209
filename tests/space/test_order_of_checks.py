"""Two faults at once: of two things that are wrong with a call, the one that is checked first is told."""

from collections.abc import Callable

import numpy as np
import pytest

from npt import (
    AccessDenied,
    AddressOverflow,
    BeyondSpace,
    Busy,
    Deadlock,
    Fault,
    InvalidArgument,
    NoSuchMapping,
    Orphaned,
    OutOfSegment,
    Overlap,
    StaleHandle,
    TrackingDisabled,
    Vcpu,
    Vm,
    VmSpace,
)  # fmt: skip
from tests.space.everything import DEVICE, HOLE, PAGE, RAM, ROM, SIZE, Scene, refused
from tests.space.scene import in_callback, on_cpu

SHORT, SQUARE = np.zeros(1, np.uint8), np.zeros((8, 8), np.uint8)
N = 64 * PAGE
TWO_FAULTS: dict[str, tuple[type[Exception], Callable[[Scene], object]]] = {
    # type, then stale
    "map no object, dead space": (TypeError, lambda s: s.dead_space.map(None, 0, PAGE, 3)),  # type: ignore[arg-type]
    "map odd prot, dead space": (TypeError, lambda s: s.dead_space.map(s.ram, 0, PAGE, None)),  # type: ignore[arg-type]
    "map odd offset, dead object": (TypeError, lambda s: s.space.map(s.dead_ram, 0, PAGE, 3, 1.0)),  # type: ignore[arg-type]
    "map_mmio odd hpa, dead space": (TypeError, lambda s: s.dead_space.map_mmio(0, PAGE, "x")),  # type: ignore[arg-type]
    "unmap odd length, dead space": (TypeError, lambda s: s.dead_space.unmap(0, 1.0)),  # type: ignore[arg-type]
    "populate odd length, dead space": (TypeError, lambda s: s.dead_space.populate(0, True)),
    "track_dirty list, dead space": (TypeError, lambda s: s.dead_space.track_dirty(0, PAGE, into=[0])),  # type: ignore[arg-type]
    "peek_dirty list, dead space": (TypeError, lambda s: s.dead_space.peek_dirty(0, PAGE, select=[0])),  # type: ignore[arg-type]
    "accessed odd flag, dead space": (TypeError, lambda s: s.dead_space.accessed(0, PAGE, clear=1)),  # type: ignore[arg-type]
    "resident odd length, dead space": (TypeError, lambda s: s.dead_space.resident(0, 1.0)),  # type: ignore[arg-type]
    "resident odd gpa, bad length": (TypeError, lambda s: s.space.resident("x", 0)),  # type: ignore[arg-type]
    "set_tracking odd flag, dead space": (TypeError, lambda s: s.dead_space.set_tracking(1)),  # type: ignore[arg-type]
    "translate text, dead space": (TypeError, lambda s: s.dead_space.translate("x")),
    "pte text, dead space": (TypeError, lambda s: s.dead_space.pte("x")),  # type: ignore[arg-type]
    "hold text, dead client": (TypeError, lambda s: s.dead_client.hold("x", 3)),  # type: ignore[arg-type]
    "hold odd flag, dead client": (TypeError, lambda s: s.dead_client.hold(RAM, 3, defer_dirty=None)),  # type: ignore[arg-type]
    "hold_many text, dead client": (TypeError, lambda s: s.dead_client.hold_many("x", 3)),
    "fault text, dead client": (TypeError, lambda s: s.dead_client.fault(RAM, "x")),  # type: ignore[arg-type]
    "read text, dead client": (TypeError, lambda s: s.dead_client.read(RAM, "x")),  # type: ignore[arg-type]
    "write number, dead client": (TypeError, lambda s: s.dead_client.write(RAM, 1)),
    "on_invalidate number, dead client": (TypeError, lambda s: s.dead_client.on_invalidate(1)),  # type: ignore[arg-type]
    "run text, dead client": (TypeError, lambda s: s.dead_vcpu.run("x")),
    "run odd flag, dead client": (TypeError, lambda s: s.dead_vcpu.run([0], write=1)),
    "run list into, dead client": (TypeError, lambda s: s.dead_vcpu.run([0], into=[0])),  # type: ignore[arg-type]
    "Vcpu odd cpu, dead client": (TypeError, lambda s: Vcpu(s.dead_client, cpu="x")),  # type: ignore[arg-type]
    "chain number, dead page": (TypeError, lambda s: s.dead_page.chain(1)),  # type: ignore[arg-type]
    "gather into list, dead pages": (TypeError, lambda s: s.dead_pages.gather(out=[])),  # type: ignore[arg-type]
    "scatter text, dead pages": (TypeError, lambda s: s.dead_pages.scatter("x")),
    "mark_dirty list, dead pages": (TypeError, lambda s: s.dead_pages.mark_dirty([0])),  # type: ignore[arg-type]
    "pfn_at text, dead object": (TypeError, lambda s: s.dead_ram.pfn_at("x")),  # type: ignore[arg-type]
    "allocate text, closed": (TypeError, lambda s: s.closed_reservoir.allocate("x")),  # type: ignore[arg-type]
    "resize text, closed": (TypeError, lambda s: s.closed_reservoir.resize("x")),  # type: ignore[arg-type]
    "VmSpace odd flag, closed": (TypeError, lambda s: VmSpace(PAGE, reservoir=s.closed_reservoir, track_dirty=1)),  # type: ignore[arg-type]
    "Vm odd format, closed": (TypeError, lambda s: Vm(s.closed_reservoir, format=None)),  # type: ignore[arg-type]
    "Vm odd flag, closed": (TypeError, lambda s: Vm(s.closed_reservoir, track_dirty=1)),  # type: ignore[arg-type]
    "alloc_memseg odd flag, dead vm": (TypeError, lambda s: s.dead_vm.alloc_memseg(0, PAGE, transient=1)),  # type: ignore[arg-type]
    "map_memseg text, dead vm": (TypeError, lambda s: s.dead_vm.map_memseg(0, 0, PAGE, "x")),  # type: ignore[arg-type]
    "map_object text, dead vm": (TypeError, lambda s: s.dead_vm.map_object(0, 0, "x", 3)),  # type: ignore[arg-type]
    "map_guest text, dead vm": (TypeError, lambda s: s.dead_vm.map_guest(0, PAGE, "x")),  # type: ignore[arg-type]
    "vcpu text, dead vm": (TypeError, lambda s: s.dead_vm.vcpu("x")),  # type: ignore[arg-type]
    "read text, closed segment": (TypeError, lambda s: s.closed_object_segment.read("x", 1)),  # type: ignore[arg-type]
    "write number, closed segment": (TypeError, lambda s: s.closed_object_segment.write(0, 1)),
    "[text], closed segment": (TypeError, lambda s: s.closed_guest_segment["x"]),
    "[text]=, closed segment": (TypeError, lambda s: s.closed_guest_segment.__setitem__("x", 1)),
    "[i]=text, closed segment": (TypeError, lambda s: s.closed_guest_segment.__setitem__(0, "x")),
    # stale, then argument and overflow
    "map unaligned, dead space": (StaleHandle, lambda s: s.dead_space.map(s.ram, 1, PAGE, 3)),
    "map unaligned, dead object": (StaleHandle, lambda s: s.space.map(s.dead_ram, 1, PAGE, 3)),
    "map no prot, dead object": (StaleHandle, lambda s: s.space.map(s.dead_mmio, 0, PAGE, 0)),
    "map past 2**64, dead object": (StaleHandle, lambda s: s.space.map(s.dead_ram, 2**64 - PAGE, PAGE, 3)),
    "map_mmio unaligned, dead space": (StaleHandle, lambda s: s.dead_space.map_mmio(0, PAGE, 1)),
    "unmap nothing, dead space": (StaleHandle, lambda s: s.dead_space.unmap(0, 0)),
    "populate nothing, dead space": (StaleHandle, lambda s: s.dead_space.populate(0, 0)),
    "track_dirty short into, dead space": (StaleHandle, lambda s: s.dead_space.track_dirty(0, N, into=SHORT)),
    "track_dirty square into, dead space": (StaleHandle, lambda s: s.dead_space.track_dirty(0, N, into=SQUARE)),
    "peek_dirty square select, dead space": (StaleHandle, lambda s: s.dead_space.peek_dirty(0, N, select=SQUARE)),
    "resident unaligned, dead space": (StaleHandle, lambda s: s.dead_space.resident(1, 1)),
    "set_dirty past 2**64, dead space": (StaleHandle, lambda s: s.dead_space.set_dirty(2**64 - PAGE, PAGE)),
    "translate negative, dead space": (StaleHandle, lambda s: s.dead_space.translate([-1])),
    "translate square, dead space": (StaleHandle, lambda s: s.dead_space.translate([[1]])),
    "pte negative, dead space": (StaleHandle, lambda s: s.dead_space.pte(-1)),
    "hold unaligned, dead client": (StaleHandle, lambda s: s.dead_client.hold(1, 3)),
    "hold_many unaligned, dead client": (StaleHandle, lambda s: s.dead_client.hold_many([1], 3)),
    "fault no prot, dead client": (StaleHandle, lambda s: s.dead_client.fault(0, 0)),
    "fault_many square, dead client": (StaleHandle, lambda s: s.dead_client.fault_many([[0]], 1)),
    "read negative, dead client": (StaleHandle, lambda s: s.dead_client.read(0, -1)),
    "write past 2**64, dead client": (StaleHandle, lambda s: s.dead_client.write(2**64 - 1, b"x")),
    "run unequal, dead client": (StaleHandle, lambda s: s.dead_vcpu.run([0], values=[1, 2])),
    "run negative, dead client": (StaleHandle, lambda s: s.dead_vcpu.run([-1])),
    "Vcpu negative, dead client": (StaleHandle, lambda s: Vcpu(s.dead_client, cpu=-1)),
    "chain another client's, dead page": (StaleHandle, lambda s: s.dead_page.chain(s.strange)),
    "chain itself, dead page": (StaleHandle, lambda s: s.dead_page.chain(s.dead_page)),
    "chain a dead page": (StaleHandle, lambda s: s.page.chain(s.dead_page)),
    "scatter wrong shape, dead pages": (StaleHandle, lambda s: s.dead_pages.scatter(SQUARE)),
    "mark_dirty short, dead pages": (StaleHandle, lambda s: s.dead_pages.mark_dirty(SHORT[:0])),
    "pfn_at negative, dead object": (StaleHandle, lambda s: s.dead_ram.pfn_at(-1)),
    "allocate nothing, closed": (StaleHandle, lambda s: s.closed_reservoir.allocate(0)),
    "resize negative, closed": (StaleHandle, lambda s: s.closed_reservoir.resize(-1)),
    "VmSpace no size, closed": (StaleHandle, lambda s: VmSpace(0, reservoir=s.closed_reservoir)),
    "Vm no size, closed": (StaleHandle, lambda s: Vm(s.closed_reservoir, size=0)),
    "alloc_memseg nothing, dead vm": (StaleHandle, lambda s: s.dead_vm.alloc_memseg(-1, 0)),
    "map_memseg unaligned, dead vm": (StaleHandle, lambda s: s.dead_vm.map_memseg(0, 1, PAGE, 3)),
    "unmap_memseg unaligned, dead vm": (StaleHandle, lambda s: s.dead_vm.unmap_memseg(1, PAGE)),
    "map_object nothing, dead vm": (StaleHandle, lambda s: s.dead_vm.map_object(0, 0, 0, 3)),
    "map_guest unaligned, dead vm": (StaleHandle, lambda s: s.dead_vm.map_guest(1, PAGE, 3)),
    "vcpu negative, dead vm": (StaleHandle, lambda s: s.dead_vm.vcpu(-1)),
    "read outside, closed segment": (StaleHandle, lambda s: s.closed_object_segment.read(2**64, 1)),
    "[outside], closed segment": (StaleHandle, lambda s: s.closed_object_segment[2 * PAGE]),
    "[::0], closed segment": (StaleHandle, lambda s: s.closed_object_segment[::0]),
    "[i]=256, closed segment": (StaleHandle, lambda s: s.closed_object_segment.__setitem__(0, 256)),
    # argument, then orphaned
    "hold unaligned, orphan": (InvalidArgument, lambda s: s.orphan.hold(1, 3)),
    "hold_many unaligned, orphan": (InvalidArgument, lambda s: s.orphan.hold_many([1], 3)),
    "fault no prot, orphan": (InvalidArgument, lambda s: s.orphan.fault(0, 0)),
    "fault_many square, orphan": (InvalidArgument, lambda s: s.orphan.fault_many([[0]], 1)),
    "read negative, orphan": (InvalidArgument, lambda s: s.orphan.read(0, -1)),
    "read past 2**64, orphan": (AddressOverflow, lambda s: s.orphan.read(2**64 - 1, 1)),
    "write past 2**64, orphan": (AddressOverflow, lambda s: s.orphan.write(2**64 - 1, b"x")),
    "run unequal, orphan": (InvalidArgument, lambda s: s.lost_vcpu.run([0], values=[1, 2])),
    "step negative, orphan": (InvalidArgument, lambda s: s.lost_vcpu.step([-1])),
    # orphaned, then end of space
    "hold far, orphan": (Orphaned, lambda s: s.orphan.hold(2**47, 3)),
    "fault far, orphan": (Orphaned, lambda s: s.orphan.fault(2**47, 3)),
    "read far, orphan": (Orphaned, lambda s: s.orphan.read(2**47, 1)),
    "read very much, orphan": (Orphaned, lambda s: s.orphan.read(0, 2**47)),
    # argument, then end of space
    "map no prot, past the end": (InvalidArgument, lambda s: s.space.map(s.spare, SIZE, PAGE, 0)),
    "map out of the object, past the end": (InvalidArgument, lambda s: s.space.map(s.spare, SIZE, 8 * PAGE, 3)),
    "map another's, past the end": (InvalidArgument, lambda s: s.space.map(s.foreign, SIZE, PAGE, 3)),
    "map_mmio over RAM, past the end": (InvalidArgument, lambda s: s.space.map_mmio(SIZE, PAGE, 0x100000 * PAGE)),
    "track_dirty short, past the end": (InvalidArgument, lambda s: s.space.track_dirty(SIZE, N, into=SHORT)),
    "set_dirty short, past the end": (InvalidArgument, lambda s: s.space.set_dirty(SIZE, N, select=SHORT)),
    "map_guest no prot, past the end": (InvalidArgument, lambda s: s.vm.map_guest(SIZE, PAGE, 0)),
    "map_memseg no prot, past the end": (InvalidArgument, lambda s: s.vm.map_memseg(0, SIZE, PAGE, 0)),
    # end of space, then tracking, then the rest
    "track_dirty untracked, past the end": (BeyondSpace, lambda s: s.untracked.track_dirty(SIZE, PAGE)),
    "peek_dirty untracked, past the end": (BeyondSpace, lambda s: s.untracked.peek_dirty(SIZE - PAGE, 2 * PAGE)),
    "reset_dirty untracked, past the end": (BeyondSpace, lambda s: s.untracked.reset_dirty(SIZE, PAGE)),
    "resident unaligned, past the end": (InvalidArgument, lambda s: s.space.resident(SIZE + 1, PAGE)),
    "resident untracked, past the end": (BeyondSpace, lambda s: s.untracked.resident(SIZE - PAGE, 2 * PAGE)),
    "set_dirty untracked, past the end": (BeyondSpace, lambda s: s.untracked.set_dirty(SIZE, PAGE)),
    "map overlapping, past the end": (BeyondSpace, lambda s: s.space.map(s.spare, SIZE - PAGE, 2 * PAGE, 3)),
    "map_memseg unknown, past the end": (BeyondSpace, lambda s: s.vm.map_memseg(9, SIZE, PAGE, 3)),
    "track_dirty untracked, short": (InvalidArgument, lambda s: s.untracked.track_dirty(0, N, into=SHORT)),
    # no such mapping
    "unmap part": (NoSuchMapping, lambda s: s.space.unmap(RAM, PAGE)),
    "unmap more": (NoSuchMapping, lambda s: s.space.unmap(RAM, 65 * PAGE)),
    "unmap two": (NoSuchMapping, lambda s: s.space.unmap(RAM, ROM + 8 * PAGE - RAM)),
    "unmap a hole": (NoSuchMapping, lambda s: s.space.unmap(HOLE, PAGE)),
    "populate into a hole": (NoSuchMapping, lambda s: s.space.populate(ROM + 7 * PAGE, 2 * PAGE)),
    "populate from a hole": (NoSuchMapping, lambda s: s.space.populate(ROM - PAGE, 2 * PAGE)),
    "map_memseg unknown over another": (NoSuchMapping, lambda s: s.vm.map_memseg(9, RAM, PAGE, 3)),
    # the call's own
    "map overlapping": (Overlap, lambda s: s.space.map(s.spare, RAM - PAGE, 2 * PAGE, 3)),
    "map_mmio overlapping": (Overlap, lambda s: s.space.map_mmio(DEVICE, PAGE, 0xFD00_0000)),
    "destroy with mappings": (Busy, lambda s: s.space.destroy()),
    "client.destroy with holds": (Busy, lambda s: s.client.destroy()),
    "scatter wrong shape to read": (InvalidArgument, lambda s: s.readers.scatter(SQUARE)),
    "scatter to read": (AccessDenied, lambda s: s.readers.scatter(np.zeros((2, PAGE), np.uint8))),
    "mark_dirty short to read": (InvalidArgument, lambda s: s.readers.mark_dirty(SHORT[:0])),
    "mark_dirty to read": (AccessDenied, lambda s: s.readers.mark_dirty(SHORT)),
    "page.mark_dirty to read": (AccessDenied, lambda s: s.reader.mark_dirty()),
    "page.writable to read": (AccessDenied, lambda s: s.reader.writable()),
    "write outside, to read": (OutOfSegment, lambda s: s.object_reader.write(4 * PAGE, b"x")),
    "write, to read": (AccessDenied, lambda s: s.guest_reader.write(0, b"x")),
    "hold read-only to write": (Fault, lambda s: s.client.hold(ROM, 3)),
    "hold a hole": (Fault, lambda s: s.client.hold(HOLE, 1)),
    "alloc_memseg taken": (InvalidArgument, lambda s: s.vm.alloc_memseg(0, PAGE)),
    "alloc_memseg taken and too much": (InvalidArgument, lambda s: s.vm.alloc_memseg(0, 2**40)),
}


@pytest.mark.parametrize("name", TWO_FAULTS)
def test_two_faults(scene: Scene, name: str) -> None:
    """Of two faults the one that is checked first is told."""
    error, act = TWO_FAULTS[name]
    refused(scene, lambda: act(scene), error)


KICKING: dict[str, tuple[type[Exception], Callable[[Scene], object]]] = {
    "unmap nothing there": (NoSuchMapping, lambda s: s.space.unmap(HOLE, PAGE)),
    "unmap unaligned": (InvalidArgument, lambda s: s.space.unmap(1, PAGE)),
    "unmap": (Deadlock, lambda s: s.space.unmap(RAM, N)),
    "track_dirty past the end": (BeyondSpace, lambda s: s.space.track_dirty(SIZE, PAGE)),
    "track_dirty": (Deadlock, lambda s: s.space.track_dirty(RAM, N)),
    "reset_dirty short": (InvalidArgument, lambda s: s.space.reset_dirty(RAM, N, select=SHORT)),
    "reset_dirty": (Deadlock, lambda s: s.space.reset_dirty(RAM, N)),
    "accessed past the end": (BeyondSpace, lambda s: s.space.accessed(SIZE, PAGE, clear=True)),
    "accessed": (Deadlock, lambda s: s.space.accessed(RAM, N, clear=True)),
    "set_tracking": (Deadlock, lambda s: s.space.set_tracking(False)),
    "destroy with mappings": (Deadlock, lambda s: s.space.destroy()),
    "close": (Deadlock, lambda s: s.space.close()),
}
CHANGING: dict[str, tuple[type[Exception], Callable[[Scene], object]]] = {
    **{
        name: case
        for name, case in KICKING.items()
        if name not in ("track_dirty", "reset_dirty", "set_tracking", "track_dirty past the end")
    },
    "track_dirty untracked": (TrackingDisabled, lambda s: s.space.track_dirty(RAM, N)),
    "reset_dirty untracked": (TrackingDisabled, lambda s: s.space.reset_dirty(RAM, N)),
    "set_dirty untracked": (TrackingDisabled, lambda s: s.space.set_dirty(RAM, N)),
    "set_tracking": (Deadlock, lambda s: s.space.set_tracking(True)),
    "map unaligned": (InvalidArgument, lambda s: s.space.map(s.spare, 1, PAGE, 3)),
    "map past the end": (BeyondSpace, lambda s: s.space.map(s.spare, SIZE, PAGE, 3)),
    "map overlapping": (Deadlock, lambda s: s.space.map(s.spare, RAM, PAGE, 3)),
    "map_mmio overlapping": (Deadlock, lambda s: s.space.map_mmio(RAM, PAGE, 0xFD00_0000)),
    "populate nothing there": (NoSuchMapping, lambda s: s.space.populate(HOLE, PAGE)),
    "populate": (Deadlock, lambda s: s.space.populate(RAM, N)),
    "hold unaligned": (InvalidArgument, lambda s: s.client.hold(1, 3)),
    "hold a hole": (Deadlock, lambda s: s.client.hold(HOLE, 3)),
    "read a hole": (Deadlock, lambda s: s.client.read(HOLE, 1)),
    "read none": (Deadlock, lambda s: s.client.read(HOLE, 0)),
    "fault_many none": (Deadlock, lambda s: s.client.fault_many([], 1)),
    "on_invalidate": (Deadlock, lambda s: s.client.on_invalidate(None)),
    "clone": (Deadlock, lambda s: s.client.clone()),
    "client": (Deadlock, lambda s: s.space.client()),
    "client.destroy with holds": (Deadlock, lambda s: s.client.destroy()),
}


@pytest.mark.parametrize("name", KICKING)
def test_two_faults__on_cpu(scene: Scene, name: str) -> None:
    """A thread that is on CPU is told what is wrong with its call before that it would wait for itself."""
    error, act = KICKING[name]
    with on_cpu(scene.space):
        refused(scene, lambda: act(scene), error)


@pytest.mark.parametrize("name", CHANGING)
def test_two_faults__in_a_callback(scene: Scene, name: str) -> None:
    """A callback is told what is wrong with its call before that it may not call."""
    error, act = CHANGING[name]
    failure = in_callback(scene.space, lambda: refused(scene, lambda: act(scene), error))
    if failure is not None:
        raise failure
