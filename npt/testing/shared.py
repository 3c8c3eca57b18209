"""Which things the threads of a run shared.

Theory of operation
-------------------
``explore`` need not switch threads before an operation on a thing that only one thread touches, or that all only read: such
an operation changes places with the others' without anybody seeing it. Locks (with their conditions), words of arrays and
what ``step(on=...)`` names are things. Those that are shared are found on the way: a run's operations are gone through after
it, and what two threads touched, one of them writing, has its *key* added to those known to be shared.

A key is the same in other runs as far as may be: the order in which the maker of a lock made it; for a word its name, its
index, the thread that touched it first and how many of that name there were before. Where a key means different things in
two runs, more is taken to be shared than is: that costs schedules, never a bug. (Of any run, all that was shared in it is
known before the search ends.)

Relies on:  threads sharing nothing that changes but such things, or having locks or steps that they share around it. If
            yours look at plain attributes of each other between points on things of their own: ``explore(reduce=False)``.
"""

from collections.abc import Hashable
from typing import Any

from npt.testing.operations import Operation
from npt.testing.scheduler import Run

__all__ = ["Touched"]

_WORD = 8  # bytes


class Touched:
    """What the threads of a run touched."""

    def __init__(self, run: Run) -> None:
        self._readers: dict[Hashable, int] = {}  # bit masks of threads, by key
        self._writers: dict[Hashable, int] = {}
        self._words: dict[int, Hashable] = {}  # keys by address
        self._groups: dict[tuple[int, int], Hashable] = {}  # keys by address and count
        self._named: dict[Hashable, int] = {}
        for _, _, thread, _, operation in run.points:
            if (key := self.key(operation, thread)) is not None:
                masks = self._writers if operation.writes else self._readers
                masks[key] = masks.get(key, 0) | 1 << thread

    def key(self, operation: Operation, thread: int = -1) -> Hashable:
        """Key of the thing that an operation is on; None if it is on no thing of its own."""
        where = operation.where
        if not isinstance(where, int):
            key: Hashable = getattr(where, "key", where)
            return key
        address = where + _WORD * (operation.first or 0)
        known: dict[Any, Hashable] = self._words
        place: Any = address
        if operation.n != 1:
            known, place = self._groups, (address, operation.n)
        if place not in known:
            name = operation.name if isinstance(operation.name, str) else operation.name[0]
            like = name, operation.first, operation.n, thread
            self._named[like] = n = self._named.get(like, 0) + 1
            known[place] = (*like, n)
        return known[place]

    def shared(self) -> set[Hashable]:
        """Keys of what two threads touched, one of them writing."""
        keys = {key for key, writers in self._writers.items() if self._several(writers | self._readers.get(key, 0))}
        for (first, count), group in self._groups.items():
            end = first + _WORD * count
            for address, word in self._words.items():
                if first <= address < end and self._clash(group, word):
                    keys |= {group, word}
            for (other, n), key in self._groups.items():
                if key is not group and first < other + _WORD * n and other < end and self._clash(group, key):
                    keys |= {group, key}
        return keys

    def _clash(self, one: Hashable, other: Hashable) -> bool:
        """Whether two keys of the same words are touched by two threads, one of them writing."""
        writers = self._writers.get(one, 0) | self._writers.get(other, 0)
        readers = self._readers.get(one, 0) | self._readers.get(other, 0)
        return bool(writers) and self._several(writers | readers)

    @staticmethod
    def _several(threads: int) -> bool:
        return threads & (threads - 1) != 0
