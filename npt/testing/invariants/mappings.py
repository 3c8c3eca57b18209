"""What always holds of mappings, and of the objects that they show."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from npt._types import Prot
from npt.formats.base import ADDRESS
from npt.memory.objects import RAM_FRAMES_END, RamObject
from npt.testing.inside.clients import is_held, kept_by
from npt.testing.inside.memory import references, runs_of
from npt.testing.inside.space import Inside
from npt.testing.invariants.listing import invariant
from npt.units import PAGE_MASK, PAGE_SHIFT

__all__: list[str] = []


@invariant("mappings are disjoint", "Mappings are in the order of their addresses and do not overlap.", always=True)
def _disjoint(inside: Inside) -> Iterator[str]:
    for before, after in pairwise(inside.mappings):
        if before.gpa + before.length > after.gpa:
            yield f"{before.gpa:#x} + {before.length:#x} comes before {after.gpa:#x}"


@invariant("mappings fit the space", "A mapping is whole pages, at least one, and inside the space.", always=True)
def _fit_the_space(inside: Inside) -> Iterator[str]:
    for mapping in inside.mappings:
        whole = not (mapping.gpa | mapping.length | mapping.offset) & PAGE_MASK
        if not whole or mapping.length <= 0 or not 0 <= mapping.gpa <= inside.size - mapping.length:
            yield f"{mapping.gpa:#x} + {mapping.length:#x}, object from {mapping.offset:#x}, in a space of {inside.size:#x}"


@invariant("mappings fit their objects", "A mapping shows bytes that its object has, and can be read.", always=True)
def _fit_their_objects(inside: Inside) -> Iterator[str]:
    for mapping in inside.mappings:
        length = sum(run.n for run in runs_of(mapping.obj)) << PAGE_SHIFT
        if not 0 <= mapping.offset <= length - mapping.length:
            yield f"{mapping.gpa:#x} shows {mapping.offset:#x} + {mapping.length:#x} of an object of {length:#x} bytes"
        if not mapping.prot & Prot.READ:
            yield f"{mapping.gpa:#x} is mapped with protection {int(mapping.prot):#x}"


@invariant(
    "extents are those of mappings",
    "What look-ups install from an extent is what its mapping says: pages, frames, protection, memory type.",
    always=True,
)
def _extents_are_right(inside: Inside) -> Iterator[str]:
    for first, end, entry, prot in inside.extents:
        number = int(inside.mapping_of(np.array([first]))[0])
        if number < 0 or not first < end <= inside.ranges[number].end:
            yield f"pages {first:#x} to {end:#x} are not inside one mapping"
            continue
        mapping, pages = inside.mappings[number], np.arange(first, end)
        pfn, bits = (entry & ADDRESS) >> PAGE_SHIFT, inside.format.leaf_bits(mapping.prot, mapping.obj._attr)
        frames = inside.pfns_of(number, pages)
        if entry & ~ADDRESS != bits or prot != mapping.prot or (frames - frames[0] != pages - first).any() or frames[0] != pfn:
            yield f"pages {first:#x} to {end:#x} would be {entry:#x} on, for protection {prot:#x}; of {mapping!r}"


@invariant("extents cover the mappings", "Extents are ordered, and together cover each mapping exactly.", always=False)
def _extents_cover(inside: Inside) -> Iterator[str]:
    joined: list[list[int]] = []
    starts = {run.first for run in inside.ranges}
    for first, end, _, _ in inside.extents:
        if joined and joined[-1][1] == first and first not in starts:
            joined[-1][1] = end
        else:
            joined.append([first, end])
    if joined != [[run.first, run.end] for run in inside.ranges]:
        yield f"extents cover pages {[(hex(first), hex(end)) for first, end in joined]}"


@invariant("untold unmaps are of mappings", "An unmap that no client was told of yet is of a mapping still there.", always=True)
def _untold(inside: Inside) -> Iterator[str]:
    for gpa in sorted(inside.core.untold - {mapping.gpa for mapping in inside.mappings}):
        yield f"{gpa:#x} waits to be told of and is not mapped"


# -- objects ------------------------------------------------------------------------------------------------------------


@invariant("mapped objects are alive", "A mapping keeps its object by one reference.", always=True)
def _alive(inside: Inside) -> Iterator[str]:
    for mapping in inside.mappings:
        n = references(mapping.obj).get(inside.keeper_of(mapping), 0)
        if n != 1:
            yield f"the mapping at {mapping.gpa:#x} has {n:#x} references to its object, of {mapping.obj.refs:#x}"


@invariant("unmapped holds keep their object", "A hold whose page was unmapped has a reference to its object.", always=True)
def _kept(inside: Inside) -> Iterator[str]:
    for gate in inside.gates:
        for kept in kept_by(gate):
            there = references(kept.obj).get(kept.keeper, 0)
            if there != kept.n:
                yield f"{gate}: {kept.hold!r} has {there:#x} references to its object, not {kept.n:#x}"


@invariant("no reference is forgotten", "Whom an object is kept for as a hold or a mapping is one, and says so.", always=False)
def _not_forgotten(inside: Inside) -> Iterator[str]:
    for obj in inside.objects:
        for keeper in references(obj):
            if not is_held(keeper, obj) or not inside.is_mapped(keeper, obj):
                yield f"{obj!r} is kept for {keeper!r}"


@invariant(
    "objects have frames of their own", "No two RAM objects share a frame; RAM and MMIO end below the tables.", always=True
)
def _frames_of_their_own(inside: Inside) -> Iterator[str]:
    runs = sorted(run for obj in inside.ram for run in runs_of(obj))
    for before, after in pairwise(runs):
        if before.end > after.first:
            yield f"pfns {before.first:#x} + {before.n:#x} and {after.first:#x} + {after.n:#x} overlap"
    for run in (run for obj in inside.objects for run in runs_of(obj)):
        if run.n <= 0 or run.first < 0 or run.end > RAM_FRAMES_END:
            yield f"pfns {run.first:#x} + {run.n:#x} are none of RAM or MMIO"


@invariant("RAM is of the space's reservoir", "Mapped memory is of one reservoir, MMIO lies outside it.", always=False)
def _of_the_reservoir(inside: Inside) -> Iterator[str]:
    memory = inside.memory
    for mapping in inside.mappings:
        if isinstance(mapping.obj, RamObject):
            if memory is None or mapping.obj._reservoir is not memory.reservoir:
                yield f"the RAM at {mapping.gpa:#x} is of another reservoir"
        elif memory is not None:
            for run in runs_of(mapping.obj):
                if run.first < memory.base_pfn + memory.limit and run.end > memory.base_pfn:
                    yield f"the MMIO at {mapping.gpa:#x}, pfns {run.first:#x} + {run.n:#x}, lies in the reservoir"
