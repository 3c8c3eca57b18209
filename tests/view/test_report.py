"""A report opens in a real browser, sorts, and loads nothing from elsewhere."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("matplotlib")

from npt import EPT, InvalidArgument, studies
from npt.studies import Results
from npt.view.report import report

_BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--enable-logging=stderr", "--virtual-time-budget=5000", "--dump-dom",
]  # fmt: skip
_ROWS: list[dict[str, Any]] = [
    {"name": "b", "n": 9},
    {"name": "a <i>", "n": 10},
    {"name": "c", "n": None},
    {"name": "d", "n": -1.5},
]
browser = pytest.mark.skipif(_BROWSER is None and os.environ.get("CI") != "true", reason="Chromium is not installed")


def _opened(page: str, path: Path, script: str = "") -> tuple[str, str]:
    """The page after its scripts, and what the browser's console said; ``script`` runs behind the page's own."""
    file = path / "report.html"
    file.write_text(page.replace("</body>", f"<script>{script}</script></body>"), encoding="utf-8")
    assert _BROWSER is not None, "CI must have Chromium: .ci/apt.txt"
    done = subprocess.run(
        [_BROWSER, *_FLAGS, f"--user-data-dir={path / 'profile'}", file.as_uri()], capture_output=True, text=True, timeout=120
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout, "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)


def _column(page: str, place: int) -> list[str]:
    """Text of a column, from top to bottom."""
    body = re.search(r"<tbody>(.*?)</tbody>", page, re.DOTALL)
    assert body is not None
    rows = re.findall(r"<tr>(.*?)</tr>", body[1], re.DOTALL)
    return [re.findall(r"<td[^>]*>(.*?)</td>", row)[place] for row in rows]


def test_report__has_all_rows_and_how_they_came_about() -> None:
    """Escaped, with units; its own parts are all that it names."""
    page = report({"one <two>": Results(_ROWS, {"seed": 7}, {"n": "B"})}, title="a & b")
    assert _column(page, 0) == ["b", "a &lt;i&gt;", "c", "d"]
    assert _column(page, 1) == ["9", "10", "", "-1.5"]
    assert "<title>a &amp; b</title>" in page
    assert "one &lt;two&gt;" in page
    assert "<small>B</small>" in page
    assert "&quot;seed&quot;: 7" in page
    assert not re.search(r"(src|href)=\"(?!data:|#)", page)
    assert "<!--" not in page


def test_report__draws_what_can_be_drawn() -> None:
    """Speeds, and migrations by policy; other results have no picture."""
    speeds = studies.throughput([EPT], sizes=[2 << 20], repeat=1)
    moved = studies.sweep(studies.TASKS["precopy"], {"policy": ["xen", "qemu"]})
    page = report({"bench": speeds, "moved": moved, "other": Results(_ROWS, {})})
    assert re.findall(r'alt="([^"]*)"', page) == [
        "Throughput beside the limit of the memory, ept", "Bytes on the wire by policy", "Downtime by policy",
    ]  # fmt: skip
    assert page.count("data:image/png;base64,") == 3


def test_report__of_many_rows_says_so() -> None:
    """The first five thousand."""
    page = report({"many": Results([{"n": number} for number in range(5001)], {})})
    assert len(_column(page, 0)) == 5000
    assert "The first 5,000 rows of 5,001." in page


def test_report__refuses() -> None:
    """Nothing, or something else."""
    with pytest.raises(InvalidArgument):
        report({})
    with pytest.raises(TypeError, match="x must be Results"):
        report({"x": 7})  # type: ignore[dict-item]


@browser
@pytest.mark.slow
def test_report__opens_and_sorts_in_a_browser(tmp_path: Path) -> None:
    """By number and by text, up and down, what is missing last; the console stays empty."""
    page = report({"x": Results(_ROWS, {}), "bench": studies.throughput([EPT], sizes=[2 << 20], repeat=1)})
    as_is, said = _opened(page, tmp_path)
    assert (said, _column(as_is, 1)) == ("", ["9", "10", "", "-1.5"])
    click = "document.querySelectorAll('table')[0].querySelectorAll('th button')[{}].click();"
    orders = {
        click.format(1): ["-1.5", "9", "10", ""],
        click.format(1) * 2: ["10", "9", "-1.5", ""],
        click.format(0): ["10", "9", "", "-1.5"],
    }
    for script, order in orders.items():
        shown, said = _opened(page, tmp_path, script)
        assert (said, _column(shown, 1)) == ("", order), script
    keys = "const b = document.querySelectorAll('th button')[1]; b.focus(); document.title = document.activeElement === b;"
    assert "<title>true</title>" in _opened(page, tmp_path, keys)[0]


@browser
@pytest.mark.slow
def test_report__loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    """The browser itself counts what was loaded; its policy would refuse more."""
    script = "document.title = JSON.stringify(performance.getEntriesByType('resource').map((one) => one.name.slice(0, 5)));"
    page = report({"x": Results(_ROWS, {}), "moved": studies.sweep(studies.TASKS["precopy"], {"policy": ["xen"]})})
    shown, said = _opened(page, tmp_path, script)
    title = re.search(r"<title>(.*?)</title>", shown)
    assert title is not None
    assert set(json.loads(title[1])) <= {"data:"}
    assert said == ""
    _, said = _opened(page, tmp_path, "fetch('https://example.org/x').catch(() => 0);")
    assert "Content Security Policy" in said  # the oracle can fail: a page that asks for more is told
