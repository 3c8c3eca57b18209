"""``DirtyLog`` while memory comes and goes: an unmap takes dirty bits along, and what is mapped next is owed as a whole."""

import gc
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from npt import EPT, NPT, KickTimeout, Prot, PteFormat
from npt.dirty.log import DirtyLog
from tests.dirty.migrating import FIRST, HOLE, LENGTH, N_PAGES, PAGE, RAM, ROM, Guest, bitmap_of, guest, in_the_middle, pages_of
from tests.space.scene import on_cpu_elsewhere

HIGH = set(range(15, N_PAGES))  # the second RAM mapping


@pytest.fixture(params=[EPT, NPT], ids=["ept", "npt"])
def form(request: pytest.FixtureRequest) -> PteFormat:
    """Each entry format in turn."""
    assert isinstance(request.param, PteFormat)
    return request.param


@contextmanager
def copied(form: PteFormat) -> Iterator[Guest]:
    """A guest whose log runs and owes nothing; all that is mapped was sent."""
    with guest(form) as made:
        made.log.start(owe=made.log.mapped())
        made.send_round(made.log.round())
        assert made.stale() == made.owed() == set()
        yield made


def unmap_high(made: Guest) -> None:
    """The second RAM mapping goes."""
    made.space.unmap(FIRST + 15 * PAGE, 8 * PAGE)


def map_high(made: Guest) -> None:
    """And is there again: the same object at the same place."""
    made.space.map(made.ram, FIRST + 15 * PAGE, 8 * PAGE, Prot.RW, 15 * PAGE)


def remap(made: Guest) -> None:
    """Both."""
    unmap_high(made)
    map_high(made)


def test_remap__is_owed_by_the_next_round(form: PteFormat) -> None:
    """Not reported, for nobody knows what was written; and by no round after that."""
    with copied(form) as made:
        made.write(1, 17)
        remap(made)
        done = made.log.round()
        assert (pages_of(done.bitmap), pages_of(made.log.owed_by(done))) == ({1}, {1} | HIGH)
        made.send_round(done)
        assert made.stale() == made.owed() == set()
        made.send_round(made.log.round())
        assert made.log.round().count == 0
        assert made.owed() == set()


@pytest.mark.parametrize("end", ["pause", "stop"])
def test_remap__is_owed_by_the_last_round(form: PteFormat, end: str) -> None:
    """A migration that ends there is right."""
    with copied(form) as made:
        made.write(16, 17)
        remap(made)
        made.send_round(getattr(made.log, end)())
        assert made.stale() == made.owed() == set()


def test_remap__is_put_back_by_an_abort(form: PteFormat) -> None:
    """Somebody who looks at dirty bits only has it then."""
    with copied(form) as made:
        made.write(16)
        remap(made)
        assert not made.log.abort().any()
        assert made.dirty() == HIGH
        made.log = DirtyLog(made.space, FIRST, LENGTH)
        made.finish()
        assert made.stale() == set()


def test_remap__after_a_put_back(form: PteFormat) -> None:
    """What was made dirty again is gone from the tables once more."""
    with copied(form) as made:
        made.write(16, 17)
        made.log.round()
        made.log.put_back()
        remap(made)
        made.finish()
        assert made.stale() == set()


def test_remap__while_stopped(form: PteFormat) -> None:
    """What an abort put back is gone from the tables: the next start's first round owes what is there instead."""
    with copied(form) as made:
        made.write(16, 17)
        made.log.abort()
        remap(made)
        made.log.start()
        made.log.round()
        assert made.owed() == HIGH


def test_remap__while_paused(form: PteFormat) -> None:
    """Likewise."""
    with copied(form) as made:
        made.log.pause()
        remap(made)
        made.log.resume()
        made.log.round()
        assert made.owed() == HIGH


def test_map__of_something_new_is_owed(form: PteFormat) -> None:
    """In the range, without what lies beyond it and without devices; to be read, too."""
    with copied(form) as made:
        device = made.space.map_mmio(FIRST + 11 * PAGE, PAGE, 0xFE00_0000)
        with made.other_ram(6) as more:
            made.space.map(more, FIRST + 12 * PAGE, PAGE, Prot.READ)
            made.space.map(more, FIRST - 2 * PAGE, 2 * PAGE, Prot.RW)
            unmap_high(made)
            made.space.map(more, FIRST + 21 * PAGE, 4 * PAGE, Prot.RW)
            assert not made.log.round().count
            assert made.owed() == {12, 21, 22}
            for gpa, n in ((FIRST + 12 * PAGE, 1), (FIRST - 2 * PAGE, 2), (FIRST + 21 * PAGE, 4), (FIRST + 11 * PAGE, 1)):
                made.space.unmap(gpa, n * PAGE)
            map_high(made)
        device.release()


def test_unmap__alone_changes_nothing(form: PteFormat) -> None:
    """Nobody can send what is not there."""
    with copied(form) as made:
        unmap_high(made)
        made.log.round()
        assert made.owed() == set()
        map_high(made)
        made.log.round()
        assert made.owed() == HIGH


def test_start__owes_nothing_that_was_mapped_before(form: PteFormat) -> None:
    """Unless it is told to."""
    with guest(form) as made:
        remap(made)
        made.log.start()
        made.log.round()
        assert made.owed() == set()


def test_map__just_after_the_harvest(form: PteFormat) -> None:
    """Memory that comes before the last round has returned is owed by it, for no other round comes."""
    with copied(form) as made:
        made.write(16)
        unmap_high(made)
        made.send_round(in_the_middle("return", "track_dirty", lambda: map_high(made), made.log.stop))
        assert made.stale() == set()


def test_unmap__that_timed_out(form: PteFormat) -> None:
    """Its entries are cleared and its mapping stays: owed once, not in each round."""
    with copied(form) as made:
        made.write(16, 17)
        with on_cpu_elsewhere(made.space.client(), leaves=False), pytest.raises(KickTimeout):
            unmap_high(made)
        assert made.dirty() == set()
        made.send_round(made.log.round())
        assert made.stale() == set()
        made.log.round()
        assert made.owed() == set()
        made.write(18)
        with on_cpu_elsewhere(made.space.client(), leaves=False), pytest.raises(KickTimeout):
            unmap_high(made)
        made.log.round()
        assert made.owed() == HIGH


def test_known_mappings__are_not_kept_for_ever(form: PteFormat) -> None:
    """A round lets go of those that went."""
    with copied(form) as made:
        more = made.other_ram(1)
        made.space.map(more, FIRST + 11 * PAGE, PAGE, Prot.RW)
        made.log.round()
        made.space.unmap(FIRST + 11 * PAGE, PAGE)
        made.log.round()
        gone = weakref.ref(more)
        more.release()
        del more
        gc.collect()
        assert gone() is None


def test_migration__over_remaps(form: PteFormat) -> None:
    """Memory goes and comes between all steps; what the log owes is enough, and no page outside is."""
    with guest(form) as made:
        made.log.start(owe=made.log.mapped())
        for n in range(12):
            made.write(n % 11, 15 + n % 8)
            if n % 3 == 0:
                remap(made)
            done = made.log.round()
            if n % 4 == 1:
                remap(made)
            made.write((n + 3) % 11, 15 + (n + 5) % 8)
            made.send_round(done, most=3)
            assert made.owed() <= RAM | ROM
            assert not made.owed() & HOLE
        remap(made)
        made.send_round(made.log.stop())
        assert made.stale() == made.owed() == set()
        assert made.log.owed.tolist() == bitmap_of(set()).tolist()
