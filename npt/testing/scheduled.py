"""Locks and conditions whose waiting is the scheduler's.

Theory of operation
-------------------
They keep an owner and a count, no real lock: only one thread runs at a time. Scheduling points are before each acquire, after
each release, and at wait and notify; taking a lock again that one has already, and giving back but the last of it, is none,
because nobody else can see that. Notifying wakes who waited longest.

A thread that is not of the scenario (it builds it, or looks at it) finds locks free or gets ``NotFree``; it never waits. Once
a run has failed, its locks let everybody pass.
"""

from _thread import get_ident
from types import TracebackType
from typing import Any

from npt.testing.failures import NotFree, Unwind
from npt.testing.operations import Operation
from npt.testing.points import Cells
from npt.testing.scheduler import Run
from npt.testing.workers import Worker

__all__ = ["ScheduledCondition", "ScheduledLock", "ScheduledMakers", "ScheduledRLock"]


class ScheduledLock:
    """As ``threading.Lock``; also what blocks a thread that waits for it."""

    kind = "lock"

    def __init__(self, run: Run, name: str) -> None:
        self.name = name
        self.key = run.next_key(self.kind)
        self._run = run
        self._owner: Worker | int | None = None  # a thread of the scenario, or the identity of another
        self._count = 0
        self._acquire, self._release = Operation("acquire", name, None, self), Operation("release", name, None, self)
        self._released = Operation("", name, None, self)

    def __repr__(self) -> str:
        return f"<{'locked' if self.locked() else 'unlocked'} scheduled {self.kind} {self.name!r}>"

    # -- as a lock --------------------------------------------------------------------------------------------------

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take it; False if that did not work out."""
        run = self._run
        me = run.here()
        if me is None:
            return self._pass_in(blocking)
        if self._again(me):
            return True
        deadline = run.clock + timeout if timeout >= 0 else None
        run.arrive(me, self._acquire, self if blocking else None, deadline=deadline)
        me.timed_out = False
        if self._owner is not None:
            return False
        self._owner, self._count = me, 1
        me.held.append(self.name)
        return True

    def release(self) -> None:
        """Give it back."""
        run = self._run
        me = run.here()
        if me is None:
            self._pass_out()
            return
        self._check_release(me)
        self._count -= 1
        if self._count:
            return
        self._free()
        run.trace.append((me.number, self._release))
        run.arrive(me, self._released)

    def locked(self) -> bool:
        """Whether somebody has it."""
        return self._owner is not None

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *exc_info: object) -> None:
        self.release()

    # -- differences between the two kinds --------------------------------------------------------------------------

    def _again(self, me: Worker | int) -> bool:
        """Whether who takes it has it already, and need not wait."""
        return False

    def _check_release(self, me: Worker | int) -> None:
        if self._owner is None:
            raise RuntimeError(f"release of {self.name}, which nobody has")

    # -- for conditions, and for blocked threads --------------------------------------------------------------------

    def is_mine(self) -> bool:
        """Whether this thread has it."""
        return self._owner == (self._run.here() or get_ident())

    def give_up(self) -> int:
        """Release it whole; return what ``take_back`` wants. No scheduling point."""
        count = self._count
        self._free()
        return count

    def take_back(self, me: Worker, count: int) -> None:
        """Have it as before."""
        self._owner, self._count = me, count
        me.held.append(self.name)

    def lets(self, worker: Worker) -> bool:
        """Whether a thread that waits for it can go on."""
        return self._owner is None or worker.timed_out

    def explain(self) -> str:
        """What it is, and who has it."""
        if self._owner is None:
            return f"{self.kind} {self.name}, which is free"
        owner = f"thread {self._owner.number}" if isinstance(self._owner, Worker) else "a thread outside the scenario"
        return f"{self.kind} {self.name}, which {owner} has"

    def _free(self) -> None:
        if isinstance(self._owner, Worker):
            self._owner.held.remove(self.name)
        self._owner, self._count = None, 0

    # -- threads that are not of the scenario -----------------------------------------------------------------------

    def _pass_in(self, blocking: bool) -> bool:
        if self._run.loose:
            self._run.pass_by()
            return True
        me = get_ident()
        if self._again(me):
            return True
        if self._owner is None:
            self._owner, self._count = me, 1
            return True
        if not blocking:
            return False
        raise NotFree(f"a thread outside the scenario wants {self.explain()}")

    def _pass_out(self) -> None:
        if not self._run.loose:
            self._check_release(get_ident())
            self._count -= 1
            if not self._count:
                self._free()


class ScheduledRLock(ScheduledLock):
    """As ``threading.RLock``."""

    kind = "rlock"

    def _is_owned(self) -> bool:
        return self.is_mine()

    def _again(self, me: Worker | int) -> bool:
        if self._owner != me:
            return False
        self._count += 1
        return True

    def _check_release(self, me: Worker | int) -> None:
        if self._owner != me:
            raise RuntimeError(f"release of {self.explain()}")


class _Waiter:
    """One thread's wait at a condition."""

    def __init__(self, lock: ScheduledLock) -> None:
        self.lock = lock
        self.notified = False

    def lets(self, worker: Worker) -> bool:
        """Whether it has been woken, and the lock is free."""
        return (self.notified or worker.timed_out) and not self.lock.locked()

    def explain(self) -> str:
        """What is waited for."""
        return self.lock.explain() if self.notified else f"a notification at {self.lock.name}"


class ScheduledCondition:
    """As ``threading.Condition``, over a scheduled lock."""

    def __init__(self, run: Run, lock: ScheduledLock) -> None:
        if not isinstance(lock, ScheduledLock):
            raise TypeError("a scheduled condition needs a lock that was made in the scenario, too")
        self._run, self._lock = run, lock
        self._waiters: list[_Waiter] = []
        self._wait, self._wake, self._notify = (Operation(v, lock.name, None, lock) for v in ("wait", "wake", "notify"))

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take the lock."""
        return self._lock.acquire(blocking, timeout)

    def release(self) -> None:
        """Give the lock back."""
        self._lock.release()

    def __enter__(self) -> bool:
        return self._lock.acquire()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None:
        self._lock.release()

    def wait(self, timeout: float | None = None) -> bool:
        """Let the lock go until notified; with a time-out, also once nothing else can run."""
        run = self._run
        me = run.here()
        if me is None:
            if run.loose:
                raise Unwind
            raise NotFree(f"a thread outside the scenario would wait at {self._lock.name} for ever")
        self._check_mine()
        run.arrive(me, self._wait)
        count, waiter = self._lock.give_up(), _Waiter(self._lock)
        self._waiters.append(waiter)
        run.arrive(me, self._wake, waiter, deadline=None if timeout is None else run.clock + max(timeout, 0.0))
        me.timed_out = False
        self._lock.take_back(me, count)
        if not waiter.notified:
            self._waiters.remove(waiter)
        return waiter.notified

    def wait_for(self, predicate: Any, timeout: float | None = None) -> Any:
        """Wait until the predicate is true."""
        deadline = None if timeout is None else self._run.clock + timeout
        while not (result := predicate()):
            if deadline is not None and deadline <= self._run.clock:
                break
            self.wait(None if deadline is None else deadline - self._run.clock)
        return result

    def notify(self, n: int = 1) -> None:
        """Wake those who have waited longest."""
        me = self._run.here()
        if me is not None:
            self._check_mine()
            self._run.arrive(me, self._notify)
        for waiter in self._waiters[:n]:
            waiter.notified = True
        del self._waiters[:n]

    def notify_all(self) -> None:
        """Wake all."""
        self.notify(len(self._waiters))

    def _check_mine(self) -> None:
        if not self._lock.is_mine():
            raise RuntimeError(f"wait or notify at {self._lock.name} without having it")


class ScheduledMakers:
    """What ``npt._sync.install`` is given while a scenario is built and run."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def lock(self, name: str) -> ScheduledLock:
        """A lock of the run."""
        return ScheduledLock(self._run, name)

    def rlock(self, name: str) -> ScheduledRLock:
        """A lock that its owner can take again."""
        return ScheduledRLock(self._run, name)

    def condition(self, lock: Any) -> ScheduledCondition:
        """A condition over a lock from here."""
        return ScheduledCondition(self._run, lock)

    def cells(self, name: str, array: Any) -> Cells:
        """Words for Python code, as those of ``memoryview(array)``."""
        return Cells(array, name)

    def now(self) -> float:
        """Seconds of the run's own clock: it stands still but for time-outs."""
        return self._run.clock
