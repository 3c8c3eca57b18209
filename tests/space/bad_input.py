"""Bad arguments by kind, and every public call with the kinds of its parameters: the data of ``test_bad_input``."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from npt import (
    EPT,
    AddressOverflow,
    BeyondSpace,
    Fault,
    InvalidArgument,
    MmioObject,
    NoSuchMapping,
    OutOfSegment,
    Prot,
    PteFormat,
    RamObject,
    Reservoir,
    ReservoirExhausted,
    Vcpu,
    Vm,
    VmSpace,
)  # fmt: skip
from tests.space.everything import N_RAM, NEW, PAGE, RAM, Scene

__all__ = ["CALLS", "GOOD_INTEGERS", "Bad", "Call", "Param", "cases"]


# -- bad values by kind -------------------------------------------------------------------------------------------------

FAR, LAST = "far", "last"  # told by the parameter: past all ends; so near 2**64 that with a length it is past that, too


@dataclass(frozen=True)
class Bad:
    """One bad value: its name, itself or how to make it in a scene, and the error or where the parameter tells it."""

    name: str
    value: Any
    error: type[Exception] | str
    made: bool = False  # the value is a function of the scene


@dataclass(frozen=True)
class Param:
    """A parameter: its kind, a good value (or how to make it), and what its far values are answered with."""

    kind: str
    good: Any
    far: type[Exception] | None = None  # None: they are allowed
    last: type[Exception] | None = AddressOverflow
    but: dict[str, type[Exception] | None] = field(default_factory=dict)  # by name: another error, or allowed

    def error(self, bad: Bad) -> type[Exception] | None:
        """What a bad value is answered with here, or None if it is good here."""
        if bad.name in self.but:
            return self.but[bad.name]
        if isinstance(bad.error, type):
            return bad.error
        return self.far if bad.error == FAR else self.last

    def make_good(self, scene: Scene) -> Any:
        return self.good(scene) if callable(self.good) else self.good


@dataclass(frozen=True)
class Call:
    """A public call, as a function of the scene that gives what is called with keywords."""

    name: str
    of: Callable[[Scene], Callable[..., Any]]
    params: dict[str, Param]


def _types(*values: Any) -> tuple[Bad, ...]:
    return tuple(Bad(f"{type(value).__name__}:{value!r}"[:40].split(" at 0x")[0], value, TypeError) for value in values)


def _invalid(*values: Any) -> tuple[Bad, ...]:
    return tuple(Bad(_told(value), value, InvalidArgument) for value in values)


def _far(*values: Any) -> tuple[Bad, ...]:
    return tuple(Bad(_told(value), value, FAR) for value in values)


def _told(value: Any) -> str:
    prefix = f"{type(value).__name__}:" if not isinstance(value, (int, list)) else ""
    return prefix + (hex(value) if isinstance(value, int) else repr(value).replace("\n", ""))


class _Odd:
    """Nothing that anybody wants."""

    def __repr__(self) -> str:
        return "odd"


ODD = _Odd()
SOME = (None, "x", ODD)
NO_INTS = _types(
    *SOME, b"x", 1.0, 0.0, True, False, np.float64(4096), np.True_, 1j, [4096], np.array([4096, 4096]), np.array(0.0)
)
BELOW = _invalid(-1, -PAGE, np.int8(-1), np.int64(-PAGE), -(2**64))
PAST_64_BITS = _invalid(2**64, 2**64 + PAGE, 2**128)
HUGE = _far(2**47, 2**48, 2**63)
TOP = Bad("2**64-0x1000", 2**64 - PAGE, LAST)
UNALIGNED = _invalid(1, 0xFFF, 0x1001, 2**47 + 1, 2**64 - 1, np.uint8(255))
NO_LENGTHS = _invalid(0, 1, 0xFFF, 0x1001, np.uint8(0), 2**47 + 1, 2**64 - 1)

NO_ARRAYS = _types(
    *SOME, 1.0, True, np.True_, np.float64(4096), b"x", [1.0], ["x"], [None], [ODD], [True, False], [4096, None], [2**63, 1.0],
    [[1], [2, 3]],
    np.array([1.0]), np.array([True]), np.array(["x"]), np.array([None]), np.zeros(1, "M8[s]"), np.zeros(1, "c16"),
)  # fmt: skip
BAD_ARRAYS = (
    Bad("scalar", 4096, InvalidArgument),
    Bad("0-d", np.array(4096), InvalidArgument),
    Bad("2-d", np.zeros((1, 1), np.uint64), InvalidArgument),
    Bad("2-d empty", np.zeros((0, 2), np.uint64), InvalidArgument),
    Bad("3-d", np.zeros((1, 1, 1), np.int64), InvalidArgument),
    Bad("2-d list", [[4096]], InvalidArgument),
    Bad("int8", np.array([-1], np.int8), InvalidArgument),
    Bad("int64", np.array([4096, -4096]), InvalidArgument),
    *_invalid([-1], [-PAGE, 2**63], [2**64], [2**64 + PAGE, 0], [-(2**63) - 1]),
)
HUGE_ARRAYS = (*_far([2**47], [2**48], [2**63], [2**64 - PAGE]), Bad("uint64 top", np.array([2**64 - PAGE], np.uint64), FAR))
UNALIGNED_ARRAYS = (*_invalid([1], [0x1000, 0xFFF]), Bad("uint8", np.array([255], np.uint8), InvalidArgument))

# The range of every dirty call below is RAM, 64 pages: bitmaps want 8 bytes.
NO_BITMAPS = _types(
    "x", ODD, 1, 1.0, True, [255] * 8, b"\xff" * 8, bytearray(8), memoryview(bytes(8)), np.uint8(1),
    np.zeros(8, bool), np.zeros(8, np.int8), np.zeros(8, np.uint16), np.zeros(8, np.uint64), np.zeros(8), np.zeros(8, "S1"),
)  # fmt: skip
BAD_BITMAPS = (
    Bad("empty", np.zeros(0, np.uint8), InvalidArgument),
    Bad("short", np.zeros(7, np.uint8), InvalidArgument),
    Bad("0-d", np.zeros((), np.uint8), InvalidArgument),
    Bad("2-d", np.zeros((1, 8), np.uint8), InvalidArgument),
    Bad("2-d tall", np.zeros((8, 1), np.uint8), InvalidArgument),
)


def _read_only(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    array.flags.writeable = False
    return array


def _table(level: int, n: int) -> Callable[[Scene], Any]:
    def view(scene: Scene) -> Any:
        entry = scene.space.table_root
        for depth in range(4, level, -1):
            entry = int(scene.space.table.read_table(entry >> 12 & (2**40 - 1))[(RAM >> 12 + 9 * (depth - 1)) & 511])
        return scene.space.table.read_table(entry >> 12 & (2**40 - 1))[:n]

    return view


def _engine(name: str, make: Callable[[Scene], Any], dtype: Any) -> Bad:
    return Bad(name, lambda scene: make(scene).view(dtype), InvalidArgument, made=True)


def _outputs(n: int, dtype: Any) -> tuple[Bad, ...]:
    """Arrays that can be of the right type and must not be written to."""
    return (
        Bad("strided", np.zeros(4 * n, dtype)[::4], InvalidArgument),
        Bad("reversed", np.zeros(n, dtype)[::-1], InvalidArgument),
        Bad("read-only", _read_only(np.zeros(n, dtype)), InvalidArgument),
        Bad("frombuffer", np.frombuffer(bytes(8 * n), dtype)[:n], InvalidArgument),
        *(_engine(f"{what} page", make, dtype) for what, make in PAGES.items()),
        *(_engine(f"table {level}", _table(level, n), dtype) for level in (4, 3, 2, 1)),
    )


PAGES: dict[str, Callable[[Scene], Any]] = {
    "held": lambda s: s.page.writable()[:64],
    "read": lambda s: s.reader.readable()[:64],
    "end of": lambda s: s.page.writable()[-64:],
    "buffer": lambda s: s.reservoir.buffer[:64],
}
BAD_INTO = (*BAD_BITMAPS, *_outputs(8, np.uint8))
NO_LOADS = _types(
    "x", ODD, 1, 1.0, True, [0] * 8, bytes(64), np.uint64(1), np.zeros(8), np.zeros(8, np.int64), np.zeros(8, ">u8")
)
BAD_LOADS = (
    *(Bad(f"loads {shape}", np.zeros(shape, np.uint64), InvalidArgument) for shape in ((), (0,), (7,), (9,), (1, 8), (8, 1))),
    *_outputs(8, np.uint64),
)
NO_FLAG_ARRAYS = _types(*SOME, 1, 0, 1.0, np.uint8(1), [1] * 8, np.zeros(8, np.uint8), [[True], [True, False]])
BAD_FLAG_ARRAYS = tuple(
    Bad(f"flags {shape}", np.zeros(shape, bool), InvalidArgument) for shape in ((0,), (1,), (7,), (9,), (1, 8), (8, 1))
)
NO_PROTS = _invalid(0, 8, 9, -1, np.int8(-1), 255, 2**47, 2**63, 2**64)
NO_BYTES = _types(*SOME, 1, 1.0, True, [1], {1})
FRACTIONS = (
    *_types(*SOME, b"1", True, np.True_, 1j, [1.0], np.array([1.0, 2.0])),
    *_invalid(0, 0.0, -1, -0.5, float("nan"), float("inf"), np.float64(0), np.int8(-1)),
    Bad("10**400", 10**400, InvalidArgument),
)

KINDS: dict[str, tuple[Bad, ...]] = {
    "gpa": (*NO_INTS, *BELOW, *PAST_64_BITS, *UNALIGNED, *HUGE, TOP),
    "address": (
        *NO_INTS,
        *BELOW,
        *PAST_64_BITS,
        *HUGE,
        Bad("2**64-0x1000", 2**64 - PAGE, FAR),
        Bad("2**64-1", 2**64 - 1, LAST),
    ),
    "length": (*NO_INTS, *BELOW, *NO_LENGTHS, *HUGE, TOP, Bad("2**64", 2**64, LAST), Bad("2**128", 2**128, LAST)),
    "prot with read": (*NO_INTS, *NO_PROTS, *_invalid(2, 4, 6, Prot.WRITE, np.uint8(4))),
    "prot with read or write": (*NO_INTS, *NO_PROTS, *_invalid(4, Prot.EXEC)),
    "prot": (*NO_INTS, *NO_PROTS),
    "position": (*NO_INTS, *BELOW, *HUGE, TOP, Bad("2**64", 2**64, FAR)),  # counted in bytes, not aligned
    "count": (*NO_INTS, *BELOW, *HUGE, TOP, *PAST_64_BITS),
    "number": (*NO_INTS, *BELOW),
    "pages": (*NO_INTS, *BELOW, *_invalid(1, 0xFFF, 0x1001), *HUGE, TOP, Bad("2**64", 2**64, FAR)),
    "frame": (*NO_INTS, *BELOW, *_invalid(2**33, 2**47, 2**64, 2**128)),
    "level": (*NO_INTS, *BELOW, *_invalid(0, 5, 2**47, 2**64, np.uint8(5))),
    "table": (*NO_INTS, *BELOW, *_invalid(0, 0x100000, 2**33 - 1, 2**33 + (3 << 27) + 1, 2**33 + (4 << 27), 2**47, 2**64)),
    "gpas": (*NO_ARRAYS, *BAD_ARRAYS, *HUGE_ARRAYS),
    "aligned gpas": (*NO_ARRAYS, *BAD_ARRAYS, *UNALIGNED_ARRAYS, *HUGE_ARRAYS),
    "gpas of 8": (*NO_ARRAYS, *BAD_ARRAYS, *_invalid([0] * 7, [0] * 9)),
    "words of 8": (*(bad for bad in NO_ARRAYS if bad.value is not None), *BAD_ARRAYS, *_invalid([], [0] * 7, [0] * 9)),
    "flags of 8": (*NO_FLAG_ARRAYS, *BAD_FLAG_ARRAYS),
    "loads of 8": (*NO_LOADS, *BAD_LOADS),
    "select": (*NO_BITMAPS, *BAD_BITMAPS),
    "into": (*NO_BITMAPS, *BAD_INTO),
    "flag": _types(*SOME, 1, 0, 1.0, np.uint8(1), [True], np.array([True, False])),
    "callback": _types("x", ODD, 1, True, (), b"x"),
    "bytes": NO_BYTES,
    "seconds": FRACTIONS,
    "format": _types(*SOME, 1, "ept", PteFormat),
    "object": (
        *_types(*SOME, 1, b"x", RamObject),
        Bad("a space", lambda s: s.space, TypeError, made=True),
        Bad("a reservoir", lambda s: s.reservoir, TypeError, made=True),
        Bad("of another reservoir", lambda s: s.foreign, InvalidArgument, made=True),
        Bad("over RAM", MmioObject(4 * PAGE, 0x100000 * PAGE), InvalidArgument),
        Bad("over the last of RAM", MmioObject(4 * PAGE, 0x10011F * PAGE), InvalidArgument),
        Bad("too small", MmioObject(PAGE, 0xFD00_0000), InvalidArgument),
    ),
    "page": (
        *_types(*SOME, 1, b"x"),
        Bad("a batch", lambda s: s.pages, TypeError, made=True),
        Bad("of another client", lambda s: s.strange, InvalidArgument, made=True),
        Bad("itself", lambda s: s.page, InvalidArgument, made=True),
    ),
    "reservoir": (*_types("x", ODD, 1, Reservoir), Bad("an object", lambda s: s.ram, TypeError, made=True)),
    "client": (*_types(*SOME, 1), Bad("a space", lambda s: s.space, TypeError, made=True)),
    "3 pages": (
        *_types(
            *SOME,
            1,
            bytes(3 * PAGE),
            [[0] * PAGE] * 3,
            np.zeros((3, PAGE)),
            np.zeros((3, PAGE), bool),
            np.zeros((3, PAGE), np.int8),
        ),
        *(
            Bad(f"{s}", np.zeros(s, np.uint8), InvalidArgument)
            for s in ((), (3 * PAGE,), (2, PAGE), (4, PAGE), (3, 4095), (1, 3, PAGE))
        ),
    ),
    "batch select": (
        *NO_BITMAPS,
        Bad("short", np.zeros(0, np.uint8), InvalidArgument),
        Bad("2-d", np.zeros((1, 1), np.uint8), InvalidArgument),
    ),
    "index": (*NO_INTS, *(Bad(_told(n), n, OutOfSegment) for n in (4 * PAGE, -4 * PAGE - 1, 2**47, 2**63, 2**64, -(2**64)))),
    "slice": (
        *_types(*(slice(a, None) for a in ("x", 1.0, ODD)), slice(None, 1.0), slice(None, None, "x")),
        *(Bad(f"step {n}", slice(None, None, n), InvalidArgument) for n in (0, 2, -1, 2**64)),
    ),
    "byte": (*NO_INTS, *_invalid(-1, 256, np.int8(-1), 2**47, 2**64)),
    "2 bytes": (*NO_BYTES, *(Bad(f"{n} bytes", bytes(n), InvalidArgument) for n in (0, 1, 3, 4096))),
}


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


def cases() -> Iterator[tuple[Call, str, Bad, type[Exception]]]:
    """Every call with every bad value of every parameter, and what it is answered with."""
    for call in CALLS:
        for name, param in call.params.items():
            for bad in KINDS[param.kind]:
                error = param.error(bad)
                if error is not None:
                    yield call, name, bad, error


GOOD_INTEGERS = (np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64)
