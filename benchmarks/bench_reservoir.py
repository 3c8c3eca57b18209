"""``Reservoir``: allocate, release with its zeroing, resize."""

from collections.abc import Iterator

import numpy as np
import pytest

from benchmarks.figures import Figure, limit
from benchmarks.guest import VALUE, ask
from npt import PAGE_SIZE, RamObject, Reservoir

SIZES = ("64MiB", "1GiB")
_OBJECTS = 64


@pytest.fixture
def reservoir(size: int) -> Iterator[Reservoir]:
    """With bytes, all of them touched."""
    ask(2 * size, f"a reservoir with bytes, and as many to fill, of {size} bytes")
    with Reservoir(size) as made:
        made.allocate(size).release()
        yield made


def bench_allocate(figure: Figure, size: int) -> None:
    """Many objects, each a part of one free span; without bytes, whose zeroing is timed below."""
    reservoir, each, there = Reservoir(size, backed=False), size // _OBJECTS, list[RamObject]()

    def free() -> None:
        while there:
            there.pop().release()

    def allocate() -> None:
        for _ in range(_OBJECTS):
            there.append(reservoir.allocate(each))

    def check(_: None) -> None:
        assert reservoir.usage.allocated == each * _OBJECTS

    figure.take("allocate", allocate, n=_OBJECTS, unit="object", prepare=free, check=check)
    free()
    reservoir.close()


def bench_release(figure: Figure, reservoir: Reservoir) -> None:
    """Memory is zeroed when it comes back."""
    there, words = list[RamObject](), np.full(reservoir.size // 8, VALUE, np.uint64)

    def allocate() -> None:
        there.append(reservoir.allocate(reservoir.size))

    def check(_: None) -> None:
        assert reservoir.usage.free == reservoir.size
        assert not reservoir.buffer.any()

    fill = limit("fill", lambda: words.fill(VALUE))
    figure.take(
        "release, zeroing", lambda: there.pop().release(), fill,
        n=reservoir.size // PAGE_SIZE, prepare=allocate, check=check,
    )  # fmt: skip


@pytest.mark.parametrize("grow", [True, False], ids=["grow", "shrink"])
def bench_resize(figure: Figure, size: int, grow: bool) -> None:
    """Frames move between empty and free in chunks of 2 MiB."""
    few, chunk = 2 << 20, 2 << 20
    start, target = (few, size) if grow else (size, few)
    with Reservoir(size, backed=False) as reservoir:

        def check(reached: int) -> None:
            assert reached == reservoir.size == target

        figure.take(
            f"resize, {'growing' if grow else 'shrinking'}", lambda: reservoir.resize(target, chunk=chunk),
            n=max(abs(target - start) // chunk, 1), unit="chunk", prepare=lambda: reservoir.resize(start), check=check,
        )  # fmt: skip
