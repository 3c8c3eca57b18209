"""Planted faults are found, each by the schedule that is kept for it."""

import json

import pytest

from npt.testing import ScenarioFailed, ScheduleMismatch
from tests.ahead import Done, ahead
from tests.interleavings.fault import KEPT, Fault, kept
from tests.interleavings.faults import FAULTS
from tests.interleavings.renew import find
from tests.interleavings.scenario import variant, variants

RENEW = "; if the code has changed, step numbers have shifted: python -m tests.interleavings.renew"


def _failure(fault: Fault, schedule: list[int]) -> ScenarioFailed | None:
    """What becomes of the fault's scenario under a schedule."""
    with fault.planted() as twins:
        try:
            variant(fault.variant).play(schedule, twins)
        except ScheduleMismatch as mismatch:
            pytest.fail(f"{mismatch}{RENEW}")
        except ScenarioFailed as failure:
            return failure
    return None


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_fault__is_found_by_the_schedule_that_is_kept(fault: Fault) -> None:
    """And for the reason that it should be."""
    schedule = kept().get(fault.name)
    assert schedule is not None, f"no schedule is kept for {fault.name!r}{RENEW}"
    failure = _failure(fault, schedule)
    assert failure is not None, f"the schedule does not find {fault.name!r}{RENEW}"
    assert fault.explains(failure), f"{failure}\nis not what {fault.name!r} does{RENEW}"


def search(fault: Fault) -> tuple[bool, str]:
    """Whether what a search finds is the fault, and what it is."""
    failure = find(fault)
    return fault.explains(failure), str(failure)


@pytest.mark.slow
@ahead(search)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_fault__is_found_by_a_search(fault: Fault, done: Done) -> None:
    """With as few preemptions as will do, from nothing."""
    explained, failure = done()
    assert explained, failure


def test_faults__are_found_by_scenarios_that_hold_without_them() -> None:
    """Each of their scenarios is one that ``test_scenarios.py`` runs without a fault."""
    assert {fault.variant for fault in FAULTS} <= {str(one) for one in variants()}


def test_faults__have_one_schedule_each() -> None:
    """None is left of a fault that is gone."""
    assert list(json.loads(KEPT.read_text())) == [fault.name for fault in FAULTS]
