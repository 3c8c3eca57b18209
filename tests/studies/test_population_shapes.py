"""Shapes of guests, against sets of pages in plain Python."""

import pytest

from npt.studies.shapes import SHAPES, table_bytes

PAGE = 0x1000
CASES = [(1, 1), (7, 3), (512, 512), (513, 512), (1500, 100), (5000, 600), (4, 9)]
EACH = [
    pytest.param(name, n_pages, min(piece, n_pages), id=f"{name}-{n_pages}-{piece}")
    for name in SHAPES
    for n_pages, piece in CASES
]


@pytest.mark.parametrize(("name", "n_pages", "piece"), EACH)
def test_shape__covers_the_memory(name: str, n_pages: int, piece: int) -> None:
    """Disjoint mappings by address, inside the space; together they are all of the memory, in order."""
    shape = SHAPES[name](n_pages * PAGE, piece * PAGE, 3)
    pages: list[int] = []
    end = offset = 0
    for gpa, length, start in shape.mappings():
        assert gpa >= end
        assert gpa % PAGE == length % PAGE == 0 < length
        assert start == offset
        end, offset = gpa + length, offset + length
        pages += range(gpa, end, PAGE)
    assert end <= shape.size
    assert offset == n_pages * PAGE
    assert shape.pages().tolist() == pages


@pytest.mark.parametrize(("name", "n_pages", "piece"), EACH)
def test_table_bytes__of_sets(name: str, n_pages: int, piece: int) -> None:
    """One table of 4 KiB for each stretch of 2 MiB, 1 GiB, 512 GiB with a page in it, and one at the top."""
    shape = SHAPES[name](n_pages * PAGE, piece * PAGE, 4)
    tables = {(level, int(gpa) >> 12 + 9 * level) for gpa in shape.pages() for level in (1, 2, 3, 4)}
    assert table_bytes(shape) == len(tables) * PAGE


def test_one_and_many__have_no_holes() -> None:
    """What is mapped is one stretch."""
    for name, n in (("one", 1), ("many", 4)):
        shape = SHAPES[name](10 * PAGE, 3 * PAGE, 0)
        assert shape.pages().tolist() == [page * PAGE for page in range(10)]
        assert (shape.size, shape.gpas.size) == (10 * PAGE, n)


def test_scattered__has_holes_of_its_seed() -> None:
    """At random places of four times their length; another seed has others."""
    shape, same, other = (SHAPES["scattered"](100 * PAGE, 5 * PAGE, seed) for seed in (1, 1, 2))
    assert shape.gpas.tolist() == same.gpas.tolist() != other.gpas.tolist()
    assert [gpa // (20 * PAGE) for gpa, _, _ in shape.mappings()] == list(range(20))
    assert {gpa % (20 * PAGE) // PAGE for gpa, _, _ in shape.mappings()} > {0}
    assert shape.size == 400 * PAGE
