"""How changes of a space are kept from being seen half-done.

Theory of operation
-------------------
Changes are rare and look-ups are not, so a look-up takes its own client's lock and nothing else. Each client has a *gate*
(``gate.py``). The space has one lock. Who changes the space takes it and sets HOLD on every gate; taking a gate's lock to
do so waits for the look-up that is inside, and from then on look-ups queue for the space lock. (The source has a state bit
ACTIVE for "inside a look-up"; here that is the gate's lock being held.)

vCPUs do not stop for HOLD: they use the tables without a lock. Who took something away from the tables raises the *epoch*
and kicks: every vCPU that entered before that epoch is asked to leave and waited for. The epoch is taken down at entry
after ON_CPU is published, both under the gate's lock, so a vCPU either is seen by the kick or has seen the change. One that
comes back in the meantime has entered after it, and is not waited for again: a kick cannot starve. The *generation* is the
public part of this: it tells a vCPU that its cached translations are stale.

HOLD that an interrupt left behind does no harm: it makes the next look-up queue for a lock that is free.

Lock order: space, gate, reservoir. The thread that has the space lock may call back into the space to read it.

Nothing at all changes a leaf entry while the space lock and all gates' locks are held, STILL is set and no vCPU is inside:
*stillness*. It is never waited for: a finalizer in a look-up may release a page of another client, and so have one gate and
want another.

Guarantees: between ``hold`` and its end no look-up runs; after ``kick`` no vCPU that entered before the epoch is inside;
            a call that would wait for its own thread raises ``Deadlock`` instead.
Relies on:  vCPU kernels looking at the kick word at least every 64 accesses.
"""

import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

from npt import _sync, kernels
from npt.errors import Busy, Deadlock, KickTimeout, StaleHandle
from npt.space.gate import EPOCH_NOW, GATES, GENERATION_NOW, ONLY_LOOK, STILL, Gate, State, line

__all__ = ["ONLY_LOOK", "Callbacks", "Counters", "Exclusion", "Gate", "State"]

Callbacks: TypeAlias = list[Callable[[int, int], object]]

_IN_CALLBACK = "a callback may read the space and release pages, not change it or look pages up"
_ON_CPU = "this thread is on CPU in the space and would wait for itself; call table_exit first"
_BRIEF = 0.001  # seconds that a look-up may take before stillness is given up
_PATIENCE = 0.05  # seconds between two looks at whether the thread of a vCPU is still alive
_HOLD, _ORPHANED, _DESTROY, _FOREIGN = (int(state) for state in (State.HOLD, State.ORPHANED, State.DESTROY, State.FOREIGN))


class Counters(NamedTuple):
    """Totals of a space since it was made."""

    kicks: int  # vCPUs asked to leave
    kick_ns: int  # time spent waiting for them
    held_ns: int  # time for which look-ups were kept out
    faults: int  # page faults served or refused, one a page
    flushes: int  # simulated TLBs flushed
    timeouts: int  # kicks that were given up


class Exclusion:
    """The space's lock, its gates in the order in which clients were made, its generation and epoch.

    Attributes
    ----------
    dying, closing : bool
        Nobody may join; vCPUs that enter wait, or with ``closing`` are refused.
    switching : bool
        Tracking is being turned on or off; vCPUs that enter wait.
    destroyed : bool
        The space is gone, and its clients are orphans.
    late : list of int
        Leaves to be marked when stillness has ended.
    """

    def __init__(self, kick_timeout: float) -> None:
        self.lock = _sync.rlock("space")
        self.gates: list[Gate] = []
        self.line = line()
        self.line[GENERATION_NOW] = self.line[EPOCH_NOW] = 1
        self.dying = False
        self.closing = False
        self.switching = False
        self.destroyed = False
        self.kick_timeout = kick_timeout
        self.foreign = False
        self.late: list[int] = []
        self.kicks = self.kick_ns = self.held_ns = self.timeouts = 0
        self._faults = self._flushes = 0  # of clients that are gone
        _EVERY.add(self)

    @property
    def generation(self) -> int:
        """Raised whenever cached translations may be stale."""
        return int(kernels.words.load(self.line, GENERATION_NOW))

    @property
    def epoch(self) -> int:
        """Raised whenever something was taken away from the tables."""
        return int(kernels.words.load(self.line, EPOCH_NOW))

    # -- who may do what --------------------------------------------------------------------------------------------

    @property
    def in_callback(self) -> bool:
        """Whether this thread has the space lock already: it is in a callback."""
        return bool(self.lock._is_owned())

    def check_own(self) -> None:
        """Refuse a change in a forked child."""
        if self.foreign:
            raise StaleHandle(ONLY_LOOK)

    def check_may_change(self) -> None:
        """Refuse a change from a callback or in a forked child, or where waiting for the lock would be for ever."""
        self.check_own()
        if self.in_callback:
            raise Deadlock(_IN_CALLBACK)
        self._check_may_queue()

    def reading(self) -> Any:
        """The space lock, for who only looks: a callback may, too."""
        if not self.in_callback:
            self._check_may_queue()
        return self.lock

    def _check_may_queue(self) -> None:
        """Refuse to wait for the lock in a look-up of this thread, or on CPU while its owner waits for us to leave."""
        self._check_no_look_up()
        me = threading.current_thread()
        own = [gate for gate in tuple(self.gates) if gate.thread is me]
        while own and not self._is_free(_PATIENCE):
            if any(gate.kicked for gate in own):
                raise Deadlock(_ON_CPU)

    def _is_free(self, seconds: float) -> bool:
        """Whether nobody has the lock, now or within a time."""
        try:
            return bool(self.lock.acquire(timeout=seconds))
        finally:
            if self.lock._is_owned():  # whatever came behind the taking
                self.lock.release()

    def check_may_kick(self) -> None:
        """Refuse a call that kicks before it waits for the space lock: whoever has that may be waiting for us."""
        self.check_own()
        self.check_off_cpu()
        self.check_may_change()

    def is_on_cpu(self) -> bool:
        """Whether this thread is on CPU in the space."""
        me = threading.current_thread()
        return any(gate.thread is me for gate in tuple(self.gates))

    def check_off_cpu(self) -> None:
        """Refuse a call that kicks, or ends the space, from a thread that is on CPU in it."""
        if self.is_on_cpu():
            raise Deadlock(_ON_CPU)

    def check_may_look(self) -> None:
        """Refuse a look-up that HOLD keeps out where waiting for its end would be waiting for this very thread."""
        if self.in_callback:
            raise Deadlock(_IN_CALLBACK)
        self._check_no_look_up()
        if self.is_on_cpu() and not self._is_free(0):
            raise Deadlock(_ON_CPU)

    def _check_no_look_up(self) -> None:
        if any(gate.is_ours() for gate in tuple(self.gates)):
            raise Deadlock("a look-up of this very thread is under way; do not change the space in a finalizer")

    # -- keeping look-ups out, and vCPUs ----------------------------------------------------------------------------

    def hold(self) -> "_Hold":
        """Context in which look-ups of all clients are kept out; the space lock is held by the caller."""
        self._check_no_look_up()
        return _Hold(self)

    def in_stillness(self, work: Callable[[bool], object]) -> None:
        """Call ``work`` with whether nobody but it touches leaf entries meanwhile; the caller has the space lock.

        If no vCPU is inside, all gates are locked: none comes in, nothing is looked up, and releases of other threads wait.
        One of this thread, in a signal handler or a finalizer, adds what it would mark to ``late``. Else, or if a gate is not
        free soon, it is false and nobody is kept out. For work of kernels; nothing that waits.
        """
        self._check_no_look_up()  # so that a gate that is ours is one that was locked here
        start, still = time.perf_counter_ns(), False
        try:
            still = self._lock_gates()
            work(still)
            self._unlock_gates()
        except BaseException:
            self._unlock_gates()
            raise
        if still:
            self.held_ns += time.perf_counter_ns() - start

    def _lock_gates(self) -> bool:
        for gate in self.gates:
            if not gate.lock.acquire(timeout=_BRIEF) or gate.is_occupied():
                self._unlock_gates()
                return False
            gate.state |= STILL
        return True

    def _unlock_gates(self) -> None:
        for gate in self.gates:
            if gate.is_ours():
                gate.state &= ~STILL
                gate.lock.release()

    def raise_epoch(self, *, generation: bool) -> None:
        """Say that something was taken away from the tables."""
        if generation:
            kernels.words.add(self.line, GENERATION_NOW, 1)
        kernels.words.add(self.line, EPOCH_NOW, 1)

    def kick(self) -> None:
        """Ask every vCPU of other threads that entered before this epoch to leave, and wait until all have.

        Raises
        ------
        KickTimeout
            One did not, in time; it stays asked.
        """
        start, epoch = time.perf_counter_ns(), self.epoch
        me = threading.current_thread()
        behind = [gate for gate in self.gates if gate.thread is not me and gate.poke(epoch)]
        if not behind:
            return
        self.kicks += len(behind)
        deadline = _sync.now() + self.kick_timeout
        try:
            for gate in behind:
                with gate.lock:
                    self._await(gate, epoch, deadline)
        finally:
            self.kick_ns += time.perf_counter_ns() - start

    def _await(self, gate: Gate, epoch: int, deadline: float) -> None:
        while gate.is_behind(epoch):
            left = deadline - _sync.now()
            if left <= 0:
                self.timeouts += 1
                raise KickTimeout(f"a vCPU did not leave within {self.kick_timeout} s")
            gate.changed.wait(min(left, _PATIENCE))

    def callbacks(self) -> Callbacks:
        """Whom ``call_back`` tells, the last first."""
        return [gate.callback for gate in reversed(self.gates) if gate.callback is not None]

    def call_back(self, gpa: int, length: int, waiting: Callbacks) -> None:
        """Tell every client what became invalid, in the order in which they were made.

        All callbacks run; the first error is raised at the end. Look-ups are kept out, and no gate is locked. Who was told is
        struck from ``waiting``: if some are left there, it was no callback that failed.
        """
        errors: list[BaseException] = []
        while waiting:
            left = len(waiting)
            try:
                waiting[-1](gpa, length)
                waiting.pop()
            except BaseException as error:
                errors.append(error)
                if isinstance(error, KeyboardInterrupt) and error.__traceback__ and not error.__traceback__.tb_next:
                    continue  # it came here, not there
                del waiting[left - 1 :]
        if errors:
            raise errors[0]

    # -- clients ----------------------------------------------------------------------------------------------------

    def join(self, gate: Gate) -> None:
        """Take in a new client's gate."""
        self.check_may_change()
        with self.lock:
            if self.dying:
                raise StaleHandle("the space was destroyed, or is being closed")
            self.gates.append(gate)

    def part(self, gate: Gate) -> None:
        """Forget the gate of a client that is being destroyed; the space lock and the gate's are held by the caller."""
        faults, flushes = self._faults + gate.faults, self._flushes + gate.flushes
        state, others = gate.state | _DESTROY, [one for one in self.gates if one is not gate]
        gate.state, gate.callback, self.gates, self._faults, self._flushes = state, None, others, faults, flushes

    def orphan_all(self) -> None:
        """Tell every client that the space is gone; the space lock is held by the caller.

        Raises
        ------
        Busy
            A vCPU is on CPU; nothing has changed.
        """
        before, self.dying = self.dying, True
        try:
            for gate in self.gates:
                with gate.lock:
                    if gate.is_occupied():
                        raise Busy("a vCPU is on CPU in the space; let it exit, or close the space")
            for gate in self.gates:
                gate.set(_ORPHANED)
            self.destroyed = True
        except BaseException:
            for gate in self.gates:
                gate.clear(_ORPHANED)
            self.dying = before
            raise

    def counters(self) -> Counters:
        """Totals so far."""
        gates = tuple(self.gates)
        faults, flushes = sum(gate.faults for gate in gates), sum(gate.flushes for gate in gates)
        return Counters(self.kicks, self.kick_ns, self.held_ns, self._faults + faults, self._flushes + flushes, self.timeouts)


class _Hold:
    """HOLD on every gate, for the length of a ``with`` block."""

    def __init__(self, exclusion: Exclusion) -> None:
        self._exclusion = exclusion
        self._start = time.perf_counter_ns()

    def __enter__(self) -> None:
        try:
            for gate in self._exclusion.gates:
                gate.set(_HOLD)
        except BaseException:
            self._let_in()
            raise

    def __exit__(self, *exc_info: object) -> None:
        try:
            self._let_in()
        except BaseException:  # an interrupt: once more
            self._let_in()
            raise

    def _let_in(self) -> None:
        for gate in self._exclusion.gates:
            gate.clear(_HOLD)
        self._exclusion.held_ns += time.perf_counter_ns() - self._start


_EVERY: "weakref.WeakSet[Exclusion]" = weakref.WeakSet()


def _disown() -> None:
    """In a forked child: locks that other threads held at the fork are gone, and so is the right to change anything."""
    for exclusion in _EVERY:
        exclusion.foreign = True
        exclusion.lock = _sync.rlock("space")
    for gate in GATES:
        gate.lock = _sync.rlock("client")
        gate.changed = _sync.condition(gate.lock)
        gate.state |= _FOREIGN


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_disown)
