"""How npt ends, and what it says then."""

import os
from enum import IntEnum

from npt.errors import InvalidArgument, NptError, Unreadable

__all__ = ["Exit", "code", "told"]


class Exit(IntEnum):
    """How ``npt`` ends."""

    FINE = 0
    FAILED = 1  # a check, or the work itself
    USAGE = 2
    UNREADABLE = 3
    TOO_LARGE = 4
    BUG = 70
    INTERRUPTED = 130


def code(error: OSError) -> Exit:
    """How npt ends after an error of its own, or of the system."""
    if isinstance(error, Unreadable):
        return Exit.UNREADABLE
    if isinstance(error, MemoryError):
        return Exit.TOO_LARGE
    return Exit.USAGE if isinstance(error, InvalidArgument) else Exit.FAILED


def told(error: OSError, file: str | os.PathLike[str] | None = None) -> str:
    """What went wrong, for people, and with which file: that which they know, if it is given."""
    if isinstance(error, NptError) or not error.strerror:
        return str(error.strerror or error)
    name = error.filename if file is None else file
    return error.strerror if name is None else f"{os.fsdecode(name)}: {error.strerror}"
