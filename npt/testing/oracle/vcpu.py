"""``Vcpu``: accesses of a guest to its memory, one after the other.

A simulated TLB is never seen where every shoot-down is done, so there is none.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npt._types import ExitReason, FaultCode, Prot
from npt.errors import InvalidArgument, NotSupported
from npt.testing.oracle.arguments import PAGE_SIZE, Handle, addresses, flags, integer, natural, numbers, written
from npt.testing.oracle.client import VmClient
from npt.testing.oracle.entries import Leaf, qualification

__all__ = ["Vcpu", "VcpuExit"]

_MOST_TLB_ENTRIES = 1 << 24
_WORD = 8


@dataclass(frozen=True)
class VcpuExit:
    """Why a vCPU came back."""

    reason: ExitReason
    completed: int
    gpa: int | None = None
    code: FaultCode | None = None
    qualification: int | None = None


@dataclass
class _Access:
    """One access: where, for what, what it stores, and where what it loads goes."""

    gpa: int
    prot: Prot
    value: int | None = None
    load: Callable[[int], object] | None = None


class Vcpu(Handle):
    """A virtual processor."""

    def __init__(self, client: Any, *, cpu: Any = 0, tlb: Any = 0) -> None:
        if not isinstance(client, VmClient):
            raise TypeError(f"client must be a VmClient, not {type(client).__name__}")
        integer(cpu, "cpu"), integer(tlb, "tlb")
        client.check_alive()
        self.client, self.cpu, self.tlb = client, natural(cpu, "cpu"), natural(tlb, "tlb")
        if self.tlb > _MOST_TLB_ENTRIES:
            raise InvalidArgument(f"a TLB of {tlb} entries is too large")

    def run(self, gpas: Any, *, write: Any = False, execute: Any = False, values: Any = None, into: Any = None) -> VcpuExit:
        """Perform accesses, having faults served."""
        return self._perform(self._check(gpas, write, execute, values, into), self._serve)

    def step(self, gpas: Any, *, write: Any = False, execute: Any = False, values: Any = None, into: Any = None) -> VcpuExit:
        """Perform accesses up to the first fault; nothing becomes resident."""
        return self._perform(self._check(gpas, write, execute, values, into), self._refuse)

    # -- accesses -------------------------------------------------------------------------------------------------------

    def _perform(self, accesses: list[_Access], at_fault: Callable[[_Access, Leaf | None], int]) -> VcpuExit:
        guest = self.client.guest
        self.client.check_may_enter()
        for k, access in enumerate(accesses):
            leaf = guest.leaf_of(access.gpa)
            if leaf is None or access.prot & ~leaf.prot:
                granted = Prot.NONE if leaf is None else leaf.prot
                code = at_fault(access, leaf)
                if code:
                    told = qualification(guest.format, access.prot, granted)
                    return VcpuExit(ExitReason.FAULT, k, access.gpa, FaultCode(code), told)
            self._do(access, guest.install(access.gpa))
        return VcpuExit(ExitReason.DONE, len(accesses))

    def _serve(self, access: _Access, leaf: Leaf | None) -> int:
        return self.client.serve(access.gpa, access.prot)

    def _refuse(self, access: _Access, leaf: Leaf | None) -> int:
        return FaultCode.NOMAP if leaf is None else FaultCode.PROT

    def _do(self, access: _Access, leaf: Leaf) -> None:
        """Set the marks, then store or load. EPT marks while tracking is on only, nPT always."""
        if self.client.guest.tracking or self.client.guest.format.name == "npt":
            leaf.accessed = True
            leaf.dirty = leaf.dirty or access.prot == Prot.WRITE
        start = access.gpa % PAGE_SIZE
        if access.value is not None:
            _memory(leaf)[start : start + _WORD] = access.value.to_bytes(_WORD, "little")
        if access.load is not None:
            access.load(int.from_bytes(_memory(leaf)[start : start + _WORD], "little"))

    # -- arguments ------------------------------------------------------------------------------------------------------

    def _check(self, gpas: Any, write: Any, execute: Any, values: Any, into: Any) -> list[_Access]:
        """Types, stale handle, values, orphan."""
        asked = numbers(gpas, "gpas")
        stored = None if values is None else numbers(values, "values")
        writes, executes = flags(write, "write"), flags(execute, "execute")
        if into is not None and (not isinstance(into, np.ndarray) or into.dtype != np.uint64):
            raise TypeError("into must be an array of uint64")
        self.client.check_alive()
        accesses = _accesses(addresses(asked), writes, executes)
        if stored is not None:
            _give_values(accesses, addresses(stored, "values"))
        if into is not None:
            self._give_loads(accesses, into)
        self.client.check_use()
        return accesses

    def _give_loads(self, accesses: list[_Access], into: NDArray[np.uint64]) -> None:
        if into.shape != (len(accesses),):
            raise InvalidArgument(f"into has shape {into.shape}")
        _check_words(accesses, Prot.READ)
        written(into, "into", self.client.guest.windows())
        for k, access in enumerate(accesses):
            if access.prot == Prot.READ:
                access.load = lambda word, k=k: into.__setitem__(k, word)


def _accesses(gpas: list[int], writes: NDArray[np.bool_], executes: NDArray[np.bool_]) -> list[_Access]:
    for array in (writes, executes):
        if array.ndim and array.shape != (len(gpas),):
            raise InvalidArgument(f"flags have shape {array.shape}; there are {len(gpas)} accesses")
    accesses = []
    for k, gpa in enumerate(gpas):
        write, execute = (bool(array[k] if array.ndim else array) for array in (writes, executes))
        if write and execute:
            raise InvalidArgument("an access cannot both write and execute")
        accesses.append(_Access(gpa, Prot.WRITE if write else Prot.EXEC if execute else Prot.READ))
    return accesses


def _give_values(accesses: list[_Access], values: list[int]) -> None:
    if len(values) != len(accesses):
        raise InvalidArgument(f"{len(values)} values for {len(accesses)} accesses")
    _check_words(accesses, Prot.WRITE)
    for access, value in zip(accesses, values, strict=True):
        if access.prot == Prot.WRITE:
            access.value = value


def _check_words(accesses: list[_Access], kind: Prot) -> None:
    """Words are at multiples of 8."""
    for access in accesses:
        if access.prot == kind and access.gpa % _WORD:
            raise InvalidArgument(f"{access.gpa:#x} is not a multiple of 8")


def _memory(leaf: Leaf) -> bytearray:
    """The page's bytes; of one that has none, zeros that are forgotten."""
    try:
        return leaf.obj.page(leaf.number)
    except NotSupported:
        return bytearray(PAGE_SIZE)
