"""State machines for Hypothesis: an implementation of the contract against another, everything compared after each step.

Needs Hypothesis (``pip install hypothesis``), which nothing else of ``npt`` does, but for ``npt.testing.strategies``.

Examples
--------
A test of an implementation of your own, in a file that pytest collects:

>>> from npt.testing.machines import machine
>>> TestMine = machine(subject=npt, format="EPT").TestCase  # doctest: +SKIP
"""

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import npt
from npt.testing.calls.call import Call
from npt.testing.calls.drawing import Drawer
from npt.testing.calls.drawn import SUBJECTS
from npt.testing.calls.duel import Duel
from npt.testing.calls.player import Implementation
from npt.testing.oracle import Oracle
from npt.testing.strategies.operations import Choices

__all__ = ["ContractMachine", "machine"]


class ContractMachine(RuleBasedStateMachine):
    """Calls of the contract, made of two implementations; what comes of each, and all that can be seen, is compared.

    It begins with three spaces that share objects, two clients and a vCPU in each, and a reservoir that is foreign to them.
    ``machine`` makes it.
    """

    reference: Implementation = Oracle()
    subject: Implementation = npt
    format = "EPT"
    n_facts = 0  # that were compared, in all runs

    @initialize()
    def begin(self) -> None:
        """Make the world."""
        self.duel = Duel(self.reference, self.subject)
        self.drawer = Drawer(self.duel.reference, Choices(None), self.format)
        for call in self.drawer.begin():
            self.duel.play(call)

    def _step(self, subject: str, data: Any) -> None:
        self.drawer.source = Choices(data.draw)
        call = self.drawer.one_of(tuple(draw for n, draw in SUBJECTS[subject] for _ in range(n)))
        if call is not None:
            self.duel.play(call)

    @rule(data=st.data())
    def host_memory(self, data: Any) -> None:
        """Allocate, release, reference, resize."""
        self._step("host memory", data)

    @rule(data=st.data())
    def mappings(self, data: Any) -> None:
        """Map, unmap, populate, look; spaces come and go."""
        self._step("mappings", data)

    @rule(data=st.data())
    def marks(self, data: Any) -> None:
        """Harvest, peek, reset, put back; tracking on and off."""
        self._step("marks", data)

    @rule(data=st.data())
    def clients(self, data: Any) -> None:
        """Fault, read, write, callbacks; clients come and go."""
        self._step("clients", data)

    @rule(data=st.data())
    def pages(self, data: Any) -> None:
        """Hold, release, chain, views."""
        self._step("pages", data)

    @rule(data=st.data())
    def batches(self, data: Any) -> None:
        """Hold and release many, gather, scatter."""
        self._step("batches", data)

    @rule(data=st.data())
    def vcpus(self, data: Any) -> None:
        """Run and step."""
        self._step("vCPUs", data)

    @rule(data=st.data())
    def machines(self, data: Any) -> None:
        """Machines with segments by number."""
        self._step("machines", data)

    @rule()
    def leave(self) -> None:
        """A client that is on CPU leaves."""
        if self.drawer.on_cpu:
            self.duel.play(Call("VmClient.table_exit", self.drawer.on_cpu.pop()))

    @invariant()
    def agree(self) -> None:
        """All that can be seen is the same."""
        if hasattr(self, "duel"):
            type(self).n_facts += self.duel.compare()

    def teardown(self) -> None:
        """End everything: both say alike how much came back."""
        if hasattr(self, "duel"):
            for call in self.drawer.ends():
                self.duel.play(call)


def machine(
    *, reference: Implementation | None = None, subject: Implementation = npt, format: str = "EPT"
) -> type[ContractMachine]:
    """A state machine that compares two implementations.

    Parameters
    ----------
    reference
        The one that is right; None is an ``Oracle``.
    subject
        The one that is tested.
    format
        ``"EPT"`` or ``"NPT"``, of all spaces.

    Returns
    -------
    type
        For ``hypothesis.stateful.run_state_machine_as_test``; its ``TestCase`` is for test runners.
    """
    parts = {"reference": reference or ContractMachine.reference, "subject": subject, "format": format, "n_facts": 0}
    return type(f"Machine{format}", (ContractMachine,), parts)
