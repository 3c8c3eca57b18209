"""Runs against what numpy says of the same bits; parts of them; and what is refused."""

from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from npt import PAGE_SIZE, AddressOverflow, InvalidArgument, dirty, kernels
from npt.dirty import RUN
from tests.dirty.bitmaps import LENGTHS, SHARES, dirt, make, pages_of

BASE = 0x7000


def stretches(pages: set[int]) -> list[tuple[int, int]]:
    """Runs of pages by plain Python, as first page and number."""
    found: list[tuple[int, int]] = []
    for page in sorted(pages):
        if found and sum(found[-1]) == page:
            found[-1] = (found[-1][0], found[-1][1] + 1)
        else:
            found.append((page, 1))
    return found


def plain(runs: np.ndarray[Any, Any], base: int = 0) -> list[tuple[int, int]]:
    """Runs as first page and number."""
    return [((gpa - base) // PAGE_SIZE, n) for gpa, n in runs.tolist()]


@pytest.mark.parametrize("n", LENGTHS)
def test_runs__of_every_length(n: int) -> None:
    """Maximal, by address, from the base on; bits past the end are none."""
    for share in SHARES:
        bitmap, pages = make(n, share)
        runs = dirty.runs(dirt(bitmap, n), base=BASE, n_pages=n)
        assert plain(runs, BASE) == stretches(pages)
        assert dirty.from_runs(runs, n, base=BASE).tolist() == bitmap.tolist()


def test_runs__names_and_types() -> None:
    """Two fields of 64-bit words: an address in bytes and a number of pages."""
    runs = dirty.runs(np.array([0b110], np.uint8), base=0x10000)
    assert runs.dtype == np.dtype([("gpa", "u8"), ("n_pages", "u8")])
    assert (runs["gpa"].tolist(), runs["n_pages"].tolist()) == ([0x11000], [2])


@given(st.lists(st.tuples(st.integers(0, 900), st.integers(1, 700)), max_size=8))
def test_runs__long_ones(stretch: list[tuple[int, int]]) -> None:
    """Runs over many words, with blocks that are all set or all clear, start and end anywhere."""
    pages: set[int] = set()
    at = 0
    for gap, length in stretch:
        pages |= set(range(at + gap, at + gap + length))
        at += gap + length
    bitmap = dirty.from_pages(sorted(pages), at + 5)
    assert plain(dirty.runs(bitmap)) == stretches(pages)


@pytest.mark.parametrize("end", [4095, 4096, 4097, 8191, 8192, 8193, 12288])
@pytest.mark.parametrize("first", [0, 1, 4032, 4095, 4096, 4097])
def test_runs__over_whole_blocks(first: int, end: int) -> None:
    """A run that starts or ends where a block of 4096 pages does, clear blocks behind it, and one more run far behind."""
    pages = set(range(first, end)) | {24_000}
    bitmap = dirty.from_pages(sorted(pages), 24_576)
    assert plain(dirty.runs(bitmap)) == stretches(pages)


def test_runs__more_than_the_first_stream_holds() -> None:
    """Many runs are counted first, then found; the stream goes on where it stopped."""
    bitmap, pages = make(100_003, 0.5)
    assert plain(dirty.runs(bitmap, n_pages=100_003)) == stretches(pages)
    dense = np.full(6000, 0x55, np.uint8)
    assert dirty.runs(dense).size == 24_000


@pytest.mark.parametrize("n", [1, 63, 64, 65, 128, 200, 4096, 4100, 4159, 4160])
def test_stream__stops_and_goes_on_anywhere(n: int) -> None:
    """With room for any number of words, what was appended and what is left are all the edges, none twice."""
    for share in (0.02, 0.5, 1.0):
        bitmap, pages = make(n, share)
        words = np.array(stretches(pages), np.uint64).reshape(-1, 2)
        words[:, 0] *= np.uint64(PAGE_SIZE)
        wanted = words.ravel().tolist()
        for room in range(0, len(wanted) + 1, max(len(wanted) // 50, 1)):
            state = np.zeros(kernels.runs.STATE_WORDS, np.uint64)
            few = np.zeros(room, np.uint64)
            if kernels.runs.append(bitmap, n, 0, few, state):
                assert room == len(wanted)
                continue
            k = int(state[kernels.runs.EDGES])
            assert k + kernels.runs.count_edges(bitmap, n, int(state[kernels.runs.WORD])) == len(wanted)
            whole = np.zeros(len(wanted), np.uint64)
            whole[:k] = few[:k]
            assert kernels.runs.append(bitmap, n, 0, whole, state)
            assert whole.tolist() == wanted


def test_out__gets_the_runs() -> None:
    """The result is the part of it that was filled."""
    bitmap, pages = make(1000, 0.5)
    out = np.zeros(1000, RUN)
    runs = dirty.runs(bitmap, out=out)
    assert np.shares_memory(runs, out)
    assert plain(runs) == stretches(pages)
    exact = np.zeros(runs.size, RUN)
    assert dirty.runs(bitmap, out=exact).tolist() == runs.tolist()
    with pytest.raises(InvalidArgument, match=f"there are {runs.size}"):
        dirty.runs(bitmap, out=np.zeros(runs.size - 1, RUN))


def test_out__of_another_kind() -> None:
    """Another type, shape or layout is refused, and so is the bitmap's own memory."""
    bitmap = np.zeros(64, np.uint8)
    fixed = np.zeros(4, RUN)
    fixed.flags.writeable = False
    cases: list[tuple[Any, type[Exception]]] = [
        (np.zeros(8, np.uint64), TypeError), ([], TypeError), (np.zeros(4, [("gpa", ">u8"), ("n_pages", ">u8")]), TypeError),
        (np.zeros((2, 2), RUN), InvalidArgument), (np.zeros(8, RUN)[::2], InvalidArgument), (fixed, InvalidArgument),
        (bitmap.view(RUN), InvalidArgument),
    ]  # fmt: skip
    for out, error in cases:
        with pytest.raises(error):
            dirty.runs(bitmap, out=out)


@pytest.mark.parametrize(
    ("base", "error"), [(1, InvalidArgument), (-4096, InvalidArgument), (2**64, InvalidArgument), (0.0, TypeError)]
)
def test_base__must_be_an_address_of_a_page(base: Any, error: type[Exception]) -> None:
    """Unaligned, negative and beyond 64 bits are refused."""
    with pytest.raises(error):
        dirty.runs(np.zeros(1, np.uint8), base=base)


def test_base__near_the_last_address() -> None:
    """Only a page that is set must have an address."""
    base = 2**64 - 3 * PAGE_SIZE
    assert dirty.runs(np.array([0b11], np.uint8), base=base).tolist() == [(base, 2)]
    for bits in (0b100, 0b1000, 0b1111_1111):
        with pytest.raises(AddressOverflow):
            dirty.runs(np.array([bits], np.uint8), base=base)


# -- parts --------------------------------------------------------------------------------------------------------------


@given(st.sets(st.integers(0, 600)), st.integers(1, 700))
def test_partition__parts_are_full(pages: set[int], n: int) -> None:
    """Together the parts are the pages, in order; each is full but the last, and none is empty."""
    runs = dirty.runs(dirty.from_pages(sorted(pages), 601), base=BASE)
    parts = dirty.partition(runs, n)
    sizes = [int(part["n_pages"].sum()) for part in parts]
    assert all(size == n for size in sizes[:-1])
    assert all(0 < size <= n for size in sizes)
    assert [p for part in parts for first, k in plain(part, BASE) for p in range(first, first + k)] == sorted(pages)
    assert all(part.dtype == RUN and (part["n_pages"] > 0).all() for part in parts)


def test_partition__cuts_only_where_a_part_is_full() -> None:
    """A run that crosses an end becomes two; others stay whole."""
    runs = dirty.runs(np.array([0b0111_0111], np.uint8))
    assert [plain(part) for part in dirty.partition(runs, 4)] == [[(0, 3), (4, 1)], [(5, 2)]]
    assert [plain(part) for part in dirty.partition(runs, 6)] == [[(0, 3), (4, 3)]]
    assert dirty.partition(runs[:0], 1) == []


def test_partition__of_one_huge_run() -> None:
    """The number of parts counts, not that of pages."""
    run = np.array([(0, 1 << 50)], RUN)
    parts = dirty.partition(run, 1 << 48)
    assert [part.tolist() for part in parts] == [[(k << 60, 1 << 48)] for k in range(4)]


BAD_RUNS: list[list[tuple[int, int]]] = [
    [(0, 0)], [(1, 1)], [(4096, 1), (0, 1)], [(0, 2), (4096, 1)], [(0, 1), (0, 1)], [(2**64 - 4096, 1)], [(0, 2**52)],
    [(0, 2**64 - 1)],
]  # fmt: skip


@pytest.mark.parametrize("bad", BAD_RUNS, ids=repr)
def test_refused__what_are_no_runs(bad: list[tuple[int, int]]) -> None:
    """Empty, unaligned, out of order, overlapping, or past the last address."""
    with pytest.raises(InvalidArgument):
        dirty.partition(np.array(bad, RUN), 1)
    with pytest.raises(InvalidArgument):
        dirty.from_runs(np.array(bad, RUN), 8)


@pytest.mark.parametrize(
    "bad", [None, [(0, 1)], np.zeros(2, np.uint64), np.zeros(1, [("n_pages", "u8"), ("gpa", "u8")])], ids=repr
)
def test_refused__runs_of_another_type(bad: Any) -> None:
    """Only what ``runs`` gives."""
    with pytest.raises(TypeError):
        dirty.partition(bad, 1)
    with pytest.raises(TypeError):
        dirty.from_runs(bad, 8)


@pytest.mark.parametrize(
    ("n", "error"), [(0, InvalidArgument), (-1, InvalidArgument), (2**64, InvalidArgument), (1.0, TypeError), (True, TypeError)]
)
def test_partition__size_of_a_part(n: Any, error: type[Exception]) -> None:
    """At least one page."""
    with pytest.raises(error):
        dirty.partition(np.zeros(0, RUN), n)


def test_from_runs__outside() -> None:
    """Runs before the base or past the end are refused."""
    runs = np.array([(0x8000, 2)], RUN)
    assert pages_of(dirty.from_runs(runs, 3, base=0x7000)) == {1, 2}
    for n, base in ((3, 0x9000), (2, 0x7000), (1, 0x8000)):
        with pytest.raises(InvalidArgument, match="outside"):
            dirty.from_runs(runs, n, base=base)
