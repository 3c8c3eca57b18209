"""Two threads in compiled loops at one leaf table, round after round: what a call of Python is too slow to hit.

Theory of operation
-------------------
A round begins when one thread stores its number, and ends when the other has; each waits by looking. The one does what is to be
watched after a pause that is another each time, so that all orders come up. Between two rounds nobody but the first thread
touches anything: it looks at what has come of the last one, and puts everything back. Before they begin both store to one
line: stores behind that one wait in the processor until it has the line, and loads pass them all that time.

What is raced are the kernels themselves, of a module that is given: the real one, or one with a fault planted.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numba
import numpy as np

from npt import NPT
from npt.kernels import jit
from npt.kernels.atomics import atomic_load, atomic_store, prefetch, publish
from npt.kernels.summary import CLEAN, TOUCHED
from tests.threads.crew import together

__all__ = ["beside_a_harvest", "before_its_own_harvest"]

_ZERO, _ONE, _NINE, _TABLE, _LEAF = np.uint64(0), np.uint64(1), np.uint64(9), np.uint64(1), np.uint64(512 + 5)
_GO, _DONE, _BUSY = np.uint64(0), np.uint64(16), np.uint64(32)  # words of three cache lines
_PRESENT, _D, _BITS = np.uint64(1), np.uint64(NPT.masks.dirty), np.uint64(NPT.masks.accessed | NPT.masks.dirty)
_CLEAN_ENTRY = np.uint64(0x10_0000_0000 | 0x27)
_WORD, _BIT = np.uint64(_LEAF % 512 // 64), np.uint64(_LEAF % 64)
_PAUSES = np.uint64(1500)


class _Table:
    """Leaf entries, the summary, and what kernels want besides."""

    def __init__(self) -> None:
        self.leaves = np.zeros(2048, np.uint64)
        self.leaves[512:1024] = _CLEAN_ENTRY
        self.touched = np.zeros(256, np.uint8)
        self.line = np.zeros(64, np.uint64)
        self.tables, self.slots = np.ones(1, np.uint64), np.zeros(1, np.uint64)
        self.select, self.places, self.words = np.zeros(0, np.uint64), np.zeros(512, np.uint64), np.zeros(8, np.uint64)


def _loop(function: Callable[..., Any]) -> Any:
    return numba.njit(nogil=True)(function)


def _race(writer: Any, watcher: Any, rounds: int) -> int:
    """Two loops on two processors; what the second one counted. Compiled before they begin."""
    missed: list[int] = []
    for n in (0, rounds):
        table = _Table()
        own = table.leaves, table.touched, table.line
        more = table.tables, table.slots, table.select, table.places, table.words
        together(
            lambda _, own=own, n=n: writer(*own, np.uint64(n)),  # type: ignore[misc]
            lambda _, own=own, more=more, n=n: missed.append(watcher(*own, *more, np.uint64(n))),  # type: ignore[misc]
        )
    return missed[-1]


def _writer(dirty: ModuleType) -> Any:
    mark_leaf = dirty.mark_leaf
    jit.entry_point(mark_leaf)

    def write(leaves: Any, touched: Any, line: Any, rounds: Any) -> None:
        for n in range(_ONE, rounds + _ONE):
            while atomic_load(line, _GO) < n:
                pass
            publish(line, _BUSY, np.uint64(n))
            mark_leaf(leaves, touched, _LEAF, _PRESENT, _BITS)
            atomic_store(line, _DONE, np.uint64(n))

    return _loop(write)


@_loop
def _begin(leaves: Any, touched: Any, line: Any, words: Any, n: Any, byte: Any) -> None:
    """Everything is clean, but for the byte perhaps; the other may go, and this thread a little later."""
    atomic_store(leaves, _LEAF, _CLEAN_ENTRY)
    atomic_store(touched, _TABLE, byte)
    words[_WORD] = _ZERO
    atomic_store(line, _GO, np.uint64(n))
    for _ in range(n % _PAUSES):
        prefetch(line, _GO)
    publish(line, _BUSY, np.uint64(n))


def beside_a_harvest(dirty: ModuleType, rounds: int) -> int:
    """One thread writes to a page while another harvests: in how many rounds the write is neither reported nor to be found.

    Rounds begin in turn with a table that is clean, and with one that was touched.
    """
    writer, harvest = _writer(dirty), dirty.harvest
    jit.entry_point(harvest)

    def watch(
        leaves: Any, touched: Any, line: Any, tables: Any, slots: Any, select: Any, places: Any, words: Any, rounds: Any
    ) -> int:
        missed = 0
        for n in range(_ONE, rounds + _ONE):
            _begin(leaves, touched, line, words, n, TOUCHED if n % np.uint64(2) else CLEAN)
            harvest(leaves, touched, tables, slots, _ZERO, np.uint64(512), select, _D, places, words)
            while atomic_load(line, _DONE) < n:
                pass
            reported = ((words[_WORD] >> _BIT) & _ONE) != _ZERO
            is_dirty = (atomic_load(leaves, _LEAF) & _D) != _ZERO
            found = is_dirty and atomic_load(touched, _TABLE) != CLEAN
            missed += not (reported or found)
        return missed

    return _race(writer, _loop(watch), rounds)


def before_its_own_harvest(dirty: ModuleType, rounds: int) -> int:
    """Two threads write to one page, and the second harvests then, if the table is not clean: how often it was not in it."""
    writer, mark_leaf, harvest = _writer(dirty), dirty.mark_leaf, dirty.harvest
    jit.entry_point(harvest)

    def watch(
        leaves: Any, touched: Any, line: Any, tables: Any, slots: Any, select: Any, places: Any, words: Any, rounds: Any
    ) -> int:
        missed = 0
        for n in range(_ONE, rounds + _ONE):
            _begin(leaves, touched, line, words, n, CLEAN)
            mark_leaf(leaves, touched, _LEAF, _PRESENT, _BITS)
            if atomic_load(touched, _TABLE) != CLEAN:
                harvest(leaves, touched, tables, slots, _ZERO, np.uint64(512), select, _D, places, words)
            missed += ((words[_WORD] >> _BIT) & _ONE) == _ZERO
            while atomic_load(line, _DONE) < n:
                pass
        return missed

    return _race(writer, _loop(watch), rounds)
