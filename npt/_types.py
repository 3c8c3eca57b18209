"""Small types that every room shares: protections, memory types, fault codes, exits, array aliases."""

from enum import Enum, IntEnum, IntFlag
from typing import NoReturn, TypeAlias

import numpy as np
from numpy.typing import NDArray

from npt._html import Shown

__all__ = ["ExitReason", "FaultCode", "Handle", "MemAttr", "Prot", "U8Array", "U64Array", "WalkKind"]

U64Array: TypeAlias = NDArray[np.uint64]
U8Array: TypeAlias = NDArray[np.uint8]


class Prot(IntFlag):
    """What may be done with a page."""

    NONE = 0
    READ = 1
    WRITE = 2
    EXEC = 4
    RW = 3
    RX = 5
    RWX = 7


class FaultCode(IntEnum):
    """Why a page could not be had. Zero stands for "fine" where outcomes are in an array."""

    NOMAP = 1
    PROT = 2


class MemAttr(IntEnum):
    """x86 memory types that guest memory can have."""

    UC = 0
    WB = 6


class ExitReason(Enum):
    """Why a vCPU came back."""

    DONE = "done"
    FAULT = "fault"
    KICKED = "kicked"


class WalkKind(Enum):
    """What a hardware walk came to."""

    OK = "ok"
    VIOLATION = "violation"
    MISCONFIG = "misconfig"


class Handle(Shown):
    """A thing of this process: it can be neither copied nor pickled."""

    __slots__ = ()

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"a {type(self).__name__} cannot be copied or pickled: it belongs to this process")
