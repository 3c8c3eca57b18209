"""A small guest made of the oracle's classes, for its tests."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npt import EPT, NPT, Prot
from npt.testing.oracle import Oracle

__all__ = ["EPT_LEAF", "FORMATS", "GIB", "MIB", "N", "ORACLE", "PAGE", "RAM", "SIZE", "OracleGuest", "bits", "select"]

ORACLE = Oracle()
FORMATS = {"ept": EPT, "npt": NPT}
PAGE = 0x1000
MIB, GIB = 1 << 20, 1 << 30
SIZE = 1 << 40
RAM = 0x1F_C000  # 8 pages over the 2 MiB border
N = 8
EPT_LEAF = 0x100000 << 12 | 0x30  # the first page of RAM, but for what may be done with it


def bits(bitmap: NDArray[np.uint8]) -> list[int]:
    """Which pages a bitmap names."""
    return [int(k) for k in np.flatnonzero(np.unpackbits(bitmap, bitorder="little"))]


def select(*pages: int) -> NDArray[np.uint8]:
    """A bitmap of the eight pages that names some."""
    return np.array([sum(1 << page for page in pages)], np.uint8)


class OracleGuest:
    """RAM mapped read-write in a space that tracks dirty pages, and a client."""

    def __init__(self, format: str = "ept", prot: Prot = Prot.RW, *, tracking: bool = True) -> None:
        self.reservoir = ORACLE.Reservoir(64 * PAGE, limit=80 * PAGE)
        self.ram = self.reservoir.allocate(N * PAGE)
        self.space = ORACLE.VmSpace(SIZE, format=FORMATS[format], reservoir=self.reservoir, track_dirty=tracking)
        self.space.map(self.ram, RAM, N * PAGE, prot)
        self.client = self.space.client()
        self.calls: list[Any] = []

    def listen(self, act: Callable[[], object] = lambda: None) -> None:
        """Note what the client is told, and do something then."""

        def told(gpa: int, length: int) -> None:
            self.calls.append((gpa, length))
            act()

        self.client.on_invalidate(told)

    def tables(self) -> tuple[int, ...]:
        """Tables in use at levels 4 to 1."""
        return tuple(self.space.table.tables_in_use(level) for level in (4, 3, 2, 1))
