"""An unmap that is stopped in the middle, more than once: it ends whole, or the mapping stays and works."""

from typing import Any

import pytest

from npt import EPT, NPT, Prot, PteFormat, Reservoir, VmSpace, kernels
from npt.testing import check

PAGE, MIB = 0x1000, 1 << 20
LENGTH = 4 * MIB


def a_space(format: PteFormat) -> tuple[VmSpace, list[tuple[int, int]]]:
    """A space with one resident mapping, and what a client of it is told."""
    reservoir = Reservoir(LENGTH, backed=False)
    space = VmSpace(1 << 30, format=format, reservoir=reservoir)
    space.map(reservoir.allocate(LENGTH), 0, LENGTH, Prot.RW)
    space.populate(0, LENGTH)
    told: list[tuple[int, int]] = []
    space.client().on_invalidate(lambda gpa, length: told.append((gpa, length)))
    return space, told


def stop(monkeypatch: pytest.MonkeyPatch, name: str, errors: list[type[BaseException]], *, after: bool) -> None:
    """Have a kernel raise, once for each of these."""
    real = getattr(kernels.tables, name)

    def call(*arguments: Any) -> Any:
        result = real(*arguments) if after or not errors else None
        if errors:
            raise errors.pop()
        return result

    monkeypatch.setattr(kernels.tables, name, call)


@pytest.mark.parametrize("format", [EPT, NPT], ids=["ept", "npt"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "behind"])
@pytest.mark.parametrize("name", ["clear", "unlink", "release_tables"])
@pytest.mark.parametrize("n", [1, 2, 5])
def test_unmap__goes_on_after_interrupts(
    monkeypatch: pytest.MonkeyPatch, name: str, n: int, after: bool, format: PteFormat
) -> None:
    """Once leaves are being cleared it ends, is told once, and the interrupt is raised; before, nothing has happened."""
    space, told = a_space(format)
    generation, begun = space.generation, name != "clear" or after
    stop(monkeypatch, name, [KeyboardInterrupt] * (n if begun else 1), after=after)
    with pytest.raises(KeyboardInterrupt):
        space.unmap(0, LENGTH)
    assert (len(space.mappings), len(told), space.generation > generation) == ((0, 1, True) if begun else (1, 0, False))
    assert space.resident_count == (0 if begun else LENGTH // PAGE)
    check(space)


@pytest.mark.parametrize("name", ["unlink", "release_tables"])
def test_unmap__after_a_failure_that_should_not_be(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The mapping stays, empty, and works; the next unmap tells, and takes the tables down."""
    space, told = a_space(EPT)
    generation = space.generation
    stop(monkeypatch, name, [MemoryError, MemoryError], after=False)
    with pytest.raises(MemoryError):
        space.unmap(0, LENGTH)
    assert (len(space.mappings), space.resident_count, space.generation) == (1, 0, generation + 1)
    check(space)
    assert space.populate(0, PAGE) == 1
    space.unmap(0, LENGTH)
    assert (0, LENGTH) in told
    assert [space.table.tables_in_use(level) for level in (4, 3, 2, 1)] == [1, 0, 0, 0]
    check(space)
