"""Views that outlive the hold they were taken through.

Theory of operation
-------------------
A weak reference on the memoryview under an array that a hold gave out, its *window*, tells when the last view derived from
the array is gone: slices, reshapes and memoryviews keep the array alive, and that its window. The callback may run at any
allocation, in any thread, even while that thread holds the reservoir's lock. So it only appends the dead reference to a
deque, and whoever next comes by drains the deque.

New views arrive through a deque, too, so that a hold can be released anywhere, without a lock.

Guarantees: draining that is interrupted and started again reports every frame at least once.
Relies on:  the reservoir's lock around all but ``add`` and ``disturbed``; ``deque.append`` being atomic.
"""

import weakref
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from npt.memory.spans import Frames

__all__ = ["Watch"]


class _ViewRef(weakref.ref[Any]):
    """A weak reference that knows the frame its window shows."""

    __slots__ = ("frame",)
    frame: int


class Watch:
    """Living views by frame, and those that died since the last look."""

    __slots__ = ("_dead", "_new", "_views")

    def __init__(self) -> None:
        self._views: dict[int, dict[int, _ViewRef]] = {}  # by id: a weak reference hashes as what it refers to
        self._new: deque[_ViewRef] = deque()
        self._dead: deque[_ViewRef] = deque()

    def __bool__(self) -> bool:
        """Whether any view is watched."""
        return bool(self._new) or any(self._views.values())

    @property
    def disturbed(self) -> bool:
        """Whether a view came or died since the last drain."""
        return bool(self._new or self._dead)

    def add(self, frame: int, window: Any) -> None:
        """Watch one window to a frame until it dies."""
        ref = _ViewRef(window, self._dead.append)
        ref.frame = frame
        self._new.append(ref)

    def drain(self, unwatched: Callable[[int], None]) -> None:
        """Take in the new, forget the dead; call ``unwatched(frame)`` for frames that have no view left.

        A reference stays in its queue until all is done with it: an interrupt loses nothing.
        """
        while self._new:
            ref = self._new[0]
            if ref() is not None:  # else it is, or was, among the dead
                self._views.setdefault(ref.frame, {})[id(ref)] = ref
            self._new.popleft()
        while self._dead:
            ref = self._dead[0]
            views = self._views.get(ref.frame, {})
            views.pop(id(ref), None)
            if not views:
                self._views.pop(ref.frame, None)
                unwatched(ref.frame)
            self._dead.popleft()

    def alive(self, frame: int) -> bool:
        """Whether a frame has a view that was alive at the last drain."""
        return bool(self._views.get(frame))

    def within(self, spans: Sequence[Frames]) -> list[int]:
        """Frames with living views inside spans that are sorted by address."""
        firsts = [first for first, _ in spans]
        return [frame for frame in self._views if self.alive(frame) and _inside(frame, spans, firsts)]


def _inside(frame: int, spans: Sequence[Frames], firsts: list[int]) -> bool:
    at = bisect_right(firsts, frame) - 1
    return at >= 0 and frame < spans[at][0] + spans[at][1]
