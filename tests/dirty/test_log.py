"""``DirtyLog``: rounds, and who owes what."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from npt import (
    EPT,
    NPT,
)
from npt.dirty.log import DirtyLog
from tests.dirty.migrating import FIRST, N_PAGES, PAGE, RAM, ROM, Guest, bitmap_of, guest, pages_of


@pytest.fixture(params=[EPT, NPT], ids=["ept", "npt"])
def made(request: pytest.FixtureRequest) -> Any:
    """A guest whose space does not track."""
    with guest(request.param) as guest_:
        yield guest_


# -- rounds -------------------------------------------------------------------------------------------------------------


def test_round__reports_what_was_written_since_the_last(made: Guest) -> None:
    """By vCPU and by hold, numbered from 1, with bits past the end zero."""
    made.log.start()
    for number, pages in enumerate([{0, 4, 5}, {5, 22}, set[int](), {1}], 1):
        made.write(*pages)
        done = made.log.round()
        assert (done.number, pages_of(done.bitmap), done.count, done.gap) == (number, pages, len(pages), False)
        assert done.generation == made.space.generation
        assert done.bitmap.shape == (3,)
    assert len(made.log.rounds) == 4


def test_round__is_read_only(made: Guest) -> None:
    """A round says what was, for ever: neither its own bitmap nor that of the record can be changed."""
    made.log.start()
    for done in (made.log.round(), made.log.rounds[1]):
        with pytest.raises(ValueError, match="read-only"):
            done.bitmap[0] = 1
        with pytest.raises(ValueError, match="cannot set WRITEABLE"):
            done.bitmap.flags.writeable = True


def test_round__times_and_generations_go_up(made: Guest) -> None:
    """Nanoseconds since the first start, and the generation that the harvest raised."""
    made.log.start()
    done = [made.log.round() for _ in range(3)]
    assert all(0 <= a.time_ns <= b.time_ns and a.generation < b.generation for a, b in pairwise(done))


def test_rounds__of_a_log_do_not_change(made: Guest) -> None:
    """Who has them has what was, while the log goes on."""
    made.log.start()
    before = made.log.rounds
    made.log.round()
    assert (len(before), len(made.log.rounds)) == (0, 1)


# -- who owes what ------------------------------------------------------------------------------------------------------


def test_owed__is_what_was_reported_and_not_sent(made: Guest) -> None:
    """Each page by the last round that reported it."""
    made.log.start()
    rounds = []
    for pages in [{0, 1, 2}, {1, 3}, {2}]:
        made.write(*pages)
        rounds.append(made.log.round())
    assert [pages_of(made.log.owed_by(each)) for each in rounds] == [{0}, {1, 3}, {2}]
    assert made.owed() == {0, 1, 2, 3}


def test_acknowledge__never_clears_a_later_debt(made: Guest) -> None:
    """What was sent after round 1 was written again before round 2."""
    made.log.start()
    made.write(0, 1, 2)
    first = made.log.round()
    made.write(1, 2)
    second = made.log.round()
    assert made.log.acknowledge(first) == 1
    assert made.owed() == {1, 2}
    assert made.log.acknowledge(second, bitmap_of({0, 1})) == 1
    assert made.owed() == {2}


def test_acknowledge__settles_earlier_rounds(made: Guest) -> None:
    """A page sent after round 3 is sent for rounds 1 and 2."""
    made.log.start()
    for pages in [(0, 1), (2,), (3,)]:
        made.write(*pages)
        made.log.round()
    assert made.log.acknowledge(2, bitmap_of({0, 2, 3})) == 2
    assert made.owed() == {1, 3}
    assert made.log.acknowledge(np.int64(3)) == 2


def test_acknowledge__does_not_settle_what_was_asked_for_later(made: Guest) -> None:
    """A new start wants its pages sent after it; who sent them for a round before comes too late."""
    made.log.start()
    made.write(1, 2)
    made.log.round()
    made.log.stop()
    made.log.start(owe=bitmap_of({1, 5}))
    assert made.log.acknowledge(2) == 1
    assert made.owed() == {1, 5}
    made.log.round()
    assert made.log.acknowledge(2) == 0
    assert made.log.acknowledge(3) == 2


def test_acknowledge__does_not_count_what_was_asked_for_again(made: Guest) -> None:
    """It is owed by the round that came after, and by no earlier one."""
    made.log.start()
    made.write(1, 2)
    made.log.round()
    made.log.resume(owe=bitmap_of({1, 5}))
    made.log.round()
    assert pages_of(made.log.owed_by(1)) == {2}
    assert made.log.acknowledge(1) == 1
    assert made.owed() == {1, 5}


def test_rounds__that_owe_nothing_cost_nothing(made: Guest) -> None:
    """Bitmaps are kept for those that do."""
    made.log.start()
    for page in (1, 2, 3, 3, 4):
        made.write(page)
        made.log.acknowledge(made.log.round(), bitmap_of({1, 2, 4}))
    made.log.round()
    assert set(made.log._books.by_round) == {4, 6}


def test_owed_by__is_a_copy(made: Guest) -> None:
    """What the caller does to it is no matter to the log."""
    made.log.start(owe=bitmap_of({1}))
    done = made.log.round()
    made.log.owed_by(done)[:] = 0
    made.log.owed[:] = 0
    assert made.owed() == {1}


def test_acknowledge__of_a_stopped_log(made: Guest) -> None:
    """The last round is sent when all is over."""
    made.log.start()
    made.write(1)
    made.log.stop()
    made.space.set_tracking(False)
    assert made.log.acknowledge(1) == 1


def test_copying__goes_through_what_is_owed(made: Guest) -> None:
    """Runs by address, acknowledged one by one; what is owed by later rounds is left out."""
    made.log.start()
    made.write(3, 4, 5, 9)
    made.log.round()
    made.write(5, 10)
    made.log.round()
    seen = []
    for gpa, length in made.log.copying(1):
        assert (gpa - FIRST) // PAGE in made.owed()
        seen.append(((gpa - FIRST) // PAGE, length // PAGE))
    assert seen == [(3, 2), (9, 1)]
    assert made.owed() == {5, 10}


@pytest.mark.parametrize("n_pages", [1, 2, 3, 7, 8, 9, 11])
@pytest.mark.parametrize("owed", [set(range(N_PAGES)), {0, 7, 8, 15, 16, 22}, set(range(6, 19)), set(range(8, 16))])
def test_copying__in_pieces(made: Guest, n_pages: int, owed: set[int]) -> None:
    """Each piece has at most so many pages, and exactly its own are acknowledged."""
    made.log.start(owe=bitmap_of(owed))
    left = set(owed)
    for gpa, length in made.log.copying(made.log.round(), n_pages=n_pages):
        assert made.owed() == left
        piece = set(range((gpa - FIRST) // PAGE, (gpa + length - FIRST) // PAGE))
        assert 0 < len(piece) <= n_pages
        assert piece <= left
        left -= piece
    assert made.owed() == left == set()


def test_copying__that_breaks_off_leaves_the_rest(made: Guest) -> None:
    """The stretch at which it broke off, too."""
    made.log.start(owe=bitmap_of({1, 5, 9}))
    for gpa, _ in made.log.copying(made.log.round()):
        if gpa == FIRST + 5 * PAGE:
            break
    assert made.owed() == {5, 9}


def test_mapped__is_what_mappings_cover(made: Guest) -> None:
    """From edge to edge of the range, RAM, ROM and devices, or without these."""
    device = made.space.map_mmio(FIRST + 11 * PAGE, PAGE, 0xFE00_0000)
    assert pages_of(made.log.mapped()) == RAM | ROM | {11}
    assert pages_of(made.log.mapped(mmio=False)) == RAM | ROM
    part = DirtyLog(made.space, FIRST + 9 * PAGE, 5 * PAGE)
    assert pages_of(part.mapped()) == {0, 1, 2, 4}
    assert not DirtyLog(made.space, 0, PAGE).mapped().any()
    made.space.unmap(FIRST + 11 * PAGE, PAGE)
    device.release()


def test_range__shows_nothing_of_its_neighbours(made: Guest) -> None:
    """Pages outside stay dirty for whoever logs them."""
    low, high = DirtyLog(made.space, FIRST, 9 * PAGE), DirtyLog(made.space, FIRST + 9 * PAGE, 14 * PAGE)
    low.start()
    high.start()
    made.write(8, 9, 10, 3)
    assert pages_of(low.round().bitmap) == {3, 8}
    assert pages_of(high.round().bitmap) == {0, 1}
    high.stop()
    low.stop()
    assert not made.space.tracking
