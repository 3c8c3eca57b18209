"""Bitmaps: shifted between where a range starts and where its first leaf table starts.

Bit k of word j is page ``64 * j + k``; in memory that is bit k of byte j for page ``8 * j + k``, on a little-endian machine.
"""

import numpy as np

from npt._types import U64Array
from npt.kernels.jit import kernel

__all__ = ["shift_down", "shift_up"]

_ZERO, _ONE, _GROUP, _LOW, _SIX = np.uint64(0), np.uint64(1), np.uint64(64), np.uint64(63), np.uint64(6)


@kernel("void(u8[::1], u8, u8[::1])")
def shift_down(words: U64Array, offset: np.uint64, out: U64Array) -> None:
    """``out`` bit k becomes ``words`` bit ``k + offset``; past the end of ``words`` is zero."""
    skip, low = np.uint64(offset) >> _SIX, np.uint64(offset) & _LOW
    size = np.uint64(words.size)
    for i in range(np.uint64(out.size)):
        at = i + skip
        out[i] = words[at] >> low if at < size else _ZERO
        if low != _ZERO and at + _ONE < size:
            out[i] |= words[at + _ONE] << (_GROUP - low)


@kernel("void(u8[::1], u8, u8[::1])")
def shift_up(words: U64Array, offset: np.uint64, out: U64Array) -> None:
    """OR ``words`` bit k into ``out`` bit ``k + offset``; what does not fit is dropped."""
    skip, low = np.uint64(offset) >> _SIX, np.uint64(offset) & _LOW
    size = np.uint64(out.size)
    for i in range(np.uint64(words.size)):
        at = i + skip
        if at < size:
            out[at] |= words[i] << low
        if low != _ZERO and at + _ONE < size:
            out[at + _ONE] |= words[i] >> (_GROUP - low)
