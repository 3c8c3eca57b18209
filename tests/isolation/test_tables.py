"""Page tables and frames that change hands under running vCPUs: what a vCPU loads at a place is what was mapped there.

A place is a leaf table of its own: as many places as there are leaf tables in turn, in two guests. The main thread maps, marks,
unmaps and frees in both, so that tables and frames go from place to place and from guest to guest at once; vCPUs of both run
over all places in long calls, which remember tables and cached translations as long as they may. A mark names guest and place.
"""

import threading
from typing import Any

import numpy as np
import pytest

from npt import ExitReason, Prot, PteFormat, RamObject, Reservoir, Vcpu, VmClient, VmSpace
from npt._types import U64Array
from npt.testing import check
from tests.isolation.canary import PAGE, filled, stamp, strange
from tests.threads.crew import LONG, Crew, crew

pytestmark = pytest.mark.slow
TABLE, N_PLACES, N_PAGES = 0x20_0000, 6, 3
TURNS, RUN = 200 * LONG, 1 << 15  # changes of the main thread; accesses of a call
_MARK = np.uint64(0xFFFF << 48 | 0xFFFF << 16)  # guest, the object's upper bits, and page: of a place all the same


def word(guest: int, place: int, count: int) -> int:
    """A mark: an object for each place."""
    return stamp(guest, place + 1 << 16 & 0xFF_0000, place, count)


def are_at(loads: U64Array, guest: int, places: U64Array) -> Any:
    """Which loads are zero, or marks of their place."""
    expected = np.array([word(guest, place, 0) for place in range(N_PLACES)], np.uint64)[places.astype(np.intp)]
    return (loads == 0) | ((loads & _MARK) == (expected & _MARK))


class Guest:
    """A guest, what it has where, and vCPUs that run in it."""

    def __init__(self, form: PteFormat, reservoir: Reservoir, number: int, seed: int) -> None:
        self.number, self.reservoir = number, reservoir
        self.chance = np.random.default_rng(seed)
        self.space = VmSpace(1 << 30, format=form, reservoir=reservoir, track_dirty=True, kick_timeout=60)
        self.client: VmClient = self.space.client()
        self.there: dict[int, RamObject] = {}
        self.n_loads = self.n_faults = self.n_marks = 0
        self.passed = threading.Event()

    def move(self) -> None:
        """One place more, with what the other guest gave up last; and one less, for this guest's next and the other."""
        place = int(self.chance.choice([place for place in range(N_PLACES) if place not in self.there]))
        ram = self.there[place] = self.reservoir.allocate(N_PAGES * PAGE)
        self.space.map(ram, place * TABLE, ram.length, Prot.RW)
        self.client.write(place * TABLE, np.tile(filled(word(self.number, place, len(self.there))), N_PAGES))
        if len(self.there) > N_PLACES - 3:
            gone = int(self.chance.choice(sorted(self.there)))
            self.space.unmap(gone * TABLE, N_PAGES * PAGE)
            self.there.pop(gone).release()

    def load(self, tlb: int, team: Crew) -> None:
        """A vCPU that reads all over the guest, and skips what is not there."""
        chance = np.random.default_rng(tlb + self.number)
        vcpu = Vcpu(self.space.client(), tlb=tlb)
        while team.working:
            places = chance.integers(0, N_PLACES, RUN, np.uint64)
            while places.size and team.working:
                places = self.load_from(vcpu, places, chance.integers(0, N_PAGES * PAGE // 8, places.size, np.uint64))
            self.n_loads += 1
            self.passed.set()

    def load_from(self, vcpu: Vcpu, places: U64Array, words: U64Array) -> U64Array:
        """Look at places up to the first that is not mapped; those that are left then."""
        loads = np.zeros(places.size, np.uint64)
        exit = vcpu.run(places * np.uint64(TABLE) + words * np.uint64(8), into=loads)
        wrong = np.flatnonzero(~are_at(loads, self.number, places))[:4]
        assert not wrong.size, f"guest {self.number} at places {places[wrong]}: {strange(loads[wrong])}"
        self.n_marks += int(np.count_nonzero(loads))
        if exit.reason is not ExitReason.FAULT:
            return places[:0]
        self.n_faults += 1
        rest = places[exit.completed :]
        left: U64Array = np.extract(rest != rest[0], rest)
        return left

    def close(self) -> None:
        """All is given back."""
        check(self.space)
        self.space.close()
        for ram in self.there.values():
            ram.release()


def churn(form: PteFormat, tlb: int, turns: int) -> list[Guest]:
    """Both guests in turn, a vCPU inside each; room for little more than they have."""
    reservoir = Reservoir((2 * (N_PLACES - 2) * N_PAGES + 1) * PAGE)
    guests = [Guest(form, reservoir, number, seed) for number, seed in ((1, 3), (2, 5))]
    loaders = [lambda team, guest=guest: guest.load(tlb, team) for guest in guests]
    with crew(*loaders) as team:
        for turn in range(turns):
            guest = guests[turn % 2]
            if turn % 8 == 0:  # vCPUs have come by since: without, all turns may be over before they run
                guest.passed.clear()
                while team.working and not guest.passed.wait(0.01):
                    pass
            if not team.working:
                break
            guest.move()
    for guest in guests:
        guest.close()
    assert reservoir.usage.free == reservoir.size
    assert not reservoir.buffer.any()
    reservoir.close()
    return guests


@pytest.mark.parametrize("tlb", [0, 64])
def test_tables__a_vcpu_never_lands_in_anothers(form: PteFormat, tlb: int) -> None:
    """Loads are marks of the vCPU's own guest and of the very place, or zero, however often tables and frames change hands."""
    guests = churn(form, tlb, TURNS)
    for guest in guests:
        print(f"{guest.n_loads} calls, {guest.n_marks} marks, {guest.n_faults} faults")
        assert guest.n_loads > TURNS // 32
        assert guest.n_marks
        assert guest.n_faults


def test_tables__marks_are_told_apart() -> None:
    """By hand: what a load may be at a place, and what not."""
    places = np.array([2, 2, 2, 2, 2], np.uint64)
    loads = np.array([0, word(1, 2, 5), word(1, 3, 5), word(2, 2, 5), 1], np.uint64)
    assert are_at(loads, 1, places).tolist() == [True, True, False, False, False]
