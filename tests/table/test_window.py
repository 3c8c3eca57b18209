"""A range as words of a bitmap that starts where its first leaf table starts."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from npt.table.window import Window
from tests.kernels.world import bits

PAGES = st.one_of(st.integers(0, 1200), st.sampled_from([0, 1, 511, 512, 513, 2**35 - 1025]))
COUNTS = st.one_of(st.integers(1, 1100), st.sampled_from([1, 7, 8, 9, 63, 64, 65, 511, 512, 513, 1024]))


def window(page: int, n_pages: int) -> Window:
    """By page numbers."""
    return Window(page << 12, n_pages << 12)


@given(page=PAGES, n_pages=COUNTS)
def test_window__regions_that_it_touches(page: int, n_pages: int) -> None:
    """And where in the first of them it starts."""
    w = window(page, n_pages)
    touched = sorted({p // 512 for p in range(page, page + n_pages)})
    assert list(range(w.region, w.region + w.n_regions)) == touched
    assert (512 * w.region + w.first, w.end - w.first) == (page, n_pages)


@given(page=PAGES, n_pages=COUNTS, seed=st.integers(0, 2**32))
def test_selection__moves_the_callers_bits(page: int, n_pages: int, seed: int) -> None:
    """Bit k of the caller's is page k of the range; what it has behind the range does no harm."""
    w = window(page, n_pages)
    select = np.random.default_rng(seed).integers(0, 256, -(-n_pages // 8) + 3, np.uint8)
    chosen = {k for k in bits(select) if k < n_pages}
    assert {k - w.first for k in bits(w.selection(select)) if k < w.end} == chosen
    assert all(k >= w.first for k in bits(w.selection(select)))


@given(page=PAGES, n_pages=COUNTS, seed=st.integers(0, 2**32))
def test_bitmap__gives_back_a_selection(page: int, n_pages: int, seed: int) -> None:
    """There and back, for the pages of the range."""
    w = window(page, n_pages)
    select = np.random.default_rng(seed).integers(0, 256, -(-n_pages // 8), np.uint8)
    if n_pages % 8:
        select[-1] &= np.uint8((1 << n_pages % 8) - 1)
    assert w.bitmap(w.selection(select)).tolist() == select.tolist()


@given(page=PAGES, n_pages=COUNTS)
def test_bitmap__one_bit_a_page(page: int, n_pages: int) -> None:
    """``uint8``, rounded up to whole bytes."""
    w = window(page, n_pages)
    bitmap = w.bitmap(w.words())
    assert (bitmap.dtype, bitmap.size) == (np.dtype(np.uint8), -(-n_pages // 8))
    assert not bitmap.any()


@pytest.mark.parametrize("stride", [2, -1])
def test_selection__from_a_strided_bitmap(stride: int) -> None:
    """It is only read, so it need not be contiguous."""
    w = window(3, 20)
    select = np.arange(1, 9, dtype=np.uint8)[::stride]
    assert {k - 3 for k in bits(w.selection(select))} & set(range(20)) == {k for k in bits(select.copy()) if k < 20}


def test_words__fresh_each_time() -> None:
    """One call's bitmap is no other's."""
    w = window(0, 64)
    w.words()[0] = 1
    assert not w.words().any()
