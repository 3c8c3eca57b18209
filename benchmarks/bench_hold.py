"""One hold, view and release beside the bare Python cycle.

The bare cycle is what any Python library must do for it: two lock/unlock pairs, one dict insert and delete, one memoryview
slice of a page; no object, no array.
"""

import threading
from collections.abc import Callable, Iterator

import pytest

from benchmarks.figures import Figure, longer
from benchmarks.guest import Guest
from npt import PAGE_SIZE, Prot, PteFormat

_PAGES = 256
_CYCLES = 512


def bare(n: int) -> Callable[[], None]:
    """``n`` bare cycles over the pages of a buffer."""
    lock, pages = threading.Lock(), memoryview(bytearray(_PAGES * PAGE_SIZE))
    held: dict[int, int] = {}

    def cycles() -> None:
        for start in range(0, n * PAGE_SIZE, PAGE_SIZE):
            gpa = start % len(pages)
            with lock:
                held[gpa] = gpa
            pages[gpa : gpa + PAGE_SIZE]
            with lock:
                del held[gpa]

    return cycles


@pytest.fixture
def guest(format: PteFormat, seed: int) -> Iterator[Guest]:
    """A small one, with bytes."""
    made = Guest(format, _PAGES * PAGE_SIZE, backed=True, seed=seed)
    yield made
    made.close()


@pytest.mark.parametrize("prot", [Prot.READ, Prot.RW], ids=["read", "read-write"])
def bench_hold(figure: Figure, guest: Guest, prot: Prot, tiny: bool) -> None:
    client, writes, n = guest.space.client(), bool(prot & Prot.WRITE), 64 if tiny else _CYCLES

    def cycles() -> None:
        for start in range(0, n * PAGE_SIZE, PAGE_SIZE):
            page = client.hold(start % guest.size, prot)
            page.writable() if writes else page.readable()
            page.release()

    def check(_: None) -> None:
        assert client.holds == 0
        with client.hold(0, prot) as page:
            assert page.pfn == guest.ram.pfn_at(0)
            assert (page.writable() if writes else page.readable()).shape == (PAGE_SIZE,)

    cycle = longer("the bare cycle", bare(n), at_most=3)
    figure.take(f"hold, view, release, {prot.name}", cycles, cycle, n=n, unit="hold", check=check)
