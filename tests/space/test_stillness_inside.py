"""What a thread does to a space while its own harvest relies on stillness: in a signal handler, or a finalizer."""

import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from npt import EPT, NPT, Deadlock, Prot, PteFormat, Reservoir, VmSpace, kernels
from npt.testing import check

PAGE = 0x1000
N_PAGES = 64
both_formats = pytest.mark.parametrize("format", [EPT, NPT], ids=["ept", "npt"])


def a_space(format: PteFormat) -> VmSpace:
    """A space with one mapping at 0, resident and clean."""
    reservoir = Reservoir(N_PAGES * PAGE)
    space = VmSpace(1 << 30, format=format, reservoir=reservoir, track_dirty=True)
    space.map(reservoir.allocate(N_PAGES * PAGE), 0, N_PAGES * PAGE, Prot.RWX)
    space.populate(0, N_PAGES * PAGE)
    return space


def pages(bitmap: np.ndarray[Any, Any]) -> list[int]:
    return np.flatnonzero(np.unpackbits(bitmap, bitorder="little")).tolist()


def noting(kernel: Callable[..., Any], note: Callable[[], object]) -> Callable[..., Any]:
    """A kernel before whose calls something is noted."""

    def call(*arguments: Any) -> Any:
        note()
        return kernel(*arguments)

    return call


def inside(monkeypatch: pytest.MonkeyPatch, work: Callable[[], object]) -> None:
    """Have something done when the next harvest in stillness has scanned."""
    real, todo = kernels.dirty.harvest_still, [work]

    def harvest_still(*arguments: Any) -> None:
        real(*arguments)
        while todo:
            todo.pop()()

    monkeypatch.setattr(kernels.dirty, "harvest_still", harvest_still)


def release_one(space: VmSpace) -> Callable[[], object]:
    page = space.client().hold(5 * PAGE, Prot.RW)
    return page.release


def release_batch(space: VmSpace) -> Callable[[], object]:
    return space.client().hold_many([5 * PAGE, 5 * PAGE], Prot.WRITE).release


def release_chain(space: VmSpace) -> Callable[[], object]:
    client = space.client()
    first, second = client.hold(5 * PAGE, Prot.READ), client.hold(5 * PAGE, Prot.WRITE)
    first.chain(second)
    return first.release_chain


@both_formats
@pytest.mark.parametrize("release", [release_one, release_batch, release_chain])
def test_release__in_stillness_is_marked_behind_it(
    monkeypatch: pytest.MonkeyPatch, format: PteFormat, release: Callable[[VmSpace], Callable[[], object]]
) -> None:
    """No kernel marks while another may be clearing by plain stores; the page is in the next harvest."""
    space = a_space(format)
    work, marked = release(space), list[bool]()
    space.set_dirty(6 * PAGE, PAGE)

    def note() -> None:
        marked.append(bool(space._core.exclusion.gates[0].state))

    for name in ("mark_leaf", "mark_leaves"):
        monkeypatch.setattr(kernels.dirty, name, noting(getattr(kernels.dirty, name), note))
    inside(monkeypatch, work)
    assert pages(space.track_dirty(0, N_PAGES * PAGE)) == [6]
    assert marked
    assert not any(marked)
    assert pages(space.track_dirty(0, N_PAGES * PAGE)) == [5]
    check(space)


@both_formats
def test_release__in_a_harvest_that_fails(monkeypatch: pytest.MonkeyPatch, format: PteFormat) -> None:
    """Marked all the same."""
    space = a_space(format)
    release = release_one(space)

    def fail() -> None:
        release()
        raise KeyboardInterrupt

    space.set_dirty(6 * PAGE, PAGE)
    inside(monkeypatch, fail)
    with pytest.raises(KeyboardInterrupt):
        space.track_dirty(0, N_PAGES * PAGE)
    assert pages(space.track_dirty(0, N_PAGES * PAGE)) == [5, 6]
    check(space)


@both_formats
@pytest.mark.parametrize("name", ["hold", "hold_many", "fault", "fault_many", "read", "write", "set_dirty", "track_dirty"])
def test_others__are_refused_in_stillness(monkeypatch: pytest.MonkeyPatch, format: PteFormat, name: str) -> None:
    """They would have to wait for their own thread; afterwards they work."""
    space = a_space(format)
    client = space.client()
    calls: dict[str, Callable[[], object]] = {
        "hold": lambda: client.hold(0, Prot.RW),
        "hold_many": lambda: client.hold_many([0], Prot.RW),
        "fault": lambda: client.fault(0, Prot.READ),
        "fault_many": lambda: client.fault_many([0], Prot.READ),
        "read": lambda: client.read(0, 8),
        "write": lambda: client.write(0, b"8 bytes."),
        "set_dirty": lambda: space.set_dirty(0, PAGE),
        "track_dirty": lambda: space.track_dirty(0, PAGE),
    }
    seen: list[type] = []

    def work() -> None:
        try:
            calls[name]()
        except Deadlock as error:
            seen.append(type(error))

    space.set_dirty(6 * PAGE, PAGE)
    inside(monkeypatch, work)
    space.track_dirty(0, N_PAGES * PAGE)
    assert seen == [Deadlock]
    calls[name]()
    client.release_all()
    check(space)


def test_harvest__is_atomic_once_a_table_was_handed_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has a writable table may be storing into an entry beside one that is cleared."""
    space, called = a_space(EPT), list[str]()
    for name in ("harvest", "harvest_still"):
        monkeypatch.setattr(kernels.dirty, name, noting(getattr(kernels.dirty, name), partial(called.append, name)))
    space.track_dirty(0, PAGE)
    leaf_table = int(space.table.entries(2)[0]) >> 12 & (1 << 40) - 1
    space.table.read_table(leaf_table)
    space.track_dirty(0, PAGE)
    assert called == ["harvest_still", "harvest"]


def test_release__lets_go_of_dead_views() -> None:
    """A released page keeps nothing of the reservoir alive."""
    space = a_space(EPT)
    page = space.client().hold(0, Prot.RW)
    window = weakref.ref(page.writable().base)
    page.release()
    assert window() is None
