"""Several logs of one space: tracking stays on as long as one of them wants it, and no longer."""

import gc
import os
from typing import Any

import pytest

from npt import EPT, NPT, KickTimeout, TrackingDisabled, VmSpace
from npt.dirty import switch
from npt.dirty.log import DirtyLog
from tests.dirty.migrating import FIRST, PAGE, Guest, bitmap_of, guest, pages_of
from tests.space.scene import caught, on_cpu_elsewhere
from tests.space.test_forks import in_child


@pytest.fixture(params=[EPT, NPT], ids=["ept", "npt"])
def made(request: pytest.FixtureRequest) -> Any:
    """A guest whose space does not track."""
    with guest(request.param) as guest_:
        yield guest_


def two(made: Guest) -> tuple[DirtyLog, DirtyLog]:
    """Two logs that run: pages 0 to 8, and the rest."""
    low, high = DirtyLog(made.space, FIRST, 9 * PAGE), DirtyLog(made.space, FIRST + 9 * PAGE, 14 * PAGE)
    low.start()
    high.start()
    return low, high


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("end", ["stop", "abort", "pause"])
def test_end__of_one_log_leaves_the_other_alone(made: Guest, end: str, first: int) -> None:
    """Whichever was started first; tracking goes off with the last."""
    logs = two(made)
    getattr(logs[first], end)()
    made.write(0, 9)
    done = logs[1 - first].round()
    assert (pages_of(done.bitmap), done.gap, made.space.tracking) == ({0}, False, True)
    getattr(logs[1 - first], end)()
    assert not made.space.tracking


@pytest.mark.parametrize("end", ["stop", "abort"])
def test_end__of_all_leaves_tracking_as_it_was(end: str) -> None:
    """On before the first, on after the last."""
    with guest(EPT, True) as made:
        for log in two(made):
            getattr(log, end)()
            assert made.space.tracking


def test_pause__beside_another_log_leaves_no_gap(made: Guest) -> None:
    """Tracking was on all the time, and what was written meanwhile is reported."""
    low, _ = two(made)
    low.pause()
    made.write(3)
    low.resume()
    done = low.round()
    assert (pages_of(done.bitmap), done.gap) == ({3}, False)


def test_pause__has_a_gap_whichever_log_turned_tracking_off(made: Guest) -> None:
    """And whoever turned it on again before resume."""
    low, high = two(made)
    low.pause()
    high.stop()
    made.space.set_tracking(True)
    low.resume()
    assert low.round().gap


def test_resume__of_one_log_does_not_hide_the_gap_of_another(made: Guest) -> None:
    """Somebody turned tracking off under both; the first to resume turns it on for both, and both say so."""
    low, high = two(made)
    made.space.set_tracking(False)
    low.resume()
    assert [low.round().gap, high.round().gap] == [True, True]
    assert [low.round().gap, high.round().gap] == [False, False]


def test_stop__of_a_log_that_somebody_turned_off_beside_another(made: Guest) -> None:
    """Tracking is on again for the other, which says that it has a gap, and off after the last."""
    low, high = two(made)
    made.space.set_tracking(False)
    low.stop()
    assert made.space.tracking
    last = high.stop()
    assert last is not None
    assert (last.gap, made.space.tracking) == (True, False)


def test_log__that_was_dropped_wants_nothing(made: Guest) -> None:
    """The other turns tracking off at its end."""
    low, high = two(made)
    del low
    gc.collect()
    high.stop()
    assert not made.space.tracking


def test_start__that_failed_wants_nothing(made: Guest) -> None:
    """The other turns tracking off at its end."""
    low, high = DirtyLog(made.space, FIRST, PAGE), DirtyLog(made.space, FIRST + PAGE, PAGE)
    with on_cpu_elsewhere(made.space.client(), leaves=False), pytest.raises(KickTimeout):
        low.start()
    high.start()
    high.stop()
    assert not made.space.tracking


def test_abort__of_a_stopped_log_beside_another(made: Guest) -> None:
    """What it owes is put back, and the other runs on."""
    low, high = two(made)
    made.write(2)
    low.stop()
    low.abort()
    assert made.dirty() == {2}
    assert made.space.tracking
    assert high.round().gap is False
    high.stop()
    assert not made.space.tracking


def test_round__is_refused_when_tracking_is_off(made: Guest) -> None:
    """By both."""
    made.space.set_tracking(True)
    for log in two(made):
        made.space.set_tracking(False)
        assert isinstance(caught(log.round), TrackingDisabled)


def test_switch__ends_with_its_space() -> None:
    """Logs that are under way keep neither each other nor a space that nobody has any more."""
    gc.collect()
    before = len(switch._SWITCHES)
    space = VmSpace(PAGE)
    logs = [DirtyLog(space, 0, PAGE) for _ in range(3)]
    for log in logs:
        log.start()
    assert len(switch._SWITCHES) == before + 1
    del log, logs, space
    gc.collect()
    assert len(switch._SWITCHES) == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_switch__in_a_forked_child(made: Guest) -> None:
    """A child's own space has a switch of its own, whoever had another at the fork."""
    made.log.start()

    def child() -> None:
        with VmSpace(PAGE) as space:
            logs = [DirtyLog(space, 0, PAGE) for _ in range(2)]
            logs[0].start(owe=bitmap_of({0}, 1))
            logs[1].start()
            logs[0].stop()
            assert space.tracking
            logs[1].stop()
            assert not space.tracking

    with made.log._switch.lock:
        in_child(child)
