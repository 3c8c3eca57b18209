"""Real programs and patterns under all mechanisms: every window's pages are the writer's, every count is the plain twins'."""

from functools import cache
from typing import Any

import numpy as np
import pytest

from npt import Prot, PteFormat, Reservoir, Vcpu, VmSpace
from npt.dirty.mechanisms import DirtyBits, DirtyRing, PageModificationLog, Tracking, WriteProtect
from npt.studies.window import Window
from npt.studies.writers import WRITERS, writer
from tests.dirty.observers import PlainLog, PlainProtect, PlainRing, PlainScan
from tests.space.scene import PAGE, SIZE, bits

pytestmark = pytest.mark.slow
RINGS = [(4096, 0), (256, 64), (100, 0)]
PARTS = 1024  # pages that are cleared at a time, where a window is not harvested
HISTORIES = ["sort", "sqlite", "xz"]
PATTERNS = [f"{name}:pages=3000,windows=12,accesses=5000,write_share=0.7,seed=4" for name in WRITERS]
NAMES = ["write-protect", "pml", "dirty-bits", "ring-4096", "ring-256-64", "ring-100"]


def parts(window: int, n_pages: int) -> list[tuple[int, int]]:
    """What is cleared after a collect; nothing where the window is harvested."""
    return [] if window % 4 < 3 else [(first, min(PARTS, n_pages - first)) for first in range(0, n_pages, PARTS)]


def split(window: Window) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Pages that are read, and those that are written, in order."""
    return window.pages[~window.write].astype(np.int64), window.pages[window.write].astype(np.int64)


@cache
def counted(text: str) -> dict[str, dict[str, int]]:
    """Events of every mechanism, by its plain twin; writes are done by two vCPUs in turn, and reads change nothing."""
    source = writer(text)
    n = source.n_pages
    twins = [PlainProtect(n, 2), PlainLog(n, 2), PlainScan(n, 2, set(range(n))), *(PlainRing(n, 2, *ring) for ring in RINGS)]
    assert source.n_windows
    for number, window in enumerate(source.windows()):
        pages = split(window)[1].tolist()
        for twin in twins:
            twin.run(0, [])
            twin.run(number % 2, pages)
            if not parts(number, n):
                assert twin.harvest() == set(pages)
                continue
            assert twin.collect() == set(pages)
            for part in parts(number, n):
                twin.clear(*part)
    return dict(zip(NAMES, (twin.events for twin in twins), strict=True))


@pytest.mark.parametrize("text", HISTORIES + PATTERNS, ids=lambda text: text.partition(":")[0])
def test_writer__every_window(form: PteFormat, text: str) -> None:
    """The pages that the writer says, for all mechanisms alike, and exact counts."""
    source, faults = writer(text), 0
    n = source.n_pages
    with Reservoir(n * PAGE, backed=False) as reservoir, VmSpace(SIZE, format=form, reservoir=reservoir) as space:
        with reservoir.allocate(n * PAGE) as ram:
            space.map(ram, 0, n * PAGE, Prot.RW)
        space.populate(0, n * PAGE)
        space.set_tracking(True)
        mechanisms = [WriteProtect(), PageModificationLog(), DirtyBits(), *(DirtyRing(*ring) for ring in RINGS)]
        vcpus = [Vcpu(space.client(), cpu=cpu, tlb=tlb) for cpu, tlb in ((0, 0), (1, 64))]
        tracking = Tracking(space, 0, n * PAGE, mechanisms, vcpus)
        for number, window in enumerate(source.windows()):
            read, written = split(window)
            tracking.run(0, read * PAGE)
            tracking.run(number % 2, written * PAGE, write=True)
            found = tracking.collect() if parts(number, n) else tracking.harvest()
            for part in parts(number, n):
                tracking.clear(*part)
            assert bits(found) == np.unique(written).tolist(), f"window {number}"
            faults += np.unique(written).size
        assert {kind: events._asdict() for kind, events in tracking.events.items()} == counted(text)
        assert tracking.events["write-protect"].faults == faults
        assert np.count_nonzero(space.peek_dirty(0, n * PAGE)) == 0
