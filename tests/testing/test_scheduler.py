"""The deterministic scheduler: one thread at a time, and what it says when none can go on."""

from collections.abc import Callable
from typing import Any

import pytest

from npt import _sync
from npt.testing import (
    DeadlockFound,
    LivelockFound,
    Play,
    ScheduleMismatch,
    Twins,
    explore,
    replay,
    step,
    timeouts_fired,
    until,
)  # fmt: skip
from tests.testing.tidy import nothing_is_left as nothing_is_left

NONE = Twins(())


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
