"""Copying and zeroing frames of the reservoir.

Guarantees: a page is one memory copy, not 4096 steps.
Relies on:  the frames are inside the memory (they come from entries of RAM, or were checked); nobody frees them meanwhile.
"""

import numpy as np

from npt._types import U8Array, U64Array
from npt.kernels.atomics import copy_bytes, prefetch, zero_bytes
from npt.kernels.jit import kernel

__all__ = ["copy_in", "gather", "scatter", "zero_spans"]

_ZERO, _ONE, _THREE, _NINE, _PAGE = np.uint64(0), np.uint64(1), np.uint64(3), np.uint64(9), np.uint64(4096)
_LINES = np.uint64(64)  # cache lines of a page, each of 2**3 words


@kernel("void(u1[::1], u8[:, ::1], u8, u8)")
def zero_spans(memory: U8Array, spans: U64Array, first: np.uint64, end: np.uint64) -> None:
    """Zero frames ``first`` to ``end`` of spans that are laid end to end; a row each: first frame, how many."""
    before, first, end = _ZERO, np.uint64(first), np.uint64(end)
    for i in range(np.uint64(spans.shape[0])):
        after = before + spans[i, 1]
        low, high = max(before, first), min(after, end)
        if low < high:
            zero_bytes(memory, (spans[i, 0] + low - before) * _PAGE, (high - low) * _PAGE)
        before = after


@kernel("void(u1[::1], u8[::1], u1[::1])")
def gather(memory: U8Array, frames: U64Array, pages: U8Array) -> None:
    """Copy frames out, side by side."""
    for i in range(np.uint64(frames.size)):
        copy_bytes(pages, i * _PAGE, memory, frames[i] * _PAGE, _PAGE)


@kernel("void(u1[::1], u8[::1], u8[::1], Array(u1, 1, 'C', True))")
def scatter(memory: U8Array, words: U64Array, frames: U64Array, pages: U8Array) -> None:
    """Copy pages that lie side by side into frames; ``words`` is the memory, too.

    A store to memory that is not near waits for it, so the next frame is fetched meanwhile.
    """
    n = np.uint64(frames.size)
    for i in range(n):
        if i + _ONE < n:
            for k in range(_LINES):
                prefetch(words, (frames[i + _ONE] << _NINE) + (k << _THREE))
        copy_bytes(memory, frames[i] * _PAGE, pages, i * _PAGE, _PAGE)


@kernel("void(u1[::1], u8[::1], u8, Array(u1, 1, 'C', True))")
def copy_in(memory: U8Array, frames: U64Array, skip: np.uint64, text: U8Array) -> None:
    """Copy bytes into frames that follow each other in the guest, from byte ``skip`` of the first."""
    done, size, skip = _ZERO, np.uint64(text.size), np.uint64(skip)
    for i in range(np.uint64(frames.size)):
        n_bytes = min(_PAGE - skip, size - done)
        copy_bytes(memory, frames[i] * _PAGE + skip, text, done, n_bytes)
        done += n_bytes
        skip = _ZERO
