"""Fixtures of this room."""

import pytest

from npt.memory.reservoir import Reservoir
from tests.memory.scene import LIMIT, SIZE


@pytest.fixture
def reservoir() -> Reservoir:
    """A small one, with room for transient objects."""
    return Reservoir(SIZE, limit=LIMIT)
