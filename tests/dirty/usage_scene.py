"""A guest with real bytes for tests of working sets and rates, and the slow oracle of what its samples say."""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise

from npt import Prot, PteFormat, RamObject, Reservoir, Vcpu, VmSpace

__all__ = ["BASE", "PAGE", "Guest", "Oracle", "guest"]

PAGE = 0x1000
BASE = 0x1FD * PAGE  # three pages before the end of a leaf table


class Guest:
    """Pages from ``BASE`` on, in two mappings side by side if there are more than one; and a vCPU."""

    def __init__(self, form: PteFormat, n_pages: int, *, populate: bool = True, tracking: bool = True) -> None:
        self.n_pages, self.range = n_pages, (BASE, n_pages * PAGE)
        self.reservoir = Reservoir(n_pages * PAGE)
        self.ram: RamObject = self.reservoir.allocate(n_pages * PAGE)
        self.space = VmSpace(1 << 30, format=form, reservoir=self.reservoir, track_dirty=tracking, kick_timeout=5.0)
        self.halves = [(0, n_pages // 2), (n_pages // 2, n_pages - n_pages // 2)]
        for first, n in self.halves:
            if n:
                self.map(first, n)
                if populate:
                    self.space.populate(BASE + first * PAGE, n * PAGE)
        self.vcpu = Vcpu(self.space.client())

    def map(self, first: int, n: int) -> None:
        """Map pages, by number."""
        self.space.map(self.ram, BASE + first * PAGE, n * PAGE, Prot.RW, first * PAGE)

    def unmap(self, half: int) -> None:
        """Unmap one of the mappings."""
        first, n = self.halves[half]
        self.space.unmap(BASE + first * PAGE, n * PAGE)

    def read(self, pages: Iterable[int]) -> None:
        """The vCPU reads from pages."""
        self.vcpu.run([BASE + page * PAGE for page in pages])

    def write(self, pages: Iterable[int], value: int) -> None:
        """The vCPU stores a value in the last word of pages."""
        gpas = [BASE + page * PAGE + PAGE - 8 for page in pages]
        self.vcpu.run(gpas, write=True, values=[value] * len(gpas))

    def close(self) -> None:
        """Give everything back."""
        self.space.close()
        self.ram.release()
        self.reservoir.close()


@contextmanager
def guest(form: PteFormat, n_pages: int, *, populate: bool = True, tracking: bool = True) -> Iterator[Guest]:
    """A guest, taken down at the end."""
    made = Guest(form, n_pages, populate=populate, tracking=tracking)
    try:
        yield made
    finally:
        made.close()


@dataclass
class Oracle:
    """What samples say, from all of them: sets of pages, kept."""

    samples: list[set[int]] = field(default_factory=list)

    def pages(self, window: int | None = None) -> set[int]:
        """Pages of the last samples."""
        return set().union(*self.samples[-window if window else 0 :])

    def last_seen(self, page: int) -> int:
        """Number of the last sample that has a page."""
        return max((number for number, sample in enumerate(self.samples, 1) if page in sample), default=0)

    def curve(self, within: range) -> list[Fraction]:
        """Mean size of every window of every length, counted window by window."""
        mean = []
        for length in range(1, len(self.samples) + 1):
            windows = [self.samples[at : at + length] for at in range(len(self.samples) - length + 1)]
            mean.append(Fraction(sum(len(set().union(*one) & set(within)) for one in windows), len(windows)))
        return mean

    def reuse(self, within: range) -> list[int]:
        """How often a page was seen again after each number of samples."""
        gaps: Counter[int] = Counter()
        for page in within:
            numbers = [number for number, sample in enumerate(self.samples) if page in sample]
            gaps.update(later - earlier for earlier, later in pairwise(numbers))
        return [gaps[gap] for gap in range(len(self.samples))]
