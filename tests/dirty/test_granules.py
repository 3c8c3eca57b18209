"""Coarser granules against Python sets."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from npt import PAGE_SIZE, InvalidArgument, dirty
from tests.dirty.bitmaps import LENGTHS, SHARES, dirt, make, pages_of

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
GRANULES = (4 * KIB, 8 * KIB, 64 * KIB, 256 * KIB, 512 * KIB, 2 * MIB, GIB)
BASES = (0, 5 * PAGE_SIZE, 2 * MIB - PAGE_SIZE, 3 * GIB + 100 * PAGE_SIZE)


def granules(pages: set[int], granule: int, base: int) -> set[int]:
    """Granules by number, counted from the one that the base is in."""
    return {(base + page * PAGE_SIZE) // granule - base // granule for page in pages}


@pytest.mark.parametrize("n", LENGTHS)
def test_coarsen__and_refine(n: int) -> None:
    """A granule is set if a page in it is; refined, all of its pages inside the range are."""
    some_granules, some_bases = (GRANULES, BASES) if n < 70 else (GRANULES[2:6], BASES[n % 2 :: 2])
    assert min(len(some_granules), len(some_bases)) > 1
    for share in SHARES:
        bitmap, pages = make(n, share)
        for granule in some_granules:
            for base in some_bases:
                coarse = dirty.coarsen(dirt(bitmap, n), granule, base=base, n_pages=n)
                wanted = granules(pages, granule, base)
                assert (coarse.size, pages_of(coarse)) == (-(-dirty.n_granules(granule, n, base=base) // 8), wanted)
                sent = {page for page in range(n) if granules({page}, granule, base) <= wanted}
                assert pages_of(dirty.refine(coarse, granule, n, base=base)) == sent
                inflation = dirty.inflation(dirt(bitmap, n), granule, base=base, n_pages=n)
                assert inflation == (len(sent) / len(pages) if pages else 1.0)


def test_n_granules__counts_those_that_are_touched() -> None:
    """Two pages on both sides of a border touch two."""
    assert dirty.n_granules(2 * MIB, 2, base=2 * MIB - PAGE_SIZE) == 2
    assert dirty.n_granules(2 * MIB, 512) == 1
    assert dirty.n_granules(2 * MIB, 513) == 2
    assert dirty.n_granules(GIB, 0, base=PAGE_SIZE) == 0


def test_granule__of_one_page_changes_nothing() -> None:
    """Coarsened to pages, a bitmap is itself."""
    bitmap, _ = make(1000, 0.3)
    assert dirty.coarsen(bitmap, PAGE_SIZE, base=BASES[1]).tolist() == bitmap.tolist()
    assert dirty.inflation(bitmap, PAGE_SIZE) == 1.0


def test_granule__larger_than_the_range() -> None:
    """All is one granule, or two where the range crosses a border."""
    bitmap = dirty.from_pages([3], 1000)
    assert dirty.coarsen(bitmap, 1 << 47).tolist() == [1]
    assert pages_of(dirty.refine(np.array([1], np.uint8), 1 << 47, 1000)) == set(range(1000))


CALLS: dict[str, Callable[[Any], Any]] = {
    "coarsen": lambda granule: dirty.coarsen(np.zeros(1, np.uint8), granule),
    "refine": lambda granule: dirty.refine(np.zeros(1, np.uint8), granule, 8),
    "inflation": lambda granule: dirty.inflation(np.zeros(1, np.uint8), granule),
    "n_granules": lambda granule: dirty.n_granules(granule, 8),
}


@pytest.mark.parametrize("granule", [0, -1, -4096, 1, 2048, 4097, 3 * 4096, 1 << 48, 2**63, 2**64, 2**100])
@pytest.mark.parametrize("name", CALLS)
def test_refused__granules_that_are_none(name: str, granule: int) -> None:
    """Negative, huge, smaller than a page, or no power of two."""
    with pytest.raises(InvalidArgument, match="granule"):
        CALLS[name](granule)


@pytest.mark.parametrize("granule", [65536.0, "64KiB", None, True])
@pytest.mark.parametrize("name", CALLS)
def test_refused__granules_that_are_no_numbers(name: str, granule: Any) -> None:
    """Bytes, as an integer."""
    with pytest.raises(TypeError):
        CALLS[name](granule)


@pytest.mark.parametrize(
    ("base", "error"), [(1, InvalidArgument), (-4096, InvalidArgument), (2**64, InvalidArgument), (0.0, TypeError)]
)
@pytest.mark.parametrize("name", ["coarsen", "refine", "inflation", "n_granules"])
def test_refused__a_base_that_is_none(name: str, base: Any, error: type[Exception]) -> None:
    """An address of a page."""
    arguments = {"n_granules": (1 << 16, 8), "refine": (np.zeros(1, np.uint8), 1 << 16, 8)}.get(
        name, (np.zeros(1, np.uint8), 1 << 16)
    )
    with pytest.raises(error):
        getattr(dirty, name)(*arguments, base=base)
