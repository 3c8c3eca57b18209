"""A process that forks while its other threads are in the middle of something: the child may look, and ends."""

import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from npt import NPT, Prot, PteFormat, StaleHandle, Vcpu, Vm
from tests.threads.crew import crew
from tests.threads.guest import Guest, guest, run_on, thrown

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")]
_CHILD_SECONDS = 30

LOOKING: dict[str, Callable[[Guest], object]] = {
    "translate": lambda g: g.space.translate([0]),
    "pte": lambda g: g.space.pte(0),
    "explain": lambda g: repr(g.space.explain(0)),
    "peek_dirty": lambda g: g.space.peek_dirty(0, g.ram.length),
    "accessed": lambda g: g.space.accessed(0, g.ram.length),
    "resident": lambda g: g.space.resident(0, g.ram.length),
    "mappings": lambda g: g.space.mappings,
    "counters": lambda g: g.space.counters,
    "resident_count": lambda g: g.space.resident_count,
    "usage": lambda g: g.reservoir.usage,
    "refs": lambda g: (g.ram.refs, g.ram.length, g.ram.pfn_at(0)),
    "reprs": lambda g: repr((g.space, g.client, g.reservoir, g.ram)),
    "holds": lambda g: (g.client.holds, g.client.kicked, g.client.orphaned),
}


def in_child(act: Callable[[], object]) -> None:
    """Do something in a forked child that ends by ``os._exit``, and in time."""
    sys.stdout.flush()
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking beside threads is what this is about
        pid = os.fork()
    if not pid:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(_CHILD_SECONDS)
        try:
            act()
            told = b"fine"
        except BaseException as error:
            told = repr(error).encode()
        os.write(writer, told)
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as pipe:
        message = pipe.read().decode()
    _, status = os.waitpid(pid, 0)
    assert (message, status) == ("fine", 0), f"the child hung, or failed: {message!r}, status {status:#x}"


def look(made: Guest) -> None:
    """Look at everything, and try to change something."""
    for act in LOOKING.values():
        act(made)
    assert thrown(lambda: made.space.track_dirty(0, made.ram.length)) is StaleHandle
    assert thrown(lambda: made.client.hold(0, Prot.READ)) is StaleHandle
    assert thrown(lambda: made.reservoir.allocate(0x1000)) is StaleHandle
    assert thrown(made.ram.reference) is StaleHandle


@contextmanager
def locked(lock: Any) -> Iterator[None]:
    """Another thread has a lock."""
    taken, over = threading.Event(), threading.Event()

    def keep(team: object) -> None:
        with lock:
            taken.set()
            over.wait()

    with crew(keep):
        try:
            assert taken.wait(30)
            yield
        finally:
            over.set()


LOCKS: dict[str, Callable[[Guest], Any]] = {
    "space": lambda g: g.space._core.exclusion.lock,
    "client": lambda g: g.client.gate.lock,
    "reservoir": lambda g: g.reservoir._lock,
    "object": lambda g: g.ram._lock,
}


@pytest.mark.parametrize("tlb", [0, 64])
def test_fork__while_a_vcpu_runs(form: PteFormat, tlb: int) -> None:
    """The child looks; in the parent the vCPU goes on, and its pages are in the log."""
    with guest(form) as made:
        vcpu = Vcpu(made.space.client(), tlb=tlb)
        with crew(run_on(vcpu)):
            while not made.dirty():
                pass
            for _ in range(5):
                in_child(lambda: look(made))
            made.space.track_dirty(0, made.ram.length)
            while not made.dirty():
                pass


@pytest.mark.parametrize("name", LOCKS)
def test_fork__while_another_thread_has_a_lock(form: PteFormat, name: str) -> None:
    """The child waits for no lock that was held at the fork."""
    with guest(form) as made:
        made.client.write(0, b"x")
        with locked(LOCKS[name](made)):
            in_child(lambda: look(made))
        made.client.write(0, b"y")


@pytest.mark.parametrize("tlb", [0, 64])
def test_fork__of_a_child_that_may_not_enter(form: PteFormat, tlb: int) -> None:
    """A vCPU of the parent's does not run in the child, whether or not it is inside in the parent."""
    with guest(form) as made:
        inside, outside = Vcpu(made.space.client(), tlb=tlb), Vcpu(made.space.client(), tlb=tlb)

        def run() -> None:
            for vcpu in (inside, outside):
                assert thrown(lambda vcpu=vcpu: vcpu.run([0])) is StaleHandle  # type: ignore[misc]
            assert thrown(made.space.close) is StaleHandle

        with crew(run_on(inside)):
            while not made.dirty():
                pass
            in_child(run)


def test_fork__while_other_threads_do_everything(form: PteFormat) -> None:
    """Wherever the others are at the fork, the child may look."""
    with guest(form) as made:
        vcpu, client = Vcpu(made.space.client(), tlb=64), made.space.client()

        def churn(team: Any) -> None:
            while team.working:
                made.space.unmap(0, made.ram.length)
                made.space.map(made.ram, 0, made.ram.length, Prot.RW)
                made.space.client().destroy()
                with made.reservoir.allocate(0x2000):
                    client.hold(0, Prot.RW).release()

        def harvest(team: Any) -> None:
            while team.working:
                made.space.track_dirty(0, made.ram.length)
                _ = made.reservoir.usage

        with crew(run_on(vcpu), churn, harvest):
            for _ in range(20):
                in_child(lambda: look(made))


def test_fork__of_a_vm_whose_lock_is_held() -> None:
    """Another thread is in the middle of a call of a Vm: in the child all calls come to their end."""
    with guest(NPT) as made, Vm(made.reservoir, track_dirty=True) as vm:
        vm.alloc_memseg(0, 0x4000)
        vm.map_memseg(0, 0, 0x4000, Prot.RW)
        segment = vm.map_guest(0, 0x4000, Prot.RW)
        vcpu = vm.vcpu(0)

        def act() -> None:
            assert vm.memseg(0).length == 0x4000
            assert vm.vcpu(0) is vcpu
            assert "1 vCPUs" in repr(vm)
            for change in (
                lambda: vm.vcpu(1),
                lambda: vm.alloc_memseg(1, 0x1000),
                lambda: vm.map_guest(0, 0x1000, Prot.RW),
                lambda: segment.read(0, 8),
                vm.destroy,
            ):
                assert thrown(change) is StaleHandle

        with locked(vm._lock):
            in_child(act)
