"""Guests that share a reservoir, doing what comes up: nobody ever sees a page of another's.

Every page says whose it is, whichever way it is read. ``NPT_LONG=1`` makes ten times the work of it.
"""

import threading

import pytest

from npt import PteFormat
from tests.isolation.guest import Guest
from tests.isolation.kinds import KINDS
from tests.isolation.town import Town
from tests.threads.crew import LONG, Crew, together

pytestmark = pytest.mark.slow
STEPS = 60
WAYS = (
    "new", "hold", "held", "gather", "read", "loads", "stores", "segment", "guest segment", "buffer", "device", "taken", "late",
    "after the end", "late write", "ends",
)  # fmt: skip


def in_turn(form: PteFormat, seed: int, rounds: int) -> Town:
    """Two guests, one thread: the model knows every byte."""
    town = Town(form, threaded=False)
    guests = [Guest(town, number, seed) for number in (1, 2)]
    for number in range(rounds):
        guests[number % 2].do(STEPS)
        for guest in guests:
            guest.look_at_all()
        if number % 8 == 0:
            town.check_pool()
    leave(town, guests)
    return town


def side_by_side(form: PteFormat, seed: int, n_guests: int, rounds: int) -> Town:
    """A thread for each guest, as far as possible on a processor of its own."""
    town = Town(form, threaded=True)
    guests = [Guest(town, number, seed) for number in range(1, n_guests + 1)]
    meet = threading.Barrier(n_guests)

    def live(guest: Guest, team: Crew) -> None:
        try:
            meet.wait()
            for _ in range(rounds):
                if not team.working:
                    return
                guest.do(STEPS)
                guest.look_at_all()
        except BaseException:
            meet.abort()
            raise

    together(*(lambda team, guest=guest: live(guest, team) for guest in guests))
    leave(town, guests)
    return town


def leave(town: Town, guests: list[Guest]) -> None:
    """All go, and all is as in the beginning."""
    for guest in guests:
        guest.leave()
    guests.clear()
    town.close()


@pytest.mark.parametrize("seed", range(LONG))
def test_guests__in_turn(form: PteFormat, seed: int) -> None:
    """One guest after the other; every byte that is seen is what it must be."""
    town = in_turn(form, seed, 100)
    print(dict(town.seen))
    assert all(town.seen[way] for way in (*WAYS, "short", *KINDS)), town.seen


@pytest.mark.parametrize("n_guests", [2, 3])
def test_guests__side_by_side(form: PteFormat, n_guests: int) -> None:
    """Guests in threads of their own; every word that is seen is one's own, or shared on purpose, or zero."""
    town = side_by_side(form, n_guests, n_guests, 30 * LONG)
    print(dict(town.seen))
    assert all(town.seen[way] for way in WAYS), town.seen
