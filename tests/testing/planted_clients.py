"""For every invariant of holds and clients the ways in which it is broken on purpose."""

from npt import Prot
from npt.space.gate import ENTERED, EPOCH_NOW, GENERATION, GENERATION_NOW, KICK, ON_CPU, State
from tests.testing.guest import GONE, PAGE, RAM, Guest
from tests.testing.planting import Plant, attribute, first, first_mapping, lose_batch_reference, remap, spoil_leaf, unlink

__all__ = ["PLANTS"]


def _batch_leaf(guest: Guest) -> None:
    guest.batch.leaves = guest.batch.leaves.copy()
    guest.batch.leaves[1] += 1


def _batch_pfn(guest: Guest) -> None:
    guest.batch._pfns = guest.batch._pfns + 1


def _unmapped_twice(guest: Guest) -> None:
    (obj, chosen), *_ = guest.unmapped_batch._forgotten.values()
    guest.unmapped_batch._forgotten["again"] = obj, chosen
    obj._keepers[guest.unmapped_batch, "again"] = 2


def _one_way_chain(guest: Guest) -> None:
    guest.second._before = None


def _chain_to_released(guest: Guest) -> None:
    guest.client._pages.discard(guest.second)


def _ring(guest: Guest) -> None:
    guest.second._next, guest.first._before = guest.first, guest.second


def _line(name: int, value: int) -> Plant:
    """A word of a client's line."""

    def plant(guest: Guest) -> None:
        guest.client.gate.line[name] = value

    return plant


def _space_line(name: int, value: int) -> Plant:
    def plant(guest: Guest) -> None:
        guest.core.exclusion.line[name] = value

    return plant


def _gate_state(bits: int) -> Plant:
    def plant(guest: Guest) -> None:
        guest.client.gate.state |= bits

    return plant


def _list_twice(guest: Guest) -> None:
    guest.core.exclusion.gates.append(guest.client.gate)


def _other_gate(guest: Guest) -> None:
    guest.client.gate = guest.other.gate


def _list_destroyed(guest: Guest) -> None:
    guest.core.exclusion.gates.append(guest.destroyed.gate)


def _destroyed_listens(guest: Guest) -> None:
    guest.destroyed.gate.callback = print


def _dead_with(*, mappings: bool, dying: bool, orphans: bool) -> Plant:
    """A space that is said to be gone."""

    def plant(guest: Guest) -> None:
        guest.core.exclusion.destroyed, guest.core.exclusion.dying = True, dying
        if not mappings:
            guest.core.mappings._mappings = ()
        for gate in guest.core.exclusion.gates if orphans else ():
            gate.state |= State.ORPHANED

    return plant


def _exclusion(guest: Guest) -> object:
    return guest.core.exclusion


PLANTS: dict[str, list[Plant]] = {
    "holds point at their leaves": [
        attribute(first, "_leaf", lambda guest: guest.leaf(RAM) + 1), attribute(first, "_gpa", lambda guest: GONE),
        spoil_leaf(RAM, lambda guest, entry: 0), _batch_leaf, unlink(2, RAM + 0xF * PAGE),
        attribute(lambda guest: guest.unmapped, "_object", lambda guest: None),
    ],
    "holds know their frames": [
        attribute(first, "_address", lambda guest: guest.ram.pfn_at(PAGE) << 12), _batch_pfn,
        attribute(lambda guest: guest.unmapped, "_address", lambda guest: guest.ram.pfn_at(0) << 12),
        attribute(lambda guest: guest.unmapped, "_object", lambda guest: guest.ram),
        spoil_leaf(RAM, lambda guest, entry: entry + PAGE),
    ],
    "unmapped holds are counted": [_unmapped_twice, lose_batch_reference],
    "holds are allowed": [
        attribute(lambda guest: guest.reader, "_prot", lambda guest: Prot.RW),
        attribute(lambda guest: guest.batch, "_prot", lambda guest: Prot.RWX),
        first_mapping(prot=Prot.READ), remap(lambda guest, all_of: all_of[1:]),
    ],
    "holds are their client's": [
        attribute(first, "_client", lambda guest: guest.other), attribute(first, "_client", lambda guest: None),
        attribute(lambda guest: guest.batch, "_client", lambda guest: None),
    ],
    "chains agree": [
        _one_way_chain, _chain_to_released, _ring, attribute(first, "_next", lambda guest: guest.first),
        attribute(first, "_next", lambda guest: guest.reader), attribute(first, "_next", lambda guest: None),
    ],
    "locks are free": [lambda guest: guest.core.exclusion.lock.acquire(), lambda guest: guest.client.gate.lock.acquire()],
    "look-ups are let in": [_gate_state(State.HOLD)],
    "HOLD is under the space lock": [_gate_state(State.HOLD)],
    "who is on CPU is known": [
        _line(ON_CPU, 1), lambda guest: guest.runner.gate.line.__setitem__(ON_CPU, 0),
        attribute(lambda guest: guest.runner.gate, "inside", lambda guest: None),
        attribute(lambda guest: guest.runner.gate, "thread", lambda guest: None),
        attribute(lambda guest: guest.client.gate, "inside", lambda guest: guest),
    ],
    "kicks are for those inside": [_line(KICK, 1)],
    "time runs forward": [
        _line(ENTERED, 2**40), _line(GENERATION, 2**40), _space_line(EPOCH_NOW, 0), _space_line(GENERATION_NOW, 0),
        _space_line(EPOCH_NOW, 1),
    ],
    "each client is known once": [
        _list_twice, _other_gate, attribute(lambda guest: guest.client.gate, "exclusion", lambda guest: None),
    ],
    "destroyed clients are gone": [_list_destroyed, _destroyed_listens, _gate_state(State.DESTROY)],
    "who is not listed has nothing": [Guest.stray, lambda guest: guest.core.exclusion.gates.remove(guest.runner.gate)],
    "orphans have no space": [
        _dead_with(mappings=True, dying=True, orphans=True), _dead_with(mappings=False, dying=False, orphans=True),
        _dead_with(mappings=False, dying=True, orphans=False),
    ],
    "living spaces have no orphans": [_gate_state(State.ORPHANED)],
    "the end is not half-way": [attribute(_exclusion, "dying", lambda guest: True)],
}  # fmt: skip
