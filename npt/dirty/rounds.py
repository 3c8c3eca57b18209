"""``Rounds``: what was written when, as one bitmap a round; differences, unions, and the round that wrote each page last.

Theory of operation
-------------------
Round k is what was written between two *instants*: the return of the harvest before it, and the return of its own. Instant 0
is the start of the log. So what was written between instants a and b is the union of rounds a + 1 to b.

Each round is kept in the smallest of three forms (``packed.py``), and is a bitmap again when it is asked for.
"""

import copy
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from npt import _html
from npt._types import U8Array
from npt.dirty import saved
from npt.dirty.bitmap import difference, empty, intersection
from npt.dirty.packed import Entry
from npt.errors import InvalidArgument
from npt.units import PAGE_SHIFT, as_int, as_range, digits, format_size

__all__ = ["Round", "Rounds", "read_only"]


@dataclass(frozen=True, eq=False)
class Round:
    """One harvest of a dirty log; equal to another that says the same.

    Attributes
    ----------
    number : int
        From 1.
    bitmap : numpy.ndarray
        What was reported; ``uint8``, read-only, shape ``(ceil(n_pages / 8),)``; bit k of byte j is page ``8 * j + k`` of
        the log's range.
    generation : int
        Of the space, just after the harvest.
    time_ns : int
        From the first start of the log to the harvest's return, in nanoseconds, by a clock that never goes back.
    count : int
        Pages reported.
    gap : bool
        For some of the time since the round before tracking was off, or may have been: what was written then may be
        missing.
    """

    number: int
    bitmap: U8Array
    generation: int
    time_ns: int
    count: int
    gap: bool

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Round):
            return NotImplemented
        return self._facts() == other._facts() and np.array_equal(self.bitmap, other.bitmap)

    def __hash__(self) -> int:
        return hash(self._facts())

    def _facts(self) -> tuple[int, ...]:
        return self.number, self.generation, self.time_ns, self.count, self.gap

    def __repr__(self) -> str:
        gap = ", after a gap" if self.gap else ""
        return f"<Round {self.number}: {self.count} pages, {self.time_ns / 1e9:.3f} s, generation {self.generation}{gap}>"


def read_only(bitmap: U8Array) -> U8Array:
    """The same bytes, for ever read-only: a view of an array that owns them could be made writable again."""
    return np.frombuffer(bitmap.data.toreadonly(), np.uint8)


class Rounds:
    """Rounds of one range, in order; ``DirtyLog.rounds``, or loaded from a file.

    It never changes: a log that goes on has another one. ``rounds[k]`` is round k, from 1.

    Parameters
    ----------
    gpa, length
        The range in bytes: whole pages.
    entries
        Rounds as they are kept; none unless told.

    Attributes
    ----------
    gpa, length, n_pages : int
        The range, in bytes and in pages.

    Raises
    ------
    TypeError
        The range is not of integers, or an entry is none.
    InvalidArgument, AddressOverflow
        The range is unaligned, empty or reaches 2**64, or an entry is of a range of another size.

    Examples
    --------
    >>> from npt import PAGE_SIZE, Prot, Reservoir, VmSpace
    >>> from npt.dirty.log import DirtyLog
    >>> with Reservoir(8 * PAGE_SIZE) as reservoir, reservoir.allocate(8 * PAGE_SIZE) as ram:
    ...     with VmSpace(8 * PAGE_SIZE, reservoir=reservoir) as space:
    ...         space.map(ram, 0, ram.length, Prot.RW)
    ...         log, client = DirtyLog(space), space.client()
    ...         log.start()
    ...         for page in (1, 2, 1):
    ...             client.write(page * PAGE_SIZE, b"x")
    ...             _ = log.round()
    >>> log.rounds.counts.tolist(), log.rounds.last_written().tolist()
    ([1, 1, 1], [0, 3, 2, 0, 0, 0, 0, 0])
    >>> log.rounds.between(0, 2).tolist()
    [6]
    """

    def __init__(self, gpa: SupportsIndex, length: SupportsIndex, entries: tuple[Entry, ...] = ()) -> None:
        as_int(gpa, "gpa"), as_int(length, "length")
        self._entries = tuple(entries)
        for entry in self._entries:
            if not isinstance(entry, Entry):
                raise TypeError(f"an entry must be an Entry, not {type(entry).__name__}")
        self.gpa, self.length = as_range(gpa, length)
        self.n_pages = self.length >> PAGE_SHIFT
        for entry in self._entries:
            self._check_size(entry)

    def _check_size(self, entry: Entry) -> None:
        if entry.packed.n_pages != self.n_pages:
            raise InvalidArgument(f"a round of {entry.packed.n_pages} pages is not one of {self.n_pages}")

    def __repr__(self) -> str:
        return f"<Rounds of {self.gpa:#x} + {self.length:#x}: {len(self)}, kept in {format_size(self.nbytes)}>"

    def _repr_html_(self) -> str:
        rows = (
            (number, f"{entry.packed.n_set:,}", f"{entry.time_ns / 1e9:.6f}", entry.generation, "gap" if entry.gap else "")
            for number, entry in enumerate(self._entries, 1)
        )
        return _html.table(repr(self)[1:-1], ("round", "pages", "seconds", "generation", ""), rows, len(self))

    # -- one by one -------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Round]:
        return (self._round(number) for number in range(1, len(self) + 1))

    def __reversed__(self) -> Iterator[Round]:
        return (self._round(number) for number in range(len(self), 0, -1))

    def __getitem__(self, number: SupportsIndex) -> Round:
        return self._round(self._as_number(number, "round"))

    def _round(self, number: int) -> Round:
        packed, generation, time_ns, gap = self._entries[number - 1]
        return Round(number, read_only(packed.bitmap()), generation, time_ns, packed.n_set, gap)

    def _as_number(self, number: SupportsIndex, name: str, least: int = 1) -> int:
        number = as_int(number, name)
        if not least <= number <= len(self):
            raise InvalidArgument(f"{name} {digits(number)} is not from {least} to {len(self)}")
        return number

    def find(self, round: "Round | SupportsIndex") -> int:
        """Number of a round of these.

        Parameters
        ----------
        round
            A ``Round``, or its number.

        Returns
        -------
        int
            From 1.

        Raises
        ------
        TypeError
            Neither.
        InvalidArgument
            There is no such round, or it is one of another log.
        """
        if not isinstance(round, Round):
            return self._as_number(round, "round")
        entry = self._entries[round.number - 1] if 0 < round.number <= len(self) else None
        if entry is None or (entry.generation, entry.time_ns, entry.packed.n_set) != (
            round.generation,
            round.time_ns,
            round.count,
        ):
            raise InvalidArgument(f"round {round.number} is of another log")
        return round.number

    # -- all at once ------------------------------------------------------------------------------------------------

    @property
    def counts(self) -> NDArray[np.uint64]:
        """Pages reported in each round; ``uint64``, shape ``(len(rounds),)``."""
        return np.array([entry.packed.n_set for entry in self._entries], np.uint64)

    @property
    def generations(self) -> NDArray[np.uint64]:
        """Generation after each round; ``uint64``, shape ``(len(rounds),)``."""
        return np.array([entry.generation for entry in self._entries], np.uint64)

    @property
    def times_ns(self) -> NDArray[np.uint64]:
        """Instant of each round, in nanoseconds; ``uint64``, shape ``(len(rounds),)``."""
        return np.array([entry.time_ns for entry in self._entries], np.uint64)

    @property
    def gaps(self) -> NDArray[np.bool_]:
        """Which rounds come after a gap; ``bool``, shape ``(len(rounds),)``."""
        return np.array([entry.gap for entry in self._entries], np.bool_)

    @property
    def nbytes(self) -> int:
        """Bytes that the rounds are kept in."""
        return sum(entry.packed.data.nbytes for entry in self._entries)

    def between(self, a: SupportsIndex, b: SupportsIndex) -> U8Array:
        """Pages written between two instants.

        Parameters
        ----------
        a, b
            Instants, ``a <= b``: a round's number is the instant of its harvest, 0 is the start.

        Returns
        -------
        numpy.ndarray
            ``uint8``, shape ``(ceil(n_pages / 8),)``: the union of rounds ``a + 1`` to ``b``.

        Raises
        ------
        TypeError
            Not integers.
        InvalidArgument
            There are no such instants, or they are the wrong way round.
        """
        as_int(a, "a"), as_int(b, "b")
        start, stop = self._as_number(a, "a", 0), self._as_number(b, "b", 0)
        if start > stop:
            raise InvalidArgument(f"instant {start} comes after instant {stop}")
        return self._union(start, stop)

    def union(self, first: SupportsIndex = 1, last: SupportsIndex | None = None) -> U8Array:
        """Pages written in any round from ``first`` to ``last``, both included.

        Parameters
        ----------
        first, last
            Numbers of rounds; all of them unless told.

        Returns
        -------
        numpy.ndarray
            ``uint8``, shape ``(ceil(n_pages / 8),)``.

        Raises
        ------
        TypeError, InvalidArgument
            As for ``between``.
        """
        as_int(first, "first"), None if last is None else as_int(last, "last")
        if last is None and len(self) == 0 and first == 1:
            return empty(self.n_pages)
        start = self._as_number(first, "first")
        stop = len(self) if last is None else self._as_number(last, "last")
        if start > stop:
            raise InvalidArgument(f"round {start} comes after round {stop}")
        return self._union(start - 1, stop)

    def _union(self, start: int, stop: int) -> U8Array:
        bitmap = empty(self.n_pages)
        for entry in self._entries[start:stop]:
            entry.packed.add_to(bitmap)
        return bitmap

    def diff(self, a: SupportsIndex, b: SupportsIndex) -> tuple[U8Array, U8Array, U8Array]:
        """How two rounds differ.

        Parameters
        ----------
        a, b
            Numbers of rounds, in any order.

        Returns
        -------
        tuple of numpy.ndarray
            Pages reported in a only, in b only, in both; each ``uint8``, shape ``(ceil(n_pages / 8),)``.

        Raises
        ------
        TypeError, InvalidArgument
            As for ``between``.
        """
        as_int(a, "a"), as_int(b, "b")
        of_a, of_b = (self._entries[self._as_number(n, name) - 1].packed.bitmap() for n, name in ((a, "a"), (b, "b")))
        return difference(of_a, of_b), difference(of_b, of_a), intersection(of_a, of_b)

    def last_written(self) -> NDArray[np.uint32]:
        """Number of the last round that reported each page; ``uint32``, shape ``(n_pages,)``, 0 where none did."""
        stamps = np.zeros(self.n_pages, np.uint32)
        for number, entry in enumerate(self._entries, 1):
            entry.packed.stamp(number, stamps)
        return stamps

    def with_one(self, entry: Entry) -> Self:
        """The same and one round more."""
        self._check_size(entry)
        more = copy.copy(self)
        more._entries = (*self._entries, entry)
        return more

    # -- files ------------------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save to an ``.npz`` file of the form ``npt-dirty-log/1``, whole or not at all; ``load`` reads it back.

        Parameters
        ----------
        path
            Where; a file that is there is replaced. Nothing is appended to the name.
        """
        saved.write(path, self.gpa, self.length, self._entries)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what ``save`` wrote.

        Parameters
        ----------
        path
            The file.

        Returns
        -------
        Rounds
            As they were saved.

        Raises
        ------
        InvalidArgument
            The file is something else, of another version, cut off or damaged; it says which file and why.
        OSError
            The file cannot be read.
        """
        return cls(*saved.read(path))
