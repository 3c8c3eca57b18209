"""Every test here runs threads: a watchdog prints all their stacks and ends the process if one hangs.

``NPT_LONG=1`` makes ten times the work of it.
"""

import faulthandler
import os
import sys
import threading
from collections.abc import Iterator

import pytest

from npt import EPT, NPT, PteFormat
from tests.threads.crew import SECONDS, processors

_SWITCH = 1e-4  # seconds a thread keeps the interpreter: threads meet more often, in more places


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
    faulthandler.dump_traceback_later(SECONDS, exit=True, file=real_stderr)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture(autouse=True)
def nobody_is_left() -> Iterator[None]:
    """A test ends its threads, and leaves this one where it was."""
    before, placed, switch = threading.active_count(), processors(), sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH)
    yield
    sys.setswitchinterval(switch)
    assert threading.active_count() == before, threading.enumerate()
    assert processors() == placed


@pytest.fixture(autouse=True, scope="session")
def two_processors() -> None:
    """On one processor nothing here proves anything; CI must not pass like that."""
    if os.environ.get("CI") and len(processors()) < 2:
        pytest.fail("the tests of threads need two processors")


@pytest.fixture(params=[EPT, NPT], ids=["ept", "npt"])
def form(request: pytest.FixtureRequest) -> PteFormat:
    """Each entry format in turn."""
    assert isinstance(request.param, PteFormat)
    return request.param
