"""Views watched by weak reference."""

import numpy as np

from npt._types import U8Array
from npt.memory.watch import Watch


def view() -> U8Array:
    return np.zeros(16, dtype=np.uint8)


def test_drain__reports_a_frame_after_its_last_view() -> None:
    """A frame is reported once none of its views is left."""
    watch, views, reported = Watch(), [view(), view()], list[int]()
    for each in views:
        watch.add(5, each)
    del each
    views.pop()
    watch.drain(reported.append)
    assert (reported, watch.alive(5)) == ([], True)
    views.pop()
    watch.drain(reported.append)
    assert (reported, watch.alive(5)) == ([5], False)


def test_drain__view_that_comes_and_goes_meanwhile_leaves_nothing() -> None:
    """A view whose death is seen before its birth is not watched for ever."""
    watch = Watch()

    def come_and_go(frame: int) -> None:
        if frame == 1:
            watch.add(2, view())

    watch.add(1, view())
    watch.drain(come_and_go)
    watch.drain(come_and_go)
    assert not watch


def test_drain__interrupted_report_is_made_again() -> None:
    """A frame whose report failed is reported by the next drain."""
    watch, reported = Watch(), list[int]()

    def fail(frame: int) -> None:
        raise KeyboardInterrupt

    watch.add(1, view())
    try:
        watch.drain(fail)
    except KeyboardInterrupt:
        watch.drain(reported.append)
    assert reported == [1]


def test_within__finds_frames_by_span() -> None:
    """Only frames inside the spans count, at both ends."""
    watch, kept = Watch(), view()
    for frame in (3, 4, 7, 8, 20, 21):
        watch.add(frame, kept)
    watch.drain(lambda frame: None)
    assert sorted(watch.within([(4, 4), (21, 1)])) == [4, 7, 21]
