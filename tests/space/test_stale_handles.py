"""Handles that are gone: every method and property says so, and nothing changes."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from npt import (
    Orphaned,
    Prot,
    StaleHandle,
    Vcpu,
    Vm,
    VmSpace,
)  # fmt: skip
from tests.space.everything import PAGE, RAM, Scene, refused

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
            "resident": lambda h: h.resident(0, PAGE),
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
