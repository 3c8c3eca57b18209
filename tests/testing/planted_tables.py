"""For every invariant of tables and leaves the ways in which it is broken on purpose."""

from npt import Prot
from tests.testing.guest import DEVICE, FAR, PAGE, RAM, ROM, Guest
from tests.testing.planting import WRITE, Plant, first_mapping, remap, spoil_directory, spoil_leaf, unlink

__all__ = ["PLANTS"]


def _state(level: int, *, free: bool) -> int:
    """Which word counts the tables of a level."""
    return 2 * (level - 1) + free


def _count_tables(level: int, change: int, *, free: bool) -> Plant:
    def plant(guest: Guest) -> None:
        word = _state(level, free=free)
        guest.core.table._state[word] = int(guest.core.table._state[word]) + change

    return plant


def _link_twice(guest: Guest) -> None:
    """Both regions under the RAM get one leaf table."""
    directories = guest.core.table.levels[1]
    directories[guest.place(RAM + 0xF * PAGE, 2)] = directories[guest.place(RAM, 2)]


def _call_clean(guest: Guest) -> None:
    """No harvest will look at the RAM's first table."""
    guest.core.table.touched[guest.leaf(RAM) // 512] = 0


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


def _unmap_all_but_tables(guest: Guest) -> None:
    remap(lambda guest, all_of: [])(guest)
    guest.core.table.levels[0][: int(guest.core.table._state[0]) * 512] = 0


PLANTS: dict[str, list[Plant]] = {
    "one root": [_count_tables(4, 1, free=False), _count_tables(4, 1, free=True)],
    "directories lead to tables": [
        spoil_directory(2, RAM, lambda entry: entry + (0x1000 << 12)),
        spoil_directory(3, FAR, lambda entry: entry | 1 << 50),
        spoil_directory(4, FAR, lambda entry: 0x7),
    ],
    "directory entries are plain": [
        spoil_directory(2, RAM, lambda entry: entry ^ WRITE),
        spoil_directory(4, RAM, lambda entry: entry | 1 << 63),
        spoil_directory(3, FAR, lambda entry: entry | 1 << 7),
    ],
    "no table is in two places": [_link_twice, _free_linked, _free_twice],
    "every table is in a place": [
        unlink(2, FAR), unlink(4, FAR), _count_tables(1, 1, free=False), _count_tables(1, -1, free=True),
    ],
    "free tables were used": [_free_unused],
    "free tables are empty": [_dirty_free_table, _counting_free_table],
    "tables in use add up": [unlink(2, RAM), _count_tables(2, 1, free=False), _count_tables(1, -1, free=True)],
    "directories count their children": [unlink(2, RAM), _count_in(2, RAM), _count_in(3, FAR), _count_in(4, 0)],
    "leaf tables count their pages": [_count_in(1, RAM), _count_in(1, RAM + 0xF * PAGE), _count_in(1, ROM)],
    "linked tables are needed": [remap(lambda guest, all_of: all_of[:-1])],
    "mappings have their leaf tables": [unlink(2, RAM), unlink(4, FAR), first_mapping(length=0x700 * PAGE)],
    "nothing mapped, nothing left": [_unmap_all_but_tables],
    "leaves are inside mappings": [
        remap(lambda guest, all_of: all_of[1:]),
        spoil_leaf(RAM - PAGE, lambda guest, entry: guest.entry(RAM)),
        spoil_leaf(RAM + 0x10 * PAGE, lambda guest, entry: 1 << 9),
    ],
    "leaves show their frames": [
        spoil_leaf(RAM, lambda guest, entry: entry + PAGE),
        spoil_leaf(RAM, lambda guest, entry: guest.entry(RAM + PAGE)),
        spoil_leaf(DEVICE, lambda guest, entry: entry | 1 << 51),
        first_mapping(offset=PAGE),
    ],
    "leaves allow what their mapping allows": [
        spoil_leaf(RAM, lambda guest, entry: entry ^ WRITE),
        spoil_leaf(ROM, lambda guest, entry: entry | WRITE),
        spoil_leaf(FAR, lambda guest, entry: entry ^ (1 << 2 if guest.core.format.name == "ept" else 1 << 63)),
        first_mapping(prot=Prot.READ),
    ],
    "leaves have their memory type": [
        spoil_leaf(DEVICE, lambda guest, entry: entry ^ (6 << 3 if guest.core.format.name == "ept" else 1 << 4)),
        spoil_leaf(RAM, lambda guest, entry: entry ^ 1 << 4),
    ],
    "leaves have no other bits": [
        spoil_leaf(RAM, lambda guest, entry: entry | 1 << 7),
        spoil_leaf(RAM, lambda guest, entry: entry ^ 1),
        spoil_leaf(FAR, lambda guest, entry: entry | 1 << 62),
        spoil_leaf(ROM + PAGE, lambda guest, entry: guest.rom.pfn_at(PAGE) << 12),
    ],
    "dirty leaves are writable": [
        spoil_leaf(ROM, lambda guest, entry: entry | int(guest.core.format.masks.dirty)),
        spoil_leaf(RAM, lambda guest, entry: entry ^ WRITE | guest.core.dirty_bits),
    ],
    "dirty leaves are looked for": [_call_clean],
    "the resident count is exact": [
        spoil_leaf(RAM, lambda guest, entry: 0),
        lambda guest: guest.core.table.words.__setitem__(0, 0),
        lambda guest: guest.core.table.words.__setitem__(0, 2**64 - 1),
    ],
}  # fmt: skip
