"""The oracle's spaces: mappings, tables, entries, walks, the dirty log."""

from collections.abc import Callable
from contextlib import nullcontext

import numpy as np
import pytest

from npt import Busy, Deadlock, NoSuchMapping, Orphaned, Prot, StaleHandle, WalkKind
from tests.testing.oracle_guest import EPT_LEAF, FORMATS, GIB, MIB, ORACLE, PAGE, RAM, SIZE, N, OracleGuest, bits, select

NPT_LEAF = 0x100000 << 12
NX = 1 << 63
Acts = tuple[Callable[[], object], ...]

# -- mappings and tables ------------------------------------------------------------------------------------------------


def test_map__builds_tables_and_makes_nothing_resident() -> None:
    """Two leaf tables over the 2 MiB border; a mapping has its own reference."""
    guest = OracleGuest()
    assert guest.tables() == (1, 1, 1, 2)
    assert (guest.space.resident_count, guest.space.pte(RAM), guest.space.pte(0), guest.space.pte(4 * MIB)) == (0, 0, 0, None)
    guest.space.unmap(RAM, N * PAGE)
    assert (guest.tables(), guest.space.pte(RAM), guest.ram.refs) == ((1, 0, 0, 0), None, 1)


@pytest.mark.parametrize(
    ("border", "wanted"),
    [(2 * MIB, (1, 1, 1, 2)), (GIB, (1, 1, 2, 2)), (512 * GIB, (1, 2, 2, 2)), (512 * GIB - 2 * MIB, (1, 1, 1, 2))],
)
def test_tables__are_counted_over_borders(border: int, wanted: tuple[int, ...]) -> None:
    """And once where two mappings share one."""
    guest = OracleGuest()
    guest.space.unmap(RAM, N * PAGE)
    guest.space.map(guest.ram, border - PAGE, 2 * PAGE, 3)
    assert guest.tables() == wanted
    guest.space.map(guest.ram, border + PAGE, 2 * PAGE, 3)
    guest.space.map(guest.ram, border - 3 * PAGE, 2 * PAGE, 3)
    assert guest.tables() == wanted


def test_mappings__by_address_with_their_offsets() -> None:
    """An object may be mapped twice, and to the very end of the space."""
    guest = OracleGuest()
    guest.space.map(guest.ram, SIZE - PAGE, PAGE, Prot.READ, PAGE)
    guest.space.map(guest.ram, 0, PAGE, Prot.RX, 2 * PAGE)
    told = [(m.gpa, m.length, m.offset, m.prot) for m in guest.space.mappings]
    assert told == [(0, PAGE, 2 * PAGE, Prot.RX), (RAM, N * PAGE, 0, Prot.RW), (SIZE - PAGE, PAGE, PAGE, Prot.READ)]
    guest.client.fault_many([0, SIZE - 1], 1)
    assert guest.space.translate([0, SIZE - 1, RAM, SIZE]).tolist() == [0x100002, 0x100001, 2**64 - 1, 2**64 - 1]


def test_unmap__is_of_one_whole_mapping() -> None:
    """Populate takes a part, but not more."""
    guest = OracleGuest()
    for gpa, n in ((RAM, N - 1), (RAM, N + 1), (RAM + PAGE, N - 1), (0, 1), (SIZE, 1)):
        with pytest.raises(NoSuchMapping):
            guest.space.unmap(gpa, n * PAGE)
    for gpa, n in ((RAM - PAGE, 2), (RAM + (N - 1) * PAGE, 2), (SIZE, 1)):
        with pytest.raises(NoSuchMapping):
            guest.space.populate(gpa, n * PAGE)
    assert [guest.space.populate(RAM + PAGE, n * PAGE) for n in (2, 3, 3)] == [2, 1, 0]
    assert bits(guest.space.resident(RAM, N * PAGE)) == [1, 2, 3]


def test_generation__is_raised_when_something_was_resident() -> None:
    """By an unmap of nothing it is not, nor is anybody told."""
    guest = OracleGuest()
    guest.listen()
    guest.space.unmap(RAM, N * PAGE)
    assert (guest.space.generation, guest.calls) == (1, [])
    guest.space.map(guest.ram, RAM, N * PAGE, 3)
    guest.client.fault(RAM, 1)
    guest.space.unmap(RAM, N * PAGE)
    assert (guest.space.generation, guest.calls, guest.space.resident_count) == (2, [(RAM, N * PAGE)], 0)


def test_map_mmio__the_caller_owns_one_reference() -> None:
    """The mapping another; what is there is uncached."""
    guest = OracleGuest()
    mmio = guest.space.map_mmio(GIB, PAGE, 0xFE00_0000)
    guest.client.fault(GIB, 3)
    assert (mmio.refs, guest.space.pte(GIB)) == (2, 0xFE00_0003)


def test_space__adopts_the_reservoir_of_the_first_ram() -> None:
    """After which no other's will do, nor device memory over it."""
    space = ORACLE.VmSpace(SIZE)
    space.map(ORACLE.Reservoir(PAGE, base_pfn=0x500).allocate(PAGE), 0, PAGE, 3)
    for obj in (ORACLE.Reservoir(PAGE).allocate(PAGE), ORACLE.MmioObject(PAGE, 0x500 * PAGE)):
        with pytest.raises(ValueError, match=r"reservoir|RAM"):
            space.map(obj, PAGE, PAGE, 3)


# -- entries, bit for bit -----------------------------------------------------------------------------------------------

LEAVES = {  # format, protection: fresh, then after a write of the guest (a read where it may not write)
    ("ept", Prot.READ): (EPT_LEAF | 1, EPT_LEAF | 0x101),
    ("ept", Prot.RW): (EPT_LEAF | 3, EPT_LEAF | 0x303),
    ("ept", Prot.RX): (EPT_LEAF | 5, EPT_LEAF | 0x105),
    ("ept", Prot.RWX): (EPT_LEAF | 7, EPT_LEAF | 0x307),
    ("npt", Prot.READ): (NPT_LEAF | NX | 0x25, NPT_LEAF | NX | 0x25),
    ("npt", Prot.RW): (NPT_LEAF | NX | 0x27, NPT_LEAF | NX | 0x67),
    ("npt", Prot.RX): (NPT_LEAF | 0x25, NPT_LEAF | 0x25),
    ("npt", Prot.RWX): (NPT_LEAF | 0x27, NPT_LEAF | 0x67),
}


@pytest.mark.parametrize(("format", "prot"), LEAVES)
def test_pte__bit_for_bit(format: str, prot: Prot) -> None:
    """A fresh leaf, and one that was used."""
    guest = OracleGuest(format, prot)
    guest.space.populate(RAM, PAGE)
    fresh = guest.space.pte(RAM)
    ORACLE.Vcpu(guest.client).run([RAM], write=bool(prot & Prot.WRITE))
    assert (fresh, guest.space.pte(RAM + 0xFFF)) == LEAVES[format, prot]
    assert guest.space.ptes(RAM, 2 * PAGE).tolist() == [LEAVES[format, prot][1], 0]


def test_pte__of_device_memory_in_npt() -> None:
    """PCD and PWT."""
    guest = OracleGuest("npt")
    guest.space.map_mmio(GIB, PAGE, 0xFE00_0000)
    guest.space.populate(GIB, PAGE)
    assert guest.space.pte(GIB) == 0xFE00_0000 | NX | 0x3F


@pytest.mark.parametrize(("format", "off", "on"), [("ept", 0x1E, 0x5E), ("npt", 0, 0)])
def test_table_root__tells_whether_marks_are_set(format: str, off: int, on: int) -> None:
    """By bit 6 of the EPT pointer."""
    space = OracleGuest(format, tracking=False).space
    before = space.table_root
    space.set_tracking(True)
    assert (before & 0xFFF, space.table_root & 0xFFF) == (off, on)
    assert before >> 12 == 2**33 + (3 << 27)


WALKS = {  # of a page that is: address, access, then kind, level, EPT qualification, EXITINFO1
    "there, read": (RAM + 5, Prot.READ, WalkKind.OK, 1, 0, 0),
    "there, written": (RAM, Prot.WRITE, WalkKind.VIOLATION, 1, 0x180 | 2 | 1 << 3, 1 << 32 | 7),
    "there, executed": (RAM, Prot.EXEC, WalkKind.VIOLATION, 1, 0x180 | 4 | 1 << 3, 1 << 32 | 0x15),
    "not resident": (RAM + PAGE, Prot.WRITE, WalkKind.VIOLATION, 1, 0x182, 1 << 32 | 6),
    "without leaf table": (4 * MIB, Prot.READ, WalkKind.VIOLATION, 2, 0x181, 1 << 32 | 4),
    "without table of level 2": (GIB, Prot.READ, WalkKind.VIOLATION, 3, 0x181, 1 << 32 | 4),
    "without table of level 3": (512 * GIB, Prot.EXEC, WalkKind.VIOLATION, 4, 0x184, 1 << 32 | 0x14),
}


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", WALKS)
def test_walk__as_hardware_tells_it(format: str, name: str) -> None:
    """Kind, qualification, the first level that denies, and the host's address."""
    gpa, access, kind, level, ept, exit_info = WALKS[name]
    guest = OracleGuest(format, Prot.READ)
    guest.space.populate(RAM, PAGE)
    hpa = 0x100000 * PAGE + 5 if kind is WalkKind.OK else None
    assert guest.space.walk(gpa, access) == (kind, ept if format == "ept" else exit_info, level, hpa)


# -- the dirty log ------------------------------------------------------------------------------------------------------


def test_dirty__is_harvested_once() -> None:
    """A harvest clears and raises the generation, a peek does neither."""
    guest = OracleGuest()
    guest.client.write(RAM + 2 * PAGE - 1, b"xy")
    assert bits(guest.space.peek_dirty(RAM, N * PAGE)) == [1, 2]
    assert guest.space.generation == 1
    assert bits(guest.space.track_dirty(RAM - PAGE, 10 * PAGE)) == [2, 3]
    assert (bits(guest.space.track_dirty(RAM, N * PAGE)), guest.space.generation) == ([], 3)
    assert bits(guest.space.accessed(RAM, N * PAGE)) == [1, 2]


def test_dirty__of_selected_pages() -> None:
    """Others are neither told nor cleared."""
    guest = OracleGuest()
    assert bits(guest.space.set_dirty(RAM, N * PAGE, select=select(1, 3, 6))) == [1, 3, 6]
    assert bits(guest.space.set_dirty(RAM, N * PAGE, select=select(3, 4))) == [4]
    assert bits(guest.space.accessed(RAM, N * PAGE)) == [1, 3, 4, 6]
    assert (guest.space.resident_count, guest.space.generation) == (4, 1)
    assert bits(guest.space.peek_dirty(RAM, N * PAGE, select=select(0, 1, 4))) == [1, 4]
    assert bits(guest.space.reset_dirty(RAM, N * PAGE, select=select(0, 1, 4))) == [1, 4]
    assert bits(guest.space.peek_dirty(RAM, N * PAGE)) == [3, 6]


def test_set_dirty__passes_over_what_may_not_be_written() -> None:
    """Nor does it make that resident; holes are clean."""
    guest = OracleGuest(prot=Prot.READ)
    assert guest.space.set_dirty(RAM - N * PAGE, 2 * N * PAGE).tolist() == [0, 0]
    assert guest.space.resident_count == 0


def test_track_dirty__into_is_ored() -> None:
    """What was there stays, and the same array is returned; tail bits are 0 in a fresh one."""
    guest = OracleGuest()
    into = np.array([0x80, 0xFF], np.uint8)
    guest.space.set_dirty(RAM, 3 * PAGE)
    assert guest.space.track_dirty(RAM, 2 * PAGE, into=into) is into
    assert into.tolist() == [0x83, 0xFF]
    assert guest.space.peek_dirty(RAM, 3 * PAGE).tolist() == [4]


def test_accessed__is_cleared_as_by_a_harvest() -> None:
    """The dirty bits stay; it works without tracking."""
    guest = OracleGuest("npt", tracking=False)
    guest.space.populate(RAM, 2 * PAGE)
    guest.listen()
    assert bits(guest.space.accessed(RAM, N * PAGE, clear=True)) == [0, 1]
    assert bits(guest.space.accessed(RAM, N * PAGE)) == []
    assert (guest.space.generation, guest.calls) == (2, [(RAM, N * PAGE)])


def test_set_tracking__concerns_the_whole_space() -> None:
    """Nothing happens where nothing changes; what is dirty stays so."""
    guest = OracleGuest()
    guest.client.write(RAM, b"x")
    guest.listen()
    guest.space.set_tracking(True)
    assert guest.calls == []
    guest.space.set_tracking(False)
    guest.space.set_tracking(True)
    assert (guest.calls, guest.space.generation) == ([(0, SIZE)] * 2, 3)
    assert bits(guest.space.peek_dirty(RAM, N * PAGE)) == [0]


# -- callbacks ----------------------------------------------------------------------------------------------------------

DEADLOCKS: dict[str, Callable[[OracleGuest], object]] = {
    "map": lambda g: g.space.map(g.ram, 0, PAGE, 3),
    "unmap": lambda g: g.space.unmap(RAM, N * PAGE),
    "populate": lambda g: g.space.populate(RAM, PAGE),
    "track_dirty": lambda g: g.space.track_dirty(RAM, PAGE),
    "reset_dirty": lambda g: g.space.reset_dirty(RAM, PAGE),
    "set_dirty": lambda g: g.space.set_dirty(RAM, PAGE),
    "accessed": lambda g: g.space.accessed(RAM, PAGE, clear=True),
    "set_tracking": lambda g: g.space.set_tracking(False),
    "destroy": lambda g: g.space.destroy(),
    "close": lambda g: g.space.close(),
    "client": lambda g: g.space.client(),
    "clone": lambda g: g.client.clone(),
    "client.destroy": lambda g: g.client.destroy(),
    "on_invalidate": lambda g: g.client.on_invalidate(None),
    "hold": lambda g: g.client.hold(RAM, 3),
    "hold_many": lambda g: g.client.hold_many([], 3),
    "fault": lambda g: g.client.fault(RAM, 1),
    "fault_many": lambda g: g.client.fault_many([], 1),
    "read": lambda g: g.client.read(RAM, 0),
    "write": lambda g: g.client.write(RAM, b""),
    "run": lambda g: ORACLE.Vcpu(g.client).run([RAM]),
}
ON_CPU = ["unmap", "track_dirty", "reset_dirty", "accessed", "set_tracking", "destroy", "close"]


@pytest.mark.parametrize("name", DEADLOCKS)
def test_callback__may_not(name: str) -> None:
    """Change the space, or look a page up."""
    guest = OracleGuest()
    seen: list[type[BaseException]] = []

    def act() -> None:
        with pytest.raises(Deadlock) as refusal:
            DEADLOCKS[name](guest)
        seen.append(refusal.type)

    guest.listen(act)
    guest.space.track_dirty(RAM, PAGE)
    assert seen == [Deadlock]
    if name != "client.destroy":
        DEADLOCKS["fault"](guest)


@pytest.mark.parametrize("name", DEADLOCKS)
def test_on_cpu__only_what_kicks_may_not(name: str) -> None:
    """The vCPU of this very thread would be waited for."""
    guest = OracleGuest()
    guest.space.client().table_enter()
    with pytest.raises(Deadlock) if name in ON_CPU else nullcontext():
        DEADLOCKS[name](guest)


def test_callback__sees_what_is_done() -> None:
    """In an unmap, leaves and tables are gone already, and the mapping is still listed with its reference."""
    guest = OracleGuest()
    guest.client.write(RAM, b"x")
    page = guest.client.hold(RAM, 3)

    def look() -> None:
        seen = guest.space.pte(RAM), guest.space.resident_count, len(guest.space.mappings)
        guest.calls.append((*seen, page.release(), guest.ram.refs))

    guest.listen(look)
    guest.space.unmap(RAM, N * PAGE)
    assert guest.calls[1] == (None, 0, 1, True, 2)
    assert (guest.ram.refs, guest.space.mappings) == (1, ())


def test_callback__that_fails() -> None:
    """All are told and the first error is raised; a harvest puts its bits back, an unmap is complete."""
    guest = OracleGuest()
    other = guest.space.client()
    order: list[str] = []

    def fail(name: str) -> None:
        order.append(name)
        raise RuntimeError(name)

    other.on_invalidate(lambda gpa, length: fail("second"))
    guest.client.on_invalidate(lambda gpa, length: fail("first"))
    guest.client.write(RAM, b"x")
    into = np.zeros(1, np.uint8)
    with pytest.raises(RuntimeError, match="first"):
        guest.space.track_dirty(RAM, N * PAGE, into=into)
    assert (order, bits(guest.space.peek_dirty(RAM, N * PAGE)), guest.space.generation) == (["first", "second"], [0], 2)
    assert into.tolist() == [0]
    with pytest.raises(RuntimeError, match="first"):
        guest.space.accessed(RAM, N * PAGE, clear=True)
    assert bits(guest.space.accessed(RAM, N * PAGE)) == [0]
    with pytest.raises(RuntimeError, match="first"):
        guest.space.unmap(RAM, N * PAGE)
    assert (guest.space.mappings, guest.ram.refs) == ((), 1)


# -- the end ------------------------------------------------------------------------------------------------------------


def test_destroy__needs_that_nothing_is_mapped() -> None:
    """Afterwards everything is stale, and clients are orphans."""
    guest = OracleGuest()
    with pytest.raises(Busy):
        guest.space.destroy()
    guest.space.unmap(RAM, N * PAGE)
    guest.space.destroy()
    guest.space.close()
    assert (guest.client.orphaned, guest.client.holds, guest.space.destroyed) == (True, 0, True)
    stale: Acts = (guest.space.client, lambda: guest.space.size, guest.space.destroy, lambda: guest.space.pte(0))
    for act in stale:
        with pytest.raises(StaleHandle):
            act()
    orphaned: Acts = (guest.client.clone, guest.client.table_enter, lambda: guest.client.read(0, 0))
    for act in orphaned:
        with pytest.raises(Orphaned):
            act()


def test_close__tells_clients_and_orphans_them() -> None:
    """Mapping by mapping; nobody enters any more, and pages stay readable until released."""
    guest = OracleGuest()
    guest.space.map(guest.ram, 0, PAGE, 3)
    guest.client.write(0, b"\x07")
    guest.client.write(RAM, b"\x08")
    page = guest.client.hold(0, 3)
    seen: list[type[BaseException]] = []

    def enter() -> None:
        with pytest.raises(Orphaned) as refusal:
            guest.client.table_enter()
        seen.append(refusal.type)

    guest.listen(enter)
    guest.space.close()
    assert (guest.calls, seen) == ([(0, PAGE), (RAM, N * PAGE)], [Orphaned, Orphaned])
    assert (page.readable()[0], guest.ram.refs, page.release(), guest.ram.refs) == (8, 2, True, 1)


def test_close__warns_of_pages_that_were_dropped() -> None:
    """But not of one that somebody still has, itself or its chain."""
    guest = OracleGuest()
    first, second = guest.client.hold(RAM, 1), guest.client.hold(RAM, 1)
    first.chain(second)
    guest.client.hold(RAM, 1).chain(guest.client.hold(RAM, 1))
    guest.client.hold_many([RAM, RAM + PAGE], 1)
    del first
    with pytest.warns(ResourceWarning, match="4 held pages"):
        guest.space.close()
    assert (second.release(), guest.client.release_all()) == (True, 5)
