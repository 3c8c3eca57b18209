"""Every public call on a guest, and what of it may be half done when it fails."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from npt import MmioObject, Prot, Reservoir, Vcpu, Vm, VmSpace
from tests.failures.guest import DEVICE, FAR, N_PAGES, PAGE, RUN_GPAS, SIZE, VM_AT, VM_PAGES, BareGuest, Guest, VmGuest

__all__ = ["CALLS", "Call"]


@dataclass(frozen=True)
class Call:
    """A call, and what the contract says of its failures.

    Attributes
    ----------
    work
        Makes it. What it hands over goes to the guest's ``new``, or stays with its client.
    between
        Parts of the guest's state that may be between before and after when it fails.
    undone
        Who failed has done nothing: nobody got what it found or made.
    guest
        What it needs.
    """

    work: Callable[[Any], object]
    between: frozenset[str] = frozenset()
    undone: bool = False
    guest: type[Guest] = Guest

    @property
    def harvests(self) -> bool:
        """Whether it takes bits away."""
        return self.undone and self.between >= TOLD


RESIDENT = frozenset(("entries", "resident"))  # a page that was made resident stays so
TOLD = frozenset(("generation", "told"))  # a harvest that failed has told of itself; an unmap may tell twice
ALL = frozenset(("all",))


def _call(work: Callable[[Guest], object], *between: frozenset[str] | str, undone: bool = False) -> Call:
    return Call(work, _union(between), undone)


def _bare_call(work: Callable[[BareGuest], object], *between: frozenset[str] | str) -> Call:
    return Call(work, _union(between), guest=BareGuest)


def _vm_call(work: Callable[[VmGuest], object], *between: frozenset[str] | str, undone: bool = False) -> Call:
    return Call(work, _union(between), undone, VmGuest)


def _union(parts: tuple[frozenset[str] | str, ...]) -> frozenset[str]:
    return frozenset().union(*({part} if isinstance(part, str) else part for part in parts))


ODD = np.full(0x40, 0x55, np.uint8)
THREE_PAGES = np.full((3, PAGE), 3, np.uint8)


def _close(guest: Guest) -> None:
    guest.release()
    guest.space.close()


def _run(vcpu: Callable[[Guest], Vcpu], how: str) -> Callable[[Guest], object]:
    write = np.array([True, True, True, False])
    return lambda g: getattr(vcpu(g), how)(RUN_GPAS, write=write, values=[1, 2, 3, 4], into=g.loads)


MEMORY: dict[str, Call] = {
    "Reservoir": _call(lambda g: Reservoir(PAGE, backed=False).close()),
    "Reservoir.allocate": _call(lambda g: g.new.append(g.reservoir.allocate(2 * PAGE))),
    "Reservoir.allocate transient": _call(lambda g: g.new.append(g.reservoir.allocate(2 * PAGE, transient=True))),
    "Reservoir.resize up": _call(lambda g: g.reservoir.resize(0x44 * PAGE)),
    "Reservoir.resize down": _call(lambda g: g.reservoir.resize(0x20 * PAGE)),
    "Reservoir.resize in chunks": _call(lambda g: g.reservoir.resize(0x3A * PAGE, chunk=2 * PAGE), "usage"),
    "Reservoir.close": _bare_call(lambda g: g.lonely.close()),
    "Reservoir.usage": _call(lambda g: (g.reservoir.usage, g.reservoir.buffer, g.reservoir.free_spans)),
    "MmioObject": _call(lambda g: MmioObject(PAGE, 0xFE00_0000).release()),
    "VmObject.reference": _call(lambda g: g.other.reference()),
    "VmObject.release": _call(lambda g: g.other.release()),
    "VmObject.release of the last": _call(lambda g: g.spare.release()),
    "VmObject.pfn_at": _call(lambda g: (g.ram.pfn_at(PAGE), g.ram.length, g.ram.spans, g.ram.refs)),
}

MAPPINGS: dict[str, Call] = {
    "VmSpace": _call(lambda g: g.kept.append(VmSpace(SIZE, reservoir=g.reservoir, track_dirty=True))),
    "VmSpace.map": _call(lambda g: g.space.map(g.spare, FAR + 2 * PAGE, PAGE, Prot.RW)),
    "VmSpace.map under new tables": _call(lambda g: g.space.map(g.spare, SIZE - PAGE, PAGE, Prot.RW)),
    "VmSpace.map of the first RAM": _bare_call(lambda g: g.empty.map(g.spare, 0, PAGE, Prot.RW)),
    "VmSpace.map_mmio": _call(lambda g: g.new.append(g.space.map_mmio(DEVICE, PAGE, 0xFE00_0000))),
    "VmSpace.unmap": _call(lambda g: g.space.unmap(0, N_PAGES * PAGE), TOLD),
    "VmSpace.unmap elsewhere": _call(lambda g: g.space.unmap(FAR, 2 * PAGE), TOLD),
    "VmSpace.populate": _call(lambda g: g.space.populate(0, N_PAGES * PAGE), RESIDENT),
    "VmSpace.client": _call(lambda g: g.space.client(), undone=True),
    "VmSpace.destroy": _bare_call(lambda g: g.empty.destroy()),
    "VmSpace.close": _call(_close, ALL),
    "VmSpace, looking": _call(
        lambda g: (g.space.translate([0, SIZE - 1]), g.space.pte(0), g.space.ptes(0, PAGE), g.space.resident(0, SIZE))
    ),
    "PageTable": _call(
        lambda g: (g.space.table.entries(1), g.space.table.tables_in_use(1), g.space.table_root, g.space.mappings)
    ),
    "PageTable.read_table": _call(lambda g: g.space.table.read_table(g.space.table_root >> 12)),
}

DIRTY: dict[str, Call] = {
    "VmSpace.track_dirty": _call(lambda g: g.space.track_dirty(0, SIZE), TOLD, undone=True),
    "VmSpace.track_dirty into": _call(lambda g: g.space.track_dirty(0, N_PAGES * PAGE, into=g.into), TOLD, "into", undone=True),
    "VmSpace.reset_dirty": _call(lambda g: g.space.reset_dirty(0, 512 * PAGE, select=ODD), TOLD, undone=True),
    "VmSpace.accessed, clearing": _call(lambda g: g.space.accessed(0, SIZE, clear=True), TOLD, undone=True),
    "VmSpace.accessed": _call(lambda g: g.space.accessed(0, SIZE)),
    "VmSpace.peek_dirty": _call(lambda g: g.space.peek_dirty(0, 512 * PAGE, select=ODD)),
    "VmSpace.set_dirty": _call(lambda g: g.space.set_dirty(0, 512 * PAGE, select=ODD), RESIDENT),
    "VmSpace.set_tracking": _call(lambda g: g.space.set_tracking(False), TOLD),
    "VmSpace.set_tracking on": _bare_call(lambda g: g.empty.set_tracking(True), TOLD),
}

CLIENTS: dict[str, Call] = {
    "VmClient.hold": _call(lambda g: g.client.hold(7 * PAGE, Prot.RW), RESIDENT, undone=True),
    "VmClient.hold with checks": _call(lambda g: g.client.hold(7 * PAGE, 3, defer_dirty=True), RESIDENT, undone=True),
    "VmClient.hold_many": _call(lambda g: g.client.hold_many([6 * PAGE, 7 * PAGE], Prot.RW), RESIDENT, undone=True),
    "VmClient.fault": _call(lambda g: g.client.fault(7 * PAGE, Prot.READ), RESIDENT),
    "VmClient.fault_many": _call(lambda g: g.client.fault_many([7 * PAGE, FAR], Prot.READ), RESIDENT),
    "VmClient.read": _call(lambda g: (g.client.read(8, 8), g.client.read(7 * PAGE, 8)), RESIDENT),
    "VmClient.read across pages": _call(lambda g: g.client.read(PAGE - 4, 7 * PAGE), RESIDENT),
    "VmClient.write": _call(lambda g: g.client.write(7 * PAGE, b"x"), RESIDENT),
    "VmClient.write of a resident page": _call(lambda g: g.client.write(5 * PAGE, b"x"), RESIDENT),
    "VmClient.write across pages": _call(lambda g: g.client.write(PAGE - 4, b"x" * (6 * PAGE + 8)), RESIDENT),
    "VmClient.on_invalidate": _call(lambda g: g.idle.on_invalidate(divmod)),
    "VmClient.table_enter and exit": _call(lambda g: g.idle.table_enter() and g.idle.table_exit(), "clients"),  # type: ignore[func-returns-value]
    "VmClient.clone": _call(lambda g: g.client.clone(), undone=True),
    "VmClient.destroy": _call(lambda g: g.idle.destroy()),
    "VmClient.release_all": _call(lambda g: g.neighbour.release_all(), "holds", "clients", "entries"),
    "VmPage.readable": _call(lambda g: (g.page.readable(), g.page.pfn, g.page.prot, g.page.next)),
    "VmPage.writable": _call(lambda g: [g.page.writable() for _ in range(20)]),
    "VmPage.mark_dirty": _call(lambda g: g.deferred.mark_dirty()),
    "VmPage.chain": _call(lambda g: g.chain[1].chain(g.deferred)),
    "VmPage.release": _call(lambda g: g.page.release(), "entries"),
    "VmPage.release of a view": _call(lambda g: (g.page.writable(), g.page.release()), "entries"),
    "VmPage.release_chain": _call(lambda g: g.chain[0].release_chain(), "holds", "clients", "entries"),
    "VmPages.gather": _call(lambda g: (g.batch.gather(), g.batch.gpas, g.batch.pfns, len(g.batch))),
    "VmPages.scatter": _call(lambda g: g.batch.scatter(THREE_PAGES)),
    "VmPages.mark_dirty": _call(lambda g: g.deferred_batch.mark_dirty(ODD)),
    "VmPages.release": _call(lambda g: g.batch.release(), "entries"),
    "Vcpu": _call(lambda g: Vcpu(g.idle, tlb=4)),
    "Vcpu.run": _call(_run(lambda g: g.vcpu, "run"), RESIDENT, "bytes", "into"),
    "Vcpu.run with a TLB": _call(_run(lambda g: g.cached, "run"), RESIDENT, "bytes", "into"),
    "Vcpu.step": _call(lambda g: g.vcpu.step([5 * PAGE, 7 * PAGE], write=True), RESIDENT),
}

VMS: dict[str, Call] = {
    "Vm": _vm_call(lambda g: g.kept.append(Vm(g.reservoir, size=SIZE))),
    "Vm.alloc_memseg": _vm_call(lambda g: g.vm.alloc_memseg(1, 2 * PAGE)),
    "Vm.memseg": _vm_call(lambda g: g.vm.memseg(0)),
    "Vm.map_memseg": _vm_call(lambda g: g.vm.map_memseg(0, VM_AT + VM_PAGES * PAGE, PAGE, Prot.RW, PAGE)),
    "Vm.unmap_memseg": _vm_call(lambda g: g.vm.unmap_memseg(VM_AT, VM_PAGES * PAGE), TOLD),
    "Vm.map_object": _vm_call(lambda g: g.vm.map_object(0, 0, PAGE, Prot.RW), undone=True),
    "Vm.map_guest": _vm_call(lambda g: g.vm.map_guest(VM_AT, PAGE, Prot.RW), undone=True),
    "Vm.vcpu": _vm_call(lambda g: g.vm.vcpu(1, tlb=4)),
    "Vm.vcpu that there is": _vm_call(lambda g: g.vm.vcpu(0)),
    "Vm.destroy": _vm_call(lambda g: g.vm.destroy(), ALL),
    "Segment.read, object": _vm_call(lambda g: (g.straight.read(0, PAGE + 8), g.straight[3], g.straight[1:5])),
    "Segment.write, object": _vm_call(lambda g: g.straight.write(0, b"x" * (PAGE + 8)), "bytes"),
    "Segment[i]=, object": _vm_call(lambda g: g.straight.__setitem__(3, 9)),
    "Segment[a:b]=, object": _vm_call(lambda g: g.straight.__setitem__(slice(2, 4), b"ab")),
    "Segment.close, object": _vm_call(lambda g: g.straight.close(), "vm", "refs of memseg"),
    "Segment.read, guest": _vm_call(lambda g: (g.window.read(0, PAGE + 8), g.window[3], g.window[1:5]), RESIDENT),
    "Segment.write, guest": _vm_call(lambda g: g.window.write(PAGE, b"x" * (PAGE + 8)), RESIDENT),
    "Segment[i]=, guest": _vm_call(lambda g: g.window.__setitem__(3, 9), RESIDENT),
    "Segment[a:b]=, guest": _vm_call(lambda g: g.window.__setitem__(slice(2, 4), b"ab"), RESIDENT),
    "Segment.close, guest": _vm_call(lambda g: g.window.close(), "vm", "clients"),
}

CALLS: dict[str, Call] = MEMORY | MAPPINGS | DIRTY | CLIENTS | VMS
assert len(CALLS) > 80
