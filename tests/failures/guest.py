"""Guests with something of everything, and what must be true of them after any call."""

from collections import deque
from contextlib import suppress
from functools import partial

import numpy as np

from npt import (
    Fault,
    InvalidArgument,
    NptError,
    Orphaned,
    Prot,
    PteFormat,
    Reservoir,
    StaleHandle,
    Vcpu,
    Vm,
    VmClient,
    VmPage,
    VmSpace,
)
from npt._types import U8Array
from npt.space.gate import Holder
from npt.testing import check

PAGE = 0x1000
SIZE = 1 << 30
FAR = 0x200000  # under another leaf table
DEVICE = 2 * FAR
N_PAGES = 8
RUN_GPAS = [7 * PAGE, 5 * PAGE + 8, FAR + PAGE, 8 * PAGE - 8]  # the first and the last are not resident


class Guest:
    """Two mappings, clients that hold pages one by one, chained and in a batch, dirty pages, a callback, vCPUs."""

    def __init__(self, form: PteFormat) -> None:
        self.reservoir = Reservoir(0x40 * PAGE, limit=0x48 * PAGE)
        self.ram = self.reservoir.allocate(N_PAGES * PAGE)
        self.other = self.reservoir.allocate(2 * PAGE)
        self.spare = self.reservoir.allocate(PAGE)
        self.objects = {"ram": self.ram, "other": self.other, "spare": self.spare}
        self.space = VmSpace(SIZE, format=form, reservoir=self.reservoir, track_dirty=True, kick_timeout=0.05)
        self.space.map(self.ram, 0, N_PAGES * PAGE, Prot.RW)
        self.space.map(self.other, FAR, 2 * PAGE, Prot.RW)
        self.client, self.neighbour, self.idle = self.space.client(), self.space.client(), self.space.client()
        self.calls: list[int] = []
        self.client.on_invalidate(lambda gpa, length: self.calls.append(gpa))
        self.neighbour.on_invalidate(lambda gpa, length: self.calls.append(~gpa))
        self._hold_pages()
        self.vcpu, self.cached = Vcpu(self.idle), Vcpu(self.idle, tlb=8)
        self.vcpu.run([5 * PAGE, 6 * PAGE, FAR + PAGE], write=True)
        self.written = {5, 6, (FAR >> 12) + 1}  # by a vCPU: in the log already
        self.into, self.loads = np.zeros(1, np.uint8), np.zeros(4, np.uint64)
        self.new: deque[object] = deque()  # what a call may or may not have handed over; a list would want memory
        self.kept: deque[object] = deque()  # and what needs no release, but is not to end in the call

    def _hold_pages(self) -> None:
        self.page = self.client.hold(0, Prot.RW)
        self.view = self.page.writable()
        self.view[:8] = 7
        self.chain = [self.neighbour.hold(gpa, Prot.RW) for gpa in (1 * PAGE, 2 * PAGE)]
        self.chain[0].chain(self.chain[1])
        self.batch = self.neighbour.hold_many([3 * PAGE, 4 * PAGE, FAR], Prot.RW)
        self.deferred = self.neighbour.hold(3 * PAGE, Prot.RW, defer_dirty=True)
        self.deferred_batch = self.neighbour.hold_many([3 * PAGE], Prot.RW, defer_dirty=True)
        self.pages = {"page": self.page, "first": self.chain[0], "second": self.chain[1], "deferred": self.deferred}
        self.batches = {"batch": self.batch, "deferred": self.deferred_batch}

    @property
    def spaces(self) -> dict[str, VmSpace]:
        """All its spaces."""
        return {"space": self.space}

    def held(self) -> set[int]:
        """Pages that are held for writing; they will be in the log at their release."""
        pages = {page.gpa >> 12 for page in [self.page, *self.chain] if _is_held(page)}
        with suppress(StaleHandle):
            pages |= {int(gpa) >> 12 for gpa in self.batch.gpas}
        return pages

    def mapped(self) -> set[int]:
        """Pages under mappings."""
        return {page for m in self.space.mappings for page in range(m.gpa >> 12, (m.gpa + m.length) >> 12)}

    def leave(self) -> None:
        """Take the vCPU off CPU, if a failure came while it was inside."""
        with suppress(InvalidArgument, StaleHandle):
            self.idle.table_exit()

    def check(self) -> None:
        """All invariants hold, and nobody has a lock."""
        assert not self.reservoir._lock._is_owned()
        assert self.objects
        assert not any(obj._lock._is_owned() for obj in self.objects.values())
        for space in self.spaces.values():
            check_locks(space)
            check(space)

    def check_marked(self, before: bytes) -> None:
        """Every page whose bytes are others than before is in the log now, or will be at its release."""
        if self.space.destroyed or not self.space.tracking:
            return
        bytes_now = self.reservoir.buffer.reshape(-1, PAGE)
        changed = np.flatnonzero((bytes_now != np.frombuffer(before, np.uint8).reshape(-1, PAGE)).any(axis=1))
        pfns = {int(frame) + self.reservoir.base_pfn for frame in changed}
        pages = {page for page in self.mapped() if self.space.translate([page << 12])[0] in pfns}
        assert pages <= _pages_of(self.space.peek_dirty(0, SIZE)) | self.held(), "written, and not in the log"

    def check_log(self, owed: set[int]) -> None:
        """Release what is held: then every page that was written is in the log, if it is still mapped."""
        self.release()
        if self.space.destroyed or not self.space.tracking:
            return
        assert owed & self.mapped() <= _pages_of(self.space.track_dirty(0, SIZE))

    def release(self) -> None:
        """Give up what is held."""
        if hasattr(self, "view"):
            del self.view
        for client in (self.client, self.neighbour, self.idle):
            with suppress(StaleHandle):
                client.release_all()

    def close(self) -> None:
        """End it all; that the reservoir closes says that nothing leaked."""
        self.release()
        for space in self.spaces.values():
            space.close()
        for made in self.new:
            with suppress(NptError):
                made.release()  # type: ignore[attr-defined]
        for obj in self.objects.values():
            while obj.refs:
                obj.release()
        usage = self.reservoir.usage
        assert (usage.free, usage.transient) == (self.reservoir.size, 0), usage
        self.reservoir.close()


class BareGuest(Guest):
    """The same, and a space and a reservoir that nobody uses yet."""

    def __init__(self, form: PteFormat) -> None:
        super().__init__(form)
        self.empty = VmSpace(SIZE, format=form)  # without a reservoir
        self.bare_client = self.empty.client()
        self.lonely = Reservoir(PAGE)

    @property
    def spaces(self) -> dict[str, VmSpace]:
        """All its spaces."""
        return {**super().spaces, "empty": self.empty}

    def close(self) -> None:
        """End it all."""
        super().close()
        self.lonely.close()


VM_AT = 0x400000
VM_PAGES = 4


class VmGuest(Guest):
    """The same, and a ``Vm`` on the same reservoir: memory segments, windows of both kinds, vCPUs."""

    def __init__(self, form: PteFormat) -> None:
        super().__init__(form)
        self.vm = Vm(self.reservoir, format=form, track_dirty=True, size=SIZE)
        self.vm_space = self.vm.space
        self.memseg = self.vm.alloc_memseg(0, VM_PAGES * PAGE)
        self.vm.map_memseg(0, VM_AT, VM_PAGES * PAGE, Prot.RW)
        self.straight = self.vm.map_object(0, PAGE, 2 * PAGE, Prot.RW)
        self.window = self.vm.map_guest(VM_AT, VM_PAGES * PAGE, Prot.RW)
        self.window.write(0, bytes(range(16)))
        self.vm_vcpu = self.vm.vcpu(0)

    @property
    def spaces(self) -> dict[str, VmSpace]:
        """All its spaces."""
        return {**super().spaces, "vm": self.vm_space}

    def check(self) -> None:
        """The same, of all of it."""
        assert not self.vm._lock._is_owned()
        assert not self.straight._lock._is_owned()  # type: ignore[attr-defined]
        super().check()

    def close(self) -> None:
        """End it all."""
        self.vm.destroy()
        assert self.memseg.refs == 0
        super().close()


def check_locks(space: VmSpace) -> None:
    """No lock is held, and no client is kept out for longer than until its next look-up."""
    exclusion = space._core.exclusion
    assert not exclusion.lock._is_owned()
    assert not any(gate.lock._is_owned() for gate in exclusion.gates)
    for gate in exclusion.gates:
        _look_up(gate.client)
        assert gate.state in (0, 4), "a state bit was left behind"  # ORPHANED


def _look_up(client: Holder) -> None:
    """A look-up that changes nothing, but for a HOLD that was left behind."""
    assert isinstance(client, VmClient)
    with suppress(Fault, Orphaned, StaleHandle):
        client.gate.look(partial(client._find, SIZE, Prot.READ))


def _pages_of(bitmap: U8Array) -> set[int]:
    return set(np.flatnonzero(np.unpackbits(bitmap, bitorder="little")).tolist())


def _is_held(page: VmPage) -> bool:
    return page._client is not None
