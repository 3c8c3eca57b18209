"""The form that all writers have: windows of accesses to numbered pages."""

from collections.abc import Iterator
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from npt._types import U64Array
from npt.errors import InvalidArgument
from npt.units import as_int

__all__ = ["Window", "Writer", "as_window"]


class Window(NamedTuple):
    """Accesses of one window, in order.

    Attributes
    ----------
    pages : numpy.ndarray
        Which page each access is to; ``uint64``, shape ``(n,)``, from 0 to the writer's ``n_pages - 1``.
    write : numpy.ndarray
        Whether it writes; ``bool``, shape ``(n,)``.
    """

    pages: U64Array
    write: NDArray[np.bool_]


@runtime_checkable
class Writer(Protocol):
    """Who writes: a real program's history, a pattern, or anything else that has these five.

    A writer may be asked for its windows again and again, and gives the same ones each time.
    """

    @property
    def name(self) -> str:
        """Short name, for tables."""

    @property
    def n_pages(self) -> int:
        """Pages of its guest."""

    @property
    def n_windows(self) -> int:
        """How many windows there are."""

    def windows(self) -> Iterator[Window]:
        """All windows, one after the other; each is made when it is asked for."""

    def row(self) -> dict[str, object]:
        """Parameters as plain values, for a result table.

        The columns are ``writer``, ``pages``, ``windows``, ``accesses`` (a window), ``write_share``, ``seed`` and ``options``;
        None where there is no such thing.
        """


def as_window(window: int, n_windows: int) -> int:
    """The number of a window that there is."""
    number = as_int(window, "window")
    if not 0 <= number < n_windows:
        raise InvalidArgument(f"window {number} is not one of {n_windows}, which count from 0")
    return number
