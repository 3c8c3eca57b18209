"""Files that are written whole or not at all."""

from pathlib import Path

import pytest

from npt._files import write_whole
from tests.interrupts.interrupt import KINDS, interrupted

OLD, NEW = b"old" * 10, b"new" * 1000


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*unclosed file:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_write__interrupted_anywhere(tmp_path: Path, kind: str) -> None:
    """The file is the old one or the new one."""
    path, n = tmp_path / "file", 1
    seen = set()
    path.write_bytes(OLD)
    while interrupted(lambda: write_whole(path, NEW), kind, n):
        seen.add(path.read_bytes())
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
