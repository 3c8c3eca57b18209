"""A kick that times out, or a callback that raises, in a call of a dirty log: nothing is lost, and the call may be repeated."""

from contextlib import ExitStack

import pytest

from npt import EPT, NPT, KickTimeout, PteFormat
from tests.dirty.migrating import LENGTH, RAM, ROM, bitmap_of, guest, pages_of
from tests.space.scene import on_cpu_elsewhere


@pytest.fixture(params=[EPT, NPT], ids=["ept", "npt"])
def form(request: pytest.FixtureRequest) -> PteFormat:
    """Each entry format in turn."""
    assert isinstance(request.param, PteFormat)
    return request.param


CALLS = ["round", "pause", "stop"]


@pytest.mark.parametrize("call", CALLS)
def test_kick_timeout__loses_nothing(form: PteFormat, call: str) -> None:
    """Bits are put back, no round is made, and the log runs on."""
    with guest(form) as made:
        made.log.start(owe=made.log.mapped())
        made.write(1, 2, 3)
        made.log.round()
        made.write(3, 4)
        with on_cpu_elsewhere(made.space.client(), leaves=False), pytest.raises(KickTimeout):
            getattr(made.log, call)()
        assert (len(made.log.rounds), made.log.state.value, made.dirty()) == (1, "running", {3, 4})
        assert made.lost() == set()
        made.finish()
        assert made.stale() == set()


@pytest.mark.parametrize("call", CALLS)
def test_callback_that_raises__loses_nothing(form: PteFormat, call: str) -> None:
    """Likewise."""
    with guest(form) as made:
        made.log.start(owe=made.log.mapped())
        made.write(1, 2, 3)
        made.client.on_invalidate(lambda gpa, length: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            getattr(made.log, call)()
        made.client.on_invalidate(None)
        assert (len(made.log.rounds), made.log.state.value, made.dirty()) == (0, "running", {1, 2, 3})
        made.finish()
        assert made.stale() == set()


def test_kick_timeout__of_start_and_resume(form: PteFormat) -> None:
    """The log is as before; the next try works."""
    with guest(form) as made:
        for call in (made.log.start, made.log.resume):
            before = made.log.state
            with on_cpu_elsewhere(made.space.client(), leaves=False), pytest.raises(KickTimeout):
                call(owe=made.log.mapped())
            assert (made.log.state, made.space.tracking, made.owed()) == (before, False, set())
            call()
            made.log.pause()
        made.log.stop()
        assert not made.space.tracking


def test_kick_timeout__of_abort(form: PteFormat) -> None:
    """Once all is put back, only tracking is left on; the next try turns it off."""
    with guest(form) as made:
        made.log.start(owe=made.log.mapped())
        made.write(1, 2, 3)
        with on_cpu_elsewhere(made.space.client(), leaves=False), pytest.raises(KickTimeout):
            made.log.abort()
        assert (made.dirty(), made.owed(), made.space.tracking) == (RAM, ROM, True)
        assert made.log.abort().tolist() == bitmap_of(ROM).tolist()
        assert not made.space.tracking


def test_start__that_failed_forgets_how_tracking_was(form: PteFormat) -> None:
    """Who turns tracking on afterwards has it on after the log's stop."""
    with guest(form) as made:
        with on_cpu_elsewhere(made.space.client(), leaves=False), pytest.raises(KickTimeout):
            made.log.start()
        made.space.set_tracking(True)
        made.log.start()
        made.log.stop()
        assert made.space.tracking


def test_start__that_failed_after_tracking_came_on(form: PteFormat) -> None:
    """A callback that raises comes too late to keep tracking off; stop turns it off all the same."""
    with guest(form) as made:
        made.client.on_invalidate(lambda gpa, length: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            made.log.start()
        made.client.on_invalidate(None)
        assert made.space.tracking
        made.log.start()
        made.log.stop()
        assert not made.space.tracking


@pytest.mark.parametrize(("call", "state"), [("pause", "paused"), ("stop", "stopped")])
def test_kick_timeout__when_only_tracking_cannot_be_turned_off(form: PteFormat, call: str, state: str) -> None:
    """The last round is made, and the log is where it should be; the next try turns tracking off."""
    with guest(form) as made, ExitStack() as stack:
        made.log.start(owe=made.log.mapped())
        made.write(1, 2, 3)
        late = made.space.client()

        def enter(gpa: int, length: int) -> None:
            if length == LENGTH:  # after the kick of the harvest, before that of tracking
                stack.enter_context(on_cpu_elsewhere(late, leaves=False))

        made.client.on_invalidate(enter)
        with pytest.raises(KickTimeout):
            getattr(made.log, call)()
        assert (pages_of(made.log.rounds[1].bitmap), made.log.state.value, made.space.tracking) == ({1, 2, 3}, state, True)
        made.write(4)
        stack.close()
        assert getattr(made.log, call)() is None
        assert not made.space.tracking
        made.client.on_invalidate(None)
        assert made.lost() == set()
        made.finish()
        assert made.stale() == set()
