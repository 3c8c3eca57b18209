"""Scenarios by name, and how much of each is run.

CI runs all schedules with two preemptions, or three where the scenario says so, of all scenarios but three: of
``harvest_against_harvest``, ``unmap_against_walk`` and ``kick_against_long_run`` it runs all with one preemption, and as many
random ones as their ``@scenario(sampled=...)`` says. Where formats and sizes of TLBs could be combined, it takes each format
with another size. ``NPT_LONG=1`` runs all schedules of everything.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import product
from unittest import mock

from npt import EPT, NPT, PteFormat, _host
from npt.testing import Explored, Play, Twins, explore, replay, sample
from tests.interleavings.scene import Case

__all__ = ["LONG", "Edit", "Variant", "scenario", "variant", "variants"]

LONG = os.environ.get("NPT_LONG") == "1"

Build = Callable[[Case], Play]
Edit = tuple[str, str, str]  # of a kernel: file, old text, new text


@dataclass(frozen=True)
class Variant:
    """A scenario in one format, with TLBs of one size.

    Attributes
    ----------
    name : str
        Of the scenario.
    build : callable
        Builds it anew for each schedule.
    outcomes : frozenset of str
        What there must be some schedule for; and nothing else may happen.
    form, tlb
        As in ``Case``.
    preemptions : int
        How many the schedules have.
    sampled : int or None
        Random schedules to be run in CI; None runs all with two preemptions.
    small : bool
        What always holds is checked after each step, too.
    kernels : tuple of (file, old text, new text)
        Edits of kernels that make it smaller.
    """

    name: str
    build: Build
    outcomes: frozenset[str]
    form: PteFormat
    tlb: int
    preemptions: int
    sampled: int | None
    small: bool
    kernels: tuple[Edit, ...]

    def __str__(self) -> str:
        return f"{self.name}-{self.form.name}" + (f"-tlb{self.tlb}" if self.tlb else "")

    def make(self, *, each_step: bool = False, seen: set[str] | None = None) -> Callable[[], Play]:
        """What ``explore`` wants."""
        case = Case(self.form, self.tlb, each_step, set() if seen is None else seen)
        return lambda: self.build(replace(case, seen=case.seen))

    def twins(self, faults: Sequence[Edit] = ()) -> Twins:
        """Kernels as their steps, with faults planted in them."""
        edits: dict[str, list[tuple[str, str]]] = {}
        for file, old, new in (*self.kernels, *faults):
            edits.setdefault(file, []).append((old, new))
        return Twins(edits=edits)

    def run(
        self,
        seen: set[str],
        *,
        preemptions: int | None = None,
        twins: Twins | None = None,
        each_step: bool = False,
        reduce: bool = True,
    ) -> Explored:
        """All schedules; what happened in them goes into ``seen``."""
        make = self.make(seen=seen, each_step=each_step)
        with _enough_memory():
            bound = self.preemptions if preemptions is None else preemptions
            return explore(make, preemptions=bound, twins=twins or self.twins(), reduce=reduce)

    def play(self, schedule: Sequence[int], twins: Twins) -> list[str]:
        """One schedule."""
        with _enough_memory():
            return replay(self.make(), schedule, twins=twins)

    def run_some(self, seen: set[str]) -> Explored:
        """All schedules with one preemption, and random ones."""
        assert self.sampled is not None
        explored = self.run(seen, preemptions=1)
        with _enough_memory():
            sampled = sample(self.make(seen=seen), self.sampled, twins=self.twins())
        n_steps, longest = explored.steps + sampled.steps, max(explored.longest, sampled.longest)
        return Explored(explored.schedules + sampled.schedules, n_steps, longest, explored.complete)


@contextmanager
def _enough_memory() -> Iterator[None]:
    """Spare every schedule the question how much memory this machine has."""
    with mock.patch.object(_host, "available_bytes", return_value=None):
        yield


_BOTH = EPT, NPT
_VARIANTS: dict[str, Variant] = {}


def scenario(
    *outcomes: str,
    forms: tuple[PteFormat, ...] = _BOTH,
    tlbs: tuple[int, ...] = (0,),
    preemptions: int = 2,
    sampled: int | None = None,
    small: bool = False,
    kernels: tuple[Edit, ...] = (),
) -> Callable[[Build], Build]:
    """Enter a scenario, by its function's name."""

    def enter(build: Build) -> Build:
        every = list(product(forms, tlbs) if LONG or len(tlbs) == 1 else zip(forms, tlbs, strict=True))
        assert every
        for form, tlb in every:
            one = Variant(build.__name__, build, frozenset(outcomes), form, tlb, preemptions, sampled, small, kernels)
            assert str(one) not in _VARIANTS, f"{one} is there twice"
            _VARIANTS[str(one)] = one
        return build

    return enter


def _load() -> None:
    from tests.interleavings import ends, harvests, holds, invalidations, kicks, memory, unmaps  # noqa: F401


def variants() -> list[Variant]:
    """All scenarios, in all their variants."""
    _load()
    return list(_VARIANTS.values())


def variant(name: str) -> Variant:
    """One, by its name."""
    _load()
    return _VARIANTS[name]
