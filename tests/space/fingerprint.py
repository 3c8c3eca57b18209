"""All that there is inside of a guest, to be compared with itself: nothing is listed here, so nothing is left out.

The objects of npt are followed from the roots, attribute by attribute, with the containers and arrays in them. Numbers, texts,
containers and the contents of arrays must stay equal, everything else must stay the same object. Locks must stay free.

Left out is what may change in a call that is refused: how long things took, what the next run writes over before it reads it,
and what is looked at under another name.
"""

import gc
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np

from npt.space.exclusion import Exclusion
from npt.space.gate import GATES
from npt.space.vcpu import Vcpu
from npt.table.arena import Arena
from npt.table.tree import PageTable
from npt.testing.inside.clients import is_locked
from npt.units import ENTRIES

__all__ = ["LEFT_OUT", "Fingerprint"]

_PLAIN = frozenset((int, float, bool, str, bytes, type(None), np.uint64))
_LOCKS = (type(threading.Lock()), type(threading.RLock()))
_ABSENT = object()
LEFT_OUT: dict[type, tuple[str, ...]] = {
    Exclusion: ("kick_ns", "held_ns"),
    Vcpu: ("_scratch", "_outcome", "_is_compiled"),
    PageTable: ("levels",),  # as large as the space may ever need: what was ever used of them is looked at
    Arena: ("entries",),  # the same
}

Look = Callable[[], Any]
Array = np.ndarray[Any, Any]


class Fingerprint:
    """What there was when it was made, or renewed.

    Parameters
    ----------
    roots
        By name: handles, or anything that refers to some.

    Attributes
    ----------
    containers, arrays : list
        Names, with what there is now (or how to look at it), and a copy of what there was.
    """

    def __init__(self, roots: dict[str, object]) -> None:
        self._roots = roots
        self._take()

    def _take(self) -> None:
        self._known: dict[int, object] = {}  # kept, so that no later one gets the address of one that is gone
        self._places: set[tuple[int, int]] = set()  # of arrays, in memory
        self.containers: list[tuple[str, Any, Any]] = []  # as it is now, and a copy of what it was
        self._looks: list[tuple[str, Look, Any]] = []
        self.arrays: list[tuple[str, Look, Array]] = []
        self._visit("scene", self._roots)
        self._gates = self._count_gates()
        self._look("gates", self._more_gates)
        self._look("threads", threading.active_count)
        self._look("environment", lambda: os.environ.get("NPT_THREADS"))

    def renew(self) -> None:
        """Take whatever there is now for what there was."""
        if self.changes():
            self._take()

    def __len__(self) -> int:
        return len(self.containers) + len(self._looks) + len(self.arrays)

    def changes(self, *, faulted: bool = False) -> list[str]:
        """Names of what has changed since; ``faulted``: a fault was refused, and may be counted."""
        changed = [name for name, now, before in self.containers if not _is_equal(now, before)]
        changed += [name for name, look, before in self._looks if look() != before]
        changed += [name for name, look, before in self.arrays if not np.array_equal(_words(look()), before)]
        return [name for name in changed if not (faulted and name.endswith(".faults"))]

    # -- taking it ----------------------------------------------------------------------------------------------------

    def _look(self, name: str, look: Look) -> None:
        self._looks.append((name, look, look()))

    def _visit(self, name: str, value: Any) -> None:
        if type(value) in _PLAIN or id(value) in self._known:
            return
        self._known[id(value)] = value
        if isinstance(value, _LOCKS):
            self._look(f"{name} is locked", lambda: is_locked(value))
        elif isinstance(value, np.ndarray):
            self._visit_array(name, lambda: value)
        elif isinstance(value, dict):
            self.containers.append((name, value, value.copy()))
            self._visit_all((f"{name}.{_told(key)}", one) for key, one in tuple(value.items()))
            self._visit_all((f"{name}, key", key) for key in tuple(value))
        elif isinstance(value, (list, tuple, deque, set, frozenset)):
            if not isinstance(value, (tuple, frozenset)):
                self.containers.append((name, value, value.copy()))
            self._visit_all((f"{name}[{i}]", one) for i, one in enumerate(tuple(value)))
        elif type(value).__module__.startswith(("npt.", "tests.")) and not isinstance(value, type):
            self._visit_object(name, value)

    def _visit_all(self, parts: Iterable[tuple[str, Any]]) -> None:
        for name, part in parts:
            self._visit(name, part)

    def _visit_object(self, name: str, value: Any) -> None:
        left_out = [one for kind, names in LEFT_OUT.items() if isinstance(value, kind) for one in names]
        slots, whole = _slots(value), getattr(value, "__dict__", None)
        if whole is not None and not left_out:
            self._visit(name, whole)
        elif whole is not None:
            slots += [one for one in whole if one not in left_out]
        for slot in slots:
            self._look(f"{name}.{slot}", partial(_mark_of, value, slot))
            self._visit(f"{name}.{slot}", getattr(value, slot, _ABSENT))
        if isinstance(value, PageTable):
            for place in range(len(value.levels)):
                self._visit_array(f"{name}.levels[{place}]", partial(_used, value, place))

    def _visit_array(self, name: str, look: Look) -> None:
        now = look()
        place = now.ctypes.data, now.nbytes
        if now.nbytes and place not in self._places:
            self._places.add(place)
            self.arrays.append((name, look, _words(now).copy()))

    def _more_gates(self) -> int:
        """How many more there are of these spaces, listed or not, than the fewest there were."""
        now = self._count_gates()
        if now > self._gates:
            gc.collect()  # a client that was refused refers to itself
            now = self._count_gates()
        self._gates = min(self._gates, now)  # one that was such a client, and is no more
        return now - self._gates

    def _count_gates(self) -> int:
        return sum(id(gate.exclusion) in self._known for gate in tuple(GATES))


def _slots(value: Any) -> list[str]:
    """Names of an object's attributes that are not in a dictionary."""
    names = [name for kind in type(value).__mro__ for name in vars(kind).get("__slots__", ())]
    return [name for name in names if name not in ("__weakref__", "__dict__")]


def _used(table: PageTable, place: int) -> Array:
    return table.levels[place][: int(table._state[2 * place]) * ENTRIES]


def _words(array: Array) -> Array:
    """The same bytes, eight at a time where that can be: less to compare."""
    return array.view(np.uint64) if array.nbytes % 8 == 0 and array.ndim == 1 and array.flags.c_contiguous else array


def _is_equal(now: Any, before: Any) -> bool:
    try:
        return bool(now == before)
    except ValueError:  # another array: nobody compares two arrays when they are the same
        return False


def _mark_of(owner: Any, slot: str) -> Any:
    value = getattr(owner, slot, _ABSENT)
    return value if type(value) in _PLAIN else id(value)


def _told(key: object) -> str:
    return str(key) if type(key) in _PLAIN else type(key).__name__
