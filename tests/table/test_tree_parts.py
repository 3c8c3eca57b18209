"""Large work on a tree, split: the same tables, counts and bitmaps with one, two and three threads, wherever ranges end."""

from contextlib import nullcontext
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest

from npt import PteFormat
from npt._types import U64Array
from npt.table.tree import NO_SELECTION, PageTable, Window
from tests.forms import Seen, split
from tests.table.ranges import PAGE, SIZE, extent, in_both_formats, in_use

TABLE = 512
PRESENT = np.uint64(1)  # bit 0, in both formats
FIRST = 3 * TABLE - 5  # of the mapping: in the middle of a leaf table
N = 12 * TABLE + 9
# Pages from the start of the mapping on, and how many.
PARTS = [
    (0, N), (0, 5), (4, 2), (5, 2 * TABLE), (5, 2 * TABLE - 1), (4, 2 * TABLE + 2), (1, N - 2), (516, 1),
    (515, 7 * TABLE + 1), (5 + TABLE, 11 * TABLE), (300, 3 * TABLE + 77), (N - 1, 1), (N - 9, 9), (N - 10, 10),
]  # fmt: skip


class Outcome(NamedTuple):
    """All that may differ."""

    counts: tuple[int, ...]
    entries: tuple[bytes, ...]
    bitmaps: tuple[bytes, ...]


def work(format: PteFormat, threads: int, part: tuple[int, int], still: bool) -> Outcome:
    """Populate a part, mark and look in another, harvest some of it, take all down; a state after each."""
    table, seen = PageTable(format, SIZE, threads), Seen()
    gpa, length = (FIRST + part[0]) * PAGE, part[1] * PAGE
    mapped, dirty = (FIRST * PAGE, N * PAGE), format.masks.dirty
    extents, window = extent(format, *mapped), Window(gpa, length)
    select = window.selection(np.random.default_rng(part[1]).integers(0, 256, -(-part[1] // 8), np.uint8))
    counts, entries, bitmaps = list[int](), list[bytes](), list[bytes]()

    def look() -> None:
        counts.extend((table.resident, *in_use(table)))
        entries.append(table.entries(1).tobytes())

    with split(threads, seen) if threads > 1 else nullcontext():
        table.build(*mapped)
        counts.append(table.populate(extents, gpa, length))
        counts.append(table.populate(extents, *mapped))
        look()
        for chosen in (select, NO_SELECTION):
            bitmaps.append(table.mark(window, chosen, PRESENT, int(dirty), dirty).tobytes())
        look()
        bitmaps.append(table.peek(window, select, dirty).tobytes())
        bitmaps.append(table.peek(Window(*mapped), NO_SELECTION, dirty).tobytes())
        for chosen in (select, NO_SELECTION):
            words: U64Array = window.words()
            table.harvest(window, chosen, dirty, words, still=still)
            bitmaps.append(window.bitmap(words).tobytes())
            look()
        record = table.vacate(*mapped)
        table.release(record)
        counts.append(record.n_present)
        look()
    assert (seen.helped > 0) == (threads > 1)
    return Outcome(tuple(counts), tuple(entries), tuple(bitmaps))


@in_both_formats
@pytest.mark.parametrize("still", [True, False], ids=["still", "beside vCPUs"])
@pytest.mark.parametrize("part", PARTS, ids=lambda part: f"{part[0]}+{part[1]}")
def test_split__does_what_one_thread_does(format: PteFormat, part: tuple[int, int], still: bool) -> None:
    """Entry by entry and bit by bit; and one thread does what was asked for."""
    alone = work(format, 1, part, still)
    assert alone.counts[:2] == (part[1], N - part[1])
    assert sum(int.from_bytes(bitmap, "little").bit_count() for bitmap in alone.bitmaps[:2]) == part[1]
    assert alone.counts[-6:] == (N, 0, 1, 0, 0, 0)
    for threads in (2, 3):
        assert work(format, threads, part, still) == alone


@in_both_formats
@pytest.mark.parametrize("threads", [2, 3])
def test_split__no_leaf_table_is_in_two_parts(format: PteFormat, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of pages meet where leaf tables do, whatever page the range begins with."""
    table = PageTable(format, SIZE, threads)
    for first in (0, 1, 511, 512, 700):
        parts: list[tuple[int, int]] = []
        with split(threads, Seen()):
            table._share_pages(lambda start, stop, parts=parts: parts.append((start, stop)), first, 9 * TABLE + 3)  # type: ignore[misc]
        parts.sort()
        assert [parts[0][0], parts[-1][1]] == [0, 9 * TABLE + 3]
        assert len(parts) > 1
        assert all(stop == start and (first + start) % TABLE == 0 for (_, stop), (start, _) in pairwise(parts))
