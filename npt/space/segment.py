"""``Segment``: guest memory as a VMM's own process sees it, byte by byte."""

from abc import ABC, abstractmethod
from bisect import bisect_right
from typing import Any, Self, SupportsIndex

import numpy as np

from npt import _sync
from npt._types import Handle, Prot, U8Array
from npt.errors import AccessDenied, InvalidArgument, NotSupported, OutOfSegment, StaleHandle
from npt.memory.objects import RamObject
from npt.space.client import VmClient, as_bytes
from npt.space.vmspace import VmSpace
from npt.units import PAGE_SHIFT, as_address, as_int, digits, format_size

_WRITE = Prot.WRITE.value

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
        self._allowed = int(prot)
        self.closed = False
        self._given_up = False

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
        if not self._allowed & need.value:
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
        source = data if type(data) is bytes else as_bytes(data)
        self._check_open()
        self._check(offset, len(source), Prot.WRITE)
        self._write(offset, source)

    def _place(self, key: Any) -> tuple[int, int]:
        """Offset and length of an index or slice."""
        if isinstance(key, slice):
            step = 1 if key.step is None else as_int(key.step, "step")
            if step != 1:
                raise InvalidArgument(f"a segment is sliced with step 1, not {digits(step)}")
            start, stop, _ = key.indices(self._length)
            return start, max(stop - start, 0)
        index = as_int(key, "index")
        offset = index + self._length if index < 0 else index
        if not 0 <= offset < self._length:
            raise OutOfSegment(f"index {digits(index)} is outside the segment of {self._length:#x} bytes")
        return offset, 1

    def __getitem__(self, key: Any) -> Any:
        if type(key) is int and 0 <= key < self._length:  # whether it is open, _read will see
            return self._read(key, 1)[0]
        _check_key(key)
        self._check_open()
        text = self.read(*self._place(key))
        return text if isinstance(key, slice) else text[0]

    def __setitem__(self, key: Any, value: Any) -> None:
        if type(key) is type(value) is int and 0 <= key < self._length and 0 <= value <= 0xFF and self._is_writable():
            self._write(key, bytes((value,)))
            return
        _check_key(key)
        whole = isinstance(key, slice)
        source: Any = as_bytes(value) if whole else as_int(value, "value")
        self._check_open()
        offset, n = self._place(key)
        source = source if whole else _as_byte(source)
        if len(source) != n:
            raise InvalidArgument(f"{len(source):#x} bytes do not fit a slice of {n:#x}")
        self.write(offset, source)

    def _is_writable(self) -> bool:
        return not self.closed and bool(self._allowed & _WRITE)

    def close(self) -> None:
        """Give the segment up. Does nothing the second time, but for what a failure of the first kept from being done.

        Raises
        ------
        Deadlock
            A guest segment, in a callback; it stays open.
        """
        if not self._given_up:
            self._close()
            self._given_up = True

    def __enter__(self) -> Self:
        self._check_open()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @abstractmethod
    def _read(self, offset: int, n: int) -> bytes: ...

    @abstractmethod
    def _write(self, offset: int, source: bytes | U8Array) -> None: ...

    @abstractmethod
    def open(self) -> None:
        """Internal: take what it is a window to; ``close`` gives that up, or what of it was taken."""

    @abstractmethod
    def _close(self) -> None: ...


class ObjectSegment(Segment):
    """Straight to an object's memory: never dirties a page; keeps the object until it is closed."""

    def __init__(self, obj: RamObject, offset: int, length: int, prot: Prot) -> None:
        super().__init__(length, prot)
        self._obj, self._reservoir = obj, obj.reservoir
        self._lock = _sync.rlock("segment")  # while bytes are copied: another thread may close the segment meanwhile
        runs = obj.runs(offset, length)
        ends = np.cumsum(runs[:, 1])
        self._starts: list[int] = ((ends - runs[:, 1]) << np.uint64(PAGE_SHIFT)).tolist()  # of its runs, in the segment
        self._places: list[int] = ((runs[:, 0] - np.uint64(obj.reservoir.base_pfn)) << np.uint64(PAGE_SHIFT)).tolist()

    def _pieces(self, offset: int, n: int, *, writable: bool) -> list[memoryview]:
        """Memory of a byte range: one piece for what lies side by side. The lock is held."""
        self._check_open()
        if n and not self._reservoir.backed:
            raise NotSupported("the object's reservoir is unbacked: it has no bytes")
        pieces: list[memoryview] = []
        window, end = self._reservoir.backing.windows[writable], offset + n
        run = bisect_right(self._starts, offset) - 1
        while offset < end:
            stop = min(self._starts[run + 1], end) if run + 1 < len(self._starts) else end
            at = self._places[run] + offset - self._starts[run]
            pieces.append(window[at : at + stop - offset])
            offset, run = stop, run + 1
        return pieces

    def _read(self, offset: int, n: int) -> bytes:
        return self._copy(offset, n, None)

    def _write(self, offset: int, source: bytes | U8Array) -> None:
        self._copy(offset, len(source), source)

    def _copy(self, offset: int, n: int, source: bytes | U8Array | None) -> bytes:
        self._obj._check_own()  # a forked child would wait for a lock that nobody gives back
        try:
            with self._lock:
                pieces = self._pieces(offset, n, writable=source is not None)
                if source is None:
                    return b"".join(pieces)
                if len(pieces) > 1 and not isinstance(source, bytes) and np.may_share_memory(source, self._reservoir.memory):
                    source = source.copy()
                for piece in pieces:
                    piece[:] = source[: len(piece)]  # type: ignore[assignment]
                    source = source[len(piece) :]
                return b""
        finally:
            if self.closed:
                self._let_go()

    def open(self) -> None:
        self._obj.acquire(self)

    def _close(self) -> None:
        self._obj._check_own()
        self.closed = True
        self._let_go()

    def _let_go(self) -> None:
        """Drop the object, unless a copy is under way that this came into as a finalizer: it does so when it ends."""
        self._obj._check_own()
        if not self._lock._is_owned():
            with self._lock:
                pass  # whoever copies has found it open
            self._obj.drop(self)


class GuestSegment(Segment):
    """A range of the guest's address space, holes and all, through a client of its own: dirties pages, sees unmaps."""

    _client: VmClient

    def __init__(self, space: VmSpace, gpa: int, length: int, prot: Prot) -> None:
        super().__init__(length, prot)
        self._space, self._gpa = space, gpa

    def _read(self, offset: int, n: int) -> bytes:
        return self._client.read(self._gpa + offset, n)

    def _write(self, offset: int, source: bytes | U8Array) -> None:
        self._client.write(self._gpa + offset, source)

    def open(self) -> None:
        self._client = self._space.client()

    def _close(self) -> None:
        if hasattr(self, "_client"):
            self._client.destroy()
        self.closed = True


def _as_byte(byte: int) -> bytes:
    if not 0 <= byte <= 0xFF:
        raise InvalidArgument(f"value {digits(byte)} is not a byte")
    return bytes([byte])


def _check_key(key: Any) -> None:
    """Types first: an index, or a slice of indices."""
    for part in (key.start, key.stop, key.step) if isinstance(key, slice) else (key,):
        if part is not None or part is key:
            as_int(part, "index")
