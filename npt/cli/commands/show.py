"""``npt show``."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click
import numpy as np
from rich.text import Text

from npt import Prot, Reservoir, Vcpu, VmSpace
from npt.cli import show
from npt.cli.options import reading
from npt.dirty import from_pages
from npt.dirty.rounds import Rounds
from npt.errors import Unreadable
from npt.studies.history import HISTORIES, History
from npt.studies.results import Results
from npt.units import PAGE_SHIFT, PAGE_SIZE
from npt.view import blocks

__all__ = ["command"]

_MIB = 1 << 20
_MOST_ROWS, _MOST_COLUMNS = 40, 10


@click.command("show")
@click.argument("what", metavar="[FILE_OR_RESULT]", required=False)
@click.option("--demo", is_flag=True, help="Make a small guest and show it: layout, tables, heat.")
def command(what: str | None, demo: bool) -> None:
    """Show a saved dirty log, a write history or a result in the terminal, with characters, to its width.

    FILE_OR_RESULT is the file of a dirty log (Rounds.save) or of a history (.npz), the name of a history (xz, sqlite, sort),
    or a result that --json or --csv wrote.

    \b
    Examples:
      npt show --demo
      npt show sqlite
    """
    if (what is None) != demo:
        raise click.UsageError("give a file, a name, or --demo, and one of them only")
    if what is None:
        _demo()
        return
    with reading():
        loaded = _load(what)
    if isinstance(loaded, Results):
        _rows(loaded)
    elif isinstance(loaded, History):
        _lines(f"{loaded.name}: pages written by window", _history(loaded))
    else:
        _log(what, loaded)


def _load(what: str) -> Rounds | History | Results:
    """By name, then by what the file says of itself."""
    path = Path(what)
    if what in HISTORIES or path.suffix == ".npz":
        try:
            return History.load(what)
        except Unreadable as error:
            try:
                return Rounds.load(path)
            except Unreadable as other:
                if not path.is_file():
                    raise error from None
                raise Unreadable(f"{what} is neither a history ({error.strerror}) nor a dirty log ({other.strerror})") from None
    return Results.load(path)


def _log(name: str, rounds: Rounds) -> None:
    """One may be saved before its first round."""
    if not len(rounds):
        show.out(Text(f"{name}: a dirty log of {rounds.gpa:#x} + {rounds.length:#x}, without a round"))
        return
    _lines("pages dirty by round", blocks.heat(rounds, width=_width()))
    gaps = (np.flatnonzero(rounds.gaps) + 1).tolist()
    if gaps:
        more = ", ..." if len(gaps) > _MOST_COLUMNS else ""
        numbers = ", ".join(map(str, gaps[:_MOST_COLUMNS]))
        show.note(f"{len(gaps):,} rounds come after a gap, and writes may be missing: {numbers}{more}")


def _width() -> int:
    """A picture needs some; a narrower terminal crops it."""
    return max(show.console().width, blocks.LEAST)


def _lines(title: str, lines: Sequence[str]) -> None:
    show.out(Text(title, style="bold"))
    show.out(Text("\n".join(lines), no_wrap=True, overflow="crop"))


def _history(history: History) -> list[str]:
    """Pages side by side, as a guest would have them."""
    rounds = [from_pages(history.written(number), history.n_pages) for number in range(history.n_windows)]
    return blocks.heat(rounds, n_pages=history.n_pages, width=_width())


def _rows(results: Results) -> None:
    """The first rows and columns."""
    columns = results.columns[:_MOST_COLUMNS]
    table = show.table("|".join(columns), "", str(results).strip("<>"))
    for row in results.rows[:_MOST_ROWS]:
        table.add_row(*("" if row.get(name) is None else str(row[name]) for name in columns))
    show.out(table)


# -- a guest to look at -----------------------------------------------------------------------------------------------


@contextmanager
def _guest() -> Iterator[VmSpace]:
    with (
        Reservoir(48 * _MIB) as reservoir,
        reservoir.allocate(24 * _MIB) as ram,
        VmSpace(1 << 40, reservoir=reservoir, track_dirty=True) as space,
    ):
        space.map(ram, 0, 8 * _MIB, Prot.RWX)
        space.map(ram, 1 << 32, 16 * _MIB, Prot.RW, offset=8 * _MIB)
        yield space


def _demo() -> None:
    """A vCPU that reads, then works on a part of memory that moves."""
    width, rng, first = _width(), np.random.default_rng(0), 1 << 32
    with _guest() as space:
        vcpu, found = Vcpu(space.client()), []
        vcpu.run(np.arange(0, 2 * _MIB, PAGE_SIZE))
        for number in range(40):
            pages = rng.integers(40 * number, 40 * number + 600, 300)
            vcpu.run(first + pages * PAGE_SIZE, write=True)
            found.append(space.track_dirty(first, 16 * _MIB))
        vcpu.run(first + rng.integers(0, 300, 200) * PAGE_SIZE, write=True)
        _lines("what is mapped, and the state of its pages", blocks.layout(space, width=width))
        _lines("tables by level: how many, and how full", blocks.tables(space, width=width))
        n_pages = 16 * _MIB >> PAGE_SHIFT
        _lines("pages dirty by round", blocks.heat(found, gpa=first, n_pages=n_pages, width=width))
