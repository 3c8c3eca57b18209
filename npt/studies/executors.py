"""Where a sweep runs: executors by name."""

import logging
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from multiprocessing import get_context, resource_tracker
from typing import SupportsIndex

from npt.errors import InvalidArgument, NotSupported
from npt.units import as_count

__all__ = ["EXECUTORS", "executor"]

EXECUTORS = ("none", "threads", "processes", "dask")
_WORKERS_END = 1025
_PATIENCE = "10s"  # until a scheduler answers


@contextmanager
def executor(kind: str, workers: SupportsIndex = 2, scheduler: str | None = None) -> Iterator[Executor | None]:
    """Make an executor, and take it down behind the work.

    Parameters
    ----------
    kind
        ``"none"`` (which is None: this thread), ``"threads"``, ``"processes"``, or ``"dask"`` for a cluster of processes on
        this machine. Processes import the program that starts them: a script begins its work under
        ``if __name__ == "__main__"``.
    workers
        Threads or processes, at most 1024.
    scheduler
        Address of a Dask scheduler, like ``"tcp://host:8786"``: its cluster, as it is, whatever the kind.

    Raises
    ------
    InvalidArgument
        Another kind, or no workers.
    NotSupported
        Dask is not installed.
    OSError
        No scheduler answers there.
    """
    if kind not in EXECUTORS:
        raise InvalidArgument(f"{kind!r} is no executor; there are {', '.join(EXECUTORS)}")
    n_workers = as_count(workers, "workers", least=1, end=_WORKERS_END)
    with ExitStack() as stack:
        if scheduler is not None or kind == "dask":
            yield _dask(stack, n_workers, scheduler)
        elif kind == "threads":
            yield stack.enter_context(ThreadPoolExecutor(n_workers))
        elif kind == "processes":
            yield _processes(stack, n_workers)
        else:
            yield None


def _processes(stack: ExitStack, workers: int) -> Executor:
    with _undisturbed():
        pool = stack.enter_context(
            ProcessPoolExecutor(workers, get_context("spawn"))
        )  # what has threads cannot be forked safely
        for _ in range(workers):
            pool.submit(int)  # each starts one
    return pool


def _dask(stack: ExitStack, workers: int, scheduler: str | None) -> Executor:
    try:
        from distributed import Client, LocalCluster
    except ImportError:
        raise NotSupported("this needs Dask: pip install 'npt-engine[cluster]'") from None
    if scheduler is None:
        with _undisturbed():
            local = stack.enter_context(
                LocalCluster(
                    n_workers=workers, threads_per_worker=1, dashboard_address=None, silence_logs=logging.ERROR
                )
            )  # fmt: skip
        client = stack.enter_context(Client(local))
    else:
        try:
            client = stack.enter_context(Client(scheduler, timeout=_PATIENCE))
        except (OSError, ValueError, TypeError) as error:
            raise OSError(f"no Dask scheduler answers at {scheduler}: {error}") from None
    made: Executor = client.get_executor()
    return made


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Threads and processes that begin in here never hear of Ctrl-C, which a terminal tells to all; we do, at the end.

    So nothing is left half begun, and workers go on until we end them.
    """
    if not hasattr(signal, "pthread_sigmask") or threading.current_thread() is not threading.main_thread():
        yield
        return
    resource_tracker.ensure_running()  # which lets interrupts through when it has begun
    came: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, _: came.append(number))  # other threads hear it, and tell this one
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, handler)
    if came:
        signal.raise_signal(signal.SIGINT)
