"""What studies that take memory and time have in common."""

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import SupportsIndex

from npt._host import available_bytes
from npt._threads import default_threads
from npt.errors import ReservoirExhausted
from npt.units import as_count, format_size

__all__ = ["as_threads", "check_memory", "elapsed_ns", "giving_back"]


def elapsed_ns(work: Callable[[], object]) -> int:
    """How long work takes, in nanoseconds."""
    start = time.perf_counter_ns()
    work()
    return time.perf_counter_ns() - start


@contextmanager
def giving_back() -> Iterator[None]:
    """What was made inside is given back at the end; to decorate a function with, so that its variables are gone by then.

    A space's clients and their gates refer to each other. Memory that they lead to would stay until Python looks for such
    rings by itself, which it does by the number of objects, not by their size: a sweep would take one guest upon another.
    """
    try:
        yield
    finally:
        gc.collect()


def as_threads(threads: SupportsIndex | None) -> int:
    """How many threads a call is split over, as a plain number."""
    return default_threads() if threads is None else as_count(threads, "threads", least=1)


def check_memory(needed: int) -> None:
    """Refuse at the start what would end in the middle for want of memory.

    Raises
    ------
    ReservoirExhausted
        There are not so many bytes.
    """
    available = available_bytes()
    if available is not None and needed > available:
        raise ReservoirExhausted(f"this takes {format_size(needed)} of memory; {format_size(available)} are available")
