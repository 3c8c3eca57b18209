"""What a guest wrote, round by round, from dirty bitmaps as KVM_GET_DIRTY_LOG gives them.

A bitmap is words of 64 bits, little-endian: bit b of word w is page ``64 * w + b`` of the memory slot; see ``npt.dirty.kvm``.
"""

import os
import re
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np

from npt._types import U64Array
from npt.dirty.bitmap import to_pages
from npt.errors import InvalidArgument, Unreadable
from npt.studies.history import History
from npt.studies.imports.builder import PAGES_END, Builder, Progress, check_options
from npt.studies.imports.source import Source, SourceLike, as_source
from npt.units import as_count, as_flag

__all__ = ["import_bitmaps"]

_WORD_PAGES, _WORD_BYTES = 64, 8
_MOST_BYTES = PAGES_END // 8
_NONE = np.empty(0, np.uint64)


def import_bitmaps(
    source: SourceLike,
    *,
    n_pages: SupportsIndex | None = None,
    first_page: SupportsIndex = 0,
    allow_cut: bool = False,
    name: str | None = None,
    progress: Progress | None = None,
) -> History:
    """Make a history of dirty bitmaps, one a round.

    Parameters
    ----------
    source
        A directory of files with one bitmap each, in the order of their names (``round-10`` behind ``round-9``; those that
        begin with a dot are left out); or one file of bitmaps one after the other; ``"-"`` for standard input; or an open file
        of bytes. Files whose names end in ``.gz`` are unpacked.
    n_pages
        Pages of the memory slot, of which each bitmap has ``ceil(n_pages / 64)`` words. May be left out for a directory: then
        its files have as many pages as bits.
    first_page
        Number of the slot's first page in its guest.
    allow_cut
        Whether to leave out a last bitmap that is cut short; else it is refused.
    name
        Of the guest; by default the file's or directory's, up to its first dot.
    progress
        Called with ``(rounds, rounds in all)``; in all None where nobody knows.

    Returns
    -------
    History
        A window a round; nothing is known of reads. Windows are of one round.

    Raises
    ------
    InvalidArgument
        A bitmap is of another size than the others, or cut short, or has bits past the end of the slot; no page is dirty in
        any; there are none.
    FileNotFoundError, OSError
        A file cannot be read.
    """
    given, keep = as_source(source), as_flag(allow_cut, "allow_cut")
    check_options(name, progress)
    first = as_count(first_page, "first_page", end=PAGES_END)
    n = None if n_pages is None else as_count(n_pages, "n_pages", least=1, end=PAGES_END - first + 1)
    if isinstance(given, (str, os.PathLike)) and Path(given).is_dir():
        files = _files(Path(given))
        rounds, told, stem = _of_files(files, n, keep), len(files), Path(given).resolve().name.split(".")[0]
    elif n is None:
        raise InvalidArgument("n_pages must be given for bitmaps that are all in one file: it says where each of them ends")
    else:
        opened = Source(given, sniff=False)
        rounds, told, stem = _of_file(opened, n, keep), None, opened.stem
    builder = Builder()
    with closing(rounds):
        for pages in rounds:
            builder.reach(builder.n_windows + 1)
            builder.add(_NONE, pages + np.uint64(first))
            if progress is not None:
                progress(builder.n_windows, told)
    if not builder.n_windows:
        raise Unreadable(f"{stem}: there is no whole bitmap in it")
    return builder.history(stem if name is None else name, 1, "rounds")


def _of_file(source: Source, n_pages: int, keep: bool) -> Generator[U64Array, None, None]:
    """Dirty pages, bitmap by bitmap."""
    size = _n_bytes(n_pages)
    with source:
        for number, block in enumerate(source.blocks(size)):
            if len(block) == size:
                yield _dirty(block, n_pages, f"{source.name}, round {number}")
            elif not keep:
                raise Unreadable(
                    f"{source.name} is cut short: round {number} has {len(block)} bytes, and not the {size} that {n_pages} "
                    "pages take"
                )
        if source.damage and not keep:
            raise Unreadable(f"{source.name}: {source.damage}")


def _of_files(files: list[Path], n_pages: int | None, keep: bool) -> Generator[U64Array, None, None]:
    """Dirty pages, file by file; the first one says how many there are, unless that is said."""
    size = None if n_pages is None else _n_bytes(n_pages)
    for number, file in enumerate(files):
        bitmap, damage = _read(file, _MOST_BYTES if size is None else size)
        if size is None:
            size = len(bitmap)
            if not 0 < size <= _MOST_BYTES or size % _WORD_BYTES:
                raise Unreadable(f"{file}: {size} bytes are no bitmap of 64-bit words")
        if keep and number == len(files) - 1 and (damage or len(bitmap) < size):
            return
        if damage or len(bitmap) != size:
            much = f"more than {size}" if len(bitmap) > size else f"{len(bitmap)}"
            raise Unreadable(f"{file}: {damage or f'{much} bytes, and not {size} as a bitmap here has'}")
        yield _dirty(bitmap, size * 8 if n_pages is None else n_pages, os.fspath(file))


def _read(file: Path, most: int) -> tuple[bytes, str | None]:
    """All of a file, or one byte more than it should have, and what is wrong with its end."""
    with Source(file, sniff=False) as source:
        return next(source.blocks(most + 1), b""), source.damage


def _n_bytes(n_pages: int) -> int:
    """Of a bitmap."""
    return -(-n_pages // _WORD_PAGES) * _WORD_BYTES


def _files(directory: Path) -> list[Path]:
    """Files of a directory in the order of their names, in which numbers count as numbers."""
    return sorted((one for one in directory.iterdir() if one.is_file() and not one.name.startswith(".")), key=_by_number)


def _by_number(file: Path) -> Any:
    pieces = re.split(r"([0-9]+)", file.name)
    return [int(piece) if number % 2 else piece for number, piece in enumerate(pieces)], file.name


def _dirty(bitmap: bytes, n_pages: int, where: str) -> U64Array:
    """Pages whose bits are set."""
    pages = to_pages(np.frombuffer(bitmap, np.uint8))
    if pages.size and int(pages[-1]) >= n_pages:
        raise Unreadable(f"{where}: bit {int(pages[-1])} is set, past the end of {n_pages} pages")
    return pages
