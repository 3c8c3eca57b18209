"""``Vcpu``: accesses of a guest to its memory, through the real tables."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, SupportsIndex

import numpy as np

from npt import kernels
from npt._types import ExitReason, FaultCode, Handle, Prot, U8Array, U64Array
from npt.errors import InvalidArgument, NotSupported
from npt.space.client import VmClient
from npt.units import as_gpas, as_int, as_integers, as_u64

__all__ = ["Vcpu", "VcpuExit"]

_NOTHING = np.empty(0, np.uint64)
_CHUNK = 1 << 20  # accesses between two chances for an interrupt
_ACCESS = (Prot.READ, Prot.WRITE, Prot.EXEC)  # by kind
_REASON, _COMPLETED, _ALL_OF, _ANY_OF = 0, 1, 2, 3  # words of an outcome
_DONE, _KICKED, _ABSENT = 0, 1, 2
_VALUE_BYTES = 8


@dataclass(frozen=True)
class VcpuExit:
    """Why a vCPU came back.

    Attributes
    ----------
    reason : ExitReason
        ``DONE``, ``FAULT`` or ``KICKED``.
    completed : int
        Accesses done.
    gpa : int or None
        Address that faulted, as it was given.
    code : FaultCode or None
        Why it faulted.
    qualification : int or None
        What hardware would report of the fault: the EPT exit qualification, or EXITINFO1 on nPT.
    """

    reason: ExitReason
    completed: int
    gpa: int | None = None
    code: FaultCode | None = None
    qualification: int | None = None

    def __repr__(self) -> str:
        if self.reason is not ExitReason.FAULT:
            return f"<VcpuExit {self.reason.name} after {self.completed}>"
        assert self.code is not None
        assert self.qualification is not None
        return (
            f"<VcpuExit FAULT {self.code.name} at {self.gpa:#x} after {self.completed}, qualification {self.qualification:#x}>"
        )


@dataclass(frozen=True)
class _Program:
    """Accesses, checked: what a run is about."""

    gpas: U64Array
    kinds: U8Array  # 0 read, 1 write, 2 execute
    values: U64Array
    loads: U64Array


class Vcpu(Handle):
    """A virtual processor that runs on a space's tables.

    Parameters
    ----------
    client
        What it uses the space through; the caller's. One ``Vcpu`` is inside at a time.
    cpu
        A label.
    tlb
        Entries of the simulated TLB; only 0, none, is there yet.

    Raises
    ------
    InvalidArgument
        A negative number.
    NotSupported
        A simulated TLB was asked for.
    """

    def __init__(self, client: VmClient, *, cpu: SupportsIndex = 0, tlb: SupportsIndex = 0) -> None:
        if not isinstance(client, VmClient):
            raise TypeError(f"client must be a VmClient, not {type(client).__name__}")
        cpu, tlb = as_int(cpu, "cpu"), as_int(tlb, "tlb")
        client.gate.check_alive()
        if cpu < 0 or tlb < 0:
            raise InvalidArgument(f"cpu {cpu} and tlb {tlb} must not be negative")
        if tlb:
            raise NotSupported(f"a simulated TLB of {tlb} entries is not built yet; use tlb=0")
        self.client = client
        self.cpu = cpu
        self.tlb = tlb
        self._outcome: U64Array = np.zeros(4, np.uint64)

    def __repr__(self) -> str:
        return f"<Vcpu {self.cpu}, {self.client.core.format.name}>"

    def run(
        self, gpas: Any, *, write: Any = False, execute: Any = False, values: Any = None, into: U64Array | None = None
    ) -> VcpuExit:
        """Perform accesses, serving faults and coming back after kicks.

        Parameters
        ----------
        gpas
            Byte addresses; integer array of shape ``(n,)``.
        write, execute
            Whether an access is a write, or an instruction fetch; a bool, or a bool array of shape ``(n,)``. Else it reads.
        values
            What each write stores; ``uint64`` convertible, shape ``(n,)``. Without, writes only leave marks.
        into
            Gets what each read loads, 0 from pages without bytes; ``uint64``, shape ``(n,)``, contiguous and writable.

        Returns
        -------
        VcpuExit
            ``DONE``, or ``FAULT`` for an access that ``VmClient.fault`` refuses.

        Raises
        ------
        StaleHandle, Orphaned
            The client or its space is gone.
        InvalidArgument
            Arrays of unequal length, an access that writes and executes, values or loads at an address that is no multiple
            of 8.
        Busy
            A vCPU is inside through this client.

        Notes
        -----
        Sets A and D as the format does: EPT while tracking is on, nPT always.
        """
        program = self._check(gpas, write, execute, values, into)
        done, served = 0, (-1, 0)
        while True:
            exit = self._enter_and_access(program, done)
            done = exit.completed
            if exit.reason is ExitReason.DONE:
                return exit
            if exit.reason is ExitReason.FAULT:
                assert exit.gpa is not None
                now = done, self.client.core.exclusion.epoch
                if served == now:  # served, nothing taken away since, and still refused: somebody spoilt a directory
                    return exit
                served = now
                code = self.client.serve(exit.gpa & ~0xFFF, int(_ACCESS[program.kinds[done]]))
                if code:
                    return VcpuExit(ExitReason.FAULT, done, exit.gpa, FaultCode(code), exit.qualification)

    def step(
        self, gpas: Any, *, write: Any = False, execute: Any = False, values: Any = None, into: U64Array | None = None
    ) -> VcpuExit:
        """Perform accesses up to the first fault or kick, and say why; nothing is made resident.

        Parameters
        ----------
        gpas, write, execute, values, into
            As for ``run``.

        Returns
        -------
        VcpuExit
            ``DONE``, ``FAULT`` (``NOMAP`` also for a page that is mapped but not resident) or ``KICKED``.

        Raises
        ------
        StaleHandle, Orphaned, InvalidArgument, Busy
            As for ``run``.
        """
        return self._enter_and_access(self._check(gpas, write, execute, values, into), 0)

    # -- how --------------------------------------------------------------------------------------------------------

    def _enter_and_access(self, program: _Program, start: int) -> VcpuExit:
        """One stay in the tables."""
        core, outcome = self.client.core, self._outcome
        with self._inside():
            marking = core.tracking or core.format.marks_untracked
            n = program.gpas.size
            while True:
                stop = min(start + _CHUNK, n)
                kernels.guest.access(
                    core.table.levels, core.format.rules, self.client.gate.line, core.words, core.base_pfn, core.size, marking,
                    program.gpas, program.kinds, program.values, program.loads, start, stop, outcome,
                )  # fmt: skip
                start = int(outcome[_COMPLETED])
                if outcome[_REASON] != _DONE or start == n:
                    break
            reason, all_of, any_of = int(outcome[_REASON]), int(outcome[_ALL_OF]), int(outcome[_ANY_OF])
        if reason == _DONE:
            return VcpuExit(ExitReason.DONE, start)
        if reason == _KICKED:
            return VcpuExit(ExitReason.KICKED, start)
        access = _ACCESS[program.kinds[start]]
        code = FaultCode.NOMAP if reason == _ABSENT else FaultCode.PROT
        return VcpuExit(
            ExitReason.FAULT, start, int(program.gpas[start]), code, core.format.qualification(access, all_of, any_of)
        )

    @contextmanager
    def _inside(self) -> Iterator[None]:
        self.client.table_enter()
        try:
            yield
        finally:
            self.client.table_exit()

    def _check(self, gpas: Any, write: Any, execute: Any, values: Any, into: Any) -> _Program:
        """Types, stale handle, values: in this order."""
        addresses = as_integers(gpas, "gpas")
        stores = None if values is None else as_integers(values, "values")
        for flag, name in ((write, "write"), (execute, "execute")):
            _check_flags(flag, name)
        if into is not None and (not isinstance(into, np.ndarray) or into.dtype != np.uint64):
            raise TypeError("into must be a numpy array of uint64")
        self.client.gate.check_usable()
        addresses = as_gpas(addresses)
        kinds = _as_kinds(write, execute, addresses.size)
        stored = _NOTHING if stores is None else as_u64(stores, "values")
        if stores is not None:
            _check_each(stored, addresses, kinds == 1, "values")
        if into is not None:
            _check_each(into, addresses, kinds == 0, "into")
            if not (into.flags.c_contiguous and into.flags.writeable and into.flags.aligned):
                raise InvalidArgument("into must be contiguous, aligned and writable")
            core = self.client.core
            if np.may_share_memory(into, addresses):
                addresses = addresses.copy()
            if np.may_share_memory(into, stored):
                stored = stored.copy()
            if any(np.may_share_memory(into, own) for own in (core.memory, *core.table.levels)):
                raise InvalidArgument("into must not be memory of the tables or of the reservoir")
        self.client.gate.refuse()
        return _Program(addresses, kinds, stored, _NOTHING if into is None else into)


def _check_flags(flag: Any, name: str) -> None:
    try:
        array = np.asarray(flag)
        dtype = array.dtype if array.size or isinstance(flag, np.ndarray) else np.dtype(bool)  # numpy makes floats of []
    except ValueError:
        raise TypeError(f"{name} must be a bool or an array of bools, not a ragged sequence") from None
    if dtype != np.bool_:
        raise TypeError(f"{name} must be a bool or an array of bools, not {dtype}")


def _as_kinds(write: Any, execute: Any, n: int) -> U8Array:
    """Kind of each access: 0 read, 1 write, 2 execute."""
    kinds = np.zeros(n, np.uint8)
    for flag, kind, name in ((write, 1, "write"), (execute, 2, "execute")):
        array = np.asarray(flag)
        if array.ndim and array.shape != (n,):
            raise InvalidArgument(f"{name} has shape {array.shape}; there are {n} accesses")
        kinds += array.astype(np.uint8) * np.uint8(kind)
    if n and int(kinds.max()) > 2:
        raise InvalidArgument("an access cannot both write and execute")
    return kinds


def _check_each(words: U64Array, gpas: U64Array, wanted: Any, name: str) -> None:
    """One word an access, at addresses that are multiples of 8 where it is used."""
    if words.shape != gpas.shape:
        raise InvalidArgument(f"{name} has shape {words.shape}; there are {gpas.size} accesses")
    odd = wanted & (gpas % np.uint64(_VALUE_BYTES) != 0)
    if odd.any():
        raise InvalidArgument(f"{name}: the address {int(gpas[odd.argmax()]):#x} is not a multiple of 8")
