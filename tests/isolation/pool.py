"""The reservoir's pool beside a slow one: which frames are whose, and which of the free ones are handed out next."""

import random
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npt import RamObject, Reservoir, ReservoirExhausted, VmSpace
from npt.testing import check
from tests.isolation.canary import PAGE, frames_of, stamp, strange

__all__ = ["Pool", "best_fit", "spans_of"]

SIZE, LIMIT, MOST, ALIVE, VIEWS = 0xC0, 0xF0, 12, 40, 8
FREE, EMPTY = 0, 1
Spans = list[tuple[int, int]]
Bools = NDArray[np.bool_]


def spans_of(frames: Bools) -> Spans:
    """Maximal stretches, ``(first, n)``."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], frames, [False]))))
    return [(int(first), int(end - first)) for first, end in edges.reshape(-1, 2)]


def best_fit(spans: Spans, n: int) -> Spans:
    """What is handed out for ``n`` frames: the end of the smallest that fits, or the largest first, and then the rest."""
    left, taken = list(spans), Spans()
    while n:
        fits = [span for span in left if span[1] >= n]
        size = min(size for _, size in fits) if fits else max(size for _, size in left)
        span = min(span for span in left if span[1] == size)
        left.remove(span)
        part = min(n, size)
        taken.append((span[0] + size - part, part))
        n -= part
    return sorted(taken)


class Pool:
    """A reservoir, all that is taken of it, and the same in a slow form.

    Attributes
    ----------
    frames : numpy.ndarray
        By frame: 0 free, 1 empty, else number of the object that has it, or whose view keeps it.
    n_taken, n_given : int
        Objects so far.
    """

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.reservoir = Reservoir(SIZE * PAGE, limit=LIMIT * PAGE)
        self.words = self.reservoir.buffer.view(np.uint64).reshape(-1, PAGE // 8)
        self.frames = np.zeros(LIMIT, np.int64)
        self.frames[SIZE:] = EMPTY
        self.alive: list[tuple[RamObject, int]] = []
        self.views: list[tuple[Any, int, bool]] = []  # view, frame, transient
        self.n_taken = self.n_given = 0

    def step(self) -> None:
        """One object more, or one less; now and then another size, or a view that dies."""
        if self.random.random() < 0.01:
            self.resize()
        if self.views and self.random.random() < 0.1:
            self.forget()
        if self.alive and (len(self.alive) >= ALIVE or self.random.random() < 0.48):
            self.give()
        else:
            self.take()

    def take(self) -> None:
        """An object: the frames that are due, zero; it is marked in every page, all over or in one word."""
        n, transient = self.random.randint(1, MOST), self.random.random() < 0.2
        home = self.frames == (EMPTY if transient else FREE)
        try:
            ram = self.reservoir.allocate(n * PAGE, transient=transient)
        except ReservoirExhausted:
            assert np.count_nonzero(home) < n
            if self.alive:
                self.give()
            return
        self.n_taken += 1
        number, frames = self.n_taken + EMPTY, frames_of(ram)
        expected = best_fit(spans_of(home), n)
        assert [(span.pfn - self.reservoir.base_pfn, span.n_pages) for span in ram.spans] == expected, (expected, ram.spans)
        assert not self.words[frames].any(), f"handed out: {strange(self.words[frames])}"
        self.frames[frames] = number
        words, at = self.reservoir.words.reshape(-1, PAGE // 8), self.random.randrange(PAGE // 8)
        words[frames, at if self.random.random() < 0.9 else slice(None)] = stamp(1, number & 0xFF_FFFF, 0, 0)
        self.alive.append((ram, number))

    def give(self) -> None:
        """One less; a view of it may stay, and write once it is gone."""
        ram, number = self.alive.pop(self.random.randrange(len(self.alive)))
        frames, transient = frames_of(ram), ram.transient
        assert (self.frames[frames] == number).all()
        view: Any = None
        if len(self.views) < VIEWS and self.random.random() < 0.1:
            frame = self.random.choice(frames)
            view = np.frombuffer(self.reservoir.backing.windows[True], np.uint8, PAGE, frame * PAGE)
            self.reservoir.watch(frame, view.base)
            self.views.append((view, frame, transient))
        ram.release()
        self.n_given += 1
        self.frames[frames] = EMPTY if transient else FREE
        if view is not None:
            assert not view.any()
            view[:] = number & 0xFF | 1
            self.frames[self.views[-1][1]] = number

    def forget(self) -> None:
        """A view dies: its frame is back, zero."""
        view, frame, transient = self.views.pop(self.random.randrange(len(self.views)))
        assert view.all()
        del view
        self.reservoir.settle()
        self.frames[frame] = EMPTY if transient else FREE
        assert not self.words[frame].any(), f"given back: {strange(self.words[frame])}"

    def resize(self) -> None:
        """The lowest empty frames become free, or the highest free ones empty; as many as there are, or are wanted."""
        size, target = self.reservoir.size // PAGE, self.random.choice((SIZE // 2, SIZE, LIMIT))
        reached = self.reservoir.resize(target * PAGE) // PAGE
        lowest, highest = np.flatnonzero(self.frames == EMPTY), np.flatnonzero(self.frames == FREE)[::-1]
        moved = lowest[: max(target - size, 0)], highest[: max(size - target, 0)]
        assert reached == size + moved[0].size - moved[1].size
        self.frames[moved[0]], self.frames[moved[1]] = FREE, EMPTY

    def check(self) -> None:
        """Unused frames are zero, in spans that are ordered, disjoint and maximal; usage adds up."""
        usage = self.reservoir.usage
        unused = self.frames <= EMPTY
        assert not self.words[unused].any(), f"nobody's: {strange(self.words[unused])}"
        base, spans = self.reservoir.base_pfn, self.reservoir.free_spans
        assert all(before.pfn + before.n_pages < after.pfn for before, after in pairwise(spans)), f"{spans} touch, or overlap"
        assert [(span.pfn - base, span.n_pages) for span in spans] == spans_of(self.frames == FREE)
        assert usage.free == sum(span.n_pages for span in spans) * PAGE
        assert usage.free + usage.allocated + usage.quarantined == self.reservoir.size
        waiting = sum(not transient for *_, transient in self.views)
        assert usage.quarantined == waiting * PAGE
        ordinary = sum(ram.length for ram, _ in self.alive if not ram.transient)
        assert usage.allocated == ordinary
        in_all = sum(ram.length for ram, _ in self.alive) + len(self.views) * PAGE
        assert usage.transient == in_all - ordinary - waiting * PAGE
        check(VmSpace(PAGE, reservoir=self.reservoir))

    def close(self) -> None:
        """All is given back: one span, zero."""
        while self.alive:
            self.give()
        while self.views:
            self.forget()
        self.check()
        assert self.reservoir.resize(0) == 0
        assert self.reservoir.resize(LIMIT * PAGE) == LIMIT * PAGE
        assert [tuple(span) for span in self.reservoir.free_spans] == [(self.reservoir.base_pfn, LIMIT)]
        assert not self.words.any()
        self.reservoir.close()
