"""Pictures made of characters: for terminals, and for pipes."""

import textwrap
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from npt._types import U8Array
from npt.dirty.rounds import Rounds
from npt.memory.objects import MmioObject
from npt.space.vmspace import VmSpace
from npt.units import ENTRIES, PAGE_SHIFT, as_count, format_size
from npt.view.grid import grid
from npt.view.pages import as_space, stretches, tables_used

__all__ = ["LEAST", "STATES", "heat", "layout", "tables"]

SHADES = " \u2591\u2592\u2593\u2588"  # none, some, half, most, all
STATES = " \u00b7\u2591\u2592\u2588\u25c6"  # not mapped, mapped, resident, accessed, dirty, device
LEAST = 20  # columns
_ROWS = 32  # of a heat map
_LABEL = 18  # columns of an address


def _width(width: int) -> int:
    return as_count(width, "width", least=LEAST)


def _shaded(shares: NDArray[np.float64]) -> str:
    """A character for each share; more than nothing is never shown as nothing."""
    last = len(SHADES) - 1
    return "".join(SHADES[0 if share <= 0 else max(1, min(last, int(share * last + 0.5)))] for share in shares.tolist())


def layout(space: VmSpace, *, width: int = 80) -> list[str]:
    """Show what is mapped, and the state of its pages: a line for each mapping, and its pages below.

    Parameters
    ----------
    space
        Whose mappings.
    width
        Columns, at least 20.

    Returns
    -------
    list of str
        Lines. A character stands for a page, or for as many as it takes to come to four lines; it shows the most of them, in
        the order of ``STATES``.
    """
    columns, lines = _width(width), []
    for mapping in as_space(space).mappings:
        kind = "device" if isinstance(mapping.obj, MmioObject) else str(mapping.prot.name)
        lines += textwrap.wrap(f"{mapping.gpa:#x}  {format_size(mapping.length)} {kind}", columns)
        for part in stretches(space, mapping.gpa, mapping.length):
            lines += _strip(part.states, columns)
    legend = zip(STATES[1:], ("mapped", "resident", "accessed", "dirty", "device"), strict=True)
    return [*lines, *_wrapped([f"{sign} {name}" for sign, name in legend], columns)]


def _wrapped(pieces: Sequence[str], columns: int) -> list[str]:
    """Pieces side by side; none is cut."""
    lines = [""]
    for piece in pieces:
        joined = f"{lines[-1]}  {piece}" if lines[-1] else piece
        lines[-1:] = [joined] if len(joined) <= columns else [lines[-1], piece]
    return lines


def _strip(states: U8Array, columns: int) -> Iterator[str]:
    """At most four lines of characters."""
    each = -(-states.size // (4 * columns))
    padded = np.zeros(-(-states.size // each) * each, np.uint8)
    padded[: states.size] = states
    signs = "".join(STATES[state] for state in padded.reshape(-1, each).max(axis=1).tolist())
    for start in range(0, len(signs), columns):
        yield signs[start : start + columns]
    if each > 1:
        yield from textwrap.wrap(f"({each:,} pages a character)", columns, initial_indent="  ")


def tables(space: VmSpace, *, width: int = 80) -> list[str]:
    """Show the tables of each level: how many there are, and how full they are.

    Parameters
    ----------
    space
        Whose tables.
    width
        Columns, at least 20.

    Returns
    -------
    list of str
        A line for each level, root first. A character stands for a table, or for some that follow each other: how much of them
        is in use.
    """
    columns, lines = _width(width), []
    for level, used in tables_used(space).items():
        head = f"level {level} {used.size:>7,} "
        room = max(columns - len(head), 1)
        each = max(-(-used.size // room), 1)
        starts = np.arange(0, used.size, each)
        widths = np.diff([*starts.tolist(), used.size])
        lines.append((head + _shaded(np.add.reduceat(used, starts) / (widths * ENTRIES)))[:columns])
    return lines


def heat(
    rounds: Rounds | Sequence[U8Array], *, gpa: int = 0, n_pages: int | None = None, width: int = 80
) -> list[str]:  # fmt: skip
    """Show pages by rounds.

    Parameters
    ----------
    rounds, gpa, n_pages
        As for ``heat`` of ``npt.view``.
    width
        Columns, at least 20.

    Returns
    -------
    list of str
        Lines, the highest addresses first; a character for the share of its pages that were dirty in its rounds, beside that of
        the fullest character. The last lines say what a character stands for, and how full the fullest is.
    """
    whole = _width(width)
    columns = max(whole - _LABEL, 1)
    found = grid(rounds, gpa=gpa, n_pages=n_pages, how="share", first=1, last=None, most=(_ROWS, columns))
    step, fullest = found.per_page << PAGE_SHIFT, float(found.cells.max())
    lines = [
        f"{found.gpa + number * step:#16x}  "[-_LABEL:].rjust(_LABEL) + _shaded(cells / (fullest or 1.0))
        for number, cells in reversed(list(enumerate(found.cells)))
    ]
    said = [
        f"{found.n_rounds:,} rounds from {found.first}; a character: {found.per_page:,} pages by {found.per_round:,} rounds,",
        f"{SHADES[-1]} {100 * fullest:.3g} % of them dirty, the most there is; {SHADES[2]} half of that",
    ]
    return [*lines, *(line for text in said for line in textwrap.wrap(text, whole))]
