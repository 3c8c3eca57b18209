"""Whatever was done: when all is given up, all memory is free and zero, and one table is left, all zero."""

import gc
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from npt import EPT, NPT, MmioObject, Prot, PteFormat, RamObject, Reservoir, Vcpu, VmClient, VmPage, VmPages, VmSpace
from tests.space.scene import GIB, LEVELS, MIB, PAGE, SIZE, TABLES_OF_NOBODY, map_at, tables

PLACES = [0, 3 * PAGE, 2 * MIB - 3 * PAGE, 2 * MIB + 5 * PAGE, GIB - 2 * PAGE, 512 * GIB - PAGE, SIZE - 8 * PAGE]


@dataclass
class Guest:
    """One guest, and everything that somebody has of it."""

    form: PteFormat
    reservoir: Reservoir = field(init=False)
    space: VmSpace = field(init=False)
    clients: list[VmClient] = field(init=False)
    objects: list[RamObject | MmioObject] = field(default_factory=list)
    pages: list[VmPage] = field(default_factory=list)
    batches: list[VmPages] = field(default_factory=list)
    views: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.reservoir = Reservoir(0x80 * PAGE, limit=0xA0 * PAGE)
        self.space = VmSpace(SIZE, format=self.form, reservoir=self.reservoir, track_dirty=True)
        self.clients = [self.space.client(), self.space.client()]

    def some_page(self, k: int) -> int:
        """Address of a page that is mapped, or 0."""
        mappings = self.space.mappings
        if not mappings:
            return 0
        mapping = mappings[k % len(mappings)]
        return mapping.gpa + k % (mapping.length // PAGE) * PAGE

    # -- operations: each takes two numbers ---------------------------------------------------------------------------------

    def allocate(self, a: int, b: int) -> None:
        if self.reservoir.usage.free >= 8 * PAGE:
            self.objects.append(self.reservoir.allocate((a % 8 + 1) * PAGE))

    def allocate_device(self, a: int, b: int) -> None:
        self.objects.append(MmioObject((a % 8 + 1) * PAGE, 0xFE00_0000))

    def map(self, a: int, b: int) -> None:
        gpa = PLACES[a % len(PLACES)]
        if self.objects and all(m.gpa + m.length <= gpa or gpa + 8 * PAGE <= m.gpa for m in self.space.mappings):
            map_at(self.space, self.objects[b % len(self.objects)], gpa, (Prot.RW, Prot.RWX, Prot.RW, Prot.READ)[b % 4])

    def unmap(self, a: int, b: int) -> None:
        if self.space.mappings:
            mapping = self.space.mappings[a % len(self.space.mappings)]
            self.space.unmap(mapping.gpa, mapping.length)

    def give_up(self, a: int, b: int) -> None:
        if self.objects:
            self.objects.pop(a % len(self.objects)).release()

    def populate(self, a: int, b: int) -> None:
        if self.space.mappings:
            self.space.populate(self.some_page(a), PAGE)

    def hold(self, a: int, b: int) -> None:
        gpa = self.some_page(a)
        client = self.clients[b % 2]
        if not client.fault_many([gpa], Prot.RW)[0]:
            page = client.hold(gpa, Prot.RW)
            self.pages.append(page)
            if int(self.space.translate([gpa])[0]) != 0xFE000 and page.pfn < 0x100000 + 0xA0 and page.pfn >= 0x100000:
                page.writable()[b % PAGE] = 0x77
                if b % 3 == 0:
                    self.views.append(page.writable()[a % PAGE :])

    def hold_many(self, a: int, b: int) -> None:
        gpas = [self.some_page(a), self.some_page(b)]
        if not self.clients[0].fault_many(gpas, Prot.READ).any():
            self.batches.append(self.clients[0].hold_many(gpas, Prot.READ))

    def chain(self, a: int, b: int) -> None:
        first, second = self.clients[0], self.clients[0]
        if not first.fault_many([self.some_page(a)], Prot.READ)[0]:
            pages = first.hold(self.some_page(a), Prot.READ), second.hold(self.some_page(a), Prot.READ)
            pages[0].chain(pages[1])
            self.pages.append(pages[0])
            if b % 2:
                pages[0].release_chain()
                self.pages.pop()

    def release(self, a: int, b: int) -> None:
        if self.pages:
            self.pages.pop(a % len(self.pages)).release_chain()
        elif self.batches:
            self.batches.pop(a % len(self.batches)).release()

    def drop_view(self, a: int, b: int) -> None:
        if self.views:
            self.views.pop(a % len(self.views))

    def write_view(self, a: int, b: int) -> None:
        if self.views:
            self.views[a % len(self.views)][:] = 0x55

    def run(self, a: int, b: int) -> None:
        gpas = [self.some_page(a), self.some_page(b), PLACES[a % len(PLACES)]]
        Vcpu(self.clients[b % 2]).run(gpas, write=bool(a % 2), values=[a + 1] * 3)

    def write(self, a: int, b: int) -> None:
        gpa = self.some_page(a)
        mapped = [m for m in self.space.mappings if m.gpa <= gpa < m.gpa + m.length]
        if mapped and isinstance(mapped[0].obj, RamObject) and mapped[0].prot & Prot.WRITE:
            self.clients[0].write(gpa + b % 0xFF0, b"sixteen bytes ok")

    def harvest(self, a: int, b: int) -> None:
        if self.space.tracking:
            gpa = PLACES[a % len(PLACES)]
            found = self.space.track_dirty(gpa, 8 * PAGE)
            if b % 2:
                self.space.set_dirty(gpa, 8 * PAGE, select=found)

    def set_dirty(self, a: int, b: int) -> None:
        if self.space.tracking:
            self.space.set_dirty(PLACES[a % len(PLACES)], 8 * PAGE, select=np.array([b % 256], np.uint8))

    def set_tracking(self, a: int, b: int) -> None:
        self.space.set_tracking(bool(a % 2))

    def resize(self, a: int, b: int) -> None:
        self.reservoir.resize((0x60 + a % 0x40) * PAGE, chunk=b % 2 * PAGE)

    def check(self) -> None:
        """What holds at any time: the count is that of the leaves, and all memory is somebody's."""
        assert self.space.resident_count == np.count_nonzero(self.space.table.entries(1))
        usage = self.reservoir.usage
        assert usage.free + usage.allocated + usage.quarantined == self.reservoir.size

    def give_up_everything(self) -> None:
        """End everything, space last or not at all."""
        self.views.clear()
        for page in self.pages:
            page.release_chain()
        for batch in self.batches:
            batch.release()
        for mapping in self.space.mappings:
            self.space.unmap(mapping.gpa, mapping.length)
        for obj in self.objects:
            obj.release()


OPERATIONS = [
    "allocate", "allocate_device", "map", "unmap", "give_up", "populate", "hold", "hold_many", "chain", "release", "drop_view",
    "write_view", "run", "write", "harvest", "set_dirty", "set_tracking", "resize", "map", "map", "allocate", "run", "hold",
]  # fmt: skip
NUMBERS = st.integers(0, 2**12)


@settings(max_examples=60)
@given(
    form=st.sampled_from([EPT, NPT]), history=st.lists(st.tuples(st.sampled_from(OPERATIONS), NUMBERS, NUMBERS), max_size=60)
)
def test_empty_end(form: PteFormat, history: list[tuple[str, int, int]]) -> None:
    """After any history that ends empty, memory is free and zero and only the root is left."""
    guest = Guest(form)
    for name, a, b in [("allocate", 7, 0), ("map", 0, 0), *history]:
        getattr(guest, name)(a, b)
        guest.check()
    guest.give_up_everything()
    gc.collect(0)
    usage = guest.reservoir.usage
    assert (usage.allocated, usage.quarantined, usage.transient, usage.free) == (0, 0, 0, guest.reservoir.size)
    assert not guest.reservoir.buffer.any()
    assert tables(guest.space.table) == TABLES_OF_NOBODY
    assert guest.space.resident_count == 0
    assert not any(guest.space.table.entries(level).any() for level in LEVELS)
    guest.space.destroy()
    guest.reservoir.close()
