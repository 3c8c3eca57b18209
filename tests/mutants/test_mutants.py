"""The list fits the files, the table fits the list, a few mutants die, and the runner tells what it should of each kind.

All of them are planted by ``python -m tests.mutants``. Here a fixed few are, two at a time; what becomes of the rest, the table
says.
"""

import re
import shutil
import tempfile
from pathlib import Path

import pytest

from tests.ahead import Done, ahead
from tests.mutants.__main__ import main
from tests.mutants.campaign import Kept, all_of, pass_without
from tests.mutants.everything import MUTANTS
from tests.mutants.mutant import ROOT, Edit, Mutant, Stale
from tests.mutants.running import BROKEN, KILLED, LIMIT, SURVIVED, Running, Verdict, copied
from tests.mutants.table import TABLE, as_text, rows

_FEW = (
    "ept: A and D swapped",
    "npt: no-execute not heeded",
    "errno of a stale handle",
    "spans: not merged with the one before",
    "missing zero",
    "quarantine skipped",
    "unlink: highest directory stays",
    "populate: last page",
    "into overwritten",
    "TLB not flushed",
)
_BY_NAME = {mutant.name: mutant for mutant in MUTANTS}
_FILES = {file: (ROOT / file).read_text() for mutant in MUTANTS for file in (test.partition("::")[0] for test in mutant.tests)}
_KINDS = {
    "formats", "tables", "marks", "bitmaps", "memory", "space", "protocol", "vcpus", "logs", "statistics", "studies",
}  # fmt: skip


# -- the list and the table ---------------------------------------------------------------------------------------------


def test_mutants__fit_the_files() -> None:
    """Each finds its text exactly once, and what comes of it is Python and something else."""
    assert len(MUTANTS) >= 60
    for mutant in MUTANTS:
        texts = mutant.planted()
        assert texts
        assert all(text != (ROOT / file).read_text() for file, text in texts.items()), mutant.name


def test_mutants__have_names_of_their_own() -> None:
    """And say what they are."""
    assert len(_BY_NAME) == len(MUTANTS) >= 40
    assert all(mutant.sentence and mutant.tests for mutant in MUTANTS)


def _is_there(test: str) -> bool:
    """Whether a test is in its file."""
    file, _, name = test.partition("::")
    return re.search(rf"^def {re.escape(name.partition('[')[0])}", _FILES[file], re.MULTILINE) is not None


def test_mutants__name_tests_that_there_are() -> None:
    """Those that are meant to notice them."""
    meant = [test for mutant in MUTANTS for test in mutant.tests]
    assert len(meant) >= len(MUTANTS)
    assert [test for test in meant if not _is_there(test)] == []


def test_mutants__are_of_every_kind() -> None:
    """No list of a subject is left out."""
    assert {file.stem for file in Path(__file__).parent.glob("planted/*.py")} == _KINDS
    assert {mutant.name for mutant in MUTANTS} >= set(_FEW)


def test_table__lists_all_and_all_are_killed() -> None:
    """In the order of the list, each by a test that there is; ``python -m tests.mutants`` makes it."""
    text = TABLE.read_text()
    made = rows(text)
    assert [(name, sentence) for name, sentence, _, _ in made] == [(one.name, one.sentence) for one in MUTANTS]
    assert [row for row in made if row[3] != KILLED] == []
    assert f"{len(MUTANTS)} of {len(MUTANTS)} killed" in text
    for name, _, test, _ in made:
        assert _BY_NAME[name].hangs or (test.partition("::")[0] in _FILES and _is_there(test)), name


def test_table__says_what_it_was_told() -> None:
    """Bars and brackets, too."""
    verdicts = [Verdict("a | b", KILLED, "tests/x.py::test_y[a|b-1]", ""), Verdict("c", SURVIVED, "", "")]
    text = as_text({"a | b": "x | y", "c": "z"}, verdicts)
    assert rows(text) == [("a | b", "x | y", "tests/x.py::test_y[a|b-1]", KILLED), ("c", "z", "", SURVIVED)]
    assert "1 of 2 killed" in text


# -- a few of them ------------------------------------------------------------------------------------------------------


def planted(name: str) -> tuple[str, str, str]:
    """What becomes of a mutant, the test that notices it, and what was said."""
    return Running().run(_BY_NAME[name])[1:]


@pytest.mark.slow
@ahead(planted)
@pytest.mark.parametrize("name", _FEW)
def test_mutant__is_killed(name: str, done: Done) -> None:
    """By the test that the table says."""
    verdict, test, said = done()
    assert verdict == KILLED, said
    assert test == {row[0]: row[2] for row in rows(TABLE.read_text())}[name]


def unharmed(name: str) -> tuple[str, str, str]:
    """The same tests without a mutant."""
    return Running().run(_BY_NAME[name].unharmed)[1:]


@pytest.mark.slow
@ahead(unharmed)
@pytest.mark.parametrize("name", ["ept: A and D swapped", "unlink: highest directory stays", "TLB not flushed"])
def test_mutant__its_tests_pass_without_it(name: str, done: Done) -> None:
    """In the very same way: interpreted, and by compiled kernels of this checkout."""
    verdict, _, said = done()
    assert verdict == SURVIVED, said


# -- what the runner says -----------------------------------------------------------------------------------------------

_SUM = "def add(a, b):  # two numbers\n    return a + b\n"
_TESTS = """import os
import pytest
from npt.sum import add

class Untypeable(Exception):
    pass

Untypeable.__module__ = "numba.core.errors"

@pytest.fixture
def three():
    assert add(1, 2) != 4
    yield add(1, 2)
    assert add(1, 2) != 5

def test_add__is_exact():
    assert add(2, 2) == 4

def test_add__of_a_fixture(three):
    assert three in (3, 5)

def test_add__ends():
    while add(1, 1) == 7:
        pass

def test_add__lives():
    if add(3, 3) == 11:
        os._exit(1)
    if add(3, 3) == 12:
        raise Untypeable
"""


def _mutant(new: str, *, old: str = "return a + b", only: str = "", hangs: bool = False) -> Mutant:
    edit: Edit = ("npt/sum.py", old, new)
    return Mutant("wrong sum", "it is wrong", (edit,), ("tests/test_sum.py",), only, hangs=hangs)


def small_checkout(root: Path) -> Path:
    """A function, and tests of it."""
    for folder in ("npt", "tests/mutants"):
        (root / folder).mkdir(parents=True)
    for file in ("npt/__init__.py", "tests/__init__.py", "README.md"):
        (root / file).touch()
    (root / "npt/sum.py").write_text(_SUM)
    (root / "tests/test_sum.py").write_text(_TESTS)
    (root / "pyproject.toml").write_text("[tool.pytest.ini_options]\naddopts = ['--import-mode=importlib']\n")
    shutil.copy2(ROOT / "tests/mutants/witness.py", root / "tests/mutants/witness.py")
    return root


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A small one."""
    return small_checkout(tmp_path)


def told(mutant: Mutant, limit: float, **_: object) -> Verdict:
    """What becomes of a mutant of a small checkout."""
    with tempfile.TemporaryDirectory() as root:
        return Running(small_checkout(Path(root))).run(mutant, limit)


@pytest.mark.slow
@ahead(told)
@pytest.mark.parametrize(
    ("mutant", "limit", "verdict", "test"),
    [
        (_mutant("return a + b + (a == 2)"), LIMIT, KILLED, "test_add__is_exact"),
        (_mutant("return 1 // 0"), LIMIT, KILLED, "test_add__is_exact"),
        (_mutant("return b + a"), LIMIT, SURVIVED, ""),
        (_mutant("numbers", old="two numbers"), LIMIT, SURVIVED, ""),
        (_mutant("return 4", only="fixture"), LIMIT, BROKEN, ""),
        (_mutant("return 5", only="fixture"), LIMIT, KILLED, "test_add__of_a_fixture"),
        (_mutant("return nothing\nnothing = 1 / 0"), LIMIT, BROKEN, ""),
        (_mutant("return 11 if a == 3 else a + b"), LIMIT, BROKEN, ""),
        (_mutant("return 12 if a == 3 else a + b"), LIMIT, BROKEN, ""),
        (_mutant("return 1", only="there_is_no_such_test"), LIMIT, BROKEN, ""),
        (_mutant("return 7 if a == b == 1 else a + b"), 5.0, BROKEN, ""),
        (_mutant("return 7 if a == b == 1 else a + b", hangs=True), 5.0, KILLED, ""),
    ],
    ids=[
        "assertion",
        "error",
        "same",
        "comment",
        "fixture",
        "leak",
        "import",
        "dies",
        "not compiled",
        "no test",
        "hangs",
        "meant to",
    ],
)
def test_run__tells(mutant: Mutant, limit: float, verdict: str, test: str, done: Done) -> None:
    """Killed where a test failed, or did not end and was meant to; broken where none could."""
    found: Verdict = done()
    assert found.verdict == verdict, found.said
    assert found.test == (f"tests/test_sum.py::{test}" if test else "(does not end)" if limit < LIMIT else "")


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [("return a - b", "0", "0 times"), ("a", "0", "times, not once"), ("return a + b", "return a +", "no Python any more")],
)
def test_stale__is_refused(old: str, new: str, why: str, checkout: Path) -> None:
    """Its text is not there, or there more than once, or what comes of it is no Python."""
    with pytest.raises(Stale, match=f"stale mutant 'wrong sum'.*{why}"):
        Running(checkout).run(_mutant(new, old=old))


@pytest.mark.slow
def test_command__exit_code_and_table(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """0 if all die, 1 if one survives or is stale; the table has those that were planted."""
    table = checkout / "TABLE.md"
    dies, survives, stale = _mutant("return a * 3"), _mutant("return b + a"), _mutant("", old="return a - b")
    for mutant, code, verdict in ((dies, 0, KILLED), (survives, 1, SURVIVED), (stale, 1, BROKEN)):
        assert main(["--jobs", "1"], [mutant], checkout, table) == code
        assert [row[3] for row in rows(table.read_text())] == [verdict]
    assert "stale mutant" in capsys.readouterr().out


@pytest.mark.slow
def test_control__that_fails_ends_it(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where tests fail without a mutant nothing is planted, and no table is written."""
    (checkout / "npt/sum.py").write_text(_SUM.replace("a + b", "a - b"))
    assert not pass_without([_mutant("return 0", old="return a - b")], 1, Kept(None), checkout)
    assert main([], [_mutant("return 0", old="return a - b")], checkout, checkout / "TABLE.md") == 1
    assert "control failure" in capsys.readouterr().out
    assert not (checkout / "TABLE.md").exists()


@pytest.mark.slow
def test_keep__does_nothing_twice(checkout: Path, tmp_path: Path) -> None:
    """What is kept is told again, until the mutant, its file or its tests change."""
    mutant, kept = _mutant("return a * 3"), tmp_path / "kept.jsonl"
    first = all_of([mutant], 1, Kept(kept, checkout), print, checkout)
    (checkout / "pyproject.toml").unlink()  # whoever would run it again would fail
    assert all_of([mutant], 1, Kept(kept, checkout), print, checkout) == first
    for file in ("npt/sum.py", "tests/test_sum.py"):
        (checkout / file).write_text((checkout / file).read_text() + "\n")
        assert Kept(kept, checkout).get(mutant) is None
        (checkout / file).write_text((checkout / file).read_text()[:-1])
    assert Kept(kept, checkout).get(_mutant("return a * 4")) is None
    assert Kept(kept, checkout).get(mutant) == first[0]


def test_copy__leaves_the_checkout_alone(checkout: Path) -> None:
    """What is written into a copy is not in the checkout, and the copy goes."""
    with copied(checkout) as copy:
        (copy / "npt/sum.py").write_text("")
    assert (checkout / "npt/sum.py").read_text() == _SUM
    assert not copy.exists()


def test_list__names_all(capsys: pytest.CaptureFixture[str]) -> None:
    """And plants none."""
    assert main(["--list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(MUTANTS)


def test_command__of_a_mutant_that_there_is_not() -> None:
    """It is refused before anything is run."""
    with pytest.raises(SystemExit, match="there is no mutant"):
        main(["no such mutant"])
