"""The deterministic scheduler: one thread at a time, and what it says when none can go on."""

import gc
import os
import pickle
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from npt import _sync
from npt.testing import (
    DeadlockFound,
    LivelockFound,
    NotFree,
    Play,
    ScenarioFailed,
    ScheduleMismatch,
    SchedulerStuck,
    Twins,
    explore,
    replay,
    sample,
    scheduler,
    step,
    timeouts_fired,
    until,
)  # fmt: skip

NONE = Twins(())


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """Every test leaves threads, locks, collector and processors as they were."""
    processors = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    yield
    assert [thread for thread in threading.enumerate() if thread.name.startswith("scheduled")] == []
    assert isinstance(_sync.lock("real"), type(threading.Lock()))
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0
    assert scheduler.running() is None
    if processors is not None:
        assert os.sched_getaffinity(0) == processors


def crossed() -> Play:
    """Two threads that take two locks in opposite order."""
    a, b = _sync.lock("a"), _sync.lock("b")

    def work(first: Any, second: Any) -> Callable[[], None]:
        def both() -> None:
            with first, second:
                pass

        return both

    return Play([work(a, b), work(b, a)])


def test_deadlock__says_who_waits_for_what() -> None:
    """Both names, both owners, and a schedule that shows it again."""
    assert explore(crossed, preemptions=0, twins=NONE).complete
    with pytest.raises(DeadlockFound) as caught:
        explore(crossed, preemptions=1, twins=NONE)
    assert {
        "thread 0 waits for lock b, which thread 1 has",
        "thread 1 waits for lock a, which thread 0 has",
    } == set(caught.value.reason.removeprefix("no thread can run: ").split("; "))
    with pytest.raises(DeadlockFound) as again:
        replay(crossed, caught.value.schedule, twins=NONE)
    assert again.value.steps == caught.value.steps
    assert str(caught.value.schedule) in str(again.value)


def test_deadlock__with_oneself() -> None:
    """A lock is not an rlock."""

    def make() -> Play:
        lock, own = _sync.lock("lock"), _sync.rlock("own")

        def twice(lock: Any) -> None:
            with lock, lock:
                assert lock.locked()

        return Play([lambda: twice(own), lambda: twice(lock)])

    with pytest.raises(DeadlockFound, match="thread 1 waits for lock lock, which thread 1 has"):
        replay(make, [], twins=NONE)


def missed(timeout: float | None, careful: bool, may_time_out: bool = True) -> Callable[[], Play]:
    """One waits for the other's flag, which it looks at before it has the lock, or after."""

    def make() -> Play:
        condition = _sync.condition(_sync.rlock("flag"))
        flag: list[int] = []

        def wait() -> None:
            if careful:
                with condition:
                    while not flag:
                        condition.wait(timeout)
            elif not flag:
                step("saw no flag")
                with condition:
                    condition.wait(timeout)

        def wake() -> None:
            with condition:
                flag.append(1)
                condition.notify()

        return Play([wait, wake], may_time_out=may_time_out)

    return make


def test_condition__missed_wake_up_is_a_deadlock() -> None:
    """Who notifies before the wait has notified nobody."""
    with pytest.raises(DeadlockFound, match="thread 0 waits for a notification at flag"):
        explore(missed(None, careful=False), preemptions=1, twins=NONE)
    explored = explore(missed(None, careful=True), preemptions=3, twins=NONE)
    assert explored.complete
    assert explored.timeouts_fired == 0


def test_condition__time_out_fires_when_nothing_else_can_run() -> None:
    """It is counted, seen in the trace, and a failure if the scenario says so."""
    explored = explore(missed(5.0, careful=False), preemptions=1, twins=NONE)
    assert explored.timeouts_fired > 0
    with pytest.raises(DeadlockFound, match="nothing but a time-out") as caught:
        explore(missed(5.0, careful=False, may_time_out=False), preemptions=1, twins=NONE)
    assert caught.value.timeouts_fired == 1
    assert "time-outs fired: 1" in str(caught.value)
    assert "0 time out: flag" in replay(missed(5.0, careful=False), caught.value.schedule, twins=NONE)


def test_condition__time_out_moves_the_clock_and_only_one_fires() -> None:
    """The lowest thread's, up to its deadline; the others are woken."""
    seen: list[tuple[bool, float]] = []

    def make() -> Play:
        condition = _sync.condition(_sync.rlock("c"))

        def first() -> None:
            with condition:
                woken = condition.wait(3.0)
                seen.append((woken, _sync.now()))
                condition.notify_all()

        def second() -> None:
            with condition:
                seen.append((condition.wait(1.0), _sync.now()))

        def finish() -> None:
            assert timeouts_fired() == 1

        return Play([first, second], finish)

    replay(make, [], twins=NONE)
    assert seen == [(False, 3.0), (True, 3.0)]


def test_condition__who_timed_out_is_no_longer_woken() -> None:
    """The next notification is for the next wait."""

    def make() -> Play:
        condition = _sync.condition(_sync.rlock("c"))
        timed_out: list[int] = []

        def wait() -> None:
            with condition:
                assert not condition.wait(1.0)
                timed_out.append(1)
                assert condition.wait()

        def wake() -> None:
            until(lambda: timed_out)
            with condition:
                condition.notify()

        return Play([wait, wake])

    assert replay(make, [0, 0, 0, 1], twins=NONE)


def test_condition__notify_wakes_one_and_wait_for_looks_again() -> None:
    """As those of ``threading``."""

    def make() -> Play:
        condition = _sync.condition(_sync.rlock("c"))
        ready: list[int] = []

        def take() -> None:
            with condition:
                assert condition.wait_for(lambda: ready)
                ready.pop()

        def give() -> None:
            for item in (1, 2):
                with condition:
                    ready.append(item)
                    condition.notify()

        return Play([take, take, give], lambda: ready.index(1) if ready else None)

    assert explore(make, preemptions=1, twins=NONE).complete


def test_lock__timed_and_nonblocking_acquire() -> None:
    """Neither waits for ever, and the timed one goes on when it can."""
    outcomes: set[tuple[bool, bool]] = set()

    def make() -> Play:
        lock, outcome = _sync.lock("lock"), [False, False]

        def hold() -> None:
            with lock:
                step("inside")

        def wait() -> None:
            outcome[0] = lock.acquire(timeout=1.0)
            if outcome[0]:
                lock.release()

        def glance() -> None:
            outcome[1] = lock.acquire(blocking=False)
            if outcome[1]:
                lock.release()

        return Play([hold, wait, glance], lambda: outcomes.add((outcome[0], outcome[1])))

    assert explore(make, preemptions=2, twins=NONE).timeouts_fired == 0
    assert outcomes == {(True, False), (True, True)}


def test_lock__timed_acquire_gives_up_in_a_deadlock() -> None:
    """The schedule goes on after it."""

    def make() -> Play:
        a, b = _sync.lock("a"), _sync.lock("b")

        def polite() -> None:
            with a:
                if b.acquire(timeout=1.0):
                    b.release()
            assert b.acquire()
            b.release()

        def stubborn() -> None:
            with b, a:
                pass

        return Play([polite, stubborn])

    assert explore(make, preemptions=1, twins=NONE).timeouts_fired > 0


def test_livelock__a_run_without_end_is_reported() -> None:
    """With where every thread is."""

    def make() -> Play:
        polite = [True, True]

        def yield_to(other: int) -> Callable[[], None]:
            def work() -> None:
                while polite[other]:
                    step(f"after you, {other}")

            return work

        return Play([yield_to(1), yield_to(0)])

    with pytest.raises(LivelockFound, match="no end after 500 steps: thread 0 is at after you, 1; thread 1 is at start"):
        explore(make, twins=NONE, max_steps=500)


def test_until__waits_for_a_predicate() -> None:
    """A thread that cannot go on yet is not chosen; one that never can is a deadlock."""

    def make(enough: int) -> Play:
        done: list[int] = []
        return Play([lambda: until(lambda: len(done) == enough, "two done"), lambda: done.append(1), lambda: done.append(2)])

    assert explore(lambda: make(2), twins=NONE).complete
    with pytest.raises(DeadlockFound, match="thread 0 waits for two done to become true"):
        explore(lambda: make(3), twins=NONE)


def test_replay__takes_the_same_steps_twice() -> None:
    """Down to the trace."""
    schedule = [0, 1, 0, 0, 0, 1]

    def make() -> Play:
        lock = _sync.lock("lock")

        def work() -> None:
            for _ in range(3):
                with lock:
                    step("inside")

        return Play([work, work])

    steps = replay(make, schedule, twins=NONE)
    assert steps == replay(make, schedule, twins=NONE)
    assert steps[:3] == ["0 start", "1 start", "0 acquire lock"]


def test_replay__refuses_a_schedule_of_another_scenario() -> None:
    """A thread that is blocked, has ended, or is not there."""
    with pytest.raises(ScheduleMismatch, match=r"choice 1 at point 5 cannot run there; those that can: \[0\]"):
        replay(crossed, [0, 0, 0, 1, 1, 1], twins=NONE)
    with pytest.raises(ScheduleMismatch, match=r"choice 7 at point 0"):
        replay(crossed, [7], twins=NONE)
    with pytest.raises(ScheduleMismatch, match="has 99 choices, but the run ended after"):
        replay(lambda: Play([lambda: None]), [0] * 99, twins=NONE)


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
                pytest.fail("two")

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
    assert explore(missed(None, careful=True), twins=NONE).complete


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
