"""Scheduling points that a scenario makes itself, and those of words in arrays."""

from collections.abc import Callable, Hashable
from typing import Any

from npt.testing.operations import Operation
from npt.testing.scheduler import running
from npt.testing.workers import Worker

__all__ = ["Cells", "here", "step", "timeouts_fired", "touch", "touch_at", "until"]

OPEN = "memory"  # the guest's bytes: Python code reads and writes them, too, where there are no points


def here() -> Worker | None:
    """The thread of the scenario under way that this is, if it is one."""
    run = running()
    return run.here() if run is not None else None


def step(label: str, on: Hashable = None, *, writes: bool = True) -> None:
    """Let the schedule switch to another thread here; outside a scenario do nothing.

    Parameters
    ----------
    label
        What the thread is about to do, for people who read the trace.
    on
        What it does that to. With it, `explore` switches here only if another thread has a step on the same thing, and one
        of the two writes; without, always.
    writes
        Whether it changes that.

    Examples
    --------
    >>> step("nothing happens outside a scenario")
    """
    run = running()
    me = run.here() if run is not None else None
    if run is not None and me is not None:
        run.arrive(me, Operation(label, "", None, None if on is None else ("step", on), writes))
    elif run is not None and run.loose:
        run.pass_by()


def until(predicate: Callable[[], object], label: str = "condition of the scenario") -> None:
    """Wait, in a thread of a scenario, until something is true.

    The predicate is called while all threads are parked, often, and must have no effect.
    """
    run = running()
    me = run.here() if run is not None else None
    if run is not None and me is not None:
        run.arrive(me, Operation("until", label), _Until(predicate, label))
    elif run is not None and run.loose:
        run.pass_by()


class _Until:
    """A thread that waits for a predicate."""

    def __init__(self, predicate: Callable[[], object], label: str) -> None:
        self._predicate, self._label = predicate, label

    def lets(self, worker: Worker) -> bool:
        """Whether it is true."""
        return bool(self._predicate())

    def explain(self) -> str:
        """What is waited for."""
        return f"{self._label} to become true"


def timeouts_fired() -> int:
    """How many timed waits of the run under way have ended because nothing else could run; for ``finish``."""
    run = running()
    return run.timeouts_fired if run is not None else 0


def touch(verb: str, array: Any, index: int, name: Any, writes: bool, n: int = 1) -> None:
    """A point before elements of an array are read or written.

    One before the guest's memory is a place to switch always, since not all of who uses that has points.
    """
    run = running()
    me = run.here() if run is not None else None
    if run is None or me is None:
        if run is not None and run.loose:
            run.pass_by()
        return
    known = run.arrays.get(id(array))
    if known is None:
        address = array.ctypes.data
        known = run.arrays[id(array)] = array, address, run.names.get(address, name)
    where = known[1] if name != OPEN else None
    run.arrive(me, Operation(verb, known[2], int(index), where, writes, n))


def touch_at(verb: str, address: int, writes: bool) -> None:
    """A point before the word at an address is read or written; it goes by the array that is known to be there."""
    run = running()
    me = run.here() if run is not None else None
    if run is None or me is None:
        if run is not None and run.loose:
            run.pass_by()
        return
    address = int(address)
    for array, base, name in run.arrays.values():
        if base <= address < base + array.nbytes:
            run.arrive(me, Operation(verb, name, (address - base) >> 3, base, writes))
            return
    run.arrive(me, Operation(verb, "word", None, address, writes))


class Cells:
    """Words of an array as a ``memoryview`` gives them to Python code, each access a point."""

    def __init__(self, array: Any, name: str) -> None:
        self._array, self._name = array, name

    def __len__(self) -> int:
        return len(self._array)

    def __getitem__(self, index: int) -> int:
        touch("read", self._array, index, self._name, False)
        return int(self._array[index])

    def __setitem__(self, index: int, value: int) -> None:
        touch("write", self._array, index, self._name, True)
        self._array[index] = value
