"""Callbacks beside everything else."""

import threading
from itertools import count
from typing import Any

import pytest

from npt import Deadlock, Prot, PteFormat, Vcpu
from tests.threads.crew import LONG, Crew, crew, together
from tests.threads.guest import N_PAGES, PAGE, guest, run_on, thrown

ROUNDS = 60 * LONG
pytestmark = pytest.mark.slow


def test_callbacks__of_several_threads(form: PteFormat) -> None:
    """Every call calls every client back exactly once, in the order of the clients, one call after the other."""
    with guest(form) as made:
        heard: list[tuple[int, int, int]] = []
        listeners = [made.space.client() for _ in range(3)]
        for n, client in enumerate(listeners):
            client.on_invalidate(lambda gpa, length, n=n: heard.append((n, gpa, length)))  # type: ignore[misc]

        def harvest(page: int) -> Any:
            return lambda _: [made.space.track_dirty(page * PAGE, PAGE) for _ in range(ROUNDS)]

        with crew(run_on(Vcpu(made.space.client(), tlb=64))):
            together(*(harvest(page) for page in range(3)))
        assert len(heard) == 9 * ROUNDS
        for k in range(0, len(heard), 3):
            assert heard[k : k + 3] == [(n, heard[k][1], PAGE) for n in range(3)]


def test_callbacks__that_come_and_go(form: PteFormat) -> None:
    """Once on_invalidate or a client's destroy has returned, the old callback does not run any more."""
    with guest(form) as made:
        late: list[str] = []

        def listen(team: Crew) -> None:
            for n in count():
                if not team.working:
                    return
                client, on = made.space.client(), threading.Event()
                on.set()
                client.on_invalidate(lambda gpa, length, on=on: None if on.is_set() else late.append("late"))  # type: ignore[misc]
                made.space.pte(0)
                client.on_invalidate(None) if n % 2 else client.destroy()
                on.clear()
                client.destroy()

        with crew(listen, listen):
            for _ in range(5 * ROUNDS):
                made.space.track_dirty(0, PAGE)
        assert late == []


def test_callbacks__release_and_look(form: PteFormat) -> None:
    """A callback releases pages and reads while other threads hold and look; what it must not do is Deadlock."""
    with guest(form) as made:
        holder = made.space.client()
        pages = [holder.hold(k % N_PAGES * PAGE, Prot.RW) for k in range(ROUNDS)]
        met: set[type[BaseException] | None] = set()

        def act(gpa: int, length: int) -> None:
            if pages:
                pages.pop().release()
            made.space.peek_dirty(0, made.ram.length)
            made.space.translate([0])
            met.add(thrown(lambda: made.client.fault(0, Prot.READ)))
            met.add(thrown(lambda: made.space.track_dirty(0, PAGE)))

        holder.on_invalidate(act)
        others = [made.space.client() for _ in range(2)]

        def look(client: Any) -> Any:
            def work(team: Crew) -> None:
                while team.working:
                    client.hold(0, Prot.RW).release()
                    made.space.translate([PAGE])

            return work

        with crew(*(look(client) for client in others), run_on(Vcpu(made.space.client()))):
            for _ in range(ROUNDS):
                made.space.track_dirty(0, made.ram.length)
        assert met == {Deadlock}
        assert (pages, holder.holds) == ([], 0)
