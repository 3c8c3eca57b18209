"""Where random choices come from: bytes that somebody else made, or a seed."""

from typing import Any, Protocol

import numpy as np

__all__ = ["Bytes", "Exhausted", "Seeded", "Source"]


class Exhausted(Exception):
    """There are no more bytes to make choices from."""


class Source(Protocol):
    """Makes choices."""

    def below(self, n: int) -> int:
        """A number from 0 to ``n - 1``; small ones are the simple ones."""
        ...


class Bytes:
    """Choices made by given bytes: two of them a choice, and eight where many are possible.

    Parameters
    ----------
    text
        The bytes.
    """

    def __init__(self, text: bytes) -> None:
        self._text, self._at = text, 0

    def below(self, n: int) -> int:
        """The next number; raises ``Exhausted`` when there are no more bytes."""
        width = 2 if n <= 1 << 12 else 8
        piece = self._text[self._at : self._at + width]
        if len(piece) < width:
            piece = self._more(width)
        self._at += width
        return int.from_bytes(piece, "little") % n

    def _more(self, width: int) -> bytes:
        raise Exhausted


class Seeded(Bytes):
    """Choices without an end, the same for the same seed.

    Parameters
    ----------
    seed
        Anything that ``numpy.random.default_rng`` takes.
    """

    _BLOCK = 1 << 16

    def __init__(self, seed: Any) -> None:
        super().__init__(b"")
        self._random = np.random.default_rng(seed)

    def _more(self, width: int) -> bytes:
        self._text, self._at = self._random.bytes(self._BLOCK), 0
        return self._text[:width]
