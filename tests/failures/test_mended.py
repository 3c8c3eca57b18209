"""Failures at one place each, at which something was lost once."""

import mmap
from collections.abc import Callable
from typing import Any

import pytest

from npt import Deadlock, Prot, Reservoir, Vm, VmObject, VmSpace, kernels
from npt.memory.objects import MmioObject
from npt.space.exclusion import Exclusion
from npt.testing import check

PAGE = 0x1000
SIZE = 1 << 30


def fail_once(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, error: BaseException, *, after: bool = False) -> None:
    """Have the next call of something fail, before it did anything or behind it."""
    real, errors = getattr(owner, name), [error]

    def call(*arguments: Any) -> Any:
        result = real(*arguments) if after or not errors else None
        if errors:
            raise errors.pop()
        return result

    monkeypatch.setattr(owner, name, call)


@pytest.fixture
def vm() -> Vm:
    """With a mapped memory segment; what is left of its memory when it is destroyed, has leaked."""
    made = Vm(Reservoir(8 * PAGE), size=SIZE, track_dirty=True)
    made.alloc_memseg(0, 2 * PAGE)
    made.map_memseg(0, 0, 2 * PAGE, Prot.RW)
    return made


def close(vm: Vm) -> None:
    """End it; nothing leaked."""
    vm.destroy()
    vm._reservoir.close()


def test_map__of_the_first_ram_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """The space belongs to no reservoir: another's RAM can be mapped next, or MMIO at those frames."""
    one, other = Reservoir(PAGE), Reservoir(PAGE, base_pfn=0x200000)
    ram, space = one.allocate(PAGE), VmSpace(SIZE)
    fail_once(monkeypatch, kernels.tables, "build", MemoryError())
    with pytest.raises(MemoryError):
        space.map(ram, 0, PAGE, Prot.RW)
    check(space)
    space.map(other.allocate(PAGE), 0, PAGE, Prot.RW)
    ram.release()
    one.close()


def test_map__does_without_huge_pages() -> None:
    """That the system gives none is no reason to fail: they are asked for, not needed."""

    class Area:
        def madvise(self, _: int) -> None:
            raise OSError(22, "a kernel without them")

    if not hasattr(mmap, "MADV_HUGEPAGE"):
        pytest.skip("nobody asks for huge pages here")
    space = VmSpace(1 << 40)
    space._core.table._arenas[0]._area = Area()  # type: ignore[assignment]
    space.map(MmioObject(1 << 32, 0), 0, 1 << 32, Prot.RW)
    assert space.table.tables_in_use(1) == 1 << 32 - 21
    space.close()


@pytest.mark.parametrize("error", [MemoryError(), KeyboardInterrupt()], ids=["memory", "interrupt"])
def test_unmap__tells_though_it_fails_before_the_callbacks(
    monkeypatch: pytest.MonkeyPatch, vm: Vm, error: BaseException
) -> None:
    """Once the leaves are clear the way is forward: whoever knows them is told."""
    told: list[int] = []
    vm.space.client().on_invalidate(lambda gpa, length: told.append(gpa))
    vm.space.populate(0, PAGE)
    fail_once(monkeypatch, Exclusion, "call_back", error)
    with pytest.raises(type(error)):
        vm.space.unmap(0, 2 * PAGE)
    assert (told, vm.space.mappings) == ([0], ())
    close(vm)


def test_set_tracking__tells_though_it_is_interrupted(monkeypatch: pytest.MonkeyPatch, vm: Vm) -> None:
    """An interrupt between the switch and the callbacks."""
    told: list[int] = []
    vm.space.client().on_invalidate(lambda gpa, length: told.append(gpa))
    fail_once(monkeypatch, Exclusion, "call_back", KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        vm.space.set_tracking(False)
    assert (told, vm.space.tracking) == ([0], False)
    close(vm)


def test_callback__that_was_told_is_not_told_again(vm: Vm) -> None:
    """An interrupt just behind a callback leaves those that were not told yet."""
    told: list[str] = []

    class Late(list[Any]):
        def pop(self, *_: Any) -> Any:
            super().pop()
            if len(self) == 1:
                raise KeyboardInterrupt

    waiting = Late([lambda gpa, length: told.append("second"), lambda gpa, length: told.append("first")])
    with pytest.raises(KeyboardInterrupt):
        vm.space._core.exclusion.call_back(0, PAGE, waiting)
    assert told == ["first", "second"]
    close(vm)


@pytest.mark.parametrize(("name", "after"), [("acquire", False), ("acquire", True), ("release", False), ("release", True)])
def test_alloc_memseg__that_fails_takes_nothing(monkeypatch: pytest.MonkeyPatch, vm: Vm, name: str, after: bool) -> None:
    """Memory that no number stands for would be lost."""
    free = vm._reservoir.usage.free
    with monkeypatch.context() as patch:
        fail_once(patch, VmObject, name, KeyboardInterrupt(), after=after)
        with pytest.raises(KeyboardInterrupt):
            vm.alloc_memseg(1, PAGE)
    assert vm._reservoir.usage.free == free
    vm.alloc_memseg(1, PAGE)
    close(vm)


MAPS: dict[str, Callable[[Vm], object]] = {
    "object": lambda vm: vm.map_object(0, 0, PAGE, Prot.RW),
    "guest": lambda vm: vm.map_guest(0, PAGE, Prot.RW),
}


@pytest.mark.parametrize("name", MAPS)
def test_segment__that_nobody_got_is_closed(monkeypatch: pytest.MonkeyPatch, vm: Vm, name: str) -> None:
    """An interrupt between making a window and handing it over leaves neither a reference nor a client."""
    refs, n_clients = vm.memseg(0).refs, len(vm.space._core.exclusion.gates)
    with monkeypatch.context() as patch:
        real, checks = Vm._check_alive, iter([None])  # the first is that of the arguments, the next under the lock

        def check_alive(self: Vm) -> None:
            real(self)
            if next(checks, self) is self:
                raise KeyboardInterrupt

        patch.setattr(Vm, "_check_alive", check_alive)
        with pytest.raises(KeyboardInterrupt):
            MAPS[name](vm)
    assert (vm._memseg(0).refs, len(vm.space._core.exclusion.gates)) == (refs, n_clients)
    close(vm)


def test_segment__whose_close_was_refused_can_be_closed(vm: Vm) -> None:
    """In a callback a client cannot be ended; the window stays open, and its client is not lost."""
    window, refused = vm.map_guest(0, PAGE, Prot.RW), list[type[BaseException]]()

    def call_back(gpa: int, length: int) -> None:
        with pytest.raises(Deadlock) as caught:
            window.close()
        refused.append(caught.type)

    client = vm.space.client()
    client.on_invalidate(call_back)
    n_clients = len(vm.space._core.exclusion.gates)
    vm.space.track_dirty(0, PAGE)
    assert (refused, window.closed) == ([Deadlock], False)
    window.close()
    assert (window.closed, len(vm.space._core.exclusion.gates)) == (True, n_clients - 1)
    close(vm)


def test_segment__whose_close_was_interrupted_gives_its_object_up(monkeypatch: pytest.MonkeyPatch, vm: Vm) -> None:
    """The second close does what is left to do."""
    straight, refs = vm.map_object(0, 0, PAGE, Prot.RW), vm.memseg(0).refs
    with monkeypatch.context() as patch:
        fail_once(patch, VmObject, "drop", KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            straight.close()
    straight.close()
    assert vm.memseg(0).refs == refs - 1
    close(vm)


def test_destroy_of_a_vm__that_was_interrupted_ends_the_second_time(monkeypatch: pytest.MonkeyPatch, vm: Vm) -> None:
    """Memory segments whose turn had not come are given up by the next call."""
    with monkeypatch.context() as patch:
        vm.unmap_memseg(0, 2 * PAGE)
        fail_once(patch, VmObject, "drop", KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            vm.destroy()
    close(vm)
