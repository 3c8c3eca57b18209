"""A migration that fails at any place loses nothing: what is stale is dirty again, and the next migration is right."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from npt import EPT, NPT, Prot, PteFormat
from npt.dirty.log import DirtyLog
from tests.dirty.migrating import FIRST, LENGTH, PAGE, RAM, ROM, Guest, bitmap_of, guest, pages_of

WRITTEN = [(0, 4, 5, 22), (5, 6, 7, 15), (0, 10), ()]  # before each round
Step = Callable[[], None]


class _Failed(Exception):
    """The migration breaks off."""


@pytest.fixture(params=[EPT, NPT], ids=["ept", "npt"])
def form(request: pytest.FixtureRequest) -> PteFormat:
    """Each entry format in turn."""
    assert isinstance(request.param, PteFormat)
    return request.param


def migrate(made: Guest, step: Step) -> None:
    """Rounds and copies, page by page, the guest writing between and during them; ``step`` is called everywhere."""

    def beside() -> None:
        step()
        made.write(len(made.log.rounds), 21)

    made.log.start(owe=made.log.mapped())
    for number, pages in enumerate(WRITTEN):
        made.write(*pages)
        step()
        done = made.log.round()
        made.write((number * 7 + 3) % 11)  # after the harvest, before the copy
        step()
        made.send_round(done, beside, most=1)
    made.send_round(made.log.stop(), step, most=1)


def failing_at(n: int) -> Step:
    """A step whose n-th call breaks the migration off."""
    left = iter(range(n - 1))

    def step() -> None:
        if next(left, None) is None:
            raise _Failed

    return step


def every_failure(form: PteFormat, tracking: bool) -> Iterator[Guest]:
    """A guest for each place at which its migration broke off."""
    for n in range(1, 1000):
        with guest(form, tracking, checked=False) as made:
            try:
                migrate(made, failing_at(n))
            except _Failed:
                yield made
                continue
            assert n > 80
            assert made.stale() == made.owed() == set()
            return


@pytest.mark.slow
@pytest.mark.parametrize(("form", "tracking"), [(EPT, False), (NPT, True)], ids=["ept, off before", "npt, on before"])
def test_abort__at_every_round_and_page(form: PteFormat, tracking: bool) -> None:
    """What is stale is dirty again, but for what is read-only, and that is told; a second migration by that alone is right."""
    for made in every_failure(form, tracking):
        left = pages_of(made.log.abort())
        assert left <= ROM
        assert made.stale() <= made.dirty() | left
        assert made.space.tracking is tracking
        if tracking:
            made.write(8, 9)  # seen by whoever comes next
        made.finish()
        assert made.stale() == made.owed() == set()


@pytest.mark.slow
def test_abort__another_log_takes_over() -> None:
    """What was put back is in the tables, for any log; what could not be is owed by it if it is told so."""
    for made in every_failure(EPT, True):
        left = made.log.abort()
        made.log = DirtyLog(made.space, FIRST, LENGTH)
        made.log.start(owe=left)
        made.finish()
        assert made.stale() == set()


@pytest.mark.slow
def test_failure__without_abort_the_log_goes_on() -> None:
    """What was not sent is owed still, and the next round's copy has it."""
    for made in every_failure(NPT, False):
        assert made.lost() == set()
        made.finish()
        assert made.stale() == made.owed() == set()


@pytest.mark.slow
def test_failure__put_back_in_the_middle() -> None:
    """Pages put back are dirty, and reported by the next round; the others stay owed."""
    for made in every_failure(EPT, True):
        for select in ({0, 5, 14}, None):
            made.log.put_back(None if select is None else bitmap_of(select))
            assert made.lost() == set()
        assert made.owed() <= ROM
        made.finish()
        assert made.stale() == set()


# -- one by one ---------------------------------------------------------------------------------------------------------


def test_abort__tells_what_is_read_only_or_gone(form: PteFormat) -> None:
    """They stay owed, by the next round of the log."""
    with guest(form) as made:
        made.log.start(owe=made.log.mapped())
        made.space.unmap(FIRST + 15 * PAGE, 8 * PAGE)
        left = made.log.abort()
        assert pages_of(left) == ROM | set(range(15, 23)) == made.owed()
        assert made.dirty() == set(range(11))
        made.log.start()
        assert made.log.owed_by(made.log.round()).tolist() == bitmap_of(set(range(23)) - {11, 12}).tolist()
        made.space.map(made.ram, FIRST + 15 * PAGE, 8 * PAGE, Prot.RW, 15 * PAGE)


def test_abort__result_is_a_copy(form: PteFormat) -> None:
    """What the caller does to it is no matter to the log."""
    with guest(form) as made:
        made.log.start(owe=made.log.mapped())
        made.log.abort()[:] = 0
        assert made.owed() == ROM


@pytest.mark.parametrize("pause", [True, False])
def test_abort__of_a_log_that_does_not_run(form: PteFormat, pause: bool) -> None:
    """Tracking comes on for it, and is off again afterwards."""
    with guest(form) as made:
        made.log.start()
        made.write(1, 2, 3)
        made.log.pause() if pause else made.log.stop()
        assert made.dirty() == set()
        assert not made.space.tracking
        made.log.abort()
        assert made.dirty() == {1, 2, 3}
        assert (made.space.tracking, made.log.state.value, made.owed()) == (False, "stopped", set())


def test_abort__with_nothing_owed_does_nothing(form: PteFormat) -> None:
    """No tracking is turned on for nothing."""
    with guest(form) as made:
        generation = made.space.generation
        assert not made.log.abort().any()
        assert made.space.generation == generation


def test_abort__settles_old_rounds(form: PteFormat) -> None:
    """Somebody who comes late with an acknowledgement of a round before it takes nothing away."""
    with guest(form) as made:
        made.log.start(owe=made.log.mapped())
        made.write(1, 2)
        done = made.log.round()
        made.log.abort()
        assert made.log.acknowledge(done) == 0
        assert made.owed() == ROM


def test_put_back__counts_what_it_did(form: PteFormat) -> None:
    """Pages that are owed, selected and writable; a page that the guest has written again counts, too."""
    with guest(form) as made:
        made.log.start(owe=made.log.mapped())
        made.write(1, 2, 3)
        made.log.round()
        made.write(2, 3)
        made.log.acknowledge(1, bitmap_of({4}))
        assert made.log.put_back(bitmap_of({1, 2, 4, 12, 13})) == 2
        assert made.dirty() == {1, 2, 3}
        assert made.owed() == (RAM | ROM) - {1, 2, 4}


def test_copying__of_a_round_that_a_later_one_overtakes(form: PteFormat) -> None:
    """Pages that were reported again stay owed by the later round, whatever is sent for the earlier."""
    with guest(form) as made:
        made.log.start()
        made.write(1, 2, 3)
        first = made.log.round()
        loop = made.log.copying(first, n_pages=1)
        assert next(loop) == (FIRST + PAGE, PAGE)
        made.write(1, 3)
        second = made.log.round()
        assert [gpa for gpa, _ in loop] == [FIRST + 2 * PAGE, FIRST + 3 * PAGE]
        assert made.owed() == pages_of(made.log.owed_by(second)) == {1, 3}
        assert not np.any(made.log.owed_by(first))


@pytest.mark.parametrize("end", ["round", "put_back", "abort"])
def test_harvest__that_got_into_no_round(form: PteFormat, end: str) -> None:
    """An interrupt came behind it: its pages are owed, belong to the next round, and can be put back."""
    with guest(form, True) as made:
        made.log.start()
        made.write(1, 9)
        made.space.track_dirty(FIRST, LENGTH, into=made.log._books.fresh)
        assert made.owed() == {1, 9}
        assert made.log.acknowledge(made.log.round()) == 2 if end == "round" else getattr(made.log, end)() is not None
        assert made.owed() == set()
        assert made.dirty() == (set() if end == "round" else {1, 9})
