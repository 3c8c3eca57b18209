"""A guest that is copied while it runs: what was reported is copied, and nothing else."""

import time
from itertools import count

import numpy as np
from numpy.typing import NDArray

from npt import ExitReason, Prot, PteFormat, Reservoir, Vcpu, VmClient, VmSpace
from npt._types import U64Array
from npt.testing import check
from tests.threads.crew import Crew

__all__ = ["FIRST", "N_PAGES", "PAGE", "STINT", "Migration", "addresses"]

PAGE = 0x1000
N_PAGES = 1537  # four leaf tables, the first and the last in part
FIRST = 0x1F_0000  # where they begin: 16 pages before the end of a table
CHURN, N_CHURN = 0x4000_0000, 24  # another mapping, that comes and goes
STINT = 1 << 20  # writes of one run: a vCPU stays inside for that long if nobody kicks it
HOT = 32  # pages that the second half of a stint keeps to: they stay in any TLB
_WORDS = 256  # of a page, that vCPUs write to; the others are the host's
_TOUCH = 4096  # one write of so many goes to the mapping that comes and goes


def addresses(pattern: str, rng: np.random.Generator, *, touches: bool) -> U64Array:
    """Where a stint writes: by a pattern at first, then to few pages."""
    if pattern == "zipf":
        pages = rng.permutation(N_PAGES)[np.minimum(rng.zipf(1.3, STINT), N_PAGES) - 1]
    else:
        pages = rng.integers(0, N_PAGES, STINT)
    pages[STINT // 2 :] = rng.choice(N_PAGES, HOT, replace=False)[rng.integers(0, HOT, STINT // 2)]
    gpas: U64Array = np.uint64(FIRST) + pages.astype(np.uint64) * np.uint64(PAGE)
    if touches:
        gpas[::_TOUCH] = CHURN + rng.integers(0, N_CHURN, gpas[::_TOUCH].size).astype(np.uint64) * PAGE
    gpas += rng.integers(0, _WORDS, STINT).astype(np.uint64) * np.uint64(8)
    return gpas


class Migration:
    """A guest, its copy, and how much was written, copied and lost."""

    def __init__(self, form: PteFormat, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.reservoir = Reservoir((N_PAGES + 2 * N_CHURN) * PAGE)
        self.ram = self.reservoir.allocate(N_PAGES * PAGE)
        self.space = VmSpace(1 << 40, format=form, reservoir=self.reservoir, track_dirty=True)
        self.space.map(self.ram, FIRST, self.ram.length, Prot.RW)
        self.reader, self.other = self.space.client(), self.space.client()
        self.copy: NDArray[np.uint8] = np.zeros((N_PAGES, PAGE), np.uint8)
        self.written = self.by_others = self.rounds = self.copied = self.lost = self.churned = 0

    @property
    def memory(self) -> NDArray[np.uint8]:
        """The guest's memory as it is."""
        start = (self.ram.pfn_at(0) - self.reservoir.base_pfn) * PAGE
        return self.reservoir.buffer[start : start + self.ram.length].reshape(N_PAGES, PAGE)

    # -- threads ----------------------------------------------------------------------------------------------------

    def write(self, vcpu: Vcpu, gpas: U64Array) -> None:
        """A vCPU's part: one stint, each write with a value of its own."""
        values = np.arange(self.written + 1, self.written + 1 + gpas.size, dtype=np.uint64)
        done = 0
        assert gpas.size
        while done < gpas.size:
            exit = vcpu.run(gpas[done:], write=True, values=values[done:])
            done += exit.completed
            if exit.reason is ExitReason.FAULT:  # the other mapping is not there just now
                assert exit.gpa is not None
                assert exit.gpa >= CHURN
                done += 1

    def churn(self, team: Crew) -> None:
        """Another thread's part: a mapping comes and goes, pages are populated, held and written."""
        rng = np.random.default_rng(int(self.rng.integers(1 << 32)))
        for number in count(1):
            if not team.working:
                return
            with self.reservoir.allocate(N_CHURN * PAGE) as ram:
                start = (ram.pfn_at(0) - self.reservoir.base_pfn) * PAGE
                frames = self.reservoir.buffer[start : start + ram.length]
                assert not frames.any()  # else somebody wrote to it after it was unmapped
                self.space.map(ram, CHURN, ram.length, Prot.RW)
                if number % 2:
                    self.space.populate(CHURN, ram.length)
                self._write_pages(rng, number)
                self.space.unmap(CHURN, ram.length)
                before = frames.copy()
                self.space.translate([FIRST])
                assert np.array_equal(frames, before)  # once unmap has returned, no vCPU writes there
            self.churned += 1

    def _write_pages(self, rng: np.random.Generator, number: int) -> None:
        """By a hold, by a batch, by bytes: all are in the log from their release on."""
        gpas = FIRST + rng.integers(0, N_PAGES, 8) * PAGE
        with self.other.hold(int(gpas[0]), Prot.RW) as page:
            page.writable()[PAGE - 8 :] = number % 251
        with self.other.hold_many(gpas[1:7], Prot.RW) as pages:
            data = pages.gather()
            data[:, PAGE - 16 :] = number % 241
            pages.scatter(data)  # what vCPUs wrote meanwhile is undone by it; that is memory, too
        self.other.write(int(gpas[7]) + PAGE - 24, number.to_bytes(8, "little"))
        self.other.write(CHURN, b"churn")
        self.by_others += 9

    # -- the host ---------------------------------------------------------------------------------------------------

    def harvest_while(self, team: Crew, client: VmClient) -> None:
        """Rounds for as long as the first of a crew is at it, each when its vCPU is inside: those prove most."""
        while team.working and team.busy():
            if client.gate.inside is None:
                time.sleep(0)  # let it have the interpreter
            else:
                self.harvest()

    def harvest(self) -> None:
        """One round: copy what was reported."""
        found = self.space.track_dirty(FIRST, self.ram.length)
        pages = np.flatnonzero(np.unpackbits(found, count=N_PAGES, bitorder="little"))
        if pages.size:
            with self.reader.hold_many(FIRST + pages * PAGE, Prot.READ) as held:
                self.copy[pages] = held.gather()
        self.rounds, self.copied = self.rounds + 1, self.copied + pages.size

    def compare(self) -> int:
        """Pages whose copy is not what they are, the vCPUs being out; they are copied now, so that each loss counts once."""
        pages = np.flatnonzero((self.copy.view(np.uint64) != self.memory.view(np.uint64)).any(axis=1))
        self.copy[pages] = self.memory[pages]
        self.lost += pages.size
        return int(pages.size)

    # -- the end ----------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """All is well inside, and nothing leaked."""
        check(self.space)
        self.space.close()
        self.ram.release()
        self.reservoir.close()
