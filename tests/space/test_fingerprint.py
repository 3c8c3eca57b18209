"""That a fingerprint notices: each part of a guest is changed behind its back, and the change is named."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any

import numpy as np
import pytest

from npt import EPT, Reservoir
from npt.space.gate import EPOCH_NOW, GENERATION_NOW
from tests.space.everything import PAGE, RAM, ROM, Scene, refused
from tests.space.fingerprint import Fingerprint


def leaf_of(scene: Scene, gpa: int) -> int:
    """Flat index of a leaf entry."""
    return int(np.flatnonzero(scene.space.table.levels[0] == scene.space.pte(gpa))[0])


@contextmanager
def changed(container: Any) -> Iterator[None]:
    """Meanwhile a list, set, queue or dictionary has one element more."""
    more = object()
    if isinstance(container, dict):
        container["one more"] = more
        yield
        del container["one more"]
    else:
        container.add(more) if isinstance(container, set) else container.append(more)
        yield
        container.remove(more)


def flip(array: Any, at: Any = 0, bits: int = 1) -> None:
    """Change some bits of an element."""
    array[at] ^= array.dtype.type(bits)


def told(thing: Any, **attributes: object) -> None:
    """Change attributes behind everybody's back."""
    for name, value in attributes.items():
        setattr(thing, name, value)


PARTS: dict[str, Callable[[Any], object]] = {
    "levels[0]": lambda s: flip(s.space.table.levels[0], leaf_of(s, RAM), 1 << 9),
    "levels[1]": lambda s: flip(s.space.table.levels[1], 5, 1 << 63),
    "levels[2]": lambda s: flip(s.vm.space.table.levels[2], 511),
    "levels[3]": lambda s: flip(s.untracked.table.levels[3], 511),
    "words": lambda s: flip(s.space.table.words),
    "marks": lambda s: flip(s.space.table.touched, 1),
    "counts": lambda s: flip(s.space.table._counts[0]),
    "free": lambda s: flip(s.space.table._free[0]),
    "_state": lambda s: flip(s.space.table._state, 1),
    "takes": lambda s: flip(s.space.table.takes),
    "_core.table": lambda s: s.space.table.read_table(s.space.table_root >> 12),
    "extents": lambda s: flip(s.space._core.mappings.extents, (0, 3)),
    "_core.exclusion": lambda s: s.space.unmap(ROM, 8 * PAGE),
    "ram._callers": lambda s: s.ram.reference(),
    "spare._callers": lambda s: s.spare.release(),
    "_keepers": lambda s: s.mmio.acquire("somebody"),
    "memory": lambda s: flip(s.reservoir.memory, 0x11FFFF, 0x80),
    "other._backing.memory": lambda s: flip(s.other.memory),
    "scene.reservoir": lambda s: s.reservoir.allocate(PAGE),
    "_by_address": lambda s: s.reservoir._ledger.free._by_address.pop(),
    "_by_size": lambda s: s.reservoir._ledger.empty._by_size.pop(),
    "_leavers": lambda s: s.reservoir._leavers.append(s.ram._parting),
    "_watch._new": lambda s: s.reservoir.watch(0, s.view.base),
    "_watch._views": lambda s: s.reservoir._watch._views.clear(),
    "quarantined": lambda s: told(s.ram._parting, quarantined=True),
    "exclusion.line": lambda s: flip(s.space._core.exclusion.line, GENERATION_NOW),
    "line": lambda s: flip(s.space._core.exclusion.line, EPOCH_NOW, 6),
    "scene.untracked._core": lambda s: s.untracked.set_tracking(True),
    "exclusion.timeouts": lambda s: told(s.space._core.exclusion, timeouts=1),
    "exclusion.kicks": lambda s: told(s.space._core.exclusion, kicks=9),
    "exclusion.dying": lambda s: told(s.space._core.exclusion, dying=True),
    "exclusion.gates": lambda s: s.space.client(),
    "gates[0].state": lambda s: told(s.client.gate, state=1),
    "gates[0].callback": lambda s: s.client.on_invalidate(None),
    "flushes": lambda s: told(s.client.gate, flushes=1),
    "faults": lambda s: told(s.client.gate, faults=77),
    "gates[0].line": lambda s: s.client.table_enter(),
    "gates[0].lock is locked": lambda s: s.client.gate.lock.acquire(),
    "exclusion.lock is locked": lambda s: s.space._core.exclusion.lock.acquire(),
    "reservoir._lock is locked": lambda s: s.reservoir._lock.acquire(),
    "_pages": lambda s: s.client.hold(RAM, 3),
    "_batches": lambda s: s.pages.release(),
    "_leaf": lambda s: told(s.page, _leaf=0),
    "_address": lambda s: told(s.page, _address=0),
    "_writes": lambda s: s.first.mark_dirty(),
    "_windows": lambda s: s.page.readable(),
    "_next": lambda s: s.page.chain(s.second),
    "_before": lambda s: told(s.last, _before=None),
    "_object": lambda s: told(s.kept, _object=None),
    "_forgotten": lambda s: s.kept_pages._forgotten.clear(),
    "_gpas": lambda s: flip(s.pages._gpas),
    "_pfns": lambda s: flip(s.pages._pfns),
    "leaves": lambda s: flip(s.readers.leaves),
    "calls": lambda s: s.calls.append((0, 0)),
    "cached._tlb.entries": lambda s: flip(s.cached._tlb.entries, (1, 1)),
    "cached._tlb.fills": lambda s: flip(s.cached._tlb.fills),
    "cached._tlb": lambda s: told(s.cached._tlb, generation=0),
    "vcpu._turn": lambda s: s.vcpu._turn.update(now=None),
    "vm._vcpus": lambda s: s.vm.vcpu(1),
    "vm._memsegs": lambda s: s.vm.alloc_memseg(5, PAGE),
    "scene.vm": lambda s: s.vm.map_object(0, 0, PAGE, 3),
    "_keepers, key": lambda s: s.object_segment.close(),
    "dead_page": lambda s: told(s.dead_page, _client=s.client),
    "dead_ram": lambda s: s.dead_ram._callers.append(None),
    "dead_space": lambda s: told(s.dead_space._core.exclusion, destroyed=False),
    "closed_reservoir": lambda s: told(s.closed_reservoir, _ledger=s.other._ledger),
    "untold": lambda s: s.space._core.untold.add(0),
    "late": lambda s: s.space._core.exclusion.late.append(0),
}


@pytest.mark.parametrize("part", PARTS)
def test_fingerprint__names_what_was_changed(part: str) -> None:
    """A change of a part is noticed, whoever made it, and by its name."""
    scene = Scene(EPT)
    assert scene.fingerprint.changes() == []
    PARTS[part](scene)
    changes = scene.fingerprint.changes()
    assert any(part in name for name in changes), changes
    scene.fingerprint.renew()
    assert scene.fingerprint.changes() == []


def test_fingerprint__notices_every_container_and_array() -> None:
    """One element more in any container, one bit changed in any array: each is named."""
    fingerprint = Scene(EPT).fingerprint
    for name, now, _ in fingerprint.containers:
        with changed(now):
            assert name in fingerprint.changes()
    for name, look, _ in fingerprint.arrays:
        array = look()
        writable, array.flags.writeable = array.flags.writeable, True
        for byte in (0, -1):
            array.view(np.uint8).reshape(-1)[byte] ^= 1
            assert name in fingerprint.changes()
            array.view(np.uint8).reshape(-1)[byte] ^= 1
        array.flags.writeable = writable
    assert fingerprint.changes() == []
    assert len(fingerprint.containers) > 150
    assert len(fingerprint.arrays) > 100
    assert len(fingerprint) > 800


def test_fingerprint__notices_a_client_that_nobody_lists() -> None:
    """A client that was made and is not listed is one more gate."""
    scene = Scene(EPT)
    client = scene.space.client()
    scene.space._core.exclusion.gates.pop()
    assert scene.fingerprint.changes() == ["gates"]
    assert client.holds == 0


def test_fingerprint__forgets_a_client_that_is_gone() -> None:
    """What nobody had when it was taken may go at any time; one that is made then is one more."""
    scene = Scene(EPT)
    gates = scene.space._core.exclusion.gates
    nobodys = scene.space.client()
    gates.pop()
    scene.fingerprint.renew()
    del nobodys
    gc.collect()
    assert scene.fingerprint.changes() == []
    client = scene.space.client()
    gates.pop()
    assert scene.fingerprint.changes() == ["gates"]
    assert client.holds == 0


def test_fingerprint__notices_a_thread() -> None:
    """A thread that goes on is noticed."""
    scene = Scene(EPT)
    with scene.space._core.exclusion.lock:
        thread = Thread(target=lambda: scene.space.mappings)
        thread.start()
        changes = scene.fingerprint.changes()
    thread.join()
    assert "threads" in changes


def test_fingerprint__leaves_out_what_a_refused_call_may_change() -> None:
    """Times, what the next run writes over, and that a fault was refused."""
    scene = Scene(EPT)
    told(scene.space._core.exclusion, kick_ns=1, held_ns=1)
    flip(scene.vcpu._outcome)
    assert scene.fingerprint.changes() == []
    scene.client.gate.faults += 1
    assert scene.fingerprint.changes(faulted=True) == []
    assert scene.fingerprint.changes() != []


def test_refused__is_told_of_a_change() -> None:
    """A call that fails and changes something does not get past the check that all bad calls go through."""
    scene = Scene(EPT)

    def act() -> None:
        scene.client.write(RAM, b"\xff")
        scene.client.write(RAM, 1)

    with pytest.raises(AssertionError, match="memory"):
        refused(scene, act, TypeError)
    with pytest.raises(AssertionError, match="TypeError"):
        refused(scene, lambda: scene.client.write(RAM, 1), ValueError)
    with pytest.raises(AssertionError, match="None"):
        refused(scene, lambda: scene.client.read(RAM, 1), ValueError)


def test_fingerprint__of_anything() -> None:
    """Roots may be any handles."""
    with Reservoir(4 * PAGE) as reservoir:
        fingerprint = Fingerprint({"reservoir": reservoir})
        with reservoir.allocate(PAGE):
            assert fingerprint.changes()
        fingerprint.renew()
        assert not fingerprint.changes()
