"""What can be wrong with a call, by kind, in the order in which it is told.

The calls are in ``ordered_spaces`` and ``ordered_handles``. A wrong thing is some arguments replaced, ``self`` among
them; there may be several of a kind, so that two kinds can be had at once. A value that is a function is made in the scene.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import product
from operator import attrgetter
from typing import Any

import numpy as np

from npt import (
    AddressOverflow,
    BeyondSpace,
    Deadlock,
    InvalidArgument,
    NoSuchMapping,
    Orphaned,
    StaleHandle,
    TrackingDisabled,
)  # fmt: skip
from tests.space.everything import N_RAM, PAGE, RAM, SIZE, Scene

__all__ = [
    "ANYWHERE",
    "ARGUMENT",
    "BAD_RANGE",
    "CALLBACK",
    "DEAD_AND_UNTRACKED",
    "END",
    "FAR",
    "MAPPING",
    "OF_CLIENT",
    "OF_SPACE",
    "OF_VM",
    "ON_CPU",
    "ORDER",
    "ORPHANED",
    "OVERFLOW",
    "OWN",
    "Ordered",
    "PAST_END",
    "RANGE",
    "SHORT",
    "SQUARE",
    "STALE",
    "TRACKING",
    "TYPE",
    "UNTRACKED",
    "Wrong",
    "method",
    "of",
    "pairs",
    "with_",
]

Wrong = dict[str, Any]
TYPE, STALE, ARGUMENT, OVERFLOW, ORPHANED, END = "type", "stale", "argument", "overflow", "orphaned", "end of space"
TRACKING, MAPPING, CALLBACK, ON_CPU, OWN = "tracking", "no such mapping", "in a callback", "on CPU", "its own"
ORDER: dict[str, tuple[int, type[Exception]]] = {
    TYPE: (0, TypeError),
    STALE: (1, StaleHandle),
    ARGUMENT: (2, InvalidArgument),
    OVERFLOW: (2, AddressOverflow),
    ORPHANED: (3, Orphaned),
    END: (4, BeyondSpace),
    TRACKING: (5, TrackingDisabled),
    MAPPING: (6, NoSuchMapping),
    CALLBACK: (7, Deadlock),
    ON_CPU: (7, Deadlock),
    OWN: (8, Exception),  # each call says which
}


@dataclass(frozen=True)
class Ordered:
    """A call: how to make it, its good arguments, and what can be wrong with it, by kind."""

    name: str
    make: Callable[..., object]  # with its own handle as ``self``
    good: dict[str, Any]
    wrongs: dict[str, tuple[Wrong, ...]]
    own: type[Exception] = Exception
    waits: tuple[str, ...] = ()  # where it is refused, because it would wait for itself: in a callback, on CPU
    both: dict[frozenset[str], Wrong] = field(default_factory=dict)  # two kinds at once, where they are in one argument

    def error(self, kind: str) -> type[Exception]:
        """What a kind is answered with."""
        return self.own if kind == OWN else ORDER[kind][1]

    def kinds(self) -> tuple[str, ...]:
        """What can be wrong, the earliest first."""
        return tuple(sorted((*self.wrongs, *self.waits), key=lambda kind: ORDER[kind][0]))

    def arguments(self, *wrong: Wrong) -> dict[str, Any]:
        """The good ones, but for what is wrong."""
        return {name: value for some in (self.good, *wrong) for name, value in some.items()}


def pairs(call: Ordered) -> Iterator[tuple[str, str, tuple[Wrong, ...]]]:
    """Kinds that can be had alone, or two at once and not of the same rank, the earlier first; with what to replace."""
    kinds = call.kinds()
    for place, first in enumerate(kinds):
        yield from ((first, first, (wrong,)) for wrong in call.wrongs.get(first, ({},)))
        for second in kinds[place + 1 :]:
            if ORDER[first][0] < ORDER[second][0]:
                yield from ((first, second, wrong) for wrong in _together(call, first, second))


def _together(call: Ordered, first: str, second: str) -> list[tuple[Wrong, ...]]:
    """All ways to have both that do not replace the same argument."""
    if (both := call.both.get(frozenset((first, second)))) is not None:
        return [(both,)]
    ways = product(call.wrongs.get(first, ({},)), call.wrongs.get(second, ({},)))
    apart = ((one, other) for one, other in ways if not one.keys() & other.keys())
    return [wrongs for wrongs in apart if not _is_buried(wrongs, first, second)]


def _is_buried(wrongs: tuple[Wrong, ...], *kinds: str) -> bool:
    """Whether nobody can wait there: what is dead or orphaned has no callbacks and no vCPUs of its own."""
    return bool({CALLBACK, ON_CPU} & set(kinds)) and any(wrong.get("self") in _NO_SPACE for wrong in wrongs)


def of(name: str) -> Callable[[Scene], Any]:
    """Something of the scene; the same function for the same name."""
    return _NAMED.setdefault(name, attrgetter(name))


_NAMED: dict[str, Callable[[Scene], Any]] = {}
_NO_SPACE = [of(name) for name in ("dead_space", "dead_vm", "orphan", "lost_vcpu")]


# -- what is wrong with many --------------------------------------------------------------------------------------------

SHORT, SQUARE = np.zeros(1, np.uint8), np.zeros((8, 8), np.uint8)
FAR = 2**64 - PAGE
BAD_RANGE: dict[str, tuple[Wrong, ...]] = {
    TYPE: ({"gpa": "x"}, {"length": 1.0}),
    ARGUMENT: ({"gpa": 1}, {"length": 0}),
    OVERFLOW: ({"gpa": FAR}, {"length": 2**64}),
}
PAST_END: dict[str, tuple[Wrong, ...]] = {END: ({"gpa": SIZE}, {"length": SIZE})}
RANGE = {"gpa": RAM, "length": N_RAM * PAGE}
OF_SPACE: dict[str, tuple[Wrong, ...]] = {STALE: ({"self": of("dead_space")},)}
OF_CLIENT: dict[str, tuple[Wrong, ...]] = {STALE: ({"self": of("dead_client")},), ORPHANED: ({"self": of("orphan")},)}
OF_VM: dict[str, tuple[Wrong, ...]] = {STALE: ({"self": of("dead_vm")},)}
UNTRACKED: dict[str, tuple[Wrong, ...]] = {TRACKING: ({"self": of("untracked")},)}
DEAD_AND_UNTRACKED = {frozenset((STALE, TRACKING)): {"self": of("dead_untracked")}}
ANYWHERE = (CALLBACK, ON_CPU)


def with_(*several: dict[str, tuple[Wrong, ...]], **more: tuple[Wrong, ...]) -> dict[str, tuple[Wrong, ...]]:
    """Wrong things put together; ``more`` by the names of kinds with underscores."""
    named = {kind.replace("_", " "): wrongs for kind, wrongs in more.items()}
    kinds = dict.fromkeys(kind for some in (*several, named) for kind in some)
    return {kind: tuple(wrong for some in (*several, named) for wrong in some.get(kind, ())) for kind in kinds}


def method(name: str, handle: str, good: dict[str, Any], wrongs: dict[str, tuple[Wrong, ...]], **more: Any) -> Ordered:
    """A method of a handle of the scene."""
    method = name.rpartition(".")[2].split(" ")[0]
    if handle == "client" and ORPHANED in wrongs:
        more["both"] = {frozenset((STALE, ORPHANED)): {"self": of("dead_orphan")}}
    return Ordered(
        name, lambda self, **arguments: getattr(self, method)(**arguments), {"self": of(handle), **good}, wrongs, **more
    )
