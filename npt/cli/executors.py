"""Where a sweep runs."""

from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from multiprocessing import get_context

import click

__all__ = ["EXECUTORS", "executor"]

EXECUTORS = ("none", "threads", "processes", "dask")


@contextmanager
def executor(kind: str, workers: int, scheduler: str | None) -> Iterator[Executor | None]:
    """One of ``EXECUTORS``, with so many workers; with ``scheduler`` the Dask cluster there, as it is."""
    with ExitStack() as stack:
        if scheduler is not None or kind == "dask":
            yield _dask(stack, workers, scheduler)
        elif kind == "threads":
            yield stack.enter_context(ThreadPoolExecutor(workers))
        elif kind == "processes":  # not forked: a process that has threads cannot be copied safely
            yield stack.enter_context(ProcessPoolExecutor(workers, get_context("spawn")))
        else:
            yield None


def _dask(stack: ExitStack, workers: int, scheduler: str | None) -> Executor:
    try:
        from distributed import Client, LocalCluster
    except ImportError:
        raise click.ClickException("this needs Dask: pip install 'npt-engine[cluster]'") from None
    if scheduler is None:
        local = LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None)
        cluster = stack.enter_context(local)
        client = stack.enter_context(Client(cluster))
    else:
        try:
            client = stack.enter_context(Client(scheduler, timeout="10s"))
        except (OSError, ValueError, TypeError) as error:
            raise click.ClickException(f"no Dask scheduler answers at {scheduler}: {error}") from None
    made: Executor = client.get_executor()
    return made
