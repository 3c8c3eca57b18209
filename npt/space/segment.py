"""``Segment``: guest memory as a VMM's own process sees it, byte by byte."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self, SupportsIndex

import numpy as np

from npt import kernels
from npt._types import Handle, Prot, U8Array, U64Array
from npt.errors import AccessDenied, InvalidArgument, NotSupported, OutOfSegment, StaleHandle
from npt.memory.objects import RamObject
from npt.space.client import VmClient, as_bytes
from npt.units import PAGE_MASK, PAGE_SIZE, as_address, as_int, format_size, page_down

__all__ = ["GuestSegment", "ObjectSegment", "Segment"]


class Segment(Handle, ABC):
    """A window of bytes; from ``Vm.map_object`` or ``Vm.map_guest``.

    ``segment[i]`` is an int, ``segment[a:b]`` bytes; both can be assigned to. Closing it twice does no harm.

    Notes
    -----
    Source: ``vm_segmap_obj()`` and ``vm_segmap_space()``, vmm_vm.c 1430 and on at 59d65d31.
    """

    def __init__(self, length: int, prot: Prot) -> None:
        self._length = length
        self._prot = prot
        self.closed = False

    def __repr__(self) -> str:
        state = "closed" if self.closed else str(self._prot.name)
        return f"<{type(self).__name__} of {format_size(self._length)}, {state}>"

    def _check_open(self) -> None:
        if self.closed:
            raise StaleHandle("the segment was closed")

    def __len__(self) -> int:
        self._check_open()
        return self._length

    def _check(self, offset: int, n: int, need: Prot) -> None:
        as_address(offset, "offset"), as_address(n, "n")
        if offset + n > self._length:
            raise OutOfSegment(f"{offset:#x} + {n:#x} is outside the segment of {self._length:#x} bytes")
        if not self._prot & need:
            raise AccessDenied(f"the segment was mapped for {self._prot.name}, not for {need.name}")

    def read(self, offset: SupportsIndex, n: SupportsIndex) -> bytes:
        """Copy bytes out.

        Parameters
        ----------
        offset, n
            Where in the segment and how many, in bytes.

        Raises
        ------
        StaleHandle
            The segment was closed.
        InvalidArgument
            Outside the segment.
        Fault
            A guest segment, and nothing is mapped there.
        NotSupported
            The memory has no bytes.
        """
        offset, n = as_int(offset, "offset"), as_int(n, "n")
        self._check_open()
        self._check(offset, n, Prot.READ)
        return self._read(offset, n)

    def write(self, offset: SupportsIndex, data: Any) -> None:
        """Copy bytes in.

        Parameters
        ----------
        offset
            Where in the segment, in bytes.
        data
            Anything that has bytes.

        Raises
        ------
        StaleHandle
            The segment was closed.
        InvalidArgument
            Outside the segment.
        AccessDenied
            The segment is read-only.
        Fault
            A guest segment, and nothing writable is mapped there.
        NotSupported
            The memory has no bytes.
        """
        offset = as_int(offset, "offset")
        source = as_bytes(data)
        self._check_open()
        self._check(offset, source.size, Prot.WRITE)
        self._write(offset, source)

    def _place(self, key: Any) -> tuple[int, int]:
        """Offset and length of an index or slice."""
        if isinstance(key, slice):
            if key.step is not None and as_int(key.step, "step") != 1:
                raise InvalidArgument(f"a segment is sliced with step 1, not {key.step}")
            start, stop, _ = key.indices(self._length)
            return start, max(stop - start, 0)
        index = as_int(key, "index")
        offset = index + self._length if index < 0 else index
        if not 0 <= offset < self._length:
            raise OutOfSegment(f"index {index} is outside the segment of {self._length:#x} bytes")
        return offset, 1

    def __getitem__(self, key: Any) -> Any:
        _check_key(key)
        self._check_open()
        text = self.read(*self._place(key))
        return text if isinstance(key, slice) else text[0]

    def __setitem__(self, key: Any, value: Any) -> None:
        _check_key(key)
        whole = isinstance(key, slice)
        source: Any = as_bytes(value) if whole else as_int(value, "value")
        self._check_open()
        offset, n = self._place(key)
        source = source if whole else as_bytes(_as_byte(source))
        if source.size != n:
            raise InvalidArgument(f"{source.size:#x} bytes do not fit a slice of {n:#x}")
        self.write(offset, source)

    def close(self) -> None:
        """Give the segment up. Does nothing the second time."""
        if not self.closed:
            self.closed = True
            self._close()

    def __enter__(self) -> Self:
        self._check_open()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @abstractmethod
    def _read(self, offset: int, n: int) -> bytes: ...

    @abstractmethod
    def _write(self, offset: int, source: U8Array) -> None: ...

    @abstractmethod
    def _close(self) -> None: ...


class ObjectSegment(Segment):
    """Straight to an object's memory: never dirties a page; keeps the object until it is closed."""

    def __init__(self, obj: RamObject, offset: int, length: int, prot: Prot) -> None:
        super().__init__(length, prot)
        self._obj, self._offset = obj, offset
        obj.acquire(self)

    @contextmanager
    def _kept(self) -> Iterator[None]:
        """Keep the object while its bytes are copied: another thread may close the segment meanwhile."""
        copy = object()
        self._obj.acquire(copy)
        try:
            self._check_open()
            yield
        finally:
            self._obj.drop(copy)

    def _frames(self, offset: int, n: int) -> U64Array:
        """Frames of the pages that a byte range of the object touches."""
        reservoir = self._obj.reservoir
        if not reservoir.backed:
            raise NotSupported("the object's reservoir is unbacked: it has no bytes")
        first = page_down(offset)
        last = page_down(offset + n - 1)
        runs = self._obj.runs(first, last - first + PAGE_SIZE)
        n_pages = runs[:, 1].astype(np.intp)
        before = np.repeat(np.cumsum(n_pages) - n_pages, n_pages)  # pages of the runs before a page's own
        within = (np.arange(before.size) - before).astype(np.uint64)
        return np.repeat(runs[:, 0] - np.uint64(reservoir.base_pfn), n_pages) + within

    def _read(self, offset: int, n: int) -> bytes:
        text = np.empty(n, np.uint8)
        if n:
            offset += self._offset
            with self._kept():
                kernels.frames.copy_out(self._obj.reservoir.memory, self._frames(offset, n), offset & PAGE_MASK, text)
        return text.tobytes()

    def _write(self, offset: int, source: U8Array) -> None:
        if not source.size:
            return
        offset += self._offset
        with self._kept():
            memory = self._obj.reservoir.memory
            if np.may_share_memory(source, memory):
                source = source.copy()
            kernels.frames.copy_in(memory, self._frames(offset, source.size), offset & PAGE_MASK, source)

    def _close(self) -> None:
        self._obj.drop(self)


class GuestSegment(Segment):
    """A range of the guest's address space, holes and all, through a client of its own: dirties pages, sees unmaps."""

    def __init__(self, client: VmClient, gpa: int, length: int, prot: Prot) -> None:
        super().__init__(length, prot)
        self._client, self._gpa = client, gpa

    def _read(self, offset: int, n: int) -> bytes:
        return self._client.read(self._gpa + offset, n)

    def _write(self, offset: int, source: U8Array) -> None:
        self._client.write(self._gpa + offset, source)

    def _close(self) -> None:
        self._client.destroy()


def _as_byte(byte: int) -> bytes:
    if not 0 <= byte <= 0xFF:
        raise InvalidArgument(f"value {byte} is not a byte")
    return bytes([byte])


def _check_key(key: Any) -> None:
    """Types first: an index, or a slice of indices."""
    for part in (key.start, key.stop, key.step) if isinstance(key, slice) else (key,):
        if part is not None or part is key:
            as_int(part, "index")
