"""What can be wrong with each call of clients, pages, vCPUs, memory and segments; to be read with ``orders``."""

from collections.abc import Iterator

import numpy as np

from npt import (
    AccessDenied,
    Busy,
    Fault,
    InvalidArgument,
    OutOfSegment,
    Prot,
    ReservoirExhausted,
    Vcpu,
)  # fmt: skip
from tests.space.everything import HOLE, PAGE, RAM
from tests.space.orders import (
    ARGUMENT,
    CALLBACK,
    FAR,
    OF_CLIENT,
    ORPHANED,
    OWN,
    SHORT,
    SQUARE,
    STALE,
    TYPE,
    Ordered,
    Wrong,
    method,
    of,
    with_,
)

__all__ = ["HANDLES"]


def _segment(handle: str) -> Iterator[Ordered]:
    stale: dict[str, tuple[Wrong, ...]] = {STALE: ({"self": of(f"closed_{handle}_segment")},)}
    reader = of(f"{handle}_reader")
    offset: dict[str, tuple[Wrong, ...]] = {TYPE: ({"offset": "x"},), ARGUMENT: ({"offset": -1},)}
    outside = ({"offset": 2**40},)
    yield method(
        f"{handle}.read",
        f"{handle}_segment",
        {"offset": 0, "n": 2},
        with_(offset, stale, {OWN: outside}, type=({"n": 1.0},), argument=({"n": -1},)),
        own=OutOfSegment,
    )
    yield method(
        f"{handle}.write",
        f"{handle}_segment",
        {"offset": 0, "data": b"ab"},
        with_(offset, stale, {OWN: outside}, type=({"data": 1},)),
        own=OutOfSegment,
    )
    yield method(
        f"{handle}.write for reading",
        f"{handle}_segment",
        {"offset": 0, "data": b"ab"},
        with_(offset, stale, {OWN: ({"self": reader},)}, type=({"data": 1},)),
        own=AccessDenied,
        both={frozenset((STALE, OWN)): {"self": of(f"closed_{handle}_reader")}},
    )
    yield Ordered(
        f"{handle}[i]",
        lambda self, key: self[key],
        {"self": of(f"{handle}_segment"), "key": 0},
        with_(stale, {OWN: ({"key": 2**40},)}, type=({"key": "x"}, {"key": slice(1.0)})),
        own=OutOfSegment,
    )
    yield Ordered(
        f"{handle}[i]=",
        lambda self, key, value: self.__setitem__(key, value),
        {"self": of(f"{handle}_segment"), "key": 0, "value": 1},
        with_(stale, type=({"key": "x"}, {"value": "x"}), argument=({"value": 256}, {"key": slice(None, 1, 0), "value": b"x"})),
    )


HANDLES: tuple[Ordered, ...] = (
    method(
        "VmClient.hold",
        "client",
        {"gpa": RAM, "prot": Prot.RW, "defer_dirty": False},
        with_(
            OF_CLIENT,
            {OWN: ({"gpa": HOLE}, {"gpa": 2**47}, {"gpa": FAR})},
            type=({"gpa": "x"}, {"prot": "x"}, {"defer_dirty": 0}),
            argument=({"gpa": 1}, {"prot": 0}, {"prot": 4}),
        ),
        own=Fault,
        waits=(CALLBACK,),
    ),
    method(
        "VmClient.hold_many",
        "client",
        {"gpas": [RAM], "prot": Prot.RW, "defer_dirty": False},
        with_(
            OF_CLIENT,
            {OWN: ({"gpas": [HOLE]}, {"gpas": [FAR]})},
            type=({"gpas": "x"}, {"prot": "x"}, {"defer_dirty": 0}),
            argument=({"gpas": [1]}, {"gpas": [[RAM]]}, {"prot": 0}),
        ),
        own=Fault,
        waits=(CALLBACK,),
    ),
    method(
        "VmClient.fault",
        "client",
        {"gpa": RAM, "prot": Prot.RW},
        with_(
            OF_CLIENT,
            {OWN: ({"gpa": HOLE}, {"gpa": FAR})},
            type=({"gpa": "x"}, {"prot": "x"}),
            argument=({"gpa": -1}, {"prot": 0}),
        ),
        own=Fault,
        waits=(CALLBACK,),
    ),
    method(
        "VmClient.fault_many",
        "client",
        {"gpas": [RAM], "prot": Prot.RW},
        with_(OF_CLIENT, type=({"gpas": "x"}, {"prot": "x"}), argument=({"gpas": [-1]}, {"prot": 0})),
        waits=(CALLBACK,),
    ),
    method(
        "VmClient.read",
        "client",
        {"gpa": RAM, "n": 2},
        with_(
            OF_CLIENT,
            {OWN: ({"gpa": HOLE}, {"n": 2**40})},
            type=({"gpa": "x"}, {"n": 1.0}),
            argument=({"gpa": -1}, {"n": -1}),
            overflow=({"gpa": 2**64 - 1}, {"n": 2**64 - 1}),
        ),
        own=Fault,
        waits=(CALLBACK,),
    ),
    method(
        "VmClient.write",
        "client",
        {"gpa": RAM, "data": b"ab"},
        with_(
            OF_CLIENT,
            {OWN: ({"gpa": HOLE},)},
            type=({"gpa": "x"}, {"data": 1}),
            argument=({"gpa": -1},),
            overflow=({"gpa": 2**64 - 1},),
        ),
        own=Fault,
        waits=(CALLBACK,),
    ),
    method(
        "VmClient.on_invalidate", "client", {"callback": None}, with_(OF_CLIENT, type=({"callback": 1},)), waits=(CALLBACK,)
    ),
    method("VmClient.clone", "client", {}, OF_CLIENT, waits=(CALLBACK,)),
    method("VmClient.destroy", "client", {}, {OWN: ({},)}, own=Busy, waits=(CALLBACK,)),
    method("VmClient.table_exit", "client", {}, {STALE: OF_CLIENT[STALE], OWN: ({},)}, own=InvalidArgument),
    method(
        "VmPage.chain",
        "strange",
        {"page": of("loose")},
        with_(
            type=({"page": 1},),
            stale=({"self": of("dead_page")}, {"page": of("dead_page")}),
            argument=({"page": of("page")}, {"self": of("strange"), "page": of("strange")}),
            its_own=({"self": of("first")}, {"page": of("last")}),
        ),
        own=Busy,
    ),
    method(
        "VmPage.writable",
        "page",
        {},
        with_(stale=({"self": of("dead_page")},), its_own=({"self": of("reader")},)),
        own=AccessDenied,
        both={frozenset((STALE, OWN)): {"self": of("dead_reader")}},
    ),
    method(
        "VmPage.mark_dirty",
        "page",
        {},
        with_(stale=({"self": of("dead_page")},), its_own=({"self": of("reader")},)),
        own=AccessDenied,
        both={frozenset((STALE, OWN)): {"self": of("dead_reader")}},
    ),
    method(
        "VmPages.gather",
        "pages",
        {"out": None},
        with_(type=({"out": []},), stale=({"self": of("dead_pages")},), argument=({"out": SQUARE},)),
    ),
    method(
        "VmPages.scatter",
        "pages",
        {"data": np.zeros((3, PAGE), np.uint8)},
        with_(
            type=({"data": "x"},),
            stale=({"self": of("dead_pages")},),
            argument=({"data": SQUARE},),
            its_own=({"self": of("readers"), "data": np.zeros((2, PAGE), np.uint8)},),
        ),
        own=AccessDenied,
        both={
            frozenset((TYPE, OWN)): {"self": of("readers"), "data": "x"},
            frozenset((ARGUMENT, OWN)): {"self": of("readers"), "data": SQUARE},
            frozenset((STALE, OWN)): {"self": of("dead_readers")},
        },
    ),
    method(
        "VmPages.mark_dirty",
        "pages",
        {"select": None},
        with_(
            type=({"select": [0]},),
            stale=({"self": of("dead_pages")},),
            argument=({"select": SHORT[:0]}, {"select": SQUARE}),
            its_own=({"self": of("readers")},),
        ),
        own=AccessDenied,
        both={frozenset((STALE, OWN)): {"self": of("dead_readers")}},
    ),
    Ordered(
        "Vcpu",
        Vcpu,
        {"client": of("client"), "cpu": 0, "tlb": 0},
        with_(
            type=({"client": None}, {"cpu": "x"}, {"tlb": "x"}),
            stale=({"client": of("dead_client")},),
            argument=({"cpu": -1}, {"tlb": -1}),
        ),
    ),
    *(
        method(
            f"Vcpu.{name}",
            "vcpu",
            {"gpas": [RAM], "write": False, "execute": False, "values": None, "into": None},
            with_(
                type=({"gpas": "x"}, {"write": 1}, {"execute": 1}, {"values": "x"}, {"into": [0]}),
                stale=({"self": of("dead_vcpu")},),
                argument=({"gpas": [-1]}, {"values": [1, 2]}, {"write": [True] * 2}, {"write": True, "execute": True}),
                orphaned=({"self": of("lost_vcpu")},),
            ),
            both={frozenset((STALE, ORPHANED)): {"self": of("dead_orphans_vcpu")}},
        )
        for name in ("run", "step")
    ),
    method(
        "Reservoir.allocate",
        "reservoir",
        {"length": PAGE, "transient": False},
        with_(
            type=({"length": "x"}, {"transient": 1}),
            stale=({"self": of("closed_reservoir")},),
            argument=({"length": 0},),
            its_own=({"length": 2**40},),
        ),
        own=ReservoirExhausted,
    ),
    method(
        "Reservoir.resize",
        "reservoir",
        {"target": 0x100 * PAGE, "chunk": 0},
        with_(
            type=({"target": "x"}, {"chunk": "x"}),
            stale=({"self": of("closed_reservoir")},),
            argument=({"target": 1}, {"chunk": 1}),
            its_own=({"target": 2**40},),
        ),
        own=ReservoirExhausted,
    ),
    method(
        "RamObject.pfn_at",
        "ram",
        {"offset": 0},
        with_(type=({"offset": "x"},), stale=({"self": of("dead_ram")},), argument=({"offset": -1}, {"offset": 2**40})),
    ),
    *_segment("object"),
    *_segment("guest"),
)
