"""A state that is wrong by one page, one bit or one entry looks different; and no picture is slow, however large the guest."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.patches import Rectangle

from npt import PAGE_SIZE, Prot, Reservoir, VmSpace
from npt.dirty.bitmap import from_pages
from npt.view import bits, blocks, heat, hilbert, layout, runs, tables, walk
from tests.view.conftest import HIGH, Guest

GIB = 1 << 30
Seen = list[object]


def _leaves(guest: Guest) -> "np.ndarray[tuple[int], np.dtype[np.uint64]]":
    """The second leaf table of the high mapping, to be written to."""
    step = guest.space.explain(HIGH + 32 * PAGE_SIZE).steps[-2]
    table = guest.space.table.read_table(guest.space.format.pfn_of(step.entry))
    assert table[0] == guest.space.pte(HIGH + 32 * PAGE_SIZE)
    return table


def _seen(ax: Axes) -> Seen:
    """All numbers and words of a picture."""
    images = [np.asarray(one.get_array()).tolist() for one in ax.images]
    boxes = [(one.get_bbox().bounds, one.get_facecolor()) for one in ax.patches if isinstance(one, Rectangle)]
    shades = [np.asarray(one.get_array()).tolist() for one in ax.collections if isinstance(one, PatchCollection)]
    return [images, boxes, shades, [text.get_text() for text in ax.texts], ax.get_title()]


def _swap(guest: Guest) -> None:
    """Two pages change places: a clean one and a dirty one."""
    table = _leaves(guest)
    table[0], table[5] = int(table[5]), int(table[0])


def _lose(guest: Guest) -> None:
    """The D bit of the first page of a table."""
    table = _leaves(guest)
    table[0] = int(table[0]) & ~int(guest.space.format.masks.dirty)


def _shift(guest: Guest) -> None:
    """The dirty page behind a table's edge is one further."""
    table = _leaves(guest)
    table[1], table[0] = int(table[0]), int(table[1])


@pytest.mark.parametrize("plant", [_swap, _lose, _shift])
def test_states__that_are_wrong_are_seen(guest: Guest, plant: Callable[[Guest], None]) -> None:
    """On the curve, in characters, and in the entry; put right it looks as before."""

    def pictures() -> list[Seen]:
        gpa = HIGH + 32 * PAGE_SIZE
        entry = bits(guest.space.pte(gpa) or 0, format=guest.space.format)
        return [
            _seen(hilbert(guest.space)), list(blocks.layout(guest.space)), _seen(entry), _seen(walk(guest.space.explain(gpa)))
        ]  # fmt: skip

    guest.space.populate(HIGH + 32 * PAGE_SIZE, 8 * PAGE_SIZE)
    kept = _leaves(guest).copy()
    before = pictures()
    assert pictures() == before
    plant(guest)
    assert [one != other for one, other in zip(pictures(), before, strict=True)] == [True] * 4
    _leaves(guest)[:] = kept
    assert pictures() == before


def test_tables__that_lost_an_entry_are_seen(guest: Guest) -> None:
    """A leaf that is not there any more makes its table less full, in the picture and in characters."""
    guest.space.populate(HIGH + 32 * PAGE_SIZE, 32 * PAGE_SIZE)
    before, line = _seen(tables(guest.space)), blocks.tables(guest.space, width=40)
    table = _leaves(guest)
    kept, table[1] = int(table[1]), 0
    assert _seen(tables(guest.space)) != before
    table[1] = kept
    assert _seen(tables(guest.space)) == before
    guest.space.unmap(0, 5 * PAGE_SIZE)
    assert blocks.tables(guest.space, width=40) != line


def test_logs__that_are_wrong_are_seen() -> None:
    """A bit lost, or one further, in heat and in runs."""
    right = [from_pages(pages, 128) for pages in ([3, 63, 64], [7], [127])]
    for number, pages in ((0, [3, 63]), (0, [3, 63, 65]), (1, [8]), (2, [])):
        wrong = [*right[:number], from_pages(pages, 128), *right[number + 1 :]]
        assert _seen(heat(wrong)) != _seen(heat(right))
    assert blocks.heat([*right[:2], from_pages([], 128)]) != blocks.heat(right)  # characters stand for many pages
    assert _seen(runs(right[0])) != _seen(runs(from_pages([3, 63, 65], 128)))


@pytest.mark.slow
@pytest.mark.parametrize("picture", [hilbert, layout, tables])
def test_pictures__of_a_large_guest_stay_small(picture: Callable[..., Axes]) -> None:
    """64 GiB without bytes: a bounded number of cells and boxes."""
    with (
        Reservoir(64 * GIB, backed=False) as reservoir,
        reservoir.allocate(64 * GIB) as ram,
        VmSpace(1 << 40, reservoir=reservoir) as space,
    ):
        space.map(ram, 0, ram.length, Prot.RW)
        space.populate(0, ram.length)
        ax = picture(space)
        numbers = sum(np.asarray(one.get_array()).size for one in (*ax.images, *ax.collections))
        assert len(ax.patches) + numbers <= 1 << 20
        assert max(map(len, blocks.layout(space))) <= 80


@pytest.mark.slow
def test_readme__its_picture_can_be_made_again(tmp_path: Path) -> None:
    """By the script beside it; it takes nothing from this machine."""
    script = Path(__file__).parents[2] / "notebooks" / "pictures" / "overview.py"
    spec = importlib.util.spec_from_file_location("overview", script)
    assert spec is not None
    assert spec.loader is not None
    overview = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(overview)
    overview.main(tmp_path / "one.png")
    overview.main(tmp_path / "two.png")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    assert script.with_suffix(".png").stat().st_size > 10_000
