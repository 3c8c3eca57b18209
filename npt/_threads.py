"""Work that is split over threads where that pays.

Theory of operation
-------------------
A kernel lets the GIL go, so parts of one piece of work can run side by side. Whoever has the work does parts of it itself,
one after the other, and asks other threads to do the same: if they are busy, or there are none, it does everything
alone, and never waits for more than parts that are under way. An interrupt starts no further part, and is raised once those
under way have ended: nothing of a call runs after it.

Who shares work may have locks: nothing but the parts runs in the other threads, no finalizer either. The threads help all;
a forked child makes its own. They wait at a ``SimpleQueue``, and so do callers, because its calls are one step each: an
interrupt in one of ``ThreadPoolExecutor``, or of a ``Condition``, leaves a lock behind for ever.

Guarantees: when ``share`` returns, every part has been done once; when it raises, no part is running.
Relies on:  parts that may run side by side, and that nobody needs all of after an interrupt.
"""

import itertools
import os
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue

from npt import _collector
from npt.errors import InvalidArgument

__all__ = ["default_threads", "share", "surely"]

_MOST = 8  # threads by default: more do not read faster than the memory lets them
_MOST_HELPERS = 32  # whatever a caller says
_PARTS_A_THREAD = 4  # so that who has the clean part goes on with another's
VARIABLE = "NPT_THREADS"
_DIGITS = 9  # of its value

_making = threading.RLock()  # a signal handler may come here, too
_helpers: list[threading.Thread] = []
_jobs: "SimpleQueue[Callable[[], None] | None]" = SimpleQueue()  # None ends a helper


def default_threads() -> int:
    """How many threads large work is split over, unless told: ``NPT_THREADS``, or as many as this thread may use processors.

    Raises
    ------
    InvalidArgument
        The variable is not a positive number.
    """
    text = os.environ.get(VARIABLE)
    if text is None:
        return min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, _MOST)
    if not text.isascii() or not text.isdigit() or len(text) > _DIGITS or int(text) == 0:
        raise InvalidArgument(f"{VARIABLE} is {text!r}; it must be a positive number of threads")
    return int(text)


def _threads_now() -> int:
    """The same in the middle of things, where a variable that has become bad is no reason to fail."""
    try:
        return default_threads()
    except InvalidArgument:
        return 1


def share(work: Callable[[int, int], object], n: int, *, least: int, threads: int | None, step: int = 1) -> None:
    """Call ``work(start, stop)`` over parts of ``range(n)``, in this thread and others.

    Parameters
    ----------
    work
        Does its part, mostly without the GIL.
    n
        How many things there are to do.
    least
        Things that are worth a thread.
    threads
        Most threads; None for the default.
    step
        Parts begin at multiples of this.
    """
    if n < 2 * least:
        work(0, n)
        return
    threads = min(_threads_now() if threads is None else threads, n // least)
    if threads == 1:
        work(0, n)
        return
    n_parts = min(threads * _PARTS_A_THREAD, n // least)
    bounds = [n * i // n_parts // step * step for i in range(n_parts)] + [n]
    with _collector.paused():
        _Sharing(work, bounds).run(threads - 1)


class _Sharing:
    """One piece of work, and who is at it."""

    def __init__(self, work: Callable[[int, int], object], bounds: list[int]) -> None:
        self._work = work
        self._parts = deque(itertools.pairwise(bounds))
        self._lock = threading.Lock()
        self._gone: SimpleQueue[None] = SimpleQueue()  # one for each that has helped
        self._cpus = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
        self._helping = 0
        self._closed = False
        self._errors: list[BaseException] = []

    def run(self, n_helpers: int) -> None:
        """Do it, with so many others."""
        try:
            _ask(self._help, n_helpers)
            self._work_off()
        except BaseException:
            self._close_surely()
            raise
        self._close_surely()
        if self._errors:
            raise self._errors[0]

    def _work_off(self) -> None:
        while True:
            with self._lock:
                if self._closed or not self._parts:
                    return
                part = self._parts.popleft()
            self._work(*part)

    def _help(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._helping += 1
        try:
            if self._cpus is not None:  # not those of whoever was the first to need help
                with suppress(OSError):
                    os.sched_setaffinity(0, self._cpus)
            self._work_off()
        except BaseException as error:
            self._errors.append(error)
        finally:
            with self._lock:
                self._helping -= 1
            self._gone.put(None)

    def _close_surely(self) -> None:
        """See that nobody is at it any more, whatever comes."""
        surely(self._close)

    def _close(self) -> None:
        with self._lock:
            self._closed = True
        while self._helping:
            self._gone.get()


def surely(work: Callable[[], object]) -> None:
    """Do something that can be done again until nothing breaks it off; what did is raised then."""
    interrupt: BaseException | None = None
    while True:
        try:
            work()
            break
        except BaseException as error:
            interrupt = error
    if interrupt is not None:
        raise interrupt


def _ask(work: Callable[[], None], n: int) -> None:
    """Ask so many threads to do something; those that are missing are made, if they can be: Python may be shutting down."""
    with _making, suppress(RuntimeError, MemoryError):
        while len(_helpers) < min(n, _MOST_HELPERS):
            helper = threading.Thread(target=_serve, args=(_jobs,), name="npt helps", daemon=True)
            helper.start()
            _helpers.append(helper)
    for _ in range(n):
        _jobs.put(work)


def _serve(jobs: "SimpleQueue[Callable[[], None] | None]") -> None:
    while True:
        job = jobs.get()
        if job is None:
            return
        job()
        del job  # it keeps arrays


def _renew() -> None:
    """In a forked child: the threads are gone."""
    global _making, _helpers, _jobs
    _making, _helpers, _jobs = threading.RLock(), [], SimpleQueue()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
