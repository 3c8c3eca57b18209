"""For every invariant the ways in which it is broken on purpose."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from npt import MmioObject, Prot, Reservoir
from npt.memory.ledger import Ledger, Parting
from npt.memory.objects import VmObject
from npt.space.gate import ENTERED, EPOCH_NOW, GENERATION, GENERATION_NOW, KICK, ON_CPU, State
from npt.space.mappings import Mapping
from tests.testing.guest import DEVICE, FAR, GONE, PAGE, RAM, ROM, SIZE, Guest

__all__ = ["PLANTS", "Plant"]

Plant = Callable[[Guest], object]


def _state(level: int, *, free: bool) -> int:
    """Which word counts the tables of a level."""
    return 2 * (level - 1) + free


def _count_tables(level: int, change: int, *, free: bool) -> Plant:
    def plant(guest: Guest) -> None:
        word = _state(level, free=free)
        guest.core.table._state[word] = int(guest.core.table._state[word]) + change

    return plant


def _spoil_directory(level: int, gpa: int, change: Callable[[int], int]) -> Plant:
    def plant(guest: Guest) -> None:
        entries, place = guest.core.table.levels[level - 1], guest.place(gpa, level)
        entries[place] = change(int(entries[place]))

    return plant


def _spoil_leaf(gpa: int, change: Callable[[Guest, int], int]) -> Plant:
    def plant(guest: Guest) -> None:
        guest.set_leaf(gpa, change(guest, guest.entry(gpa)))

    return plant


def _link_twice(guest: Guest) -> None:
    """Both regions under the RAM get one leaf table."""
    directories = guest.core.table.levels[1]
    directories[guest.place(RAM + 0xF * PAGE, 2)] = directories[guest.place(RAM, 2)]


def _free_linked(guest: Guest) -> None:
    table = guest.core.table
    table._free[0][int(table._state[1])] = guest.leaf(RAM) // 512
    table._state[1] += 1


def _free_twice(guest: Guest) -> None:
    table = guest.core.table
    table._free[0][int(table._state[1])] = table._free[0][0]
    table._state[1] += 1


def _free_unused(guest: Guest) -> None:
    table = guest.core.table
    table._free[0][int(table._state[1])] = table._state[0]
    table._state[1] += 1


def _dirty_free_table(guest: Guest) -> None:
    table = guest.core.table
    table.levels[0][int(table._free[0][0]) * 512 + 511] = 1 << 9


def _counting_free_table(guest: Guest) -> None:
    table = guest.core.table
    table._counts[0][int(table._free[0][0])] = 1


def _count_in(level: int, gpa: int) -> Plant:
    def plant(guest: Guest) -> None:
        guest.core.table._counts[level - 1][guest._table(gpa, level)] += 1

    return plant


def _unlink(level: int, gpa: int) -> Plant:
    return _spoil_directory(level, gpa, lambda entry: 0)


def _mappings(change: Callable[[Guest, list[Mapping]], list[Mapping]]) -> Plant:
    def plant(guest: Guest) -> None:
        mappings = guest.core.mappings
        mappings._mappings = tuple(change(guest, list(mappings._mappings)))
        mappings._gpas = tuple(mapping.gpa for mapping in mappings._mappings)

    return plant


def _first_mapping(**changes: Any) -> Plant:
    return _mappings(lambda guest, all_of: [all_of[0]._replace(**changes), *all_of[1:]])


def _unmap_all_but_tables(guest: Guest) -> None:
    _mappings(lambda guest, all_of: [])(guest)
    guest.core.table.levels[0][:] = 0


def _extents(row: int, column: int, change: int) -> Plant:
    def plant(guest: Guest) -> None:
        guest.core.mappings.extents = guest.core.mappings.extents.copy()
        guest.core.mappings.extents[row, column] = int(guest.core.mappings.extents[row, column]) + change

    return plant


def _without_extent(guest: Guest) -> None:
    guest.core.mappings.extents = guest.core.mappings.extents[1:]


def _swap_found(guest: Guest) -> None:
    guest.core.mappings._gpas = guest.core.mappings._gpas[::-1]


def _forget_mapping(guest: Guest) -> None:
    mapping = guest.core.mappings._mappings[0]
    del mapping.obj._keepers[guest.core.keeper(mapping)]


def _keep(keeper: Callable[[Guest], object]) -> Plant:
    def plant(guest: Guest) -> None:
        guest.ram._keepers[keeper(guest)] = 1

    return plant


def _lose_reference(guest: Guest) -> None:
    del guest.gone._keepers[guest.unmapped]


def _lose_batch_reference(guest: Guest) -> None:
    (key,) = [key for key in guest.gone._keepers if isinstance(key, tuple)]
    guest.gone._keepers[key] = 1


def _set_spans(obj: Callable[[Guest], VmObject], first: Callable[[Guest], int]) -> Plant:
    def plant(guest: Guest) -> None:
        victim = obj(guest)
        span = victim._spans[0]
        victim._spans = (span._replace(pfn=first(guest)), *victim._spans[1:])

    return plant


def _foreign_ram(guest: Guest) -> None:
    guest.ram._reservoir = Reservoir(PAGE)


def _mmio_over_ram(guest: Guest) -> None:
    _set_spans(lambda guest: guest.mmio, lambda guest: guest.reservoir.base_pfn + 0x9E)(guest)


def _attribute(owner: Callable[[Guest], object], name: str, value: Callable[[Guest], object]) -> Plant:
    """Set an attribute of something."""

    def plant(guest: Guest) -> None:
        setattr(owner(guest), name, value(guest))

    return plant


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
        guest.core.destroyed, guest.core.exclusion.dying = True, dying
        if not mappings:
            guest.core.mappings._mappings = guest.core.mappings._gpas = ()
        for gate in guest.core.exclusion.gates if orphans else ():
            gate.state |= State.ORPHANED

    return plant


def _ledger(change: Callable[[Ledger], Ledger]) -> Plant:
    def plant(guest: Guest) -> None:
        guest.reservoir._ledger = change(guest.ledger)

    return plant


def _frames(change: Callable[[Guest], object]) -> Plant:
    """Change the sets of unused frames behind the ledger's back."""

    def plant(guest: Guest) -> None:
        guest.reservoir._ledger = guest.ledger._replace(free=guest.ledger.free.copy(), empty=guest.ledger.empty.copy())
        change(guest)

    return plant


def _cut_span(guest: Guest) -> None:
    """Two spans that touch."""
    spans = guest.ledger.free
    first, n = spans._by_address[0]
    spans._by_address[:1] = [(first, 1), (first + 1, n - 1)]
    spans._by_size = sorted((n, first) for first, n in spans._by_address)


def _own_frame(guest: Guest) -> int:
    return guest.ram._spans[0].pfn - guest.reservoir._base_pfn


def _quarantine(frame: Callable[[Guest], int]) -> Plant:
    def plant(guest: Guest) -> None:
        parting = Parting(((frame(guest), 1),), False, quarantined=True)
        quarantine = {**guest.ledger.quarantine, frame(guest): parting}
        guest.reservoir._ledger = guest.ledger._replace(quarantine=quarantine, quarantined=guest.ledger.quarantined + 1)

    return plant


def _scribble(frame: Callable[[Guest], int]) -> Plant:
    def plant(guest: Guest) -> None:
        guest.reservoir.memory[frame(guest) * PAGE + PAGE - 1] = 1

    return plant


def _free_quarantined(guest: Guest) -> None:
    (frame,) = guest.ledger.quarantine
    guest.ledger.free.add(frame, 1)
    guest.reservoir._ledger = guest.ledger._replace(quarantine={}, quarantined=0)


def _watch_nobody(guest: Guest) -> None:
    guest.reservoir._watch._views.clear()
    guest.reservoir._watch._new.clear()
    guest.reservoir._leavers.clear()


def _watch_nothing(guest: Guest) -> None:
    guest.reservoir.watch(guest.ledger.limit, guest.view)


def _odd_parting(**changes: Any) -> Plant:
    def plant(guest: Guest) -> None:
        ((frame, parting),) = guest.ledger.quarantine.items()
        guest.reservoir._ledger = guest.ledger._replace(quarantine={frame: replace(parting, **changes)})

    return plant


def _claim(guest: Guest) -> None:
    (parting,) = guest.ledger.quarantine.values()
    parting.cleaner = object()


def _leave_free(guest: Guest) -> None:
    guest.reservoir._leavers.append(Parting((guest.ledger.free._by_address[0],), False))


def _unused_frame(name: str) -> Callable[[Guest], int]:
    return lambda guest: int(getattr(guest.ledger, name)._by_address[0][0])


def _unused_pfn(name: str) -> Callable[[Guest], int]:
    return lambda guest: guest.reservoir._base_pfn + _unused_frame(name)(guest)


def _as_pfn(entry: int, pfn: int) -> int:
    return entry & ~0x000F_FFFF_FFFF_F000 | pfn << 12


def _add_unused(name: str, frame: Callable[[Guest], int]) -> Plant:
    return _frames(lambda guest: getattr(guest.ledger, name).add(frame(guest), 1))


def _core(guest: Guest) -> object:
    return guest.core


def _exclusion(guest: Guest) -> object:
    return guest.core.exclusion


def _first(guest: Guest) -> object:
    return guest.first


_WRITE, _UC_TO_WB = 1 << 1, 6 << 3

PLANTS: dict[str, list[Plant]] = {
    "one root": [_count_tables(4, 1, free=False), _count_tables(4, 1, free=True)],
    "directories lead to tables": [
        _spoil_directory(2, RAM, lambda entry: entry + (0x1000 << 12)),
        _spoil_directory(3, FAR, lambda entry: entry | 1 << 50),
        _spoil_directory(4, FAR, lambda entry: 0x7),
    ],
    "directory entries are plain": [
        _spoil_directory(2, RAM, lambda entry: entry ^ _WRITE),
        _spoil_directory(4, RAM, lambda entry: entry | 1 << 63),
        _spoil_directory(3, FAR, lambda entry: entry | 1 << 7),
    ],
    "no table is in two places": [_link_twice, _free_linked, _free_twice],
    "every table is in a place": [
        _unlink(2, FAR), _unlink(4, FAR), _count_tables(1, 1, free=False), _count_tables(1, -1, free=True),
    ],
    "free tables were used": [_free_unused],
    "free tables are empty": [_dirty_free_table, _counting_free_table],
    "tables in use add up": [_unlink(2, RAM), _count_tables(2, 1, free=False), _count_tables(1, -1, free=True)],
    "directories count their children": [_unlink(2, RAM), _count_in(2, RAM), _count_in(3, FAR), _count_in(4, 0)],
    "leaf tables count their pages": [_count_in(1, RAM), _count_in(1, RAM + 0xF * PAGE), _count_in(1, ROM)],
    "linked tables are needed": [_mappings(lambda guest, all_of: all_of[:-1])],
    "mappings have their leaf tables": [_unlink(2, RAM), _unlink(4, FAR), _first_mapping(length=0x700 * PAGE)],
    "nothing mapped, nothing left": [_unmap_all_but_tables],
    "leaves are inside mappings": [
        _mappings(lambda guest, all_of: all_of[1:]),
        _spoil_leaf(RAM - PAGE, lambda guest, entry: guest.entry(RAM)),
        _spoil_leaf(RAM + 0x10 * PAGE, lambda guest, entry: 1 << 9),
    ],
    "leaves show their frames": [
        _spoil_leaf(RAM, lambda guest, entry: entry + PAGE),
        _spoil_leaf(RAM, lambda guest, entry: guest.entry(RAM + PAGE)),
        _spoil_leaf(DEVICE, lambda guest, entry: entry | 1 << 51),
        _first_mapping(offset=PAGE),
    ],
    "leaves allow what their mapping allows": [
        _spoil_leaf(RAM, lambda guest, entry: entry ^ _WRITE),
        _spoil_leaf(ROM, lambda guest, entry: entry | _WRITE),
        _spoil_leaf(FAR, lambda guest, entry: entry ^ (1 << 2 if guest.core.format.name == "ept" else 1 << 63)),
        _first_mapping(prot=Prot.READ),
    ],
    "leaves have their memory type": [
        _spoil_leaf(DEVICE, lambda guest, entry: entry ^ (_UC_TO_WB if guest.core.format.name == "ept" else 1 << 4)),
        _spoil_leaf(RAM, lambda guest, entry: entry ^ 1 << 4),
    ],
    "leaves have no other bits": [
        _spoil_leaf(RAM, lambda guest, entry: entry | 1 << 7),
        _spoil_leaf(RAM, lambda guest, entry: entry ^ 1),
        _spoil_leaf(FAR, lambda guest, entry: entry | 1 << 62),
        _spoil_leaf(ROM + PAGE, lambda guest, entry: guest.rom.pfn_at(PAGE) << 12),
    ],
    "dirty leaves are writable": [
        _spoil_leaf(ROM, lambda guest, entry: entry | int(guest.core.format.masks.dirty)),
        _spoil_leaf(RAM, lambda guest, entry: entry ^ _WRITE | guest.core.dirty_bits),
    ],
    "the resident count is exact": [
        _spoil_leaf(RAM, lambda guest, entry: 0),
        lambda guest: guest.core.table.words.__setitem__(0, 0),
        lambda guest: guest.core.table.words.__setitem__(0, 2**64 - 1),
    ],
    "mappings are disjoint": [
        _first_mapping(length=ROM - RAM + PAGE), _mappings(lambda guest, all_of: all_of[::-1]),
        _mappings(lambda guest, all_of: [all_of[0], *all_of]),
    ],
    "mappings fit the space": [
        _first_mapping(length=0), _first_mapping(gpa=RAM + 1), _first_mapping(gpa=-PAGE), _first_mapping(offset=0x800),
        _mappings(lambda guest, all_of: [*all_of[:-1], all_of[-1]._replace(gpa=SIZE - PAGE)]),
        _attribute(_core, "size", lambda guest: FAR),
    ],
    "mappings fit their objects": [
        _first_mapping(offset=PAGE), _first_mapping(offset=-PAGE), _first_mapping(length=0x11 * PAGE),
        _first_mapping(prot=Prot.WRITE), _first_mapping(prot=Prot.NONE),
    ],
    "mappings are found": [_swap_found],
    "extents are those of mappings": [
        *(_extents(0, column, 1) for column in (0, 1, 3)),
        _extents(0, 2, PAGE), _extents(0, 2, 1), _extents(0, 2, 1 << 2), _extents(2, 2, 1 << 3), _extents(0, 0, -1),
        _mappings(lambda guest, all_of: all_of[1:]), _first_mapping(prot=Prot.READ), _first_mapping(offset=PAGE),
    ],
    "extents cover the mappings": [_extents(0, 0, 1), _extents(0, 1, -1), _without_extent],
    "untold unmaps are of mappings": [lambda guest: guest.core.untold.add(GONE)],
    "mapped objects are alive": [
        _forget_mapping, lambda guest: guest.ram._keepers.clear(),
        _first_mapping(obj=MmioObject(0x10 * PAGE, 0xFD00_0000)),
    ],
    "unmapped holds keep their object": [_lose_reference, _lose_batch_reference, lambda guest: guest.gone._keepers.clear()],
    "no reference is forgotten": [
        _keep(lambda guest: guest.first), _keep(lambda guest: (guest.batch, None)), _keep(lambda guest: guest.unmapped),
        _keep(lambda guest: (guest.core, 0)), _mappings(lambda guest, all_of: [all_of[0]._replace(), *all_of[1:]]),
        lambda guest: guest.client._pages.discard(guest.unmapped),
        lambda guest: guest.other._batches.discard(guest.unmapped_batch),
    ],
    "objects have frames of their own": [
        _set_spans(lambda guest: guest.rom, lambda guest: guest.ram._spans[0].pfn + 0xF),
        _set_spans(lambda guest: guest.gone, lambda guest: guest.ram._spans[0].pfn),
        _set_spans(lambda guest: guest.mmio, lambda guest: (1 << 33) - 1),
    ],
    "RAM is of the space's reservoir": [_foreign_ram, _mmio_over_ram, _attribute(_core, "reservoir", lambda guest: None)],
    "holds point at their leaves": [
        _attribute(_first, "_leaf", lambda guest: guest.leaf(RAM) + 1), _attribute(_first, "_gpa", lambda guest: GONE),
        _spoil_leaf(RAM, lambda guest, entry: 0), _batch_leaf, _unlink(2, RAM + 0xF * PAGE),
        _attribute(lambda guest: guest.unmapped, "_object", lambda guest: None),
    ],
    "holds know their frames": [
        _attribute(_first, "_pfn", lambda guest: guest.ram.pfn_at(PAGE)), _batch_pfn,
        _attribute(lambda guest: guest.unmapped, "_pfn", lambda guest: guest.ram.pfn_at(0)),
        _attribute(lambda guest: guest.unmapped, "_object", lambda guest: guest.ram),
        _spoil_leaf(RAM, lambda guest, entry: entry + PAGE),
    ],
    "unmapped holds are counted": [_unmapped_twice, _lose_batch_reference],
    "holds are allowed": [
        _attribute(lambda guest: guest.reader, "_prot", lambda guest: Prot.RW),
        _attribute(lambda guest: guest.batch, "_prot", lambda guest: Prot.RWX),
        _first_mapping(prot=Prot.READ), _mappings(lambda guest, all_of: all_of[1:]),
    ],
    "holds are their client's": [
        _attribute(_first, "_client", lambda guest: guest.other), _attribute(_first, "_client", lambda guest: None),
        _attribute(lambda guest: guest.batch, "_client", lambda guest: None),
    ],
    "chains agree": [
        _one_way_chain, _chain_to_released, _ring, _attribute(_first, "_next", lambda guest: guest.first),
        _attribute(_first, "_next", lambda guest: guest.reader), _attribute(_first, "_next", lambda guest: None),
    ],
    "locks are free": [lambda guest: guest.core.exclusion.lock.acquire(), lambda guest: guest.client.gate.lock.acquire()],
    "look-ups are let in": [_gate_state(State.HOLD)],
    "HOLD is under the space lock": [_gate_state(State.HOLD)],
    "who is on CPU is known": [
        _line(ON_CPU, 1), lambda guest: guest.runner.gate.line.__setitem__(ON_CPU, 0),
        _attribute(lambda guest: guest.runner.gate, "inside", lambda guest: None),
        _attribute(lambda guest: guest.runner.gate, "thread", lambda guest: None),
        _attribute(lambda guest: guest.client.gate, "inside", lambda guest: guest),
    ],
    "kicks are for those inside": [_line(KICK, 1)],
    "time runs forward": [
        _line(ENTERED, 2**40), _line(GENERATION, 2**40), _space_line(EPOCH_NOW, 0), _space_line(GENERATION_NOW, 0),
        _space_line(EPOCH_NOW, 1),
    ],
    "each client is known once": [
        _list_twice, _other_gate, _attribute(lambda guest: guest.client.gate, "exclusion", lambda guest: None),
    ],
    "destroyed clients are gone": [_list_destroyed, _destroyed_listens, _gate_state(State.DESTROY)],
    "who is not listed has nothing": [Guest.stray, lambda guest: guest.core.exclusion.gates.remove(guest.runner.gate)],
    "orphans have no space": [
        _dead_with(mappings=True, dying=True, orphans=True), _dead_with(mappings=False, dying=False, orphans=True),
        _dead_with(mappings=False, dying=True, orphans=False),
    ],
    "living spaces have no orphans": [_gate_state(State.ORPHANED)],
    "the end is not half-way": [_attribute(_exclusion, "dying", lambda guest: True)],
    "spans are in order": [
        _frames(_cut_span), _frames(lambda guest: guest.ledger.free._by_size.reverse()),
        _frames(lambda guest: guest.ledger.free._by_address.reverse()),
        _frames(lambda guest: setattr(guest.ledger.empty, "total", 0)),
        _frames(lambda guest: guest.ledger.empty._by_address.append((0x9F, 0))),
    ],
    "unused frames are apart": [
        _frames(lambda guest: guest.ledger.empty.add(*guest.ledger.free._by_address[0])),
        _quarantine(_unused_frame("free")), _frames(lambda guest: guest.ledger.empty.add(0x100, 1)),
    ],
    "frames add up": [
        _ledger(lambda ledger: ledger._replace(quarantined=0)), _ledger(lambda ledger: ledger._replace(size=ledger.size - 8)),
        _ledger(lambda ledger: ledger._replace(limit=ledger.limit - 1)),
        _frames(lambda guest: guest.ledger.free.add(_own_frame(guest), 0x10)),
        _add_unused("empty", lambda guest: guest.far._spans[0].pfn - guest.reservoir._base_pfn),
    ],
    "free frames are zero": [_scribble(_unused_frame("free")), _scribble(_unused_frame("empty"))],
    "objects have their frames": [
        _add_unused("free", _own_frame), _add_unused("empty", _own_frame), _quarantine(_own_frame),
        _add_unused("free", lambda guest: guest.gone._spans[0].pfn - guest.reservoir._base_pfn + 1),
    ],
    "no leaf shows an unused frame": [
        _spoil_leaf(RAM, lambda guest, entry: _as_pfn(entry, _unused_pfn("free")(guest))),
        _spoil_leaf(RAM, lambda guest, entry: _as_pfn(entry, _unused_pfn("empty")(guest))),
        _add_unused("free", _own_frame), _quarantine(_own_frame),
    ],
    "no hold has an unused frame": [
        _attribute(_first, "_pfn", _unused_pfn("free")), _attribute(lambda guest: guest.unmapped, "_pfn", _unused_pfn("empty")),
        _quarantine(lambda guest: guest.gone._spans[0].pfn - guest.reservoir._base_pfn),
    ],
    "no view shows an unused frame": [_frames(_free_quarantined), _watch_nothing],
    "quarantine has a reason": [
        _watch_nobody, _quarantine(_own_frame), _odd_parting(quarantined=False), _odd_parting(done=True),
        _odd_parting(spans=((0, 1),)),
    ],
    "nobody zeroes at rest": [_claim, lambda guest: guest.reservoir._lock.acquire()],
    "who leaves has left": [_leave_free, lambda guest: guest.reservoir._leavers.append(guest.ram._parting)],
}  # fmt: skip
