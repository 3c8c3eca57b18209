"""Mechanisms against their plain twins: streams of accesses, vCPUs, rounds, parts cleared at any time."""

import random
from collections.abc import Callable, Iterator

import pytest

from npt import EPT, PteFormat
from tests.dirty.watched import Watched
from tests.space.scene import bits

Stream = Callable[[random.Random, int], Iterator[int]]


def uniform(numbers: random.Random, n_pages: int) -> Iterator[int]:
    """Any page, again and again."""
    while True:
        yield numbers.randrange(n_pages)


def sequential(numbers: random.Random, n_pages: int) -> Iterator[int]:
    """One after the other, round and round."""
    while True:
        yield from range(n_pages)


def strided(numbers: random.Random, n_pages: int) -> Iterator[int]:
    """Every 65th page: another word of a bitmap each time."""
    page = 0
    while True:
        yield page
        page = (page + 65) % n_pages


def skewed(numbers: random.Random, n_pages: int) -> Iterator[int]:
    """Low numbers far more often than high ones."""
    while True:
        yield int(n_pages * numbers.random() ** 4)


def moving(numbers: random.Random, n_pages: int) -> Iterator[int]:
    """A hot stretch that moves on."""
    start = 0
    while True:
        for _ in range(50):
            yield (start + numbers.randrange(30)) % n_pages
        start += 17


STREAMS: list[Stream] = [uniform, sequential, strided, skewed, moving]


def play(watched: Watched, stream: Iterator[int], numbers: random.Random, steps: int) -> None:
    """Runs, collects, clears, copies and harvests in any order."""
    n_pages, n_vcpus = watched.n_pages, len(watched.vcpus)
    for _ in range(steps):
        n = numbers.choice([0, 1, 5, 40, 200])
        pages = [watched.first + next(stream) for _ in range(n)]
        share = numbers.choice([0.0, 0.5, 1.0])
        writes = [numbers.random() < share for _ in pages]
        watched.run(numbers.randrange(n_vcpus), pages, writes if 0 < share < 1 else bool(share))
        what = numbers.random()
        if what < 0.25:
            watched.collect()
        elif what < 0.35:
            watched.harvest()
        elif what < 0.75:
            first = numbers.randrange(0, n_pages, numbers.choice([1, 64]))
            watched.clear(first, numbers.choice([None, min(64, n_pages - first), 1]))
        if numbers.random() < 0.3:
            watched.copy(numbers.sample(range(n_pages), 20), numbers.choice([None, None, 0, len(watched.round) + 30]))
        watched.check()
    watched.collect()
    watched.clear()
    watched.check()
    assert watched.harvest() == set()


@pytest.mark.parametrize("stream", STREAMS, ids=lambda stream: str(stream.__name__))
@pytest.mark.parametrize("n_vcpus", [1, 2, 3])
def test_stream__pages_and_counts_are_the_twins(form: PteFormat, stream: Stream, n_vcpus: int) -> None:
    """Whatever happens in whatever order, every mechanism reports the same pages, and its counts are exact."""
    numbers = random.Random(n_vcpus)
    with Watched(form, 200, n_vcpus=n_vcpus) as watched:
        play(watched, stream(numbers, 200), numbers, 60)


@pytest.mark.parametrize("n_pages", [1, 63, 64, 65, 127, 511, 513])
def test_range__of_any_length(form: PteFormat, n_pages: int) -> None:
    """Words and bytes of bitmaps end anywhere."""
    numbers = random.Random(n_pages)
    with Watched(form, n_pages + 20, first=500, n_vcpus=2) as watched:
        play(watched, uniform(numbers, n_pages + 20), numbers, 25)


@pytest.mark.parametrize("tlb", [1, 6, 64])
def test_tlb__counts_and_pages_are_the_same(form: PteFormat, tlb: int) -> None:
    """A vCPU that writes through cached translations loses nothing, and is flushed as often as the mechanisms say."""
    numbers = random.Random(tlb)
    with Watched(form, 200, n_vcpus=3, tlb=tlb) as watched:
        play(watched, skewed(numbers, 200), numbers, 60)
        assert watched.space.counters.flushes == watched.tracking.events["dirty-bits"].flushes > 10


def test_holes__entries_without_a_table_are_not_read(form: PteFormat) -> None:
    """A scan reads the entries of leaf tables that exist: whole tables, of which some pages are mapped."""
    stretches = [(300, 10), (330, 300), (1030, 600), (3000, 80)]  # tables of 0, 512, 1024, 1536; not of 2048; of 2560, 3072
    with Watched(form, 4000, first=100, mapped=stretches, rings=[(64, 0)]) as watched:
        reads = 412 + 512 + 1024 + 1024
        assert watched.tracking.mechanisms[3].setup.pte_reads == reads
        watched.run(0, [300, 333, 1030, 1629, 3079])
        assert watched.collect() == {200, 233, 930, 1529, 2979}
        watched.clear(0, 64)
        watched.clear(64 * 31, 64 * 8)  # of the guest, pages 2084 to 2596: all without a table but the last 36
        assert watched.counts("dirty-bits")["pte_reads"] == reads + 64 + 36
        watched.clear()
        watched.check()


def test_holes__tables_that_come_later_are_read(form: PteFormat) -> None:
    """What is mapped counts from then on, and no longer than it is."""
    with Watched(form, 1024, mapped=[(0, 512)], rings=[(64, 0)]) as watched:
        watched.space.map_mmio(1000 * 4096, 4096, 0xFE00_0000)
        watched.tracking.collect()
        assert watched.counts("dirty-bits")["pte_reads"] == 1024
        watched.space.unmap(1000 * 4096, 4096)
        watched.tracking.collect()
        assert watched.counts("dirty-bits")["pte_reads"] == 1024 + 512


def test_outside__writes_beside_the_range_are_not_noticed(form: PteFormat) -> None:
    """Pages before and behind it belong to somebody else."""
    with Watched(form, 64, first=64, mapped=[(0, 192)]) as watched:
        watched.run(0, [63, 64, 127, 128, 0, 191])
        assert watched.collect() == {0, 63}
        watched.check()


def test_fault__only_completed_accesses_are_observed(form: PteFormat) -> None:
    """A run that ends in a hole has written what came before."""
    with Watched(form, 100, mapped=[(0, 50), (60, 40)]) as watched:
        exit = watched.run(0, [1, 2, 3, 55, 4, 5])
        assert (exit.reason.name, exit.completed, exit.gpa) == ("FAULT", 3, 55 * 4096 + 8 * 55)
        assert watched.tracking.accesses == 3
        assert watched.run(0, [55, 70], write=[False, True]).completed == 0
        assert watched.collect() == {1, 2, 3}
        watched.check()


def test_kinds__reads_and_fetches_are_no_writes(form: PteFormat) -> None:
    """One kind for all, or one each, and both flags at once."""
    with Watched(form, 10) as watched:
        gpas = [page * 4096 for page in range(6)]
        watched.tracking.run(0, gpas, execute=True)
        watched.tracking.run(0, gpas)
        watched.tracking.run(0, gpas, write=[True] + [False] * 5, execute=[False, True] * 3)
        watched.tracking.run(0, gpas[5:], write=True, execute=[False])
        assert bits(watched.tracking.collect()) == [0, 5]
        assert watched.counts("write-protect")["faults"] == 2
        assert watched.tracking.accesses == 0


def test_collect__reports_again_what_was_not_cleared(form: PteFormat) -> None:
    """And after a clear only what was written since it, or after the collect."""
    with Watched(form, 256) as watched:
        watched.run(0, [3, 70, 200])
        assert watched.collect() == watched.collect() == {3, 70, 200}
        watched.run(0, [4])
        watched.clear(0, 128)  # 4 was not reported: it is not cleared
        assert watched.collect() == {4, 200}
        watched.run(0, [3])
        watched.clear(0, 64)
        assert watched.collect() == {3, 200}
        watched.check()


def test_clear__twice_does_nothing_more(form: PteFormat) -> None:
    """What a collect reported can be cleared once: what is written after that is in the next."""
    with Watched(form, 128) as watched:
        watched.run(0, range(100))
        watched.collect()
        watched.clear(0, 64)
        watched.run(0, range(100))
        before = watched.counts("write-protect")
        watched.clear(0, 64)
        assert watched.counts("write-protect") == before
        assert watched.collect() == set(range(100))
        watched.check()


def test_ring__what_an_exit_armed_is_not_armed_again(form: PteFormat) -> None:
    """Of 20 pages that were written a ring of 16 has armed 16 itself; a clear arms the other 4."""
    with Watched(form, 32, rings=[(16, 0)]) as watched:
        watched.run(0, range(20))
        watched.collect()
        assert watched.counts("ring-16") == {
            "faults": 20, "ring_full_exits": 1, "pte_reads": 36, "pte_writes": 36, "shoot_downs": 1, "flushes": 1,
        }  # fmt: skip
        watched.clear(0, 16)
        assert watched.counts("ring-16")["pte_writes"] == 36
        assert watched.counts("ring-16")["shoot_downs"] == 1
        watched.clear()
        assert watched.counts("ring-16")["pte_writes"] == 40
        watched.check()


def test_ring__a_page_that_is_written_between_collect_and_clear(form: PteFormat) -> None:
    """An exit armed it, so it is pushed again; the clear takes it off, as in all mechanisms."""
    with Watched(form, 32, rings=[(4, 0)]) as watched:
        watched.run(0, [0, 1, 2, 3])
        watched.collect()
        watched.run(0, [0])
        watched.clear()
        assert watched.collect() == set()
        watched.run(0, [1])
        assert watched.harvest() == {1}
        watched.check()


def test_flush__is_due_at_the_next_run_of_each_vcpu() -> None:
    """One for any number of shoot-downs, also for a run of no accesses; none in a run itself."""
    with Watched(EPT, 64, n_vcpus=2, rings=[(4, 0)]) as watched:
        watched.run(0, range(64))  # sixteen exits of the ring, each a shoot-down
        assert watched.counts("ring-4")["flushes"] == 1
        watched.run(0, [])
        watched.run(0, [])
        assert watched.counts("ring-4")["flushes"] == 2
        assert watched.counts("write-protect")["flushes"] == 1
        watched.run(1, [5])
        assert watched.counts("ring-4")["flushes"] == 3
        watched.harvest()
        watched.run(1, [])
        assert watched.counts("dirty-bits")["flushes"] == 3
        watched.check()


def test_harvest__of_nothing_shoots_down_for_the_scan_only(form: PteFormat) -> None:
    """The engine shoots down always, the others when they arm something."""
    with Watched(form, 64) as watched:
        watched.harvest()
        watched.collect()
        watched.clear(0, 1)
        assert watched.counts("dirty-bits") == {"pte_reads": 64 + 64 + 1, "shoot_downs": 2}
        assert watched.counts("write-protect") == watched.counts("pml") == watched.counts("ring-16") == {}
        watched.check()


def test_result__is_an_array_of_its_own(form: PteFormat) -> None:
    """Who writes into it changes nothing."""
    with Watched(form, 64) as watched:
        watched.run(0, [1])
        watched.tracking.collect()[:] = 0xFF
        assert len(watched.tracking.mechanisms) > 3
        for mechanism in watched.tracking.mechanisms:
            mechanism.collect()[:] = 0xFF
        assert bits(watched.tracking.harvest()) == [1]
