"""Large works split over two threads, beside the same in one; and what two threads gain where the memory alone is the limit."""

import inspect
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from benchmarks.figures import Figure, slower
from benchmarks.guest import VALUE, Guest, ask
from npt import PAGE_SIZE, PteFormat, VmSpace

SIZES = ("64GiB",)
_TARGET = 1.5


@pytest.fixture
def guests(format: PteFormat, size: int, seed: int) -> Iterator[tuple[Guest, Guest]]:
    """One that works in one thread, and one that works in two."""
    if "threads" not in inspect.signature(VmSpace).parameters:
        pytest.skip("VmSpace takes no threads= yet")
    one, two = (Guest(format, size, seed=seed, threads=n) for n in (1, 2))
    yield one, two
    one.close()
    two.close()


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0], ids=["0pct", "10pct", "50pct", "100pct"])
def bench_harvest(figure: Figure, guests: tuple[Guest, Guest], share: float) -> None:
    one, two = guests
    pages = one.some(share)

    def harvest(guest: Guest) -> Callable[[], object]:
        return lambda: guest.space.track_dirty(0, guest.size)

    peer = slower(
        "one thread", harvest(one), prepare=lambda: one.dirty(pages), check=one.check_harvest(pages),
        at_least=_TARGET if share >= 0.1 and one.size == 64 << 30 else None,
    )  # fmt: skip
    figure.take(
        f"harvest in two threads, {share * 100:g} %", harvest(two), peer,
        n=two.n_pages, prepare=lambda: two.dirty(pages), check=two.check_harvest(pages),
    )  # fmt: skip


def bench_populate(figure: Figure, guests: tuple[Guest, Guest]) -> None:
    one, two = guests
    peer = slower(
        "one thread", lambda: one.space.populate(0, one.size), prepare=one.mapped, check=one.check_fresh,
        at_least=_TARGET if one.size == 64 << 30 else None,
    )  # fmt: skip
    figure.take(
        "populate in two threads", lambda: two.space.populate(0, two.size), peer,
        n=two.n_pages, prepare=two.mapped, check=two.check_fresh,
    )  # fmt: skip


def bench_unmap(figure: Figure, guests: tuple[Guest, Guest]) -> None:
    one, two = guests
    peer = slower("one thread", one.unmap, prepare=one.resident, check=one.check_gone)
    figure.take("unmap in two threads", two.unmap, peer, n=two.n_pages, prepare=two.resident, check=two.check_gone)


@pytest.mark.parametrize("work", ["read", "fill"])
def bench_limit(figure: Figure, size: int, work: str) -> None:
    """The limit itself in two threads, over as many bytes as the leaf entries."""
    ask(size // PAGE_SIZE * 8, "as many words as there are entries")
    words = np.full(size // PAGE_SIZE, VALUE, np.uint64)
    halves = words[: words.size // 2], words[words.size // 2 :]

    def do(part: np.ndarray[tuple[int], np.dtype[np.uint64]]) -> None:
        part.sum() if work == "read" else part.fill(VALUE)

    with ThreadPoolExecutor(2) as pool:
        one = slower("one thread", lambda: do(words), prepare=lambda: words.fill(VALUE))
        figure.take(
            f"{work} in two threads", lambda: list(pool.map(do, halves)), one, n=words.size, prepare=lambda: words.fill(VALUE)
        )
