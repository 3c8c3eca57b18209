"""Windows of bytes: straight to an object, and to the guest's address space."""

from collections.abc import Iterator

import numpy as np
import pytest

from npt import (
    AccessDenied,
    Deadlock,
    Fault,
    InvalidArgument,
    NotSupported,
    OutOfSegment,
    Prot,
    PteFormat,
    Reservoir,
    Segment,
    StaleHandle,
    Vm,
)  # fmt: skip
from npt.space.segment import ObjectSegment
from tests.space.scene import PAGE, SIZE, dirty, in_callback

N = 8 * PAGE


@pytest.fixture
def vm(reservoir: Reservoir, form: PteFormat) -> Iterator[Vm]:
    """A guest with 16 pages at 0, in memory segment 0."""
    with Vm(reservoir, format=form, track_dirty=True, size=SIZE) as made:
        made.alloc_memseg(0, 0x10 * PAGE)
        made.map_memseg(0, 0, 0x10 * PAGE, Prot.RW)
        yield made


@pytest.fixture(params=["object", "guest"])
def segment(vm: Vm, request: pytest.FixtureRequest) -> Segment:
    """Pages 4 to 11 of the guest, either way."""
    return vm.map_object(0, 4 * PAGE, N, Prot.RW) if request.param == "object" else vm.map_guest(4 * PAGE, N, Prot.RW)


def test_segment__shows_the_guest(vm: Vm, segment: Segment) -> None:
    """Byte i of a segment is byte i of its range."""
    client = vm.space.client()
    segment[0] = 0xA5
    segment.write(N - 2, b"yz")
    segment[PAGE - 1 : PAGE + 1] = b"bc"
    assert client.read(4 * PAGE, 1) == b"\xa5"
    assert client.read(4 * PAGE + N - 2, 2) == b"yz"
    assert client.read(5 * PAGE - 1, 2) == b"bc"
    client.write(6 * PAGE, b"seen")
    assert segment.read(2 * PAGE, 4) == b"seen"


def test_segment__is_indexed_like_bytes(segment: Segment) -> None:
    """Indices and slices mean what they mean for bytes."""
    text = bytes(k % 256 for k in range(N))
    segment[:] = text
    assert len(segment) == N
    for index in (0, 1, N - 1, -1, -N, np.int8(-1), np.uint64(5)):
        assert segment[index] == text[int(index)]
    for part in (slice(0, 5), slice(-5, None), slice(5, 2), slice(N - 1, N + 100), slice(None), slice(4090, 4100), slice(N, N)):
        assert segment[part] == text[part]
    assert isinstance(segment[0], int)
    assert isinstance(segment[0:1], bytes)


@pytest.mark.parametrize("index", [N, -N - 1, 2**63, 2**64])
def test_segment__index_outside(segment: Segment, index: int) -> None:
    """Past its ends is an IndexError, and an InvalidArgument."""
    for error in (IndexError, InvalidArgument, OutOfSegment):
        with pytest.raises(error):
            segment[index]
        with pytest.raises(error):
            segment[index] = 1


@pytest.mark.parametrize(("offset", "n"), [(N, 1), (N - 1, 2), (0, N + 1), (N + 1, 0), (2**63, 1), (2**64 - 1, 1)])
def test_segment__range_outside(segment: Segment, offset: int, n: int) -> None:
    """read and write do not clip as slices do."""
    with pytest.raises(InvalidArgument):
        segment.read(offset, n)
    if n < 2 * N:
        with pytest.raises(InvalidArgument):
            segment.write(offset, bytes(n))


def test_segment__can_be_iterated(vm: Vm) -> None:
    """It is a sequence of ints that ends."""
    segment = vm.map_object(0, 0, PAGE, Prot.RW)
    segment[3] = 9
    assert list(segment)[:5] == [0, 0, 0, 9, 0]  # type: ignore[call-overload]


@pytest.mark.parametrize("n", [0, 1, 3])
def test_segment__slices_keep_their_length(segment: Segment, n: int) -> None:
    """Assigning to a slice does not move bytes."""
    with pytest.raises(InvalidArgument):
        segment[10:12] = bytes(n)
    segment[5:2] = b""
    assert not any(segment.read(0, N))


def test_segment__nothing_at_the_end(segment: Segment) -> None:
    """No bytes can be read at the very end."""
    assert segment.read(N, 0) == b""
    segment.write(N, b"")
    segment.write(0, b"")


def test_read_only__cannot_be_written(vm: Vm) -> None:
    """A segment mapped to be read refuses writes, whatever the memory allows."""
    for segment in (vm.map_object(0, 0, PAGE, Prot.READ), vm.map_guest(0, PAGE, Prot.READ)):
        with pytest.raises(AccessDenied):
            segment[0] = 1
        with pytest.raises(AccessDenied):
            segment.write(0, b"x")
        assert segment[0] == 0


# -- through the guest or past it ---------------------------------------------------------------------------------------


def test_object__never_dirties_nor_makes_resident(vm: Vm) -> None:
    """What is written straight to the object the tables do not see."""
    segment = vm.map_object(0, 0, N, Prot.RW)
    segment[:] = b"x" * N
    assert vm.space.resident_count == 0
    assert dirty(vm.space, 0, N) == []


def test_guest__dirties_what_it_writes(vm: Vm) -> None:
    """Writes through the guest are in the log, reads are not."""
    segment = vm.map_guest(0, N, Prot.RW)
    segment.read(0, N)
    assert vm.space.resident_count == 8
    segment[PAGE - 1 : PAGE + 1] = b"xy"
    segment[7 * PAGE] = 1
    assert dirty(vm.space, 0, N) == [0, 1, 7]


def test_object__outlives_its_mapping(vm: Vm) -> None:
    """A window to the object sees no unmap."""
    segment = vm.map_object(0, 0, PAGE, Prot.RW)
    vm.unmap_memseg(0, 0x10 * PAGE)
    segment[0] = 7
    assert segment[0] == 7


def test_guest__sees_unmaps_and_maps(vm: Vm) -> None:
    """A window to the guest shows what is mapped now."""
    segment = vm.map_guest(0, N, Prot.RW)
    segment[0] = 7
    vm.unmap_memseg(0, 0x10 * PAGE)
    with pytest.raises(Fault):
        segment[0]
    vm.map_memseg(0, 0, PAGE, Prot.READ)
    assert segment[0] == 7
    with pytest.raises(Fault):
        segment[0] = 8


def test_guest__is_not_closed_in_a_callback(vm: Vm) -> None:
    """What is refused has changed nothing: it stays open, and can be closed later."""
    segment = vm.map_guest(0, PAGE, Prot.RW)
    assert isinstance(in_callback(vm.space, segment.close), Deadlock)
    assert (segment.closed, segment.read(0, 1)) == (False, b"\0")
    segment.close()
    assert segment.closed


def test_guest__may_span_holes(vm: Vm) -> None:
    """A range with nothing in it can be a segment; only using the hole faults."""
    segment = vm.map_guest(0xF * PAGE, N, Prot.RW)
    segment[0] = 1
    with pytest.raises(Fault):
        segment[PAGE]
    with pytest.raises(Fault):
        segment.write(PAGE - 1, b"xy")
    assert segment[PAGE - 1] == 0


def test_object__holds_a_reference_until_closed(vm: Vm) -> None:
    """A window keeps its object, one reference each."""
    ram = vm.memseg(0)
    before = ram.refs
    segment = vm.map_object(0, 0, PAGE, Prot.RW)
    assert ram.refs == before + 1
    segment.close()
    segment.close()
    assert ram.refs == before


def test_object__closed_in_the_middle_of_a_copy(vm: Vm) -> None:
    """Whoever closes as a finalizer, while this thread copies, leaves the object to the copy, which drops it at its end."""
    ram = vm.memseg(0)
    before = ram.refs
    segment = vm.map_object(0, 0, PAGE, Prot.RW)
    assert isinstance(segment, ObjectSegment)
    with segment._lock:
        segment.close()
        assert ram.refs == before + 1
    with pytest.raises(StaleHandle):
        segment._copy(0, 1, None)
    assert ram.refs == before


@pytest.mark.parametrize("key", [0, 5, PAGE - 1, -1, -PAGE])
def test_segment__one_byte(segment: Segment, key: int) -> None:
    """Read and stored alone, from either end."""
    place = key % len(segment)
    segment[key] = 0xA5
    assert segment[key] == 0xA5
    assert segment[:] == bytes(place) + b"\xa5" + bytes(len(segment) - place - 1)


@pytest.mark.parametrize("value", [-1, 0x100, 2**64])
def test_segment__no_byte(segment: Segment, value: int) -> None:
    """What is not 0 to 255 is refused, and nothing stored."""
    with pytest.raises(InvalidArgument):
        segment[3] = value
    assert segment[3] == 0


def test_object__scattered(reservoir: Reservoir) -> None:
    """A window over several runs of frames is one stretch of bytes."""
    reservoir.resize(8 * PAGE)
    parts = [reservoir.allocate(n * PAGE) for n in (2, 1, 3, 1, 1)]
    for free in (0, 2, 4):
        parts[free].release()
    with Vm(reservoir) as vm:
        assert len(vm.alloc_memseg(0, 6 * PAGE).spans) == 3
        segment = vm.map_object(0, PAGE, 4 * PAGE, Prot.RW)
        text = bytes(k % 253 for k in range(4 * PAGE))
        segment.write(0, text)
        assert segment.read(0, 4 * PAGE) == text
        assert segment.read(3 * PAGE - 3, 6) == text[3 * PAGE - 3 :][:6]
        vm.map_memseg(0, 0, 6 * PAGE, Prot.RW)
        assert vm.space.client().read(PAGE, 4 * PAGE) == text
        whole = reservoir.buffer
        for start in range(0, whole.size - 4 * PAGE + 1, PAGE // 2):
            segment.write(0, bytes(k * 7 % 253 for k in range(4 * PAGE)))
            source = whole[start : start + 4 * PAGE]
            text = source.tobytes()
            segment.write(0, source)
            assert segment.read(0, 4 * PAGE) == text
    for kept in (1, 3):
        parts[kept].release()


def test_write__from_the_guests_own_memory(vm: Vm, segment: Segment) -> None:
    """Bytes may come from a view that overlaps the target."""
    text = bytes(k % 251 for k in range(PAGE))
    segment[:PAGE] = text
    with vm.space.client().hold(4 * PAGE, Prot.RW) as page:
        segment.write(0x800, page.readable())
    assert segment[:0x1800] == text[:0x800] + text


def test_unbacked__has_no_bytes(form: PteFormat) -> None:
    """Windows to memory without bytes can be made, and not used."""
    with Reservoir(4 * PAGE, backed=False) as reservoir, Vm(reservoir, format=form) as vm:
        vm.alloc_memseg(0, PAGE)
        vm.map_memseg(0, 0, PAGE, Prot.RW)
        for segment in (vm.map_object(0, 0, PAGE, Prot.RW), vm.map_guest(0, PAGE, Prot.RW)):
            with pytest.raises(NotSupported):
                segment[0]
            with pytest.raises(NotSupported):
                segment[0] = 1


# -- the end ------------------------------------------------------------------------------------------------------------


def test_context__closes(vm: Vm, segment: Segment) -> None:
    """Leaving the context closes; a closed one cannot be entered."""
    with segment as entered:
        assert entered is segment
    with pytest.raises(StaleHandle):
        segment[0]
    with pytest.raises(StaleHandle):
        segment.__enter__()


def test_repr__says_what_it_is(segment: Segment) -> None:
    """A segment can be looked at, open and closed."""
    assert "32 KiB" in repr(segment)
    segment.close()
    assert "closed" in repr(segment)
