"""Isolation under churn: nobody ever sees a page of somebody else's.

Owners map an object each, stamp its pages, check them, unmap and free it, and begin again with a new identity: over and over
the same frames in other hands. Strangers hold whatever they find. A stamp says whose page it is and which, so every page that
anybody sees is either zero, being new, or stamped by the owner of that very address. Views are kept beyond the release, while
the frames under them are freed: no later owner's stamp ever comes up in them.
"""

import random
import threading
from collections import deque

import numpy as np
import pytest

from npt import Fault, Prot, PteFormat, Reservoir, ReservoirExhausted, Vcpu, VmSpace
from npt._types import U8Array
from npt.testing import check
from tests.threads.crew import LONG, Crew, crew

PAGE = 0x1000
SLOT = 0x20_0000 - PAGE  # bytes from one owner's place to the next: leaf tables are shared, and then are not
MOST = 40  # pages of an object
N_OWNERS, N_STRANGERS = 3, 2
LIVES = 60 * LONG  # of an owner
KEPT = 12  # views that a party keeps
pytestmark = pytest.mark.slow


def stamp(life: int, page: int) -> int:
    """What the pages of one life of an owner have in every word."""
    return (life << 16) | page + 1


class Town:
    """Who lives where: a place for each owner, a number for each life."""

    def __init__(self, form: PteFormat) -> None:
        self.reservoir = Reservoir(N_OWNERS * MOST * PAGE + 3 * PAGE)  # all are in use, all the time
        self.space = VmSpace(1 << 40, format=form, reservoir=self.reservoir, track_dirty=True)
        self.lives: dict[int, int] = {}  # owner, by life
        self.lock = threading.Lock()
        self.seen = self.kept = self.short = 0

    def move_in(self, owner: int) -> int:
        """A new life."""
        with self.lock:
            life = len(self.lives) + 1
            self.lives[life] = owner
            return life

    def check_stamp(self, view: U8Array, owner: int, page: int, life: int | None = None) -> int:
        """A page is new, or one of this owner, and this very page; and of one life. Return which."""
        words = set(np.unique(view.view(np.uint64)).tolist()) - {0}
        assert len(words) <= 1, f"stamps of several: {words}"
        for word in words:
            found = word >> 16
            assert self.lives[found] == owner, f"owner {self.lives[found]} at the place of {owner}"
            assert word == stamp(found, page), f"page {(word & 0xFFFF) - 1} at the place of {page}"
            assert life in (None, found)
            return int(found)
        return 0


class Keeper:
    """Views that are looked at long after their page was released."""

    def __init__(self, town: Town) -> None:
        self.town = town
        self.kept: deque[tuple[U8Array, int, int, int | None]] = deque(maxlen=KEPT)

    def keep(self, view: U8Array, owner: int, page: int, life: int) -> None:
        """A view of a page of one life; of a page that was new then, of whichever comes up first."""
        self.kept.append((view, owner, page, life or None))
        self.town.kept += 1

    def check(self) -> None:
        """What is kept shows what it did, or zero."""
        for n, (view, owner, page, life) in enumerate(self.kept):
            found = self.town.check_stamp(view, owner, page, life)
            if found and life is None:
                self.kept[n] = view, owner, page, found


class Owner:
    """One that maps, stamps, checks, unmaps and frees."""

    def __init__(self, town: Town, number: int) -> None:
        self.town, self.number, self.gpa = town, number, number * SLOT
        self.random = random.Random(number)
        self.client = town.space.client()
        self.vcpu = Vcpu(town.space.client(), tlb=(0, 64)[number % 2])
        self.keeper = Keeper(town)

    def live(self, team: Crew) -> None:
        """All its lives."""
        for _ in range(LIVES):
            if not team.working:
                return
            try:
                ram = self.town.reservoir.allocate(self.random.randint(1, MOST) * PAGE, transient=False)
            except ReservoirExhausted:  # views that are kept, keep their frames
                self.town.short += 1
                self.keeper.kept.clear()
                continue
            with ram:
                life, n_pages = self.town.move_in(self.number), ram.length // PAGE
                self.town.space.map(ram, self.gpa, ram.length, Prot.RW)
                if self.random.random() < 0.5:
                    self.town.space.populate(self.gpa, ram.length)
                self.stamp(life, n_pages)
                for _ in range(4):
                    self.look(life, n_pages)
                with self.client.hold(self.gpa, Prot.RW) as last:
                    self.town.space.unmap(self.gpa, ram.length)
                    self.town.check_stamp(last.readable(), self.number, 0, life)
            self.keeper.check()

    def stamp(self, life: int, n_pages: int) -> None:
        """By a vCPU, by holds, by bytes; the memory is zero before."""
        with self.client.hold_many(self.gpa + np.arange(n_pages) * PAGE, Prot.READ) as pages:
            assert not pages.gather().any()
        page = 0
        while page < n_pages:
            gpa, word = self.gpa + page * PAGE, stamp(life, page)
            way = self.random.randrange(3)
            if way == 0:
                words = np.arange(PAGE // 8, dtype=np.uint64) * np.uint64(8) + np.uint64(gpa)
                self.vcpu.run(words, write=True, values=np.full(words.size, word, np.uint64))
            elif way == 1:
                with self.client.hold(gpa, Prot.RW) as held:
                    held.writable().view(np.uint64)[:] = word
            else:
                self.client.write(gpa, word.to_bytes(8, "little") * (PAGE // 8))
            page += 1

    def look(self, life: int, n_pages: int) -> None:
        """Its pages are its own, and stamped."""
        page = self.random.randrange(n_pages)
        gpa = self.gpa + page * PAGE
        with self.client.hold(gpa, Prot.READ) as held:
            view = held.readable()
            assert self.town.check_stamp(view, self.number, page, life) == life
        assert self.client.read(gpa + PAGE - 8, 8) == stamp(life, page).to_bytes(8, "little")
        loaded = np.zeros(1, np.uint64)
        self.vcpu.run([gpa + 8], into=loaded)
        assert int(loaded[0]) == stamp(life, page)
        if self.random.random() < 0.3:
            self.keeper.keep(view, self.number, page, life)


class Stranger:
    """One that holds what it finds."""

    def __init__(self, town: Town, number: int) -> None:
        self.town, self.random = town, random.Random(1000 + number)
        self.client = town.space.client()
        self.keeper = Keeper(town)

    def roam(self, team: Crew) -> None:
        """Hold, look, keep some views, hold several for a while, harvest."""
        while team.working:
            self.look()
            self.keeper.check()
            if self.random.random() < 0.1:
                self.town.space.track_dirty(0, N_OWNERS * SLOT + MOST * PAGE & -PAGE)
            if self.random.random() < 0.02:
                self.client.destroy()
                self.client = self.town.space.client()
        self.keeper.kept.clear()

    def look(self) -> None:
        """One page of somebody's, twice: while it is held it does not change hands."""
        owner, page = self.random.randrange(N_OWNERS), self.random.randrange(MOST)
        try:
            held = self.client.hold(owner * SLOT + page * PAGE, Prot.READ)
        except Fault:  # nothing is mapped there just now
            return
        with held:
            view = held.readable()
            first = self.town.check_stamp(view, owner, page)
            self.town.space.translate([0])
            second = self.town.check_stamp(view, owner, page, first or None)
            self.town.seen += 1
        if self.random.random() < 0.2:
            self.keeper.keep(view, owner, page, second)


def settle(town: Town) -> None:
    """All is well inside; everything is free again and zero."""
    check(town.space)
    town.space.close()
    assert town.reservoir.usage.free == town.reservoir.size
    assert not town.reservoir.buffer.any()
    town.reservoir.close()


def test_isolation__no_page_of_a_wrong_owner(form: PteFormat) -> None:
    """Every page that owners and strangers see is the owner's of that address, or new."""
    town = Town(form)
    owners = [Owner(town, number) for number in range(N_OWNERS)]
    strangers = [Stranger(town, number) for number in range(N_STRANGERS)]
    with crew(*(owner.live for owner in owners), *(stranger.roam for stranger in strangers)) as team:
        for thread in team.threads[:N_OWNERS]:
            thread.join()
    keepers = [owner.keeper for owner in owners] + [stranger.keeper for stranger in strangers]
    for keeper in keepers:
        keeper.check()
        keeper.kept.clear()
    print(f"{len(town.lives)} lives, {town.seen} pages seen by strangers, {town.kept} views kept, {town.short} times short")
    assert len(town.lives) > N_OWNERS * LIVES // 4
    assert town.seen > 0
    settle(town)
