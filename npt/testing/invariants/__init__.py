"""What is always true of a space, by subject; each module enters its own lines into the list."""

from npt.testing.invariants import tables, leaves, mappings, holds, clients, memory  # noqa: F401, I001  # in this order
from npt.testing.invariants.listing import INVARIANTS, Invariant

__all__ = ["INVARIANTS", "Invariant"]
