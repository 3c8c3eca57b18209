"""Every kernel, compiled, does bit for bit what its twin in plain Python does: one source, two machines.

With ``NPT_LONG=1`` each kernel is called 2,000 times instead of 24.
"""

import os
from random import Random

import numpy as np
import pytest

from npt import kernels
from npt.testing import Twins
from tests.properties import bitmap_calls, table_calls, walk_calls
from tests.properties.calls import CASES

pytestmark = pytest.mark.skipif(kernels.jit.DISABLED, reason="compares with compiled kernels")
TIMES = 2000 if os.environ.get("NPT_LONG") else 24
MADE_IN = (bitmap_calls, table_calls, walk_calls)


@pytest.fixture(scope="module")
def twins() -> Twins:
    """Of all kernels."""
    return Twins([f"{name}.*" for name in kernels.__all__ if name != "jit"])


def test_cases__there_is_one_for_every_kernel() -> None:
    """A new kernel needs calls of its own in this folder, and one that is gone takes its calls with it."""
    kernels.load_all()
    assert {make.__module__ for make in CASES.values()} == {module.__name__ for module in MADE_IN}
    assert {f"npt.kernels.{name}" for name in CASES} == {name for name in kernels.jit.KERNELS if name.startswith("npt.")}


@pytest.mark.parametrize("name", CASES)
def test_twin__does_the_same(name: str, twins: Twins) -> None:
    """The same result, and the same in all arrays; some calls do something, and not all come to the same."""
    file, _, function = name.partition(".")
    kernel, twin = getattr(getattr(kernels, file), function), twins.functions[name]
    results, changes = set(), 0
    for seed in range(TIMES):
        ours, theirs = CASES[name](Random(seed)), CASES[name](Random(seed))
        before = [array.copy() for array in ours.arrays()]
        result = kernel(*ours.arguments)
        assert result == twin(*theirs.arguments), f"seed {seed}"
        for place, (one, other) in enumerate(zip(ours.arrays(), theirs.arrays(), strict=True)):
            assert np.array_equal(one, other), f"seed {seed}, array {place}"
        changes += any(not np.array_equal(one, other) for one, other in zip(before, ours.arrays(), strict=True))
        results.add(result)
    assert changes > TIMES // 8 or len(results) > 2
