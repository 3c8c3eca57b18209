"""``DirtyCalls``: the part of ``VmSpace`` that is about what was written and accessed.

A bitmap has a bit for each page of the range: bit k of byte j is page ``8 * j + k``. A hole, a page that is not resident or not
writable is never dirty.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npt._types import Prot
from npt.errors import TrackingDisabled
from npt.testing.oracle.arguments import (
    PAGE_SIZE,
    Handle,
    bitmap,
    bitmap_type,
    flag,
    inside,
    integers,
    range_of,
    written,
)  # fmt: skip
from npt.testing.oracle.guest import Guest

__all__ = ["DirtyCalls"]

Bitmap = NDArray[np.uint8]


class DirtyCalls(Handle):
    """The dirty calls of a space."""

    _guest: Guest

    @property
    def tracking(self) -> bool:
        """Whether the space keeps a dirty log."""
        self._guest.check_alive()
        return self._guest.tracking

    def set_tracking(self, enabled: Any) -> None:
        """Turn the dirty log on or off; what is dirty stays so. Concerns every page, if it changes anything."""
        enabled = flag(enabled, "enabled")
        guest = self._guest
        guest.check_alive()
        if guest.tracking == enabled:
            return
        guest.check_may_kick()
        guest.tracking = enabled
        guest.generation += 1
        error = guest.call_back(0, guest.size)
        if error is not None:
            raise error

    # -- harvests -------------------------------------------------------------------------------------------------------

    def track_dirty(self, gpa: Any, length: Any, *, into: Bitmap | None = None) -> Bitmap:
        """Read and clear; with ``into`` the result is OR-ed to what is there."""
        gpa, length = self._check(gpa, length, into=into)
        self._check_tracking()
        self._guest.check_may_kick()
        found = self._harvest_dirty(gpa, length, None)
        if into is None:
            return found
        into[: found.size] |= found
        return into

    def reset_dirty(self, gpa: Any, length: Any, *, select: Bitmap | None = None) -> Bitmap:
        """Read and clear the selected pages only."""
        gpa, length = self._check(gpa, length, select=select)
        self._check_tracking()
        self._guest.check_may_kick()
        return self._harvest_dirty(gpa, length, select)

    def _harvest_dirty(self, gpa: int, length: int, select: Bitmap | None) -> Bitmap:
        found = [(page, leaf) for page, leaf in self._guest.resident(gpa, length) if leaf.dirty and _is_set(select, page)]

        def mark(dirty: bool) -> None:
            for _, leaf in found:
                leaf.dirty = dirty

        self._harvest(gpa, length, mark)
        return _bitmap(length, (page for page, _ in found))

    def _harvest(self, gpa: int, length: int, mark: Callable[[bool], None]) -> None:
        """Clear marks and tell the clients; put the marks back if a callback fails. The generation is raised anyhow."""
        mark(False)
        self._guest.generation += 1
        error = self._guest.call_back(gpa, length)
        if error is not None:
            mark(True)
            raise error

    # -- without clearing -----------------------------------------------------------------------------------------------

    def peek_dirty(self, gpa: Any, length: Any, *, select: Bitmap | None = None) -> Bitmap:
        """Read only; pages that are not selected read 0."""
        gpa, length = self._check(gpa, length, select=select)
        self._check_tracking()
        pages = self._guest.resident(gpa, length)
        return _bitmap(length, (page for page, leaf in pages if leaf.dirty and _is_set(select, page)))

    def set_dirty(self, gpa: Any, length: Any, *, select: Bitmap | None = None) -> Bitmap:
        """Mark the selected pages dirty that are writable, made resident if they are not; tell which were not dirty."""
        gpa, length = self._check(gpa, length, select=select)
        self._check_tracking()
        self._guest.check_may_change()
        return _bitmap(length, [page for page in self._writable(gpa, length, select) if self._mark(gpa + page * PAGE_SIZE)])

    def _writable(self, gpa: int, length: int, select: Bitmap | None) -> Iterator[int]:
        """Selected pages of a range that are mapped writable."""
        for mapping in self._guest.mappings:
            if mapping.prot & Prot.WRITE:
                start, stop = max(mapping.gpa, gpa), min(mapping.end, gpa + length)
                pages = range((start - gpa) // PAGE_SIZE, (stop - gpa) // PAGE_SIZE)
                yield from (page for page in pages if _is_set(select, page))

    def _mark(self, gpa: int) -> bool:
        leaf = self._guest.install(gpa)
        became_dirty = not leaf.dirty
        leaf.accessed = leaf.dirty = True
        return became_dirty

    def accessed(self, gpa: Any, length: Any, *, clear: Any = False) -> Bitmap:
        """Read which pages were accessed, tracking or not; ``clear`` clears that, as a harvest does."""
        integers(gpa=gpa, length=length)
        clear = flag(clear, "clear")
        gpa, length = self._check(gpa, length)
        found = [(page, leaf) for page, leaf in self._guest.resident(gpa, length) if leaf.accessed]

        def mark(accessed: bool) -> None:
            for _, leaf in found:
                leaf.accessed = accessed

        if clear:
            self._guest.check_may_kick()
            self._harvest(gpa, length, mark)
        return _bitmap(length, (page for page, _ in found))

    def resident(self, gpa: Any, length: Any) -> Bitmap:
        """Read which pages are resident."""
        gpa, length = self._check(gpa, length)
        return _bitmap(length, (page for page, _ in self._guest.resident(gpa, length)))

    # -- checks ---------------------------------------------------------------------------------------------------------

    def _check(self, gpa: Any, length: Any, *, select: Any = None, into: Any = None) -> tuple[int, int]:
        """Types, stale handle, range, bitmap, end of space."""
        integers(gpa=gpa, length=length)
        for array, name in ((select, "select"), (into, "into")):
            if array is not None:
                bitmap_type(array, name)
        self._guest.check_alive()
        gpa, length = range_of(gpa, length)
        if select is not None:
            bitmap(select, length // PAGE_SIZE, "select")
        if into is not None:
            bitmap(into, length // PAGE_SIZE, "into")
            written(into, "into", self._guest.windows())
        inside(gpa, length, self._guest.size)
        return gpa, length

    def _check_tracking(self) -> None:
        if not self._guest.tracking:
            raise TrackingDisabled("dirty tracking is off")


def _is_set(select: Bitmap | None, page: int) -> bool:
    """Whether a page is selected; without a selection all are."""
    return select is None or bool(int(select[page // 8]) >> page % 8 & 1)


def _bitmap(length: int, pages: Any) -> Bitmap:
    """The bitmap of a range with some pages set."""
    bits = np.zeros((length // PAGE_SIZE + 7) // 8, np.uint8)
    for page in pages:
        bits[page // 8] |= 1 << page % 8
    return bits
