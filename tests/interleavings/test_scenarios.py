"""The protocol under all schedules with two preemptions, or as many as CI can bear (``scenario.py`` says which)."""

import pytest

from npt import EPT
from npt.testing import Explored
from tests.ahead import Done, ahead
from tests.interleavings.scenario import LONG, Variant, variants


def every_schedule(variant: Variant) -> tuple[Explored, set[str]]:
    """How far the search came, and what happened."""
    seen: set[str] = set()
    return variant.run(seen) if LONG or variant.sampled is None else variant.run_some(seen), seen


def switches_everywhere(variant: Variant) -> Explored:
    """Also before operations on what looks like one thread's own; with one preemption."""
    return variant.run(set(), preemptions=1, reduce=False)


def looks_after_each_step(variant: Variant) -> Explored:
    """With one preemption, since a look takes longer than a step."""
    return variant.run(set(), preemptions=2 if LONG else 1, each_step=True)


@pytest.mark.slow
@ahead(every_schedule)
@pytest.mark.parametrize("variant", variants(), ids=str)
def test_scenario__holds_under_every_schedule(variant: Variant, done: Done) -> None:
    """Nothing goes wrong, and everything that may happen does in some schedule."""
    explored, seen = done()
    assert explored.complete
    assert explored.schedules > 1
    assert seen == variant.outcomes


@pytest.mark.slow
@ahead(switches_everywhere)
@pytest.mark.parametrize("variant", [one for one in variants() if LONG or one.form is EPT], ids=str)
def test_scenario__holds_with_switches_everywhere(variant: Variant, done: Done) -> None:
    """Nothing goes wrong there either."""
    assert done().complete


@pytest.mark.slow
@ahead(looks_after_each_step)
@pytest.mark.parametrize("variant", [one for one in variants() if one.small and (LONG or one.form is EPT)], ids=str)
def test_scenario__is_sound_after_each_step(variant: Variant, done: Done) -> None:
    """What holds in the middle of calls, too, does."""
    assert done().complete
