"""What no test of the scheduler may leave behind."""

import gc
import os
import threading
from collections.abc import Iterator

import pytest

from npt import _sync
from npt.testing import scheduler

__all__ = ["nothing_is_left"]


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """Every test leaves threads, locks, collector and processors as they were."""
    processors = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    yield
    assert [thread for thread in threading.enumerate() if thread.name.startswith("scheduled")] == []
    assert isinstance(_sync.lock("real"), type(threading.Lock()))
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0
    assert scheduler.running() is None
    if processors is not None:
        assert os.sched_getaffinity(0) == processors
