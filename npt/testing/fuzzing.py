"""Fuzzing: an implementation of the contract against another, by default the engine against the oracle.

``python -m npt.testing fuzz --operations 1000000`` makes that many random calls of both, in each format, in rounds of some
thousands that each begin anew, and compares what comes of every call, and now and then all that can be seen. A difference is
made as short as it gets, and kept as a trace: ``npt.testing.conform`` plays it.

``fuzz_bytes`` is for fuzzers that bring their own bytes: Hypothesis' ``fuzz_one_input``, or atheris.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import npt
from npt.errors import InvalidArgument
from npt.testing.calls.call import Call
from npt.testing.calls.drawing import Drawer
from npt.testing.calls.duel import Differ, Duel
from npt.testing.calls.player import Implementation, NotThere, Player
from npt.testing.calls.shrinking import shrink
from npt.testing.calls.source import Bytes, Exhausted, Seeded, Source
from npt.testing.calls.trace import Line, Trace
from npt.testing.oracle import Oracle

__all__ = ["Fuzzed", "fuzz", "fuzz_bytes", "keep"]

ORACLE: Implementation = Oracle()
FORMATS = ("EPT", "NPT")
ROUND = 2000  # calls that follow each other in one world
EVERY = 100  # of them: everything is looked at


@dataclass
class Fuzzed:
    """What a fuzzing run did.

    Attributes
    ----------
    calls, errors
        How many were made, and how many of them were refused.
    facts
        How many were compared when everything was looked at.
    by_name
        Calls by name, of those that were not refused.
    """

    calls: int = 0
    errors: int = 0
    facts: int = 0
    by_name: dict[str, int] = field(default_factory=dict)


def fuzz(
    format: str = "EPT",
    *,
    operations: int = 20_000,
    seed: int = 0,
    reference: Implementation = ORACLE,
    subject: Implementation = npt,
    around: Callable[[int], AbstractContextManager[object]] = lambda n: nullcontext(),
    progress: Callable[[int, int], object] | None = None,
) -> Fuzzed:
    """Make random calls of two implementations and compare.

    Parameters
    ----------
    format
        ``"EPT"`` or ``"NPT"``.
    operations
        How many calls.
    seed
        The same calls for the same seed.
    reference
        The implementation that is right.
    subject
        The one that is tested.
    around
        Makes the context of each round, by its number: what may change how the work is done, not what comes of it.
    progress
        Called after each round with the calls made and those wanted; what it raises ends the run.

    Raises
    ------
    Differ
        At the first difference, with the calls that lead to it, made as few as they get.
    InvalidArgument
        No such format, no operations, or a negative seed.
    """
    if operations < 1 or seed < 0:
        raise InvalidArgument(f"{operations} operations with seed {seed}: at least 1, and 0")
    done = Fuzzed()
    for n, first in enumerate(range(0, operations, ROUND)):
        with around(n):
            _round(Duel(reference, subject), Seeded((seed, n)), format, min(ROUND, operations - first), done)
        if progress is not None:
            progress(min(first + ROUND, operations), operations)
    return done


def _round(duel: Duel, source: Source, format: str, n_calls: int, done: Fuzzed) -> None:
    """One world, from its beginning to its end; differences are made short."""
    drawer = Drawer(duel.reference, source, format)
    try:
        for call in _calls(drawer, n_calls):
            outcome = duel.play(call)
            done.calls += 1
            done.errors += "error" in outcome
            if "ok" in outcome:
                done.by_name[call.name] = done.by_name.get(call.name, 0) + 1
            if len(duel.calls) % EVERY == 0:
                done.facts += duel.compare()
        done.facts += duel.compare()
    except Differ as found:
        raise shrink(duel, found) from found


def _calls(drawer: Drawer, n: int) -> Iterator[Call]:
    """So many calls: a beginning, what is drawn, and then an end beyond them."""
    n_made = 0
    for call in drawer.begin():
        yield call
        n_made += 1
    for _ in range(n - n_made):
        yield drawer.next()
    yield from drawer.ends()


def fuzz_bytes(text: bytes, format: str = "EPT", *, reference: Implementation = ORACLE, subject: Implementation = npt) -> int:
    """Make the calls that some bytes stand for, until there are no more of them; how many calls that were.

    Raises
    ------
    Differ
        The two do not agree.
    """
    duel = Duel(reference, subject)
    drawer = Drawer(duel.reference, Bytes(text), format)
    try:
        for call in _calls(drawer, sys.maxsize):
            duel.play(call)
    except Exhausted:
        for call in drawer.ends():
            duel.play(call)
    duel.compare()
    return len(duel.calls)


def keep(found: Differ, directory: Path, name: str, reference: Implementation = ORACLE) -> Path:
    """Write the calls that lead to a difference as a trace, with the answers of the reference; the file."""
    player, lines = Player(reference), []
    for call in found.calls:
        try:
            lines.append(Line(call, player.play(call)))
        except NotThere:
            continue
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{name}.jsonl"
    Trace(tuple(lines), {"found": str(found).splitlines()}).write(path)
    return path
