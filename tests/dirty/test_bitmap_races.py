"""Bitmaps, numbers and runs that another thread changes during a call: nothing outside them is touched, nothing set is lost."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from npt import dirty
from npt._types import U8Array
from npt.dirty import RUN
from tests.threads.crew import crew

N_PAGES = 1 << 16
ROUNDS = 300
pytestmark = pytest.mark.slow


def flicker(array: np.ndarray[Any, Any], one: Any, other: Any) -> Callable[[Any], None]:
    """Work that fills an array with two contents in turn, but for its last element, which stays."""

    def work(watch: Any) -> None:
        while watch.working:
            array[:-1] = one
            array[:-1] = other

    return work


def last_page(bitmap: U8Array) -> None:
    """Only the last page is set."""
    bitmap[:] = 0
    bitmap[-1] = 0x80


def test_runs__of_a_bitmap_that_changes() -> None:
    """The page that is set throughout is in every result; runs are by address and apart."""
    bitmap = dirty.empty(N_PAGES)
    last_page(bitmap)
    with crew(flicker(bitmap, 0x55, 0)):
        for _ in range(ROUNDS):
            runs = dirty.runs(bitmap)
            ends = runs["gpa"] + (runs["n_pages"] << np.uint64(12))
            assert ends[-1] == N_PAGES << 12
            assert (runs["gpa"][1:] > ends[:-1]).all()


def test_to_pages__of_a_bitmap_that_changes() -> None:
    """The page that is set throughout is in every result; numbers ascend."""
    bitmap = dirty.empty(N_PAGES)
    last_page(bitmap)
    with crew(flicker(bitmap, 0xFF, 0)):
        for _ in range(ROUNDS):
            pages = dirty.to_pages(bitmap)
            assert pages[-1] == N_PAGES - 1
            assert (pages[1:] > pages[:-1]).all()


def test_from_pages__numbers_that_change() -> None:
    """What was checked is what is used: numbers far outside either are refused or never seen."""
    pages = np.zeros(1 << 14, np.uint64)
    with crew(flicker(pages, 2**40, 1)):
        for _ in range(ROUNDS):
            try:
                assert dirty.count(dirty.from_pages(pages, 64)) <= 2
            except ValueError:
                continue


@pytest.mark.parametrize(
    "call", [lambda runs: dirty.from_runs(runs, 1 << 10), lambda runs: dirty.partition(runs, 5)], ids=["from_runs", "partition"]
)
def test_runs__that_change(call: Callable[[Any], Any]) -> None:
    """The same for runs."""
    runs = np.zeros(1 << 9, RUN)
    runs["gpa"] = np.arange(1 << 9, dtype=np.uint64) << np.uint64(13)
    runs["n_pages"] = 1
    with crew(flicker(runs["n_pages"], 2**30, 1)):
        for _ in range(ROUNDS):
            try:
                call(runs)
            except ValueError:
                continue
