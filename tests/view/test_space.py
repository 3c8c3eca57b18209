"""Pictures of a space, by the numbers behind them."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.colors import to_rgb, to_rgba
from matplotlib.patches import Rectangle
from matplotlib.transforms import Bbox

from npt import EPT, NPT, PAGE_SIZE, BeyondSpace, InvalidArgument, Prot, Reservoir, StaleHandle, Vcpu, VmSpace
from npt.view import bits, hilbert, layout, tables, walk
from npt.view.bits import fields
from npt.view.hilbert import curve
from npt.view.pages import ACCESSED, DEVICE, DIRTY, MAPPED, RESIDENT, stretches, tables_shared, tables_used
from npt.view.style import COLOURS, ink
from tests.view.conftest import HIGH, N_HIGH, Guest


def cells(ax: Axes) -> dict[int, int]:
    """What the picture of a curve shows, by place on it."""
    grid = ax.images[0].get_array()
    assert grid is not None
    side = grid.shape[0]
    x, y = curve(side.bit_length() - 1)
    return dict(enumerate(np.asarray(grid)[y, x].tolist()))


# -- what is known of pages -------------------------------------------------------------------------------------------


def test_stretches__are_what_is_mapped(guest: Guest) -> None:
    """By address, each page with its state; a range cuts them."""
    low, high = stretches(guest.space)
    assert (low.gpa, low.states.tolist()) == (0, [MAPPED] * 5)
    assert (high.gpa, high.states.size) == (HIGH, N_HIGH)
    assert np.flatnonzero(high.states == DIRTY).tolist() == [3, 31, 32, 63]
    assert np.flatnonzero(high.states == ACCESSED).tolist() == [5]
    assert set(high.states.tolist()) == {MAPPED, ACCESSED, DIRTY}
    (part,) = stretches(guest.space, HIGH + 31 * PAGE_SIZE, 3 * PAGE_SIZE)
    assert (part.gpa, part.states.tolist()) == (HIGH + 31 * PAGE_SIZE, [DIRTY, DIRTY, MAPPED])


def test_stretches__of_neighbours_are_one(guest: Guest) -> None:
    """Two mappings side by side, one of them a device."""
    device = guest.space.map_mmio(5 * PAGE_SIZE, 2 * PAGE_SIZE, 0xFEE0_0000)
    first = stretches(guest.space)[0]
    assert first.states.tolist() == [MAPPED] * 5 + [DEVICE] * 2
    assert cells(hilbert(guest.space))[6] == DEVICE
    device.release()


@pytest.mark.parametrize(
    ("gpa", "length", "kind"),
    [
        (0, None, InvalidArgument),
        (None, 1, InvalidArgument),
        (1, PAGE_SIZE, InvalidArgument),
        (0.0, PAGE_SIZE, TypeError),
        (1 << 40, PAGE_SIZE, BeyondSpace),
    ],
)
def test_stretches__refuse(guest: Guest, gpa: int | None, length: int | None, kind: type[Exception]) -> None:
    """Half a range, an unaligned one, or one past the end."""
    with pytest.raises(kind):
        stretches(guest.space, gpa, length)


# -- along a curve ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", range(6))
def test_curve__goes_through_every_cell_by_steps_of_one(order: int) -> None:
    """A Hilbert curve from corner to corner of a side."""
    x, y = curve(order)
    assert set(zip(x.tolist(), y.tolist(), strict=True)) == {(a, b) for a in range(1 << order) for b in range(1 << order)}
    assert (np.abs(np.diff(x)) + np.abs(np.diff(y)) == 1).all()
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, (1 << order) - 1, 0)


def test_hilbert__shows_each_page_s_state(guest: Guest) -> None:
    """In the order of addresses, nothing behind the last."""
    found = cells(hilbert(guest.space))
    assert [found[place] for place in range(5)] == [MAPPED] * 5
    assert [place - 5 for place, state in found.items() if state == DIRTY] == [3, 31, 32, 63]
    assert [place - 5 for place, state in found.items() if state == ACCESSED] == [5]
    assert {found[place] for place in range(5 + N_HIGH, 256)} == {0}


def test_hilbert__shows_when_a_page_was_written(guest: Guest) -> None:
    """By round; pages that are not mapped take no place."""
    gpa, length = HIGH - 2 * PAGE_SIZE, (N_HIGH + 2) * PAGE_SIZE
    last = np.arange(N_HIGH + 2, dtype=np.uint32)
    found = cells(hilbert(guest.space, gpa=gpa, length=length, last_written=last))
    assert [found[place] for place in range(N_HIGH)] == list(range(2, N_HIGH + 2))
    for wrong in (last[:-1], last.astype(float), last.astype(np.int64) - 1):
        with pytest.raises(InvalidArgument, match="last_written must be 66 integers"):
            hilbert(guest.space, gpa=gpa, length=length, last_written=wrong)
    with pytest.raises(InvalidArgument, match="of a range"):
        hilbert(guest.space, last_written=last)


def test_hilbert__of_many_pages_shows_the_most() -> None:
    """Three pages a cell: one dirty page among them is seen, wherever it is."""
    n_pages = (3 << 20) - 1
    with (
        Reservoir(n_pages * PAGE_SIZE, backed=False) as reservoir,
        reservoir.allocate(n_pages * PAGE_SIZE) as ram,
        VmSpace(1 << 40, reservoir=reservoir, track_dirty=True) as space,
    ):
        space.map(ram, 0, ram.length, Prot.RW)
        space.populate(0, 6 * PAGE_SIZE)
        select = np.zeros(-(-n_pages // 8), np.uint8)
        for page in (4, n_pages - 1):
            select[page // 8] |= 1 << page % 8
        space.populate((n_pages - 1) * PAGE_SIZE, PAGE_SIZE)
        space.set_dirty(0, ram.length, select=select)
        ax = hilbert(space)
        found = cells(ax)
        assert [place for place, state in found.items() if state == DIRTY] == [1, (n_pages - 1) // 3]
        assert "3 pages a cell" in ax.get_title()
        space.unmap(0, ram.length)
        space.map(ram, 0, 4 * PAGE_SIZE, Prot.RW)
        device = space.map_mmio(4 * PAGE_SIZE, (n_pages - 5) * PAGE_SIZE, 1 << 44)
        space.map(ram, (n_pages - 1) * PAGE_SIZE, PAGE_SIZE, Prot.RW)
        space.populate((n_pages - 1) * PAGE_SIZE, PAGE_SIZE)
        found = cells(hilbert(space))
        assert [found[place] for place in (0, 1, 2, (n_pages - 1) // 3)] == [MAPPED, DEVICE, DEVICE, RESIDENT]
        device.release()


# -- layout -----------------------------------------------------------------------------------------------------------


def boxes(ax: Axes) -> list[Bbox]:
    """Filled rectangles, without the frames."""
    rectangles = [one for one in ax.patches if isinstance(one, Rectangle)]
    return [one.get_bbox() for one in rectangles if to_rgba(one.get_facecolor())[3]]


@pytest.mark.parametrize("fold", [True, False])
def test_layout__is_to_scale(guest: Guest, fold: bool) -> None:
    """Guest at the left, host at the right; heights are sizes; folded holes are no more than gaps."""
    ax = layout(guest.space, fold=fold)
    low, high, low_host, high_host = boxes(ax)
    assert high.height / low.height == pytest.approx(N_HIGH / 5)
    assert high_host.height / low_host.height == pytest.approx(N_HIGH / 5)
    assert (low.y0, high.y1) == (0, pytest.approx(1))
    gap = high.y0 - low.y1
    assert gap == pytest.approx(0.03) if fold else gap > 0.9
    assert low_host.y0 > high_host.y1  # page 70 of the object and on are in later frames
    texts = {text.get_text() for text in ax.texts}
    whole = {"20 KiB RX", "256 KiB RW", hex(HIGH + N_HIGH * PAGE_SIZE), "0x0", hex(HIGH)}
    assert whole <= texts if fold else {"0x0  20 KiB RX", f"{HIGH:#x}  256 KiB RW"} <= texts  # too thin for a text inside


def test_layout__shows_the_whole_reservoir(guest: Guest) -> None:
    """Frames that nobody maps, too; its span is from the base to the limit."""
    ax = layout(guest.space, guest.reservoir)
    texts = {text.get_text() for text in ax.texts}
    assert {hex(0x100000 * PAGE_SIZE), hex((0x100000 + 160) * PAGE_SIZE)} <= texts
    first = (guest.ram.pfn_at(0) - 0x100000) / 160
    assert boxes(ax)[-1].y0 == pytest.approx(first)


def test_layout__shows_a_scattered_object(guest: Guest) -> None:
    """A box for each of its spans, where its frames are: pages 10 to 21 of it, which begin and end inside of spans."""
    parts = [guest.reservoir.allocate(8 * PAGE_SIZE) for _ in range(6)]
    for part in parts[::2]:
        part.release()
    with guest.reservoir.allocate(24 * PAGE_SIZE) as ram:
        assert len(ram.spans) > 1
        guest.space.map(ram, 1 << 31, 12 * PAGE_SIZE, Prot.RW, offset=10 * PAGE_SIZE)
        guest.space.populate(1 << 31, 12 * PAGE_SIZE)
        frames = [int(pfn) - 0x100000 for pfn in guest.space.translate((1 << 31) + PAGE_SIZE * np.arange(12))]
        shown = [box for box in boxes(layout(guest.space, guest.reservoir)) if box.x0 == 2][2:]
        assert len(shown) > 1
        assert len(frames) == 12
        spans = [(round(160 * box.y0, 6), round(160 * box.height, 6)) for box in shown]
        assert [int(first) + page for first, n_pages in spans for page in range(int(n_pages))] == frames
    for part in parts[1::2]:
        part.release()


def test_layout__of_many_mappings_stays_in_the_picture() -> None:
    """Forty of them and their holes: each has its height, in order, and no two texts are in one place."""
    with (
        Reservoir(40 * PAGE_SIZE) as reservoir,
        reservoir.allocate(40 * PAGE_SIZE) as ram,
        VmSpace(1 << 40, reservoir=reservoir) as space,
    ):
        for number in range(40):
            space.map(ram, number << 30, PAGE_SIZE, Prot.RW, offset=number * PAGE_SIZE)
        for fold in (True, False):
            ax = layout(space, fold=fold)
            guest = [box for box in boxes(ax) if box.x0 == 0]
            assert len(guest) == 40
            assert all(0 <= box.y0 < box.y1 <= 1 + 1e-9 for box in guest)
            assert all(one.y1 < other.y0 for one, other in pairwise(guest))
            heights = sorted(text.get_position()[1] for text in ax.texts if text.get_horizontalalignment() == "right")
            assert min(b - a for a, b in pairwise(heights)) > 0.023
            assert len(heights) >= 30
            assert sum(box.height for box in guest) == pytest.approx(0.5 if fold else 40 * PAGE_SIZE / (39 << 30), rel=1e-3)


# -- tables -----------------------------------------------------------------------------------------------------------


def test_tables__are_those_in_use(guest: Guest) -> None:
    """How many, and how full each is: the high mapping lies in two leaf tables under two directories."""
    ax = tables(guest.space)
    drawn, framed = (one for one in ax.collections if isinstance(one, PatchCollection))
    values = drawn.get_array()
    assert values is not None
    shares = (np.asarray(values) * 512).round().astype(int).tolist()
    assert shares == [1, 2, 2, 1, 0, 3, 2]  # root; level 3; two of level 2; three leaves: low, high and its second half
    labels = [text.get_text() for text in ax.get_yticklabels()]
    counts = [guest.space.table.tables_in_use(level) for level in (4, 3, 2, 1)]
    assert [f"{n} x 4 KiB" in label for n, label in zip(counts, labels, strict=True)] == [True] * 4
    assert ax.get_title().startswith(f"{sum(counts)} tables, ")
    assert [f"{n} shared" in label for n, label in zip((1, 1, 1, 0), labels, strict=True)] == [True] * 4
    assert [path.get_extents().bounds[::2] for path in framed.get_paths()] == [(0, 1), (0, 1), (0, 0.5)]


@pytest.mark.parametrize("n_pages", [511, 512, 513])
def test_tables__count_at_the_edges(n_pages: int) -> None:
    """Of a leaf table, and with a neighbour behind it: whose table it is, too, unless it starts one."""
    with (
        Reservoir(1024 * PAGE_SIZE) as reservoir,
        reservoir.allocate(1024 * PAGE_SIZE) as ram,
        VmSpace(1 << 40, reservoir=reservoir) as space,
    ):
        space.map(ram, 0, n_pages * PAGE_SIZE, Prot.RW)
        space.map(ram, n_pages * PAGE_SIZE, 2 * PAGE_SIZE, Prot.RW)
        space.map(ram, (n_pages + 2) * PAGE_SIZE, PAGE_SIZE, Prot.RW)
        space.populate(0, n_pages * PAGE_SIZE)
        space.populate(n_pages * PAGE_SIZE, 2 * PAGE_SIZE)
        full = n_pages + 2 - 512
        assert tables_used(space)[1].tolist() == [512, full]
        assert tables_shared(space)[1] == {511: [0, 1], 512: [1], 513: [1]}[n_pages]
        assert [tables_shared(space)[level] for level in (4, 3, 2)] == [[0]] * 3
        assert [used.size for used in tables_used(space).values()] == [
            space.table.tables_in_use(level) for level in (4, 3, 2, 1)
        ]


def test_tables__of_pieces_are_counted_once() -> None:
    """Entries are read a GiB at a time: mappings that lie over such edges, and a table in the middle of which one ends."""
    gib, n_pages = 1 << 30, (3 << 18) + 2
    with (
        Reservoir(n_pages * PAGE_SIZE, backed=False) as reservoir,
        reservoir.allocate(n_pages * PAGE_SIZE) as ram,
        VmSpace(1 << 40, reservoir=reservoir) as space,
    ):
        space.map(ram, gib - PAGE_SIZE, ram.length, Prot.RW)
        space.populate(gib - PAGE_SIZE, 513 * PAGE_SIZE)
        used = tables_used(space)
        assert used[1][[0, 1, 2, -1]].tolist() == [1, 512, 0, 0]
        assert [one.size for one in used.values()] == [space.table.tables_in_use(level) for level in (4, 3, 2, 1)]
        (one,) = stretches(space)
        assert (one.gpa, one.states.size, np.flatnonzero(one.states == RESIDENT).tolist()) == (
            gib - PAGE_SIZE, n_pages, list(range(513))
        )  # fmt: skip


# -- one entry, one walk ----------------------------------------------------------------------------------------------


def test_bits__are_those_of_the_entry(guest: Guest) -> None:
    """Dark where the bit is set, bit 63 at the left; fields make the entry up again."""
    entry = guest.space.pte(HIGH + 3 * PAGE_SIZE)
    assert entry is not None
    entry |= 1 << 63
    ax = bits(entry, format=guest.space.format)
    dark = {63 - int(one.x0) for one in boxes(ax)}
    assert 63 in dark
    assert dark == {bit for bit in range(64) if entry >> bit & 1}
    found = {field.name: field for field in fields(entry, guest.space.format)}
    assert sum(field.value << field.low for field in fields(entry, guest.space.format)) == entry
    assert (found["A"].value, found["D"].value, found["host frame"].value) == (1, 1, guest.ram.pfn_at(3 * PAGE_SIZE))
    assert any(text.get_text() == f"host frame\n{found['host frame'].value:#x}" for text in ax.texts)
    for wrong in (-1, 1 << 64):
        with pytest.raises(InvalidArgument):
            bits(wrong)
    with pytest.raises(TypeError, match="PteFormat"):
        bits(entry, format="ept")  # type: ignore[arg-type]


def test_walk__shows_each_level(guest: Guest) -> None:
    """Index and entry of each table on the way."""
    seen = guest.space.explain(HIGH + 32 * PAGE_SIZE)
    ax = walk(seen)
    texts = [text.get_text() for text in ax.texts]
    assert [f"[{step.index}]  {step.entry:#018x}" in text for step, text in zip(seen.steps, texts, strict=True)] == [True] * 4
    assert [round(one.x0) + 1 for one in boxes(ax)] == [0, 1, 0, 0]
    assert f"frame {guest.ram.pfn_at(32 * PAGE_SIZE):#x}" in ax.get_title()
    assert "not mapped" in walk(guest.space.explain(1 << 39)).get_title()
    assert "not resident" in walk(guest.space.explain(HIGH)).get_title()
    assert "past the end" in walk(guest.space.explain(1 << 40)).get_title()
    with pytest.raises(TypeError, match="explain"):
        walk(7)  # type: ignore[arg-type]


def test_pictures__of_a_guest_that_nobody_tracks() -> None:
    """EPT sets no A and D bits then: pages are resident, and no more; nPT sets them always."""
    for form, state in ((EPT, RESIDENT), (NPT, DIRTY)):
        with (
            Reservoir(4 * PAGE_SIZE) as reservoir,
            reservoir.allocate(4 * PAGE_SIZE) as ram,
            VmSpace(1 << 40, format=form, reservoir=reservoir) as space,
        ):
            space.map(ram, 0, 4 * PAGE_SIZE, Prot.RW)
            Vcpu(space.client()).run([PAGE_SIZE], write=True)
            assert [cells(hilbert(space))[place] for place in range(4)] == [MAPPED, state, MAPPED, MAPPED]


# -- any of them ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("picture", [hilbert, layout, tables])
def test_pictures__of_little_and_of_nothing(picture: Callable[..., Axes]) -> None:
    """An empty space, one page, a space that is gone, something else."""
    with Reservoir(PAGE_SIZE) as reservoir, reservoir.allocate(PAGE_SIZE) as ram:
        space = VmSpace(1 << 47, format=EPT, reservoir=reservoir)
        picture(space)
        space.map(ram, (1 << 47) - PAGE_SIZE, PAGE_SIZE, Prot.READ)
        ax = picture(space)
        assert picture(space, ax=ax) is ax
        with pytest.raises(TypeError, match="Axes"):
            picture(space, ax=7)
        space.close()
        with pytest.raises(StaleHandle):
            picture(space)
    n_figures = len(plt.get_fignums())
    with pytest.raises(TypeError, match="VmSpace"):
        picture("space")
    assert len(plt.get_fignums()) == n_figures
    with plt.rc_context(), Reservoir(PAGE_SIZE) as reservoir, reservoir.allocate(PAGE_SIZE) as ram:
        figure, mine = plt.subplots()
        space = VmSpace(1 << 47, format=EPT, reservoir=reservoir)
        space.map(ram, 0, PAGE_SIZE, Prot.READ)
        assert picture(space, ax=mine).figure is figure
        assert len(plt.get_fignums()) == n_figures + 1
        space.close()


def test_layout__of_a_reservoir_that_is_gone_draws_nothing(guest: Guest) -> None:
    """It says so, and leaves no figure."""
    gone = Reservoir(PAGE_SIZE)
    gone.close()
    with pytest.raises(StaleHandle):
        layout(guest.space, gone)
    with pytest.raises(TypeError, match="Reservoir"):
        layout(guest.space, 7)  # type: ignore[arg-type]
    assert plt.get_fignums() == []


def test_pictures__can_be_read_on_black(guest: Guest) -> None:
    """Nothing is drawn in black or white, whatever lies behind it, but texts in a box of their own colour."""
    faces, texts = list[Any](), list[Any]()
    with plt.style.context("dark_background"):
        for ax in (
            layout(guest.space, guest.reservoir),
            bits(5),
            walk(guest.space.explain(0)),
            hilbert(guest.space),
            tables(guest.space),
        ):
            faces += [one.get_facecolor() for one in ax.patches]
            faces += [tuple(face) for one in ax.collections for face in np.atleast_2d(one.get_facecolor())]
            texts += [one for one in ax.texts if one.get_horizontalalignment() != "center" or not 0 < one.get_position()[1] < 1]
    assert len(faces) > 20
    assert len(texts) > 5
    assert not any(face[3] and face[:3] in ((0, 0, 0), (1, 1, 1)) for face in faces)
    assert all(to_rgb(one.get_color()) == (1, 1, 1) for one in texts)
    assert [ink(colour) for colour in COLOURS[:3]] == ["white", "black", "black"]


def test_ptes__are_the_entries(guest: Guest) -> None:
    """As ``pte`` has them; 0 where there is none."""
    gpa, n_pages = HIGH - 2 * PAGE_SIZE, N_HIGH + 4
    found = guest.space.ptes(gpa, n_pages * PAGE_SIZE)
    assert found.tolist() == [guest.space.pte(gpa + number * PAGE_SIZE) or 0 for number in range(n_pages)]
    assert np.count_nonzero(found) == 5
    with pytest.raises(BeyondSpace):
        guest.space.ptes(1 << 40, PAGE_SIZE)
    with pytest.raises(InvalidArgument):
        guest.space.ptes(1, PAGE_SIZE)
