"""The oracles of dirty bits in every form that the work on leaf tables takes: few rounds of each; all with ``NPT_LONG=1``.

The small guests of these oracles are split over threads like large ones, scanned in full, and harvested with atomics where
nobody is inside. Those of A go with them: the same kernels clear both marks.
"""

from collections.abc import Iterator

import numpy as np
import pytest

from npt import EPT, NPT, PteFormat, Vcpu
from tests.forms import FORMS, Seen, forced
from tests.threads import test_dirty_calls as calls
from tests.threads import test_toggling as toggling
from tests.threads.crew import LONG
from tests.threads.rounds import FIRST, PAGE, WAYS, Bools
from tests.threads.test_accesses import readings
from tests.threads.test_iterations import rounds
from tests.threads.test_migration import PATTERNS, migration, stint

pytestmark = pytest.mark.slow
ALL = LONG > 1
NAMES = [name for name in FORMS if name != "as it is"]  # that one is what all other tests here are about
EVERY_WAY = {**WAYS, **calls.MORE}


@pytest.fixture(params=NAMES)
def seen(request: pytest.FixtureRequest) -> Iterator[Seen]:
    """Each form in turn; afterwards, that it was taken."""
    wanted = FORMS[request.param]
    with forced(wanted) as seen:
        yield seen
    assert any(seen.calls.values())
    assert wanted.still or not seen.calls["harvest_still"]
    assert (seen.helped > 0) == (wanted.threads is not None)


PAIRS = [(EPT, 0), (NPT, 64), (EPT, 64), (NPT, 0)][: None if ALL else 2]
of_each_kind = pytest.mark.parametrize(("form", "tlb"), PAIRS, ids=[f"{form.name}-{tlb}" for form, tlb in PAIRS])


@of_each_kind
def test_forms__migration(seen: Seen, form: PteFormat, tlb: int) -> None:
    """A copy made by the log is equal to the guest after each last harvest."""
    with migration(form) as guest:
        vcpu = Vcpu(guest.space.client(), tlb=tlb)
        patterns = PATTERNS[: None if ALL else 1] * LONG
        assert patterns
        for pattern in patterns:
            assert stint(guest, vcpu, pattern, churn=True) == 0


@of_each_kind
def test_forms__accesses(seen: Seen, form: PteFormat, tlb: int) -> None:
    """What was read after a call is in the next ones; what a call reports was read since the one before."""
    with readings(form, tlb) as made:
        for _ in range(2 * LONG):
            made.stint()


@of_each_kind
def test_forms__iterations(seen: Seen, form: PteFormat, tlb: int) -> None:
    """What was written is reported once, by all ways to harvest, beside a vCPU and between its stays."""
    for n_pages in (513, 65) if ALL else (513,):
        with rounds(form, n_pages, tlb) as made:
            for way in EVERY_WAY.values():
                made.beside(3 * LONG, way)
                made.stopped(LONG, way)


@of_each_kind
def test_forms__set_dirty(seen: Seen, form: PteFormat, tlb: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each bit that became set is reported by exactly one harvest."""
    monkeypatch.setattr(calls, "TIMES", 100 * LONG)
    calls.conserve(form, tlb)


@of_each_kind
def test_forms__looks(seen: Seen, form: PteFormat, tlb: int) -> None:
    """What was written before a look is in it, and what comes later is not."""
    with calls.brackets(form, tlb) as made:
        number = parts = 0
        while parts < 10 * LONG:  # looks in the middle of a run
            number += 1
            made.space.populate(FIRST, calls.MANY * PAGE)
            parts += made.run(number, lambda: look(made))
            made.unmap()
            made.map()


def look(made: calls.Brackets) -> Bools:
    """Which pages are dirty."""
    found = made.space.peek_dirty(FIRST, calls.MANY * PAGE)
    return np.unpackbits(found, count=calls.MANY, bitorder="little").astype(np.bool_)


@of_each_kind
def test_forms__toggling(seen: Seen, form: PteFormat, tlb: int) -> None:
    """A write between the return of set_tracking(True) and the call of set_tracking(False) is in a harvest, then or later."""
    with toggling.toggled(form, tlb) as made:
        made.phases(10 * LONG)
