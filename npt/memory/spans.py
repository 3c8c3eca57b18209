"""Ordered, merging spans of frames.

A span is ``(first frame, number of frames)``. A set keeps its spans twice: by address, to merge neighbours, and by
size, to find the best fit. Both are sorted lists, so a change costs one search and one shift of a list of pointers.

Guarantees: no two spans of a set touch or overlap; a ``take`` that cannot be served changes nothing.
Relies on:  one thread at a time changes a set (the reservoir changes copies, under its lock).
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator
from typing import NamedTuple, Self, TypeAlias

from npt.errors import InvariantError

__all__ = ["Frames", "Span", "SpanSet"]

Frames: TypeAlias = tuple[int, int]
"""First frame and number of frames."""


class Span(NamedTuple):
    """Consecutive host frames.

    Attributes
    ----------
    pfn : int
        Frame number of the first.
    n_pages : int
        How many there are.
    """

    pfn: int
    n_pages: int


class SpanSet:
    """Spans of frames, by address and by size; neighbours are merged.

    Parameters
    ----------
    spans
        ``(first frame, number of frames)`` each, in any order, disjoint.

    Attributes
    ----------
    total : int
        Frames in the set.

    Notes
    -----
    Iterating gives the spans by address; ``len`` is their number.
    """

    __slots__ = ("_by_address", "_by_size", "total")

    def __init__(self, spans: Iterable[Frames] = ()) -> None:
        self._by_address: list[Frames] = []
        self._by_size: list[tuple[int, int]] = []
        self.total = 0
        for first, n in spans:
            self.add(first, n)

    def __iter__(self) -> Iterator[Frames]:
        return iter(self._by_address)

    def __len__(self) -> int:
        return len(self._by_address)

    def __repr__(self) -> str:
        return f"<SpanSet of {self.total:#x} frames in {len(self)} spans>"

    @property
    def largest(self) -> int:
        """Frames of the largest span; 0 when the set is empty."""
        return self._by_size[-1][0] if self._by_size else 0

    def copy(self) -> Self:
        """A set that changes apart from this one."""
        twin = type(self)()
        twin._by_address, twin._by_size, twin.total = self._by_address[:], self._by_size[:], self.total
        return twin

    def add(self, first: int, n: int) -> None:
        """Put frames in; they join the spans that they touch.

        Raises
        ------
        InvariantError
            Some of them are in the set already: they would be handed out twice.
        """
        after = bisect_right(self._by_address, (first, 0))
        before = self._by_address[after - 1] if after else (0, 0)
        behind = self._by_address[after] if after < len(self) else (first + n, 0)
        if n <= 0 or _end(before) > first or first + n > behind[0]:
            raise InvariantError(f"frames {first:#x} + {n:#x} are in the set already, or are none; please report this")
        start, end = first, first + n
        if before[1] and _end(before) == first:
            self._discard(*before)
            start = before[0]
        if behind[1] and behind[0] == end:
            self._discard(*behind)
            end = _end(behind)
        self._insert(start, end - start)

    def take(self, n: int) -> list[Frames] | None:
        """Take exactly ``n`` frames out, in as few spans as best fit gives.

        Returns
        -------
        list of (first frame, number of frames) or None
            By address. One span when one fits: the end of the smallest that does, of equals the lowest. Otherwise the
            largest spans whole, and the rest from the best fit. None, with nothing changed, when there are too few
            frames.
        """
        if n > self.total:
            return None
        taken = []
        while n > self.largest:
            taken.append(self._take_end(self._at_least(self.largest), n))
            n -= taken[-1][1]
        if n:
            taken.append(self._take_end(self._at_least(n), n))
        return sorted(taken)

    def take_highest(self, n: int) -> list[Frames]:
        """Take up to ``n`` frames out, those with the highest addresses."""
        taken = []
        while n and self.total:
            taken.append(self._take_end(self._by_address[-1], n))
            n -= taken[-1][1]
        return taken

    def take_lowest(self, n: int) -> list[Frames]:
        """Take up to ``n`` frames out, those with the lowest addresses."""
        taken = []
        while n and self.total:
            first, size = self._by_address[0]
            taken.append((first, min(n, size)))
            self._discard(first, size)
            if size > n:
                self._insert(first + n, size - n)
            n -= taken[-1][1]
        return taken

    def _at_least(self, n: int) -> Frames:
        """The smallest span of at least ``n`` frames, of equals the lowest."""
        size, first = self._by_size[bisect_left(self._by_size, (n, -1))]
        return first, size

    def _take_end(self, span: Frames, n: int) -> Frames:
        first, size = span
        self._discard(first, size)
        if size <= n:
            return span
        self._insert(first, size - n)
        return first + size - n, n

    def _insert(self, first: int, n: int) -> None:
        insort(self._by_address, (first, n))
        insort(self._by_size, (n, first))
        self.total += n

    def _discard(self, first: int, n: int) -> None:
        del self._by_address[bisect_left(self._by_address, (first, n))]
        del self._by_size[bisect_left(self._by_size, (n, first))]
        self.total -= n


def _end(span: Frames) -> int:
    return span[0] + span[1]
