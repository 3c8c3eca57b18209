"""Spans of frames: ordered, merged, taken by best fit."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from npt.errors import InvariantError
from npt.memory.spans import Frames, Span, SpanSet

FRAMES = 48


def frames_of(spans: list[Frames]) -> set[int]:
    return {frame for first, n in spans for frame in range(first, first + n)}


def test_add__touching_spans_become_one() -> None:
    """Frames that fill the gap between two spans join them."""
    spans = SpanSet([(0, 4), (8, 4)])
    spans.add(4, 4)
    assert list(spans) == [(0, 12)]


def test_add__separate_spans_stay_in_order_of_address() -> None:
    """Iterating gives the spans by address, whatever the order in which they came."""
    assert list(SpanSet([(8, 2), (0, 2), (4, 2)])) == [(0, 2), (4, 2), (8, 2)]


@pytest.mark.parametrize("again", [(4, 1), (3, 2), (7, 2), (0, 16), (5, 1)])
def test_add__frames_already_there_are_a_bug(again: Frames) -> None:
    """Frames that come back twice would be handed out twice."""
    spans = SpanSet([(4, 4)])
    with pytest.raises(InvariantError):
        spans.add(*again)


def test_take__smallest_that_fits() -> None:
    """The smallest span that is large enough is used."""
    assert SpanSet([(0, 8), (16, 3), (32, 5)]).take(3) == [(16, 3)]


def test_take__lowest_of_equals() -> None:
    """Of spans of one size the lowest is used."""
    assert SpanSet([(32, 4), (16, 4), (48, 4)]).take(4) == [(16, 4)]


def test_take__end_of_a_larger_span() -> None:
    """A span that is too large loses its end."""
    spans = SpanSet([(0, 8)])
    assert spans.take(3) == [(5, 3)]
    assert list(spans) == [(0, 5)]


def test_take__several_when_none_fits() -> None:
    """The largest span goes whole, the rest comes from the best fit; the answer is by address."""
    spans = SpanSet([(0, 3), (8, 6), (20, 2)])
    assert spans.take(8) == [(8, 6), (20, 2)]
    assert list(spans) == [(0, 3)]


def test_take__too_few_changes_nothing() -> None:
    """Asking for more than there is leaves the set as it was."""
    spans = SpanSet([(0, 3), (8, 6)])
    assert spans.take(10) is None
    assert (list(spans), spans.total) == ([(0, 3), (8, 6)], 9)


def test_take_highest__from_the_top_down() -> None:
    """The highest addresses go first, across spans."""
    spans = SpanSet([(0, 4), (8, 4)])
    assert frames_of(spans.take_highest(6)) == {2, 3, 8, 9, 10, 11}


def test_take_lowest__from_the_bottom_up() -> None:
    """The lowest addresses go first, across spans."""
    spans = SpanSet([(0, 4), (8, 4)])
    assert frames_of(spans.take_lowest(6)) == {0, 1, 2, 3, 8, 9}


def test_take_lowest__gives_what_there_is() -> None:
    """Asking for more than there is empties the set."""
    spans = SpanSet([(0, 4)])
    assert frames_of(spans.take_lowest(9)) == {0, 1, 2, 3}
    assert spans.total == 0


def test_copy__changes_apart() -> None:
    """A copy does not follow its original."""
    spans = SpanSet([(0, 4)])
    twin = spans.copy()
    spans.take(4)
    assert list(twin) == [(0, 4)]


def test_largest__of_an_empty_set_is_zero() -> None:
    """A set without spans has no largest one."""
    assert SpanSet().largest == 0


def test_span__names_its_parts() -> None:
    """The public span is a named tuple of frame number and length."""
    assert Span(0x100000, 2)._asdict() == {"pfn": 0x100000, "n_pages": 2}


def naive_spans(frames: set[int]) -> list[Frames]:
    """Maximal stretches of a set of frames, found one frame at a time."""
    found: list[Frames] = []
    for frame in sorted(frames):
        if found and sum(found[-1]) == frame:
            found[-1] = (found[-1][0], found[-1][1] + 1)
        else:
            found.append((frame, 1))
    return found


def naive_take(frames: set[int], n: int) -> set[int]:
    """What best fit has to take, by the words of the design."""
    taken: set[int] = set()
    while n:
        spans = naive_spans(frames - taken)
        fits = [span for span in spans if span[1] >= n]
        if fits:
            first, size = min(fits, key=lambda span: (span[1], span[0]))
            return taken | set(range(first + size - n, first + size))
        first, size = min(spans, key=lambda span: (-span[1], span[0]))
        taken |= set(range(first, first + size))
        n -= size
    return taken


STEPS = st.lists(
    st.tuples(st.sampled_from(["add", "take", "highest", "lowest"]), st.integers(0, FRAMES - 1), st.integers(1, 12)),
    max_size=30,
)


@given(STEPS)
def test_span_set__agrees_with_a_set_of_frames(steps: list[tuple[str, int, int]]) -> None:
    """Any history gives the spans, totals and choices that a plain set of frames gives."""
    spans, frames = SpanSet(), set[int]()
    for what, first, n in steps:
        if what == "add":
            fresh = set(range(first, first + n))
            if fresh.isdisjoint(frames):
                spans.add(first, n)
                frames |= fresh
        elif what == "take":
            taken = spans.take(n)
            assert (taken is None) == (n > len(frames))
            if taken is not None:
                assert frames_of(taken) == naive_take(frames, n)
                assert taken == sorted(taken)
                frames -= frames_of(taken)
        else:
            expected = sorted(frames, reverse=what == "highest")[:n]
            taken = spans.take_highest(n) if what == "highest" else spans.take_lowest(n)
            assert frames_of(taken) == set(expected)
            frames -= set(expected)
        assert list(spans) == naive_spans(frames)
        assert spans.total == len(frames)
        assert spans.largest == max((size for _, size in naive_spans(frames)), default=0)
        assert len(spans) == len(naive_spans(frames))
