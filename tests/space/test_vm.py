"""A guest as a VMM sees it: segments and vCPUs by number."""

from collections.abc import Iterator

import pytest

from npt import (
    BeyondSpace,
    Busy,
    ExitReason,
    InvalidArgument,
    NoSuchMapping,
    NptError,
    Orphaned,
    Prot,
    PteFormat,
    Reservoir,
    ReservoirExhausted,
    StaleHandle,
    Vm,
)  # fmt: skip
from tests.space.scene import PAGE, SIZE, caught, dirty, on_cpu


@pytest.fixture
def vm(reservoir: Reservoir, form: PteFormat) -> Iterator[Vm]:
    """A guest with nothing in it."""
    with Vm(reservoir, format=form, track_dirty=True, size=SIZE) as made:
        yield made


def test_new__is_as_large_as_it_can_be(reservoir: Reservoir) -> None:
    """Without a size, a guest has 2**47 bytes of addresses, no tracking, and EPT."""
    with Vm(reservoir) as vm:
        assert (vm.space.size, vm.space.tracking, vm.space.format.name) == (2**47, False, "ept")


# -- memory segments ----------------------------------------------------------------------------------------------------


def test_alloc_memseg__is_found_by_its_number(vm: Vm, reservoir: Reservoir) -> None:
    """The Vm owns what it allocated, one reference each."""
    ram = vm.alloc_memseg(7, 4 * PAGE)
    assert vm.memseg(7) is ram
    assert (ram.refs, ram.length, ram.transient, ram.reservoir) == (1, 4 * PAGE, False, reservoir)


def test_alloc_memseg__number_taken(vm: Vm, reservoir: Reservoir) -> None:
    """A number is for one segment."""
    vm.alloc_memseg(0, PAGE)
    with pytest.raises(InvalidArgument):
        vm.alloc_memseg(0, PAGE)
    assert reservoir.usage.allocated == PAGE


def test_alloc_memseg__too_much(vm: Vm) -> None:
    """A number whose allocation failed is free."""
    with pytest.raises(ReservoirExhausted):
        vm.alloc_memseg(0, 2**30)
    with pytest.raises(NoSuchMapping):
        vm.memseg(0)
    assert vm.alloc_memseg(0, PAGE).length == PAGE


def test_alloc_memseg__transient(form: PteFormat) -> None:
    """Transient memory comes from beyond the size, and goes back there."""
    with Reservoir(PAGE, limit=3 * PAGE) as reservoir:
        with Vm(reservoir, format=form) as vm:
            assert vm.alloc_memseg(1, 2 * PAGE, transient=True).transient
            assert reservoir.usage.transient == 2 * PAGE
        assert reservoir.usage.transient == 0


@pytest.mark.parametrize("number", [1, -1, 2**64])
def test_memseg__unknown(vm: Vm, number: int) -> None:
    """Nobody has such a number."""
    vm.alloc_memseg(0, PAGE)
    for act in (
        lambda: vm.memseg(number),
        lambda: vm.map_memseg(number, 0, PAGE, Prot.RW),
        lambda: vm.map_object(number, 0, PAGE, Prot.RW),
    ):
        with pytest.raises(NoSuchMapping):
            act()


def test_map_memseg__maps_part_of_it(vm: Vm) -> None:
    """A stretch of a segment stands where it was mapped, until it is unmapped."""
    ram = vm.alloc_memseg(0, 4 * PAGE)
    vm.map_memseg(0, 0x200000, 2 * PAGE, Prot.RX, PAGE)
    assert [tuple(m) for m in vm.space.mappings] == [(0x200000, 2 * PAGE, ram, PAGE, Prot.RX)]
    assert ram.refs == 2
    vm.unmap_memseg(0x200000, 2 * PAGE)
    assert (vm.space.mappings, ram.refs) == ((), 1)


def test_map__windows_keep_in_bounds(vm: Vm) -> None:
    """A window may not reach out of its segment, nor out of the space."""
    vm.alloc_memseg(0, 4 * PAGE)
    for offset, length in ((4 * PAGE, PAGE), (3 * PAGE, 2 * PAGE), (0, 5 * PAGE)):
        with pytest.raises(InvalidArgument):
            vm.map_object(0, offset, length, Prot.RW)
    with pytest.raises(BeyondSpace):
        vm.map_guest(SIZE - PAGE, 2 * PAGE, Prot.RW)
    assert vm.memseg(0).refs == 1


# -- vCPUs --------------------------------------------------------------------------------------------------------------


def test_vcpu__is_made_once(vm: Vm) -> None:
    """A number always gives the same vCPU."""
    vcpu = vm.vcpu(3)
    assert (vcpu.cpu, vm.vcpu(3) is vcpu, vm.vcpu(0) is vcpu) == (3, True, False)


def test_vcpu__runs_on_the_guest(vm: Vm) -> None:
    """vCPUs have clients of their own and see the same memory."""
    vm.alloc_memseg(0, 4 * PAGE)
    vm.map_memseg(0, 0, 4 * PAGE, Prot.RW)
    assert vm.vcpu(0).run([0], write=True, values=[5]).reason is ExitReason.DONE
    assert vm.vcpu(1).run([PAGE], write=True).reason is ExitReason.DONE
    assert dirty(vm.space, 0, 4 * PAGE) == [0, 1]
    assert vm.map_object(0, 0, PAGE, Prot.READ)[0] == 5


# -- the end ------------------------------------------------------------------------------------------------------------


def fill(vm: Vm) -> None:
    """Something of everything."""
    vm.alloc_memseg(0, 4 * PAGE)
    vm.alloc_memseg(1, 4 * PAGE)
    vm.map_memseg(0, 0, 4 * PAGE, Prot.RW)
    vm.map_memseg(1, 0x200000, 4 * PAGE, Prot.RW)
    vm.vcpu(0).run([0, 0x200000], write=True, values=[1, 2])
    vm.map_object(1, 0, PAGE, Prot.RW)[5] = 1
    vm.map_guest(0, PAGE, Prot.RW)[6] = 1


def test_destroy__gives_everything_back(reservoir: Reservoir, form: PteFormat) -> None:
    """Segments are closed, mappings and memory gone, all zero; the second time nothing happens."""
    vm = Vm(reservoir, format=form, track_dirty=True)
    fill(vm)
    segments = [vm.map_object(0, 0, PAGE, Prot.RW), vm.map_guest(0, PAGE, Prot.RW)]
    vcpu, space = vm.vcpu(0), vm.space
    vm.destroy()
    vm.destroy()
    assert reservoir.usage.free == reservoir.size
    assert not reservoir.buffer.any()
    for act in (lambda: segments[0][0], lambda: segments[1][0], lambda: vcpu.run([0]), lambda: space.size, lambda: vm.space):
        with pytest.raises(StaleHandle):
            act()


def test_destroy__orphans_clients_of_others(reservoir: Reservoir, form: PteFormat) -> None:
    """A client that somebody made of the space is an orphan; its pages stay until released."""
    vm = Vm(reservoir, format=form)
    fill(vm)
    client = vm.space.client()
    page = client.hold(0, Prot.RW)
    vm.destroy()
    with pytest.raises(Orphaned):
        client.fault(0, Prot.READ)
    assert page.readable()[0] == 1
    assert reservoir.usage.allocated == 4 * PAGE
    page.release()
    assert reservoir.usage.allocated == 0


def test_destroy__after_the_caller_released_a_segment(reservoir: Reservoir, form: PteFormat) -> None:
    """That somebody gave up the Vm's reference does not keep the Vm from ending."""
    with Vm(reservoir, format=form) as vm:
        with vm.alloc_memseg(0, PAGE):
            pass
        vm.alloc_memseg(1, PAGE)
    assert reservoir.usage.free == reservoir.size


def test_destroy__is_complete_though_a_callback_fails(reservoir: Reservoir, form: PteFormat) -> None:
    """The error of a callback comes out at the end, with everything given back."""
    vm = Vm(reservoir, format=form)
    fill(vm)

    def fail(gpa: int, length: int) -> None:
        raise RuntimeError("told")

    vm.space.client().on_invalidate(fail)
    with pytest.raises(RuntimeError, match="told"):
        vm.destroy()
    assert reservoir.usage.free == reservoir.size
    vm.destroy()


def test_destroy__on_cpu_changes_nothing(reservoir: Reservoir, form: PteFormat) -> None:
    """A thread that is on CPU in the guest cannot end it."""
    vm = Vm(reservoir, format=form)
    fill(vm)
    with on_cpu(vm.space):
        error = caught(vm.destroy)
    assert isinstance(error, NptError)
    assert "Deadlock" in repr(error)
    assert len(vm.space.mappings) == 2
    vm.destroy()
    assert reservoir.usage.free == reservoir.size


def test_context__hides_no_error(reservoir: Reservoir) -> None:
    """An error inside the context comes out, and the guest is gone."""
    with pytest.raises(KeyError), Vm(reservoir) as vm:  # noqa: PT012
        fill(vm)
        raise KeyError
    assert reservoir.usage.free == reservoir.size
    with pytest.raises(StaleHandle):
        vm.__enter__()


def test_reservoir__is_busy_while_a_vm_lives(vm: Vm, reservoir: Reservoir) -> None:
    """Memory segments are objects like others."""
    vm.alloc_memseg(0, PAGE)
    with pytest.raises(Busy):
        reservoir.close()


def test_repr__counts(vm: Vm, reservoir: Reservoir) -> None:
    """A guest can be looked at, alive and gone."""
    vm.alloc_memseg(0, PAGE)
    vm.vcpu(0)
    assert "1 " in repr(vm)
    vm.destroy()
    assert "destroyed" in repr(vm)
