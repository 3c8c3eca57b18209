"""A report opens in a real browser, sorts, and loads nothing from elsewhere."""

import json
import math
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("matplotlib")

from matplotlib import pyplot as plt

from npt import EPT, InvalidArgument, studies
from npt.studies import Results
from npt.units import format_size
from npt.view import report as view_report
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


def test_report__draws_only_what_can_be_drawn() -> None:
    """Rows may be of anybody's making: what is no number, or not of the study, is in the table alone."""
    odd: list[dict[str, Any]] = [
        {"policy": None, "bytes_sent": 1, "downtime_ns": 1}, {"policy": "a", "bytes_sent": "x", "downtime_ns": None},
        {"policy": "b", "bytes_sent": math.nan, "downtime_ns": 10**400}, {"policy": "c", "bytes_sent": True},
        {"format": "$\\frac$", "size": 4096, "operation": "map", "share": None, "of_limit": 0.5},
        {"format": "ept", "size": "x", "operation": "map", "share": "y", "of_limit": None}, {},
        {"format": "ept", "size": 4096, "operation": "$\\frac$", "share": None, "of_limit": 0.5},
    ]  # fmt: skip
    page = report({"odd": Results(odd, {})})
    assert ("<img" in page, len(_column(page, 0))) == (False, len(odd))
    page = report({"one": Results([*odd, {"policy": "$\\frac$", "bytes_sent": 3, "downtime_ns": 1.5}], {})})
    assert page.count("<img") == 2


def test_report__of_many_migrations_draws_the_first() -> None:
    """And says so: bars that no eye can tell apart say nothing."""
    page = report({"many": Results([{"policy": f"xen:sends={n}", "bytes_sent": n} for n in range(1, 42)], {})})
    assert re.findall(r'alt="([^"]*)"', page) == ["Bytes on the wire by policy, the first 40 of 41 rows"]


def test_report__names_bars_by_what_tells_them_apart() -> None:
    """Points of a grid differ in more than their policy."""
    grid = studies.sweep(studies.TASKS["precopy"], {"policy": ["xen", "qemu"], "ram": [1 << 30, 2 << 30]})
    ax = plt.figure().add_subplot()
    view_report._by_policy(grid.rows, view_report._names(grid.rows, grid), "bytes_sent", ax)
    assert [label.get_text() for label in ax.get_yticklabels()] == [
        "xen ram 1,073,741,824", "xen ram 2,147,483,648", "qemu ram 1,073,741,824", "qemu ram 2,147,483,648",
    ]  # fmt: skip
    assert len(grid.rows) == 4
    assert [label.get_text() for label in ax.texts] == [format_size(row["bytes_sent"]) for row in grid.rows]
    plt.close("all")


def test_report__is_text_in_utf_8_whatever_is_in_it() -> None:
    """Names of files may hold bytes that are no text; text that looks like the page's own parts is text."""
    hostile = "</script><img src=x onerror=alert(1)><!-- sections --><!-- title -->"
    page = report({f"\udce4{hostile}": Results([{hostile: "\ud800"}], {hostile: hostile}, {hostile: hostile})}, title=hostile)
    assert "\\udce4" in page.encode().decode()
    assert ("<img" in page, page.count("</script>"), page.count("<table>")) == (False, 1, 1)


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
def test_report__sorts_what_is_no_number(tmp_path: Path) -> None:
    """Numbers with the infinite ones, then text with its numbers as such, then what is missing; that stays last."""
    values = [None, "run 10", 3, math.inf, math.nan, "run 2", -math.inf, 10]
    page = report({"x": Results([{"n": value} for value in values], {})})
    click, numbers = "document.querySelector('th button').click();", ["-inf", "3", "10", "inf"]
    assert _column(_opened(page, tmp_path, click)[0], 0) == [*numbers, "run 2", "run 10", "", "nan"]
    shown, said = _opened(page, tmp_path, click * 2)
    assert _column(shown, 0) == [*numbers[::-1], "run 10", "run 2", "", "nan"]
    assert ('aria-sort="descending"' in shown, said) == (True, "")


@browser
@pytest.mark.slow
def test_report__fits_on_a_phone(tmp_path: Path) -> None:
    """Only tables scroll sideways, whatever is in cells, names and meta; what scrolls takes the keyboard and has a name."""
    long = "x" * 3000
    page = report(
        {long: Results([{"a": long, "b": "word " * 300, **{f"c{n}": n for n in range(40)}}], {"m": long})}, title=long
    )
    script = """
      document.querySelector('details').open = true;
      const cell = document.querySelector('td').getBoundingClientRect().width, wide = document.querySelector('.wide');
      document.title = JSON.stringify([cell < 600, document.documentElement.scrollWidth <= innerWidth,
        wide.tabIndex, document.getElementById(wide.getAttribute('aria-labelledby')).textContent.length]);
    """
    title = re.search(r"<title>(.*?)</title>", _opened(page, tmp_path, script)[0])
    assert title is not None
    assert json.loads(title[1]) == [True, True, 0, 3000]


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
