"""Hypothesis profiles: quick and random for people, repeatable for CI, long for the night. And a watchdog."""

import faulthandler
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import settings

from tests.ahead import Ahead, Done
from tests.kernels.compiled import Compiled, Compiling

_SECONDS = 3600 if os.environ.get("NPT_LONG") else 300  # of one test
_OFTEN = 1.0  # seconds: to set the watchdog anew for each of the many short tests would cost more than some of them

_SHARE_KERNELS = ("kernels/test_jit.py", "kernels/test_machine_code.py", "docs/test_caching.py")

settings.register_profile("dev", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.register_profile("nightly", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "dev"))


def pytest_configure(config: pytest.Config) -> None:
    """A process of ``-n`` is one like any other to what it starts: it can be interrupted, and times what it is told to."""
    if hasattr(config, "workerinput"):
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.environ.pop("PYTEST_XDIST_WORKER", None)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """With ``-n``: a file's tests stay together, and so do the files that share what is dear to make."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):  # type: ignore[misc, unused-ignore]
        def _split_scope(self, nodeid: str) -> str:
            path = str(super()._split_scope(nodeid))
            return "all kernels compiled" if path.endswith(_SHARE_KERNELS) else path

    return Scheduling(config, log)


class _Watchdog:
    """Ends the process, and says where all threads are, unless it is heard of in time."""

    def __init__(self, stderr: int) -> None:
        self._stderr, self._heard = stderr, 0.0

    def hear(self) -> None:
        """Start the time anew, unless that was done just now."""
        now = time.monotonic()
        if now - self._heard > _OFTEN:
            faulthandler.dump_traceback_later(_SECONDS, exit=True, file=self._stderr)
            self._heard = now


@pytest.fixture(scope="session")
def session_watchdog(pytestconfig: pytest.Config) -> Iterator[_Watchdog]:
    """It writes to the process's own standard error, not to what pytest keeps until the test is over."""
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")
    number = 2
    if capture is not None:
        with capture.global_and_fixture_disabled():
            number = os.dup(2)
    yield _Watchdog(number)
    faulthandler.cancel_dump_traceback_later()
    if number != 2:
        os.close(number)


@pytest.fixture(autouse=True)
def watchdog(session_watchdog: _Watchdog) -> None:
    """A test that hangs says where, in all threads, and takes the process with it."""
    session_watchdog.hear()


@pytest.fixture(scope="session")
def compiling(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compiling]:
    """Kernels that are compiled, beside the tests, for all tests that look at what came of it."""
    pool = ThreadPoolExecutor(2)
    yield Compiling.begin(pool, tmp_path_factory.mktemp("every-kernel"))
    pool.shutdown(cancel_futures=True)


@pytest.fixture(scope="session")
def every_kernel(compiling: Compiling) -> Compiled:
    """All of them, for this machine."""
    return compiling.here.result()


@pytest.fixture(scope="module")
def all_ahead(request: pytest.FixtureRequest) -> Iterator[Ahead]:
    """What is done ahead of the selected tests of a file, in their order."""
    made = Ahead([item for item in request.session.items if item.path == request.path], _SECONDS)
    yield made
    made.close()


@pytest.fixture
def done(request: pytest.FixtureRequest, all_ahead: Ahead) -> Done:
    """What was done ahead of this test."""
    return lambda: all_ahead.result(request.node)
