"""What tests want to know, found out ahead of them in processes of their own, one on each processor.

For tests that take one processor, and long: a search for a schedule, or an interrupt at each line. ``@ahead(work)`` stands over
such a test; ``work`` is called with the test's parameters, and what it returns or raises is what ``done()`` does in the test.

A process does as pytest does: a warning is an error, and so is what would only be printed by a finalizer or a thread.
"""

import faulthandler
import os
import sys
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, TypeVar

import pytest

__all__ = ["Ahead", "Done", "ahead"]

Done = Callable[[], Any]
_Test = TypeVar("_Test", bound=Callable[..., object])
_unseen: list[str] = []


def ahead(work: Callable[..., object]) -> Callable[[_Test], _Test]:
    """Say what is to be done ahead of a test."""

    def mark(test: _Test) -> _Test:
        vars(test)["ahead"] = work
        return test

    return mark


class Ahead:
    """The processes, and what they do, by test."""

    def __init__(self, items: list[pytest.Item], seconds: float) -> None:
        processors = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [None] * (os.cpu_count() or 1)
        context = get_context("spawn")
        places = context.SimpleQueue()
        for processor in processors:
            places.put(processor)
        self._pool = ProcessPoolExecutor(len(processors), context, _begin, (places,))
        self._results: dict[str, Future[Any]] = {}
        for item in items:
            if (work := vars(getattr(item, "function", ahead)).get("ahead")) is not None:
                parameters = item.callspec.params  # type: ignore[attr-defined]
                self._results[item.nodeid] = self._pool.submit(_do, seconds, work, parameters)

    def result(self, item: pytest.Item) -> Any:
        """What was done for a test."""
        return self._results[item.nodeid].result()

    def close(self) -> None:
        """End the processes; a search under way is waited for."""
        self._pool.shutdown(cancel_futures=True)


def _begin(places: Any) -> None:
    processor = places.get()
    if processor is not None:
        os.sched_setaffinity(0, {processor})
    warnings.simplefilter("error")
    sys.unraisablehook = lambda unseen: _unseen.append(f"{unseen.exc_value!r} in {unseen.object!r}")
    threading.excepthook = lambda unseen: _unseen.append(f"{unseen.exc_value!r} in {unseen.thread!r}")


def _do(seconds: float, work: Callable[..., object], parameters: dict[str, Any]) -> object:
    faulthandler.dump_traceback_later(seconds, exit=True)
    try:
        result = work(**parameters)
    finally:
        faulthandler.cancel_dump_traceback_later()
    unseen = [_unseen.pop() for _ in range(len(_unseen))]
    assert not unseen, unseen
    return result
