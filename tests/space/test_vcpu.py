"""What a vCPU does to the real tables: marks, stores, loads, faults."""

from typing import Any

import numpy as np
import pytest

from npt import (
    Busy,
    ExitReason,
    FaultCode,
    InvalidArgument,
    Orphaned,
    Prot,
    PteFormat,
    RamObject,
    StaleHandle,
    Vcpu,
    VcpuExit,
    VmClient,
    VmSpace,
    kernels,
)  # fmt: skip
from tests.space.scene import GIB, MIB, PAGE, SIZE, bits, dirty, map_at

DONE, FAULT = ExitReason.DONE, ExitReason.FAULT


@pytest.fixture
def vcpu(client: VmClient) -> Vcpu:
    """A vCPU of the client."""
    return Vcpu(client)


def marks(space: VmSpace, gpa: int) -> str:
    """A and D of a page's entry, as letters."""
    a, d = (0x100, 0x200) if space.format.name == "ept" else (0x20, 0x40)
    entry = space.pte(gpa) or 0
    return ("A" if entry & a else "") + ("D" if entry & d else "")


# -- marks --------------------------------------------------------------------------------------------------------------


def test_run__write_marks(space: VmSpace, vcpu: Vcpu) -> None:
    """A write makes resident and sets A and D."""
    assert vcpu.run([0x1FFF], write=True) == VcpuExit(DONE, 1)
    assert (marks(space, PAGE), space.resident_count, dirty(space, 0, 4 * PAGE)) == ("AD", 1, [1])


def test_run__read_and_execute_mark_accessed(space: VmSpace, vcpu: Vcpu, ram: RamObject) -> None:
    """Reads and fetches set A only."""
    map_at(space, ram, GIB, Prot.RWX)
    assert vcpu.run([GIB]).reason is DONE
    assert vcpu.run([GIB + PAGE], execute=True).reason is DONE
    assert (marks(space, GIB), marks(space, GIB + PAGE)) == ("A", "A")


def test_run__mixed(space: VmSpace, vcpu: Vcpu) -> None:
    """write may be one bool for each access."""
    write = np.array([True, False, True, False, False])
    assert vcpu.run([0, PAGE, 2 * PAGE, 0, 3 * PAGE], write=write).completed == 5
    assert dirty(space, 0, 0x10 * PAGE) == [0, 2]


def test_run__without_tracking(space: VmSpace, vcpu: Vcpu) -> None:
    """EPT marks only while tracking is on, nPT always."""
    space.set_tracking(False)
    vcpu.run([0], write=True)
    assert marks(space, 0) == ("" if space.format.name == "ept" else "AD")


def test_run__again_after_a_harvest(space: VmSpace, vcpu: Vcpu) -> None:
    """Each harvest sees the writes since the last one, none twice and none missing."""
    for pages in ([1, 5], [5], [], [2, 3]):
        vcpu.run([page * PAGE for page in pages], write=True)
        assert bits(space.track_dirty(0, 0x10 * PAGE)) == pages


@pytest.mark.parametrize("border", [2 * MIB, GIB, 512 * GIB])
def test_run__across_a_border(space: VmSpace, vcpu: Vcpu, ram: RamObject, border: int) -> None:
    """Pages on either side of a border of any level are reached."""
    map_at(space, ram, border - 8 * PAGE)
    assert vcpu.run([border - 1, border], write=True).completed == 2
    assert dirty(space, border - 8 * PAGE, 16 * PAGE) == [7, 8]


@pytest.mark.parametrize("n", [0, 1, 63, 64, 65, 128, 1000])
def test_run__many(space: VmSpace, vcpu: Vcpu, n: int) -> None:
    """Any number of accesses is done, in order."""
    gpas = (np.arange(n) % 16 * PAGE).astype(np.uint64)
    assert vcpu.run(gpas, write=True) == VcpuExit(DONE, n)
    assert dirty(space, 0, 16 * PAGE) == list(range(min(n, 16)))
    assert space.counters.faults == min(n, 16)


# -- values -------------------------------------------------------------------------------------------------------------


def test_values__are_stored_and_loaded(client: VmClient, vcpu: Vcpu) -> None:
    """Writes store 64-bit values at their address, reads load them."""
    values = [1, 2**64 - 1, 0x0123456789ABCDEF]
    gpas = [0, 0xFF8, 0x1008]
    assert vcpu.run(gpas, write=True, values=values).completed == 3
    assert client.read(0x1008, 8) == (0x0123456789ABCDEF).to_bytes(8, "little")
    loads = np.zeros(3, np.uint64)
    assert vcpu.run(gpas, into=loads).completed == 3
    assert loads.tolist() == values


def test_values__in_order(vcpu: Vcpu) -> None:
    """A read in the same run sees the writes before it; places of writes in ``into`` stay."""
    loads = np.full(4, 77, np.uint64)
    write = np.array([False, True, False, True])
    vcpu.run([8, 8, 8, 8], write=write, values=[0, 5, 0, 6], into=loads)
    assert loads.tolist() == [0, 77, 5, 77]


def test_values__only_writes_must_be_aligned(vcpu: Vcpu) -> None:
    """Values of reads are not used, and loads of writes neither."""
    assert vcpu.run([1, 8], write=np.array([False, True]), values=[1, 2]).completed == 2
    assert vcpu.run([8, 1], write=np.array([False, True]), into=np.zeros(2, np.uint64)).completed == 2


@pytest.mark.parametrize("gpa", [1, 4, 7, 0xFFF])
def test_values__unaligned_is_refused(space: VmSpace, vcpu: Vcpu, gpa: int) -> None:
    """A value has eight bytes in one page."""
    with pytest.raises(InvalidArgument):
        vcpu.run([0, gpa], write=True, values=[1, 2])
    with pytest.raises(InvalidArgument):
        vcpu.run([0, gpa], into=np.zeros(2, np.uint64))
    assert space.resident_count == 0


def test_values__of_mmio_are_dropped(space: VmSpace, vcpu: Vcpu) -> None:
    """A page without bytes takes values and gives 0, and is marked."""
    mmio = space.map_mmio(GIB, PAGE, 0xFE00_0000)
    loads = np.ones(1, np.uint64)
    assert vcpu.run([GIB], write=True, values=[9]).reason is DONE
    assert vcpu.run([GIB], into=loads).reason is DONE
    assert (loads.tolist(), marks(space, GIB)) == ([0], "AD")
    mmio.release()


def test_write_and_execute__exclude_each_other(vcpu: Vcpu) -> None:
    """An access is one thing."""
    with pytest.raises(InvalidArgument):
        vcpu.run([0, 0], write=np.array([True, True]), execute=np.array([False, True]))


# -- faults -------------------------------------------------------------------------------------------------------------

EPT_LINEAR = 0x180
NPT_FINAL_USER = 1 << 32 | 4


@pytest.mark.parametrize("gpa", [0x10 * PAGE + 5, GIB + 5, SIZE - 1, SIZE, 2**48 + 5, 2**64 - 1])
def test_run__nothing_there(space: VmSpace, vcpu: Vcpu, gpa: int) -> None:
    """A fault tells the address as given, how far it came, and what hardware would."""
    exit = vcpu.run([0, PAGE, gpa, 2 * PAGE], write=True)
    bit = EPT_LINEAR | 2 if space.format.name == "ept" else NPT_FINAL_USER | 2
    assert exit == VcpuExit(FAULT, 2, gpa, FaultCode.NOMAP, bit)
    assert dirty(space, 0, 0x10 * PAGE) == [0, 1]


def test_run__not_allowed(space: VmSpace, vcpu: Vcpu, ram: RamObject) -> None:
    """A write to a read-only page faults with what the walk's entries grant, resident or not."""
    space.map(ram, GIB, PAGE, Prot.READ)
    bit = EPT_LINEAR | 2 | 1 << 3 if space.format.name == "ept" else NPT_FINAL_USER | 3
    absent = vcpu.run([GIB], write=True)
    assert (absent.reason, absent.code) == (FAULT, FaultCode.PROT)
    space.populate(GIB, PAGE)
    assert vcpu.run([GIB], write=True) == VcpuExit(FAULT, 0, GIB, FaultCode.PROT, bit)
    assert marks(space, GIB) == ("A" if space.format.name == "npt" else "")


def test_run__may_not_be_executed(space: VmSpace, vcpu: Vcpu) -> None:
    """A fetch from a page that may not be executed faults: bit 63 in nPT, no bit 2 in EPT."""
    space.populate(0, PAGE)
    bit = EPT_LINEAR | 4 | 3 << 3 if space.format.name == "ept" else NPT_FINAL_USER | 1 | 1 << 4
    assert vcpu.run([8], execute=True) == VcpuExit(FAULT, 0, 8, FaultCode.PROT, bit)


def test_step__installs_nothing(space: VmSpace, vcpu: Vcpu) -> None:
    """step stops at a page that is mapped and not resident, and leaves it so."""
    space.populate(0, PAGE)
    exit = vcpu.step([0, PAGE, 0], write=True)
    assert (exit.reason, exit.completed, exit.gpa, exit.code) == (FAULT, 1, PAGE, FaultCode.NOMAP)
    assert (space.resident_count, space.counters.faults) == (1, 0)
    assert dirty(space, 0, 2 * PAGE) == [0]


def test_step__done(space: VmSpace, vcpu: Vcpu) -> None:
    """step does what it can."""
    space.populate(0, 0x10 * PAGE)
    assert vcpu.step([0, PAGE], write=True) == VcpuExit(DONE, 2)


def test_step__stores_nothing_at_the_fault(client: VmClient, space: VmSpace, vcpu: Vcpu) -> None:
    """The access that faults has not happened, nor any after it."""
    client.fault(0, Prot.RW)
    loads = np.full(3, 9, np.uint64)
    assert vcpu.step([0, PAGE, 0], into=loads).completed == 1
    assert loads.tolist() == [0, 9, 9]


def test_run__serves_faults_like_a_client(space: VmSpace, vcpu: Vcpu) -> None:
    """Each page faults once."""
    vcpu.run([0, 0, PAGE, 0], write=True)
    assert (space.counters.faults, space.resident_count) == (2, 2)


def test_run__leaves_the_tables(space: VmSpace, client: VmClient, vcpu: Vcpu) -> None:
    """After a run, and after a fault, nobody is inside."""
    vcpu.run([0])
    vcpu.run([GIB])
    vcpu.step([PAGE])
    client.table_enter()
    client.table_exit()
    space.track_dirty(0, PAGE)
    assert space.counters.kicks == 0


def test_run__sees_an_unmap(space: VmSpace, vcpu: Vcpu, ram: RamObject) -> None:
    """What was unmapped is gone, and what was mapped instead is there."""
    vcpu.run([0], write=True, values=[5])
    space.unmap(0, ram.length)
    assert vcpu.run([0]).code is FaultCode.NOMAP
    space.map(ram, 0, PAGE, Prot.RW, PAGE)
    loads = np.ones(1, np.uint64)
    vcpu.run([0], into=loads)
    assert loads.tolist() == [0]


# -- handles ------------------------------------------------------------------------------------------------------------


def test_vcpu__one_at_a_time(client: VmClient, vcpu: Vcpu) -> None:
    """A client that is on CPU takes no second vCPU."""
    client.table_enter()
    with pytest.raises(Busy):
        vcpu.run([0])
    with pytest.raises(Busy):
        Vcpu(client).step([])
    client.table_exit()
    assert vcpu.run([0]).reason is DONE


def test_vcpu__two_of_one_client(client: VmClient, vcpu: Vcpu) -> None:
    """A client's vCPUs take turns."""
    assert Vcpu(client, cpu=3).cpu == 3
    assert (vcpu.run([0]).reason, Vcpu(client).run([0]).reason) == (DONE, DONE)


def test_vcpu__of_an_orphan(space: VmSpace, vcpu: Vcpu) -> None:
    """Without its space it does not run; this is no fault but an error."""
    space.close()
    with pytest.raises(Orphaned):
        vcpu.run([0])


def test_vcpu__of_a_client_that_is_gone(client: VmClient, vcpu: Vcpu) -> None:
    """Nor without its client."""
    client.destroy()
    with pytest.raises(StaleHandle):
        vcpu.step([0])


def test_repr__is_short(vcpu: Vcpu, form: PteFormat) -> None:
    """Exits tell what happened."""
    assert form.name in repr(vcpu)
    assert "DONE" in repr(vcpu.run([0]))
    assert hex(GIB) in repr(vcpu.run([GIB]))


# -- one at a time, and whatever happens ----------------------------------------------------------------------------------


def test_run__of_a_vcpu_that_is_running_is_busy(
    space: VmSpace, vcpu: Vcpu, client: VmClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while it is out to have a fault served, and without a change to what it is doing."""
    refused = []
    serve = client.serve

    def meanwhile(gpa: int, prot: int) -> int:
        for again in (vcpu.run, vcpu.step):
            with pytest.raises(Busy, match="running already"):
                again([0x3000], write=True)
            refused.append(again)
        return serve(gpa, prot)

    monkeypatch.setattr(client, "serve", meanwhile)
    assert vcpu.run([0x1000, 0x2000], write=True) == VcpuExit(DONE, 2)
    assert len(refused) == 4
    assert dirty(space, 0, 8 * PAGE) == [1, 2]
    assert vcpu.run([0x1000]).reason is DONE


@pytest.mark.parametrize("tlb", [0, 4])
def test_run__interrupted_between_chunks_is_outside(
    space: VmSpace, client: VmClient, monkeypatch: pytest.MonkeyPatch, tlb: int
) -> None:
    """After an interrupt nobody is in the tables, the space changes without a kick, and the vCPU runs again."""
    vcpu = Vcpu(client, tlb=tlb)
    space.populate(0, PAGE)
    access, calls = vcpu._access, []

    def interrupted(accesses: Any, start: int, stop: int) -> None:
        calls.append((start, stop))
        if start:
            raise KeyboardInterrupt
        access(accesses, start, stop)

    monkeypatch.setattr(vcpu, "_access", interrupted)
    monkeypatch.setattr("npt.space.vcpu._CHUNK", 100)
    with pytest.raises(KeyboardInterrupt):
        vcpu.run(np.zeros(105, np.uint64), write=True)
    assert calls == [(0, 100), (100, 105)]
    assert space.track_dirty(0, 8 * PAGE).tolist() == [1]
    assert space.counters.kicks == 0
    monkeypatch.undo()
    assert vcpu.run([0], write=True).reason is DONE


def test_run__goes_on_after_kicks(space: VmSpace, client: VmClient, vcpu: Vcpu, monkeypatch: pytest.MonkeyPatch) -> None:
    """run comes back by itself and does each access once; step says KICKED."""
    space.populate(0, PAGE)
    access, kicks = vcpu._access, [1, 1, 1]

    def kicked(accesses: Any, start: int, stop: int) -> None:
        client.gate.line[0] = kicks.pop() if kicks else 0
        access(accesses, start, stop)

    monkeypatch.setattr(vcpu, "_access", kicked)
    assert vcpu.run([0] * 200, write=True) == VcpuExit(DONE, 200)
    kicks.append(1)
    assert vcpu.step([0] * 200) == VcpuExit(ExitReason.KICKED, 0)
    assert "KICKED after 0" in repr(VcpuExit(ExitReason.KICKED, 0))


# -- arguments ------------------------------------------------------------------------------------------------------------


def test_run__bools_that_are_not_zero_or_one(space: VmSpace, vcpu: Vcpu) -> None:
    """Somebody's bytes, viewed as bools, are true where they are not zero."""
    odd = np.array([0, 2, 255, 1], np.uint8).view(np.bool_)
    assert vcpu.run([0, PAGE, 2 * PAGE, 3 * PAGE], write=odd).completed == 4
    assert dirty(space, 0, 8 * PAGE) == [1, 2, 3]


def test_run__strided_flags(space: VmSpace, vcpu: Vcpu) -> None:
    """Flags may be any view."""
    flags = np.array([True, False, False, False, True, False])[::2]
    assert vcpu.run([0, PAGE, 2 * PAGE], write=flags).completed == 3
    assert dirty(space, 0, 8 * PAGE) == [0, 2]


@pytest.mark.parametrize(
    ("write", "execute"), [(True, True), (True, np.array([True, False])), (np.array([True, False]), True)]
)  # fmt: skip
def test_run__one_flag_for_all_beside_one_each(vcpu: Vcpu, write: Any, execute: Any) -> None:
    """An access cannot do both, however that is said."""
    with pytest.raises(InvalidArgument, match="both"):
        vcpu.run([0, 0], write=write, execute=execute)


def test_run__executes_or_writes_each(space: VmSpace, vcpu: Vcpu, ram: RamObject) -> None:
    """Both flags as arrays."""
    map_at(space, ram, GIB, Prot.RWX)
    write, execute = np.array([True, False, False]), np.array([False, True, False])
    loads = np.full(3, 7, np.uint64)
    assert vcpu.run([GIB, GIB + 8, GIB + 16], write=write, execute=execute, into=loads).completed == 3
    assert loads.tolist() == [7, 7, 0]


def test_into__may_be_an_argument_too(vcpu: Vcpu) -> None:
    """Loads change neither the addresses nor the flags of the accesses behind them."""
    gpas = np.array([8, 8, 8], np.uint64)
    vcpu.run([8], write=True, values=[2**64 - 1])
    assert vcpu.run(gpas, into=gpas).completed == 3
    assert gpas.tolist() == [2**64 - 1] * 3
    loads = np.zeros(8, np.uint64)
    flags = loads.view(np.bool_)[:8]
    assert vcpu.run([8] * 8, write=flags, into=loads).completed == 8
    assert loads.tolist() == [2**64 - 1] * 8


@pytest.mark.parametrize("tlb", [0, 4])
def test_run__compiles_before_it_is_on_cpu(client: VmClient, tlb: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever kicks waits for a vCPU to leave, and must not wait for a compiler."""
    compiled: list[tuple[str, bool]] = []

    def compile(kernel: Any) -> None:
        compiled.append((kernel.__module__, client.gate.is_occupied()))

    vcpu = Vcpu(client, tlb=tlb)
    monkeypatch.setattr(kernels.jit, "entry_point", compile)
    vcpu.run([0])
    vcpu.run([0])
    assert compiled == [("npt.kernels.tlb" if tlb else "npt.kernels.guest", False)]
