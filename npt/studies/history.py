"""Who writes: real programs' histories."""

import hashlib
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npt._files import write_whole
from npt._types import U64Array
from npt.errors import Unreadable
from npt.studies.window import Window, as_window

__all__ = ["HISTORIES", "History"]

HISTORIES = ("sort", "sqlite", "xz")
_PAGES_END = 1 << 35  # of the largest space
_ARRAYS = ("pages", "write_offsets", "write_pages", "read_offsets", "read_pages")
_UNITS = ("instructions", "accesses", "rounds")


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
    window_length : int
        How long a window is.
    window_unit : str
        In ``"instructions"``, in ``"accesses"``, or in ``"rounds"`` of a dirty log.

    Notes
    -----
    A file of the form is an ``.npz`` with these arrays, but for the last two: it has ``window_instructions``,
    ``window_accesses`` or ``window_rounds`` instead.
    """

    name: str
    pages: U64Array
    write_offsets: NDArray[np.int64]
    write_pages: NDArray[np.int64]
    read_offsets: NDArray[np.int64]
    read_pages: NDArray[np.int64]
    window_length: int
    window_unit: str = "instructions"

    @classmethod
    def load(cls, name_or_file: str | os.PathLike[str]) -> "History":
        """Load one of ``HISTORIES`` by name, or a file of that form.

        Raises
        ------
        Unreadable
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
                raise Unreadable(f"{path} is not an .npz file") from None
        try:
            unit = _unit(arrays)
            made = cls(
                name=path.stem,
                pages=_numbers(arrays, "pages", np.uint64),
                write_offsets=_numbers(arrays, "write_offsets", np.int64),
                write_pages=_numbers(arrays, "write_pages", np.int64),
                read_offsets=_numbers(arrays, "read_offsets", np.int64),
                read_pages=_numbers(arrays, "read_pages", np.int64),
                window_length=_number(arrays, f"window_{unit}"),
                window_unit=unit,
            )
        except KeyError as error:
            raise Unreadable(f"{path} has no array {error}; the histories in npt/data show the form") from None
        made._check(path)
        return made

    def _check(self, path: Path) -> None:
        if not self.pages.size or (self.pages[1:] <= self.pages[:-1]).any():
            raise Unreadable(f"{path}: pages is empty, or not ascending")
        if int(self.pages[-1]) >= _PAGES_END:
            raise Unreadable(f"{path}: page {int(self.pages[-1]):#x} is beyond the largest space, {_PAGES_END:#x} pages")
        for kind, offsets, numbers in (
            ("write", self.write_offsets, self.write_pages),
            ("read", self.read_offsets, self.read_pages),
        ):
            if offsets.size < 2 or offsets[0] != 0 or offsets[-1] != numbers.size or (offsets[1:] < offsets[:-1]).any():
                raise Unreadable(f"{path}: {kind}_offsets does not divide {kind}_pages into windows")
            if numbers.size and not 0 <= int(numbers.min()) <= int(numbers.max()) < self.pages.size:
                raise Unreadable(f"{path}: {kind}_pages has numbers that are no places in pages")
        if self.write_offsets.size != self.read_offsets.size:
            raise Unreadable(f"{path}: writes and reads have different numbers of windows")
        if self.window_length < 1:
            raise Unreadable(f"{path}: window_{self.window_unit} {self.window_length} is not positive")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save it as a file that ``load`` reads, which takes the name from the file's; all of it or nothing.

        Raises
        ------
        OSError
            The file cannot be written.
        """
        arrays: dict[str, Any] = {one: getattr(self, one) for one in _ARRAYS}
        arrays[f"window_{self.window_unit}"] = np.int64(self.window_length)
        packed = io.BytesIO()
        np.savez_compressed(packed, **arrays)
        write_whole(Path(path), packed.getbuffer())

    @property
    def n_windows(self) -> int:
        """How many windows there are."""
        return self.write_offsets.size - 1

    @property
    def n_pages(self) -> int:
        """Pages of a guest that has them side by side, in the order of ``pages``."""
        return self.pages.size

    @property
    def window_instructions(self) -> int | None:
        """Instructions a window; None where windows are measured otherwise."""
        return self.window_length if self.window_unit == "instructions" else None

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
        for one in _ARRAYS:
            hashed.update(getattr(self, one).astype("<u8").tobytes() + b"|")
        unit = "" if self.window_unit == _UNITS[0] else self.window_unit
        hashed.update(f"{self.window_length}{unit}".encode())
        return hashed.hexdigest()[:12]

    def written(self, window: int) -> NDArray[np.int64]:
        """Places in ``pages`` of those written in a window."""
        return self.write_pages[self.write_offsets[window] : self.write_offsets[window + 1]]

    def read(self, window: int) -> NDArray[np.int64]:
        """Places in ``pages`` of those read in a window."""
        return self.read_pages[self.read_offsets[window] : self.read_offsets[window + 1]]


def _unit(arrays: dict[str, Any]) -> str:
    """What windows are measured in."""
    units = [one for one in _UNITS if f"window_{one}" in arrays]
    if len(units) > 1:
        raise Unreadable(f"windows are measured in {' and in '.join(units)}; there can be one")
    return units[0] if units else _UNITS[0]


def _number(arrays: dict[str, Any], name: str) -> int:
    if arrays[name].ndim != 0 or arrays[name].dtype.kind not in "iu":
        raise Unreadable(f"{name} is not an integer")
    return int(arrays[name])


def _numbers(arrays: dict[str, Any], name: str, dtype: Any) -> NDArray[Any]:
    array = arrays[name]
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise Unreadable(f"{name} is not a one-dimensional array of integers")
    return np.ascontiguousarray(array, dtype=dtype)
