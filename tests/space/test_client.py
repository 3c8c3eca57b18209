"""Look-ups of a client: one, many, bytes across pages."""

from typing import Any

import numpy as np
import pytest

from npt import (
    AddressOverflow,
    Busy,
    Fault,
    FaultCode,
    InvalidArgument,
    NotSupported,
    Prot,
    PteFormat,
    RamObject,
    Reservoir,
    StaleHandle,
    Vcpu,
    VmClient,
    VmSpace,
)  # fmt: skip
from tests.space.scene import GIB, MIB, PAGE, SIZE, caught, dirty, map_at


def code_of(error: BaseException | None) -> FaultCode:
    """Why a look-up failed."""
    assert isinstance(error, Fault)
    return error.code


# -- hold and fault -----------------------------------------------------------------------------------------------------


def test_hold__makes_resident(space: VmSpace, client: VmClient, ram: RamObject) -> None:
    """Holding a page installs its entry, once."""
    with client.hold(3 * PAGE, Prot.READ) as page, client.hold(3 * PAGE, Prot.RW):
        assert page.pfn == ram.pfn_at(3 * PAGE)
        assert (space.resident_count, client.holds, space.generation) == (1, 2, 1)
    assert client.holds == 0


def test_hold__does_not_round_down(client: VmClient) -> None:
    """A page is held by its own address."""
    with pytest.raises(InvalidArgument, match="0x1001"):
        client.hold(0x1001, Prot.READ)


@pytest.mark.parametrize("prot", [Prot.READ, Prot.WRITE, Prot.RW])
@pytest.mark.parametrize("gpa", [0x10 * PAGE, GIB, SIZE - PAGE, SIZE, 2**47, 2**64 - PAGE])
def test_hold__nothing_there(space: VmSpace, client: VmClient, prot: Prot, gpa: int) -> None:
    """Where no mapping is, inside the space or past its end, nothing can be held."""
    assert code_of(caught(lambda: client.hold(gpa, prot))) is FaultCode.NOMAP
    assert code_of(caught(lambda: client.fault(gpa, prot))) is FaultCode.NOMAP
    assert code_of(caught(lambda: client.hold_many([0, gpa], prot))) is FaultCode.NOMAP
    assert (space.resident_count, client.holds) == (0, 0)


@pytest.mark.parametrize("resident", [False, True])
@pytest.mark.parametrize("allowed", [Prot.READ, Prot.RW, Prot.RX, Prot.RWX])
@pytest.mark.parametrize("wanted", [Prot(bits) for bits in range(1, 8)])
def test_protection__by_entry_and_by_mapping(
    space: VmSpace, client: VmClient, ram: RamObject, resident: bool, allowed: Prot, wanted: Prot
) -> None:
    """A look-up gets what the mapping allows, whether the page is resident or not."""
    space.map(ram, GIB, PAGE, allowed)
    if resident:
        space.populate(GIB, PAGE)
    error = caught(lambda: client.fault(GIB, wanted))
    if wanted & ~allowed:
        assert code_of(error) is FaultCode.PROT
        assert client.fault_many([GIB], wanted).tolist() == [FaultCode.PROT]
    else:
        assert error is None
    assert space.resident_count == (resident or error is None)


def test_fault__rounds_down(space: VmSpace, client: VmClient) -> None:
    """Any byte faults its page in."""
    client.fault(0x2FFF, Prot.RW)
    assert space.pte(0x2000)
    assert space.resident_count == 1


def test_fault__is_counted(space: VmSpace, client: VmClient) -> None:
    """Served and refused faults count, one a page; those of clients that are gone, too."""
    client.fault(0, Prot.READ)
    caught(lambda: client.fault(GIB, Prot.READ))
    client.fault_many([0, PAGE, GIB], Prot.READ)
    assert space.counters.faults == 5
    client.destroy()
    assert space.counters.faults == 5


def test_fault_many__each_for_itself(space: VmSpace, client: VmClient, ram: RamObject) -> None:
    """Outcomes stand in an array; those that could be served were."""
    space.map(ram, 2 * MIB - PAGE, 2 * PAGE, Prot.READ)
    gpas = [0, 0xFFF, GIB, 2 * MIB - 1, 2 * MIB, 0xF * PAGE, 0x10 * PAGE, SIZE, 2**48, 2**64 - 1]
    outcomes = client.fault_many(gpas, Prot.RW)
    nomap, prot = FaultCode.NOMAP, FaultCode.PROT
    assert outcomes.tolist() == [0, 0, nomap, prot, prot, 0, nomap, nomap, nomap, nomap]
    assert outcomes.dtype == np.uint8
    assert space.resident_count == 2
    assert client.fault_many(gpas, Prot.READ).tolist() == [0, 0, nomap, 0, 0, 0, nomap, nomap, nomap, nomap]
    assert space.resident_count == 4


def test_client__is_not_the_spaces_only_one(space: VmSpace, client: VmClient) -> None:
    """What one client made resident another finds."""
    client.fault(0, Prot.RW)
    with space.client().hold(0, Prot.RW) as page:
        assert page.pfn == int(space.translate([0])[0])
    assert space.resident_count == 1


# -- bytes --------------------------------------------------------------------------------------------------------------

SPOTS = [(0, 1), (0xFFF, 1), (0xFFF, 2), (0x1000, PAGE), (1, PAGE), (0x7FF, 3 * PAGE), (0, 16 * PAGE), (0x10 * PAGE - 1, 1)]


@pytest.mark.parametrize(("gpa", "n"), SPOTS)
def test_bytes__anywhere(space: VmSpace, client: VmClient, gpa: int, n: int) -> None:
    """What is written is read, at any place and of any length; the pages it touches are dirty."""
    text = bytes(k % 251 for k in range(n))
    client.write(gpa, text)
    assert client.read(gpa, n) == text
    pages = list(range(gpa >> 12, (gpa + n - 1 >> 12) + 1))
    assert dirty(space, 0, 0x10 * PAGE) == pages
    around = client.read(0, 0x10 * PAGE)
    assert around.count(0) - text.count(0) == 0x10 * PAGE - n


def test_bytes__of_pages_are_the_views(space: VmSpace, client: VmClient, reservoir: Reservoir, ram: RamObject) -> None:
    """Bytes land in the frame that the entry names."""
    client.write(5 * PAGE + 7, b"here")
    frame = ram.pfn_at(5 * PAGE) - reservoir.base_pfn
    assert reservoir.buffer[frame * PAGE + 7 :][:4].tobytes() == b"here"


def test_bytes__of_pages_that_lie_apart_in_the_host(space: VmSpace, client: VmClient, ram: RamObject) -> None:
    """Frames side by side are copied as one piece, others are not."""
    for gpa, offset, n in ((0x100, 4, 2), (0x102, 0, 3), (0x105, 8, 1), (0x106, 3, 1)):
        space.map(ram, gpa * PAGE, n * PAGE, Prot.RW, offset * PAGE)
    client.write(0, bytes(k % 251 for k in range(0x10 * PAGE)))
    whole = b"".join(client.read(page * PAGE, PAGE) for page in (4, 5, 0, 1, 2, 8, 3))
    for skip, n in (
        (0, 7 * PAGE),
        (1, 7 * PAGE - 1),
        (PAGE - 1, 2),
        (2 * PAGE - 1, 2),
        (2 * PAGE - 1, 3 * PAGE),
        (5, PAGE),
        (4000, 4 * PAGE),
    ):
        assert client.read(0x100 * PAGE + skip, n) == whole[skip : skip + n]
    client.write(0x100 * PAGE + 9, whole[::-1][9:])
    assert client.read(0x100 * PAGE + 9, 7 * PAGE - 9) == whole[::-1][9:]


@pytest.mark.parametrize("resident", [False, True])
@pytest.mark.parametrize(("gpa", "n"), [(0, 1), (0xFFF, 1), (0xFF0, 16), (0, PAGE), (5, PAGE - 5), (0x1008, 8)])
def test_bytes__within_a_page(space: VmSpace, client: VmClient, gpa: int, n: int, resident: bool) -> None:
    """Few bytes of one page, resident or not, of any type: not one more is read, written or marked."""
    if resident:
        space.populate(0, 2 * PAGE)
    text = bytes(k % 251 + 1 for k in range(n))
    client.write(np.int64(gpa), np.frombuffer(text, np.uint8))
    client.write(gpa, bytearray(text))
    assert dirty(space, 0, 0x10 * PAGE) == [gpa >> 12]
    assert client.read(np.uint64(gpa), n) == text
    assert client.read(0, 2 * PAGE) == bytes(gpa) + text + bytes(2 * PAGE - gpa - n)
    space.track_dirty(0, 0x10 * PAGE)
    space.set_tracking(False)
    client.write(gpa, text)
    space.set_tracking(True)
    assert dirty(space, 0, 0x10 * PAGE) == []


def test_write__few_bytes_over_an_edge(space: VmSpace, client: VmClient, ram: RamObject) -> None:
    """Resident or not, both pages get their bytes and are dirty, wherever the second one is in the host."""
    space.map(ram, 0x100 * PAGE, PAGE, Prot.RW, 9 * PAGE)
    space.map(ram, 0x101 * PAGE, PAGE, Prot.RW, 3 * PAGE)
    space.populate(0x100 * PAGE, PAGE)
    for text in (b"ab", b"cd"):
        client.write(0x101 * PAGE - 1, text)
        assert dirty(space, 0x100 * PAGE, 2 * PAGE) == [0, 1]
        assert (client.read(10 * PAGE - 1, 1), client.read(3 * PAGE, 1)) == (text[:1], text[1:])
        space.track_dirty(0x100 * PAGE, 2 * PAGE)


def test_write__from_the_page_itself(client: VmClient) -> None:
    """Bytes may come from a view that overlaps the target, before it and behind it."""
    for to, at in ((0x10, 0), (0, 0x10), (0x700, 0x701)):
        text = bytes(k % 251 for k in range(PAGE))
        client.write(0, text)
        with client.hold(0, Prot.READ) as page:
            client.write(to, page.readable()[at : at + 0x200])
        assert client.read(to, 0x200) == text[at : at + 0x200]


@pytest.mark.parametrize("gpa", [-1, -PAGE, -(2**64), 2**64, 2**70, 2**64 - 1, 2**63, SIZE, 2**48 + 8])
def test_bytes__addresses_that_are_none(client: VmClient, gpa: int) -> None:
    """What is no 64-bit address is no argument; where no page can be nothing is mapped."""
    client.write(0, b"0123456789")  # resident
    wanted = (InvalidArgument, Fault)[0 <= gpa < 2**64 - 1]
    with pytest.raises(wanted):
        client.read(gpa, 1)
    with pytest.raises(wanted):
        client.write(gpa, b"x")


@pytest.mark.parametrize("gpa", [0, 1, 0xFFF, 0x10 * PAGE, GIB, SIZE, 2**47, 2**64 - 1])
def test_bytes__none(space: VmSpace, client: VmClient, gpa: int) -> None:
    """No bytes can be read and written anywhere, and touch nothing."""
    assert client.read(gpa, 0) == b""
    client.write(gpa, b"")
    assert (space.resident_count, space.counters.faults) == (0, 0)


def test_write__all_or_nothing(space: VmSpace, client: VmClient) -> None:
    """If one page cannot be had no byte is written and no page becomes resident."""
    assert code_of(caught(lambda: client.write(0xE * PAGE, bytes([7]) * 3 * PAGE))) is FaultCode.NOMAP
    assert space.resident_count == 0
    assert not any(client.read(0, 0x10 * PAGE))
    assert dirty(space, 0, 0x10 * PAGE) == []


def test_read__all_or_nothing(space: VmSpace, client: VmClient) -> None:
    """The same for reads."""
    assert code_of(caught(lambda: client.read(0xE * PAGE, 3 * PAGE))) is FaultCode.NOMAP
    assert space.resident_count == 0


def test_write__read_only_pages_refuse(space: VmSpace, client: VmClient, ram: RamObject) -> None:
    """A write over a writable and a read-only page is refused whole."""
    space.map(ram, 0x10 * PAGE, PAGE, Prot.READ)
    assert code_of(caught(lambda: client.write(0x10 * PAGE - 1, b"ab"))) is FaultCode.PROT
    assert client.read(0x10 * PAGE - 1, 1) == b"\0"


@pytest.mark.parametrize("gpa", [2**64 - 16, 2**64 - 1])
def test_bytes__past_64_bits(client: VmClient, gpa: int) -> None:
    """A range that reaches 2**64 is no range."""
    with pytest.raises(AddressOverflow):
        client.read(gpa, 16)
    with pytest.raises(AddressOverflow):
        client.write(gpa, bytes(16))


@pytest.mark.parametrize("n", [SIZE, SIZE + 1, 2**47, 2**63, 2**64 - PAGE - 1])
def test_read__more_than_there_is(client: VmClient, n: int) -> None:
    """Asking for more than the guest has is a fault, and takes no memory."""
    assert code_of(caught(lambda: client.read(PAGE, n))) is FaultCode.NOMAP


SOURCES = {
    "bytes": b"abcdefgh", "bytearray": bytearray(b"abcdefgh"), "memoryview": memoryview(b"abcdefgh"),
    "strided memoryview": memoryview(b"a-b-c-d-e-f-g-h-")[::2], "uint8": np.frombuffer(b"abcdefgh", np.uint8),
    "uint64": np.frombuffer(b"abcdefgh", np.uint64), "strided": np.frombuffer(b"a-b-c-d-e-f-g-h-", np.uint8)[::2],
    "2-d": np.frombuffer(b"abcdefgh", np.uint8).reshape(2, 4),
    "columns first": np.frombuffer(b"aebfcgdh", "S1").reshape(4, 2).T,
}  # fmt: skip


@pytest.mark.parametrize("kind", SOURCES)
def test_write__anything_that_has_bytes(client: VmClient, kind: str) -> None:
    """Whatever has a buffer is written in the order of its elements."""
    client.write(0xFFC, SOURCES[kind])
    assert client.read(0xFFC, 8) == b"abcdefgh"


def test_write__from_the_guests_own_memory(client: VmClient) -> None:
    """Bytes may come from a view of the guest, also one that overlaps the target."""
    text = bytes(k % 251 for k in range(PAGE))
    client.write(0, text)
    with client.hold(0, Prot.RW) as page:
        client.write(0x800, page.readable())
    assert client.read(0, 0x1800) == text[:0x800] + text


def test_bytes__of_an_unbacked_reservoir(form: PteFormat) -> None:
    """Memory without bytes cannot be read or written, but held and faulted."""
    with Reservoir(4 * PAGE, backed=False) as reservoir, reservoir.allocate(4 * PAGE) as obj:  # noqa: SIM117
        with VmSpace(GIB, format=form, reservoir=reservoir) as space:
            map_at(space, obj, 0)
            client = space.client()
            with pytest.raises(NotSupported):
                client.read(0, 1)
            with pytest.raises(NotSupported):
                client.write(0, b"x")
            assert space.resident_count == 0
            assert (client.read(0, 0), client.fault_many([0, PAGE], Prot.RW).tolist()) == (b"", [0, 0])
            with client.hold(0, Prot.RW) as page, pytest.raises(NotSupported):
                page.readable()
            assert Vcpu(client).run([0], write=True, values=[7]).completed == 1


# -- holds of a client --------------------------------------------------------------------------------------------------


def test_release_all__counts_pages(space: VmSpace, client: VmClient) -> None:
    """Pages of hold_many count each; released handles are stale."""
    page, pages = client.hold(0, Prot.RW), client.hold_many([0, PAGE, PAGE], Prot.RW)
    client.hold(0, Prot.READ).chain(client.hold(0, Prot.READ))
    assert client.holds == 6
    assert (client.release_all(), client.release_all(), client.holds) == (6, 0, 0)
    for handle in (page, pages):
        with pytest.raises(StaleHandle):
            handle.release()
    assert dirty(space, 0, 2 * PAGE) == [0, 1]


def test_clone__is_of_the_same_space(space: VmSpace, client: VmClient) -> None:
    """A clone has no holds of its own and lives on its own."""
    page = client.hold(0, Prot.READ)
    clone = client.clone()
    assert clone.holds == 0
    clone.fault(0, Prot.READ)
    page.release()
    client.destroy()
    clone.fault(PAGE, Prot.READ)
    assert space.resident_count == 2


def test_destroy__is_idempotent_and_busy_with_holds(client: VmClient) -> None:
    """A client goes when it holds nothing, and may be told twice."""
    pages = client.hold_many([0], Prot.READ)
    with pytest.raises(Busy):
        client.destroy()
    pages.release()
    client.destroy()
    client.destroy()
    assert not client.orphaned


def test_repr__says_what_it_holds(client: VmClient) -> None:
    """A client can be looked at."""
    with client.hold(0, Prot.READ):
        assert "1 page" in repr(client)


@pytest.mark.parametrize("prot", [Prot(8), Prot(2**70), Prot.EXEC, Prot.NONE, 8, -1])
def test_hold__bad_protections(space: VmSpace, client: VmClient, prot: int) -> None:
    """Members that Prot makes of any number are no protections, either."""
    with pytest.raises(InvalidArgument):
        client.hold(0, prot)


@pytest.mark.parametrize("defer", [1, 0, None, "", []])
def test_hold__bad_flags(space: VmSpace, client: VmClient, defer: Any) -> None:
    """What is merely false or true is no bool."""
    with pytest.raises(TypeError):
        client.hold(0, Prot.RW, defer_dirty=defer)
