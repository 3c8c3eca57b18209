"""Work that is split over threads: each part once, errors and interrupts, helpers that are busy, forks, the collector."""

import gc
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest

import npt
from npt import _collector, _threads
from npt._threads import share
from tests.forms import own_helpers
from tests.interrupts.interrupt import KINDS

ROOT = Path(npt.__file__).parents[1]
SECONDS = 60  # after which a process hangs, for certain


@pytest.fixture(autouse=True)
def helpers() -> Iterator[list[threading.Thread]]:
    """Each test has helpers of its own, if it needs some, and ends them."""
    with own_helpers() as made:
        yield made


class Parts:
    """What was done, by whom, and how many others than who made this are at it."""

    def __init__(self, expected: int = 1) -> None:
        self.done: list[tuple[int, int]] = []
        self.threads: set[threading.Thread] = set()
        self.running = 0
        self._caller = threading.current_thread()
        self._start, self._lock = threading.Barrier(expected), threading.Lock()

    def work(self, start: int, stop: int) -> None:
        """A part; at first threads wait for each other."""
        with self._lock:
            self.running += threading.current_thread() is not self._caller  # who may be interrupted anywhere
            is_new = threading.current_thread() not in self.threads
            self.threads.add(threading.current_thread())
        if is_new and self._start.parties > 1:
            self._start.wait(10)
        with self._lock:
            self.done.append((start, stop))
            self.running -= threading.current_thread() is not self._caller

    def check(self, n: int, step: int = 1) -> None:
        """Each thing was done once, in parts that begin at multiples of the step, and nothing runs."""
        parts = sorted(self.done)
        assert [parts[0][0], parts[-1][1]] == [0, n]
        assert all(stop == start for (_, stop), (start, _) in pairwise(parts))
        assert all(start % step == 0 and stop > start for start, stop in parts)
        assert self.running == 0


# -- parts --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [1, 7, 512])
@pytest.mark.parametrize("threads", [1, 2, 3, 8])
@pytest.mark.parametrize("n", [1024, 1025, 2047, 4096, 5000, 100_003])
def test_share__each_part_once(n: int, threads: int, step: int) -> None:
    """Nothing is left out or done twice, wherever the range ends."""
    parts = Parts()
    share(parts.work, n, least=512, threads=threads, step=step)
    parts.check(n, step)
    assert len(parts.done) == (1 if threads == 1 else min(4 * min(threads, n // 512), n // 512))


@pytest.mark.parametrize("n", [0, 1, 1023])
def test_share__what_is_too_small_is_not_split(n: int, helpers: list[threading.Thread]) -> None:
    """One call, here; also where there is nothing to do."""
    parts = Parts()
    share(parts.work, n, least=512, threads=4)
    assert parts.done == [(0, n)]
    assert parts.threads == {threading.current_thread()}
    assert not helpers


@pytest.mark.parametrize("threads", [2, 3])
def test_share__as_many_threads_as_it_is_told(threads: int) -> None:
    """They are at it together, and no more of them."""
    parts = Parts(threads)
    share(parts.work, 4096, least=1, threads=threads)
    parts.check(4096)
    assert len(parts.threads) == threads


def test_share__several_callers_at_once() -> None:
    """Each gets its own parts done."""
    callers = [Parts() for _ in range(6)]

    def call(parts: Parts) -> None:
        for _ in range(50):
            parts.done.clear()
            share(parts.work, 1000, least=1, threads=3)
            parts.check(1000)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(call, callers))


def test_share__within_a_part() -> None:
    """Parts may share work again, in any thread: who waits for it does it."""
    inner: list[Parts] = []

    def work(start: int, stop: int) -> None:
        parts = Parts()
        share(parts.work, 100, least=1, threads=3)
        parts.check(100)
        inner.append(parts)

    share(work, 64, least=1, threads=16)
    assert len(inner) == 64


def test_share__while_the_helpers_are_busy() -> None:
    """Nobody comes to help: the caller does everything, and does not wait for them."""
    over = threading.Event()
    _threads._ask(lambda: assert_waits(over), 2)
    parts = Parts()
    share(parts.work, 1000, least=1, threads=3)
    over.set()
    parts.check(1000)
    assert parts.threads == {threading.current_thread()}


def assert_waits(event: threading.Event) -> None:
    """For a while at most."""
    assert event.wait(10)


def test_share__makes_no_more_helpers_than_there_may_be(helpers: list[threading.Thread]) -> None:
    """Whatever the caller says; and none that is not needed."""
    share(lambda start, stop: None, 2, least=1, threads=10**9)
    assert len(helpers) == 1
    share(lambda start, stop: None, 10_000, least=1, threads=10**9)
    assert len(helpers) == 32
    share(lambda start, stop: None, 10_000, least=1, threads=2)
    assert len(helpers) == 32


# -- errors and interrupts ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", ["caller", "helper"])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_share__raises_what_a_part_raised(who: str, error: type[BaseException]) -> None:
    """Whoever did the part; and nothing runs when it is raised."""
    parts, caller = Parts(2), threading.current_thread()

    def work(start: int, stop: int) -> None:
        parts.work(start, stop)
        if (threading.current_thread() is caller) == (who == "caller"):
            raise error("fails")

    with pytest.raises(error, match="fails"):
        share(work, 100, least=1, threads=2)
    done = list(parts.done)
    assert parts.running == 0
    share(Parts().work, 100, least=1, threads=2)
    assert parts.done == done


def test_share__waits_for_parts_under_way() -> None:
    """The caller's part fails at once, another's goes on for a while: the error comes after that."""
    caller, begun, ended = threading.current_thread(), threading.Event(), threading.Event()
    done: list[str] = []

    def work(start: int, stop: int) -> None:
        if threading.current_thread() is caller:
            assert begun.wait(10)
            threading.Timer(0.02, ended.set).start()
            raise ValueError("fails")
        begun.set()
        ended.wait(10)
        done.append("helped")

    with pytest.raises(ValueError, match="fails"):
        share(work, 100, least=1, threads=2)
    assert done == ["helped"]


INTERRUPTS = """
import faulthandler, gc
from itertools import count
from npt import _collector
from npt._threads import share
from tests.interrupts.interrupt import interrupted
from tests.test_threads_sharing import Parts

faulthandler.dump_traceback_later(20, exit=True)
share(Parts().work, 100, least=1, threads=2)  # the helper is there
through = 0  # times without an interrupt, one after the other: how many places there are depends on who does which part
for n in count(1):
    parts = Parts()
    outcome = interrupted(lambda: share(parts.work, 100, least=1, threads=2), {kind!r}, n)
    assert outcome is not False, f"the interrupt at place {n} was swallowed"
    done = list(parts.done)
    assert parts.running == 0 and len(done) == len(set(done)), n
    again = Parts()
    share(again.work, 100, least=1, threads=2)
    again.check(100)
    assert parts.done == done, n
    assert not _collector._tokens, n
    through = 0 if outcome else through + 1
    if through == 40:
        break
parts.check(100)
assert n > 5
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_share__interrupted_anywhere(kind: str) -> None:
    """It is raised, nothing runs afterwards, the collector is as before; the next call works. By itself: it might hang."""
    run(INTERRUPTS.replace("{kind!r}", repr(kind)))


# -- the collector ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("was_on", [True, False])
def test_share__leaves_the_collector_as_it_was(was_on: bool, fails: bool) -> None:
    """Off while work is split; then on again only if it was on."""
    seen: list[bool] = []

    def work(start: int, stop: int) -> None:
        seen.append(gc.isenabled())
        if fails:
            raise ValueError("fails")

    gc.enable() if was_on else gc.disable()
    try:
        try:
            share(work, 100, least=1, threads=2)
        except ValueError:
            assert fails
        assert gc.isenabled() == was_on
    finally:
        gc.enable()
    assert set(seen) == {False}


def test_collector__is_on_when_the_last_is_done() -> None:
    """Two at once, the first to come is the first to go."""
    first, second = _collector.paused(), _collector.paused()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert not gc.isenabled()
    second.__exit__(None, None, None)
    assert gc.isenabled()


FINALIZER = """
import faulthandler, gc, threading
from npt import NPT, Prot, Reservoir, VmSpace, kernels
from npt.table import tree
from tests.forms import Form, forced

faulthandler.dump_traceback_later(20, exit=True)
PAGE, N = 0x1000, 16
with Reservoir(N * 512 * PAGE, backed=False) as reservoir, reservoir.allocate(N * 512 * PAGE) as ram:
    with VmSpace(1 << 40, format=NPT, track_dirty=True) as space, forced(Form(threads=3)) as seen:
        space.map(ram, 0, ram.length, Prot.RW)
        space.populate(0, ram.length)
        looked = []

        class Garbage:
            def __init__(self):
                self.ring = self

            def __del__(self):
                looked.append(space.peek_dirty(0, PAGE))

        kernel = kernels.dirty.harvest_still

        def harvest(*arguments):
            for _ in range(100):
                Garbage()
                [[] for _ in range(100)]
            return kernel(*arguments)

        kernels.dirty.harvest_still = harvest
        gc.set_threshold(5, 1, 1)
        for _ in range(20):
            space.set_dirty(0, ram.length)
            space.track_dirty(0, ram.length)
        assert seen.helped > 20, seen.helped
        gc.collect()
        assert looked
"""


def run(code: str) -> None:
    """In a process of its own, that must end well."""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
def test_collector__finalizer_wants_the_lock_of_who_shares() -> None:
    """Garbage that looks at the space, made in parts in all threads: its finalizers wait for no lock of ours."""
    run(FINALIZER)


# -- forks --------------------------------------------------------------------------------------------------------------

FORK = """
import faulthandler, os, signal, threading, warnings
from npt._threads import share

faulthandler.dump_traceback_later(20, exit=True)
warnings.simplefilter("ignore", DeprecationWarning)

def split():
    done, threads = [], set()
    start = threading.Barrier(2)
    def work(first, end):
        if threading.current_thread() not in threads:
            threads.add(threading.current_thread())
            start.wait(10)
        done.append((first, end))
    share(work, 1000, least=1, threads=2)
    assert sum(end - first for first, end in done) == 1000
    assert len(threads) == 2

split()
over = threading.Event()
def go_on():
    while not over.is_set():
        split()
beside = threading.Thread(target=go_on)
if {beside}:
    beside.start()
for _ in range(10):
    pid = os.fork()
    if not pid:
        signal.alarm(10)
        try:
            import gc
            assert gc.isenabled()
            split()
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
    split()
over.set()
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.parametrize("beside", [False, True], ids=["idle", "beside another caller"])
def test_share__after_a_fork(beside: bool) -> None:
    """The child makes helpers of its own, with the collector on; the parent's works on."""
    run(FORK.replace("{beside}", str(beside)))
