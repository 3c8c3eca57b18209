"""Executors by name: what each is, how it ends, and what is refused."""

import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import pytest

from npt import InvalidArgument
from npt.errors import NotSupported
from npt.studies import EXECUTORS, executor
from tests.studies.sweep_tasks import need_dask


def test_none__is_this_thread() -> None:
    """As ``sweep`` takes it."""
    with executor("none") as pool:
        assert pool is None


def test_pools__have_so_many_workers_and_end() -> None:
    """Processes are not copies of this one, which has threads."""
    with executor("threads", 3) as pool:
        assert isinstance(pool, ThreadPoolExecutor)
        assert pool._max_workers == 3
    with pytest.raises(RuntimeError, match="shutdown"):
        pool.submit(int)
    with executor("processes", 2) as pool:
        assert isinstance(pool, ProcessPoolExecutor)
        assert vars(pool)["_mp_context"].get_start_method() == "spawn"
    with pytest.raises(RuntimeError, match="shutdown"):
        pool.submit(int)


@pytest.mark.parametrize(
    ("arguments", "error", "word"),
    [
        (("slurm",), InvalidArgument, f"'slurm' is no executor; there are {', '.join(EXECUTORS)}"),
        (("threads", 0), InvalidArgument, "workers 0"),
        (("processes", 10**6), InvalidArgument, "workers 1000000"),
        (("threads", True), TypeError, "workers"),
        (("threads", 2.0), TypeError, "workers"),
    ],
)
def test_arguments__are_refused(arguments: Any, error: type[Exception], word: str) -> None:
    """Before anything is started."""
    with pytest.raises(error, match=word), executor(*arguments):
        pass


def test_dask__is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it there is a word on what to install."""
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(NotSupported, match=r"npt-engine\[cluster\]"), executor("dask"):
        pass


@pytest.mark.slow
@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nonsense://x"])
def test_scheduler__that_does_not_answer(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """Says so, and which."""
    need_dask()
    monkeypatch.setattr("npt.studies.executors._PATIENCE", "0.5s")
    with pytest.raises(OSError, match=f"no Dask scheduler answers at {address}"), executor("none", scheduler=address):
        pass
