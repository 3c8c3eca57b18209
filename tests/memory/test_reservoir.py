"""Making, allocating, counting and closing a reservoir."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from npt import _host as host
from npt.errors import Busy, InvalidArgument, ReservoirExhausted, StaleHandle
from npt.memory.reservoir import Reservoir
from tests.memory.scene import BASE, LIMIT, PAGE, SIZE, fill, frames, freed_with_view, view_of

# -- making one --------------------------------------------------------------------------------------------------------

BAD_RESERVOIRS: list[tuple[tuple[Any, ...], dict[str, Any], type[Exception]]] = [
    ((), {}, TypeError),
    ((1.0,), {}, TypeError),
    (("4GiB",), {}, TypeError),
    ((True,), {}, TypeError),
    ((PAGE,), {"limit": 1.0}, TypeError),
    ((PAGE,), {"base_pfn": None}, TypeError),
    ((PAGE,), {"backed": 1}, TypeError),
    ((0,), {"backed": 1}, TypeError),
    ((0,), {}, InvalidArgument),
    ((-PAGE,), {}, InvalidArgument),
    ((PAGE + 1,), {}, InvalidArgument),
    ((PAGE,), {"limit": 0}, InvalidArgument),
    ((PAGE,), {"limit": PAGE + 1}, InvalidArgument),
    ((2 * PAGE,), {"limit": PAGE}, InvalidArgument),
    ((PAGE,), {"base_pfn": -1}, InvalidArgument),
    ((PAGE,), {"base_pfn": 2**33}, InvalidArgument),
    ((PAGE,), {"base_pfn": 2**33 - 1, "limit": 2 * PAGE}, InvalidArgument),
    ((2**46,), {"backed": False}, InvalidArgument),
    ((2**80,), {}, InvalidArgument),
]


@pytest.mark.parametrize(("given", "named", "error"), BAD_RESERVOIRS)
def test_reservoir__bad_arguments_are_refused(given: tuple[Any, ...], named: dict[str, Any], error: type[Exception]) -> None:
    """Sizes are whole pages, the limit is no less, and frames end where tables begin."""
    with pytest.raises(error):
        Reservoir(*given, **named)


def test_reservoir__limit_is_the_size_by_default() -> None:
    """Without a limit there is no room beyond the size."""
    made = Reservoir(np.int32(SIZE))
    assert (made.size, made.limit, made.base_pfn) == (SIZE, SIZE, BASE)
    assert type(made.size) is int


def test_reservoir__last_frame_may_be_the_last_below_tables() -> None:
    """RAM can reach up to where page tables begin."""
    assert Reservoir(PAGE, base_pfn=2**33 - 1).allocate(PAGE).pfn_at(0) == 2**33 - 1


def test_reservoir__more_than_available_is_refused_before_it_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit, not the size, is asked of the machine; the message says what it has."""
    monkeypatch.setattr(host, "available_bytes", lambda: 4 * PAGE)
    with pytest.raises(ReservoirExhausted, match="0x4000"):
        Reservoir(PAGE, limit=5 * PAGE)
    assert Reservoir(PAGE, limit=4 * PAGE).limit == 4 * PAGE


def test_reservoir__unknown_availability_is_no_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the machine does not say what it has, the attempt is made."""
    monkeypatch.setattr(host, "available_bytes", lambda: None)
    assert Reservoir(PAGE).size == PAGE


def test_reservoir__allocator_that_refuses_is_exhausted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ``MemoryError`` of Python's own becomes ours."""
    monkeypatch.setattr(host, "available_bytes", lambda: None)
    with pytest.raises(ReservoirExhausted):
        Reservoir(2**44)


# -- allocating --------------------------------------------------------------------------------------------------------


def test_allocate__takes_the_end_of_a_larger_span(reservoir: Reservoir) -> None:
    """The first object lies at the end of the size."""
    assert frames(reservoir.allocate(4 * PAGE)) == [0x1C, 0x1D, 0x1E, 0x1F]


def test_allocate__takes_the_best_fit(reservoir: Reservoir) -> None:
    """A hole that just fits is preferred to a larger one."""
    parts = [reservoir.allocate(n * PAGE) for n in (5, 1, 3, 1)]
    hole = frames(parts[2])
    parts[0].release()
    parts[2].release()
    assert frames(reservoir.allocate(3 * PAGE)) == hole


def test_allocate__scatters_when_nothing_fits() -> None:
    """An object may lie in several spans."""
    reservoir = Reservoir(8 * PAGE)
    parts = [reservoir.allocate(2 * PAGE) for _ in range(4)]
    parts[1].release()
    parts[3].release()
    assert [span.n_pages for span in reservoir.allocate(4 * PAGE).spans] == [2, 2]


def test_release__merges_with_its_neighbours() -> None:
    """What was cut up is whole again when all is back."""
    reservoir = Reservoir(8 * PAGE)
    parts = [reservoir.allocate(PAGE) for _ in range(8)]
    for at in (3, 0, 7, 1, 5, 2, 6, 4):
        parts[at].release()
    assert len(reservoir.allocate(8 * PAGE).spans) == 1


@pytest.mark.parametrize("transient", [False, True])
def test_allocate__too_much_changes_nothing(reservoir: Reservoir, transient: bool) -> None:
    """A request that does not fit takes nothing, though parts of it would fit."""
    parts = [reservoir.allocate(PAGE, transient=transient) for _ in range(3)]
    parts[1].release()
    before = reservoir.usage
    with pytest.raises(ReservoirExhausted, match="0x1f000"):
        reservoir.allocate(0x1F * PAGE, transient=transient)
    assert reservoir.usage == before


BAD_ALLOCATIONS: list[tuple[Any, Any, type[Exception]]] = [
    (1.0, False, TypeError),
    (True, False, TypeError),
    (None, False, TypeError),
    (PAGE, 1, TypeError),
    (0, None, TypeError),
    (0, False, InvalidArgument),
    (-PAGE, False, InvalidArgument),
    (PAGE + 1, False, InvalidArgument),
    (2**80, False, ReservoirExhausted),
]


@pytest.mark.parametrize(("length", "transient", "error"), BAD_ALLOCATIONS)
def test_allocate__bad_arguments_are_refused(reservoir: Reservoir, length: Any, transient: Any, error: type[Exception]) -> None:
    """A length is whole pages, and transient is a bool."""
    with pytest.raises(error):
        reservoir.allocate(length, transient=transient)


def test_allocate__memory_is_zero_after_use(reservoir: Reservoir) -> None:
    """Nobody sees what the last owner wrote, in whichever spans it lies."""
    parts = [reservoir.allocate(n * PAGE) for n in (4, 8, 0x14)]
    for part in parts:
        fill(part, 0xAA)
    parts[0].release()
    parts[2].release()
    ram = reservoir.allocate(0x18 * PAGE)
    assert len(ram.spans) == 2
    assert len(frames(ram)) == 0x18
    assert not any(view_of(reservoir, frame, writable=False).any() for frame in frames(ram))
    assert view_of(reservoir, frames(parts[1])[0], writable=False).all()


def test_allocate__forgotten_object_keeps_its_memory(reservoir: Reservoir) -> None:
    """References are counted, not guessed from what Python still knows."""
    reservoir.allocate(PAGE)
    assert reservoir.usage.allocated == PAGE


# -- accounts ----------------------------------------------------------------------------------------------------------


def test_usage__sums_to_the_size(reservoir: Reservoir) -> None:
    """Free, allocated and quarantined bytes are the size; the limit is apart."""
    reservoir.allocate(3 * PAGE)
    _, view = freed_with_view(reservoir)
    assert reservoir.usage == (SIZE - 4 * PAGE, 3 * PAGE, 0, PAGE, LIMIT)
    assert view.size == PAGE


def test_free_spans__are_of_frame_numbers(reservoir: Reservoir) -> None:
    """Like an object's spans they count from PFN 0, not from the reservoir's first frame."""
    with reservoir.allocate(3 * PAGE) as ram:
        assert [tuple(span) for span in reservoir.free_spans] == [(BASE, SIZE // PAGE - 3)]
        assert ram.spans[0].pfn == BASE + SIZE // PAGE - 3


def test_transient__comes_from_beyond_the_size(reservoir: Reservoir) -> None:
    """Transient objects leave the ordinary memory alone."""
    ram = reservoir.allocate(4 * PAGE, transient=True)
    assert min(frames(ram)) >= 0x20
    assert reservoir.usage == (SIZE, 0, 4 * PAGE, 0, LIMIT)


def test_transient__goes_back_beyond_the_size(reservoir: Reservoir) -> None:
    """Transient memory is empty again, zero, and does not become free."""
    ram = reservoir.allocate(0x10 * PAGE, transient=True)
    fill(ram, 1)
    ram.release()
    assert reservoir.usage == (SIZE, 0, 0, 0, LIMIT)
    assert not reservoir.buffer.any()
    assert reservoir.allocate(0x10 * PAGE, transient=True).length == 0x10 * PAGE


def test_transient__needs_a_larger_limit() -> None:
    """With the default limit there is no room for transient objects, and the message says so."""
    with pytest.raises(ReservoirExhausted, match="larger limit"):
        Reservoir(SIZE).allocate(PAGE, transient=True)


# -- closing -----------------------------------------------------------------------------------------------------------


def test_close__busy_with_objects(reservoir: Reservoir) -> None:
    """Memory that is in use is not given up, transient or not."""
    for transient in (False, True):
        with reservoir.allocate(PAGE, transient=transient), pytest.raises(Busy):
            reservoir.close()
    reservoir.close()


def test_close__busy_with_views(reservoir: Reservoir) -> None:
    """A view that outlived its object keeps the reservoir."""
    _, view = freed_with_view(reservoir)
    with pytest.raises(Busy):
        reservoir.close()
    del view
    reservoir.close()


def test_close__twice_does_nothing(reservoir: Reservoir) -> None:
    """Closing is idempotent."""
    reservoir.close()
    reservoir.close()
    with pytest.raises(StaleHandle):
        reservoir.allocate(PAGE)


def test_context__never_hides_an_error(reservoir: Reservoir) -> None:
    """The error that ends the block is raised, not ``Busy``; the reservoir stays open."""
    reservoir.allocate(PAGE)
    with pytest.raises(ZeroDivisionError), reservoir:
        raise ZeroDivisionError
    assert reservoir.usage.allocated == PAGE


def test_context__busy_at_its_end_is_told(reservoir: Reservoir) -> None:
    """Without an error, memory left over is one."""
    with pytest.raises(Busy), reservoir:
        reservoir.allocate(PAGE)


USES: dict[str, Callable[[Reservoir], Any]] = {
    "size": lambda made: made.size,
    "limit": lambda made: made.limit,
    "base_pfn": lambda made: made.base_pfn,
    "usage": lambda made: made.usage,
    "buffer": lambda made: made.buffer,
    "backed": lambda made: made.backed,
    "memory": lambda made: made.memory,
    "words": lambda made: made.words,
    "watch": lambda made: made.watch(0, np.zeros(1, dtype=np.uint8)),
    "allocate": lambda made: made.allocate(-1),
    "resize": lambda made: made.resize(-1),
    "enter": lambda made: made.__enter__(),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("backed", [True, False])
def test_closed__everything_is_stale(use: str, backed: bool) -> None:
    """A closed reservoir refuses everything, before it looks at arguments."""
    made = Reservoir(PAGE, backed=backed)
    made.close()
    with pytest.raises(StaleHandle):
        USES[use](made)


def test_closed__types_are_looked_at_first(reservoir: Reservoir) -> None:
    """A wrong type is told even by a closed reservoir."""
    reservoir.close()
    with pytest.raises(TypeError):
        reservoir.allocate(1.0)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        reservoir.resize(0, chunk=1.0)  # type: ignore[arg-type]


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, pickle.dumps])
def test_reservoir__cannot_be_copied(reservoir: Reservoir, duplicate: Callable[[Any], Any]) -> None:
    """A copy would hand out the same memory."""
    with pytest.raises(TypeError):
        duplicate(reservoir)


def test_repr__short_and_never_stale(reservoir: Reservoir) -> None:
    """A repr works on closed reservoirs, too."""
    assert repr(reservoir) == "<Reservoir of 128 KiB, 128 KiB free, base_pfn 0x100000>"
    assert "unbacked" in repr(Reservoir(PAGE, backed=False))
    reservoir.close()
    assert repr(reservoir) == "<Reservoir, closed>"
