"""One look at a whole space.

Guarantees: takes no lock, waits for nothing, changes nothing, calls no kernel.
Relies on:  nothing moves during the look: no call is under way, or all threads are stopped.
"""

from functools import cached_property

import numpy as np

from npt.memory.objects import RamObject, VmObject
from npt.space.gate import EPOCH_NOW, GATES, GENERATION_NOW
from npt.space.mappings import Keeper, Mapping
from npt.space.vmspace import VmSpace
from npt.testing.inside.clients import GateInside, HoldsInside, holds_of, kept_by
from npt.testing.inside.memory import MemoryInside, Run, frames_at
from npt.testing.inside.tables import IntArray, TablesInside
from npt.units import PAGE_SHIFT

__all__ = ["Inside"]


class Inside:
    """A space, its tables, clients and holds, and the reservoir that it draws from."""

    def __init__(self, space: VmSpace) -> None:
        core = space._core
        self.core = core
        self.format = core.format
        self.size = core.size
        self.destroyed, self.dying = core.destroyed, core.exclusion.dying
        self.lock = core.exclusion.lock
        line = core.exclusion.line
        self.generation, self.epoch = int(line[GENERATION_NOW]), int(line[EPOCH_NOW])
        self.mappings: tuple[Mapping, ...] = tuple(core.mappings._mappings)

    @cached_property
    def extents(self) -> list[tuple[int, int, int, int]]:
        """What look-ups install from: first page, page after the last, entry of the first, protection."""
        return [(int(row[0]), int(row[1]), int(row[2]), int(row[3])) for row in self.core.mappings.extents]

    @cached_property
    def tables(self) -> TablesInside:
        """Its page table."""
        return TablesInside(self.core.table)

    @cached_property
    def gates(self) -> list[GateInside]:
        """Of its clients, in the order in which they were made."""
        return [GateInside(gate, number) for number, gate in enumerate(tuple(self.core.exclusion.gates))]

    @cached_property
    def strays(self) -> list[GateInside]:
        """Of clients of this space that it does not know, as of those that were destroyed."""
        known = {id(one.gate) for one in self.gates}
        others = [gate for gate in tuple(GATES) if gate.exclusion is self.core.exclusion and id(gate) not in known]
        return [GateInside(gate, number) for number, gate in enumerate(others, len(self.gates))]

    @cached_property
    def holds(self) -> HoldsInside:
        """What its clients hold."""
        return holds_of(self.gates)

    @cached_property
    def memory(self) -> MemoryInside | None:
        """Its reservoir; None where there is none, or it is closed."""
        reservoir = self.core.reservoir
        return None if reservoir is None or reservoir._ledger is None else MemoryInside(reservoir)

    # -- mappings ---------------------------------------------------------------------------------------------------

    @cached_property
    def ranges(self) -> list[Run]:
        """Pages of the mappings, in their order."""
        return [Run(mapping.gpa >> PAGE_SHIFT, mapping.length >> PAGE_SHIFT) for mapping in self.mappings]

    def mapping_of(self, pages: IntArray) -> IntArray:
        """Which mapping covers each page; -1 for none."""
        if not self.ranges:
            return np.full(pages.shape, -1, np.int64)
        order = np.array(sorted(range(len(self.ranges)), key=self.ranges.__getitem__))
        firsts, ends = (np.array([getattr(self.ranges[n], side) for n in order]) for side in ("first", "end"))
        at = np.searchsorted(firsts, pages, side="right") - 1
        return np.where((at >= 0) & (pages < ends[at]), order[at], -1)

    @cached_property
    def leaf_mappings(self) -> IntArray:
        """Which mapping covers each leaf that is not zero; -1 for none."""
        return self.mapping_of(self.tables.leaves[0])

    def keeper_of(self, mapping: Mapping) -> object:
        """What a mapping's reference to its object is entered under."""
        return self.core.mappings.keeper(mapping)

    def is_mapped(self, keeper: object, obj: VmObject) -> bool:
        """Whether what an object's references are entered under is a mapping of this space, or none of its mappings at all."""
        ours = isinstance(keeper, Keeper) and keeper.owner is self.core.mappings
        return not ours or any(self.keeper_of(one) == keeper and one.obj is obj for one in self.mappings)

    def pfns_of(self, number: int, pages: IntArray) -> IntArray:
        """Frames that a mapping shows at pages of its own; -1 where its object has none."""
        mapping = self.mappings[number]
        return frames_at(mapping.obj, pages - self.ranges[number].first + (mapping.offset >> PAGE_SHIFT))

    # -- objects ----------------------------------------------------------------------------------------------------

    @cached_property
    def objects(self) -> list[VmObject]:
        """All that are mapped, or kept by holds of unmapped pages; each once."""
        kept = [kept.obj for gate in self.gates for kept in kept_by(gate)]
        return list({id(obj): obj for obj in (*(mapping.obj for mapping in self.mappings), *kept)}.values())

    @property
    def ram(self) -> list[RamObject]:
        """Those of memory."""
        return [obj for obj in self.objects if isinstance(obj, RamObject)]
