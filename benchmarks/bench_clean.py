"""A harvest of a guest that is clean but for a few leaf tables, beside the scan of all of them."""

from collections.abc import Iterator

import numpy as np
import pytest

from benchmarks.figures import Figure, slower
from benchmarks.guest import Guest, bitmap_of
from benchmarks.running import Running
from npt import PteFormat
from npt._types import U8Array
from npt.units import ENTRIES, PAGE_SHIFT

_TOUCHED = 0.001  # of the leaf tables
_EACH = 8  # dirty pages in one of them
_ADDRESS = np.uint64(0x000F_FFFF_FFFF_F000)


@pytest.fixture
def scanned(format: PteFormat, size: int, seed: int) -> Iterator[Guest]:
    """A guest whose leaf tables are always scanned, since somebody may write to them from outside."""
    made = Guest(format, size, seed=seed)
    table = made.space.table
    for entry in table.entries(2)[table.entries(2) != 0].tolist():
        table.read_table((entry & int(_ADDRESS)) >> PAGE_SHIFT)
    yield made
    made.close()


def _touched(guest: Guest) -> U8Array:
    """Bitmap of some pages in few tables."""
    tables = -(-guest.n_pages // ENTRIES)
    chosen = np.zeros((tables, ENTRIES), np.bool_)
    few = guest.random.permutation(tables)[: round(tables * _TOUCHED) or 1]
    chosen[few[:, None], guest.random.integers(0, ENTRIES, (few.size, _EACH))] = True
    return bitmap_of(chosen.reshape(-1)[: guest.n_pages])


@pytest.mark.parametrize("atomic", [False, True], ids=["quiesced", "beside"])
def bench_clean(figure: Figure, guest: Guest, scanned: Guest, atomic: bool) -> None:
    pages = _touched(guest)
    here, there = Running(guest), Running(scanned)

    def ready(one: Guest, on: Running, off: Running) -> None:
        off.stop()
        one.dirty(pages)
        if atomic:
            on.start()
            on.ready()

    full = slower(
        "the full scan", lambda: scanned.space.track_dirty(0, scanned.size), prepare=lambda: ready(scanned, there, here),
        check=scanned.check_harvest(pages), at_least=20 if guest.size == 64 << 30 else None,
    )  # fmt: skip
    try:
        figure.take(
            f"harvest, 0.1 % of the tables, {'beside a vCPU' if atomic else 'quiesced'}",
            lambda: guest.space.track_dirty(0, guest.size), guest.read(), full,
            n=guest.n_pages, prepare=lambda: ready(guest, here, there), check=guest.check_harvest(pages),
            beside=here if atomic else None,
        )  # fmt: skip
    finally:
        here.stop()
        there.stop()
