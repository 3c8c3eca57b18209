"""README tells the truth: its Python blocks run, and its commands are the ones that are tested."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.dirty import test_bad_input as dirty
from tests.machines.test_fuzz import OPERATIONS
from tests.space import test_bad_input as space
from tests.space.test_order_of_pairs import CASES
from tests.studies import test_bad_input as studies
from tests.truth.test_hardware import PLAN

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(?P<language>\w+)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)


def _blocks(language: str) -> list[tuple[int, str]]:
    """Line number and text of every block in a language."""
    return [
        (README.count("\n", 0, found.start("code")), found["code"])
        for found in BLOCK.finditer(README)
        if found["language"] == language
    ]


def test_readme__python_blocks_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One after another, as a reader would type them."""
    monkeypatch.chdir(tmp_path)
    blocks = _blocks("python")
    assert blocks
    names: dict[str, Any] = {"__name__": "readme"}
    for line, code in blocks:
        exec(compile("\n" * line + code, str(ROOT / "README.md"), "exec"), names)


def test_readme__ci_command_is_one_shell_line() -> None:
    """What follows the mark makes an environment, installs the tools, and runs all tests."""
    marked = README.split("<!-- ci:test -->")
    assert len(marked) == 2
    found = BLOCK.search(marked[1])
    assert found is not None
    (line,) = found["code"].splitlines()
    assert re.search(r"-m venv .*&&.*pip install .*\[dev\].*&&.*pytest", line)


def test_readme__pictures_are_there() -> None:
    """And so is each notebook that it names."""
    places = re.findall(r"\]\(((?:notebooks|benchmarks)/[^)#]*)\)", README)
    assert len(places) > 3
    for place in places:
        assert (ROOT / place).is_file(), place


PROMISES = README.partition("| promise |")[2].partition("\n\n")[0].splitlines()[2:]


def test_readme__promises_name_their_tests() -> None:
    """Each of them files or directories that are there, or commands."""
    assert len(PROMISES) > 10
    for line in PROMISES:
        names = re.findall(r"`([a-z_]+/(?:[a-z_]+\.py)?)`", line)
        assert names or "kernels" in line, line
        assert [name for name in names if not (ROOT / "tests" / name).exists()] == []


def test_readme__promises_count_their_cases() -> None:
    """As many as there are."""
    bad = sum(len(values) for module in (space, dirty, studies) for _, _, values in module.BAD.values())
    truth = sum(n for group in PLAN.values() for n in group.cases.values())
    pairs = sum(map(len, CASES.values()))
    for number in (f"{bad:,} cases;", f"{pairs:,} cases:", f"{truth:,} cases of", f"{OPERATIONS:,} random calls a format"):
        assert sum(number in line for line in PROMISES) == 1, number


@pytest.mark.parametrize("extra", re.findall(r"/\[(\w+)\]", README))
def test_readme__extras_exist(extra: str) -> None:
    """pip only warns about an extra that is not there."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert extra in project["optional-dependencies"]
