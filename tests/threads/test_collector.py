"""The collector comes in the middle of each call, at every line, and runs finalizers that call the library.

A finalizer runs in whatever thread happens to allocate, with whatever locks that thread has. It may release a page, free an
object and look; what would have to wait for its own thread must raise Deadlock instead of waiting, and change nothing.
"""

import gc
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest

import npt
from npt import NPT, Busy, Deadlock, NptError, Prot, PteFormat, StaleHandle
from npt.testing import check
from tests.threads.collecting import Garbage, Seen, collecting
from tests.threads.crew import SECONDS, crew
from tests.threads.guest import N_PAGES, OTHER, PAGE, Guest, guest

pytestmark = pytest.mark.slow
ROOT = Path(npt.__file__).parents[1]
_FAR, _SPARE = 0x3000_0000, 0x2000_0000
_AT_ONCE = 2 * N_PAGES  # lines of a call at which something is released, in one go
Call = Callable[[Guest], object]


def in_turn(*calls: Call) -> Call:
    """Calls one after the other."""

    def act(guest: Guest) -> None:
        for call in calls:
            call(guest)

    return act


def look_and_release(page: npt.VmPage) -> None:
    """Views of both kinds, that outlive their page."""
    views = page.readable(), page.writable()
    page.release()
    del views


CALLS: dict[str, Call] = {
    "map and unmap": in_turn(
        lambda g: g.space.map(g.ram, _FAR, PAGE, Prot.RW),
        lambda g: g.space.populate(_FAR, PAGE),
        lambda g: g.space.unmap(_FAR, PAGE),
    ),
    "unmap": in_turn(
        lambda g: g.space.unmap(OTHER, g.other.length), lambda g: g.space.map(g.other, OTHER, g.other.length, Prot.RW)
    ),
    "track_dirty": lambda g: g.space.track_dirty(0, g.ram.length),
    "set_dirty": lambda g: g.space.set_dirty(0, g.ram.length),
    "set_tracking": in_turn(lambda g: g.space.set_tracking(False), lambda g: g.space.set_tracking(True)),
    "hold and release": lambda g: g.client.hold(PAGE, Prot.RW).release(),
    "hold_many and release": lambda g: g.client.hold_many([PAGE, 2 * PAGE], Prot.RW).release(),
    "views": lambda g: look_and_release(g.client.hold(PAGE, Prot.RW)),
    "write and read": in_turn(lambda g: g.client.write(3 * PAGE, b"x"), lambda g: g.client.read(3 * PAGE, 1)),
    "client and destroy": lambda g: g.space.client().destroy(),
    "enter and exit": in_turn(lambda g: g.client.table_enter(), lambda g: g.client.table_exit()),
    "allocate and free": lambda g: g.reservoir.allocate(3 * PAGE).release(),
    "resize": lambda g: (g.reservoir.resize(g.reservoir.size - PAGE), g.reservoir.resize(g.reservoir.limit)),
}

LOOKS: dict[str, Call] = {
    "translate": lambda g: g.space.translate([0]),
    "peek_dirty": lambda g: g.space.peek_dirty(0, g.ram.length),
    "explain": lambda g: g.space.explain(0),
    "mappings": lambda g: g.space.mappings,
    "counters": lambda g: g.space.counters,
    "usage": lambda g: g.reservoir.usage,
    "holds": lambda g: (g.client.holds, repr(g.client), g.ram.refs),
}

# What a look may meet: it would have to wait for the space lock in the middle of a look-up, or nothing is tracked just now.
MAY_BE: dict[str, set[type[BaseException]]] = {
    "translate": {Deadlock},
    "peek_dirty": {Deadlock, npt.TrackingDisabled},
    "explain": {Deadlock},
    "mappings": {Deadlock},
    "counters": set(),
    "usage": set(),
    "holds": set(),
}

CHANGES: dict[str, Call] = {
    "track_dirty": lambda g: g.space.track_dirty(0, g.ram.length),
    "unmap": in_turn(lambda g: g.space.unmap(_SPARE, PAGE), lambda g: g.space.map(g.spare, _SPARE, PAGE, Prot.RW)),
    "map": in_turn(lambda g: g.space.map(g.spare, 0x3F00_0000, PAGE, Prot.RW), lambda g: g.space.unmap(0x3F00_0000, PAGE)),
    "hold": lambda g: g.client.hold(0, Prot.RW).release(),
    "client": lambda g: g.space.client().destroy(),
    "allocate": lambda g: g.reservoir.allocate(PAGE).release(),
    "on_invalidate": lambda g: g.client.on_invalidate(None),
    "set_tracking": in_turn(lambda g: g.space.set_tracking(False), lambda g: g.space.set_tracking(True)),
}


@pytest.mark.parametrize("name", CALLS)
def test_collector__finalizer_releases_a_page(form: PteFormat, name: str) -> None:
    """A held page may be released anywhere: it is released, and in the log."""
    with guest(form) as made:
        for first in count(0, _AT_ONCE):
            made.space.reset_dirty(0, made.ram.length)
            pages = [made.client.hold(n % N_PAGES * PAGE, Prot.RW) for n in range(_AT_ONCE)]
            with collecting(lambda pages=pages: pages.pop().release, first, _AT_ONCE) as seen:  # type: ignore[misc]
                CALLS[name](made)
            assert set(seen) <= {None}
            assert made.client.holds == len(pages)
            check(made.space)
            made.client.release_all()
            if name not in ("track_dirty", "set_tracking"):  # they take marks, or have none set
                assert made.dirty() == set(range(N_PAGES))
            if len(seen) < _AT_ONCE:
                break
        assert first + len(seen) > 20


@pytest.mark.parametrize("name", CALLS)
def test_collector__finalizer_frees_an_object(form: PteFormat, name: str) -> None:
    """The last reference to an object may go anywhere, and its memory with it."""
    with guest(form) as made:
        in_use = made.reservoir.usage.allocated
        for first in count(0, _AT_ONCE):
            objects = [made.reservoir.allocate(PAGE) for _ in range(_AT_ONCE)]
            with collecting(lambda objects=objects: objects.pop().release, first, _AT_ONCE) as seen:  # type: ignore[misc]
                CALLS[name](made)
            assert set(seen) <= {None}
            for obj in objects:
                obj.release()
            assert made.reservoir.usage.allocated == in_use
            check(made.space)
            if len(seen) < _AT_ONCE:
                break


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("name", CALLS)
def test_collector__finalizer_looks(name: str, look: str) -> None:
    """Looking waits for nothing: what needs the space lock is refused in the middle of a look-up, all else works anywhere."""
    with guest(NPT) as made:
        with collecting(lambda: lambda: LOOKS[look](made)) as seen:
            CALLS[name](made)
        assert set(seen) - MAY_BE[look] == {None}
        if name == "set_tracking":
            assert Deadlock not in seen  # it is in the middle of no look-up


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", CALLS)
def test_collector__finalizer_changes(name: str, change: str) -> None:
    """A change works between two calls, and raises Deadlock in the middle of one: nothing hangs, all is well afterwards."""
    with guest(NPT) as made:
        made.space.map(made.spare, _SPARE, PAGE, Prot.RW)
        made.client.fault_many([0, _SPARE], Prot.RW)
        with collecting(lambda: lambda: CHANGES[change](made)) as seen, suppress(NptError):
            CALLS[name](made)  # what a finalizer did may be in its way: a mapping that is gone, tracking that is off
        assert seen
        unexpected = set(seen) - {None, *EXPECTED.get(change, ()), Deadlock}
        assert not unexpected
        check(made.space)


# What else a change may meet, because of what it did itself at an earlier line.
EXPECTED: dict[str, tuple[type[BaseException], ...]] = {
    "unmap": (npt.NoSuchMapping, npt.Overlap),
    "map": (npt.NoSuchMapping, npt.Overlap),
    "track_dirty": (npt.TrackingDisabled,),
}

LOCKED = ("unmap", "track_dirty", "hold and release", "client and destroy", "set_tracking")


@pytest.mark.parametrize("change", ["track_dirty", "unmap", "set_tracking"])
@pytest.mark.parametrize("name", LOCKED)
def test_collector__a_change_in_a_critical_section_is_refused(name: str, change: str) -> None:
    """In the middle of calls that lock, a finalizer that would change the space gets Deadlock at least once."""
    with guest(NPT) as made:
        made.space.map(made.spare, _SPARE, PAGE, Prot.RW)
        with collecting(lambda: lambda: CHANGES[change](made)) as seen, suppress(NptError):
            CALLS[name](made)
        assert Deadlock in set(seen)


SAME_OBJECT = """
import faulthandler
from npt import PAGE_SIZE, Reservoir
from tests.threads.collecting import collecting

faulthandler.dump_traceback_later(5, exit=True)
with Reservoir(1 << 20) as reservoir, reservoir.allocate(PAGE_SIZE) as ram:
    for _ in range(100):
        ram.reference()
    refs = [ram.release] * 99
    with collecting(refs.pop):
        ram.release()
    for release in refs:
        release()
    assert ram.refs == 1, ram.refs
"""


def test_collector__finalizer_releases_the_same_object() -> None:
    """A reference to an object may go while another reference to the same one is going."""
    done = subprocess.run(
        [sys.executable, "-c", SAME_OBJECT], cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_collector__beside_another_thread(form: PteFormat) -> None:
    """Two threads whose finalizers release and look, in calls that wait for each other: no hang."""
    with guest(form) as made:
        clients = [made.space.client() for _ in range(2)]
        rings = threading.local()

        def work(client: npt.VmClient) -> Any:
            def run(team: Any) -> None:
                rings.busy = True
                for n in range(300):
                    page = client.hold(n % N_PAGES * PAGE, Prot.RW)
                    seen: Seen = []
                    Garbage(page.release, seen)
                    Garbage(lambda: made.space.peek_dirty(0, made.ram.length), seen)
                    del page
                    made.space.track_dirty(0, made.ram.length)
                    with suppress(Busy, StaleHandle):
                        made.space.client().destroy()
                gc.collect()

            return run

        before = gc.get_threshold()
        gc.set_threshold(20, 2, 2)
        try:
            with crew(*(work(client) for client in clients)) as team:
                for thread in team.threads:
                    thread.join()
        finally:
            gc.set_threshold(*before)
        gc.collect()
        assert [client.holds for client in clients] == [0, 0]
