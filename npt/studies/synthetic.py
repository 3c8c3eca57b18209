"""Writers that follow a pattern: the same windows on every machine, each computed from the seed and its number alone."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from fractions import Fraction
from math import gcd
from typing import Any, ClassVar

import numpy as np

from npt._types import U64Array
from npt.errors import InvalidArgument
from npt.studies import randomness
from npt.studies.parameters import check, form, real, whole
from npt.studies.window import Window, as_window

__all__ = ["HotCold", "Sequential", "Strided", "Synthetic", "Uniform"]

_MOST_PAGES = 1 << 32
MOST_WINDOWS = 1 << 32
MOST_ACCESSES = 1 << 30  # a window is arrays of that length
_COMMON = ("n_pages", "n_windows", "accesses", "write_share", "seed")


@dataclass(frozen=True)
class Synthetic(ABC):
    """What all patterns have.

    Parameters
    ----------
    n_pages
        Pages of the guest, at most 2**32.
    n_windows
        How many windows there are.
    accesses
        Accesses a window, at most 2**30.
    write_share
        Probability that an access writes; with 1.0 all do, with 0.0 none.
    seed
        From 0 to 2**64 - 1. Everything random comes from it.

    Raises
    ------
    TypeError, InvalidArgument
        A parameter is of the wrong type, or out of its range.

    Notes
    -----
    Two of the same class and parameters are equal. ``str`` gives the words that ``npt.studies.writer`` makes an equal one of.
    """

    name: ClassVar[str]

    n_pages: int = field(metadata=whole("pages", 1, _MOST_PAGES))
    n_windows: int = field(metadata=whole("windows", 1, MOST_WINDOWS))
    accesses: int = field(metadata=whole("accesses", 1, MOST_ACCESSES))
    write_share: float = field(default=1.0, kw_only=True, metadata=real("write_share", 0, 1))
    seed: int = field(default=0, kw_only=True, metadata=whole("seed", 0, 2**64 - 1))

    def __post_init__(self) -> None:
        check(self)

    def __str__(self) -> str:
        return f"{self.name}:{_text(self, fields(self))}"

    def __getstate__(self) -> dict[str, Any]:
        return {one.name: getattr(self, one.name) for one in fields(self)}  # without what can be computed again

    def window(self, number: int) -> Window:
        """One window by its number, from 0.

        Raises
        ------
        InvalidArgument
            There is no such window.
        """
        number = as_window(number, self.n_windows)
        pages = self._pages(number)
        if self.write_share == 1:
            return Window(pages, np.ones(self.accesses, np.bool_))
        return Window(pages, randomness.chosen(self._words(randomness.WRITES, number), self.write_share))

    def windows(self) -> Iterator[Window]:
        """All windows, one after the other; each is made when it is asked for."""
        return map(self.window, range(self.n_windows))

    def row(self) -> dict[str, object]:
        """Parameters as plain values, for a result table; the columns are those of all writers."""
        return {
            "writer": self.name,
            "pages": self.n_pages,
            "windows": self.n_windows,
            "accesses": self.accesses,
            "write_share": self.write_share,
            "seed": self.seed,
            "options": _text(self, [one for one in fields(self) if one.name not in _COMMON]),
        }

    def _words(self, stream: int, window: int) -> U64Array:
        """A random word for each access of a window."""
        return randomness.words(self.seed, stream, window, self.accesses)

    @abstractmethod
    def _pages(self, window: int) -> U64Array:
        """The pages of a window; a fresh array."""


def _text(made: Synthetic, parameters: Any) -> str:
    """Parameters as the words that ``writer`` reads; those that are None are left out."""
    values = ((form(one).key, getattr(made, one.name)) for one in parameters)
    return ",".join(f"{key}={str(value).lower()}" for key, value in values if value is not None)


def _from(first: int, n: int) -> U64Array:
    """The numbers from ``first`` on."""
    numbers = np.arange(n, dtype=np.uint64)
    numbers += np.uint64(first)
    return numbers


@dataclass(frozen=True)
class Uniform(Synthetic):
    """Each access is to any page, all alike.

    The parameters are those of ``Synthetic``.
    """

    name = "uniform"

    def _pages(self, window: int) -> U64Array:
        return randomness.below(self._words(randomness.PAGES, window), self.n_pages)


@dataclass(frozen=True)
class Sequential(Synthetic):
    """Page after page, from 0; a window goes on where the one before it ended, and the last page is followed by the first.

    The parameters are those of ``Synthetic``.
    """

    name = "sequential"

    def _pages(self, window: int) -> U64Array:
        pages = _from(window * self.accesses % self.n_pages, self.accesses)
        pages %= np.uint64(self.n_pages)
        return pages


@dataclass(frozen=True)
class Strided(Synthetic):
    """Every ``stride``-th page, again and again; a window goes on where the one before it ended.

    Where the stride leads back to where a round began, the next round begins one page further: any ``n_pages`` accesses in a
    row are to each page once.

    Parameters
    ----------
    n_pages, n_windows, accesses, write_share, seed
        As for ``Synthetic``.
    stride
        From 1 to ``n_pages``.
    """

    name = "strided"

    stride: int = field(default=8, kw_only=True, metadata=whole("stride", 1, _MOST_PAGES))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stride > self.n_pages:
            raise InvalidArgument(f"stride {self.stride} is more than the {self.n_pages} pages there are")

    def _pages(self, window: int) -> U64Array:
        n_pages = np.uint64(self.n_pages)
        steps = _from(window * self.accesses % self.n_pages, self.accesses)
        steps %= n_pages
        skipped = steps // np.uint64(self.n_pages // gcd(self.n_pages, self.stride))  # times that it came back
        steps *= np.uint64(self.stride % self.n_pages)
        steps += skipped  # below 2**64: all three factors are below 2**32
        steps %= n_pages
        return steps


@dataclass(frozen=True)
class HotCold(Synthetic):
    """Most accesses are to a small set of pages, side by side, that moves through the guest.

    The hot set starts at page 0 and moves on by ``step`` pages every ``move_every`` windows; it goes on with the first page
    after the last. An access to it is to any of its pages, all alike; the others are to any of the other pages.

    Parameters
    ----------
    n_pages, n_windows, accesses, write_share, seed
        As for ``Synthetic``; at least 2 pages.
    hot_share
        Size of the hot set, as a share of the pages: rounded to whole pages, at least one, and not all.
    hot_accesses
        Probability that an access is to the hot set.
    move_every
        Windows that the hot set stays where it is.
    step
        Pages that it moves by, less than ``n_pages``; 0: it stays. By default its own size: the next one is beside it.
    """

    name = "hotcold"

    hot_share: float = field(default=0.1, kw_only=True, metadata=real("hot_share", 0, 1))
    hot_accesses: float = field(default=0.9, kw_only=True, metadata=real("hot_accesses", 0, 1))
    move_every: int = field(default=10, kw_only=True, metadata=whole("move_every", 1, MOST_WINDOWS))
    step: int | None = field(default=None, kw_only=True, metadata=whole("step", 0, _MOST_PAGES))

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.hot_pages < self.n_pages:
            raise InvalidArgument(f"hot_share {self.hot_share} of {self.n_pages} pages leaves no hot page, or no other")
        if self.step is not None and self.step >= self.n_pages:
            raise InvalidArgument(f"step {self.step} is not less than the {self.n_pages} pages there are")

    @property
    def hot_pages(self) -> int:
        """Pages of the hot set."""
        return round(Fraction(self.hot_share) * self.n_pages)

    def hot_start(self, window: int) -> int:
        """First page of the hot set in a window.

        Raises
        ------
        InvalidArgument
            There is no such window.
        """
        moves = as_window(window, self.n_windows) // self.move_every
        return moves * (self.hot_pages if self.step is None else self.step) % self.n_pages

    def _pages(self, window: int) -> U64Array:
        hot = randomness.chosen(self._words(randomness.HOT, window), self.hot_accesses)
        set_pages = np.array([self.n_pages - self.hot_pages, self.hot_pages], np.uint64)[hot.view(np.uint8)]
        pages = randomness.below(self._words(randomness.PAGES, window), set_pages)
        set_starts = np.array([self.hot_start(window) + self.hot_pages, self.hot_start(window)], np.uint64)
        pages += np.take(set_starts, hot.view(np.uint8), out=set_pages)
        pages %= np.uint64(self.n_pages)
        return pages
