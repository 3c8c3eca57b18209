"""What can be wrong with each call of a space and of a ``Vm``; to be read with ``orders``."""

from npt import (
    Busy,
    Overlap,
    Prot,
    ReservoirExhausted,
    Vm,
    VmSpace,
)  # fmt: skip
from tests.space.everything import HOLE, NEW, PAGE, RAM, SIZE
from tests.space.orders import (
    ANYWHERE,
    BAD_RANGE,
    CALLBACK,
    DEAD_AND_UNTRACKED,
    END,
    FAR,
    MAPPING,
    OF_SPACE,
    OF_VM,
    OWN,
    PAST_END,
    RANGE,
    SHORT,
    SQUARE,
    UNTRACKED,
    Ordered,
    method,
    of,
    with_,
)

__all__ = ["SPACES"]


def dirty(name: str, bitmap: str, waits: tuple[str, ...]) -> Ordered:
    wrongs = with_(
        BAD_RANGE, PAST_END, OF_SPACE, UNTRACKED, type=({bitmap: [0] * 8},), argument=({bitmap: SHORT}, {bitmap: SQUARE})
    )
    return method(f"VmSpace.{name}", "space", {**RANGE, bitmap: None}, wrongs, waits=waits, both=DEAD_AND_UNTRACKED)


SPACES: tuple[Ordered, ...] = (
    method(
        "VmSpace.map",
        "space",
        {"obj": of("wide"), "gpa": NEW, "length": PAGE, "prot": Prot.RW, "offset": 0},
        with_(
            BAD_RANGE,
            PAST_END,
            OF_SPACE,
            {OWN: ({"gpa": RAM},)},
            type=({"obj": None}, {"prot": None}, {"offset": 1.0}),
            stale=({"obj": of("dead_ram")}, {"obj": of("dead_mmio")}),
            argument=({"prot": 0}, {"offset": 1}, {"obj": of("foreign")}),
        ),
        own=Overlap,
        waits=(CALLBACK,),
    ),
    method(
        "VmSpace.map_mmio",
        "space",
        {"gpa": NEW, "length": PAGE, "hpa": 0x10_0000_0000},
        with_(
            BAD_RANGE,
            PAST_END,
            OF_SPACE,
            {OWN: ({"gpa": RAM},)},
            type=({"hpa": "x"},),
            argument=({"hpa": 1}, {"hpa": 0x100000 * PAGE}),
        ),
        own=Overlap,
        waits=(CALLBACK,),
    ),
    method(
        "VmSpace.unmap",
        "space",
        RANGE,
        with_(BAD_RANGE, OF_SPACE, {MAPPING: ({"gpa": HOLE}, {"length": PAGE})}),
        waits=ANYWHERE,
    ),
    method(
        "VmSpace.populate",
        "space",
        RANGE,
        with_(BAD_RANGE, OF_SPACE, {MAPPING: ({"gpa": HOLE}, {"length": SIZE})}),
        waits=(CALLBACK,),
    ),
    dirty("track_dirty", "into", ANYWHERE),
    dirty("reset_dirty", "select", ANYWHERE),
    dirty("set_dirty", "select", (CALLBACK,)),
    dirty("peek_dirty", "select", ()),
    method(
        "VmSpace.accessed",
        "space",
        {**RANGE, "clear": True},
        with_(BAD_RANGE, PAST_END, OF_SPACE, type=({"clear": 1},)),
        waits=ANYWHERE,
    ),
    method("VmSpace.resident", "space", RANGE, with_(BAD_RANGE, PAST_END, OF_SPACE)),
    method("VmSpace.ptes", "space", RANGE, with_(BAD_RANGE, PAST_END, OF_SPACE)),
    method("VmSpace.set_tracking", "space", {"enabled": False}, with_(OF_SPACE, type=({"enabled": 0},)), waits=ANYWHERE),
    method(
        "VmSpace.translate",
        "space",
        {"gpas": [RAM]},
        with_(OF_SPACE, type=({"gpas": "x"},), argument=({"gpas": [-1]}, {"gpas": [[1]]})),
    ),
    method("VmSpace.pte", "space", {"gpa": RAM}, with_(OF_SPACE, type=({"gpa": "x"},), argument=({"gpa": -1},))),
    method("VmSpace.explain", "space", {"gpa": RAM}, with_(OF_SPACE, type=({"gpa": "x"},), argument=({"gpa": -1},))),
    method("VmSpace.client", "space", {}, OF_SPACE, waits=(CALLBACK,)),
    method("VmSpace.destroy", "space", {}, with_(OF_SPACE, {OWN: ({},)}), own=Busy, waits=ANYWHERE),
    method("VmSpace.close", "space", {}, {}, waits=ANYWHERE),
    Ordered(
        "VmSpace",
        VmSpace,
        {"size": PAGE, "reservoir": of("reservoir"), "track_dirty": False, "kick_timeout": 1, "threads": 1},
        with_(
            type=({"size": "x"}, {"track_dirty": 1}, {"kick_timeout": "x"}, {"threads": "x"}),
            stale=({"reservoir": of("closed_reservoir")},),
            argument=({"size": 0}, {"kick_timeout": 0}, {"threads": 0}),
        ),
    ),
    Ordered(
        "Vm",
        Vm,
        {"reservoir": of("reservoir"), "track_dirty": False, "size": PAGE},
        with_(
            type=({"reservoir": None}, {"track_dirty": 1}, {"size": "x"}),
            stale=({"reservoir": of("closed_reservoir")},),
            argument=({"size": 0},),
        ),
    ),
    method(
        "Vm.alloc_memseg",
        "vm",
        {"segid": 7, "length": PAGE, "transient": False},
        with_(
            OF_VM,
            type=({"segid": "x"}, {"length": "x"}, {"transient": 1}),
            argument=({"segid": -1}, {"length": 0}, {"segid": 0}),
            its_own=({"length": 2**40},),
        ),
        own=ReservoirExhausted,
    ),
    method("Vm.memseg", "vm", {"segid": 0}, with_(OF_VM, {MAPPING: ({"segid": 9},)}, type=({"segid": "x"},))),
    method(
        "Vm.map_memseg",
        "vm",
        {"segid": 0, "gpa": NEW, "length": PAGE, "prot": Prot.RW, "offset": 0},
        with_(
            BAD_RANGE,
            OF_VM,
            {END: ({"gpa": SIZE},), MAPPING: ({"segid": 9},), OWN: ({"gpa": RAM},)},
            type=({"segid": "x"}, {"prot": None}, {"offset": 1.0}),
            argument=({"prot": 0}, {"offset": 1}),
        ),
        own=Overlap,
        waits=(CALLBACK,),
    ),
    method(
        "Vm.unmap_memseg",
        "vm",
        {"gpa": RAM, "length": 8 * PAGE},
        with_(BAD_RANGE, OF_VM, {MAPPING: ({"gpa": HOLE}, {"length": PAGE})}),
        waits=ANYWHERE,
    ),
    method(
        "Vm.map_object",
        "vm",
        {"segid": 0, "offset": 0, "length": PAGE, "prot": Prot.RW},
        with_(
            OF_VM,
            {MAPPING: ({"segid": 9},)},
            type=({"segid": "x"}, {"offset": "x"}, {"length": "x"}, {"prot": "x"}),
            argument=({"offset": 1}, {"length": 0}, {"prot": 0}),
            overflow=({"offset": FAR}, {"length": 2**64}),
        ),
    ),
    method(
        "Vm.map_guest",
        "vm",
        {**RANGE, "prot": Prot.RW},
        with_(BAD_RANGE, PAST_END, OF_VM, type=({"prot": "x"},), argument=({"prot": 0},)),
        waits=(CALLBACK,),
    ),
    method(
        "Vm.vcpu",
        "vm",
        {"cpu": 5, "tlb": 0},
        with_(OF_VM, type=({"cpu": "x"}, {"tlb": "x"}), argument=({"cpu": -1}, {"tlb": -1})),
        waits=(CALLBACK,),
    ),
    method("Vm.destroy", "vm", {}, {}, waits=ANYWHERE),
)
