"""False-dirty and missed pages: when a page is copied, and when it is cleared."""

import random
import sys
from itertools import product
from types import FrameType
from typing import Any

import numpy as np
import pytest

from npt import EPT, InvalidArgument, PteFormat
from npt.dirty.mechanisms import Account
from tests.dirty.watched import Watched

N = 1000
GRANULES = [64, 128, 512, N]
MOMENTS = ["at the get", "in the middle", "just before the copy", "just after it", "at the end"]
RUN_BEFORE = ("in the middle", "just before the copy", "at the end")  # the guest goes on up to there


def clear_all(watched: Watched, granule: int) -> None:
    for first in range(0, N, granule):
        watched.clear(first, min(granule, N - first))


@pytest.mark.parametrize(("granule", "moment"), list(product(GRANULES, MOMENTS)))
def test_moments__all_mechanisms_and_the_account(form: PteFormat, granule: int, moment: str) -> None:
    """Rounds of get, clear, copy, with the guest writing all the while: pages, counts and account are the twins'."""
    numbers = random.Random(f"{granule} {moment}")
    with Watched(form, N, n_vcpus=2) as watched:
        for _ in range(4):
            dirty = sorted(watched.collect())
            for now in MOMENTS:
                if now in RUN_BEFORE:
                    watched.run(numbers.randrange(2), [numbers.randrange(N) for _ in range(150)], [True, False] * 75)
                if now == "just after it":
                    watched.copy(dirty)
                if now == moment:
                    clear_all(watched, granule)
            watched.check()
        watched.harvest()
        watched.check()
        assert (watched.tracking.missed > 0) == (moment == "at the end")
        assert (watched.tracking.false_dirty > 0) == (moment in ("at the get", "in the middle"))


@pytest.mark.slow
def test_clear__as_it_is_copied_granule_by_granule(form: PteFormat) -> None:
    """Each granule is cleared just before its pages are copied: nothing is missed; the later, the less is false."""
    false = []
    for granule in GRANULES:
        numbers = random.Random(5)
        with Watched(form, N) as watched:
            watched.run(0, range(N))
            watched.collect()
            for first in range(0, N, granule):
                end = min(first + granule, N)
                watched.clear(first, end - first)
                assert first < end
                for page in range(first, end, 4):
                    watched.copy(range(page, page + 4))
                    watched.run(0, [numbers.randrange(N) for _ in range(4)])
            watched.collect()
            watched.check()
            assert watched.tracking.missed == 0
            assert watched.tracking.last_round.copied == N
            false.append(watched.tracking.false_dirty)
    assert sorted(false) == false
    assert 0 < false[0] < false[-1]


def test_copy__moment_of_a_write_decides() -> None:
    """A write before the copy is in it; the access at the very moment comes after it."""
    with Watched(EPT, 8) as watched:
        watched.run(0, range(8))
        watched.harvest()
        watched.run(0, [0, 1, 2, 3], [True, True, False, True])
        for page, at in ((0, 0), (1, 2), (2, 0), (3, 3)):
            watched.copy([page], at)
        watched.collect()
        assert watched.tracking.last_round == Account(copied=4, false_dirty=1, missed=0)
        watched.check()


def test_copy__ahead_of_the_accesses(form: PteFormat) -> None:
    """A moment in the middle of a run that is still to come; one that never comes is at the end."""
    with Watched(form, 8) as watched:
        watched.tracking.copy([0, 1, 2], [1, 2, 2**62 - 1])
        watched.run(0, [0, 1, 0, 2])
        watched.tracking.collect()
        assert watched.tracking.total == Account(copied=3, false_dirty=2, missed=0)


def test_copy__later_one_counts(form: PteFormat) -> None:
    """In one round; in the next there are no copies left."""
    with Watched(form, 8) as watched:
        watched.run(0, [1])
        watched.copy([1, 1], 0)
        watched.copy([1])
        watched.copy([1], 0)
        watched.collect()
        assert watched.tracking.last_round == Account(1, 1, 0)
        watched.collect()
        assert watched.tracking.last_round == Account()
        assert watched.tracking.total == Account(1, 1, 0)
        watched.check()


def test_copy__pages_that_were_never_reported(form: PteFormat) -> None:
    """A first full copy: what is dirty from before it was copied in vain."""
    with Watched(form, 100) as watched:
        watched.run(0, range(30))
        watched.copy(range(100))
        watched.run(0, range(20, 40))
        assert len(watched.collect()) == 40
        assert watched.tracking.last_round == Account(copied=100, false_dirty=20, missed=0)
        watched.check()


def test_copy__moments_of_each_page(form: PteFormat) -> None:
    """One each, or one for all; numbers of numpy, and none at all, are fine."""
    with Watched(form, 8) as watched:
        watched.run(0, [0, 1, 2])
        watched.tracking.copy([0, 1, 2], np.array([0, 2, 2]))
        watched.tracking.copy(np.array([5]), np.uint8(3))
        watched.tracking.copy([], [])
        watched.tracking.copy([], 5)
        watched.tracking.collect()
        assert watched.tracking.last_round == Account(copied=4, false_dirty=1, missed=0)


def test_missed__a_write_between_the_copy_and_the_clear(form: PteFormat) -> None:
    """It is lost for every mechanism alike."""
    with Watched(form, 100) as watched:
        watched.run(0, range(10))
        watched.collect()
        watched.copy(range(10))
        watched.run(0, [3, 4])
        watched.clear(0, 64)
        watched.run(0, [4])
        assert watched.collect() == {4}
        assert (watched.tracking.missed, watched.tracking.false_dirty) == (1, 0)
        watched.check()


@pytest.mark.parametrize("at", [None, 2, np.uint64, np.int64], ids=["now", "one", "u64", "i64"])
def test_copy__does_not_keep_the_caller_s_arrays(form: PteFormat, at: Any) -> None:
    """They may be filled anew while the round goes on."""
    with Watched(form, 8) as watched:
        pages, moments = np.array([1, 2], np.uint64), np.array([2, 2], at) if isinstance(at, type) else at
        watched.run(0, [1, 2])
        watched.tracking.copy(pages, moments)
        pages[:] = 7
        if isinstance(moments, np.ndarray):
            moments[:] = 0
        watched.tracking.collect()
        assert watched.tracking.last_round == Account(2, 2, 0)


class Changed:
    """An array that changes when the n-th line of the library begins, as another thread might change it there."""

    def __init__(self, array: Any, value: int, n: int) -> None:
        self.array, self.value, self.left = array, value, n

    def __call__(self, frame: FrameType, event: str, _: object) -> Any:
        if "npt/dirty/mechanisms" not in frame.f_code.co_filename.replace("\\", "/"):
            return None
        if event == "line":
            self.left -= 1
            if self.left == 0:
                self.array[-1] = self.value
        return self


@pytest.mark.parametrize("which", ["pages", "at"])
def test_copy__of_an_array_that_changes_meanwhile(which: str) -> None:
    """What was checked is what is used: nothing out of range comes to the kernel, and a refused copy leaves nothing."""
    n, left, refused = 0, 0, 0
    while left <= 0:
        n += 1
        with Watched(EPT, 8) as watched:
            pages, at = np.array([1, 2], np.uint64), np.array([0, 0], np.uint64)
            change = Changed(*((pages, 1 << 40) if which == "pages" else (at, 2**64 - 1)), n)
            sys.settrace(change)
            try:
                watched.tracking.copy(pages, at)
                copied = 2
            except InvalidArgument:
                copied, refused = 0, refused + 1
            finally:
                sys.settrace(None)
            watched.tracking.collect()
            assert watched.tracking.last_round == Account(copied=copied, false_dirty=0, missed=0)
            left = change.left
    assert 0 < refused < n - 1
