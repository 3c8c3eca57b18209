"""Result tables: saved, loaded, refused."""

import os
import threading
from pathlib import Path

import pytest

from npt import InvalidArgument
from npt.studies import Results


def test_json__loads_what_was_saved(tmp_path: Path) -> None:
    """Rows and meta come back."""
    made = Results([{"a": 1, "b": None}, {"a": 2.5, "b": "x"}], {"seed": 3})
    made.save_json(tmp_path / "r.json")
    again = Results.load_json(tmp_path / "r.json")
    assert (list(again.rows), dict(again.meta)) == (list(made.rows), dict(made.meta))


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": "other/1", "rows": [], "meta": {}}'])
def test_json__another_file_is_refused(tmp_path: Path, text: str) -> None:
    """A clear error, not a KeyError."""
    file = tmp_path / "r.json"
    file.write_text(text)
    with pytest.raises(InvalidArgument, match="is not a result file"):
        Results.load_json(file)


def test_csv__repeats_what_a_row_needs_to_stand_alone(tmp_path: Path) -> None:
    """Seed, CPU and commit stand in every line."""
    Results([{"a": 1}, {"a": 2}], {"seed": 3, "cpu": "one, two", "commit": None, "other": 1}).save_csv(tmp_path / "r.csv")
    assert (tmp_path / "r.csv").read_text() == 'a,seed,cpu,commit\n1,3,"one, two",\n2,3,"one, two",\n'


def test_save__replaces_the_whole_file_or_nothing(tmp_path: Path) -> None:
    """What cannot be written leaves the old file and no scraps."""
    file = tmp_path / "r.json"
    Results([], {"seed": 1}).save_json(file)
    before = file.read_text()
    with pytest.raises(TypeError):
        Results([{"a": object()}], {}).save_json(file)
    assert file.read_text() == before
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_save__into_a_pipe_leaves_the_pipe(tmp_path: Path) -> None:
    """What is no regular file is written to, not replaced."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    Results([], {"seed": 1}).save_json(pipe)
    reader.join()
    assert '"seed": 1' in read[0]
    assert pipe.is_fifo()


def test_save__through_a_link_keeps_link_and_mode(tmp_path: Path) -> None:
    """The file it leads to is replaced, with the mode that it had."""
    target, link = tmp_path / "target.json", tmp_path / "link.json"
    target.write_text("old")
    target.chmod(0o600)
    link.symlink_to(target)
    Results([], {"seed": 1}).save_json(link)
    assert link.is_symlink()
    assert "seed" in target.read_text()
    assert target.stat().st_mode & 0o777 == 0o600
