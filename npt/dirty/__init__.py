"""Dirty logs: bitmaps of pages, rounds of them, the mechanisms that notice writes, and what accessed bits say."""

from npt.dirty import kvm, mechanisms, rate
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
from npt.dirty.log import DirtyLog, LogState
from npt.dirty.rate import PageSample, Rate
from npt.dirty.rounds import Round, Rounds
from npt.dirty.runlists import RUN, from_runs, partition, runs
from npt.dirty.working_set import Sample, WorkingSet, idle

__all__ = [
    "DirtyLog",
    "LogState",
    "PageSample",
    "RUN",
    "Rate",
    "Round",
    "Rounds",
    "Sample",
    "WorkingSet",
    "coarsen",
    "count",
    "difference",
    "empty",
    "from_pages",
    "from_runs",
    "full",
    "idle",
    "inflation",
    "intersection",
    "kvm",
    "mechanisms",
    "n_granules",
    "next_clear",
    "next_set",
    "partition",
    "rate",
    "refine",
    "runs",
    "section",
    "symmetric_difference",
    "to_pages",
    "union",
]
