"""The threads that play scenarios."""

import threading
from _thread import allocate_lock
from collections.abc import Callable
from typing import TYPE_CHECKING

from npt.testing.failures import Unwind, describe
from npt.testing.operations import START, Blocker

if TYPE_CHECKING:
    from npt.testing.scheduler import Run

__all__ = ["Pool", "Worker"]


class Worker(threading.Thread):
    """A thread of the pool."""

    def __init__(self, number: int) -> None:
        super().__init__(name=f"scheduled-{number}", daemon=True)
        self.number = number
        self.baton = allocate_lock()
        self.baton.acquire()
        self.job: tuple[Run, Callable[[], object]] | None = None
        self.operation = START
        self.blocker: Blocker | None = None
        self.deadline: float | None = None
        self.timed_out = False
        self.held: list[str] = []
        self.ended = self.closed = False

    def is_alive(self) -> bool:
        """Whether its function of this schedule is still under way: what the scenario takes for the thread."""
        return not self.ended and super().is_alive()

    def assign(self, run: "Run", function: Callable[[], object]) -> None:
        """Take a function of a new schedule."""
        self.job = run, function
        self.operation, self.blocker, self.deadline = START, None, None
        self.timed_out = self.ended = False
        self.held = []

    def run(self) -> None:
        """Serve schedules, one after the other."""
        while True:
            self.baton.acquire()
            if self.job is None:
                return
            run, function = self.job
            try:
                if not run.loose:
                    function()
            except Unwind:
                pass
            except BaseException as error:
                run.fail(f"thread {self.number} raised {describe(error)}", cause=error)
            self.job = None
            run.leave(self)
            del run, function
            if self.closed:  # it was stuck, and is late
                return

    def can_run(self) -> bool:
        """Whether it has not ended and its operation is possible."""
        return not self.ended and (self.blocker is None or self.blocker.lets(self))

    def status(self) -> str:
        """What it is waiting for."""
        return f"thread {self.number} waits for {self.blocker.explain() if self.blocker is not None else 'its turn'}"


class Pool:
    """Threads that serve many schedules."""

    def __init__(self) -> None:
        self.workers: list[Worker] = []

    def take(self, n: int) -> list[Worker]:
        """So many threads."""
        while len(self.workers) < n:
            worker = Worker(len(self.workers))
            worker.start()
            self.workers.append(worker)
        return self.workers[:n]

    def close(self) -> None:
        """End the threads, all but such as are stuck."""
        for worker in self.workers:
            worker.closed = True
            if worker.job is None:
                worker.baton.release()
                worker.join()
        self.workers = []
