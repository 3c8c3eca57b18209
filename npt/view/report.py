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
from npt.units import format_size
from npt.view import style
from npt.view.throughput import bench

__all__ = ["report"]

_MOST_ROWS = 5000  # of a table in a page
_MOST_BARS = 40
_LONG = 60  # characters of a cell, from which on it takes several lines
_LARGEST = 1e30  # that is drawn


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
    parts = {
        "title": escape(title),
        "places": f"<nav aria-label='results'><ul>{places}</ul></nav>" if len(results) > 1 else "",
        "sections": sections,
    }
    for name, part in parts.items():
        page = page.replace(f"<!-- {name} -->", part)
    return page.encode(errors="backslashreplace").decode()  # a name of a file may have bytes that are no text


def _section(number: int, name: str, results: Results) -> str:
    pictures = "".join(
        f'<figure><img alt="{escape(said)}" src="data:image/png;base64,{data}"><figcaption>{escape(said)}</figcaption></figure>'
        for said, data in _pictures(results)
    )
    meta = escape(json.dumps(dict(results.meta), indent=1, default=str))
    return (
        f'<section id="r{number}"><h2 id="h{number}">{escape(name)}</h2>{pictures}{_table(number, results)}'
        f"<details><summary>How it came about</summary><pre>{meta}</pre></details></section>"
    )


# -- tables -----------------------------------------------------------------------------------------------------------


def _table(number: int, results: Results) -> str:
    columns = results.columns
    wide = f'<div class="wide" tabindex="0" role="region" aria-labelledby="h{number}">'  # the keyboard scrolls it, too
    heads = "".join(
        f'<th scope="col" aria-sort="none"><button type="button">{escape(name)}{_unit(results, name)}</button></th>'
        for name in columns
    )
    rows = "".join(
        "<tr>" + "".join(_cell(row.get(name)) for name in columns) + "</tr>" for row in results.rows[:_MOST_ROWS]
    )  # fmt: skip
    left = len(results.rows) - _MOST_ROWS
    more = f"<p>The first {_MOST_ROWS:,} rows of {len(results.rows):,}.</p>" if left > 0 else ""
    return f"{wide}<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>{more}"


def _unit(results: Results, name: str) -> str:
    return f" <small>{escape(results.units[name])}</small>" if name in results.units else ""


def _cell(value: Any) -> str:
    """What is sorted by is the value, not its text."""
    if isinstance(value, bool) or value is None:
        return f"<td>{'' if value is None else 'yes' if value else 'no'}</td>"
    if isinstance(value, (int, float)):
        text = f"{value:,}" if isinstance(value, int) else f"{value:,.6g}"
        return f'<td class="number" data-value="{json.dumps(value)}">{text}</td>'  # Infinity and NaN as scripts write them
    text = str(value)
    return f"<td{' class=long' if len(text) > _LONG else ''}>{escape(text)}</td>"


# -- pictures ---------------------------------------------------------------------------------------------------------


def _pictures(results: Results) -> Iterator[tuple[str, str]]:
    """What each shows, and a PNG in base64."""
    speeds = Results([row for row in results.rows if _is_speed(row)], {})
    for form in dict.fromkeys(row["format"] for row in speeds.rows):
        yield f"Throughput beside the limit of the memory, {form}", _drawn(partial(_throughput, speeds, form))
    for column, said in (("bytes_sent", "Bytes on the wire by policy"), ("downtime_ns", "Downtime by policy")):
        rows = [row for row in results.rows if row.get("policy") is not None and _is_amount(row.get(column))]
        if rows:
            left = f", the first {_MOST_BARS} of {len(rows):,} rows" if len(rows) > _MOST_BARS else ""
            names = _names(rows, results)[:_MOST_BARS]
            yield said + left, _drawn(partial(_by_policy, rows[:_MOST_BARS], names, column), 1.2 + 0.3 * len(names))


def _is_amount(value: Any) -> bool:
    """Rows may be of anybody's making: what cannot be drawn is in the table."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < _LARGEST


def _is_speed(row: Mapping[str, Any]) -> bool:
    share = row.get("share", "")
    return (
        row.get("format") in ("ept", "npt")
        and isinstance(row.get("operation"), str)
        and "$" not in row["operation"]  # which matplotlib takes for a formula
        and all(_is_amount(row.get(name)) and row[name] > 0 for name in ("size", "of_limit"))
        and (share is None or _is_amount(share))
    )


def _names(rows: Sequence[Mapping[str, Any]], results: Results) -> list[str]:
    """The policy of each, and what else tells rows apart."""
    by = results.meta.get("by")
    words = [name for name in by if isinstance(name, str)] if isinstance(by, list) else ["writer", "history"]
    apart = [name for name in words if name != "policy" and len({str(row.get(name)) for row in rows}) > 1]
    return [" ".join([str(row["policy"]), *(_word(name, row.get(name), results) for name in apart)]) for row in rows]


def _word(name: str, value: Any, results: Results) -> str:
    """Text says itself what it is, a number does not."""
    if isinstance(value, str):
        return value
    unit = results.units.get(name, "")
    return f"{name} " + (
        format_size(int(value)) + unit[1:]
        if unit in ("B", "B/s") and _is_amount(value)
        else f"{value:,}"
        if isinstance(value, int)
        else str(value)
    )


def _drawn(draw: Callable[[Axes], object], height: float = 4.0) -> str:
    figure = plt.figure(figsize=(8.0, height), layout="constrained")
    try:
        draw(figure.add_subplot())
        content = io.BytesIO()
        figure.savefig(content, format="png", dpi=110)
    finally:
        plt.close(figure)
    return base64.b64encode(content.getvalue()).decode()


def _throughput(results: Results, form: str, ax: Axes) -> None:
    bench(results, format=form, ax=ax)


def _by_policy(rows: Sequence[Mapping[str, Any]], names: Sequence[str], column: str, ax: Axes) -> None:
    """A bar for each row, with its number: next to a long one, short ones look alike."""
    values = [row[column] for row in rows]
    if column == "bytes_sent":
        texts = [format_size(int(value)) for value in values]
        style.size_axis(ax.xaxis, "on the wire")
    else:
        values = [value / 1e6 for value in values]
        texts = [f"{value:,.4g} ms" for value in values]
        ax.set_xlabel("ms")
    bars = ax.barh(range(len(rows)), values, color=style.COLOURS[0])
    ax.bar_label(bars, texts, padding=3, fontsize=8)
    ax.margins(x=0.2)
    ax.set_yticks(range(len(rows)), [name[:_LONG].replace("$", r"\$") for name in names])
    ax.invert_yaxis()
