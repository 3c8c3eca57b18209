"""Pictures of what was recorded, by the numbers behind them."""

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle

from npt import PAGE_SIZE, InvalidArgument, NotSupported, Reservoir, StaleHandle
from npt.dirty import DirtyLog, WorkingSet
from npt.dirty import runs as as_runs
from npt.dirty.bitmap import from_pages
from npt.studies import Results, precopy
from npt.view import bench, fragmentation, heat, runs, working_set
from npt.view import precopy as show_precopy
from npt.view.style import COLOURS, NONE, address_axis, size_axis
from tests.view.conftest import HIGH, N_HIGH, Guest

MIB = 1 << 20


def image(ax: Axes) -> "np.ndarray[tuple[int, int], np.dtype[np.float64]]":
    """The cells of a picture, lowest address first."""
    found = ax.images[0].get_array()
    assert found is not None
    return np.asarray(found)


def bars(ax: Axes) -> list[tuple[float, float, float]]:
    """Left, width and height of each bar."""
    return [(one.get_x(), one.get_width(), one.get_height()) for one in ax.patches if isinstance(one, Rectangle)]


# -- pages by rounds --------------------------------------------------------------------------------------------------


def test_heat__has_a_cell_for_each_page_and_round(guest: Guest) -> None:
    """From the first page that was ever dirty to the last; addresses and rounds at the axes."""
    log = DirtyLog(guest.space, HIGH, N_HIGH * PAGE_SIZE)
    guest.space.track_dirty(HIGH, N_HIGH * PAGE_SIZE)
    log.start()
    for pages in ([10], [12, 20], []):
        guest.vcpu.run([HIGH + page * PAGE_SIZE for page in pages], write=True)
        log.round()
    ax = heat(log.rounds)
    cells = image(ax)
    assert cells.shape == (11, 3)
    assert set(zip(*np.nonzero(cells), strict=True)) == {(0, 0), (2, 1), (10, 1)}
    assert tuple(ax.images[0].get_extent()) == (0.5, 3.5, HIGH + 10 * PAGE_SIZE, HIGH + 21 * PAGE_SIZE)
    assert "3 times a page was dirty in 3 rounds" in ax.get_title()
    assert image(heat(log.rounds, first=2, last=2)).tolist() == [[1.0], *[[0.0]] * 7, [1.0]]
    log.abort()


@pytest.mark.parametrize("how", ["share", "any"])
def test_heat__says_what_a_cell_stands_for(how: str) -> None:
    """1024 pages are 256 rows of four, 1030 rounds are columns of three, the last one of one."""
    bitmaps = [from_pages([0, 1, 1023] if number % 3 else [0, 1023], 1024) for number in range(1030)]
    ax = heat(bitmaps, gpa=HIGH, how=how)
    cells = image(ax)
    assert cells.shape == (256, 344)
    assert cells[0, 0] == pytest.approx((3 + 2) / 12 if how == "share" else 1)
    assert cells[255, 343] == pytest.approx(1 / 4 if how == "share" else 1)
    assert not cells[1:255].any()
    assert f"4 pages by 3 rounds, {how} of them" in ax.get_title()


def test_heat__refuses() -> None:
    """No rounds, other sizes, another way, rounds that there are not."""
    one = from_pages([1], 64)
    for rounds, more in (
        ([], {}), ([one, one[:-1]], {}), ([one], {"how": "mean"}), ([one], {"first": 2}), ([one], {"last": 0}),
        ([one], {"n_pages": 65}), ([one], {"gpa": 1}), ([np.zeros(0, np.uint8)], {}), ([one.reshape(2, -1)], {}),
    ):  # fmt: skip
        with pytest.raises(InvalidArgument):
            heat(rounds, **more)
    for wrong in ([[1, 2]], [np.ones(8, np.bool_)]):
        with pytest.raises(TypeError, match="uint8"):
            heat(wrong)  # type: ignore[arg-type]
    for name, value in (("gpa", 0.0), ("what", 7)):
        with pytest.raises(TypeError, match=name):
            heat([one], **{name: value})  # type: ignore[arg-type]
    assert plt.get_fignums() == []
    assert image(heat([np.zeros(8, np.uint8)])).shape == (64, 1)


def test_heat__ends_where_its_pages_and_rounds_end() -> None:
    """The last row stands for one page of two, the last column for one round of two: there is no room for more."""
    bitmaps = [from_pages([0, 512], 1024)] * 513
    ax = heat(bitmaps, gpa=HIGH, n_pages=513)
    assert image(ax).shape == (171, 257)
    ax = heat(bitmaps[:1], gpa=HIGH, n_pages=513)
    assert ax.get_ylim() == (HIGH, HIGH + 513 * PAGE_SIZE)
    ax = heat([from_pages([0, 256], 264)] * 513, gpa=HIGH)
    assert image(ax).shape == (129, 257)
    assert image(ax)[[0, -1], -1].tolist() == [0.5, 1]
    assert (ax.get_ylim(), ax.get_xlim()) == ((HIGH, HIGH + 257 * PAGE_SIZE), (0.5, 513.5))


def test_heat__tells_little_from_nothing() -> None:
    """One page of a thousand has a colour of the scale, and the scale ends at the largest share; none is grey."""
    ax = heat([from_pages([0, 1 << 17], 1 << 18), from_pages([], 1 << 18)])
    shown = ax.images[0]
    assert 0 < shown.get_clim()[1] == image(ax).max() < 1 / 256
    colours = [to_hex(tuple(colour)).upper() for colour in np.asarray(shown.cmap(shown.norm(image(ax)[[0, 1], [0, 0]])))]
    assert (colours[1], colours[0] != NONE) == (NONE, True)
    rounds = [text.get_text() for text in heat([from_pages([1], 8)]).get_xticklabels()]
    assert rounds == ["0", "1", "2"]  # each once; only one of them is in view
    legend = heat([from_pages([1], 8)], how="any", what="accessed")
    assert legend.get_title() == "1 time a page was accessed in 1 round"


# -- how memory is cut up ---------------------------------------------------------------------------------------------


def test_runs__count_pages_by_the_length_of_their_run() -> None:
    """One page, two of two, one of five: bars of 1, 4, 5."""
    ax = runs(from_pages([0, 8, 9, 20, 21, 63, 64, 65, 66, 67], 128))
    assert [height for _, _, height in bars(ax)] == [1, 4, 5]
    assert [text.get_text() for text in ax.get_xticklabels()] == ["1", "2 to 3", "4 to 7"]
    assert ax.get_title() == "10 dirty pages in 4 runs"
    assert runs(np.zeros(8, np.uint8)).get_title() == "0 dirty pages in 0 runs"
    assert runs(as_runs(from_pages([511, 512], 1024))).get_title() == "2 dirty pages in 1 run"
    plt.close("all")
    for wrong in ([1, 2], np.zeros(2, [("a", np.uint64)]), "bits"):
        with pytest.raises(TypeError):
            runs(wrong)  # type: ignore[arg-type]
    assert plt.get_fignums() == []


def test_fragmentation__is_a_share_of_what_is_free() -> None:
    """Free spans of 4, 2 and 2 pages: half is in spans of four, all in spans of two."""
    with Reservoir(16 * PAGE_SIZE) as reservoir:
        parts = [reservoir.allocate(2 * PAGE_SIZE) for _ in range(8)]
        by_address = sorted(parts, key=lambda part: part.pfn_at(0))
        for number in (0, 2, 4, 5):
            by_address[number].release()
        line = fragmentation(reservoir).lines[0]
        assert [n for _, n in reservoir.free_spans] == [2, 2, 4]
        assert np.asarray(line.get_xdata()).tolist() == [4 * PAGE_SIZE, 2 * PAGE_SIZE, 2 * PAGE_SIZE, PAGE_SIZE]
        assert np.asarray(line.get_ydata()).tolist() == [0.5, 0.75, 1.0, 1.0]
        for number in (1, 3, 6, 7):
            by_address[number].release()
        with reservoir.allocate(16 * PAGE_SIZE):
            assert fragmentation(reservoir).get_title() == "nothing is free"
    with pytest.raises(StaleHandle):
        fragmentation(reservoir)


# -- migrations, working sets, speeds ---------------------------------------------------------------------------------


def test_precopy__is_as_long_as_its_sends() -> None:
    """Left edges and widths are seconds, heights shares of the largest send."""
    moved = [precopy(4096 * MIB, 1000 * MIB, 400 * MIB, policy=policy) for policy in ("freebsd", "post-copy")]
    ax = show_precopy(moved)
    first, *_, stop = bars(ax)[:5]
    assert list(first) == pytest.approx([0, 4.096, 0.85])
    assert list(stop) == pytest.approx([6.651904, 0.1048576, 0.85 * 104.8576 / 4096])
    assert bars(ax)[-1][1] == pytest.approx(1.6384)
    assert [text.get_text() for text in ax.get_yticklabels()] == ["freebsd", "post-copy"]
    assert {text.get_text().strip() for text in ax.texts} == {"104.9 ms down", "0.0 ms down"}
    assert len(bars(show_precopy(moved[0]))) == 5
    with pytest.raises(InvalidArgument):
        show_precopy([])
    with pytest.raises(TypeError, match="PrecopyResult"):
        show_precopy([7])


def test_precopy__of_short_sends_keeps_their_colour() -> None:
    """A line between two sends would hide those that are thinner than it; all of it is inside the axes."""
    ax = show_precopy(precopy(4096 * MIB, 1000 * MIB, 999 * MIB, policy="freebsd:rounds=1000"))
    edges = [to_hex(one.get_edgecolor()) for one in ax.patches]
    assert len(edges) == 1001
    assert set(edges) == {COLOURS[0].lower(), COLOURS[5].lower()}
    end = max(left + width for left, width, _ in bars(ax))
    assert ax.get_xlim() == pytest.approx((0, 1.4 * end))
    cancelled = precopy(4096 * MIB, 1000 * MIB, 1200 * MIB, policy="cloud-hypervisor")
    assert [text.get_text().strip() for text in show_precopy(cancelled).texts] == ["cancelled"]


def test_working_set__is_what_samples_say(guest: Guest) -> None:
    """Sizes by window, new pages apart, reuse."""
    made = WorkingSet(guest.space, HIGH, N_HIGH * PAGE_SIZE)
    with pytest.raises(InvalidArgument, match="no samples"):
        working_set(made)
    for pages in ([1, 2], [2, 3], [1]):
        guest.vcpu.run([HIGH + page * PAGE_SIZE for page in pages])
        made.sample()
    assert np.asarray(working_set(made).lines[0].get_ydata()).tolist() == (made.curve() * PAGE_SIZE).tolist()
    heights = [height for _, _, height in bars(working_set(made, kind="samples"))]
    assert heights == [0, 1, 1, 2, 1, 0]  # seen before, then new
    assert [height for _, _, height in bars(working_set(made, kind="reuse"))] == made.reuse()[1:].tolist()
    with pytest.raises(InvalidArgument, match="size, samples, reuse"):
        working_set(made, kind="pie")
    keeping = WorkingSet(guest.space, HIGH, N_HIGH * PAGE_SIZE, clear=False)
    keeping.sample()
    plt.close("all")
    for kind in ("size", "reuse"):
        with pytest.raises(NotSupported):
            working_set(keeping, kind=kind)
    assert plt.get_fignums() == []
    once = WorkingSet(guest.space, HIGH, N_HIGH * PAGE_SIZE)
    once.sample()
    assert "1 sample; no page was seen again" in working_set(once, kind="reuse").get_title()


def test_bench__is_a_bar_for_each_row() -> None:
    """Beside the limit; of one format."""
    rows = [
        {"format": form, "size": size, "operation": operation, "share": share, "of_limit": size / MIB * factor}
        for form, factor in (("ept", 1), ("npt", 10))
        for size in (MIB, 2 * MIB)
        for operation, share in (("map", None), ("harvest", 0.5))
    ]
    ax = bench(Results(rows, {}))
    assert [height for _, _, height in bars(ax)] == [1, 1, 2, 2]
    assert [text.get_text() for text in ax.get_xticklabels()] == ["map", "harvest, 50 %"]
    assert [height for _, _, height in bars(bench(Results(rows, {}), format="npt"))] == [10, 10, 20, 20]
    assert np.asarray(ax.lines[0].get_ydata()).tolist() == [1, 1]
    missing = bars(bench(Results([*rows[:2], rows[2] | {"of_limit": None}], {})))
    assert [height for _, _, height in missing if height == height] == [1, 1]
    for wrong in (Results([{"a": 1}], {}), Results([], {})):
        with pytest.raises(InvalidArgument):
            bench(wrong)
    with pytest.raises(InvalidArgument, match="'pae'"):
        bench(Results(rows, {}), format="pae")


# -- axes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high", "first", "last"),
    [
        (0, PAGE_SIZE, "0x0", "0x1000"),
        (HIGH, HIGH + 3 * PAGE_SIZE, "0x3ffe0000", "0x3ffe3000"),
        ((1 << 47) - PAGE_SIZE, 1 << 47, "0x7ffffffff000", "0x800000000000"),
        (0, 1 << 47, "0x0", "0x800000000000"),
    ],
)
def test_address_axis__has_page_addresses(low: int, high: int, first: str, last: str) -> None:
    """In hex, at most nine, never inside a page."""
    ax = plt.figure().add_subplot()
    ax.set_xlim(low, high)
    address_axis(ax.xaxis)
    told = [text.get_text() for text in ax.get_xticklabels()]
    assert (told[0], told[-1], len(told) <= 9) == (first, last, True)
    assert [int(text, 16) for text in told] == list(ax.get_xticks())
    assert not any(int(text, 16) % PAGE_SIZE for text in told)


def test_size_axis__says_where_a_tick_stands() -> None:
    """With all digits: 1.25 GiB is not 1.2."""
    ax = plt.figure().add_subplot()
    ax.set_xlim(0, 1100 * MIB)
    size_axis(ax.xaxis, "size")
    assert [text.get_text() for text in ax.get_xticklabels()] == ["0 B", "256 MiB", "512 MiB", "768 MiB", "1 GiB"]
    ax.set_xlim(1024 * MIB, 3 * 1024 * MIB)
    assert [text.get_text() for text in ax.get_xticklabels()][:2] == ["1 GiB", "1.25 GiB"]
