"""The engine against the oracle, step by step, in every form that its work can take."""

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from npt.testing.machines import machine
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
