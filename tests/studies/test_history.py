"""Real programs' histories as writers, and files that are none."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from npt import InvalidArgument
from npt.studies.history import HISTORIES, History
from npt.studies.writers import Uniform, Window, Writer


@pytest.fixture(scope="module", params=HISTORIES)
def history(request: pytest.FixtureRequest) -> History:
    """Each of those that come with npt."""
    return History.load(request.param)


def arrays(**more: Any) -> dict[str, Any]:
    """A small history of three windows: it reads 0 and 2 and writes 1; does nothing; writes 2 and 0, in that order."""
    return {
        "pages": np.array([5, 9, 700], np.uint64),
        "write_offsets": np.array([0, 1, 1, 3]),
        "write_pages": np.array([1, 2, 0]),
        "read_offsets": np.array([0, 2, 2, 2]),
        "read_pages": np.array([0, 2]),
        "window_instructions": np.array(1000),
        **more,
    }


def saved(tmp_path: Path, **more: Any) -> Path:
    """A file of it; what is None is left out."""
    file = tmp_path / "small.npz"
    np.savez(file, **{name: array for name, array in arrays(**more).items() if array is not None})
    return file


def test_windows__are_what_it_read_and_wrote(history: History) -> None:
    """Reads first, then writes, each ascending, in every window."""
    windows = list(history.windows())
    assert len(windows) == history.n_windows
    for number, (pages, write) in enumerate(windows):
        assert pages.dtype == np.uint64
        assert write.dtype == np.bool_
        read, written = history.read(number).tolist(), history.written(number).tolist()
        assert (pages[~write].tolist(), pages[write].tolist()) == (read, written)
        assert write.tolist() == [False] * len(read) + [True] * len(written)
        assert (read, written) == (sorted(read), sorted(written))


def test_window__any_is_what_comes_in_turn(history: History) -> None:
    """By its number, out of order."""
    windows = list(history.windows())
    for number in (history.n_windows - 1, 0, 7):
        window = history.window(number)
        assert isinstance(window, Window)
        assert np.array_equal(window.pages, windows[number].pages)
        assert np.array_equal(window.write, windows[number].write)


def test_window__there_is_no_such(history: History) -> None:
    """Windows count from 0 to one less than there are."""
    for number in (-1, history.n_windows):
        with pytest.raises(InvalidArgument, match=f"window {number} is not one of {history.n_windows}"):
            history.window(number)
    with pytest.raises(TypeError, match="window must be an integer"):
        history.window(1.0)  # type: ignore[arg-type]


def test_windows__of_a_file(tmp_path: Path) -> None:
    """In the order of the file; a window in which nothing happens is an empty one."""
    history = History.load(saved(tmp_path))
    assert [(pages.tolist(), write.tolist()) for pages, write in history.windows()] == [
        ([0, 2, 1], [False, False, True]),
        ([], []),
        ([2, 0], [True, True]),
    ]


def test_windows__of_a_file_with_one_page(tmp_path: Path) -> None:
    """Read and written, in one window; the last page that a space can have."""
    one, ends = np.array([0]), np.array([0, 1])
    file = saved(tmp_path, pages=np.array([2**35 - 1]), read_pages=one, write_pages=one, read_offsets=ends, write_offsets=ends)
    assert [(pages.tolist(), write.tolist()) for pages, write in History.load(file).windows()] == [([0, 0], [False, True])]


def test_windows__of_a_file_with_one(tmp_path: Path) -> None:
    """The shortest history there is, in which nothing happens."""
    nothing, ends = np.array([], np.int64), np.array([0, 0])
    file = saved(tmp_path, read_pages=nothing, write_pages=nothing, read_offsets=ends, write_offsets=ends)
    assert [(pages.tolist(), write.tolist()) for pages, write in History.load(file).windows()] == [([], [])]


def test_window__is_the_callers_own(history: History) -> None:
    """What is done to it does not change the history."""
    before = history.window(3)
    history.window(3).pages[:] = 0
    assert np.array_equal(history.window(3).pages, before.pages)


def test_history__satisfies_the_protocol(history: History) -> None:
    """The columns of its row are those of all writers."""
    assert isinstance(history, Writer)
    assert list(history.row()) == list(Uniform(1, 1, 1).row())
    assert (history.row()["writer"], history.row()["pages"]) == (history.name, history.pages.size)
    assert history.n_pages == history.pages.size


def test_history__equal_hashable_picklable(tmp_path: Path, history: History) -> None:
    """Loaded twice it is equal, with the same hash; another one is not."""
    for again in (History.load(history.name), pickle.loads(pickle.dumps(history))):
        assert again == history
        assert hash(again) == hash(history)
    small = History.load(saved(tmp_path))
    assert small != history
    assert small != History.load(saved(tmp_path, write_pages=np.array([1, 2, 1])))
    assert small != "small"
    assert small.row()["options"] != History.load(saved(tmp_path, write_pages=np.array([1, 2, 1]))).row()["options"]


def test_history__cannot_be_changed(history: History) -> None:
    """Its arrays cannot be put in the place of others."""
    with pytest.raises(AttributeError):
        history.name = "other"  # type: ignore[misc]


def test_repr__is_short() -> None:
    """Without its arrays."""
    assert repr(History.load("sqlite")) == "<History sqlite, 2905 pages, 1500 windows>"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"pages": None}, "has no array 'pages'"),
        ({"window_instructions": np.array(0)}, "window_instructions 0 is not positive"),
        ({"write_offsets": np.array([0, 2**62, -(2**63), 3])}, "write_offsets does not divide write_pages"),
        ({"window_instructions": None}, "has no array 'window_instructions'"),
        ({"window_instructions": np.array([1000])}, "window_instructions is not an integer"),
        ({"window_rounds": np.array(1)}, "windows are measured in instructions and in rounds; there can be one"),
        ({"window_instructions": None, "window_accesses": np.array(0)}, "window_accesses 0 is not positive"),
        ({"pages": np.array([5.0, 9.0, 700.0])}, "pages is not a one-dimensional array of integers"),
        ({"pages": np.array([[5, 9, 700]])}, "pages is not a one-dimensional array of integers"),
        ({"pages": np.array([5, 5, 700])}, "not ascending"),
        ({"pages": np.array([], np.uint64)}, "pages is empty"),
        ({"pages": np.array([5, 9, 1 << 35])}, "beyond the largest space"),
        ({"pages": np.array([1, 2, 3], object)}, r"is not an \.npz file"),  # pickled, and a pickle may do anything
        ({"write_offsets": np.array([0, 1, 1, 2])}, "write_offsets does not divide write_pages"),
        ({"write_offsets": np.array([1, 1, 1, 3])}, "write_offsets does not divide write_pages"),
        ({"write_offsets": np.array([0, 2, 1, 3])}, "write_offsets does not divide write_pages"),
        ({"read_offsets": np.array([0])}, "read_offsets does not divide read_pages"),
        ({"read_offsets": np.array([0, 2, 2])}, "different numbers of windows"),
        ({"read_pages": np.array([0, 3])}, "read_pages has numbers that are no places"),
        ({"write_pages": np.array([1, -1, 0])}, "write_pages has numbers that are no places"),
    ],
)
def test_load__a_file_that_does_not_fit(tmp_path: Path, more: dict[str, Any], message: str) -> None:
    """InvalidArgument that says what does not fit."""
    with pytest.raises(InvalidArgument, match=message):
        History.load(saved(tmp_path, **more))


@pytest.mark.parametrize("length", [0, 1, 4, 30, 300, 1500])
def test_load__a_file_cut_off(tmp_path: Path, length: int) -> None:
    """The beginning of it is no .npz file, and is closed again."""
    file = saved(tmp_path)
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(InvalidArgument, match=r"is not an \.npz file"):
        History.load(file)


@pytest.mark.parametrize("unit", ["instructions", "accesses", "rounds"])
def test_save__there_and_back(tmp_path: Path, unit: str) -> None:
    """What was saved is what is loaded, whatever its windows are measured in; another unit is another history."""
    small = History.load(saved(tmp_path))
    other = History.load(saved(tmp_path, **{"window_instructions": None, f"window_{unit}": np.array(1000)}))
    other.save(tmp_path / "small.npz")
    assert History.load(tmp_path / "small.npz") == other
    assert (other.window_length, other.window_unit) == (1000, unit)
    assert other.window_instructions == (1000 if unit == "instructions" else None)
    assert (other == small, other.row() == small.row()) == (unit == "instructions",) * 2


def test_save__all_or_nothing(tmp_path: Path) -> None:
    """A file that cannot be written leaves nothing; one that can takes the place of what was there."""
    with pytest.raises(FileNotFoundError):
        History.load("sort").save(tmp_path / "no" / "such.npz")
    assert list(tmp_path.iterdir()) == []
    file = saved(tmp_path)
    History.load("sort").save(file)
    assert [one.name for one in tmp_path.iterdir()] == [file.name]
    assert History.load(file).pages.size == History.load("sort").pages.size


def test_digest__of_those_that_come_with_npt(history: History) -> None:
    """What results that were kept say of them."""
    digests = {"xz": "0a13f92d333f", "sqlite": "d8b0d55bcc33", "sort": "9af8f3415649"}
    assert history.row()["options"] == f"sha256={digests[history.name]}"


def test_load__there_is_none() -> None:
    """Says which names there are."""
    with pytest.raises(FileNotFoundError, match="neither a history"):
        History.load("no such")
