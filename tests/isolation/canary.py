"""Words that say whose they are: guest, object, page, and the how-manieth write it was."""

import numpy as np

from npt._types import U8Array, U64Array
from npt.memory.objects import RamObject

__all__ = ["LATE", "PAGE", "are_of", "filled", "frames_of", "stamp", "strange"]

PAGE = 0x1000
LATE = 0xEE  # as a guest: who writes through a view of an object that is gone
_GUEST, _OBJECT, _PAGE = 56, 32, 16
_PLACE = np.uint64((1 << _GUEST) - (1 << _PAGE))  # bits that say which page of which object


def stamp(guest: int, number: int, page: int, count: int) -> int:
    """A word that is never zero. Guests and counts from 1."""
    return guest << _GUEST | number << _OBJECT | page << _PAGE | count % 0xFFFF + 1


def filled(word: int) -> U8Array:
    """A page of one word."""
    return np.full(PAGE // 8, word, np.uint64).view(np.uint8)


def are_of(words: U64Array, number: int, page: int) -> bool:
    """Whether all words are zero, or of one page of one object, whoever wrote them and when."""
    return not ((words != 0) & ((words & _PLACE) != np.uint64(number << _OBJECT | page << _PAGE))).any()


def strange(words: U64Array) -> str:
    """Whose words these are, for people."""
    kinds = [int(word) for word in np.unique(words) if word]
    named = (
        f"guest {word >> _GUEST:#x}, object {word >> _OBJECT & 0xFF_FFFF}, page {word >> _PAGE & 0xFFFF}, {word & 0xFFFF}"
        for word in kinds[:4]
    )
    return "; ".join(named) or "zero"


def frames_of(ram: RamObject) -> list[int]:
    """Frames of an object in the order of its bytes, counted from the reservoir's first."""
    base = ram.reservoir.base_pfn
    return [pfn - base for span in ram.spans for pfn in range(span.pfn, span.pfn + span.n_pages)]
