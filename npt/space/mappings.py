"""Ordered, disjoint mappings, and the extents that kernels look them up by."""

from bisect import bisect_right
from operator import attrgetter
from typing import NamedTuple

import numpy as np

from npt._types import Prot, U64Array
from npt.errors import NoSuchMapping, Overlap
from npt.formats.base import PteFormat
from npt.memory.objects import VmObject
from npt.table.tree import NO_EXTENTS
from npt.units import PAGE_SHIFT

__all__ = ["Keeper", "Mapping", "Mappings"]


class Mapping(NamedTuple):
    """A stretch of an object as the guest sees it; all in bytes."""

    gpa: int
    length: int
    obj: VmObject
    offset: int
    prot: Prot

    def __repr__(self) -> str:
        return f"<Mapping {self.gpa:#x} + {self.length:#x} {self.prot.name}, {self.obj!r} + {self.offset:#x}>"


Contents = tuple[tuple[Mapping, ...], U64Array]
_GPA = attrgetter("gpa")


class Keeper:
    """What a mapping's references to its object are entered under: equal mappings are two."""

    __slots__ = ("_mapping", "owner")

    def __init__(self, owner: "Mappings", mapping: Mapping) -> None:
        self.owner = owner
        self._mapping = mapping  # kept, so that no later one can be taken for it

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Keeper) and other._mapping is self._mapping

    def __hash__(self) -> int:
        return id(self._mapping)


class Mappings:
    """The mappings of a space, by address.

    Attributes
    ----------
    extents : numpy.ndarray
        ``uint64``, shape ``(n, 4)``: first page, page after the last, leaf entry of the first page, protection; one row for
        each stretch that is contiguous in guest and host, by page. A change makes a new array, so that who has one keeps
        a whole one.
    """

    def __init__(self, format: PteFormat) -> None:
        self._format = format
        self._mappings: tuple[Mapping, ...] = ()
        self.extents: U64Array = NO_EXTENTS

    def keeper(self, mapping: Mapping) -> Keeper:
        """What a mapping's references are entered under, whoever asks."""
        return Keeper(self, mapping)

    def __len__(self) -> int:
        return len(self._mappings)

    def all(self) -> tuple[Mapping, ...]:
        """All mappings, by address."""
        return self._mappings

    def check_gap(self, gpa: int, length: int) -> None:
        """Refuse a range that is not free.

        Raises
        ------
        Overlap
            Some of it is mapped.
        """
        after = self._after(gpa)
        for mapping in self._mappings[max(after - 1, 0) : after + 1]:
            if mapping.gpa < gpa + length and gpa < mapping.gpa + mapping.length:
                raise Overlap(f"{gpa:#x} + {length:#x} overlaps the mapping {mapping.gpa:#x} + {mapping.length:#x}")

    def around(self, gpa: int, length: int) -> Mapping:
        """The mapping that a range lies in, whole.

        Raises
        ------
        NoSuchMapping
            There is none.
        """
        mappings = self._mappings  # one look: there may be no lock
        at = bisect_right(mappings, gpa, key=_GPA) - 1
        if at >= 0 and gpa + length <= mappings[at].gpa + mappings[at].length:
            return mappings[at]
        raise NoSuchMapping(f"{gpa:#x} + {length:#x} is not inside one mapping")

    def covered_from(self, gpa: int) -> int:
        """First address, from ``gpa`` on, that no mapping covers."""
        at = max(self._after(gpa) - 1, 0)
        for mapping in self._mappings[at:]:
            if mapping.gpa <= gpa < mapping.gpa + mapping.length:
                gpa = mapping.gpa + mapping.length
            elif mapping.gpa > gpa:
                break
        return gpa

    def exact(self, gpa: int, length: int) -> Mapping:
        """The mapping that is this range.

        Raises
        ------
        NoSuchMapping
            There is none.
        """
        mappings = self._mappings  # one look: there may be no lock
        at = bisect_right(mappings, gpa, key=_GPA) - 1
        if at >= 0 and (mappings[at].gpa, mappings[at].length) == (gpa, length):
            return mappings[at]
        raise NoSuchMapping(f"{gpa:#x} + {length:#x} is not exactly one mapping")

    def insert(self, mapping: Mapping) -> None:
        """Add a mapping where there is a gap."""
        self.adopt(self.with_one(mapping))

    def with_one(self, mapping: Mapping) -> Contents:
        """What there would be with one mapping more, where there is a gap."""
        rows = self._rows(mapping)
        at = int(np.searchsorted(self.extents[:, 0], rows[0, 0]))
        extents = np.concatenate((self.extents[:at], rows, self.extents[at:]))
        place = self._after(mapping.gpa)
        return (*self._mappings[:place], mapping, *self._mappings[place:]), extents

    def remove(self, mapping: Mapping) -> None:
        """Take a mapping out."""
        first = mapping.gpa >> PAGE_SHIFT
        end = first + (mapping.length >> PAGE_SHIFT)
        outside = (self.extents[:, 0] < np.uint64(first)) | (self.extents[:, 0] >= np.uint64(end))
        self.adopt((tuple(one for one in self._mappings if one is not mapping), self.extents[outside]))

    def adopt(self, contents: Contents) -> None:
        """Change all at once: an interrupt comes before or after."""
        self._mappings, self.extents = contents

    def _after(self, gpa: int) -> int:
        """Place behind the last mapping that begins at an address or before it."""
        return bisect_right(self._mappings, gpa, key=_GPA)

    def _rows(self, mapping: Mapping) -> U64Array:
        runs = mapping.obj.runs(mapping.offset, mapping.length)
        ends = np.uint64(mapping.gpa >> PAGE_SHIFT) + np.cumsum(runs[:, 1], dtype=np.uint64)
        bits = np.uint64(self._format.leaf_bits(mapping.prot, mapping.obj.attr))
        rows = np.empty((len(runs), 4), np.uint64)
        rows[:, 0] = ends - runs[:, 1]
        rows[:, 1] = ends
        rows[:, 2] = runs[:, 0] << np.uint64(PAGE_SHIFT) | bits
        rows[:, 3] = np.uint64(mapping.prot)
        return rows
