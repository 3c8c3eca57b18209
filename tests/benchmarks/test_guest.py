"""What is measured beside a vCPU is beside one, and what is measured on a guest finds it as it should be."""

from collections.abc import Iterator

import numpy as np
import pytest

from benchmarks import running as module
from benchmarks.guest import Guest
from benchmarks.running import Running
from npt import EPT, NPT, PteFormat

SIZE = 8 << 20


@pytest.fixture(params=[EPT, NPT], ids=["ept", "npt"])
def guest(request: pytest.FixtureRequest) -> Iterator[Guest]:
    """A small one."""
    format: PteFormat = request.param
    made = Guest(format, SIZE)
    yield made
    made.close()


def test_running__is_kicked_by_each_harvest(guest: Guest) -> None:
    """It is in the tables when it says so, comes back, and is gone when it was stopped."""
    with Running(guest) as running:
        for _ in range(5):
            running.ready()
            kicks = guest.space.counters.kicks
            guest.space.track_dirty(0, guest.size)
            assert guest.space.counters.kicks > kicks or not running.there()
    kicks = guest.space.counters.kicks
    guest.space.track_dirty(0, guest.size)
    assert guest.space.counters.kicks == kicks
    assert guest.space.peek_dirty(guest.size, guest.space.size - guest.size).any()


def test_running__leaves_what_is_worked_on_alone(guest: Guest) -> None:
    """Not one dirty page."""
    with Running(guest) as running:
        running.ready()
    guest.check_clean()


@pytest.fixture
def still(guest: Guest) -> Iterator[Running]:
    """One that is inside without running, so that nothing happens but what the test does."""
    running = Running(guest)
    running._vcpu.client.gate.inside = running
    yield running
    running._vcpu.client.gate.inside = None


def test_running__says_when_it_was_out(still: Running) -> None:
    """A new run began; asked again to be ready, it is."""
    still.ready()
    assert still.there()
    still._runs += 1
    assert not still.there()
    still.ready()
    assert still.there()


def test_running__of_a_long_work_its_start_counts(still: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs end meanwhile, and others begin."""
    still.ready()
    still._runs += 1
    monkeypatch.setattr(module, "_LONG", 0)
    assert still.there()


def test_running__is_waited_for(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not for ever."""
    monkeypatch.setattr(module, "_PATIENCE", 0)
    with pytest.raises(AssertionError, match="did not come into the tables"):
        Running(guest).ready()


def test_guest__states(guest: Guest) -> None:
    """Each from whatever it was."""
    guest.mapped()
    assert not guest.leaves().any()
    guest.resident()
    guest.check_fresh(guest.n_pages)
    guest.unmapped()
    guest.unmapped()
    assert len(guest.space.mappings) == 1
    guest.resident()
    guest.check_fresh(guest.n_pages)
    with pytest.raises(AssertionError):
        guest.check_gone(None)


@pytest.mark.parametrize(("share", "how", "n"), [(0, "random", 0), (0.1, "random", 205), (1, "random", 2048)])
def test_guest__some_pages(guest: Guest, share: float, how: str, n: int) -> None:
    """As many as asked for."""
    assert np.bitwise_count(guest.some(share, how)).sum() == n


def test_guest__clusters(guest: Guest) -> None:
    """Of 1 MiB, aligned; one at least, if any."""
    clusters = guest.some(0.3, "clustered").reshape(-1, 32)
    assert np.array_equal(clusters.min(axis=1), clusters.max(axis=1))
    assert (clusters[:, 0] == 0xFF).sum() == 2
    assert np.bitwise_count(guest.some(0.001, "clustered")).sum() == 256


def test_guest__checks_see_a_dirty_page(guest: Guest) -> None:
    """Otherwise they would pass by looking at nothing."""
    pages = guest.some(0.1)
    guest.dirty(pages)
    with pytest.raises(AssertionError):
        guest.check_clean()
    with pytest.raises(AssertionError):
        guest.check_harvest(guest.some(0.2))(guest.space.track_dirty(0, guest.size))
