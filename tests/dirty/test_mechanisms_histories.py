"""Three real programs under all mechanisms: every window's pages are the history's, every count is the plain twins'."""

from functools import cache

import numpy as np
import pytest

from npt import Prot, PteFormat, Reservoir, Vcpu, VmSpace
from npt.dirty.mechanisms import DirtyBits, DirtyRing, Events, PageModificationLog, Tracking, WriteProtect
from npt.studies.history import History
from tests.dirty.observers import PlainLog, PlainProtect, PlainRing, PlainScan
from tests.space.scene import PAGE, SIZE, bits

pytestmark = pytest.mark.slow
RINGS = [(4096, 0), (256, 64), (100, 0)]
PARTS = 1024  # pages that are cleared at a time, where a window is not harvested
NAMES = ["write-protect", "pml", "dirty-bits", "ring-4096", "ring-256-64", "ring-100"]


def parts(window: int, n_pages: int) -> list[tuple[int, int]]:
    """What is cleared after a collect; nothing where the window is harvested."""
    return [] if window % 4 < 3 else [(first, min(PARTS, n_pages - first)) for first in range(0, n_pages, PARTS)]


@cache
def counted(name: str) -> dict[str, dict[str, int]]:
    """Events of every mechanism, by its plain twin; writes are done by two vCPUs in turn, and reads change nothing."""
    history = History.load(name)
    n = history.pages.size
    twins = [PlainProtect(n, 2), PlainLog(n, 2), PlainScan(n, 2, set(range(n))), *(PlainRing(n, 2, *ring) for ring in RINGS)]
    for window in range(history.n_windows):
        pages = history.written(window).tolist()
        for twin in twins:
            twin.run(0, [])
            twin.run(window % 2, pages)
            if not parts(window, n):
                assert twin.harvest() == set(pages)
                continue
            assert twin.collect() == set(pages)
            for part in parts(window, n):
                twin.clear(*part)
    return dict(zip(NAMES, (twin.events for twin in twins), strict=True))


@pytest.mark.parametrize("name", ["sort", "sqlite", "xz"])
def test_history__every_window(form: PteFormat, name: str) -> None:
    """The pages that the history says, for all mechanisms alike, and exact counts."""
    history = History.load(name)
    n = history.pages.size
    with Reservoir(n * PAGE, backed=False) as reservoir, VmSpace(SIZE, format=form, reservoir=reservoir) as space:
        with reservoir.allocate(n * PAGE) as ram:
            space.map(ram, 0, n * PAGE, Prot.RW)
        space.populate(0, n * PAGE)
        space.set_tracking(True)
        mechanisms = [WriteProtect(), PageModificationLog(), DirtyBits(), *(DirtyRing(*ring) for ring in RINGS)]
        vcpus = [Vcpu(space.client(), cpu=cpu, tlb=tlb) for cpu, tlb in ((0, 0), (1, 64))]
        tracking = Tracking(space, 0, n * PAGE, mechanisms, vcpus)
        for window in range(history.n_windows):
            tracking.run(0, history.read(window) * PAGE)
            tracking.run(window % 2, history.written(window) * PAGE, write=True)
            found = tracking.collect() if parts(window, n) else tracking.harvest()
            for part in parts(window, n):
                tracking.clear(*part)
            assert bits(found) == sorted(history.written(window).tolist()), f"window {window}"
        assert {kind: events._asdict() for kind, events in tracking.events.items()} == counted(name)
        assert sum(tracking.events.values(), Events()).faults == 4 * history.write_pages.size
        assert np.count_nonzero(space.peek_dirty(0, n * PAGE)) == 0
