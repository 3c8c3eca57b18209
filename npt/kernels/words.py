"""Single words that threads share, from Python: sequentially consistent on every machine.

Guarantees: no torn and no lost update; what was written before a ``store`` is seen by who ``load``s what it stored.
"""

import numpy as np

from npt._types import U64Array
from npt.kernels.atomics import atomic_add, atomic_load, atomic_store
from npt.kernels.jit import kernel

__all__ = ["add", "load", "store"]


@kernel("u8(u8[::1], u8)")
def load(words: U64Array, index: np.uint64) -> np.uint64:
    """Read a word."""
    return atomic_load(words, np.uint64(index))


@kernel("void(u8[::1], u8, u8)")
def store(words: U64Array, index: np.uint64, value: np.uint64) -> None:
    """Write a word."""
    atomic_store(words, np.uint64(index), np.uint64(value))


@kernel("void(u8[::1], u8, u8)")
def add(words: U64Array, index: np.uint64, value: np.uint64) -> None:
    """Add to a word, modulo 2**64."""
    atomic_add(words, np.uint64(index), np.uint64(value))
