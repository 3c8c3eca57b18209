"""``Gate``: a client's lock, its state, and the words that it shares with vCPU kernels.

Theory of operation
-------------------
A look-up takes its gate's lock and looks at the state: any bit there bars it. HOLD alone is worth waiting for: whoever
set it has the space lock, so the look-up queues for that, and goes in with both locks, in their order. Nothing has to wake
it, and it cannot starve.

A vCPU takes the lock to enter and to leave only. In between, the *line* speaks for it: a cache line of words that its
kernel, its own thread and those who kick it read and write atomically.

Guarantees: ON_CPU is published before epoch and generation are read; what was ORPHANED while a look-up waited is refused;
            a vCPU whose thread has died is outside.
Relies on:  lock order: space, gate, reservoir.
"""

import threading
import weakref
from collections.abc import Callable
from enum import IntFlag
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from npt import _sync, kernels
from npt._types import U64Array
from npt.errors import Busy, InvalidArgument, Orphaned, StaleHandle
from npt.memory.objects import VmObject

if TYPE_CHECKING:
    from npt.space.exclusion import Exclusion

__all__ = ["GATES", "ONLY_LOOK", "STILL", "Gate", "Holder", "State", "line"]

ONLY_LOOK = "the space belongs to the process that made it; a forked child may only look"

# Words of a client's line.
KICK = 0  # asked to leave
ON_CPU = 1  # a vCPU is inside
ENTERED = 2  # epoch at which it entered; 0 while that is not known yet
GENERATION = 3  # at its last entry
EXITS = 4  # how often one has left

# Words of a space's line.
GENERATION_NOW = 0
EPOCH_NOW = 1

_LINE_WORDS = 8


class State(IntFlag):
    """What is going on at a client. ON_CPU is kept in its line, the others in ``Gate.state``."""

    IDLE = 0
    HOLD = 1  # the space keeps look-ups out
    ON_CPU = 2  # a vCPU is using the tables
    ORPHANED = 4  # the space is gone
    DESTROY = 8  # the client is gone
    FOREIGN = 16  # this is the child of a fork: it may only look
    STILL = 32  # a thread that has all gates' locks relies on nobody, itself included, changing a leaf entry


_HOLD, _ORPHANED, _DESTROY, _FOREIGN, STILL = 1, 4, 8, 16, 32  # plain ints: an operator of IntFlag costs a microsecond


def line() -> U64Array:
    """Eight words that share a cache line with nothing else."""
    area = np.zeros(2 * _LINE_WORDS, np.uint64)
    start = -area.ctypes.data % 64 // 8
    return area[start : start + _LINE_WORDS]


class Holder(Protocol):
    """What a gate belongs to: something that holds pages."""

    def forget(self, gpa: int, length: int, keeper: object, obj: VmObject) -> None:
        """Let holds in a range that is being unmapped keep the object, and forget their entries."""

    def remember(self, keeper: object, obj: VmObject) -> None:
        """Undo that."""

    def n_dropped(self) -> int:
        """How many pages it holds that nobody else knows of any more."""


class Gate:
    """A client's lock, state and line."""

    __slots__ = (
        "__weakref__",
        "callback", "changed", "client", "exclusion", "faults", "flushes", "inside", "line", "lock", "state", "thread",
    )  # fmt: skip

    def __init__(self, exclusion: "Exclusion", client: Holder) -> None:
        self.exclusion = exclusion
        self.client = client
        self.callback: Callable[[int, int], object] | None = None
        self.lock = _sync.rlock("client")  # the collector may run a finalizer that releases a page while we hold it
        self.changed = _sync.condition(self.lock)  # a vCPU has left
        self.state = 0
        self.line = line()
        self.inside: object | None = None  # who is on CPU, and in which thread
        self.thread: threading.Thread | None = None
        self.faults = 0
        self.flushes = 0
        GATES.add(self)

    def is_ours(self) -> bool:
        """Whether this thread is inside a call of the client: a finalizer can be."""
        return bool(self.lock._is_owned())

    # -- look-ups ---------------------------------------------------------------------------------------------------

    def check_alive(self) -> None:
        """Refuse a client that was destroyed."""
        if self.state & _DESTROY:
            raise StaleHandle("the client was destroyed")

    def check_usable(self) -> None:
        """Refuse a client that was destroyed, or that is another process's."""
        self.check_alive()
        self.exclusion.check_own()

    def refuse(self) -> None:
        """Raise if this client can do nothing any more."""
        if self.state & _FOREIGN:
            raise StaleHandle(ONLY_LOOK)
        self.check_alive()
        if self.state & _ORPHANED:
            raise Orphaned("the space of this client is gone")

    def turn(self) -> Any:
        """The lock that a look-up takes before the gate's when a state bit bars it: behind whoever set HOLD.

        Raises
        ------
        StaleHandle, Orphaned
            It need not wait: this client can do nothing any more.
        Deadlock
            It would wait for its own thread.
        """
        self.refuse()
        self.exclusion.check_may_look()
        return self.exclusion.lock

    def look(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """Run a look-up with the gate's lock, when it is its turn."""
        with self.lock:
            if not self.state:
                return work(*arguments)
        with self.turn(), self.lock:
            self.go_in()
            return work(*arguments)

    def go_in(self) -> None:
        """Its turn has come; both locks are held. HOLD, if it is there, was left behind by an interrupt."""
        self.refuse()  # orphaned while it waited?
        self.state &= ~_HOLD

    # -- vCPUs ------------------------------------------------------------------------------------------------------

    @property
    def kicked(self) -> bool:
        """Whether the vCPU was asked to leave."""
        return bool(kernels.words.load(self.line, KICK))

    def enter(self, occupant: object) -> int:
        """A vCPU goes on CPU: publish that first, then read epoch and generation; return the generation."""
        while True:
            with self.lock:
                self.refuse()
                if not (self.exclusion.dying or self.exclusion.switching):
                    return self._enter(occupant)
                if self.exclusion.closing:
                    raise Orphaned("the space of this client is being closed")
            self.exclusion.check_may_look()
            with self.exclusion.lock:
                pass  # somebody was destroying the space or switching its tracking, and has done so or failed

    def _enter(self, occupant: object) -> int:
        if self.is_occupied():
            raise Busy("a vCPU is inside through this client")
        words, own = kernels.words, self.line
        try:
            words.store(own, KICK, 0)
            words.store(own, ENTERED, 0)
            self.thread, self.inside = threading.current_thread(), occupant
            words.store(own, ON_CPU, 1)
            words.store(own, ENTERED, words.load(self.exclusion.line, EPOCH_NOW))
            generation: int = words.load(self.exclusion.line, GENERATION_NOW)
            words.store(own, GENERATION, generation)
        except BaseException:
            self._empty()
            raise
        return generation

    def leave(self, occupant: object) -> None:
        """A vCPU is off CPU again, if it is this one; whoever waits for that goes on."""
        try:
            self._leave(occupant)
        except BaseException:  # an interrupt on the way here
            self._leave(occupant)
            raise

    def _leave(self, occupant: object) -> None:
        with self.lock:
            if self.inside is occupant:
                self._empty()

    def exit(self, occupant: object) -> None:
        """The same, refused if it is not inside."""
        with self.lock:
            self.check_usable()
            if self.inside is not occupant:
                raise InvalidArgument("table_exit without table_enter")
            self._empty()

    def _empty(self) -> None:
        try:
            self._clear_line()
        except BaseException:  # an interrupt must not leave anybody inside
            self._clear_line()
            raise

    def _clear_line(self) -> None:
        words, own = kernels.words, self.line
        words.store(own, ON_CPU, 0)
        self.inside = self.thread = None
        words.store(own, KICK, 0)
        words.add(own, EXITS, 1)
        self.changed.notify_all()

    def is_occupied(self) -> bool:
        """Whether a vCPU is inside; one whose thread has died is cleared away. The lock is held by the caller."""
        if not kernels.words.load(self.line, ON_CPU):
            return False
        if self.thread is not None and self.thread.is_alive():
            return True
        self._empty()
        return False

    def is_behind(self, epoch: int) -> bool:
        """Whether a vCPU is inside that entered before an epoch; the lock is held by the caller."""
        return self.is_occupied() and kernels.words.load(self.line, ENTERED) < epoch

    def poke(self, epoch: int) -> bool:
        """Ask a vCPU that entered before an epoch to leave; say whether there is one."""
        with self.lock:
            behind = self.is_behind(epoch)
            if behind:
                kernels.words.store(self.line, KICK, 1)
            return behind

    # -- what the space says ----------------------------------------------------------------------------------------

    def set(self, bits: int) -> None:
        """Set state bits; returns when no look-up is inside."""
        with self.lock:
            self.state |= bits

    def clear(self, bits: int) -> None:
        """Clear state bits."""
        with self.lock:
            self.state &= ~bits


GATES: "weakref.WeakSet[Gate]" = weakref.WeakSet()
