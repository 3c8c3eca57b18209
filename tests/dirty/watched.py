"""A guest that all mechanisms watch, with their plain twins beside them: whatever is done, is done to both."""

from collections.abc import Sequence
from types import TracebackType
from typing import Self

import numpy as np

from npt import Prot, PteFormat, Reservoir, Vcpu, VcpuExit, VmSpace
from npt.dirty.mechanisms import DirtyBits, DirtyRing, Mechanism, PageModificationLog, Tracking, WriteProtect
from tests.dirty.observers import EVENTS, PlainLog, PlainMechanism, PlainProtect, PlainRing, PlainScan
from tests.space.scene import PAGE, SIZE, TIMEOUT, bits

__all__ = ["Watched"]

Rings = Sequence[tuple[int, int]]


class Watched:
    """A tracked range of a guest without bytes.

    Parameters
    ----------
    form
        EPT or nPT.
    n_pages, first
        The range: pages, and the number of the first in the guest.
    mapped
        Stretches of the guest that are mapped, resident: first page, how many. None is the range.
    n_vcpus, tlb
        vCPUs, and the simulated TLB of each.
    rings, log
        Size and reserve of each ring; entries of a second log.
    """

    def __init__(
        self, form: PteFormat, n_pages: int, *, first: int = 0, mapped: Sequence[tuple[int, int]] | None = None,
        n_vcpus: int = 1, tlb: int = 0, rings: Rings = ((16, 0), (10, 3)), log: int = 7,
    ) -> None:  # fmt: skip
        self.n_pages, self.first = n_pages, first
        stretches = [(first, n_pages)] if mapped is None else mapped
        self.reservoir = Reservoir(sum(n for _, n in stretches) * PAGE, backed=False)
        self.space = VmSpace(SIZE, format=form, reservoir=self.reservoir, track_dirty=True, kick_timeout=TIMEOUT)
        for start, n in stretches:
            with self.reservoir.allocate(n * PAGE) as ram:
                self.space.map(ram, start * PAGE, n * PAGE, Prot.RWX)
            self.space.populate(start * PAGE, n * PAGE)
        self.mapped = {start + k for start, n in stretches for k in range(n)}
        self.vcpus = [Vcpu(self.space.client(), cpu=cpu, tlb=tlb) for cpu in range(n_vcpus)]
        mechanisms: list[Mechanism] = [
            WriteProtect(),
            PageModificationLog(),
            PageModificationLog(entries=log),
            DirtyBits(),
            *(DirtyRing(size, reserved) for size, reserved in rings),
        ]
        self.tracking = Tracking(self.space, first * PAGE, n_pages * PAGE, mechanisms, self.vcpus)
        regions = {page // 512 for page in self.mapped}
        tabled = {page for page in range(n_pages) if (first + page) // 512 in regions}
        self.twins: list[PlainMechanism] = [
            PlainProtect(n_pages, n_vcpus),
            PlainLog(n_pages, n_vcpus),
            PlainLog(n_pages, n_vcpus, log),
            PlainScan(n_pages, n_vcpus, tabled),
            *(PlainRing(n_pages, n_vcpus, size, reserved) for size, reserved in rings),
        ]
        self.round: list[int | None] = []  # what each access of this round wrote
        self.copies: dict[int, int] = {}  # when each page was copied in it
        self.account = {"copied": 0, "false_dirty": 0, "missed": 0}

    def run(self, number: int, pages: Sequence[int], write: bool | Sequence[bool] = True) -> VcpuExit:
        """Accesses to pages of the guest, somewhere in each."""
        gpas = np.array([page * PAGE + 8 * (page % 512) for page in pages], np.uint64)
        writes = [write] * len(pages) if isinstance(write, bool) else list(write)
        exit = self.tracking.run(number, gpas, write=write if isinstance(write, bool) else np.array(writes, bool))
        done: list[int | None] = []
        for page, wrote in zip(pages, writes, strict=True):
            if page not in self.mapped:
                break
            inside = wrote and self.first <= page < self.first + self.n_pages
            done.append(page - self.first if inside else None)
        assert exit.completed == len(done)
        for twin in self.twins:
            twin.run(number, [page for page in done if page is not None])
        self.round += done
        return exit

    def collect(self) -> set[int]:
        """What is dirty, for all alike."""
        found = set(bits(self.tracking.collect()))
        assert [twin.collect() for twin in self.twins] == [found] * len(self.twins)
        return self._settle(found)

    def harvest(self) -> set[int]:
        """The same, and nothing is dirty any more."""
        found = set(bits(self.tracking.harvest()))
        assert [twin.harvest() for twin in self.twins] == [found] * len(self.twins)
        return self._settle(found)

    def clear(self, first: int = 0, n_pages: int | None = None) -> None:
        """A part is armed again."""
        self.tracking.clear(first, n_pages)
        for twin in self.twins:
            twin.clear(first, self.n_pages - first if n_pages is None else n_pages)

    def copy(self, pages: Sequence[int], at: int | None = None) -> None:
        """Pages of the range are copied."""
        self.tracking.copy(pages, at)
        for page in pages:
            self.copies[page] = max(self.copies.get(page, 0), len(self.round) if at is None else at)

    def _settle(self, found: set[int]) -> set[int]:
        last = {page: moment for moment, page in enumerate(self.round)}
        for page, at in self.copies.items():
            written = last.get(page, -1) >= at
            self.account["copied"] += 1
            self.account["false_dirty"] += page in found and not written
            self.account["missed"] += written and page not in found
        self.copies, self.round = {}, []
        return found

    def check(self) -> None:
        """Every count is that of the plain twin."""
        assert self.twins
        for mechanism, twin in zip(self.tracking.mechanisms, self.twins, strict=True):
            assert mechanism.events._asdict() == twin.events, mechanism.name
            assert mechanism.setup._asdict() == twin.setup, mechanism.name
        assert self.tracking.total._asdict() == self.account
        assert self.tracking.accesses == len(self.round)

    def counts(self, name: str) -> dict[str, int]:
        """Events of a mechanism that are not zero."""
        events = self.tracking.events[name]
        return {event: n for event, n in zip(EVENTS, events, strict=True) if n}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.space.close()
        if kind is None:
            self.reservoir.close()
