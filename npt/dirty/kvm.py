"""KVM's dirty log as an adapter: the same words, the same rules, the same refusals, over a range of a space.

Theory of operation
-------------------
KVM keeps a dirty bitmap for each memory slot, in 64-bit words, little-endian on every host: bit b of word w is page
``64 * w + b`` of the slot. Byte by byte that is the bitmap of this library, so words and bitmaps differ in their length only:
a slot of n pages takes ``ceil(n / 64)`` words. ``<u8`` says the byte order, so the same holds on a big-endian machine.

KVM_GET_DIRTY_LOG reads and clears. With KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2 it only reads, and KVM_CLEAR_DIRTY_LOG clears what
it is told to, in granules of 64 pages, as late as just before the copy: a page that is written between the two is not
reported again in vain. Here a dirty bit is in the leaf entry, "read" is ``peek_dirty`` and "clear" is ``reset_dirty``: a write
behind a clear is in the next get.

The rules are those of "The Definitive KVM API Documentation", https://docs.kernel.org/virt/kvm/api.html, sections 4.8
(KVM_GET_DIRTY_LOG), 4.117 (KVM_CLEAR_DIRTY_LOG) and 7.18 (KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2).
"""

from typing import Any, SupportsIndex, TypeAlias

import numpy as np
from numpy.typing import NDArray

from npt._types import Handle, U8Array, U64Array
from npt.dirty.bitmap import count
from npt.errors import InvalidArgument
from npt.space.vmspace import VmSpace
from npt.units import PAGE_SHIFT, as_bitmap, as_count, as_flag, as_int, as_range, bitmap_bytes, check_bitmap_type, check_inside

__all__ = ["KvmDirtyLog", "from_words", "to_words"]

WORD_PAGES = 64  # also the granule of a clear
_WORD = np.dtype("<u8")
Words: TypeAlias = U64Array  # little-endian: ``<u8``


class KvmDirtyLog(Handle):
    """The dirty log of one memory slot, as KVM's user sees it.

    It keeps nothing: D bits are where they always are, and other dirty calls of the space take part in them. A slot here is
    any range of a space; holes in it are clean. All methods may be called beside running vCPUs.

    Parameters
    ----------
    space
        Whose range it is; tracking is the space's own matter.
    gpa, length
        The slot: whole pages, inside the space.
    manual
        As with KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2: ``get`` clears nothing, ``clear`` does.

    Attributes
    ----------
    gpa, length, n_pages : int
        The slot.
    manual : bool
        Whether ``get`` leaves the bits.

    Raises
    ------
    InvalidArgument, AddressOverflow, BeyondSpace
        Unaligned, empty, reaching 2**64 or past the end.

    Examples
    --------
    >>> from npt import PAGE_SIZE, Prot, Reservoir, VmSpace
    >>> with Reservoir(66 * PAGE_SIZE) as reservoir, reservoir.allocate(66 * PAGE_SIZE) as ram:
    ...     with VmSpace(1 << 30, reservoir=reservoir, track_dirty=True) as space:
    ...         space.map(ram, 0, ram.length, Prot.RW)
    ...         log = KvmDirtyLog(space, 0, ram.length, manual=True)
    ...         _ = space.set_dirty(65 * PAGE_SIZE, PAGE_SIZE)
    ...         print(log.get(), log.clear(64, 2, log.get()[1:]), log.get())
    [0 2] 1 [0 0]
    """

    def __init__(self, space: VmSpace, gpa: SupportsIndex, length: SupportsIndex, *, manual: bool = False) -> None:
        if not isinstance(space, VmSpace):
            raise TypeError(f"space must be a VmSpace, not {type(space).__name__}")
        as_int(gpa, "gpa"), as_int(length, "length")
        self.manual = as_flag(manual, "manual")
        size = space.size  # a space that is gone says so before its range is looked at
        self.gpa, self.length = as_range(gpa, length)
        check_inside(self.gpa, self.length, size)
        self._space, self.n_pages = space, self.length >> PAGE_SHIFT

    def __repr__(self) -> str:
        return f"<KvmDirtyLog of {self.gpa:#x} + {self.length:#x}{', manual' if self.manual else ''}>"

    def get(self) -> Words:
        """Which pages are dirty, in the sense of KVM_GET_DIRTY_LOG: clears what it reads, unless the log is manual.

        Returns
        -------
        numpy.ndarray
            ``<u8``, shape ``(ceil(n_pages / 64),)``; bit b of word w is page ``64 * w + b`` of
            the slot, bits past the end are 0.

        Raises
        ------
        TrackingDisabled, StaleHandle, Deadlock, KickTimeout
            As for ``VmSpace.track_dirty``, or for ``peek_dirty`` if the log is manual.
        """
        if self.manual:
            return to_words(self._space.peek_dirty(self.gpa, self.length), self.n_pages)
        words = np.zeros(_n_words(self.n_pages), _WORD)  # there before bits are cleared: only an interrupt can come between
        bitmap = words.view(np.uint8)
        try:
            self._space.track_dirty(self.gpa, self.length, into=bitmap)
            return words
        except BaseException:
            if bitmap.any():
                self._space.set_dirty(self.gpa, self.length, select=bitmap)
            raise

    def clear(self, first_page: SupportsIndex, n_pages: SupportsIndex, words: Words) -> int:
        """Clear the pages that a bitmap names, in the sense of KVM_CLEAR_DIRTY_LOG; it works in either mode.

        Copy the pages only after this returns: what is written from then on is in the next ``get``.

        Parameters
        ----------
        first_page
            Page of the slot that bit 0 stands for; a multiple of 64.
        n_pages
            A multiple of 64, or up to the end of the slot; 0 is nothing.
        words
            ``<u8``, at least ``ceil(n_pages / 64)`` words; pages whose bit is clear stay as they are, bits past ``n_pages``
            are ignored.

        Returns
        -------
        int
            Pages that were dirty and are clean now.

        Raises
        ------
        InvalidArgument
            Not such multiples, not inside the slot, words too few or not one-dimensional; nothing has changed.
        TrackingDisabled, StaleHandle, Deadlock, KickTimeout
            As for ``VmSpace.reset_dirty``; after a ``KickTimeout`` the bits are back.
        """
        first, n = as_int(first_page, "first_page"), as_int(n_pages, "n_pages")
        _check_word_type(words)
        _ = self._space.size  # a space that is gone says so before anything about numbers
        self._check_granule(first, n)
        select = _bitmap_of(words, n, exact=False)
        if not n:
            return 0
        cleared = self._space.reset_dirty(self.gpa + (first << PAGE_SHIFT), n << PAGE_SHIFT, select=select)
        return count(cleared)

    def _check_granule(self, first: int, n: int) -> None:
        if first < 0 or first % WORD_PAGES:
            raise InvalidArgument(f"first_page {first:#x} is not a multiple of 64")
        if not 0 <= n <= self.n_pages - first:
            raise InvalidArgument(f"pages {first:#x} + {n:#x} are not inside the slot of {self.n_pages:#x} pages")
        if n % WORD_PAGES and first + n != self.n_pages:
            raise InvalidArgument(f"n_pages {n:#x} is neither a multiple of 64 nor up to the end of the slot")


def to_words(bitmap: U8Array, n_pages: SupportsIndex) -> Words:
    """A bitmap in KVM's form.

    Parameters
    ----------
    bitmap
        ``uint8``, at least ``ceil(n_pages / 8)`` bytes; bit k of byte j is page ``8 * j + k``.
    n_pages
        How many pages it is about.

    Returns
    -------
    numpy.ndarray
        ``<u8``, shape ``(ceil(n_pages / 64),)``, bits past the end 0; memory of its own.

    Raises
    ------
    InvalidArgument
        A bitmap that is too short or not one-dimensional, a negative number of pages.
    """
    as_int(n_pages, "n_pages")
    check_bitmap_type(bitmap, "bitmap")
    n = as_count(n_pages)
    bitmap, n_bytes = as_bitmap(bitmap, n), bitmap_bytes(n)
    words = np.zeros(_n_words(n), _WORD)
    words.view(np.uint8)[:n_bytes] = bitmap[:n_bytes]
    if n % WORD_PAGES:
        words[-1] &= _WORD.type((1 << n % WORD_PAGES) - 1)
    return words


def from_words(words: Words, n_pages: SupportsIndex) -> U8Array:
    """A bitmap from KVM's form.

    Parameters
    ----------
    words
        ``<u8``, shape ``(ceil(n_pages / 64),)``: no more and no less; bits past the end are ignored.
    n_pages
        How many pages they are about.

    Returns
    -------
    numpy.ndarray
        ``uint8``, shape ``(ceil(n_pages / 8),)``, bits past the end 0; memory of its own.

    Raises
    ------
    InvalidArgument
        Words too few or too many, or not one-dimensional; a negative number of pages.
    """
    as_int(n_pages, "n_pages")
    _check_word_type(words)
    n = as_count(n_pages)
    return _bitmap_of(words, n, exact=True)


def _bitmap_of(words: Words, n: int, *, exact: bool) -> U8Array:
    wanted = _n_words(n)
    if words.ndim != 1 or words.size < wanted or (exact and words.size != wanted):
        raise InvalidArgument(
            f"words must be one-dimensional, {wanted:#x} of them for {n:#x} pages, not of shape {words.shape}"
        )
    bitmap: NDArray[np.uint8] = np.array(words[:wanted], order="C").view(np.uint8)[: bitmap_bytes(n)]
    if n % 8:
        bitmap[-1] &= np.uint8((1 << n % 8) - 1)
    return bitmap


def _check_word_type(words: Any) -> None:
    """Refuse what is not an array of little-endian 64-bit words, whatever its shape."""
    if not isinstance(words, np.ndarray):
        raise TypeError(f"words must be a numpy array of <u8, not {type(words).__name__}")
    if words.dtype != _WORD:
        raise TypeError(f"words must be of dtype <u8, not {words.dtype.str}")


def _n_words(n_pages: int) -> int:
    return -(-n_pages // WORD_PAGES)
