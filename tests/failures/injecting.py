"""Failures that come to a call at its n-th chance: at a line, an array, any memory, a kernel, a change of spans."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from sys import modules
from typing import Any, NamedTuple

from npt.kernels import load_all
from npt.kernels.jit import KERNELS
from npt.memory.ledger import Ledger
from npt.memory.spans import SpanSet
from npt.table.arena import Arena
from npt.table.vacancy import Vacancy
from tests.failures.arrays import nth_array_fails
from tests.interrupts.interrupt import KINDS, interrupted

_testcapi: Any = None
with suppress(ImportError):  # not every Python comes with it
    _testcapi = import_module("_testcapi")

__all__ = ["INJECTORS", "Injector", "Place", "failing_at", "has_testcapi"]

Injector = Callable[[Callable[[], object], int], bool | None]
"""Call something, and have its n-th chance to fail taken: whether that was raised, or None if there are fewer chances."""


def has_testcapi() -> bool:
    """Whether this Python can have its own memory run out."""
    return _testcapi is not None


class _Nth:
    """Counts down to the failure."""

    def __init__(self, n: int) -> None:
        self.left = n

    def is_now(self) -> bool:
        """Whether this is the chance to take."""
        self.left -= 1
        return self.left == 0


@contextmanager
def _no_collector() -> Iterator[None]:
    """What another test left behind is not to fail."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _raises(work: Callable[[], object], error: type[BaseException]) -> bool:
    try:
        work()
    except error:
        return True
    return False


# -- memory -------------------------------------------------------------------------------------------------------------


def no_array(work: Callable[[], object], n: int) -> bool | None:
    """There is no memory for the n-th array."""
    with _no_collector(), nth_array_fails(n) as left:
        raised = _raises(work, MemoryError)
        return None if left[0] > 0 else raised


def no_memory(work: Callable[[], object], n: int) -> bool | None:
    """Python's own allocator fails at the n-th time; what did not matter to the call looks like the end of its chances."""
    with _no_collector():
        try:
            _testcapi.set_nomemory(n, n + 1)
            work()
        except (MemoryError, SystemError):  # that is what numba makes of it
            return True
        except RuntimeError as error:
            if "can't allocate lock" in str(error):
                return True
            raise
        finally:
            _testcapi.remove_mem_hooks()
    return None


# -- calls inside -------------------------------------------------------------------------------------------------------


class Place(NamedTuple):
    """Something that is called: an attribute of a module or of a class."""

    owner: Any
    name: str


@contextmanager
def failing_at(
    places: list[Place], is_now: Callable[[], bool], error: BaseException, *, behind: bool = False
) -> Iterator[None]:
    """Have calls fail when they are told to, before they have done anything or when all is done."""
    before = [vars(place.owner)[place.name] for place in places]
    for place, real in zip(places, before, strict=True):
        setattr(place.owner, place.name, _wrapped(real, is_now, error, behind=behind))
    try:
        yield
    finally:
        for place, real in zip(places, before, strict=True):
            setattr(place.owner, place.name, real)


def _wrapped(real: Any, is_now: Callable[[], bool], error: BaseException, *, behind: bool) -> Any:
    def call(*arguments: Any, **named: Any) -> Any:
        now = is_now()
        if now and not behind:
            raise error
        result = real(*arguments, **named)
        if now:
            raise error
        return result

    return call


def _kernels() -> list[Place]:
    load_all()
    names = [name.rsplit(".", 1) for name in KERNELS]
    return [Place(modules[module], name) for module, name in names]


PARTS = [
    Place(SpanSet, "copy"), Place(SpanSet, "add"), Place(SpanSet, "_insert"), Place(SpanSet, "_discard"),
    Place(Ledger, "_replace"), Place(Vacancy, "__init__"), Place(Arena, "_take"), Place(Arena, "expect"),
]  # fmt: skip


def _at(places: Callable[[], list[Place]], error: type[BaseException], behind: bool) -> Injector:
    def inject(work: Callable[[], object], n: int) -> bool | None:
        nth = _Nth(n)
        with _no_collector(), failing_at(places(), nth.is_now, error(), behind=behind):
            raised = _raises(work, error)
            return None if nth.left > 0 else raised

    return inject


def _lines(kind: str, error: type[BaseException]) -> Injector:
    return lambda work, n: interrupted(work, kind, n, error)


INJECTORS: dict[str, Injector] = {
    **{f"interrupt at a {kind}": _lines(kind, KeyboardInterrupt) for kind in KINDS},
    "interrupt behind a kernel": _at(_kernels, KeyboardInterrupt, True),
    "no memory at a line": _lines("line", MemoryError),
    "no memory in a kernel": _at(_kernels, MemoryError, False),
    "no memory for a part": _at(lambda: PARTS, MemoryError, False),
    "no memory for an array": no_array,
    "no memory at all": no_memory,
}
