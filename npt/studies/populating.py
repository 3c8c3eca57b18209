"""Ways of populating a guest, and how each is measured.

A round maps the guest, populates it, checks what is resident and which tables there are, and unmaps it. Nothing of one round
is left for the next but memory that was touched before.
"""

import statistics
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from npt._types import ExitReason, Prot, U64Array
from npt.errors import InvariantError
from npt.formats.base import PteFormat
from npt.memory.objects import RamObject
from npt.memory.reservoir import Reservoir
from npt.space.vcpu import Vcpu
from npt.space.vmspace import VmSpace
from npt.studies.measuring import elapsed_ns
from npt.studies.randomness import PAGES, words
from npt.studies.shapes import SHAPES, Shape, table_bytes
from npt.units import LEVELS, PAGE_SIZE

__all__ = ["WAYS", "Population", "Setting", "measure"]

_VALUE = 0x5A5A5A5A5A5A5A5A  # not zero: zeroing can be cheaper than storing
_AT_ONCE = 1 << 16  # pages that are asked for in one call


@dataclass(frozen=True)
class Population:
    """One way of populating one guest.

    Attributes
    ----------
    format : str
        ``"ept"`` or ``"npt"``.
    size : int
        Bytes of memory.
    shape : str
        A name in ``SHAPES``.
    mappings : int
        How many the memory is divided into.
    way : str
        A name in ``WAYS``.
    piece : int or None
        Bytes of a range, for ``range``.
    pages : int
        How many were made resident while it was timed.
    ns_per_page, ns_per_page_median : float
        Least and median over the repeats.
    pages_per_s : float
        From the least.
    limit : str
        ``fill``: what the memory was measured at, for as many leaf entries.
    of_limit : float
        The limit's least time over this one's: 1 is as fast as the memory.
    map_ns : int
        Least time to map the memory, which makes its tables.
    tables, table_bytes : int
        Tables in use, of all levels, and what they take.
    touches : int
        First touches that were timed one by one.
    touch_ns_median, touch_ns_99, touch_ns_most : int
        How long one takes then: half of them, 99 % of them, all of them take no longer.
    """

    format: str
    size: int
    shape: str
    mappings: int
    way: str
    piece: int | None
    pages: int
    ns_per_page: float
    ns_per_page_median: float
    pages_per_s: float
    limit: str
    of_limit: float
    map_ns: int
    tables: int
    table_bytes: int
    touches: int
    touch_ns_median: int
    touch_ns_99: int
    touch_ns_most: int


class Setting(NamedTuple):
    """What is asked for, checked."""

    formats: tuple[PteFormat, ...]
    sizes: tuple[int, ...]
    ways: tuple[str, ...]
    shapes: tuple[str, ...]
    mapping: int
    piece: int
    touches: int
    repeat: int
    seed: int


class _Guest:
    """One guest of one shape, mapped or not."""

    def __init__(self, space: VmSpace, ram: RamObject, shape: Shape, setting: Setting) -> None:
        self.space, self.shape, self.setting = space, shape, setting
        self.mappings, self.pages = shape.mappings(), shape.pages()
        self.client = space.client()
        self.vcpu = Vcpu(space.client())
        n = self.pages.size
        self.touched = self.pages[:: -(-n // min(n, setting.touches))]
        self._ram = ram

    def map(self) -> None:
        """Map all; nothing is resident."""
        for gpa, length, offset in self.mappings:
            self.space.map(self._ram, gpa, length, Prot.RW, offset=offset)

    def unmap(self) -> None:
        """Unmap all."""
        for gpa, length, _ in self.mappings:
            self.space.unmap(gpa, length)


def _eager(guest: _Guest) -> int:
    for gpa, length, _ in guest.mappings:
        guest.space.populate(gpa, length)
    return guest.pages.size


def _by_range(guest: _Guest) -> int:
    piece = guest.setting.piece
    for gpa, length, _ in guest.mappings:
        for start in range(0, length, piece):
            guest.space.populate(gpa + start, min(piece, length - start))
    return guest.pages.size


def _fault_many(guest: _Guest) -> int:
    for start in range(0, guest.pages.size, _AT_ONCE):
        guest.client.fault_many(guest.pages[start : start + _AT_ONCE], Prot.WRITE)
    return guest.pages.size


def _on_demand(guest: _Guest) -> int:
    exit = guest.vcpu.run(guest.touched, write=True)
    if exit.reason is not ExitReason.DONE:
        raise InvariantError(f"an access to memory that is mapped ended with {exit!r}")
    return guest.touched.size


WAYS: Mapping[str, Callable[[_Guest], int]] = MappingProxyType(
    {"eager": _eager, "range": _by_range, "fault-many": _fault_many, "on-demand": _on_demand}
)


def measure(
    setting: Setting, format: PteFormat, size: int, name: str, threads: int | None
) -> Generator[Population, None, None]:
    """A row for each way; when this ends, or is closed, everything is given back."""
    shape = SHAPES[name](size, min(setting.mapping, size), setting.seed)
    with (
        Reservoir(size, backed=False) as reservoir,
        reservoir.allocate(size) as ram,
        VmSpace(shape.size, format=format, reservoir=reservoir, threads=threads) as space,
    ):
        guest = _Guest(space, ram, shape, setting)
        entries = np.full(guest.pages.size, _VALUE, np.uint64)
        for way in setting.ways:
            yield Population(
                format=format.name, size=size, shape=name, mappings=len(guest.mappings), way=way,
                piece=setting.piece if way == "range" else None, limit="fill",
                **_rounds(guest, way, entries), **_touches(guest, way),
            )  # fmt: skip


def _rounds(guest: _Guest, way: str, entries: U64Array) -> dict[str, Any]:
    """Map, populate, check, unmap, again and again; the first round touches memory and loads kernels."""
    limits, maps, times, pages, tables = [], [], [], 0, 0
    for _ in range(guest.setting.repeat + 1):
        limits.append(elapsed_ns(lambda: entries.fill(_VALUE)))
        maps.append(elapsed_ns(guest.map))
        start = time.perf_counter_ns()
        pages = WAYS[way](guest)
        times.append(time.perf_counter_ns() - start)
        tables = _check_guest(guest, pages)
        guest.unmap()
    least = min(times[1:]) / pages
    return {
        "pages": pages,
        "ns_per_page": least,
        "ns_per_page_median": statistics.median(times[1:]) / pages,
        "pages_per_s": 1e9 / least,
        "of_limit": min(limits[1:]) / entries.size / least,
        "map_ns": min(maps[1:]),
        "tables": tables,
        "table_bytes": tables * PAGE_SIZE,
    }


def _check_guest(guest: _Guest, n_pages: int) -> int:
    """How many tables there are; refuse another number than the shape has, or other than so many resident pages."""
    space = guest.space
    if space.resident_count != n_pages:
        raise InvariantError(f"{space.resident_count:#x} pages are resident, not {n_pages:#x}")
    tables = sum(space.table.tables_in_use(level) for level in range(1, LEVELS + 1))
    if tables * PAGE_SIZE != table_bytes(guest.shape):
        raise InvariantError(f"{tables} tables are in use, not {table_bytes(guest.shape) // PAGE_SIZE}")
    return tables


def _touches(guest: _Guest, way: str) -> dict[str, int]:
    """How long first touches take after populating; after none, on demand."""
    guest.map()
    if way != "on-demand":
        WAYS[way](guest)
    order = np.argsort(words(guest.setting.seed, PAGES, 0, guest.touched.size), kind="stable")
    fault, now, prot = guest.client.fault, time.perf_counter_ns, Prot.WRITE
    taken = []
    for gpa in guest.touched[order].tolist():
        start = now()
        fault(gpa, prot)
        taken.append(now() - start)
    guest.unmap()
    taken.sort()
    return {
        "touches": len(taken),
        "touch_ns_median": _quantile(taken, 50),
        "touch_ns_99": _quantile(taken, 99),
        "touch_ns_most": taken[-1],
    }


def _quantile(ordered: Sequence[int], percent: int) -> int:
    """The least that so many percent do not exceed."""
    return ordered[-(-len(ordered) * percent // 100) - 1]
