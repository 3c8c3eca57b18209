"""The garbage collector, kept off while another thread works for one that has locks.

A finalizer that the collector ran in the thread that helps could want a lock of the one that waits for it.
"""

import gc
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["paused"]

_counting = threading.RLock()  # over the two below; a signal handler may come here, too
_tokens: list[object] = []  # of those who want it off
_was_on = False  # before the first of them


@contextmanager
def paused() -> Iterator[None]:
    """Keep the collector off for the length of a ``with`` block; it is as before when the last such block ends."""
    global _was_on
    token = object()
    try:
        with _counting:
            if not _tokens:
                _was_on = gc.isenabled()
            _tokens.append(token)
            gc.disable()
        yield
    finally:
        try:
            _end(token)
        except BaseException:  # an interrupt: once more does no harm
            _end(token)
            raise


def _end(token: object) -> None:
    global _was_on
    with _counting:
        if token in _tokens:
            _tokens.remove(token)
        if _was_on and not _tokens:
            gc.enable()
            _was_on = False


def _renew() -> None:
    """In a forked child: the threads that wanted it off are gone."""
    global _counting
    _counting = threading.RLock()
    if _tokens and _was_on:
        gc.enable()
    _tokens.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
