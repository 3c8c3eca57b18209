"""The five faults of the source, by the line of vmm_vm.c at 59d65d31 (DESIGN section 8)."""

from npt.space.ending import Ending
from npt.space.exclusion import Exclusion
from npt.space.gate import Gate
from tests.interleavings.fault import Fault

__all__ = ["SOURCE_FAULTS"]

SOURCE_FAULTS = (
    Fault(
        "920",
        "generation and epoch are read before the vCPU is seen to be on CPU",
        "enter_against_harvest-npt-tlb2",
        "copied ",
        python=(
            (
                Gate,
                "enter",
                "while True:",
                "early = [kernels.words.load(self.exclusion.line, n) for n in (0, 1)]\n    while True:",
            ),
            (
                Gate,
                "enter",
                "return self._enter(occupant)",
                "self._enter(occupant); kernels.words.store(self.line, ENTERED, early[1])\n"
                "                kernels.words.store(self.line, GENERATION, early[0]); return early[0]",
            ),
        ),
    ),
    Fault(
        "873",
        "a look-up that has waited does not look again whether it was orphaned",
        "wait_for_hold_against_destroy-ept",
        "walks the tables of a space that is gone",
        python=((Gate, "go_in", "self.refuse()", "pass"),),
    ),
    Fault(
        "274, joining",
        "destroy lets its lock go while it waits for clients, and no flag keeps new ones from joining",
        "new_client_against_destroy-ept",
        "orphans have no space",
        python=(
            (Exclusion, "orphan_all", "before, self.dying = self.dying, True", "before = self.dying"),
            (
                Exclusion,
                "orphan_all",
                "self.destroyed = True",
                "self.lock.release(); self.lock.acquire()\n        self.dying = self.destroyed = True",
            ),
        ),
    ),
    Fault(
        "274, entering",
        "no flag keeps vCPUs from entering a space that is being destroyed",
        "new_client_against_destroy-ept",
        "a vCPU is inside a space that is gone",
        python=(
            (Exclusion, "orphan_all", "before, self.dying = self.dying, True", "before = self.dying"),
            (Exclusion, "orphan_all", "self.destroyed = True", "self.dying = self.destroyed = True"),
        ),
    ),
    Fault(
        "977",
        "a kick waits for a vCPU that is inside again since",
        "storm_against_kick-ept",
        "nothing but a time-out can go on",
        python=((Exclusion, "_await", "gate.is_behind(epoch)", "gate.is_occupied()"),),
    ),
    Fault(
        "705",
        "tables are freed when their mapping is cleared, before vCPUs are kicked out of them",
        "unmap_against_stayer-ept",
        "stored in another page",
        python=(
            (
                Ending,
                "_go_on",
                "self._core.table.vacate(self._mapping.gpa, self._mapping.length, self._record)",
                "self._core.table.release(\n"
                "        self._core.table.vacate(self._mapping.gpa, self._mapping.length, self._record))",
            ),
        ),
    ),
)
