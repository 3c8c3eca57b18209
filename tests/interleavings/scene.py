"""A small guest that scenarios are played in, and a host's copy of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from npt import EPT, Prot, PteFormat, RamObject, Reservoir, Vcpu, VcpuExit, VmClient, VmSpace
from npt._types import U64Array
from npt.testing import Play, check
from npt.units import ENTRIES, PAGE_SHIFT

__all__ = ["FAR", "HERE", "NEXT", "PAGE", "SIZE", "Case", "Copy", "Scene", "write"]

PAGE = 0x1000
SIZE = 1 << 23
HERE, NEXT = 0x20_0000, 0x20_1000  # two pages under one leaf table
FAR = 0x40_0000  # a page under another

Work = Callable[[], object]


@dataclass
class Case:
    """How a scenario is to be built.

    Attributes
    ----------
    form : PteFormat
        Format of the entries.
    tlb : int
        Entries of the vCPUs' simulated TLBs.
    each_step : bool
        Check what always holds after each step.
    seen : set of str
        Outcomes that there were, over all schedules.
    """

    form: PteFormat = EPT
    tlb: int = 0
    each_step: bool = False
    seen: set[str] = field(default_factory=set)


class Scene:
    """A space of 8 MiB, and a reservoir of a few pages."""

    def __init__(self, case: Case, n_pages: int = 4, *, track_dirty: bool = True, kick_timeout: float = 5.0) -> None:
        self.case = case
        self.reservoir = Reservoir(n_pages * PAGE)
        self.space = VmSpace(
            SIZE, format=case.form, reservoir=self.reservoir, track_dirty=track_dirty, kick_timeout=kick_timeout
        )
        self._names: dict[str, U64Array] = {"space": self.space._core.exclusion.line, "counts": self.space.table.words}

    def ram(self, n_pages: int = 1, *, word: int = 0) -> RamObject:
        """Memory whose pages begin with a word."""
        obj = self.reservoir.allocate(n_pages * PAGE)
        for page in range(n_pages):
            self._page(obj, page)[0] = word
        return obj

    def map(self, obj: RamObject, gpa: int, *, resident: bool = False) -> None:
        """Map a whole object."""
        self.space.map(obj, gpa, obj.length, Prot.RW)
        if resident:
            self.space.populate(gpa, obj.length)

    def never_still(self) -> None:
        """Harvests keep nobody out, as if another vCPU were inside all the time."""
        vars(self.space._core.exclusion)["_lock_gates"] = lambda: False

    def client(self) -> VmClient:
        """A client whose words have a name in traces."""
        client = self.space.client()
        self._names[f"client {len(self._names) - 2}"] = client.gate.line
        return client

    def vcpu(self) -> Vcpu:
        """A vCPU with a client of its own."""
        return Vcpu(self.client(), tlb=self.case.tlb)

    def _page(self, obj: RamObject, page: int = 0) -> U64Array:
        frame = obj.spans[0].pfn + page - self.reservoir.base_pfn  # objects here are one span
        memory: U64Array = self.reservoir.memory.view(np.uint64)
        return memory[frame * ENTRIES : (frame + 1) * ENTRIES]

    def word(self, obj: RamObject, page: int = 0) -> int:
        """First word of a page of an object, now."""
        return int(self._page(obj, page)[0])

    def is_zero(self, obj: RamObject) -> bool:
        """Whether nobody has written to an object."""
        return not any(self._page(obj, page).any() for page in range(obj.length >> PAGE_SHIFT))

    def play(
        self,
        threads: Sequence[Work],
        finish: Work | None = None,
        *,
        may_time_out: bool = False,
        names: Mapping[str, Any] | None = None,
    ) -> Play:
        """The scenario: at its end, and after each step if the case says so, all that always holds is checked."""

        def end() -> None:
            check(self.space)
            if finish is not None:
                finish()

        each_step = (lambda: check(self.space, at_rest=False)) if self.case.each_step else None
        return Play(threads, end, each_step, may_time_out, {**self._names, **(names or {})})


class Copy:
    """A host's copy of a mapping: of what a harvest reports it copies pages once that has returned."""

    def __init__(self, scene: Scene, obj: RamObject, gpa: int) -> None:
        self._scene, self._obj, self._gpa = scene, obj, gpa
        self.words = [0] * (obj.length >> PAGE_SHIFT)
        self.take(range(len(self.words)))

    def take(self, pages: Sequence[int]) -> None:
        """Copy some pages."""
        for page in pages:
            self.words[page] = self._scene.word(self._obj, page)

    def harvest(self) -> list[int]:
        """Harvest the mapping, copy what is reported, and return which pages that is."""
        return self.of(self._scene.space.track_dirty(self._gpa, self._obj.length))

    def of(self, bitmap: Any) -> list[int]:
        """Copy what a bitmap reports, and return which pages that is."""
        pages = [page for page in range(len(self.words)) if bitmap[page // 8] >> page % 8 & 1]
        self.take(pages)
        return pages

    def check(self) -> list[int]:
        """After a last harvest the copy is what memory is; return what that reported."""
        pages = self.harvest()
        now = [self._scene.word(self._obj, page) for page in range(len(self.words))]
        assert self.words == now, f"copied {self.words}, there is {now}; the last harvest reported {pages}"
        return pages


def write(vcpu: Vcpu, gpa: int, value: int) -> VcpuExit:
    """Have a vCPU store a word."""
    return vcpu.run(np.array([gpa], np.uint64), write=True, values=np.array([value], np.uint64))
