"""A vCPU that is on a guest's tables while something is timed."""

import os
import threading
import time
from typing import Self

import numpy as np

from benchmarks.guest import Guest
from npt import PAGE_SIZE, Vcpu

__all__ = ["Running"]

_ACCESSES = 1 << 22  # of a run
_LONG = 5e-3  # seconds of a work that may be longer than a run
_PATIENCE = 10.0  # seconds until it must be in the tables


class Running:
    """A vCPU that is on a guest's tables: it writes to a small part of it, behind what is worked on, in a thread of its own.

    Its thread is kept on one CPU and this thread on the others, where the system has more than one and lets us. It comes back
    after each kick, as vCPUs do; between two runs it is out for a moment, and a work that begins then is not beside it. So who
    times asks it to be ``ready``, and afterwards whether it was ``there``. As a context manager it runs inside.

    Parameters
    ----------
    guest
        Whose tables.
    """

    def __init__(self, guest: Guest) -> None:
        self._space = guest.space
        self._vcpu = Vcpu(guest.space.client())
        random = np.random.default_rng(0)
        n_pages = (guest.space.size - guest.size) // PAGE_SIZE
        self._gpas = np.uint64(guest.size) + random.integers(0, n_pages, _ACCESSES, np.uint64) * np.uint64(PAGE_SIZE)
        self._thread: threading.Thread | None = None
        self._failures: list[BaseException] = []
        self._runs = self._seen = 0
        self._start = 0.0

    def __str__(self) -> str:
        return "beside a vCPU"

    def start(self) -> None:
        """Begin, unless it runs; return when it is in the tables."""
        if self._thread is not None:
            return
        self._cpus = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
        its = max(self._cpus, default=0)
        self._stop, going = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, args=(its, going), name="vCPU")
        self._vcpu.run(self._gpas[:1], write=True)  # compiled
        self._thread.start()
        going.wait()
        _stay_on(self._cpus - {its})

    def _run(self, its: int, going: threading.Event) -> None:
        if len(self._cpus) > 1:
            _stay_on({its})
        going.set()
        try:
            while not self._stop.is_set():
                self._vcpu.run(self._gpas, write=True)
                self._runs += 1
        except BaseException as error:
            self._failures.append(error)

    def ready(self) -> None:
        """Wait until it is in the tables."""
        end = time.monotonic() + _PATIENCE
        while self._vcpu.client.gate.inside is None:
            assert not self._failures, self._failures
            assert time.monotonic() < end, f"the vCPU did not come into the tables within {_PATIENCE:g} s"
            time.sleep(0)
        self._seen, self._start = self._runs, time.perf_counter()

    def there(self) -> bool:
        """Whether what was done since then found it in the tables: it is in the same run, or that was a long time."""
        return self._runs == self._seen or time.perf_counter() - self._start > _LONG

    def stop(self) -> None:
        """End, if it runs; whatever went wrong inside is raised here."""
        if self._thread is None:
            return
        self._stop.set()
        self._thread.join()
        self._thread = None
        _stay_on(self._cpus)
        for failure in self._failures:
            raise failure

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()


def _stay_on(cpus: set[int]) -> None:
    """Keep this thread on some CPUs, unless there are none."""
    if cpus:
        os.sched_setaffinity(0, cpus)
