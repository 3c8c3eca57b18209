"""What studies that take memory and time have in common."""

import time
from collections.abc import Callable

from npt._host import available_bytes
from npt.errors import ReservoirExhausted
from npt.units import format_size

__all__ = ["check_memory", "elapsed_ns"]


def elapsed_ns(work: Callable[[], object]) -> int:
    """How long work takes, in nanoseconds."""
    start = time.perf_counter_ns()
    work()
    return time.perf_counter_ns() - start


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
