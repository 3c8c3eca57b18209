"""``Tlb``: translations that a vCPU has cached."""

import numpy as np

from npt import kernels
from npt._types import U64Array
from npt.errors import InvalidArgument
from npt.units import digits

__all__ = ["MOST_ENTRIES", "Tlb"]

MOST_ENTRIES = 1 << 24  # ten thousand times what hardware has


class Tlb:
    """Entries of a simulated TLB; how they are used, ``npt.kernels.tlb`` says.

    Parameters
    ----------
    n
        How many, at least one.
    generation
        Of the space, now: an empty TLB is as good as one that was just flushed.

    Raises
    ------
    InvalidArgument
        More than anybody could want.
    """

    def __init__(self, n: int, generation: int) -> None:
        if n > MOST_ENTRIES:
            raise InvalidArgument(f"a TLB of {digits(n)} entries is too large; {MOST_ENTRIES} are the most")
        ways = kernels.tlb.WAYS
        self.entries: U64Array = np.zeros((n, 2), np.uint64)  # page number + 1, translation
        self.fills: U64Array = np.zeros(-(-n // ways), np.uint64)  # by set
        self.generation = generation  # at which it was last flushed

    def flush(self, generation: int) -> None:
        """Forget everything."""
        self.entries.fill(0)
        self.fills.fill(0)
        self.generation = generation
