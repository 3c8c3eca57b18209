"""Threads that cannot be started: the work is done by those that there are, or nothing has changed."""

import threading
from collections.abc import Iterator
from queue import SimpleQueue

import numpy as np
import pytest

from npt import NPT, Prot, Reservoir, VmSpace, _threads, dirty, kernels, warm_up
from npt.kernels.jit import DISABLED
from npt.memory import settling
from npt.table import tree
from npt.testing import check

PAGE = 0x1000
SIZE = 1 << 29


@pytest.fixture
def helpers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As in a process in which nobody has helped yet."""
    monkeypatch.setattr(_threads, "_helpers", [])
    monkeypatch.setattr(_threads, "_jobs", SimpleQueue())
    monkeypatch.setattr(tree, "_LEAST_TABLES", 16)  # that are worth a thread
    monkeypatch.setattr(settling, "_LEAST_FRAMES", 16)
    yield
    for _ in _threads._helpers:
        _threads._jobs.put(None)


def start_at_most(monkeypatch: pytest.MonkeyPatch, n: int, error: type[BaseException]) -> list[int]:
    """Have the thread after the n-th fail to start; the list says how often that was."""
    real, left, failed = threading.Thread.start, [n], list[int]()

    def start(self: threading.Thread) -> None:
        left[0] -= 1
        if left[0] < 0:
            failed.append(1)
            raise error("can't start new thread")
        real(self)

    monkeypatch.setattr(threading.Thread, "start", start)
    return failed


@pytest.mark.parametrize("error", [RuntimeError, MemoryError])
@pytest.mark.parametrize("n", [0, 1, 2, 6])
def test_share__without_threads(monkeypatch: pytest.MonkeyPatch, helpers: None, n: int, error: type[BaseException]) -> None:
    """Whoever has work does it alone if need be: populate, harvest, unmap, and zeroing what comes back."""
    warm_up()
    failed = start_at_most(monkeypatch, n, error)
    with (
        Reservoir(SIZE, backed=False) as reservoir,
        reservoir.allocate(SIZE) as ram,
        VmSpace(SIZE, format=NPT, reservoir=reservoir, track_dirty=True, threads=8) as space,
    ):
        space.map(ram, 0, SIZE, Prot.RW)
        assert space.populate(0, SIZE) == SIZE // PAGE
        space.set_dirty(0, SIZE)
        assert dirty.count(space.track_dirty(0, SIZE)) == SIZE // PAGE
        check(space)
        space.unmap(0, SIZE)
        assert space.resident_count == 0
        check(space)
    assert len(failed) > 0
    assert len(_threads._helpers) == n


@pytest.mark.skipif(DISABLED, reason="kernels are plain Python")
def test_compilation__without_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that could not be compiled is compiled by the next call."""

    @kernels.jit.kernel("u8(u8)")
    def twice(n: np.uint64) -> np.uint64:
        return n + n

    with monkeypatch.context() as patch:
        start_at_most(patch, 0, RuntimeError)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            twice(4)
    assert twice(4) == 8
    name = f"{twice.__module__}.{twice.__name__}"
    del kernels.jit.KERNELS[name]


def test_warm_up__whose_progress_raises() -> None:
    """It comes out, and the next one goes through."""
    seen: list[tuple[int, int]] = []

    def progress(done: int, of: int) -> None:
        seen.append((done, of))
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        warm_up(progress)
    assert [done for done, _ in seen] == [0, 1, 2]
    assert warm_up() == seen[0][1]
