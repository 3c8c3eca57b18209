"""Map, then unmap, leaves nothing; populating twice is populating once; what is independent may be done in any order."""

from collections.abc import Callable

import hypothesis.strategies as st
from hypothesis import given

from npt import NO_PFN, PAGE_SIZE
from npt.testing import check
from npt.testing.strategies import Built, Guest, Part, guests
from tests.properties.states import entries_of, few, pages_of_range, seen, tables


def bare(guest: Guest) -> Guest:
    """The same guest with nothing mapped."""
    return Guest(guest.format, guest.size, guest.tracking, guest.objects, ())


def is_resident(part: Part) -> bool:
    """Whether a part of a guest has a page that is resident."""
    return bool(part.populated or part.dirty)


@few(25)
@given(guest=guests(), data=st.data())
def test_unmap__leaves_nothing(guest: Guest, data: st.DataObject) -> None:
    """In any order: no entry, table, reference or frame; the generation is raised for each that had a page."""
    with bare(guest).build() as built:
        before = seen(built)
        for part in guest.parts:
            built.map(part)
            built.fill(part)
        generation = built.space.generation
        assert generation == before["generation"]
        for part in data.draw(st.permutations(guest.parts)):
            built.space.unmap(part.gpa, part.length)
            generation += is_resident(part)
            assert built.space.generation == generation
            assert built.space.translate([part.gpa, part.end - PAGE_SIZE]).tolist() == [NO_PFN, NO_PFN]
            check(built.space)
        assert seen(built) == before | {"generation": generation}
        assert tables(built.space) == [1, 0, 0, 0]
        assert not any(built.space.table.entries(level).any() for level in (1, 2, 3, 4))


@few(15)
@given(guest=guests(), data=st.data())
def test_unmap__order_does_not_matter(guest: Guest, data: st.DataObject) -> None:
    """Of some of the mappings: what is left is the same guest, also in tables that they shared with others."""
    gone = data.draw(st.lists(st.sampled_from(guest.parts), unique=True))
    states = []
    for order in (gone, gone[::-1]):
        with guest.build() as built:
            for part in order:
                built.space.unmap(part.gpa, part.length)
            states.append(seen(built))
    assert states[0] == states[1]


@few(15)
@given(guest=guests(), data=st.data())
def test_map__again_is_the_same_guest(guest: Guest, data: st.DataObject) -> None:
    """One mapping away and back: everything as before, but for the generation."""
    part = data.draw(st.sampled_from(guest.parts))
    with guest.build() as built:
        before, generation = seen(built), built.space.generation
        built.space.unmap(part.gpa, part.length)
        built.map(part)
        built.fill(part)
        assert seen(built) == before | {"generation": generation + is_resident(part)}


@few(25)
@given(guest=guests())
def test_populate__twice_is_once(guest: Guest) -> None:
    """The second time nothing is new, and no entry changes; all counted are there."""
    with guest.build() as built:
        there = built.space.resident_count
        first = [built.space.populate(part.gpa, part.length) for part in guest.parts]
        before = seen(built)
        assert sum(first) == guest.n_pages - there
        assert [built.space.populate(part.gpa, part.length) for part in guest.parts] == [0] * len(guest.parts)
        assert seen(built) == before
        assert before["resident"] == guest.n_pages
        assert all(entries_of(built.space).values())


@few(15)
@given(guest=guests())
def test_populate__each_page_shows_its_own_of_the_object(guest: Guest) -> None:
    """First, last and all between, from the mapping's offset on; with the mapping's protection."""
    with guest.build() as built:
        for part in guest.parts:
            built.space.populate(part.gpa, part.length)
            numbers = range(part.offset, part.offset + part.n_pages)
            frames = list(numbers) if part.obj is None else [built.objects[part.obj].pfn_at(n * PAGE_SIZE) for n in numbers]
            assert built.space.translate(pages_of_range(part.gpa, part.length)).tolist() == frames
            prots = {built.space.format.prot_of(built.space.pte(gpa)) for gpa in pages_of_range(part.gpa, part.length)}
            assert prots == {part.prot}


@few(15)
@given(guest=guests(most_parts=1), data=st.data())
def test_populate__part_by_part_is_the_whole(guest: Guest, data: st.DataObject) -> None:
    """Cut anywhere."""
    (part,) = guest.parts
    cut = data.draw(st.integers(0, part.n_pages)) * PAGE_SIZE
    states = []
    for pieces in ([(0, part.length)], [(cut, part.length - cut), (0, cut)]):
        with guest.build() as built:
            for start, length in pieces:
                if length:
                    built.space.populate(part.gpa + start, length)
            states.append(seen(built))
    assert states[0] == states[1]


# -- order --------------------------------------------------------------------------------------------------------------

Step = Callable[[Built], object]


@st.composite
def steps_of(draw: st.DrawFn, guest: Guest, part: Part) -> list[Step]:
    """What is done to one mapping, in this order; nothing of it concerns another, not even by a shared object's bytes."""
    page = part.gpa + PAGE_SIZE * draw(st.integers(0, part.n_pages - 1))
    known: dict[str, Step] = {
        "populate": lambda built: built.space.populate(page, PAGE_SIZE),
        "fault": lambda built: built.space.client().fault(page, 1),
        "accessed": lambda built: built.space.accessed(part.gpa, part.length, clear=True).tolist(),
        "peek": lambda built: built.space.peek_dirty(part.gpa, part.length).tolist(),
        "set": lambda built: built.space.set_dirty(page, PAGE_SIZE).tolist(),
        "track": lambda built: built.space.track_dirty(part.gpa, part.length).tolist(),
        "again": lambda built: (built.space.unmap(part.gpa, part.length), built.map(part)),
        "hold": lambda built: built.space.client().hold(page, 1).release(),
    }
    able = known.keys() - (set() if guest.tracking else {"peek", "set", "track"})
    return [known[name] for name in draw(st.lists(st.sampled_from(sorted(able)), max_size=4))]


@few(25)
@given(guest=guests(), data=st.data())
def test_calls__on_ranges_apart_in_any_order(guest: Guest, data: st.DataObject) -> None:
    """Each mapping's calls in their own order, but woven in two ways: the same results and the same guest at the end."""
    todo = [data.draw(steps_of(guest, part)) for part in guest.parts]
    turns = [number for number, steps in enumerate(todo) for _ in steps]
    outcomes = []
    for order in (turns, data.draw(st.permutations(turns))):
        left = [iter(steps) for steps in todo]
        with guest.build() as built:
            results: list[list[object]] = [[] for _ in todo]
            for number in order:
                results[number].append(next(left[number])(built))
            outcomes.append((results, seen(built)))
    assert outcomes[0] == outcomes[1]


@few(15)
@given(guests_=st.lists(guests(most_parts=1, most_pages=600), min_size=2, max_size=2), data=st.data())
def test_calls__in_two_spaces_in_any_order(guests_: list[Guest], data: st.DataObject) -> None:
    """They have nothing in common."""
    todo = [data.draw(steps_of(guest, guest.parts[0])) for guest in guests_]
    turns = [number for number, steps in enumerate(todo) for _ in steps]
    outcomes = []
    for order in (turns, data.draw(st.permutations(turns))):
        left = [iter(steps) for steps in todo]
        with guests_[0].build() as one, guests_[1].build() as other:
            results = [(number, next(left[number])((one, other)[number])) for number in order]
            outcomes.append((sorted(results, key=lambda each: each[0]), seen(one), seen(other)))
    assert outcomes[0] == outcomes[1]
