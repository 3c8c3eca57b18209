"""Files that are written whole or not at all."""

import os
from pathlib import Path

import pytest

from npt._files import write_whole
from tests.interrupts.interrupt import KINDS, interrupted

OLD, NEW = b"old" * 10, b"new" * 1000


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*unclosed file:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_write__interrupted_anywhere(tmp_path: Path, kind: str) -> None:
    """The file is the old one or the new one, nothing else is left, and files are made as before."""
    path, n = tmp_path / "file", 1
    seen = set()
    path.write_bytes(OLD)
    mask = _umask()
    while interrupted(lambda: write_whole(path, NEW), kind, n):
        seen.add(path.read_bytes())
        assert list(tmp_path.iterdir()) == [path]
        assert _umask() == mask
        path.write_bytes(OLD)
        n += 1
    assert n > 5
    assert seen <= {OLD, NEW}
    assert OLD in seen
    assert path.read_bytes() == NEW


def test_write__that_fails_leaves_no_scraps(tmp_path: Path) -> None:
    """What cannot take the file's place is removed again."""
    path = tmp_path / "file"
    path.write_bytes(OLD)
    with pytest.raises(TypeError):
        write_whole(path, "text")  # type: ignore[arg-type]
    assert path.read_bytes() == OLD
    assert list(tmp_path.iterdir()) == [path]


def test_write__new_file_has_the_usual_mode(tmp_path: Path) -> None:
    """As any other that is made here; a scratch file would be its owner's alone."""
    (tmp_path / "other").write_bytes(b"")
    write_whole(tmp_path / "file", memoryview(NEW))
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "other").stat().st_mode
    assert (tmp_path / "file").read_bytes() == NEW


def test_write__into_a_file_that_is_there(tmp_path: Path) -> None:
    """It keeps its mode, and a link to it stays a link."""
    path, link = tmp_path / "file", tmp_path / "link"
    path.write_bytes(OLD)
    path.chmod(0o640)
    link.symlink_to(path)
    write_whole(link, NEW)
    assert link.is_symlink()
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (NEW, 0o640)


def test_write__a_name_as_long_as_there_may_be(tmp_path: Path) -> None:
    """The scratch file beside it has a name of its own."""
    path = tmp_path / ("x" * 255)
    write_whole(path, NEW)
    assert path.read_bytes() == NEW
