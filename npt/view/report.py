"""A report: result tables, pictures and how they came about, as one page that needs nothing else."""

import base64
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from html import escape
from importlib.resources import files
from typing import Any

from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from npt.errors import InvalidArgument
from npt.studies.results import Results
from npt.view import style
from npt.view.throughput import bench

__all__ = ["report"]

_MOST_ROWS = 5000  # of a table in a page


def report(results: Mapping[str, Results], *, title: str = "npt") -> str:
    """Make a page of results.

    Parameters
    ----------
    results
        By name, which becomes the heading.
    title
        Of the page.

    Returns
    -------
    str
        HTML: a table for each, which sorts by a click or the keyboard; pictures of those results that have one; how they came
        about. It loads nothing from elsewhere.

    Raises
    ------
    InvalidArgument
        No results.
    """
    if not results:
        raise InvalidArgument("give at least one result")
    for name, one in results.items():
        if not isinstance(one, Results):
            raise TypeError(f"{name} must be Results, not {type(one).__name__}")
    sections = "".join(_section(number, name, one) for number, (name, one) in enumerate(results.items()))
    places = "".join(f'<li><a href="#r{number}">{escape(name)}</a></li>' for number, name in enumerate(results))
    page = (files("npt.view") / "report.html").read_text(encoding="utf-8")
    parts = {"title": escape(title), "places": f"<ul>{places}</ul>" if len(results) > 1 else "", "sections": sections}
    for name, part in parts.items():
        page = page.replace(f"<!-- {name} -->", part)
    return page


def _section(number: int, name: str, results: Results) -> str:
    pictures = "".join(
        f'<figure><img alt="{escape(said)}" src="data:image/png;base64,{data}"><figcaption>{escape(said)}</figcaption></figure>'
        for said, data in _pictures(results)
    )
    meta = escape(json.dumps(dict(results.meta), indent=1, default=str))
    return (
        f'<section id="r{number}"><h2>{escape(name)}</h2>{pictures}{_table(results)}'
        f"<details><summary>How it came about</summary><pre>{meta}</pre></details></section>"
    )


# -- tables -----------------------------------------------------------------------------------------------------------


def _table(results: Results) -> str:
    columns = results.columns
    heads = "".join(
        f'<th scope="col" aria-sort="none"><button type="button">{escape(name)}{_unit(results, name)}</button></th>'
        for name in columns
    )
    rows = "".join(
        "<tr>" + "".join(_cell(row.get(name)) for name in columns) + "</tr>" for row in results.rows[:_MOST_ROWS]
    )  # fmt: skip
    left = len(results.rows) - _MOST_ROWS
    more = f"<p>The first {_MOST_ROWS:,} rows of {len(results.rows):,}.</p>" if left > 0 else ""
    return f'<div class="wide" tabindex="0"><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>{more}'


def _unit(results: Results, name: str) -> str:
    return f" <small>{escape(results.units[name])}</small>" if name in results.units else ""


def _cell(value: Any) -> str:
    """What is sorted by is the value, not its text."""
    if isinstance(value, bool) or value is None:
        return f"<td>{'' if value is None else 'yes' if value else 'no'}</td>"
    if isinstance(value, (int, float)):
        text = f"{value:,}" if isinstance(value, int) else f"{value:,.6g}"
        return f'<td class="number" data-value="{value!r}">{text}</td>'
    return f"<td>{escape(str(value))}</td>"


# -- pictures ---------------------------------------------------------------------------------------------------------


def _pictures(results: Results) -> Iterator[tuple[str, str]]:
    """What each shows, and a PNG in base64."""
    columns = set(results.columns)
    if {"format", "size", "operation", "share", "of_limit"} <= columns:
        for form in dict.fromkeys(row["format"] for row in results.rows):
            yield f"Throughput beside the limit of the memory, {form}", _drawn(partial(_throughput, results, form))
    if {"policy", "bytes_sent", "downtime_ns"} <= columns:
        rows = [row for row in results.rows if row.get("bytes_sent") is not None]
        for column, said in (("bytes_sent", "Bytes on the wire by policy"), ("downtime_ns", "Downtime by policy")):
            yield said, _drawn(partial(_by_policy, rows, column))


def _drawn(draw: Callable[[Axes], object]) -> str:
    figure = plt.figure(figsize=(8.0, 4.0), layout="constrained")
    try:
        draw(figure.add_subplot())
        content = io.BytesIO()
        figure.savefig(content, format="png", dpi=110)
    finally:
        plt.close(figure)
    return base64.b64encode(content.getvalue()).decode()


def _throughput(results: Results, form: str, ax: Axes) -> None:
    bench(results, format=form, ax=ax)


def _by_policy(rows: Sequence[Mapping[str, Any]], column: str, ax: Axes) -> None:
    """A bar for each row; rows that differ in more than the policy are told by what else they are of."""
    names = [" ".join(str(row[name]) for name in ("writer", "history", "policy") if row.get(name) is not None) for row in rows]
    scale = 1e6 if column == "downtime_ns" else 1 << 20
    ax.barh(range(len(rows)), [row[column] / scale for row in rows], color=style.COLOURS[0])
    ax.set_yticks(range(len(rows)), names)
    ax.invert_yaxis()
    ax.set_xlabel("ms" if column == "downtime_ns" else "MiB")
