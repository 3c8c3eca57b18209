"""Events add up, and costs turn them into time."""

import pickle
from typing import Any

import numpy as np
import pytest

from npt import InvalidArgument
from npt.dirty.mechanisms import COSTS, Costs, Events

ONE = Events(1, 2, 3, 4, 5, 6, 7)


def test_events__add_and_subtract_by_element() -> None:
    """They are not joined as tuples are."""
    assert Events(2, 4, 6, 8, 10, 12, 14) == ONE + ONE
    assert ONE + ONE - ONE == ONE
    assert ONE - Events() == ONE
    assert sum([ONE, ONE], Events()) == ONE + ONE


@pytest.mark.parametrize("other", [1, (1, 2, 3, 4, 5, 6, 7), None])
def test_events__only_with_events(other: Any) -> None:
    """A number, or a plain tuple, is a mistake."""
    with pytest.raises(TypeError):
        ONE + other
    with pytest.raises(TypeError):
        ONE - other


def test_costs__each_event_has_its_own() -> None:
    """A thousand of each, at costs that tell them apart."""
    costs = Costs(1, 10, 100, 1e3, 1e4, 1e5, 1e6)
    assert costs.stall_ns(Events(*[3] * 7)) == 3_333_333
    for n, name in enumerate(Events._fields):
        assert costs.stall_ns(Events(**{name: 2})) == 2 * 10**n
    assert costs.stall_ns(Events()) == 0


def test_costs__what_is_not_told_is_free() -> None:
    """A table may be about a few events only."""
    assert Costs(faults=2.5).stall_ns(ONE) == 2.5
    assert Costs().stall_ns(ONE) == 0


@pytest.mark.parametrize("cost", [-1, float("nan"), float("inf"), np.float64(-0.5)])
def test_costs__refuses_what_is_no_cost(cost: float) -> None:
    """Negative, or no number at all."""
    for name in Events._fields:
        with pytest.raises(InvalidArgument, match=name):
            Costs(**{name: cost})  # type: ignore[arg-type]


@pytest.mark.parametrize("cost", ["1", None, True, np.True_, 1j, [1]])
def test_costs__refuses_other_types(cost: Any) -> None:
    """A cost is a number."""
    with pytest.raises(TypeError, match="pte_reads"):
        Costs(pte_reads=cost)


def test_costs__other_arguments() -> None:
    """The source is a text; only events have a cost."""
    with pytest.raises(TypeError):
        Costs(source=1)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        Costs().stall_ns((1, 2, 3, 4, 5, 6, 7))  # type: ignore[arg-type]


def test_costs__numbers_of_numpy_are_welcome() -> None:
    """They are kept as floats of Python."""
    costs = Costs(faults=np.int64(3), flushes=np.float32(0.5))  # type: ignore[arg-type]
    assert (type(costs.faults), costs.faults, type(costs.flushes)) == (float, 3.0, float)
    assert pickle.loads(pickle.dumps(costs)) == costs


@pytest.mark.parametrize("name", list(COSTS))
def test_examples__say_where_they_are_from(name: str) -> None:
    """Two tables from what others measured, each with its page; a fault costs a microsecond or a few."""
    assert len(COSTS) == 2
    assert "://" in COSTS[name].source
    assert 1000 < COSTS[name].faults < 3000


def test_examples__are_what_their_sources_say() -> None:
    """Microseconds by exits, and milliseconds by faults, in whole nanoseconds."""
    x86, arm64 = COSTS["kvm-x86"], COSTS["kvm-arm64"]
    assert [round(x86.stall_ns(Events(**{name: 1}))) for name in Events._fields] == [1914, 1390, 3284, 0, 0, 1390, 0]
    assert [round(arm64.stall_ns(Events(**{name: 1}))) for name in Events._fields] == [1766, 0, 0, 0, 0, 0, 0]


def test_examples__cannot_be_changed() -> None:
    """They are everybody's."""
    with pytest.raises(TypeError):
        COSTS["mine"] = Costs()  # type: ignore[index]
    with pytest.raises(AttributeError):
        COSTS["kvm-x86"].faults = 1.0  # type: ignore[misc]
