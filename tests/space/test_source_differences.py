"""What the source does and npt does not, on purpose: one test for each row of the README's "Faithful, and where not"."""

from functools import partial

import numpy as np
import pytest

from npt import (
    NO_PFN,
    AddressOverflow,
    BeyondSpace,
    Fault,
    FaultCode,
    KickTimeout,
    NoSuchMapping,
    NotSupported,
    Orphaned,
    Prot,
    RamObject,
    StaleHandle,
    Vcpu,
    VmClient,
    VmSpace,
)  # fmt: skip
from tests.space.scene import (
    PAGE,
    SIZE,
    TABLES_OF_NOBODY,
    bits,
    caught,
    dirty,
    map_at,
    on_cpu_elsewhere,
    tables,
    write_to,
)  # fmt: skip


def test_1048__unmap_with_pages_held_ends(space: VmSpace, client: VmClient, ram: RamObject) -> None:
    """Line 1048 steps through a client's holds with the wrong variable, for ever; here unmap ends with many held."""
    kept = [client.hold(gpa, Prot.RW) for gpa in (0, PAGE, PAGE, 0xF * PAGE)]
    space.unmap(0, ram.length)
    assert [page.release() for page in kept] == [True] * 4


def test_873__a_look_up_in_a_callback_is_refused_not_lost(space: VmSpace, client: VmClient) -> None:
    """Line 873 tests for an orphan before it waits for a hold; here after it, too: who could never wake gets Deadlock."""
    seen: list[BaseException | None] = []
    client.on_invalidate(lambda gpa, length: seen.append(caught(lambda: client.hold(0, Prot.READ))))
    space.set_tracking(False)
    assert "Deadlock" in repr(seen)
    space.close()
    with pytest.raises(Orphaned):
        client.hold(0, Prot.READ)


def test_274__nobody_joins_a_space_that_is_ending(space: VmSpace, client: VmClient) -> None:
    """Line 274 waits without a dying flag; here a space that is being closed takes neither clients nor vCPUs."""
    space.populate(0, PAGE)
    seen: list[BaseException | None] = []
    client.on_invalidate(lambda gpa, length: seen.append(caught(client.table_enter)))
    space.close()
    assert [type(error) for error in seen] == [Orphaned]
    with pytest.raises(StaleHandle):
        space.client()
    with pytest.raises(Orphaned):
        client.clone()


def test_641__a_mapping_may_end_at_the_end(space: VmSpace, client: VmClient, ram: RamObject) -> None:
    """Line 641 refuses the last page of a space; here it can be mapped and used."""
    map_at(space, ram, SIZE - ram.length)
    client.write(SIZE - 1, b"\x7f")
    assert client.read(SIZE - 1, 1) == b"\x7f"
    assert dirty(space, SIZE - PAGE, PAGE) == [0]


def test_768_814__resident_count_is_exact(space: VmSpace, client: VmClient, ram: RamObject) -> None:
    """Lines 768 and 814 only ever add; here the count is that of the leaves that are there."""
    map_at(space, ram, 0x200000)
    assert space.populate(0, 4 * PAGE) == 4
    client.fault(0, Prot.READ)
    client.fault(0x200000, Prot.READ)
    assert space.resident_count == 5
    space.unmap(0, ram.length)
    assert space.resident_count == 1
    space.unmap(0x200000, ram.length)
    assert space.resident_count == 0


def test_652__map_takes_its_own_reference(space: VmSpace, ram: RamObject) -> None:
    """Line 652 consumes the caller's reference; here the mapping has one of its own."""
    assert ram.refs == 2
    map_at(space, ram, 0x200000)
    assert ram.refs == 3
    space.unmap(0x200000, ram.length)
    space.unmap(0, ram.length)
    assert ram.refs == 1


ALIAS = 1 << 48


def test_735__addresses_do_not_alias(space: VmSpace, client: VmClient, ram: RamObject) -> None:
    """Line 735 drops bits 48 and up of an address; here GPA + 2**48 is no address of the space."""
    space.populate(0, ram.length)
    assert space.translate([ALIAS]).tolist() == [NO_PFN]
    assert space.pte(ALIAS) is None
    for act in (lambda: client.hold(ALIAS, Prot.READ), lambda: client.fault(ALIAS, Prot.READ), lambda: client.read(ALIAS, 1)):
        error = caught(act)
        assert isinstance(error, Fault)
        assert error.code is FaultCode.NOMAP
    assert client.fault_many([ALIAS, 0], Prot.READ).tolist() == [FaultCode.NOMAP, 0]
    exit = Vcpu(client).run([0, ALIAS], write=True)
    assert (exit.completed, exit.gpa, exit.code) == (1, ALIAS, FaultCode.NOMAP)
    with pytest.raises(NoSuchMapping):
        space.unmap(ALIAS, ram.length)
    with pytest.raises(NoSuchMapping):
        space.populate(ALIAS, ram.length)
    with pytest.raises(BeyondSpace):
        map_at(space, ram, ALIAS)


def test_316__dirty_calls_do_not_alias(space: VmSpace, client: VmClient) -> None:
    """Line 316 harvests GPA for GPA + 2**48; here the range is refused and nothing is lost."""
    write_to(client, 0)
    for call in (space.track_dirty, space.peek_dirty, space.reset_dirty, space.set_dirty, space.accessed, space.resident):
        with pytest.raises(BeyondSpace):
            call(ALIAS, PAGE)
    with pytest.raises(AddressOverflow):
        space.track_dirty(2**64 - PAGE, PAGE)
    assert dirty(space, 0, PAGE) == [0]


def test_322__the_result_is_fresh(space: VmSpace, client: VmClient) -> None:
    """Line 322 ORs into whatever the buffer held; here the result is new, and only ``into`` is ORed into."""
    write_to(client, PAGE)
    first = space.track_dirty(0, 8 * PAGE)
    second = space.track_dirty(0, 8 * PAGE)
    assert (first.tolist(), second.tolist()) == ([2], [0])
    write_to(client, 2 * PAGE)
    into = np.array([0x81, 0xFF], np.uint8)
    assert space.track_dirty(0, 8 * PAGE, into=into) is into
    assert into.tolist() == [0x85, 0xFF]


def test_300__bits_are_put_back_if_the_report_fails(space: VmSpace, client: VmClient) -> None:
    """Line 300 loses the bits of a report that fails; here they are in the next one."""
    write_to(client, PAGE)

    def fail(gpa: int, length: int) -> None:
        raise OSError("no report")

    client.on_invalidate(fail)
    with pytest.raises(OSError, match="no report"):
        space.track_dirty(0, 8 * PAGE)
    client.on_invalidate(None)
    assert bits(space.track_dirty(0, 8 * PAGE)) == [1]


def test_1039__unmap_kicks_a_vcpu_and_goes_on(space: VmSpace, ram: RamObject) -> None:
    """Line 1039 panics with a vCPU on CPU; here it is asked to leave, and unmap is done when it has."""
    patient = VmSpace(SIZE, format=space.format, kick_timeout=60)
    map_at(patient, ram, 0)
    patient.populate(0, ram.length)
    with on_cpu_elsewhere(patient.client(), leaves=True) as kicked:
        patient.unmap(0, ram.length)
        assert kicked.is_set()
    assert tables(patient.table) == TABLES_OF_NOBODY
    patient.close()


def test_705__tables_are_unlinked_then_kicked_then_freed(space: VmSpace, client: VmClient, ram: RamObject) -> None:
    """Line 705 frees tables before vCPUs are kicked; here a table that is unlinked is not free before the callbacks ran."""
    space.populate(0, ram.length)
    pfn = space.explain(0).steps[-2].entry >> 12 & (2**40 - 1)
    seen: list[object] = []

    def look(gpa: int, length: int) -> None:
        space.table.read_table(pfn)[9] = 0xBAD  # as a walker that is still inside
        seen.append((space.pte(0), tables(space.table)))

    client.on_invalidate(look)
    space.unmap(0, ram.length)
    assert seen == [(None, (1, 1, 1, 1))]
    assert tables(space.table) == TABLES_OF_NOBODY
    assert not space.table.entries(1).any()  # zeroed after the callback, not before


def test_705__tables_of_a_kick_that_failed_are_linked_again(space: VmSpace, ram: RamObject) -> None:
    """Line 705, the other way: with a vCPU that stays, no table is freed, always, resident pages or not."""
    before = tables(space.table)
    with on_cpu_elsewhere(space.client(), leaves=False), pytest.raises(KickTimeout):
        space.unmap(0, ram.length)
    assert (tables(space.table), space.pte(0)) == (before, 0)
    space.unmap(0, ram.length)
    assert tables(space.table) == TABLES_OF_NOBODY


def test_1121_1190__an_orphan_says_so(space: VmSpace, client: VmClient) -> None:
    """Lines 1121 and 1190 touch freed memory through an orphan; here hold and clone raise Orphaned."""
    space.close()
    with pytest.raises(Orphaned):
        client.hold(0, Prot.READ)
    with pytest.raises(Orphaned):
        client.clone()


def test_1271__a_view_of_mmio_is_refused(space: VmSpace, client: VmClient) -> None:
    """Line 1271 makes a wild pointer of device memory; here there is no view of it."""
    mmio = space.map_mmio(0x200000, PAGE, 0xFE00_0000)
    with client.hold(0x200000, Prot.RW) as page:
        assert page.pfn == 0xFE000
        with pytest.raises(NotSupported):
            page.readable()
        with pytest.raises(NotSupported):
            page.writable()
    with pytest.raises(NotSupported):
        client.read(0x200000, 1)
    mmio.release()


def test_1132__failures_have_a_reason(space: VmSpace, client: VmClient, ram: RamObject) -> None:
    """Line 1132 says NULL to everything; here nothing mapped and not allowed are told apart."""
    space.map(ram, 0x200000, PAGE, Prot.READ)
    for gpa, code in ((0x400000, FaultCode.NOMAP), (0x200000, FaultCode.PROT)):
        error = caught(partial(client.hold, gpa, Prot.RW))
        assert isinstance(error, Fault)
        assert (error.code, error.errno) == (code, 14)
