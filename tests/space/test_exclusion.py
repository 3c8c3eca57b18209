"""Who waits for whom: this thread on CPU, another thread on CPU, entering and leaving."""

from collections.abc import Callable

import pytest

from npt import (
    Busy,
    Deadlock,
    FaultCode,
    InvalidArgument,
    NoSuchMapping,
    Prot,
    RamObject,
    Vcpu,
    VmClient,
    VmSpace,
)  # fmt: skip
from tests.space.scene import (
    PAGE,
    caught,
    map_at,
    on_cpu,
    on_cpu_elsewhere,
    write_to,
)  # fmt: skip

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
    "resident": lambda space, client, ram: space.resident(0, PAGE),
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
