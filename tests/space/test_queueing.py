"""Who may wait for the space lock, and what became of those who may not."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import numpy as np
import pytest

from npt import (
    Deadlock,
    InvalidArgument,
    KickTimeout,
    NoSuchMapping,
    Prot,
    RamObject,
    Reservoir,
    StaleHandle,
    Vcpu,
    VmClient,
    VmSpace,
)
from npt.kernels import words
from npt.space.accesses import check as check_accesses
from npt.space.gate import KICK
from npt.testing import Play, check, explore
from tests.space.scene import PAGE, SIZE, map_at, on_cpu, on_cpu_elsewhere


@contextmanager
def taken(space: VmSpace) -> Iterator[None]:
    """Another thread has the space lock."""
    has, done = threading.Event(), threading.Event()

    def take() -> None:
        with space._core.exclusion.lock:
            has.set()
            done.wait(60)

    thread = threading.Thread(target=take)
    thread.start()
    try:
        assert has.wait(60)
        yield
    finally:
        done.set()
        thread.join()


QUEUEING: dict[str, Callable[[VmSpace, RamObject], object]] = {
    "map": lambda space, ram: map_at(space, ram, 0x200000),
    "populate": lambda space, ram: space.populate(0, PAGE),
    "client": lambda space, ram: space.client(),
    "set_dirty": lambda space, ram: space.set_dirty(0, PAGE),
    "translate": lambda space, ram: space.translate([0]),
    "peek_dirty": lambda space, ram: space.peek_dirty(0, PAGE),
    "accessed": lambda space, ram: space.accessed(0, PAGE),
    "resident": lambda space, ram: space.resident(0, PAGE),
    "mappings": lambda space, ram: space.mappings,
}


@pytest.mark.parametrize("name", QUEUEING)
def test_queue__on_cpu_and_asked_to_leave_is_a_deadlock(space: VmSpace, ram: RamObject, name: str) -> None:
    """Whoever has the lock waits for this thread to leave, so this thread must not wait for the lock."""
    with on_cpu(space) as inside:
        words.store(inside.gate.line, KICK, 1)
        with taken(space), pytest.raises(Deadlock):
            QUEUEING[name](space, ram)
    QUEUEING[name](space, ram)


@pytest.mark.parametrize("name", QUEUEING)
def test_queue__in_a_look_up_is_a_deadlock(space: VmSpace, client: VmClient, ram: RamObject, name: str) -> None:
    """A finalizer that runs in a look-up may not wait for the lock: its owner may be waiting for that look-up."""
    with client.gate.lock, pytest.raises(Deadlock):
        QUEUEING[name](space, ram)


def test_queue__destroying_a_client_in_a_look_up_is_a_deadlock(space: VmSpace, client: VmClient) -> None:
    """So a ``__del__`` that destroys a client is told, and hangs nobody."""
    other = space.client()
    with client.gate.lock, pytest.raises(Deadlock):
        other.destroy()
    other.destroy()


def test_look_up__on_cpu_goes_in_where_hold_was_left_behind(space: VmSpace, client: VmClient) -> None:
    """HOLD without anybody who has the space lock keeps nobody out, not even who is on CPU."""
    with on_cpu(space):
        client.gate.state |= 1
        client.fault(0, Prot.READ)
        assert client.gate.state == 0


def test_table_exit__ends_only_what_table_enter_began(space: VmSpace, client: VmClient) -> None:
    """A vCPU that runs through the client is not thrown off CPU: the host would take memory away under it."""
    vcpu = object()
    client.gate.enter(vcpu)
    with pytest.raises(InvalidArgument):
        client.table_exit()
    assert client.gate.inside is vcpu
    client.gate.leave(vcpu)


@pytest.fixture
def bare(reservoir: Reservoir) -> Iterator[VmSpace]:
    """A space that knows of no reservoir yet."""
    with VmSpace(SIZE, kick_timeout=0.01) as made:
        yield made


def test_map__first_ram_kicks_who_knows_of_no_bytes(bare: VmSpace, reservoir: Reservoir) -> None:
    """A vCPU that came in before would drop what it stores."""
    patient = VmSpace(SIZE, kick_timeout=60)
    with reservoir.allocate(PAGE) as ram:
        with on_cpu_elsewhere(patient.client(), leaves=True) as kicked:
            map_at(patient, ram, 0)
            assert kicked.is_set()
        map_at(patient, ram, PAGE)
        assert patient.counters.kicks == 1
        patient.close()


def test_map__first_ram_that_cannot_kick_changes_nothing(bare: VmSpace, reservoir: Reservoir) -> None:
    """The space goes on without a reservoir."""
    with reservoir.allocate(PAGE) as ram:
        with on_cpu_elsewhere(bare.client(), leaves=False):
            with pytest.raises(KickTimeout):
                map_at(bare, ram, 0)
            assert (bare.mappings, ram.refs, bare._core.reservoir) == ((), 1, None)
        map_at(bare, ram, 0)
        check(bare)
        bare.close()


def test_run__flags_are_its_own(client: VmClient) -> None:
    """A caller who changes them meanwhile cannot make a checked read an unchecked write."""
    flags = np.zeros(4, np.bool_)
    kinds = check_accesses(client, [0, 0, 0, 0], flags, False, None, None).kinds
    assert not np.may_share_memory(flags, kinds)


def test_keeper__of_an_equal_mapping_is_another(space: VmSpace) -> None:
    """And a mapping that is gone stays apart from all later ones."""
    mappings = space._core.mappings
    mapping = mappings.all()[0]
    assert mappings.keeper(mapping) == mappings.keeper(mapping)
    assert mappings.keeper(mapping) != mappings.keeper(mapping._replace())


def test_unmap__interrupt_and_time_out_raise_the_interrupt(
    space: VmSpace, ram: RamObject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in the wait for a vCPU is what the caller sees, and the mapping stays."""
    errors: list[BaseException] = [KeyboardInterrupt(), KickTimeout("a vCPU did not leave")]

    def kick() -> None:
        raise errors.pop(0)

    with monkeypatch.context() as patch:
        patch.setattr(space._core.exclusion, "kick", kick)
        with pytest.raises(KeyboardInterrupt):
            space.unmap(0, ram.length)
    assert len(space.mappings) == 1
    check(space)
    space.unmap(0, ram.length)
    with pytest.raises(NoSuchMapping):
        space.unmap(0, ram.length)


def test_release__of_one_unmapped_page_by_two_threads() -> None:
    """One releases it, the other is told that it was; the object is dropped once."""

    def make() -> Play:
        reservoir = Reservoir(PAGE)
        ram = reservoir.allocate(PAGE)
        space = VmSpace(SIZE, reservoir=reservoir)
        map_at(space, ram, 0)
        page = space.client().hold(0, Prot.READ)
        space.unmap(0, PAGE)
        ram.release()
        said: list[object] = []

        def release() -> None:
            try:
                said.append(page.release())
            except Exception as error:
                said.append(str(error))

        def finish() -> None:
            assert sorted(map(type, said), key=repr) == [bool, str]
            assert True in said
            assert "the page at" in next(word for word in said if isinstance(word, str))
            assert reservoir.usage.free == reservoir.size

        return Play([release, release], finish)

    assert explore(make, reduce=False).schedules > 1


def test_release_all__beside_a_release() -> None:
    """Nothing is left held, and nobody is told that somebody else's page is stale."""

    def make() -> Play:
        space = VmSpace(SIZE)
        space.map_mmio(0, 2 * PAGE, 0xFE00_0000)
        client = space.client()
        pages = [client.hold(gpa, Prot.READ) for gpa in (0, PAGE)]
        batch = client.hold_many([0], Prot.READ)

        def release() -> None:
            for claim in (pages[1], batch):
                with suppress(StaleHandle):
                    claim.release()

        def finish() -> None:
            assert client.holds == 0
            check(space)

        return Play([client.release_all, release], finish)

    assert explore(make, preemptions=1).schedules > 1


def test_vcpu__in_a_finalizer_of_its_own_run_is_busy(client: VmClient) -> None:
    """One run at a time, of one thread, too."""
    vcpu = Vcpu(client)
    vcpu._turn["now"] = check_accesses(client, [0], False, False, None, None)
    with pytest.raises(Exception, match="running already"):
        vcpu.run([0])
