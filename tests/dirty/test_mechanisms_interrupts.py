"""An interrupt at any place of a call of ``Tracking``: the call happened, or it did not, or all is refused from then on."""

import os
import threading
from collections.abc import Callable
from typing import Any

import pytest

from npt import EPT, NPT, Prot, PteFormat, Reservoir, StaleHandle, Vcpu, VmSpace, warm_up
from npt.dirty.mechanisms import DirtyBits, DirtyRing, PageModificationLog, Tracking, WriteProtect
from tests.interrupts.interrupt import KINDS, interrupted
from tests.space.scene import PAGE, SIZE, TIMEOUT, bits

N_PAGES = 20
CALLS: dict[str, Callable[[Tracking], object]] = {
    "run": lambda t: t.run(0, [0, 7 * PAGE, 8 * PAGE, 9 * PAGE], write=[True, True, False, True]),
    "collect": lambda t: t.collect(),
    "harvest": lambda t: t.harvest(),
    "clear": lambda t: t.clear(1, 5),
    "copy": lambda t: t.copy([1, 4], [0, 50]),
}
FORMATS = {"call": NPT, "line": EPT, "c_return": NPT}
LONG = bool(os.environ.get("NPT_LONG"))  # else only each third place that is not a line


@pytest.fixture(scope="module", autouse=True)
def compiled() -> None:
    """Kernels are compiled in another thread, which no interrupt reaches; the waiting for it is not the subject here."""
    warm_up()


def prepared(space: VmSpace, vcpu: Vcpu) -> Tracking:
    """In the middle of a round: pages reported, written since, copied."""
    mechanisms = [WriteProtect(), DirtyBits(), PageModificationLog(entries=2), DirtyRing(2), DirtyRing(3)]
    tracking = Tracking(space, 0, N_PAGES * PAGE, mechanisms, [vcpu])
    tracking.run(0, [0, PAGE, 2 * PAGE], write=True)
    tracking.collect()
    tracking.copy([2])
    tracking.run(0, [PAGE, 4 * PAGE], write=True)
    return tracking


def outcome(tracking: Tracking) -> Any:
    """All that one can see of it, now and in the next two rounds; by another thread, as no lock may be left behind."""
    seen: list[Any] = []

    def look() -> None:
        try:
            tracking.run(0, [3 * PAGE], write=True)
            seen.append([bits(tracking.collect()), tracking.accesses, tracking.total])
            tracking.clear(0, 3)
            tracking.copy([4], 0)
            tracking.run(0, [4 * PAGE], write=True)
            seen.append([bits(tracking.harvest()), bits(tracking.collect()), tracking.events, tracking.total])
        except StaleHandle:
            seen.append("refused")

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive(), "a lock was left behind"
    return seen


def one(form: PteFormat, work: Callable[[Tracking], object]) -> Any:
    """What comes of it on a guest of its own."""
    with (
        Reservoir(N_PAGES * PAGE, backed=False) as reservoir,
        reservoir.allocate(N_PAGES * PAGE) as ram,
        VmSpace(SIZE, format=form, reservoir=reservoir, track_dirty=True, kick_timeout=TIMEOUT) as space,
    ):
        space.map(ram, 0, N_PAGES * PAGE, Prot.RW)
        tracking = prepared(space, Vcpu(space.client()))
        work(tracking)
        return outcome(tracking)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", CALLS)
def test_interrupt__did_it_or_did_not_or_is_told(name: str, kind: str) -> None:
    """Pages, counts and account are those of a guest where the call was made, or of one where it was not."""
    form, call = FORMATS[kind], CALLS[name]
    good = [one(form, call), one(form, lambda tracking: None), ["refused"]]
    n, happened, seen = 1, True, set[int]()

    def work(tracking: Tracking) -> None:
        nonlocal happened
        raised = interrupted(lambda: call(tracking), kind, n)
        assert raised is not False, "the interrupt was swallowed"
        happened = raised is True

    while happened:
        found = one(form, work)
        assert found in good, f"interrupted at {kind} {n}"
        seen.add(good.index(found))
        n += 1 if kind == "line" or LONG else 3
    assert n > 10
    assert seen == {0, 1, 2} or kind != "line"
