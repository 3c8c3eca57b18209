"""A writer in simulated time: what the guest accesses during the next so many nanoseconds."""

import math
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from itertools import islice
from typing import NamedTuple, SupportsFloat, SupportsIndex

import numpy as np

from npt.errors import InvalidArgument
from npt.studies.streams import endless
from npt.studies.window import Window, Writer, checked
from npt.units import as_count, as_flag, as_int, as_number

__all__ = ["Timed"]

_NS = 10**9
_PART = 1 << 16
_MOST_PART = 1 << 30
_KINDS = ("accesses_per_second", "seconds_per_window", "pages_per_second")
_NOTHING = Window(np.empty(0, np.uint64), np.empty(0, np.bool_))


class _Place(NamedTuple):
    """Where a writer is."""

    number: int  # windows begun
    window: Window
    start: Fraction  # nanoseconds
    duration: Fraction

    @property
    def end(self) -> Fraction:
        """When the next window begins."""
        return self.start + self.duration


class Timed:
    """A writer replayed at a given rate, from its first window on.

    Time is simulated, in whole nanoseconds from 0. Each window takes a time that follows from the rate, and its accesses are
    spread evenly over it: of a window of n accesses that takes d nanoseconds, ``floor(n * t / d)`` are done t nanoseconds after
    its start. All is computed in fractions: nothing drifts, and many short durations give what one long one gives.

    Parameters
    ----------
    writer
        A pattern, a history, phases, a mix, or anybody's.
    accesses_per_second
        Accesses, reads and writes, in a second: a window of n accesses takes ``n / accesses_per_second`` seconds.
    seconds_per_window
        Or what each window takes, however many accesses it has.
    pages_per_second
        Or distinct pages written in a second, window by window: one that writes k distinct pages takes
        ``k / pages_per_second`` seconds, and one that writes none takes no time. Over several windows there are fewer distinct
        pages than that, because some are written again. That is what a dirty rate over more than a window shows.
    repeat
        Whether the writer begins again from its first window when it has come to its end. Else nothing happens from then on.
    part
        Most accesses that are handed out at once, at most 2**30.

    Attributes
    ----------
    writer : Writer
        As given.
    now : int
        Nanoseconds asked for until now.
    accesses : int
        Accesses handed out until now.

    Raises
    ------
    TypeError, InvalidArgument
        An argument is of the wrong type or out of its range, or not exactly one of the three rates is given.

    Notes
    -----
    A rate is taken as the decimal that it is written as: 0.1 seconds are 100 000 000 ns to the last.

    Examples
    --------
    >>> from npt.studies import Sequential
    >>> timed = Timed(Sequential(100, 2, 3), accesses_per_second=1e9)
    >>> [window.pages.tolist() for ns in (4, 1, 3) for window in timed.during(ns)]
    [[0, 1, 2, 3], [4], [5, 0, 1]]
    """

    def __init__(
        self,
        writer: Writer,
        *,
        accesses_per_second: SupportsFloat | None = None,
        seconds_per_window: SupportsFloat | None = None,
        pages_per_second: SupportsFloat | None = None,
        repeat: bool = True,
        part: SupportsIndex = _PART,
    ) -> None:
        if not isinstance(writer, Writer):
            raise TypeError(f"writer must be a writer, as npt.studies.writer makes, not {type(writer).__name__}")
        self._kind, self._rate = _as_rate(
            accesses_per_second=accesses_per_second,
            seconds_per_window=seconds_per_window,
            pages_per_second=pages_per_second,
        )
        self._repeat = as_flag(repeat, "repeat")
        self._part = as_count(part, "part", least=1, end=_MOST_PART + 1)
        if writer.n_windows < 1:
            raise InvalidArgument(f"{writer.name} has no windows")
        self.writer, self.now, self.accesses = writer, 0, 0
        self._place = _Place(0, _NOTHING, Fraction(0), Fraction(0))
        self._taken = 0  # accesses of the window
        self._still = 0  # windows since time went on
        self._windows = self._opened()

    def __repr__(self) -> str:
        return f"<Timed {self.writer.name}, {self._kind} {float(self._rate):g}, at {self.now} ns>"

    @property
    def n_pages(self) -> int:
        """Pages of the writer's guest."""
        return self.writer.n_pages

    @property
    def finished(self) -> bool:
        """Whether all of the writer was handed out and nothing comes any more; never if it repeats."""
        return not self._repeat and self._place.number == self.writer.n_windows and self._taken == self._place.window.pages.size

    def row(self) -> dict[str, object]:
        """The writer's parameters and the rate as plain values, for a result table; None for the rates that are not given."""
        rates = {kind: float(self._rate) if kind == self._kind else None for kind in _KINDS}
        return {**self.writer.row(), **rates, "repeat": self._repeat}

    def during(self, ns: SupportsIndex) -> Iterator[Window]:
        """What is accessed during the next nanoseconds.

        Time goes on when this is called, and accesses are done when they are handed out: what is not taken of them comes first
        in what is asked for next.

        Parameters
        ----------
        ns
            Whole nanoseconds, 0 or more.

        Returns
        -------
        iterator of Window
            The accesses in their order, in parts of the length that was given and a last one of what is left; none is empty.
            A part goes over the ends of windows.

        Raises
        ------
        InvalidArgument
            Negative nanoseconds; while it is iterated over, a window of the writer that is not of the form, or a writer whose
            windows take no time.
        """
        duration = as_int(ns, "ns")
        if duration < 0:
            raise InvalidArgument(f"ns {duration} is negative")
        self.now += duration
        return self._until(self.now)

    def _until(self, end: int) -> Iterator[Window]:
        """Parts of what is due until then, and not yet handed out."""
        while part := self._part_until(end):
            yield part

    def _part_until(self, end: int) -> Window | None:
        """The next part; None if nothing more is due. If it fails or is interrupted, we are where we were."""
        kept = self._place, self._taken, self._still, self.accesses
        try:
            pieces = self._pieces(end)
            if not pieces:
                return None
            return Window(np.concatenate([one.pages for one in pieces]), np.concatenate([one.write for one in pieces]))
        except BaseException:  # an iterator that raised is at its end, or one further
            self._place, self._taken, self._still, self.accesses = kept
            self._windows = self._opened()
            raise

    def _pieces(self, end: int) -> list[Window]:
        """Parts of windows, together one part; none if nothing more is due."""
        pieces: list[Window] = []
        room = self._part
        while room:
            stop = min(self._due(end), self._taken + room)
            window = self._place.window
            if stop > self._taken:
                piece = slice(self._taken, stop)
                pieces.append(Window(window.pages[piece], window.write[piece]))
                room -= stop - self._taken
                self.accesses += stop - self._taken
                self._taken = stop
            elif self._taken < self._place.window.pages.size or self._place.end > end or not self._next():
                break
        return pieces

    def _due(self, end: int) -> int:
        """Accesses of the window that are done until then."""
        n, passed = self._place.window.pages.size, end - self._place.start
        if passed >= self._place.duration:
            return n
        return int(n * passed / self._place.duration) if passed > 0 else 0

    def _next(self) -> bool:
        """Go on to the next window; False if there is none."""
        window = next(self._windows, None)
        if window is None:
            return False
        duration = self._takes(window)
        self._still = 0 if duration else self._still + 1
        self._taken, self._place = 0, _Place(self._place.number + 1, window, self._place.end, duration)
        if self._still > self.writer.n_windows:
            what = "writes nothing" if self._kind == "pages_per_second" else "has no accesses"
            raise InvalidArgument(f"{self.writer.name} {what} in any of its windows: with {self._kind} they take no time")
        return True

    def _opened(self) -> Iterator[Window]:
        """The windows behind the one where we are."""
        if self._repeat:
            return endless(self.writer, self._place.number % self.writer.n_windows)
        return islice(checked(self.writer, self.writer.n_windows), self._place.number, None)

    def _takes(self, window: Window) -> Fraction:
        """Nanoseconds that a window takes."""
        if self._kind == "seconds_per_window":
            return self._rate * _NS
        n = window.pages.size if self._kind == "accesses_per_second" else np.unique(window.pages[window.write]).size
        return n * _NS / self._rate


def _as_rate(**rates: SupportsFloat | None) -> tuple[str, Fraction]:
    """The one that is given, by its name."""
    given = {kind: (as_number(rate, kind), rate) for kind, rate in rates.items() if rate is not None}
    if len(given) != 1:
        raise InvalidArgument(f"one of {', '.join(_KINDS)} must be given, not {' and '.join(given) or 'none'}")
    ((kind, (number, rate)),) = given.items()
    if not 0 < number < math.inf:
        raise InvalidArgument(f"{kind} must be a positive number, not {number}")
    return kind, Fraction(rate if isinstance(rate, (int, Fraction, Decimal)) else repr(number))
