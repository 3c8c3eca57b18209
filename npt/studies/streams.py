"""Writers without an end: window after window, and accesses in pieces of any length."""

from collections.abc import Iterator
from itertools import islice

import numpy as np

from npt.errors import InvalidArgument
from npt.studies.window import Window, Writer, checked

__all__ = ["Stream", "endless"]


def endless(writer: Writer, first: int = 0) -> Iterator[Window]:
    """All windows of a writer from one on, each checked, again and again."""
    while True:
        yield from islice(checked(writer, writer.n_windows), first, None)
        first = 0


class Stream:
    """The accesses of a writer in their order, taken in pieces of any length; behind the last comes the first.

    Parameters
    ----------
    writer
        Whose they are.
    """

    def __init__(self, writer: Writer) -> None:
        self._writer, self._windows = writer, endless(writer)
        self._window = Window(np.empty(0, np.uint64), np.empty(0, np.bool_))
        self._taken = 0  # of the window

    def take(self, n: int) -> Window:
        """The next ``n`` accesses.

        Raises
        ------
        InvalidArgument
            The writer has no accesses at all, or is not of the form.
        """
        pages, write = np.empty(n, np.uint64), np.empty(n, np.bool_)
        done = 0
        while done < n:
            if self._taken == self._window.pages.size:
                self._next()
            stop = min(self._taken + n - done, self._window.pages.size)
            piece = slice(done, done + stop - self._taken)
            pages[piece] = self._window.pages[self._taken : stop]
            write[piece] = self._window.write[self._taken : stop]
            done, self._taken = piece.stop, stop
        return Window(pages, write)

    def _next(self) -> None:
        """Go on to the next window that is not empty."""
        for _ in range(self._writer.n_windows):
            self._window, self._taken = next(self._windows), 0
            if self._window.pages.size:
                return
        raise InvalidArgument(f"{self._writer.name} has no accesses in any of its windows")
