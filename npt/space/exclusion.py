"""How changes of a space are kept from being seen half-done.

Theory of operation
-------------------
Changes are rare and look-ups are not, so a look-up takes its own client's lock and nothing else. Each client has a *gate*:
that lock, its state bits, and a cache line of words shared with the vCPU kernels. The space has one lock. Who changes the
space takes it and sets HOLD on every gate; taking a gate's lock to do so waits for the look-up that is inside, and from
then on look-ups wait at the gate. (The source has a state bit ACTIVE for "inside a look-up"; here that is the gate's lock
being held.)

vCPUs do not stop for HOLD: they use the tables without a lock. Who took something away from the tables raises the *epoch*
and kicks: every vCPU that entered before that epoch is asked to leave and waited for. The epoch is taken down at entry
after ON_CPU is published, both under the gate's lock, so a vCPU either is seen by the kick or has seen the change. The
*generation* is the public part of this: it tells a vCPU that its cached translations are stale.

Lock order: space, gate, reservoir. The thread that has the space lock may call back into the space to read it.

Guarantees: between ``hold`` and its end no look-up runs; after ``kick`` no vCPU that entered before the epoch is inside;
            a call that would wait for its own thread raises ``Deadlock`` instead.
Relies on:  vCPU kernels looking at the kick word at least every 64 accesses.
"""

import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntFlag
from typing import NamedTuple, Protocol

import numpy as np

from npt._types import U64Array
from npt.errors import Busy, Deadlock, InvalidArgument, KickTimeout, Orphaned, StaleHandle
from npt.memory.objects import VmObject

__all__ = ["ONLY_LOOK", "Counters", "Exclusion", "Gate", "State"]

ONLY_LOOK = "the space belongs to the process that made it; a forked child may only look"
_IN_CALLBACK = "a callback may read the space and release pages, not change it or look pages up"
_LINE_WORDS = 8
_KICK = 0  # word of a line


class State(IntFlag):
    """What is going on at a client."""

    IDLE = 0
    HOLD = 1  # the space keeps look-ups out
    ON_CPU = 2  # a vCPU is using the tables
    ORPHANED = 4  # the space is gone
    DESTROY = 8  # the client is gone
    FOREIGN = 16  # this is the child of a fork: it may only look


_HOLD, _ON_CPU, _ORPHANED, _DESTROY, _FOREIGN = (int(state) for state in list(State)[-5:])
_BARRED = _HOLD | _ORPHANED | _DESTROY | _FOREIGN


class Counters(NamedTuple):
    """Totals of a space since it was made."""

    kicks: int  # vCPUs asked to leave
    kick_ns: int  # time spent waiting for them
    held_ns: int  # time for which look-ups were kept out
    faults: int  # page faults served or refused, one a page
    flushes: int  # simulated TLBs flushed
    timeouts: int  # kicks that were given up


def _line() -> U64Array:
    """One cache line of its own."""
    area = np.zeros(2 * _LINE_WORDS, np.uint64)
    start = -area.ctypes.data % 64 // 8
    return area[start : start + _LINE_WORDS]


class Holder(Protocol):
    """What a gate belongs to: something that holds pages."""

    def forget(self, gpa: int, length: int, obj: VmObject) -> None:
        """Turn holds in a range that is being unmapped into references to the object."""

    def n_dropped(self) -> int:
        """How many pages it holds that nobody else knows of any more."""


class Gate:
    """A client's lock, state and line."""

    __slots__ = (
        "__weakref__",
        "callback", "changed", "client", "epoch", "exclusion", "faults", "flushes", "line", "lock", "state", "thread",
    )  # fmt: skip

    def __init__(self, exclusion: "Exclusion", client: "Holder") -> None:
        self.exclusion = exclusion
        self.client = client
        self.callback: Callable[[int, int], object] | None = None
        self.lock = threading.RLock()  # the collector may run a finalizer that releases a page while we hold it
        self.changed = threading.Condition(self.lock)
        self.state = 0
        self.line = _line()
        self.thread = 0  # that is on CPU through this gate
        self.epoch = 0
        self.faults = 0
        self.flushes = 0
        _GATES.add(self)

    @property
    def kicked(self) -> bool:
        """Whether the vCPU was asked to leave."""
        return bool(self.line[_KICK])

    def is_ours(self) -> bool:
        """Whether this thread is inside a call of the client: a finalizer can be."""
        return bool(self.lock._is_owned())  # type: ignore[attr-defined]

    def check_alive(self) -> None:
        """Refuse a client that was destroyed."""
        if self.state & _DESTROY:
            raise StaleHandle("the client was destroyed")

    def check_usable(self) -> None:
        """Refuse a client that was destroyed, or that is another process's."""
        self.check_alive()
        self.exclusion.check_own()

    def admit(self) -> None:
        """Let a look-up in, waiting for HOLD to end; the lock is held by the caller."""
        while self.state & _BARRED:
            self.refuse()
            if self.state & _HOLD:
                self.exclusion.check_may_wait()
                self.changed.wait()

    def refuse(self) -> None:
        """Raise if this client can do nothing any more."""
        if self.state & _FOREIGN:
            raise StaleHandle(ONLY_LOOK)
        self.check_alive()
        if self.state & _ORPHANED:
            raise Orphaned("the space of this client is gone")

    def enter(self) -> int:
        """A vCPU goes on CPU: publish that first, then read epoch and generation."""
        with self.lock:
            self.refuse()
            if self.exclusion.dying:
                raise Orphaned("the space of this client is being closed")
            if self.state & _ON_CPU:
                raise Busy("a vCPU is inside through this client")
            self.thread = threading.get_ident()
            self.line[_KICK] = 0
            self.state |= _ON_CPU
            self.epoch = self.exclusion.epoch
            return self.exclusion.generation

    def leave(self) -> None:
        """A vCPU is off CPU again; whoever waits for that goes on."""
        with self.lock:
            self.check_usable()
            if not self.state & _ON_CPU:
                raise InvalidArgument("table_exit without table_enter")
            self.state &= ~_ON_CPU
            self.line[_KICK] = 0
            self.changed.notify_all()

    def is_behind(self, epoch: int) -> bool:
        """Whether a vCPU is inside that entered before an epoch; the lock is held by the caller."""
        return bool(self.state & _ON_CPU) and self.epoch < epoch

    def set(self, bits: int) -> None:
        """Set state bits and wake whoever waits; returns when no look-up is inside."""
        with self.lock:
            self.state |= bits
            self.changed.notify_all()

    def clear_hold(self) -> None:
        """Let look-ups in again."""
        with self.lock:
            self.state &= ~_HOLD
            self.changed.notify_all()


class Exclusion:
    """The space's lock, its gates in the order in which clients were made, its generation and epoch."""

    def __init__(self, kick_timeout: float) -> None:
        self.lock = threading.Lock()
        self.gates: list[Gate] = []
        self.generation = 1
        self.epoch = 1
        self.dying = False
        self.kick_timeout = kick_timeout
        self.foreign = False
        self._owner = 0  # thread that has the lock
        self._kicks = self._kick_ns = self._held_ns = self._timeouts = 0
        self._faults = self._flushes = 0  # of clients that are gone
        _EVERY.add(self)

    # -- taking the lock --------------------------------------------------------------------------------------------

    @property
    def in_callback(self) -> bool:
        """Whether this thread has the space lock already: it is in a callback."""
        return self._owner == threading.get_ident()

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Look at the space: also from a callback, and in a forked child without any lock."""
        if self.foreign or self.in_callback:
            yield
            return
        with self.lock:
            self._owner = threading.get_ident()
            try:
                yield
            finally:
                self._owner = 0

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Have the space lock for a change."""
        self.check_may_change()
        with self.lock:
            self._owner = threading.get_ident()
            try:
                yield
            finally:
                self._owner = 0

    def check_own(self) -> None:
        """Refuse a change in a forked child."""
        if self.foreign:
            raise StaleHandle(ONLY_LOOK)

    def check_may_change(self) -> None:
        """Refuse a change from a callback or in a forked child."""
        self.check_own()
        if self.in_callback:
            raise Deadlock(_IN_CALLBACK)

    def is_on_cpu(self) -> bool:
        """Whether this thread is on CPU in the space."""
        me = threading.get_ident()
        return any(gate.state & _ON_CPU and gate.thread == me for gate in tuple(self.gates))

    def check_may_kick(self) -> None:
        """Refuse a call that kicks before it waits for the space lock: whoever has that may be waiting for us."""
        self.check_may_change()
        self.check_off_cpu()

    def check_off_cpu(self) -> None:
        """Refuse a call that kicks, or ends the space, from a thread that is on CPU in it."""
        if self.is_on_cpu():
            raise Deadlock("this thread is on CPU in the space and would wait for itself; call table_exit first")

    def is_anyone_on_cpu(self) -> bool:
        """Whether any vCPU is using the tables."""
        return any(gate.state & _ON_CPU for gate in tuple(self.gates))

    def check_may_wait(self) -> None:
        """Refuse to wait for HOLD where that would be waiting for this very thread."""
        if self.in_callback:
            raise Deadlock(_IN_CALLBACK)
        self.check_off_cpu()

    # -- keeping look-ups out ---------------------------------------------------------------------------------------

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Keep look-ups of all clients out; the space lock is held by the caller."""
        start = time.perf_counter_ns()
        if any(gate.is_ours() for gate in self.gates):
            raise Deadlock("a look-up of this very thread is under way; do not change the space in a finalizer")
        try:
            for gate in self.gates:
                gate.set(_HOLD)
            yield
        finally:
            for gate in self.gates:
                gate.clear_hold()
            self._held_ns += time.perf_counter_ns() - start

    def raise_epoch(self, *, generation: bool) -> None:
        """Say that something was taken away from the tables."""
        self.generation += generation
        self.epoch += 1

    def kick(self) -> None:
        """Ask every vCPU that entered before this epoch to leave, and wait until all have.

        Raises
        ------
        KickTimeout
            One did not, in time; it stays asked.
        """
        start = time.perf_counter_ns()
        behind = [gate for gate in self.gates if self._poke(gate)]
        if not behind:
            return
        deadline = time.monotonic() + self.kick_timeout
        try:
            for gate in behind:
                with gate.lock:
                    self._await(gate, deadline)
        finally:
            self._kick_ns += time.perf_counter_ns() - start

    def _poke(self, gate: Gate) -> bool:
        with gate.lock:
            if not gate.is_behind(self.epoch):
                return False
            gate.line[_KICK] = 1
            self._kicks += 1
            return True

    def _await(self, gate: Gate, deadline: float) -> None:
        while gate.is_behind(self.epoch):
            if not gate.changed.wait(deadline - time.monotonic()) and time.monotonic() >= deadline:
                if not gate.is_behind(self.epoch):
                    return
                self._timeouts += 1
                raise KickTimeout(f"a vCPU did not leave within {self.kick_timeout} s")

    def call_back(self, gpa: int, length: int) -> None:
        """Tell every client what became invalid, in the order in which they were made.

        All callbacks run; the first error is raised at the end. Look-ups are kept out, and no gate is locked.
        """
        errors: list[BaseException] = []
        for gate in self.gates:
            if gate.callback is None:
                continue
            try:
                gate.callback(gpa, length)
            except BaseException as error:
                errors.append(error)
        if errors:
            raise errors[0]

    # -- clients ----------------------------------------------------------------------------------------------------

    def join(self, client: Holder) -> Gate:
        """A gate for a new client."""
        with self.changing():
            if self.dying:
                raise StaleHandle("the space was destroyed, or is being closed")
            gate = Gate(self, client)
            self.gates.append(gate)
            return gate

    def part(self, gate: Gate) -> None:
        """Forget the gate of a client that is being destroyed."""
        with self.changing():
            if gate in self.gates:
                self.gates.remove(gate)
                self._faults += gate.faults
                self._flushes += gate.flushes

    def orphan_all(self) -> None:
        """Tell every client that the space is gone; the space lock is held by the caller."""
        self.dying = True
        for gate in self.gates:
            gate.set(_ORPHANED)
            self._faults += gate.faults
            self._flushes += gate.flushes
        self.gates.clear()

    def counters(self) -> Counters:
        """Totals so far."""
        faults = self._faults + sum(gate.faults for gate in tuple(self.gates))
        flushes = self._flushes + sum(gate.flushes for gate in tuple(self.gates))
        return Counters(self._kicks, self._kick_ns, self._held_ns, faults, flushes, self._timeouts)


_EVERY: "weakref.WeakSet[Exclusion]" = weakref.WeakSet()
_GATES: "weakref.WeakSet[Gate]" = weakref.WeakSet()


def _disown() -> None:
    """In a forked child: locks that other threads held at the fork are gone, and so is the right to change anything."""
    for exclusion in _EVERY:
        exclusion.foreign = True
        exclusion.lock = threading.Lock()
        exclusion._owner = 0
    for gate in _GATES:
        gate.lock = threading.RLock()
        gate.changed = threading.Condition(gate.lock)
        gate.state |= _FOREIGN


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_disown)
