"""Hypothesis profiles: quick and random for people, repeatable for CI, long for the night. And a watchdog."""

import faulthandler
import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

_SECONDS = 3600 if os.environ.get("NPT_LONG") else 300  # of one test

settings.register_profile("dev", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.register_profile("nightly", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "dev"))


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
