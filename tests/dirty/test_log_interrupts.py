"""An interrupt at any place of a call of a dirty log loses nothing: what is stale is dirty or owed, and goes on to be sent."""

import os
from collections.abc import Callable
from contextlib import suppress
from itertools import product

import pytest

from npt import EPT, NPT, NptError, warm_up
from tests.dirty.migrating import RAM, ROM, Guest, bitmap_of, guest
from tests.interrupts.interrupt import KINDS, interrupted

Call = Callable[[Guest], object]


def before_start(made: Guest) -> None:
    """Pages are dirty, and nobody has begun; tracking is off."""
    made.space.set_tracking(True)
    made.write(0, 4, 5, 22)
    made.space.set_tracking(False)


def running(made: Guest) -> None:
    """A round is half copied, another not at all, and pages were written since."""
    made.log.start(owe=made.log.mapped())
    made.write(0, 4, 5, 22)
    made.send_round(made.log.round())
    made.write(4, 6, 7)
    made.log.round()
    made.send_pages({6, 7})
    made.write(7, 8)
    made.log.round()
    made.write(0, 8, 9)


def paused(made: Guest) -> None:
    """The same, and the log was paused."""
    running(made)
    made.log.pause()


def half_sent(made: Guest) -> None:
    """The same, and what round 2 owes is sent."""
    running(made)
    made.send_pages({4, 6, 7})


CALLS: dict[str, tuple[Callable[[Guest], None], Call]] = {
    "start": (before_start, lambda g: g.log.start(owe=bitmap_of(RAM | ROM))),
    "round": (running, lambda g: g.log.round()),
    "pause": (running, lambda g: g.log.pause()),
    "resume": (paused, lambda g: g.log.resume(owe=bitmap_of({1}))),
    "stop": (running, lambda g: g.log.stop()),
    "abort": (running, lambda g: g.log.abort()),
    "abort of a paused log": (paused, lambda g: g.log.abort()),
    "put_back of some": (running, lambda g: g.log.put_back(bitmap_of({4, 7, 13}))),
    "acknowledge": (half_sent, lambda g: g.log.acknowledge(len(g.log.rounds) - 1, bitmap_of({4, 6, 7}))),
    "copying": (running, lambda g: g.send_round(g.log.rounds[len(g.log.rounds) - 1], most=1)),
}

# The format is no matter to an interrupt: each kind of place is gone through with one, with both in the long form.
FORMATS = {"ept": EPT, "npt": NPT}
ONE_EACH = [("call", "npt"), ("line", "ept"), ("c_return", "npt")]
BOTH = list(product(KINDS, FORMATS))
LONG = bool(os.environ.get("NPT_LONG"))  # else only each third place that is not a line


@pytest.fixture(scope="module", autouse=True)
def compiled() -> None:
    """Kernels are compiled in another thread, which no interrupt reaches; the waiting for it is not the subject here."""
    warm_up()


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "form"), BOTH if LONG else ONE_EACH)
@pytest.mark.parametrize("name", CALLS)
def test_interrupt__loses_nothing(name: str, kind: str, form: str) -> None:
    """Whatever was stale is dirty or owed; no lock is held; the call can be made again; then all comes to be sent."""
    prepare, work = CALLS[name]
    n, happened = 1, True
    with guest(FORMATS[form]) as made:
        while happened:
            made.target[:] = 0xEE
            prepare(made)
            if prepare is before_start:  # there is an earlier copy, but for what is dirty
                made.send_pages((RAM | ROM) - made.dirty())
            outcome = interrupted(lambda: work(made), kind, n)
            assert outcome is not False, f"the interrupt at place {n} was swallowed"
            happened = outcome is True
            try:
                check(made, work)
            except BaseException as error:
                error.add_note(f"interrupted at {kind} {n}")
                raise
            n += 1 if kind == "line" or LONG else 3
    assert n > 2


def check(made: Guest, work: Call) -> None:
    """Nothing is lost now, after the same call, and in the end."""
    assert not made.log._lock._is_owned()
    assert not made.log._switch.lock._is_owned()
    assert made.lost() == set()
    with suppress(NptError):  # that the log is in that state already
        work(made)
    assert made.lost() == set()
    made.finish()
    assert made.stale() == made.owed() == set()
    assert not made.space.tracking
