"""How things are broken on purpose: what several subjects need."""

from collections.abc import Callable
from typing import Any

from npt.space.mappings import Mapping
from tests.testing.guest import Guest

__all__ = [
    "Plant",
    "WRITE",
    "attribute",
    "first",
    "first_mapping",
    "lose_batch_reference",
    "remap",
    "spoil_directory",
    "spoil_leaf",
    "unlink",
]

Plant = Callable[[Guest], object]

WRITE = 1 << 1  # of an entry, in both formats


def spoil_directory(level: int, gpa: int, change: Callable[[int], int]) -> Plant:
    """Change the directory entry of a level above an address."""

    def plant(guest: Guest) -> None:
        entries, place = guest.core.table.levels[level - 1], guest.place(gpa, level)
        entries[place] = change(int(entries[place]))

    return plant


def spoil_leaf(gpa: int, change: Callable[[Guest, int], int]) -> Plant:
    """Change the leaf of an address."""

    def plant(guest: Guest) -> None:
        guest.set_leaf(gpa, change(guest, guest.entry(gpa)))

    return plant


def unlink(level: int, gpa: int) -> Plant:
    """Clear the directory entry of a level above an address."""
    return spoil_directory(level, gpa, lambda entry: 0)


def remap(change: Callable[[Guest, list[Mapping]], list[Mapping]]) -> Plant:
    """Change the list of mappings, and nothing else."""

    def plant(guest: Guest) -> None:
        mappings = guest.core.mappings
        mappings._mappings = tuple(change(guest, list(mappings._mappings)))

    return plant


def first_mapping(**changes: Any) -> Plant:
    """Change the mapping of the RAM, and nothing else."""
    return remap(lambda guest, all_of: [all_of[0]._replace(**changes), *all_of[1:]])


def lose_batch_reference(guest: Guest) -> None:
    """Two unmapped pages of a batch keep their object by one reference."""
    (key,) = [key for key in guest.gone._keepers if isinstance(key, tuple)]
    guest.gone._keepers[key] = 1


def attribute(owner: Callable[[Guest], object], name: str, value: Callable[[Guest], object]) -> Plant:
    """Set an attribute of something."""

    def plant(guest: Guest) -> None:
        setattr(owner(guest), name, value(guest))

    return plant


def first(guest: Guest) -> object:
    """A held page."""
    return guest.first
