"""Every public call of the contract and the kind of each of its parameters; the values are in ``bad_kinds``."""

from collections.abc import Callable
from typing import Any

import numpy as np

from npt import (
    EPT,
    BeyondSpace,
    Fault,
    InvalidArgument,
    MmioObject,
    NoSuchMapping,
    OutOfSegment,
    Prot,
    Reservoir,
    ReservoirExhausted,
    Vcpu,
    Vm,
    VmSpace,
    parse_size,
)  # fmt: skip
from tests.space.bad_input import Call, Param
from tests.space.bad_kinds import BELOW
from tests.space.everything import N_RAM, NEW, PAGE, RAM, Scene

__all__ = ["CALLS", "GOOD_INTEGERS"]


# -- the calls ----------------------------------------------------------------------------------------------------------


def _range(far: type[Exception], gpa: int = RAM, length: int = N_RAM * PAGE) -> dict[str, Param]:
    return {"gpa": Param("gpa", gpa, far), "length": Param("length", length, far)}


FLAG = Param("flag", False)
# A length that is too long for its object is told before the end of the space.
MAPPED = {
    "gpa": Param("gpa", NEW, BeyondSpace), "length": Param("length", 4 * PAGE, InvalidArgument),
    "prot": Param("prot with read", Prot.RW), "offset": Param("gpa", 0, InvalidArgument),
}  # fmt: skip
ACCESSES = {
    "gpas": Param("gpas of 8", [RAM + 8 * k for k in range(8)]), "write": Param("flags of 8", np.zeros(8, bool)),
    "execute": Param("flags of 8", np.zeros(8, bool)), "values": Param("words of 8", list(range(8))),
    "into": Param("loads of 8", lambda _: np.zeros(8, np.uint64)),
}  # fmt: skip
NO_MEMORY: dict[str, Any] = {"far": ReservoirExhausted, "last": ReservoirExhausted}
NOWHERE: dict[str, Any] = {"far": InvalidArgument, "last": InvalidArgument}
OUTSIDE: dict[str, Any] = {"far": OutOfSegment, "last": OutOfSegment}


def _set(segment: Any) -> Callable[..., Any]:
    return lambda key, value: segment.__setitem__(key, value)


def _segment_calls(name: str, of: Callable[[Scene], Any], n_pages: int) -> tuple[Call, ...]:
    beyond = {hex(2**64): InvalidArgument, hex(2**64 + PAGE): InvalidArgument, hex(2**128): InvalidArgument}
    at = Param("position", n_pages * PAGE - 2, **OUTSIDE, but={"2**64": InvalidArgument})
    n = Param("count", 2, **OUTSIDE, but=dict(beyond))
    index = Param(
        "index",
        0,
        but={hex(4 * PAGE): OutOfSegment if n_pages == 4 else None, hex(-4 * PAGE - 1): OutOfSegment if n_pages == 4 else None},
    )
    return (
        Call(f"{name}.read", lambda s: of(s).read, {"offset": at, "n": n}),
        Call(f"{name}.write", lambda s: of(s).write, {"offset": at, "data": Param("bytes", b"ab")}),
        Call(f"{name}[i]", lambda s: lambda key: of(s)[key], {"key": index}),
        Call(f"{name}[a:b]", lambda s: lambda key: of(s)[key], {"key": Param("slice", slice(2))}),
        Call(f"{name}[i]=", lambda s: _set(of(s)), {"key": index, "value": Param("byte", 1)}),
        Call(f"{name}[a:b]=", lambda s: _set(of(s)), {"key": Param("slice", slice(2)), "value": Param("2 bytes", b"ab")}),
    )


CALLS: tuple[Call, ...] = (
    Call("parse_size", lambda s: parse_size, {"text": Param("size", "4KiB")}),
    Call("Reservoir", lambda s: Reservoir, {
        "size": Param("length", PAGE, **NOWHERE), "limit": Param("length", PAGE, **NOWHERE, but={"NoneType:None": None}),
        "base_pfn": Param("frame", 0), "backed": FLAG,
    }),
    Call("Reservoir.allocate", lambda s: s.reservoir.allocate, {
        "length": Param("length", PAGE, **NO_MEMORY), "transient": FLAG,
    }),
    Call("Reservoir.allocate transient", lambda s: s.reservoir.allocate, {
        "length": Param("length", PAGE, **NO_MEMORY), "transient": Param("flag", True),
    }),
    Call("Reservoir.resize", lambda s: s.reservoir.resize, {
        "target": Param("pages", 0x100 * PAGE, **NO_MEMORY), "chunk": Param("pages", 0, None, None),
    }),
    Call("RamObject.pfn_at", lambda s: s.ram.pfn_at, {"offset": Param("position", 0, **NOWHERE)}),
    Call("MmioObject.pfn_at", lambda s: s.mmio.pfn_at, {"offset": Param("position", 0, **NOWHERE)}),
    Call("MmioObject", lambda s: MmioObject, {
        "length": Param("length", PAGE, InvalidArgument), "hpa": Param("gpa", PAGE, InvalidArgument),
    }),
    Call("VmSpace", lambda s: VmSpace, {
        "size": Param("length", PAGE, **NOWHERE, but={hex(2**47): None}), "format": Param("format", EPT),
        "reservoir": Param("reservoir", lambda s: s.reservoir), "track_dirty": FLAG, "kick_timeout": Param("seconds", 1.0),
        "threads": Param("threads", 1, but={"NoneType:None": None}),
    }),
    Call("VmSpace.map", lambda s: s.space.map, {"obj": Param("object", lambda s: s.spare), **MAPPED}),
    Call("VmSpace.map_mmio", lambda s: s.space.map_mmio, {
        "gpa": Param("gpa", NEW, BeyondSpace), "length": Param("length", 4 * PAGE, InvalidArgument),
        "hpa": Param("gpa", 0xFD00_0000, InvalidArgument),
    }),
    Call("VmSpace.unmap", lambda s: s.space.unmap, _range(NoSuchMapping)),
    Call("VmSpace.populate", lambda s: s.space.populate, _range(NoSuchMapping)),
    Call("VmSpace.track_dirty", lambda s: s.space.track_dirty, {**_range(BeyondSpace), "into": Param("into", None)}),
    Call("VmSpace.peek_dirty", lambda s: s.space.peek_dirty, {**_range(BeyondSpace), "select": Param("select", None)}),
    Call("VmSpace.reset_dirty", lambda s: s.space.reset_dirty, {**_range(BeyondSpace), "select": Param("select", None)}),
    Call("VmSpace.set_dirty", lambda s: s.space.set_dirty, {**_range(BeyondSpace), "select": Param("select", None)}),
    Call("VmSpace.accessed", lambda s: s.space.accessed, {**_range(BeyondSpace), "clear": Param("flag", True)}),
    Call("VmSpace.resident", lambda s: s.space.resident, _range(BeyondSpace)),
    Call("VmSpace.ptes", lambda s: s.space.ptes, _range(BeyondSpace)),
    Call("VmSpace.set_tracking", lambda s: s.space.set_tracking, {"enabled": FLAG}),
    Call("VmSpace.translate", lambda s: s.space.translate, {"gpas": Param("gpas", [RAM])}),
    Call("VmSpace.pte", lambda s: s.space.pte, {"gpa": Param("address", RAM, last=None)}),
    Call("VmSpace.explain", lambda s: s.space.explain, {"gpa": Param("address", RAM, last=None)}),
    Call("PageTable.entries", lambda s: s.space.table.entries, {"level": Param("level", 1)}),
    Call("PageTable.tables_in_use", lambda s: s.space.table.tables_in_use, {"level": Param("level", 1)}),
    Call("PageTable.read_table", lambda s: s.space.table.read_table, {"pfn": Param("table", 2**33)}),
    Call("VmClient.hold", lambda s: s.client.hold, {
        "gpa": Param("gpa", RAM, Fault, Fault), "prot": Param("prot with read or write", Prot.RW), "defer_dirty": FLAG,
    }),
    Call("VmClient.hold_many", lambda s: s.client.hold_many, {
        "gpas": Param("aligned gpas", [RAM], Fault), "prot": Param("prot with read or write", Prot.RW), "defer_dirty": FLAG,
    }),
    Call("VmClient.fault", lambda s: s.client.fault, {
        "gpa": Param("address", RAM, Fault, Fault), "prot": Param("prot", Prot.READ),
    }),
    Call("VmClient.fault_many", lambda s: s.client.fault_many, {
        "gpas": Param("gpas", [RAM]), "prot": Param("prot", Prot.READ),
    }),
    Call("VmClient.read", lambda s: s.client.read, {"gpa": Param("address", RAM, Fault), "n": Param("count", 16, Fault)}),
    Call("VmClient.write", lambda s: s.client.write, {"gpa": Param("address", RAM, Fault), "data": Param("bytes", b"ab")}),
    Call("VmClient.on_invalidate", lambda s: s.client.on_invalidate, {"callback": Param("callback", None)}),
    Call("VmPage.chain", lambda s: s.page.chain, {"page": Param("page", lambda s: s.second)}),
    Call("VmPages.gather", lambda s: s.pages.gather, {"out": Param("3 pages out", lambda _: np.zeros((3, PAGE), np.uint8))}),
    Call("VmPages.scatter", lambda s: s.pages.scatter, {"data": Param("3 pages", np.zeros((3, PAGE), np.uint8))}),
    Call("VmPages.mark_dirty", lambda s: s.pages.mark_dirty, {"select": Param("batch select", np.zeros(1, np.uint8))}),
    Call("Vcpu", lambda s: Vcpu, {
        "client": Param("client", lambda s: s.client), "cpu": Param("number", 0), "tlb": Param("number", 0),
    }),
    Call("Vcpu.run", lambda s: s.vcpu.run, ACCESSES),
    Call("Vcpu.step", lambda s: s.vcpu.step, ACCESSES),
    Call("Vm", lambda s: Vm, {
        "reservoir": Param("reservoir", lambda s: s.reservoir), "format": Param("format", EPT), "track_dirty": FLAG,
        "size": Param("length", PAGE, **NOWHERE, but={hex(2**47): None}),
    }),
    Call("Vm.alloc_memseg", lambda s: s.vm.alloc_memseg, {
        "segid": Param("number", 7), "length": Param("length", PAGE, **NO_MEMORY), "transient": FLAG,
    }),
    Call("Vm.memseg", lambda s: s.vm.memseg, {"segid": Param("number", 7, but={b.name: NoSuchMapping for b in BELOW})}),
    Call("Vm.map_memseg", lambda s: s.vm.map_memseg, {
        "segid": Param("number", 0, but={b.name: NoSuchMapping for b in BELOW}), **MAPPED,
    }),
    Call("Vm.unmap_memseg", lambda s: s.vm.unmap_memseg, _range(NoSuchMapping)),
    Call("Vm.map_object", lambda s: s.vm.map_object, {
        "segid": Param("number", 0, but={b.name: NoSuchMapping for b in BELOW}), "offset": Param("gpa", PAGE, InvalidArgument),
        "length": Param("length", 4 * PAGE, InvalidArgument), "prot": Param("prot with read", Prot.RW),
    }),
    Call("Vm.map_guest", lambda s: s.vm.map_guest, {**_range(BeyondSpace), "prot": Param("prot with read", Prot.RW)}),
    Call("Vm.vcpu", lambda s: s.vm.vcpu, {"cpu": Param("number", 0), "tlb": Param("number", 0)}),
    *_segment_calls("object segment", lambda s: s.object_segment, 4),
    *_segment_calls("guest segment", lambda s: s.guest_segment, 8),
)  # fmt: skip


GOOD_INTEGERS = (np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64)
