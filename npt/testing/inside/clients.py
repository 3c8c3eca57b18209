"""One look at the clients of a space, and at what they hold."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from npt.memory.objects import VmObject
from npt.space import gate as words
from npt.space.gate import Gate
from npt.space.page import VmPage, VmPages
from npt.testing.inside.tables import IntArray
from npt.units import PAGE_SHIFT

__all__ = ["GateInside", "HoldsInside", "Kept", "holds_of", "is_held", "is_locked", "kept_by"]


def is_locked(lock: Any) -> bool:
    """Whether anybody has a lock; asked without touching it."""
    if hasattr(lock, "locked"):
        return bool(lock.locked())
    return repr(lock).startswith("<locked")  # all that threading.RLock tells of others before Python 3.14


class GateInside:
    """A client's gate."""

    def __init__(self, gate: Gate, number: int) -> None:
        self.gate = gate
        self.number = number  # for people: the how-manieth
        self.client: Any = gate.client
        self.state = gate.state
        line = [int(word) for word in gate.line]
        self.kicked, self.on_cpu = line[words.KICK], line[words.ON_CPU]
        self.entered, self.generation = line[words.ENTERED], line[words.GENERATION]
        self.occupant, self.thread = gate.inside, gate.thread

    def __str__(self) -> str:
        return f"client {self.number:#x}"

    @property
    def pages(self) -> tuple[VmPage, ...]:
        """Pages held one by one."""
        return tuple(self.client._pages)

    @property
    def batches(self) -> tuple[VmPages, ...]:
        """Pages held many at once."""
        return tuple(self.client._batches)


class HoldsInside(NamedTuple):
    """All held pages, side by side."""

    owners: IntArray  # number of the client
    pages: IntArray
    pfns: IntArray
    leaves: IntArray  # as they were when the page was mapped
    prots: IntArray
    unmapped: IntArray  # 1 once the page was unmapped


def holds_of(gates: list[GateInside]) -> HoldsInside:
    """The pages that clients hold."""
    rows: list[IntArray] = [np.empty((0, 6), np.int64)]
    for gate in gates:
        singles = [
            (gate.number, page._gpa >> PAGE_SHIFT, page._pfn, page._leaf, int(page._prot), page._object is not None)
            for page in gate.pages
        ]
        rows.append(np.array(singles, np.int64).reshape(-1, 6))
        for batch in gate.batches:
            unmapped = np.zeros(batch._gpas.size, np.int64)
            for _, chosen in batch._forgotten.values():
                unmapped |= chosen
            columns = (batch._gpas >> np.uint64(PAGE_SHIFT), batch._pfns, batch.leaves)
            middle = [column.astype(np.int64) for column in columns]
            rows.append(np.stack([0 * unmapped + gate.number, *middle, 0 * unmapped + int(batch._prot), unmapped], axis=1))
    return HoldsInside(*np.concatenate(rows).T)


class Kept(NamedTuple):
    """What a hold whose pages were unmapped keeps of an object."""

    hold: VmPage | VmPages
    obj: VmObject
    keeper: object  # what its references are entered under
    n: int


def kept_by(gate: GateInside) -> Iterator[Kept]:
    """Objects that a client's holds keep."""
    for page in gate.pages:
        if page._object is not None:
            yield Kept(page, page._object, page, 1)
    for batch in gate.batches:
        for mapping, (obj, chosen) in batch._forgotten.items():
            yield Kept(batch, obj, (batch, mapping), int(np.count_nonzero(chosen)))


def is_held(keeper: object, obj: VmObject) -> bool:
    """Whether what an object's references are entered under is a hold that says so, or no hold at all."""
    if isinstance(keeper, tuple) and isinstance(keeper[0], VmPages):
        batch = keeper[0]
        kept = batch._client is not None and batch in batch._client._batches
        return kept and batch._forgotten.get(keeper[1], (None,))[0] is obj
    if isinstance(keeper, VmPage):
        return keeper._client is not None and keeper in keeper._client._pages and keeper._object is obj
    return True
