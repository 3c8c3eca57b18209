"""``Guest``: the state of one address space, and the rules that its handles share.

The whole model is here: ordered mappings, resident pages by page number, the generation, the clients. Everything is done by
one thread, so what the contract says of waiting is left with these rules:

- in an invalidate callback, calls that change the space or look a page up raise ``Deadlock``;
- so do calls that would have to kick the vCPU of this very thread.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from npt._types import FaultCode, Prot
from npt.errors import Deadlock, Fault, InvalidArgument, NoSuchMapping, Overlap, StaleHandle
from npt.testing.oracle.arguments import PAGE_SIZE
from npt.testing.oracle.entries import Leaf, fresh_leaf
from npt.testing.oracle.memory import Reservoir
from npt.testing.oracle.objects import MmioObject, RamObject, VmObject

if TYPE_CHECKING:
    from npt.testing.oracle.client import VmClient

__all__ = ["Guest", "Mapping"]

OK = 0


class Mapping(NamedTuple):
    """A stretch of an object as the guest sees it; all in bytes."""

    gpa: int
    length: int
    obj: VmObject
    offset: int
    prot: Prot

    @property
    def end(self) -> int:
        """The first address behind it."""
        return self.gpa + self.length


class Guest:
    """One address space."""

    def __init__(self, size: int, format: Any, reservoir: Reservoir | None, tracking: bool) -> None:
        self.size = size
        self.format = format
        self.reservoir = reservoir
        self.tracking = tracking
        self.generation = 1
        self.faults = 0
        self.mappings: list[Mapping] = []  # by address
        self.unlinked: Mapping | None = None  # the one that is being unmapped: it has no tables any more
        self.leaves: dict[int, Leaf] = {}  # by page number: what is resident
        self.clients: list[VmClient] = []  # in the order in which they were made
        self.in_callback = False
        self.closing = False
        self.destroyed = False

    # -- who may do what ------------------------------------------------------------------------------------------------

    def check_alive(self) -> None:
        """Refuse a space that is gone."""
        if self.destroyed:
            raise StaleHandle("the space was destroyed")

    def check_may_change(self) -> None:
        """Refuse a change, or a look-up, in a callback."""
        if self.in_callback:
            raise Deadlock("a callback may read the space and release pages only")

    def check_may_kick(self) -> None:
        """Refuse what would wait for this thread to leave the tables."""
        self.check_may_change()
        if any(client.on_cpu for client in self.clients):
            raise Deadlock("this thread is on CPU in the space")

    # -- mappings -------------------------------------------------------------------------------------------------------

    def mapping_at(self, gpa: int) -> Mapping | None:
        """The mapping that covers an address."""
        for mapping in self.mappings:
            if mapping.gpa <= gpa < mapping.end:
                return mapping
        return None

    def check_gap(self, gpa: int, length: int) -> None:
        """Refuse a range some of which is mapped."""
        for mapping in self.mappings:
            if mapping.gpa < gpa + length and gpa < mapping.end:
                raise Overlap(f"{gpa:#x} + {length:#x} is not free")

    def mapping_around(self, gpa: int, length: int) -> Mapping:
        """The mapping that a whole range is in."""
        mapping = self.mapping_at(gpa)
        if mapping is None or gpa + length > mapping.end:
            raise NoSuchMapping(f"{gpa:#x} + {length:#x} is not inside one mapping")
        return mapping

    def exact_mapping(self, gpa: int, length: int) -> Mapping:
        """The mapping that is this range."""
        mapping = self.mapping_at(gpa)
        if mapping is None or (mapping.gpa, mapping.length) != (gpa, length):
            raise NoSuchMapping(f"{gpa:#x} + {length:#x} is not exactly one mapping")
        return mapping

    def check_host(self, obj: VmObject) -> None:
        """Refuse RAM of another reservoir, and device memory that is where RAM is."""
        if isinstance(obj, MmioObject):
            _check_apart(obj, self.reservoir)
        elif isinstance(obj, RamObject) and self.reservoir is None:
            for mapping in self.mappings:
                _check_apart(mapping.obj, obj.reservoir)
        elif isinstance(obj, RamObject) and obj.reservoir is not self.reservoir:
            raise InvalidArgument("the object is from another reservoir than the space's")

    def adopt(self, obj: VmObject) -> None:
        """The reservoir of the first RAM that is mapped becomes the space's."""
        if self.reservoir is None and isinstance(obj, RamObject):
            self.reservoir = obj.reservoir

    def windows(self) -> list[NDArray[np.uint8]]:
        """Memory of the guest that somebody has a view of."""
        return [] if self.reservoir is None else self.reservoir.windows()

    def linked(self) -> Iterator[Mapping]:
        """The mappings that have tables, by address."""
        return (mapping for mapping in self.mappings if mapping is not self.unlinked)

    def has_table(self, level: int, gpa: int) -> bool:
        """Whether there is a table of a level (1 = leaf) on the way to an address: if a mapping is in its region."""
        region = gpa >> _shift(level + 1)
        return any(
            mapping.gpa >> _shift(level + 1) <= region <= mapping.end - 1 >> _shift(level + 1) for mapping in self.linked()
        )

    def count_tables(self, level: int) -> int:
        """How many regions of a level's tables have a mapping in them; there is always a root."""
        if level == 4:
            return 1
        n, counted = 0, -1  # the last region that was counted
        for mapping in self.linked():
            first, last = mapping.gpa >> _shift(level + 1), mapping.end - 1 >> _shift(level + 1)
            n += last - max(first, counted + 1) + 1
            counted = last
        return n

    # -- pages ----------------------------------------------------------------------------------------------------------

    def look_up(self, gpa: int, prot: int) -> int:
        """Whether a page may be accessed: 0 or a fault code. Nothing becomes resident."""
        mapping = self.mapping_at(gpa)
        if mapping is None:
            return FaultCode.NOMAP
        return FaultCode.PROT if prot & ~mapping.prot else OK

    def check_access(self, gpa: int, prot: int) -> None:
        """The same, as an error."""
        code = self.look_up(gpa, prot)
        if code:
            raise Fault(f"{Prot(prot).name} of the page at {gpa:#x}", FaultCode(code))

    def check_bytes(self, gpa: int) -> None:
        """Refuse a page that is mapped and has no bytes."""
        mapping = self.mapping_around(gpa, PAGE_SIZE)
        mapping.obj.page((gpa - mapping.gpa + mapping.offset) // PAGE_SIZE)

    def leaf_of(self, gpa: int) -> Leaf | None:
        """The page's entry, if it is resident."""
        return self.leaves.get(gpa // PAGE_SIZE)

    def install(self, gpa: int) -> Leaf:
        """The page's entry, made resident if it is not; a mapping covers it."""
        page = gpa // PAGE_SIZE
        if page not in self.leaves:
            mapping = self.mapping_around(page * PAGE_SIZE, PAGE_SIZE)
            number = page - (mapping.gpa - mapping.offset) // PAGE_SIZE
            self.leaves[page] = fresh_leaf(self.format, mapping.obj, number, mapping.prot)
        return self.leaves[page]

    def resident(self, gpa: int, length: int) -> list[tuple[int, Leaf]]:
        """Resident pages of a range: place in it and entry, by address."""
        first, n_pages = gpa // PAGE_SIZE, length // PAGE_SIZE
        if n_pages < len(self.leaves):
            found = (page for page in range(first, first + n_pages) if page in self.leaves)
        else:
            found = (page for page in sorted(self.leaves) if first <= page < first + n_pages)
        return [(page - first, self.leaves[page]) for page in found]

    # -- telling clients ------------------------------------------------------------------------------------------------

    def call_back(self, gpa: int, length: int) -> BaseException | None:
        """Tell every client, in the order in which they were made; all are told, and the first error is returned."""
        first: BaseException | None = None
        self.in_callback = True
        for callback in [client.callback for client in self.clients]:
            try:
                if callback is not None:
                    callback(gpa, length)
            except BaseException as error:
                first = first or error
        self.in_callback = False
        return first

    def unmap(self, mapping: Mapping) -> BaseException | None:
        """Take a mapping down; return the first error of a callback.

        Holds in it keep their pages by references to the object. If something was resident the generation is raised and the
        clients are told: then the pages and tables are gone already, and the mapping is still listed.
        """
        for client in self.clients:
            client.lose(mapping)
        pages = [page for page, _ in self.resident(mapping.gpa, mapping.length)]
        error = None
        self.unlinked = mapping
        for page in pages:
            del self.leaves[mapping.gpa // PAGE_SIZE + page]
        if pages:
            self.generation += 1
            error = self.call_back(mapping.gpa, mapping.length)
        self.mappings = [one for one in self.mappings if one is not mapping]
        self.unlinked = None
        return error


def _shift(level: int) -> int:
    """The lowest bit of an address that indexes a table of a level."""
    return 12 + 9 * (level - 1)


def _check_apart(obj: VmObject, reservoir: Reservoir | None) -> None:
    if not isinstance(obj, MmioObject) or reservoir is None:
        return
    first, end = reservoir.base_pfn, reservoir.base_pfn + reservoir.limit // PAGE_SIZE
    if obj.pfn_at(0) < end and first < obj.pfn_at(0) + obj.length // PAGE_SIZE:
        raise InvalidArgument("device memory overlaps the frames of RAM")
