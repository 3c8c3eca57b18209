"""Threads that work beside a test, each on a processor of its own as far as there are enough."""

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["LONG", "SECONDS", "Crew", "crew", "pinned", "processors", "together"]

LONG = 10 if os.environ.get("NPT_LONG") == "1" else 1  # times the work of CI
SECONDS = 120 * LONG  # after which a test hangs, for certain
_PINS = hasattr(os, "sched_setaffinity")
Work = Callable[["Crew"], object]


def processors() -> list[int]:
    """Processors that this process may use."""
    return sorted(os.sched_getaffinity(0)) if _PINS else list(range(os.cpu_count() or 1))


@contextmanager
def pinned(number: int, among: list[int]) -> Iterator[None]:
    """This thread runs on one processor."""
    if not _PINS:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {among[number % len(among)]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Crew:
    """Threads under way.

    Attributes
    ----------
    over : threading.Event
        They shall come to their end: the test is done with them, or one of them has failed.
    errors : list of BaseException
        What they raised.
    """

    def __init__(self, works: tuple[Work, ...]) -> None:
        self.over = threading.Event()
        self.errors: list[BaseException] = []
        among = processors()
        self.threads = [
            threading.Thread(target=self._do, args=(work, number, among), daemon=True) for number, work in enumerate(works, 1)
        ]

    @property
    def working(self) -> bool:
        """Whether the test should go on beside them."""
        return not self.over.is_set()

    def busy(self, number: int = 0) -> bool:
        """Whether one of them is still at it."""
        return self.threads[number].is_alive()

    def _do(self, work: Work, number: int, among: list[int]) -> None:
        try:
            with pinned(number, among):
                work(self)
        except BaseException as error:
            self.errors.append(error)
            self.over.set()

    def finish(self) -> None:
        """Wait for all; raise what the first one raised."""
        for thread in self.threads:
            if thread.ident is not None:
                thread.join()
        if self.errors:
            raise self.errors[0]


@contextmanager
def crew(*works: Work) -> Iterator[Crew]:
    """Works run in threads beside the block, which has a processor of its own; they are told at its end, and waited for."""
    team = Crew(works)
    with pinned(0, processors()):
        try:
            for thread in team.threads:
                thread.start()
            yield team
        except BaseException:
            team.over.set()
            if team.errors and sys.exc_info()[1] is not team.errors[0]:
                raise team.errors[0] from sys.exc_info()[1]
            raise
        finally:
            team.over.set()
            for thread in team.threads:
                if thread.ident is not None:
                    thread.join()
        team.finish()


def together(*works: Work) -> None:
    """Works run beside each other until each is done."""
    team = Crew(works)  # before this thread is pinned: they may use what it may
    with pinned(0, processors()):
        for thread in team.threads:
            thread.start()
        team.finish()
