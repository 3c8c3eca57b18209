"""What this machine has, and what a guest takes, by numbers worked out by hand; processes are measured elsewhere."""

import json
from typing import Any

import numpy as np
import pytest

from npt import InvalidArgument
from npt.studies import dirty_log_memory, machine, memory_needs, policies_memory, population_memory

PAGE, MIB, GIB = 4096, 1 << 20, 1 << 30


@pytest.mark.parametrize(
    ("size", "n_tables", "bitmap"),
    [
        (PAGE, 4, 1),  # one of each level
        (2 * MIB, 4, 64),
        (2 * MIB + PAGE, 5, 65),
        (4 * GIB, 2048 + 4 + 1 + 1, 131_072),
        (1024 * GIB, 2**19 + 1024 + 2 + 1, 2**25),
    ],
)
def test_needs__of_a_guest(size: int, n_tables: int, bitmap: int) -> None:
    """A table for each 2 MiB, 1 GiB, 512 GiB and 256 TiB, or part of it; a bit a page."""
    needs = memory_needs(np.int64(size))  # type: ignore[arg-type]
    assert (needs["tables"], needs["bitmap"]) == (n_tables * PAGE, bitmap)
    assert needs["guest"] == size + n_tables * PAGE + bitmap


def test_needs__of_studies_with_their_defaults() -> None:
    """What each itself refuses more than; and more than the memory that it takes: the guest's bytes, twice, or the tables."""
    needs = memory_needs(GIB)
    assert needs["populate"] == population_memory(sizes=[GIB]) > needs["tables"]
    assert needs["dirty-log"] == dirty_log_memory(vcpu_bytes=GIB) > GIB
    assert needs["dirty-log, no bytes"] == dirty_log_memory(vcpu_bytes=GIB, backing="none") > needs["tables"]
    assert needs["migrate"] == policies_memory(n_pages=GIB // PAGE) > 2 * GIB


@pytest.mark.parametrize(
    ("size", "error"),
    [
        (0, InvalidArgument),
        (-PAGE, InvalidArgument),
        (PAGE + 1, InvalidArgument),
        (1 << 45, InvalidArgument),
        (1 << 70, InvalidArgument),
        (True, TypeError),
        (4096.0, TypeError),
        ("4GiB", TypeError),
    ],
)
def test_needs__refuses(size: Any, error: type[Exception]) -> None:
    """What is no size, and what no study takes."""
    with pytest.raises(error, match="size"):
        memory_needs(size)


def test_machine__in_plain_values() -> None:
    """All can be saved; none is made up."""
    has = machine()
    assert json.loads(json.dumps(has)) == has
    assert min(has["threads"], has["cpus"]) >= 1
    assert has["vector_bits"] in (0, 128, 256, 512)
    assert has["numpy"] == np.__version__
    assert 0 <= has["largest_guest"] < has["memory_available"]
