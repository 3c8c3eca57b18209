"""How memory comes back: zeroed, and not before its last view is gone.

Theory of operation
-------------------
Memory is zeroed when it comes back. What comes back is a *parting*: it is appended to a list of leavers first, which
cannot fail half-way, then claimed, zeroed outside the lock, and put back. A parting whose thread was interrupted stays
on that list, and the next call finishes it. A frame that still has views when its object dies is zeroed and quarantined
instead: it is on its own parting, which is taken up when the last of those views is gone.

Guarantees: no frame that a view can reach becomes free; no interrupt loses a frame; none comes back twice.
Relies on:  a parting being appended to the leavers by a built-in, right behind the store that makes its object dead.
"""

import numpy as np

from npt import _sync, kernels
from npt._threads import share
from npt.errors import StaleHandle
from npt.memory.backing import Backing
from npt.memory.ledger import Ledger, Parting
from npt.memory.watch import Watch

__all__ = ["Settling"]

_LEAST_FRAMES = 2048  # that are worth a thread


class Settling:
    """The part of a reservoir that takes memory back.

    Parameters
    ----------
    ledger
        Who has which frame, to begin with.
    backing
        The bytes; where there are none, nothing is zeroed and nothing has views.
    """

    def __init__(self, ledger: Ledger, backing: Backing) -> None:
        self._ledger: Ledger | None = ledger
        self._backing = backing
        self._lock = _sync.rlock("reservoir")
        self._watch = Watch()
        self._leavers: list[Parting] = []

    def _is_interrupted(self) -> bool:
        """Whether this call is inside another of its thread: finalizers run at any allocation, under our lock, too."""
        return bool(self._lock._is_owned())

    def _open(self) -> Ledger:
        ledger = self._ledger
        if ledger is None:
            raise StaleHandle("the reservoir is closed")
        return ledger

    def settle(self) -> None:
        """Internal: zero and put back what leaves, and take up frames whose last view is gone."""
        if self._is_interrupted():
            return
        if self._watch.disturbed:
            with self._lock:
                self._watch.drain(self._leave_quarantine)
        for parting in self._leavers[:]:
            self._finish(parting)

    def _leave_quarantine(self, frame: int) -> None:
        parting = self._open().quarantine.get(frame)
        if parting is not None:
            self._leavers.append(parting)

    def _finish(self, parting: Parting) -> None:
        """Zero a parting's frames and put them back, unless that is done, under way, or not yet due."""
        token = object()
        try:
            with self._lock:
                self._watch.drain(self._leave_quarantine)
                watched = self._watch.within(parting.spans)
                if self._is_due(parting, watched):
                    parting.cleaner = token
            if parting.cleaner is token:
                self._zero(parting)
                with self._lock:
                    self._put_back(parting, watched)
        finally:
            if parting.cleaner is token:
                parting.cleaner = None

    def _is_due(self, parting: Parting, watched: list[int]) -> bool:
        """Whether a parting is to be zeroed by this call; takes those off the list that never will be."""
        early = parting.quarantined and (bool(watched) or self._open().quarantine.get(parting.spans[0][0]) is not parting)
        if parting.done or early:
            self._strike(parting)
            return False
        return parting.cleaner is None

    def _put_back(self, parting: Parting, watched: list[int]) -> None:
        """Adopt the ledger with a zeroed parting back; ``watched``: frames whose views may have written meanwhile."""
        waiting = [Parting(((frame, 1),), parting.transient, quarantined=True) for frame in watched]
        self._leavers.extend(waiting)  # looked at once more: their views may be gone already
        self._ledger, parting.done = self._open().put_back(parting, waiting), True
        self._strike(parting)

    def _strike(self, parting: Parting) -> None:
        if parting in self._leavers:  # another thread that saw the same list may have been first
            self._leavers.remove(parting)

    def _zero(self, parting: Parting) -> None:
        if not self._backing:
            return
        memory, spans = self._backing.memory, np.array(parting.spans, dtype=np.uint64)

        def zero(first: int, end: int) -> None:
            kernels.frames.zero_spans(memory, spans, first, end)

        share(zero, sum(n for _, n in parting.spans), least=_LEAST_FRAMES, threads=None)
