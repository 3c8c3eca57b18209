"""The engine against the oracle, step by step, in every form that its work can take."""

import pytest
from hypothesis import given, settings
from hypothesis.stateful import run_state_machine_as_test

import npt
from npt.testing import Call, Duel, Oracle
from npt.testing.machines import machine
from npt.testing.strategies import operations
from tests.forms import FORMS, forced

EXAMPLES, STEPS = 4, 30


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("format", ["EPT", "NPT"])
def test_machine__engine_and_oracle_agree(format: str, form: str) -> None:
    """After each of many steps: entries, references, counts, generations, bitmaps, bytes."""
    made = machine(format=format)
    more = settings().max_examples // settings.get_profile("ci").max_examples
    with forced(FORMS[form]):
        run_state_machine_as_test(made, settings=settings(max_examples=EXAMPLES * max(more, 1), stateful_step_count=STEPS))
    assert made.n_facts > 1000


@given(calls=operations("NPT", most=20))
@settings(max_examples=15)
def test_operations__are_calls_on_which_both_agree(calls: list[Call]) -> None:
    """What the strategy draws is played on the engine and the oracle."""
    duel = Duel(Oracle(), npt)
    for call in calls:
        duel.play(call)
    assert duel.compare() > 20
