"""Who waits for whom, who may not, and what is left when something goes wrong half-way."""

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial

import numpy as np
import pytest

from npt import (
    Busy,
    Deadlock,
    FaultCode,
    InvalidArgument,
    KickTimeout,
    NoSuchMapping,
    Orphaned,
    Prot,
    RamObject,
    Reservoir,
    StaleHandle,
    Vcpu,
    VmClient,
    VmSpace,
)  # fmt: skip
from tests.space.scene import (
    LEVELS,
    PAGE,
    TABLES_OF_NOBODY,
    bits,
    caught,
    dirty,
    in_callback,
    map_at,
    on_cpu,
    on_cpu_elsewhere,
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


@pytest.fixture
def calls() -> list[tuple[str, int, int]]:
    """What was called, by name."""
    return []


def listen(client: VmClient, name: str, calls: list[tuple[str, int, int]], error: BaseException | None = None) -> None:
    """Note every call, and fail if told to."""

    def note(gpa: int, length: int) -> None:
        calls.append((name, gpa, length))
        if error is not None:
            raise error

    client.on_invalidate(note)


Calls = list[tuple[str, int, int]]


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


# -- this thread is on CPU ----------------------------------------------------------------------------------------------

KICKING: dict[str, Callable[[VmSpace, RamObject], object]] = {
    "unmap": lambda space, ram: space.unmap(0, ram.length),
    "track_dirty": lambda space, ram: space.track_dirty(0, PAGE),
    "reset_dirty": lambda space, ram: space.reset_dirty(0, PAGE),
    "accessed clear": lambda space, ram: space.accessed(0, PAGE, clear=True),
    "set_tracking": lambda space, ram: space.set_tracking(False),
    "destroy": lambda space, ram: space.destroy(),
    "close": lambda space, ram: space.close(),
}


@pytest.mark.parametrize("name", KICKING)
def test_on_cpu__calls_that_kick_deadlock(space: VmSpace, client: VmClient, ram: RamObject, name: str) -> None:
    """A thread cannot wait for itself to leave; nothing has changed."""
    write_to(client, 0)
    before = space.generation, space.counters.kicks, space.table.entries(1).tolist(), space.mappings
    with on_cpu(space) as inside:
        with pytest.raises(Deadlock):
            KICKING[name](space, ram)
        assert not inside.kicked
        assert before == (space.generation, space.counters.kicks, space.table.entries(1).tolist(), space.mappings)
        client.fault(0, Prot.READ)


NOT_KICKING: dict[str, Callable[[VmSpace, VmClient, RamObject], object]] = {
    "map": lambda space, client, ram: map_at(space, ram, 0x200000),
    "map_mmio": lambda space, client, ram: space.map_mmio(0x200000, PAGE, 0xFE00_0000),
    "populate": lambda space, client, ram: space.populate(0, PAGE),
    "set_dirty": lambda space, client, ram: space.set_dirty(0, PAGE),
    "set_tracking to what it is": lambda space, client, ram: space.set_tracking(True),
    "peek_dirty": lambda space, client, ram: space.peek_dirty(0, PAGE),
    "accessed": lambda space, client, ram: space.accessed(0, PAGE),
    "translate": lambda space, client, ram: space.translate([0]),
    "hold": lambda space, client, ram: client.hold(0, Prot.RW).release(),
    "write": lambda space, client, ram: client.write(0, b"x"),
    "clone": lambda space, client, ram: client.clone(),
    "client": lambda space, client, ram: space.client(),
    "on_invalidate": lambda space, client, ram: client.on_invalidate(None),
    "run elsewhere": lambda space, client, ram: Vcpu(client).run([0], write=True),
}


@pytest.mark.parametrize("name", NOT_KICKING)
def test_on_cpu__calls_that_do_not_kick_work(space: VmSpace, client: VmClient, ram: RamObject, name: str) -> None:
    """map, populate, look-ups and looking do not wait for vCPUs, and raise no generation."""
    generation = space.generation
    with on_cpu(space) as inside:
        NOT_KICKING[name](space, client, ram)
        assert not inside.kicked
    assert space.generation == generation


def test_on_cpu__unmap_of_nothing_resident_deadlocks(space: VmSpace, ram: RamObject) -> None:
    """An unmap that would only unlink tables waits for vCPUs, too."""
    with on_cpu(space), pytest.raises(Deadlock):
        space.unmap(0, ram.length)
    assert len(space.mappings) == 1


def test_on_cpu__in_another_space_is_no_matter(space: VmSpace, ram: RamObject) -> None:
    """Being on CPU in one space does not hinder another."""
    with VmSpace(PAGE) as other, on_cpu(other):
        space.unmap(0, ram.length)
    assert space.mappings == ()


# -- another thread is on CPU -------------------------------------------------------------------------------------------


def test_kick__waits_until_the_vcpu_left(space: VmSpace, client: VmClient, ram: RamObject) -> None:
    """A vCPU in another thread is asked to leave, and has left when the unmap is done."""
    space = _patient(space)
    inside = space.client()
    map_at(space, ram, 0)
    space.populate(0, PAGE)
    with on_cpu_elsewhere(inside, leaves=True) as kicked:
        space.unmap(0, ram.length)
        assert not inside.kicked
        assert kicked.is_set()
    assert (space.counters.kicks, space.counters.timeouts) == (1, 0)
    space.close()


def _patient(space: VmSpace) -> VmSpace:
    """A space like another that gives vCPUs their time."""
    return VmSpace(space.size, format=space.format, track_dirty=True, kick_timeout=60)


@pytest.mark.parametrize("name", ["track_dirty", "reset_dirty", "accessed", "set_tracking", "close"])
def test_kick__every_call_that_kicks(space: VmSpace, name: str) -> None:
    """Harvests, set_tracking and close make a vCPU in another thread leave."""
    space = _patient(space)
    act: dict[str, Callable[[], object]] = {
        "track_dirty": lambda: space.track_dirty(0, PAGE),
        "reset_dirty": lambda: space.reset_dirty(0, PAGE),
        "accessed": lambda: space.accessed(0, PAGE, clear=True),
        "set_tracking": lambda: space.set_tracking(False),
        "close": space.close,
    }
    with on_cpu_elsewhere(space.client(), leaves=True) as kicked:
        act[name]()
        assert kicked.is_set()
    space.close()


def test_kick__not_without_cause(space: VmSpace, client: VmClient, ram: RamObject) -> None:
    """map and populate leave a vCPU in another thread where it is."""
    with on_cpu_elsewhere(client, leaves=True):
        map_at(space, ram, 0x200000)
        space.populate(0, ram.length)
        assert not client.kicked
    assert space.counters.kicks == 0


def test_destroy__busy_with_a_vcpu_in_another_thread(space: VmSpace, client: VmClient, ram: RamObject) -> None:
    """destroy does not kick: it refuses while a client is on CPU."""
    space.unmap(0, ram.length)
    with on_cpu_elsewhere(client, leaves=False):
        with pytest.raises(Busy):
            space.destroy()
        assert not client.orphaned
        assert not client.kicked
        assert space.size
    space.destroy()
    assert client.orphaned


def test_client_destroy__busy_on_cpu(space: VmSpace, client: VmClient) -> None:
    """A client whose vCPU is inside cannot go."""
    client.table_enter()
    with pytest.raises(Busy):
        client.destroy()
    client.table_exit()
    client.destroy()


# -- a vCPU that does not leave -----------------------------------------------------------------------------------------


@pytest.fixture
def stuck(space: VmSpace) -> Iterator[VmClient]:
    """A client whose vCPU, in another thread, stays inside until the test is over."""
    client = space.client()
    with on_cpu_elsewhere(client, leaves=False):
        yield client


def test_kick_timeout__unmap_can_be_called_again(space: VmSpace, client: VmClient, ram: RamObject, calls: Calls) -> None:
    """A time-out leaves the mapping, its leaves cleared and its tables empty; then unmap works again."""
    space.populate(0, ram.length)
    listen(client, "", calls)
    generation = space.generation
    before = tables(space.table)
    with on_cpu_elsewhere(space.client(), leaves=False):
        with pytest.raises(KickTimeout):
            space.unmap(0, ram.length)
        assert (len(space.mappings), ram.refs) == (1, 2)
        assert (space.resident_count, space.generation, calls) == (0, generation + 1, [])
        assert (tables(space.table), space.pte(0)) == (before, 0)
    assert (space.counters.timeouts, space.counters.kicks) == (1, 1)
    space.unmap(0, ram.length)
    assert (tables(space.table), ram.refs) == (TABLES_OF_NOBODY, 1)


def test_kick_timeout__mapping_works(space: VmSpace, client: VmClient, stuck: VmClient, ram: RamObject) -> None:
    """After a time-out the mapping serves look-ups, populate and harvests as before."""
    write_to(client, 0)
    with pytest.raises(KickTimeout):
        space.unmap(0, ram.length)
    write_to(client, 3 * PAGE)
    assert client.read(0, 1) == b"\x5a"
    assert space.populate(0, ram.length) == 14
    assert dirty(space, 0, ram.length) == [3]


def test_kick_timeout__holds_count_as_unmapped(space: VmSpace, client: VmClient, stuck: VmClient, ram: RamObject) -> None:
    """Pages held in the range say at their release that they were unmapped, and do not mark it dirty."""
    page, pages = client.hold(0, Prot.RW), client.hold_many([PAGE, 2 * PAGE], Prot.RW)
    with pytest.raises(KickTimeout):
        space.unmap(0, ram.length)
    with pytest.raises(KickTimeout):
        space.unmap(0, ram.length)
    assert ram.refs == 5
    space.populate(0, ram.length)
    assert (page.release(), pages.release()) == (True, 2)
    assert (dirty(space, 0, ram.length), ram.refs) == ([], 2)


def test_kick_timeout__the_vcpu_stays_asked(space: VmSpace, stuck: VmClient) -> None:
    """kicked stays set until the vCPU exits."""
    with pytest.raises(KickTimeout):
        space.track_dirty(0, PAGE)
    assert stuck.kicked


def test_kick_timeout__the_second_unmap_waits_too(space: VmSpace, client: VmClient, reservoir: Reservoir, calls: Calls) -> None:
    """While the vCPU stays, unmap goes on timing out, though there is nothing left to clear and no table to unlink."""
    with reservoir.allocate(PAGE) as small:
        map_at(space, small, 0x20 * PAGE)  # beside another mapping, in the same leaf table
        space.populate(0x20 * PAGE, PAGE)
        listen(client, "", calls)
        with on_cpu_elsewhere(space.client(), leaves=False):
            for _ in range(2):
                with pytest.raises(KickTimeout):
                    space.unmap(0x20 * PAGE, PAGE)
                assert (len(space.mappings), small.refs, calls) == (2, 2, [])
        space.unmap(0x20 * PAGE, PAGE)
        assert small.refs == 1


def test_kick_timeout__the_callback_comes_with_the_unmap_that_works(
    space: VmSpace, client: VmClient, ram: RamObject, calls: Calls
) -> None:
    """Leaves that an unmap cleared before it timed out are told when an unmap succeeds."""
    space.populate(0, ram.length)
    listen(client, "", calls)
    with on_cpu_elsewhere(space.client(), leaves=False), pytest.raises(KickTimeout):
        space.unmap(0, ram.length)
    space.unmap(0, ram.length)
    assert calls == [("", 0, ram.length)]


@pytest.mark.parametrize("name", ["track_dirty", "reset_dirty"])
def test_kick_timeout__dirty_bits_are_put_back(
    space: VmSpace, client: VmClient, stuck: VmClient, calls: Calls, name: str
) -> None:
    """A harvest that times out leaves every bit, no callback called, and the generation raised."""
    write_to(client, PAGE)
    listen(client, "", calls)
    generation, before = space.generation, space.table.entries(1).tolist()
    with pytest.raises(KickTimeout):
        getattr(space, name)(0, 4 * PAGE)
    assert (space.table.entries(1).tolist(), space.generation, calls) == (before, generation + 1, [])


def test_kick_timeout__accessed_bits_are_put_back(space: VmSpace, client: VmClient, stuck: VmClient) -> None:
    """The same for accessed bits."""
    write_to(client, PAGE)
    before = space.table.entries(1).tolist()
    with pytest.raises(KickTimeout):
        space.accessed(0, 4 * PAGE, clear=True)
    assert space.table.entries(1).tolist() == before


def test_kick_timeout__into_is_untouched(space: VmSpace, client: VmClient, stuck: VmClient) -> None:
    """Nothing is reported that was put back."""
    write_to(client, 0)
    into = np.zeros(1, np.uint8)
    with pytest.raises(KickTimeout):
        space.track_dirty(0, PAGE, into=into)
    assert into.tolist() == [0]


def test_kick_timeout__tracking_is_as_before(space: VmSpace, stuck: VmClient, calls: Calls) -> None:
    """set_tracking that times out changes nothing but the generation."""
    listen(space.client(), "", calls)
    generation, root = space.generation, space.table_root
    with pytest.raises(KickTimeout):
        space.set_tracking(False)
    assert (space.tracking, space.table_root, calls) == (True, root, [])
    assert space.generation == generation + 1


def test_kick_timeout__close_lets_newcomers_in_again(space: VmSpace, client: VmClient, stuck: VmClient) -> None:
    """A close that times out has unmapped nothing."""
    with pytest.raises(KickTimeout):
        space.close()
    assert len(space.mappings) == 1
    client.table_enter()
    client.table_exit()
    space.client().destroy()
    client.fault(0, Prot.READ)


def test_kick_timeout__look_ups_go_on(space: VmSpace, client: VmClient, stuck: VmClient) -> None:
    """The space is not left shut."""
    with pytest.raises(KickTimeout):
        space.track_dirty(0, PAGE)
    assert client.fault_many([0, PAGE], Prot.RW).tolist() == [0, 0]
    stuck.fault(0, Prot.READ)


# -- orphans, the end ---------------------------------------------------------------------------------------------------


def test_close__orphans_clients(space: VmSpace, client: VmClient) -> None:
    """A client of a space that is closed is an orphan: no look-ups, no clones, no vCPU."""
    space.close()
    assert client.orphaned
    for act in (client.clone, client.table_enter, lambda: client.hold(0, Prot.READ), lambda: client.on_invalidate(None)):
        with pytest.raises(Orphaned):
            act()


def test_close__held_pages_stay(space: VmSpace, client: VmClient, ram: RamObject, reservoir: Reservoir) -> None:
    """Pages held beyond the end of the space are readable and writable until released, and say that they were unmapped."""
    page = client.hold(0, Prot.RW)
    pages = client.hold_many([PAGE, 2 * PAGE], Prot.RW)
    space.close()
    page.writable()[:] = 7
    assert page.readable()[0xFFF] == 7
    assert pages.gather().shape == (2, PAGE)
    assert (client.holds, ram.refs) == (3, 4)
    assert (page.release(), pages.release()) == (True, 2)
    assert ram.refs == 1


def test_orphan__releases_all_and_is_destroyed(space: VmSpace, client: VmClient) -> None:
    """An orphan can be cleared away, and stays an orphan."""
    kept = [client.hold(0, Prot.READ), client.hold(PAGE, Prot.READ)]
    space.close()
    assert client.release_all() == 2
    client.destroy()
    client.destroy()
    assert client.orphaned
    with pytest.raises(StaleHandle):
        kept[0].release()


def test_orphan__table_exit_without_enter(space: VmSpace, client: VmClient) -> None:
    """An orphan that is not on CPU is told what anybody is told."""
    space.close()
    with pytest.raises(InvalidArgument):
        client.table_exit()


def test_destroy__orphans_and_keeps_pages(space: VmSpace, client: VmClient, ram: RamObject) -> None:
    """destroy needs the mappings gone, not the pages."""
    page = client.hold(0, Prot.RW)
    space.unmap(0, ram.length)
    space.destroy()
    assert client.orphaned
    assert page.readable()[0] == 0
    assert page.release() is True


def test_destroy__busy_with_mappings(space: VmSpace) -> None:
    """Mappings have to be taken down first."""
    with pytest.raises(Busy):
        space.destroy()
    assert len(space.mappings) == 1


def test_destroy__twice_is_stale(space: VmSpace, ram: RamObject) -> None:
    """destroy is for once; close may follow."""
    space.unmap(0, ram.length)
    space.destroy()
    with pytest.raises(StaleHandle):
        space.destroy()
    space.close()


def test_close__is_idempotent(space: VmSpace) -> None:
    """The second close does nothing."""
    space.close()
    space.close()


def test_close__gives_references_back(space: VmSpace, ram: RamObject) -> None:
    """Each mapping gives up its reference."""
    map_at(space, ram, 0x200000)
    assert ram.refs == 3
    space.close()
    assert ram.refs == 1


def test_context__closes(reservoir: Reservoir, ram: RamObject) -> None:
    """Leaving the context closes the space."""
    with VmSpace(PAGE) as space:
        space.map(ram, 0, PAGE, Prot.RW)
    assert ram.refs == 1
    with pytest.raises(StaleHandle):
        space.__enter__()


def test_context__hides_no_error(ram: RamObject) -> None:
    """An error inside a context comes out as it is."""
    with pytest.raises(KeyError), VmSpace(PAGE) as space:  # noqa: PT012
        space.map(ram, 0, PAGE, Prot.RW)
        raise KeyError


def test_close__warns_of_pages_that_nobody_has(space: VmSpace, client: VmClient) -> None:
    """A page that was dropped without its release is kept, counted, and told of at the end."""
    client.hold(0, Prot.RW)
    client.hold_many([0, PAGE], Prot.RW)
    assert client.holds == 3
    with pytest.warns(ResourceWarning, match="3"):
        space.close()
    assert client.release_all() == 3


def test_close__warns_of_a_chain_that_nobody_has(space: VmSpace, client: VmClient) -> None:
    """That dropped pages know each other does not make them somebody's."""
    client.hold(0, Prot.RW).chain(client.hold(PAGE, Prot.RW))
    assert client.holds == 2
    with pytest.warns(ResourceWarning, match="2"):
        space.close()


def test_close__does_not_warn_of_pages_in_use(space: VmSpace, client: VmClient) -> None:
    """Who still has its pages may go on with them."""
    page, pages = client.hold(0, Prot.RW), client.hold_many([0], Prot.RW)
    first, second = client.hold(0, Prot.RW), client.hold(0, Prot.RW)
    first.chain(second)
    del second
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        space.close()
    assert (page.release(), pages.release(), first.release_chain()) == (True, 1, True)


# -- forks --------------------------------------------------------------------------------------------------------------

LOOKING: dict[str, Callable[[VmSpace, VmClient], object]] = {
    "translate": lambda space, client: space.translate([0]).tolist(),
    "pte": lambda space, client: space.pte(0),
    "explain": lambda space, client: repr(space.explain(0)),
    "peek_dirty": lambda space, client: dirty(space, 0, PAGE),
    "accessed": lambda space, client: bits(space.accessed(0, PAGE)),
    "mappings": lambda space, client: len(space.mappings),
    "resident_count": lambda space, client: space.resident_count,
    "counters": lambda space, client: space.counters,
    "holds": lambda space, client: client.holds,
    "orphaned": lambda space, client: client.orphaned,
    "entries": lambda space, client: [space.table.entries(level).tolist() for level in LEVELS],
}
CHANGING: dict[str, Callable[[VmSpace, VmClient], object]] = {
    "map_mmio": lambda space, client: space.map_mmio(0x200000, PAGE, 0xFE00_0000),
    "unmap": lambda space, client: space.unmap(0, 0x10 * PAGE),
    "populate": lambda space, client: space.populate(0, PAGE),
    "track_dirty": lambda space, client: space.track_dirty(0, PAGE),
    "reset_dirty": lambda space, client: space.reset_dirty(0, PAGE),
    "set_dirty": lambda space, client: space.set_dirty(0, PAGE),
    "accessed clear": lambda space, client: space.accessed(0, PAGE, clear=True),
    "set_tracking": lambda space, client: space.set_tracking(False),
    "client": lambda space, client: space.client(),
    "destroy": lambda space, client: space.destroy(),
    "close": lambda space, client: space.close(),
    "hold": lambda space, client: client.hold(0, Prot.READ),
    "hold_many": lambda space, client: client.hold_many([0], Prot.READ),
    "fault": lambda space, client: client.fault(0, Prot.READ),
    "fault_many": lambda space, client: client.fault_many([0], Prot.READ),
    "read": lambda space, client: client.read(0, 1),
    "write": lambda space, client: client.write(0, b"x"),
    "on_invalidate": lambda space, client: client.on_invalidate(None),
    "clone": lambda space, client: client.clone(),
    "table_enter": lambda space, client: client.table_enter(),
    "run": lambda space, client: Vcpu(client).run([0]),
    "release_all": lambda space, client: client.release_all(),
    "client.destroy": lambda space, client: client.destroy(),
}


def in_child(act: Callable[[], object]) -> None:
    """Do something in a forked child; what it asserts is asserted here."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            error = caught(act)
            os.write(writer, repr(error).encode() if error is not None else b"fine")
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as pipe:
        told = pipe.read().decode()
    os.waitpid(pid, 0)
    assert told == "fine"


forked = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
ignore_threads = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


@forked
@ignore_threads
def test_fork__child_may_look(space: VmSpace, client: VmClient) -> None:
    """A child sees what its parent saw, without any lock that was held at the fork."""
    write_to(client, 0)
    page = client.hold(0, Prot.READ)
    wanted = {name: look(space, client) for name, look in LOOKING.items()}

    def look() -> None:
        for name, act in LOOKING.items():
            assert act(space, client) == wanted[name], name
        assert page.readable()[0] == 0x5A

    gate = client.gate
    with space._core.exclusion.lock, gate.lock:
        in_child(look)
    page.release()


@forked
@ignore_threads
def test_fork__child_may_not_change(space: VmSpace, client: VmClient, ram: RamObject) -> None:
    """All that changes something is the parent's."""
    page, pages = client.hold(0, Prot.RW), client.hold_many([0], Prot.RW)

    def change() -> None:
        for name, act in CHANGING.items():
            assert isinstance(caught(partial(act, space, client)), StaleHandle), name
        for end in (page.release, page.release_chain, pages.release, lambda: map_at(space, ram, 0x200000)):
            assert isinstance(caught(end), StaleHandle), end

    in_child(change)
    assert (page.release(), pages.release()) == (False, 0)


@forked
@ignore_threads
def test_fork__parent_goes_on(space: VmSpace, client: VmClient, ram: RamObject) -> None:
    """A fork does nothing to the parent."""
    in_child(lambda: None)
    write_to(client, 0)
    assert bits(space.track_dirty(0, PAGE)) == [0]
    space.unmap(0, ram.length)


@forked
@ignore_threads
def test_fork__wrong_arguments_are_told_in_no_other_order(space: VmSpace, client: VmClient) -> None:
    """A child's space is stale: that is told before a bad argument, after a wrong type."""

    def change() -> None:
        assert isinstance(caught(lambda: space.unmap(1, PAGE)), StaleHandle)
        assert isinstance(caught(lambda: client.hold(1, Prot.READ)), StaleHandle)
        assert isinstance(caught(lambda: space.unmap(0, None)), TypeError)  # type: ignore[arg-type]

    in_child(change)


# -- asked for twice ----------------------------------------------------------------------------------------------------


def test_table_enter__twice_is_busy(client: VmClient) -> None:
    """One vCPU is inside at a time."""
    client.table_enter()
    with pytest.raises(Busy):
        client.table_enter()
    client.table_exit()


def test_table_exit__without_enter(client: VmClient) -> None:
    """Who is not inside cannot leave."""
    with pytest.raises(InvalidArgument):
        client.table_exit()


def test_table_enter__tells_the_generation(space: VmSpace, client: VmClient) -> None:
    """A vCPU learns at entry whether its cached translations are stale."""
    assert client.table_enter() == space.generation
    client.table_exit()
    space.track_dirty(0, PAGE)
    assert client.table_enter() == space.generation
    client.table_exit()


def test_nothing_there__is_told_alike(space: VmSpace, client: VmClient) -> None:
    """A hole is NOMAP to a look-up and no mapping to a change."""
    error = caught(lambda: client.hold(0x200000, Prot.READ))
    assert getattr(error, "code", None) is FaultCode.NOMAP
    with pytest.raises(NoSuchMapping):
        space.unmap(0x200000, PAGE)
