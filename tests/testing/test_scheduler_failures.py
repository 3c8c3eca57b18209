"""What the scheduler does when a scenario goes wrong, and for threads outside it."""

import gc
import pickle
import threading
from typing import Any

import pytest

from npt import _sync
from npt.testing import (
    NotFree,
    Play,
    ScenarioFailed,
    SchedulerStuck,
    Twins,
    explore,
    replay,
    sample,
    scheduler,
    step,
    until,
)  # fmt: skip
from tests.testing.tidy import nothing_is_left as nothing_is_left

NONE = Twins(())


class _Two(BaseException):
    """Not even an Exception; pickled with what it caused, once Dask was imported."""


@pytest.mark.parametrize("where", ["thread", "finish", "each_step"])
def test_failure__carries_schedule_and_cause(where: str) -> None:
    """Wherever it is raised, by whatever is raised."""

    def make() -> Play:
        done: list[int] = []

        def work() -> None:
            step("first")
            done.append(1)
            if where == "thread" and len(done) == 1:
                step("second")
                assert len(done) == 1, "not alone"

        def check() -> None:
            if len(done) == 2:
                raise _Two("two")

        nothing: Any = None
        return Play([work, work], check if where == "finish" else nothing, check if where == "each_step" else nothing)

    with pytest.raises(ScenarioFailed) as caught:
        explore(make, preemptions=1, twins=NONE)
    assert caught.value.reason.startswith(where)
    assert caught.value.__cause__ is not None
    with pytest.raises(ScenarioFailed) as again:
        replay(make, caught.value.schedule, twins=NONE)
    assert again.value.steps == caught.value.steps
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (str(copy), copy.schedule) == (str(caught.value), caught.value.schedule)


def test_failure__message_shows_the_last_steps_only() -> None:
    """A trace of thousands of lines helps nobody."""

    def make() -> Play:
        def work() -> None:
            for n in range(100):
                step(f"step {n}")
            raise ValueError("here")

        return Play([work])

    with pytest.raises(ScenarioFailed, match="ValueError: here") as caught:
        explore(make, twins=NONE)
    assert len(caught.value.steps) == 101
    assert "(61 steps before)" in str(caught.value)
    assert caught.value.schedule == []


def test_failure__lock_that_an_ended_thread_has() -> None:
    """Even if nobody wants it any more."""

    def make() -> Play:
        lock = _sync.lock("forgotten")
        return Play([lock.acquire])

    with pytest.raises(ScenarioFailed, match="thread 0 ended with forgotten held"):
        explore(make, twins=NONE)


def test_failure__other_threads_are_unwound_and_the_next_search_is_clean() -> None:
    """Clean-up code runs, its locks and points let it pass, and exceptions in it change nothing."""
    cleaned: list[int] = []

    def make() -> Play:
        lock, condition = _sync.lock("lock"), _sync.condition(_sync.rlock("c"))

        def wait() -> None:
            try:
                with condition:
                    condition.wait()
            finally:
                with lock:
                    step("clean up")
                cleaned.append(1)
                condition.notify_all()
                raise KeyError("in clean-up")

        def spin() -> None:
            caught = 0
            while True:
                try:
                    step("spin")
                    until(lambda: True)
                except BaseException:
                    caught += 1
                    if caught > 2:
                        raise

        def fail() -> None:
            raise ValueError("first")

        def go_on() -> None:
            step("once")
            cleaned.append(-1)

        return Play([wait, wait, fail, spin, go_on])

    for _ in range(3):
        with pytest.raises(ScenarioFailed, match="first"):
            replay(make, [0, 0, 0, 1, 1, 1, 4, 3, 3, 2], twins=NONE)
    assert cleaned == [1] * 6
    assert explore(lambda: Play([lambda: step("x")] * 5), twins=NONE).complete


def test_each_step__sees_every_state_and_finds_held_locks_taken() -> None:
    """From outside the scenario, while its threads are parked."""
    states: set[tuple[int, ...]] = set()
    refused: list[str] = []

    def make() -> Play:
        lock, done = _sync.lock("mine"), [0, 0]

        def work(me: int) -> None:
            with lock:
                step("half way")
                done[me] = 1

        def look() -> None:
            assert threading.current_thread() is threading.main_thread()
            states.add(tuple(done))
            if lock.locked():
                assert not lock.acquire(blocking=False)
                with pytest.raises(NotFree) as caught:
                    lock.acquire()
                refused.append(str(caught.value))
            else:
                with lock:
                    pass

        return Play([lambda: work(0), lambda: work(1)], each_step=look)

    assert explore(make, preemptions=0, twins=NONE).schedules == 2
    assert states == {(0, 0), (0, 1), (1, 0), (1, 1)}
    assert "a thread outside the scenario wants lock mine, which thread 0 has" in refused


def test_each_step__looks_once_at_what_schedules_have_in_common() -> None:
    """Whatever two of them begin with has been looked at already."""
    looks: list[tuple[int, ...]] = []

    def make() -> Play:
        done: list[int] = []

        def work(me: int) -> None:
            for _ in range(2):
                done.append(me)
                step("x")
            done.append(me)

        return Play([lambda: work(0), lambda: work(1)], each_step=lambda: looks.append(tuple(done)))

    explored = explore(make, preemptions=6, twins=NONE)
    assert explored.schedules == 20
    assert len(looks) == len(set(looks)) < explored.steps


def test_outside__locks_work_while_building_and_looking_but_never_wait() -> None:
    """The thread that makes the scenario is not scheduled."""

    def make() -> Play:
        lock, own = _sync.lock("lock"), _sync.rlock("own")
        condition = _sync.condition(own)
        with own, own:
            assert own._is_owned()
            condition.notify_all()
            with pytest.raises(NotFree):
                condition.wait()
        assert lock.acquire()
        with pytest.raises(NotFree):
            lock.acquire()
        lock.release()
        with pytest.raises(RuntimeError):
            lock.release()
        with pytest.raises(RuntimeError):
            own.release()
        with pytest.raises(TypeError):
            _sync.condition(threading.Lock())

        def finish() -> None:
            with condition, lock:
                step("no point outside")
                until(lambda: False)

        def work() -> None:
            with pytest.raises(RuntimeError):
                own.release()
            with pytest.raises(RuntimeError):
                condition.notify()
            with own:
                assert own._is_owned()

        return Play([work], finish)

    assert explore(make, twins=NONE).schedules == 1


def test_outside__one_scenario_at_a_time() -> None:
    """A scenario within a scenario is refused."""

    def make() -> Play:
        with pytest.raises(RuntimeError, match="already"):
            replay(lambda: Play([]), [], twins=NONE)
        return Play([])

    assert explore(make, twins=NONE).schedules == 1


def test_threads__look_dead_once_their_function_has_ended() -> None:
    """Though they are kept for the next schedule."""
    found: list[bool] = []

    def make() -> Play:
        me: list[threading.Thread] = []

        def look() -> None:
            found.append(me[0].is_alive())

        return Play([lambda: me.append(threading.current_thread()), look])

    replay(make, [], twins=NONE)
    assert found == [False]


def test_interrupt__of_the_main_thread_ends_the_others() -> None:
    """Ctrl-C while a search is under way."""

    def make() -> Play:
        lock = _sync.lock("lock")

        def work() -> None:
            with lock:
                step("inside")

        def look() -> None:
            if lock.locked():
                raise KeyboardInterrupt

        return Play([work, work], each_step=look)

    with pytest.raises(KeyboardInterrupt):
        explore(make, twins=NONE)


def test_stuck__a_thread_that_waits_for_something_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named, with its stack, after a while; once it goes on, it and the others end."""
    monkeypatch.setattr(scheduler, "_STUCK_AFTER", 0.05)
    foreign = threading.Lock()

    def make() -> Play:
        def wait_for_it() -> None:
            with foreign:
                pass

        return Play([wait_for_it, lambda: step("other")])

    with foreign, pytest.raises(SchedulerStuck, match="in wait_for_it"):
        explore(make, twins=NONE)
    for thread in threading.enumerate():
        if thread.name.startswith("scheduled"):
            thread.join(10)


def test_collector__is_off_while_a_schedule_runs() -> None:
    """Finalizers would run at other points each time."""
    found: list[bool] = []

    def look() -> None:
        found.append(gc.isenabled())

    explore(lambda: Play([look], look, look), twins=NONE)
    assert set(found) == {False}


def test_sample__runs_many_schedules_without_a_thread_each() -> None:
    """Threads are kept from one to the next."""
    known: set[int] = set()

    def make() -> Play:
        return Play([lambda: known.add(threading.get_ident())] * 3)

    assert sample(make, 500, twins=NONE).schedules == 500
    assert len(known) == 3
