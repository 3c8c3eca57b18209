"""``VmClient.fault_many`` over pages in no order, mapped only and resident."""

import numpy as np
import pytest

from benchmarks import baseline
from benchmarks.figures import Figure, slower
from benchmarks.guest import Guest
from npt import Prot
from npt._types import U8Array

SIZES = ("1GiB", "16GiB")
_MANY = 1 << 18


@pytest.mark.parametrize("fresh", [True, False], ids=["mapped", "resident"])
def bench_fault(figure: Figure, guest: Guest, fresh: bool, tiny: bool) -> None:
    client, gpas = guest.space.client(), guest.gpas(1 << 9 if tiny else _MANY)
    outcomes = np.ones(gpas.size, np.uint8)
    before = guest.space.translate(gpas)

    def check(found: U8Array) -> None:
        assert not found.any()
        assert np.array_equal(guest.space.translate(gpas), before)

    def clear() -> None:  # the space does not know of what the baseline installed
        if fresh:
            baseline.unmap(guest.levels, 0, guest.n_pages)

    prepare = guest.mapped if fresh else guest.resident
    per_page = slower(
        "the baseline", lambda: baseline.fault(guest.levels, gpas, guest.entry, outcomes),
        prepare=prepare, after=clear, check=lambda added: _check(added, outcomes, gpas.size if fresh else 0), at_least=1,
    )  # fmt: skip
    figure.take(
        f"fault_many, {'mapped' if fresh else 'resident'}", lambda: client.fault_many(gpas, Prot.RW), per_page,
        n=gpas.size, prepare=prepare, check=check,
    )  # fmt: skip
    client.destroy()


def _check(added: int, outcomes: U8Array, expected: int) -> None:
    assert added == expected
    assert not outcomes.any()
