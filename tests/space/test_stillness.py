"""Stillness: harvests clear with plain stores when nobody can be at the entries, with atomics else, and wait for nobody."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from npt import KickTimeout, NptError, Vcpu, VmClient, VmSpace, kernels
from tests.forms import Seen, counted
from tests.space.scene import PAGE, bits, on_cpu_elsewhere, write_to

CALLS: dict[str, Callable[[VmSpace], Any]] = {
    "track_dirty": lambda space: space.track_dirty(0, 0x10 * PAGE),
    "reset_dirty": lambda space: space.reset_dirty(0, 0x10 * PAGE),
    "accessed": lambda space: space.accessed(0, 0x10 * PAGE, clear=True),
}
every_call = pytest.mark.parametrize("name", CALLS)


def forms(seen: Seen) -> tuple[int, int]:
    """How often harvests had stillness, and how often not."""
    return seen.calls["harvest_still"], seen.calls["harvest"]


def locks_are_free(space: VmSpace) -> bool:
    """Asked by another thread: it can take them all."""
    exclusion, free = space._core.exclusion, list[bool]()

    def ask() -> None:
        for lock in (exclusion.lock, *(gate.lock for gate in exclusion.gates)):
            free.append(lock.acquire(timeout=1))
            if free[-1]:
                lock.release()

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    return all(free)


@contextmanager
def locked(lock: Any) -> Iterator[None]:
    """Another thread has a lock."""
    taken, over = threading.Event(), threading.Event()

    def keep() -> None:
        with lock:
            taken.set()
            over.wait()

    thread = threading.Thread(target=keep)
    thread.start()
    try:
        assert taken.wait(10)
        yield
    finally:
        over.set()
        thread.join()


@every_call
def test_harvest__with_nobody_inside_is_still(space: VmSpace, client: VmClient, name: str) -> None:
    """Without clients, with some, and with a vCPU that has left."""
    write_to(client, PAGE)
    Vcpu(space.client()).run([2 * PAGE], write=True)
    with counted() as seen:
        assert bits(CALLS[name](space)) == [1, 2]
    assert forms(seen) == (1, 0)
    assert locks_are_free(space)


@every_call
@pytest.mark.parametrize("leaves", [True, False])
def test_harvest__with_a_vcpu_inside_is_not(space: VmSpace, client: VmClient, name: str, leaves: bool) -> None:
    """Whether it leaves when it is kicked or not; what is not reported is put back."""
    others = [space.client(), space.client()]
    write_to(others[1], PAGE)
    with on_cpu_elsewhere(client, leaves=leaves), counted() as seen:
        if leaves:
            assert bits(CALLS[name](space)) == [1]
        else:
            with pytest.raises(KickTimeout):
                CALLS[name](space)
        assert forms(seen) == (0, 1)
    assert locks_are_free(space)
    with counted() as seen:
        assert bits(CALLS[name](space)) == ([] if leaves else [1])
    assert forms(seen) == (1, 0)


@every_call
def test_harvest__does_not_wait_for_a_gate(
    space: VmSpace, client: VmClient, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gate that is locked for long: the harvest is done with atomics while it is; nothing else of it needs that lock here."""
    write_to(client, PAGE)
    last = space.client()
    exclusion = space._core.exclusion
    harvested: list[tuple[int, int]] = []
    with counted() as seen, monkeypatch.context() as patch:  # undone before the counting is
        kernel = kernels.dirty.harvest

        def note(*arguments: Any) -> None:
            kernel(*arguments)
            harvested.append(forms(seen))
            assert len(exclusion.gates) >= 2
            assert not any(gate.is_ours() for gate in exclusion.gates)
            over.set()

        over = threading.Event()
        taken = threading.Event()

        def keep() -> None:
            with last.gate.lock:
                taken.set()
                over.wait(10)

        patch.setattr(kernels.dirty, "harvest", note)
        thread = threading.Thread(target=keep)
        thread.start()
        assert taken.wait(10)
        assert bits(CALLS[name](space)) == [1]
        assert over.is_set()
        thread.join()
    assert harvested == [(0, 1)]
    assert locks_are_free(space)


@every_call
def test_harvest__keeps_everybody_out_while_it_is_still(
    space: VmSpace, client: VmClient, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """During the kernel call all gates are locked, and who would enter waits; after it they are not, before callbacks run."""
    write_to(client, PAGE)
    exclusion, kernel = space._core.exclusion, kernels.dirty.harvest_still
    space.client()
    seen: list[bool] = []

    def look(*arguments: Any) -> None:
        seen.append(all(gate.is_ours() for gate in exclusion.gates))
        kernel(*arguments)

    monkeypatch.setattr(kernels.dirty, "harvest_still", look)
    client.on_invalidate(lambda gpa, length: seen.append(any(gate.is_ours() for gate in exclusion.gates)))
    CALLS[name](space)
    assert seen == [True, False]


@every_call
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("when", ["before", "after"])
def test_harvest__that_fails_leaves_no_lock(
    space: VmSpace, client: VmClient, name: str, error: type[BaseException], when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Locks are free, and what was cleared is put back and found again."""
    write_to(client, PAGE, 3 * PAGE)
    kernel = kernels.dirty.harvest_still

    def fail(*arguments: Any) -> None:
        if when == "after":
            kernel(*arguments)
        raise error("fails")

    with monkeypatch.context() as patch:
        patch.setattr(kernels.dirty, "harvest_still", fail)
        with pytest.raises(error, match="fails"):
            CALLS[name](space)
    assert locks_are_free(space)
    assert bits(CALLS[name](space)) == [1, 3]


def test_harvest__while_another_thread_is_in_a_look_up_of_each_gate(space: VmSpace, client: VmClient) -> None:
    """Whichever of the gates is locked, those before it are given back."""
    clients = [client, space.client(), space.client()]
    for busy in clients:
        with locked(busy.gate.lock):
            assert not space._core.exclusion._lock_gates()
            assert not any(one.gate.is_ours() for one in clients)
    with space._core.exclusion.lock:
        assert space._core.exclusion._lock_gates()
        space._core.exclusion._unlock_gates()
    assert locks_are_free(space)


def test_in_stillness__not_in_a_look_up_of_this_thread(space: VmSpace, client: VmClient) -> None:
    """It would give back a lock that it did not take."""
    with client.gate.lock:
        with pytest.raises(NptError):
            space._core.exclusion.in_stillness(lambda still: None)
        assert client.gate.is_ours()
    assert locks_are_free(space)
