"""A forked child may look, and change nothing."""

import os
from collections.abc import Callable
from functools import partial

import pytest

from npt import (
    Prot,
    RamObject,
    StaleHandle,
    Vcpu,
    VmClient,
    VmSpace,
)  # fmt: skip
from tests.space.scene import (
    LEVELS,
    PAGE,
    bits,
    caught,
    dirty,
    map_at,
    write_to,
)  # fmt: skip

LOOKING: dict[str, Callable[[VmSpace, VmClient], object]] = {
    "translate": lambda space, client: space.translate([0]).tolist(),
    "pte": lambda space, client: space.pte(0),
    "explain": lambda space, client: repr(space.explain(0)),
    "peek_dirty": lambda space, client: dirty(space, 0, PAGE),
    "accessed": lambda space, client: bits(space.accessed(0, PAGE)),
    "resident": lambda space, client: bits(space.resident(0, PAGE)),
    "mappings": lambda space, client: len(space.mappings),
    "resident_count": lambda space, client: space.resident_count,
    "counters": lambda space, client: space.counters,
    "holds": lambda space, client: client.holds,
    "orphaned": lambda space, client: client.orphaned,
    "entries": lambda space, client: [space.table.entries(level).tolist() for level in LEVELS],
}
CHANGING: dict[str, Callable[[VmSpace, VmClient], object]] = {
    "map_mmio": lambda space, client: space.map_mmio(0x200000, PAGE, 0xFE00_0000),
    "unmap": lambda space, client: space.unmap(0, 0x10 * PAGE),
    "populate": lambda space, client: space.populate(0, PAGE),
    "track_dirty": lambda space, client: space.track_dirty(0, PAGE),
    "reset_dirty": lambda space, client: space.reset_dirty(0, PAGE),
    "set_dirty": lambda space, client: space.set_dirty(0, PAGE),
    "accessed clear": lambda space, client: space.accessed(0, PAGE, clear=True),
    "set_tracking": lambda space, client: space.set_tracking(False),
    "client": lambda space, client: space.client(),
    "destroy": lambda space, client: space.destroy(),
    "close": lambda space, client: space.close(),
    "hold": lambda space, client: client.hold(0, Prot.READ),
    "hold_many": lambda space, client: client.hold_many([0], Prot.READ),
    "fault": lambda space, client: client.fault(0, Prot.READ),
    "fault_many": lambda space, client: client.fault_many([0], Prot.READ),
    "read": lambda space, client: client.read(0, 1),
    "write": lambda space, client: client.write(0, b"x"),
    "on_invalidate": lambda space, client: client.on_invalidate(None),
    "clone": lambda space, client: client.clone(),
    "table_enter": lambda space, client: client.table_enter(),
    "run": lambda space, client: Vcpu(client).run([0]),
    "release_all": lambda space, client: client.release_all(),
    "client.destroy": lambda space, client: client.destroy(),
}


def in_child(act: Callable[[], object]) -> None:
    """Do something in a forked child; what it asserts is asserted here."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            error = caught(act)
            os.write(writer, repr(error).encode() if error is not None else b"fine")
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as pipe:
        told = pipe.read().decode()
    os.waitpid(pid, 0)
    assert told == "fine"


forked = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
ignore_threads = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


@forked
@ignore_threads
def test_fork__child_may_look(space: VmSpace, client: VmClient) -> None:
    """A child sees what its parent saw, without any lock that was held at the fork."""
    write_to(client, 0)
    page = client.hold(0, Prot.READ)
    wanted = {name: look(space, client) for name, look in LOOKING.items()}

    def look() -> None:
        for name, act in LOOKING.items():
            assert act(space, client) == wanted[name], name
        assert page.readable()[0] == 0x5A

    gate = client.gate
    with space._core.exclusion.lock, gate.lock:
        in_child(look)
    page.release()


@forked
@ignore_threads
def test_fork__child_may_not_change(space: VmSpace, client: VmClient, ram: RamObject) -> None:
    """All that changes something is the parent's."""
    page, pages = client.hold(0, Prot.RW), client.hold_many([0], Prot.RW)

    def change() -> None:
        for name, act in CHANGING.items():
            assert isinstance(caught(partial(act, space, client)), StaleHandle), name
        for end in (page.release, page.release_chain, pages.release, lambda: map_at(space, ram, 0x200000)):
            assert isinstance(caught(end), StaleHandle), end

    in_child(change)
    assert (page.release(), pages.release()) == (False, 0)


@forked
@ignore_threads
def test_fork__parent_goes_on(space: VmSpace, client: VmClient, ram: RamObject) -> None:
    """A fork does nothing to the parent."""
    in_child(lambda: None)
    write_to(client, 0)
    assert bits(space.track_dirty(0, PAGE)) == [0]
    space.unmap(0, ram.length)


@forked
@ignore_threads
def test_fork__wrong_arguments_are_told_in_no_other_order(space: VmSpace, client: VmClient) -> None:
    """A child's space is stale: that is told before a bad argument, after a wrong type."""

    def change() -> None:
        assert isinstance(caught(lambda: space.unmap(1, PAGE)), StaleHandle)
        assert isinstance(caught(lambda: client.hold(1, Prot.READ)), StaleHandle)
        assert isinstance(caught(lambda: space.unmap(0, None)), TypeError)  # type: ignore[arg-type]

    in_child(change)
