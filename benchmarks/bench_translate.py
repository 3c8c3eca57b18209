"""``VmSpace.translate`` of addresses in no order."""

import numpy as np

from benchmarks import baseline
from benchmarks.figures import Figure, slower
from benchmarks.guest import Guest, same
from npt._types import U64Array
from npt.units import PAGE_SHIFT

SIZES = ("1GiB", "16GiB")
_MANY = 1 << 18


def bench_translate(figure: Figure, guest: Guest, tiny: bool) -> None:
    gpas = guest.random.integers(0, guest.size, 1 << 12 if tiny else _MANY, np.uint64)
    pages = gpas >> np.uint64(PAGE_SHIFT)

    def check(pfns: U64Array) -> None:
        same(pfns, np.uint64(guest.ram.pfn_at(0)) + pages)

    def check_walk(total: int) -> None:
        assert total == int(guest.leaves()[pages.astype(np.intp)].sum())

    walk = slower(
        "the plain walk", lambda: baseline.walk(guest.levels, gpas), check=check_walk,
        at_least=2 if guest.size == 16 << 30 else None,
    )  # fmt: skip
    figure.take("translate, random", lambda: guest.space.translate(gpas), walk, n=gpas.size, unit="address", check=check)
