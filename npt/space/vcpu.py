"""``Vcpu``: accesses of a guest to its memory, through the real tables."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, SupportsIndex

import numpy as np

from npt import kernels
from npt._html import Shown
from npt._types import ExitReason, FaultCode, Handle, U64Array
from npt.errors import Busy, InvalidArgument
from npt.space.accesses import Accesses, check
from npt.space.client import VmClient
from npt.space.tlb import Tlb
from npt.units import PAGE_MASK, as_int, digits

__all__ = ["Vcpu", "VcpuExit"]

_CHUNK = 1 << 20  # accesses between two chances for an interrupt
_REASON, _COMPLETED, _ALL_OF, _ANY_OF = 0, 1, 2, 3  # words of an outcome
_DONE, _KICKED, _ABSENT = 0, 1, 2


@dataclass(frozen=True)
class VcpuExit(Shown):
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


class Vcpu(Handle):
    """A virtual processor that runs on a space's tables.

    Parameters
    ----------
    client
        What it uses the space through; the caller's. One ``Vcpu`` is inside at a time.
    cpu
        A label.
    tlb
        Entries of the simulated TLB; 0 for none.

    Raises
    ------
    InvalidArgument
        A negative number, or a TLB that is too large.

    Notes
    -----
    Without a TLB every access looks at the leaf entry in the table. (Directories are remembered while a run is inside, as
    processors do; whoever takes one away makes the run leave first.)

    The TLB has 4 ways a set: ``ceil(tlb / 4)`` sets, of which the last may have fewer ways, so that there are ``tlb``
    entries. A page's set is its number (``gpa // 4096``) modulo the number of sets. A set fills its ways in order and then
    replaces them in that order, so the same accesses always give the same hits. An entry remembers the page, its frame, what
    may be done with it, and whether D is set. What it allows is done without a look at the tables; a write needs D in it
    while marks are set. Anything else walks, sets A (and D for a write), and fills or refreshes the entry; a walk that
    faults leaves the TLB alone.

    The TLB belongs to the ``Vcpu``, not to the client. It is flushed when the vCPU enters with another generation than it
    was flushed at the last time, or made at; ``VmSpace.counters`` counts that.
    """

    def __init__(self, client: VmClient, *, cpu: SupportsIndex = 0, tlb: SupportsIndex = 0) -> None:
        if not isinstance(client, VmClient):
            raise TypeError(f"client must be a VmClient, not {type(client).__name__}")
        cpu, tlb = as_int(cpu, "cpu"), as_int(tlb, "tlb")
        client.gate.check_alive()
        if cpu < 0 or tlb < 0:
            raise InvalidArgument(f"cpu {digits(cpu)} and tlb {digits(tlb)} must not be negative")
        self.client = client
        self.cpu = cpu
        self.tlb = tlb
        self._tlb = Tlb(tlb, client.core.exclusion.generation) if tlb else None
        self._scratch: U64Array = np.zeros(0 if tlb else kernels.guest.SCRATCH_WORDS, np.uint64)
        self._outcome: U64Array = np.zeros(4, np.uint64)
        self._turn: dict[str, Accesses] = {}  # whose the arrays above are
        self._is_compiled = False

    def __repr__(self) -> str:
        tlb = f", TLB of {self.tlb}" if self.tlb else ""
        return f"<Vcpu {digits(self.cpu)}, {self.client.core.format.name}{tlb}>"

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
            A vCPU is inside through this client, or this one is running in another thread.

        Notes
        -----
        Sets A and D as the format does: EPT while tracking is on, nPT always.
        """
        accesses = check(self.client, gpas, write, execute, values, into)
        return self._in_turn(accesses, self._serve)

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
        accesses = check(self.client, gpas, write, execute, values, into)
        return self._in_turn(accesses, self._stay)

    # -- how --------------------------------------------------------------------------------------------------------

    def _in_turn(self, accesses: Accesses, work: Callable[[Accesses], VcpuExit]) -> VcpuExit:
        """One run at a time, from its check to its end: also while it is out to have a fault served."""
        try:
            if self._turn.setdefault("now", accesses) is not accesses:  # one step: no other thread comes in between
                raise Busy(f"vCPU {digits(self.cpu)} is running already")
            exit = work(accesses)
            self._end_turn(accesses)
        except BaseException:
            self._end_turn(accesses)
            raise
        return exit

    def _end_turn(self, accesses: Accesses) -> None:
        if self._turn.get("now") is accesses:
            del self._turn["now"]

    def _serve(self, accesses: Accesses) -> VcpuExit:
        """Stay after stay, until all is done or a fault is the caller's."""
        done, served = 0, (-1, 0)
        while True:
            exit = self._stay(accesses, done)
            done = exit.completed
            if exit.reason is ExitReason.DONE:
                return exit
            if exit.reason is ExitReason.FAULT:
                assert exit.gpa is not None
                now = done, self.client.core.exclusion.epoch
                if served == now:  # served, nothing taken away since, and still refused: somebody spoilt a directory
                    return exit
                served = now
                code = self.client.serve(exit.gpa & ~PAGE_MASK, int(accesses.prot(done)))
                if code:
                    return VcpuExit(ExitReason.FAULT, done, exit.gpa, FaultCode(code), exit.qualification)

    def _stay(self, accesses: Accesses, start: int = 0) -> VcpuExit:
        """One stay in the tables. Whatever ends it, an interrupt too, the vCPU is out afterwards."""
        gate, outcome = self.client.gate, self._outcome
        self._compile()
        try:
            self._flush_unless(gate.enter(accesses))
            while True:
                stop = min(start + _CHUNK, accesses.gpas.size)
                self._access(accesses, start, stop)
                start = int(outcome[_COMPLETED])
                if outcome[_REASON] != _DONE or start == accesses.gpas.size:
                    break
            reason, all_of, any_of = int(outcome[_REASON]), int(outcome[_ALL_OF]), int(outcome[_ANY_OF])
            gate.leave(accesses)
        except BaseException:
            gate.leave(accesses)
            raise
        if reason == _DONE:
            return VcpuExit(ExitReason.DONE, start)
        if reason == _KICKED:
            return VcpuExit(ExitReason.KICKED, start)
        code = FaultCode.NOMAP if reason == _ABSENT else FaultCode.PROT
        qualification = self.client.core.format.qualification(accesses.prot(start), all_of, any_of)
        return VcpuExit(ExitReason.FAULT, start, int(accesses.gpas[start]), code, qualification)

    def _compile(self) -> None:
        """See that the kernel is compiled before it runs: on CPU, whoever kicks would have to wait for that."""
        if not self._is_compiled:
            kernels.jit.entry_point(kernels.guest.access if self._tlb is None else kernels.tlb.access)
            self._is_compiled = True

    def _flush_unless(self, generation: int) -> None:
        """Forget cached translations unless they are of this generation."""
        if self._tlb is None or self._tlb.generation == generation:
            return
        with self.client.gate.lock:
            self._tlb.flush(generation)
            self.client.gate.flushes += 1

    def _access(self, accesses: Accesses, start: int, stop: int) -> None:
        core, table = self.client.core, self.client.core.table
        marking = core.tracking or core.format.marks_untracked
        arguments = (
            core.format.rules, self.client.gate.line, core.words, core.base_pfn, core.size, marking,
            accesses.gpas, accesses.kinds, accesses.values, accesses.loads, start, stop,
        )  # fmt: skip
        if self._tlb is None:
            kernels.guest.access(table.levels, table.touched, table.takes, *arguments, self._scratch, self._outcome)
        else:
            kernels.tlb.access(table.levels, table.touched, *arguments, self._tlb.entries, self._tlb.fills, self._outcome)
