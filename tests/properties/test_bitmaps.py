"""Bitmaps and their other forms: runs, page numbers, parts, KVM's words, packed and saved rounds; there and back."""

import tempfile
from itertools import pairwise
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
from hypothesis import given

from npt import dirty
from npt._types import U8Array
from npt.dirty.packed import Entry, pack
from npt.dirty.rounds import Rounds
from npt.studies.history import History
from npt.testing.strategies import bitmaps, page_counts, page_sets
from tests.properties.states import bitmap_of, bits, few

PAGE = 0x1000
MOST = 1300  # pages of a bitmap
Sized = tuple[U8Array, int]


@st.composite
def sized(draw: st.DrawFn, *, junk: bool = True) -> Sized:
    """A bitmap and how many of its pages count."""
    n_pages = draw(page_counts(MOST))
    return draw(bitmaps(n_pages, junk=junk)), n_pages


def clean(bitmap: U8Array, n_pages: int) -> list[int]:
    """The bytes of the pages that count, with nothing behind them."""
    return bitmap_of([page for page in bits(bitmap) if page < n_pages], n_pages)


@given(given=sized(), base=st.sampled_from([0, 1 << 21, 2**64 - (MOST + 1) * PAGE]))
def test_runs__and_back(given: Sized, base: int) -> None:
    """Maximal, by address, apart from each other; nothing of what lies behind the end."""
    bitmap, n_pages = given
    runs = dirty.runs(bitmap, base=base, n_pages=n_pages)
    stretches = [(int(gpa), int(n)) for gpa, n in runs]
    assert all(one + n * PAGE < other for (one, n), (other, _) in pairwise(stretches))
    assert dirty.from_runs(runs, n_pages, base=base).tolist() == clean(bitmap, n_pages)


@given(given=sized(), n=st.integers(1, 700))
def test_partition__is_the_runs_cut(given: Sized, n: int) -> None:
    """Parts of ``n`` pages but the last; the same pages in the same order."""
    bitmap, n_pages = given
    runs = dirty.runs(bitmap, n_pages=n_pages)
    parts = dirty.partition(runs, n)
    sizes = [int(part["n_pages"].sum()) for part in parts]
    assert sizes[:-1] == [n] * (len(sizes) - 1)
    assert not sizes or 0 < sizes[-1] <= n
    pages = [int(gpa) // PAGE + k for part in parts for gpa, length in part for k in range(int(length))]
    assert pages == [page for page in bits(bitmap) if page < n_pages]


@given(given=sized())
def test_pages__and_back(given: Sized) -> None:
    """Numbers in order; as many as are counted."""
    bitmap, n_pages = given
    pages = dirty.to_pages(bitmap, n_pages=n_pages)
    assert pages.tolist() == [page for page in bits(bitmap) if page < n_pages]
    assert dirty.count(bitmap, n_pages=n_pages) == pages.size
    assert dirty.from_pages(pages[::-1], n_pages).tolist() == clean(bitmap, n_pages)


@given(given=sized())
def test_kvm_words__and_back(given: Sized) -> None:
    """Bit b of word w is page ``64 * w + b``; nothing behind the end."""
    bitmap, n_pages = given
    words = dirty.kvm.to_words(bitmap, n_pages)
    assert [64 * w + b for w, word in enumerate(words.tolist()) for b in range(64) if word >> b & 1] == bits(
        np.array(clean(bitmap, n_pages), np.uint8)
    )
    assert dirty.kvm.from_words(words, n_pages).tolist() == clean(bitmap, n_pages)
    words[-1] |= np.uint64(-1 << n_pages % 64 & 2**64 - 1 if n_pages % 64 else 0)  # junk that is ignored
    assert dirty.kvm.from_words(words, n_pages).tolist() == clean(bitmap, n_pages)


@given(given=sized(junk=False))
def test_packed__and_back(given: Sized) -> None:
    """Whatever form is the smallest; the count goes with it."""
    bitmap, n_pages = given
    packed = pack(bitmap, n_pages)
    assert packed.bitmap().tolist() == bitmap.tolist()
    assert (packed.n_set, packed.n_pages) == (len(bits(bitmap)), n_pages)


@given(given=sized(), cut=st.integers(0, MOST))
def test_section__two_of_them_are_the_whole(given: Sized, cut: int) -> None:
    """Cut anywhere, not only at bytes."""
    bitmap, n_pages = given
    cut = min(cut, n_pages)
    low, high = dirty.section(bitmap, 0, cut), dirty.section(bitmap, cut, n_pages - cut)
    assert bits(low) + [cut + page for page in bits(high)] == [page for page in bits(bitmap) if page < n_pages]


@given(given=sized(), shift=st.integers(0, 10), offset=st.integers(0, 2000))
def test_granules__contain_what_they_are_made_of(given: Sized, shift: int, offset: int) -> None:
    """Refined again, the same pages and those beside them in a granule; coarse once more, the same granules."""
    bitmap, n_pages = given
    granule, base = PAGE << shift, offset * PAGE
    coarse = dirty.coarsen(bitmap, granule, base=base, n_pages=n_pages)
    fine = dirty.refine(coarse, granule, n_pages, base=base)
    wanted = {(offset + page) >> shift for page in bits(bitmap) if page < n_pages}
    assert {(offset >> shift) + one for one in bits(coarse)} == wanted
    assert bits(fine) == [page for page in range(n_pages) if (offset + page) >> shift in wanted]
    assert dirty.coarsen(fine, granule, base=base, n_pages=n_pages).tolist() == coarse.tolist()


@few(20)
@given(data=st.data())
def test_saved_rounds__are_those_that_were_saved(data: st.DataObject) -> None:
    """In a file and back: range, bitmaps in whatever form, generations, instants, gaps."""
    n_pages = data.draw(page_counts(MOST))
    made = [pack(bitmap, n_pages) for bitmap in data.draw(st.lists(bitmaps(n_pages, junk=False), max_size=4))]
    entries = tuple(Entry(packed, 5 + k, (k + 1) << 62, bool(k % 2)) for k, packed in enumerate(made[:3]))
    rounds = Rounds(1 << 21, n_pages * PAGE, entries)
    with tempfile.TemporaryDirectory() as folder:
        rounds.save(Path(folder) / "rounds.npz")
        loaded = Rounds.load(Path(folder) / "rounds.npz")
    assert list(loaded) == list(rounds)
    assert (loaded.gpa, loaded.length) == (rounds.gpa, rounds.length)


@few(20)
@given(pages=page_sets(2000).filter(bool), data=st.data())
def test_saved_history__is_that_which_was_saved(pages: frozenset[int], data: st.DataObject) -> None:
    """In a file and back: all windows."""
    known = sorted(pages)
    windows = st.lists(st.lists(st.integers(0, len(known) - 1), max_size=6, unique=True).map(sorted), min_size=1, max_size=4)
    writes = data.draw(windows)
    reads = [data.draw(st.lists(st.integers(0, len(known) - 1), max_size=6)) for _ in writes]
    arrays = [np.array([page for window in each for page in window], np.int64) for each in (writes, reads)]
    offsets = [np.cumsum([0, *map(len, each)], dtype=np.int64) for each in (writes, reads)]
    history = History("mine", np.array(known, np.uint64), offsets[0], arrays[0], offsets[1], arrays[1], 1000, "accesses")
    with tempfile.TemporaryDirectory() as folder:
        history.save(Path(folder) / "mine.npz")
        assert History.load(Path(folder) / "mine.npz") == history
