"""Traces of calls in files: written line by line, read, and replayed on any implementation.

The file
--------
JSON lines. The first is the header: ``{"schema": "npt-calls/1", ...}`` with whatever else says where it comes from. Each of the
others is a call as in ``npt.testing.calls.call`` with ``i``, which counts from 0, and ``res``, what came of it:

=============  ============================================================================================================
``ok``         The result. Frames are told as ``[object, page]``; an entry by its bits and its frame; a vCPU's exit as
               ``[reason, completed, gpa, code, qualification]``; ``usage`` as free, allocated, transient, quarantined, limit;
               of ``table_root`` the low 12 bits; of ``counters`` the faults.
``error``      Or the class of the error, with its ``errno`` (``TypeError`` has none) and, for a ``Fault``, its ``code``.
``arrays``     What the arrays that were given as ``into`` or ``out`` hold afterwards.
``callbacks``  ``[client, gpa, length, what its own calls returned ...]`` of each callback, in order.
=============  ============================================================================================================
"""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import npt
from npt.errors import Unreadable
from npt.testing.calls.call import Call
from npt.testing.calls.player import Implementation, Outcome, Player

__all__ = ["SCHEMA", "Line", "Mismatch", "Trace", "TraceWriter", "conform"]

SCHEMA = "npt-calls/1"


class Mismatch(AssertionError):
    """An implementation answered otherwise than the trace says.

    Attributes
    ----------
    i : int
        Number of the line.
    call : Call
        What was asked.
    expected, got : dict
        What was to come of it, and what came.
    """

    def __init__(self, i: int, call: Call, expected: object, got: object) -> None:
        super().__init__(i, call, expected, got)
        self.i, self.call, self.expected, self.got = i, call, expected, got

    def __str__(self) -> str:
        return f"call {self.i}: {self.call}\n    expected {self.expected!r}\n    got      {self.got!r}"


@dataclass(frozen=True)
class Line:
    """A call and what came of it."""

    call: Call
    outcome: Outcome


@dataclass(frozen=True)
class Trace:
    """Calls that were made once, with what came of them, to be asked of others.

    Parameters
    ----------
    lines
        In order.
    header
        Where it comes from.
    """

    lines: tuple[Line, ...]
    header: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path | str) -> "Trace":
        """Load a file.

        Raises
        ------
        Unreadable
            It is no trace of this schema, or not whole.
        """
        try:
            header, *lines = (json.loads(text) for text in Path(path).read_text(encoding="utf-8").splitlines())
            if header["schema"] != SCHEMA:
                raise ValueError(f"its schema is {header['schema']!r}")
            if [line["i"] for line in lines] != list(range(len(lines))):
                raise ValueError("its lines are not numbered from 0 on")
            if not lines:
                raise ValueError("it has no calls")
            return cls(tuple(Line(Call.of(line), line["res"]) for line in lines), header)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Unreadable(f"{path} is no trace of {SCHEMA}: {error}") from error

    def write(self, path: Path | str) -> None:
        """Save it to a file."""
        with Path(path).open("w", encoding="utf-8") as file:
            writer = TraceWriter(file, **self.header)
            for line in self.lines:
                writer.add(line.call, line.outcome)


class TraceWriter:
    """Writes a trace line by line: what was written is whole at any time.

    Parameters
    ----------
    file
        Text file, open for writing.
    header
        What else its first line is to say.
    """

    def __init__(self, file: IO[str], **header: Any) -> None:
        self._file, self._n = file, 0
        self._write({**header, "schema": SCHEMA})

    def add(self, call: Call, outcome: Outcome) -> None:
        """Write a call and what came of it."""
        self._write({"i": self._n, **call.line(), "res": outcome})
        self._n += 1

    def _write(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()


def conform(
    trace: Trace | Iterable[Line] | Path | str,
    implementation: Implementation = npt,
    *,
    after_each: Callable[[Player], object] | None = None,
) -> Player:
    """Make the calls of a trace and compare what comes of each.

    Parameters
    ----------
    trace
        Itself, its lines or its file.
    implementation
        Whose calls: anything with ``Reservoir``, ``VmSpace``, ``MmioObject``, ``Vcpu`` and ``Vm``.
    after_each
        Called after each call, with the player and its things: for checks of your own.

    Returns
    -------
    Player
        With what the calls made.

    Raises
    ------
    Mismatch
        At the first answer that is not the trace's; a crash, or that there is nothing of that name, is no answer.
    Unreadable
        The file is no trace.

    Examples
    --------
    >>> from npt.testing import Call, Line, conform
    >>> made = Line(Call("Reservoir", args={"size": 4096}, new="r"), {"ok": {"thing": "r"}})
    >>> asked = Line(Call("Reservoir.usage", "r"), {"ok": [4096, 0, 0, 0, 4096]})
    >>> conform([made, asked]).things["r"].size
    4096
    """
    player = Player(implementation)
    for i, line in enumerate(_lines(trace)):
        got = json.loads(json.dumps(player.answer(line.call)))  # lists and tuples are the same to JSON
        if got != line.outcome:
            raise Mismatch(i, line.call, line.outcome, got)
        if after_each is not None:
            after_each(player)
    return player


def _lines(trace: Trace | Iterable[Line] | Path | str) -> Iterator[Line]:
    if isinstance(trace, (str, Path)):
        trace = Trace.read(trace)
    yield from trace.lines if isinstance(trace, Trace) else trace
