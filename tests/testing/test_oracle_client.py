"""The oracle's clients, pages, vCPUs, guests and segments."""

from collections.abc import Callable

import numpy as np
import pytest

from npt import (
    AccessDenied,
    Busy,
    ExitReason,
    Fault,
    FaultCode,
    InvalidArgument,
    NoSuchMapping,
    NotSupported,
    OutOfSegment,
    Prot,
    StaleHandle,
)
from tests.testing.oracle_guest import FORMATS, GIB, ORACLE, PAGE, RAM, SIZE, N, OracleGuest, bits, select

# -- holds --------------------------------------------------------------------------------------------------------------


def test_hold__dirties_at_its_release() -> None:
    """If it was for writing and not deferred; a read leaves no mark."""
    guest = OracleGuest()
    pages = [guest.client.hold(RAM + k * PAGE, prot, defer_dirty=defer) for k, (prot, defer) in enumerate(HOLDS)]
    pages[3].mark_dirty()
    assert bits(guest.space.peek_dirty(RAM, N * PAGE)) == []
    for page in pages:
        page.release()
    assert bits(guest.space.peek_dirty(RAM, N * PAGE)) == [0, 3, 4]
    assert bits(guest.space.accessed(RAM, N * PAGE)) == [0, 3, 4]


HOLDS = [(Prot.RW, False), (Prot.READ, False), (Prot.RW, True), (Prot.RW, True), (Prot.WRITE, False)]


def test_hold__does_not_dirty_without_tracking() -> None:
    """Nor after its page was unmapped."""
    guest = OracleGuest(tracking=False)
    guest.client.hold(RAM, 3).release()
    guest.space.set_tracking(True)
    assert bits(guest.space.peek_dirty(RAM, N * PAGE)) == []
    page = guest.client.hold(RAM, 3)
    guest.space.unmap(RAM, N * PAGE)
    guest.space.map(guest.ram, RAM, N * PAGE, 3)
    guest.client.fault(RAM, 1)
    assert page.release() is True
    assert bits(guest.space.peek_dirty(RAM, N * PAGE)) == []


@pytest.mark.parametrize(("gpa", "prot", "code"), [(0, 1, 1), (SIZE, 1, 1), (2**64 - PAGE, 1, 1), (RAM, 3, 2), (RAM, 5, 2)])
def test_hold__faults(gpa: int, prot: int, code: int) -> None:
    """Nothing there, or forbidden: resident or not."""
    guest = OracleGuest(prot=Prot.READ)
    for _ in range(2):
        with pytest.raises(Fault) as refusal:
            guest.client.hold(gpa, prot)
        assert refusal.value.code == FaultCode(code)
        assert (guest.space.counters.faults, guest.client.holds) == (0, 0)
        guest.space.populate(RAM, PAGE)


def test_hold__keeps_its_page_when_it_is_unmapped() -> None:
    """By a reference to the object, for each page; the release tells."""
    guest = OracleGuest()
    page, pages = guest.client.hold(RAM, 3), guest.client.hold_many([RAM, RAM + PAGE], 1)
    page.writable()[:] = 7
    guest.ram.release()
    guest.space.unmap(RAM, N * PAGE)
    assert (guest.ram.refs, guest.client.holds, page.readable()[9]) == (3, 3, 7)
    assert (page.release(), pages.release(), guest.ram.refs) == (True, 2, 0)


def test_hold_many__all_or_none() -> None:
    """Nothing is resident that was not."""
    guest = OracleGuest()
    with pytest.raises(Fault):
        guest.client.hold_many([RAM, RAM + PAGE, 0], 1)
    with pytest.raises(InvalidArgument):
        guest.client.hold_many([0, RAM + 1], 1)
    assert (guest.space.resident_count, guest.client.holds) == (0, 0)
    pages = guest.client.hold_many([RAM, RAM], 3)
    assert (pages.gpas.tolist(), pages.pfns.tolist(), len(pages)) == ([RAM, RAM], [0x100000] * 2, 2)
    assert not pages.gpas.flags.writeable


def test_pages__gather_and_scatter() -> None:
    """Copies, in the order of the addresses."""
    guest = OracleGuest()
    pages = guest.client.hold_many([RAM + PAGE, RAM], 3, defer_dirty=True)
    data = np.repeat(np.array([[5], [6]], np.uint8), PAGE, axis=1)
    pages.scatter(data)
    assert guest.client.read(RAM + PAGE - 1, 2) == b"\x06\x05"
    assert (pages.gather() == data).all()
    for wrong in (data[:1], data[:, 1:], data.reshape(-1)):
        with pytest.raises(InvalidArgument):
            pages.scatter(wrong)
    pages.mark_dirty(select(1))
    pages.release()
    assert bits(guest.space.peek_dirty(RAM, N * PAGE)) == [0]


DENIED: dict[str, Callable[[OracleGuest], object]] = {
    "writable of a read hold": lambda g: g.client.hold(RAM, 1).writable(),
    "readable of a write hold": lambda g: g.client.hold(RAM, 2).readable(),
    "mark_dirty of a read hold": lambda g: g.client.hold(RAM, 1).mark_dirty(),
    "gather of write holds": lambda g: g.client.hold_many([RAM], 2).gather(),
    "scatter to read holds": lambda g: g.client.hold_many([RAM], 1).scatter(np.zeros((1, PAGE), np.uint8)),
    "mark_dirty of read holds": lambda g: g.client.hold_many([RAM], 1).mark_dirty(),
}


@pytest.mark.parametrize("name", DENIED)
def test_hold__denies_what_it_is_not_for(name: str) -> None:
    """Views as well as copies."""
    with pytest.raises(AccessDenied):
        DENIED[name](OracleGuest())


def test_page__after_its_release() -> None:
    """Its address answers, nothing else."""
    guest = OracleGuest()
    page = guest.client.hold(RAM, 3)
    with page:
        pass
    assert page.gpa == RAM
    for act in (page.release, page.readable, page.mark_dirty, page.release_chain, lambda: page.pfn, lambda: page.next):
        with pytest.raises(StaleHandle):
            act()


def test_chain__once_without_rings_within_a_client() -> None:
    """Releasing one closes the gap; releasing the chain tells whether any was unmapped."""
    guest = OracleGuest()
    a, b, c, d = (guest.client.hold(RAM, 3) for _ in range(4))
    a.chain(b)
    b.chain(c)
    for page in (a, b, c):
        with pytest.raises(InvalidArgument):
            c.chain(page)
    for first, second in ((a, d), (d, b)):
        with pytest.raises(Busy):
            first.chain(second)
    with pytest.raises(InvalidArgument):
        d.chain(guest.space.client().hold(RAM, 3))
    b.release()
    assert (a.next, c.next) == (c, None)
    guest.space.unmap(RAM, N * PAGE)
    assert a.release_chain() is True
    assert guest.client.holds == 1


# -- faults and bytes ---------------------------------------------------------------------------------------------------


def test_fault__is_counted_whatever_comes_of_it() -> None:
    """One by one, many, and by a vCPU."""
    guest = OracleGuest(prot=Prot.READ)
    guest.client.fault(RAM + 5, 1)
    with pytest.raises(Fault):
        guest.client.fault(0, 1)
    assert guest.client.fault_many([RAM + 1, 0, 2**64 - 1, RAM], 2).tolist() == [2, 1, 1, 2]
    ORACLE.Vcpu(guest.client).run([RAM, RAM + PAGE, RAM + 1])
    assert (guest.space.counters.faults, guest.space.resident_count) == (7, 2)


def test_write__finds_all_pages_first() -> None:
    """Nothing is written, and nothing resident, if one is missing."""
    guest = OracleGuest()
    with pytest.raises(Fault):
        guest.client.write(RAM + (N - 1) * PAGE, bytes([1]) * (PAGE + 1))
    assert (guest.space.resident_count, guest.client.read(RAM + (N - 1) * PAGE, 1)) == (0, b"\0")
    guest.client.write(RAM + PAGE - 2, b"abcd")
    assert guest.client.read(RAM + PAGE - 3, 6) == b"\0abcd\0"
    assert bits(guest.space.track_dirty(RAM, N * PAGE)) == [0, 1]
    assert guest.client.read(0, 0) == b""


def test_bytes__of_device_memory_there_are_none() -> None:
    """A view, a copy and a read say so; a vCPU drops what it stores."""
    guest = OracleGuest()
    guest.space.map_mmio(GIB, PAGE, 0xFE00_0000)
    for act in (guest.client.hold(GIB, 3).readable, lambda: guest.client.read(GIB, 1), lambda: guest.client.write(GIB, b"x")):
        with pytest.raises(NotSupported):
            act()
    loads = np.ones(2, np.uint64)
    exit = ORACLE.Vcpu(guest.client).run([GIB, GIB], write=[True, False], values=[9, 0], into=loads)
    assert (exit.reason, loads.tolist(), guest.space.pte(GIB)) == (ExitReason.DONE, [1, 0], 0xFE00_0303)


# -- on CPU, and the end ------------------------------------------------------------------------------------------------


def test_table_enter__once_and_exit_after_it() -> None:
    """The generation is told."""
    guest = OracleGuest()
    with pytest.raises(InvalidArgument):
        guest.client.table_exit()
    assert (guest.client.table_enter(), guest.client.kicked) == (1, False)
    with pytest.raises(Busy):
        guest.client.table_enter()
    with pytest.raises(Busy):
        ORACLE.Vcpu(guest.client).step([])
    with pytest.raises(Busy):
        guest.client.destroy()
    guest.client.table_exit()
    guest.client.destroy()


def test_destroy__is_busy_with_holds() -> None:
    """Idempotent afterwards; a clone has neither holds nor callback."""
    guest = OracleGuest()
    guest.listen()
    guest.client.hold(RAM, 3)
    clone = guest.client.clone()
    assert clone.holds == 0
    with pytest.raises(Busy):
        guest.client.destroy()
    assert guest.client.release_all() == 1
    pages = guest.client.hold_many([RAM], 1)
    with pytest.raises(Busy):
        guest.client.destroy()
    pages.release()
    guest.client.destroy()
    guest.client.destroy()
    guest.space.track_dirty(RAM, PAGE)
    assert (guest.calls, guest.client.orphaned) == ([], False)
    with pytest.raises(StaleHandle):
        _ = guest.client.holds


# -- vCPUs --------------------------------------------------------------------------------------------------------------

EXITS = {  # of a page that may be read: address, write, execute, then code, EPT qualification, EXITINFO1
    "a hole": (5, False, False, 1, 0x181, 1 << 32 | 4),
    "past the end": (2**64 - 1, True, False, 1, 0x182, 1 << 32 | 6),
    "read-only, resident": (RAM, True, False, 2, 0x180 | 2 | 1 << 3, 1 << 32 | 7),
    "read-only, absent": (RAM + PAGE, True, False, 2, 0x182, 1 << 32 | 6),
    "not to be executed": (RAM, False, True, 2, 0x180 | 4 | 1 << 3, 1 << 32 | 0x15),
}


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", EXITS)
def test_run__faults(format: str, name: str) -> None:
    """As ``fault`` would, told as hardware would."""
    gpa, write, execute, code, ept, exit_info = EXITS[name]
    guest = OracleGuest(format, Prot.READ)
    exit = ORACLE.Vcpu(guest.client).run([RAM, gpa], write=np.array([False, write]), execute=np.array([False, execute]))
    assert exit == ORACLE.VcpuExit(ExitReason.FAULT, 1, gpa, FaultCode(code), ept if format == "ept" else exit_info)


def test_step__installs_nothing() -> None:
    """It ends at the first page that is not resident."""
    guest = OracleGuest()
    guest.client.fault(RAM, 1)
    exit = ORACLE.Vcpu(guest.client).step([RAM, RAM + PAGE], write=True)
    assert (exit.reason, exit.completed, exit.code) == (ExitReason.FAULT, 1, FaultCode.NOMAP)
    assert (guest.space.resident_count, bits(guest.space.peek_dirty(RAM, N * PAGE))) == (1, [0])


@pytest.mark.parametrize(("format", "marks"), [("ept", 0), ("npt", 1)])
def test_run__marks_without_tracking_in_npt_only(format: str, marks: int) -> None:
    """Reads set A, writes D too."""
    guest = OracleGuest(format, tracking=False)
    ORACLE.Vcpu(guest.client).run([RAM, RAM + PAGE], write=np.array([True, False]))
    guest.space.set_tracking(True)
    assert len(bits(guest.space.peek_dirty(RAM, N * PAGE))) == marks
    assert len(bits(guest.space.accessed(RAM, N * PAGE))) == 2 * marks


def test_run__stores_and_loads_in_order() -> None:
    """Little-endian words; what reads do not load stays."""
    guest = OracleGuest()
    loads, write = np.full(4, 77, np.uint64), np.array([True, False, True, False])
    ORACLE.Vcpu(guest.client).run([RAM + 8] * 4, write=write, values=[2**64 - 2, 0, 5, 0], into=loads)
    assert loads.tolist() == [77, 2**64 - 2, 77, 5]
    assert guest.client.read(RAM + 7, 3) == b"\0\5\0"


RUNS: dict[str, Callable[[OracleGuest], object]] = {
    "unequal values": lambda g: ORACLE.Vcpu(g.client).run([RAM], write=True, values=[1, 2]),
    "unequal flags": lambda g: ORACLE.Vcpu(g.client).run([RAM], write=np.array([True, True])),
    "unaligned value": lambda g: ORACLE.Vcpu(g.client).run([RAM + 4], write=True, values=[1]),
    "unaligned load": lambda g: ORACLE.Vcpu(g.client).run([RAM + 4], into=np.zeros(1, np.uint64)),
    "both": lambda g: ORACLE.Vcpu(g.client).run([RAM], write=True, execute=True),
    "short into": lambda g: ORACLE.Vcpu(g.client).run([RAM], into=np.zeros(0, np.uint64)),
    "negative cpu": lambda g: ORACLE.Vcpu(g.client, cpu=-1),
}


@pytest.mark.parametrize("name", RUNS)
def test_run__refuses(name: str) -> None:
    """Before anything is done."""
    guest = OracleGuest()
    with pytest.raises(InvalidArgument):
        RUNS[name](guest)
    assert guest.space.resident_count == 0


# -- a guest with segments ----------------------------------------------------------------------------------------------


def test_vm__owns_its_memory() -> None:
    """A caller may reference a segment, but cannot give the Vm's reference up."""
    with ORACLE.Reservoir(16 * PAGE) as reservoir:
        vm = ORACLE.Vm(reservoir, track_dirty=True, size=SIZE)
        ram = vm.alloc_memseg(3, N * PAGE)
        with pytest.raises(StaleHandle):
            ram.release()
        for segid in (3, -1):
            with pytest.raises(InvalidArgument):
                vm.alloc_memseg(segid, PAGE)
        with pytest.raises(NoSuchMapping):
            vm.memseg(4)
        vm.map_memseg(3, RAM, N * PAGE, 3)
        assert (vm.memseg(3), vm.vcpu(1), vm.space.mappings[0].obj) == (ram, vm.vcpu(1), ram)
        vm.destroy()
        vm.destroy()
        assert ram.refs == 0
        with pytest.raises(StaleHandle):
            _ = vm.space


def test_segments__straight_and_through_the_guest() -> None:
    """The one never dirties and stays when the guest's mapping goes; the other does, and faults."""
    vm = ORACLE.Vm(ORACLE.Reservoir(16 * PAGE), track_dirty=True, size=SIZE)
    ram = vm.alloc_memseg(0, N * PAGE)
    vm.map_memseg(0, RAM, N * PAGE, 3)
    straight, guest = vm.map_object(0, PAGE, 2 * PAGE, 3), vm.map_guest(RAM - PAGE, 4 * PAGE, 3)
    straight[PAGE - 1 : PAGE + 1] = b"ab"
    assert (guest.read(3 * PAGE - 1, 2), bits(vm.space.peek_dirty(RAM, N * PAGE))) == (b"ab", [])
    guest[PAGE] = 0x41
    assert (bits(vm.space.peek_dirty(RAM, N * PAGE)), guest[PAGE], ram.refs) == ([0], 0x41, 3)
    with pytest.raises(Fault):
        guest.read(0, 1)
    vm.unmap_memseg(RAM, N * PAGE)
    assert (straight[-PAGE - 1 : -PAGE], len(straight), straight[PAGE]) == (b"a", 2 * PAGE, ord("b"))
    straight.close()
    straight.close()
    assert ram.refs == 1
    with pytest.raises(StaleHandle):
        straight.read(0, 0)


def test_segment__bounds_and_permissions() -> None:
    """Python's own exceptions have a part in them."""
    vm = ORACLE.Vm(ORACLE.Reservoir(16 * PAGE), size=SIZE)
    vm.alloc_memseg(0, PAGE)
    reader = vm.map_object(0, 0, PAGE, Prot.READ)
    for act in (
        lambda: reader[PAGE],
        lambda: reader[-PAGE - 1],
        lambda: reader.read(PAGE, 1),
        lambda: reader.write(PAGE, b"x"),
    ):
        with pytest.raises(OutOfSegment):
            act()
    for act in (lambda: reader.write(0, b"x"), lambda: reader.__setitem__(0, 1)):
        with pytest.raises(AccessDenied):
            act()
    for key, value in ((slice(2), b"abc"), (0, 256), (slice(None, None, 2), b"")):
        with pytest.raises(InvalidArgument):
            reader[key] = value
