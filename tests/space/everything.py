"""A scene with something of everything, alive and dead, and the check that a call was refused and changed nothing."""

import errno
from collections.abc import Callable

from npt import (
    EPT,
    AccessDenied,
    AddressOverflow,
    BeyondSpace,
    Busy,
    Deadlock,
    Fault,
    InvalidArgument,
    MmioObject,
    NoSuchMapping,
    NptError,
    Orphaned,
    OutOfSegment,
    Overlap,
    Prot,
    PteFormat,
    Reservoir,
    ReservoirExhausted,
    StaleHandle,
    TrackingDisabled,
    Vcpu,
    Vm,
    VmSpace,
)  # fmt: skip
from tests.space.fingerprint import Fingerprint
from tests.space.scene import caught

__all__ = ["DEVICE", "GONE", "HOLE", "NEW", "N_RAM", "N_ROM", "PAGE", "RAM", "ROM", "SIZE", "Scene", "refused"]

PAGE = 0x1000
SIZE = 0x4000_0000  # of the scene's space
RAM = 0x1E_0000  # 64 pages over the 2 MiB border, some resident, some dirty
ROM = 0x40_0000  # 8 pages to be read
DEVICE = 0x80_0000  # 4 pages of MMIO
HOLE = 0x100_0000
NEW = 0x200_0000  # where a good call would map
GONE = 0x300_0000  # where something was mapped
N_RAM, N_ROM = 64, 8


class Scene:
    """One guest with something of everything, and another whose handles are foreign; dead handles of every class."""

    def __init__(self, form: PteFormat = EPT) -> None:
        self.reservoir = Reservoir(0x100 * PAGE, limit=0x120 * PAGE)
        self.other = Reservoir(0x10 * PAGE, base_pfn=0x200000)
        self.ram = self.reservoir.allocate(N_RAM * PAGE)
        self.rom = self.reservoir.allocate(N_ROM * PAGE)
        self.spare = self.reservoir.allocate(4 * PAGE)
        self.foreign = self.other.allocate(4 * PAGE)
        self.mmio = MmioObject(4 * PAGE, 0xFE00_0000)
        self.wide = MmioObject(SIZE, 0x1_0000_0000 << 4)
        self.space = VmSpace(SIZE, format=form, reservoir=self.reservoir, track_dirty=True)
        self.space.map(self.ram, RAM, N_RAM * PAGE, Prot.RW)
        self.space.map(self.rom, ROM, N_ROM * PAGE, Prot.RX)
        self.space.map(self.mmio, DEVICE, 4 * PAGE, Prot.RW)
        self.calls: list[tuple[int, int]] = []
        self._hold_pages()
        self._make_vm(form)
        self._bury(form)
        self._keep_what_is_gone()
        self.look()

    def look(self) -> None:
        """Take all that there is for what is not to be changed."""
        self.fingerprint = Fingerprint({name: value for name, value in vars(self).items() if name != "fingerprint"})

    def _hold_pages(self) -> None:
        self.client, self.neighbour = self.space.client(), self.space.client()
        self.client.on_invalidate(lambda gpa, length: self.calls.append((gpa, length)))
        self.client.write(RAM, bytes(range(256)) * 0x80)
        self.space.populate(ROM, 2 * PAGE)
        self.page = self.client.hold(RAM, Prot.RW)
        self.second = self.client.hold(RAM + PAGE, Prot.RW)
        self.reader = self.client.hold(ROM, Prot.READ)
        self.pages = self.client.hold_many([RAM, RAM + PAGE, RAM + 2 * PAGE], Prot.RW)
        self.readers = self.client.hold_many([ROM, ROM + PAGE], Prot.READ)
        self.strange = self.neighbour.hold(RAM, Prot.RW)
        self.vcpu = Vcpu(self.neighbour)
        self.first, self.last, self.loose = (self.neighbour.hold(RAM + n * PAGE, Prot.RW, defer_dirty=True) for n in (3, 4, 5))
        self.first.chain(self.last)
        self.cached = Vcpu(self.space.client(), tlb=6)
        self.cached.run([RAM, RAM + PAGE, RAM + 0x20 * PAGE], write=True)

    def _make_vm(self, form: PteFormat) -> None:
        self.vm = Vm(self.reservoir, format=form, size=SIZE)
        self.vm.alloc_memseg(0, 8 * PAGE)
        self.vm.map_memseg(0, RAM, 8 * PAGE, Prot.RW)
        self.object_segment = self.vm.map_object(0, PAGE, 4 * PAGE, Prot.RW)
        self.object_reader = self.vm.map_object(0, PAGE, 4 * PAGE, Prot.READ)
        self.guest_segment = self.vm.map_guest(RAM, 8 * PAGE, Prot.RW)
        self.guest_reader = self.vm.map_guest(RAM, 8 * PAGE, Prot.READ)
        self.vm.vcpu(0, tlb=3).run([RAM])

    def _bury(self, form: PteFormat) -> None:
        self.dead_space = VmSpace(SIZE, format=form, track_dirty=True)
        self.orphan = self.dead_space.client()
        self.lost_vcpu = Vcpu(self.orphan)
        self.dead_orphan = self.dead_space.client()
        self.dead_orphans_vcpu = Vcpu(self.dead_orphan)
        self.dead_space.destroy()
        self.dead_orphan.destroy()
        self.dead_untracked = VmSpace(SIZE, format=form)
        self.dead_untracked.destroy()
        self.untracked = VmSpace(SIZE, format=form)
        self.dead_client = self.space.client()
        self.dead_vcpu = Vcpu(self.dead_client)
        self.dead_client.destroy()
        self.dead_page = self.client.hold(RAM, Prot.RW)
        self.dead_page.release()
        self.dead_reader = self.client.hold(ROM, Prot.READ)
        self.dead_reader.release()
        self.dead_pages = self.client.hold_many([RAM], Prot.RW)
        self.dead_pages.release()
        self.dead_readers = self.client.hold_many([ROM, ROM + PAGE], Prot.READ)
        self.dead_readers.release()
        self.dead_ram = self.reservoir.allocate(PAGE)
        self.dead_ram.release()
        self.dead_mmio = MmioObject(PAGE, 0xFE00_0000)
        self.dead_mmio.release()
        self.closed_reservoir = Reservoir(PAGE)
        self.closed_reservoir.close()
        self.dead_vm = Vm(self.reservoir, format=form, size=SIZE)
        self.dead_vm.alloc_memseg(0, PAGE)
        self.closed_object_segment = self.dead_vm.map_object(0, 0, PAGE, Prot.RW)
        self.closed_guest_segment = self.dead_vm.map_guest(0, PAGE, Prot.RW)
        self.closed_object_reader = self.dead_vm.map_object(0, 0, PAGE, Prot.READ)
        self.closed_guest_reader = self.dead_vm.map_guest(0, PAGE, Prot.READ)
        self.dead_vm.destroy()

    def _keep_what_is_gone(self) -> None:
        """Holds of pages that were unmapped, a view of a page that was freed, transient memory."""
        self.transient = self.reservoir.allocate(2 * PAGE, transient=True)
        gone = self.reservoir.allocate(4 * PAGE)
        self.space.map(gone, GONE, 4 * PAGE, Prot.RW)
        self.kept, self.kept_pages = self.client.hold(GONE, Prot.RW), self.client.hold_many([GONE + PAGE], Prot.RW)
        self.space.unmap(GONE, 4 * PAGE)
        gone.release()
        freed = self.reservoir.allocate(PAGE)
        self.space.map(freed, GONE, PAGE, Prot.RW)
        with self.client.hold(GONE, Prot.RW) as page:
            self.view = page.writable()
        self.space.unmap(GONE, PAGE)
        freed.release()
        assert self.reservoir.usage.quarantined == PAGE


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


def refused(scene: Scene, act: Callable[[], object], error: type[Exception], *, renew: bool = True) -> None:
    """Check the class, the number and the second parent of what a call raises, and that nothing changed.

    Without ``renew`` nothing can have changed since the last call that was refused.
    """
    if renew:
        scene.fingerprint.renew()
    refusal = caught(act)
    assert type(refusal) is error, repr(refusal)
    if error in PROMISED:
        parent, number = PROMISED[error]
        assert isinstance(refusal, NptError)
        assert (isinstance(refusal, parent), refusal.errno) == (True, number)
        assert refusal.strerror
    refusal.__traceback__ = None  # it knows what the call had made
    changes = scene.fingerprint.changes(faulted=isinstance(refusal, Fault))
    assert not changes, changes
