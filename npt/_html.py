"""Pieces of plain, inline-styled HTML that reprs are made of; hosting sites strip style sheets.

They stay small whatever they show, and have no colours that a dark page would hide.
"""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import islice

__all__ = ["COLOURS", "Shown", "bar", "card", "facts", "table"]

_TEXT = "font-family:monospace;text-align:left"
_CELL = f"{_TEXT};padding:2px 8px;white-space:nowrap"
_ONE_LINE = "display:inline-block;white-space:nowrap"
_HEAD = _CELL + ";border-bottom:1px solid #888"
_MOST_ROWS = 10
_LONGEST = 120  # characters of a text
_WIDTH = 480  # of a bar, in pixels

# Of Okabe and Ito: apart for the colour-blind, and on white and black.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#999999")


class Shown:
    """Something that shows itself in a notebook: its ``repr``, and the pieces that it adds."""

    __slots__ = ()

    def _shown(self) -> Iterable[str]:
        """Pieces of HTML; made without a lock, so what they look at may change meanwhile."""
        return ()

    def _repr_html_(self) -> str:
        try:
            return card(repr(self)[1:-1], *self._shown())
        except RuntimeError:  # a set that grew while we went through it, a handle that was closed
            return card(type(self).__name__, "changing")


def _short(what: object) -> str:
    """Text, escaped; a long one without its end."""
    text = str(what)
    return escape(text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}\u2026")


def card(title: str, *pieces: str) -> str:
    """A title and what is under it; pieces are HTML."""
    return f'<div style="{_TEXT}"><div style="padding:2px 8px"><b>{_short(title)}</b></div>{"".join(pieces)}</div>'


def table(caption: str, head: Sequence[str], rows: Iterable[Sequence[object]], n_rows: int | None = None) -> str:
    """A small table; every cell is escaped. With ``n_rows``, how many there are, only the first are shown."""
    shown = rows if n_rows is None else islice(rows, _MOST_ROWS)
    top = "".join(f'<th style="{_HEAD}">{_short(cell)}</th>' for cell in head)
    body = "".join("<tr>" + "".join(f'<td style="{_CELL}">{_short(c)}</td>' for c in row) + "</tr>" for row in shown)
    more = 0 if n_rows is None else n_rows - _MOST_ROWS
    if more > 0:
        body += f'<tr><td style="{_CELL}" colspan="{len(head)}">and {more:,} more</td></tr>'
    return (
        f'<table style="border-collapse:collapse"><caption style="{_CELL}">{escape(caption)}</caption>'
        f"<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"
    )


def facts(told: Mapping[str, object]) -> str:
    """A line for each fact."""
    rows = "".join(
        f'<tr><td style="{_CELL}">{escape(name)}</td><td style="{_CELL}">{_short(fact)}</td></tr>'
        for name, fact in told.items()
    )
    return f'<table style="border-collapse:collapse"><tbody>{rows}</tbody></table>'


def bar(parts: Mapping[str, int], told: Mapping[str, str]) -> str:
    """Shares of a whole, side by side, with a legend that says how much each is in the words given."""
    whole, box = sum(parts.values()) or 1, "display:inline-block;height:14px"
    colours = dict(zip(parts, COLOURS, strict=False))
    pieces = "".join(
        f'<span style="{box};width:{100 * n / whole:.4f}%;background:{colours[name]}"></span>' for name, n in parts.items() if n
    )
    legend = "".join(
        f'<span style="{_ONE_LINE};padding-right:12px"><span style="color:{colours[name]}">&#9632;</span> '
        f"{escape(name)} {escape(told[name])}</span>"
        for name in parts
    )
    frame = "border:1px solid #888;line-height:0;font-size:0"
    return f'<div style="padding:2px 8px;max-width:{_WIDTH}px"><div style="{frame}">{pieces}</div><div>{legend}</div></div>'
