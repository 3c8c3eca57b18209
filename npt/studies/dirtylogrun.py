"""The guest of a dirty-log study, and what happens to it phase by phase.

Each phase is timed from before its first step until its last vCPU is done; what it needs is made before, and what it did is
checked after.
"""

from collections.abc import Generator, Iterator, Mapping
from queue import SimpleQueue
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from npt._types import ExitReason, Prot, U8Array, U64Array
from npt.errors import InvariantError
from npt.formats.base import PteFormat
from npt.memory.reservoir import Reservoir
from npt.space.vcpu import Vcpu
from npt.space.vmspace import VmSpace
from npt.studies.measuring import elapsed_ns
from npt.studies.randomness import PAGES, WRITES, below, chosen, words
from npt.studies.vcputhreads import VcpuThreads, pinned
from npt.units import PAGE_SHIFT

__all__ = ["ALL", "BACKINGS", "Setting", "run"]

BACKINGS: Mapping[str, bool] = MappingProxyType({"anonymous": True, "none": False})
ALL = 100  # percent
_VALUE = 0x0123456789ABCDEF  # what is stored there
_CHUNK = 1 << 18  # accesses between two looks at whether to go on


class Setting(NamedTuple):
    """What is asked for, checked."""

    format: PteFormat
    iterations: int
    offset: int
    manual_protect: bool
    vcpu_bytes: int
    vcpus: int
    overlap: bool
    backing: str
    slots: int
    write_percent: int
    random_access: bool
    seed: int
    run_while_disabling: bool
    pin: tuple[int, ...]
    fault_around: int

    @property
    def length(self) -> int:
        """Bytes of the guest's memory."""
        return self.vcpu_bytes * self.vcpus

    @property
    def n_pages(self) -> int:
        """Pages of the guest's memory."""
        return self.length >> PAGE_SHIFT

    @property
    def pages_a_vcpu(self) -> int:
        """Pages that each vCPU goes over, which are as many accesses."""
        return self.n_pages if self.overlap else self.vcpu_bytes >> PAGE_SHIFT

    def row(self) -> dict[str, Any]:
        """The same for a result table."""
        return {**self._asdict(), "format": self.format.name, "pin": ",".join(map(str, self.pin)) or None}


def run(setting: Setting, threads: int | None) -> Generator[dict[str, Any], None, None]:
    """All phases; when this ends, or is closed, everything is given back and no thread runs."""
    size, vcpus = setting.offset + setting.length, setting.vcpus
    with (
        pinned(setting.pin[vcpus] if len(setting.pin) > vcpus else None),
        Reservoir(setting.length, backed=BACKINGS[setting.backing]) as reservoir,
        reservoir.allocate(setting.length) as ram,
        VmSpace(size, format=setting.format, reservoir=reservoir, threads=threads) as space,
    ):
        step = setting.length // setting.slots
        slots = [(setting.offset + start, step) for start in range(0, setting.length, step)]
        for gpa, length in slots:
            space.map(ram, gpa, length, Prot.RW, offset=gpa - setting.offset)
        with VcpuThreads(space, vcpus, pin=setting.pin[:vcpus]) as crew:
            yield from _Experiment(setting, space, slots, crew).rows()


class _Accesses(NamedTuple):
    """What one vCPU does in an iteration, in order."""

    gpas: U64Array
    write: NDArray[np.bool_] | bool

    def parts(self, n: int) -> Iterator["_Accesses"]:
        """The same in pieces."""
        for start in range(0, self.gpas.size, n):
            part = slice(start, start + n)
            yield _Accesses(self.gpas[part], self.write if isinstance(self.write, bool) else self.write[part])


class _Experiment:
    """One guest and its vCPUs."""

    def __init__(self, setting: Setting, space: VmSpace, slots: list[tuple[int, int]], crew: VcpuThreads) -> None:
        self._setting, self._space, self._slots, self._crew = setting, space, slots, crew
        self._values = np.full(_CHUNK, _VALUE, np.uint64) if BACKINGS[setting.backing] else None
        self._in_order = [self._gpas(np.arange(setting.pages_a_vcpu, dtype=np.uint64), n) for n in range(self._n_regions)]
        self._dirty = np.zeros(setting.n_pages, np.bool_)  # since logging was enabled or cleared

    @property
    def _n_regions(self) -> int:
        return 1 if self._setting.overlap else self._setting.vcpus

    def rows(self) -> Iterator[dict[str, Any]]:
        """All phases, in order."""
        yield self._populate()
        yield self._enable()
        for iteration in range(1, self._setting.iterations + 1):
            yield self._write(iteration)
            bitmaps, row = self._get(iteration)
            yield row
            if self._setting.manual_protect:
                yield self._clear(iteration, bitmaps)
        yield self._disable()

    def _populate(self) -> dict[str, Any]:
        setting = self._setting

        def populate(vcpu: Vcpu) -> None:
            accesses = _Accesses(self._in_order[vcpu.cpu % self._n_regions], True)
            if setting.fault_around == 1:
                self._perform(vcpu, accesses)
                return
            for part in accesses.parts(min(setting.fault_around, _CHUNK)):
                vcpu.client.fault_many(part.gpas, Prot.WRITE)
                self._perform(vcpu, part)

        ns = elapsed_ns(lambda: self._crew.run(populate))
        resident = self._space.resident_count
        if resident != setting.n_pages:
            raise InvariantError(f"{resident:#x} pages are resident of {setting.n_pages:#x} that were written")
        return _row("populate", None, ns, resident, setting.pages_a_vcpu * setting.vcpus)

    def _enable(self) -> dict[str, Any]:
        ns = elapsed_ns(self._enable_logging)
        self._dirty.fill(self._setting.manual_protect)
        return _row("enable", None, ns, int(self._dirty.sum()))

    def _enable_logging(self) -> None:
        self._space.set_tracking(True)
        for slot in self._slots:
            if self._setting.manual_protect:
                self._space.set_dirty(*slot)
            else:
                self._space.track_dirty(*slot)

    def _write(self, iteration: int) -> dict[str, Any]:
        everybodys = [self._accesses(iteration, number) for number in range(self._setting.vcpus)]
        ns = elapsed_ns(lambda: self._crew.run(lambda vcpu: self._perform(vcpu, everybodys[vcpu.cpu])))
        written = np.zeros_like(self._dirty)
        for part in (part for accesses in everybodys for part in accesses.parts(_CHUNK)):
            gpas = part.gpas[part.write] if isinstance(part.write, np.ndarray) else part.gpas if part.write else part.gpas[:0]
            written[(gpas - np.uint64(self._setting.offset)) >> np.uint64(PAGE_SHIFT)] = True
        self._dirty |= written
        return _row("dirty", iteration, ns, int(written.sum()), sum(accesses.gpas.size for accesses in everybodys))

    def _get(self, iteration: int) -> tuple[list[U8Array], dict[str, Any]]:
        get = self._space.peek_dirty if self._setting.manual_protect else self._space.track_dirty
        bitmaps: list[U8Array] = []
        ns = elapsed_ns(lambda: bitmaps.extend(get(*slot) for slot in self._slots))
        n_pages = self._compare(bitmaps, f"iteration {iteration}: the log")
        if not self._setting.manual_protect:
            self._dirty.fill(False)
        return bitmaps, _row("get", iteration, ns, n_pages)

    def _clear(self, iteration: int, bitmaps: list[U8Array]) -> dict[str, Any]:
        cleared: list[U8Array] = []
        pairs = list(zip(self._slots, bitmaps, strict=True))
        ns = elapsed_ns(lambda: cleared.extend(self._space.reset_dirty(*slot, select=bitmap) for slot, bitmap in pairs))
        n_pages = self._compare(cleared, f"iteration {iteration}: what was cleared")
        self._dirty.fill(False)
        return _row("clear", iteration, ns, n_pages)

    def _disable(self) -> dict[str, Any]:
        if self._setting.run_while_disabling:
            everybodys = [self._accesses(self._setting.iterations + 1, number) for number in range(self._setting.vcpus)]
            begun: SimpleQueue[None] = SimpleQueue()
            self._crew.start(lambda vcpu: self._go_on(vcpu, everybodys[vcpu.cpu], begun))
            for _ in everybodys:
                begun.get()
        ns = elapsed_ns(lambda: self._space.set_tracking(False))
        self._crew.ending = True
        self._crew.wait()
        return _row("disable", None, ns, None)

    # -- how --------------------------------------------------------------------------------------------------------

    def _gpas(self, pages: U64Array, vcpu: int) -> U64Array:
        """Addresses of pages of a vCPU's part, in place."""
        pages <<= np.uint64(PAGE_SHIFT)
        pages += np.uint64(self._setting.offset + (0 if self._setting.overlap else vcpu * self._setting.vcpu_bytes))
        return pages

    def _accesses(self, iteration: int, vcpu: int) -> _Accesses:
        setting = self._setting
        n, number = setting.pages_a_vcpu, iteration * setting.vcpus + vcpu
        gpas = self._in_order[vcpu % self._n_regions]
        if setting.random_access:
            gpas = self._gpas(below(words(setting.seed, PAGES, number, n), n), vcpu)
        if setting.write_percent in (0, ALL):
            return _Accesses(gpas, setting.write_percent == ALL)
        return _Accesses(gpas, chosen(words(setting.seed, WRITES, number, n), setting.write_percent / ALL))

    def _perform(self, vcpu: Vcpu, accesses: _Accesses) -> None:
        """One vCPU's accesses, in its thread; fewer if all shall end."""
        for part in accesses.parts(_CHUNK):
            if self._crew.ending:
                return
            values = None if self._values is None else self._values[: part.gpas.size]
            exit = vcpu.run(part.gpas, write=part.write, values=values)
            if exit.reason is not ExitReason.DONE:
                raise InvariantError(f"an access to memory that is mapped ended with {exit!r}")

    def _go_on(self, vcpu: Vcpu, accesses: _Accesses, begun: "SimpleQueue[None]") -> None:
        begun.put(None)
        while not self._crew.ending:
            self._perform(vcpu, accesses)

    def _compare(self, bitmaps: list[U8Array], what: str) -> int:
        """How many pages bitmaps of the slots have; refuse them unless these are those that are dirty."""
        n = self._setting.n_pages // self._setting.slots
        for slot, bitmap in enumerate(bitmaps):
            truth = self._dirty[slot * n : (slot + 1) * n]
            if not np.array_equal(bitmap, np.packbits(truth, bitorder="little")):
                found = np.unpackbits(bitmap, count=n, bitorder="little").view(np.bool_)
                raise InvariantError(
                    f"{what} of slot {slot} lacks {int((truth & ~found).sum())} pages that are dirty, and has "
                    f"{int((found & ~truth).sum())} that are not; the first is page {int((found ^ truth).argmax()):#x}"
                )
        return int(self._dirty.sum())


def _row(phase: str, iteration: int | None, ns: int, pages: int | None, accesses: int | None = None) -> dict[str, Any]:
    return {"phase": phase, "iteration": iteration, "ns": ns, "accesses": accesses, "pages": pages}
