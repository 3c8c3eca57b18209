"""Dirty rates: how many pages a guest writes in a time; exactly, by bitmap, or by the contents of a few of its pages.

Theory of operation
-------------------
Sampling needs no dirty log: the contents of some pages, chosen at random without repeats, are hashed, and hashed again later.
Pages that went away between the two looks are left out of the sample and of what it stands for; what is left of the sample is
as random as it was. How far it can be trusted is told by ``hypergeometric.py``.

Guarantees: a sample depends on seed and population alone, on every machine.
Relies on:  pages that were written hold something else afterwards. What was stored again as it was is not seen.
"""

import math
import time
from dataclasses import dataclass
from typing import Any, SupportsFloat, SupportsIndex

import numpy as np
from numpy.random import SeedSequence
from numpy.typing import NDArray

from npt import kernels
from npt._types import Handle, Prot, U8Array, U64Array
from npt.dirty.bitmap import as_pages, count, difference, empty, from_pages, full, intersection
from npt.dirty.hypergeometric import as_level, interval
from npt.dirty.runlists import RUN, from_runs
from npt.dirty.working_set import check_space
from npt.errors import Fault, InvalidArgument
from npt.memory.objects import RamObject
from npt.space.vmspace import VmSpace
from npt.units import PAGE_SHIFT, PAGE_SIZE, as_count, as_int, as_number, digits

__all__ = ["PageSample", "Rate", "as_seconds", "by_bitmap", "draw", "exact"]

_PAGES_A_GIB = 1 << 18
_AT_ONCE = 1024  # pages held and copied at a time
_TRIES = 100  # to hold pages that another thread unmaps meanwhile


def as_seconds(value: SupportsFloat, name: str = "seconds") -> float:
    """A time that is positive and finite."""
    seconds = as_number(value, name)
    if not 0 < seconds < math.inf:
        raise InvalidArgument(f"{name} {seconds} is not a positive number of seconds")
    return seconds


# -- rates --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rate:
    """How many pages were written in a time.

    Attributes
    ----------
    pages : float
        Pages written, or an estimate; NaN if all that was sampled is gone.
    n_pages : int
        Pages that were asked about.
    seconds : float
        The time.
    low, high : int
        What the pages lie between, at the level given; both are the pages where those are exact.
    method : str
        ``"exact"``, ``"bitmap"`` or ``"sampled"``.
    level : float
        How often such an interval holds the truth, at least.
    sampled, changed, gone : int
        Pages of the sample that were compared, those among them that had changed, and those not resident any more; 0 without
        a sample.
    """

    pages: float
    n_pages: int
    seconds: float
    low: int
    high: int
    method: str
    level: float = 1.0
    sampled: int = 0
    changed: int = 0
    gone: int = 0

    @property
    def share(self) -> float:
        """Part of the pages that was written; 0 of none."""
        return self.pages / self.n_pages if self.n_pages else 0.0

    @property
    def pages_per_s(self) -> float:
        """Pages a second."""
        return self.pages / self.seconds

    @property
    def bytes_per_s(self) -> float:
        """Bytes a second, whole pages."""
        return self.pages * PAGE_SIZE / self.seconds

    def error(self, truth: "Rate | int") -> float:
        """How far the pages are from the truth, relative to it: 0.5 is half too many; infinite if nothing was written."""
        pages = _pages_of(truth)
        if self.pages == pages:
            return 0.0
        return (self.pages - pages) / pages if pages else math.inf

    def covers(self, truth: "Rate | int") -> bool:
        """Whether the truth is in the interval."""
        return self.low <= _pages_of(truth) <= self.high


def _pages_of(truth: Rate | int) -> float:
    return truth.pages if isinstance(truth, Rate) else as_int(truth, "truth")


def _known(pages: int, n_pages: int, seconds: float, method: str) -> Rate:
    return Rate(pages, n_pages, seconds, pages, pages, method)


def exact(pages: Any, n_pages: SupportsIndex, seconds: SupportsFloat) -> Rate:
    """The rate of writes that are known.

    Parameters
    ----------
    pages
        Numbers of the pages written, below ``n_pages``, in any order and as often as they were; integers of shape ``(n,)``.
    n_pages
        Pages of the guest.
    seconds
        The time.

    Returns
    -------
    Rate
        Of the distinct pages.

    Raises
    ------
    InvalidArgument
        A number that is no page, or a time that is not positive.
    """
    as_int(n_pages, "n_pages"), as_number(seconds, "seconds")
    written = from_pages(pages, n_pages)
    return _known(count(written), as_int(n_pages, "n_pages"), as_seconds(seconds), "exact")


def by_bitmap(bitmap: U8Array, seconds: SupportsFloat, *, n_pages: SupportsIndex | None = None) -> Rate:
    """The rate that a harvest says.

    Parameters
    ----------
    bitmap
        ``uint8``, one-dimensional; one bit a page.
    seconds
        Time since the harvest before.
    n_pages
        How many pages count; all bits if None.

    Returns
    -------
    Rate
        Exact, for writes that go through the tables.

    Raises
    ------
    InvalidArgument
        Not one-dimensional, too short for ``n_pages``, or a time that is not positive.
    """
    as_number(seconds, "seconds")
    bitmap, n = as_pages(bitmap, n_pages)
    return _known(count(bitmap, n_pages=n), n, as_seconds(seconds), "bitmap")


# -- the sample ---------------------------------------------------------------------------------------------------------


class PageSample(Handle):
    """Contents of randomly chosen pages, hashed, to be compared later.

    Parameters
    ----------
    space
        Whose pages.
    gpa, length
        Range in bytes, whole pages, inside the space.
    per_gib
        Pages sampled for each GiB that is resident, from 1 to 262144 (every page); rounded up, so that there is at least one.
    seed
        Of the choice, not negative.

    Raises
    ------
    InvalidArgument, AddressOverflow, BeyondSpace, StaleHandle
        Not a range of the space; a number that cannot be.
    NotSupported
        The pages have no bytes: an unbacked reservoir.
    Deadlock
        In a callback, or this thread is on CPU in the space while that keeps look-ups out.

    Attributes
    ----------
    n_pages : int
        Pages that the sample stands for: resident RAM, when it was taken.
    n_sampled : int
        Pages of the sample.

    Notes
    -----
    Pages are read through a client's holds: neither dirtied nor marked accessed. All that became resident later is left out.

    QEMU's ``calc-dirty-rate`` does so in its mode ``page-sampling``: 512 pages a GiB, or what ``sample-pages`` says, 128 to
    16384 (a sixteenth of all pages), over a ``calc-time`` of 50 ms to 60 s (the other modes are ``dirty-ring`` and
    ``dirty-bitmap``). It rounds the number of pages down, for each RAM block by itself, passes over small blocks, may draw a
    page twice, and never draws the last page of a block. It hashed with CRC-32 at first and now does with XXH64, of which it
    keeps 32 bits. It reports whole MB/s, with no interval. Here pages are drawn from all of the range, without repeats, all 64
    bits of XXH64 are kept, and the number is rounded up.

    Source: QEMU's migration/dirtyrate.c (github.com/pbo-linaro/qemu-ci at 42d25e9a, a mirror) and dirtyrate.h
    (gitcode.com/openeuler/qemu/blob/master/migration/dirtyrate.h); wiki.qemu.org/Features/DirtyRateCalc; CRC-32:
    mail-archive.com/qemu-devel@nongnu.org/msg732980.html.
    """

    def __init__(
        self,
        space: VmSpace,
        gpa: SupportsIndex,
        length: SupportsIndex,
        *,
        per_gib: SupportsIndex = 512,
        seed: SupportsIndex = 0,
    ) -> None:
        as_int(per_gib, "per_gib"), as_int(seed, "seed")
        gpa, length = check_space(space, gpa, length)
        share = as_count(per_gib, "per_gib", least=1, end=_PAGES_A_GIB + 1)
        key = as_int(seed, "seed")
        if key < 0:
            raise InvalidArgument(f"seed {digits(key)} is negative")
        self._space, self._range = space, (gpa, length)
        self._population = self._resident()
        self._pages = draw(self._population, share, key)
        self._start_ns = time.monotonic_ns()
        hashes = self._hash(self._pages, self._population)
        still = _are_in(self._pages, self._population)
        self._pages, self._hashes = self._pages[still], hashes[still]
        self.n_pages, self.n_sampled = count(self._population), self._pages.size

    def __repr__(self) -> str:
        return f"<PageSample of {self.n_sampled} pages for {self.n_pages}>"

    def compare(self, seconds: SupportsFloat | None = None, *, level: SupportsFloat = 0.95) -> Rate:
        """Hash the same pages again, and say how many of all have changed.

        Parameters
        ----------
        seconds
            Time since the sample was taken; None to take the clock's.
        level
            Of the interval.

        Returns
        -------
        Rate
            Of the pages that were resident then and are now; ``gone`` says how many of the sample are not. A page that was
            unmapped and is back counts by what it holds.

        Raises
        ------
        InvalidArgument
            A time that is not positive, or a level outside 0 to 1.
        StaleHandle, NotSupported, Deadlock
            As for the sample.
        """
        if seconds is not None:
            as_number(seconds, "seconds")
        as_number(level, "level")
        time_taken = None if seconds is None else as_seconds(seconds)
        level = as_level(level)
        there = intersection(self._population, self._resident())
        elapsed = max(time.monotonic_ns() - self._start_ns, 1) / 1e9 if time_taken is None else time_taken
        hashes = self._hash(self._pages, there)
        still = _are_in(self._pages, there)
        n_pages, n = count(there), int(still.sum())
        changed = int((hashes != self._hashes)[still].sum())
        low, high = interval(n_pages, n, changed, level=level)
        pages = changed * n_pages / n if n else (math.nan if n_pages else 0.0)
        return Rate(pages, n_pages, elapsed, low, high, "sampled", level, n, changed, self.n_sampled - n)

    # -- how --------------------------------------------------------------------------------------------------------

    def _resident(self) -> U8Array:
        """Resident RAM of the range."""
        gpa, length = self._range
        resident = self._space.resident(gpa, length)
        rows = [
            (start, (end - start) >> PAGE_SHIFT)
            for mapping in self._space.mappings
            if isinstance(mapping.obj, RamObject)
            and (start := max(mapping.gpa, gpa)) < (end := min(mapping.gpa + mapping.length, gpa + length))
        ]
        ram = from_runs(np.array(rows, RUN), length >> PAGE_SHIFT, base=gpa)
        return intersection(resident, ram, out=resident)

    def _hash(self, pages: U64Array, there: U8Array) -> U64Array:
        """Hashes of pages, 0 of those that are not there; if one goes away meanwhile, ``there`` becomes what is left."""
        hashes = np.zeros(pages.size, np.uint64)
        client = self._space.client()
        try:
            for start in range(0, pages.size, _AT_ONCE):
                self._hash_some(client, pages[start : start + _AT_ONCE], there, hashes[start : start + _AT_ONCE])
        finally:
            client.destroy()
        return hashes

    def _hash_some(self, client: Any, pages: U64Array, there: U8Array, hashes: U64Array) -> None:
        for left in reversed(range(_TRIES)):
            present = _are_in(pages, there)
            gpas = np.uint64(self._range[0]) + (pages[present] << np.uint64(PAGE_SHIFT))
            try:
                with client.hold_many(gpas, Prot.READ) as held:
                    contents = held.gather()
            except Fault:
                if not left:
                    raise
                intersection(there, self._resident(), out=there)
                continue
            found = np.empty(gpas.size, np.uint64)
            kernels.usage.hash_pages(contents.reshape(-1), found)
            hashes[present] = found
            return


def draw(population: U8Array, per_gib: int, seed: int) -> U64Array:
    """Numbers of randomly chosen pages of a bitmap, ascending; all choices of so many pages are alike."""
    n_pages = count(population)
    n = -(-n_pages * per_gib // _PAGES_A_GIB)
    (key,) = SeedSequence(seed).generate_state(1, np.uint64).tolist()
    chosen = empty(n_pages)
    kernels.usage.draw(key, n_pages, min(n, n_pages - n), chosen)
    if n > n_pages - n:  # drawn were those to be left out
        difference(full(n_pages), chosen, out=chosen)
    pages = np.empty(n, np.uint64)
    kernels.usage.pick(population, population.size * 8, chosen, pages)
    return pages


def _are_in(pages: U64Array, bitmap: U8Array) -> NDArray[np.bool_]:
    """Which pages are set in a bitmap."""
    places = pages.astype(np.int64)
    are: NDArray[np.bool_] = (bitmap[places >> 3] >> (places & 7) & 1).astype(np.bool_)
    return are
