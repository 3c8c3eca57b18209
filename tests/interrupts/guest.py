"""A guest with something of everything, and what must be true of it after any call."""

from contextlib import suppress

import numpy as np

from npt import (
    Fault,
    NoSuchMapping,
    NptError,
    Orphaned,
    Prot,
    PteFormat,
    Reservoir,
    StaleHandle,
    Vcpu,
    VmClient,
    VmPage,
    VmSpace,
)
from npt.space.gate import Holder
from npt.testing import check

PAGE = 0x1000
SIZE = 1 << 30
FAR = 0x200000  # under another leaf table
N_PAGES = 8


class Guest:
    """Two mappings, two clients that hold pages one by one, chained and in a batch, dirty pages, a callback."""

    def __init__(self, form: PteFormat) -> None:
        self.reservoir = Reservoir(0x40 * PAGE)
        self.ram = self.reservoir.allocate(N_PAGES * PAGE)
        self.other = self.reservoir.allocate(2 * PAGE)
        self.spare = self.reservoir.allocate(PAGE)
        self.space = VmSpace(SIZE, format=form, reservoir=self.reservoir, track_dirty=True, kick_timeout=0.05)
        self.space.map(self.ram, 0, N_PAGES * PAGE, Prot.RW)
        self.space.map(self.other, FAR, 2 * PAGE, Prot.RW)
        self.client, self.neighbour, self.idle = self.space.client(), self.space.client(), self.space.client()
        self.calls: list[int] = []
        self.client.on_invalidate(lambda gpa, length: self.calls.append(gpa))
        self.page = self.client.hold(0, Prot.RW)
        self.view = self.page.writable()
        self.chain = [self.neighbour.hold(gpa, Prot.RW) for gpa in (1 * PAGE, 2 * PAGE)]
        self.chain[0].chain(self.chain[1])
        self.batch = self.neighbour.hold_many([3 * PAGE, 4 * PAGE, FAR], Prot.RW)
        Vcpu(self.idle).run([5 * PAGE, 6 * PAGE, FAR + PAGE], write=True)
        self.written = {5, 6, (FAR >> 12) + 1}  # by a vCPU: in the log already
        self.new: list[object] = []  # what an interrupted call may or may not have handed over

    def held(self) -> set[int]:
        """Pages that are held for writing; they will be in the log at their release."""
        pages = {page.gpa >> 12 for page in [self.page, *self.chain] if _is_held(page)}
        with suppress(StaleHandle):
            pages |= {int(gpa) >> 12 for gpa in self.batch.gpas}
        return pages

    def mapped(self) -> set[int]:
        """Pages under mappings."""
        return {page for m in self.space.mappings for page in range(m.gpa >> 12, (m.gpa + m.length) >> 12)}

    def check(self) -> None:
        """All invariants hold, and nobody has a lock."""
        exclusion = self.space._core.exclusion
        assert not exclusion.lock._is_owned()
        assert not any(gate.lock._is_owned() for gate in exclusion.gates)
        assert not self.reservoir._lock._is_owned()
        assert not any(obj._lock._is_owned() for obj in (self.ram, self.other, self.spare))
        for gate in exclusion.gates:
            self._look_up(gate.client)
        check(self.space)

    def _look_up(self, client: Holder) -> None:
        """A look-up that changes nothing, but for a HOLD that was left behind."""
        assert isinstance(client, VmClient)
        with suppress(Fault, Orphaned, StaleHandle):
            client.fault(SIZE, Prot.READ)

    def check_log(self, owed: set[int]) -> None:
        """Release what is held: then every page that was written is in the log, if it is still mapped."""
        self.release()
        if self.space.destroyed or not self.space.tracking:
            return
        log = self.space.track_dirty(0, SIZE)
        logged = set(np.flatnonzero(np.unpackbits(log, bitorder="little")).tolist())
        assert owed & self.mapped() <= logged

    def release(self) -> None:
        """Give up what is held."""
        del self.view
        for client in (self.client, self.neighbour, self.idle):
            with suppress(StaleHandle):
                client.release_all()

    def close(self) -> None:
        """End it all; that the reservoir closes says that nothing leaked."""
        self.space.close()
        for made in self.new:
            with suppress(NptError):
                made.release()  # type: ignore[attr-defined]
        for obj in (self.ram, self.other, self.spare):
            with suppress(StaleHandle):
                obj.release()
        assert self.reservoir.usage.free == self.reservoir.size
        self.reservoir.close()

    def unmap(self) -> None:
        """Unmap the big mapping, unless that was done."""
        with suppress(NoSuchMapping):
            self.space.unmap(0, N_PAGES * PAGE)


def _is_held(page: VmPage) -> bool:
    return page._client is not None
