"""Exits of logs and rings, where one vCPU writes pages once each: the formulas."""

import numpy as np
import pytest

from npt import PteFormat, Reservoir, Vcpu, VmSpace
from npt.dirty.mechanisms import DirtyRing, Events, PageModificationLog, Tracking, WriteProtect
from tests.dirty.watched import Watched
from tests.space.scene import PAGE, SIZE, map_at

SIZES = [1, 511, 512, 513, 262_144]
RINGS = [(1, 0), (512, 0), (513, 1), (1000, 1), (4096, 64), (65_536, 576), (262_144, 0), (300_000, 5), (10**30, 0)]
LOGS = [1, 2, 513, 262_144, 10**30]


@pytest.mark.parametrize("n", SIZES)
def test_formulas__of_exits(form: PteFormat, n: int) -> None:
    """N first writes are (N - 1) // 512 exits of a log, and N // (size - reserved) of a ring."""
    reservoir = Reservoir(n * PAGE, backed=False)
    with VmSpace(SIZE, format=form, reservoir=reservoir, track_dirty=True) as space:
        map_at(space, reservoir.allocate(n * PAGE), 0)
        space.populate(0, n * PAGE)
        log, protect, rings = PageModificationLog(), WriteProtect(), [DirtyRing(*ring) for ring in RINGS]
        logs = [PageModificationLog(entries=entries) for entries in LOGS]
        tracking = Tracking(space, 0, n * PAGE, [log, protect, *logs, *rings], [Vcpu(space.client())])
        tracking.run(0, np.random.default_rng(n).permutation(n).astype(np.uint64) * np.uint64(PAGE), write=True)
        assert log.events == Events(log_full_exits=(n - 1) // 512, flushes=1)
        assert [one.events.log_full_exits for one in logs] == [(n - 1) // entries for entries in LOGS]
        assert protect.events == Events(faults=n, pte_reads=n, pte_writes=n, flushes=1)
        for ring, (size, reserved) in zip(rings, RINGS, strict=True):
            exits = n // (size - reserved)
            touched = n + exits * (size - reserved)
            assert ring.events == Events(n, 0, exits, touched, touched, exits, 1), ring.name
        collected = log.events
        assert int(np.bitwise_count(tracking.collect()).sum()) == n
        assert log.events == collected  # what a collect drains is no exit


def test_events__add_up() -> None:
    """Also by ``sum`` without a start; a number is not Events."""
    one, two = Events(faults=1, flushes=2), Events(faults=10, pte_reads=5)
    assert sum([one, two]) == one + two == Events(faults=11, pte_reads=5, flushes=2)
    assert one + two - two == one
    with pytest.raises(TypeError):
        one + 0
    with pytest.raises(TypeError):
        1 + one


def test_formulas__each_vcpu_has_its_own(form: PteFormat) -> None:
    """513 pages of one vCPU are an exit, 512 and 512 of two are none, and a ring of 512 each is full twice."""
    with Watched(form, 2000, n_vcpus=3, rings=[(512, 0), (513, 0)]) as watched:
        watched.run(0, range(513))
        watched.run(1, range(1000, 1512))
        watched.run(2, range(1512, 2000))
        assert watched.counts("pml") == {"log_full_exits": 1, "flushes": 3}
        assert watched.counts("ring-512")["ring_full_exits"] == 2
        assert watched.counts("ring-513")["ring_full_exits"] == 1
        assert len(watched.collect()) == 513 + 512 + 488
        watched.check()


def test_log__is_drained_when_an_entry_is_due(form: PteFormat) -> None:
    """Full is not enough: the exit comes with the 513th page, whatever is written again meanwhile."""
    with Watched(form, 600) as watched:
        watched.run(0, list(range(512)) * 2)
        assert watched.counts("pml") == {"flushes": 1}
        watched.run(0, [512])
        assert watched.counts("pml") == {"log_full_exits": 1, "flushes": 1}
        watched.harvest()
        watched.run(0, range(512))
        assert watched.counts("pml")["log_full_exits"] == 1
        watched.check()
