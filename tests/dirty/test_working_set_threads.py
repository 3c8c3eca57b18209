"""Working sets beside vCPUs in other threads: every use is in a sample, or still in the entries."""

import os
import sys
import threading
import warnings
from collections.abc import Iterator

import numpy as np
import pytest

from npt import EPT, NPT, PteFormat, Vcpu
from npt.dirty.working_set import WorkingSet, idle
from tests.dirty.usage_scene import BASE, PAGE, guest
from tests.space.scene import bits
from tests.threads.crew import Crew, crew

pytestmark = pytest.mark.slow
N = 600
ROUNDS = 20


@pytest.fixture(autouse=True)
def turns() -> Iterator[None]:
    """Threads take turns more often than they would: they meet in more places."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    yield
    sys.setswitchinterval(before)


@pytest.fixture(params=[EPT, NPT], ids=["ept", "npt"])
def form(request: pytest.FixtureRequest) -> PteFormat:
    """Each entry format in turn."""
    assert isinstance(request.param, PteFormat)
    return request.param


@pytest.mark.parametrize("tlb", [0, 128])
def test_beside_a_vcpu__each_pass_is_sampled(form: PteFormat, tlb: int) -> None:
    """What a vCPU used between two samples is in the second, or in a later one if it ran on."""
    with guest(form, N) as machine:
        working_set = WorkingSet(machine.space, *machine.range)
        gpas = BASE + np.arange(N, dtype=np.uint64) * np.uint64(PAGE)
        passes = [0]

        def use(team: Crew) -> None:
            vcpu = Vcpu(machine.space.client(), tlb=tlb)
            while team.working:
                vcpu.run(gpas)
                passes[0] += 1

        with crew(use) as team:
            for _ in range(ROUNDS):
                begun = passes[0]
                while team.working and passes[0] < begun + 2:  # one whole pass since the last sample
                    pass
                assert working_set.sample().accessed == N
        samples = working_set.samples
        working_set.sample()
        assert [s.new for s in samples] == [N] + [0] * (ROUNDS - 1)
        assert working_set.reuse().tolist()[1] >= N * (ROUNDS - 1)
        assert bits(machine.space.accessed(*machine.range)) == []


def test_two_samplers__share_what_was_used(form: PteFormat) -> None:
    """Each use is in exactly one sample, whoever takes it; numbers come once, and times only go forward."""
    with guest(form, N) as machine:
        working_set = WorkingSet(machine.space, *machine.range)
        n_read = 7 * ROUNDS

        def sample(team: Crew) -> None:
            for _ in range(ROUNDS):
                working_set.sample()

        with crew(sample, sample) as team:
            for page in range(n_read):
                machine.read([page])
            while team.busy(0) or team.busy(1):
                pass
        working_set.sample()
        samples = working_set.samples
        assert [s.number for s in samples] == list(range(1, 2 * ROUNDS + 2))
        assert sum(s.accessed for s in samples) == sum(s.new for s in samples) == n_read
        assert [s.time_ns for s in samples] == sorted(s.time_ns for s in samples)
        assert bits(working_set.pages()) == list(range(n_read))


def test_idle__beside_unmaps(form: PteFormat) -> None:
    """A page that stays and is not used always is; those that come and go never are on nPT, which marks them at once."""
    with guest(form, 32) as machine:
        machine.unmap(0)

        def remap(team: Crew) -> None:
            while team.working:
                machine.map(0, 16)
                machine.space.populate(BASE, 16 * PAGE)
                machine.unmap(0)
            machine.map(0, 16)

        machine.space.accessed(*machine.range, clear=True)
        with crew(remap):
            for _ in range(40 * ROUNDS):
                found = bits(idle(machine.space, *machine.range))
                assert found[-16:] == list(range(16, 32))
                if form is NPT:
                    assert len(found) == 16


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_fork__a_child_may_ask(form: PteFormat) -> None:
    """Even if another thread was entering a sample: the lock of a forked child is a new one."""
    with guest(form, 8) as machine:
        working_set = WorkingSet(machine.space, *machine.range)
        machine.read([1, 2])
        working_set.sample()
        taken, over = threading.Event(), threading.Event()

        def keep(team: Crew) -> None:
            with working_set._lock:
                taken.set()
                over.wait(60)

        with crew(keep):
            assert taken.wait(60)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside threads: that is the point
                child = os.fork()
            if not child:
                os._exit(working_set.size())
            over.set()
            _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 2
