"""A vCPU with a simulated TLB in a space: when it is flushed, and that nothing is lost by that."""

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest

from npt import Busy, ExitReason, FaultCode, InvalidArgument, Prot, RamObject, Vcpu, VcpuExit, VmClient, VmSpace
from npt.kernels import jit
from tests.space.scene import GIB, PAGE, bits, dirty, map_at

DONE = ExitReason.DONE


@pytest.fixture
def vcpu(client: VmClient) -> Vcpu:
    """A vCPU with 64 entries."""
    return Vcpu(client, tlb=64)


def flushes_after(space: VmSpace, vcpu: Vcpu, work: Callable[[], object]) -> int:
    """How often the TLB is flushed by the two runs after some work."""
    vcpu.run([0], write=True)
    before = space.counters.flushes
    work()
    vcpu.run([0])
    vcpu.run([0])
    return space.counters.flushes - before


# -- flushes --------------------------------------------------------------------------------------------------------------


def test_flush__a_new_tlb_needs_none(space: VmSpace, client: VmClient) -> None:
    """It counts as flushed at the generation of its making, and keeps to that."""
    early = Vcpu(client, tlb=4)
    space.track_dirty(0, PAGE)
    late = Vcpu(client, tlb=4)
    late.run([0])
    assert space.counters.flushes == 0
    early.run([0])
    early.run([0])
    assert space.counters.flushes == 1


def test_flush__what_raises_no_generation_flushes_nothing(space: VmSpace, vcpu: Vcpu, ram: RamObject) -> None:
    """map, populate, set_dirty, peek, a hold, and the end of what was never resident."""

    def work() -> None:
        space.map(ram, GIB, 16 * PAGE, Prot.RW)
        space.unmap(GIB, 16 * PAGE)
        space.populate(0, 4 * PAGE)
        space.set_dirty(0, 4 * PAGE)
        space.peek_dirty(0, 4 * PAGE)
        space.accessed(0, 4 * PAGE)
        space.resident(0, 4 * PAGE)
        space.set_tracking(space.tracking)
        client = space.client()
        client.write(0, b"abc")
        client.destroy()

    assert flushes_after(space, vcpu, work) == 0


@pytest.mark.parametrize("call", ["track", "reset", "accessed", "tracking", "unmap"])
def test_flush__once_for_whatever_was_taken_away(space: VmSpace, vcpu: Vcpu, ram: RamObject, call: str) -> None:
    """Once, at the next entry, however often the generation rose."""

    def unmap() -> None:
        map_at(space, ram, GIB)
        space.populate(GIB, PAGE)
        space.unmap(GIB, ram.length)

    work = {
        "track": lambda: [space.track_dirty(0, PAGE) for _ in range(3)],
        "reset": lambda: space.reset_dirty(0, PAGE),
        "accessed": lambda: space.accessed(0, PAGE, clear=True),
        "tracking": lambda: space.set_tracking(not space.tracking),
        "unmap": unmap,
    }[call]
    assert flushes_after(space, vcpu, work) == 1


def test_flush__is_counted_for_tlbs_only(space: VmSpace, client: VmClient) -> None:
    """A vCPU without a TLB has nothing to flush; the count outlives the client."""
    vcpu, bare = Vcpu(client, tlb=1), Vcpu(space.client())
    for _ in range(3):
        space.track_dirty(0, PAGE)
        bare.run([0])
        vcpu.run([0])
    assert space.counters.flushes == 3
    client.destroy()
    assert space.counters.flushes == 3


def test_flush__belongs_to_the_vcpu(space: VmSpace, client: VmClient) -> None:
    """Two vCPUs of one client flush each for itself."""
    one, other = Vcpu(client, tlb=4), Vcpu(client, tlb=4)
    for vcpu in (one, other):
        vcpu.run([0])
    space.track_dirty(0, PAGE)
    one.run([0])
    one.run([0])
    assert space.counters.flushes == 1
    other.run([0])
    assert space.counters.flushes == 2


# -- what that is good for ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tlb", [0, 1, 2, 3, 4, 5, 64, 2048])
def test_harvest__loses_nothing(space: VmSpace, client: VmClient, tlb: int) -> None:
    """Each harvest sees the writes since the last one, whatever is cached."""
    vcpu = Vcpu(client, tlb=tlb)
    for pages in ([1, 5, 9], [5], [5, 9], [], [1]):
        vcpu.run([page * PAGE for page in pages] * 3, write=True)
        assert bits(space.track_dirty(0, 0x10 * PAGE)) == pages


def test_stale__a_write_through_a_cached_entry_is_lost_without_a_flush(space: VmSpace, vcpu: Vcpu) -> None:
    """The TLB is a real one: D, cleared by nobody who says so, is not set again."""
    vcpu.run([0], write=True)
    space.table.read_table(_leaf_table(space))[0] &= ~np.uint64(space.format.masks.dirty)
    vcpu.run([0], write=True)
    assert dirty(space, 0, PAGE) == []
    space.track_dirty(0, PAGE)
    vcpu.run([0], write=True)
    assert dirty(space, 0, PAGE) == [0]


def _leaf_table(space: VmSpace) -> int:
    """PFN of the leaf table of page 0."""
    table = space.table_root >> 12
    for _ in range(3):
        table = space.format.pfn_of(int(space.table.read_table(table)[0]))
    return table


def test_unmap__cached_pages_are_gone(space: VmSpace, vcpu: Vcpu, ram: RamObject) -> None:
    """What was mapped instead is there."""
    vcpu.run([0], write=True, values=[5])
    space.unmap(0, ram.length)
    assert vcpu.run([0]).code is FaultCode.NOMAP
    space.map(ram, 0, PAGE, Prot.READ, PAGE)
    loads = np.ones(1, np.uint64)
    assert vcpu.run([0], into=loads).reason is DONE
    assert loads.tolist() == [0]
    assert vcpu.run([0], write=True).code is FaultCode.PROT


@pytest.mark.parametrize("tlb", [0, 1, 2, 3, 4, 5, 64, 2048])
def test_run__the_same_exits_with_and_without(space: VmSpace, client: VmClient, ram: RamObject, tlb: int) -> None:
    """A TLB changes neither faults nor bytes nor what is resident."""
    space.map(ram, GIB, 4 * PAGE, Prot.READ)
    numbers = np.random.default_rng(tlb)
    gpas = np.concatenate([numbers.integers(0, 12 * PAGE // 8, 500) * 8, [GIB, GIB + 8, GIB, 2 * GIB]]).astype(np.uint64)
    write = numbers.random(gpas.size) < 0.5
    write[-4:] = [False, False, True, False]
    values, loads = np.arange(gpas.size, dtype=np.uint64), np.zeros(gpas.size, np.uint64)
    exit = Vcpu(client, tlb=tlb).run(gpas, write=write, values=values, into=loads)
    assert (exit.completed, exit.gpa, exit.code) == (502, GIB, FaultCode.PROT)
    bytes_of: dict[int, int] = {GIB: 0, GIB + 8: 0}
    for k, gpa in enumerate(gpas[:500].tolist()):
        if write[k]:
            bytes_of[gpa] = k
        else:
            assert loads[k] == bytes_of.get(gpa, 0)
    assert dirty(space, 0, 16 * PAGE) == sorted({int(gpa) // PAGE for gpa in gpas[:500][write[:500]]})


# -- arguments ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tlb", [2**24 + 1, 2**40, 2**63, 2**64, 10**30])
def test_tlb__absurdly_large_is_refused(client: VmClient, tlb: int) -> None:
    """With a word about the number, and without taking memory first."""
    with pytest.raises(InvalidArgument, match="too large"):
        Vcpu(client, tlb=tlb)


@pytest.mark.parametrize("tlb", [1, 7, 1536, 100_003])
def test_tlb__of_any_size(client: VmClient, tlb: int) -> None:
    """It says how many it has."""
    vcpu = Vcpu(client, cpu=3, tlb=tlb)
    assert vcpu.tlb == tlb
    assert repr(vcpu) == f"<Vcpu 3, {client.core.format.name}, TLB of {tlb}>"
    assert vcpu.run([0, PAGE, 0], write=True) == VcpuExit(DONE, 3)


def test_tlb__busy_before_anything_is_touched(space: VmSpace, client: VmClient) -> None:
    """A vCPU that is refused has not flushed."""
    vcpu = Vcpu(client, tlb=4)
    vcpu.run([0], write=True)
    space.track_dirty(0, PAGE)
    assert vcpu._tlb is not None
    before = vcpu._tlb.entries.tolist(), vcpu._tlb.generation
    client.table_enter()
    with pytest.raises(Busy):
        vcpu.run([0])
    client.table_exit()
    assert (vcpu._tlb.entries.tolist(), vcpu._tlb.generation) == before
    assert space.counters.flushes == 0


@pytest.mark.skipif(jit.DISABLED, reason="plain Python takes memory for its numbers")
def test_run__takes_a_byte_an_access_for_its_flags(client: VmClient) -> None:
    """A flag for all costs nothing, bools are copied as they are: no array of larger elements is made of them."""
    vcpu, n = Vcpu(client), 1 << 16
    gpas, flags = np.zeros(n, np.uint64), np.zeros(n, np.bool_)
    vcpu.run(gpas)
    tracemalloc.start()
    for write in (False, True, flags):
        vcpu.run(gpas, write=write)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < n + n // 4
