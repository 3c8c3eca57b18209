"""A guest with something of everything, for checks of what is inside it."""

from npt import EPT, MmioObject, Prot, PteFormat, RamObject, Reservoir, VmClient, VmSpace
from npt.memory.ledger import Ledger
from npt.space.core import Core
from npt.units import ENTRIES

__all__ = ["DEVICE", "FAR", "PAGE", "RAM", "ROM", "SIZE", "Guest"]

PAGE = 0x1000
SIZE = 1 << 40
RAM = 0x1F_8000  # 16 pages over the 2 MiB border, all resident, some dirty
ROM = 0x40_0000  # 4 pages to be read and executed, one of them resident
DEVICE = 0x80_0000  # 2 pages of MMIO
FAR = 1 << 39  # 2 pages in the other half of the root
GONE = 0xC0_0000  # where something was mapped


class Guest:
    """A space with mappings of every kind, and clients with holds of every kind; one frame is in quarantine."""

    def __init__(self, form: PteFormat = EPT) -> None:
        self.reservoir = Reservoir(0x80 * PAGE, limit=0xA0 * PAGE)
        self.space = VmSpace(SIZE, format=form, reservoir=self.reservoir, track_dirty=True, kick_timeout=0.05)
        self.ram, self.rom = self.reservoir.allocate(0x10 * PAGE), self.reservoir.allocate(4 * PAGE)
        self.far = self.reservoir.allocate(2 * PAGE, transient=True)
        self.mmio = MmioObject(2 * PAGE, 0xFE00_0000)
        for obj, gpa, prot in (
            (self.ram, RAM, Prot.RW), (self.rom, ROM, Prot.RX), (self.mmio, DEVICE, Prot.RW), (self.far, FAR, Prot.RWX),
        ):  # fmt: skip
            self.space.map(obj, gpa, obj.length, prot)
        self.space.populate(RAM, self.ram.length)
        self.space.populate(FAR, self.far.length)
        self._hold()
        self._forget()
        hole, self.spare = self.reservoir.allocate(3 * PAGE), self.reservoir.allocate(PAGE)
        hole.release()
        self.runner = self.space.client()
        self.runner.table_enter()

    def _hold(self) -> None:
        self.client, self.other = self.space.client(), self.space.client()
        self.client.write(RAM, b"\x5a" * PAGE)
        self.first, self.second = self.client.hold(RAM, Prot.RW), self.client.hold(RAM + PAGE, Prot.RW)
        self.first.chain(self.second)
        self.reader = self.client.hold(ROM, Prot.READ)
        self.device = self.client.hold(DEVICE, Prot.RW)
        self.batch = self.other.hold_many([RAM, RAM + 0xF * PAGE, RAM], Prot.READ)

    def _forget(self) -> None:
        """Holds of what is unmapped, a view of what is freed, a client that is destroyed."""
        self.gone = self._map_gone(2)
        self.unmapped = self.client.hold(GONE, Prot.RW)
        self.unmapped_batch = self.other.hold_many([GONE, GONE + PAGE], Prot.RW)
        self.space.unmap(GONE, self.gone.length)
        self.gone.release()
        viewed = self._map_gone(1)
        page = self.client.hold(GONE, Prot.RW)
        self.view = page.writable()
        self.space.unmap(GONE, PAGE)
        page.release()
        viewed.release()
        self.destroyed = self.space.client()
        self.destroyed.destroy()

    def _map_gone(self, n_pages: int) -> RamObject:
        obj = self.reservoir.allocate(n_pages * PAGE)
        self.space.map(obj, GONE, obj.length, Prot.RW)
        return obj

    # -- where to plant ---------------------------------------------------------------------------------------------

    @property
    def core(self) -> Core:
        """What the space, its clients and vCPUs share."""
        return self.space._core

    @property
    def ledger(self) -> Ledger:
        """Who has which frame."""
        ledger = self.reservoir._ledger
        assert ledger is not None
        return ledger

    def leaf(self, gpa: int) -> int:
        """Flat index of a page's leaf."""
        return self._table(gpa, 1) * ENTRIES + (gpa >> 12) % ENTRIES

    def set_leaf(self, gpa: int, entry: int) -> None:
        """Overwrite a page's leaf."""
        self.core.table.levels[0][self.leaf(gpa)] = entry

    def entry(self, gpa: int) -> int:
        """A page's leaf."""
        return int(self.core.table.levels[0][self.leaf(gpa)])

    def place(self, gpa: int, level: int) -> int:
        """Flat index of the directory entry of a level above an address."""
        return self._table(gpa, level) * ENTRIES + (gpa >> 12 + 9 * (level - 1)) % ENTRIES

    def _table(self, gpa: int, level: int) -> int:
        table = 0
        for above in range(4, level, -1):
            entry = int(self.core.table.levels[above - 1][table * ENTRIES + (gpa >> 12 + 9 * (above - 1)) % ENTRIES])
            table = (entry >> 12) % (1 << 27)
        return table

    def stray(self) -> VmClient:
        """A client that the space has forgotten."""
        self.core.exclusion.gates.remove(self.client.gate)
        return self.client
