"""``DirtyLog``: what it is, what it refuses, and who may look at it when."""

import copy
import os
import pickle
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest

from npt import (
    EPT,
    NPT,
    BeyondSpace,
    Busy,
    Deadlock,
    InvalidArgument,
    StaleHandle,
    TrackingDisabled,
    Vm,
    VmSpace,
)
from npt.dirty.log import DirtyLog
from tests.dirty.migrating import FIRST, LENGTH, PAGE, RAM, ROM, Guest, bitmap_of, guest, in_the_middle, pages_of
from tests.space.scene import caught, in_callback, on_cpu
from tests.space.test_forks import in_child


@pytest.fixture(params=[EPT, NPT], ids=["ept", "npt"])
def made(request: pytest.FixtureRequest) -> Any:
    """A guest whose space does not track."""
    with guest(request.param) as guest_:
        yield guest_


# -- what it is, and what it refuses ------------------------------------------------------------------------------------


def test_log__covers_the_space_unless_told(made: Guest) -> None:
    """From an address to the end of the highest mapping there is, however large the space."""
    log = DirtyLog(made.space, FIRST + PAGE)
    assert (log.gpa, log.length) == (FIRST + PAGE, LENGTH - PAGE)
    assert DirtyLog(made.space).length == FIRST + LENGTH
    assert DirtyLog(made.space, FIRST + LENGTH - PAGE).n_pages == 1
    device = made.space.map_mmio(FIRST + 30 * PAGE, PAGE, 0xFE00_0000)
    assert (log.length, DirtyLog(made.space, FIRST).length) == (LENGTH - PAGE, 31 * PAGE)
    made.space.unmap(FIRST + 30 * PAGE, PAGE)
    device.release()


def test_log__of_nothing_mapped(made: Guest) -> None:
    """There is no end to find; a length that is told needs none."""
    with pytest.raises(InvalidArgument, match="nothing is mapped at 0x212000 or above it; map memory first, or say the length"):
        DirtyLog(made.space, FIRST + LENGTH)
    assert DirtyLog(made.space, FIRST + LENGTH, PAGE).n_pages == 1
    with Vm(made.reservoir) as vm, pytest.raises(InvalidArgument, match="nothing is mapped"):
        DirtyLog(vm.space)


def test_repr__says_what_there_is(made: Guest) -> None:
    """And waits for nobody."""
    made.log.start(owe=bitmap_of({1, 2}))
    done = made.log.round()
    assert repr(made.log) == f"<DirtyLog of {FIRST:#x} + {LENGTH:#x}, running: 1 rounds, 2 pages owed>"
    assert repr(done) == f"<Round 1: 0 pages, {done.time_ns / 1e9:.3f} s, generation {done.generation}>"


def test_log__cannot_be_copied(made: Guest) -> None:
    """It belongs to this process; its rounds do not."""
    made.log.start()
    made.write(1)
    made.log.round()
    for act in (copy.copy, pickle.dumps):
        assert isinstance(caught(lambda act=act: act(made.log)), TypeError)  # type: ignore[misc]
    again = pickle.loads(pickle.dumps(made.log.rounds))
    assert pages_of(again[1].bitmap) == {1}


BAD_RANGES = [
    ((None, PAGE), TypeError),
    ((0.0, PAGE), TypeError),
    ((0, True), TypeError),
    ((1, PAGE), InvalidArgument),
    ((0, PAGE - 1), InvalidArgument),
    ((0, 0), InvalidArgument),
    ((-PAGE, PAGE), InvalidArgument),
    ((0, (1 << 30) + PAGE), BeyondSpace),
    ((1 << 30, None), BeyondSpace),
    ((7, None), InvalidArgument),
]


@pytest.mark.parametrize(("range_", "error"), BAD_RANGES)
def test_log__of_a_bad_range(made: Guest, range_: tuple[Any, Any], error: type[Exception]) -> None:
    """As the dirty calls of a space."""
    assert type(caught(lambda: DirtyLog(made.space, *range_))) is error
    assert isinstance(caught(lambda: DirtyLog("space")), TypeError)  # type: ignore[arg-type]


BITMAPS = [
    (b"\xff\xff\xff", TypeError),
    (np.zeros(3, np.int8), TypeError),
    (np.zeros(3, bool), TypeError),
    (np.zeros(2, np.uint8), InvalidArgument),
    (np.zeros((3, 3), np.uint8), InvalidArgument),
]


@pytest.mark.parametrize(("bitmap", "error"), BITMAPS)
def test_bitmap__that_is_none_is_refused(made: Guest, bitmap: Any, error: type[Exception]) -> None:
    """And nothing changes."""
    log = made.log
    assert type(caught(lambda: log.start(owe=bitmap))) is error
    assert (log.state.value, made.space.tracking) == ("stopped", False)
    log.start(owe=log.mapped())
    log.round()
    for call in (lambda: log.resume(owe=bitmap), lambda: log.put_back(bitmap), lambda: log.acknowledge(1, bitmap)):
        assert type(caught(call)) is error
    assert (made.owed(), made.dirty()) == (RAM | ROM, set())


def test_round__of_another_log_is_refused(made: Guest) -> None:
    """By its generation and time; so are numbers that are none."""
    other = DirtyLog(made.space, 0, PAGE)
    made.log.start()
    other.start()
    foreign, made_here = other.round(), made.log.round()
    for call in (made.log.acknowledge, made.log.owed_by, made.log.copying):
        for round_ in (foreign, 0, -1, 2, replace(made_here, number=2), replace(made_here, number=0)):
            assert isinstance(caught(lambda call=call, round_=round_: call(round_)), InvalidArgument)  # type: ignore[misc]
        for none in (None, 1.0, True, "1"):
            assert isinstance(caught(lambda call=call, none=none: call(none)), TypeError)  # type: ignore[misc]
    other.stop()


def test_copying__tells_wrong_types_before_wrong_values(made: Guest) -> None:
    """The round's, and that of the number of pages; then their values."""
    made.log.start()
    made.log.round()
    wrong: list[tuple[Any, Any, type[Exception]]]
    wrong = [("x", 0, TypeError), (9, 1.0, TypeError), (1, True, TypeError), (1, 0, InvalidArgument)]
    for round_, n_pages, error in wrong:
        assert type(caught(partial(made.log.copying, round_, n_pages=n_pages))) is error
    with pytest.raises(InvalidArgument, match="round 9"):
        made.log.copying(9, n_pages=0)


def test_calls__of_a_log_in_the_wrong_state(made: Guest) -> None:
    """Each says what to do instead."""
    log = made.log
    for call in (log.round, log.pause, log.resume):
        with pytest.raises(TrackingDisabled, match="call start"):
            call()
    log.start()
    with pytest.raises(Busy, match="stop or abort"):
        log.start()
    log.pause()
    with pytest.raises(TrackingDisabled, match="call resume"):
        log.round()
    with pytest.raises(TrackingDisabled):
        log.put_back()


def changes(log: DirtyLog) -> dict[str, Callable[[], object]]:
    """Calls that change a running log."""
    return {
        "round": log.round,
        "pause": log.pause,
        "resume": log.resume,
        "stop": log.stop,
        "abort": log.abort,
        "put_back": log.put_back,
        "acknowledge": lambda: log.acknowledge(1),
        "copying": lambda: list(log.copying(1)),
    }


@pytest.mark.parametrize("name", ["round", "pause", "resume", "stop", "abort", "put_back", "acknowledge", "copying"])
def test_changes__where_they_would_wait_for_themselves(made: Guest, name: str) -> None:
    """In a callback, and on CPU: whoever has the log's lock may be waiting for us. Nothing changes."""
    made.log.start(owe=made.log.mapped())
    made.log.round()
    call = changes(made.log)[name]
    assert isinstance(in_callback(made.space, call), Deadlock)
    with on_cpu(made.space):
        assert isinstance(caught(call), Deadlock)
    assert (len(made.log.rounds), made.owed(), made.log.state.value) == (1, RAM | ROM, "running")


@pytest.mark.parametrize("name", ["round", "pause", "resume", "stop", "abort", "put_back", "acknowledge", "copying"])
def test_changes__in_the_middle_of_another(made: Guest, name: str) -> None:
    """A signal handler or finalizer of the same thread comes while a round is booked: refused, and the round is whole."""
    made.log.start()
    made.write(0)
    made.log.round()
    made.write(1)
    seen: list[BaseException | None] = []

    def handler() -> None:
        made.write(2)
        seen.append(caught(changes(made.log)[name]))

    done = in_the_middle("call", "with_round", handler, made.log.round)
    assert [type(each) for each in seen] == [Deadlock]
    assert (pages_of(done.bitmap), made.owed(), made.dirty()) == ({1}, {0, 1}, {2})
    assert (made.log.state.value, made.space.tracking) == ("running", True)


def test_changes__in_the_middle_of_another_logs(made: Guest) -> None:
    """Two logs of a space have one switch for tracking; who comes while it is turned is refused, and may call again later."""
    other, seen = DirtyLog(made.space, 0, PAGE), []
    in_the_middle("call", "set_tracking", lambda: seen.append(type(caught(other.start))), made.log.start)
    assert seen == [Deadlock]
    assert other.state.value == "stopped"
    other.start()
    other.stop()


def test_changes__after_one_that_was_interrupted(made: Guest) -> None:
    """It left no mark behind that would refuse them."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    made.log.start()
    made.write(1)
    with pytest.raises(KeyboardInterrupt):
        in_the_middle("call", "with_round", interrupt, made.log.round)
    assert made.log.acknowledge(made.log.round()) == 1


def test_looking__may_be_done_anywhere(made: Guest) -> None:
    """In a callback, on CPU, or while another thread is in a call of the log."""
    made.log.start(owe=bitmap_of({1}))
    made.log.round()

    def look() -> None:
        assert (made.owed(), len(made.log.rounds), made.log.state.value) == ({1}, 1, "running")
        assert repr(made.log)
        assert made.log.owed_by(1).any()

    assert in_callback(made.space, look) is None
    with on_cpu(made.space):
        look()


def test_looking__waits_for_nobody(made: Guest) -> None:
    """Another thread is in a call of the log and has its lock, and the space's."""
    made.log.start(owe=bitmap_of({1}))
    inside, over = threading.Event(), threading.Event()

    def stay(gpa: int, length: int) -> None:
        inside.set()
        over.wait(10)

    made.client.on_invalidate(stay)
    thread = threading.Thread(target=made.log.round)
    thread.start()
    try:
        assert inside.wait(10)
        assert (made.owed(), len(made.log.rounds), made.log.state.value) == ({1}, 0, "running")
        assert repr(made.log)
    finally:
        over.set()
        thread.join()
    assert len(made.log.rounds) == 1


def test_log__of_a_space_that_is_gone(made: Guest) -> None:
    """Calls to the space say so; the books can be read and settled."""
    made.log.start(owe=bitmap_of({1, 2}))
    made.log.round()
    made.space.close()
    for call in (made.log.round, made.log.stop, made.log.abort, made.log.put_back, made.log.mapped, made.log.pause):
        assert isinstance(caught(call), StaleHandle)
    assert made.owed() == {1, 2}
    assert made.log.acknowledge(1) == 2
    assert isinstance(caught(lambda: DirtyLog(made.space)), StaleHandle)
    made.space = VmSpace(PAGE)
    made.client = made.space.client()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_log__in_a_forked_child(made: Guest) -> None:
    """It may be looked at, and not changed, whoever had its lock at the fork."""
    made.log.start(owe=bitmap_of({1, 2}))
    made.log.round()

    def child() -> None:
        for call in (*changes(made.log).values(), made.log.start):
            assert isinstance(caught(call), StaleHandle), call
        assert (made.owed(), len(made.log.rounds), made.log.state.value) == ({1, 2}, 1, "running")
        assert repr(made.log)

    inside, over = threading.Event(), threading.Event()

    def stay() -> None:
        with made.log._lock:
            inside.set()
            over.wait(10)

    thread = threading.Thread(target=stay)
    thread.start()
    try:
        assert inside.wait(10)
        in_child(child)
    finally:
        over.set()
        thread.join()
