"""Who has which frame, as one value.

Theory of operation
-------------------
A frame is empty, free, in an object, or quarantined. A ledger says which, and is never changed: every step makes a new
one, and the reservoir adopts it with a single assignment. So a step that fails or is interrupted has changed nothing,
and readers need no lock. Only free and empty frames are listed; what objects hold follows from the totals.

A parting is an object's memory seen from its end: the spans that must be zeroed and put back when the object dies. It
goes back once, whoever finishes it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

from npt.memory.spans import Frames, SpanSet

__all__ = ["Ledger", "Parting"]


@dataclass(slots=True, eq=False)
class Parting:
    """Frames that go back together.

    Attributes
    ----------
    spans : tuple of (first frame, number of frames)
        By address.
    transient : bool
        Whether they go back to the empty frames, not to the free ones.
    quarantined : bool
        Whether this is one frame that had views when its object died.
    cleaner : object or None
        Token of the call that zeroes them now.
    done : bool
        Whether they are back.
    """

    spans: tuple[Frames, ...]
    transient: bool
    quarantined: bool = False
    cleaner: object | None = None
    done: bool = False


class Ledger(NamedTuple):
    """The state of all frames; counts are in frames.

    Attributes
    ----------
    limit : int
        All frames there are.
    size : int
        Frames for ordinary objects: free, allocated and quarantined.
    free, empty : SpanSet
        Unused frames inside and beyond the size; not to be changed.
    quarantine : mapping of frame to Parting
        Frames whose object died before their views did.
    quarantined : int
        Those of them that are not transient.
    """

    limit: int
    size: int
    free: SpanSet
    empty: SpanSet
    quarantine: Mapping[int, Parting]
    quarantined: int

    @classmethod
    def fresh(cls, size: int, limit: int) -> Self:
        """The lowest ``size`` frames free, the others empty."""
        empty = SpanSet([(size, limit - size)] if limit > size else [])
        return cls(limit, size, SpanSet([(0, size)]), empty, {}, 0)

    @property
    def allocated(self) -> int:
        """Frames of ordinary objects, those on their way back included."""
        return self.size - self.free.total - self.quarantined

    @property
    def transient(self) -> int:
        """Frames of transient objects, those on their way back and their quarantined ones included."""
        return self.limit - self.size - self.empty.total

    def take(self, n_pages: int, *, transient: bool) -> tuple[Self, tuple[Frames, ...]] | None:
        """The ledger without ``n_pages`` frames, and those frames; None when there are too few."""
        home = (self.empty if transient else self.free).copy()
        spans = home.take(n_pages)
        return None if spans is None else (self._with_home(home, transient), tuple(spans))

    def put_back(self, parting: Parting, waiting: Sequence[Parting] = ()) -> Self:
        """The ledger with a parting's frames back, but for those that wait in quarantine, one parting each."""
        home = (self.empty if parting.transient else self.free).copy()
        for first, n in _without(parting.spans, sorted(single.spans[0][0] for single in waiting)):
            home.add(first, n)
        quarantine = {**self.quarantine, **{single.spans[0][0]: single for single in waiting}}
        if parting.quarantined:
            del quarantine[parting.spans[0][0]]
        change = 0 if parting.transient else len(quarantine) - len(self.quarantine)
        ledger = self._replace(quarantine=quarantine, quarantined=self.quarantined + change)
        return ledger._with_home(home, parting.transient)

    def resize(self, target: int, step: int) -> Self:
        """The ledger with its size up to ``step`` frames nearer to ``target``; itself when nothing can move.

        The lowest empty frames become free, the highest free frames become empty.
        """
        free, empty, before = self.free.copy(), self.empty.copy(), self.free.total
        for first, n in empty.take_lowest(min(step, max(target - self.size, 0))):
            free.add(first, n)
        for first, n in free.take_highest(min(step, max(self.size - target, 0))):
            empty.add(first, n)
        if free.total == before:
            return self
        return self._replace(size=self.size + free.total - before, free=free, empty=empty)

    def _with_home(self, home: SpanSet, transient: bool) -> Self:
        return self._replace(empty=home) if transient else self._replace(free=home)


def _without(spans: Sequence[Frames], frames: Sequence[int]) -> list[Frames]:
    """Spans less some of their frames; both by address."""
    rest, left = [], list(reversed(frames))
    for first, n in spans:
        end = first + n
        while left and left[-1] < end:
            frame = left.pop()
            rest += [(first, frame - first)] if frame > first else []
            first = frame + 1
        rest += [(first, end - first)] if end > first else []
    return rest
