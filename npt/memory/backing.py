"""The bytes behind a reservoir's frames.

Guarantees: memory is asked for before it is taken. ``numpy.frombuffer`` over a window makes a memoryview of its own under
each array, which lasts exactly as long as anything that is derived from the array.
"""

import numpy as np

from npt import _host as host
from npt._types import U8Array
from npt.errors import ReservoirExhausted
from npt.units import format_size

__all__ = ["U8", "Backing"]

U8 = np.dtype(np.uint8)
"""Looked up once: numpy takes longer for that than for a view."""


class Backing:
    """One writable stretch of zeroed memory, or none.

    Parameters
    ----------
    n_bytes
        How much; 0 for none.

    Attributes
    ----------
    memory : numpy.ndarray
        ``uint8``, shape ``(n_bytes,)``, writable.
    windows : tuple of memoryview
        The same for reading and for writing, to cut views from; indexed by whether one may write.

    Raises
    ------
    ReservoirExhausted
        The machine, or this process's control group, cannot give it now.
    """

    __slots__ = ("memory", "windows")

    def __init__(self, n_bytes: int) -> None:
        backing = _take_memory(n_bytes) if n_bytes else bytearray()
        whole = memoryview(backing)
        self.windows = (whole.toreadonly(), whole)
        self.memory: U8Array = np.frombuffer(backing, U8) if backing else np.empty(0, U8)

    def __bool__(self) -> bool:
        return bool(self.windows[0])


def _take_memory(n_bytes: int) -> bytearray:
    """The backing, zero; asked for before it is taken, because a container that takes too much is killed."""
    available = host.available_bytes()
    left = "" if available is None else f"; {available:#x} ({format_size(available)}) are available"
    refusal = f"{n_bytes:#x} bytes ({format_size(n_bytes)}) wanted of this machine{left}; ask for less, or use backed=False"
    if available is not None and n_bytes > available:
        raise ReservoirExhausted(refusal)
    try:
        return bytearray(n_bytes)
    except (MemoryError, OverflowError):
        raise ReservoirExhausted(refusal) from None
