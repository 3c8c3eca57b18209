"""Bitmaps against Python sets and ``np.unpackbits``: all lengths to 200, and around every multiple of 64."""

from collections.abc import Callable
from functools import partial
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from npt import InvalidArgument, dirty
from npt._types import U8Array
from tests.dirty.bitmaps import LENGTHS, SHARES, dirt, make, pages_of

ALGEBRA: dict[str, tuple[Callable[..., U8Array], Callable[[set[int], set[int]], set[int]]]] = {
    "union": (dirty.union, set.union),
    "intersection": (dirty.intersection, set.intersection),
    "difference": (dirty.difference, set.difference),
    "symmetric difference": (dirty.symmetric_difference, set.symmetric_difference),
}
lengths = pytest.mark.parametrize("n", LENGTHS)
algebra = pytest.mark.parametrize("name", ALGEBRA)


@lengths
def test_count__of_every_length(n: int) -> None:
    """As many as the set has, whatever lies past the end."""
    for share in SHARES:
        bitmap, pages = make(n, share)
        assert dirty.count(bitmap) == dirty.count(dirt(bitmap, n), n_pages=n) == len(pages)


@lengths
def test_pages__there_and_back(n: int) -> None:
    """Numbers come ascending, as ``uint64``, and make the same bitmap again."""
    for share in SHARES:
        bitmap, pages = make(n, share)
        numbers = dirty.to_pages(dirt(bitmap, n), n_pages=n)
        assert (str(numbers.dtype), numbers.tolist()) == ("uint64", sorted(pages))
        assert dirty.from_pages(numbers[::-1], n).tolist() == bitmap.tolist()


@lengths
def test_search__finds_what_a_set_finds(n: int) -> None:
    """The next page that is set, or clear, from every page on; None past the last, and never a page past the end."""
    for share in SHARES:
        bitmap, pages = make(n, share)
        spoilt, clear = dirt(bitmap, n), set(range(n)) - pages
        for start in (0, 1, n // 3, n // 2, max(n - 2, 0), n - 1, n, n + 1, n + 64):
            assert dirty.next_set(spoilt, start, n_pages=n) == min((p for p in pages if p >= start), default=None)
            assert dirty.next_clear(bitmap, start, n_pages=n) == min((p for p in clear if p >= start), default=None)


@lengths
def test_section__at_any_page(n: int) -> None:
    """Pages keep their order, and nothing of what surrounds them comes along."""
    bitmap, pages = make(n, 0.5)
    for first in {min(page, n) for page in (0, 1, 7, 8, 9, 63, 64, 65, n // 2, n - 1, n)}:
        for size in {min(size, n - first) for size in (0, 1, 7, 8, 64, 65, n)}:
            cut = dirty.section(bitmap, first, size)
            assert (cut.size, pages_of(cut)) == (-(-size // 8), {p - first for p in pages if first <= p < first + size})


@lengths
def test_full__has_no_page_past_the_end(n: int) -> None:
    """All pages are set and nothing else; in an empty one none is."""
    assert pages_of(dirty.full(n)) == set(range(n))
    assert dirty.empty(n).tolist() == [0] * (-(-n // 8))


@algebra
@lengths
def test_algebra__of_every_length(n: int, name: str) -> None:
    """As of sets; the operands stay as they are, and bits past the end stay zero."""
    ours, theirs = ALGEBRA[name]
    for share, other in zip(SHARES, (0.5, 0.5, 0.02, 0.5, 1.0), strict=True):
        (a, in_a), (b, in_b) = make(n, share), make(n, other, seed=1)
        before = a.tolist(), b.tolist()
        assert pages_of(ours(a, b)) == theirs(in_a, in_b)
        assert (a.tolist(), b.tolist()) == before


@algebra
@pytest.mark.parametrize("place", ["a", "b", "apart"])
def test_algebra__in_place(name: str, place: str) -> None:
    """The result may take the place of either operand, or one that is given; that array is returned."""
    ours, theirs = ALGEBRA[name]
    for n in (1, 8, 64, 65, 200, 4097):
        (a, in_a), (b, in_b) = make(n, 0.5), make(n, 0.5, seed=1)
        out = {"a": a, "b": b, "apart": np.full(a.size, 0xFF, np.uint8)}[place]
        assert ours(a, b, out=out) is out
        assert pages_of(out) == theirs(in_a, in_b)


@algebra
def test_algebra__strided_and_read_only_operands(name: str) -> None:
    """What is only read may be any view."""
    ours, theirs = ALGEBRA[name]
    (a, in_a), (b, in_b) = make(500, 0.5), make(500, 0.5, seed=1)
    spread = np.repeat(a, 3)[::3]
    b.flags.writeable = False
    assert pages_of(ours(spread, b)) == theirs(in_a, in_b)
    assert pages_of(ours(b, spread)) == theirs(in_b, in_a)


@given(st.sets(st.integers(0, 700)), st.integers(0, 700))
def test_laws__of_parts(pages: set[int], at: int) -> None:
    """Two sections that meet have the pages of the whole; a set bit that is found is the least of the pages from there."""
    bitmap = dirty.from_pages(sorted(pages), 701)
    low, high = dirty.section(bitmap, 0, at), dirty.section(bitmap, at, 701 - at)
    assert pages_of(low) | {at + p for p in pages_of(high)} == pages
    assert dirty.next_set(bitmap, at) == min((p for p in pages if p >= at), default=None)


def test_views__that_start_anywhere() -> None:
    """A bitmap need not start at a multiple of eight bytes."""
    bitmap, pages = make(1000, 0.5)
    room = np.zeros(bitmap.size + 9, np.uint8)
    for at in range(9):
        here = room[at : at + bitmap.size]
        here[:] = bitmap
        assert dirty.count(here) == len(pages)
        assert dirty.to_pages(here).tolist() == sorted(pages)
        assert pages_of(dirty.difference(here, dirty.full(1000))) == set()


def test_empty__bitmaps_are_fine() -> None:
    """No page is none, everywhere."""
    none = np.empty(0, np.uint8)
    assert (dirty.count(none), dirty.next_set(none), dirty.next_clear(none)) == (0, None, None)
    assert (dirty.to_pages(none).size, dirty.from_pages([], 0).size, dirty.section(none, 0, 0).size) == (0, 0, 0)
    assert dirty.union(none, none).size == dirty.difference(none, none).size == 0
    assert dirty.count(np.full(2, 0xFF, np.uint8), n_pages=0) == 0


# -- refused ------------------------------------------------------------------------------------------------------------

GOOD = np.zeros(8, np.uint8)
BAD: list[tuple[Any, type[Exception]]] = [
    (None, TypeError), ([1, 2], TypeError), (b"\0\0", TypeError), (np.zeros(8, bool), TypeError), (np.zeros(8), TypeError),
    (np.zeros(8, np.int8), TypeError), (np.zeros(1, np.uint64), TypeError), (np.zeros(1, ">u8"), TypeError),
    (np.zeros((2, 4), np.uint8), InvalidArgument), (np.array(1, np.uint8), InvalidArgument),
]  # fmt: skip


def _swapped(ours: Callable[..., U8Array], bad: Any) -> U8Array:
    return ours(bad, GOOD)


def _into(ours: Callable[..., U8Array], bad: Any) -> U8Array:
    return ours(GOOD, GOOD, out=bad)


READERS: dict[str, Callable[[Any], Any]] = {
    "count": dirty.count,
    "next_set": dirty.next_set,
    "next_clear": dirty.next_clear,
    "to_pages": dirty.to_pages,
    "section": lambda bad: dirty.section(bad, 0, 1),
    "runs": dirty.runs,
    "coarsen": lambda bad: dirty.coarsen(bad, 1 << 16),
    "refine": lambda bad: dirty.refine(bad, 1 << 16, 1),
    "inflation": lambda bad: dirty.inflation(bad, 1 << 16),
    **{f"{name}, a": partial(_swapped, ours) for name, (ours, _) in ALGEBRA.items()},
    **{f"{name}, b": partial(ours, GOOD) for name, (ours, _) in ALGEBRA.items()},
    **{f"{name}, out": partial(_into, ours) for name, (ours, _) in ALGEBRA.items()},
}


@pytest.mark.parametrize("bad", range(len(BAD)), ids=lambda i: repr(BAD[i][0])[:30])
@pytest.mark.parametrize("reader", READERS)
def test_refused__what_is_no_bitmap(reader: str, bad: int) -> None:
    """Another type, dtype or byte order is a TypeError, another shape an InvalidArgument."""
    value, error = BAD[bad]
    if value is None and reader.endswith("out"):
        return
    with pytest.raises(error):
        READERS[reader](value)


COUNTED: dict[str, Callable[[Any], Any]] = {
    "count": lambda n: dirty.count(GOOD, n_pages=n),
    "next_set": lambda n: dirty.next_set(GOOD, n_pages=n),
    "next_clear": lambda n: dirty.next_clear(GOOD, n_pages=n),
    "to_pages": lambda n: dirty.to_pages(GOOD, n_pages=n),
    "section": lambda n: dirty.section(GOOD, 0, n),
    "section, first": lambda n: dirty.section(GOOD, n, 0),
    "runs": lambda n: dirty.runs(GOOD, n_pages=n),
    "coarsen": lambda n: dirty.coarsen(GOOD, 1 << 16, n_pages=n),
    "refine": lambda n: dirty.refine(GOOD, 4096, n),
    "inflation": lambda n: dirty.inflation(GOOD, 1 << 16, n_pages=n),
}


@pytest.mark.parametrize("number", [-1, 65, 2**52, 2**64, 2**70])
@pytest.mark.parametrize("name", COUNTED)
def test_refused__pages_that_are_not_there(name: str, number: int) -> None:
    """More pages than the bitmap has, or a negative number, is an InvalidArgument."""
    with pytest.raises(InvalidArgument):
        COUNTED[name](number)


@pytest.mark.parametrize("number", [True, 1.0, "1", np.float64(1), np.bool_(True)])
@pytest.mark.parametrize("name", COUNTED)
def test_refused__what_is_no_integer(name: str, number: Any) -> None:
    """A float or a bool is no number of pages."""
    with pytest.raises(TypeError):
        COUNTED[name](number)


@pytest.mark.parametrize("number", [2**52, 2**64, -1])
@pytest.mark.parametrize(
    "make", [dirty.empty, dirty.full, lambda n: dirty.from_pages([], n)], ids=["empty", "full", "from_pages"]
)
def test_refused__more_pages_than_there_are_addresses(make: Callable[[int], U8Array], number: int) -> None:
    """Nothing is allocated for them."""
    with pytest.raises(InvalidArgument):
        make(number)


@pytest.mark.parametrize("pages", [[8], [-1], [0, 2**64], np.array([[1]]), np.array([2**63], np.uint64)])
def test_from_pages__numbers_outside(pages: Any) -> None:
    """A number that the bitmap has no bit for is refused."""
    with pytest.raises(InvalidArgument):
        dirty.from_pages(pages, 8)


@pytest.mark.parametrize("pages", [[1.5], [True], "12", None, np.array([1.0])])
def test_from_pages__what_are_no_numbers(pages: Any) -> None:
    """Floats, bools and strings are no page numbers."""
    with pytest.raises(TypeError):
        dirty.from_pages(pages, 8)


@algebra
def test_out__read_only_strided_short_or_overlapping(name: str) -> None:
    """Refused, and nothing is written."""
    ours, _ = ALGEBRA[name]
    memory = np.arange(64, dtype=np.uint8)
    a, b, fixed = memory[:16], memory[16:32], np.zeros(16, np.uint8)
    fixed.flags.writeable = False
    for out in (fixed, np.zeros(32, np.uint8)[::2], np.zeros(15, np.uint8), memory[8:24], memory[15:31], memory[15::-1]):
        before = out.tolist(), memory.tolist()
        with pytest.raises(InvalidArgument):
            ours(a, b, out=out)
        assert (out.tolist(), memory.tolist()) == before


def test_algebra__unequal_lengths() -> None:
    """Both must be of one length: which pages the longer one has more, nobody said."""
    for ours, _ in ALGEBRA.values():
        with pytest.raises(InvalidArgument, match="one length"):
            ours(np.zeros(8, np.uint8), np.zeros(9, np.uint8))


def test_search__from_a_negative_page() -> None:
    """Pages are counted from 0."""
    with pytest.raises(InvalidArgument, match="negative"):
        dirty.next_set(GOOD, -1)
    with pytest.raises(TypeError):
        dirty.next_clear(GOOD, 0.5)  # type: ignore[arg-type]


@algebra
def test_algebra__types_before_values(name: str) -> None:
    """A wrong type is told before a wrong length."""
    ours, _ = ALGEBRA[name]
    with pytest.raises(TypeError, match="out"):
        ours(np.zeros(8, np.uint8), np.zeros(9, np.uint8), out="x")


@algebra
def test_algebra__strides_tell_arrays_apart(name: str) -> None:
    """A view that begins where another does is not the same bytes."""
    ours, _ = ALGEBRA[name]
    memory = np.arange(32, dtype=np.uint8)
    with pytest.raises(InvalidArgument, match="overlap"):
        ours(memory[::2], np.zeros(16, np.uint8), out=memory[:16])


def test_refused__masked_arrays() -> None:
    """What is masked is neither set nor clear."""
    with pytest.raises(TypeError):
        dirty.count(np.ma.array(np.zeros(2, np.uint8), mask=[False, True]))


ORDERED: list[Callable[[], Any]] = [
    lambda: dirty.runs(None, base=1),  # type: ignore[arg-type]
    lambda: dirty.runs(GOOD, base=1, out="x"),  # type: ignore[arg-type]
    lambda: dirty.runs(GOOD, base=1, n_pages="x"),  # type: ignore[arg-type]
    lambda: dirty.coarsen(None, 3),  # type: ignore[arg-type]
    lambda: dirty.coarsen(GOOD, 3, n_pages="x"),  # type: ignore[arg-type]
    lambda: dirty.coarsen(GOOD, "x", base=1),  # type: ignore[arg-type]
    lambda: dirty.n_granules(3, "x"),  # type: ignore[arg-type]
    lambda: dirty.refine(None, 3, 1),  # type: ignore[arg-type]
    lambda: dirty.inflation(np.zeros((2, 2), np.uint8), "x"),  # type: ignore[arg-type]
    lambda: dirty.from_runs(None, -1),  # type: ignore[arg-type]
    lambda: dirty.partition(None, 0),  # type: ignore[arg-type]
    lambda: dirty.section(GOOD, -1, "x"),  # type: ignore[arg-type]
    lambda: dirty.next_set(None, -1),  # type: ignore[arg-type]
    lambda: dirty.next_set(GOOD, -1, n_pages="x"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize("call", range(len(ORDERED)))
def test_refused__types_before_values(call: int) -> None:
    """A wrong type is told whatever the values are."""
    with pytest.raises(TypeError):
        ORDERED[call]()
