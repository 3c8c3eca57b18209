"""Bad values of every kind of parameter."""

from collections.abc import Iterable, Iterator
from decimal import Decimal
from fractions import Fraction

import numpy as np
from numpy.lib.stride_tricks import as_strided

from npt import (
    EPT,
    FaultCode,
    InvalidArgument,
    MemAttr,
    MmioObject,
    OutOfSegment,
    Prot,
    PteFormat,
    RamObject,
    Reservoir,
    StaleHandle,
    VmClient,
    VmObject,
    VmPage,
    VmSpace,
)  # fmt: skip
from npt.dirty import RUN
from tests.space.bad_arrays import (
    BAD_ARRAYS,
    BAD_BITMAPS,
    BAD_FLAG_ARRAYS,
    BAD_INTO,
    BAD_LOADS,
    HUGE_ARRAYS,
    NO_ARRAYS,
    NO_BITMAPS,
    NO_FLAG_ARRAYS,
    NO_LOADS,
    UNALIGNED_ARRAYS,
    read_only,
)
from tests.space.bad_input import BROKEN, FAR, LAST, Bad, Call, far, invalid, told, types
from tests.space.everything import PAGE, Scene, refused
from tests.space.odd import NEVER, ODD, SOME, VAST, Broken, Half, Liar, TextIndex, closed, masked

__all__ = ["BELOW", "KINDS", "NO_INTS", "cases", "refuse_all"]

NO_INTS = (
    *types(
        *SOME, b"x", 1.0, 0.0, -0.0, float("nan"), float("inf"), True, False, np.float64(4096), np.True_, 1j, [4096], (4096,),
        np.array([4096, 4096]), np.array([4096]), np.array(0.0), np.array(True), np.array(4096, object), np.timedelta64(4096),
        Decimal(4096), Fraction(4096), "4096", "4KiB", b"4096", bytearray(b"x"), memoryview(b"x"), Half(), TextIndex(), *NEVER,
    ),
    BROKEN,
)  # fmt: skip
BELOW = invalid(-1, -PAGE, np.int8(-1), np.int64(-PAGE), -(2**64), Liar(-PAGE), -VAST)
PAST_64_BITS = invalid(2**64, 2**64 + PAGE, 2**128, VAST)
HUGE = far(2**47, 2**48, 2**63)
TOP = Bad("2**64-0x1000", 2**64 - PAGE, LAST)
UNALIGNED = invalid(1, 0xFFF, 0x1001, 2**47 + 1, 2**64 - 1, np.uint8(255), np.array(1), Liar(1), FaultCode.NOMAP)
NO_LENGTHS = invalid(0, 1, 0xFFF, 0x1001, np.uint8(0), 2**47 + 1, 2**64 - 1, np.array(0), Liar(0), MemAttr.WB)
NO_PROTS = invalid(0, 8, 9, -1, np.int8(-1), 255, 2**47, 2**63, 2**64, VAST, -VAST, np.array(0), Liar(8), Prot.NONE)
NO_BYTES = (
    *types(
        *SOME, 1, 1.0, True, [1], {1}, *NEVER, "4KiB", Decimal(1), Prot.RW, closed(), np.array([b"ab"], object),
        np.zeros(1, [("a", object)]), np.zeros(1, "M8[s]"), Broken(),
    ),
)  # fmt: skip
FRACTIONS = (
    *types(
        *SOME,
        b"1",
        True,
        np.True_,
        1j,
        [1.0],
        np.array([1.0, 2.0]),
        *NEVER,
        "1",
        "4KiB",
        bytearray(b"1"),
        np.array([True, False]),
        np.complex128(1),
    ),
    *invalid(
        0,
        0.0,
        -0.0,
        -1,
        -0.5,
        float("nan"),
        float("inf"),
        -float("inf"),
        np.float64(0),
        np.int8(-1),
        Decimal(0),
        Decimal("NaN"),
        Decimal("Infinity"),
        Fraction(-1),
        1e9,
        VAST,
        -VAST,
        np.array(0.0),
    ),
    BROKEN,
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
    "prot with read": (*NO_INTS, *NO_PROTS, *invalid(2, 4, 6, Prot.WRITE, np.uint8(4))),
    "prot with read or write": (*NO_INTS, *NO_PROTS, *invalid(4, Prot.EXEC)),
    "prot": (*NO_INTS, *NO_PROTS),
    "position": (*NO_INTS, *BELOW, *HUGE, TOP, Bad("2**64", 2**64, FAR)),  # counted in bytes, not aligned
    "count": (*NO_INTS, *BELOW, *HUGE, TOP, *PAST_64_BITS),
    "number": (*NO_INTS, *BELOW),
    "pages": (*NO_INTS, *BELOW, *invalid(1, 0xFFF, 0x1001), *HUGE, TOP, Bad("2**64", 2**64, FAR)),
    "frame": (*NO_INTS, *BELOW, *invalid(2**33, 2**47, 2**64, 2**128)),
    "level": (*NO_INTS, *BELOW, *invalid(0, 5, 2**47, 2**64, np.uint8(5), VAST, Liar(5), MemAttr.WB)),
    "table": (*NO_INTS, *BELOW, *invalid(0, 0x100000, 2**33 - 1, 2**33 + (3 << 27) + 1, 2**33 + (4 << 27), 2**47, 2**64)),
    "gpas": (*NO_ARRAYS, *BAD_ARRAYS, *HUGE_ARRAYS),
    "aligned gpas": (*NO_ARRAYS, *BAD_ARRAYS, *UNALIGNED_ARRAYS, *HUGE_ARRAYS),
    "gpas of 8": (*NO_ARRAYS, *BAD_ARRAYS, *invalid([0] * 7, [0] * 9)),
    "words of 8": (*(bad for bad in NO_ARRAYS if bad.value is not None), *BAD_ARRAYS, *invalid([], [0] * 7, [0] * 9)),
    "flags of 8": (*NO_FLAG_ARRAYS, *BAD_FLAG_ARRAYS),
    "loads of 8": (*NO_LOADS, *BAD_LOADS),
    "select": (*NO_BITMAPS, *BAD_BITMAPS),
    "into": (*NO_BITMAPS, *BAD_INTO),
    "flag": types(
        *SOME,
        1,
        0,
        1.0,
        np.uint8(1),
        [True],
        np.array([True, False]),
        np.array(True),
        np.array([True]),
        *NEVER,
        -0.0,
        "True",
        b"1",
        Decimal(1),
        Fraction(1),
        Prot.READ,
        VAST,
        Broken(),
        Liar(1),
    ),
    "callback": types("x", ODD, 1, True, (), b"x", 0, False, *(one for one in NEVER if not callable(one)), Prot.RW, Broken()),
    "bytes": NO_BYTES,
    "seconds": FRACTIONS,
    "format": types(*SOME, 1, "ept", PteFormat, *NEVER, True, Prot.RW, EPT.masks, EPT.name, np.array([1]), Broken()),
    "object": (
        *types(
            *SOME, 1, b"x", RamObject, *NEVER, True, 1.0, "ram", VmObject, np.zeros(PAGE, np.uint8), memoryview(b"x"), Broken()
        ),
        Bad("a mapping", lambda s: s.space.mappings[0], TypeError, made=True),
        Bad("a segment", lambda s: s.object_segment, TypeError, made=True),
        Bad("a page", lambda s: s.page, TypeError, made=True),
        Bad("dead", lambda s: s.dead_ram, StaleHandle, made=True),
        Bad("dead MMIO", lambda s: s.dead_mmio, StaleHandle, made=True),
        Bad("of a dead vm", lambda s: s.dead_vm._memsegs[0], StaleHandle, made=True),
        Bad("a space", lambda s: s.space, TypeError, made=True),
        Bad("a reservoir", lambda s: s.reservoir, TypeError, made=True),
        Bad("of another reservoir", lambda s: s.foreign, InvalidArgument, made=True),
        Bad("over RAM", MmioObject(4 * PAGE, 0x100000 * PAGE), InvalidArgument),
        Bad("over the last of RAM", MmioObject(4 * PAGE, 0x10011F * PAGE), InvalidArgument),
        Bad("too small", MmioObject(PAGE, 0xFD00_0000), InvalidArgument),
    ),
    "page": (
        *types(*SOME, 1, b"x", *NEVER, True, 1.0, VmPage, np.zeros(PAGE, np.uint8), Broken()),
        Bad("its view", lambda s: s.page.readable(), TypeError, made=True),
        Bad("dead", lambda s: s.dead_page, StaleHandle, made=True),
        Bad("a dead batch", lambda s: s.dead_pages, TypeError, made=True),
        Bad("a client", lambda s: s.client, TypeError, made=True),
        Bad("a batch", lambda s: s.pages, TypeError, made=True),
        Bad("of another client", lambda s: s.strange, InvalidArgument, made=True),
        Bad("itself", lambda s: s.page, InvalidArgument, made=True),
    ),
    "reservoir": (
        *types("x", ODD, 1, Reservoir, *NEVER, True, 1.0, np.zeros(PAGE, np.uint8), Broken()),
        Bad("an object", lambda s: s.ram, TypeError, made=True),
        Bad("a space", lambda s: s.space, TypeError, made=True),
        Bad("its bytes", lambda s: s.reservoir.buffer, TypeError, made=True),
        Bad("closed", lambda s: s.closed_reservoir, StaleHandle, made=True),
    ),
    "client": (
        *types(*SOME, 1, *NEVER, True, 1.0, VmClient, Broken()),
        Bad("a space", lambda s: s.space, TypeError, made=True),
        Bad("a gate", lambda s: s.client.gate, TypeError, made=True),
        Bad("a vcpu", lambda s: s.vcpu, TypeError, made=True),
        Bad("dead", lambda s: s.dead_client, StaleHandle, made=True),
    ),
    "3 pages": (
        *types(
            *SOME,
            1,
            bytes(3 * PAGE),
            [[0] * PAGE] * 3,
            np.zeros((3, PAGE)),
            np.zeros((3, PAGE), bool),
            np.zeros((3, PAGE), np.int8),
            *NEVER,
            Broken(),
            np.zeros((3, PAGE), object),
            np.zeros((3, PAGE), "V1"),
            np.zeros((3, PAGE), [("byte", "u1")]),
            masked(np.zeros((3, PAGE), np.uint8)),
        ),
        *(
            Bad(f"{s}", np.zeros(s, np.uint8), InvalidArgument)
            for s in ((), (3 * PAGE,), (2, PAGE), (4, PAGE), (3, 4095), (1, 3, PAGE))
        ),
    ),
    "3 pages out": (
        *NO_BITMAPS,
        *(
            Bad(f"{s}", np.zeros(s, np.uint8), InvalidArgument)
            for s in ((), (3 * PAGE,), (2, PAGE), (4, PAGE), (3, 4095), (1, 3, PAGE))
        ),
        Bad("strided", np.zeros((3, 2 * PAGE), np.uint8)[:, ::2], InvalidArgument),
        Bad("by column", np.zeros((PAGE, 3), np.uint8).T, InvalidArgument),
        Bad("reversed", np.zeros((3, PAGE), np.uint8)[::-1], InvalidArgument),
        Bad("read-only", read_only(np.zeros((3, PAGE), np.uint8)), InvalidArgument),
        Bad("overlapping", as_strided(np.zeros(2 * PAGE, np.uint8), (3, PAGE), (1, 1)), InvalidArgument),
        Bad("one page thrice", as_strided(np.zeros(PAGE, np.uint8), (3, PAGE), (0, 1)), InvalidArgument),
        Bad("of RAM", lambda s: s.reservoir.memory[: 3 * PAGE].reshape(3, PAGE), InvalidArgument, made=True),
        Bad("of the buffer", lambda s: s.reservoir.buffer[: 3 * PAGE].reshape(3, PAGE), InvalidArgument, made=True),
        Bad(
            "of tables",
            lambda s: s.space.table.levels[0][: 3 * 512].view(np.uint8).reshape(3, PAGE),
            InvalidArgument,
            made=True,
        ),
    ),
    "round": (*NO_INTS, *BELOW, *invalid(0, 3, 2**32, 2**64, VAST)),
    "instant": (*NO_INTS, *BELOW, *invalid(3, 2**32, 2**64, VAST)),
    "granule": (*NO_INTS, *BELOW, *invalid(0, 3, 12, 2**64 + 1, VAST)),
    "numbers of pages": (*NO_ARRAYS, *BAD_ARRAYS, *invalid([64], [0, 2**63], [2**64 - 1])),
    "space": types(*SOME, 1, *NEVER, True, 1.0, b"x", VmSpace, np.zeros(1), Broken()),
    "runs": (
        *types(
            *SOME,
            1,
            [],
            [(0, 1)],
            *NEVER,
            True,
            1.0,
            np.zeros(1, np.uint64),
            np.zeros(1, [("gpa", "u8"), ("n", "u8")]),
            Broken(),
        ),
        Bad("0-d", np.zeros((), RUN), InvalidArgument),
        Bad("2-d", np.zeros((1, 1), RUN), InvalidArgument),
        Bad("of no pages", np.zeros(1, RUN), InvalidArgument),
        Bad("unaligned", np.array([(1, 1)], RUN), InvalidArgument),
        Bad("past the end", np.array([(2**64 - PAGE, 2)], RUN), InvalidArgument),
        Bad("overlapping", np.array([(0, 2), (PAGE, 1)], RUN), InvalidArgument),
        Bad("in no order", np.array([(2 * PAGE, 1), (0, 1)], RUN), InvalidArgument),
    ),
    "at least one": (*NO_INTS, *BELOW, *invalid(0, 2**64, VAST, Liar(0), Prot.NONE, np.array(0))),
    "entry": (*NO_INTS, *BELOW, *PAST_64_BITS),
    "policy": (
        *types(None, ODD, 1, 1.0, True, b"xen", *NEVER, Broken()),
        *invalid("", "x", "vmware", "xen:x=1", "4KiB"),
    ),
    "writer": types(*SOME, 1, 1.0, True, b"x", *NEVER, Broken(), np.zeros(1)),
    "task": types(*(one for one in (*SOME, *NEVER) if not callable(one)), 1, 1.0, True, b"x", Broken()),
    "axes": types(
        None, ODD, 1, 1.0, True, [], (), b"x", "x", np.zeros(1), {1: [1]}, {"x": 1}, {"x": None}, {"x": {1, 2}}, Broken()
    ),
    "migrated gpa": (*NO_INTS, *BELOW, *PAST_64_BITS, *UNALIGNED),
    "n": (*NO_INTS, *BELOW, *invalid(2**64, 2**128, VAST)),
    "threads": (*NO_INTS, *BELOW, *invalid(0, np.uint8(0), Liar(0), Prot.NONE, np.array(0), 2**64, VAST)),
    "size": (
        *types(
            *(one for one in (*SOME, *NEVER) if not isinstance(one, str)), 1, 1.0, True, b"4KiB", bytearray(b"4KiB"), Broken()
        ),
        *invalid(
            "",
            " ",
            "x",
            "KiB",
            "4 XiB",
            "4KiBB",
            "-1",
            "-4KiB",
            "+1",
            "0x1000",
            "1e3",
            "1_000",
            "1,5",
            "nan",
            "inf",
            "4 KiB 4",
            "0.3B",
            "1.0000001KiB",
            ".5KiB",
            "5.KiB",
            "٤KiB",
            "4K\0",
            "1" * 31,
        ),
    ),
    "batch select": (
        *NO_BITMAPS,
        Bad("short", np.zeros(0, np.uint8), InvalidArgument),
        Bad("2-d", np.zeros((1, 1), np.uint8), InvalidArgument),
    ),
    "index": (
        *NO_INTS,
        *(Bad(told(n), n, OutOfSegment) for n in (4 * PAGE, -4 * PAGE - 1, 2**47, 2**63, 2**64, -(2**64), VAST, -VAST)),
    ),
    "slice": (
        *types(*(slice(a, None) for a in ("x", 1.0, ODD)), slice(None, 1.0), slice(None, None, "x")),
        *types(
            slice(True),
            slice(None, "4KiB"),
            slice(Decimal(1)),
            slice(Half()),
            slice(None, None, 1.0),
            slice([1], 2),
            slice(-0.0),
        ),
        Bad("broken slice", slice(Broken(), None), ZeroDivisionError),
        *(Bad(f"step {n if n < 2**64 else 'vast'}", slice(None, None, n), InvalidArgument) for n in (0, 2, -1, 2**64, VAST)),
    ),
    "byte": (*NO_INTS, *invalid(-1, 256, np.int8(-1), 2**47, 2**64, VAST, -VAST, Liar(256))),
    "2 bytes": (*NO_BYTES, *(Bad(f"{n} bytes", bytes(n), InvalidArgument) for n in (0, 1, 3, 4096))),
}


def cases(calls: Iterable[Call]) -> Iterator[tuple[Call, str, list[tuple[Bad, type[Exception]]]]]:
    """Every parameter of every call with its bad values, and what they are answered with."""
    for call in calls:
        for name, param in call.params.items():
            answers = [(bad, param.error(bad)) for bad in KINDS[param.kind]]
            yield call, name, [(bad, error) for bad, error in answers if error is not None]


def refuse_all(scene: Scene, call: Call, name: str, values: list[tuple[Bad, type[Exception]]]) -> None:
    """Each bad value of a parameter, with good ones of the others, is refused; all that are not are told."""
    failures: dict[str, AssertionError] = {}
    for bad, error in values:
        try:
            _refuse(scene, call, name, bad, error, first=bad is values[0][0])
        except AssertionError as failure:
            failures[bad.name] = failure
            scene.fingerprint.renew()
    assert not failures, failures


def _refuse(scene: Scene, call: Call, name: str, bad: Bad, error: type[Exception], *, first: bool) -> None:
    arguments = {other: param.make_good(scene) for other, param in call.params.items() if other != name}
    value = arguments[name] = bad.value(scene) if bad.made else bad.value
    before = value.tobytes() if isinstance(value, np.ndarray) else None
    refused(scene, lambda: call.of(scene)(**arguments), error, renew=first or bad.made)
    assert before is None or value.tobytes() == before
