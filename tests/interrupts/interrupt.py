"""A ``KeyboardInterrupt``, or another error, at a chosen place of a call.

Python delivers a signal between two instructions: here when a function or a line begins, and when a built-in has returned,
in whatever file the call comes through. The end of a ``with`` block and the word ``try`` are no such places, though a trace
function is told of a line there: before the call of ``__exit__`` Python does not look for signals, and ``try`` does nothing.
"""

import dis
import gc
import sys
from collections.abc import Callable
from functools import cache
from types import CodeType, FrameType
from typing import Any

__all__ = ["KINDS", "interrupted"]

KINDS = ("call", "line", "c_return")


class _Interrupt:
    """Raises at the n-th place of a kind."""

    def __init__(self, kind: str, n: int, error: type[BaseException]) -> None:
        self.kind, self.left, self.error = kind, n, error

    def __call__(self, frame: FrameType, event: str, _: object) -> Any:
        code = frame.f_code
        if code.co_filename == __file__:
            return None
        if event == self.kind and (event == "call" or frame.f_lasti not in _quiet(code)):
            self.left -= 1
            if self.left == 0:
                _stop()
                raise self.error
        return self


@cache
def _quiet(code: CodeType) -> frozenset[int]:
    """Offsets at which the call of an ``__exit__`` begins, and those of ``try``."""
    steps = list(dis.get_instructions(code))
    quiet = set()
    for i, step in enumerate(steps):
        names = [each.opname for each in steps[i : i + 5]]
        nones = [each.opname == "LOAD_CONST" and each.argval is None for each in steps[i : i + 3]]
        if nones == [True] * 3 and {"PRECALL", "CALL"} & set(names[3:]):
            quiet |= {step.offset, steps[i - 1].offset if steps[i - 1].opname == "SWAP" else step.offset}  # a value returned
        if names[0] == "NOP" or names[:2] == ["PUSH_EXC_INFO", "WITH_EXCEPT_START"]:
            quiet.add(step.offset)
    return frozenset(quiet)


def _stop() -> None:
    sys.settrace(None)
    sys.setprofile(None)


def interrupted(work: Callable[[], object], kind: str, n: int, error: type[BaseException] = KeyboardInterrupt) -> bool | None:
    """Call ``work`` with an interrupt at the n-th place; whether it was raised, or None if there are not so many."""
    interrupt = _Interrupt(kind, n, error)
    gc.disable()  # what another test left behind is not to be interrupted
    try:
        (sys.settrace if kind == "line" else sys.setprofile)(interrupt)
        work()
    except error:
        return True
    finally:
        _stop()
        gc.enable()
    return None if interrupt.left > 0 else False
