"""``Segment``: guest memory as a VMM's own process sees it, byte by byte."""

from typing import Any, Self

from npt._types import Prot
from npt.errors import AccessDenied, InvalidArgument, OutOfSegment, StaleHandle
from npt.testing.oracle.arguments import PAGE_SIZE, Handle, address, bytes_like, integer, integers
from npt.testing.oracle.client import VmClient
from npt.testing.oracle.objects import RamObject

__all__ = ["GuestSegment", "ObjectSegment", "Segment"]


class Segment(Handle):
    """A window of bytes; from ``Vm.map_object`` or ``Vm.map_guest``."""

    def __init__(self, length: int, prot: Prot) -> None:
        self._length = length
        self._prot = prot
        self.closed = False

    def _check_open(self) -> None:
        if self.closed:
            raise StaleHandle("the segment was closed")

    def __len__(self) -> int:
        self._check_open()
        return self._length

    # -- bytes ----------------------------------------------------------------------------------------------------------

    def read(self, offset: Any, n: Any) -> bytes:
        """Copy bytes out."""
        integers(offset=offset, n=n)
        self._check_open()
        offset, n = self._range(offset, n, Prot.READ)
        return self._read(offset, n)

    def write(self, offset: Any, data: Any) -> None:
        """Copy bytes in."""
        integer(offset, "offset")
        source = bytes_like(data)
        self._check_open()
        offset, _ = self._range(offset, len(source), Prot.WRITE)
        self._write(offset, source)

    def _range(self, offset: Any, n: Any, need: Prot) -> tuple[int, int]:
        offset, n = address(offset, "offset"), address(n, "n")
        if offset + n > self._length:
            raise OutOfSegment(f"{offset:#x} + {n:#x} is outside the segment")
        if not self._prot & need:
            raise AccessDenied(f"the segment is not for {need!r}")
        return offset, n

    def __getitem__(self, key: Any) -> Any:
        _check_key(key)
        self._check_open()
        text = self.read(*self._place(key))
        return text if isinstance(key, slice) else text[0]

    def __setitem__(self, key: Any, value: Any) -> None:
        _check_key(key)
        if isinstance(key, slice):
            source: Any = bytes_like(value)
        else:
            source = integer(value, "value")
        self._check_open()
        offset, n = self._place(key)
        source = source if isinstance(key, slice) else _byte(source)
        if len(source) != n:
            raise InvalidArgument(f"{len(source)} bytes do not fit a slice of {n}")
        self.write(offset, source)

    def _place(self, key: Any) -> tuple[int, int]:
        """Offset and length of an index or a slice."""
        if isinstance(key, slice):
            if key.step is not None and integer(key.step, "step") != 1:
                raise InvalidArgument("a segment is sliced with step 1")
            start, stop, _ = key.indices(self._length)
            return start, max(stop - start, 0)
        index = integer(key, "index")
        if not -self._length <= index < self._length:
            raise OutOfSegment(f"index {index} is outside the segment")
        return index % self._length, 1

    def _read(self, offset: int, n: int) -> bytes:
        raise NotImplementedError

    def _write(self, offset: int, source: bytes) -> None:
        raise NotImplementedError

    # -- the end --------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Give the segment up. Does nothing the second time."""
        if not self.closed:
            self._close()
            self.closed = True

    def _close(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        self._check_open()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


class ObjectSegment(Segment):
    """Straight to an object: nothing becomes dirty; holds a reference until it is closed."""

    def __init__(self, obj: RamObject, offset: int, length: int, prot: Prot) -> None:
        super().__init__(length, prot)
        self._obj, self._offset = obj, offset
        obj.keep()

    def _read(self, offset: int, n: int) -> bytes:
        start = self._offset + offset
        pages = range(start // PAGE_SIZE, (start + n - 1) // PAGE_SIZE + 1) if n else range(0)
        return b"".join(self._obj.page(page) for page in pages)[start % PAGE_SIZE :][:n]

    def _write(self, offset: int, source: bytes) -> None:
        at = self._offset + offset
        while source:
            start = at % PAGE_SIZE
            piece = source[: PAGE_SIZE - start]
            self._obj.page(at // PAGE_SIZE)[start : start + len(piece)] = piece
            at, source = at + len(piece), source[len(piece) :]

    def _close(self) -> None:
        self._obj.drop()


class GuestSegment(Segment):
    """Through a client of its own: dirties pages, and sees what is unmapped."""

    def __init__(self, client: VmClient, gpa: int, length: int, prot: Prot) -> None:
        super().__init__(length, prot)
        self._client, self._gpa = client, gpa

    def _read(self, offset: int, n: int) -> bytes:
        return self._client.read(self._gpa + offset, n)

    def _write(self, offset: int, source: bytes) -> None:
        self._client.write(self._gpa + offset, source)

    def _close(self) -> None:
        self._client.destroy()


def _check_key(key: Any) -> None:
    """An index, or a slice of indices."""
    parts = [part for part in (key.start, key.stop, key.step) if part is not None] if isinstance(key, slice) else [key]
    for part in parts:
        integer(part, "index")


def _byte(value: int) -> bytes:
    if not 0 <= value <= 0xFF:
        raise InvalidArgument(f"value {value} is not a byte")
    return bytes([value])
