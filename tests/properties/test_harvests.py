"""What is harvested is neither lost nor told twice, however it is cut, selected or put back; in every form of the work.

``FORMS`` are those of ``tests/forms.py``: with atomics or at rest, with the summary or in full scans, in one thread or more.
"""

from collections.abc import Iterator

import hypothesis.strategies as st
import pytest
from hypothesis import given

from npt import PAGE_SIZE, VmSpace
from npt.testing import check
from npt.testing.strategies import Built, Guest, bitmaps, guests
from tests.forms import FORMS, Seen, forced
from tests.properties.states import bitmap_of, bits, entries_of, few

pytestmark = pytest.mark.slow
Entries = dict[int, int | None]  # by address
TRACKED = guests(tracking=True, most_parts=2)


@pytest.fixture(params=list(FORMS))
def form(request: pytest.FixtureRequest) -> Iterator[Seen]:
    """Each form in turn; afterwards, that it was taken."""
    wanted = FORMS[request.param]
    with forced(wanted) as seen:
        yield seen
    assert any(seen.calls.values())
    assert wanted.still or not seen.calls["harvest_still"]
    assert wanted.threads is None or seen.helped


@st.composite
def windows(draw: st.DrawFn, guest: Guest) -> tuple[int, int]:
    """A range around a mapping: from before it or inside it, to inside or behind it."""
    part = draw(st.sampled_from(guest.parts))
    before, behind = (draw(st.sampled_from([0, 0, 1, 63, 511])) for _ in range(2))
    first = max(part.gpa // PAGE_SIZE - before, 0)
    end = min(part.end // PAGE_SIZE + behind, guest.size // PAGE_SIZE)
    inside = draw(st.integers(0, part.n_pages - 1)) if draw(st.booleans()) else 0
    return (first + inside) * PAGE_SIZE, (end - first - inside) * PAGE_SIZE


def dirty_pages(guest: Guest, gpa: int, length: int) -> list[int]:
    """Pages of a range that the guest's description has dirty, counted from the start of the range."""
    stretches = [(part.gpa // PAGE_SIZE + first, n) for part in guest.parts for first, n in part.dirty]
    pages = {page for first, n in stretches for page in range(first, first + n)}
    return sorted(page - gpa // PAGE_SIZE for page in pages if gpa <= page * PAGE_SIZE < gpa + length)


def dirty_now(built: Built) -> list[int]:
    """Numbers of all pages that are dirty."""
    found = [(part, bits(built.space.peek_dirty(part.gpa, part.length))) for part in built.guest.parts]
    return [part.gpa // PAGE_SIZE + page for part, pages in found for page in pages]


def marked(entries: Entries, mask: int) -> list[int]:
    """Addresses of the entries that have a mark."""
    return [gpa for gpa, entry in entries.items() if entry and entry & mask]


def without(entries: Entries, mask: int, gpa: int, length: int) -> Entries:
    """The entries, those of a range without a mark."""
    inside = range(gpa, gpa + length)
    return {page: entry & ~mask if entry and page in inside else entry for page, entry in entries.items()}


def resident(space: VmSpace) -> set[int]:
    """Addresses of the pages that are resident."""
    return {gpa for gpa, entry in entries_of(space).items() if entry}


@few(16)
@given(guest=TRACKED, data=st.data())
def test_peek__says_what_is_dirty_and_changes_nothing(form: Seen, guest: Guest, data: st.DataObject) -> None:
    """As the description has it; twice the same; no entry, no generation; a selection is as if the rest were clean."""
    gpa, length = data.draw(windows(guest))
    select = data.draw(bitmaps(length // PAGE_SIZE))
    with guest.build() as built:
        space = built.space
        before = entries_of(space), space.generation, space.resident_count
        pages = dirty_pages(guest, gpa, length)
        assert space.peek_dirty(gpa, length).tolist() == bitmap_of(pages, length // PAGE_SIZE)
        chosen = sorted(set(pages) & set(bits(select)))
        assert bits(space.peek_dirty(gpa, length, select=select)) == chosen
        assert bits(space.peek_dirty(gpa, length)) == pages
        assert (entries_of(space), space.generation, space.resident_count) == before


@few(16)
@given(guest=TRACKED, data=st.data())
def test_harvest__two_parts_are_the_whole(form: Seen, guest: Guest, data: st.DataObject) -> None:
    """Cut at any page, in either order: together what one harvest says; once each, and the generation with every call."""
    gpa, length = data.draw(windows(guest))
    cut = data.draw(st.integers(0, length // PAGE_SIZE)) * PAGE_SIZE
    pieces = [(start, n) for start, n in ((0, cut), (cut, length - cut)) if n]
    with guest.build() as built:
        space, generation = built.space, built.space.generation
        found: list[int] = []
        for start, n in data.draw(st.permutations(pieces)):
            found += [start // PAGE_SIZE + page for page in bits(space.track_dirty(gpa + start, n))]
        assert sorted(found) == dirty_pages(guest, gpa, length)
        assert not space.track_dirty(gpa, length).any()
        assert space.generation == generation + len(pieces) + 1
        rest = dirty_pages(guest, 0, guest.size)
        inside = [gpa // PAGE_SIZE + page for page in found]
        assert dirty_now(built) == sorted(set(rest) - set(inside))
        check(space)


@few(16)
@given(guest=TRACKED, data=st.data())
def test_harvest__put_back_gives_it_back(form: Seen, guest: Guest, data: st.DataObject) -> None:
    """All entries are as they were, with D and A together; the next harvest says the same again."""
    gpa, length = data.draw(windows(guest))
    with guest.build() as built:
        space = built.space
        before = entries_of(space)
        taken = space.track_dirty(gpa, length)
        assert bits(space.set_dirty(gpa, length, select=taken)) == bits(taken)
        assert entries_of(space) == before
        assert not space.set_dirty(gpa, length, select=taken).any()
        assert space.track_dirty(gpa, length).tolist() == taken.tolist()


@few(16)
@given(guest=TRACKED, data=st.data())
def test_reset__harvests_what_is_selected_and_leaves_the_rest(form: Seen, guest: Guest, data: st.DataObject) -> None:
    """Then the rest, and together all; junk behind the selection's end counts for nothing."""
    gpa, length = data.draw(windows(guest))
    select = data.draw(bitmaps(length // PAGE_SIZE))
    with guest.build() as built:
        pages = dirty_pages(guest, gpa, length)
        chosen = sorted(set(pages) & set(bits(select)))
        assert bits(built.space.reset_dirty(gpa, length, select=select)) == chosen
        assert bits(built.space.track_dirty(gpa, length)) == sorted(set(pages) - set(chosen))


@few(16)
@given(guest=TRACKED, data=st.data())
def test_into__gets_what_is_new_beside_what_is_there(form: Seen, guest: Guest, data: st.DataObject) -> None:
    """OR-ed, and nothing behind the end is touched."""
    gpa, length = data.draw(windows(guest))
    into = data.draw(bitmaps(length // PAGE_SIZE))
    wanted = sorted({*bits(into), *dirty_pages(guest, gpa, length)})
    with guest.build() as built:
        assert built.space.track_dirty(gpa, length, into=into) is into
        assert bits(into) == wanted


@few(16)
@given(guest=TRACKED, data=st.data())
def test_marks__of_a_set_a_harvest_and_a_look(form: Seen, guest: Guest, data: st.DataObject) -> None:
    """After a set D is never without A; a harvest takes D alone, clearing A takes A alone, and looking at A nothing."""
    gpa, length = data.draw(windows(guest))
    select = data.draw(bitmaps(length // PAGE_SIZE))
    with guest.build() as built:
        space, masks = built.space, built.space.format.masks
        accessed, dirty = int(masks.accessed), int(masks.dirty)
        space.set_dirty(gpa, length, select=select)
        after_set = entries_of(space)
        assert set(marked(after_set, dirty)) <= set(marked(after_set, accessed))
        used = [(page - gpa) // PAGE_SIZE for page in marked(after_set, accessed) if gpa <= page < gpa + length]
        assert bits(space.accessed(gpa, length)) == used
        assert entries_of(space) == after_set
        assert bits(space.accessed(gpa, length, clear=True)) == used
        idle = without(after_set, accessed, gpa, length)
        assert entries_of(space) == idle
        space.track_dirty(gpa, length)
        assert entries_of(space) == without(idle, dirty, gpa, length)


@few(16)
@given(guest=TRACKED, data=st.data())
def test_set__makes_exactly_the_selected_writable_pages_dirty(form: Seen, guest: Guest, data: st.DataObject) -> None:
    """Those that were not; they become resident, read-only ones and holes do not."""
    gpa, length = data.draw(windows(guest))
    select = data.draw(bitmaps(length // PAGE_SIZE))
    with guest.build() as built:
        space = built.space
        before, there = set(dirty_pages(guest, gpa, length)), resident(space)
        writable = {page for part in guest.parts if part.prot & 2 for page in range(part.gpa, part.end, PAGE_SIZE)}
        chosen = {page for page in bits(select) if gpa + page * PAGE_SIZE in writable and page < length // PAGE_SIZE}
        assert bits(space.set_dirty(gpa, length, select=select)) == sorted(chosen - before)
        assert bits(space.peek_dirty(gpa, length)) == sorted(chosen | before)
        assert resident(space) == there | {gpa + page * PAGE_SIZE for page in chosen}
