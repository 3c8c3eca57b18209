"""Guests of terabytes, tables only: each call beside the same one at 64 GiB, per page; and the memory that a page takes.

Only with ``--scale``, and as far as this machine's memory allows, which is asked beforehand: 8 bytes a page and a little more.
"""

import gc
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks.figures import Figure, longer
from benchmarks.guest import ENTRY_BYTES, VALUE, Guest, ask, same
from npt import PAGE_SIZE, PteFormat, dirty, format_size
from npt._types import U8Array
from npt.dirty import RUN

SIZES = ("1TiB", "4TiB")
TINY = ("16MiB",)
_SMALL, _SMALL_TINY = 64 << 30, 4 << 20
_MOST_TIMES, _MOST_SHARE = 1.25, 1.01
_APART = 100  # pages from one dirty one to the next
_BITMAPS = 6  # that there may be at a time


def _room(size: int) -> int:
    return _BITMAPS * size // PAGE_SIZE // 8


def some(n_pages: int) -> U8Array:
    """Every hundredth page."""
    return dirty.from_pages(np.arange(0, n_pages, _APART, dtype=np.uint64), n_pages)


@pytest.fixture(autouse=True)
def wanted(pytestconfig: pytest.Config, tiny: bool) -> None:
    """Only if asked for."""
    if not tiny and not pytestconfig.getoption("scale"):
        pytest.skip("terabytes are measured with --scale only")


@pytest.fixture
def small(format: PteFormat, seed: int, tiny: bool, wanted: None) -> Iterator[Guest]:
    """What the large one is set beside."""
    made = Guest(format, _SMALL_TINY if tiny else _SMALL, seed=seed, room=_room(_SMALL))
    yield made
    made.close()


@pytest.fixture
def large(format: PteFormat, size: int, seed: int, small: Guest) -> Iterator[Guest]:
    """The large one."""
    made = Guest(format, size, seed=seed, room=_room(size))
    yield made
    made.close()


def _take(
    figure: Figure, title: str, small: Guest, large: Guest,
    run: Callable[[Guest], object], prepare: Callable[[Guest], object], check: Callable[[Guest, object], object],
) -> None:  # fmt: skip
    peer = longer(
        f"at {format_size(small.size)}", lambda: run(small), prepare=lambda: prepare(small),
        check=lambda result: check(small, result), at_most=_MOST_TIMES, n=small.n_pages,
    )  # fmt: skip
    figure.take(
        title, lambda: run(large), peer, n=large.n_pages,
        prepare=lambda: prepare(large), check=lambda result: check(large, result),
    )  # fmt: skip


def _populate(guest: Guest) -> int:
    return guest.space.populate(0, guest.size)


def _harvest(guest: Guest) -> U8Array:
    return guest.space.track_dirty(0, guest.size)


def _check_resident(guest: Guest, added: object) -> None:
    assert added == guest.n_pages
    gpas = guest.random.integers(0, guest.size, 1 << 10, np.uint64)
    same(guest.space.translate(gpas), np.uint64(guest.ram.pfn_at(0)) + gpas // np.uint64(PAGE_SIZE))


def _check_not_resident(guest: Guest, _: object) -> None:
    assert guest.space.translate(guest.random.integers(0, guest.size, 1 << 10, np.uint64)).min() == np.uint64(2**64 - 1)


def bench_map(figure: Figure, small: Guest, large: Guest) -> None:
    _take(figure, "map", small, large, Guest.map, Guest.unmapped, _check_not_resident)


def bench_populate(figure: Figure, small: Guest, large: Guest) -> None:
    _take(figure, "populate", small, large, _populate, Guest.mapped, _check_resident)


def bench_unmap(figure: Figure, small: Guest, large: Guest) -> None:
    _take(figure, "unmap", small, large, Guest.unmap, Guest.resident, _check_not_resident)


@pytest.mark.parametrize("clean", [True, False], ids=["clean", "1pct"])
def bench_harvest(figure: Figure, small: Guest, large: Guest, clean: bool) -> None:
    pages = {guest: dirty.empty(guest.n_pages) if clean else some(guest.n_pages) for guest in (small, large)}

    def prepare(guest: Guest) -> None:
        if not clean:
            guest.dirty(pages[guest])

    def check(guest: Guest, found: object) -> None:
        same(found, pages[guest])

    _take(figure, f"harvest, {'clean' if clean else '1 %'}", small, large, _harvest, prepare, check)


def bench_runs(figure: Figure, size: int, tiny: bool) -> None:
    """Of what such a harvest gives, into memory that was used before."""
    n_small = (_SMALL_TINY if tiny else _SMALL) // PAGE_SIZE
    n_pages = size // PAGE_SIZE
    ask(n_pages // _APART * 2 * RUN.itemsize + _room(size), f"the runs of {format_size(size)}")
    pages, few = some(n_pages), some(n_small)
    out, out_few = (np.full(-(-n // _APART), VALUE, np.uint64).repeat(2).view(RUN) for n in (n_pages, n_small))
    peer = longer(
        f"at {format_size(n_small * PAGE_SIZE)}", lambda: dirty.runs(few, out=out_few), at_most=_MOST_TIMES, n=n_small
    )

    def check(found: object) -> None:
        assert dirty.count(pages) == len(np.asarray(found))

    figure.take("runs, 1 %", lambda: dirty.runs(pages, out=out), peer, n=n_pages, check=check)


def bench_memory(figure: Figure, format: PteFormat, size: int, seed: int) -> None:
    """Resident set of the process: what a page takes once it is resident and was harvested."""
    if not Path("/proc/self/statm").exists():
        pytest.skip("this system has no /proc/self/statm to read the resident set from")
    gc.collect()
    before = _resident_set()
    guest = Guest(format, size, seed=seed, room=_room(size))
    _harvest(guest)
    taken = (_resident_set() - before) / guest.n_pages
    guest.close()
    figure.value("memory", taken, "bytes a page", f"{ENTRY_BYTES} bytes a page", ENTRY_BYTES, at_most=_MOST_SHARE)


def _resident_set() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_SIZE
