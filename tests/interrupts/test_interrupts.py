"""An interrupt at any place of a call leaves a space whole: invariants, locks, log, and the next call.

Each call is interrupted at its first line, then at its second, and so on until it runs through; and likewise behind every
built-in that it calls.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import product

import pytest

from npt import EPT, NPT, InvalidArgument, NptError, Orphaned, Prot, PteFormat, StaleHandle, VmSpace, warm_up
from tests.ahead import Done, ahead
from tests.interrupts.guest import FAR, N_PAGES, PAGE, SIZE, Guest
from tests.interrupts.interrupt import KINDS, interrupted

Call = Callable[[Guest], object]

CALLS: dict[str, Call] = {
    "map": lambda g: g.space.map(g.spare, FAR + 2 * PAGE, PAGE, Prot.RW),
    "map under new tables": lambda g: g.space.map(g.spare, SIZE - PAGE, PAGE, Prot.RW),
    "map_mmio": lambda g: g.new.append(g.space.map_mmio(2 * FAR, PAGE, 0xFE00_0000)),
    "unmap": lambda g: g.space.unmap(0, N_PAGES * PAGE),
    "unmap elsewhere": lambda g: g.space.unmap(FAR, 2 * PAGE),
    "track_dirty": lambda g: g.space.track_dirty(0, SIZE),
    "reset_dirty": lambda g: g.space.reset_dirty(0, N_PAGES * PAGE),
    "set_dirty": lambda g: g.space.set_dirty(0, N_PAGES * PAGE),
    "accessed": lambda g: g.space.accessed(0, SIZE, clear=True),
    "set_tracking": lambda g: [g.space.set_tracking(on) for on in (False, True)],  # type: ignore[func-returns-value]
    "populate": lambda g: g.space.populate(0, N_PAGES * PAGE),
    "hold": lambda g: g.client.hold(7 * PAGE, Prot.RW),
    "hold with checks": lambda g: g.client.hold(7 * PAGE, 3, defer_dirty=True),
    "hold_many": lambda g: g.client.hold_many([6 * PAGE, 7 * PAGE], Prot.RW),
    "fault": lambda g: g.client.fault(7 * PAGE, Prot.READ),
    "fault_many": lambda g: g.client.fault_many([7 * PAGE, FAR], Prot.READ),
    "write": lambda g: g.client.write(7 * PAGE, b"x"),
    "release": lambda g: g.page.release(),
    "release of a view": lambda g: (g.page.writable(), g.page.release()),
    "release_chain": lambda g: g.chain[0].release_chain(),
    "release of a batch": lambda g: g.batch.release(),
    "release_all": lambda g: g.neighbour.release_all(),
    "enter and exit": lambda g: g.idle.table_enter() and g.idle.table_exit(),  # type: ignore[func-returns-value]
    "client": lambda g: g.space.client(),
    "client destroy": lambda g: g.idle.destroy(),
    "allocate": lambda g: g.new.append(g.reservoir.allocate(2 * PAGE)),
    "free": lambda g: g.spare.release(),
    "close": lambda g: g.space.close(),
}


@contextmanager
def guest(form: PteFormat) -> Iterator[Guest]:
    """A guest, taken down in the end."""
    made = Guest(form)
    yield made
    made.close()


# The format is no matter to an interrupt: each kind of place is gone through with one, with both in the long form.
FORMATS = {"ept": EPT, "npt": NPT}
ONE_EACH = [("call", "npt"), ("line", "ept"), ("c_return", "npt")]
BOTH = list(product(KINDS, FORMATS))
places = pytest.mark.parametrize(("kind", "form"), BOTH if os.environ.get("NPT_LONG") else ONE_EACH)


@pytest.fixture(scope="module", autouse=True)
def compiled() -> None:
    """Kernels are compiled in another thread, which no interrupt reaches; the waiting for it is not the subject here."""
    warm_up()


def every_place(form: PteFormat, kind: str, work: Call) -> Iterator[tuple[Guest, bool]]:
    """A new guest for each place of a call, interrupted there; False for the last, in which it ran through."""
    n, happened = 1, True
    while happened:
        with guest(form) as made:
            outcome = interrupted(lambda made=made: work(made), kind, n)  # type: ignore[misc]
            assert outcome is not False, f"the interrupt at place {n} was swallowed"
            happened = outcome is True
            try:
                yield made, happened
            except BaseException as error:
                error.add_note(f"interrupted at {kind} {n}")
                raise
        n += 1
    assert n > 2


def go_through(name: str, kind: str, form: str) -> int:
    """Interrupt a call at each of its places; how many there are."""
    warm_up()
    n = 0
    for made, _ in every_place(FORMATS[form], kind, CALLS[name]):
        with suppress(InvalidArgument, StaleHandle):
            made.idle.table_exit()  # the interrupt came while it was inside
        made.check()
        owed = made.written | made.held()
        again(made, CALLS[name])
        made.check()
        if name not in ("track_dirty", "reset_dirty"):  # the second call got the bits
            made.check_log(owed)
        made.release() if hasattr(made, "view") else None
        n += 1
    return n


@pytest.mark.slow
@ahead(go_through)
@places
@pytest.mark.parametrize("name", CALLS)
def test_interrupt__leaves_a_space_whole(name: str, kind: str, form: str, done: Done) -> None:
    """Invariants hold, no lock is held, the same call and the others work, every page written is in the log."""
    assert done() > 1


def again(made: Guest, work: Call) -> None:
    """The next call works, or says that the first had done it."""
    try:
        work(made)
    except (StaleHandle, Orphaned) as error:
        assert made.space.destroyed or "released" in str(error) or "destroyed" in str(error)  # noqa: PT017
    except NptError as error:
        assert type(error).__name__ in ("NoSuchMapping", "Overlap", "Busy")  # noqa: PT017


@places
@pytest.mark.parametrize("name", ["track_dirty", "reset_dirty"])
def test_interrupt__puts_harvested_bits_back(name: str, kind: str, form: str) -> None:
    """What an interrupted harvest had cleared is in the next one."""
    for made, happened in every_place(FORMATS[form], kind, CALLS[name]):
        made.check_log(made.written | made.held() if happened else set())


@places
def test_interrupt__destroy_of_a_space(kind: str, form: str) -> None:
    """A space whose destroy was interrupted can be used, or is gone for all its clients."""
    n, happened = 1, True
    while happened:
        space = VmSpace(SIZE, format=FORMATS[form])
        clients = [space.client(), space.client()]
        outcome = interrupted(space.destroy, kind, n)
        assert outcome is not False
        assert {client.orphaned for client in clients} == {space.destroyed}
        if not space.destroyed:
            clients[0].table_enter()
            clients[0].table_exit()
            space.destroy()
        happened, n = outcome is True, n + 1
    assert n > 2
