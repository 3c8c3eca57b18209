"""README tells the truth: its Python blocks run, and its commands are the ones that are tested."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

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


@pytest.mark.parametrize("extra", re.findall(r"/\[(\w+)\]", README))
def test_readme__extras_exist(extra: str) -> None:
    """pip only warns about an extra that is not there."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert extra in project["optional-dependencies"]
