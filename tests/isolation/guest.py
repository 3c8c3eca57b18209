"""A guest that does what comes up: all calls that give it memory, take it away, or show it; everything seen is checked."""

from collections.abc import Callable
from itertools import count
from typing import NamedTuple

import numpy as np
import pytest

from npt import Prot, Segment, VmPage
from npt._types import U64Array
from npt.errors import NptError
from tests.isolation.canary import PAGE, filled
from tests.isolation.kinds import KINDS, WHOLE
from tests.isolation.owner import PLACES, Owner
from tests.isolation.town import Late, Thing, Town

__all__ = ["Guest"]

N_LATE, N_HELD, N_SEGMENTS = 12, 8, 4


class Held(NamedTuple):
    """A page that is held."""

    page: VmPage
    thing: Thing
    number: int


class Guest(Owner):
    """One of several."""

    def __init__(self, town: Town, number: int, seed: int) -> None:
        super().__init__(town, number, seed)
        self.turns = count(seed)  # of kinds of views
        self.late: list[Late] = []
        self.held: list[Held] = []

    def begin(self) -> None:
        """A new life, with nothing mapped."""
        super().begin()
        self.segments: list[tuple[Segment, Thing, int, int]] = []

    def do(self, steps: int) -> None:
        """What comes up, so many times."""
        acts = [act for act, weight in self.acts().items() for _ in range(weight)]
        for _ in range(steps):
            self.random.choice(acts)()

    def acts(self) -> dict[Callable[[], object], int]:
        """What there is to do, and how often that comes up."""
        return {
            self.allocate: 10, self.free: 6, self.share: 1, self.take: 3, self.resize: 2,
            self.map: 14, self.map_device: 1, self.unmap: 8, self.populate: 2, self.harvest: 2, self.renew_client: 1,
            self.hold: 12, self.release: 9, self.hold_many: 8, self.read: 6, self.write: 6, self.run: 8, self.load: 6,
            self.open_segment: 4, self.use_segment: 6, self.close_segment: 3, self.use_guest_segment: 3,
            self.look_late: 10, self.forget: 4, self.look_at_frames: 4, self.end: 1,
        }  # fmt: skip

    def make_room(self) -> None:
        """Give some of everything up."""
        for give_up in (self.forget, self.release, self.unmap, self.free):
            give_up()

    # -- looking and writing ----------------------------------------------------------------------------------------

    def pick(self, *, write: bool = False) -> tuple[int, Thing, int, int] | None:
        """Some pages of a mapping: where, and what they are."""
        need = Prot.WRITE if write else Prot.READ
        fit = [gpa for gpa, mapped in sorted(self.mapped.items()) if mapped.thing is not None and mapped.prot & need]
        if not fit:
            return None
        gpa = self.random.choice(fit)
        thing, first, n_pages, _ = self.mapped[gpa]
        assert thing is not None
        skip = self.random.randrange(n_pages)
        return gpa + skip * PAGE, thing, first + skip, self.random.randint(1, n_pages - skip)

    def hold(self) -> None:
        """A page is looked at, perhaps written, perhaps held on."""
        write = self.random.random() < 0.6
        found = self.pick(write=write)
        if found is None or len(self.held) >= N_HELD:
            return
        gpa, thing, number, _ = found
        self.town.keep(thing)
        page = self.random.choice(self.clients).hold(gpa, Prot.RW if write else Prot.READ)
        self.held.append(Held(page, thing, number))
        self.town.look("hold", thing, number, page.readable())
        if write and self.random.random() < 0.8:
            word = self.word(thing, number)
            page.writable().view(np.uint64)[:] = word
            self.town.write(thing, number, word)

    def release(self) -> None:
        """A page is given up; what was made of its view, perhaps not. It shows what it did, mapped or not."""
        if not self.held:
            return
        page, thing, number = self.held.pop(self.random.randrange(len(self.held)))
        self.town.look("held", thing, number, page.readable())
        if self.random.random() < 0.5 and len(self.late) < N_LATE:
            names = WHOLE if self.town.threaded else [*KINDS]
            name = names[next(self.turns) % len(names)]
            view = page.writable() if page.prot & Prot.WRITE else page.readable()
            assert view.flags.writeable == bool(page.prot & Prot.WRITE)
            self.late.append(self.town.outlive(thing, number, name, view))
            del view
        self.town.drop(thing)
        page.release()

    def hold_many(self) -> None:
        """Pages of several mappings, copied out and in."""
        found = [one for one in (self.pick(write=True) for _ in range(3)) if one is not None]
        if not found:
            return
        pages = [(gpa + n * PAGE, thing, first + n) for gpa, thing, first, n_pages in found for n in range(n_pages)]
        with self.random.choice(self.clients).hold_many([gpa for gpa, *_ in pages], Prot.RW) as batch:
            for copied, (_, thing, number) in zip(batch.gather(), pages, strict=True):
                self.town.look("gather", thing, number, copied)
            words = {(thing, number): self.word(thing, number) for _, thing, number in pages}
            batch.scatter(np.stack([filled(words[thing, number]) for _, thing, number in pages]))
        for (thing, number), word in words.items():
            self.town.write(thing, number, word)

    def read(self) -> None:
        """Bytes across pages."""
        found = self.pick()
        if found is not None:
            gpa, thing, first, n_pages = found
            text = self.random.choice(self.clients).read(gpa, n_pages * PAGE)
            self.town.look("read", thing, first, np.frombuffer(text, np.uint8))

    def write(self) -> None:
        """Bytes across pages."""
        found = self.pick(write=True)
        if found is not None:
            gpa, thing, first, n_pages = found
            words = [self.word(thing, number) for number in range(first, first + n_pages)]
            self.random.choice(self.clients).write(gpa, np.concatenate([filled(word) for word in words]))
            for number, word in enumerate(words, first):
                self.town.write(thing, number, word)

    def run(self) -> None:
        """A vCPU stores, and loads what is there then."""
        found = self.pick(write=True)
        if found is None:
            return
        gpa, thing, number, _ = found
        word, gpas = self.word(thing, number), words_at(gpa)
        exit = self.random.choice(self.vcpus).run(gpas, write=True, values=np.full(gpas.size, word, np.uint64))
        assert exit.completed == gpas.size
        self.town.write(thing, number, word)
        self.town.seen["stores"] += 1

    def load(self) -> None:
        """A vCPU loads from all over the guest, devices too."""
        vcpu = self.random.choice(self.vcpus)
        mapped = sorted(self.mapped.items())
        pages = [
            (gpa + n * PAGE, one.thing, one.first + n)
            for gpa, one in mapped
            for n in range(one.n_pages)
            if self.random.random() < 0.3
        ]
        if not pages:
            return
        gpas = np.concatenate([words_at(gpa) for gpa, *_ in pages])
        loads = np.full(gpas.size, 7, np.uint64)
        assert vcpu.run(gpas, into=loads).completed == gpas.size
        assert len(pages) > 0
        for loaded, (_, thing, number) in zip(loads.reshape(-1, PAGE // 8), pages, strict=True):
            if thing is None:
                assert not loaded.any()
            else:
                self.town.look("loads", thing, number, loaded.view(np.uint8))

    def look_at_frames(self) -> None:
        """Frames of an object of its own, as the reservoir shows them."""
        things = [*self.own, *self.memsegs.values()]
        if things:
            self.town.look_at_frames(self.random.choice(things))

    # -- segments ---------------------------------------------------------------------------------------------------

    def open_segment(self) -> None:
        """A window straight to an object."""
        if self.memsegs and len(self.segments) < N_SEGMENTS:
            segid = self.random.choice(sorted(self.memsegs))
            thing = self.memsegs[segid]
            first = self.random.randrange(thing.n_pages)
            n_pages = self.random.randint(1, thing.n_pages - first)
            self.town.keep(thing)
            segment = self.vm.map_object(segid, first * PAGE, n_pages * PAGE, Prot.RW)
            self.segments.append((segment, thing, first, n_pages))

    def use_segment(self) -> None:
        """Look, and write, through a window to an object."""
        if self.segments:
            segment, thing, first, n_pages = self.random.choice(self.segments)
            self.through("segment", segment, thing, first, n_pages)

    def use_guest_segment(self) -> None:
        """The same through a window to the address space."""
        found = self.pick(write=True)
        if found is not None:
            gpa, thing, first, n_pages = found
            with self.vm.map_guest(gpa, n_pages * PAGE, Prot.RW) as segment:
                self.through("guest segment", segment, thing, first, n_pages)

    def through(self, way: str, segment: Segment, thing: Thing, first: int, n_pages: int) -> None:
        """All of it is seen, one page written."""
        self.town.look(way, thing, first, np.frombuffer(segment[:], np.uint8))
        page = self.random.randrange(n_pages)
        word = self.word(thing, first + page)
        segment[page * PAGE : (page + 1) * PAGE] = filled(word).tobytes()
        self.town.write(thing, first + page, word)

    def close_segment(self) -> None:
        """A window goes."""
        if self.segments:
            segment, thing, *_ = self.segments.pop(self.random.randrange(len(self.segments)))
            self.town.drop(thing)
            segment.close()

    # -- late views -------------------------------------------------------------------------------------------------

    def look_late(self) -> None:
        """All that is kept beyond its hold; one of it is written through."""
        for late in self.late:
            self.town.look_late(late)
        if self.late:
            self.town.write_late(self.random.choice(self.late))

    def forget(self) -> None:
        """One that is kept, no more; a last look."""
        if self.late:
            late = self.late.pop(self.random.randrange(len(self.late)))
            self.town.look_late(late)
            self.town.forget(late)

    # -- the end ----------------------------------------------------------------------------------------------------

    def end(self) -> None:
        """The guest is destroyed, holds and views live on, and one more begins."""
        gone = [mapped.thing for mapped in self.mapped.values()] + [*self.memsegs.values()]
        for thing in [thing for thing in gone if thing is not None] + [thing for _, thing, *_ in self.segments]:
            self.town.drop(thing)
        if self.random.random() < 0.5:
            self.vm.space.close()
        self.vm.destroy()
        with pytest.raises(NptError):
            self.vcpus[0].run(np.array(PLACES, np.uint64))
        self.town.seen["ends"] += 1
        self.begin()

    def look_at_all(self) -> None:
        """Everything that it has, in every way."""
        for thing in (*self.own, *self.memsegs.values()):
            self.town.look_at_frames(thing)
        for gpa, mapped in self.mapped.items():
            if mapped.thing is not None:
                text = self.clients[0].read(gpa, mapped.n_pages * PAGE)
                self.town.look("read", mapped.thing, mapped.first, np.frombuffer(text, np.uint8))
        for page, thing, number in self.held:
            self.town.look("held", thing, number, page.readable())
        for late in self.late:
            self.town.look_late(late)

    def leave(self) -> None:
        """Give everything up, for good."""
        self.end()
        self.vm.destroy()
        while self.held:
            self.release()
        while self.late:
            self.forget()
        while self.own:
            self.free()


def words_at(gpa: int) -> U64Array:
    """Addresses of all words of a page."""
    return np.uint64(gpa) + np.arange(0, PAGE, 8, dtype=np.uint64)
