"""Bitmaps shifted by any number of bits, against sets of numbers."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from npt.kernels import bitmap as kernels
from tests.kernels.world import bitmap, bits, random_entries, u64

LISTS = st.lists(st.integers(0, 2**64 - 1), max_size=6)
OFFSETS = [0, 1, 63, 64, 65, 127, 128, 511, 512, 513]


@given(words=LISTS, offset=st.integers(0, 600), n_out=st.integers(0, 6))
def test_shift_down__bit_k_is_bit_k_plus_offset(words: list[int], offset: int, n_out: int) -> None:
    """What lies past the end reads zero, and what was in the result before is gone."""
    out = np.full(n_out, 2**64 - 1, np.uint64)
    kernels.shift_down(u64(*words), offset, out)
    assert bits(out) == {b - offset for b in bits(u64(*words)) if offset <= b < offset + 64 * n_out}


@given(words=LISTS, offset=st.integers(0, 600), n_out=st.integers(0, 6))
def test_shift_up__bit_k_goes_to_k_plus_offset(words: list[int], offset: int, n_out: int) -> None:
    """What does not fit is dropped."""
    out = np.zeros(n_out, np.uint64)
    kernels.shift_up(u64(*words), offset, out)
    assert bits(out) == {b + offset for b in bits(u64(*words)) if b + offset < 64 * n_out}


@given(words=LISTS, offset=st.integers(0, 200), there=LISTS)
def test_shift_up__keeps_what_is_there(words: list[int], offset: int, there: list[int]) -> None:
    """The result is OR-ed into."""
    out = u64(*there)
    kernels.shift_up(u64(*words), offset, out)
    shifted = {b + offset for b in bits(u64(*words)) if b + offset < 64 * len(there)}
    assert bits(out) == bits(u64(*there)) | shifted


@pytest.mark.parametrize("offset", OFFSETS)
def test_shifts__undo_each_other(offset: int) -> None:
    """Up and down by the same number, with room for all, gives back the words."""
    words = random_entries(offset, 16)
    up, down = np.zeros(16 + 9, np.uint64), np.empty(16, np.uint64)
    kernels.shift_up(words, offset, up)
    kernels.shift_down(up, offset, down)
    assert down.tolist() == words.tolist()


@pytest.mark.parametrize("function", [kernels.shift_down, kernels.shift_up], ids=["down", "up"])
@pytest.mark.parametrize("offset", [2**63, 2**64 - 64, 2**64 - 1])
def test_shifts__by_more_than_there_is(function: object, offset: int) -> None:
    """Nothing is found and nothing fits; the number does not wrap round to a small one."""
    out = np.zeros(2, np.uint64)
    function(bitmap(range(128), 2), offset, out)  # type: ignore[operator]
    assert out.tolist() == [0, 0]


@pytest.mark.parametrize("offset", OFFSETS)
def test_shift_down__leaves_its_source(offset: int) -> None:
    """It only reads the words."""
    words = random_entries(offset, 12)
    before = words.tolist()
    kernels.shift_down(words, offset, np.empty(12, np.uint64))
    assert words.tolist() == before
