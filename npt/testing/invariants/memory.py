"""What always holds of a reservoir's frames, and of who can see them."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from npt.formats.base import ADDRESS
from npt.memory.objects import RamObject
from npt.testing.inside.clients import is_locked
from npt.testing.inside.memory import MemoryInside, Run, runs_of
from npt.testing.inside.space import Inside
from npt.testing.invariants.listing import invariant
from npt.units import PAGE_SHIFT

__all__: list[str] = []


def _memory(inside: Inside) -> Iterator[MemoryInside]:
    """The reservoir, if there is one."""
    if inside.memory is not None:
        yield inside.memory


@invariant("spans are in order", "Spans of unused frames are ordered, merged and disjoint, by size as by address.", always=True)
def _spans(inside: Inside) -> Iterator[str]:
    for memory in _memory(inside):
        for name, spans in memory.sets.items():
            runs = [Run(*span) for span in spans._by_address]
            for before, after in pairwise(runs):
                if before.end >= after.first:
                    yield f"{name}: {before.first:#x} + {before.n:#x} is not before {after.first:#x}, with a gap"
            yield from (f"{name}: a span of {run.n:#x} frames at {run.first:#x}" for run in runs if run.n <= 0)
            if spans._by_size != sorted((run.n, run.first) for run in runs):
                yield f"{name}: the spans by size are others than those by address"
            if spans.total != sum(run.n for run in runs):
                yield f"{name}: {spans.total:#x} frames are said to be there"


@invariant("unused frames are apart", "A frame is at most one of free, empty and quarantined, and there.", always=True)
def _apart(inside: Inside) -> Iterator[str]:
    for memory in _memory(inside):
        for (before, what), (after, other) in pairwise(memory.unused):
            if before.end > after.first:
                yield f"frame {after.first:#x} is {what} and {other}"
        for run, what in memory.unused:
            if run.first < 0 or run.end > memory.limit:
                yield f"frames {run.first:#x} + {run.n:#x} are {what}; there are {memory.limit:#x}"


@invariant(
    "frames add up",
    "Free, allocated and quarantined frames are the size; what living objects have is within what is in use.",
    always=True,
)
def _add_up(inside: Inside) -> Iterator[str]:
    for memory in _memory(inside):
        n_free, n_empty = sum(run.n for run in memory.free), sum(run.n for run in memory.empty)
        ordinary = sum(not parting.transient for parting in memory.quarantine.values())
        transient = len(memory.quarantine) - ordinary
        if memory.ledger.quarantined != ordinary:
            yield f"{memory.ledger.quarantined:#x} ordinary frames are said to be quarantined, {ordinary:#x} are"
        in_use = {False: memory.size - n_free - ordinary, True: memory.limit - memory.size - n_empty - transient}
        for kind, name in ((False, "ordinary"), (True, "transient")):
            mine = sum(run.n for obj in inside.ram for run in runs_of(obj) if obj._parting.transient is kind)
            if in_use[kind] < mine or not 0 <= memory.size <= memory.limit:
                yield (
                    f"{name} objects here have {mine:#x} frames; {in_use[kind]:#x} are in use, of size {memory.size:#x}, "
                    f"limit {memory.limit:#x}"
                )


@invariant("free frames are zero", "Every byte of a free or an empty frame is zero.", always=True)
def _zero(inside: Inside) -> Iterator[str]:
    for memory in _memory(inside):
        for run in (*memory.free, *memory.empty) if memory.words.size else ():
            for at in np.flatnonzero(memory.words[run.first : run.end].any(axis=1)):
                yield f"frame {run.first + at:#x} is free or empty, and not zero"


@invariant("objects have their frames", "A frame of a living object is not free, empty or quarantined.", always=True)
def _have_frames(inside: Inside) -> Iterator[str]:
    for memory in _memory(inside):
        for obj in inside.ram:
            for run in runs_of(obj):
                frames = np.arange(run.first, run.end) - memory.base_pfn
                for at, what in memory.find_unused(frames):
                    yield f"frame {frames[at]:#x} of {obj!r} is {what}"


@invariant("no leaf shows an unused frame", "No leaf of RAM shows a frame that is free, empty or quarantined.", always=True)
def _leaves(inside: Inside) -> Iterator[str]:
    pages, _, entries = inside.tables.leaves
    for memory in _memory(inside):
        frames = ((entries & np.uint64(ADDRESS)) >> np.uint64(PAGE_SHIFT)).astype(np.int64) - memory.base_pfn
        for at, what in memory.find_unused(frames):
            yield f"gpa {pages[at] << PAGE_SHIFT:#x} shows frame {frames[at]:#x}, which is {what}"


@invariant("no hold has an unused frame", "No held page, unmapped ones too, is free, empty or quarantined.", always=True)
def _holds(inside: Inside) -> Iterator[str]:
    for memory in _memory(inside):
        frames = inside.holds.pfns - memory.base_pfn
        for at, what in memory.find_unused(frames):
            yield f"client {inside.holds.owners[at]:#x} holds frame {frames[at]:#x}, which is {what}"


@invariant("no view shows an unused frame", "No living view is of a frame that is free or empty.", always=True)
def _views(inside: Inside) -> Iterator[str]:
    for memory in _memory(inside):
        frames = np.array(memory.watched, np.int64)
        for at, what in memory.find_unused(frames):
            if what != "quarantined":
                yield f"a view of frame {frames[at]:#x} is alive, which is {what}"
        for frame in frames[(frames < 0) | (frames >= memory.limit)]:
            yield f"a view of frame {frame:#x} is alive; there are {memory.limit:#x}"


@invariant(
    "quarantine has a reason",
    "A quarantined frame has a view, or had one until now, or is on its way back.",
    always=True,
)
def _quarantine(inside: Inside) -> Iterator[str]:
    for memory in _memory(inside):
        leaving = {id(parting) for parting in memory.leavers}
        for frame, parting in memory.quarantine.items():
            if frame not in memory.expected and id(parting) not in leaving:
                yield f"frame {frame:#x} is quarantined; nothing will ever free it"
            if parting.spans != ((frame, 1),) or not parting.quarantined or parting.done:
                yield f"frame {frame:#x} is quarantined by {parting}"


@invariant("nobody zeroes at rest", "No frame is claimed for zeroing, and the reservoir's lock is free.", always=False)
def _at_rest(inside: Inside) -> Iterator[str]:
    for memory in _memory(inside):
        if is_locked(memory.reservoir._lock):
            yield f"the reservoir's lock is taken: {memory.reservoir._lock!r}"
        for parting in (*memory.leavers, *memory.quarantine.values()):
            if parting.cleaner is not None:
                yield f"frames {[(hex(first), hex(n)) for first, n in parting.spans]} are claimed for zeroing"


@invariant("who leaves has left", "Memory on its way back is of no living object, and not back yet.", always=False)
def _leavers(inside: Inside) -> Iterator[str]:
    living = {id(obj._parting) for obj in inside.objects if isinstance(obj, RamObject) and obj.refs}
    for memory in _memory(inside):
        for parting in memory.leavers:
            if id(parting) in living:
                yield f"frames {[(hex(first), hex(n)) for first, n in parting.spans]} leave a living object"
            frames = np.concatenate([np.arange(first, first + n) for first, n in parting.spans])
            for at, what in memory.find_unused(frames):
                if not parting.done and what != "quarantined":
                    yield f"frame {frames[at]:#x} is on its way back, and {what} already"
