"""The form that all writers have: windows of accesses to numbered pages."""

from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from npt._types import U64Array
from npt.errors import InvalidArgument
from npt.units import as_int

__all__ = ["Window", "Writer", "as_window", "checked"]


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


def checked(writer: Writer, n_windows: int) -> Iterator[Window]:
    """The first windows of a writer, each refused if it is not of the form; anybody may write one.

    Raises
    ------
    TypeError
        A window's arrays are of other types.
    InvalidArgument
        A window's arrays are of other shapes, a page is none of the guest's, or there are too few windows.
    """
    done = 0
    pages: Any
    write: Any
    for pages, write in islice(writer.windows(), n_windows):
        where = f"window {done} of {writer.name}"
        if not isinstance(pages, np.ndarray) or pages.dtype != np.uint64:
            raise TypeError(f"{where}: pages must be a numpy array of uint64")
        if not isinstance(write, np.ndarray) or write.dtype != np.bool_:
            raise TypeError(f"{where}: write must be a numpy array of bool")
        if pages.ndim != 1 or write.shape != pages.shape:
            raise InvalidArgument(f"{where}: pages has shape {pages.shape} and write {write.shape}; both must be of one length")
        if pages.size and int(pages.max()) >= writer.n_pages:
            raise InvalidArgument(f"{where}: page {int(pages.max())} is none of {writer.n_pages}")
        done += 1
        yield Window(pages, write)
    if done < n_windows:
        raise InvalidArgument(f"{writer.name} has {done} windows, and not the {writer.n_windows} that it says")
