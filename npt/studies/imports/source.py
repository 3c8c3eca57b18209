"""Where an import comes from: a file, gzipped or not, standard input, or anything that is open for reading bytes."""

import gzip
import io
import os
import sys
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, TypeAlias

__all__ = ["Source", "as_source"]

SourceLike: TypeAlias = str | os.PathLike[str] | IO[bytes]

_GZIP = b"\x1f\x8b"
_STDIN = "-"


def as_source(source: Any) -> SourceLike:
    """Refuse what is neither a path nor open for reading bytes."""
    if isinstance(source, (str, os.PathLike)):
        return source
    if isinstance(source, io.TextIOBase) or not hasattr(source, "readinto"):
        raise TypeError(f"source must be a path, '-' or a file that is open for reading bytes, not {type(source).__name__}")
    return source  # type: ignore[no-any-return]


class Source:
    """Bytes that are read once, from their beginning to their end; a context manager.

    Parameters
    ----------
    source
        Path; ``"-"`` for standard input; or an open file, which stays open.
    sniff
        Whether what begins as gzip is unpacked. Else only what is named so.

    Attributes
    ----------
    name : str
        For messages.
    stem : str
        For a history: the name of the file up to its first dot.
    damage : str or None
        When the end is reached: what is wrong with it, if it is the end of a damaged gzip file.
    """

    def __init__(self, source: SourceLike, *, sniff: bool) -> None:
        self._source, self._sniff = source, sniff
        self.damage: str | None = None
        named = source if isinstance(source, (str, os.PathLike)) else getattr(source, "name", None)
        path = os.fspath(named) if isinstance(named, (str, os.PathLike)) else type(source).__name__
        self.name = "standard input" if path == _STDIN else path
        self.stem = "stdin" if path == _STDIN else Path(path).name.lstrip(".").split(".")[0] or "import"
        self._read = 0

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._packed = self._open(stack)
            self._unpacked: Any = self._packed
            if self._packed.peek(len(_GZIP))[: len(_GZIP)] == _GZIP if self._sniff else self.name.endswith(".gz"):
                self._unpacked = stack.enter_context(gzip.GzipFile(fileobj=self._packed))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    def _open(self, stack: ExitStack) -> io.BufferedReader:
        if self._source == _STDIN:
            return self._borrowed(stack, sys.stdin.buffer)
        if isinstance(self._source, (str, os.PathLike)):
            return stack.enter_context(open(self._source, "rb"))
        return self._borrowed(stack, self._source)

    def _borrowed(self, stack: ExitStack, file: Any) -> io.BufferedReader:
        """A reader of somebody else's file; that one stays open when the reader goes."""
        if isinstance(file, io.BufferedReader):
            return file
        reader = io.BufferedReader(file)
        stack.callback(reader.detach)
        return reader

    def blocks(self, n_bytes: int) -> Iterator[bytes]:
        """All bytes, in blocks of so many; the last one may be shorter."""
        block = bytearray()
        while piece := self._piece(n_bytes - len(block)):
            block += piece
            if len(block) == n_bytes:
                yield bytes(block)
                block.clear()
        if block:
            yield bytes(block)

    def _piece(self, n_bytes: int) -> bytes:
        """Up to so many bytes; none at the end."""
        try:
            piece: bytes = self._unpacked.read1(n_bytes)
        except EOFError:
            self.damage = "the gzip file ends too early"
            return b""
        except (gzip.BadGzipFile, zlib.error) as error:
            self.damage = f"the gzip file is damaged: {error}"
            return b""
        self._read += len(piece)
        return piece

    def progress(self) -> tuple[int, int | None]:
        """Bytes read, and in all: of the file as it is packed; None where nobody knows."""
        try:
            status = os.fstat(self._packed.fileno())
            if status.st_size:
                return self._packed.tell(), status.st_size
        except (OSError, ValueError):
            pass
        return self._read, None
