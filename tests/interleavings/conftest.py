"""Every test here runs threads: a watchdog prints all their stacks and ends the process if one hangs."""

import faulthandler
import os
from collections.abc import Iterator

import pytest

from tests.interleavings.scenario import LONG

_SECONDS = 3600 if LONG else 300


@pytest.fixture(scope="session")
def real_stderr(pytestconfig: pytest.Config) -> Iterator[int]:
    """The process's own standard error, not what pytest keeps until the test is over."""
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")
    if capture is None:
        yield 2
        return
    with capture.global_and_fixture_disabled():
        number = os.dup(2)
    yield number
    os.close(number)


@pytest.fixture(autouse=True)
def watchdog(real_stderr: int) -> Iterator[None]:
    """A test that hangs says where, in all threads, and takes the process with it."""
    faulthandler.dump_traceback_later(_SECONDS, exit=True, file=real_stderr)
    yield
    faulthandler.cancel_dump_traceback_later()
