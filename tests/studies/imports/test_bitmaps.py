"""Dirty bitmaps as KVM gives them, as a history."""

import gzip
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from npt import InvalidArgument
from npt.dirty.bitmap import from_pages
from npt.dirty.kvm import to_words
from npt.studies import History, import_bitmaps

ROUNDS = [[0, 63, 64, 129], [], [5], [128, 129], [0]]
N_PAGES = 130


def words(pages: list[int], n_pages: int = N_PAGES) -> bytes:
    """A bitmap in KVM's form."""
    return to_words(from_pages(np.array(pages, np.uint64), n_pages), n_pages).tobytes()


ALL = b"".join(map(words, ROUNDS))


def written(history: History) -> list[list[int]]:
    """Pages by window; none is ever read."""
    assert history.read_pages.size == 0
    return [history.pages[history.written(number)].tolist() for number in range(history.n_windows)]


def filled(directory: Path, names: list[str], bitmaps: list[bytes]) -> Path:
    """A directory of files."""
    directory.mkdir()
    for name, bitmap in zip(names, bitmaps, strict=True):
        (directory / name).write_bytes(bitmap)
    return directory


NAMES = ["round-1", "round-2", "round-9", "round-10", "round-100"]


def test_import__one_file() -> None:
    """A window a round; windows are measured in rounds."""
    history = import_bitmaps(io.BytesIO(ALL), n_pages=N_PAGES, name="guest")
    assert written(history) == ROUNDS
    assert (history.name, history.window_length, history.window_unit) == ("guest", 1, "rounds")


def test_import__words_are_little_endian() -> None:
    """Bit b of word w is page 64 * w + b, and the lowest byte comes first."""
    text = bytes([0b10, 0, 0, 0, 0, 0, 0, 0x80]) + bytes([0, 1, 0, 0, 0, 0, 0, 0])
    assert written(import_bitmaps(io.BytesIO(text), n_pages=128)) == [[1, 63, 72]]


def test_import__a_directory(tmp_path: Path) -> None:
    """Files in the order of their numbers; the first one says how many pages there are."""
    directory = filled(tmp_path / "vm.d", NAMES, list(map(words, ROUNDS)))
    (directory / ".hidden").write_bytes(b"x")
    (directory / "deeper").mkdir()
    history = import_bitmaps(directory)
    assert (written(history), history.name) == (ROUNDS, "vm")
    assert import_bitmaps(directory, n_pages=N_PAGES) == history


def test_import__gzip_by_name(tmp_path: Path) -> None:
    """Bits may begin as gzip does, so only a name tells."""
    (tmp_path / "vm.gz").write_bytes(gzip.compress(ALL))
    assert written(import_bitmaps(tmp_path / "vm.gz", n_pages=N_PAGES)) == ROUNDS
    directory = filled(tmp_path / "d", ["1", "2.gz"], [words([3]), gzip.compress(words([4]))])
    assert written(import_bitmaps(directory)) == [[3], [4]]
    looks_packed = b"\x1f\x8b" + bytes(6)
    assert written(import_bitmaps(io.BytesIO(looks_packed), n_pages=64)) == [[0, 1, 2, 3, 4, 8, 9, 11, 15]]


def test_import__where_the_slot_begins() -> None:
    """Pages are numbered as the guest's."""
    history = import_bitmaps(io.BytesIO(ALL), n_pages=N_PAGES, first_page=0x100000)
    assert written(history) == [[0x100000 + page for page in pages] for pages in ROUNDS]
    last = import_bitmaps(io.BytesIO(words([63], 64)), n_pages=64, first_page=2**35 - 64)
    assert last.pages.tolist() == [2**35 - 1]


def test_import__there_and_back(tmp_path: Path) -> None:
    """What was saved is what is loaded."""
    history = import_bitmaps(io.BytesIO(ALL), n_pages=N_PAGES, name="guest")
    history.save(tmp_path / "guest.npz")
    assert History.load(tmp_path / "guest.npz") == history


def test_import__progress(tmp_path: Path) -> None:
    """Rounds, and in all where that is known."""
    seen: list[tuple[int, int | None]] = []
    import_bitmaps(io.BytesIO(ALL), n_pages=N_PAGES, progress=lambda done, total: seen.append((done, total)))
    directory = filled(tmp_path / "d", NAMES, list(map(words, ROUNDS)))
    import_bitmaps(directory, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(number, total) for total in (None, 5) for number in range(1, 6)]


def test_import__cut_short(tmp_path: Path) -> None:
    """It is told which round has how much; or that one is left out."""
    with pytest.raises(InvalidArgument, match="is cut short: round 4 has 17 bytes, and not the 24 that 130 pages take"):
        import_bitmaps(io.BytesIO(ALL[:-7]), n_pages=N_PAGES)
    assert written(import_bitmaps(io.BytesIO(ALL[:-7]), n_pages=N_PAGES, allow_cut=True)) == ROUNDS[:-1]
    directory = filled(tmp_path / "d", NAMES, [*map(words, ROUNDS[:-1]), words(ROUNDS[-1])[:-8]])
    with pytest.raises(InvalidArgument, match="round-100: 16 bytes, and not 24"):
        import_bitmaps(directory)
    assert written(import_bitmaps(directory, allow_cut=True)) == ROUNDS[:-1]
    (tmp_path / "vm.gz").write_bytes(gzip.compress(ALL)[:-9])
    with pytest.raises(InvalidArgument, match="the gzip file ends too early"):
        import_bitmaps(tmp_path / "vm.gz", n_pages=N_PAGES)


@pytest.mark.parametrize(
    ("bitmaps", "n_pages", "message"),
    [
        ([words([1]), words([1])[:-8], words([1])], None, "round-2: 16 bytes, and not 24 as a bitmap here has"),
        ([words([1]), words([1]) + bytes(8), words([1])], None, "round-2: more than 24 bytes, and not 24"),
        ([words([1])] * 3, 64, "round-1: more than 8 bytes, and not 8"),
        ([words([1])] * 3, 200, "round-1: 24 bytes, and not 32"),
        ([words([1]), words([129]), words([1])], 129, "round-2: bit 129 is set, past the end of 129 pages"),
        ([b""] * 3, None, "round-1: 0 bytes are no bitmap"),
        ([b"1234"] * 3, None, "round-1: 4 bytes are no bitmap"),
        ([words([])] * 3, None, "nothing is read or written in 3 windows"),
    ],
)
def test_import__files_that_do_not_fit(tmp_path: Path, bitmaps: list[bytes], n_pages: int | None, message: str) -> None:
    """Which file, and what is wrong with it; only the last one can be left out as cut short."""
    directory = filled(tmp_path / "d", NAMES[:3], bitmaps)
    for allow_cut in (False, True):
        with pytest.raises(InvalidArgument, match=message):
            import_bitmaps(directory, n_pages=n_pages, allow_cut=allow_cut)


def test_import__a_file_with_bits_past_the_end() -> None:
    """Which round."""
    with pytest.raises(InvalidArgument, match="BytesIO, round 3: bit 129 is set, past the end of 129 pages"):
        import_bitmaps(io.BytesIO(words([0]) + words([5]) + words([9]) + words([129])), n_pages=129)


def test_import__nothing_in_it(tmp_path: Path) -> None:
    """No rounds are no history."""
    (tmp_path / "d").mkdir()
    for source, n_pages in ((tmp_path / "d", None), (io.BytesIO(), 64)):
        with pytest.raises(InvalidArgument, match="there is no whole bitmap in it"):
            import_bitmaps(source, n_pages=n_pages)
    with pytest.raises(FileNotFoundError):
        import_bitmaps(tmp_path / "none", n_pages=64)


@pytest.mark.parametrize(
    ("more", "error", "message"),
    [
        ({"n_pages": None}, InvalidArgument, "n_pages must be given"),
        ({"n_pages": 0}, InvalidArgument, "n_pages"),
        ({"n_pages": 2**35 + 1}, InvalidArgument, "n_pages"),
        ({"n_pages": 2, "first_page": 2**35 - 1}, InvalidArgument, "n_pages"),
        ({"first_page": -1}, InvalidArgument, "first_page"),
        ({"n_pages": 64.0}, TypeError, "n_pages"),
        ({"first_page": True}, TypeError, "first_page"),
        ({"allow_cut": 1}, TypeError, "allow_cut"),
        ({"name": 1}, TypeError, "name"),
        ({"progress": 1}, TypeError, "progress"),
        ({"source": None}, TypeError, "source"),
    ],
)
def test_import__bad_arguments(more: dict[str, Any], error: type[Exception], message: str) -> None:
    """Refused before anything is read."""
    source = io.BytesIO(ALL)
    with pytest.raises(error, match=message):
        import_bitmaps(**{"source": source, "n_pages": N_PAGES, **more})
    assert source.tell() == 0
