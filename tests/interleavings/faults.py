"""Faults, planted one at a time, that scenarios find: the source's, and others that are easily made."""

from npt.memory.settling import Settling
from npt.space.client import VmClient
from npt.space.ending import Ending
from npt.space.exclusion import Exclusion, _Hold
from npt.space.vmspace import VmSpace
from tests.interleavings.fault import Fault
from tests.interleavings.mark_faults import MARK_FAULTS
from tests.interleavings.source_faults import SOURCE_FAULTS

__all__ = ["FAULTS"]

_OTHERS = (
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
        "callback before the entry is cleared",
        "clients are told of an unmapping that is yet to come",
        "callback_against_reader-ept",
        "a stale translation is cached",
        python=(
            (
                Ending,
                "_go_on",
                "self._core.table.vacate(",
                "self._core.untold.add(self._mapping.gpa); self._tell()\n    self._core.table.vacate(",
            ),
        ),
    ),
    Fault(
        "closing without HOLD",
        "a vCPU that had not seen the flag enters at the new epoch, and close does not kick it",
        "close_against_enter-ept",
        "a vCPU is on CPU",
        python=((VmSpace, "_end", "with exclusion.hold():", "if True:"),),
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
        python=((Ending, "_owe", "(record.n_present or record.unlinked.size)", "record.n_present"),),
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
    Fault(
        "callback before the kick",
        "clients are told of an unmapping while vCPUs still store through it",
        "unmap_against_walk_beside_a_neighbour-ept",
        "stored after clients were told",
        python=((Ending, "_shoot_down", "self._core.exclusion.kick()", "self._tell(); self._core.exclusion.kick()"),),
    ),
    Fault(
        "object let go before the kick",
        "memory is freed while vCPUs still store in it",
        "unmap_against_walk_to_freed_memory-ept",
        "stored in memory that was handed out again|not zero",
        python=(
            (
                Ending,
                "_shoot_down",
                "self._core.exclusion.kick()",
                "self._mapping.obj.drop(self._keeper); self._core.exclusion.kick()",
            ),
        ),
    ),
    Fault(
        "entries populated anew",
        "populate stores entries that are there, too",
        "populate_against_write-ept",
        "D was lost",
        kernels=(
            (
                "leaves",
                "            leaves[leaf + done] = entry + done * _PAGE\n            added += _ONE\n",
                "            added += _ONE\n        leaves[leaf + done] = entry + done * _PAGE\n",
            ),
        ),
    ),
    Fault(
        "memory put back before it is zeroed",
        "who allocates in between gets what was there",
        "allocate_free_and_resize-ept",
        "not zero",
        python=(
            (Settling, "_finish", "            self._zero(parting)\n", ""),
            (
                Settling,
                "_finish",
                "self._put_back(parting, watched)",
                "self._put_back(parting, watched)\n            self._zero(parting)",
            ),
        ),
    ),
)

FAULTS = (*SOURCE_FAULTS, *MARK_FAULTS, *_OTHERS)
