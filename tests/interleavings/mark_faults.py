"""Faults by which A and D get lost."""

from npt.space.dirtycalls import DirtyCalls
from npt.space.exclusion import Exclusion
from npt.space.gate import Gate
from npt.space.holding import Holding
from npt.space.vcpu import Vcpu
from npt.table.tree import PageTable
from tests.interleavings.fault import Fault

__all__ = ["MARK_FAULTS"]

_UNSEEN = "copied |dirty leaves are looked for"  # a page that is not in the copy, or a table that no harvest will look at

MARK_FAULTS = (
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
        "no flush at entry",
        "a TLB is kept though the generation has changed",
        "enter_against_harvest-npt-tlb2",
        "copied ",
        python=((Vcpu, "_flush_unless", "self._tlb.generation == generation", "True"),),
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
        "copied ",
        python=((Exclusion, "kick", "if not behind:", "if True:"),),
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
        "epoch before generation",
        "a vCPU that enters in between is not kicked, and keeps its TLB",
        "enter_against_harvest-npt-tlb2",
        "copied ",
        python=(
            (
                Exclusion,
                "raise_epoch",
                "if generation:",
                "kernels.words.add(self.line, EPOCH_NOW, 1)\n    if generation:",
            ),
            (
                Exclusion,
                "raise_epoch",
                "GENERATION_NOW, 1)\n    kernels.words.add(self.line, EPOCH_NOW, 1)",
                "GENERATION_NOW, 1)",
            ),
        ),
    ),
    Fault(
        "kicked before cleared",
        "a harvest clears D behind the shoot-down, not before it",
        "enter_against_harvest-npt-tlb2",
        "copied ",
        python=(
            (
                DirtyCalls,
                "_harvest",
                "core.in_stillness(lambda still: core.table.harvest(window, select, mark, words, still=still))\n",
                "pass\n",
            ),
            (DirtyCalls, "_harvest", "                found = window.bitmap(words)\n", ""),
            (
                DirtyCalls,
                "_harvest",
                "exclusion.kick()\n",
                "exclusion.kick()\n                    core.table.harvest(window, select, mark, words, still=False)\n"
                "                    found = window.bitmap(words)\n",
            ),
        ),
    ),
    Fault(
        "A cleared by load and store",
        "a harvest of A takes the D back that a vCPU has set meanwhile",
        "clear_accessed_against_write-ept",
        "D was lost",
        kernels=(
            (
                "dirty",
                "atomic_clear(leaves, places[k], mark)",
                "leaves[places[k]] &= ~np.uint64(mark)",
            ),
        ),
    ),
    Fault(
        "tracking switched under HOLD",
        "a vCPU that had not seen the flag enters at the new epoch, is not kicked, and goes on as before",
        "tracking_off_against_run-ept",
        "marked after tracking was off",
        python=(
            (DirtyCalls, "set_tracking", "exclusion.switching = True  #", "pass  #"),
            (
                DirtyCalls,
                "set_tracking",
                "exclusion.raise_epoch(",
                "exclusion.switching = True; exclusion.raise_epoch(",
            ),
        ),
    ),
    Fault(
        "touched before dirty",
        "a vCPU touches the leaf table and sets D then",
        "first_write_against_harvest-ept",
        _UNSEEN,
        kernels=(
            (
                "guest",
                "        n = _settle(levels,",
                "        if writes and n != _ZERO:\n"
                "            _touch(touched, takes, since, scratch, block, n, marks & rules[DIRTY])\n"
                "        n = _settle(levels,",
            ),
            (
                "guest",
                "        if writes:\n            _touch(touched, takes, since, scratch, block, n, marks & rules[DIRTY])\n"
                "        if values",
                "        if values",
            ),
        ),
    ),
    Fault(
        "touched before dirty, with a TLB",
        "the same where translations are cached",
        "first_write_against_harvest-npt-tlb2",
        _UNSEEN,
        kernels=(
            (
                "tlb",
                "            if (entry & mark) != mark and",
                "            if kind == WRITE:\n                touch(touched, leaf >> _NINE)\n"
                "            if (entry & mark) != mark and",
            ),
            (
                "tlb",
                "            if (mark & rules[DIRTY]) != _ZERO:\n                touch(touched, leaf >> _NINE)\n",
                "",
            ),
        ),
    ),
    Fault(
        "scanned before taken",
        "a harvest clears the leaf table's byte behind the scan",
        "first_write_against_harvest-ept",
        _UNSEEN,
        kernels=(
            ("dirty", "        take(touched, tables[i])\n        n, left = _ZERO, _ZERO", "        n, left = _ZERO, _ZERO"),
            (
                "dirty",
                "        _clear_listed(leaves, places, n, np.uint64(mark), following)\n",
                "        _clear_listed(leaves, places, n, np.uint64(mark), following)\n        take(touched, tables[i])\n",
            ),
        ),
    ),
    Fault(
        "touched by who sets D only",
        "a vCPU that finds D set does not look at the leaf table's byte",
        "own_harvest_against_write-ept",
        "its own write is not in the harvest",
        kernels=(
            (
                "guest",
                "if (scratch[block + _WANT + one] & dirty) != _ZERO",
                "if (scratch[block + _WANT + one] & ~scratch[block + _ENTRY + one] & dirty) != _ZERO",
            ),
        ),
    ),
    Fault(
        "takes not looked at",
        "what a vCPU has touched is good for the whole run",
        "later_write_against_harvest-ept",
        _UNSEEN,
        kernels=(("guest", "taken = not nothing_taken(takes, since)", "taken = False"),),
    ),
    Fault(
        "takes looked at before D is set",
        "a vCPU asks whether a table was taken, and then sets D",
        "later_write_against_harvest-ept",
        _UNSEEN,
        kernels=(
            ("guest", "taken = not nothing_taken(takes, since)", "taken = since != _ZERO"),
            (
                "guest",
                "        n = _settle(levels,",
                "        since = _ZERO if nothing_taken(takes, since) else _ONE\n        n = _settle(levels,",
            ),
        ),
    ),
    Fault(
        "takes told afterwards only",
        "a harvest takes tables, and says so when it has scanned them",
        "later_write_against_harvest-ept",
        _UNSEEN,
        python=((PageTable, "harvest", "kernels.words.store(self.takes, 0, begun)\n", "pass\n"),),
    ),
    Fault(
        "touched during a harvest is trusted",
        "a vCPU enters while a harvest takes tables, and remembers what it touched before that came to it",
        "write_from_within_harvest-ept",
        _UNSEEN,
        kernels=(("summary", "(since & _ONE) == _ZERO and atomic_load", "atomic_load"),),
    ),
    Fault(
        "touched by who sets D only, with a TLB",
        "the same where translations are cached",
        "own_harvest_against_write-npt-tlb2",
        "its own write is not in the harvest",
        kernels=(
            (
                "tlb",
                "            if (mark & rules[DIRTY]) != _ZERO:\n",
                "            if (mark & rules[DIRTY] & ~entry) != _ZERO:\n",
            ),
        ),
    ),
    Fault(
        "a release trusts D",
        "a page that is dirty already is released without a look at its leaf table's byte",
        "own_harvest_after_release-ept",
        "its own write is not in the harvest",
        python=((Holding, "_mark_page", "or not self._touched[leaf >> 9] or not _LOADS_IN_ORDER", ""),),
    ),
    Fault(
        "stillness without locks",
        "a harvest clears by plain stores while a page is released",
        "release_against_harvest-ept",
        "copied ",
        python=(
            (Exclusion, "_lock_gates", "not gate.lock.acquire(timeout=_BRIEF) or gate.is_occupied()", "gate.is_occupied()"),
        ),
    ),
    Fault(
        "stillness beside a vCPU",
        "a harvest clears by plain stores while a vCPU is inside",
        "first_write_against_harvest-ept",
        "copied ",
        python=(
            (
                Exclusion,
                "_lock_gates",
                "not gate.lock.acquire(timeout=_BRIEF) or gate.is_occupied()",
                "not gate.lock.acquire(timeout=_BRIEF)",
            ),
        ),
    ),
)
