"""Working sets against all bitmaps kept, on real tables, with hypothesis."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from npt import EPT, NPT, PteFormat
from npt._types import U8Array
from npt.dirty.working_set import WorkingSet
from tests.dirty.usage_scene import Oracle, guest
from tests.space.scene import bits

pytestmark = pytest.mark.slow
FORMATS = pytest.mark.parametrize("form", [EPT, NPT], ids=["ept", "npt"])


@st.composite
def histories(draw: Any) -> tuple[int, int, list[set[int]]]:
    """Pages, pages of a part, and what is read before each sample."""
    n_pages = draw(st.integers(1, 70))
    some = st.sets(st.integers(0, n_pages - 1), max_size=12) | st.just(set(range(n_pages)))
    return n_pages, draw(st.integers(1, 80)), draw(st.lists(some, max_size=9))


def sampled(form: PteFormat, n_pages: int, part_pages: int, reads: list[set[int]], *, clear: bool) -> tuple[Any, Oracle]:
    """A working set and the oracle, after the reads; on nPT, too, with what fresh leaves have cleared first."""
    oracle = Oracle()
    with guest(form, n_pages) as machine:
        machine.space.accessed(*machine.range, clear=True)
        working_set = WorkingSet(machine.space, *machine.range, clear=clear, part_pages=part_pages)
        for pages in reads:
            machine.read(sorted(pages))
            sample = working_set.sample()
            before = oracle.pages()
            oracle.samples.append(set(pages) if clear else before | pages)
            now = oracle.samples[-1]
            assert (sample.number, sample.accessed, sample.new) == (len(oracle.samples), len(now), len(now - before))
    return working_set, oracle


def parts(n_pages: int, part_pages: int) -> list[tuple[int, int]]:
    """First and number of pages of every stretch of whole parts."""
    edges = [*range(0, n_pages, part_pages), n_pages]
    return [(first, end - first) for i, first in enumerate(edges) for end in edges[i + 1 : i + 4]]


@FORMATS
@given(histories())
@example((1, 1, [{0}, set(), {0}, {0}]))
@example((64, 64, [set(range(64)), set(), set(), {63}]))
def test_clearing__like_kept_bitmaps(form: PteFormat, history: tuple[int, int, list[set[int]]]) -> None:
    """Last samples, windows of all lengths, reuse and curve, of all and of parts, exactly."""
    n_pages, part_pages, reads = history
    working_set, oracle = sampled(form, n_pages, part_pages, reads, clear=True)
    assert working_set.last_seen.tolist() == [oracle.last_seen(page) for page in range(n_pages)]
    for window in [None, *range(1, len(reads) + 1)]:
        assert set(bits(working_set.pages(window))) == oracle.pages(window)
        assert working_set.size(window) == len(oracle.pages(window))
    lengths = range(1, len(reads) + 1)
    for first, n in parts(n_pages, min(part_pages, n_pages)):
        within = range(first, first + n)
        curve = oracle.curve(within)
        assert working_set.reuse(first=first, n_pages=n).tolist() == oracle.reuse(within)
        assert working_set.curve(first=first, n_pages=n).tolist() == [float(mean) for mean in curve]
        assert working_set.curve(lengths[::-1], first=first, n_pages=n).tolist() == [float(mean) for mean in curve[::-1]]


@FORMATS
@given(histories(), st.data())
def test_pages__of_any_stretch(form: PteFormat, history: tuple[int, int, list[set[int]]], data: st.DataObject) -> None:
    """From any page, any number of them, over any window: as bitmaps of their own with clean ends."""
    n_pages, part_pages, reads = history
    working_set, oracle = sampled(form, n_pages, part_pages, reads, clear=True)
    first = data.draw(st.integers(0, n_pages - 1), "first")
    n = data.draw(st.integers(1, n_pages - first), "n_pages")
    window = data.draw(st.none() | st.integers(1, len(reads)) if reads else st.none(), "window")
    found = working_set.pages(window, first=first, n_pages=n)
    wanted = oracle.pages(window) & set(range(first, first + n))
    assert found.shape == (-(-n // 8),)
    assert {first + k for k in bits(found)} == wanted
    assert working_set.size(window, first=first, n_pages=n) == len(wanted)


@FORMATS
@given(histories())
def test_without_clearing__touched_so_far(form: PteFormat, history: tuple[int, int, list[set[int]]]) -> None:
    """Samples grow, and the union is what was touched."""
    working_set, oracle = sampled(form, *history, clear=False)
    assert set(bits(working_set.pages())) == oracle.pages()
    assert working_set.size() == len(oracle.pages())


class Still:
    """A space whose samples are given: so that long histories need no tables."""

    def __init__(self, working_set: WorkingSet) -> None:
        self._working_set = working_set

    def enter(self, found: U8Array) -> None:
        """What a sample enters after its harvest."""
        self._working_set._enter(found)


@FORMATS
def test_curve__long_and_wide(form: PteFormat) -> None:
    """Four hundred samples of 999 pages: every length against the samples themselves, counted by another way."""
    n_pages, n = 999, 400
    rows = (np.random.SeedSequence(7).generate_state(n * n_pages, np.uint32).reshape(n, n_pages) % 97) == 0
    with guest(form, n_pages) as machine:
        working_set = WorkingSet(machine.space, *machine.range)
        for row in rows:
            Still(working_set).enter(np.packbits(row, bitorder="little"))
        curve = working_set.curve()
    before = np.vstack((np.zeros(n_pages, int), rows.cumsum(axis=0)))
    for length in (1, 2, 3, 50, 127, 128, 129, 399, 400):
        windows = (before[length:] - before[:-length]) > 0
        assert curve[length - 1] == float(Fraction(int(windows.sum()), n + 1 - length))
    assert (np.diff(curve) >= 0).all()
