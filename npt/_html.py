"""Pieces of plain, inline-styled HTML that reprs are made of; hosting sites strip style sheets."""

from collections.abc import Iterable, Sequence
from html import escape

__all__ = ["table"]

_CELL = "padding:2px 8px;text-align:left;font-family:monospace"
_HEAD = _CELL + ";border-bottom:1px solid #888"


def table(caption: str, head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A small table; every cell is escaped."""
    top = "".join(f'<th style="{_HEAD}">{escape(cell)}</th>' for cell in head)
    body = "".join("<tr>" + "".join(f'<td style="{_CELL}">{escape(str(c))}</td>' for c in row) + "</tr>" for row in rows)
    return (
        f'<table style="border-collapse:collapse"><caption style="{_CELL}">{escape(caption)}</caption>'
        f"<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"
    )
