"""Growing and shrinking a reservoir."""

from typing import Any

import pytest

from npt.errors import InvalidArgument, ReservoirExhausted
from npt.memory.objects import RamObject
from npt.memory.reservoir import Reservoir
from tests.memory.scene import LIMIT, PAGE, SIZE, frames, freed_with_view

# -- resizing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [0, PAGE, 3 * PAGE, LIMIT * 2])
@pytest.mark.parametrize("target", [0, PAGE, SIZE - PAGE, SIZE, SIZE + PAGE, LIMIT])
def test_resize__reaches_its_target_in_any_steps(reservoir: Reservoir, target: int, chunk: int) -> None:
    """The size follows, up to the limit and down to nothing, and back."""
    assert reservoir.resize(target, chunk=chunk) == target
    assert reservoir.usage == (target, 0, 0, 0, LIMIT)
    assert reservoir.resize(SIZE, chunk=chunk) == reservoir.size == SIZE


@pytest.mark.parametrize("chunk", [0, 3 * PAGE])
def test_resize__shrinks_by_what_is_free(reservoir: Reservoir, chunk: int) -> None:
    """Objects stay; the size stops at what they and the quarantine need."""
    reservoir.allocate(5 * PAGE)
    _, view = freed_with_view(reservoir)
    assert reservoir.resize(0, chunk=chunk) == 6 * PAGE
    assert reservoir.usage == (0, 5 * PAGE, 0, PAGE, LIMIT)
    assert view.size == PAGE


def test_resize__shrinks_from_the_highest_addresses(reservoir: Reservoir) -> None:
    """The lowest frames are those that stay."""
    reservoir.resize(4 * PAGE, chunk=PAGE)
    assert frames(reservoir.allocate(4 * PAGE)) == [0, 1, 2, 3]


def test_resize__grows_by_the_lowest_addresses(reservoir: Reservoir) -> None:
    """The size grows upwards, so that what is beyond stays whole."""
    reservoir.resize(SIZE + 2 * PAGE, chunk=PAGE)
    assert frames(reservoir.allocate(SIZE + 2 * PAGE)) == list(range(0x22))


def test_resize__grows_by_what_is_empty(reservoir: Reservoir) -> None:
    """Transient objects are in the way of growth."""
    reservoir.allocate(4 * PAGE, transient=True)
    assert reservoir.resize(LIMIT, chunk=5 * PAGE) == LIMIT - 4 * PAGE


def test_resize__makes_room_for_transient_objects(reservoir: Reservoir) -> None:
    """What a shrink sets free of the size, transient objects can use."""
    reservoir.resize(0)
    assert reservoir.allocate(LIMIT, transient=True).length == LIMIT


def test_resize__lets_others_in_between_steps(reservoir: Reservoir, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock is taken anew for each step: an allocation after the first keeps its memory."""
    step, parts = Reservoir._step, list[RamObject]()

    def step_and_allocate(self: Reservoir, target: int, chunk: int) -> tuple[int, bool]:
        answer = step(self, target, chunk)
        if not parts:
            parts.append(self.allocate(PAGE))
        return answer

    monkeypatch.setattr(Reservoir, "_step", step_and_allocate)
    assert reservoir.resize(0, chunk=4 * PAGE) == PAGE
    assert reservoir.usage.allocated == PAGE


BAD_RESIZES: list[tuple[Any, Any, type[Exception]]] = [
    (1.0, 0, TypeError),
    (True, 0, TypeError),
    (PAGE, 1.0, TypeError),
    (1, None, TypeError),
    (-PAGE, 0, InvalidArgument),
    (1, 0, InvalidArgument),
    (PAGE, 1, InvalidArgument),
    (PAGE, -PAGE, InvalidArgument),
    (LIMIT + PAGE, 1, InvalidArgument),
    (LIMIT + PAGE, 0, ReservoirExhausted),
]


@pytest.mark.parametrize(("target", "chunk", "error"), BAD_RESIZES)
def test_resize__bad_arguments_are_refused(reservoir: Reservoir, target: Any, chunk: Any, error: type[Exception]) -> None:
    """Targets and chunks are whole pages, and the limit is the limit."""
    with pytest.raises(error):
        reservoir.resize(target, chunk=chunk)
    assert reservoir.size == SIZE
