"""Who writes: all patterns and histories, by name."""

import os
from collections.abc import Mapping
from dataclasses import fields
from types import MappingProxyType
from typing import Any

from npt.errors import InvalidArgument
from npt.studies.history import HISTORIES, History
from npt.studies.parameters import form
from npt.studies.synthetic import HotCold, Sequential, Strided, Synthetic, Uniform
from npt.studies.window import Window, Writer
from npt.studies.zipf import Zipf
from npt.units import PAGE_SIZE, parse_size

__all__ = ["WRITERS", "HotCold", "Sequential", "Strided", "Synthetic", "Uniform", "Window", "Writer", "Zipf", "writer"]

WRITERS: Mapping[str, type[Synthetic]] = MappingProxyType(
    {one.name: one for one in (Uniform, Sequential, Strided, Zipf, HotCold)}
)
_UNLESS_SAID = {"n_pages": 65536, "n_windows": 100, "accesses": 10_000}


def writer(text: str | os.PathLike[str]) -> Writer:
    """Make a writer from words.

    Parameters
    ----------
    text
        A name in ``WRITERS``, alone or with parameters: ``"zipf:exponent=1.2,pages=65536,windows=100,accesses=10000,seed=3"``.
        The keys ``pages``, ``windows`` and ``accesses`` stand for ``n_pages`` (65536 unless said), ``n_windows`` (100) and
        ``accesses`` (10000); instead of ``pages`` there may be a ``size=256MiB``. The others are the class's own parameters.
        Or a name in ``HISTORIES``, or the file of a history.

    Raises
    ------
    InvalidArgument
        There is no such writer or file, or a parameter is not as it must be.

    Examples
    --------
    >>> writer("strided:size=1MiB,stride=16")
    Strided(n_pages=256, n_windows=100, accesses=10000, write_share=1.0, seed=0, stride=16)
    >>> writer("sqlite").n_windows
    1500
    """
    if not isinstance(text, (str, os.PathLike)):
        raise TypeError(f"a writer is made from a str or a path, not from {type(text).__name__}")
    name, colon, parameters = os.fspath(text).partition(":")
    kind = WRITERS.get(name) if isinstance(text, str) else None
    if kind is None:
        return _history(text)
    try:
        return kind(**{**_UNLESS_SAID, **_parameters(kind, parameters.split(",") if colon else [])})
    except InvalidArgument as error:
        raise InvalidArgument(f"{text}: {error.strerror}") from None


def _history(name_or_file: str | os.PathLike[str]) -> History:
    try:
        return History.load(name_or_file)
    except FileNotFoundError:
        raise InvalidArgument(
            f"{os.fspath(name_or_file)!r} is neither a writer ({', '.join(WRITERS)}) nor a history ({', '.join(HISTORIES)}) "
            "nor a file"
        ) from None


def _parameters(kind: type[Synthetic], words: list[str]) -> dict[str, Any]:
    """Arguments of a writer, from words like ``seed=3``."""
    forms = {form(one).key: (one.name, form(one)) for one in fields(kind)}
    made: dict[str, Any] = {}
    for word in words:
        key, equals, value = (part.strip() for part in word.partition("="))
        if not (key and equals and value):
            raise InvalidArgument(f"{word!r} is not of the form name=value")
        if key not in (*forms, "size"):
            raise InvalidArgument(f"{key!r} is no parameter of it; these are: size, {', '.join(forms)}")
        name, rule = forms["pages" if key == "size" else key]
        if name in made:
            raise InvalidArgument(f"{key} is said twice" if key not in ("size", "pages") else "pages or size are said twice")
        made[name] = _pages(value) if key == "size" else rule.parse(value)
    return made


def _pages(text: str) -> int:
    """Pages of a size."""
    pages, rest = divmod(parse_size(text), PAGE_SIZE)
    if rest:
        raise InvalidArgument(f"size {text!r} is not a number of whole pages of {PAGE_SIZE} bytes")
    return pages
