"""A migration by a dirty log beside a running vCPU: rounds, aborts, pauses; whatever happens, the copy is right in the end.

Guest, vCPU and oracle are those of ``tests/threads/migration.py``: every write stores a number that was never stored before,
and copy and memory are compared as a whole when the vCPU is out.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from npt import EPT, NPT, Prot, PteFormat, Vcpu
from npt.dirty.log import DirtyLog, LogState
from npt.dirty.rounds import Round
from tests.threads.crew import LONG, Crew, crew
from tests.threads.migration import FIRST, N_PAGES, PAGE, STINT, Migration, addresses

STINTS = 4 * LONG
pytestmark = pytest.mark.slow


@pytest.fixture(params=[EPT, NPT], ids=["ept", "npt"])
def form(request: pytest.FixtureRequest) -> PteFormat:
    """Each entry format in turn."""
    assert isinstance(request.param, PteFormat)
    return request.param


class Host:
    """Who migrates the guest, by what the log owes."""

    def __init__(self, form: PteFormat, tracking: bool) -> None:
        self.guest = Migration(form, 1)
        self.guest.space.set_tracking(tracking)
        self.log = DirtyLog(self.guest.space, FIRST, N_PAGES * PAGE)
        self.vcpu = Vcpu(self.guest.space.client(), tlb=64)
        self.n_rounds = self.n_aborts = 0

    def copy(self, done: Round, pieces: int | None = None) -> None:
        """Send what a round owes, or only so many pieces of it."""
        for n, (gpa, length) in enumerate(self.log.copying(done, n_pages=64)):
            if n == pieces:
                break
            pages = np.arange((gpa - FIRST) // PAGE, (gpa + length - FIRST) // PAGE)
            with self.guest.reader.hold_many(FIRST + pages * PAGE, Prot.READ) as held:
                self.guest.copy[pages] = held.gather()
        self.n_rounds += 1

    def stint(self, beside: Callable[["Host", int], object]) -> int:
        """The vCPU writes 2**20 times, the host does something beside it again and again; then the last round.

        How many pages are not in the copy as they are.
        """
        gpas = addresses("random", self.guest.rng, touches=False)
        with crew(lambda _: self.guest.write(self.vcpu, gpas)) as team:
            turn = 0
            while team.working and team.busy():
                beside(self, turn)
                turn += 1
        self.guest.written += STINT
        if self.log.state is LogState.STOPPED:
            self.log.start()
        self.log.resume()
        self.copy(self.log.round())
        return self.guest.compare()


@contextmanager
def host(form: PteFormat, *, tracking: bool) -> Iterator[Host]:
    """A migration under way, taken down at its end."""
    made = Host(form, tracking)
    made.log.start(owe=made.log.mapped())
    yield made
    made.log.stop()
    assert made.guest.space.tracking is tracking
    made.guest.close()


def test_rounds__beside_a_vcpu(form: PteFormat) -> None:
    """What was reported and sent is all there was."""
    with host(form, tracking=False) as made:
        for _ in range(STINTS):
            assert made.stint(lambda h, turn: h.copy(h.log.round())) == 0
        assert made.n_rounds > 2 * STINTS


def some_aborts(made: Host, turn: int) -> None:
    """Some rounds are sent, some in part, some are aborted in the middle."""
    if made.log.state is LogState.STOPPED:
        made.log.start()
    made.copy(made.log.round(), [None, 0, 1, 3][turn % 4])
    if turn % 4 > 1:
        assert not made.log.abort().any()
        made.n_aborts += 1


def test_aborts__beside_a_vcpu(form: PteFormat) -> None:
    """Put back while the vCPU writes the same pages: what was not sent is reported again."""
    with host(form, tracking=True) as made:
        for _ in range(STINTS):
            assert made.stint(some_aborts) == 0
        assert made.n_aborts > STINTS


def some_put_back(made: Host, turn: int) -> None:
    """What was not sent is put back, or every second page of it, and the log goes on."""
    made.copy(made.log.round(), turn % 3)
    made.log.put_back(None if turn % 2 else np.full(-(-N_PAGES // 8), 0x55, np.uint8))


def test_put_back__beside_a_vcpu(form: PteFormat) -> None:
    """Likewise without stopping."""
    with host(form, tracking=False) as made:
        for _ in range(STINTS):
            assert made.stint(some_put_back) == 0


def some_pauses(made: Host, turn: int) -> None:
    """Tracking goes off and on; what may have been written in the gap is owed as a whole."""
    if turn % 2:
        made.log.pause()
        made.log.resume(owe=made.log.mapped())
    made.copy(made.log.round())


def test_pauses__beside_a_vcpu(form: PteFormat) -> None:
    """Nothing is lost that was written while tracking was on, and the rest is known to be unknown."""
    with host(form, tracking=False) as made:
        for _ in range(STINTS):
            assert made.stint(some_pauses) == 0
        gaps = int(made.log.rounds.gaps.sum())
        assert gaps > 0


def test_sender__in_a_thread_of_its_own(form: PteFormat) -> None:
    """One thread harvests, another sends and acknowledges, late: a page that was reported meanwhile stays owed."""
    with host(form, tracking=False) as made:

        def send(team: Crew) -> None:
            while team.working:
                if len(made.log.rounds):
                    made.copy(made.log.rounds[len(made.log.rounds)])

        for _ in range(STINTS):
            gpas = addresses("random", made.guest.rng, touches=False)
            with crew(lambda _, gpas=gpas: made.guest.write(made.vcpu, gpas), send) as team:  # type: ignore[misc]
                while team.working and team.busy():
                    made.log.round()
            made.guest.written += STINT
            made.copy(made.log.round())
            assert made.guest.compare() == 0
            assert not made.log.owed.any()
