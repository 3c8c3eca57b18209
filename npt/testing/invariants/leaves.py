"""What always holds of leaves."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from npt._types import MemAttr, Prot
from npt.formats.base import ADDRESS
from npt.testing.inside.space import Inside
from npt.testing.invariants.listing import invariant
from npt.units import ENTRIES, PAGE_SHIFT

__all__: list[str] = []


@invariant("leaves are inside mappings", "A leaf that is not zero lies in a mapping.", always=True)
def _inside_mappings(inside: Inside) -> Iterator[str]:
    pages, _, entries = inside.tables.leaves
    for at in np.flatnonzero(inside.leaf_mappings < 0):
        yield f"gpa {pages[at] << PAGE_SHIFT:#x} is {int(entries[at]):#x}; nothing is mapped there"


@invariant("leaves show their frames", "A leaf has the frame that its mapping's object has there.", always=True)
def _show_frames(inside: Inside) -> Iterator[str]:
    pages, _, entries = inside.tables.leaves
    pfns = ((entries & np.uint64(ADDRESS)) >> np.uint64(PAGE_SHIFT)).astype(np.int64)
    numbers = inside.leaf_mappings
    for number in range(len(inside.mappings)):
        mine = np.flatnonzero(numbers == number)
        right = inside.pfns_of(number, pages[mine])
        for at in np.flatnonzero(right != pfns[mine]):
            yield f"gpa {pages[mine[at]] << PAGE_SHIFT:#x} shows pfn {pfns[mine[at]]:#x}, not {right[at]:#x}"


def _protection_bits(inside: Inside) -> int:
    bits = inside.format.leaf_bits
    return bits(Prot.READ, MemAttr.WB) ^ bits(Prot.RW, MemAttr.WB) | bits(Prot.READ, MemAttr.WB) ^ bits(Prot.RX, MemAttr.WB)


def _type_bits(inside: Inside) -> int:
    return inside.format.leaf_bits(Prot.READ, MemAttr.WB) ^ inside.format.leaf_bits(Prot.READ, MemAttr.UC)


def _marks(inside: Inside) -> int:
    return int(inside.format.masks.accessed | inside.format.masks.dirty)


def _differing(inside: Inside, bits: int) -> Iterator[str]:
    """Leaves that differ in any of these bits from a fresh one of their mapping."""
    pages, _, entries = inside.tables.leaves
    numbers = inside.leaf_mappings
    fresh = [inside.format.leaf_bits(mapping.prot, mapping.obj._attr) & bits for mapping in inside.mappings]
    right = np.array([*fresh, 0], np.uint64)[numbers]
    wrong = ((entries & np.uint64(bits)) != right) & (numbers >= 0)
    for at in np.flatnonzero(wrong):
        yield f"gpa {pages[at] << PAGE_SHIFT:#x} is {int(entries[at]):#x}; of {bits:#x} it should have {int(right[at]):#x}"


@invariant("leaves allow what their mapping allows", "A leaf has the protection of its mapping.", always=True)
def _protection(inside: Inside) -> Iterator[str]:
    yield from _differing(inside, _protection_bits(inside))


@invariant("leaves have their memory type", "A leaf has the memory type of its mapping's object.", always=True)
def _memory_type(inside: Inside) -> Iterator[str]:
    yield from _differing(inside, _type_bits(inside))


@invariant(
    "leaves have no other bits",
    "Beside address, protection, memory type, A and D a leaf has exactly the bits of a fresh one.",
    always=True,
)
def _no_other_bits(inside: Inside) -> Iterator[str]:
    yield from _differing(inside, ~(ADDRESS | _marks(inside) | _protection_bits(inside) | _type_bits(inside)) % 2**64)


@invariant("dirty leaves are writable", "D is set only where the leaf may be written.", always=True)
def _dirty_is_writable(inside: Inside) -> Iterator[str]:
    pages, _, entries = inside.tables.leaves
    masks = inside.format.masks
    bad: NDArray[np.bool_] = ((entries & masks.dirty) != 0) & ((entries & masks.write) != masks.write)
    for at in np.flatnonzero(bad):
        yield f"gpa {pages[at] << PAGE_SHIFT:#x} is {int(entries[at]):#x}: dirty and not writable"


@invariant("dirty leaves are looked for", "A leaf table with a dirty leaf is not said to be clean.", always=False)
def _dirty_is_touched(inside: Inside) -> Iterator[str]:
    if not inside.tables.touched.size:
        return
    pages, places, entries = inside.tables.leaves
    clean: NDArray[np.bool_] = inside.tables.touched[places // ENTRIES] == 0
    for at in np.flatnonzero(clean & ((entries & inside.format.masks.dirty) != 0)):
        yield f"gpa {pages[at] << PAGE_SHIFT:#x} is dirty; harvests pass its table {places[at] // ENTRIES} by"


@invariant("the resident count is exact", "``resident_count`` is how many leaves are not zero.", always=False)
def _resident_count(inside: Inside) -> Iterator[str]:
    there = inside.tables.leaves[0].size
    if inside.tables.resident != there:
        yield f"{inside.tables.resident:#x} pages are said to be resident, {there:#x} are"
