"""Guests of real bytes, made for one study and taken down behind it."""

from collections.abc import Iterator
from contextlib import contextmanager

from npt._types import Prot, U64Array
from npt.formats.base import PteFormat
from npt.memory.reservoir import Reservoir
from npt.space.vmspace import VmSpace
from npt.units import PAGE_SIZE

__all__ = ["Guest", "guest"]


class Guest:
    """A space with one mapping at 0 that tracks dirty pages.

    Attributes
    ----------
    space : VmSpace
        Of the memory's length.
    words : numpy.ndarray
        ``uint64``, a row a page: its memory, without a copy.
    """

    def __init__(self, space: VmSpace, words: U64Array) -> None:
        self.space, self.words = space, words


@contextmanager
def guest(length: int, format: PteFormat) -> Iterator[Guest]:
    """A guest of so many bytes, all zero."""
    with (
        Reservoir(length) as reservoir,
        reservoir.allocate(length) as ram,
        VmSpace(length, format=format, reservoir=reservoir, track_dirty=True) as space,
    ):
        space.map(ram, 0, length, Prot.RW)
        start = (ram.pfn_at(0) - reservoir.base_pfn) * PAGE_SIZE
        yield Guest(space, reservoir.memory[start : start + length].view("u8").reshape(-1, PAGE_SIZE // 8))
