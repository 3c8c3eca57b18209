"""The hold protocol: kicks, generations, callbacks, what is refused; and the ordering faults of the source."""

from tests.interleavings.mark_faults import MARK_FAULTS
from tests.interleavings.source_faults import SOURCE_FAULTS
from tests.mutants.mutant import Mutant, of_fault

__all__ = ["MUTANTS"]

_EXCLUSION, _GATE, _ENDING = "npt/space/exclusion.py", "npt/space/gate.py", "npt/space/ending.py"
_CALLS, _VCPU, _CLIENT, _SPACE = "npt/space/dirtycalls.py", "npt/space/vcpu.py", "npt/space/client.py", "npt/space/vmspace.py"
_OF_CALLBACKS, _OF_EXCLUSION = ("tests/space/test_callbacks.py",), ("tests/space/test_exclusion.py",)
_OF_TIMEOUTS = ("tests/space/test_kick_timeout.py",)

_ORDERS = ("A and D by a plain store", "kicked before cleared", "scanned before taken", "touched before dirty")

MUTANTS = (
    Mutant(
        "generation not raised by unmap",
        "vCPUs keep translations of pages that were unmapped",
        ((_ENDING, "raise_epoch(generation=record.n_present > 0)", "raise_epoch(generation=False)"),),
        ("tests/space/test_vmspace.py", "tests/space/test_exclusion.py", "tests/space/test_tlb.py"),
    ),
    Mutant(
        "generation raised by unmap of nothing",
        "an unmap with nothing resident makes translations stale",
        ((_ENDING, "raise_epoch(generation=record.n_present > 0)", "raise_epoch(generation=True)"),),
        ("tests/space/test_vmspace.py", "tests/space/test_exclusion.py", "tests/space/test_tlb.py"),
    ),
    Mutant(
        "kick not sent",
        "a vCPU that is in the way is waited for, and not asked to leave",
        ((_GATE, "                kernels.words.store(self.line, KICK, 1)\n", "                pass\n"),),
        _OF_EXCLUSION,
    ),
    Mutant(
        "kick not waited for",
        "a vCPU is asked to leave, and the call goes on",
        ((_EXCLUSION, "                    self._await(gate, epoch, deadline)\n", "                    pass\n"),),
        _OF_EXCLUSION,
    ),
    Mutant(
        "kick remembered after exit",
        "a vCPU that left is still asked to",
        (
            (
                _GATE,
                "        words.store(own, KICK, 0)\n        words.add(own, EXITS, 1)\n",
                "        words.add(own, EXITS, 1)\n",
            ),
        ),
        ("tests/space/test_exclusion.py", "tests/space/test_kick_timeout.py"),
    ),
    Mutant(
        "kick: time-outs not counted",
        "a kick that is given up is not among the counters",
        ((_EXCLUSION, "                self.timeouts += 1\n", ""),),
        _OF_TIMEOUTS,
    ),
    Mutant(
        "kicks not counted",
        "vCPUs that were asked to leave are not among the counters",
        ((_EXCLUSION, "        self.kicks += len(behind)\n", ""),),
        ("tests/space/test_exclusion.py", "tests/space/test_kick_timeout.py"),
    ),
    Mutant(
        "faults not counted",
        "page faults of many pages are not among the counters",
        ((_CLIENT, "        self.gate.faults += pages.size\n", ""),),
        ("tests/space/test_client.py",),
    ),
    Mutant(
        "two vCPUs in one client",
        "table_enter twice is not refused",
        (
            (
                _GATE,
                "        if self.is_occupied():\n            raise Busy",
                "        if False:\n            raise Busy",
            ),
        ),
        _OF_EXCLUSION,
    ),
    Mutant(
        "on CPU: waits for itself",
        "a call that kicks, from a thread that is on CPU, is not refused",
        ((_EXCLUSION, "        if self.is_on_cpu():\n            raise Deadlock(_ON_CPU)\n", "        pass\n"),),
        _OF_EXCLUSION,
    ),
    Mutant(
        "callback: may change the space",
        "a callback that changes the space is not refused",
        (
            (
                _EXCLUSION,
                "        self.check_own()\n        if self.in_callback:\n",
                "        self.check_own()\n        if False:\n",
            ),
        ),
        _OF_CALLBACKS,
    ),
    Mutant(
        "callback twice",
        "each callback runs twice",
        (
            (
                _EXCLUSION,
                "                waiting[-1](gpa, length)\n",
                "                waiting[-1](gpa, length)\n                waiting[-1](gpa, length)\n",
            ),
        ),
        _OF_CALLBACKS,
    ),
    Mutant(
        "callback missing at unmap",
        "clients are not told of an unmap",
        ((_ENDING, "if mapping.gpa in core.untold:", "if False:"),),
        _OF_CALLBACKS,
    ),
    Mutant(
        "callback at unmap of nothing",
        "clients are told of an unmap with nothing resident",
        ((_ENDING, "if mapping.gpa in core.untold:", "if True:"),),
        _OF_CALLBACKS,
    ),
    Mutant(
        "callback missing after a time-out",
        "an unmap that works at the second try does not tell what the first has cleared",
        (
            (
                _ENDING,
                "            self._owe()\n            self._core.table.restore(self._record)\n        except",
                "            self._core.untold.discard(self._mapping.gpa)\n"
                "            self._core.table.restore(self._record)\n"
                "        except",
            ),
        ),
        ("tests/space/test_kick_timeout.py", "tests/space/test_callbacks.py"),
        "callback",
    ),
    Mutant(
        "callback too early",
        "clients are told of a harvest while vCPUs still write",
        (
            (
                _CALLS,
                "                        exclusion.kick()\n"
                "                        exclusion.call_back(gpa, length, exclusion.callbacks())\n",
                "                        exclusion.call_back(gpa, length, exclusion.callbacks())\n"
                "                        exclusion.kick()\n",
            ),
        ),
        ("tests/space/test_kick_timeout.py", "tests/space/test_callbacks.py"),
    ),
    Mutant(
        "callback before the entries are gone",
        "clients are told of an unmap before the leaves are cleared",
        (
            (
                _ENDING,
                "        self._core.table.vacate(self._mapping.gpa, self._mapping.length, self._record)\n"
                "        self._shoot_down()",
                "        self._core.untold.add(self._mapping.gpa)\n        self._tell()\n"
                "        self._core.table.vacate(self._mapping.gpa, self._mapping.length, self._record)\n"
                "        self._shoot_down()",
            ),
        ),
        _OF_CALLBACKS,
    ),
    Mutant(
        "callback order",
        "callbacks run in the order in which clients were made, the last first",
        ((_EXCLUSION, "for gate in reversed(self.gates) if gate.callback", "for gate in self.gates if gate.callback"),),
        _OF_CALLBACKS,
    ),
    Mutant(
        "callback: the last error",
        "of errors of callbacks the last is raised",
        ((_EXCLUSION, "            raise errors[0]\n", "            raise errors[-1]\n"),),
        _OF_CALLBACKS,
    ),
    Mutant(
        "callback: an error ends them",
        "a callback that raises keeps the others from running",
        ((_EXCLUSION, "                errors.append(error)\n", "                raise\n"),),
        _OF_CALLBACKS,
    ),
    Mutant(
        "callback: of the range that changed",
        "a switch of tracking is told of the first page alone",
        (
            (
                _CALLS,
                "enabled, False\n            exclusion.call_back(0, core.size, waiting)",
                "enabled, False\n            exclusion.call_back(0, 4096, waiting)",
            ),
        ),
        _OF_CALLBACKS,
    ),
    Mutant(
        "tracking is switched though the kick failed",
        "a switch that times out leaves tracking switched",
        (
            (
                _CALLS,
                "                    exclusion.kick()\n                    self._switch(enabled, waiting)\n",
                "                    core.tracking, exclusion.switching = enabled, False\n"
                "                    exclusion.kick()\n                    self._switch(enabled, waiting)\n",
            ),
        ),
        _OF_TIMEOUTS,
    ),
    Mutant(
        "TLB not flushed",
        "a TLB outlives a generation",
        ((_VCPU, "if self._tlb is None or self._tlb.generation == generation:", "if True:"),),
        ("tests/space/test_tlb.py",),
    ),
    Mutant(
        "TLB flushed at each entry",
        "a TLB is flushed though nothing became stale",
        ((_VCPU, "if self._tlb is None or self._tlb.generation == generation:", "if self._tlb is None:"),),
        ("tests/space/test_tlb.py",),
    ),
    Mutant(
        "unmap that timed out: tables stay unlinked",
        "a mapping that stays has no tables",
        (
            (
                _ENDING,
                "        try:\n            self._owe()\n            self._core.table.restore(self._record)\n",
                "        try:\n            self._owe()\n",
            ),
        ),
        _OF_TIMEOUTS,
    ),
    Mutant(
        "unmap that timed out: holds do not know",
        "pages held in a range whose leaves were cleared do not count as unmapped",
        (
            (
                _ENDING,
                "        except KickTimeout:\n            self._restore()\n",
                "        except KickTimeout:\n            self._undo()\n            self._restore()\n",
            ),
        ),
        _OF_TIMEOUTS,
    ),
    Mutant(
        "unmap: holds not told",
        "pages held in an unmapped range do not know of it",
        ((_ENDING, "            self._forget()\n            self._go_on()\n", "            self._go_on()\n"),),
        ("tests/space/test_page.py",),
    ),
    Mutant(
        "close: newcomers enter",
        "vCPUs enter a space that is being closed",
        (
            (
                _GATE,
                "                if self.exclusion.closing:\n                    raise Orphaned",
                "                if False:\n                    raise Orphaned",
            ),
        ),
        ("tests/space/test_source_differences.py",),
        "274",
    ),
    Mutant(
        "close that failed: newcomers still refused",
        "a space that could not be closed lets nobody in",
        ((_SPACE, "            exclusion.dying = exclusion.closing = exclusion.destroyed\n", "            pass\n"),),
        _OF_TIMEOUTS,
    ),
    Mutant(
        "destroy: with mappings",
        "a space is destroyed though something is mapped",
        ((_SPACE, "            if len(core.mappings):\n", "            if False:\n"),),
        ("tests/space/test_ends.py",),
    ),
    *(of_fault(fault) for fault in SOURCE_FAULTS),
    *(of_fault(fault) for fault in MARK_FAULTS if fault.name in _ORDERS),
)
