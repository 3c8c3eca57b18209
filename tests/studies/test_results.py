"""Result tables: saved, loaded, refused."""

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
