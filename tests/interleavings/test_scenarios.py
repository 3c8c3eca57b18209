"""The protocol under all schedules with two preemptions, or as many as CI can bear (``scenario.py`` says which)."""

import pytest

from npt import EPT
from tests.interleavings.scenario import LONG, Variant, variants


@pytest.mark.slow
@pytest.mark.parametrize("variant", variants(), ids=str)
def test_scenario__holds_under_every_schedule(variant: Variant) -> None:
    """Nothing goes wrong, and everything that may happen does in some schedule."""
    seen: set[str] = set()
    explored = variant.run(seen) if LONG or variant.sampled is None else variant.run_some(seen)
    assert explored.complete
    assert explored.schedules > 1
    assert seen == variant.outcomes


@pytest.mark.slow
@pytest.mark.parametrize("variant", [one for one in variants() if LONG or one.form is EPT], ids=str)
def test_scenario__holds_with_switches_everywhere(variant: Variant) -> None:
    """Also before operations on what looks like one thread's own; with one preemption."""
    assert variant.run(set(), preemptions=1, reduce=False).complete


@pytest.mark.slow
@pytest.mark.parametrize("variant", [one for one in variants() if one.small and (LONG or one.form is EPT)], ids=str)
def test_scenario__is_sound_after_each_step(variant: Variant) -> None:
    """What holds in the middle of calls, too, does; with one preemption, since a look takes longer than a step."""
    assert variant.run(set(), preemptions=2 if LONG else 1, each_step=True).complete
