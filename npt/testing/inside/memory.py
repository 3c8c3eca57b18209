"""One look at host memory: a reservoir's frames, and those of objects."""

from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

import numpy as np

from npt._types import U64Array
from npt.memory.objects import VmObject
from npt.memory.reservoir import Reservoir
from npt.testing.inside.tables import IntArray
from npt.units import ENTRIES

__all__ = ["MemoryInside", "Run", "frames_at", "references", "runs_of"]


class Run(NamedTuple):
    """Consecutive numbers of frames, or of pages."""

    first: int
    n: int

    @property
    def end(self) -> int:
        """The number after the last."""
        return self.first + self.n


class MemoryInside:
    """A reservoir that is open."""

    def __init__(self, reservoir: Reservoir) -> None:
        ledger = reservoir._ledger
        assert ledger is not None
        self.reservoir = reservoir
        self.base_pfn = reservoir._base_pfn
        self.ledger = ledger
        self.limit, self.size = ledger.limit, ledger.size
        self.free = [Run(*span) for span in ledger.free._by_address]
        self.empty = [Run(*span) for span in ledger.empty._by_address]
        self.sets = {"free": ledger.free, "empty": ledger.empty}
        self.quarantine = dict(ledger.quarantine)
        self.leavers = list(reservoir._leavers)
        self.words: U64Array = reservoir._backing.memory.view(np.uint64).reshape(-1, ENTRIES)

    @cached_property
    def watched(self) -> list[int]:
        """Frames that a living view is watched of."""
        watch = self.reservoir._watch
        known = [ref for views in tuple(watch._views.values()) for ref in tuple(views.values())]
        return sorted({ref.frame for ref in (*known, *watch._new) if ref() is not None})

    @cached_property
    def expected(self) -> set[int]:
        """Frames that a view was watched of, dead or alive, and nobody has taken up yet."""
        watch = self.reservoir._watch
        return {*watch._views, *(ref.frame for ref in (*watch._new, *watch._dead))}

    @cached_property
    def unused(self) -> list[tuple[Run, str]]:
        """Frames that nobody has, by address, with what they are."""
        runs = [(run, "free") for run in self.free] + [(run, "empty") for run in self.empty]
        return sorted(runs + [(Run(frame, 1), "quarantined") for frame in self.quarantine])

    def find_unused(self, frames: IntArray) -> Iterator[tuple[int, str]]:
        """Which of these nobody has, by position, and what they are."""
        if not self.unused:
            return
        firsts = np.array([run.first for run, _ in self.unused])
        ends = np.array([run.end for run, _ in self.unused])
        at = np.searchsorted(firsts, frames, side="right") - 1
        for position in np.flatnonzero((at >= 0) & (frames < ends[at])):
            yield int(position), self.unused[at[position]][1]


def references(obj: VmObject) -> dict[object, int]:
    """Who keeps an object, by how many references."""
    return dict(obj._keepers)


def runs_of(obj: VmObject) -> list[Run]:
    """Host frames of an object, in the order of its bytes."""
    return [Run(*span) for span in obj._spans]


def frames_at(obj: VmObject, pages: IntArray) -> IntArray:
    """Host frames behind pages of an object; -1 where it has none."""
    runs = runs_of(obj)
    firsts, ends = np.array([run.first for run in runs]), np.cumsum([run.n for run in runs])
    starts = ends - np.array([run.n for run in runs])
    at = np.clip(np.searchsorted(starts, pages, side="right") - 1, 0, None)
    return np.where((pages >= 0) & (pages < ends[at]), firsts[at] + pages - starts[at], -1)
