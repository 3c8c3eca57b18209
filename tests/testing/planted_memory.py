"""For every invariant of host memory the ways in which it is broken on purpose."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from npt.memory.ledger import Ledger, Parting
from tests.testing.guest import PAGE, RAM, Guest
from tests.testing.planting import Plant, attribute, first, spoil_leaf

__all__ = ["PLANTS"]


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


PLANTS: dict[str, list[Plant]] = {
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
        spoil_leaf(RAM, lambda guest, entry: _as_pfn(entry, _unused_pfn("free")(guest))),
        spoil_leaf(RAM, lambda guest, entry: _as_pfn(entry, _unused_pfn("empty")(guest))),
        _add_unused("free", _own_frame), _quarantine(_own_frame),
    ],
    "no hold has an unused frame": [
        attribute(first, "_address", lambda guest: _unused_pfn("free")(guest) << 12),
        attribute(lambda guest: guest.unmapped, "_address", lambda guest: _unused_pfn("empty")(guest) << 12),
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
