"""``Vcpu.run`` beside a walk of the same addresses, which loads four entries an access and tests nothing, or each of them.

What the vCPU leaves in the tables is checked before the timing. Over *dirty* pages nothing is left to be marked; over *clean*
ones, each first visit sets a mark: with the pattern ``once`` every access does. (*first* of the notes is the share of them.)
"""

from functools import cache
from typing import Any
from unittest import mock

import numpy as np
import pytest

from benchmarks import baseline
from benchmarks.figures import Figure, longer
from benchmarks.guest import Guest, bitmap_of, same
from npt import ExitReason, PteFormat, Vcpu, VcpuExit, kernels
from npt._types import U64Array
from npt.units import PAGE_SHIFT
from tests.threads.edited import edited

SIZES = ("1GiB", "16GiB")
_MANY = 1 << 20
_SHIFT = np.uint64(PAGE_SHIFT)


def addresses(pattern: str, guest: Guest, n: int) -> U64Array:
    """Addresses in pages drawn evenly, or with a chance of 1 / rank, in no order; or each page once."""
    n_pages, random = guest.n_pages, guest.random
    if pattern == "random":
        pages = random.integers(0, n_pages, n, dtype=np.uint64)
    elif pattern == "once":
        pages = random.permutation(n_pages).astype(np.uint64)[:n]
    else:
        rank = np.minimum((float(n_pages) ** random.random(n)).astype(np.int64) - 1, n_pages - 1)
        pages = random.permutation(n_pages).astype(np.uint64)[rank]
    return pages << _SHIFT


class _Run:
    """Accesses of a vCPU, and what they are set beside."""

    def __init__(self, guest: Guest, format: PteFormat, gpas: U64Array, write: Any, tlb: int = 0) -> None:
        self.guest, self.gpas, self.write = guest, gpas, write
        self.pages = (gpas >> _SHIFT).astype(np.intp)
        self.present = int(format.masks.present)
        self._vcpu = Vcpu(guest.space.client(), tlb=tlb)

    def run(self) -> VcpuExit:
        """What is timed."""
        return self._vcpu.run(self.gpas, write=self.write)

    def clean(self) -> None:
        """No page is dirty."""
        self.guest.space.track_dirty(0, self.guest.size)

    def dirty(self) -> None:
        """All are."""
        self.guest.space.set_dirty(0, self.guest.size)

    def check(self, exit: VcpuExit) -> None:
        """A run on clean tables marks what it writes, all of it and nothing else."""
        assert exit.reason is ExitReason.DONE
        self.clean()
        self.run()
        expected = np.zeros(self.guest.n_pages, np.bool_)
        expected[self.pages[np.broadcast_to(self.write, self.pages.shape)]] = True
        same(self.guest.space.peek_dirty(0, self.guest.size), bitmap_of(expected))

    def check_walk(self, total: int) -> None:
        """A peer loads the entries of these pages."""
        assert total == int(self.guest.leaves()[self.pages].sum())

    def first(self) -> dict[str, Any]:
        """Share of the accesses that are the first to their page."""
        return {"first": np.unique(self.pages).size / self.pages.size}

    def take(self, figure: Figure, title: str, state: str) -> None:
        """The figure over pages that are clean or dirty."""
        levels = self.guest.levels
        figure.take(
            f"{title}, {state}", self.run,
            longer("the bare walk", lambda: baseline.walk(levels, self.gpas), check=self.check_walk),
            longer("the checked walk", lambda: baseline.checked_walk(levels, self.gpas, self.present), check=self.check_walk),
            n=self.gpas.size, unit="access", prepare=self.clean if state == "clean" else self.dirty, check=self.check,
            notes=self.first,
        )  # fmt: skip


@pytest.mark.parametrize("state", ["dirty", "clean"])
@pytest.mark.parametrize("accesses", ["writes", "mixed"])
@pytest.mark.parametrize("pattern", ["random", "zipf", "once"])
def bench_vcpu(figure: Figure, guest: Guest, format: PteFormat, pattern: str, accesses: str, state: str, tiny: bool) -> None:
    gpas = addresses(pattern, guest, 1 << 10 if tiny else _MANY)
    write = True if accesses == "writes" else guest.random.random(gpas.size) < 0.5
    _Run(guest, format, gpas, write).take(figure, f"vCPU, {pattern}, {accesses}", state)


@pytest.mark.parametrize("tlb", [64, 2048])
def bench_tlb(figure: Figure, guest: Guest, format: PteFormat, tlb: int, tiny: bool) -> None:
    gpas = addresses("zipf", guest, 1 << 10 if tiny else _MANY >> 2)
    _Run(guest, format, gpas, True, tlb).take(figure, f"vCPU, zipf, writes, TLB of {tlb}", "dirty")


def bench_enter(figure: Figure, guest: Guest, format: PteFormat) -> None:
    """A run of one access: what it costs to go in and out."""
    run = _Run(guest, format, np.zeros(1, np.uint64), True)
    figure.take("vCPU, one access", run.run, n=1, unit="run", check=run.check)


@cache
def _kernel_without_summary() -> Any:
    """The vCPU's kernel as it would be if nobody kept a summary, compiled from its edited source."""
    wanted = "writes = marking and (kinds.size != 1 or np.uint64(kinds[_ZERO]) == WRITE)"
    return edited(kernels.guest, wanted, "writes = False").access


def _without_summary(run: _Run) -> VcpuExit:
    with mock.patch.object(kernels.guest, "access", _kernel_without_summary()):
        return run.run()


@pytest.mark.parametrize("state", ["dirty", "clean"])
def bench_summary(figure: Figure, guest: Guest, format: PteFormat, state: str, tiny: bool) -> None:
    """What the summary over leaf tables costs writers: the zipf mix beside the same accesses without it."""
    gpas = addresses("zipf", guest, 1 << 10 if tiny else _MANY)
    run = _Run(guest, format, gpas, guest.random.random(gpas.size) < 0.5)
    prepare = run.clean if state == "clean" else run.dirty
    peer = longer("the vCPU without a summary", lambda: _without_summary(run), prepare=prepare, at_most=1.1)
    figure.take(f"vCPU, zipf, mixed, {state}", run.run, peer, n=gpas.size, unit="access", prepare=prepare, check=run.check)
