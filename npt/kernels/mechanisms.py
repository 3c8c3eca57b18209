"""How writes get noticed: what each mechanism but the D-bit scan makes of the accesses that a vCPU has completed.

Theory of operation
-------------------
A page is *armed* while its next write will be noticed, because it is write-protected or because its D bit is clear; that
write disarms it. Bitmaps here are words, bit k of word j for page ``64 * j + k`` of the range: ``unarmed``; ``dirty``, what
the host has found so far; and ``reported``, what the last get told and nobody has cleared since.

Between a write and ``dirty`` there may be a list of page numbers for each vCPU, a log or a ring: ``entries``, of which the
first ``used[0]`` are filled. A log is drained when an entry is due that it has no room for; a ring is reaped and its pages
are armed again as soon as it holds as many as it may.

Guarantees: accesses take effect in order; what is no write, or outside the range, changes nothing.
Relies on:  a page is in at most one list, and there once, so that ``entries`` needs no more room than the range has pages;
            bitmaps cover the range; ``kinds`` is one for all, or one each.
"""

import numpy as np

from npt._types import U8Array, U64Array
from npt.kernels.atomics import popcount
from npt.kernels.jit import inline, kernel

__all__ = ["drain", "drop", "log", "note_writes", "protect", "push", "rearm", "settle"]

_ZERO, _ONE, _ALL = np.uint64(0), np.uint64(1), np.uint64(2**64 - 1)
_SIX, _LOW, _GROUP, _PAGE_SHIFT = np.uint64(6), np.uint64(63), np.uint64(64), np.uint64(12)
_THREE, _SEVEN = np.uint64(3), np.uint64(7)
_WRITE = np.uint64(1)  # kind of access

# Words of an outcome: of an observation, and of copies that were accounted for.
_FOUND, _FULL = _ZERO, _ONE
_COPIED, _FALSE, _MISSED = _ZERO, _ONE, np.uint64(2)


@inline
def _written(gpas: U64Array, kinds: U8Array, i: np.uint64, base: np.uint64, n_pages: np.uint64) -> np.uint64:
    """Page of the range that access ``i`` writes to, or ``n_pages`` if it does not."""
    page = (gpas[i] - base) >> _PAGE_SHIFT
    wanted = np.uint64(kinds[i if kinds.size != 1 else _ZERO]) == _WRITE
    return page if wanted and page < n_pages else n_pages


@inline
def _has(words: U64Array, page: np.uint64) -> bool:
    return bool(((words[page >> _SIX] >> (page & _LOW)) & _ONE) != _ZERO)


@inline
def _set(words: U64Array, page: np.uint64) -> None:
    words[page >> _SIX] |= _ONE << (page & _LOW)


@inline
def _disarm(
    gpas: U64Array, kinds: U8Array, i: np.uint64, base: np.uint64, n_pages: np.uint64, unarmed: U64Array, outcome: U64Array
) -> np.uint64:
    """Disarm and count the page that access ``i`` writes to, if it is armed; else return ``n_pages``."""
    page = _written(gpas, kinds, i, base, n_pages)
    if page == n_pages or _has(unarmed, page):
        return n_pages
    _set(unarmed, page)
    outcome[_FOUND] += _ONE
    return page


@inline
def _append(entries: U64Array, used: U64Array, page: np.uint64) -> None:
    entries[used[0]] = page
    used[0] += _ONE


@inline
def _move(entries: U64Array, used: U64Array, dirty: U64Array) -> None:
    """Empty a list into a bitmap."""
    for k in range(used[0]):
        _set(dirty, entries[k])
    used[0] = _ZERO


@kernel("void(Array(u8, 1, 'C', True), Array(u1, 1, 'C', True), u8, u8, u8[::1], u8[::1])")
def protect(gpas: U64Array, kinds: U8Array, base: np.uint64, n_pages: np.uint64, unarmed: U64Array, outcome: U64Array) -> None:
    """Write-protection: disarm armed pages as they are written; ``outcome`` counts them."""
    for i in range(np.uint64(gpas.size)):
        _disarm(gpas, kinds, np.uint64(i), np.uint64(base), np.uint64(n_pages), unarmed, outcome)


@kernel("void(Array(u8, 1, 'C', True), Array(u1, 1, 'C', True), u8, u8, u8[::1], u8[::1], u8[::1], u8[::1], u8, u8[::1])")
def log(
    gpas: U64Array, kinds: U8Array, base: np.uint64, n_pages: np.uint64, unarmed: U64Array, dirty: U64Array,
    entries: U64Array, used: U64Array, capacity: np.uint64, outcome: U64Array,
) -> None:  # fmt: skip
    """A log: disarm armed pages as they are written and log them; ``outcome`` counts them, and drains of a full log."""
    for i in range(np.uint64(gpas.size)):
        page = _disarm(gpas, kinds, np.uint64(i), np.uint64(base), np.uint64(n_pages), unarmed, outcome)
        if page < np.uint64(n_pages):
            if used[0] == np.uint64(capacity):
                _move(entries, used, dirty)
                outcome[_FULL] += _ONE
            _append(entries, used, page)


@kernel("void(Array(u8, 1, 'C', True), Array(u1, 1, 'C', True), u8, u8, u8[::1], u8[::1], u8[::1], u8[::1], u8, u8[::1])")
def push(
    gpas: U64Array, kinds: U8Array, base: np.uint64, n_pages: np.uint64, unarmed: U64Array, dirty: U64Array,
    entries: U64Array, used: U64Array, limit: np.uint64, outcome: U64Array,
) -> None:  # fmt: skip
    """A ring: the same, but as soon as it holds ``limit`` pages it is emptied, and these are armed again."""
    for i in range(np.uint64(gpas.size)):
        page = _disarm(gpas, kinds, np.uint64(i), np.uint64(base), np.uint64(n_pages), unarmed, outcome)
        if page < np.uint64(n_pages):
            _append(entries, used, page)
            if used[0] == np.uint64(limit):
                for k in range(used[0]):
                    unarmed[entries[k] >> _SIX] &= ~(_ONE << (entries[k] & _LOW))
                _move(entries, used, dirty)
                outcome[_FULL] += _ONE


@kernel("void(u8[::1], u8[::1], u8[::1])")
def drain(entries: U64Array, used: U64Array, dirty: U64Array) -> None:
    """Empty a log or a ring into a bitmap; nothing is armed."""
    _move(entries, used, dirty)


@inline
def _inside(word: np.uint64, first: np.uint64, end: np.uint64) -> np.uint64:
    """Bits of a word that belong to pages ``first`` to ``end``; some of them do."""
    start = word << _SIX
    mask = _ALL
    if start < first:
        mask <<= first - start
    if start + _GROUP > end:
        mask &= _ALL >> (start + _GROUP - end)
    return mask


@kernel("u8(u8[::1], u8[::1], u8[::1], u8, u8)")
def rearm(reported: U64Array, unarmed: U64Array, dirty: U64Array, first: np.uint64, n_pages: np.uint64) -> np.uint64:
    """Forget that pages of a part were reported and dirty, and arm them; return how many were not armed."""
    first, end, armed = np.uint64(first), np.uint64(first) + np.uint64(n_pages), _ZERO
    for word in range(first >> _SIX, (end + _LOW) >> _SIX):
        told = reported[word] & _inside(np.uint64(word), first, end)
        armed += popcount(told & unarmed[word])
        reported[word] &= ~told
        unarmed[word] &= ~told
        dirty[word] &= ~told
    return armed


@kernel("void(u8[::1], u8, u8)")
def drop(words: U64Array, first: np.uint64, n_pages: np.uint64) -> None:
    """Clear the bits of a part."""
    first, end = np.uint64(first), np.uint64(first) + np.uint64(n_pages)
    for word in range(first >> _SIX, (end + _LOW) >> _SIX):
        words[word] &= ~_inside(np.uint64(word), first, end)


# -- the truth ----------------------------------------------------------------------------------------------------------


@kernel("void(Array(u8, 1, 'C', True), Array(u1, 1, 'C', True), u8, u8, u8, u8[::1])")
def note_writes(gpas: U64Array, kinds: U8Array, base: np.uint64, n_pages: np.uint64, before: np.uint64, last: U64Array) -> None:
    """Note for each page the last access that wrote it: its number from 1, counted on from ``before``."""
    for i in range(np.uint64(gpas.size)):
        page = _written(gpas, kinds, np.uint64(i), np.uint64(base), np.uint64(n_pages))
        if page < np.uint64(n_pages):
            last[page] = np.uint64(before) + i + _ONE


@kernel("void(u8[::1], u8[::1], u8[::1], Array(u1, 1, 'C', True), u8[::1])")
def settle(pages: U64Array, copied: U64Array, last: U64Array, bitmap: U8Array, outcome: U64Array) -> None:
    """Settle the account of copies: ``copied`` has, by page, the first access after its copy, from 1, and is 0 afterwards."""
    for i in range(np.uint64(pages.size)):
        page, since = pages[i], copied[pages[i]]
        if since == _ZERO:
            continue  # named twice
        copied[page] = _ZERO
        again = ((np.uint64(bitmap[page >> _THREE]) >> (page & _SEVEN)) & _ONE) != _ZERO
        written = last[page] >= since
        outcome[_COPIED] += _ONE
        if again and not written:
            outcome[_FALSE] += _ONE
        if written and not again:
            outcome[_MISSED] += _ONE
