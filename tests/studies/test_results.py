"""Result tables: saved, loaded, refused."""

import io
import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from npt import InvalidArgument
from npt.studies import Results

FORMS = ("json", "jsonl", "csv")
INTEGERS = st.integers() | st.sampled_from([2**53 + 1, -(2**63), 2**64, 10**40])
TEXT = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(
    ['a,"b"', "\r\n", "\n", "\r", "ä\u2028€", " 1", "\0"]
)
PLAIN = st.none() | st.booleans() | INTEGERS | st.floats() | TEXT
NAMES = st.lists(TEXT, min_size=1, max_size=4, unique=True)


def tables(values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[dict[str, Any]]]:
    """Rows with the same columns."""
    return NAMES.flatmap(lambda names: st.lists(st.fixed_dictionaries(dict.fromkeys(names, values)), max_size=4))


def save(results: Results, path: Path) -> None:
    """In the form that the name asks for."""
    getattr(results, f"to_{path.suffix[1:]}")(path)


def exact(rows: Any) -> str:
    """Text that differs wherever values or types do: nan is itself, 1 is not 1.0, nor -0.0 is 0.0."""
    return repr([list(row.items()) for row in rows])


def looks_like_text(value: object) -> bool:
    """Whether a CSV can tell that it is text: by a rule of the test's own."""
    if not isinstance(value, str):
        return True
    if value in ("", "True", "False"):
        return False
    try:
        float(value)
    except ValueError:
        return True
    return False


@pytest.mark.parametrize("form", ["json", "jsonl"])
@given(rows=tables(PLAIN), meta=st.dictionaries(TEXT, PLAIN | st.lists(PLAIN)), units=st.dictionaries(TEXT, TEXT))
@example(rows=[], meta={}, units={})
@example(rows=[{}], meta={"n_rows": 7}, units={"n_rows": "rows"})
@example(rows=[{"a": 1}, {"b": None}], meta={"rows": []}, units={})
def test_json__loads_what_was_saved(
    tmp_path_factory: pytest.TempPathFactory, form: str, rows: Any, meta: dict[str, Any], units: dict[str, str]
) -> None:
    """Rows, meta and units come back, value by value."""
    path = tmp_path_factory.getbasetemp() / f"round-trip.{form}"
    save(Results(rows, meta, units), path)
    again = Results.load(path)
    assert exact(again.rows) == exact(rows)
    assert exact([again.meta, again.units]) == exact([meta, units])


@given(rows=tables(PLAIN.filter(looks_like_text)))
@example(rows=[{"a": None}])
@example(rows=[{"a": 1e300, "b": -1e-7}, {"a": float("-inf"), "b": 1e16}])
def test_csv__loads_what_was_saved(tmp_path_factory: pytest.TempPathFactory, rows: Any) -> None:
    """Rows come back, but for text that looks like something else."""
    path = tmp_path_factory.getbasetemp() / "round-trip.csv"
    save(Results(rows, {}), path)
    assert exact(Results.load(path).rows) == exact({name: row[name] for name in rows[0]} for row in rows)


@pytest.mark.parametrize("text", ["007", "+1", "1_000", "0x10", "1e", ".", "-", "true", "nan1", "1" * 1001])
def test_csv__what_only_resembles_a_number_is_text(tmp_path: Path, text: str) -> None:
    """A seed or a commit keeps its zeros."""
    save(Results([{"a": text}], {}), tmp_path / "r.csv")
    assert Results.load(tmp_path / "r.csv").rows == [{"a": text}]


@pytest.mark.parametrize("form", FORMS)
def test_load__a_column_that_a_row_has_not(tmp_path: Path, form: str) -> None:
    """A table of cells has None there; columns stand in the order in which rows bring them up."""
    made = Results([{"a": 1}, {"b": 2, "a": 3}], {})
    assert made.columns == ("a", "b")
    save(made, tmp_path / f"r.{form}")
    again = Results.load(tmp_path / f"r.{form}")
    assert [[row.get("a"), row.get("b")] for row in again.rows] == [[1, None], [3, 2]]


def test_jsonl__is_a_line_a_row(tmp_path: Path) -> None:
    """First the meta, then a row a line, for tools that read line by line."""
    save(Results([{"a": "x\n\u2028"}, {"a": 2}], {"seed": 3}, {"a": "ns"}), tmp_path / "r.jsonl")
    head, *rows = map(json.loads, (tmp_path / "r.jsonl").read_text().splitlines())
    assert (head["meta"], head["units"]) == ({"seed": 3}, {"a": "ns"})
    assert rows == [{"a": "x\n\u2028"}, {"a": 2}]


def test_load__goes_by_what_json_says_not_by_its_name(tmp_path: Path) -> None:
    """A file may be called anything; so may a pipe."""
    made = Results([{"a": 1}], {"n": "n_rows"}, {})
    for form in ("json", "jsonl"):
        save(made, tmp_path / f"r.{form}")
        (tmp_path / f"r.{form}").rename(tmp_path / "results")
        assert Results.load(tmp_path / "results") == made


def test_load__one_line_document(tmp_path: Path) -> None:
    """As another tool may have written it, even with what looks like the first line of rows in it."""
    (tmp_path / "r.json").write_text('{"format": "npt-results/1", "meta": {"n_rows": 1}, "rows": [{"n_rows": 2}]}')
    assert Results.load(tmp_path / "r.json").rows == [{"n_rows": 2}]


@pytest.mark.parametrize("kept", [0, 1, 2])
@pytest.mark.parametrize("torn", [False, True])
def test_jsonl__cut_short_is_refused(tmp_path: Path, kept: int, torn: bool) -> None:
    """Between two rows or in the middle of one: fewer rows are not passed off as all."""
    file = tmp_path / "r.jsonl"
    save(Results([{"a": k} for k in range(3)], {}), file)
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[: kept + 1]) + (lines[kept + 1][:-1] if torn else ""))
    with pytest.raises(InvalidArgument, match="cut short"):
        Results.load(file)


def test_jsonl__grown_is_refused(tmp_path: Path) -> None:
    """Half a row more, or a whole one, is nobody's."""
    file = tmp_path / "r.jsonl"
    save(Results([{"a": 1}], {}), file)
    for more in ('{"a":', '{"a": 2}\n'):
        with open(file, "a") as text:
            text.write(more)
        with pytest.raises(InvalidArgument, match="or grew"):
            Results.load(file)


def test_csv__empty_lines_are_nothing(tmp_path: Path) -> None:
    """Other programs leave some at the end."""
    (tmp_path / "r.csv").write_text("a,b\r\n1,2\r\n\r\n")
    assert Results.load(tmp_path / "r.csv").rows == [{"a": 1, "b": 2}]


@pytest.mark.parametrize(
    "text", ["a,a\n1,2\n", "a,b\n1\n", "a\n1,2\n", 'a\n"1', b"a\n\xff\n", 'a\n"1"2\n'],
    ids=["twice", "few", "many", "open", "latin", "quote"],
)  # fmt: skip
def test_csv__another_file_is_refused(tmp_path: Path, text: str | bytes) -> None:
    """What has no one meaning."""
    file = tmp_path / "r.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InvalidArgument, match=r"r\.csv "):
        Results.load(file)


@pytest.mark.parametrize("form", FORMS)
def test_load__no_file(tmp_path: Path, form: str) -> None:
    """The system's own error."""
    with pytest.raises(FileNotFoundError):
        Results.load(tmp_path / f"r.{form}")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("rows", [[{1: 2}], [{"a": 1}, {None: 2}]])
def test_save__names_that_are_no_text(tmp_path: Path, form: str, rows: Any) -> None:
    """JSON would make text of them."""
    with pytest.raises(TypeError, match="names of columns"):
        save(Results(rows, {}), tmp_path / f"r.{form}")
    assert not any(tmp_path.iterdir())


def test_csv__what_utf8_has_not(tmp_path: Path) -> None:
    """Half of a pair of surrogates: JSON can say it, a CSV cannot."""
    made: Mapping[str, str] = {"a": "\ud800"}
    save(Results([made], {}), tmp_path / "r.json")
    assert Results.load(tmp_path / "r.json").rows == [made]
    with pytest.raises(InvalidArgument, match="UTF-8"):
        save(Results([made], {}), tmp_path / "r.csv")
    assert not (tmp_path / "r.csv").exists()


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "{}", "3", "[" * 100_000,
        '{"format": "other/1", "rows": [], "meta": {}}',
        '{"format": "npt-results/1", "rows": [3], "meta": {}}',
        '{"format": "npt-results/1", "rows": {}, "meta": {}}',
        '{"format": "npt-results/1", "rows": [], "meta": []}',
        '{"format": "npt-results/1", "rows": [], "meta": {}, "units": {"a": 1}}',
        '{"format": "other/1", "meta": {}, "n_rows": 0}\n',
        '{"format": "npt-results/1", "meta": {}, "n_rows": 1}\n3\n',
        '["n_rows"]\n',
    ],
    ids=range(14),
)  # fmt: skip
def test_json__another_file_is_refused(tmp_path: Path, text: str) -> None:
    """A clear error, not a KeyError."""
    file = tmp_path / "r.json"
    file.write_text(text)
    with pytest.raises(InvalidArgument, match="is not a result file"):
        Results.load(file)


def test_csv__repeats_what_a_row_needs_to_stand_alone(tmp_path: Path) -> None:
    """Seed, CPU and commit stand in every line."""
    Results([{"a": 1}, {"a": 2}], {"seed": 3, "cpu": "one, two", "commit": None, "other": 1}).to_csv(tmp_path / "r.csv")
    assert (tmp_path / "r.csv").read_text() == 'a,seed,cpu,commit\n1,3,"one, two",\n2,3,"one, two",\n'


def test_csv__a_row_s_own_column_counts(tmp_path: Path) -> None:
    """A point of a sweep has a seed of its own."""
    save(Results([{"seed": 5, "a": 1}], {"seed": 3, "cpu": "x"}), tmp_path / "r.csv")
    assert (tmp_path / "r.csv").read_text() == "seed,a,cpu\n5,1,x\n"


@pytest.mark.parametrize("form", ["json", "jsonl"])
def test_save__replaces_the_whole_file_or_nothing(tmp_path: Path, form: str) -> None:
    """What cannot be written leaves the old file and no scraps."""
    file = tmp_path / f"r.{form}"
    save(Results([], {"seed": 1}), file)
    before = file.read_text()
    with pytest.raises(TypeError):
        save(Results([{"a": 1}, {"a": object()}], {}), file)
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
    Results([], {"seed": 1}).to_json(pipe)
    reader.join()
    assert '"seed": 1' in read[0]
    assert pipe.is_fifo()


def test_save__through_a_link_keeps_link_and_mode(tmp_path: Path) -> None:
    """The file it leads to is replaced, with the mode that it had."""
    target, link = tmp_path / "target.json", tmp_path / "link.json"
    target.write_text("old")
    target.chmod(0o600)
    link.symlink_to(target)
    Results([], {"seed": 1}).to_json(link)
    assert link.is_symlink()
    assert "seed" in target.read_text()
    assert target.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("form", ["to_json", "to_jsonl", "to_csv"])
def test_save__into_an_open_file(tmp_path: Path, form: str) -> None:
    """The same bytes, behind what is there, and it stays open; what is no file of bytes is refused."""
    made, path, opened = Results([{"a": 1, "b": "\u00e9"}], {"seed": 1}, {"a": "ns"}), tmp_path / "r", io.BytesIO(b"before ")
    opened.seek(0, io.SEEK_END)
    getattr(made, form)(path)
    getattr(made, form)(opened)
    assert opened.getvalue() == b"before " + path.read_bytes()
    for target in (io.StringIO(), 5, None, b"name"):
        with pytest.raises(TypeError, match="a file's name or an open file of bytes"):
            getattr(made, form)(target)
