"""A history that is built window by window."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npt._types import U64Array
from npt.errors import Unreadable
from npt.studies.history import History

__all__ = ["PAGES_END", "Builder", "Progress", "check_options"]

PAGES_END = 1 << 35  # of the largest space
Progress = Callable[[int, int | None], None]

_NONE = np.empty(0, np.uint64)


class Builder:
    """Pages read and written, by window; what is kept is the distinct pages of each window."""

    def __init__(self) -> None:
        self._read: list[U64Array] = []
        self._written: list[U64Array] = []

    @property
    def n_windows(self) -> int:
        """Windows begun."""
        return len(self._read)

    def reach(self, n_windows: int) -> None:
        """Have that many windows at least; new ones are empty."""
        for _ in range(n_windows - self.n_windows):
            self._read.append(_NONE)
            self._written.append(_NONE)

    def add(self, read: U64Array, written: U64Array) -> None:
        """Add pages to the last window, each as often as it comes."""
        self._read[-1] = _union(self._read[-1], read)
        self._written[-1] = _union(self._written[-1], written)

    def history(self, name: str, window_length: int, window_unit: str) -> History:
        """All of it.

        Raises
        ------
        Unreadable
            There is not one page in it.
        """
        pages = _NONE
        for part in (self._read, self._written):
            for first in range(0, len(part), 1024):
                pages = np.union1d(pages, np.concatenate(part[first : first + 1024]))
        if not pages.size:
            raise Unreadable(f"{name}: nothing is read or written in {self.n_windows} windows")
        (write_offsets, write_pages), (read_offsets, read_pages) = (
            (_offsets(part), np.searchsorted(pages, np.concatenate(part)).astype(np.int64))
            for part in (self._written, self._read)
        )
        return History(
            name, pages, write_offsets, write_pages, read_offsets, read_pages, window_length, window_unit
        )  # fmt: skip


def check_options(name: Any, progress: Any) -> None:
    """Refuse what is no name and no function."""
    if name is not None and not isinstance(name, str):
        raise TypeError(f"name must be a str, not {type(name).__name__}")
    if progress is not None and not callable(progress):
        raise TypeError(f"progress must be a function, not {type(progress).__name__}")


def _union(distinct: U64Array, more: U64Array) -> U64Array:
    if more.size > 1:
        more = more[np.concatenate(([True], more[1:] != more[:-1]))]  # neighbours are often alike, and sorting is dear
    return np.union1d(distinct, more) if more.size else distinct


def _offsets(part: Iterable[U64Array]) -> NDArray[np.int64]:
    return np.concatenate(([0], np.cumsum([one.size for one in part]))).astype(np.int64)
