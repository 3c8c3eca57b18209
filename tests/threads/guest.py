"""A small guest for tests of one situation each."""

import ctypes
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np

from npt import NptError, Prot, PteFormat, Reservoir, StaleHandle, Vcpu, VmClient, VmSpace
from npt._types import U64Array
from npt.testing import check
from tests.threads.crew import Crew

__all__ = ["N_PAGES", "PAGE", "Guest", "bits", "guest", "run_on", "stay_inside", "thrown"]

PAGE = 0x1000
N_PAGES = 16
OTHER = 0x20_0000  # another leaf table


class Guest:
    """Two mappings, a client; a second object to be mapped."""

    def __init__(self, form: PteFormat, *, kick_timeout: float = 5.0) -> None:
        self.reservoir = Reservoir(0x80 * PAGE)
        self.ram = self.reservoir.allocate(N_PAGES * PAGE)
        self.other = self.reservoir.allocate(4 * PAGE)
        self.spare = self.reservoir.allocate(PAGE)  # mapped nowhere
        self.space = VmSpace(1 << 30, format=form, reservoir=self.reservoir, track_dirty=True, kick_timeout=kick_timeout)
        self.space.map(self.ram, 0, self.ram.length, Prot.RW)
        self.space.map(self.other, OTHER, self.other.length, Prot.RW)
        self.client = self.space.client()

    def dirty(self) -> set[int]:
        """Dirty pages of the first mapping; nothing is cleared."""
        return bits(self.space.peek_dirty(0, self.ram.length))

    def close(self) -> None:
        """Check it and take it down."""
        check(self.space)
        self.space.close()
        for obj in (self.ram, self.other, self.spare):
            with suppress(StaleHandle):
                obj.release()
        assert self.reservoir.usage.free == self.reservoir.size
        self.reservoir.close()


@contextmanager
def guest(form: PteFormat, *, kick_timeout: float = 5.0) -> Iterator[Guest]:
    """A guest, checked and taken down."""
    made = Guest(form, kick_timeout=kick_timeout)
    yield made
    made.close()


def bits(bitmap: Any) -> set[int]:
    """Which pages a bitmap names."""
    return set(np.flatnonzero(np.unpackbits(bitmap, bitorder="little")).tolist())


def run_on(vcpu: Vcpu, *, gpas: U64Array | None = None) -> Callable[[Crew], None]:
    """A vCPU that writes to pages of the first mapping until its crew is told to end."""
    where = np.arange(1 << 16, dtype=np.uint64) % np.uint64(N_PAGES) * np.uint64(PAGE) if gpas is None else gpas

    def work(team: Crew) -> None:
        while team.working:
            vcpu.run(where, write=True)

    return work


def stay_inside(client: VmClient, entered: threading.Event, leave: threading.Event) -> Callable[[Crew], None]:
    """Somebody who is on CPU and looks at no kick."""

    def work(team: Crew) -> None:
        client.table_enter()
        entered.set()
        leave.wait()
        client.table_exit()

    return work


def thrown(act: Callable[[], object]) -> type[BaseException] | None:
    """What kind of error a call raises, of ours."""
    try:
        act()
    except NptError as error:
        return type(error)
    return None


def throw_into(thread: threading.Thread, error: type[BaseException]) -> None:
    """Have a thread raise an error at the next chance that it gives Python."""
    assert thread.ident is not None
    assert ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(error)) == 1
