"""The dirty calls of a space: what was written, read and cleared, put back.

Theory of operation
-------------------
A harvest destroys information: whoever clears bits owns them until they are handed over. So everything between the clearing
and the return is guarded: if a kick times out, a callback raises or an interrupt comes, the bits are put back.

A harvest clears with atomic operations, or, if no vCPU is inside, keeps everybody out for that long and clears with plain
ones: that is ten times as fast where much is dirty.

It clears first and shoots down afterwards. A vCPU that still writes through a stale translation does so before the
kick is over, and the caller copies pages only after the harvest has returned: such a write is in the copy.
"""

from typing import Any, SupportsIndex

import numpy as np

from npt._types import Handle, U8Array, U64Array
from npt.errors import TrackingDisabled
from npt.space.core import Core
from npt.space.exclusion import Callbacks
from npt.table.tree import NO_SELECTION, Window
from npt.units import PAGE_SHIFT, as_flag, as_int, as_into, as_range, as_select, check_bitmap_type, check_inside

__all__ = ["DirtyCalls"]

_PRESENT = np.uint64(1)  # bit 0, in both formats


class DirtyCalls(Handle):
    """The part of ``VmSpace`` that is about marks."""

    _core: Core

    # -- tracking on and off ----------------------------------------------------------------------------------------

    @property
    def tracking(self) -> bool:
        """Whether the space keeps a dirty log."""
        self._core.check_alive()
        return self._core.tracking

    def set_tracking(self, enabled: bool) -> None:
        """Turn dirty tracking on or off; D bits stay as they are.

        Does nothing if that is how it is. Else raises the generation, kicks vCPUs, and calls back over the whole space.

        Raises
        ------
        Deadlock
            In a callback, or this thread is on CPU in the space.
        KickTimeout
            A vCPU did not leave; tracking is as before, the generation stays raised.
        """
        enabled = as_flag(enabled, "enabled")
        core, exclusion = self._core, self._core.exclusion
        core.check_own()
        if core.tracking == enabled:
            return
        exclusion.check_may_kick()
        with exclusion.lock:
            core.check_alive()
            if core.tracking == enabled:
                return
            exclusion.check_off_cpu()
            waiting = exclusion.callbacks()  # now: once tracking has changed, there must not be too little memory for it
            try:
                exclusion.switching = True  # nobody comes in who sets marks as before
                with exclusion.hold():  # who came in without seeing that is now inside, at an epoch before the next
                    exclusion.raise_epoch(generation=True)
                    exclusion.kick()
                    self._switch(enabled, waiting)
            except BaseException:
                exclusion.switching = False
                raise

    def _switch(self, enabled: bool, waiting: Callbacks) -> None:
        """Tracking is as it shall be, and all are told of it, even if an interrupt comes."""
        core, exclusion = self._core, self._core.exclusion
        try:
            core.tracking, exclusion.switching = enabled, False
            exclusion.call_back(0, core.size, waiting)
        except BaseException:
            exclusion.call_back(0, core.size, waiting)  # those that are left
            raise

    # -- the calls --------------------------------------------------------------------------------------------------

    def track_dirty(self, gpa: SupportsIndex, length: SupportsIndex, *, into: U8Array | None = None) -> U8Array:
        """Read and clear the dirty bits of a range.

        Parameters
        ----------
        gpa, length
            Range in bytes, whole pages, inside the space; holes are clean.
        into
            Bitmap to OR the result into; ``uint8``, shape ``(>= ceil(n_pages / 8),)``. Untouched on failure, but for an
            interrupt that comes when all is done: the bits are then there, and dirty again.

        Returns
        -------
        numpy.ndarray
            ``uint8``, shape ``(ceil(n_pages / 8),)``; bit k of byte j is page ``8 * j + k`` of the range. With ``into``,
            that array.

        Raises
        ------
        InvalidArgument, AddressOverflow, BeyondSpace
            Unaligned, empty, reaching 2**64 or past the end; ``into`` short, strided, read-only or the engine's own.
        TrackingDisabled
            Tracking is off.
        Deadlock
            In a callback, or this thread is on CPU in the space.
        KickTimeout
            A vCPU did not leave; the bits were put back, the generation stays raised.

        See Also
        --------
        peek_dirty : the same without clearing.
        set_dirty : put bits back, after a migration that failed.

        Notes
        -----
        Raises the generation and calls back, always. Copy pages only after this returns: what a vCPU wrote through a stale
        translation is then in your copy.
        Source: ``vmspace_track_dirty()``, vmm_vm.c 299-339 at 59d65d31.
        """
        gpa, length = self._check(gpa, length, changing=True, into=into)
        core = self._core
        self._check_tracking()
        return self._harvest(gpa, length, NO_SELECTION, core.format.masks.dirty, into)

    def peek_dirty(self, gpa: SupportsIndex, length: SupportsIndex, *, select: U8Array | None = None) -> U8Array:
        """Read the dirty bits of a range; nothing changes.

        Parameters
        ----------
        gpa, length
            Range in bytes, whole pages, inside the space.
        select
            Bitmap of the pages to look at, others read 0; ``uint8``, at least ``ceil(n_pages / 8)`` bytes.

        Returns
        -------
        numpy.ndarray
            As from ``track_dirty``.

        Raises
        ------
        InvalidArgument, AddressOverflow, BeyondSpace, TrackingDisabled
            As for ``track_dirty``.
        """
        gpa, length = self._check(gpa, length, changing=False, select=select)
        core = self._core
        self._check_tracking()
        window = Window(gpa, length)
        with core.exclusion.reading():
            self._check_tracking()
            return core.table.peek(window, _selection(window, select), core.format.masks.dirty)

    def reset_dirty(self, gpa: SupportsIndex, length: SupportsIndex, *, select: U8Array | None = None) -> U8Array:
        """Read and clear the dirty bits of selected pages only.

        Parameters
        ----------
        gpa, length
            Range in bytes, whole pages, inside the space.
        select
            Bitmap of the pages to harvest; ``uint8``, at least ``ceil(n_pages / 8)`` bytes. None is all.

        Returns
        -------
        numpy.ndarray
            As from ``track_dirty``: the bits that were cleared.

        Raises
        ------
        InvalidArgument, AddressOverflow, BeyondSpace, TrackingDisabled, Deadlock, KickTimeout
            As for ``track_dirty``.
        """
        gpa, length = self._check(gpa, length, changing=True, select=select)
        self._check_tracking()
        return self._harvest(gpa, length, _selection(Window(gpa, length), select), self._core.format.masks.dirty)

    def set_dirty(self, gpa: SupportsIndex, length: SupportsIndex, *, select: U8Array | None = None) -> U8Array:
        """Mark pages dirty: put back what was harvested and not used.

        Writable pages are made resident first; read-only ones are passed over. The generation stays.

        Parameters
        ----------
        gpa, length
            Range in bytes, whole pages, inside the space.
        select
            Bitmap of the pages to mark; ``uint8``, at least ``ceil(n_pages / 8)`` bytes. None is all.

        Returns
        -------
        numpy.ndarray
            As from ``track_dirty``: the pages that became dirty by this.

        Raises
        ------
        InvalidArgument, AddressOverflow, BeyondSpace, TrackingDisabled
            As for ``track_dirty``.
        Deadlock
            In a callback.
        """
        gpa, length = self._check(gpa, length, changing=True, select=select)
        core, masks = self._core, self._core.format.masks
        self._check_tracking()
        window = Window(gpa, length)
        selection = _selection(window, select)
        core.exclusion.check_may_change()
        with core.exclusion.lock:
            core.check_alive()
            self._check_tracking()
            core.table.populate_selected(core.mappings.extents, window, selection)
            return core.table.mark(window, selection, masks.write, core.dirty_bits, masks.dirty)

    def accessed(self, gpa: SupportsIndex, length: SupportsIndex, *, clear: bool = False) -> U8Array:
        """Read the accessed bits of a range; with ``clear``, clear them as a harvest does.

        Works with tracking off, too; EPT hardware sets A only while tracking is on.

        Parameters
        ----------
        gpa, length
            Range in bytes, whole pages, inside the space.
        clear
            Clear what is read; raises the generation and calls back, always.

        Returns
        -------
        numpy.ndarray
            ``uint8``, shape ``(ceil(n_pages / 8),)``; bit k of byte j is page ``8 * j + k`` of the range.

        Raises
        ------
        InvalidArgument, AddressOverflow, BeyondSpace, Deadlock, KickTimeout
            As for ``track_dirty``.
        """
        as_int(gpa, "gpa"), as_int(length, "length")
        clear = as_flag(clear, "clear")
        gpa, length = self._check(gpa, length, changing=clear)
        core, mark = self._core, self._core.format.masks.accessed
        if clear:
            return self._harvest(gpa, length, NO_SELECTION, mark)
        with core.exclusion.reading():
            core.check_alive()
            return core.table.peek(Window(gpa, length), NO_SELECTION, mark)

    def resident(self, gpa: SupportsIndex, length: SupportsIndex) -> U8Array:
        """Read which pages of a range are resident; nothing changes.

        Parameters
        ----------
        gpa, length
            Range in bytes, whole pages, inside the space.

        Returns
        -------
        numpy.ndarray
            ``uint8``, shape ``(ceil(n_pages / 8),)``; bit k of byte j is page ``8 * j + k`` of the range.

        Raises
        ------
        InvalidArgument, AddressOverflow, BeyondSpace
            As for ``track_dirty``.

        See Also
        --------
        translate : where pages are.
        """
        gpa, length = self._check(gpa, length, changing=False)
        core = self._core
        with core.exclusion.reading():
            core.check_alive()
            return core.table.peek(Window(gpa, length), NO_SELECTION, _PRESENT)

    # -- how --------------------------------------------------------------------------------------------------------

    def _check(self, gpa: Any, length: Any, *, changing: bool, select: Any = None, into: Any = None) -> tuple[int, int]:
        """Types, stale handle, range, bitmap, end of space: in this order."""
        as_int(gpa, "gpa"), as_int(length, "length")
        for bitmap, name in ((select, "select"), (into, "into")):
            if bitmap is not None:
                check_bitmap_type(bitmap, name)
        self._core.check_own() if changing else self._core.check_alive()
        gpa, length = as_range(gpa, length)
        if select is not None:
            as_select(select, length >> PAGE_SHIFT)
        if into is not None:
            as_into(into, length >> PAGE_SHIFT, self._core.memory, *self._core.table.levels)
        check_inside(gpa, length, self._core.size)
        return gpa, length

    def _check_tracking(self) -> None:
        self._core.check_alive()
        if not self._core.tracking:
            raise TrackingDisabled("dirty tracking is off; turn it on with set_tracking(True)")

    def _harvest(self, gpa: int, length: int, select: U64Array, mark: np.uint64, into: U8Array | None = None) -> U8Array:
        """Move marks into a bitmap and shoot down; put them back if anything fails."""
        core, exclusion = self._core, self._core.exclusion
        window = Window(gpa, length)
        words = window.words()
        exclusion.check_may_kick()
        try:
            with exclusion.lock:
                core.check_alive()
                if mark == core.format.masks.dirty:
                    self._check_tracking()
                exclusion.check_off_cpu()
                try:
                    core.in_stillness(lambda still: core.table.harvest(window, select, mark, words, still=still))
                    found = window.bitmap(words)
                    with exclusion.hold():
                        exclusion.raise_epoch(generation=True)
                        exclusion.kick()
                        exclusion.call_back(gpa, length, exclusion.callbacks())
                    if into is None:
                        return found
                    bitmap = np.asarray(into)[: found.size]  # a plain array: of a subclass anything may fail
                    np.bitwise_or(bitmap, found, out=bitmap)
                    return into
                except BaseException:
                    self._put_back(window, words, mark)
                    raise
        except BaseException:  # an interrupt on the way out
            if words.any():
                with exclusion.lock:
                    self._put_back(window, words, mark)
            raise

    def _put_back(self, window: Window, words: U64Array, mark: np.uint64) -> None:
        self._core.table.mark(window, words, _PRESENT, int(mark), mark)
        words.fill(0)


def _selection(window: Window, select: U8Array | None) -> U64Array:
    return NO_SELECTION if select is None else window.selection(select)
