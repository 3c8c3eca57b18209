"""Algebra on bitmaps beside NumPy's, and the dirty calls beside the plain harvest."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from benchmarks.bench_runs import bitmap, read
from benchmarks.figures import Figure, slower
from benchmarks.guest import Guest, same
from npt import dirty
from npt._types import U8Array

SIZES = ("1GiB", "16GiB")
_GUEST = 4 << 40  # whose bitmaps are combined
_SAME: dict[str, Callable[[U8Array, U8Array], U8Array]] = {
    "union": np.bitwise_or,
    "intersection": np.bitwise_and,
    "symmetric_difference": np.bitwise_xor,
    "difference": lambda one, other: one & ~other,
}


@pytest.mark.parametrize("in_place", [False, True], ids=["out", "in-place"])
@pytest.mark.parametrize("name", _SAME)
def bench_algebra(figure: Figure, name: str, in_place: bool, seed: int, tiny: bool) -> None:
    one = bitmap(1 << 30 if tiny else _GUEST, 0.01, seed)
    other, out = np.roll(one, 1), one.copy()
    left, work = out if in_place else one, getattr(dirty, name)

    def check(found: U8Array) -> None:
        same(found, _SAME[name](one, other))

    peer = slower(
        "np.bitwise_or", lambda: np.bitwise_or(left, other, out=out), prepare=lambda: np.copyto(out, one), at_least=0.7
    )
    figure.take(
        f"{name.replace('_', ' ')}{', in place' if in_place else ''}", lambda: work(left, other, out=out), peer,
        n=one.size * 8, prepare=lambda: np.copyto(out, one), check=check,
    )  # fmt: skip


def bench_count(figure: Figure, seed: int, tiny: bool) -> None:
    pages = bitmap(1 << 30 if tiny else _GUEST, 0.01, seed)

    def check(found: int) -> None:
        assert found == int(np.bitwise_count(pages).sum())

    figure.take("count", lambda: dirty.count(pages), read(pages), n=pages.size * 8, check=check)


@pytest.mark.parametrize("call", ["peek", "selected harvest, all", "selected harvest, half"], ids=["peek", "all", "half"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.1], ids=["0pct", "1pct", "10pct"])
def bench_calls(figure: Figure, guest: Guest, share: float, call: str) -> None:
    space, size, pages = guest.space, guest.size, guest.some(share)
    select = np.full(guest.n_pages // 8, 0x55 if call.endswith("half") else 0xFF, np.uint8)

    def prepare() -> None:
        space.track_dirty(0, size)
        guest.dirty(pages)

    def work() -> Any:
        return space.peek_dirty(0, size) if call == "peek" else space.reset_dirty(0, size, select=select)

    plain = slower(
        "the plain harvest", lambda: space.track_dirty(0, size), prepare=prepare, check=guest.check_harvest(pages),
        at_least=1 if call == "peek" else 0.67,
    )  # fmt: skip
    figure.take(
        f"{call}, {share * 100:g} % random", work, plain,
        n=guest.n_pages, prepare=prepare, check=lambda found: same(found, pages & select),
    )  # fmt: skip
