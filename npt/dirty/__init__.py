"""Dirty logs: bitmaps of pages, rounds of them, the mechanisms that notice writes, and what accessed bits say."""

from npt.dirty.bitmap import (
    count,
    difference,
    empty,
    from_pages,
    full,
    intersection,
    next_clear,
    next_set,
    section,
    symmetric_difference,
    to_pages,
    union,
)
from npt.dirty.granules import coarsen, inflation, n_granules, refine
from npt.dirty.runlists import RUN, from_runs, partition, runs

__all__ = [
    "RUN",
    "coarsen",
    "count",
    "difference",
    "empty",
    "from_pages",
    "from_runs",
    "full",
    "inflation",
    "intersection",
    "n_granules",
    "next_clear",
    "next_set",
    "partition",
    "refine",
    "runs",
    "section",
    "symmetric_difference",
    "to_pages",
    "union",
]
