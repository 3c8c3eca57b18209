"""What a guest has: objects, a space, and what of the objects is where in it."""

import random
from abc import ABC, abstractmethod
from itertools import count
from typing import NamedTuple

import pytest

from npt import MmioObject, NotSupported, Prot, ReservoirExhausted, StaleHandle, Vm, VmClient
from tests.isolation.canary import PAGE, stamp
from tests.isolation.town import LIMIT, SIZE, Thing, Town

__all__ = ["PLACES", "Mapped", "Owner"]

MOST = 12  # pages of an object
SLOT = 16 * PAGE
PLACES = [border + n * SLOT for border in (0x20_0000, 1 << 30) for n in range(-4, 4)]  # tables are shared, and are not
DEVICE = 0xFEC0_0000  # below the reservoir's frames
TLBS = (0, 16)
N_MEMSEGS, N_OWN = 3, 6


class Mapped(NamedTuple):
    """A stretch of an object, or of a device, in the guest."""

    thing: Thing | None
    first: int
    n_pages: int
    prot: Prot


class Owner(ABC):
    """Gets memory, maps it, unmaps it, and gives it up."""

    def __init__(self, town: Town, number: int, seed: int) -> None:
        self.town, self.number = town, number
        self.random = random.Random(seed * 16 + number)
        self.own: list[Thing] = []
        self._counts = count()
        self.begin()

    def begin(self) -> None:
        """A new life, with nothing mapped."""
        self.vm = Vm(self.town.reservoir, format=self.town.form, track_dirty=self.random.random() < 0.5)
        self.clients: list[VmClient] = [self.vm.space.client() for _ in range(2)]
        self.vcpus = [self.vm.vcpu(n, tlb=tlb) for n, tlb in enumerate(TLBS)]
        self.mapped: dict[int, Mapped] = {}
        self.memsegs: dict[int, Thing] = {}

    def word(self, thing: Thing, page: int) -> int:
        """What this guest writes next, to a page."""
        return stamp(self.number, thing.number, page, next(self._counts))

    @abstractmethod
    def make_room(self) -> None:
        """Give some of everything up."""

    # -- memory -----------------------------------------------------------------------------------------------------

    def allocate(self) -> None:
        """An object of its own: one that it keeps itself, or a segment that its Vm keeps."""
        length, transient = self.random.randint(1, MOST) * PAGE, self.random.random() < 0.2
        try:
            if len(self.memsegs) < N_MEMSEGS and self.random.random() < 0.3:
                segid = len(self.memsegs)
                self.memsegs[segid] = self.town.move_in(self.vm.alloc_memseg(segid, length, transient=transient))
            elif len(self.own) < N_OWN:
                self.own.append(self.town.move_in(self.town.reservoir.allocate(length, transient=transient)))
        except ReservoirExhausted:
            self.town.seen["short"] += 1
            self.make_room()

    def free(self) -> None:
        """Give a reference up; mappings and holds may keep the object."""
        if self.own:
            thing = self.own.pop(self.random.randrange(len(self.own)))
            self.town.drop(thing)
            thing.ram.release()

    def share(self) -> None:
        """Let others have an object, too."""
        if self.own:
            self.town.share(self.random.choice(self.own))

    def take(self) -> None:
        """Have an object of others, too, if it is still there."""
        thing = self.random.choice(self.town.market[-4:] or [None])
        if thing is None or len(self.own) >= N_OWN or not self.town.keep(thing):
            return
        try:
            thing.ram.reference()
        except StaleHandle:  # its last keeper, a thread, was about to go
            assert self.town.threaded
            self.town.drop(thing)
        else:
            self.town.seen["taken"] += 1
            self.own.append(thing)

    def resize(self) -> None:
        """The reservoir shrinks or grows, as far as it can."""
        reached = self.town.reservoir.resize(self.random.choice([SIZE, SIZE // 2, LIMIT, SIZE + 7]) * PAGE, chunk=8 * PAGE)
        assert 0 <= reached <= LIMIT * PAGE

    # -- mappings ---------------------------------------------------------------------------------------------------

    def map(self) -> None:
        """Some pages of an object, somewhere."""
        things = [*self.own, *self.memsegs.values()]
        place = self.place()
        if not things or place is None:
            return
        thing = self.random.choice(things)
        first = self.random.randrange(thing.n_pages)
        n_pages = self.random.randint(1, thing.n_pages - first)
        gpa = place + self.random.randint(0, SLOT // PAGE - n_pages) * PAGE
        prot = self.random.choice([Prot.RW, Prot.RW, Prot.RWX, Prot.READ])
        self.town.keep(thing)
        self.vm.space.map(thing.ram, gpa, n_pages * PAGE, prot, first * PAGE)
        self.mapped[gpa] = Mapped(thing, first, n_pages, prot)

    def place(self) -> int | None:
        """A slot where nothing is mapped."""
        free = set(PLACES) - {gpa // SLOT * SLOT for gpa in self.mapped}
        return self.random.choice(sorted(free)) if free else None

    def map_device(self) -> None:
        """Addresses of a device: they show nothing."""
        place = self.place()
        if place is None:
            return
        self.vm.space.map_mmio(place, SLOT, DEVICE + place % 0x10_0000).release()
        self.mapped[place] = Mapped(None, 0, SLOT // PAGE, Prot.RW)
        with self.clients[0].hold(place, Prot.RW) as page, pytest.raises(NotSupported):
            page.readable()
        with pytest.raises(NotSupported):
            self.clients[0].read(place + PAGE - 8, 16)
        (device,) = (one for one in self.vm.space.mappings if one.gpa == place)
        assert isinstance(device.obj, MmioObject)
        self.town.seen["device"] += 1

    def unmap(self) -> None:
        """One mapping goes; the object, if that was all that kept it, too."""
        if self.mapped:
            gpa = self.random.choice(sorted(self.mapped))
            mapped = self.mapped.pop(gpa)
            if mapped.thing is not None:
                self.town.drop(mapped.thing)
            self.vm.space.unmap(gpa, mapped.n_pages * PAGE)

    def populate(self) -> None:
        """A mapping becomes resident."""
        if self.mapped:
            gpa = self.random.choice(sorted(self.mapped))
            self.vm.space.populate(gpa, self.mapped[gpa].n_pages * PAGE)

    def harvest(self) -> None:
        """What kicks and flushes, but gives nothing away."""
        if self.vm.space.tracking:
            self.vm.space.track_dirty(0, 1 << 31)
        self.vm.space.set_tracking(self.random.random() < 0.7)

    def renew_client(self) -> None:
        """A client without holds goes, for a clone of the other."""
        if not self.clients[0].holds:
            self.clients[0].destroy()
            self.clients[0] = self.clients[1].clone()
        self.clients.reverse()
