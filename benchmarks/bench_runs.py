"""``npt.dirty.runs`` on the bitmap of a guest: clean, full, and with random bits."""

import numpy as np
import pytest

from benchmarks.figures import Figure, Peer, limit
from benchmarks.guest import VALUE
from npt import PAGE_SIZE, dirty
from npt._types import U8Array
from npt.dirty import RUN

SIZES = ("64GiB", "4TiB")
TINY = ("1GiB",)
_TARGETS = {0.0: 0.75, 1.0: 0.7, 0.01: 0.25}


def bitmap(size: int, share: float, seed: int) -> U8Array:
    """Of a guest, with a share of random bits; memory of its own, since fresh zeros are all the same page."""
    n_pages = size // PAGE_SIZE
    if share in (0, 1):
        made = dirty.full(n_pages)
        made *= np.uint8(share)
        return made
    return dirty.from_pages(np.random.default_rng(seed).integers(0, n_pages, int(n_pages * share), np.uint64), n_pages)


def read(pages: U8Array) -> Peer:
    """Limit of what reads a bitmap."""
    words = np.full(pages.size // 8, VALUE, np.uint64)
    return limit("read", words.sum)


@pytest.mark.parametrize("share", _TARGETS, ids=["clean", "full", "1pct-random"])
def bench_runs(figure: Figure, size: int, share: float, seed: int) -> None:
    pages = bitmap(size, share, seed)
    found = dirty.runs(pages)
    out = np.full(found.size, 0, RUN) if share == 0.01 else None
    words, result = np.full(pages.size // 8, VALUE, np.uint64), np.full(2 * found.size, VALUE, np.uint64)

    def both() -> None:
        words.sum()
        result.fill(VALUE)

    def check(runs: np.ndarray[tuple[int], np.dtype[np.void]]) -> None:
        assert np.array_equal(dirty.from_runs(runs, size // PAGE_SIZE), pages)

    peer = (
        limit("read", words.sum, at_least=_TARGETS[share])
        if out is None
        else limit("read + fill", both, at_least=_TARGETS[share])
    )
    figure.take(f"runs, {share * 100:g} %", lambda: dirty.runs(pages, out=out), peer, n=pages.size * 8, check=check)


def bench_runs_fresh(figure: Figure, size: int, seed: int) -> None:
    """The result in fresh memory, which costs more than the work."""
    pages = bitmap(size, 0.01, seed)
    figure.take("runs, 1 %, fresh memory", lambda: dirty.runs(pages), read(pages), n=pages.size * 8)
