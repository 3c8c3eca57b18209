"""Bitmaps as runs: what a migration sends, each run an address and a number of pages."""

from typing import Any, SupportsIndex

import numpy as np

from npt import kernels
from npt._types import U8Array, U64Array
from npt.dirty.bitmap import as_out, as_pages, check_types, empty
from npt.errors import InvalidArgument
from npt.units import ADDRESS_END, PAGE_MASK, PAGE_SHIFT, as_aligned, as_count, as_int, check_overflow

__all__ = ["RUN", "from_runs", "partition", "runs"]

RUN = np.dtype([("gpa", np.uint64), ("n_pages", np.uint64)])

_FEW = 1 << 13  # words of a first stream: what is mostly clean needs no more, and is read once only


def runs(
    bitmap: U8Array, *, base: SupportsIndex = 0, n_pages: SupportsIndex | None = None, out: np.ndarray[Any, Any] | None = None
) -> np.ndarray[Any, Any]:
    """Maximal stretches of set bits, by address.

    Parameters
    ----------
    bitmap
        ``uint8``, one-dimensional; bit k of byte j is page ``8 * j + k``.
    base
        Address of the first page, in bytes, page-aligned.
    n_pages
        How many pages count; all bits if None.
    out
        Gets the runs: a contiguous array of such records with room for all of them. Memory that was used before saves
        what fresh memory costs, which for many runs is more than finding them.

    Returns
    -------
    numpy.ndarray
        Structured, shape ``(n_runs,)``: ``gpa`` (``uint64``, bytes) and ``n_pages`` (``uint64``). A part of ``out`` if
        that was given.

    Raises
    ------
    TypeError
        Not an array of ``uint8``, or ``out`` is of another type than the result.
    InvalidArgument
        Not one-dimensional, too short for ``n_pages``, ``base`` unaligned, or ``out`` too short, strided, read-only or
        overlapping the bitmap.
    AddressOverflow
        A page that is set would reach 2**64.

    Examples
    --------
    >>> runs(np.array([0b0110_0001], np.uint8), base=0x10000).tolist()
    [(65536, 1), (86016, 2)]
    """
    check_types(bitmap, base=base, n_pages=n_pages)
    _check_out_type(out)
    base = as_aligned(base, "base")
    bitmap, n = as_pages(bitmap, n_pages)
    if base + (n << PAGE_SHIFT) >= ADDRESS_END:
        _check_last(bitmap, n, base)
    if out is not None:
        as_out(out, bitmap)
    state = np.zeros(kernels.runs.STATE_WORDS, np.uint64)
    words = np.empty(_FEW, np.uint64) if out is None else out.view(np.uint64)
    while not kernels.runs.append(bitmap, n, base, words, state):  # once, unless another thread sets more of them meanwhile
        n_edges = int(state[kernels.runs.EDGES]) + kernels.runs.count_edges(bitmap, n, int(state[kernels.runs.WORD]))
        if out is not None:
            raise InvalidArgument(f"out has room for {out.size} runs; there are {n_edges // 2}")
        few, words = words[: int(state[kernels.runs.EDGES])], np.empty(n_edges, np.uint64)
        words[: few.size] = few
    found: np.ndarray[Any, Any] = words[: int(state[kernels.runs.EDGES])].view(RUN)
    return found


def _check_out_type(out: Any) -> None:
    if out is None:
        return
    if not isinstance(out, np.ndarray) or out.dtype != RUN:
        raise TypeError(f"out must be a numpy array of {RUN}")
    if out.ndim != 1:
        raise InvalidArgument(f"out must be one-dimensional, not of shape {out.shape}")


def _check_last(bitmap: U8Array, n_pages: int, base: int) -> None:
    """Refuse a page that is set where there are no addresses."""
    end = (ADDRESS_END - base) >> PAGE_SHIFT
    beyond = kernels.bitmap.find(bitmap, n_pages, end - 1, 0)
    if beyond != kernels.bitmap.NONE:
        check_overflow(base + (end - 1 << PAGE_SHIFT), (beyond - end + 2) << PAGE_SHIFT, "base")


def _check_run_type(runs: Any) -> None:
    if not isinstance(runs, np.ndarray) or runs.dtype != RUN:
        raise TypeError(f"runs must be a numpy array of {RUN}, as runs() gives")


def _as_runs(given: np.ndarray[Any, Any]) -> U64Array:
    """Runs as words, in turn an address and a number of pages: each aligned, none empty, by address, none overlapping."""
    array = np.array(given)  # what is checked is what is used, whatever another thread does to it
    if array.ndim != 1:
        raise InvalidArgument(f"runs must be one-dimensional, not of shape {array.shape}")
    gpas, sizes = array["gpa"], array["n_pages"]
    if (sizes == 0).any() or (sizes > (ADDRESS_END - 1 - gpas) >> np.uint64(PAGE_SHIFT)).any():
        raise InvalidArgument("runs holds a run that is empty or reaches past the last address")
    if (gpas & np.uint64(PAGE_MASK)).any():
        raise InvalidArgument("runs holds an address that is not page-aligned")
    if (gpas[1:] < gpas[:-1] + (sizes[:-1] << np.uint64(PAGE_SHIFT))).any():
        raise InvalidArgument("runs must be by address and not overlap")
    return array.view(np.uint64)


def from_runs(runs: np.ndarray[Any, Any], n_pages: SupportsIndex, *, base: SupportsIndex = 0) -> U8Array:
    """Bitmap of runs: the other way of ``runs``.

    Parameters
    ----------
    runs
        As ``runs`` gives them, by address, apart from each other.
    n_pages
        Pages of the bitmap.
    base
        Address of its first page, in bytes, page-aligned.

    Returns
    -------
    numpy.ndarray
        ``uint8``, shape ``(ceil(n_pages / 8),)``.

    Raises
    ------
    TypeError
        Not runs.
    InvalidArgument
        Runs that overlap or are not by address, or are not inside the bitmap.
    AddressOverflow
        The bitmap reaches 2**64.
    """
    _check_run_type(runs)
    as_int(base, "base"), as_int(n_pages, "n_pages")
    base, n = as_aligned(base, "base"), as_count(n_pages)
    check_overflow(base, n << PAGE_SHIFT, "base")
    words = _as_runs(runs)
    bitmap = empty(n)
    if words.size:
        first, last, n_last = int(words[0]), int(words[-2]), int(words[-1])
        if first < base or last + (n_last << PAGE_SHIFT) > base + (n << PAGE_SHIFT):
            raise InvalidArgument(f"runs reach outside {base:#x} + {n << PAGE_SHIFT:#x}")
        kernels.bitmap.set_runs(words, base, bitmap)
    return bitmap


def partition(runs: np.ndarray[Any, Any], n_pages: SupportsIndex) -> list[np.ndarray[Any, Any]]:
    """Divide runs into parts of equal size, to be sent by several senders or one after another.

    Parameters
    ----------
    runs
        As ``runs`` gives them, by address, apart from each other.
    n_pages
        Pages of each part but the last, which has what is left.

    Returns
    -------
    list of numpy.ndarray
        Runs in order; one that crosses the end of a part is cut.

    Raises
    ------
    TypeError
        Not runs, or ``n_pages`` is no integer.
    InvalidArgument
        Runs that overlap or are not by address; ``n_pages`` is not positive.

    Examples
    --------
    >>> [part.tolist() for part in partition(runs(np.array([0b1101_1111], np.uint8)), 4)]
    [[(0, 4)], [(16384, 1), (24576, 2)]]
    """
    _check_run_type(runs)
    n = as_count(n_pages, least=1)
    words = _as_runs(runs)
    total = int(words[1::2].sum())
    n_parts = -(-total // n)
    pieces = np.empty(words.size + 2 * n_parts, np.uint64)
    ends = np.empty(n_parts, np.uint64)
    n_pieces = kernels.runs.cut(words, n, pieces, ends)
    made: list[np.ndarray[Any, Any]] = np.split(pieces[: 2 * n_pieces].view(RUN), ends[:-1].astype(np.int64)) if n_parts else []
    return made
