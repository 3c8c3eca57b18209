"""Tracking turned off and on in the middle of rounds: nothing is lost while it is on.

Every write of the vCPU stores a number that was never stored before, so a page whose number differs between two looks at memory
was written between them. Looks are taken right after ``set_tracking(True)`` has returned, before and after each harvest, and
right before ``set_tracking(False)`` is called. What was written between two looks with tracking on and no harvest between them
is *owed*: the next harvest reports it, however often tracking goes off and on before that. What a harvest reports was written
since the last one began; with EPT, whose D bits nobody sets while tracking is off, at a time when it was on or about to be.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress

import numpy as np
import pytest
from numpy.typing import NDArray

from npt import EPT, Prot, PteFormat, Reservoir, TrackingDisabled, Vcpu, VmSpace
from npt._types import U64Array
from npt.testing import check, without_shootdown
from tests.threads.crew import LONG, Crew, crew
from tests.threads.guest import guest, stay_inside, thrown

PAGE = 0x1000
FIRST = 0x1FF000  # the last page of a leaf table
N_PAGES = 513
HOSTS = N_PAGES - 1  # a page that the host alone writes, through holds
STINT = 1 << 17  # writes of one run
HOT = 32  # pages that a second half of them keeps to: they stay in any TLB
PHASES = 60 * LONG  # times that tracking comes on
Bools = NDArray[np.bool_]
pytestmark = pytest.mark.slow


class Toggled:
    """A guest that is written all the time, what is owed, and what may be reported."""

    def __init__(self, form: PteFormat, tlb: int) -> None:
        self.form, self.rng = form, np.random.default_rng(5)
        self.reservoir = Reservoir(N_PAGES * PAGE)
        self.ram = self.reservoir.allocate(N_PAGES * PAGE)
        self.space = VmSpace(1 << 40, format=form, reservoir=self.reservoir, track_dirty=False)
        self.space.map(self.ram, FIRST, self.ram.length, Prot.RW)
        self.vcpu, self.host = Vcpu(self.space.client(), tlb=tlb), self.space.client()
        self.vcpu.run([])  # a kernel that has to be compiled is compiled here, not on CPU beside a kick
        self.host.fault(FIRST + HOSTS * PAGE, Prot.RW)
        start = (self.ram.pfn_at(0) - self.reservoir.base_pfn) * PAGE
        self.words = self.reservoir.buffer[start : start + self.ram.length].view(np.uint64)[:: PAGE // 8]
        self.owed, self.may = np.zeros(N_PAGES, np.bool_), np.zeros(N_PAGES, np.bool_)
        self.since = self.before_on = self.look()
        self.was_owed = self.was_not = 0

    def look(self) -> U64Array:
        """The numbers that pages have now."""
        return self.words.copy()

    def write(self, team: Crew) -> None:
        """The vCPU's thread."""
        rng, number, stints = np.random.default_rng(6), 1 << 32, list[U64Array]()
        for _ in range(8):  # made before: the vCPU is to be inside most of the time
            pages = rng.choice(HOSTS, STINT // 2), rng.choice(rng.choice(HOSTS, HOT), STINT // 2)
            stints.append(np.uint64(FIRST) + np.concatenate(pages).astype(np.uint64) * np.uint64(PAGE))
        while team.working:
            number += STINT
            gpas = stints[number // STINT % len(stints)]
            self.vcpu.run(gpas, write=True, values=np.arange(number, number + STINT, dtype=np.uint64))

    # -- the host ---------------------------------------------------------------------------------------------------

    def turn_on(self) -> None:
        """From its return on, writes are owed."""
        self.before_on = self.look()
        self.space.set_tracking(True)
        self.since = self.look()

    def owe(self) -> None:
        """What was written since the last look is owed; nothing was harvested in between."""
        self.owed |= self.look() != self.since

    def turn_off(self) -> None:
        """Up to its call, writes are owed; up to its return, they may be marked."""
        self.owe()
        self.space.set_tracking(False)
        self.may |= self.look() != self.before_on

    def harvest(self) -> None:
        """What is owed is reported, and nothing that was not written."""
        self.owe()
        before = self.look()
        bitmap = self.space.track_dirty(FIRST, self.ram.length)
        found = np.unpackbits(bitmap, count=N_PAGES, bitorder="little").astype(np.bool_)
        after = self.look()
        self.may |= after != self.before_on
        assert not (self.owed & ~found).any(), "written while tracking was on, and not reported"
        if self.form is EPT:
            assert not (found & ~self.may).any(), "reported, and not written while tracking was on"
        self.was_owed, self.was_not = self.was_owed + int(self.owed.sum()), self.was_not + int((~self.owed).sum())
        self.owed[:], self.may[:] = False, after != before  # written behind the clearing, for all that is known
        self.since = self.before_on = after

    def linger(self) -> None:
        """Until the vCPU got some way on, or not for long."""
        start = self.look()
        for _ in range(100):
            time.sleep(0)  # let it have the interpreter
            if int((self.look() != start).sum()) > HOT:
                return

    def phase(self, number: int) -> None:
        """Tracking off for a while, then on, with no, one or two harvests; the host writes, too."""
        self.linger()
        self.turn_on()
        if number % 5 == 0:
            self.host.write(FIRST + HOSTS * PAGE, number.to_bytes(8, "little"))
        for k in range(number % 3):
            if k or number % 2:  # else at once: what was written before tracking came on has not been written again
                self.linger()
            self.harvest()
        if number % 4:
            self.linger()
        self.turn_off()

    def phases(self, n: int) -> None:
        """Beside the vCPU; at the end a harvest with the vCPU stopped, and what was owed is even then."""
        with crew(self.write) as team:
            while team.working and self.vcpu.client.gate.inside is None:
                time.sleep(0)
            number = 0
            while team.working and (number < n or self.was_owed <= N_PAGES):
                number += 1
                self.phase(number)
        self.turn_on()
        self.harvest()

    def close(self) -> None:
        """All is well inside."""
        check(self.space)
        self.space.close()
        self.ram.release()
        self.reservoir.close()


@contextmanager
def toggled(form: PteFormat, tlb: int) -> Iterator[Toggled]:
    """A guest for it, checked and taken down."""
    made = Toggled(form, tlb)
    yield made
    made.close()


@pytest.mark.parametrize("tlb", [0, 64])
def test_toggling__in_the_middle_of_rounds(form: PteFormat, tlb: int) -> None:
    """A write between the return of set_tracking(True) and the call of set_tracking(False) is in a harvest, then or later."""
    with toggled(form, tlb) as made:
        made.phases(PHASES)
        assert made.was_owed > N_PAGES  # some pages had to be reported, and of some nothing is known
        assert made.was_not > 0


@pytest.mark.parametrize("tlb", [0, 64])
def test_toggling__beside_harvests_of_another_thread(form: PteFormat, tlb: int) -> None:
    """One thread turns tracking off and on, another harvests when it can: what was written while it was on is reported."""
    with toggled(form, tlb) as made:
        reports: list[Bools] = []
        begun, windows = [0], list[tuple[Bools, int, int]]()

        def toggle(team: Crew) -> None:
            weight = 0  # pages that had to be reported
            while team.working and (weight <= N_PAGES or len(windows) < PHASES or len(reports) < PHASES):
                made.space.set_tracking(True)
                n_done, start = len(reports), made.look()
                made.linger()
                written = made.look() != start
                windows.append((written, n_done, begun[0]))
                weight += int(written.sum())
                made.space.set_tracking(False)
            made.space.set_tracking(True)
            team.over.set()

        def harvest() -> None:
            with suppress(TrackingDisabled):
                begun[0] = len(reports) + 1  # this one may be the last that sees what is written from now on
                bitmap = made.space.track_dirty(FIRST, made.ram.length)
                reports.append(np.unpackbits(bitmap, count=N_PAGES, bitorder="little").astype(np.bool_))

        with crew(toggle, made.write) as team:
            while team.working:
                harvest()
        harvest()
        assert min(len(windows), len(reports)) >= PHASES
        for written, first, last in windows:
            assert not (written & ~np.any(reports[first : last + 1], axis=0)).any()


@pytest.mark.parametrize("name", ["track_dirty", "peek_dirty", "reset_dirty", "set_dirty"])
def test_toggling__a_call_that_waited_for_it_is_refused(form: PteFormat, name: str) -> None:
    """While set_tracking(False) waits for a vCPU others queue behind it; then there is no log for them."""
    with guest(form) as made:
        stuck, entered, leave = made.space.client(), threading.Event(), threading.Event()
        made.client.write(0, b"x")
        raised: list[type[BaseException] | None] = []

        def turn_off(_: Crew) -> None:
            made.space.set_tracking(False)

        def ask(_: Crew) -> None:
            raised.append(thrown(lambda: getattr(made.space, name)(0, made.ram.length)))

        with crew(stay_inside(stuck, entered, leave)), ExitStack() as at_the_end:
            at_the_end.callback(leave.set)  # or nobody would get on
            entered.wait()
            with crew(turn_off) as switch:
                while not stuck.kicked:
                    time.sleep(0)
                with crew(ask):
                    for _ in range(200):  # it comes to wait; if it does not yet, the answer is the same
                        time.sleep(0)
                    waited = made.space.tracking, switch.busy()
                    leave.set()
        assert waited == (True, True)
        assert raised == [TrackingDisabled]
        made.space.set_tracking(True)
        assert made.dirty() == {0}


# -- the oracle can fail ------------------------------------------------------------------------------------------------


def fails(form: PteFormat, tlb: int, plant: Callable[[Toggled], None], match: str) -> None:
    """The oracle tells the fault, soon."""
    with toggled(form, tlb) as made:
        plant(made)
        with pytest.raises(AssertionError, match=match):
            made.phases(1000 * PHASES)  # as good as never that many: it takes 2 to 400


@pytest.mark.parametrize("tlb", [0, 64])
def test_toggling__finds_a_kick_that_is_left_out(tlb: int) -> None:
    """A vCPU that was inside when tracking came on goes on without marks, if nobody makes it leave."""

    def plant(made: Toggled) -> None:
        turn = made.space.set_tracking

        def unkicked(enabled: bool) -> None:
            with without_shootdown(made.space) if enabled else nullcontext():
                turn(enabled)

        vars(made.space)["set_tracking"] = unkicked

    fails(EPT, tlb, plant, "not reported")


def test_toggling__finds_bits_that_go_with_tracking(form: PteFormat) -> None:
    """Turning tracking off leaves D as it is."""

    def plant(made: Toggled) -> None:
        turn = made.space.set_tracking

        def forget(enabled: bool) -> None:
            if not enabled:
                made.space.track_dirty(FIRST, made.ram.length)
            turn(enabled)

        vars(made.space)["set_tracking"] = forget

    fails(form, 0, plant, "not reported")


@pytest.mark.parametrize("off", [True, False])
def test_toggling__finds_marks_set_while_it_is_off(off: bool) -> None:
    """An EPT vCPU that goes on setting D because tracking never went off."""
    with toggled(EPT, 0) as made:
        if not off:
            made.space.set_tracking(True)
            vars(made.space)["set_tracking"] = lambda enabled: None
        made.turn_on()
        made.harvest()
        made.turn_off()
        made.vcpu.run([FIRST + 3 * PAGE], write=True, values=[7])
        made.turn_on()
        with nullcontext() if off else pytest.raises(AssertionError, match="not written while"):
            made.harvest()


@pytest.mark.parametrize("fault", ["peek", "no shoot-down"])
def test_toggling__finds_a_bad_harvest(fault: str) -> None:
    """One that clears nothing invents, one that kicks nobody loses."""

    def plant(made: Toggled) -> None:
        track = made.space.track_dirty

        def harvest(gpa: int, length: int) -> NDArray[np.uint8]:
            if fault == "peek":
                return made.space.peek_dirty(gpa, length)
            with without_shootdown(made.space):
                return track(gpa, length)

        vars(made.space)["track_dirty"] = harvest

    fails(EPT, 64, plant, "not written while" if fault == "peek" else "not reported")
