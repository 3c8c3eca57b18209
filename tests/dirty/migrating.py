"""A small guest that is copied by what its dirty log owes, and nothing else."""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npt import Prot, PteFormat, RamObject, Reservoir, Vcpu, VmSpace
from npt.dirty.log import DirtyLog
from npt.dirty.rounds import Round
from npt.testing import check

__all__ = [
    "FIRST",
    "HOLE",
    "LENGTH",
    "N_PAGES",
    "PAGE",
    "RAM",
    "ROM",
    "Guest",
    "bitmap_of",
    "guest",
    "in_the_middle",
    "pages_of",
]

PAGE = 0x1000
FIRST = 0x1F_B000  # five pages before the end of a leaf table
N_PAGES = 23
LENGTH = N_PAGES * PAGE
HOLE = {11, 12}
ROM = {13, 14}  # to be read: can be sent, not be put back
RAM = set(range(N_PAGES)) - HOLE - ROM


def pages_of(bitmap: NDArray[np.uint8]) -> set[int]:
    """Which pages a bitmap names."""
    return {int(page) for page in np.flatnonzero(np.unpackbits(bitmap, bitorder="little"))}


def bitmap_of(pages: set[int], n_pages: int = N_PAGES) -> NDArray[np.uint8]:
    """Bitmap of pages."""
    bits = np.zeros(-(-n_pages // 8) * 8, np.uint8)
    bits[list(pages)] = 1
    return np.packbits(bits, bitorder="little")


class Guest:
    """RAM, a hole, read-only memory and RAM again; its log; and the copy that is made of it.

    Attributes
    ----------
    target : numpy.ndarray
        What was sent, page by page; at first it is nothing that the guest ever holds.
    """

    def __init__(self, form: PteFormat, tracking: bool = False) -> None:
        self.reservoir = Reservoir((N_PAGES + 6) * PAGE)
        self.ram = self.reservoir.allocate(N_PAGES * PAGE)
        self.space = VmSpace(1 << 30, format=form, reservoir=self.reservoir, track_dirty=tracking, kick_timeout=0.02)
        for first, end, prot in ((0, 11, Prot.RW), (13, 15, Prot.READ), (15, N_PAGES, Prot.RW)):
            self.space.map(self.ram, FIRST + first * PAGE, (end - first) * PAGE, prot, first * PAGE)
        self.client, self.vcpu = self.space.client(), Vcpu(self.space.client(), tlb=16)
        self.log = DirtyLog(self.space, FIRST, LENGTH)
        self.target: NDArray[np.uint8] = np.full((N_PAGES, PAGE), 0xEE, np.uint8)
        self._value = 0

    def write(self, *pages: int) -> None:
        """Pages get values they never had: the first by a hold, the others by the vCPU."""
        self._value += len(pages)
        if pages:
            self.client.write(FIRST + pages[0] * PAGE, self._value.to_bytes(8, "little"))
        gpas = np.array([FIRST + page * PAGE for page in pages[1:]], np.uint64)
        self.vcpu.run(gpas, write=True, values=np.arange(self._value, self._value + gpas.size, dtype=np.uint64))

    def send(self, gpa: int, length: int) -> None:
        """Copy a stretch as it is now."""
        page = (gpa - FIRST) // PAGE
        data = np.frombuffer(self.client.read(gpa, length), np.uint8)
        self.target[page : page + length // PAGE] = data.reshape(-1, PAGE)

    def send_pages(self, pages: set[int]) -> None:
        """Copy pages as they are now."""
        for page in pages:
            self.send(FIRST + page * PAGE, PAGE)

    def memory(self) -> NDArray[np.uint8]:
        """The guest's pages as they are."""
        start = (self.ram.pfn_at(0) - self.reservoir.base_pfn) * PAGE
        return self.reservoir.buffer[start : start + N_PAGES * PAGE].reshape(N_PAGES, PAGE)

    def stale(self) -> set[int]:
        """Mapped pages whose copy is not what they are."""
        return {int(page) for page in np.flatnonzero((self.memory() != self.target).any(axis=1))} - HOLE

    def dirty(self, among: Iterable[int] = range(N_PAGES)) -> set[int]:
        """Pages whose D bit is set, tracking or not."""
        mark = int(self.space.format.masks.dirty)
        return {page for page in among if (self.space.pte(FIRST + page * PAGE) or 0) & mark}

    def owed(self) -> set[int]:
        """Pages that the log owes."""
        return pages_of(self.log.owed)

    def lost(self) -> set[int]:
        """Pages that nobody would ever send: the copy is stale, they are not dirty, and the log does not owe them."""
        left = self.stale() - self.owed()
        return left - self.dirty(left)

    def send_round(self, made: Round | None, step: Callable[[], object] = lambda: None, most: int | None = None) -> None:
        """Send what is owed up to a round; ``step`` is called before and after each stretch."""
        if made is not None:
            for gpa, length in self.log.copying(made, n_pages=most):
                step()
                self.send(gpa, length)
                step()

    def finish(self) -> None:
        """A whole migration with nothing owed besides; a log that is under way goes on."""
        if self.log.state.value == "stopped":
            self.log.start()
        self.log.resume()
        self.write(1, 6, 16)
        self.send_round(self.log.round())
        self.write(2, 22)
        self.send_round(self.log.stop())

    def other_ram(self, n_pages: int) -> RamObject:
        """Other RAM, at most six pages."""
        return self.reservoir.allocate(n_pages * PAGE)

    def close(self) -> None:
        """Nothing leaked."""
        self.client.release_all()
        self.space.close()
        self.ram.release()
        self.reservoir.close()


def in_the_middle(event: str, function: str, act: Callable[[], object], work: Callable[[], Any]) -> Any:
    """Do something in the middle of a call, once, as a signal handler would: at a "call" of a function, or its "return"."""

    def hook(frame: FrameType, happened: str, _: object) -> None:
        if happened == event and frame.f_code.co_name == function:
            sys.setprofile(None)
            act()

    sys.setprofile(hook)
    try:
        return work()
    finally:
        sys.setprofile(None)


@contextmanager
def guest(form: PteFormat, tracking: bool = False, *, checked: bool = True) -> Iterator[Guest]:
    """A guest, checked and taken down."""
    made = Guest(form, tracking)
    yield made
    if checked:
        check(made.space)
    made.close()
