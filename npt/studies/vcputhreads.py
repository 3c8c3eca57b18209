"""vCPUs that run beside whoever studies them, each in a thread of its own.

Theory of operation
-------------------
A thread waits at its queue for work, does it with its vCPU, and says at one common queue that it is done, or what went wrong.
Queues are ``SimpleQueue``: their calls are one step each, so that an interrupt leaves no lock behind.

Guarantees: when the ``with`` block is left, whatever the reason, no thread runs any more; one that fails ends the others' work.
Relies on:  work that looks at ``ending`` every few milliseconds, and returns once it is set.
"""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from queue import SimpleQueue
from types import TracebackType
from typing import Self

from npt._threads import surely
from npt.space.vcpu import Vcpu
from npt.space.vmspace import VmSpace

__all__ = ["VcpuThreads", "pinned"]

Work = Callable[[Vcpu], object]


@contextmanager
def pinned(cpu: int | None) -> Iterator[None]:
    """This thread runs on one processor inside the block; on any with None."""
    if cpu is None:
        yield
        return
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {cpu})
        yield
    finally:
        os.sched_setaffinity(0, before)


class VcpuThreads:
    """vCPUs of one space, in threads that wait for work; a context manager.

    Parameters
    ----------
    space
        What they run on; a client is made for each.
    n
        How many.
    pin
        The processor of each thread; empty to leave that to the system.

    Attributes
    ----------
    ending : bool
        Work shall come to its end.
    """

    def __init__(self, space: VmSpace, n: int, *, pin: Sequence[int] = ()) -> None:
        self.ending = False
        self._jobs: list[SimpleQueue[Work | None]] = [SimpleQueue() for _ in range(n)]
        self._done: SimpleQueue[BaseException | None] = SimpleQueue()
        self._under_way = 0
        self._threads = [
            threading.Thread(
                target=self._serve,
                args=(Vcpu(space.client(), cpu=number), jobs, pin[number] if pin else None),
                name=f"vCPU {number}",
                daemon=True,
            )
            for number, jobs in enumerate(self._jobs)
        ]

    def __enter__(self) -> Self:
        try:
            for thread in self._threads:
                thread.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def start(self, work: Work) -> None:
        """Have each vCPU do it."""
        for jobs in self._jobs:
            self._under_way += 1
            jobs.put(work)

    def wait(self) -> None:
        """Wait until each has done its work; raise what the first one raised."""
        errors = []
        while self._under_way:
            error = self._done.get()
            self._under_way -= 1
            if error is not None:
                self.ending = True
                errors.append(error)
        if errors:
            raise errors[0]

    def run(self, work: Work) -> None:
        """Have each vCPU do it, and wait for all."""
        self.start(work)
        self.wait()

    def close(self) -> None:
        """End all threads, whatever comes; an interrupt is raised when none runs any more."""
        surely(self._close)

    def _close(self) -> None:
        self.ending = True
        for jobs in self._jobs:
            jobs.put(None)
        for thread in self._threads:
            with suppress(RuntimeError):  # never started
                thread.join()

    def _serve(self, vcpu: Vcpu, jobs: "SimpleQueue[Work | None]", cpu: int | None) -> None:
        refused = _pin(cpu)
        while (work := jobs.get()) is not None:
            self._done.put(refused or _outcome(work, vcpu))


def _pin(cpu: int | None) -> OSError | None:
    """Have this thread run on one processor for good; what the system says against it."""
    try:
        if cpu is not None:
            os.sched_setaffinity(0, {cpu})
    except OSError as error:  # taken away since it was checked
        return error
    return None


def _outcome(work: Work, vcpu: Vcpu) -> BaseException | None:
    try:
        work(vcpu)
    except BaseException as error:
        return error
    return None
