"""Forks, threads, interrupts and finalizers beside a reservoir."""

import os
import sys
import threading
from collections.abc import Callable, Iterator
from types import CodeType, FrameType
from typing import Any

import numpy as np
import pytest

from npt import kernels
from npt._types import U8Array
from npt.errors import Deadlock, StaleHandle
from npt.memory.reservoir import Reservoir
from npt.memory.watch import Watch
from tests.memory.scene import LIMIT, PAGE, SIZE, fill, frames, freed_with_view, view_of

# -- forks, threads, interrupts ----------------------------------------------------------------------------------------


@pytest.fixture
def child(reservoir: Reservoir, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reservoir]:
    """A reservoir as a forked child sees it: another process, and a lock that must not be touched."""
    freed_with_view(reservoir)  # something to settle
    reservoir.allocate(PAGE)
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: 0)
        patch.setattr(reservoir, "_lock", None)
        yield reservoir


def test_fork__child_may_look(child: Reservoir) -> None:
    """Looking works without the lock, which another thread may have held at the fork."""
    assert (child.size, child.usage.limit, child.usage.allocated) == (SIZE, LIMIT, PAGE)
    assert child.buffer.size == LIMIT
    assert repr(child)


CHANGES: dict[str, Callable[[Reservoir], Any]] = {
    "allocate": lambda made: made.allocate(PAGE),
    "resize": lambda made: made.resize(0),
    "watch": lambda made: made.watch(0, np.zeros(1, dtype=np.uint8)),
    "close": lambda made: made.close(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_fork__child_may_not_change(child: Reservoir, change: str) -> None:
    """Changing is the parent's."""
    with pytest.raises(StaleHandle):
        CHANGES[change](child)


def test_fork__child_leaves_a_context_without_a_word(child: Reservoir) -> None:
    """The parent's context is not the child's to close."""
    child.__exit__(None, None, None)
    assert child.size == SIZE


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_fork__real_child_looks_and_is_refused(reservoir: Reservoir) -> None:
    """In a true child, what the parent has is seen and cannot be freed."""
    ram = reservoir.allocate(PAGE)
    pid = os.fork()
    if not pid:
        code = 1
        try:
            ram.release()
        except StaleHandle:
            code = 0 if reservoir.usage.allocated == PAGE and ram.refs == 1 else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    ram.release()


def test_threads__allocate_and_free_side_by_side(reservoir: Reservoir) -> None:
    """Two threads never get the same frame, never get dirty memory, and leave everything as it was."""
    faults = list[str]()

    def work(mark: int) -> None:
        for turn in range(100):
            with reservoir.allocate((turn % 7 + 1) * PAGE, transient=bool(turn & 1)) as ram:
                views = [view_of(reservoir, frame, writable=True) for frame in frames(ram)]
                if any(view.any() for view in views):
                    faults.append("dirty memory")
                for view in views:
                    view[:] = mark
                if not all((view == mark).all() for view in views):
                    faults.append("shared memory")

    threads = [threading.Thread(target=work, args=(mark,)) for mark in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert reservoir.usage == (SIZE, 0, 0, 0, LIMIT)


class Interrupt:
    """Raises ``KeyboardInterrupt`` once, at the n-th place in npt.memory where a signal could be noticed.

    Python looks for signals when a function begins and when a built-in returns: both are profile events.
    """

    def __init__(self, n: int) -> None:
        self.left = n

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        code: CodeType = frame.f_code
        if event in ("call", "c_return") and f"npt{os.sep}memory" in code.co_filename:
            self.left -= 1
            if self.left == 0:
                sys.setprofile(None)
                raise KeyboardInterrupt

    def __enter__(self) -> "Interrupt":
        self.before = sys.getprofile()
        sys.setprofile(self)
        return self

    def __exit__(self, *exc_info: object) -> None:
        sys.setprofile(self.before)


def interrupted_everywhere(scene: Callable[[Reservoir, Interrupt], None]) -> None:
    """Play a scene with one interrupt at each place in turn; everything must be free and zero afterwards."""
    for n in range(1, 2000):
        reservoir, interrupt = Reservoir(SIZE, limit=LIMIT), Interrupt(n)
        scene(reservoir, interrupt)
        assert reservoir.usage == (SIZE, 0, 0, 0, LIMIT), f"interrupted at place {n}"
        assert len(reservoir.allocate(SIZE).spans) == 1
        assert not reservoir.buffer.any()
        if interrupt.left > 0:
            return
    pytest.fail("the scene never ends")


def test_interrupt__allocation_loses_nothing() -> None:
    """An interrupted allocation either never was or is undone."""

    def scene(reservoir: Reservoir, interrupt: Interrupt) -> None:
        ram = None
        try:
            with interrupt:
                ram = reservoir.allocate(4 * PAGE)
        except KeyboardInterrupt:
            assert ram is None
        else:
            ram.release()

    interrupted_everywhere(scene)


def test_interrupt__release_loses_nothing() -> None:
    """An interrupted release either never was or is finished by whoever comes next."""

    def scene(reservoir: Reservoir, interrupt: Interrupt) -> None:
        ram = reservoir.allocate(4 * PAGE)
        fill(ram, 3)
        try:
            with interrupt:
                ram.release()
        except KeyboardInterrupt:
            if ram.refs:
                ram.release()

    interrupted_everywhere(scene)


def test_interrupt__quarantine_loses_nothing() -> None:
    """Frames in quarantine come back whatever is interrupted on their way in or out."""

    def scene(reservoir: Reservoir, interrupt: Interrupt) -> None:
        ram = reservoir.allocate(3 * PAGE)
        views = [view_of(reservoir, frame, writable=True) for frame in frames(ram)[:2]]
        for frame, view in zip(frames(ram), views, strict=False):
            reservoir.watch(frame, view)
        del view
        try:
            with interrupt:
                ram.release()
                views.pop()[:] = 6
                _ = reservoir.usage
                views.pop()[:] = 6
                _ = reservoir.usage
        except KeyboardInterrupt:
            if ram.refs:
                ram.release()
        views.clear()

    interrupted_everywhere(scene)


def test_interrupt__error_while_zeroing_is_made_good(reservoir: Reservoir, monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames whose zeroing failed are not handed out before it is done."""

    def fail(memory: U8Array, spans: Any, first: int, end: int) -> None:
        raise KeyboardInterrupt

    ram = reservoir.allocate(SIZE)
    fill(ram, 4)
    with monkeypatch.context() as patch:
        patch.setattr(kernels.frames, "zero_spans", fail)
        with pytest.raises(KeyboardInterrupt):
            ram.release()
    assert reservoir.allocate(SIZE).refs == 1
    assert not reservoir.buffer.any()


@pytest.fixture
def in_finalizer(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """Have a call made in the middle of the reservoir's next freeing, as the collector does with finalizers."""

    def arrange(call: Callable[[], None]) -> None:
        within = Watch.within

        def within_and_call(self: Watch, spans: Any) -> list[int]:
            monkeypatch.setattr(Watch, "within", within)
            call()
            return within(self, spans)

        monkeypatch.setattr(Watch, "within", within_and_call)

    return arrange


def test_finalizer__may_release(reservoir: Reservoir, in_finalizer: Callable[[Callable[[], None]], None]) -> None:
    """A release under our own lock waits for nobody and is finished by the next call."""
    first, second = reservoir.allocate(PAGE), reservoir.allocate(PAGE)
    in_finalizer(second.release)
    first.release()
    assert reservoir.usage.free == SIZE


def test_finalizer__may_not_allocate(reservoir: Reservoir, in_finalizer: Callable[[Callable[[], None]], None]) -> None:
    """Anything else that changes would undo what it interrupts."""
    refused = list[BaseException]()

    def allocate() -> None:
        with pytest.raises(Deadlock) as caught:
            reservoir.allocate(PAGE)
        refused.append(caught.value)

    in_finalizer(allocate)
    reservoir.allocate(PAGE).release()
    assert len(refused) == 1
    assert reservoir.usage.free == SIZE
