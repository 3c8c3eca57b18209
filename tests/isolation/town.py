"""One reservoir, the objects that guests have of it, and what every page of them must show: the model.

An object's *keepers* are those who may still reach it: its owner's reference, mappings, holds, segments, of all guests. The
last one to go says so before it goes: from then on nobody may see anything of it, and its frames may be another's, but for
those of which there is a *late* view.

While one thread runs all guests, the model knows every byte. With a thread for each guest it does so for what is that guest's
own; of what is shared, and of late views, it knows whose words they may show.
"""

import gc
import threading
from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np

from npt import PteFormat, RamObject, Reservoir, VmSpace
from npt._types import U8Array
from npt.testing import check
from tests.isolation.canary import LATE, PAGE, are_of, filled, frames_of, stamp, strange
from tests.isolation.kinds import KINDS

__all__ = ["Late", "Thing", "Town"]

SIZE, LIMIT = 0x60, 0x80  # frames


class Thing:
    """An object, and what its pages show.

    Attributes
    ----------
    bytes : numpy.ndarray
        ``uint8``, shape ``(n_pages, 4096)``: what they show, as far as that is known.
    keepers : int
        How many may reach it; once that is 0, nobody.
    shared : bool
        Whether it ever was another guest's, too, on purpose.
    late : collections.Counter
        Views kept beyond their hold, by page.
    """

    def __init__(self, number: int, ram: RamObject) -> None:
        self.number, self.ram, self.transient = number, ram, ram.transient
        self.frames = frames_of(ram)
        self.n_pages = len(self.frames)
        self.bytes = np.zeros((self.n_pages, PAGE), np.uint8)
        self.keepers, self.shared = 1, False
        self.late: Counter[int] = Counter()


class Late:
    """Something made of a view, beyond the hold that the view is from; and the same made of what it should show."""

    def __init__(self, thing: Thing, page: int, name: str, view: U8Array) -> None:
        self.thing, self.page, self.name = thing, page, name
        self.kind = KINDS[name]
        self.kept: Any = self.kind.derive(view)
        self.expected: Any = self.kind.derive(thing.bytes[page])

    def seen(self) -> Any:
        """What it shows."""
        return self.kind.look(self.kept)

    def should(self) -> Any:
        """What it should show."""
        return self.kind.look(self.expected)


class Town:
    """All guests' memory.

    Attributes
    ----------
    owners : numpy.ndarray
        By frame: number of the object that has it, or had it when a late view of it was taken; 0 for none.
    market : list of Thing
        What any guest may take and map.
    seen : collections.Counter
        Looks, by way.
    """

    def __init__(self, form: PteFormat, *, threaded: bool) -> None:
        self.form, self.threaded = form, threaded
        self.reservoir = Reservoir(SIZE * PAGE, limit=LIMIT * PAGE)
        self.pages = self.reservoir.buffer.reshape(-1, PAGE)
        self.owners = np.zeros(LIMIT, np.int64)
        self.things: list[Thing] = []
        self.market: list[Thing] = []
        self.seen: Counter[str] = Counter()
        self._lock = threading.RLock()

    # -- who has what -----------------------------------------------------------------------------------------------

    def move_in(self, ram: RamObject) -> Thing:
        """An object was handed out: it is zero, and nobody else's."""
        frames = frames_of(ram)
        assert not self.pages[frames].any(), f"new, and of {strange(self.pages[frames].view(np.uint64))}"
        with self._lock:
            owners = self.owners[frames]
            assert not owners.any(), f"frames of objects {set(owners.tolist())} were handed out"
            thing = Thing(len(self.things) + 1, ram)
            self.things.append(thing)
            self.owners[frames] = thing.number
            self.seen["new"] += 1
            return thing

    def keep(self, thing: Thing) -> bool:
        """Somebody more may reach it; False if nobody can any more."""
        with self._lock:
            thing.keepers += thing.keepers > 0
            return thing.keepers > 0

    def drop(self, thing: Thing) -> None:
        """Somebody is about to give it up."""
        with self._lock:
            assert thing.keepers > 0
            thing.keepers -= 1
            if not thing.keepers:
                self.owners[[frame for page, frame in enumerate(thing.frames) if not thing.late[page]]] = 0
                thing.bytes[:] = 0

    def share(self, thing: Thing) -> None:
        """Any guest may have it."""
        thing.shared = True
        self.market.append(thing)

    def outlive(self, thing: Thing, page: int, name: str, view: U8Array) -> Late:
        """Something that is made of a view is kept, and the hold will be given up."""
        with self._lock:
            thing.late[page] += 1
        return Late(thing, page, name, view)

    def forget(self, late: Late) -> None:
        """Be rid of it."""
        with self._lock:
            late.thing.late[late.page] -= 1
            if not late.thing.late[late.page] and not late.thing.keepers:
                self.owners[late.thing.frames[late.page]] = 0
        late.kept = None

    # -- what is seen -----------------------------------------------------------------------------------------------

    def is_known(self, thing: Thing) -> bool:
        """Whether the model knows every byte."""
        return not (self.threaded and thing.shared)

    def write(self, thing: Thing, page: int, word: int) -> None:
        """Every word of a page will be this one."""
        if self.is_known(thing):
            thing.bytes[page] = filled(word)

    def look(self, way: str, thing: Thing, first: int, seen: U8Array) -> None:
        """Whole pages of an object are seen, from one on."""
        seen = seen.reshape(-1, PAGE)
        assert len(seen)
        self.seen[way] += 1
        for page, there in enumerate(seen, first):
            words = there.view(np.uint64)
            alike = np.array_equal(there, thing.bytes[page]) if self.is_known(thing) else are_of(words, thing.number, page)
            assert alike, f"{way}: page {page:#x} of object {thing.number:#x} shows {strange(words)}"

    def look_at_frames(self, thing: Thing) -> None:
        """The object's frames, as the reservoir shows them."""
        self.look("buffer", thing, 0, self.pages[thing.frames])

    def look_late(self, late: Late) -> None:
        """A late view shows its own page, and nothing once that is gone but what was written through it."""
        self.seen["late" if late.thing.keepers else "after the end"] += 1
        self.seen[late.name] += 1
        seen = late.seen()
        if self.threaded:  # who drops an object may come back before another thread has zeroed it
            words = np.array(seen, order="C").reshape(-1).view(np.uint64)  # each word as it is at one moment
            assert are_of(words, late.thing.number, late.page), f"a late {late.name} shows {strange(words)}"
        else:
            assert np.array_equal(seen, late.should()), f"a late {late.name} shows {np.unique(seen)}"

    def write_late(self, late: Late) -> None:
        """Write through a view whose object is gone, if it lets one."""
        seen = late.seen()
        if not seen.flags.writeable or late.thing.keepers:
            return
        self.seen["late write"] += 1
        if self.threaded:
            seen.reshape(-1).view(np.uint64)[...] = stamp(LATE, late.thing.number, late.page, 1)
        else:
            seen[...] = LATE
            late.should()[...] = LATE

    # -- the pool ---------------------------------------------------------------------------------------------------

    def check_pool(self) -> None:
        """Between two calls of one thread: unused frames are zero and known, and the sums are right."""
        gc.collect()  # views in cycles
        usage = self.reservoir.usage
        alive = [thing for thing in self.things if thing.keepers]
        late = {
            (thing.frames[page], thing.transient)
            for thing in self.things
            for page, n in thing.late.items()
            if n and not thing.keepers
        }
        sums = {flag: sum(thing.n_pages for thing in alive if thing.transient is flag) for flag in (False, True)}
        waiting = {flag: sum(transient is flag for _, transient in late) for flag in (False, True)}
        assert usage.allocated == sums[False] * PAGE
        assert usage.quarantined == waiting[False] * PAGE
        assert usage.transient == (sums[True] + waiting[True]) * PAGE
        assert usage.free + usage.allocated + usage.quarantined == self.reservoir.size
        spans = [(span.pfn - self.reservoir.base_pfn, span.n_pages) for span in self.reservoir.free_spans]
        assert all(first + n < after for (first, n), (after, _) in pairwise(spans)), f"{spans} overlap, or touch"
        assert sum(n for _, n in spans) * PAGE == usage.free
        assert not any(self.owners[first : first + n].any() for first, n in spans)
        unused = self.pages[self.owners == 0].view(np.uint64)
        assert not unused.any(), f"nobody's, and of {strange(unused)}"
        self.seen["pool"] += 1

    def close(self) -> None:
        """Everybody has left: all is free again, merged, and zero."""
        self.check_pool()
        assert self.things
        assert not any(thing.keepers for thing in self.things)
        assert self.reservoir.resize(0) == 0  # everything can be moved
        assert self.reservoir.resize(SIZE * PAGE) == SIZE * PAGE
        assert [span.n_pages for span in self.reservoir.free_spans] == [SIZE]
        check(VmSpace(PAGE, reservoir=self.reservoir))
        assert not self.pages.any()
        self.reservoir.close()
