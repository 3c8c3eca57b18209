"""The collector at every line of the library, and what its finalizers met."""

import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import npt

__all__ = ["Garbage", "Seen", "collecting"]

Act = Callable[[], object]
Seen = list[type[BaseException] | None]
_HOME = npt.__file__.removesuffix("__init__.py")


class Garbage:
    """A ring that only the collector finds, with a finalizer."""

    def __init__(self, act: Act, seen: Seen) -> None:
        self.ring, self.act, self.seen = self, act, seen

    def __del__(self) -> None:
        try:
            self.act()
            self.seen.append(None)
        except BaseException as error:
            self.seen.append(type(error))  # the error itself keeps frames, and what is in them


@contextmanager
def collecting(make: Callable[[], Act], first: int = 0, n: int = sys.maxsize) -> Iterator[Seen]:
    """At each of some lines of the library the collector finds a ring, with something made for it; what finalizers met."""
    seen: Seen = []
    inside, line = False, 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal inside, line
        if inside or not frame.f_code.co_filename.startswith(_HOME) or "kernels" in frame.f_code.co_filename:
            return None
        if event == "line":
            line += 1
            if first < line <= first + n:
                inside = True
                Garbage(make(), seen)
                gc.collect()
                inside = False
        return trace

    gc.disable()
    gc.freeze()  # what is old is not looked through each time
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield seen
    finally:
        sys.settrace(before)
        gc.enable()
        gc.unfreeze()
