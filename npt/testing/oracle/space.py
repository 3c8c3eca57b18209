"""``VmSpace``: one guest's physical address space."""

import warnings
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from npt._types import Prot, WalkKind
from npt.errors import Busy, InvalidArgument, NptError
from npt.testing.oracle.arguments import (
    NO_PFN,
    PAGE_SIZE,
    Handle,
    address,
    addresses,
    flag,
    inside,
    integer,
    integers,
    length_of,
    number,
    numbers,
    protection,
    range_of,
)  # fmt: skip
from npt.testing.oracle.client import VmClient
from npt.testing.oracle.dirty import DirtyCalls
from npt.testing.oracle.entries import EPT, Walk, is_format, leaf_bits, qualification, root_pointer
from npt.testing.oracle.guest import Guest, Mapping
from npt.testing.oracle.memory import Reservoir
from npt.testing.oracle.objects import MmioObject, VmObject

__all__ = ["Counters", "Explained", "Table", "VmSpace"]

_LARGEST = 2**47
_LONGEST_TIMEOUT = 1e9


class Counters(NamedTuple):
    """Totals of a space. The faults are exact; nobody is kicked here, and nothing is timed."""

    kicks: int
    kick_ns: int
    held_ns: int
    faults: int
    flushes: int
    timeouts: int


class Explained(NamedTuple):
    """One translation, for people."""

    gpa: int
    leaf: int | None


class Table(Handle):
    """The page table, as far as it can be known without having one."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest

    def tables_in_use(self, level: Any) -> int:
        """How many tables of a level, 4 (root) to 1 (leaf), are linked."""
        level = integer(level, "level")
        if not 1 <= level <= 4:
            raise InvalidArgument(f"there is no level {level}")
        return self._guest.count_tables(level)


class VmSpace(DirtyCalls):
    """An address space: what is mapped where, and what of it is resident."""

    def __init__(
        self, size: Any, *, format: Any = EPT, reservoir: Any = None, track_dirty: Any = False, kick_timeout: Any = 5.0,
        threads: Any = None,
    ) -> None:  # fmt: skip
        integer(size, "size")
        if not is_format(format):
            raise TypeError(f"format must be EPT or NPT, not {type(format).__name__}")
        if reservoir is not None and not isinstance(reservoir, Reservoir):
            raise TypeError(f"reservoir must be a Reservoir or None, not {type(reservoir).__name__}")
        tracking, seconds = flag(track_dirty, "track_dirty"), number(kick_timeout, "kick_timeout")
        n_threads = 1 if threads is None else integer(threads, "threads")
        if reservoir is not None:
            reservoir.check_open()
        size = length_of(size, "size")
        if size > _LARGEST or not 0 < seconds < _LONGEST_TIMEOUT or n_threads < 1:
            raise InvalidArgument("a size beyond 2**47, or a time-out or a number of threads that is none")
        self._guest = Guest(size, format, reservoir, tracking)

    # -- what it is -----------------------------------------------------------------------------------------------------

    def _alive(self) -> Guest:
        self._guest.check_alive()
        return self._guest

    @property
    def size(self) -> int:
        """Bytes of address space."""
        return self._alive().size

    @property
    def format(self) -> Any:
        """As it was given."""
        return self._alive().format

    @property
    def table(self) -> Table:
        """The page table."""
        return Table(self._alive())

    @property
    def resident_count(self) -> int:
        """How many pages are resident."""
        return len(self._alive().leaves)

    @property
    def generation(self) -> int:
        """Raised whenever cached translations may be stale; 1 at first."""
        return self._alive().generation

    @property
    def table_root(self) -> int:
        """The root pointer: EPTP or nCR3."""
        guest = self._alive()
        return root_pointer(guest.format, guest.tracking)

    @property
    def counters(self) -> Counters:
        """Totals since the space was made."""
        return Counters(0, 0, 0, self._alive().faults, 0, 0)

    @property
    def mappings(self) -> tuple[Mapping, ...]:
        """All mappings, by address."""
        return tuple(self._alive().mappings)

    @property
    def destroyed(self) -> bool:
        """Whether it was destroyed or closed."""
        return self._guest.destroyed

    # -- mappings -------------------------------------------------------------------------------------------------------

    def map(self, obj: Any, gpa: Any, length: Any, prot: Any, offset: Any = 0) -> None:
        """Map a stretch of an object; the mapping takes a reference of its own, and nothing becomes resident."""
        if not isinstance(obj, VmObject):
            raise TypeError(f"obj must be a VmObject, not {type(obj).__name__}")
        integers(gpa=gpa, length=length, prot=prot, offset=offset)
        guest = self._alive()
        obj.check_alive()
        gpa, length = range_of(gpa, length)
        prot = protection(prot, Prot.READ)
        offset, _ = obj.window(offset, length)
        guest.check_host(obj)
        inside(gpa, length, guest.size)
        guest.check_may_change()
        guest.check_gap(gpa, length)
        obj.keep()
        guest.adopt(obj)
        guest.mappings = sorted([*guest.mappings, Mapping(gpa, length, obj, offset, prot)], key=lambda mapping: mapping.gpa)

    def map_mmio(self, gpa: Any, length: Any, hpa: Any) -> MmioObject:
        """Map device memory, readable and writable; the caller owns one reference, the mapping another."""
        integers(gpa=gpa, length=length, hpa=hpa)
        self._alive()
        gpa, length = range_of(gpa, length)
        obj = MmioObject(length, hpa)
        self.map(obj, gpa, length, Prot.RW)
        return obj

    def unmap(self, gpa: Any, length: Any) -> None:
        """Unmap exactly one whole mapping; complete also if a callback fails."""
        integers(gpa=gpa, length=length)
        guest = self._alive()
        gpa, length = range_of(gpa, length)
        mapping = guest.exact_mapping(gpa, length)
        guest.check_may_kick()
        error = guest.unmap(mapping)
        mapping.obj.drop()
        if error is not None:
            raise error

    def populate(self, gpa: Any, length: Any) -> int:
        """Make a range inside one mapping resident; tell how many pages were not."""
        integers(gpa=gpa, length=length)
        guest = self._alive()
        gpa, length = range_of(gpa, length)
        guest.mapping_around(gpa, length)
        guest.check_may_change()
        before = len(guest.leaves)
        for page in range(gpa, gpa + length, PAGE_SIZE):
            guest.install(page)
        return len(guest.leaves) - before

    # -- looking --------------------------------------------------------------------------------------------------------

    def translate(self, gpas: Any) -> NDArray[np.uint64]:
        """PFNs, ``NO_PFN`` where nothing is resident."""
        values = numbers(gpas, "gpas")
        guest = self._alive()
        leaves = [guest.leaf_of(gpa) for gpa in addresses(values)]
        return np.array([NO_PFN if leaf is None else leaf.pfn for leaf in leaves], np.uint64)

    def pte(self, gpa: Any) -> int | None:
        """The leaf entry: 0 where the page is not resident, None where there is no leaf table."""
        return self.explain(gpa).leaf

    def ptes(self, gpa: Any, length: Any) -> NDArray[np.uint64]:
        """The leaf entries of a range; 0 also where there is no leaf table."""
        gpa, length = self._check(gpa, length)
        entries = np.zeros(length // PAGE_SIZE, np.uint64)
        for page, leaf in self._guest.resident(gpa, length):
            entries[page] = leaf_bits(self._guest.format, leaf)
        return entries

    def explain(self, gpa: Any) -> Explained:
        """The same as ``pte``, with the page's address."""
        integer(gpa, "gpa")
        guest = self._alive()
        gpa = address(gpa) // PAGE_SIZE * PAGE_SIZE
        if gpa >= guest.size or not guest.has_table(1, gpa):
            return Explained(gpa, None)
        leaf = guest.leaf_of(gpa)
        return Explained(gpa, 0 if leaf is None else leaf_bits(guest.format, leaf))

    def walk(self, gpa: Any, access: Any) -> Walk:
        """What an independent hardware walk of the tables would come to; ``access`` is READ, WRITE or EXEC."""
        guest, gpa, access = self._alive(), address(gpa), protection(access, Prot.RWX)
        for level in (4, 3, 2):  # a directory's entry is there if there is a table under it
            if gpa >= 2**48 or not guest.has_table(level - 1, gpa):
                return Walk(WalkKind.VIOLATION, qualification(guest.format, access, Prot.NONE), level, None)
        leaf = guest.leaf_of(gpa)
        if leaf is None or access & ~leaf.prot:
            granted = Prot.NONE if leaf is None else leaf.prot
            return Walk(WalkKind.VIOLATION, qualification(guest.format, access, granted), 1, None)
        return Walk(WalkKind.OK, 0, 1, leaf.pfn * PAGE_SIZE + gpa % PAGE_SIZE)

    # -- clients and the end --------------------------------------------------------------------------------------------

    def client(self) -> VmClient:
        """A new client."""
        guest = self._alive()
        guest.check_may_change()
        return VmClient(guest)

    def destroy(self) -> None:
        """End a space without mappings; its clients are orphans then."""
        guest = self._alive()
        guest.check_may_kick()
        if guest.mappings:
            raise Busy("mappings are left")
        guest.destroyed = True

    def close(self) -> None:
        """Unmap everything and destroy; does nothing on a space that is gone. Complete also if a callback fails."""
        guest = self._guest
        if guest.destroyed:
            return
        guest.check_may_kick()
        mappings = tuple(guest.mappings)
        n_dropped = sum(client.n_dropped() for client in guest.clients)
        guest.closing = True
        errors = [guest.unmap(mapping) for mapping in mappings]
        guest.destroyed = True
        for mapping in mappings:
            mapping.obj.drop()
        if n_dropped:
            warnings.warn(f"{n_dropped} held pages were never released", ResourceWarning, stacklevel=2)
        for error in errors:
            if error is not None:
                raise error

    def __enter__(self) -> Self:
        self._alive()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self.close()
        except NptError:
            if kind is None:  # an error that ends the block is the one to see
                raise
