"""For every invariant of mappings and objects the ways in which it is broken on purpose."""

from collections.abc import Callable

from npt import MmioObject, Prot, Reservoir
from npt.memory.objects import VmObject
from tests.testing.guest import FAR, GONE, PAGE, RAM, ROM, SIZE, Guest
from tests.testing.planting import Plant, attribute, first_mapping, lose_batch_reference, remap

__all__ = ["PLANTS"]


def _extents(row: int, column: int, change: int) -> Plant:
    def plant(guest: Guest) -> None:
        guest.core.mappings.extents = guest.core.mappings.extents.copy()
        guest.core.mappings.extents[row, column] = int(guest.core.mappings.extents[row, column]) + change

    return plant


def _without_extent(guest: Guest) -> None:
    guest.core.mappings.extents = guest.core.mappings.extents[1:]


def _forget_mapping(guest: Guest) -> None:
    mapping = guest.core.mappings._mappings[0]
    del mapping.obj._keepers[guest.core.mappings.keeper(mapping)]


def _keep(keeper: Callable[[Guest], object]) -> Plant:
    def plant(guest: Guest) -> None:
        guest.ram._keepers[keeper(guest)] = 1

    return plant


def _lose_reference(guest: Guest) -> None:
    del guest.gone._keepers[guest.unmapped]


def _stranger(guest: Guest) -> object:
    """What a mapping equal to the first, but not it, is entered under."""
    mappings = guest.core.mappings
    return mappings.keeper(mappings.all()[0]._replace())


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


def _core(guest: Guest) -> object:
    return guest.core


PLANTS: dict[str, list[Plant]] = {
    "mappings are disjoint": [
        first_mapping(length=ROM - RAM + PAGE), remap(lambda guest, all_of: all_of[::-1]),
        remap(lambda guest, all_of: [all_of[0], *all_of]),
    ],
    "mappings fit the space": [
        first_mapping(length=0), first_mapping(gpa=RAM + 1), first_mapping(gpa=-PAGE), first_mapping(offset=0x800),
        remap(lambda guest, all_of: [*all_of[:-1], all_of[-1]._replace(gpa=SIZE - PAGE)]),
        attribute(_core, "size", lambda guest: FAR),
    ],
    "mappings fit their objects": [
        first_mapping(offset=PAGE), first_mapping(offset=-PAGE), first_mapping(length=0x11 * PAGE),
        first_mapping(prot=Prot.WRITE), first_mapping(prot=Prot.NONE),
    ],
    "extents are those of mappings": [
        *(_extents(0, column, 1) for column in (0, 1, 3)),
        _extents(0, 2, PAGE), _extents(0, 2, 1), _extents(0, 2, 1 << 2), _extents(2, 2, 1 << 3), _extents(0, 0, -1),
        remap(lambda guest, all_of: all_of[1:]), first_mapping(prot=Prot.READ), first_mapping(offset=PAGE),
    ],
    "extents cover the mappings": [_extents(0, 0, 1), _extents(0, 1, -1), _without_extent],
    "untold unmaps are of mappings": [lambda guest: guest.core.untold.add(GONE)],
    "mapped objects are alive": [
        _forget_mapping, lambda guest: guest.ram._keepers.clear(),
        first_mapping(obj=MmioObject(0x10 * PAGE, 0xFD00_0000)),
    ],
    "unmapped holds keep their object": [_lose_reference, lose_batch_reference, lambda guest: guest.gone._keepers.clear()],
    "no reference is forgotten": [
        _keep(lambda guest: guest.first), _keep(lambda guest: (guest.batch, None)), _keep(lambda guest: guest.unmapped),
        _keep(_stranger), remap(lambda guest, all_of: [all_of[0]._replace(), *all_of[1:]]),
        lambda guest: guest.client._pages.discard(guest.unmapped),
        lambda guest: guest.other._batches.discard(guest.unmapped_batch),
    ],
    "objects have frames of their own": [
        _set_spans(lambda guest: guest.rom, lambda guest: guest.ram._spans[0].pfn + 0xF),
        _set_spans(lambda guest: guest.gone, lambda guest: guest.ram._spans[0].pfn),
        _set_spans(lambda guest: guest.mmio, lambda guest: (1 << 33) - 1),
    ],
    "RAM is of the space's reservoir": [_foreign_ram, _mmio_over_ram, attribute(_core, "reservoir", lambda guest: None)],
}  # fmt: skip
