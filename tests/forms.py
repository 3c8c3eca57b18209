"""The forms that the engine's work on leaf tables can take, each forced on whatever runs in a context.

Which form is taken depends on the size of a guest, on who is on CPU and on the machine: small guests that nobody is inside of
see plain stores and one thread only. What is forced here is counted, too, so that a test can say that it was.

- *Never still*: harvests clear entry by entry, with atomics, whoever is inside.
- *Full scans*: the summary is not looked at, and harvests do not write it; every leaf table is read.
- *Threads*: two leaf tables are enough to be split, and all threads begin their first parts together; else the caller
  would have done everything by itself before another thread is awake.
"""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from queue import SimpleQueue
from typing import Any, NamedTuple
from unittest import mock

import numpy as np

from npt import _threads, kernels
from npt._types import U8Array
from npt.space.exclusion import Exclusion
from npt.table import tree

__all__ = ["FORMS", "Form", "Seen", "counted", "forced", "own_helpers", "split"]

_PATIENCE = 0.2  # seconds that threads wait for each other before their first parts


class Form(NamedTuple):
    """What is forced."""

    still: bool = True  # where nobody is inside
    summary: bool = True
    threads: int | None = None  # None: as it is for a guest of that size


FORMS = {
    "as it is": Form(),
    "never still": Form(still=False),
    "full scans": Form(summary=False),
    "two threads": Form(threads=2),
    "three threads": Form(threads=3),
    "all of it": Form(still=False, summary=False, threads=3),
}


class Seen:
    """What happened in a context; counted by whoever does it.

    Attributes
    ----------
    calls : dict of str to int
        Kernel calls on leaf tables, by name.
    tables : int
        Leaf tables that harvests were given to scan.
    shared : int
        Pieces of work that were given to more than one thread.
    helped : int
        Parts of them that another thread than the caller's did.
    """

    def __init__(self) -> None:
        self.calls = dict.fromkeys(("harvest", "harvest_still", "peek", "mark"), 0)
        self.tables = self.shared = self.helped = 0
        self._lock = threading.Lock()

    def count(self, name: str, n_tables: int) -> None:
        """A kernel was called."""
        with self._lock:
            self.calls[name] += 1
            self.tables += n_tables if name.startswith("harvest") else 0

    def count_part(self, caller: threading.Thread) -> None:
        """A part is begun, in this thread."""
        with self._lock:
            self.helped += threading.current_thread() is not caller


@contextmanager
def counted() -> Iterator[Seen]:
    """The context in which kernel calls on leaf tables are counted; nothing is forced."""
    seen = Seen()
    with ExitStack() as patches:
        for name in seen.calls:
            patches.enter_context(mock.patch.object(kernels.dirty, name, _counting(name, seen)))
        yield seen


def _counting(name: str, seen: Seen) -> Callable[..., object]:
    kernel, place = getattr(kernels.dirty, name), 1 if name == "peek" else 2

    def call(*arguments: Any) -> object:
        seen.count(name, arguments[place].size)
        return kernel(*arguments)

    return call


@contextmanager
def forced(form: Form) -> Iterator[Seen]:
    """The context in which all spaces do their work in one form; those that were told a number of threads keep it."""
    with ExitStack() as patches:
        seen = patches.enter_context(counted())
        if not form.still:
            patches.enter_context(mock.patch.object(Exclusion, "_lock_gates", _not_still))
        if not form.summary:
            patches.enter_context(mock.patch.object(tree.PageTable, "_summary", _no_summary))
        if form.threads is not None:
            patches.enter_context(mock.patch.dict(os.environ, {_threads.VARIABLE: str(form.threads)}))
            patches.enter_context(split(form.threads, seen))
        yield seen


def _not_still(exclusion: Exclusion) -> bool:
    return False


def _no_summary(table: tree.PageTable, dirty: bool) -> U8Array:
    return np.empty(0, np.uint8)


@contextmanager
def split(n_threads: int, seen: Seen) -> Iterator[None]:
    """The context in which two leaf tables are worth a thread, and those whose turn it is begin together.

    It has helpers of its own, who may use all processors that this thread may, wherever a later caller is pinned to.
    """

    class Together(_threads._Sharing):
        def __init__(self, work: Callable[[int, int], object], bounds: list[int]) -> None:
            caller, begun = threading.current_thread(), threading.local()
            start = threading.Barrier(min(n_threads, len(bounds) - 1))

            def part(first: int, end: int) -> object:
                if not vars(begun):
                    begun.once = True
                    _meet(start)
                seen.count_part(caller)
                return work(first, end)

            super().__init__(part, bounds)
            with seen._lock:
                seen.shared += 1

    with (
        mock.patch.object(tree, "_LEAST_TABLES", 1),
        mock.patch.object(_threads, "_Sharing", Together),
        own_helpers(n_threads - 1),
    ):
        yield


@contextmanager
def own_helpers(n: int = 0) -> Iterator[list[threading.Thread]]:
    """The context in which nobody helps but threads made in it, so many of them at once; they end with it."""
    with mock.patch.object(_threads, "_helpers", []), mock.patch.object(_threads, "_jobs", SimpleQueue()):
        try:
            _threads._ask(lambda: None, n)
            yield _threads._helpers
        finally:
            for _ in _threads._helpers:
                _threads._jobs.put(None)
            for helper in _threads._helpers:
                helper.join()


def _meet(start: threading.Barrier) -> None:
    """Begin together; a thread that is late, because it has other work or its work is over, is not waited for long."""
    with suppress(threading.BrokenBarrierError):
        start.wait(_PATIENCE)
