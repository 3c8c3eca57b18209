"""Copying and zeroing pages, against slices of bytes."""

import random

import numpy as np
import pytest

from npt._types import U8Array
from npt.kernels import frames
from tests.kernels.world import u64

PAGE = 4096
N = 12


def memory(seed: int = 1) -> U8Array:
    """A dozen frames of random bytes."""
    return np.frombuffer(bytearray(random.Random(seed).randbytes(N * PAGE)), np.uint8)


ORDERS = [[], [0], [N - 1], [3, 3, 3], [5, 0, 11, 2], list(range(N)), list(range(N - 1, -1, -1))]


@pytest.mark.parametrize("order", ORDERS)
def test_gather__frames_side_by_side(order: list[int]) -> None:
    """In the order named, the same one twice, too."""
    whole, pages = memory(), np.zeros(len(order) * PAGE, np.uint8)
    frames.gather(whole, u64(*order), pages)
    text = whole.tobytes()
    assert pages.tobytes() == b"".join(text[f * PAGE : (f + 1) * PAGE] for f in order)


@pytest.mark.parametrize("order", [order for order in ORDERS if len(set(order)) == len(order)])
@pytest.mark.parametrize("writable", [True, False])
def test_scatter__pages_to_frames(order: list[int], writable: bool) -> None:
    """From read-only memory, too; the other frames stay."""
    whole, pages = memory(1), memory(2)[: len(order) * PAGE]
    pages.flags.writeable = writable
    expected = bytearray(whole.tobytes())
    for i, f in enumerate(order):
        expected[f * PAGE : (f + 1) * PAGE] = pages.tobytes()[i * PAGE : (i + 1) * PAGE]
    frames.scatter(whole, whole.view(np.uint64), u64(*order), pages)
    assert whole.tobytes() == bytes(expected)


SPANS = [(0, 1), (0, 4096), (4095, 1), (4095, 2), (4095, 4097), (1, 4095), (1, 8191), (1, 8192), (0, 12288), (100, 9000)]


def _frames_for(skip: int, length: int) -> list[int]:
    return [7, 2, 9, 4][: (skip + length + PAGE - 1) // PAGE]


@pytest.mark.parametrize(("skip", "length"), SPANS)
@pytest.mark.parametrize("writable", [True, False])
def test_copy_in__bytes_across_frames(skip: int, length: int, writable: bool) -> None:
    """Each byte to its place, and not one beside it."""
    whole, order = memory(), _frames_for(skip, length)
    text = memory(3)[:length].copy()
    text.flags.writeable = writable
    expected = bytearray(whole.tobytes())
    for k in range(length):
        page, within = divmod(skip + k, PAGE)
        expected[order[page] * PAGE + within] = int(text[k])
    frames.copy_in(whole, u64(*order), skip, text)
    assert whole.tobytes() == bytes(expected)


@pytest.mark.parametrize("part", [(0, 12), (0, 0), (0, 1), (1, 3), (2, 4), (3, 12), (5, 7)])
@pytest.mark.parametrize("spans", [[], [(0, 1)], [(11, 1)], [(2, 3), (7, 1)], [(7, 2), (1, 4), (11, 1)], [(0, 12)], [(4, 0)]])
def test_zero_spans__a_part_of_those_and_no_others(spans: list[tuple[int, int]], part: tuple[int, int]) -> None:
    """A row each: first frame, how many; the part counts through them."""
    whole = memory()
    expected = bytearray(whole.tobytes())
    for frame in [first + k for first, n in spans for k in range(n)][slice(*part)]:
        expected[frame * PAGE : (frame + 1) * PAGE] = bytes(PAGE)
    frames.zero_spans(whole, np.array(spans, np.uint64).reshape(-1, 2), *part)
    assert whole.tobytes() == bytes(expected)
