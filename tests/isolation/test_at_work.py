"""Views that are at work in another thread while their page is freed, and its memory wanted by somebody else.

One call of numpy, without the interpreter's lock, reads or writes a page over and over, for as long as it takes to unmap and
free it, and for another guest to get all memory that there is and to write all over it. That it did is seen, not reckoned: the
work is begun when its first trace is there, and must not be over when the other guest is done; else it is done again, longer.
"""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from npt import Prot, PteFormat, RamObject, Reservoir, VmClient, VmSpace
from npt._types import U8Array, U64Array
from tests.isolation.canary import LATE, PAGE, filled, frames_of, stamp, strange
from tests.threads.crew import LONG, Crew, crew

pytestmark = pytest.mark.slow
N_PAGES, ROUNDS = 4, 5 * LONG
OWN, OTHER = 0x0F, 0xF0  # guests: not one bit in common
LONGEST = 1 << 22  # times that a page is gone over
_TRACE = np.uint64(2)  # of reading: no mark has it
Words = U64Array
Work = Callable[[Words, int], Words]


def over_and_over(page: Words, times: int) -> Words:
    """The same page as often as that."""
    return np.lib.stride_tricks.as_strided(page, (times, page.size), (0, 8))


def _copyto(page: Words, times: int) -> Words:
    np.copyto(over_and_over(page, times), np.uint64(LATE))
    return page[:0]


def _ufunc_out(page: Words, times: int) -> Words:
    np.bitwise_or(np.uint64(LATE), np.zeros(page.size, np.uint64), out=over_and_over(page, times))
    return page[:0]


def _in_place(page: Words, times: int) -> Words:
    """Reads and writes what it read: what comes from nobody's hand but its own."""
    all_of_it = over_and_over(page, times)
    np.bitwise_or(all_of_it, np.uint64(LATE), out=all_of_it)
    return page[:0]


def _assign(page: Words, times: int) -> Words:
    over_and_over(page, times)[...] = LATE
    return page[:0]


def _many_calls(page: Words, times: int) -> Words:
    """Calls that are short, each with the interpreter's lock for a moment."""
    for _ in range(times // 64):
        np.copyto(over_and_over(page, 64), np.uint64(LATE))
    return page[:0]


def _reduce(page: Words, times: int) -> Words:
    """All bits that were ever seen in a word."""
    page[0] |= _TRACE
    seen: Words = np.bitwise_or.reduce(np.broadcast_to(page, (times, page.size)), axis=0)
    return seen


def _accumulate(page: Words, times: int) -> Words:
    page[0] |= _TRACE
    seen = np.zeros(page.size, np.uint64)
    n_pieces = times // 1024
    assert n_pieces > 0
    for _ in range(n_pieces):
        np.bitwise_or.reduce(over_and_over(page, 1024), axis=0, out=seen, initial=0)
        assert not (seen & np.uint64(OTHER << 56)).any(), strange(seen)
    return seen


WORKS: dict[str, Work] = {
    "copyto": _copyto, "out": _ufunc_out, "in place": _in_place, "assignment": _assign, "many calls": _many_calls,
    "reduce": _reduce, "accumulate": _accumulate,
}  # fmt: skip


class Scene:
    """A guest with one object, all of it marked; and room for one other."""

    def __init__(self, form: PteFormat) -> None:
        self.form = form
        self.reservoir = Reservoir(2 * N_PAGES * PAGE)
        self.words = self.reservoir.buffer.view(np.uint64).reshape(-1, PAGE // 8)
        self.space, self.ram, self.client = self.settle(N_PAGES * PAGE, OWN)
        self.frame = frames_of(self.ram)[1]

    def settle(self, length: int, guest: int) -> tuple[VmSpace, RamObject, VmClient]:
        """A guest moves in: what it gets is zero, and is then marked."""
        ram = self.reservoir.allocate(length)
        space = VmSpace(1 << 30, format=self.form, reservoir=self.reservoir, track_dirty=True)
        space.map(ram, 0, ram.length, Prot.RW)
        client = space.client()
        assert not any(client.read(0, ram.length))
        client.write(0, marked(guest, length))
        return space, ram, client


def marked(guest: int, length: int) -> U8Array:
    """Pages of a guest."""
    return np.concatenate([filled(stamp(guest, 0, 0, 0))] * (length // PAGE))


def overlap(form: PteFormat, work: Work, times: int) -> bool:
    """One round; whether the work was still under way when the other guest had been there."""
    scene = Scene(form)
    page = scene.client.hold(PAGE, Prot.RW)
    started: list[Words] = [page.writable().view(np.uint64)]
    before, results, ready = scene.words[scene.frame].copy(), list[Words](), threading.Event()

    def run(team: Crew) -> None:
        view = started.pop()
        ready.set()
        results.append(work(view, times))

    with crew(run) as team:
        ready.wait()
        while np.array_equal(scene.words[scene.frame], before) and team.busy():
            pass
        page.release()
        scene.space.unmap(0, scene.ram.length)
        scene.ram.release()
        space, ram, client = scene.settle(scene.reservoir.usage.free, OTHER)
        team.threads[0].join(0.001)  # time to come to its end, if the work is done and only the interpreter is waited for
        met = team.busy()
        assert client.read(0, ram.length) == marked(OTHER, ram.length).tobytes()
        team.threads[0].join()
        assert client.read(0, ram.length) == marked(OTHER, ram.length).tobytes()
    seen = results[0]
    assert not (seen & np.uint64(OTHER << 56)).any(), f"of another guest: {strange(seen)}"
    assert not met or scene.frame not in frames_of(ram)
    del seen
    results.clear()
    finish(scene, space, ram)
    return met


def finish(scene: Scene, space: VmSpace, ram: RamObject) -> None:
    """The views are dead: whoever comes next gets zeroes, and all of the memory."""
    space.close()
    ram.release()
    with scene.reservoir.allocate(2 * N_PAGES * PAGE):
        assert not scene.words.any()
    scene.space.close()
    scene.reservoir.close()


@pytest.mark.parametrize("name", WORKS)
def test_at_work__while_its_page_is_freed(form: PteFormat, name: str) -> None:
    """What one thread's numpy is doing to a page neither reaches the next owner of its memory nor sees it."""
    met, times = 0, 1 << 12
    while met < ROUNDS:
        if overlap(form, WORKS[name], times):
            met += 1
        else:
            times *= 2
            assert times <= LONGEST, "the other guest was never there while the work was under way"


def test_at_work__views_that_die_in_another_thread(form: PteFormat) -> None:
    """The last view goes in one thread while another frees its page: the frame comes back zero, and once."""
    scene = Scene(form)
    for number in range(100 * LONG):
        page = scene.client.hold(PAGE * (number % N_PAGES), Prot.RW)
        views: list[Any] = [page.writable()]
        frame, meet = page.pfn - scene.reservoir.base_pfn, threading.Barrier(2)

        def write_and_forget(team: Crew, meet: threading.Barrier = meet, views: list[Any] = views) -> None:
            meet.wait()
            views[0][:] = LATE
            views.clear()

        with crew(write_and_forget):
            meet.wait()
            page.release()
            scene.space.unmap(0, scene.ram.length)
            scene.ram.release()
        assert scene.reservoir.usage == (2 * N_PAGES * PAGE, 0, 0, 0, 2 * N_PAGES * PAGE)
        assert not scene.words.any(), f"frame {frame:#x} is free and shows {strange(scene.words)}"
        scene.ram = scene.reservoir.allocate(N_PAGES * PAGE)
        scene.space.map(scene.ram, 0, scene.ram.length, Prot.RW)
    scene.space.close()
    scene.ram.release()
    scene.reservoir.close()
