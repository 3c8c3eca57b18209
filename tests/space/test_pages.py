"""Many pages held as one."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from npt import AccessDenied, Fault, InvalidArgument, NotSupported, Prot, RamObject, Reservoir, StaleHandle, VmClient, VmSpace
from tests.space.scene import GIB, MIB, PAGE, SIZE, bits, dirty, map_at

SOME = [3 * PAGE, 0, 3 * PAGE, 0xF * PAGE]  # in no order, one twice


def test_hold_many__in_the_order_given(space: VmSpace, client: VmClient, ram: RamObject) -> None:
    """Pages come as they were asked for, twice if they were asked for twice."""
    with client.hold_many(SOME, Prot.RW) as pages:
        assert (pages.gpas.tolist(), pages.pfns.tolist()) == (SOME, [ram.pfn_at(gpa) for gpa in SOME])
        assert (len(pages), client.holds, space.resident_count) == (4, 4, 3)
    assert client.holds == 0


def test_hold_many__arrays_are_read_only_and_ours(client: VmClient) -> None:
    """The caller's array stays the caller's, and ours cannot be changed."""
    gpas = np.array(SOME, np.uint64)
    with client.hold_many(gpas, Prot.RW) as pages:
        gpas[:] = 0
        assert pages.gpas.tolist() == SOME
        with pytest.raises(ValueError, match="read-only"):
            pages.gpas[0] = 0
        with pytest.raises(ValueError, match="read-only"):
            pages.pfns[0] = 0
    gpas[0] = 1


@pytest.mark.parametrize("bad", [0x10 * PAGE, GIB, SIZE, 2**48, 2**64 - PAGE])
def test_hold_many__all_or_nothing(space: VmSpace, client: VmClient, bad: int) -> None:
    """If one page cannot be held, none is, and none becomes resident."""
    with pytest.raises(Fault, match=hex(bad)):
        client.hold_many([0, PAGE, bad, 2 * PAGE], Prot.RW)
    assert (client.holds, space.resident_count) == (0, 0)


@pytest.mark.parametrize("odd", [1, 0x10 * PAGE + 8, 2**63 + 1])
@pytest.mark.parametrize("at", [0, 1, 2, 200, 399])
def test_hold_many__unaligned_before_all_else(space: VmSpace, client: VmClient, odd: int, at: int) -> None:
    """An address that starts no page is no argument, though a page before it cannot be held either."""
    gpas = [0] * 400
    gpas[1], gpas[at] = 0x10 * PAGE, odd
    with pytest.raises(InvalidArgument, match=hex(odd)):
        client.hold_many(gpas, Prot.RW)
    assert (client.holds, space.resident_count) == (0, 0)
    space.unmap(0, 0x10 * PAGE)
    space.destroy()
    with pytest.raises(InvalidArgument, match=hex(odd)):
        client.hold_many(gpas, Prot.RW)


def test_hold_many__not_resident_among_resident(space: VmSpace, client: VmClient, ram: RamObject) -> None:
    """Those that are there stay as they are, the others are made; over several blocks, and one page many times."""
    space.populate(3 * PAGE, 2 * PAGE)
    space.set_dirty(3 * PAGE, PAGE)
    gpas = [k * 7 % 16 * PAGE for k in range(500)]
    with client.hold_many(gpas, Prot.READ) as pages:
        assert pages.pfns.tolist() == [ram.pfn_at(gpa) for gpa in gpas]
        assert space.translate(gpas).tolist() == pages.pfns.tolist()
    assert (space.resident_count, dirty(space, 0, 0x10 * PAGE)) == (16, [3])


def test_hold_many__across_a_leaf_tables_border(space: VmSpace, client: VmClient, ram: RamObject) -> None:
    """Pages 511, 512 and 513 are nothing special."""
    map_at(space, ram, 2 * MIB - 2 * PAGE)
    gpas = [page * PAGE for page in (513, 512, 511, 510)]
    with client.hold_many(gpas, Prot.RW) as pages:
        assert pages.pfns.tolist() == [ram.pfn_at(gpa - 2 * MIB + 2 * PAGE) for gpa in gpas]
    assert bits(space.track_dirty(2 * MIB - 4 * PAGE, 8 * PAGE)) == [2, 3, 4, 5]


# -- bytes --------------------------------------------------------------------------------------------------------------


def test_gather__is_a_copy(client: VmClient) -> None:
    """Rows are pages in the order held; changing them changes no guest."""
    client.write(0, b"zero")
    client.write(3 * PAGE, b"three")
    with client.hold_many(SOME, Prot.RW) as pages:
        copy = pages.gather()
        assert (copy.shape, str(copy.dtype)) == ((4, PAGE), "uint8")
        assert [bytes(row[:5]).rstrip(b"\0") for row in copy] == [b"three", b"zero", b"three", b""]
        copy[:] = 0xFF
    assert client.read(0, 5) == b"zero\0"


@pytest.mark.parametrize("n", [0, 1, 4])
def test_gather__into_an_array(client: VmClient, n: int) -> None:
    """It is filled and returned; no byte before or behind it changes."""
    for gpa in SOME:
        client.write(gpa, bytes([gpa >> 12 | 0x80]) * PAGE)
    around = np.full((n + 2, PAGE), 0xEE, np.uint8)
    with client.hold_many(SOME[:n], Prot.READ) as pages:
        out = around[1 : n + 1]
        assert pages.gather(out=out) is out
        assert (out == pages.gather()).all()
    assert [set(row.tolist()) for row in around] == [{0xEE}, *({gpa >> 12 | 0x80} for gpa in SOME[:n]), {0xEE}]


UNFIT: dict[str, Callable[[VmClient], object]] = {
    "too short": lambda c: np.zeros((1, PAGE), np.uint8),
    "too long": lambda c: np.zeros((3, PAGE), np.uint8),
    "flat": lambda c: np.zeros(2 * PAGE, np.uint8),
    "transposed": lambda c: np.zeros((PAGE, 2), np.uint8),
    "strided": lambda c: np.zeros((2, 2 * PAGE), np.uint8)[:, ::2],
    "in Fortran's order": lambda c: np.zeros((2, PAGE), np.uint8, order="F"),
    "every other row": lambda c: np.zeros((4, PAGE), np.uint8)[::2],
    "read-only": lambda c: np.frombuffer(bytes(2 * PAGE), np.uint8).reshape(2, PAGE),
    "the guest's own": lambda c: c.core.memory[: 2 * PAGE].reshape(2, PAGE),
    "a table": lambda c: c.core.table.levels[0][:1024].view(np.uint8).reshape(2, PAGE),
}


@pytest.mark.parametrize("name", UNFIT)
def test_gather__unfit_array(client: VmClient, name: str) -> None:
    """It must be the caller's own, of that shape, writable and in one piece; nothing is written into any other."""
    client.write(0, b"\x5a" * 2 * PAGE)
    with client.hold_many([0, PAGE], Prot.RW) as pages:
        out: Any = UNFIT[name](client)
        before = out.copy()
        with pytest.raises(InvalidArgument):
            pages.gather(out=out)
        assert (out == before).all()


@pytest.mark.parametrize("out", [b"", [0], np.zeros((2, PAGE), np.int8), np.zeros((2, PAGE), np.uint64)])
def test_gather__no_array_of_bytes(client: VmClient, out: Any) -> None:
    """Another type is told as such, before anything else."""
    pages = client.hold_many([0, PAGE], Prot.WRITE)
    for _ in range(2):  # held for writing, then released
        with pytest.raises(TypeError):
            pages.gather(out=out)
        pages.release() if client.holds else None


def test_gather__fails_without_touching_the_array(space: VmSpace, client: VmClient) -> None:
    """Not held for reading, one page without bytes, or released: not a byte is written."""
    mmio = space.map_mmio(0x200000, PAGE, 0xFE00_0000)
    out = np.full((2, PAGE), 0xEE, np.uint8)
    with client.hold_many([0, 0x200000], Prot.READ) as pages, pytest.raises(NotSupported):
        pages.gather(out=out)
    with client.hold_many([0, PAGE], Prot.WRITE) as pages, pytest.raises(AccessDenied):
        pages.gather(out=out)
    with pytest.raises(StaleHandle):
        pages.gather(out=out)
    assert (out == 0xEE).all()
    mmio.release()


def test_scatter__then_gather(client: VmClient) -> None:
    """What was scattered is gathered; of two rows for one page the last stays."""
    data = np.random.default_rng(0).integers(0, 256, (4, PAGE), np.uint8)
    with client.hold_many(SOME, Prot.RW) as pages:
        pages.scatter(data)
        assert (pages.gather() == data[[2, 1, 2, 3]]).all()
    assert client.read(0xF * PAGE, PAGE) == data[3].tobytes()


def test_scatter__from_any_array_of_its_shape(client: VmClient) -> None:
    """Strided and read-only data will do."""
    data = np.arange(4 * 2 * PAGE, dtype=np.uint8).reshape(4, 2 * PAGE)[:, ::2]
    data.flags.writeable = False
    with client.hold_many(SOME[1:2], Prot.RW) as pages:
        pages.scatter(data[1:2])
        assert (pages.gather() == data[1:2]).all()


def test_scatter__from_the_guests_own_memory(client: VmClient) -> None:
    """Data may be a view of the pages themselves."""
    client.write(0, bytes(range(256)) * 16)
    with client.hold(0, Prot.RW) as page, client.hold_many([PAGE], Prot.RW) as pages:
        pages.scatter(page.readable().reshape(1, PAGE))
    assert client.read(PAGE, PAGE) == bytes(range(256)) * 16


def test_bytes__only_what_they_were_held_for(client: VmClient) -> None:
    """gather wants READ, scatter and mark_dirty want WRITE."""
    with client.hold_many([0], Prot.WRITE) as pages:
        with pytest.raises(AccessDenied):
            pages.gather()
        pages.scatter(np.ones((1, PAGE), np.uint8))
    with client.hold_many([0], Prot.READ) as pages:
        assert pages.gather().all()
        with pytest.raises(AccessDenied):
            pages.scatter(np.zeros((1, PAGE), np.uint8))
        with pytest.raises(AccessDenied):
            pages.mark_dirty()


def test_bytes__of_mmio(space: VmSpace, client: VmClient) -> None:
    """One page without bytes is enough to refuse; nothing was written."""
    mmio = space.map_mmio(0x200000, PAGE, 0xFE00_0000)
    with client.hold_many([0, 0x200000], Prot.RW, defer_dirty=True) as pages:
        with pytest.raises(NotSupported):
            pages.gather()
        with pytest.raises(NotSupported):
            pages.scatter(np.ones((2, PAGE), np.uint8))
    assert client.read(0, 1) == b"\0"
    mmio.release()


# -- marks --------------------------------------------------------------------------------------------------------------


def test_release__marks_dirty(space: VmSpace, client: VmClient) -> None:
    """Pages held to be written are dirty from their release."""
    pages = client.hold_many(SOME, Prot.RW)
    assert dirty(space, 0, 0x10 * PAGE) == []
    assert pages.release() == 0
    assert dirty(space, 0, 0x10 * PAGE) == [0, 3, 15]


def test_release__deferred_marks_only_what_was_said(space: VmSpace, client: VmClient) -> None:
    """With defer_dirty the pages that mark_dirty selects are dirty; bits past them are ignored."""
    with client.hold_many([k * PAGE for k in range(10)], Prot.RW, defer_dirty=True) as pages:
        pages.mark_dirty(np.array([0b1000_0001, 0b1111_1110, 0xFF], np.uint8))
    assert dirty(space, 0, 0x10 * PAGE) == [0, 7, 9]


def test_mark_dirty__of_all(space: VmSpace, client: VmClient) -> None:
    """Without a selection all are marked."""
    with client.hold_many([0, PAGE], Prot.RW, defer_dirty=True) as pages:
        pages.mark_dirty()
    assert dirty(space, 0, 0x10 * PAGE) == [0, 1]


def test_release__held_to_read_marks_nothing(space: VmSpace, client: VmClient) -> None:
    """Reading is no write."""
    client.hold_many(SOME, Prot.READ).release()
    assert dirty(space, 0, 0x10 * PAGE) == []


# -- unmapped meanwhile -------------------------------------------------------------------------------------------------


def test_release__counts_what_was_unmapped(space: VmSpace, client: VmClient, ram: RamObject) -> None:
    """Pages of a mapping that went are counted, their bytes stay until the release, the others are dirty."""
    map_at(space, ram, 0x200000)
    pages = client.hold_many([0x200000, PAGE, 0x201000], Prot.RW)
    space.unmap(0x200000, ram.length)
    assert ram.refs == 4
    pages.scatter(np.full((3, PAGE), 5, np.uint8))
    assert client.read(0, 2) == b"\x05\x05"
    assert pages.release() == 2
    assert (ram.refs, dirty(space, 0, 0x10 * PAGE)) == (2, [1])


def test_release__counts_over_two_unmaps(space: VmSpace, client: VmClient, ram: RamObject, reservoir: Reservoir) -> None:
    """Pages of several objects are given back to each."""
    other = reservoir.allocate(PAGE)
    map_at(space, other, 0x200000)
    pages = client.hold_many([0, 0x200000, 0], Prot.RW)
    space.unmap(0x200000, PAGE)
    space.unmap(0, ram.length)
    other.release()
    assert (ram.refs, other.refs) == (3, 1)
    assert pages.release() == 3
    assert (ram.refs, other.refs) == (1, 0)


def test_release__neighbours_of_an_unmapped_range_stay(space: VmSpace, client: VmClient, ram: RamObject) -> None:
    """The pages right before and right behind a mapping that went are still mapped."""
    map_at(space, ram, ram.length)
    map_at(space, ram, 2 * ram.length)
    pages = client.hold_many([ram.length - PAGE, ram.length, 2 * ram.length - PAGE, 2 * ram.length], Prot.RW)
    space.unmap(ram.length, ram.length)
    assert ram.refs == 5
    assert pages.release() == 2
    assert dirty(space, 0, 3 * ram.length) == [15, 32]


# -- the end ------------------------------------------------------------------------------------------------------------


def test_context__releases_once(client: VmClient) -> None:
    """Leaving the context releases what is not released."""
    with client.hold_many(SOME, Prot.RW) as pages:
        pages.release()
    with pytest.raises(StaleHandle):
        pages.__enter__()
    with pytest.raises(KeyError), client.hold_many(SOME, Prot.RW):
        raise KeyError
    assert client.holds == 0


def test_hold_many__of_nothing(client: VmClient) -> None:
    """An empty batch is a batch."""
    with client.hold_many([], Prot.RW) as pages:
        pages.scatter(np.empty((0, PAGE), np.uint8))
        pages.mark_dirty(np.empty(0, np.uint8))
        assert (pages.gather().shape, pages.release()) == ((0, PAGE), 0)


def test_mark_dirty__adds_up(space: VmSpace, client: VmClient) -> None:
    """Each call takes the deferral back for its pages, and none brings it back for those of another."""
    with client.hold_many([0, PAGE, 2 * PAGE, 3 * PAGE], Prot.RW, defer_dirty=True) as pages:
        for chosen in (0b0001, 0b0100, 0):
            pages.mark_dirty(np.array([chosen], np.uint8))
    assert dirty(space, 0, 0x10 * PAGE) == [0, 2]
    with client.hold_many([4 * PAGE, 5 * PAGE], Prot.RW) as pages:
        pages.mark_dirty(np.array([0b01], np.uint8))
    assert dirty(space, 0, 0x10 * PAGE) == [0, 2, 4, 5]


@pytest.mark.parametrize("selected", [False, True])
def test_release__after_unmap_marks_nobody(space: VmSpace, client: VmClient, ram: RamObject, selected: bool) -> None:
    """Pages that were unmapped meanwhile mark neither the old leaves nor what is there now; the others mark theirs."""
    space.map(ram, 0x10 * PAGE, PAGE, Prot.RW)
    pages = client.hold_many([0, 0x10 * PAGE, PAGE], Prot.RW)
    if selected:
        pages.mark_dirty(np.array([0b111], np.uint8))
    space.unmap(0, ram.length)
    map_at(space, ram, 0)
    space.populate(0, ram.length)
    assert pages.release() == 2
    assert dirty(space, 0, 0x11 * PAGE) == [0x10]
