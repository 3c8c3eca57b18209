"""``VmClient.hold_many`` and its release, per page, beside as many bare Python cycles."""

from collections.abc import Iterator

import numpy as np
import pytest

from benchmarks.bench_hold import bare
from benchmarks.figures import Figure, slower
from benchmarks.guest import Guest, same
from npt import PAGE_SIZE, Prot, PteFormat

_PAGES = 4096


@pytest.fixture
def guest(format: PteFormat, seed: int) -> Iterator[Guest]:
    """One of 256 MiB, without bytes."""
    made = Guest(format, 16 * _PAGES * PAGE_SIZE, seed=seed)
    yield made
    made.close()


@pytest.mark.parametrize("prot", [Prot.READ, Prot.RW], ids=["read", "read-write"])
def bench_hold_many(figure: Figure, guest: Guest, prot: Prot) -> None:
    client, gpas = guest.space.client(), guest.gpas(_PAGES)

    def check(unmapped: int) -> None:
        assert (unmapped, client.holds) == (0, 0)
        with client.hold_many(gpas, prot) as pages:
            same(pages.pfns, np.uint64(guest.ram.pfn_at(0)) + gpas // np.uint64(PAGE_SIZE))

    cycles = slower("the bare cycle", bare(_PAGES), at_least=80)
    figure.take(
        f"hold_many and release, {prot.name}", lambda: client.hold_many(gpas, prot).release(), cycles, n=_PAGES, check=check
    )
