"""The dirty log of a space: harvest, peek, put back, over ranges that start and end anywhere."""

import numpy as np
import pytest

from npt import EPT, NPT, Prot, PteFormat, RamObject, Reservoir, TrackingDisabled, Vcpu, VmClient, VmSpace
from tests.space.scene import GIB, MIB, PAGE, SIZE, bits, dirty, map_at, write_to

EDGES = [0, 1, 7, 8, 9, 63, 64, 65, 510, 511, 512, 513, 575, 576, 1023, 1024, 1025, 1500]


@pytest.fixture(scope="module", params=[EPT, NPT], ids=["ept", "npt"])
def wide(request: pytest.FixtureRequest) -> VmSpace:
    """1536 pages without bytes around the 1 GiB border, all resident, those of ``EDGES`` dirty."""
    reservoir = Reservoir(1536 * PAGE, backed=False)
    space = VmSpace(SIZE, reservoir=reservoir, track_dirty=True, format=request.param)
    map_at(space, reservoir.allocate(1536 * PAGE), START, Prot.RWX)
    space.populate(START, 1536 * PAGE)
    Vcpu(space.client()).run([START + page * PAGE for page in EDGES], write=True)
    return space


START = GIB - 512 * PAGE


def window(first: int, n: int) -> list[int]:
    """Dirty pages of a window, counted from its start."""
    return [page - first for page in EDGES if first <= page < first + n]


RANGES = [
    (0, 1), (0, 8), (0, 1536), (1, 1), (1, 1535), (5, 3), (7, 1), (7, 2), (8, 57), (63, 1), (63, 2), (64, 1), (65, 446),
    (509, 1), (511, 1), (511, 2), (512, 1), (511, 514), (513, 511), (500, 600), (575, 2), (1023, 2), (1024, 512),
    (1499, 3), (1535, 1),
]  # fmt: skip


@pytest.mark.parametrize(("first", "n"), RANGES)
def test_peek__any_range(wide: VmSpace, first: int, n: int) -> None:
    """Bit k of byte j is page 8 j + k of the range, wherever that starts."""
    found = wide.peek_dirty(START + first * PAGE, n * PAGE)
    assert (found.shape, str(found.dtype), bits(found)) == ((-(-n // 8),), "uint8", window(first, n))


@pytest.mark.parametrize(("first", "n"), RANGES)
def test_harvest__any_range(wide: VmSpace, first: int, n: int) -> None:
    """A harvest takes the bits of its range and no others; put back, all are there again."""
    gpa, length = START + first * PAGE, n * PAGE
    found = wide.track_dirty(gpa, length)
    assert bits(found) == window(first, n)
    assert dirty(wide, START, 1536 * PAGE) == [page for page in EDGES if not first <= page < first + n]
    assert wide.set_dirty(gpa, length, select=found).tolist() == found.tolist()
    assert dirty(wide, START, 1536 * PAGE) == EDGES


@pytest.mark.parametrize(("first", "n"), RANGES)
def test_reset__any_range(wide: VmSpace, first: int, n: int) -> None:
    """With every second page selected, every second is harvested, and the others stay."""
    gpa, length = START + first * PAGE, n * PAGE
    select = np.full(-(-n // 8) + 2, 0x55, np.uint8)
    found = wide.reset_dirty(gpa, length, select=select)
    assert bits(found) == [page for page in window(first, n) if page % 2 == 0]
    assert dirty(wide, gpa, length) == [page for page in window(first, n) if page % 2]
    assert bits(wide.set_dirty(gpa, length, select=found)) == bits(found)
    assert dirty(wide, START, 1536 * PAGE) == EDGES


@pytest.mark.parametrize(("first", "n"), RANGES)
def test_peek__selected(wide: VmSpace, first: int, n: int) -> None:
    """Pages that are not selected read 0; a selection may be strided and read-only."""
    select = np.zeros(2 * (-(-n // 8)), np.uint8)[::2]
    select[:] = 0xAA
    select.flags.writeable = False
    found = wide.peek_dirty(START + first * PAGE, n * PAGE, select=select)
    assert bits(found) == [page for page in window(first, n) if page % 2]


@pytest.mark.parametrize(("first", "n"), RANGES)
def test_accessed__any_range(wide: VmSpace, first: int, n: int) -> None:
    """Where D is, A is; nPT has A in every leaf from the start."""
    found = bits(wide.accessed(START + first * PAGE, n * PAGE))
    assert found == (window(first, n) if wide.format.name == "ept" else list(range(n)))


def test_into__bits_past_the_range_stay(wide: VmSpace) -> None:
    """A longer bitmap keeps what is not of the range, also in the last byte."""
    into = np.full(4, 0x80, np.uint8)
    taken = wide.track_dirty(START, 9 * PAGE, into=into)
    assert taken is into
    assert into.tolist() == [0x83 | 0x80, 0x81, 0x80, 0x80]
    wide.set_dirty(START, 9 * PAGE, select=np.array([0x83, 0x01], np.uint8))
    assert dirty(wide, START, 1536 * PAGE) == EDGES


def test_select__bits_past_the_range_are_ignored(space: VmSpace, client: VmClient) -> None:
    """Only the range's own pages are selected, though the last byte says more."""
    space.set_dirty(0, 3 * PAGE, select=np.full(1, 0xFF, np.uint8))
    assert dirty(space, 0, 16 * PAGE) == [0, 1, 2]
    space.reset_dirty(0, PAGE, select=np.full(9, 0xFF, np.uint8))
    assert dirty(space, 0, 16 * PAGE) == [1, 2]


# -- what counts --------------------------------------------------------------------------------------------------------


def test_holes__are_clean(space: VmSpace, client: VmClient, ram: RamObject) -> None:
    """A range may cover holes, pages that are not resident and pages that are not writable."""
    space.map(ram, 0x20 * PAGE, 4 * PAGE, Prot.READ)
    client.fault(0x20 * PAGE, Prot.READ)
    write_to(client, 0xF * PAGE)
    assert bits(space.track_dirty(0, 4 * MIB)) == [15]
    assert bits(space.track_dirty(GIB, PAGE)) == []


def test_holes__across_a_root_entry(space: VmSpace, client: VmClient, ram: RamObject) -> None:
    """Both sides of the 512 GiB border are in one range."""
    map_at(space, ram, 512 * GIB - 8 * PAGE)
    write_to(client, 512 * GIB - PAGE, 512 * GIB)
    assert bits(space.track_dirty(512 * GIB - MIB, 2 * MIB)) == [255, 256]


def test_release__marks_dirty(space: VmSpace, client: VmClient) -> None:
    """A page held to be written is dirty from its release, not before."""
    page = client.hold(0, Prot.RW)
    page.writable()[0] = 1
    assert dirty(space, 0, PAGE) == []
    page.release()
    assert dirty(space, 0, PAGE) == [0]


def test_read__marks_nothing(space: VmSpace, client: VmClient) -> None:
    """Holds to read leave the entry as it was made."""
    client.fault(0, Prot.READ)
    before = space.pte(0)
    client.read(0, 1)
    client.hold(0, Prot.READ).release()
    assert space.pte(0) == before


def test_dirty__sets_accessed_too(space: VmSpace, client: VmClient) -> None:
    """D comes with A; a harvest leaves A."""
    write_to(client, 0)
    a, d = (0x100, 0x200) if space.format.name == "ept" else (0x20, 0x40)
    assert (space.pte(0) or 0) & (a | d) == a | d
    space.track_dirty(0, PAGE)
    assert (space.pte(0) or 0) & (a | d) == a


def test_harvest__raises_the_generation_always(space: VmSpace) -> None:
    """Even if nothing was dirty, once."""
    for call in (space.track_dirty, space.reset_dirty):
        generation = space.generation
        call(0, PAGE)
        assert space.generation == generation + 1
    generation = space.generation
    space.reset_dirty(0, PAGE, select=np.zeros(1, np.uint8))
    space.accessed(0, PAGE, clear=True)
    assert space.generation == generation + 2


def test_looking__raises_no_generation(space: VmSpace) -> None:
    """peek, set and accessed without clear let cached translations be."""
    generation = space.generation
    space.peek_dirty(0, PAGE)
    space.set_dirty(0, PAGE)
    space.accessed(0, PAGE)
    assert space.generation == generation


def test_set_dirty__makes_writable_pages_resident(space: VmSpace, ram: RamObject) -> None:
    """Pages that were not resident become so; read-only ones and holes are passed over."""
    space.map(ram, ram.length, PAGE, Prot.READ)
    space.populate(ram.length, PAGE)
    found = space.set_dirty(0, ram.length + 4 * PAGE)
    assert bits(found) == list(range(16))
    assert space.resident_count == 17
    assert dirty(space, 0, ram.length + 4 * PAGE) == list(range(16))


def test_set_dirty__passes_over_read_only_pages_that_are_absent(space: VmSpace, ram: RamObject) -> None:
    """A read-only page is not even made resident."""
    space.map(ram, ram.length, PAGE, Prot.READ)
    assert bits(space.set_dirty(ram.length, PAGE)) == []
    assert space.resident_count == 0


def test_set_dirty__tells_what_became_dirty(space: VmSpace, client: VmClient) -> None:
    """What was dirty already is not told again."""
    write_to(client, PAGE)
    assert bits(space.set_dirty(0, 4 * PAGE, select=np.array([0b0111], np.uint8))) == [0, 2]
    assert dirty(space, 0, 4 * PAGE) == [0, 1, 2]


def test_accessed__clear_takes_accessed_only(space: VmSpace, client: VmClient) -> None:
    """A is cleared where it was, D stays."""
    write_to(client, PAGE)
    assert 1 in bits(space.accessed(0, 4 * PAGE, clear=True))
    assert bits(space.accessed(0, 4 * PAGE)) == []
    assert dirty(space, 0, 4 * PAGE) == [1]


def test_accessed__works_with_tracking_off(space: VmSpace, client: VmClient) -> None:
    """A needs no dirty log; EPT sets it only while there is one, nPT always."""
    space.set_tracking(False)
    Vcpu(client).run([0])
    assert bits(space.accessed(0, PAGE, clear=True)) == ([0] if space.format.name == "npt" else [])


def test_set_dirty__a_page_that_is_dirty_and_not_accessed(space: VmSpace, client: VmClient) -> None:
    """It gets A again, and is not told: it was dirty."""
    write_to(client, PAGE)
    space.accessed(0, 4 * PAGE, clear=True)
    assert bits(space.set_dirty(PAGE, PAGE)) == []
    assert bits(space.accessed(0, 4 * PAGE)) == [1]


# -- tracking -----------------------------------------------------------------------------------------------------------


def test_tracking_off__dirty_calls_are_refused(space: VmSpace) -> None:
    """Without a log there is nothing to read, and nothing changes."""
    space.set_tracking(False)
    generation = space.generation
    for call in (space.track_dirty, space.peek_dirty, space.reset_dirty, space.set_dirty):
        with pytest.raises(TrackingDisabled):
            call(0, PAGE)
    assert (space.generation, space.resident_count) == (generation, 0)


def test_tracking_off__releases_mark_nothing(space: VmSpace, client: VmClient) -> None:
    """Existing clients follow at once."""
    page, pages = client.hold(0, Prot.RW), client.hold_many([PAGE], Prot.RW)
    space.set_tracking(False)
    page.release()
    pages.release()
    client.write(2 * PAGE, b"x")
    space.set_tracking(True)
    assert dirty(space, 0, 3 * PAGE) == []


def test_tracking__bits_outlast_it(space: VmSpace, client: VmClient) -> None:
    """Turning the log off and on keeps what is in the entries."""
    write_to(client, PAGE)
    space.set_tracking(False)
    space.set_tracking(True)
    assert dirty(space, 0, 2 * PAGE) == [1]


def test_tracking__on_follows_at_release(space: VmSpace, client: VmClient) -> None:
    """A page that was held before tracking came on is dirty at its release."""
    space.set_tracking(False)
    page = client.hold(0, Prot.RW)
    space.set_tracking(True)
    page.release()
    assert dirty(space, 0, PAGE) == [0]


def test_set_tracking__unchanged_does_nothing(space: VmSpace) -> None:
    """The generation is raised only by a change."""
    generation = space.generation
    space.set_tracking(True)
    assert space.generation == generation
    space.set_tracking(np.False_)  # type: ignore[arg-type]
    assert (space.generation, space.tracking) == (generation + 1, False)


# -- entries from outside -----------------------------------------------------------------------------------------------


def test_read_table__what_is_written_is_harvested(space: VmSpace) -> None:
    """Hardware, or who plays it, sets bits through read_table; every harvest finds them."""
    space.populate(0, 4 * PAGE)
    leaf = space.table.read_table(2**33)
    mark = np.uint64(0x200 if space.format.name == "ept" else 0x40)
    for _ in range(3):
        leaf[2] |= mark
        assert bits(space.track_dirty(0, 4 * PAGE)) == [2]


def test_bit_63__survives_every_dirty_call(space: VmSpace, client: VmClient, form: PteFormat, ram: RamObject) -> None:
    """Entries that may not be executed have bit 63 in nPT, and keep it and their frame."""
    write_to(client, 0, PAGE)
    space.set_dirty(0, ram.length)
    space.track_dirty(0, ram.length)
    space.accessed(0, ram.length, clear=True)
    space.set_dirty(PAGE, PAGE)
    for page in range(16):
        entry = space.pte(page * PAGE)
        assert entry is not None
        assert entry >> 63 == (form is NPT)
        assert entry >> 12 & (2**40 - 1) == ram.pfn_at(page * PAGE)
