"""Committed notebooks show what their sources would: same cells, outputs with pictures, nothing of anybody's machine."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.py"))
_LARGEST = 2 << 20  # bytes
_MACHINE = re.compile(r"/(home|root|work|tmp|Users)/|[A-Z]:\\\\")

each = pytest.mark.parametrize("source", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])


def _cells(source: str) -> list[tuple[str, str]]:
    """Kind and text of each cell of a py:percent file."""
    found = []
    for block in re.split(r"^# %%", source, flags=re.MULTILINE)[1:]:
        head, _, body = block.partition("\n")
        kind = "markdown" if "[markdown]" in head else "code"
        text = re.sub(r"^# ?", "", body, flags=re.MULTILINE) if kind == "markdown" else body
        found.append((kind, text.strip()))
    return found


def _notebook(source: Path) -> Any:
    return json.loads(source.with_suffix(".ipynb").read_text(encoding="utf-8"))


def test_notebooks__are_seven() -> None:
    """All of them are there, each with its outputs."""
    assert [path.stem[:2] for path in NOTEBOOKS] == ["01", "02", "03", "04", "05", "06", "07"]
    assert {path.with_suffix("").name for path in NOTEBOOKS} == {path.stem for path in NOTEBOOKS[0].parent.glob("*.ipynb")}


@each
def test_notebook__is_what_its_source_says(source: Path) -> None:
    """Else its outputs are older than it: README's command for notebooks makes them anew."""
    cells = [(cell["cell_type"], "".join(cell["source"]).strip()) for cell in _notebook(source)["cells"]]
    assert cells == _cells(source.read_text(encoding="utf-8"))


@each
def test_notebook__shows_its_outputs(source: Path) -> None:
    """Every code cell was run, in order, without an error; at least two pictures; nothing of the machine that did it."""
    code = [cell for cell in _notebook(source)["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error" or output.get("name") == "stderr"]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 2
    text = source.with_suffix(".ipynb").read_text(encoding="utf-8")
    assert not _MACHINE.search(re.sub(r'"image/png": "[^"]*"', "", text))
    assert len(text.encode()) < _LARGEST


@each
def test_notebook__asks_and_goes_on(source: Path) -> None:
    """A question at the top, something to try at the end."""
    cells = _cells(source.read_text(encoding="utf-8"))
    assert re.search(r"^\*\*.*\?\*\*$", cells[0][1], re.MULTILINE)
    assert cells[-1][1].startswith("## What to try next")
