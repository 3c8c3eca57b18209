"""Faults, planted one at a time, that scenarios find: the source's, and others that are easily made."""

from npt.space.client import VmClient
from npt.space.dirtycalls import DirtyCalls
from npt.space.ending import Ending
from npt.space.exclusion import Exclusion, _Hold
from npt.space.gate import Gate
from npt.space.vcpu import Vcpu
from tests.interleavings.fault import Fault
from tests.interleavings.source_faults import SOURCE_FAULTS

__all__ = ["FAULTS"]

FAULTS = (
    *SOURCE_FAULTS,
    Fault(
        "A and D by a plain store",
        "a vCPU that sets marks stores the entry, with what it found there before",
        "unmap_against_walk_beside_a_neighbour-ept",
        "leaves",
        kernels=(
            (
                "guest",
                "settled = atomic_cas(levels[0], leaf, entry, entry | (want & marks))",
                "settled = atomic_store(levels[0], leaf, entry | (want & marks)) is None",
            ),
        ),
    ),
    Fault(
        "A and D by a plain store, with a TLB",
        "the same where translations are cached",
        "unmap_against_walk_beside_a_neighbour-npt-tlb2",
        "leaves",
        kernels=(
            ("tlb", "not atomic_cas(levels[0], leaf, entry, entry | mark)", "atomic_store(levels[0], leaf, entry | mark)"),
        ),
    ),
    Fault(
        "D lost to a plain store",
        "a vCPU that reads takes back the D that another has set meanwhile",
        "fault_against_fault-ept",
        "D was lost",
        kernels=(
            (
                "guest",
                "settled = atomic_cas(levels[0], leaf, entry, entry | (want & marks))",
                "settled = atomic_store(levels[0], leaf, entry | (want & marks)) is None",
            ),
        ),
    ),
    Fault(
        "kick read once",
        "the kick word is read before the loop, as a compiler may do with a plain read",
        "kick_against_long_run-ept",
        "kicked after page",
        kernels=(
            (
                "guest",
                "while i < stop and outcome[REASON] == _ZERO:\n        if atomic_load(line, KICK) != _ZERO:",
                "kick = atomic_load(line, KICK)\n    while i < stop and outcome[REASON] == _ZERO:\n        if kick != _ZERO:",
            ),
        ),
    ),
    Fault(
        "kick read once, with a TLB",
        "the same where translations are cached",
        "kick_against_long_run-npt-tlb4",
        "kicked after page",
        kernels=(("tlb", "& _EVERY) == _ZERO and", "| _ZERO) == _ZERO and"),),
    ),
    Fault(
        "no flush at entry",
        "a TLB is kept though the generation has changed",
        "enter_against_harvest-npt-tlb2",
        "copied .17., there is .34.",
        python=((Vcpu, "_flush_unless", "self._tlb.generation == generation", "True"),),
    ),
    Fault(
        "callback before the entry is cleared",
        "clients are told of an unmapping that is yet to come",
        "callback_against_reader-ept",
        "a stale translation is cached",
        python=(
            (
                Ending,
                "_clear",
                "core.table.vacate(",
                "core.untold.add(mapping.gpa); self._tell()\n    core.table.vacate(",
            ),
        ),
    ),
    Fault(
        "freed before the kick",
        "tables and mapping are gone before vCPUs are kicked",
        "unmap_against_stayer-npt",
        "nothing is mapped there",
        python=(
            (
                Ending,
                "_go_on",
                "self._shoot_down()\n    self._tell()\n    self._free()",
                "self._free()\n    self._shoot_down()\n    self._tell()",
            ),
        ),
    ),
    Fault(
        "no HOLD",
        "look-ups are not kept out of changes",
        "hold_against_map-ept",
        "leaves (are inside mappings|show their frames)",
        python=((_Hold, "__enter__", "gate.set(_HOLD)", "pass"),),
    ),
    Fault(
        "bits not put back",
        "a harvest that is given up keeps what it has cleared",
        "stayer_against_kick-ept",
        "D was not put back",
        python=((DirtyCalls, "_put_back", "self._core.table.mark(", "self._core.table.check_sound and ("),),
    ),
    Fault(
        "no kick",
        "a harvest does not wait for vCPUs that found the page dirty",
        "enter_against_harvest-ept",
        "copied .17., there is .34.",
        python=((Exclusion, "kick", "if not behind:", "if True:"),),
    ),
    Fault(
        "no kick in unmap",
        "an unmapping does not wait for vCPUs that are inside the tables",
        "unmap_against_walk-ept",
        "stored after unmap had returned",
        python=((Exclusion, "kick", "if not behind:", "if True:"),),
    ),
    Fault(
        "epoch of entries only",
        "where nothing was resident, vCPUs are not kicked out of tables that are freed",
        "unmap_against_walk-npt-tlb2",
        "stored in somebody else's page",
        python=((Ending, "_shoot_down", "(record.n_present or record.unlinked.size)", "record.n_present"),),
    ),
    Fault(
        "tracking on without a kick",
        "vCPUs that are inside go on without marks",
        "set_tracking_against_new_client-ept",
        "copied ",
        python=((DirtyCalls, "set_tracking", "exclusion.kick()", "pass"),),
    ),
    Fault(
        "tracking switched beside entries",
        "a vCPU that was kicked out comes back before tracking is off",
        "tracking_off_against_run-ept",
        "marked after tracking was off",
        python=((Gate, "enter", "self.exclusion.dying or self.exclusion.switching", "self.exclusion.dying"),),
    ),
    Fault(
        "installed by a plain store",
        "two look-ups that fault on one page both count it, and one takes the other's marks back",
        "fault_against_fault-npt",
        "the resident count is exact",
        kernels=(("walk", "atomic_cas(levels[0], leaf, _ZERO, ", "not atomic_store(levels[0], leaf, "),),
    ),
    Fault(
        "callback taken away beside its call",
        "a callback is exchanged without waiting for a change that is under way",
        "callback_against_on_invalidate-ept",
        "an old callback",
        python=(
            (
                VmClient,
                "on_invalidate",
                'self.gate.look(setattr, self.gate, "callback", callback)',
                "self.gate.callback = callback",
            ),
        ),
    ),
    Fault(
        "client destroyed beside its callback",
        "a client ends without waiting for a change that is under way",
        "callback_against_client_destroy-ept",
        "an old callback",
        python=((VmClient, "destroy", "with gate.exclusion.lock, gate.lock:", "with gate.lock:"),),
    ),
)
