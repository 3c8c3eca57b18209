"""Guest memory of a hypervisor: address spaces, nested page tables (EPT and nPT), a reservoir, clients, vCPUs, dirty logs.

Kernels are compiled on first use and cached; ``warm_up`` compiles them all. The rooms ``npt.dirty``, ``npt.studies``,
``npt.testing`` and ``npt.view`` load on first use.
"""

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from npt._types import ExitReason, FaultCode, MemAttr, Prot, WalkKind
from npt.errors import (
    AccessDenied,
    AddressOverflow,
    BeyondSpace,
    Busy,
    Deadlock,
    Fault,
    InvalidArgument,
    InvariantError,
    KickTimeout,
    LinkDown,
    NoSuchMapping,
    NotSupported,
    NptError,
    Orphaned,
    OutOfSegment,
    Overlap,
    ReservoirExhausted,
    StaleHandle,
    TrackingDisabled,
    Unreadable,
)
from npt.formats import EPT, NPT, PteFormat, PteMasks
from npt.memory.objects import MmioObject, RamObject, VmObject
from npt.memory.reservoir import Reservoir, ReservoirUsage
from npt.memory.spans import Span
from npt.space.client import VmClient
from npt.space.exclusion import Counters
from npt.space.mappings import Mapping
from npt.space.page import VmPage, VmPages
from npt.space.segment import Segment
from npt.space.vcpu import Vcpu, VcpuExit
from npt.space.vm import Vm
from npt.space.vmspace import VmSpace
from npt.table.explain import Walk, WalkStep
from npt.table.tree import PageTable
from npt.units import NO_PFN, PAGE_SIZE, format_size, parse_size

__version__ = "0.1.0"

__all__ = [
    "EPT",
    "NO_PFN",
    "NPT",
    "PAGE_SIZE",
    "AccessDenied",
    "AddressOverflow",
    "BeyondSpace",
    "Busy",
    "Counters",
    "Deadlock",
    "ExitReason",
    "Fault",
    "FaultCode",
    "InvalidArgument",
    "InvariantError",
    "KickTimeout",
    "LinkDown",
    "Mapping",
    "MemAttr",
    "MmioObject",
    "NoSuchMapping",
    "NotSupported",
    "NptError",
    "Orphaned",
    "OutOfSegment",
    "Overlap",
    "PageTable",
    "Prot",
    "PteFormat",
    "PteMasks",
    "RamObject",
    "Reservoir",
    "ReservoirExhausted",
    "ReservoirUsage",
    "Segment",
    "Span",
    "StaleHandle",
    "TrackingDisabled",
    "Unreadable",
    "Vcpu",
    "VcpuExit",
    "Vm",
    "VmClient",
    "VmObject",
    "VmPage",
    "VmPages",
    "VmSpace",
    "Walk",
    "WalkKind",
    "WalkStep",
    "format_size",
    "parse_size",
    "warm_up",
]

_ROOMS = ("dirty", "studies", "testing", "view")


def warm_up(progress: Callable[[int, int], object] | None = None) -> int:
    """Compile all kernels now, or load them from the cache; return how many there are.

    Parameters
    ----------
    progress
        Called with how many are ready and how many there are, at first and after each; what it raises ends the work, and
        what was compiled stays in the cache.
    """
    from npt import kernels

    kernels.load_all()
    return kernels.jit.warm_up(progress)


def __getattr__(name: str) -> ModuleType:
    if name in _ROOMS and find_spec(f"{__name__}.{name}") is not None:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
