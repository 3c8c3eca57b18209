"""No test passes by looking at nothing: what is found in the tests, and what must be found where it is planted."""

import textwrap
import tomllib
from pathlib import Path

import pytest

from tests.vacuity.rules import findings
from tests.vacuity.sources import Sources

ROOT = Path(__file__).parents[2]

# by module and function: why nothing may be there to be looked at
EXCEPTIONS = {
    ("tests.ahead", "_do"): "finalizers and threads have nothing to say as a rule",
    ("tests.dirty.test_working_set_oracle", "sampled"): "hypothesis draws what was read: now nothing, now much",
    ("tests.interleavings.kicks", "kick_against_long_run.finish"): "some schedule must wait: that is one of its outcomes",
    ("tests.failures.guest", "Guest.check_marked"): "most failed calls wrote nothing",
    ("tests.failures.guest", "check_locks"): "a space that was closed has no gates",
    ("tests.properties.test_kernel_twins", "test_twin__does_the_same"): "a kernel without arrays has a result",
    ("tests.kernels.test_machine_code", "test_loops__use_nothing_that_the_machine_has_not"): "the widest machine has all",
}

HEAD = """
from itertools import count, pairwise, product

import pytest
from hypothesis import given
from tests import helpers

CASES = {"a": [1], "b": [2]}
FOUND = [path for path in helpers.files() if path]

@pytest.fixture
def xs():
    return []
"""

HELPERS = """
def same(one, other):
    assert one == other

def through(one):
    same(one, one)

def files():
    return []

def numbers():
    yield 1

def some(n):
    for k in range(n):
        if k > 2:
            yield k

class Guest:
    def look(self):
        assert self

    def work(self):
        return 1
"""

VACUOUS = {
    "for over what a fixture gives": "for x in xs: assert x",
    "for over a call": "for x in helpers.files(): assert x",
    "for over a filtered constant": "for x in FOUND: assert x",
    "for over a filter": "for x in [c for c in CASES if c > 'a']: assert x",
    "for in a for": "for x in (1, 2):\n for y in xs: assert y",
    "for beside another assertion": "assert CASES\nfor x in xs: assert x",
    "for with a helper": "for x in xs: helpers.same(x, x)",
    "for with raises": "for x in xs:\n with pytest.raises(ValueError): int(x)",
    "for over no number": "for x in range(len(xs)): assert x",
    "for over none": "for x in (): assert x",
    "for over a negative range": "for x in range(3, 3): assert x",
    "for over an empty slice": "for x in [1, 2][5:]: assert x",
    "for over a zip": "for x, y in zip([1], xs): assert x",
    "for over a product": "for x, y in product([1], xs): assert x",
    "for over pairs of one": "for x, y in pairwise([1]): assert x",
    "for over what was emptied": "ys = [1]\nys.clear()\nfor y in ys: assert y",
    "for over what may not be yielded": "for x in helpers.some(3): assert x",
    "for counted and not looked at": "n = 0\nfor x in xs:\n n += 1\n assert x",
    "for counted to nothing": "seen = []\nfor x in xs:\n seen.append(x)\n assert x\nassert seen == []",
    "for counted within another": "n = 0\nfor x in xs:\n n += 1\n assert n > 0",
    "for only some of which is wrong": "ys = [x for x in xs]\nfor x in ys: assert x\nassert not ys",
    "while": "while xs: assert xs.pop()",
    "all": "assert all(x for x in xs)",
    "all of a name": "ys = [x for x in xs]\nassert all(ys)",
    "all of a filter": "assert all(x for x in (1, 2) if x > 5)",
    "all of a map": "assert all(map(bool, xs))",
    "all and more": "assert CASES and all(x for x in xs)",
    "not any": "assert not any(x for x in xs)",
    "no strays": "assert [x for x in xs if x] == []",
    "no strays by name": "strays = {x for x in xs if x}\nassert strays == set()",
    "no strays at all": "assert not [x for x in xs if x]",
    "a subset": "assert {x for x in xs} <= {1, 2}",
    "two that are nothing": "assert [x for x in xs] == [y for y in xs]",
    "nothing asserted": "xs.sort()",
    "a method that does not assert": "helpers.Guest().work()",
    "under an if": "if xs: assert xs",
    "under one branch": "if xs:\n assert xs\nelse:\n xs.sort()",
    "swallowed": "try:\n assert xs\nexcept Exception:\n pass",
    "swallowed bare": "try:\n assert xs\nexcept:\n pass",
    "suppressed": "import contextlib\nwith contextlib.suppress(AssertionError): assert xs",
}

SOUND = {
    "a literal": "for x in (1, 2): assert x",
    "a constant": "for x in CASES: assert x",
    "values of a constant": "for case in CASES.values():\n for x in case: assert x",
    "items of a constant": "for name, case in CASES.items():\n for x in case: assert x",
    "a number": "for x in range(2 * 3): assert x",
    "up to a count": "for x in range(len(xs) + 1): assert x >= 0",
    "for ever": "for x in count():\n assert x < 3\n if x == 2: break",
    "a product": "for x, y in product(CASES, [1]): assert x",
    "all of a constant": "assert all(CASES[x] for x in CASES)",
    "what is yielded": "for x in helpers.numbers(): assert x",
    "its length": "assert len(xs) == 3\nfor x in xs: assert x",
    "its length afterwards": "for x in xs: assert x\nassert len(xs) == 3",
    "what it was made from": "ys = [x for x in xs if x]\nassert len(ys) > 2\nassert all(x for x in xs)",
    "a count": "n = 0\nfor x in xs:\n assert x\n n += 1\nassert n > 2",
    "a list": "seen = []\nfor x in xs:\n seen.append(x)\n assert x\nassert seen == [1, 2]",
    "equal to a literal": "assert [x for x in xs] == [1, 2]",
    "equal, and counted": "assert len(xs) > 2\nassert [x for x in xs] == [y for y in CASES]",
    "a helper": "helpers.same(xs, xs)",
    "a helper of a helper": "helpers.through(xs)",
    "a method": "helpers.Guest().look()",
    "raises": "with pytest.raises(ValueError): int('x')",
    "both branches": "if xs: assert xs\nelse: assert not xs",
    "a function inside": "def look(): assert xs\nlook()",
    "raised again": "try:\n assert xs\nexcept AssertionError:\n raise",
    "another error": "assert xs == []\ntry:\n assert not xs\nexcept ValueError:\n pass",
}


def found_in(tmp_path: Path, body: str, decorator: str = "") -> list[str]:
    """What is said of one test in a folder of its own."""
    folder = tmp_path / "tests"
    folder.mkdir()
    (folder / "helpers.py").write_text(HELPERS)
    test = f"{decorator}\ndef test_planted(xs):\n{textwrap.indent(body, '    ')}\n"
    (folder / "test_planted.py").write_text(HEAD + test)
    found = findings(Sources(folder))
    assert {one.module for one in found} <= {"tests.test_planted"}
    return [one.what for one in found]


def test_tests__none_is_vacuous() -> None:
    """Each loop with assertions has something to go over, or the test says how much; and exceptions are needed."""
    sources = Sources(ROOT / "tests")
    assert len(sources.by_name) > 250
    assert sum(name.startswith("test_") for source in sources.by_name.values() for name in source.scopes) > 2000
    found = findings(sources)
    new = [f"{one.module}:{one.line} {one.function}: {one.what}" for one in found if one[:2] not in EXCEPTIONS]
    assert "\n".join(new) == ""
    assert {one[:2] for one in found} == set(EXCEPTIONS)


@pytest.mark.parametrize("name", VACUOUS)
def test_vacuous__is_found(tmp_path: Path, name: str) -> None:
    """Whatever else stands in the test."""
    assert found_in(tmp_path, VACUOUS[name]) != []


@pytest.mark.parametrize("name", SOUND)
def test_sound__is_not_found(tmp_path: Path, name: str) -> None:
    """Nothing is said of what has its cases."""
    assert found_in(tmp_path, SOUND[name]) == []


@pytest.mark.parametrize(("values", "n"), [("[[1], [2]]", 0), ("[[1], []]", 1), ("[helpers.files()]", 1)])
def test_parameters__are_looked_at(tmp_path: Path, values: str, n: int) -> None:
    """A loop over a parameter is as good as the least that it may be."""
    decorator = f'@pytest.mark.parametrize("xs", {values})'
    assert len(found_in(tmp_path, "for x in xs: assert x", decorator)) == n


def test_parameters__none_at_all_fail() -> None:
    """A test with an empty list of parameters is no test that is skipped."""
    options = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["pytest"]["ini_options"]
    assert options["empty_parameter_set_mark"] == "fail_at_collect"
