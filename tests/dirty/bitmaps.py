"""Bitmaps for tests: random ones of a given length, and what they hold as Python sets."""

import numpy as np

from npt._types import U8Array

__all__ = ["LENGTHS", "SHARES", "dirt", "make", "pages_of"]

LENGTHS = sorted({*range(1, 201), *(n for k in range(4, 18) for n in range(64 * k - 2, 64 * k + 3)), 4095, 4096, 4097, 4161})
SHARES = (0.0, 0.02, 0.5, 0.98, 1.0)


def make(n_pages: int, share: float, seed: int = 0) -> tuple[U8Array, set[int]]:
    """A bitmap and the pages that are set in it."""
    bits = np.random.default_rng([seed, n_pages, int(share * 100)]).random(n_pages) < share
    return np.packbits(bits, bitorder="little"), set(np.flatnonzero(bits).tolist())


def dirt(bitmap: U8Array, n_pages: int) -> U8Array:
    """A copy whose bits past the end are all set: what nobody may look at."""
    copy = bitmap.copy()
    if n_pages % 8:
        copy[-1] |= 0xFF << n_pages % 8 & 0xFF
    return copy


def pages_of(bitmap: U8Array) -> set[int]:
    """Pages that are set, by numpy; past the end, too."""
    return set(np.flatnonzero(np.unpackbits(bitmap, bitorder="little")).tolist())
