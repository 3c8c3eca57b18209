"""Every exception that npt raises of its own.

All are ``NptError``, an ``OSError`` with a real ``errno``, and all have the standard parent that fits, so that
``except ValueError`` and ``except MemoryError`` mean what they say. Wrong types are plain ``TypeError``.
"""

import errno
from typing import Any

from npt._types import FaultCode

__all__ = [
    "AccessDenied",
    "AddressOverflow",
    "BeyondSpace",
    "Busy",
    "Deadlock",
    "Fault",
    "InvalidArgument",
    "InvariantError",
    "KickTimeout",
    "LinkDown",
    "NoSuchMapping",
    "NotSupported",
    "NptError",
    "Orphaned",
    "OutOfSegment",
    "Overlap",
    "ReservoirExhausted",
    "StaleHandle",
    "TrackingDisabled",
    "Unreadable",
]


class NptError(OSError):
    """Something npt refused or could not do; ``errno`` says which kind, ``strerror`` says what and why."""

    _number = errno.EIO

    def __init__(self, message: str) -> None:
        super().__init__(self._number, message)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.strerror,), self.__dict__  # OSError would hand over (errno, message)


class InvalidArgument(NptError, ValueError):
    """An argument that can never be right: unaligned, negative, empty, out of an object's bounds, foreign."""

    _number = errno.EINVAL


class AddressOverflow(InvalidArgument):
    """A range that reaches the last 64-bit address or goes past it."""

    _number = errno.EOVERFLOW


class OutOfSegment(InvalidArgument, IndexError):
    """A position outside a segment."""


class Unreadable(InvalidArgument):
    """A file that is damaged, cut short, or of another form."""


class BeyondSpace(NptError, ValueError):
    """A range that reaches past the end of its address space."""

    _number = errno.ENOMEM


class Overlap(NptError, ValueError):
    """A new mapping would cover part of another."""

    _number = errno.ENOMEM


class NoSuchMapping(NptError, LookupError):
    """Nothing is mapped there, or not exactly that; or no memory segment has that number."""

    _number = errno.ENOENT


class Fault(NptError, LookupError):
    """A page could not be held or faulted in.

    Attributes
    ----------
    code : FaultCode
        ``NOMAP`` when nothing is mapped there, ``PROT`` when the mapping forbids the access.
    """

    _number = errno.EFAULT

    def __init__(self, message: str, code: FaultCode) -> None:
        super().__init__(message)
        self.code = code

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.strerror, self.code), self.__dict__


class TrackingDisabled(NptError, PermissionError):
    """A dirty call on a space that does not track dirty pages."""

    _number = errno.EPERM


class AccessDenied(NptError, PermissionError):
    """A view or a write that the hold's or segment's protection forbids."""

    _number = errno.EACCES


class Orphaned(NptError, RuntimeError):
    """The space of this client is gone."""

    _number = errno.ENXIO


class ReservoirExhausted(NptError, MemoryError):
    """The reservoir, its limit or the machine has too little memory; nothing was taken."""

    _number = errno.ENOSPC


class StaleHandle(NptError, RuntimeError):
    """A handle was used after its release, destroy or close."""

    _number = errno.EBADF


class Busy(NptError, RuntimeError):
    """Mappings, holds, views or another vCPU are still there."""

    _number = errno.EBUSY


class Deadlock(NptError, RuntimeError):
    """The call would wait for its own thread."""

    _number = errno.EDEADLK


class KickTimeout(NptError, TimeoutError):
    """A vCPU did not leave the tables within the space's ``kick_timeout``."""

    _number = errno.ETIMEDOUT


class NotSupported(NptError, RuntimeError):
    """A view of memory that has no bytes here: MMIO, or an unbacked reservoir."""

    _number = errno.ENOTSUP


class LinkDown(NptError, ConnectionError):
    """A migration's bandwidth went to nothing; the guest is still at the source."""

    _number = errno.ENETDOWN


class InvariantError(NptError, AssertionError):
    """A bug in npt itself; please report it."""

    _number = errno.EIO
