"""A guest to be timed: resident throughout, without bytes."""

import time
from collections.abc import Callable, Hashable
from typing import Any

from npt import PAGE_SIZE, Prot, PteFormat, Reservoir, VmSpace

__all__ = ["Guest"]


class Guest:
    """One mapping over the whole of a space that tracks dirty pages, populated; and the seconds of what was timed on it.

    Parameters
    ----------
    format
        ``EPT`` or ``NPT``.
    size
        Bytes.
    """

    def __init__(self, format: PteFormat, size: int) -> None:
        self.size, self.n_pages = size, size // PAGE_SIZE
        self.reservoir = Reservoir(size, backed=False)
        self.ram = self.reservoir.allocate(size)
        self.space = VmSpace(size, format=format, reservoir=self.reservoir, track_dirty=True)
        self.space.map(self.ram, 0, size, Prot.RWX)
        self.space.populate(0, size)
        self.levels = self.space._core.table.levels
        self.seconds: dict[Hashable, list[float]] = {}

    def time(self, name: Hashable, work: Callable[[], Any]) -> Any:
        """Do some work and note how long it took."""
        start = time.perf_counter()
        result = work()
        self.seconds.setdefault(name, []).append(time.perf_counter() - start)
        return result

    def close(self) -> None:
        """Give everything back."""
        self.space.close()
        self.ram.release()
        self.reservoir.close()
