"""What bhyve's own tests ask of its page tables and its dirty log, asked of ours: a Vm, its segments and its vCPU."""

import errno
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from npt import (
    AddressOverflow,
    BeyondSpace,
    Fault,
    InvalidArgument,
    NoSuchMapping,
    NptError,
    Prot,
    PteFormat,
    Reservoir,
    TrackingDisabled,
    Vm,
)  # fmt: skip
from npt._types import U8Array
from npt.testing import check
from tests.space.scene import MIB, PAGE, bits, dirty

N = 1024  # pages of the memory segment: two leaf tables and a bit, at an odd place
LOW = 0x1C0 * PAGE
LENGTH = N * PAGE
EIGHTH = list(range(0, N, 8))


@pytest.fixture
def vm(form: PteFormat) -> Iterator[Vm]:
    """A guest with one memory segment, mapped once, tracked."""
    with Reservoir(LENGTH) as reservoir, Vm(reservoir, format=form, track_dirty=True, size=1 << 32) as made:
        made.alloc_memseg(0, LENGTH)
        made.map_memseg(0, LOW, LENGTH, Prot.RWX)
        yield made
        check(made.space)


def every_eighth() -> U8Array:
    """Bit 0 of each byte."""
    return np.full(N // 8, 0x01, np.uint8)


# -- a write through a guest mapping ------------------------------------------------------------------------------------


def test_page_dirty__after_a_write_through_a_guest_mapping(vm: Vm) -> None:
    """Clean when mapped and when read, dirty once it was written, clean once it was harvested, dirty again."""
    segment = vm.map_guest(LOW, LENGTH, Prot.RW)
    assert segment.read(0, 3 * PAGE) == bytes(3 * PAGE)
    assert dirty(vm.space, LOW, LENGTH) == []
    for _ in range(2):
        segment.write(5 * PAGE + 7, b"x")
        segment[6 * PAGE] = 1
        assert bits(vm.space.track_dirty(LOW, LENGTH)) == [5, 6]
        assert bits(vm.space.track_dirty(LOW, LENGTH)) == []


def test_page_dirty__a_write_across_pages(vm: Vm) -> None:
    """Every page that it touches, from the first byte to the last, over the end of a leaf table."""
    segment = vm.map_guest(LOW, LENGTH, Prot.RW)
    segment.write(0x3F * PAGE + 1, bytes(2 * PAGE))
    assert bits(vm.space.track_dirty(LOW, LENGTH)) == [0x3F, 0x40, 0x41]


def test_page_dirty__not_by_a_mapping_to_be_read_nor_by_one_of_the_object(vm: Vm) -> None:
    """A guest mapping without WRITE refuses; what goes straight to the segment is in nobody's log."""
    reader, straight = vm.map_guest(LOW, LENGTH, Prot.READ), vm.map_object(0, 0, LENGTH, Prot.RW)
    with pytest.raises(NptError) as refusal:
        reader.write(0, b"x")
    assert refusal.value.errno == errno.EACCES
    straight.write(0, b"host")
    assert reader.read(0, 4) == b"host"
    assert dirty(vm.space, LOW, LENGTH) == []


def test_page_dirty__by_a_vcpu(vm: Vm) -> None:
    """The guest's own writes, and not its reads."""
    vm.vcpu(0).run([LOW, LOW + PAGE, LOW + 2 * PAGE], write=[True, False, True])
    assert bits(vm.space.track_dirty(LOW, LENGTH)) == [0, 2]


# -- get and set --------------------------------------------------------------------------------------------------------


def test_set__every_eighth_page_and_get_them(vm: Vm) -> None:
    """What was set is got, once by a look and once by a harvest, and then nothing."""
    assert bits(vm.space.set_dirty(LOW, LENGTH, select=every_eighth())) == EIGHTH
    assert dirty(vm.space, LOW, LENGTH) == EIGHTH
    assert bits(vm.space.track_dirty(LOW, LENGTH)) == EIGHTH
    assert dirty(vm.space, LOW, LENGTH) == []


def test_write__every_eighth_page_and_get_them(vm: Vm) -> None:
    """The same by the guest."""
    vm.vcpu(0).run(LOW + np.array(EIGHTH) * PAGE, write=True)
    assert vm.space.peek_dirty(LOW, LENGTH).tolist() == every_eighth().tolist()


def test_reset__half_of_them(vm: Vm) -> None:
    """Every sixteenth page is reset and told; the other half of the eighths stays, to be got later."""
    vm.space.set_dirty(LOW, LENGTH, select=every_eighth())
    half = every_eighth()
    half[1::2] = 0
    assert bits(vm.space.reset_dirty(LOW, LENGTH, select=half)) == EIGHTH[::2]
    assert dirty(vm.space, LOW, LENGTH) == EIGHTH[1::2]
    assert bits(vm.space.reset_dirty(LOW, LENGTH, select=every_eighth())) == EIGHTH[1::2]
    assert dirty(vm.space, LOW, LENGTH) == []


def test_reset__the_first_half_of_the_range(vm: Vm) -> None:
    """The same by range instead of by bitmap."""
    vm.space.set_dirty(LOW, LENGTH, select=every_eighth())
    assert bits(vm.space.reset_dirty(LOW, LENGTH // 2)) == EIGHTH[: N // 16]
    assert dirty(vm.space, LOW, LENGTH) == EIGHTH[N // 16 :]


def test_reset__what_is_clean(vm: Vm) -> None:
    """Nothing is told of pages that were not dirty, and no page gets dirty by it."""
    vm.space.set_dirty(LOW, LENGTH, select=every_eighth())
    others = ~every_eighth()
    assert bits(vm.space.reset_dirty(LOW, LENGTH, select=others)) == []
    assert dirty(vm.space, LOW, LENGTH) == EIGHTH


# -- what is refused ----------------------------------------------------------------------------------------------------

CALLS: dict[str, Callable[[Vm, int, int], object]] = {
    "get": lambda vm, gpa, length: vm.space.track_dirty(gpa, length),
    "look": lambda vm, gpa, length: vm.space.peek_dirty(gpa, length),
    "reset": lambda vm, gpa, length: vm.space.reset_dirty(gpa, length),
    "set": lambda vm, gpa, length: vm.space.set_dirty(gpa, length),
}
BAD: list[tuple[int, int, type[NptError], int]] = [
    (LOW + 1, PAGE, InvalidArgument, errno.EINVAL),  # begins in a page
    (LOW, PAGE - 1, InvalidArgument, errno.EINVAL),  # ends in one
    (LOW, PAGE + 8, InvalidArgument, errno.EINVAL),
    (LOW, 0, InvalidArgument, errno.EINVAL),  # is empty
    (-PAGE, PAGE, InvalidArgument, errno.EINVAL),
    (2**64 - PAGE, PAGE, AddressOverflow, errno.EOVERFLOW),  # ends at 2**64, or wraps
    (2**64 - PAGE, 2 * PAGE, AddressOverflow, errno.EOVERFLOW),
    (LOW, 2**64 - PAGE, AddressOverflow, errno.EOVERFLOW),
    (2**63, 2**63, AddressOverflow, errno.EOVERFLOW),
    (1 << 32, PAGE, BeyondSpace, errno.ENOMEM),
]


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize(("gpa", "length", "error", "number"), BAD)
def test_bad_range(vm: Vm, name: str, gpa: int, length: int, error: type[NptError], number: int) -> None:
    """EINVAL for what is no range of pages, EOVERFLOW for one that leaves 64 bits; what was dirty stays so."""
    vm.space.set_dirty(LOW, LENGTH, select=every_eighth())
    generation = vm.space.generation
    with pytest.raises(error) as refusal:
        CALLS[name](vm, gpa, length)
    assert refusal.value.errno == number
    assert (vm.space.generation, dirty(vm.space, LOW, LENGTH)) == (generation, EIGHTH)


@pytest.mark.parametrize("name", CALLS)
def test_off__is_eperm(vm: Vm, name: str) -> None:
    """Neither get nor set without tracking; afterwards all is as it was."""
    vm.space.set_dirty(LOW, LENGTH, select=every_eighth())
    vm.space.set_tracking(False)
    with pytest.raises(TrackingDisabled) as refusal:
        CALLS[name](vm, LOW, LENGTH)
    assert (refusal.value.errno, isinstance(refusal.value, PermissionError)) == (errno.EPERM, True)
    vm.space.set_tracking(True)
    assert dirty(vm.space, LOW, LENGTH) == EIGHTH


def test_off__from_the_beginning(form: PteFormat) -> None:
    """A guest is not tracked unless somebody asks for it."""
    with Reservoir(LENGTH) as reservoir, Vm(reservoir, format=form) as vm:
        assert not vm.space.tracking
        with pytest.raises(TrackingDisabled):
            vm.space.track_dirty(0, PAGE)


# -- toggling -----------------------------------------------------------------------------------------------------------


def test_toggle__writes_count_while_it_is_on(vm: Vm) -> None:
    """On, off and on again: what the host writes through a mapping is seen in the first and the third part only."""
    segment = vm.map_guest(LOW, LENGTH, Prot.RW)
    for page, enabled in enumerate((True, False, True, False, True)):
        vm.space.set_tracking(enabled)
        assert vm.space.tracking is enabled
        segment.write(page * PAGE, b"x")
    assert bits(vm.space.track_dirty(LOW, LENGTH)) == [0, 2, 4]


def test_toggle__root_pointer_and_marks_of_the_guest(vm: Vm) -> None:
    """EPT hardware is told by the root pointer whether to mark; nPT always does."""
    marks = []
    for page, enabled in enumerate((True, False, True)):
        vm.space.set_tracking(enabled)
        vm.vcpu(0).run([LOW + page * PAGE], write=True)
        marks.append(bool(vm.space.table_root & 0x40))
    is_ept = vm.space.format.name == "ept"
    assert marks == ([True, False, True] if is_ept else [False] * 3)
    assert bits(vm.space.track_dirty(LOW, LENGTH)) == ([0, 2] if is_ept else [0, 1, 2])


def test_toggle__twice_is_once(vm: Vm) -> None:
    """Turning on what is on, or off what is off, is nothing."""
    for enabled in (True, False):
        vm.space.set_tracking(enabled)
        generation = vm.space.generation
        vm.space.set_tracking(enabled)
        assert vm.space.generation == generation


# -- one object, mapped in several ways ---------------------------------------------------------------------------------

HALF = LENGTH // 2
HIGH = 64 * MIB + 3 * PAGE


def test_object__fully_mapped(vm: Vm) -> None:
    """Every page is to be had, reads as zero, keeps what is written, and is dirty."""
    segment, vcpu = vm.map_guest(LOW, LENGTH, Prot.RW), vm.vcpu(0)
    assert segment.read(0, LENGTH) == bytes(LENGTH)
    gpas = LOW + np.arange(N) * PAGE
    assert vcpu.run(gpas, write=True, values=np.arange(N)).completed == N
    assert [int.from_bytes(segment.read(page * PAGE, 8), "little") for page in range(N)] == list(range(N))
    assert vm.space.resident_count == N
    assert bits(vm.space.track_dirty(LOW, LENGTH)) == list(range(N))


def test_object__partly_unmapped(vm: Vm) -> None:
    """Of two mappings of one object one goes: its pages fault and read clean, the other's are as they were."""
    vm.unmap_memseg(LOW, LENGTH)
    vm.map_memseg(0, LOW, HALF, Prot.RW)
    vm.map_memseg(0, LOW + HALF, HALF, Prot.RW, HALF)
    segment = vm.map_guest(LOW, LENGTH, Prot.RW)
    vm.space.set_dirty(LOW, LENGTH, select=every_eighth())
    segment.write(HALF - 1, b"ab")
    with pytest.raises(NoSuchMapping):
        vm.unmap_memseg(LOW, HALF // 2)
    vm.unmap_memseg(LOW + HALF, HALF)
    assert segment.read(HALF - 1, 1) == b"a"
    with pytest.raises(Fault):
        segment.read(HALF, 1)
    with pytest.raises(Fault):
        segment.write(HALF - 1, b"ab")
    assert vm.space.resident_count == N // 16 + 1
    assert dirty(vm.space, LOW, LENGTH) == [*EIGHTH[: N // 16], N // 2 - 1]


@pytest.mark.parametrize("gpa", [LOW + HALF, HIGH], ids=["where it was", "elsewhere"])
def test_object__remapped(vm: Vm, gpa: int) -> None:
    """What comes back has its bytes, and is clean until it is written again."""
    vm.unmap_memseg(LOW, LENGTH)
    vm.map_memseg(0, LOW, HALF, Prot.RW)
    vm.map_memseg(0, LOW + HALF, HALF, Prot.RW, HALF)
    vm.vcpu(0, tlb=8).run([LOW, LOW + HALF], write=True, values=[1, 2])
    vm.unmap_memseg(LOW + HALF, HALF)
    vm.map_memseg(0, gpa, HALF, Prot.RW, HALF)
    segment = vm.map_guest(gpa, HALF, Prot.RW)
    assert segment[0] == 2
    assert dirty(vm.space, gpa, HALF) == []
    vm.vcpu(0).run([gpa], write=True, values=[3])
    assert (segment[0], dirty(vm.space, gpa, HALF), dirty(vm.space, LOW, PAGE)) == (3, [0], [0])


def test_object__mapped_twice(vm: Vm) -> None:
    """Two mappings of one page share its bytes; each has a dirty bit of its own."""
    vm.map_memseg(0, HIGH, HALF, Prot.RW)
    vm.vcpu(0).run([HIGH + PAGE], write=True, values=[7])
    low, high = (vm.map_guest(gpa, HALF, Prot.RW) for gpa in (LOW, HIGH))
    assert (low[PAGE], high[PAGE]) == (7, 7)
    assert (dirty(vm.space, LOW, HALF), dirty(vm.space, HIGH, HALF)) == ([], [1])
    low[2 * PAGE] = 9
    assert (dirty(vm.space, LOW, HALF), dirty(vm.space, HIGH, HALF), high[2 * PAGE]) == ([2], [1], 9)
