"""Ranges of dirty calls whose ends are around the words of a leaf table's bitmap: every pair of them."""

from itertools import combinations

import numpy as np
import pytest

from npt import EPT, NPT, Reservoir, VmSpace
from tests.space.scene import GIB, PAGE, SIZE, bits, dirty, map_at


@pytest.fixture(scope="module", params=[EPT, NPT], ids=["ept", "npt"])
def full(request: pytest.FixtureRequest) -> VmSpace:
    """192 pages around the end of a leaf table, all dirty and accessed."""
    reservoir = Reservoir(192 * PAGE, backed=False)
    space = VmSpace(SIZE, reservoir=reservoir, track_dirty=True, format=request.param)
    map_at(space, reservoir.allocate(192 * PAGE), FULL)
    space.set_dirty(FULL, 192 * PAGE)
    return space


FULL = GIB - 128 * PAGE
WORD_EDGES = sorted({max(min(64 * word + k, 192), 0) for word in range(4) for k in (-9, -8, -7, -1, 0, 1, 7, 8, 9)})


@pytest.mark.parametrize("call", ["track", "reset", "select", "accessed", "set"])
def test_range__every_pair_of_edges(full: VmSpace, call: str) -> None:
    """No call touches the page before its range, or the one behind it, wherever in a word of the bitmap they are."""
    everything = list(range(192))
    for first, end in combinations(WORD_EDGES, 2):
        gpa, length, inside = FULL + first * PAGE, (end - first) * PAGE, list(range(end - first))
        others = [page for page in everything if not first <= page < end]
        if call == "track":
            assert bits(full.track_dirty(gpa, length)) == inside
        elif call == "accessed":
            assert bits(full.accessed(gpa, length, clear=True)) == inside
            assert bits(full.accessed(FULL, 192 * PAGE)) == others
        elif call == "set":
            full.track_dirty(FULL, 192 * PAGE)
            assert bits(full.set_dirty(gpa, length)) == inside
            assert dirty(full, FULL, 192 * PAGE) == list(range(first, end))
        else:
            select = np.full(-(-(end - first) // 8), 0xFF, np.uint8) if call == "select" else None
            assert bits(full.reset_dirty(gpa, length, select=select)) == inside
        if call in ("track", "reset", "select"):
            assert dirty(full, FULL, 192 * PAGE) == others
        full.set_dirty(FULL, 192 * PAGE)
    assert bits(full.accessed(FULL, 192 * PAGE)) == everything
