"""``DirtyLog``: started, paused, resumed, stopped, started again."""

from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest

from npt import EPT, NPT, KickTimeout, TrackingDisabled
from tests.dirty.migrating import FIRST, LENGTH, N_PAGES, PAGE, RAM, ROM, Guest, bitmap_of, guest, pages_of
from tests.space.scene import caught, on_cpu_elsewhere


@pytest.fixture(params=[EPT, NPT], ids=["ept", "npt"])
def made(request: pytest.FixtureRequest) -> Any:
    """A guest whose space does not track."""
    with guest(request.param) as guest_:
        yield guest_


# -- started and stopped ------------------------------------------------------------------------------------------------


def test_start__first_round_has_what_was_dirty(made: Guest) -> None:
    """D bits that are there are not cleared: an abort may have put them back."""
    made.space.set_tracking(True)
    made.write(1, 2)
    made.log.start()
    assert pages_of(made.log.round().bitmap) == {1, 2}


def test_start__owes_what_it_is_told(made: Guest) -> None:
    """Besides what was written; the round that comes owes it and does not report it."""
    made.log.start(owe=bitmap_of({3, 9}))
    assert made.owed() == {3, 9}
    made.write(1)
    done = made.log.round()
    assert (pages_of(done.bitmap), pages_of(made.log.owed_by(done))) == ({1}, {1, 3, 9})


def test_start__what_it_is_told_is_copied_and_cut(made: Guest) -> None:
    """Bits past the end are ignored, and the caller's bitmap is his."""
    told = np.full(5, 0xFF, np.uint8)
    told.flags.writeable = False
    made.log.start(owe=told)
    assert made.owed() == set(range(N_PAGES))


@pytest.mark.parametrize("tracking", [False, True])
@pytest.mark.parametrize("end", ["stop", "abort"])
def test_end__leaves_tracking_as_it_was(tracking: bool, end: str) -> None:
    """On if it was on before the start, else off."""
    with guest(EPT, tracking) as made:
        made.log.start()
        assert made.space.tracking
        getattr(made.log, end)()
        assert made.space.tracking is tracking
        assert made.log.state.value == "stopped"


def test_pause__turns_off_what_the_log_turned_on(made: Guest) -> None:
    """And resume turns it on; what was written meanwhile is missing, and the next round says so."""
    made.log.start()
    made.write(1)
    last = made.log.pause()
    assert last is not None
    assert (pages_of(last.bitmap), made.space.tracking, made.log.state.value) == ({1}, False, "paused")
    made.client.write(FIRST + 2 * PAGE, b"not seen")
    made.log.resume()
    made.write(3)
    done, after = made.log.round(), made.log.round()
    assert (pages_of(done.bitmap), done.gap, after.gap) == ({3}, True, False)
    assert made.log.rounds.gaps.tolist() == [False, True, False]


def test_pause__of_a_space_that_tracked_leaves_no_gap() -> None:
    """Tracking stays on, and the next round has what was written meanwhile."""
    with guest(NPT, True) as made:
        made.log.start()
        made.log.pause()
        assert made.space.tracking
        made.write(7)
        made.log.resume()
        done = made.log.round()
        assert (pages_of(done.bitmap), done.gap) == ({7}, False)


def test_resume__owes_what_it_is_told(made: Guest) -> None:
    """For what was written in the gap."""
    made.log.start()
    made.log.pause()
    made.log.resume(owe=made.log.mapped())
    made.log.round()
    assert made.owed() == RAM | ROM


def test_resume__of_a_log_that_somebody_turned_off(made: Guest) -> None:
    """Rounds are refused; resume turns tracking on again, and the next round comes after a gap."""
    made.log.start()
    made.space.set_tracking(False)
    assert isinstance(caught(made.log.round), TrackingDisabled)
    made.log.resume()
    assert made.log.round().gap


@pytest.mark.parametrize("call", ["pause", "stop"])
def test_end__of_a_log_that_somebody_turned_off(made: Guest, call: str) -> None:
    """What was dirty before is harvested all the same, the round says that it has a gap, and tracking is off again."""
    made.log.start()
    made.write(3)
    made.space.set_tracking(False)
    last = getattr(made.log, call)()
    assert (pages_of(last.bitmap), last.gap, made.owed(), made.space.tracking) == ({3}, True, {3}, False)


@pytest.mark.parametrize("call", ["pause", "stop", "abort"])
def test_end__leaves_tracking_as_somebody_left_it(call: str) -> None:
    """It was on before the start, and somebody turned it off: off it stays."""
    with guest(NPT, True) as made:
        made.log.start(owe=bitmap_of({1}))
        made.space.set_tracking(False)
        getattr(made.log, call)()
        assert not made.space.tracking


def test_round__that_met_tracking_off_is_remembered(made: Guest) -> None:
    """Whoever turns it on again: the next round comes after a gap, the one after it does not."""
    made.log.start()
    made.space.set_tracking(False)
    assert isinstance(caught(made.log.round), TrackingDisabled)
    made.space.set_tracking(True)
    assert [made.log.round().gap, made.log.round().gap] == [True, False]


def test_pause__that_failed_when_tracking_was_off_leaves_a_gap(made: Guest) -> None:
    """A callback that raises comes too late; somebody turns it on again before the resume."""
    made.log.start()

    def fail(gpa: int, length: int) -> None:
        if length != LENGTH:  # not that of the harvest
            raise ZeroDivisionError

    made.client.on_invalidate(fail)
    with pytest.raises(ZeroDivisionError):
        made.log.pause()
    made.client.on_invalidate(None)
    assert not made.space.tracking
    made.space.set_tracking(True)
    made.log.resume()
    assert made.log.round().gap


def test_pause__that_could_not_turn_tracking_off_leaves_no_gap(made: Guest) -> None:
    """What was written meanwhile is in the tables, and the next round has it."""
    made.log.start()
    late = made.space.client()
    with ExitStack() as stack:

        def enter(gpa: int, length: int) -> None:
            if length == LENGTH:  # after the kick of the harvest, before that of tracking
                stack.enter_context(on_cpu_elsewhere(late, leaves=False))

        made.client.on_invalidate(enter)
        with pytest.raises(KickTimeout):
            made.log.pause()
        made.client.on_invalidate(None)
    made.write(4)
    made.log.resume()
    done = made.log.round()
    assert (pages_of(done.bitmap), done.gap) == ({4}, False)


def test_stop__harvests_once_more(made: Guest) -> None:
    """What it reports is owed; a second stop does nothing."""
    made.log.start()
    made.write(5)
    last = made.log.stop()
    assert last is not None
    assert pages_of(last.bitmap) == made.owed() == {5}
    assert made.log.stop() is None
    assert made.owed() == {5}


def test_stop__of_a_paused_log(made: Guest) -> None:
    """No harvest; tracking is as it was before the start."""
    made.log.start()
    made.log.pause()
    assert made.log.pause() is None
    assert made.log.stop() is None
    assert not made.space.tracking


def test_start__again_goes_on_counting(made: Guest) -> None:
    """Rounds and debts stay; the first round comes after a gap, for tracking was off."""
    made.log.start()
    made.write(1)
    made.log.stop()
    made.log.start(owe=bitmap_of({2}))
    made.write(3)
    done = made.log.round()
    assert (done.number, done.gap, made.owed()) == (2, True, {1, 2, 3})


def test_start__again_after_an_abort(made: Guest) -> None:
    """The first round has what was put back."""
    made.log.start()
    made.write(1)
    made.log.round()
    made.write(2)
    made.log.abort()
    made.log.start()
    assert pages_of(made.log.round().bitmap) == {1, 2}


def test_start__first_has_no_gap(made: Guest) -> None:
    """Nobody asked for what was written before."""
    made.log.start()
    assert not made.log.round().gap


@pytest.mark.parametrize("end", ["stop", "abort"])
def test_end__forgets_how_tracking_was(made: Guest, end: str) -> None:
    """Who turns tracking on afterwards has it on after the next stop."""
    made.log.start()
    getattr(made.log, end)()
    made.space.set_tracking(True)
    made.log.start()
    made.log.stop()
    assert made.space.tracking


def test_pause__leaves_a_gap_whoever_ends_it(made: Guest) -> None:
    """Somebody else turned tracking on before resume: it had been off all the same."""
    made.log.start()
    made.log.pause()
    made.space.set_tracking(True)
    made.log.resume()
    assert made.log.round().gap


def test_stop__of_a_log_that_does_not_run_leaves_bits_alone() -> None:
    """Stopped or paused, it harvests nothing, though the space tracks."""
    with guest(EPT, True) as made:
        made.write(1)
        assert made.log.stop() is None
        made.log.start()
        made.log.pause()
        made.write(2)
        assert made.log.pause() is None
        assert made.log.stop() is None
        assert made.dirty() == {2}


def test_start__owes_it_besides_what_is_owed(made: Guest) -> None:
    """What an abort could not put back, too."""
    made.log.start(owe=made.log.mapped())
    made.log.abort()
    made.log.start(owe=bitmap_of({1}))
    assert made.owed() == ROM | {1}


def test_resume__that_failed_remembers_how_tracking_was(made: Guest) -> None:
    """Before the start, that is: stop turns it off, whoever turned it on meanwhile."""
    made.log.start()
    made.log.pause()
    with on_cpu_elsewhere(made.space.client(), leaves=False), pytest.raises(KickTimeout):
        made.log.resume()
    made.space.set_tracking(True)
    made.log.resume()
    made.log.stop()
    assert not made.space.tracking
