"""Locks and conditions: the real ones, or those of a scheduler that tests put in their place.

Theory of operation
-------------------
Everything in npt that threads can wait on is made here, and words that they share are read and written by the kernels of
``kernels/words.py`` and ``kernels/atomics.py``. That is the whole seam between the library and the machine's own
scheduling. ``npt.testing`` puts makers of its own in place while it builds a scenario; what was made before or after is
not touched.

Guarantees: the real forms are those of ``threading``, themselves; asking for one costs a call, using it nothing more.
"""

import threading
import time
from typing import Any, Protocol

from npt._types import U8Array, U64Array

__all__ = ["Makers", "cells", "condition", "install", "lock", "now", "rlock"]


class Makers(Protocol):
    """Who makes locks and conditions; ``name`` is for people who read a report."""

    def lock(self, name: str) -> Any:
        """A lock, as ``threading.Lock``."""

    def rlock(self, name: str) -> Any:
        """A lock that its owner can take again, as ``threading.RLock``; it has ``_is_owned``, too."""

    def condition(self, lock: Any) -> Any:
        """A condition over such a lock, as ``threading.Condition``."""

    def cells(self, name: str, array: U64Array | U8Array) -> Any:
        """Elements of a shared array as Python integers, to be read, as ``memoryview``."""

    def now(self) -> float:
        """Seconds, for deadlines, as ``time.monotonic``."""


_installed: Makers | None = None


def install(makers: Makers | None) -> None:
    """Have locks made by somebody else from now on; None for the real ones."""
    global _installed
    _installed = makers


def lock(name: str) -> Any:
    """A lock."""
    return threading.Lock() if _installed is None else _installed.lock(name)


def rlock(name: str) -> Any:
    """A lock that its owner can take again."""
    return threading.RLock() if _installed is None else _installed.rlock(name)


def condition(lock: Any) -> Any:
    """A condition over a lock from here."""
    return threading.Condition(lock) if _installed is None else _installed.condition(lock)


def cells(name: str, array: U64Array | U8Array) -> Any:
    """Elements of a shared array as Python integers, read whole and quickly."""
    return memoryview(array) if _installed is None else _installed.cells(name, array)  # type: ignore[arg-type]


def now() -> float:
    """Seconds, for deadlines."""
    return time.monotonic() if _installed is None else _installed.now()
