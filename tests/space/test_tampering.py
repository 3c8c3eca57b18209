"""Tables overwritten through ``read_table``, and other threads in the middle: told, never a crash or another's memory."""

import threading
import time

import numpy as np
import pytest

from npt import (
    ExitReason,
    FaultCode,
    InvariantError,
    KickTimeout,
    Prot,
    RamObject,
    Reservoir,
    StaleHandle,
    Vcpu,
    VmClient,
    VmSpace,
)

PAGE = 0x1000


def root_of(space: VmSpace) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    """The root table, writable."""
    return space.table.read_table(space.table_root >> 12)


@pytest.mark.parametrize("entry", [0, 2**64 - 1, 0x1000_0007])
def test_directory_overwritten__changes_are_refused(space: VmSpace, ram: RamObject, entry: int) -> None:
    """unmap and populate, and map where the entry is not simply empty, say so and change nothing."""
    root = root_of(space)
    before = int(root[0])
    root[0] = entry
    with pytest.raises(InvariantError):
        space.unmap(0, ram.length)
    with pytest.raises(InvariantError):
        space.populate(0, ram.length)
    with pytest.raises(InvariantError):
        space.close()
    if entry:
        with pytest.raises(InvariantError):
            space.map(ram, 0x40_0000, ram.length, Prot.RW)
    root[0] = before
    assert (len(space.mappings), ram.refs, space.resident_count) == (1, 2, 0)


def test_directory_aliased__harvest_stays_inside_its_arrays(space: VmSpace, ram: RamObject) -> None:
    """Directory entries that were copied make more leaf tables than there are; the harvest reads no further."""
    root = root_of(space)
    root[1:] = root[0]
    assert not space.peek_dirty(0, 1 << 40).any()
    root[1:] = 0


@pytest.mark.parametrize("bits", [2, 7])
def test_directory_that_denies__run_ends(space: VmSpace, client: VmClient, ram: RamObject, bits: int) -> None:
    """Serving the fault cannot help: run gives the fault back instead of trying for ever."""
    space.populate(0, ram.length)
    root = root_of(space)
    root[0] = int(root[0]) & ~bits
    exit = Vcpu(client).run([0], write=True)
    assert (exit.reason, exit.completed) == (ExitReason.FAULT, 0)
    assert exit.code in (FaultCode.PROT, FaultCode.NOMAP)
    root[0] = int(root[0]) | bits


def test_set_tracking_off__that_times_out_lost_nothing(ram: RamObject) -> None:
    """Until no vCPU relies on its marks, releases and vCPUs go on marking."""
    with VmSpace(1 << 40, track_dirty=True, kick_timeout=0.2) as space:
        space.map(ram, 0, ram.length, Prot.RW)
        stuck, other = space.client(), space.client()
        page = other.hold(PAGE, Prot.WRITE)
        inside, leave = threading.Event(), threading.Event()

        def stay() -> None:
            stuck.table_enter()
            inside.set()
            leave.wait()
            stuck.table_exit()

        def turn_off() -> None:
            with pytest.raises(KickTimeout):
                space.set_tracking(False)

        threads = [threading.Thread(target=stay), threading.Thread(target=turn_off)]
        threads[0].start()
        inside.wait()
        threads[1].start()
        while not stuck.kicked:
            pass
        page.release()
        threads[1].join()
        leave.set()
        threads[0].join()
        assert space.tracking
        assert space.track_dirty(0, 8 * PAGE).tolist() == [0b10]


@pytest.mark.slow
def test_view__taken_beside_a_release_is_watched_or_refused(reservoir: Reservoir) -> None:
    """Whoever gets a view while another thread releases the page never sees the next owner's bytes in it."""
    others = list[bool]()
    for number in range(200):
        space = VmSpace(1 << 30)
        ram = reservoir.allocate(PAGE)
        space.map(ram, 0, PAGE, Prot.RW)
        page = space.client().hold(0, Prot.RW)
        views: list[object] = []
        start = threading.Barrier(2)

        def take(page: object = page, views: list[object] = views, start: threading.Barrier = start) -> None:
            start.wait()
            try:
                while True:
                    views[:] = [page.writable()]  # type: ignore[attr-defined]
            except StaleHandle:
                return

        taker = threading.Thread(target=take)
        taker.start()
        start.wait()
        while number % 2 and not views:  # else the release may always come first
            time.sleep(0)
        page.release()
        taker.join()
        space.close()
        ram.release()
        with reservoir.allocate(reservoir.usage.free) as whole, VmSpace(1 << 30) as second:
            second.map(whole, 0, whole.length, Prot.RW)
            second.client().write(0, b"\xff" * whole.length)
            others += [bool(np.asarray(view).any()) for view in views]
    assert others
    assert not any(others)


def test_finalizer__may_release_a_page(space: VmSpace, client: VmClient) -> None:
    """The collector can run one inside a look-up of the same client; nobody waits for itself."""
    page = client.hold(0, Prot.RW)
    with client.gate.lock:  # as inside a look-up
        assert page.release() is False
    assert client.holds == 0
