"""What is left when a vCPU that was asked to leave does not."""

from collections.abc import Iterator

import numpy as np
import pytest

from npt import (
    KickTimeout,
    Prot,
    RamObject,
    Reservoir,
    VmClient,
    VmSpace,
)  # fmt: skip
from tests.space.scene import (
    PAGE,
    TABLES_OF_NOBODY,
    Calls,
    dirty,
    listen,
    map_at,
    on_cpu_elsewhere,
    tables,
    write_to,
)  # fmt: skip


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
