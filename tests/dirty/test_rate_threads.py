"""Pages sampled while vCPUs write to them and while they are unmapped, in other threads."""

import sys
from collections.abc import Iterator

import numpy as np
import pytest

from npt import EPT, NPT, PteFormat, Vcpu
from npt.dirty.rate import PageSample
from tests.dirty.usage_scene import BASE, PAGE, guest
from tests.threads.crew import Crew, crew

pytestmark = pytest.mark.slow
N = 600
ALL = 1 << 18  # pages a GiB: every page


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


def test_beside_a_vcpu__what_it_wrote_has_changed(form: PteFormat) -> None:
    """Pages written in whole passes since the sample have changed; those never written have not."""
    with guest(form, N) as machine:
        passes = [0]

        def write(team: Crew) -> None:
            vcpu = Vcpu(machine.space.client())
            gpas = BASE + np.arange(0, N, 3, dtype=np.uint64) * np.uint64(PAGE)
            while team.working:
                passes[0] += 1
                vcpu.run(gpas, write=True, values=np.full(gpas.size, passes[0], np.uint64))

        with crew(write) as team:
            for _ in range(10):
                sample, begun = PageSample(machine.space, *machine.range, per_gib=ALL), passes[0]
                while team.working and passes[0] < begun + 2:
                    pass
                rate = sample.compare(1)
                assert (rate.pages, rate.n_pages, rate.gone) == (N // 3, N, 0)


def test_beside_unmaps__what_goes_away_is_told_apart(form: PteFormat) -> None:
    """Half of the pages come and go, during sample and comparison: the other half is right, and no call fails."""
    with guest(form, N) as machine:

        def remap(team: Crew) -> None:
            while team.working:
                machine.unmap(0)
                machine.map(0, N // 2)
                machine.space.populate(BASE, N // 2 * PAGE)

        with crew(remap):
            for number in range(1, 101):
                sample = PageSample(machine.space, *machine.range, per_gib=ALL)
                machine.write(range(N // 2, N, 5), number)
                rate = sample.compare(1)
                assert sample.n_pages in (N // 2, N)
                assert rate.n_pages in (N // 2, N)
                assert (rate.pages, rate.low, rate.high) == (N // 10, N // 10, N // 10)
                assert rate.sampled + rate.gone == sample.n_sampled == sample.n_pages
