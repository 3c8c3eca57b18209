"""``Copies``: the truth about pages that are copied: whether they were written later, whoever noticed."""

from typing import Any, NamedTuple

import numpy as np

from npt import kernels
from npt._types import U8Array, U64Array
from npt.errors import InvalidArgument
from npt.units import as_integers, as_u64

__all__ = ["Account", "Copies"]

_MOMENTS_END = 1 << 62  # accesses; nobody will do as many


class Account(NamedTuple):
    """How well copies were served by what was reported after them.

    Attributes
    ----------
    copied : int
        Pages that were copied; a page that is copied twice in a round counts once, by its later copy.
    false_dirty : int
        Of these, reported again although nothing was written since their copy.
    missed : int
        Of these, written since their copy and not reported: lost.
    """

    copied: int = 0
    false_dirty: int = 0
    missed: int = 0


class Copies:
    """Pages of a range that are copied at moments of a round, and which access was the last to write each.

    A moment is a number of accesses, counted from the start of the round.

    Parameters
    ----------
    gpa, n_pages
        The range, checked.
    """

    def __init__(self, gpa: int, n_pages: int) -> None:
        self._gpa, self._n_pages = gpa, n_pages
        self._done = self._base = 0  # accesses in all; those before this round
        self._last_write: U64Array = np.zeros(n_pages, np.uint64)  # by page: number of the access, from 1
        self._copied: U64Array = np.zeros(n_pages, np.uint64)  # by page: number of the first access after its copy
        self._pages: list[U64Array] = []  # that are copied in this round
        self.total = self.last_round = Account()

    @property
    def moment(self) -> int:
        """Now."""
        return self._done - self._base

    def note_writes(self, gpas: U64Array, kinds: U8Array) -> None:
        """See accesses, in order."""
        kernels.mechanisms.note_writes(gpas, kinds, self._gpa, self._n_pages, self._done, self._last_write)
        self._done += gpas.size

    def check(self, pages: Any, at: Any) -> tuple[U64Array, U64Array | None]:
        """Pages, and their moments if these are not now; arrays of our own.

        Raises
        ------
        InvalidArgument
            Pages outside the range, arrays of unequal length, a moment that cannot be.
        """
        single = isinstance(at, (int, np.integer))
        numbers = as_integers(pages, "pages")
        moments = None if at is None else as_integers([at] if single else at, "at")
        numbers = as_u64(numbers, "pages").copy()  # kernels trust what is checked here: the caller's may change
        if numbers.size and int(numbers.max()) >= self._n_pages:
            raise InvalidArgument(f"pages holds {int(numbers.max())}; there are {self._n_pages}")
        if moments is None:
            return numbers, None
        moments = as_u64(moments, "at").copy()
        if moments.size and int(moments.max()) >= _MOMENTS_END:
            raise InvalidArgument(f"at holds {int(moments.max())}, which is too many accesses")
        if not single and moments.shape != numbers.shape:
            raise InvalidArgument(f"at has shape {moments.shape}; there are {numbers.size} pages")
        return numbers, np.broadcast_to(moments, numbers.shape)

    def add(self, pages: U64Array, moments: U64Array | None) -> None:
        """Pages are copied, now or at moments of this round."""
        since = np.uint64(self._done + 1) if moments is None else moments + np.uint64(self._base + 1)
        np.maximum.at(self._copied, pages, since)
        self._pages.append(pages)

    def settle(self, bitmap: U8Array) -> None:
        """The round is over: settle the account of its copies, what was reported against what was written since."""
        outcome: U64Array = np.zeros(3, np.uint64)
        for pages in self._pages:
            kernels.mechanisms.settle(pages, self._copied, self._last_write, bitmap, outcome)
        self._pages = []
        self._base = self._done
        self.last_round = Account(*outcome.tolist())
        self.total = Account(*(one + two for one, two in zip(self.total, self.last_round, strict=True)))
