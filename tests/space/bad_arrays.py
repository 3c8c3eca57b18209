"""Bad arrays: of addresses, of bits, of flags, to be written to."""

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from npt import InvalidArgument, Prot
from tests.space.bad_input import BROKEN, FAR, Bad, far, invalid, types
from tests.space.everything import PAGE, RAM, Scene
from tests.space.odd import NEVER, ODD, SOME, VAST, Broken, Deaf, Half, Liar, Matrix, closed, masked

__all__ = [
    "BAD_ARRAYS",
    "BAD_BITMAPS",
    "BAD_FLAG_ARRAYS",
    "BAD_INTO",
    "BAD_LOADS",
    "HUGE_ARRAYS",
    "NO_ARRAYS",
    "NO_BITMAPS",
    "NO_FLAG_ARRAYS",
    "NO_LOADS",
    "UNALIGNED_ARRAYS",
    "read_only",
]

NO_ARRAYS = (*types(
    *NEVER, "4KiB", Decimal(4096), [Decimal(4096)], [Fraction(4096)], [-0.0], [float("nan")],
    ["4096"], [Half()], np.array([4096], object), masked(np.array([4096])), np.zeros(1, "m8[s]"), np.zeros(1, [("gpa", "u8")]),
    np.zeros(1, "V8"), np.zeros(1, np.float16), np.array([4096.0]).view(Matrix),
    *SOME, 1.0, True, np.True_, np.float64(4096), b"x", [1.0], ["x"], [None], [ODD], [True, False], [4096, None], [2**63, 1.0],
    [[1], [2, 3]],
    np.array([1.0]), np.array([True]), np.array(["x"]), np.array([None]), np.zeros(1, "M8[s]"), np.zeros(1, "c16"),
), BROKEN, Bad("[broken]", [Broken()], ZeroDivisionError))  # fmt: skip
BAD_ARRAYS = (
    Bad("scalar", 4096, InvalidArgument),
    Bad("0-d", np.array(4096), InvalidArgument),
    Bad("2-d", np.zeros((1, 1), np.uint64), InvalidArgument),
    Bad("2-d empty", np.zeros((0, 2), np.uint64), InvalidArgument),
    Bad("3-d", np.zeros((1, 1, 1), np.int64), InvalidArgument),
    Bad("2-d list", [[4096]], InvalidArgument),
    Bad("int8", np.array([-1], np.int8), InvalidArgument),
    Bad("int64", np.array([4096, -4096]), InvalidArgument),
    *invalid([-1], [-PAGE, 2**63], [2**64], [2**64 + PAGE, 0], [-(2**63) - 1], [VAST], [-VAST], (-1,), [Liar(-1)]),
    Bad("big-endian", np.array([-1], ">i8"), InvalidArgument),
    Bad("matrix", np.zeros((1, 8), np.uint64).view(Matrix), InvalidArgument),
)
HUGE_ARRAYS = (*far([2**47], [2**48], [2**63], [2**64 - PAGE]), Bad("uint64 top", np.array([2**64 - PAGE], np.uint64), FAR))
UNALIGNED_ARRAYS = (*invalid([1], [0x1000, 0xFFF]), Bad("uint8", np.array([255], np.uint8), InvalidArgument))


# The range of every dirty call below is RAM, 64 pages: bitmaps want 8 bytes.
NO_BITMAPS = types(
    "x", ODD, 1, 1.0, True, [255] * 8, b"\xff" * 8, bytearray(8), memoryview(bytes(8)), np.uint8(1),
    np.zeros(8, bool), np.zeros(8, np.int8), np.zeros(8, np.uint16), np.zeros(8, np.uint64), np.zeros(8), np.zeros(8, "S1"),
    np.zeros(8, ">u2"), np.zeros(8, ">u8"), np.zeros(1, "<u8"), np.zeros(1, ">u8"), np.zeros(8, "V1"), np.zeros(8, object),
    np.zeros(8, [("bits", np.uint8)]), np.zeros(64, bool), *NEVER, -0.0, Decimal(1), "4KiB", np.float64(0), Broken(), closed(),
    masked(np.zeros(8, np.uint8)), np.zeros(8, np.uint8).view(np.recarray).astype("u2"), np.zeros(64, "?").view(Matrix),
)  # fmt: skip
BAD_BITMAPS = (
    Bad("empty", np.zeros(0, np.uint8), InvalidArgument),
    Bad("short", np.zeros(7, np.uint8), InvalidArgument),
    Bad("0-d", np.zeros((), np.uint8), InvalidArgument),
    Bad("2-d", np.zeros((1, 8), np.uint8), InvalidArgument),
    Bad("2-d tall", np.zeros((8, 1), np.uint8), InvalidArgument),
    Bad("2-d of one", np.zeros((1, 1), np.uint8), InvalidArgument),
    Bad("3-d", np.zeros((2, 2, 2), np.uint8), InvalidArgument),
    Bad("matrix", np.zeros((1, 8), np.uint8).view(Matrix), InvalidArgument),
    Bad("short and strided", np.zeros(14, np.uint8)[::2], InvalidArgument),
    Bad("short and overlapping", as_strided(np.zeros(1, np.uint8), (7,), (0,)), InvalidArgument),
    Bad("2-d and overlapping", as_strided(np.zeros(16, np.uint8), (8, 8), (1, 1)), InvalidArgument),
    Bad("short and deaf", np.zeros(7, np.uint8).view(Deaf), InvalidArgument),
    Bad("short, of the tables", lambda s: s.space.table.entries(1)[:1].view(np.uint8)[:7], InvalidArgument, made=True),
)


def read_only(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
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
        Bad("read-only", read_only(np.zeros(n, dtype)), InvalidArgument),
        Bad("frombuffer", np.frombuffer(bytes(8 * n), dtype)[:n], InvalidArgument),
        *(_engine(f"{what} page", make, dtype) for what, make in PAGES.items()),
        *(_engine(f"table {level}", _table(level, n), dtype) for level in (4, 3, 2, 1)),
        *(_engine(f"entries {level}", _entries(level, n, forced=False), dtype) for level in (4, 3, 2, 1)),
        *(_engine(f"entries {level}, forced", _entries(level, n, forced=True), dtype) for level in (4, 3, 2, 1)),
        Bad("overlapping", as_strided(np.zeros(1, dtype), (n,), (0,)), InvalidArgument),
        Bad("deaf and read-only", read_only(np.zeros(n, dtype).view(Deaf)), InvalidArgument),
        Bad("broadcast", np.broadcast_to(np.zeros(1, dtype), n), InvalidArgument),
    )


PAGES: dict[str, Callable[[Scene], Any]] = {
    "held": lambda s: s.page.writable()[:64],
    "read": lambda s: s.reader.readable()[:64],
    "end of": lambda s: s.page.writable()[-64:],
    "buffer": lambda s: s.reservoir.buffer[:64],
    "end of buffer": lambda s: s.reservoir.buffer[-64:],
    "memoryview of a": lambda s: np.frombuffer(s.page.writable().data, np.uint8)[64:128],
    "subclass of a": lambda s: s.page.writable()[:64].view(Matrix),
    "neighbour's": lambda s: s.strange.writable()[:64],
}
BAD_INTO = (*BAD_BITMAPS, *_outputs(8, np.uint8))
NO_LOADS = types(
    "x", ODD, 1, 1.0, True, [0] * 8, bytes(64), np.uint64(1), np.zeros(8), np.zeros(8, np.int64), np.zeros(8, ">u8"), *NEVER,
    -0.0, "4KiB", Decimal(1), bytearray(64), memoryview(bytes(64)), closed(), Broken(), np.zeros(8, object), np.zeros(8, "V8"),
    np.zeros(8, [("load", "u8")]), np.zeros(8, np.uint32), np.zeros(8, bool), np.zeros(8, "m8[s]"),
    masked(np.zeros(8, np.uint64)),
)  # fmt: skip
BAD_LOADS = (
    *(Bad(f"loads {shape}", np.zeros(shape, np.uint64), InvalidArgument) for shape in ((), (0,), (7,), (9,), (1, 8), (8, 1))),
    *_outputs(8, np.uint64),
)
NO_FLAG_ARRAYS = (
    *types(
        *SOME, 1, 0, 1.0, np.uint8(1), [1] * 8, np.zeros(8, np.uint8), [[True], [True, False]], *NEVER, -0.0, "True", b"1",
        Decimal(1),
        Prot.READ, np.zeros(8, object), np.zeros(8, "S1"), [None] * 8, ["True"] * 8, masked(np.zeros(8, bool)),
    ),
    BROKEN,
)  # fmt: skip
BAD_FLAG_ARRAYS = tuple(
    Bad(f"flags {shape}", np.zeros(shape, bool), InvalidArgument) for shape in ((0,), (1,), (7,), (9,), (1, 8), (8, 1))
)
