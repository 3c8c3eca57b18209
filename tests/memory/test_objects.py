"""Objects: lengths, frames, two counts of references."""

import copy
import os
import pickle
from collections.abc import Callable, Iterator
from itertools import combinations, pairwise

import numpy as np
import pytest

from npt._types import MemAttr
from npt.errors import AddressOverflow, InvalidArgument, StaleHandle
from npt.memory.objects import MmioObject, RamObject, VmObject
from npt.memory.reservoir import Reservoir
from npt.memory.spans import Span

PAGE = 0x1000
BASE = 0x100000


@pytest.fixture
def reservoir() -> Iterator[Reservoir]:
    with Reservoir(0x10 * PAGE) as made:
        yield made


@pytest.fixture
def ram(reservoir: Reservoir) -> Iterator[RamObject]:
    with reservoir.allocate(4 * PAGE) as made:
        yield made


@pytest.fixture
def scattered(reservoir: Reservoir) -> Iterator[RamObject]:
    """Six pages in three spans, of 1, 3 and 2 pages by address."""
    reservoir.resize(8 * PAGE)
    parts = [reservoir.allocate(n * PAGE) for n in (2, 1, 3, 1, 1)]  # from the end down
    for kept in (0, 2, 4):
        parts[kept].release()
    with reservoir.allocate(6 * PAGE) as made:
        yield made
    parts[1].release()
    parts[3].release()


# -- what it is --------------------------------------------------------------------------------------------------------


def test_ram__is_write_back(ram: RamObject) -> None:
    """RAM is mapped cached."""
    assert (ram.length, ram.attr, ram.transient) == (4 * PAGE, MemAttr.WB, False)


def test_ram__knows_its_reservoir(ram: RamObject, reservoir: Reservoir) -> None:
    """An object tells where its memory is from."""
    assert ram.reservoir is reservoir


def test_mmio__is_uncached() -> None:
    """Device memory is mapped uncached, one run of frames."""
    mmio = MmioObject(2 * PAGE, 0xFEE00000)
    assert (mmio.length, mmio.attr, mmio.refs) == (2 * PAGE, MemAttr.UC, 1)
    assert mmio.runs(PAGE, PAGE).tolist() == [[0xFEE01, 1]]


def test_object__is_abstract() -> None:
    """There is no object that is neither RAM nor a device."""
    with pytest.raises(TypeError):
        VmObject((Span(0, 1),), bool)  # type: ignore[abstract]


BAD_MMIO = [
    ("length", PAGE, TypeError),
    (PAGE, 1.0, TypeError),
    (True, PAGE, TypeError),
    (0, PAGE, InvalidArgument),
    (-PAGE, PAGE, InvalidArgument),
    (PAGE + 1, PAGE, InvalidArgument),
    (PAGE, PAGE + 1, InvalidArgument),
    (PAGE, -PAGE, InvalidArgument),
    (2 * PAGE, (2**33 - 1) * PAGE, InvalidArgument),
    (PAGE, 2**33 * PAGE, InvalidArgument),
    (PAGE, 2**64 - PAGE, AddressOverflow),
]


@pytest.mark.parametrize(("length", "hpa", "error"), BAD_MMIO)
def test_mmio__bad_arguments_are_refused(length: int, hpa: int, error: type[Exception]) -> None:
    """Device memory is whole pages below the frames of tables."""
    with pytest.raises(error):
        MmioObject(length, hpa)


def test_mmio__may_end_where_tables_begin() -> None:
    """The last frame below 2**33 can be a device's."""
    assert MmioObject(PAGE, (2**33 - 1) * PAGE).pfn_at(0) == 2**33 - 1


# -- frames ------------------------------------------------------------------------------------------------------------


def test_spans__are_named_and_by_address(scattered: RamObject) -> None:
    """Spans come as (pfn, n_pages), lowest first."""
    assert scattered.spans == (Span(BASE, 1), Span(BASE + 2, 3), Span(BASE + 6, 2))


def test_pfn_at__follows_the_spans(scattered: RamObject) -> None:
    """Every page of the object has the frame its span gives it."""
    pfns = [pfn for span in scattered.spans for pfn in range(span.pfn, span.pfn + span.n_pages)]
    assert [scattered.pfn_at(page * PAGE) for page in range(6)] == pfns


def test_pfn_at__rounds_down(ram: RamObject) -> None:
    """Any byte of a page names its frame; numpy integers will do."""
    assert ram.pfn_at(np.uint64(PAGE + 0xFFF)) == ram.pfn_at(PAGE)


@pytest.mark.parametrize("offset", [-1, 4 * PAGE, 2**64])
def test_pfn_at__outside_is_refused(ram: RamObject, offset: int) -> None:
    """An offset has to be inside the object."""
    with pytest.raises(InvalidArgument):
        ram.pfn_at(offset)


@pytest.mark.parametrize("offset", [1.0, True, "0", None])
def test_pfn_at__wrong_types_are_refused(ram: RamObject, offset: int) -> None:
    """An offset is an integer."""
    with pytest.raises(TypeError):
        ram.pfn_at(offset)


def test_runs__agree_with_pfn_at(scattered: RamObject) -> None:
    """The runs of every window list the frames that its pages have one by one, in as few runs as possible."""
    n_runs = []
    for first, end in combinations(range(7), 2):
        runs = scattered.runs(first * PAGE, (end - first) * PAGE)
        pfns = [pfn for start, n in runs.tolist() for pfn in range(start, start + n)]
        assert len(pfns) == end - first
        assert pfns == [scattered.pfn_at(page * PAGE) for page in range(first, end)]
        assert all(a + n != b for (a, n), (b, _) in pairwise(runs.tolist()))
        n_runs.append(len(runs))
    assert max(n_runs) > 1


def test_runs__are_the_callers_own(ram: RamObject) -> None:
    """Whoever gets runs may change them."""
    runs = ram.runs(0, ram.length)
    assert runs.dtype == np.uint64
    assert runs.shape == (1, 2)
    runs[:] = 0
    assert ram.runs(0, ram.length).all()


BAD_WINDOWS = [
    (0, 5 * PAGE, InvalidArgument),
    (PAGE, 4 * PAGE, InvalidArgument),
    (4 * PAGE, PAGE, InvalidArgument),
    (-PAGE, PAGE, InvalidArgument),
    (1, PAGE, InvalidArgument),
    (0, 1, InvalidArgument),
    (0, 0, InvalidArgument),
    (2**64 - PAGE, PAGE, AddressOverflow),
    (0, 1.0, TypeError),
    (False, PAGE, TypeError),
]


@pytest.mark.parametrize(("offset", "length", "error"), BAD_WINDOWS)
def test_check_window__outside_is_refused(ram: RamObject, offset: int, length: int, error: type[Exception]) -> None:
    """A window is whole pages inside the object."""
    with pytest.raises(error):
        ram.check_window(offset, length)


def test_check_window__the_whole_object_is_fine(ram: RamObject) -> None:
    """A window may be all there is."""
    assert ram.check_window(np.int64(0), ram.length) == (0, 4 * PAGE)


# -- references --------------------------------------------------------------------------------------------------------


def test_reference__needs_one_release_more(reservoir: Reservoir) -> None:
    """Memory goes back with the last reference, not before."""
    ram = reservoir.allocate(PAGE)
    ram.reference()
    ram.release()
    assert (ram.refs, reservoir.usage.allocated) == (1, PAGE)
    ram.release()
    assert (ram.refs, reservoir.usage.allocated) == (0, 0)


def test_refs__counts_both_kinds(reservoir: Reservoir) -> None:
    """References of mappings and holds are in the sum."""
    with reservoir.allocate(PAGE) as ram:
        ram.acquire("mapping", 3)
        assert ram.refs == 4
        ram.drop("mapping")


def test_release__not_beyond_the_callers_own(reservoir: Reservoir) -> None:
    """A mapping's reference is not the caller's to release."""
    ram = reservoir.allocate(PAGE)
    ram.acquire("mapping")
    ram.release()
    with pytest.raises(StaleHandle):
        ram.release()
    assert ram.refs == 1
    ram.drop("mapping")


def test_release__mapped_object_answers_and_can_be_referenced(reservoir: Reservoir) -> None:
    """While a mapping keeps an object, its caller can come back to it."""
    ram = reservoir.allocate(PAGE)
    ram.acquire("mapping")
    ram.release()
    assert ram.length == PAGE
    ram.reference()
    ram.drop("mapping")
    assert ram.refs == 1
    ram.release()


def test_drop__last_one_returns_the_memory(reservoir: Reservoir) -> None:
    """An internal reference can be the last."""
    ram = reservoir.allocate(PAGE)
    ram.acquire("mapping")
    ram.release()
    ram.drop("mapping")
    assert reservoir.usage.free == reservoir.size


def test_drop__by_a_stranger_does_nothing(ram: RamObject) -> None:
    """Who does not keep the object, or does not any more, can drop nothing: an interrupted drop may be done again."""
    ram.acquire("mapping")
    ram.drop("another")
    ram.drop("mapping")
    ram.drop("mapping")
    assert ram.refs == 1


def test_acquire__twice_by_one_keeper_is_once(ram: RamObject) -> None:
    """An interrupted acquire may be done again."""
    ram.acquire("mapping", 2)
    ram.acquire("mapping", 2)
    assert ram.refs == 3
    ram.drop("mapping")


def test_context__drops_one_reference(reservoir: Reservoir) -> None:
    """Leaving the context is one release."""
    with reservoir.allocate(PAGE) as ram:
        ram.reference()
    assert ram.refs == 1
    ram.release()


def test_context__after_release_drops_nothing(reservoir: Reservoir) -> None:
    """Leaving after an explicit release does nothing, even while a mapping keeps the object."""
    with reservoir.allocate(PAGE) as ram:
        ram.acquire("mapping")
        ram.release()
    assert ram.refs == 1
    ram.drop("mapping")


DEAD_USES: dict[str, Callable[[RamObject], object]] = {
    "length": lambda ram: ram.length,
    "attr": lambda ram: ram.attr,
    "reservoir": lambda ram: ram.reservoir,
    "transient": lambda ram: ram.transient,
    "spans": lambda ram: ram.spans,
    "pfn_at": lambda ram: ram.pfn_at(2**70),
    "runs": lambda ram: ram.runs(0, 1),
    "check_window": lambda ram: ram.check_window(0, 1),
    "reference": lambda ram: ram.reference(),
    "release": lambda ram: ram.release(),
    "acquire": lambda ram: ram.acquire("mapping"),
    "enter": lambda ram: ram.__enter__(),
}


@pytest.mark.parametrize("use", DEAD_USES)
def test_dead__everything_is_stale(reservoir: Reservoir, use: str) -> None:
    """A dead object refuses everything, before it looks at arguments, and stays dead."""
    ram = reservoir.allocate(PAGE)
    ram.release()
    with pytest.raises(StaleHandle):
        DEAD_USES[use](ram)
    assert ram.refs == 0


def test_dead__types_are_looked_at_first(reservoir: Reservoir) -> None:
    """A wrong type is told even by a dead object."""
    ram = reservoir.allocate(PAGE)
    ram.release()
    with pytest.raises(TypeError):
        ram.pfn_at(1.0)  # type: ignore[arg-type]


def test_dead__late_release_does_not_return_memory_twice(reservoir: Reservoir) -> None:
    """Memory that went back and out again is not freed by the old handle."""
    old = reservoir.allocate(reservoir.size)
    old.release()
    with reservoir.allocate(reservoir.size):
        with pytest.raises(StaleHandle):
            old.release()
        assert reservoir.usage.allocated == reservoir.size


# -- what cannot be done -----------------------------------------------------------------------------------------------

DUPLICATES: dict[str, Callable[[VmObject], object]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": pickle.dumps,
}


@pytest.mark.parametrize("duplicate", DUPLICATES)
def test_object__cannot_be_copied(ram: RamObject, duplicate: str) -> None:
    """Two handles with one count would free memory twice."""
    with pytest.raises(TypeError):
        DUPLICATES[duplicate](ram)
    with pytest.raises(TypeError):
        DUPLICATES[duplicate](MmioObject(PAGE, 0))


def test_repr__short_and_never_stale(reservoir: Reservoir) -> None:
    """A repr works on dead objects, too."""
    ram, mmio = reservoir.allocate(2 * PAGE), MmioObject(PAGE, 0xFEE00000)
    assert repr(ram) == "<RamObject of 8 KiB, spans: 1, refs: 1>"
    assert repr(mmio) == "<MmioObject of 4 KiB at 0xfee00000, refs: 1>"
    ram.release()
    mmio.release()
    assert (repr(ram), repr(mmio)) == ("<RamObject, released>", "<MmioObject, released>")


@pytest.mark.parametrize("use", ["reference", "release", "acquire", "drop"])
def test_fork__child_may_not_count(ram: RamObject, use: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """References are the parent's; a child can still look."""
    ram.acquire("mapping")
    with monkeypatch.context() as child:
        child.setattr(os, "getpid", lambda: 0)
        with pytest.raises(StaleHandle):
            getattr(ram, use)(*{"acquire": ["hold"], "drop": ["mapping"]}.get(use, []))
        assert (ram.refs, ram.length) == (2, 4 * PAGE)
    ram.drop("mapping")


def test_fork__child_leaves_a_context_without_a_word(reservoir: Reservoir, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaving the parent's context in a child changes nothing."""
    ram = reservoir.allocate(PAGE)
    with monkeypatch.context() as child:
        with ram:
            child.setattr(os, "getpid", lambda: 0)
        assert ram.refs == 1
    ram.release()
