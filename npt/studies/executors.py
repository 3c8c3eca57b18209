"""Where a sweep runs: executors by name."""

from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from multiprocessing import get_context
from typing import SupportsIndex

from npt.errors import InvalidArgument, NotSupported
from npt.units import as_count

__all__ = ["EXECUTORS", "executor"]

EXECUTORS = ("none", "threads", "processes", "dask")
_PATIENCE = "10s"  # until a scheduler answers


@contextmanager
def executor(kind: str, workers: SupportsIndex = 2, scheduler: str | None = None) -> Iterator[Executor | None]:
    """Make an executor, and take it down behind the work.

    Parameters
    ----------
    kind
        ``"none"`` (which is None: this thread), ``"threads"``, ``"processes"``, or ``"dask"`` for a cluster of processes on this
        machine.
    workers
        Threads or processes.
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
    n_workers = as_count(workers, "workers", least=1)
    with ExitStack() as stack:
        if scheduler is not None or kind == "dask":
            yield _dask(stack, n_workers, scheduler)
        elif kind == "threads":
            yield stack.enter_context(ThreadPoolExecutor(n_workers))
        elif kind == "processes":  # not forked: a process that has threads cannot be copied safely
            yield stack.enter_context(ProcessPoolExecutor(n_workers, get_context("spawn")))
        else:
            yield None


def _dask(stack: ExitStack, workers: int, scheduler: str | None) -> Executor:
    try:
        from distributed import Client, LocalCluster
    except ImportError:
        raise NotSupported("this needs Dask: pip install 'npt-engine[cluster]'") from None
    if scheduler is None:
        local = LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None)
        client = stack.enter_context(Client(stack.enter_context(local)))
    else:
        try:
            client = stack.enter_context(Client(scheduler, timeout=_PATIENCE))
        except (OSError, ValueError, TypeError) as error:
            raise OSError(f"no Dask scheduler answers at {scheduler}: {error}") from None
    made: Executor = client.get_executor()
    return made
