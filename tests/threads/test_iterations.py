"""The iteration oracle, as KVM's dirty_log_test: the log says which pages were written in a round, exactly.

``rounds.py`` has the rules. Sizes are around one bitmap word, one leaf table, and one that takes real time. A round needs 256
writes, a page that is dirty and one that is clean. A guest of one page cannot have both: there, every other round reads only.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from npt import NPT, PteFormat, VmSpace
from npt._types import U8Array
from npt.space.dirtycalls import DirtyCalls
from npt.testing import without_shootdown
from tests.threads.crew import LONG
from tests.threads.rounds import FIRST, PAGE, WAYS, Rounds

SMALL = (1, 63, 64, 65, 513)
LARGE = 100_003
pytestmark = pytest.mark.slow


@contextmanager
def rounds(form: PteFormat, n_pages: int, tlb: int) -> Iterator[Rounds]:
    """A guest for it, checked and taken down."""
    made = Rounds(form, n_pages, tlb)
    yield made
    made.close()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("tlb", [0, 64])
@pytest.mark.parametrize("n_pages", SMALL)
def test_iterations__beside_a_vcpu(form: PteFormat, n_pages: int, tlb: int, way: str) -> None:
    """Reported: this round's number or the next; not reported: that of the last harvest, or the next and reported then."""
    with rounds(form, n_pages, tlb) as made:
        made.beside(15 * LONG, WAYS[way])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("tlb", [0, 64])
@pytest.mark.parametrize("n_pages", SMALL)
def test_iterations__between_stays(form: PteFormat, n_pages: int, tlb: int, way: str) -> None:
    """Reported if, and only if, the number is this round's."""
    with rounds(form, n_pages, tlb) as made:
        made.stopped(6 * LONG, WAYS[way])


@pytest.mark.parametrize("tlb", [0, 64])
def test_iterations__of_a_large_guest(form: PteFormat, tlb: int) -> None:
    """The same for 100,003 pages, by all ways, between stays and beside them."""
    with rounds(form, LARGE, tlb) as made:
        for way in WAYS.values():
            made.stopped(2 * LONG, way)
            made.beside(2 * LONG, way)


# -- the oracle can fail ------------------------------------------------------------------------------------------------


def test_iterations__without_shootdown() -> None:
    """Without the shoot-down pages are written and not reported."""
    with rounds(NPT, 63, 64) as made, without_shootdown(made.space), pytest.raises(AssertionError, match="not reported"):
        made.beside(100_000, WAYS["full"])


def test_iterations__find_a_harvest_that_clears_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bits that are read and not cleared are reported again, for pages that were not written."""
    monkeypatch.setattr(VmSpace, "track_dirty", DirtyCalls.peek_dirty)
    with rounds(NPT, 64, 0) as made, pytest.raises(AssertionError, match="not written"):
        made.beside(4000, WAYS["full"])


def test_iterations__find_a_bit_taken_from_before_the_range(monkeypatch: pytest.MonkeyPatch) -> None:
    """A harvest that clears a bit before its range, and does not say so, loses it."""
    track = VmSpace.track_dirty

    def wide(space: VmSpace, gpa: int, length: int) -> U8Array:
        found = track(space, gpa, length)
        if gpa > FIRST:
            track(space, gpa - PAGE, PAGE)
        return found

    monkeypatch.setattr(VmSpace, "track_dirty", wide)
    with rounds(NPT, 65, 0) as made, pytest.raises(AssertionError):
        made.stopped(2000, WAYS["split"])
