"""Invalidate callbacks: what they may do, in which order they run, what is left when one fails."""

from collections.abc import Callable
from contextlib import suppress

import numpy as np
import pytest

from npt import (
    Deadlock,
    Prot,
    RamObject,
    VmClient,
    VmSpace,
)  # fmt: skip
from tests.space.scene import (
    PAGE,
    TABLES_OF_NOBODY,
    Calls,
    bits,
    caught,
    dirty,
    in_callback,
    listen,
    map_at,
    tables,
    write_to,
)  # fmt: skip

# -- in a callback ------------------------------------------------------------------------------------------------------

FORBIDDEN: dict[str, Callable[[VmSpace, VmClient, RamObject], object]] = {
    "map": lambda space, client, ram: space.map(ram, 0x100000, PAGE, Prot.RW),
    "map_mmio": lambda space, client, ram: space.map_mmio(0x100000, PAGE, 0xFE00_0000),
    "unmap": lambda space, client, ram: space.unmap(0, ram.length),
    "populate": lambda space, client, ram: space.populate(0, PAGE),
    "accessed clear": lambda space, client, ram: space.accessed(0, PAGE, clear=True),
    "set_tracking": lambda space, client, ram: space.set_tracking(not space.tracking),
    "client": lambda space, client, ram: space.client(),
    "destroy": lambda space, client, ram: space.destroy(),
    "close": lambda space, client, ram: space.close(),
    "hold": lambda space, client, ram: client.hold(0, Prot.READ),
    "hold_many": lambda space, client, ram: client.hold_many([0], Prot.READ),
    "fault": lambda space, client, ram: client.fault(0, Prot.READ),
    "fault_many": lambda space, client, ram: client.fault_many([0], Prot.READ),
    "read": lambda space, client, ram: client.read(0, 1),
    "write": lambda space, client, ram: client.write(0, b"x"),
    "on_invalidate": lambda space, client, ram: client.on_invalidate(None),
    "clone": lambda space, client, ram: client.clone(),
    "client.destroy": lambda space, client, ram: client.destroy(),
}


@pytest.mark.parametrize("name", FORBIDDEN)
def test_callback__may_not(space: VmSpace, client: VmClient, ram: RamObject, name: str) -> None:
    """Changes and look-ups in a callback would wait for themselves."""
    assert isinstance(in_callback(space, lambda: FORBIDDEN[name](space, client, ram)), Deadlock)


TRACKING_FORBIDDEN: dict[str, Callable[[VmSpace], object]] = {
    "track_dirty": lambda space: space.track_dirty(0, PAGE),
    "reset_dirty": lambda space: space.reset_dirty(0, PAGE),
    "set_dirty": lambda space: space.set_dirty(0, PAGE),
    "set_tracking": lambda space: space.set_tracking(False),
    "unmap": lambda space: space.unmap(0, 0x10 * PAGE),
}


@pytest.mark.parametrize("name", TRACKING_FORBIDDEN)
def test_callback__of_a_harvest_may_not(space: VmSpace, client: VmClient, name: str) -> None:
    """Nor may the callback of a harvest, while tracking is on."""
    write_to(client, 0)
    seen: list[BaseException | None] = []
    client.on_invalidate(lambda gpa, length: seen.append(caught(lambda: TRACKING_FORBIDDEN[name](space))))
    assert bits(space.track_dirty(0, PAGE)) == [0]
    assert [type(error) for error in seen] == [Deadlock]
    assert dirty(space, 0, PAGE) == []


ALLOWED: dict[str, Callable[[VmSpace, VmClient], object]] = {
    "translate": lambda space, client: space.translate([0, PAGE]).tolist(),
    "pte": lambda space, client: space.pte(0),
    "explain": lambda space, client: space.explain(0).leaf,
    "accessed": lambda space, client: space.accessed(0, PAGE).tolist(),
    "resident": lambda space, client: space.resident(0, PAGE).tolist(),
    "mappings": lambda space, client: space.mappings,
    "resident_count": lambda space, client: space.resident_count,
    "entries": lambda space, client: space.table.entries(1).tolist(),
    "holds": lambda space, client: client.holds,
    "set_tracking to what it is": lambda space, client: space.set_tracking(space.tracking),
}


@pytest.mark.parametrize("name", ALLOWED)
def test_callback__may_look(space: VmSpace, client: VmClient, name: str) -> None:
    """A callback sees what the thread that called sees."""
    write_to(client, 0)
    seen: list[object] = []
    wanted = ALLOWED[name](space, client)
    assert in_callback(space, lambda: seen.append(ALLOWED[name](space, client))) is None
    assert seen == [wanted]


def test_callback__may_peek(space: VmSpace, client: VmClient) -> None:
    """The callback of a harvest sees the bits cleared."""
    write_to(client, 0)
    seen: list[list[int]] = []
    client.on_invalidate(lambda gpa, length: seen.append(dirty(space, 0, PAGE)))
    space.track_dirty(0, PAGE)
    assert seen == [[]]


def test_callback__may_release_pages(space: VmSpace, client: VmClient, ram: RamObject) -> None:
    """A client gives up what it holds when it is told that the range goes."""
    page, pages = client.hold(0, Prot.RW), client.hold_many([0, PAGE], Prot.RW)
    seen: list[object] = []
    client.on_invalidate(lambda gpa, length: seen.extend((page.release(), pages.release())))
    space.unmap(0, ram.length)
    assert seen == [True, 2]
    assert client.holds == 0
    assert ram.refs == 1


def test_callback__may_release_dirty_pages_of_a_harvest(space: VmSpace, client: VmClient) -> None:
    """A page released in the callback of a harvest is in the next one."""
    page = client.hold(PAGE, Prot.RW)
    client.on_invalidate(lambda gpa, length: page.release() if client.holds else None)
    assert bits(space.track_dirty(0, 2 * PAGE)) == []
    client.on_invalidate(None)
    assert bits(space.track_dirty(0, 2 * PAGE)) == [1]


def test_callback__sees_an_unmapped_page_gone(space: VmSpace, client: VmClient, ram: RamObject) -> None:
    """When callbacks of an unmap run, the leaves are clear."""
    space.populate(0, ram.length)
    seen: list[tuple[int, int | None]] = []
    client.on_invalidate(lambda gpa, length: seen.append((space.resident_count, space.pte(0))))
    space.unmap(0, ram.length)
    assert seen == [(0, None)]


# -- order and errors of callbacks --------------------------------------------------------------------------------------


def test_callbacks__run_in_the_order_of_clients(space: VmSpace, calls: Calls) -> None:
    """Clients are told in the order in which they were made, not in which they asked."""
    first, second = space.client(), space.client()
    third = first.clone()
    for client, name in ((third, "third"), (first, "first"), (second, "second")):
        listen(client, name, calls)
    space.track_dirty(PAGE, 2 * PAGE)
    assert calls == [("first", PAGE, 2 * PAGE), ("second", PAGE, 2 * PAGE), ("third", PAGE, 2 * PAGE)]


def test_callback__none_ends_it(space: VmSpace, client: VmClient, calls: Calls) -> None:
    """After on_invalidate(None) nothing is called."""
    listen(client, "", calls)
    client.on_invalidate(None)
    space.track_dirty(0, PAGE)
    assert calls == []


def test_callback__the_new_one_replaces_the_old(space: VmSpace, client: VmClient, calls: Calls) -> None:
    """A client has one callback."""
    listen(client, "old", calls)
    listen(client, "new", calls)
    space.track_dirty(0, PAGE)
    assert calls == [("new", 0, PAGE)]


def test_callback__ends_with_its_client(space: VmSpace, client: VmClient, calls: Calls) -> None:
    """A client that was destroyed is not told."""
    listen(client, "", calls)
    client.destroy()
    space.track_dirty(0, PAGE)
    assert calls == []


def test_callback__a_clone_has_none(space: VmSpace, client: VmClient, calls: Calls) -> None:
    """A clone begins without the callback."""
    listen(client, "", calls)
    clone = client.clone()
    space.track_dirty(0, PAGE)
    assert len(calls) == 1
    assert clone.holds == 0


def test_callback__not_at_unmap_of_nothing_resident(space: VmSpace, client: VmClient, ram: RamObject, calls: Calls) -> None:
    """An unmap that finds no present leaf neither calls back nor raises the generation."""
    listen(client, "", calls)
    generation = space.generation
    space.unmap(0, ram.length)
    assert (calls, space.generation) == ([], generation)


def test_callback__once_at_unmap(space: VmSpace, client: VmClient, ram: RamObject, calls: Calls) -> None:
    """An unmap tells the whole mapping once, however many pages were resident."""
    space.populate(PAGE, 3 * PAGE)
    listen(client, "", calls)
    generation = space.generation
    space.unmap(0, ram.length)
    assert (calls, space.generation) == ([("", 0, ram.length)], generation + 1)


def test_callback__at_set_tracking_over_the_whole_space(space: VmSpace, client: VmClient, calls: Calls) -> None:
    """Turning tracking off or on concerns every page; leaving it concerns none."""
    listen(client, "", calls)
    space.set_tracking(True)
    assert calls == []
    space.set_tracking(False)
    assert calls == [("", 0, space.size)]


ERRORS = [RuntimeError("first"), KeyboardInterrupt("first")]


@pytest.mark.parametrize("error", ERRORS, ids=["error", "interrupt"])
def test_callback_error__all_run_and_the_first_is_raised(space: VmSpace, calls: Calls, error: BaseException) -> None:
    """One callback that fails does not keep others from being told."""
    for name, failure in (("a", error), ("b", ValueError("second")), ("c", None)):
        listen(space.client(), name, calls, failure)
    with pytest.raises(type(error), match="first"):
        space.track_dirty(0, PAGE)
    assert [name for name, _, _ in calls] == ["a", "b", "c"]
    with suppress(type(error)):
        space.close()


def test_callback_error__unmap_is_complete(space: VmSpace, client: VmClient, ram: RamObject, calls: Calls) -> None:
    """An unmap whose callback fails is done all the same."""
    space.populate(0, ram.length)
    generation = space.generation
    listen(client, "", calls, RuntimeError("told"))
    with pytest.raises(RuntimeError, match="told"):
        space.unmap(0, ram.length)
    assert space.mappings == ()
    assert (ram.refs, space.resident_count, space.generation) == (1, 0, generation + 1)
    assert tables(space.table) == TABLES_OF_NOBODY


@pytest.mark.parametrize("name", ["track_dirty", "reset_dirty"])
def test_callback_error__harvest_puts_its_bits_back(space: VmSpace, client: VmClient, calls: Calls, name: str) -> None:
    """A harvest whose callback fails loses nothing; the generation stays raised."""
    write_to(client, PAGE, 3 * PAGE)
    before, generation = space.table.entries(1).tolist(), space.generation
    listen(client, "", calls, RuntimeError("told"))
    with pytest.raises(RuntimeError, match="told"):
        getattr(space, name)(0, 4 * PAGE)
    assert space.table.entries(1).tolist() == before
    assert space.generation == generation + 1
    client.on_invalidate(None)
    assert bits(space.track_dirty(0, 4 * PAGE)) == [1, 3]


def test_callback_error__accessed_puts_its_bits_back(space: VmSpace, client: VmClient, calls: Calls) -> None:
    """The same for accessed bits."""
    write_to(client, PAGE)
    before = space.table.entries(1).tolist()
    listen(client, "", calls, RuntimeError("told"))
    with pytest.raises(RuntimeError, match="told"):
        space.accessed(0, 4 * PAGE, clear=True)
    assert space.table.entries(1).tolist() == before
    client.on_invalidate(None)


def test_callback_error__into_is_untouched(space: VmSpace, client: VmClient, calls: Calls) -> None:
    """What was not harvested is not in the bitmap."""
    write_to(client, 0)
    listen(client, "", calls, RuntimeError("told"))
    into = np.full(1, 0x80, np.uint8)
    with pytest.raises(RuntimeError, match="told"):
        space.track_dirty(0, PAGE, into=into)
    assert into.tolist() == [0x80]
    client.on_invalidate(None)


def test_callback_error__close_goes_on(space: VmSpace, client: VmClient, ram: RamObject, calls: Calls) -> None:
    """A close unmaps everything though a callback fails at each mapping, and raises the first failure."""
    map_at(space, ram, 0x200000)
    space.populate(0, PAGE)
    space.populate(0x200000, PAGE)
    listen(client, "", calls, RuntimeError("told"))
    with pytest.raises(RuntimeError, match="told"):
        space.close()
    assert [gpa for _, gpa, _ in calls] == [0, 0x200000]
    assert (client.orphaned, ram.refs) == (True, 1)


def test_callback_error__later_look_ups_work(space: VmSpace, client: VmClient, calls: Calls) -> None:
    """Look-ups are let in again after a callback failed."""
    listen(client, "", calls, RuntimeError("told"))
    with pytest.raises(RuntimeError, match="told"):
        space.track_dirty(0, PAGE)
    client.on_invalidate(None)
    with client.hold(0, Prot.READ) as page:
        assert page.pfn
