"""What a program did, from valgrind's lackey: ``valgrind --tool=lackey --trace-mem=yes --log-file=trace.txt program``.

Theory of operation
-------------------
Lackey prints a line for each instruction (``I  04016b80,3``: address and size) and, behind it, one for each of its loads,
stores and modifies (`` L 1ffeffe7e0,8``, `` S``, `` M``); an M reads and writes. Valgrind's own lines begin with ``==`` and the
process; one of lackey's last tells the exit code. See Valgrind's manual, https://valgrind.org/docs/manual/lk-manual.html.

A trace has a line or two for each instruction. It is read in blocks; a block in which each line is a record is taken apart by
numpy, all lines at once; any other one goes through a regular expression first, line by line, which also finds what is wrong.

Guarantees: memory depends on windows and on the pages in them, not on lines. A wrong line is told by its number.
"""

import re
from typing import SupportsIndex

import numpy as np
from numpy.typing import NDArray

from npt._types import U8Array, U64Array
from npt.errors import InvalidArgument, InvariantError, Unreadable
from npt.studies.history import History
from npt.studies.imports.builder import PAGES_END, Builder, Progress, check_options
from npt.studies.imports.records import INSTRUCTION, LOAD, MODIFY, RECORD, STORE, Records, parse
from npt.studies.imports.source import Source, SourceLike, as_source
from npt.units import PAGE_SHIFT, PAGE_SIZE, as_count, as_flag

__all__ = ["import_lackey"]

_BLOCK = 1 << 20
_OWN = re.compile(rb"(?:==|--|\*\*)(?:\S+ )?([0-9]+)(?:==|--|\*\*) ?(.*)")  # a line of valgrind's own: process, text
_OPENING, _CLOSING = b"Lackey, an example Valgrind tool", b"Exit code:"
_SHIFT = np.uint64(PAGE_SHIFT)
_END = np.uint64(PAGES_END << PAGE_SHIFT)
_LARGEST = PAGE_SIZE
_SHOWN = 60


def import_lackey(
    source: SourceLike,
    *,
    window_instructions: SupportsIndex | None = None,
    window_accesses: SupportsIndex | None = None,
    n_windows: SupportsIndex | None = None,
    fetches: bool = False,
    allow_cut: bool = False,
    name: str | None = None,
    progress: Progress | None = None,
) -> History:
    """Make a history of a trace of valgrind's lackey.

    Parameters
    ----------
    source
        The trace: a file, gzipped or not; ``"-"`` for standard input; or an open file of bytes.
    window_instructions
        Instructions a window; 200,000 unless said, as in the histories that come with npt.
    window_accesses
        Or loads, stores and modifies a window.
    n_windows
        Stop after so many windows; None to read to the end. The last window then has what is left.
    fetches
        Whether to fetch an instruction is to read its page. Not in the histories that come with npt.
    allow_cut
        Whether to take what there is of a trace that is cut short; else it is refused.
    name
        Of the program; by default the file's, up to its first dot.
    progress
        Called with ``(bytes read, bytes in all)``; in all None where nobody knows.

    Returns
    -------
    History
        Pages are numbered by the program's own addresses. An access over the end of a page is to both pages.

    Raises
    ------
    InvalidArgument
        A line is no record of lackey's, with its number; there are no records; the trace is cut short: it ends in the middle
        of a line or of a gzip file, or without lackey's closing lines though it has the opening ones.
    FileNotFoundError, OSError
        The file cannot be read.

    See Also
    --------
    History.save : keep what was made.
    """
    given, whole = as_source(source), as_flag(fetches, "fetches")
    check_options(name, progress)
    unit, length = _as_window(window_instructions, window_accesses)
    limit = None if n_windows is None else as_count(n_windows, "n_windows", least=1)
    keep = as_flag(allow_cut, "allow_cut")
    with Source(given, sniff=True) as opened:
        trace = _Trace(opened.name, length, unit == "accesses", limit, whole)
        for block in opened.blocks(_BLOCK):
            trace.read(block)
            if progress is not None:
                progress(*opened.progress())
            if trace.full:
                break
        cut = None if trace.full else opened.damage or trace.cut()
    if cut is not None and not keep:
        raise Unreadable(f"{opened.name}: the trace is cut short behind line {trace.n_lines}: {cut}")
    return trace.history(opened.stem if name is None else name, unit)


def _as_window(instructions: SupportsIndex | None, accesses: SupportsIndex | None) -> tuple[str, int]:
    """Unit and length of a window."""
    if instructions is not None and accesses is not None:
        raise InvalidArgument("a window has so many instructions or so many accesses, not both")
    if accesses is not None:
        return "accesses", as_count(accesses, "window_accesses", least=1)
    return "instructions", as_count(200_000 if instructions is None else instructions, "window_instructions", least=1)


class _Trace:
    """A trace that is being read."""

    def __init__(self, name: str, length: int, by_accesses: bool, limit: int | None, fetches: bool) -> None:
        self._name, self._length, self._by_accesses, self._limit, self._fetches = name, length, by_accesses, limit, fetches
        self._builder = Builder()
        self._rest = b""  # of a line whose end has not come
        self._counted = 0  # instructions or accesses
        self._process: bytes | None = None
        self._opened = self._closed = False
        self.n_lines = 0
        self.full = False

    def history(self, name: str, unit: str) -> History:
        """What was read."""
        if not self._builder.n_windows:
            raise Unreadable(f"{self._name} has no records of lackey's; they are made with --trace-mem=yes")
        return self._builder.history(name, self._length, unit)

    def cut(self) -> str | None:
        """What is missing at the end, if something is."""
        if self._rest:
            return f"there is no more than {_shown(self._rest)} of the next one"
        if self._opened and not self._closed:
            return "lackey's last lines, which tell the exit code, are missing"
        return None

    def read(self, block: bytes) -> None:
        """Go on with the next bytes."""
        lines, newline, rest = (self._rest + block).rpartition(b"\n")
        self._rest = rest
        if len(rest) > _BLOCK:
            raise Unreadable(f"{self._name}: line {self.n_lines + 1} has no end: this is no trace of lackey's")
        if newline:
            self._add(lines + newline)

    def _add(self, lines: bytes) -> None:
        """Go on with whole lines."""
        n_lines, numbers = lines.count(b"\n"), None
        records = parse(lines)
        if records is None:
            numbers, kept = self._sift(lines)
            records = parse(kept)
            if kept and records is None:
                raise InvariantError(f"{self._name}: records between lines {numbers[0]} and {numbers[-1]} were not understood")
        if records is not None:
            self._check(records, numbers)
            self._take(records)
        self.n_lines += n_lines

    def _sift(self, lines: bytes) -> tuple[list[int], bytes]:
        """Only those that are records, and their numbers; what valgrind says of itself is taken note of."""
        numbers, kept = [], []
        for number, line in enumerate(lines.split(b"\n")[:-1], self.n_lines + 1):
            if RECORD.fullmatch(line):
                numbers.append(number)
                kept.append(line + b"\n")
            elif own := _OWN.fullmatch(line):
                self._note(number, *own.groups())
            elif line:
                raise self._wrong(
                    number,
                    f"{_shown(line)} is no record of lackey's, which are like ' S 1ffeffe7e0,8'; if it is the program's own "
                    "output, keep it out with valgrind --log-file=FILE",
                )
        return numbers, b"".join(kept)

    def _note(self, number: int, process: bytes, text: bytes) -> None:
        if self._process not in (None, process):
            processes = f"{_shown(self._process)} and {_shown(process)}"
            raise self._wrong(number, f"the trace is of two processes, {processes}; valgrind --log-file=trace.%p parts them")
        self._process = process
        self._opened |= text.startswith(_OPENING)
        self._closed |= text.startswith(_CLOSING)

    def _check(self, records: Records, numbers: list[int] | None) -> None:
        """Refuse a record that cannot be."""
        ends = records.addresses + records.sizes  # an address near 2**64 wraps
        wrong = (records.sizes < 1) | (records.sizes > _LARGEST) | (ends > _END) | (ends < records.addresses)
        if wrong.any():
            place = int(wrong.argmax())
            address, size = int(records.addresses[place]), int(records.sizes[place])
            what = f"{size} bytes at {address:#x}: a record is of 1 to {_LARGEST} bytes below {int(_END):#x}"
            raise self._wrong(self.n_lines + 1 + place if numbers is None else numbers[place], what)

    def _take(self, records: Records) -> None:
        """Add records to the windows that they are in."""
        windows = self._windows(records.kinds)
        if self._limit is not None and windows[-1] >= self._limit:
            windows, self.full = windows[windows < self._limit], True
        starts = np.flatnonzero(np.diff(windows, prepend=-1)).tolist()
        for start, stop in zip(starts, [*starts[1:], windows.size], strict=False):
            self._builder.reach(int(windows[start]) + 1)
            part = records.part(start, stop)
            reads = (part.kinds == LOAD) | (part.kinds == MODIFY) | ((part.kinds == INSTRUCTION) & self._fetches)
            self._builder.add(_pages(part, reads), _pages(part, (part.kinds == STORE) | (part.kinds == MODIFY)))

    def _windows(self, kinds: U8Array) -> NDArray[np.int64]:
        """The window of each record: that of the last one that counts, of it or those before it."""
        counts = (kinds == INSTRUCTION) != self._by_accesses
        numbers = np.cumsum(counts) + self._counted
        self._counted = int(numbers[-1])
        return np.maximum(numbers - 1, 0) // self._length  # type: ignore[no-any-return]

    def _wrong(self, number: int, what: str) -> InvalidArgument:
        return Unreadable(f"{self._name}, line {number}: {what}")


def _pages(records: Records, which: NDArray[np.bool_]) -> U64Array:
    """Pages of some of the records."""
    addresses = records.addresses[which]
    first, last = addresses >> _SHIFT, (addresses + records.sizes[which] - np.uint64(1)) >> _SHIFT
    over = last != first
    return np.concatenate((first, last[over])) if over.any() else first


def _shown(line: bytes | None) -> str:
    """The beginning of a line, as text."""
    text = (line or b"").decode("ascii", "backslashreplace")
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")
