"""The summary of dirty leaf tables, from outside: whoever sets D, it is found; what stays behind is found later.

Another thread may have set D and not come to touch the table yet (``set_elsewhere``): who then writes there must touch it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from npt import EPT, NPT, KickTimeout, Prot, PteFormat, RamObject, Reservoir, Vcpu, VmClient, VmSpace, kernels
from npt._types import U64Array
from npt.table.tree import PageTable
from tests.forms import FORMS, Seen, counted, forced
from tests.space.scene import PAGE, bits, map_at, on_cpu_elsewhere, write_to
from tests.space.test_dirty_sets import DirtyMachine

TABLE = 512 * PAGE
FAR = 3 * TABLE  # a second mapping, under another leaf table
WHOLE = 8 * TABLE
Write = Callable[[VmSpace, VmClient], object]


def batch(space: VmSpace, client: VmClient) -> None:
    """Two pages held at once."""
    client.hold_many([PAGE, 2 * PAGE], Prot.RW).release()


def chain(space: VmSpace, client: VmClient) -> None:
    """Two pages, released as one."""
    first, second = (client.hold(gpa, Prot.RW) for gpa in (PAGE, 2 * PAGE))
    first.chain(second)
    first.release_chain()


def hardware(space: VmSpace, client: VmClient) -> None:
    """Somebody who walks by ``read_table`` and sets A and D."""
    client.fault_many([PAGE, 2 * PAGE], Prot.RW)
    leaves = leaf_table(space, PAGE)
    leaves[1:3] |= np.uint64(space._core.dirty_bits)


def leaf_table(space: VmSpace, gpa: int) -> U64Array:
    """The leaf table over an address, found as hardware would."""
    return space.table.read_table(space.format.pfn_of(space.explain(gpa).steps[-2].entry))


WRITES: dict[str, Write] = {
    "vCPU": lambda space, client: Vcpu(client).run([PAGE, 2 * PAGE], write=True),
    "vCPU, each its kind": lambda space, client: Vcpu(client).run([PAGE, 0, 2 * PAGE], write=[True, False, True]),
    "vCPU with a TLB": lambda space, client: Vcpu(client, tlb=64).run([PAGE, 2 * PAGE], write=True),
    "release": lambda space, client: [client.hold(gpa, Prot.RW).release() for gpa in (PAGE, 2 * PAGE)],
    "mark_dirty": lambda space, client: mark(client, PAGE, 2 * PAGE),
    "batch": batch,
    "chain": chain,
    "release_all": lambda space, client: (client.hold(PAGE, Prot.RW), client.hold(2 * PAGE, Prot.RW), client.release_all()),
    "write": lambda space, client: write_to(client, PAGE, 2 * PAGE),
    "set_dirty": lambda space, client: space.set_dirty(PAGE, 2 * PAGE),
}


def mark(client: VmClient, *gpas: int) -> None:
    """Pages that are to be told to be dirty."""
    for gpa in gpas:
        page = client.hold(gpa, Prot.RW, defer_dirty=True)
        page.mark_dirty()
        page.release()


def set_elsewhere(space: VmSpace, *pages: int) -> None:
    """Another thread has set D and has not come to touch the table yet."""
    assert pages
    for page in pages:
        assert space.pte(page * PAGE)
        space._core.table.levels[0][page] |= np.uint64(space._core.dirty_bits)
    space._core.table.touched[0] = 0


def harvest(space: VmSpace) -> list[int]:
    """All of it."""
    return bits(space.track_dirty(0, WHOLE))


@pytest.fixture(params=FORMS)
def seen(request: pytest.FixtureRequest) -> Iterator[Seen]:
    """Each form in turn."""
    with forced(FORMS[request.param]) as seen:
        yield seen


@contextmanager
def scans(n: int) -> Iterator[None]:
    """What is done in it reads so many leaf tables."""
    with counted() as seen:
        yield
    assert seen.tables == n


# -- who sets D ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*WRITES, "read_table"])
def test_writes__are_found_by_a_harvest_of_all(seen: Seen, space: VmSpace, client: VmClient, name: str) -> None:
    """Once, again and again."""
    for _ in range(3):
        WRITES.get(name, hardware)(space, client)
        assert bits(space.peek_dirty(0, WHOLE)) == [1, 2]
        assert harvest(space) == [1, 2]
        assert harvest(space) == []


@pytest.mark.parametrize("name", WRITES)
def test_writes__touch_a_table_whose_d_somebody_else_has_set(space: VmSpace, client: VmClient, name: str) -> None:
    """Who set it may not have come to touch the table yet; who writes now must find it in the next harvest."""
    client.fault_many([PAGE, 2 * PAGE], Prot.RW)
    set_elsewhere(space, 1, 2)
    WRITES[name](space, client)
    assert harvest(space) == [1, 2]


def test_writes__while_tracking_is_off(seen: Seen, space: VmSpace, client: VmClient, form: PteFormat) -> None:
    """AMD's vCPUs set D all the same, and it is found when tracking comes on; holds set none."""
    space.set_tracking(False)
    Vcpu(client).run([PAGE], write=True)
    Vcpu(client, tlb=4).run([3 * PAGE], write=True)
    write_to(client, 2 * PAGE)
    space.set_tracking(True)
    assert harvest(space) == ([1, 3] if form is NPT else [])


def test_read_table__is_scanned_until_it_is_freed(space: VmSpace, client: VmClient, ram: RamObject) -> None:
    """Whoever has a view of a leaf table may set D at any time; once the table was freed, it is as any."""
    client.fault_many([0, PAGE], Prot.RW)
    leaves = leaf_table(space, 0)
    for n in range(3):
        leaves[n % 2] |= np.uint64(space._core.dirty_bits)
        with scans(1):
            assert harvest(space) == [n % 2]
    space.unmap(0, ram.length)
    map_at(space, ram, 0)
    with scans(0):
        assert harvest(space) == []
    write_to(client, PAGE)
    assert harvest(space) == [1]
    with scans(0):
        assert harvest(space) == []


# -- what is not read ---------------------------------------------------------------------------------------------------


def test_harvest__reads_what_was_written_and_nothing_else(reservoir: Reservoir, form: PteFormat) -> None:
    """One table of eight; a look reads the same; the next harvest none."""
    with VmSpace(1 << 40, format=form, reservoir=reservoir, track_dirty=True) as space:
        parts = [reservoir.allocate(PAGE) for _ in range(8)]
        for n, part in enumerate(parts):
            space.map(part, n * TABLE, PAGE, Prot.RW)
        client = space.client()
        client.fault_many(np.arange(8) * TABLE, Prot.RW)
        write_to(client, 5 * TABLE)
        with scans(1):
            assert harvest(space) == [5 * 512]
        with scans(0):
            assert harvest(space) == []
            assert space.accessed(0, WHOLE).any()
    for part in parts:
        part.release()


# -- what stays behind --------------------------------------------------------------------------------------------------


def test_harvest__of_a_part_leaves_the_rest(seen: Seen, space: VmSpace, client: VmClient) -> None:
    """To be found by later ones, of parts or of all."""
    write_to(client, *(page * PAGE for page in range(8)))
    assert bits(space.track_dirty(2 * PAGE, 2 * PAGE)) == [0, 1]
    assert bits(space.reset_dirty(0, 8 * PAGE, select=np.array([0b1000_0001], np.uint8))) == [0, 7]
    assert bits(space.track_dirty(5 * PAGE, PAGE)) == [0]
    assert bits(space.peek_dirty(0, WHOLE)) == [1, 4, 6]
    assert harvest(space) == [1, 4, 6]


def test_harvest__of_no_page_leaves_all(seen: Seen, space: VmSpace, client: VmClient) -> None:
    """Neither a selection of nothing nor a range beside it."""
    write_to(client, PAGE)
    assert bits(space.reset_dirty(0, WHOLE, select=np.zeros(WHOLE // PAGE // 8, np.uint8))) == []
    assert bits(space.track_dirty(2 * PAGE, 4 * PAGE)) == []
    assert harvest(space) == [1]


def test_harvest__put_back_after_a_time_out(seen: Seen, space: VmSpace, client: VmClient) -> None:
    """A vCPU did not leave: what had been cleared is found again."""
    write_to(client, PAGE, 2 * PAGE)
    with on_cpu_elsewhere(space.client(), leaves=False), pytest.raises(KickTimeout):
        harvest(space)
    assert harvest(space) == [1, 2]


def test_harvest__put_back_after_a_callback_failed(seen: Seen, space: VmSpace, client: VmClient) -> None:
    """Again and again."""
    write_to(client, PAGE)
    client.on_invalidate(lambda gpa, length: 1 // 0)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            harvest(space)
    client.on_invalidate(None)
    assert harvest(space) == [1]


def test_peek__clears_nothing(seen: Seen, space: VmSpace, client: VmClient) -> None:
    """However often."""
    write_to(client, PAGE)
    assert [bits(space.peek_dirty(0, WHOLE)) for _ in range(3)] == [[1]] * 3
    assert harvest(space) == [1]


def test_accessed__does_not_disturb_d(seen: Seen, space: VmSpace, client: VmClient) -> None:
    """A is cleared, D and what is known of it stay; and the other way round."""
    write_to(client, PAGE)
    assert bits(space.accessed(0, PAGE * 2, clear=True))[-1:] == [1]
    assert bits(space.accessed(0, WHOLE)) == []
    assert harvest(space) == [1]
    write_to(client, PAGE)
    assert harvest(space) == [1]
    assert bits(space.accessed(0, WHOLE, clear=True)) == [1]


# -- tables that come and go, and that are seen twice -------------------------------------------------------------------


def test_unmap__and_map_again(seen: Seen, space: VmSpace, client: VmClient, ram: RamObject) -> None:
    """The table is used again, elsewhere: no old D shows, and new ones do."""
    for gpa in (0, FAR, 0, FAR):
        write_to(client, PAGE)
        space.unmap(0, ram.length)
        map_at(space, ram, gpa)
        client.fault(gpa + PAGE, Prot.RW)
        assert harvest(space) == []
        write_to(client, gpa + 2 * PAGE)
        assert harvest(space) == [gpa // PAGE + 2]
        space.unmap(gpa, ram.length)
        map_at(space, ram, 0)


def test_directory__that_leads_to_one_table_twice(seen: Seen, space: VmSpace, client: VmClient) -> None:
    """Two regions show one leaf table: a write through either is found by a harvest of either, and by one of both."""
    write_to(client, PAGE)
    harvest(space)
    directory = space.table.read_table(space.format.pfn_of(space.explain(0).steps[-3].entry))
    directory[3] = directory[0]
    vcpu = Vcpu(client)
    for where, asked in ((PAGE, FAR), (FAR + PAGE, 0), (FAR + PAGE, FAR), (PAGE, 0)):
        vcpu.run([where], write=True)
        assert bits(space.track_dirty(asked, TABLE)) == [1]
        assert harvest(space) == []
    vcpu.run([FAR + PAGE], write=True)
    assert set(harvest(space)) <= {1, FAR // PAGE + 1} != set()
    assert harvest(space) == []
    directory[3] = 0


# -- anything, in any order ---------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in FORMS if name != "as it is"])
@pytest.mark.parametrize("entries", [EPT, NPT], ids=["ept", "npt"])
def test_dirty_calls__agree_with_sets_in_every_form(entries: PteFormat, name: str) -> None:
    """Everybody who makes pages dirty, and all that is asked of them, against sets of pages."""
    machine = type("Machine", (DirtyMachine,), {"form": entries})
    with forced(FORMS[name]):
        run_state_machine_as_test(machine, settings=settings(max_examples=10, stateful_step_count=30))


@pytest.mark.slow
def test_dirty_calls__find_a_summary_that_forgets(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine can fail: a harvest that leaves bits behind does not say so."""
    harvest = PageTable.harvest

    def forget(table: PageTable, *arguments: Any, still: bool) -> None:
        harvest(table, *arguments, still=still)
        table.touched[:4] = 0

    monkeypatch.setattr(PageTable, "harvest", forget)
    machine = type("Machine", (DirtyMachine,), {"form": EPT})
    first_that_fails = settings(max_examples=100, stateful_step_count=30, database=None, phases=[Phase.generate])
    with pytest.raises(AssertionError):
        run_state_machine_as_test(machine, settings=first_that_fails)


def test_takes__are_odd_while_tables_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """And larger afterwards; after a harvest that failed they stay odd, until the next has ended."""
    reservoir = Reservoir(1 << 20)
    ram, kernel = reservoir.allocate(1 << 20), kernels.dirty.harvest_still
    space = VmSpace(WHOLE, reservoir=reservoir, track_dirty=True)
    space.map(ram, 0, ram.length, Prot.RW)
    space.populate(0, ram.length)
    takes, during = space.table.takes, list[int]()

    def harvest(*arguments: Any) -> None:
        during.append(int(takes[0]))
        kernel(*arguments)
        if len(during) == 2:
            raise ValueError("fails")

    monkeypatch.setattr(kernels.dirty, "harvest_still", harvest)
    behind = [int(takes[0])]
    for call in range(4):
        space.set_dirty(0, PAGE)
        with pytest.raises(ValueError, match="fails") if call == 1 else nullcontext():
            space.track_dirty(0, PAGE)
        behind.append(int(takes[0]))
    assert all(number % 2 for number in during)
    assert [number % 2 for number in behind] == [0, 0, 1, 0, 0]
    assert sorted({*during, *behind}) == sorted((*during, *behind[:2], *behind[3:]))  # none came twice, but after the failure
    space.close()
    ram.release()
    reservoir.close()
