"""What can be mapped: memory of a reservoir, and device memory; and who keeps it."""

from typing import TYPE_CHECKING, Any, NamedTuple, Self

from npt._types import MemAttr
from npt.errors import InvalidArgument, NotSupported, StaleHandle
from npt.testing.oracle.arguments import PAGE_SIZE, Handle, integer, integers, length_of, range_of

if TYPE_CHECKING:
    from npt.testing.oracle.memory import Reservoir

__all__ = ["MmioObject", "RamObject", "Span", "VmObject"]

FRAMES_END = 2**33
"""RAM and MMIO end below this frame; page tables begin there."""


class Span(NamedTuple):
    """Host frames in a row."""

    pfn: int
    n_pages: int


class VmObject(Handle):
    """Pages that a guest can be given.

    References of the caller are counted apart from those of mappings, holds, segments and the ``Vm``: a caller can give up
    its own only. When none of either kind is left the object is dead, for good.
    """

    _attr: MemAttr

    def __init__(self, pfn: int, length: int) -> None:
        self._pfn = pfn
        self._length = length
        self._callers = 1
        self._others = 0

    @property
    def refs(self) -> int:
        """References of both kinds; 0 when it is dead."""
        return self._callers + self._others

    @property
    def length(self) -> int:
        """Bytes."""
        self.check_alive()
        return self._length

    @property
    def attr(self) -> MemAttr:
        """Memory type."""
        self.check_alive()
        return self._attr

    def pfn_at(self, offset: Any) -> int:
        """Host frame of the page that a byte is in."""
        byte = integer(offset, "offset")
        self.check_alive()
        if not 0 <= byte < self._length:
            raise InvalidArgument(f"offset {byte:#x} is outside the object")
        return self._pfn + byte // PAGE_SIZE

    def reference(self) -> None:
        """Take one more reference for the caller; a dead object is never revived."""
        self.check_alive()
        self._callers += 1

    def release(self) -> None:
        """Give one of the caller's references up."""
        if not self._callers:
            raise StaleHandle("the caller has no reference to this object")
        self._callers -= 1
        self._end_if_dead()

    def keep(self) -> None:
        """A mapping, a hold, a segment or a ``Vm`` takes a reference."""
        self.check_alive()
        self._others += 1

    def drop(self) -> None:
        """It gives that up."""
        self._others -= 1
        self._end_if_dead()

    def check_alive(self) -> None:
        """Refuse a dead object."""
        if not self.refs:
            raise StaleHandle("the object's last reference is gone")

    def window(self, offset: Any, length: Any) -> tuple[int, int]:
        """Refuse a range that is not of whole pages, or not inside the object."""
        offset, length = range_of(offset, length, "offset")
        if offset + length > self._length:
            raise InvalidArgument(f"offset {offset:#x} + {length:#x} reaches past the end of the object")
        return offset, length

    def page(self, number: int) -> bytearray:
        """The bytes of a page."""
        raise NotSupported("device memory has no bytes here")

    def _end_if_dead(self) -> None:
        if not self.refs:
            self._end()

    def _end(self) -> None:
        """Give back what it had."""

    def __enter__(self) -> Self:
        self.check_alive()
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._callers:
            self.release()


class RamObject(VmObject):
    """Memory of a reservoir; from ``Reservoir.allocate``."""

    _attr = MemAttr.WB

    def __init__(self, reservoir: "Reservoir", pfn: int, length: int, transient: bool) -> None:
        super().__init__(pfn, length)
        self._reservoir = reservoir
        self._transient = transient

    @property
    def reservoir(self) -> "Reservoir":
        """Where the memory is from."""
        self.check_alive()
        return self._reservoir

    @property
    def transient(self) -> bool:
        """Whether it is from beyond the reservoir's size."""
        self.check_alive()
        return self._transient

    @property
    def spans(self) -> tuple[Span, ...]:
        """Its frames: in one row here, which no implementation need have."""
        self.check_alive()
        return (Span(self._pfn, self._length // PAGE_SIZE),)

    def page(self, number: int) -> bytearray:
        """The bytes of a page."""
        return self._reservoir.frame(self._pfn + number)

    def _end(self) -> None:
        self._reservoir.take_back(self._pfn, self._length // PAGE_SIZE, self._transient)


class MmioObject(VmObject):
    """Device memory: host addresses without bytes."""

    _attr = MemAttr.UC

    def __init__(self, length: Any, hpa: Any) -> None:
        integers(length=length, hpa=hpa)
        hpa, length = range_of(hpa, length_of(length), "hpa")
        if hpa + length > FRAMES_END * PAGE_SIZE:
            raise InvalidArgument(f"hpa {hpa:#x} + {length:#x} reaches the frames of page tables")
        super().__init__(hpa // PAGE_SIZE, length)
