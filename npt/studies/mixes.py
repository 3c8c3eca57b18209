"""Writers made of writers: one after the other, or all at once in given shares."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from fractions import Fraction
from itertools import accumulate
from typing import Any, ClassVar, SupportsFloat, SupportsIndex

import numpy as np

from npt._types import U64Array
from npt.errors import InvalidArgument
from npt.studies import randomness
from npt.studies.streams import Stream
from npt.studies.synthetic import MOST_ACCESSES, MOST_WINDOWS, Synthetic
from npt.studies.window import Window, Writer, checked
from npt.units import as_count, as_flag, as_int, as_number

__all__ = ["Mix", "Phases"]

_WHOSE = 17  # a stream of random words that no pattern uses
_PAGES_END = 1 << 35  # of the largest space
_WORD_END = 1 << 64


@dataclass(frozen=True)
class Phases:
    """One writer for all its windows, then the next, to the last.

    Parameters
    ----------
    writers
        Two or more, of any kind, phases and mixes too. They share their pages: page 0 is the same one for all.

    Raises
    ------
    TypeError, InvalidArgument
        One of them is no writer, or there are fewer than two.

    Notes
    -----
    Two of equal writers are equal. ``str`` gives the words that ``npt.studies.writer`` makes an equal one of, if all histories
    in it are among ``HISTORIES``.

    Examples
    --------
    >>> from npt.studies import Sequential, Uniform
    >>> phases = Phases([Sequential(100, 2, 3), Uniform(64, 1, 2, seed=7)])
    >>> [window.pages.tolist() for window in phases.windows()]
    [[0, 1, 2], [3, 4, 5], [54, 1]]
    """

    name: ClassVar[str] = "phases"

    writers: tuple[Writer, ...]

    def __init__(self, writers: Iterable[Writer]) -> None:
        _keep(self, writers=_as_writers(writers))

    def __str__(self) -> str:
        return "|".join(f"({one})" if isinstance(one, Phases) else _words(one) for one in self.writers)

    @property
    def n_pages(self) -> int:
        """Pages of the guest: those of the largest."""
        return max(one.n_pages for one in self.writers)

    @property
    def n_windows(self) -> int:
        """How many windows there are in all."""
        return sum(one.n_windows for one in self.writers)

    def windows(self) -> Iterator[Window]:
        """All windows, one after the other; each is made when it is asked for."""
        for one in self.writers:
            yield from checked(one, one.n_windows)

    def row(self) -> dict[str, object]:
        """Parameters as plain values, for a result table; None where the writers differ."""
        return {**_row(self, self.writers), "options": "|".join(f"({_told(one)})" for one in self.writers)}


@dataclass(frozen=True)
class Mix:
    """Several writers at once: each access is the next one of one of them, drawn with given shares.

    Each writer's accesses come in their own order, whatever windows they are in there; a writer at its end begins again.

    Parameters
    ----------
    writers
        Two or more, of any kind, phases and mixes too. Those that draw from the same seed draw the same: give them different
        ones if they are to be independent.
    shares
        Probability that an access is of each writer, in their order; positive, and in proportion to their sum: 7 and 3 are
        0.7 and 0.3.
    disjoint
        Whether each has pages of its own, side by side in their order. Else page 0 is the same one for all.
    n_windows
        By default as many as the writer with most has.
    accesses
        Accesses a window, at most 2**30; by default the most that one of the writers says it has. Histories do not say.
    seed
        Of the draw, from 0 to 2**64 - 1.

    Raises
    ------
    TypeError, InvalidArgument
        A parameter is of the wrong type, or out of its range; there are fewer than two writers, or not a share for each.

    Notes
    -----
    Two of equal writers and parameters are equal. ``str`` gives the words that ``npt.studies.writer`` makes an equal one of, if
    all histories in it are among ``HISTORIES``.

    Examples
    --------
    >>> from npt.studies import Sequential
    >>> mix = Mix([Sequential(100, 1, 8), Sequential(100, 1, 8)], [3, 1], disjoint=True)
    >>> [window.pages.tolist() for window in mix.windows()]
    [[100, 101, 0, 1, 2, 102, 103, 3]]
    """

    name: ClassVar[str] = "mix"

    writers: tuple[Writer, ...]
    shares: tuple[float, ...]
    disjoint: bool
    n_windows: int
    accesses: int
    seed: int

    def __init__(
        self,
        writers: Iterable[Writer],
        shares: Iterable[SupportsFloat],
        *,
        disjoint: bool = False,
        n_windows: SupportsIndex | None = None,
        accesses: SupportsIndex | None = None,
        seed: SupportsIndex = 0,
    ) -> None:
        weights, apart, drawn = _as_numbers(shares), as_flag(disjoint, "disjoint"), as_int(seed, "seed")
        n = None if n_windows is None else as_int(n_windows, "n_windows")
        size = None if accesses is None else as_int(accesses, "accesses")
        of = _as_writers(writers)
        _check_shares(weights, of)
        _keep(
            self,
            writers=of,
            shares=weights,
            disjoint=apart,
            n_windows=_limited(max(one.n_windows for one in of) if n is None else n, "n_windows", MOST_WINDOWS),
            accesses=_limited(_most_accesses(of) if size is None else size, "accesses", MOST_ACCESSES),
            seed=as_count(drawn, "seed", end=_WORD_END),
        )
        if self.n_pages > _PAGES_END:
            raise InvalidArgument(f"{self.n_pages} pages side by side are more than the largest space has, {_PAGES_END}")

    def __str__(self) -> str:
        parts = (f"({one})" if isinstance(one, Phases) else _words(one) for one in self.writers)
        shares = (repr(one).replace("+", "") for one in self.shares)  # 1e16, not 1e+16: a plus stands between writers
        mixed = ("&" if self.disjoint else "+").join(f"{one}*{share}" for one, share in zip(parts, shares, strict=True))
        return f"({mixed}):windows={self.n_windows},accesses={self.accesses},seed={self.seed}"

    @property
    def n_pages(self) -> int:
        """Pages of the guest: those of the largest, or of all together if they are disjoint."""
        sizes = [one.n_pages for one in self.writers]
        return sum(sizes) if self.disjoint else max(sizes)

    def windows(self) -> Iterator[Window]:
        """All windows, one after the other; each is made when it is asked for."""
        streams, bounds = [Stream(one) for one in self.writers], self._bounds()
        for number in range(self.n_windows):
            drawn = randomness.words(self.seed, _WHOSE, number, self.accesses)
            yield self._mixed(streams, np.searchsorted(bounds, drawn, side="right"))

    def row(self) -> dict[str, object]:
        """Parameters as plain values, for a result table; None where the writers differ."""
        told = "+".join(f"({_told(one)})*{share!r}" for one, share in zip(self.writers, self.shares, strict=True))
        own = {"accesses": self.accesses, "seed": self.seed, "options": f"disjoint={str(self.disjoint).lower()},{told}"}
        return {**_row(self, self.writers), **own}

    def _bounds(self) -> U64Array:
        """First words of all writers but the first."""
        sums = list(accumulate(map(Fraction, self.shares)))
        return np.array([int(one * _WORD_END / sums[-1]) for one in sums[:-1]], np.uint64)

    def _mixed(self, streams: Sequence[Stream], whose: Any) -> Window:
        pages, write = np.empty(self.accesses, np.uint64), np.empty(self.accesses, np.bool_)
        first = 0
        for number, stream in enumerate(streams):
            places = np.flatnonzero(whose == number)
            taken = stream.take(places.size)
            pages[places] = taken.pages + np.uint64(first)
            write[places] = taken.write
            first += self.writers[number].n_pages if self.disjoint else 0
        return Window(pages, write)


def _keep(made: Any, **values: Any) -> None:
    """Set the fields of a frozen dataclass."""
    for one in fields(made):
        object.__setattr__(made, one.name, values[one.name])


def _as_writers(writers: Any) -> tuple[Writer, ...]:
    if isinstance(writers, (str, Writer)) or not isinstance(writers, Iterable):
        raise TypeError(f"writers must be several writers, not {type(writers).__name__}")
    made = tuple(writers)
    for one in made:
        if not isinstance(one, Writer):
            raise TypeError(f"each of writers must be a writer, as npt.studies.writer makes, not {type(one).__name__}")
    if len(made) < 2:
        raise InvalidArgument(f"writers must be two or more, not {len(made)}")
    for one in made:
        if one.n_windows < 1 or one.n_pages < 1:
            raise InvalidArgument(f"{one.name} has no windows, or no pages")
    return made


def _as_numbers(shares: Any) -> tuple[float, ...]:
    if isinstance(shares, str) or not isinstance(shares, Iterable):
        raise TypeError(f"shares must be several numbers, not {type(shares).__name__}")
    return tuple(as_number(one, "each of shares") for one in shares)


def _check_shares(shares: Sequence[float], writers: Sequence[Writer]) -> None:
    if len(shares) != len(writers):
        raise InvalidArgument(f"there are {len(writers)} writers, and {len(shares)} shares for them")
    for one in shares:
        if not 0 < one < float("inf"):
            raise InvalidArgument(f"each share must be a positive number, not {one}")


def _limited(value: int, name: str, most: int) -> int:
    if not 1 <= value <= most:
        raise InvalidArgument(f"{name} must be from 1 to {most}, not {value}")
    return value


def _most_accesses(writers: Sequence[Writer]) -> int:
    said = [one.row().get("accesses") for one in writers]
    numbers = [one for one in said if isinstance(one, int)]
    if not numbers:
        raise InvalidArgument("none of the writers says how many accesses a window has: give accesses")
    return max(numbers)


def _words(one: Writer) -> str:
    """What ``npt.studies.writer`` reads; the name of what has no such words."""
    return str(one) if isinstance(one, (Synthetic, Phases, Mix)) else one.name


def _told(one: Writer) -> str:
    """What tells a writer from all others, for a result table."""
    return str(one) if isinstance(one, Synthetic) else f"{one.name}:{one.row()['options']}"


def _row(made: Phases | Mix, writers: Sequence[Writer]) -> dict[str, object]:
    """Columns of all writers; where those that it is made of have the same, that."""
    rows = [one.row() for one in writers]
    shared = {
        key: rows[0][key] if all(row[key] == rows[0][key] for row in rows) else None
        for key in ("accesses", "write_share", "seed")
    }  # fmt: skip
    return {"writer": made.name, "pages": made.n_pages, "windows": made.n_windows, **shared}
