"""Which schedules a search goes through, and which bugs it finds."""

import random
from collections.abc import Callable, Sequence
from itertools import pairwise
from math import comb
from typing import Any

import numpy as np
import pytest

from npt import _sync, kernels
from npt._types import U64Array
from npt.testing import DeadlockFound, Explored, Play, ScenarioFailed, Twins, explore, replay, sample, step
from npt.testing.points import touch

NONE = Twins(())
WORDS = Twins(["words.*"])


def lost_update() -> Play:
    """Two threads add to a word by a load and a store."""
    words: U64Array = np.zeros(8, np.uint64)

    def add() -> None:
        kernels.words.store(words, 0, kernels.words.load(words, 0) + 1)

    def finish() -> None:
        assert words[0] == 2

    return Play([add, add], finish)


def atomic_update() -> Play:
    """The same as it ought to be."""
    words: U64Array = np.zeros(8, np.uint64)

    def finish() -> None:
        assert words[0] == 2

    return Play([lambda: kernels.words.add(words, 0, 1)] * 2, finish)


def seen_in_passing() -> Play:
    """One sees both values that the other stores; it takes two preemptions to show that."""
    words: U64Array = np.zeros(8, np.uint64)

    def store() -> None:
        kernels.words.store(words, 0, 1)
        kernels.words.store(words, 0, 2)

    def load() -> None:
        seen = kernels.words.load(words, 0), kernels.words.load(words, 0)
        assert seen != (1, 2)

    return Play([store, load])


def steps(n_threads: int, n_steps: int) -> Callable[[], Play]:
    """Threads that do nothing but steps."""

    def work() -> None:
        for _ in range(n_steps):
            step("x")

    return lambda: Play([work] * n_threads)


# -- bounds -------------------------------------------------------------------------------------------------------------


def test_explore__lost_update_needs_one_preemption() -> None:
    """Between the load and the store."""
    assert explore(lost_update, preemptions=0, twins=WORDS).complete
    with pytest.raises(ScenarioFailed, match="AssertionError") as caught:
        explore(lost_update, preemptions=1, twins=WORDS)
    loads_and_stores = [line.split()[1] for line in caught.value.steps if "start" not in line]
    assert loads_and_stores == ["load", "load", "store", "store"]
    assert explore(atomic_update, preemptions=3, twins=WORDS).complete


def test_explore__a_bug_of_two_preemptions_is_not_found_with_one() -> None:
    """But with two."""
    assert explore(seen_in_passing, preemptions=1, twins=WORDS).complete
    with pytest.raises(ScenarioFailed, match="thread 1 raised"):
        explore(seen_in_passing, preemptions=2, twins=WORDS)


def test_explore__first_failure_needs_as_few_preemptions_as_any() -> None:
    """However many are allowed."""

    def switches(schedule: Sequence[int]) -> int:
        return sum(one != other for one, other in pairwise(schedule))

    with pytest.raises(ScenarioFailed) as caught:
        explore(lost_update, preemptions=4, twins=WORDS)
    assert switches(caught.value.schedule) == 1


@pytest.mark.parametrize(("preemptions", "schedules"), [(0, 2), (1, 4), (2, 6), (3, 6)])
def test_explore__counts_of_two_threads_of_one_step(preemptions: int, schedules: int) -> None:
    """Two ways to begin; each of them left at the one step, and that again: C(4, 2) orders of two times two pieces."""
    explored = explore(steps(2, 1), preemptions=preemptions, twins=NONE)
    assert explored == Explored(schedules, schedules * 4, 4, True, 0)


@pytest.mark.parametrize(("preemptions", "schedules"), [(0, 2), (1, 6), (2, 14), (3, 18), (4, 20)])
def test_explore__counts_of_two_threads_of_one_critical_section(preemptions: int, schedules: int) -> None:
    """Points before acquire and after release: three pieces each; per beginning 1, 2, 4, 2, 1 orders by preemptions."""

    def make() -> Play:
        lock = _sync.lock("lock")

        def work() -> None:
            with lock:
                pass

        return Play([work, work])

    assert explore(make, preemptions=preemptions, twins=NONE).schedules == schedules


def test_explore__every_schedule_once() -> None:
    """All orders of three threads of two pieces, no two alike: 6! / (2! 2! 2!)."""
    orders: list[tuple[str, ...]] = []

    def make() -> Play:
        done: list[str] = []

        def work(me: int) -> None:
            done.append(f"{me}a")
            step("x")
            done.append(f"{me}b")

        return Play([lambda: work(0), lambda: work(1), lambda: work(2)], lambda: orders.append(tuple(done)))

    explored = explore(make, preemptions=6, twins=NONE)
    assert explored.schedules == len(orders) == len(set(orders)) == comb(6, 2) * comb(4, 2)


def test_explore__switches_at_a_block_are_free_and_all_are_tried() -> None:
    """Who comes after the thread that waits: each of the others."""
    orders: set[tuple[int, ...]] = set()

    def make() -> Play:
        lock, order = _sync.lock("lock"), list[int]()

        def work(me: int) -> None:
            with lock:
                order.append(me)

        return Play([lambda: work(0), lambda: work(1), lambda: work(2)], lambda: orders.add(tuple(order)))

    explore(make, preemptions=0, twins=NONE)
    assert len(orders) == 6


def test_explore__limit_and_progress() -> None:
    """A search that was cut short says so."""
    seen: list[int] = []
    explored = explore(steps(2, 3), preemptions=2, limit=5, twins=NONE, progress=lambda done: seen.append(done.schedules))
    assert (explored.schedules, explored.complete) == (5, False)
    assert seen == [1, 2, 3, 4, 5]
    whole = explore(steps(2, 3), preemptions=2, twins=NONE)
    assert explore(steps(2, 3), preemptions=2, limit=whole.schedules, twins=NONE).complete


def test_explore__a_scenario_that_is_not_deterministic_is_noticed() -> None:
    """Its schedules do not fit."""
    calls: list[int] = []

    def make() -> Play:
        calls.append(1)
        return steps(2, 3)() if len(calls) % 2 else steps(1, 1)()

    with pytest.raises(ValueError, match="cannot run there"):
        explore(make, preemptions=1, twins=NONE)


# -- leaving out what makes no difference -------------------------------------------------------------------------------


def test_reduce__things_of_one_thread_are_no_places_to_switch() -> None:
    """Nor are things that are only read."""

    def make() -> Play:
        words: U64Array = np.zeros(64, np.uint64)
        shared = _sync.lock("shared")

        def work(me: int) -> None:
            own = _sync.lock("own")
            for _ in range(3):
                with own:
                    kernels.words.add(words, 8 * me, 1)
                kernels.words.load(words, 63)
                step("mine", on=("mine", me))
            with shared:
                pass

        return Play([lambda: work(1), lambda: work(2)])

    explored = explore(make, preemptions=2, twins=WORDS)
    assert explored.schedules == 14  # as many as of the one critical section
    assert explore(make, preemptions=2, twins=WORDS, reduce=False).schedules > 200


def test_reduce__what_turns_out_shared_later_is_gone_back_to() -> None:
    """The second thread touches the word only if it runs in the middle of the first."""

    def make() -> Play:
        words: U64Array = np.zeros(8, np.uint64)
        phase = [0]

        def first() -> None:
            seen = kernels.words.load(words, 0)
            phase[0] = 1
            step("in the middle")
            phase[0] = 2
            kernels.words.store(words, 0, seen + 1)

        def second() -> None:
            if phase[0] == 1:
                kernels.words.add(words, 0, 1)

        def finish() -> None:
            assert words[0] != 1 or phase[0] != 3

        return Play([first, second, second], finish)

    reduced = explore(make, preemptions=3, twins=WORDS)
    assert 6 < reduced.schedules <= explore(make, preemptions=3, twins=WORDS, reduce=False).schedules


def test_reduce__a_bug_that_stands_before_what_gave_it_away() -> None:
    """That the word is shared shows when the first is left late; that an update is lost, when it is left early."""

    def make() -> Play:
        words: U64Array = np.zeros(8, np.uint64)

        def first() -> None:
            kernels.words.store(words, 1, 1)
            kernels.words.store(words, 0, kernels.words.load(words, 0) + 1)
            kernels.words.store(words, 1, 0)

        def second() -> None:
            if kernels.words.load(words, 1):
                kernels.words.add(words, 0, 1)
                kernels.words.add(words, 2, 1)

        def finish() -> None:
            assert words[0] == 1 + words[2]

        return Play([first, second], finish)

    for reduce in (False, True):
        assert explore(make, preemptions=0, twins=WORDS, reduce=reduce).complete
        with pytest.raises(ScenarioFailed):
            explore(make, preemptions=1, twins=WORDS, reduce=reduce)


def random_program(seed: int, outcomes: set[Any]) -> Callable[[], Play]:
    """A few threads that load, store and add in a few words, some under locks; what they saw is the outcome."""
    chance = random.Random(seed)
    n_threads = chance.choice((2, 2, 3))
    programs = [
        [(chance.choice("lllssalcvf"), chance.randrange(3), chance.randrange(2)) for _ in range(chance.randrange(2, 5))]
        for _ in range(n_threads)
    ]

    def make() -> Play:
        words: U64Array = np.zeros(8, np.uint64)
        locks = [_sync.rlock("even"), _sync.rlock("odd")]
        seen: list[list[int]] = [[] for _ in programs]

        def act(me: int, verb: str, word: int, lock: int) -> None:
            if verb == "l":
                seen[me].append(kernels.words.load(words, word))
            elif verb == "s":
                kernels.words.store(words, word, 10 * me + len(seen[me]) + sum(seen[me]))
            elif verb == "a":
                kernels.words.add(words, word, 1)
            elif verb == "v":
                touch("mask64", words, 2 * lock, "words", False, 4)
                seen[me].append(int(words[2 * lock : 2 * lock + 4].sum()))
            elif verb == "f":
                touch("fill64", words, lock, "words", True, 2)
                words[lock : lock + 2] = me
            else:
                with locks[lock]:
                    act(me, "l", word, lock)
                    act(me, "s", word, lock)
            if seen[me] and seen[me][-1] > 100:
                kernels.words.store(words, 7, 1)  # only if it saw that

        def run(me: int) -> Callable[[], None]:
            def work() -> None:
                for act_ in programs[me]:
                    act(me, *act_)

            return work

        def finish() -> None:
            outcomes.add((tuple(words.tolist()), tuple(map(tuple, seen))))

        return Play([run(me) for me in range(n_threads)], finish)

    return make


@pytest.mark.slow
@pytest.mark.parametrize("preemptions", [0, 1, 2])
def test_reduce__no_outcome_is_lost(preemptions: int) -> None:
    """Of random programs: the same ends are reached with and without it, by fewer schedules."""
    spared = 0
    for seed in range(40):
        reduced: set[Any] = set()
        full: set[Any] = set()
        few = explore(random_program(seed, reduced), preemptions=preemptions, twins=WORDS)
        many = explore(random_program(seed, full), preemptions=preemptions, twins=WORDS, reduce=False)
        assert reduced == full
        spared += many.schedules - few.schedules
    assert (spared > 0) == (preemptions > 0)


# -- chance -------------------------------------------------------------------------------------------------------------


def test_sample__finds_a_bug_of_depth_two_and_its_schedule_shows_it_again() -> None:
    """Within a few schedules of what the theory promises: one in 2 * 6."""
    with pytest.raises(ScenarioFailed) as caught:
        sample(lost_update, 100, depth=2, twins=WORDS)
    with pytest.raises(ScenarioFailed) as again:
        replay(lost_update, caught.value.schedule, twins=WORDS)
    assert again.value.steps == caught.value.steps
    assert sample(lost_update, 100, depth=1, twins=WORDS) == Explored(100, 600, 6, False, 0)


def test_sample__finds_a_deadlock_among_four_threads() -> None:
    """Dining philosophers, who sit still in most schedules."""

    def make() -> Play:
        forks = [_sync.lock(f"fork {n}") for n in range(4)]

        def dine(left: Any, right: Any) -> None:
            with left, right:
                pass

        return Play([lambda n=n: dine(forks[n], forks[(n + 1) % 4]) for n in range(4)])  # type: ignore[misc]

    with pytest.raises(DeadlockFound, match="thread 3 waits for lock fork 0, which thread 0 has"):
        sample(make, 5000, depth=4, twins=NONE)


def test_sample__the_same_seed_gives_the_same_schedules() -> None:
    """And another one others."""

    def orders(seed: int) -> list[tuple[int, ...]]:
        found: list[tuple[int, ...]] = []

        def make() -> Play:
            order: list[int] = []

            def work(me: int) -> None:
                order.append(me)
                step("x")
                order.append(me)

            return Play([lambda: work(0), lambda: work(1), lambda: work(2)], lambda: found.append(tuple(order)))

        sample(make, 20, seed=seed, twins=NONE)
        return found

    assert orders(1) == orders(1) != orders(2)
