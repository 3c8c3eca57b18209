"""Text out: in a terminal and in a pipe alike."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

__all__ = ["Watch", "console", "facts", "note", "out", "progress", "table"]

_PIPE_WIDTH = 120
_WIDEST = 10_000
_PIPE_STEPS = 4  # lines of progress where there is no terminal to draw in

Watch = Callable[[str, int, int], None]


def console() -> Console:
    """Standard output; wide enough for our tables where nobody says how wide it is. A name of a file is no markup."""
    told = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(width=None if told else _PIPE_WIDTH, highlight=False, markup=False, emoji=False)


def out(shown: Table | Text) -> None:
    """Print; a table that is wider than the terminal is not cut: a number without its last digits is another number."""
    to = console()
    if isinstance(shown, Table):
        natural = to.measure(shown, options=to.options.update(width=_WIDEST)).maximum
        to.width = max(to.width, natural)
    to.print(shown)


def note(text: str) -> None:
    """A line about what was shown, or where it is from."""
    out(Text(text, style="dim"))


def table(names: str, numbers: str, title: str | None = None) -> Table:
    """A table with columns of words and then columns of numbers, both given as words with a bar between two."""
    made = Table(
        title=None if title is None else Text(title), box=box.SIMPLE_HEAD, collapse_padding=True, pad_edge=False
    )  # fmt: skip
    for name in names.split("|"):
        made.add_column(name, no_wrap=True)
    for name in numbers.split("|"):
        made.add_column(name, justify="right", no_wrap=True)
    return made


def facts(told: Mapping[str, str], title: str | None = None) -> None:
    """A table of what and how much."""
    made = Table(title=None if title is None else Text(title), show_header=False)
    made.add_column("what")
    made.add_column("how much", justify="right")
    for what, how_much in told.items():
        made.add_row(what, Text(how_much, overflow="fold"))
    out(made)


@contextmanager
def progress(quiet: bool = False) -> Iterator[Watch]:
    """Show how far the work is, on standard error: a bar in a terminal, a few lines elsewhere."""
    if quiet:
        yield lambda what, done, total: None
    elif not sys.stderr.isatty():
        yield _Lines()
    else:
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
            task = bars.add_task("starting", total=None)
            yield lambda what, done, total: bars.update(task, description=what, completed=done, total=total)


class _Lines:
    """Progress as lines of text."""

    def __init__(self) -> None:
        self._said: tuple[str, int] | None = None

    def __call__(self, what: str, done: int, total: int) -> None:
        say = what, done * _PIPE_STEPS // max(total, 1)
        if say != self._said:
            self._said = say
            print(f"{what}: {done}/{total}", file=sys.stderr, flush=True)
