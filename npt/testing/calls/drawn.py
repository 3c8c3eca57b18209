"""The calls that a drawer draws, each with its arguments, and how often."""

from collections.abc import Callable
from typing import Any

from npt.testing.calls.call import Call
from npt.testing.calls.chooser import DEVICES, FRAMES, PAGE, PLACES, SIZES, Chooser

__all__ = ["DRAWN", "SUBJECTS", "make_reservoir", "make_space"]

Draw = Callable[[Chooser], Call | None]

_PROTS = (3, 3, 3, 7, 1, 5)
_HOLDS = (3, 3, 1, 2, 7)
_ACCESSES = (1, 2, 4, 3)
_CONTEXTS = ("Reservoir", "RamObject", "MmioObject", "VmSpace", "VmPage", "VmPages", "Vm", "Segment")


# -- host memory --------------------------------------------------------------------------------------------------------


def make_reservoir(c: Chooser) -> Call | None:
    """A reservoir: small, with frames far from all others'."""
    backed: dict[str, Any] = {} if c.below(10) else {"backed": False}
    base = FRAMES * (1 + c.made("Reservoir") % 256)  # apart, so that a frame tells its object
    return c.new("Reservoir", size=c.number(48 * PAGE), limit=c.number(64 * PAGE), base_pfn=base, **backed)


def _allocate(c: Chooser) -> Call | None:
    args: dict[str, Any] = {"length": c.number((1 + c.below(12)) * PAGE)}
    return c.new("Reservoir.allocate", c.thing("Reservoir"), **args, **({"transient": c.flag()} if c.chance(6) else {}))


def _resize(c: Chooser) -> Call | None:
    args = {"target": c.number((16 + c.below(56)) * PAGE)}
    return c.on("Reservoir.resize", **args, **({"chunk": c.number(c.below(4) * PAGE)} if c.chance(2) else {}))


def _make_mmio(c: Chooser) -> Call | None:
    return c.new("MmioObject", length=c.number((1 + c.below(4)) * PAGE), hpa=c.number(c.of(DEVICES)))


def _pfn_at(c: Chooser) -> Call | None:
    kind = c.of(("RamObject", "MmioObject"))
    return c.on(f"{kind}.pfn_at", offset=c.number(c.below(13 * PAGE)))


# -- spaces -------------------------------------------------------------------------------------------------------------


def make_space(c: Chooser) -> Call | None:
    """A space, mostly with a reservoir and with tracking."""
    args: dict[str, Any] = {"size": c.number(c.of(SIZES)), "format": {"format": c.format}}
    if c.below(3):
        args["reservoir"] = c.argument("Reservoir")
    return c.new("VmSpace", **args, track_dirty=bool(c.below(4)))


def _map(c: Chooser) -> Call | None:
    """A part of an object, most often all of it; now and then too much."""
    space = c.thing("VmSpace")
    obj = c.argument("RamObject", "RamObject", "MmioObject") if c.chance(5) else c.fitting(space)
    if space is None or obj is None:
        return None
    n = c.pages_of(obj)
    offset = c.below(n) if c.chance(3) else 0
    n = n - offset if c.below(2) else 1 + c.below(n - offset + (c.chance(8)))
    args = {"obj": obj, "gpa": c.number(c.place(space)), "length": c.number(n * PAGE), "prot": c.prot(*_PROTS)}
    return Call("VmSpace.map", space, {**args, "offset": c.number(offset * PAGE)} if offset else args)


def _map_mmio(c: Chooser) -> Call | None:
    space = c.thing("VmSpace")
    if space is None:
        return None
    over_ram = space in c.hosted and c.chance(6)
    hpa = (FRAMES << 12) + PAGE if over_ram else c.number(c.of(DEVICES))
    return c.new("VmSpace.map_mmio", space, gpa=c.number(c.place(space)), length=c.number((1 + c.below(3)) * PAGE), hpa=hpa)


def _unmap(c: Chooser) -> Call | None:
    space = c.thing("VmSpace")
    return None if space is None else Call("VmSpace.unmap", space, c.mapping(space), inside=c.inside("unmap"))


def _ranged(name: str) -> Draw:
    def draw(c: Chooser) -> Call | None:
        space = c.thing("VmSpace")
        return None if space is None else Call(f"VmSpace.{name}", space, c.part(space))

    return draw


def _dirty(name: str, bitmap: str | None) -> Draw:
    """A dirty call, with or without its bitmap."""

    def draw(c: Chooser) -> Call | None:
        space = c.thing("VmSpace")
        if space is None:
            return None
        args = c.range(space)
        if bitmap is not None and c.chance(2):
            args[bitmap] = c.bits(args["length"])
        if name == "accessed":
            args["clear"] = c.flag()
        return Call(f"VmSpace.{name}", space, args, inside=c.inside(name))

    return draw


def _set_tracking(c: Chooser) -> Call | None:
    return c.on("VmSpace.set_tracking", enabled=True if c.below(3) else c.flag())


def _translate(c: Chooser) -> Call | None:
    space = c.thing("VmSpace")
    return None if space is None else Call("VmSpace.translate", space, {"gpas": c.gpas(space)})


def _pte(c: Chooser) -> Call | None:
    space = c.thing("VmSpace")
    return None if space is None else Call("VmSpace.pte", space, {"gpa": c.number(c.byte(space))})


def _end_of_space(c: Chooser) -> Call | None:
    return c.end("VmSpace") if c.chance(4) else None


def _client(c: Chooser) -> Call | None:
    return c.new("VmSpace.client", c.thing("VmSpace"))


# -- clients and their pages --------------------------------------------------------------------------------------------


def _of_client(c: Chooser, name: str, **args: Callable[[str | None], Any]) -> Call | None:
    """A call of a client; arguments are made for its space."""
    client = c.thing("VmClient")
    if client is None:
        return None
    found = {one: make(c.home(client)) for one, make in args.items()}
    return c.new(name, client, **found) if name in ("VmClient.hold", "VmClient.hold_many") else Call(name, client, found)


def _hold(c: Chooser) -> Call | None:
    defer = {"defer_dirty": lambda _: c.flag()} if c.chance(4) else {}
    return _of_client(c, "VmClient.hold", gpa=lambda s: c.number(c.gpa(s)), prot=lambda _: c.prot(*_HOLDS), **defer)


def _hold_many(c: Chooser) -> Call | None:
    return _of_client(c, "VmClient.hold_many", gpas=c.gpas, prot=lambda _: c.prot(*_HOLDS))


def _fault(c: Chooser) -> Call | None:
    return _of_client(c, "VmClient.fault", gpa=lambda s: c.number(c.byte(s)), prot=lambda _: c.prot(*_ACCESSES))


def _fault_many(c: Chooser) -> Call | None:
    return _of_client(c, "VmClient.fault_many", gpas=c.gpas, prot=lambda _: c.prot(*_ACCESSES))


def _read(c: Chooser) -> Call | None:
    return _of_client(c, "VmClient.read", gpa=lambda s: c.number(c.byte(s)), n=lambda _: c.number(c.of((0, 1, 8, 5000))))


def _write(c: Chooser) -> Call | None:
    return _of_client(c, "VmClient.write", gpa=lambda s: c.number(c.byte(s)), data=lambda _: c.text(c.of((0, 1, 8, 16, 4100))))


def _on_invalidate(c: Chooser) -> Call | None:
    return c.on("VmClient.on_invalidate", callback={"callback": True} if c.below(4) else c.of((None, None, 1)))


def _table_enter(c: Chooser) -> Call | None:
    client = c.thing("VmClient")
    if client is None or not c.chance(3):
        return None
    c.on_cpu.append(client)
    return Call("VmClient.table_enter", client)


def _clone(c: Chooser) -> Call | None:
    return c.new("VmClient.clone", c.thing("VmClient"))


def _chain(c: Chooser) -> Call | None:
    return c.on("VmPage.chain", page=c.argument("VmPage"))


def _view(c: Chooser) -> Call | None:
    return c.new(c.of(("VmPage.readable", "VmPage.writable")), c.thing("VmPage"))


def _read_view(c: Chooser) -> Call | None:
    return c.on("view.read", offset=c.below(PAGE), n=c.below(64))


def _write_view(c: Chooser) -> Call | None:
    view = c.thing("view")
    if view is None or not c.is_writable(view):
        return None
    return Call("view.write", view, {"offset": c.below(PAGE - 16), "data": c.text(c.below(16))})


def _batch_dirty(c: Chooser) -> Call | None:
    return c.on("VmPages.mark_dirty", **({"select": c.bits(8 * PAGE)} if c.chance(2) else {}))


def _scatter(c: Chooser) -> Call | None:
    batch = c.thing("VmPages")
    if batch is None:
        return None
    n = c.count(batch) + (1 if c.chance(16) else 0)
    return Call("VmPages.scatter", batch, {"data": {"pages": (bytes([1 + c.below(255)]) * (PAGE * n)).hex()}})


# -- vCPUs and machines -------------------------------------------------------------------------------------------------


def _make_vcpu(c: Chooser) -> Call | None:
    client = c.argument("VmClient")
    return None if client is None else c.new("Vcpu", client=client, tlb=c.number(c.of((0, 1, 4, 64))))


def _accesses(name: str) -> Draw:
    def draw(c: Chooser) -> Call | None:
        vcpu = c.thing("Vcpu")
        if vcpu is None:
            return None
        n = 1 + c.below(6)
        gpas = [c.number(c.gpa(c.home(vcpu)) + c.below(512) * 8) for _ in range(n)]
        args: dict[str, Any] = {"gpas": gpas}
        execute = c.chance(5)
        if c.chance(8) if execute else c.below(4):
            args["write"] = c.of((True, {"flags": [bool(c.below(2)) for _ in range(n + (c.below(32) == 31))]}))
            if c.chance(2):
                args["values"] = {"words": [1 + c.below(1 << 16) for _ in range(n)]}
        if execute:
            args["execute"] = c.of((True, {"flags": [bool(c.below(2)) for _ in range(n)]}))
        if c.chance(3):
            args["into"] = {"words": [7] * n}
        return Call(f"Vcpu.{name}", vcpu, args)

    return draw


def _make_vm(c: Chooser) -> Call | None:
    args: dict[str, Any] = {"reservoir": c.argument("Reservoir"), "format": {"format": c.format}}
    return c.new("Vm", **args, track_dirty=bool(c.below(3)), size=c.number(c.of(SIZES)))


def _alloc_memseg(c: Chooser) -> Call | None:
    return c.new("Vm.alloc_memseg", c.thing("Vm"), segid=c.number(c.below(3)), length=c.number((1 + c.below(8)) * PAGE))


def _map_memseg(c: Chooser) -> Call | None:
    args = {"gpa": c.number(c.of(PLACES)), "length": c.number((1 + c.below(6)) * PAGE), "prot": c.prot(*_PROTS)}
    return c.on("Vm.map_memseg", segid=c.number(c.below(3)), **args)


def _unmap_memseg(c: Chooser) -> Call | None:
    vm = c.thing("Vm")
    return None if vm is None else Call("Vm.unmap_memseg", vm, c.mapping(c.home(vm) or vm))


def _map_object(c: Chooser) -> Call | None:
    args = {"offset": c.number(c.below(3) * PAGE), "length": c.number((1 + c.below(4)) * PAGE), "prot": c.prot(1, 3, 3)}
    return c.new("Vm.map_object", c.thing("Vm"), segid=c.number(c.below(3)), **args)


def _map_guest(c: Chooser) -> Call | None:
    vm = c.thing("Vm")
    return None if vm is None else c.new("Vm.map_guest", vm, **c.range(c.home(vm) or vm), prot=c.prot(1, 3, 3))


def _segment(c: Chooser) -> Call | None:
    segment, at = c.thing("Segment"), c.number(c.below(2 * PAGE))
    if segment is None:
        return None
    match c.below(6):
        case 0:
            return Call("Segment.read", segment, {"offset": at, "n": c.number(c.of((0, 1, 8, 4097)))})
        case 1:
            return Call("Segment.write", segment, {"offset": at, "data": c.text(c.of((0, 1, 8, 4097)))})
        case 2:
            return Call("Segment.__getitem__", segment, {"key": at})
        case 3:
            return Call("Segment.__getitem__", segment, {"key": {"slice": [at, c.below(2 * PAGE), None]}})
        case 4:
            return Call("Segment.__setitem__", segment, {"key": at, "value": c.below(300)})
        case _:
            return Call("Segment.__setitem__", segment, {"key": {"slice": [4, 8, None]}, "value": c.text(c.of((4, 4, 4, 5)))})


def _enter(c: Chooser) -> Call | None:
    return c.on(f"{c.of(_CONTEXTS)}.__enter__")


def _leave(c: Chooser) -> Call | None:
    """Leave the context of a thing; seldom of one that much depends on."""
    kind = c.of(_CONTEXTS)
    rare = kind in ("Reservoir", "VmSpace", "Vm")
    return None if rare and not c.chance(6) else c.on(f"{kind}.__exit__", **({"failed": True} if c.chance(3) else {}))


def _plain(*names: str) -> Draw:
    """One of some calls without arguments."""
    return lambda c: c.on(c.of(names))


def _space_of_vm(c: Chooser) -> Call | None:
    return c.new("Vm.space", c.thing("Vm"))


def _vcpu_of_vm(c: Chooser) -> Call | None:
    return c.new("Vm.vcpu", c.thing("Vm"), cpu=c.number(c.below(3)))


def _memseg(c: Chooser) -> Call | None:
    return c.on("Vm.memseg", segid=c.number(c.below(3)))


def _end_of_vm(c: Chooser) -> Call | None:
    return c.end("Vm") if c.chance(4) else None


def _ending(kind: str) -> Draw:
    return lambda c: c.end(kind)


Weighted = tuple[tuple[int, Draw], ...]

# By subject, each with how often it is drawn.
SUBJECTS: dict[str, Weighted] = {
    "host memory": (
        (1, make_reservoir), (6, _allocate), (1, _resize), (1, _make_mmio), (1, _pfn_at), (4, _ending("RamObject")),
        (1, _ending("MmioObject")), (1, _ending("Reservoir")), (1, _plain("RamObject.reservoir", "RamObject.transient")),
        (1, _plain("RamObject.attr", "MmioObject.attr", "MmioObject.refs")),
        (2, _plain("RamObject.reference", "MmioObject.reference", "RamObject.refs", "Reservoir.usage")),
        (1, _plain("Reservoir.size", "Reservoir.limit", "Reservoir.base_pfn", "RamObject.length", "MmioObject.length")),
    ),
    "mappings": (
        (2, make_space), (10, _map), (2, _map_mmio), (6, _unmap), (6, _ranged("populate")), (1, _end_of_space), (2, _translate),
        (2, _pte), (1, _ranged("resident")), (1, _plain("VmSpace.generation", "VmSpace.mappings", "VmSpace.counters")),
        (1, _enter), (3, _leave), (1, _plain("VmSpace.size", "VmSpace.format", "VmSpace.destroyed")),
        (1, _plain("VmSpace.table_root", "VmSpace.resident_count", "VmSpace.tracking")),
    ),
    "marks": (
        (5, _dirty("track_dirty", "into")), (2, _dirty("peek_dirty", "select")), (4, _dirty("reset_dirty", "select")),
        (4, _dirty("set_dirty", "select")), (3, _dirty("accessed", None)), (2, _set_tracking),
    ),
    "clients": (
        (4, _client), (1, _clone), (5, _fault), (3, _fault_many), (5, _read), (8, _write), (3, _on_invalidate),
        (3, _table_enter), (2, _plain("VmClient.table_exit", "VmClient.kicked", "VmClient.holds", "VmClient.orphaned")),
        (1, _ending("VmClient")),
    ),
    "pages": (
        (14, _hold), (10, _ending("VmPage")), (3, _chain), (2, _plain("VmPage.mark_dirty")),
        (1, _plain("VmPage.next", "VmPage.pfn", "VmPage.gpa", "VmPage.prot")), (5, _view), (3, _read_view), (5, _write_view),
        (4, _ending("view")),
    ),
    "batches": (
        (4, _hold_many), (3, _ending("VmPages")), (1, _batch_dirty), (2, _scatter),
        (1, _plain("VmPages.gather", "VmPages.pfns", "VmPages.gpas", "VmPages.prot")),
    ),
    "vCPUs": ((3, _make_vcpu), (10, _accesses("run")), (5, _accesses("step"))),
    "machines": (
        (1, _make_vm), (2, _alloc_memseg), (2, _map_memseg), (1, _unmap_memseg), (2, _map_object), (2, _map_guest),
        (5, _segment), (1, _space_of_vm), (1, _vcpu_of_vm), (1, _memseg), (1, _ending("Segment")), (1, _end_of_vm),
        (1, _plain("Segment.__len__")),
    ),
}  # fmt: skip
DRAWN: tuple[Draw, ...] = tuple(draw for these in SUBJECTS.values() for n, draw in these for _ in range(n))
