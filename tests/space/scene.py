"""What many tests of a space do: map, mark, look, be in a callback, be on CPU in another thread."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from npt import PageTable, Prot, VmClient, VmObject, VmSpace

__all__ = [
    "GIB",
    "LEVELS",
    "MIB",
    "PAGE",
    "SIZE",
    "TABLES_OF_NOBODY",
    "TIMEOUT",
    "Calls",
    "bits",
    "caught",
    "dirty",
    "in_callback",
    "listen",
    "map_at",
    "on_cpu",
    "on_cpu_elsewhere",
    "tables",
    "write_to",
]

PAGE = 0x1000
MIB, GIB = 1 << 20, 1 << 30
SIZE = 1 << 40  # of a space: two root entries
TIMEOUT = 0.01  # a vCPU that is asked to leave and never does costs a test this long
LEVELS = (4, 3, 2, 1)
Calls = list[tuple[str, int, int]]  # of callbacks: name, gpa, length
TABLES_OF_NOBODY = (1, 0, 0, 0)  # the root is always there


def map_at(space: VmSpace, obj: VmObject, gpa: int, prot: Prot = Prot.RW) -> None:
    """Map a whole object."""
    space.map(obj, gpa, obj.length, prot)


def tables(table: PageTable) -> tuple[int, ...]:
    """Tables in use at levels 4, 3, 2, 1."""
    return tuple(table.tables_in_use(level) for level in LEVELS)


def bits(bitmap: NDArray[np.uint8]) -> list[int]:
    """Which pages a bitmap names."""
    return [int(k) for k in np.flatnonzero(np.unpackbits(bitmap, bitorder="little"))]


def dirty(space: VmSpace, gpa: int, length: int) -> list[int]:
    """Which pages of a range are dirty; nothing is cleared."""
    return bits(space.peek_dirty(gpa, length))


def write_to(client: VmClient, *gpas: int) -> None:
    """Write a byte to each address, through holds."""
    for gpa in gpas:
        client.write(gpa, b"\x5a")


def caught(act: Callable[[], object]) -> BaseException | None:
    """What a call raises, or None."""
    try:
        act()
    except Exception as error:
        return error
    return None


def in_callback(space: VmSpace, act: Callable[[], object]) -> BaseException | None:
    """What a call raises inside an invalidate callback of the space, or None."""
    seen: list[BaseException | None] = []
    listener = space.client()
    listener.on_invalidate(lambda gpa, length: seen.append(caught(act)))
    try:
        space.set_tracking(not space.tracking)
    finally:
        listener.on_invalidate(None)
        space.set_tracking(not space.tracking)
        listener.destroy()
    assert len(seen) == 1
    return seen[0]


def listen(client: VmClient, name: str, calls: Calls, error: BaseException | None = None) -> None:
    """Note every call, and fail if told to."""

    def note(gpa: int, length: int) -> None:
        calls.append((name, gpa, length))
        if error is not None:
            raise error

    client.on_invalidate(note)


@contextmanager
def on_cpu(space: VmSpace) -> Iterator[VmClient]:
    """This thread is on CPU in the space, through a client of its own."""
    client = space.client()
    client.table_enter()
    try:
        yield client
    finally:
        client.table_exit()
        client.destroy()


@contextmanager
def on_cpu_elsewhere(client: VmClient, *, leaves: bool) -> Iterator[threading.Event]:
    """Another thread is on CPU through the client; it leaves when it is kicked, or only at the end."""
    inside, over, kicked = threading.Event(), threading.Event(), threading.Event()
    errors: list[BaseException] = []

    def stay() -> None:
        try:
            client.table_enter()
            inside.set()
            while not over.is_set() and not (leaves and client.kicked):
                pass
            if client.kicked:
                kicked.set()
            client.table_exit()
        except BaseException as error:
            errors.append(error)
            inside.set()

    thread = threading.Thread(target=stay)
    thread.start()
    try:
        assert inside.wait(10)
        yield kicked
    finally:
        over.set()
        thread.join()
    assert not errors, errors
