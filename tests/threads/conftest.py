"""Every test here runs threads. ``NPT_LONG=1`` makes ten times the work of it."""

import os
import sys
import threading
from collections.abc import Iterator

import pytest

from npt import EPT, NPT, PteFormat
from npt._threads import share
from tests.threads.crew import processors

_SWITCH = 1e-4  # seconds a thread keeps the interpreter: threads meet more often, in more places


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


@pytest.fixture(autouse=True, scope="session")
def helpers_are_there() -> None:
    """The library's own threads, that stay: else the first test that splits its work would seem to have left one."""
    share(lambda start, stop: None, 2 * len(processors()), least=1, threads=len(processors()))


@pytest.fixture(params=[EPT, NPT], ids=["ept", "npt"])
def form(request: pytest.FixtureRequest) -> PteFormat:
    """Each entry format in turn."""
    assert isinstance(request.param, PteFormat)
    return request.param
