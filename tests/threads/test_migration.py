"""The migration oracle: a guest that is copied while vCPUs write to it, by what the dirty log reports and nothing else.

One vCPU on one processor and the host on another; a third thread maps, unmaps, populates, holds and writes. Every write stores
a number that was never stored before. Stint after stint the vCPU stops, there is a last harvest, and then memory and copy are
compared as a whole. A stint is one ``run`` of 2**20 writes: half of them by a pattern (random, zipf), half to 32 pages.

What each configuration proves:

- TLB 0: marks are set and cleared without losing one; a vCPU that found D set has stored before the host copies. Without the
  shoot-down there is next to nothing to lose: between a look at an entry and the store lie at most 64 accesses, a
  microsecond. 1 page in 67 million writes was once lost like that; so losing none proves little of the kick here.
- TLB 64: more pages than entries, so translations come and go. Without the shoot-down the 32 pages of the second half stay in
  it, dirty, while harvests clear their bits: 27 of 32 a stint were lost (a few share sets, and are walked again).
- TLB 2048: all pages stay in it. Without the shoot-down every page is lost in nearly every stint: 1,537 of 1,537.

With the shoot-down 100.7 million writes lose none. Every harvest but the last of a stint begins when the vCPU is inside.
"""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import numpy as np
import pytest

from npt import NPT, Prot, PteFormat, Reservoir, Vcpu, VmSpace, kernels
from npt.testing import check, without_shootdown
from tests.threads.crew import LONG, crew, together
from tests.threads.edited import edited
from tests.threads.migration import FIRST, STINT, Migration, addresses

PATTERNS = ("random", "zipf")
STINTS = 8 * LONG  # of each pattern: 16.8 million writes a configuration, 100.7 million altogether
PATIENCE = 1000  # stints in which a page must be lost, if pages are
pytestmark = pytest.mark.slow


@contextmanager
def migration(form: PteFormat, seed: int = 1) -> Iterator[Migration]:
    """A guest and its copy, checked and taken down."""
    made = Migration(form, seed)
    yield made
    made.close()


def stint(guest: Migration, vcpu: Vcpu, pattern: str, *, churn: bool) -> int:
    """Write and harvest, stop, harvest once more; how many pages were lost."""
    gpas = addresses(pattern, guest.rng, touches=churn)
    writer: Callable[[object], None] = lambda _: guest.write(vcpu, gpas)  # noqa: E731
    with crew(writer, *([guest.churn] if churn else [])) as team:
        guest.harvest_while(team, vcpu.client)
    guest.written += STINT
    guest.harvest()
    return guest.compare()


def tell(guest: Migration, title: str) -> None:
    """Numbers, for ``pytest -rP``."""
    print(
        f"{title}: {guest.written:,} writes, {guest.by_others:,} by others, {guest.rounds:,} harvests, "
        f"{guest.copied:,} pages copied, {guest.churned:,} unmaps, {guest.lost:,} lost; {guest.space.counters}"
    )


@pytest.mark.parametrize("tlb", [0, 64, 2048])
def test_migration__loses_nothing(form: PteFormat, tlb: int) -> None:
    """After each last harvest copy and memory are equal, everywhere, whatever went on beside it."""
    with migration(form) as guest:
        vcpu = Vcpu(guest.space.client(), tlb=tlb)
        for _ in range(STINTS):
            for pattern in PATTERNS:
                assert stint(guest, vcpu, pattern, churn=True) == 0, pattern
        tell(guest, f"{form.name} TLB {tlb}")
        assert guest.space.counters.kicks >= 2 * STINTS
        assert guest.churned >= 2 * STINTS


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("tlb", [64, 2048])
def test_migration__without_shootdown_loses_pages(form: PteFormat, tlb: int, pattern: str) -> None:
    """The oracle is strong enough: translations that were cached as dirty lose pages when nobody is kicked."""
    with migration(form) as guest:
        vcpu = Vcpu(guest.space.client(), tlb=tlb)
        with without_shootdown(guest.space):
            for n in range(1, PATIENCE):
                stint(guest, vcpu, pattern, churn=False)
                if guest.lost and n >= 4:
                    break
        tell(guest, f"{form.name} TLB {tlb} {pattern} without shoot-down")
        assert guest.lost > 0
        assert guest.space.counters.kicks == 0


def test_migration__without_shootdown_and_tlb(form: PteFormat) -> None:
    """With no TLB next to nothing can be lost without the shoot-down: at most what one block of 64 accesses was about to do."""
    with migration(form) as guest:
        vcpu = Vcpu(guest.space.client(), tlb=0)
        with without_shootdown(guest.space):
            for _ in range(STINTS):
                assert stint(guest, vcpu, "random", churn=False) <= 64
        tell(guest, f"{form.name} TLB 0 without shoot-down")


@pytest.mark.parametrize("tlb", [0, 64])
def test_migration__two_vcpus_and_cleared_a(form: PteFormat, tlb: int) -> None:
    """A reader beside the writer, and A cleared as well as D: no mark of one gets in the way of the other's."""
    with migration(form) as guest:
        writer, reader = (Vcpu(guest.space.client(), cpu=n, tlb=tlb) for n in range(2))
        for _ in range(4 * LONG):
            gpas = addresses("random", guest.rng, touches=False)
            written = threading.Event()

            def write(_: object, gpas: "np.ndarray[tuple[int, ...], np.dtype[np.uint64]]" = gpas) -> None:
                guest.write(writer, gpas)
                written.set()  # noqa: B023

            def read(_: object, gpas: "np.ndarray[tuple[int, ...], np.dtype[np.uint64]]" = gpas) -> None:
                while not written.is_set():  # noqa: B023
                    reader.run(gpas)

            with crew(write, read) as team:
                while team.working and team.busy():
                    guest.harvest()
                    guest.space.accessed(FIRST, guest.ram.length, clear=True)
                written.set()
            guest.written += STINT
            guest.harvest()
            assert guest.compare() == 0


# -- the oracle can fail otherwise, too ---------------------------------------------------------------------------------


def test_migration__finds_a_flush_that_was_skipped(form: PteFormat, monkeypatch: pytest.MonkeyPatch) -> None:
    """A vCPU that leaves when it is kicked and keeps its TLB loses pages."""
    monkeypatch.setattr(Vcpu, "_flush_unless", lambda self, generation: None)
    with migration(form) as guest:
        vcpu = Vcpu(guest.space.client(), tlb=64)
        for _ in range(PATIENCE):
            if stint(guest, vcpu, "random", churn=False):
                break
        assert guest.lost > 0


def lost_marks(form: PteFormat, rounds: int, n_pages: int = 1 << 20) -> int:
    """One vCPU reads each page once and another writes it, in the same order: how many are not dirty then.

    Both find A and D clear. They run neck and neck, because each waits for memory that the other has fetched.
    """
    lost = 0
    with (
        Reservoir(n_pages * 0x1000, backed=False) as reservoir,
        reservoir.allocate(reservoir.size) as ram,
        VmSpace(1 << 40, format=form, track_dirty=True) as space,
    ):
        space.map(ram, 0, ram.length, Prot.RW)
        space.populate(0, ram.length)
        vcpus = [Vcpu(space.client(), tlb=64) for _ in range(2)]
        gpas = np.arange(n_pages, dtype=np.uint64) * np.uint64(0x1000)
        for _ in range(rounds):
            space.track_dirty(0, ram.length)
            space.accessed(0, ram.length, clear=True)
            start = threading.Barrier(2)

            def go(vcpu: Vcpu, write: bool, start: threading.Barrier = start) -> None:
                start.wait()
                vcpu.run(gpas, write=write)

            together(lambda _: go(vcpus[0], True), lambda _: go(vcpus[1], False))
            lost += n_pages - int(np.bitwise_count(space.peek_dirty(0, ram.length)).sum())
            if lost:
                break
        check(space)
    return lost


def test_marks__of_two_vcpus_on_one_page(form: PteFormat) -> None:
    """A vCPU that sets A never takes D away from one that writes."""
    assert lost_marks(form, rounds=10 * LONG) == 0


@pytest.mark.skipif(kernels.jit.DISABLED, reason="kernels are not compiled")
def test_marks__a_plain_store_loses_some(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same with the kernel's compare-and-swap replaced by a plain store: marks get lost, about one in a million.

    A single vCPU cannot lose D like that, for harvests clear only what it has not set yet: so it takes two, and A.
    """
    module = edited(
        kernels.tlb, "not atomic_cas(levels[0], leaf, entry, entry | mark)", "not _store(levels[0], leaf, entry | mark)"
    )
    monkeypatch.setattr(kernels.tlb, "access", module.access)
    assert lost_marks(NPT, rounds=400) > 0
    assert sys.modules.get(module.__name__) is not module


def test_without_shootdown__ends_with_its_context(form: PteFormat) -> None:
    """Afterwards vCPUs are kicked as before, also when the block failed, and in a nest only then."""
    with migration(form) as guest:
        client = guest.space.client()
        for fails in (False, True):
            entered, left = threading.Event(), threading.Event()

            def stay(team: object, entered: threading.Event = entered, left: threading.Event = left) -> None:
                client.table_enter()
                entered.set()
                while not client.kicked:
                    pass
                client.table_exit()
                left.set()

            with crew(stay):
                entered.wait()
                with pytest.raises(ValueError, match="fails") if fails else nullcontext(), without_shootdown(guest.space):
                    with without_shootdown(guest.space):
                        guest.space.track_dirty(FIRST, 0x1000)
                    guest.space.track_dirty(FIRST, 0x1000)
                    assert not client.kicked
                    if fails:
                        raise ValueError("fails")
                guest.space.track_dirty(FIRST, 0x1000)
                assert left.wait(10)
