"""Who writes: real programs' histories."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npt._types import U64Array
from npt.errors import InvalidArgument
from npt.studies.window import Window, as_window

__all__ = ["HISTORIES", "History"]

HISTORIES = ("sort", "sqlite", "xz")
_PAGES_END = 1 << 35  # of the largest space


@dataclass(frozen=True, eq=False, repr=False)
class History:
    """Which pages a program touched, window by window.

    Attributes
    ----------
    name : str
        Of the program.
    pages : numpy.ndarray
        ``uint64``, sorted: the page numbers that occur at all.
    write_offsets, write_pages : numpy.ndarray
        The pages written in window w are ``pages[write_pages[write_offsets[w]:write_offsets[w + 1]]]``.
    read_offsets, read_pages : numpy.ndarray
        The same for reads.
    window_instructions : int
        Instructions a window.
    """

    name: str
    pages: U64Array
    write_offsets: NDArray[np.int64]
    write_pages: NDArray[np.int64]
    read_offsets: NDArray[np.int64]
    read_pages: NDArray[np.int64]
    window_instructions: int

    @classmethod
    def load(cls, name_or_file: str | os.PathLike[str]) -> "History":
        """Load one of ``HISTORIES`` by name, or a file of that form.

        Raises
        ------
        InvalidArgument
            The file is of another form, or its arrays do not fit each other.
        FileNotFoundError
            There is no such name or file.
        """
        if name_or_file in HISTORIES:
            with as_file(files("npt") / "data" / f"{name_or_file}.npz") as path:
                return cls._read(path)
        path = Path(name_or_file)
        if not path.is_file():
            names = ", ".join(HISTORIES)
            raise FileNotFoundError(f"{os.fspath(name_or_file)!r} is neither a history ({names}) nor a file")
        return cls._read(path)

    @classmethod
    def _read(cls, path: Path) -> "History":
        with path.open("rb") as opened:  # numpy leaves a damaged file open
            try:
                with np.load(opened, allow_pickle=False) as file:
                    arrays = {key: file[key] for key in file.files}
            except Exception:  # numpy and zipfile raise a dozen kinds for damaged files
                raise InvalidArgument(f"{path} is not an .npz file") from None
        try:
            made = cls(
                name=path.stem,
                pages=_numbers(arrays, "pages", np.uint64),
                write_offsets=_numbers(arrays, "write_offsets", np.int64),
                write_pages=_numbers(arrays, "write_pages", np.int64),
                read_offsets=_numbers(arrays, "read_offsets", np.int64),
                read_pages=_numbers(arrays, "read_pages", np.int64),
                window_instructions=_number(arrays, "window_instructions"),
            )
        except KeyError as error:
            raise InvalidArgument(f"{path} has no array {error}; the histories in npt/data show the form") from None
        made._check(path)
        return made

    def _check(self, path: Path) -> None:
        if not self.pages.size or (self.pages[1:] <= self.pages[:-1]).any():
            raise InvalidArgument(f"{path}: pages is empty, or not ascending")
        if int(self.pages[-1]) >= _PAGES_END:
            raise InvalidArgument(f"{path}: page {int(self.pages[-1]):#x} is beyond the largest space, {_PAGES_END:#x} pages")
        for kind, offsets, numbers in (
            ("write", self.write_offsets, self.write_pages),
            ("read", self.read_offsets, self.read_pages),
        ):
            if offsets.size < 2 or offsets[0] != 0 or offsets[-1] != numbers.size or (offsets[1:] < offsets[:-1]).any():
                raise InvalidArgument(f"{path}: {kind}_offsets does not divide {kind}_pages into windows")
            if numbers.size and not 0 <= int(numbers.min()) <= int(numbers.max()) < self.pages.size:
                raise InvalidArgument(f"{path}: {kind}_pages has numbers that are no places in pages")
        if self.write_offsets.size != self.read_offsets.size:
            raise InvalidArgument(f"{path}: writes and reads have different numbers of windows")
        if self.window_instructions < 1:
            raise InvalidArgument(f"{path}: window_instructions {self.window_instructions} is not positive")

    @property
    def n_windows(self) -> int:
        """How many windows there are."""
        return self.write_offsets.size - 1

    @property
    def n_pages(self) -> int:
        """Pages of a guest that has them side by side, in the order of ``pages``."""
        return self.pages.size

    def __repr__(self) -> str:
        return f"<History {self.name}, {self.n_pages} pages, {self.n_windows} windows>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, History):
            return NotImplemented
        return all(np.array_equal(getattr(self, one.name), getattr(other, one.name)) for one in fields(self))

    def __hash__(self) -> int:
        return hash((self.name, self.n_pages, self.n_windows, self.write_pages.size, self.read_pages.size))

    def window(self, number: int) -> Window:
        """Accesses of one window by its number, from 0: its reads, then its writes, in the order of the file (ours ascend).

        Raises
        ------
        InvalidArgument
            There is no such window.
        """
        number = as_window(number, self.n_windows)
        read, written = self.read(number), self.written(number)
        pages = np.concatenate((read, written)).astype(np.uint64)
        return Window(pages, np.arange(pages.size) >= read.size)

    def windows(self) -> Iterator[Window]:
        """All windows, one after the other; each is made when it is asked for."""
        return map(self.window, range(self.n_windows))

    def row(self) -> dict[str, object]:
        """Parameters as plain values, for a result table; the columns are those of all writers."""
        return {
            "writer": self.name,
            "pages": self.n_pages,
            "windows": self.n_windows,
            "accesses": None,
            "write_share": None,
            "seed": None,
            "options": f"sha256={self._digest}",  # a name says little of a file
        }

    @cached_property
    def _digest(self) -> str:
        """The first digits of a hash of all arrays, of whatever file they come from."""
        hashed = hashlib.sha256()
        for array in (self.pages, self.write_offsets, self.write_pages, self.read_offsets, self.read_pages):
            hashed.update(array.astype("<u8").tobytes() + b"|")
        hashed.update(str(self.window_instructions).encode())
        return hashed.hexdigest()[:12]

    def written(self, window: int) -> NDArray[np.int64]:
        """Places in ``pages`` of those written in a window."""
        return self.write_pages[self.write_offsets[window] : self.write_offsets[window + 1]]

    def read(self, window: int) -> NDArray[np.int64]:
        """Places in ``pages`` of those read in a window."""
        return self.read_pages[self.read_offsets[window] : self.read_offsets[window + 1]]


def _number(arrays: dict[str, Any], name: str) -> int:
    if arrays[name].ndim != 0 or arrays[name].dtype.kind not in "iu":
        raise InvalidArgument(f"{name} is not an integer")
    return int(arrays[name])


def _numbers(arrays: dict[str, Any], name: str, dtype: Any) -> NDArray[Any]:
    array = arrays[name]
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise InvalidArgument(f"{name} is not a one-dimensional array of integers")
    return np.ascontiguousarray(array, dtype=dtype)
