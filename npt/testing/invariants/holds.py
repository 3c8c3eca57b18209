"""What always holds of held pages."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from npt.formats.base import ADDRESS
from npt.space.page import VmPage, VmPages
from npt.testing.inside.clients import kept_by
from npt.testing.inside.memory import references, runs_of
from npt.testing.inside.space import Inside
from npt.testing.invariants.listing import invariant
from npt.units import PAGE_SHIFT

__all__: list[str] = []


def _name(inside: Inside, at: np.signedinteger[Any]) -> str:
    return f"client {inside.holds.owners[at]:#x}, gpa {inside.holds.pages[at] << PAGE_SHIFT:#x}"


@invariant("holds point at their leaves", "The handle of a hold of a mapped page is that page's leaf, present.", always=True)
def _point_at_leaves(inside: Inside) -> Iterator[str]:
    holds, flat = inside.holds, inside.tables.levels[0].reshape(-1)
    right = inside.tables.leaf_of(holds.pages)
    mapped = holds.unmapped == 0
    for at in np.flatnonzero(mapped & (right != holds.leaves)):
        yield f"{_name(inside, at)}: {holds.leaves[at]:#x}, not {right[at]:#x}"
    for at in np.flatnonzero(mapped & (right == holds.leaves)):
        if not flat[holds.leaves[at]]:
            yield f"{_name(inside, at)}: the leaf is zero"


@invariant("holds know their frames", "The frame of a hold is that of its leaf, or of the object that it keeps.", always=True)
def _know_frames(inside: Inside) -> Iterator[str]:
    holds, flat = inside.holds, inside.tables.levels[0].reshape(-1)
    for at in np.flatnonzero((holds.unmapped == 0) & (holds.leaves < flat.size)):
        pfn = (int(flat[holds.leaves[at]]) & ADDRESS) >> PAGE_SHIFT
        if pfn != holds.pfns[at]:
            yield f"{_name(inside, at)}: {holds.pfns[at]:#x}, not {pfn:#x}"
    for gate in inside.gates:
        runs = [run for kept in kept_by(gate) for run in runs_of(kept.obj)]
        for at in np.flatnonzero((holds.owners == gate.number) & (holds.unmapped == 1)):
            if not any(run.first <= holds.pfns[at] < run.end for run in runs):
                yield f"{_name(inside, at)}: {holds.pfns[at]:#x} of no object that it keeps"


@invariant("unmapped holds are counted", "A client keeps objects by as many references as it has unmapped pages.", always=False)
def _unmapped_are_counted(inside: Inside) -> Iterator[str]:
    for gate in inside.gates:
        there = sum(references(kept.obj).get(kept.keeper, 0) for kept in kept_by(gate))
        unmapped = int(inside.holds.unmapped[inside.holds.owners == gate.number].sum())
        if there != unmapped:
            yield f"{gate} has {unmapped:#x} unmapped pages and {there:#x} references"


@invariant("holds are allowed", "What a mapped page is held for, its mapping allows.", always=True)
def _allowed(inside: Inside) -> Iterator[str]:
    holds, numbers = inside.holds, inside.mapping_of(inside.holds.pages)
    prots = np.array([*(int(mapping.prot) for mapping in inside.mappings), 0])[numbers]
    for at in np.flatnonzero((holds.unmapped == 0) & ((holds.prots & ~prots) != 0)):
        yield f"{_name(inside, at)}: held for {holds.prots[at]:#x}, mapped for {prots[at]:#x}"


@invariant("holds are their client's", "A page that a client holds says that it is that client's.", always=False)
def _their_clients(inside: Inside) -> Iterator[str]:
    for gate in inside.gates:
        holds: list[VmPage | VmPages] = [*gate.pages, *gate.batches]
        for hold in holds:
            if hold._client is not gate.client:
                yield f"{gate} holds {hold!r}, which is another's or released"


@invariant("chains agree", "Pages of a chain know each other both ways, are one client's, and come to an end.", always=False)
def _chains(inside: Inside) -> Iterator[str]:
    for gate in inside.gates:
        pages = gate.pages
        ours = set(map(id, pages))
        for page in pages:
            for there, back in ((page._next, "_before"), (page._before, "_next")):
                if there is not None and (getattr(there, back) is not page or id(there) not in ours):
                    yield f"{gate}: {page!r} is chained to {there!r}, and not the other way, or it is not held"
        firsts = [page for page in pages if page._before is None]
        if sum(_length(page, len(pages)) for page in firsts) != len(pages):
            yield f"{gate} holds {len(pages):#x} pages; chains from {len(firsts):#x} first ones do not reach each once"


def _length(page: VmPage, most: int) -> int:
    n, now = 0, page
    while n <= most:
        n += 1
        if now._next is None:
            break
        now = now._next
    return n
