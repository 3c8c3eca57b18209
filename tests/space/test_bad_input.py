"""Bad arguments to every public call: the documented error, and nothing changed."""

import errno
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from npt import (
    EPT,
    NPT,
    AccessDenied,
    AddressOverflow,
    BeyondSpace,
    Busy,
    Deadlock,
    Fault,
    InvalidArgument,
    NoSuchMapping,
    NptError,
    Orphaned,
    OutOfSegment,
    Overlap,
    Prot,
    PteFormat,
    ReservoirExhausted,
    StaleHandle,
    TrackingDisabled,
    Vcpu,
    Vm,
    VmSpace,
)  # fmt: skip
from tests.space.bad_input import CALLS, DEVICE, GOOD_INTEGERS, HOLE, NEW, PAGE, RAM, ROM, SIZE, Bad, Call, Scene, cases
from tests.space.scene import caught, in_callback, on_cpu

PROMISED: dict[type[Exception], tuple[type[Exception], int]] = {
    AccessDenied: (PermissionError, errno.EACCES),
    AddressOverflow: (ValueError, errno.EOVERFLOW),
    BeyondSpace: (ValueError, errno.ENOMEM),
    Busy: (RuntimeError, errno.EBUSY),
    Deadlock: (RuntimeError, errno.EDEADLK),
    Fault: (LookupError, errno.EFAULT),
    InvalidArgument: (ValueError, errno.EINVAL),
    NoSuchMapping: (LookupError, errno.ENOENT),
    Orphaned: (RuntimeError, errno.ENXIO),
    OutOfSegment: (ValueError, errno.EINVAL),
    Overlap: (ValueError, errno.ENOMEM),
    ReservoirExhausted: (MemoryError, errno.ENOSPC),
    StaleHandle: (RuntimeError, errno.EBADF),
    TrackingDisabled: (PermissionError, errno.EPERM),
}


@pytest.fixture(scope="module", params=[EPT, NPT], ids=["ept", "npt"])
def scene(request: pytest.FixtureRequest) -> Scene:
    """One scene for all cases: what is refused changes nothing."""
    assert isinstance(request.param, PteFormat)
    return Scene(request.param)


def refused(scene: Scene, act: Callable[[], object], error: type[Exception]) -> None:
    """Check the class, the number and the second parent of what a call raises, and that nothing changed."""
    before = scene.state()
    refusal = caught(act)
    after = scene.state()
    if isinstance(refusal, Fault):  # counted, also when refused
        for state in before, after:
            for name in [name for name in state if "counters" in name]:
                state[name] = state[name]._replace(faults=0)  # type: ignore[attr-defined]
    assert type(refusal) is error, repr(refusal)
    if error in PROMISED:
        parent, number = PROMISED[error]
        assert isinstance(refusal, NptError)
        assert (isinstance(refusal, parent), refusal.errno) == (True, number)
        assert refusal.strerror
    assert after == before


def _ids(values: list[tuple[Call, str, Bad, type[Exception]]]) -> list[str]:
    return [f"{call.name}-{name}-{bad.name}" for call, name, bad, _ in values]


BAD = list(cases())


@pytest.mark.parametrize(("call", "name", "bad", "error"), BAD, ids=_ids(BAD))
def test_bad_argument(scene: Scene, call: Call, name: str, bad: Bad, error: type[Exception]) -> None:
    """One bad argument among good ones is refused as documented."""
    arguments = {other: param.make_good(scene) for other, param in call.params.items() if other != name}
    arguments[name] = bad.value(scene) if bad.made else bad.value
    refused(scene, lambda: call.of(scene)(**arguments), error)


def test_bad_argument__into_is_untouched(scene: Scene) -> None:
    """A bitmap that could not be used is as it was."""
    into = np.full(8, 0xA5, np.uint8)
    refused(scene, lambda: scene.space.track_dirty(SIZE, 64 * PAGE, into=into), BeyondSpace)
    assert (into == 0xA5).all()


@pytest.mark.parametrize("call", CALLS, ids=[call.name for call in CALLS])
def test_bad_argument__is_needed(scene: Scene, call: Call) -> None:
    """No call takes an argument more than it says."""
    arguments = {name: param.make_good(scene) for name, param in call.params.items()}
    refused(scene, lambda: call.of(scene)(**arguments, surplus=1), TypeError)


# -- numbers that are welcome --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", GOOD_INTEGERS, ids=lambda kind: str(kind.__name__))
def test_numpy_integers__of_all_widths_are_welcome(kind: Callable[[int], Any]) -> None:
    """Addresses and protections may be numpy integers; lengths, where they fit."""
    scene = Scene()
    page = scene.vm.space.client()
    wide = kind if np.dtype(kind).itemsize > 1 else int  # type: ignore[call-overload]
    assert scene.space.pte(kind(0)) == scene.space.pte(0)
    assert scene.space.translate(np.array([0, 1], kind)).tolist() == [2**64 - 1] * 2  # type: ignore[call-overload]
    scene.space.map(scene.spare, kind(0), wide(PAGE), kind(3), kind(0))
    scene.space.populate(kind(0), wide(PAGE))
    with scene.client.hold(kind(0), kind(3)) as held:
        assert (held.gpa, type(held.gpa), held.prot, type(held.prot)) == (0, int, Prot.RW, Prot)
    scene.client.write(kind(8), b"abc")
    assert scene.client.read(kind(9), kind(2)) == b"bc"
    assert scene.space.track_dirty(kind(0), wide(PAGE)).tolist() == [1]
    assert Vcpu(page, cpu=kind(1), tlb=kind(0)).step([0]).completed == 0
    assert scene.space.mappings[0][:2] == (0, PAGE)
    assert type(scene.space.mappings[0].gpa) is int
    assert scene.ram.pfn_at(kind(1)) == scene.ram.pfn_at(0)
    assert scene.vm.map_object(kind(0), kind(0), wide(PAGE), kind(3))[kind(-1 % 2)] == 0


GPAS: dict[str, Any] = {
    "list": [RAM, RAM + PAGE],
    "tuple": (RAM, RAM + PAGE),
    "int64": np.array([RAM, RAM + PAGE]),
    "uint32": np.array([RAM, RAM + PAGE], np.uint32),
    "big-endian": np.array([RAM, RAM + PAGE], ">u8"),
    "strided": np.array([RAM, 0, RAM + PAGE, 0], np.uint64)[::2],
    "reversed": np.array([RAM + PAGE, RAM], np.uint64)[::-1],
    "unaligned memory": np.frombuffer(b"x" + np.array([RAM, RAM + PAGE], np.uint64).tobytes(), np.uint8)[1:].view(np.uint64),
    "read-only": np.frombuffer(np.array([RAM, RAM + PAGE], np.uint64).tobytes(), np.uint64),
    "numpy scalars": [np.uint64(RAM), np.int32(RAM + PAGE)],
    "range": range(RAM, RAM + 2 * PAGE, PAGE),
}


@pytest.mark.parametrize("kind", GPAS)
def test_gpas__of_any_integer_kind_are_welcome(scene: Scene, kind: str) -> None:
    """Arrays of integers are converted, wherever their bytes are."""
    wanted = [scene.ram.pfn_at(0), scene.ram.pfn_at(PAGE)]
    assert scene.space.translate(GPAS[kind]).tolist() == wanted
    with scene.client.hold_many(GPAS[kind], Prot.RW, defer_dirty=True) as pages:
        assert (pages.pfns.tolist(), pages.gpas.tolist()) == (wanted, [RAM, RAM + PAGE])
    assert scene.client.fault_many(GPAS[kind], Prot.READ).tolist() == [0, 0]
    assert scene.vcpu.run(GPAS[kind]).completed == 2


@pytest.mark.parametrize("nothing", [[], (), np.empty(0, np.uint64), np.empty(0, np.int8), range(0)], ids=repr)
def test_gpas__may_be_none_at_all(scene: Scene, nothing: Any) -> None:
    """Empty arrays of addresses are fine."""
    assert scene.space.translate(nothing).size == 0
    assert scene.client.fault_many(nothing, Prot.RW).size == 0
    assert scene.vcpu.run(nothing).completed == 0
    with scene.client.hold_many(nothing, Prot.RW) as pages:
        assert pages.gather().shape == (0, PAGE)


def test_gpas__mixed_with_numbers_past_int64_are_welcome(scene: Scene) -> None:
    """A list that numpy would make floats of is an array of integers all the same."""
    assert scene.space.translate([RAM, 2**63]).tolist() == [scene.ram.pfn_at(0), 2**64 - 1]


# -- stale handles -------------------------------------------------------------------------------------------------------

Act = Callable[[Any], object]
STALE: dict[str, tuple[Callable[[Scene], Any], dict[str, Act]]] = {
    "space": (
        lambda s: s.dead_space,
        {
            "size": lambda h: h.size,
            "format": lambda h: h.format,
            "table": lambda h: h.table,
            "tracking": lambda h: h.tracking,
            "resident_count": lambda h: h.resident_count,
            "generation": lambda h: h.generation,
            "table_root": lambda h: h.table_root,
            "counters": lambda h: h.counters,
            "mappings": lambda h: h.mappings,
            "map_mmio": lambda h: h.map_mmio(0, PAGE, 0xFE00_0000),
            "unmap": lambda h: h.unmap(0, PAGE),
            "populate": lambda h: h.populate(0, PAGE),
            "track_dirty": lambda h: h.track_dirty(0, PAGE),
            "peek_dirty": lambda h: h.peek_dirty(0, PAGE),
            "reset_dirty": lambda h: h.reset_dirty(0, PAGE),
            "set_dirty": lambda h: h.set_dirty(0, PAGE),
            "set_tracking": lambda h: h.set_tracking(True),
            "accessed": lambda h: h.accessed(0, PAGE),
            "accessed clear": lambda h: h.accessed(0, PAGE, clear=True),
            "translate": lambda h: h.translate([0]),
            "pte": lambda h: h.pte(0),
            "explain": lambda h: h.explain(0),
            "client": lambda h: h.client(),
            "destroy": lambda h: h.destroy(),
            "with": lambda h: h.__enter__(),
        },
    ),
    "client": (
        lambda s: s.dead_client,
        {
            "hold": lambda h: h.hold(RAM, Prot.RW),
            "hold_many": lambda h: h.hold_many([RAM], Prot.RW),
            "fault": lambda h: h.fault(RAM, Prot.READ),
            "fault_many": lambda h: h.fault_many([RAM], Prot.READ),
            "read": lambda h: h.read(RAM, 1),
            "read none": lambda h: h.read(RAM, 0),
            "write": lambda h: h.write(RAM, b"x"),
            "write none": lambda h: h.write(RAM, b""),
            "on_invalidate": lambda h: h.on_invalidate(None),
            "table_enter": lambda h: h.table_enter(),
            "table_exit": lambda h: h.table_exit(),
            "kicked": lambda h: h.kicked,
            "clone": lambda h: h.clone(),
            "holds": lambda h: h.holds,
            "release_all": lambda h: h.release_all(),
            "Vcpu": lambda h: Vcpu(h),
        },
    ),
    "vcpu": (
        lambda s: s.dead_vcpu,
        {
            "run": lambda h: h.run([RAM]),
            "step": lambda h: h.step([RAM]),
            "run none": lambda h: h.run([]),
            "step none": lambda h: h.step([]),
        },
    ),
    "page": (
        lambda s: s.dead_page,
        {
            "pfn": lambda h: h.pfn,
            "prot": lambda h: h.prot,
            "next": lambda h: h.next,
            "readable": lambda h: h.readable(),
            "writable": lambda h: h.writable(),
            "mark_dirty": lambda h: h.mark_dirty(),
            "chain": lambda h: h.chain(h),
            "release": lambda h: h.release(),
            "release_chain": lambda h: h.release_chain(),
            "with": lambda h: h.__enter__(),
        },
    ),
    "pages": (
        lambda s: s.dead_pages,
        {
            "gpas": lambda h: h.gpas,
            "pfns": lambda h: h.pfns,
            "prot": lambda h: h.prot,
            "len": len,
            "gather": lambda h: h.gather(),
            "scatter": lambda h: h.scatter(np.zeros((1, PAGE), np.uint8)),
            "mark_dirty": lambda h: h.mark_dirty(),
            "mark_dirty some": lambda h: h.mark_dirty(np.zeros(1, np.uint8)),
            "release": lambda h: h.release(),
            "with": lambda h: h.__enter__(),
        },
    ),
    "ram": (
        lambda s: s.dead_ram,
        {
            "length": lambda h: h.length,
            "attr": lambda h: h.attr,
            "pfn_at": lambda h: h.pfn_at(0),
            "reference": lambda h: h.reference(),
            "release": lambda h: h.release(),
            "reservoir": lambda h: h.reservoir,
            "transient": lambda h: h.transient,
            "spans": lambda h: h.spans,
            "with": lambda h: h.__enter__(),
        },
    ),
    "mmio": (
        lambda s: s.dead_mmio,
        {
            "length": lambda h: h.length,
            "attr": lambda h: h.attr,
            "pfn_at": lambda h: h.pfn_at(0),
            "reference": lambda h: h.reference(),
            "release": lambda h: h.release(),
            "with": lambda h: h.__enter__(),
        },
    ),
    "reservoir": (
        lambda s: s.closed_reservoir,
        {
            "allocate": lambda h: h.allocate(PAGE),
            "resize": lambda h: h.resize(0),
            "usage": lambda h: h.usage,
            "size": lambda h: h.size,
            "base_pfn": lambda h: h.base_pfn,
            "limit": lambda h: h.limit,
            "buffer": lambda h: h.buffer,
            "with": lambda h: h.__enter__(),
            "VmSpace": lambda h: VmSpace(PAGE, reservoir=h),
            "Vm": lambda h: Vm(h),
        },
    ),
    "vm": (
        lambda s: s.dead_vm,
        {
            "alloc_memseg": lambda h: h.alloc_memseg(1, PAGE),
            "memseg": lambda h: h.memseg(0),
            "map_memseg": lambda h: h.map_memseg(0, 0, PAGE, Prot.RW),
            "unmap_memseg": lambda h: h.unmap_memseg(0, PAGE),
            "map_object": lambda h: h.map_object(0, 0, PAGE, Prot.RW),
            "map_guest": lambda h: h.map_guest(0, PAGE, Prot.RW),
            "space": lambda h: h.space,
            "vcpu": lambda h: h.vcpu(0),
            "with": lambda h: h.__enter__(),
        },
    ),
    **{
        name: (
            of,
            {
                "len": len,
                "[i]": lambda h: h[0],
                "[a:b]": lambda h: h[0:1],
                "[i]=": lambda h: h.__setitem__(0, 1),
                "[a:b]=": lambda h: h.__setitem__(slice(1), b"x"),
                "read": lambda h: h.read(0, 1),
                "read none": lambda h: h.read(0, 0),
                "write": lambda h: h.write(0, b"x"),
                "write none": lambda h: h.write(0, b""),
                "with": lambda h: h.__enter__(),
            },
        )
        for name, of in {
            "object segment": lambda s: s.closed_object_segment,
            "guest segment": lambda s: s.closed_guest_segment,
        }.items()
    },
}


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, (_, acts) in STALE.items() for name in acts])
def test_stale_handle(scene: Scene, kind: str, name: str) -> None:
    """Every method and property of a handle that is gone says so."""
    of, acts = STALE[kind]
    refused(scene, lambda: acts[name](of(scene)), StaleHandle)


def test_stale_handle__what_still_answers(scene: Scene) -> None:
    """The address of a page, whether a client is orphaned, the references of an object, and endings."""
    assert scene.dead_page.gpa == RAM
    assert (scene.dead_client.orphaned, scene.orphan.orphaned) == (False, True)
    assert (scene.dead_ram.refs, scene.dead_mmio.refs) == (0, 0)
    scene.dead_space.close()
    scene.dead_client.destroy()
    scene.dead_vm.destroy()
    scene.closed_reservoir.close()
    scene.closed_object_segment.close()
    for handle in ("space", "client", "page", "pages", "ram", "mmio", "vm"):
        assert repr(getattr(scene, f"dead_{handle}"))


ORPHANED = {
    name: act
    for name, act in STALE["client"][1].items()
    if name not in ("kicked", "holds", "release_all", "table_exit", "Vcpu")
}


@pytest.mark.parametrize("name", ORPHANED)
def test_orphan(scene: Scene, name: str) -> None:
    """A client of a space that is gone is told apart from one that was destroyed."""
    refused(scene, lambda: ORPHANED[name](scene.orphan), Orphaned)


@pytest.mark.parametrize("name", STALE["vcpu"][1])
def test_orphan__vcpu(scene: Scene, name: str) -> None:
    """A vCPU of an orphan cannot run."""
    refused(scene, lambda: STALE["vcpu"][1][name](scene.lost_vcpu), Orphaned)


# -- two faults at once --------------------------------------------------------------------------------------------------

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
    "scatter text, dead pages": (TypeError, lambda s: s.dead_pages.scatter("x")),
    "mark_dirty list, dead pages": (TypeError, lambda s: s.dead_pages.mark_dirty([0])),  # type: ignore[arg-type]
    "pfn_at text, dead object": (TypeError, lambda s: s.dead_ram.pfn_at("x")),  # type: ignore[arg-type]
    "allocate text, closed": (TypeError, lambda s: s.closed_reservoir.allocate("x")),  # type: ignore[arg-type]
    "resize text, closed": (TypeError, lambda s: s.closed_reservoir.resize("x")),  # type: ignore[arg-type]
    "VmSpace odd flag, closed": (TypeError, lambda s: VmSpace(PAGE, reservoir=s.closed_reservoir, track_dirty=1)),  # type: ignore[arg-type]
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


def test_new_is_where_nothing_is(scene: Scene) -> None:
    """The good arguments of the table are good: the calls that map would."""
    assert scene.space.pte(NEW) is None
    arguments = {call.name: call.params for call in CALLS}["VmSpace.map"]
    scene.space.map(**{name: param.make_good(scene) for name, param in arguments.items()})
    scene.space.unmap(NEW, 4 * PAGE)
