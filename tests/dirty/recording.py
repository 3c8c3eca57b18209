"""Rounds made of sets of pages, without a guest."""

import numpy as np

from npt.dirty.packed import Entry, pack
from npt.dirty.rounds import Rounds
from tests.dirty.migrating import PAGE, bitmap_of

__all__ = ["CHOICES", "record", "some_rounds"]


def record(sets: list[set[int]], n_pages: int, gpa: int = 0x7000) -> Rounds:
    """Rounds that reported these pages, the third and each third after it behind a gap."""
    rounds = Rounds(gpa, n_pages * PAGE)
    for number, pages in enumerate(sets, 1):
        packed = pack(bitmap_of(pages, n_pages), n_pages)
        rounds = rounds.with_one(Entry(packed, 10 + 3 * number, 1000 * number, number % 3 == 0))
    return rounds


def some_rounds(n_pages: int, seed: int = 1) -> list[set[int]]:
    """Nothing, everything, the ends, a few, many, stretches."""
    rng = np.random.default_rng(seed)
    sets = [set[int](), set(range(n_pages)), {0}, {n_pages - 1}, {0, n_pages - 1}]
    for share in (0.01, 0.1, 0.5, 0.9):
        sets.append({int(page) for page in np.flatnonzero(rng.random(n_pages) < share)})
    for _ in range(4):
        a, b, c, d = sorted(int(x) for x in rng.integers(0, n_pages + 1, 4))
        sets.append(set(range(a, b)) | set(range(c, d)))
    return sets


CHOICES = [1, 2, 7, 8, 9, 63, 64, 65, 127, 128, 129, 200, 1000, 4096, 5003]
