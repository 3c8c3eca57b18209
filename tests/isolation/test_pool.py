"""Allocations and frees without end: the pool stays zero and merged, each object gets the frames that are due, and zeroes.

5 x 10^4 of them, allocations and frees together, in CI; 2 x 10^6 (10^6 of each) with ``NPT_LONG=1``, which takes some minutes.
"""

import random

import numpy as np
import pytest

from npt import RamObject, Reservoir, ReservoirExhausted, VmSpace
from npt.testing import check
from tests.isolation.canary import PAGE, frames_of, stamp
from tests.isolation.pool import Pool, best_fit, spans_of
from tests.threads.crew import LONG, Crew, together

pytestmark = pytest.mark.slow
STEPS = 50_000 if LONG == 1 else 2_000_000
EVERY = 500  # steps between two looks at the whole pool
THREADS = 3


def churn(seed: int, steps: int) -> Pool:
    """So many steps, and all is as before."""
    pool = Pool(seed)
    for number in range(steps):
        pool.step()
        if number % EVERY == 0:
            pool.check()
    assert len(pool.alive) + pool.n_given == pool.n_taken
    pool.close()
    return pool


def test_pool__stays_zero_and_merged() -> None:
    """One thread; every frame is known."""
    pool = churn(0, STEPS)
    assert pool.n_taken == pool.n_given > STEPS * 9 // 20


def test_pool__from_several_threads() -> None:
    """What a thread is given is zero, and then has its own mark to the end; nobody's frames come up twice."""
    reservoir = Reservoir(0x40 * PAGE)
    words, n_given = reservoir.words.reshape(-1, PAGE // 8), [0] * THREADS

    def live(number: int, team: Crew) -> None:
        chance, own = random.Random(number), list[tuple[RamObject, int]]()
        for count in range(STEPS // 20):
            if not team.working:
                break
            try:
                ram = reservoir.allocate(chance.randint(1, 8) * PAGE)
            except ReservoirExhausted:
                give(number, own, chance)
                continue
            frames, mark = frames_of(ram), stamp(number + 1, count & 0xFF_FFFF, 0, 0)
            assert not words[frames].any()
            words[frames] = mark
            own.append((ram, mark))
            if len(own) > 4:
                give(number, own, chance)
        while own:
            give(number, own, chance)

    def give(number: int, own: list[tuple[RamObject, int]], chance: random.Random) -> None:
        if own:
            ram, mark = own.pop(chance.randrange(len(own)))
            assert (words[frames_of(ram)] == np.uint64(mark)).all()
            ram.release()
            n_given[number] += 1

    together(*(lambda team, number=number: live(number, team) for number in range(THREADS)))
    assert min(n_given) > STEPS // 40
    assert reservoir.usage.free == reservoir.size
    assert len(reservoir.free_spans) == 1
    assert not reservoir.buffer.any()
    check(VmSpace(PAGE, reservoir=reservoir))
    reservoir.close()


def test_pool__the_slow_one_knows_best_fit() -> None:
    """By hand: what the slow pool says, because the other is held to it."""
    frames = np.array([1, 0, 1, 1, 1, 0, 1, 1, 0, 1, 1], np.bool_)
    spans = spans_of(frames)
    assert spans == [(0, 1), (2, 3), (6, 2), (9, 2)]
    assert best_fit(spans, 1) == [(0, 1)]
    assert best_fit(spans, 2) == [(6, 2)]
    assert best_fit([(2, 4), (9, 3)], 2) == [(10, 2)]
    assert best_fit(spans, 4) == [(0, 1), (2, 3)]
    assert best_fit(spans, 5) == [(2, 3), (6, 2)]
    assert best_fit(spans, 6) == [(0, 1), (2, 3), (6, 2)]
    assert spans_of(np.zeros(4, np.bool_)) == []
