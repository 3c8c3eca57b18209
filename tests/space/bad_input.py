"""Bad arguments by kind, and every public call with the kinds of its parameters: the data of ``test_bad_input``."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from npt import (
    AddressOverflow,
    InvalidArgument,
    MmioObject,
    OutOfSegment,
    Prot,
    PteFormat,
    RamObject,
    Reservoir,
)  # fmt: skip
from tests.space.everything import PAGE, RAM, Scene

__all__ = ["BELOW", "KINDS", "Bad", "Call", "Param"]


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


class _Matrix(np.ndarray[Any, Any]):
    """An array that is no plain one."""


# The range of every dirty call below is RAM, 64 pages: bitmaps want 8 bytes.
NO_BITMAPS = _types(
    "x", ODD, 1, 1.0, True, [255] * 8, b"\xff" * 8, bytearray(8), memoryview(bytes(8)), np.uint8(1),
    np.zeros(8, bool), np.zeros(8, np.int8), np.zeros(8, np.uint16), np.zeros(8, np.uint64), np.zeros(8), np.zeros(8, "S1"),
    np.zeros(8, ">u2"), np.zeros(8, ">u8"), np.zeros(1, "<u8"), np.zeros(1, ">u8"), np.zeros(8, "V1"), np.zeros(8, object),
    np.zeros(8, [("bits", np.uint8)]), np.zeros(64, bool),
)  # fmt: skip
BAD_BITMAPS = (
    Bad("empty", np.zeros(0, np.uint8), InvalidArgument),
    Bad("short", np.zeros(7, np.uint8), InvalidArgument),
    Bad("0-d", np.zeros((), np.uint8), InvalidArgument),
    Bad("2-d", np.zeros((1, 8), np.uint8), InvalidArgument),
    Bad("2-d tall", np.zeros((8, 1), np.uint8), InvalidArgument),
    Bad("2-d of one", np.zeros((1, 1), np.uint8), InvalidArgument),
    Bad("3-d", np.zeros((2, 2, 2), np.uint8), InvalidArgument),
    Bad("matrix", np.zeros((1, 8), np.uint8).view(_Matrix), InvalidArgument),
    Bad("short and strided", np.zeros(14, np.uint8)[::2], InvalidArgument),
    Bad("short, of the tables", lambda s: s.space.table.entries(1)[:1].view(np.uint8)[:7], InvalidArgument, made=True),
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


def _entries(level: int, n: int, *, forced: bool) -> Callable[[Scene], Any]:
    def view(scene: Scene) -> Any:
        entries = scene.space.table.entries(level)[:n]
        entries.flags.writeable = forced  # numpy lets who insists: the array that owns the memory is writable
        return entries

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
        *(_engine(f"entries {level}", _entries(level, n, forced=False), dtype) for level in (4, 3, 2, 1)),
        *(_engine(f"entries {level}, forced", _entries(level, n, forced=True), dtype) for level in (4, 3, 2, 1)),
        Bad("broadcast", np.broadcast_to(np.zeros(1, dtype), n), InvalidArgument),
    )


PAGES: dict[str, Callable[[Scene], Any]] = {
    "held": lambda s: s.page.writable()[:64],
    "read": lambda s: s.reader.readable()[:64],
    "end of": lambda s: s.page.writable()[-64:],
    "buffer": lambda s: s.reservoir.buffer[:64],
    "end of buffer": lambda s: s.reservoir.buffer[-64:],
    "memoryview of a": lambda s: np.frombuffer(s.page.writable().data, np.uint8)[64:128],
    "subclass of a": lambda s: s.page.writable()[:64].view(_Matrix),
    "neighbour's": lambda s: s.strange.writable()[:64],
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
