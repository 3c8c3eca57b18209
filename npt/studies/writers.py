"""Who writes: all patterns and histories, by name."""

import os
from collections.abc import Mapping
from dataclasses import fields
from types import MappingProxyType

from npt.errors import InvalidArgument, Unreadable
from npt.studies.history import HISTORIES, History
from npt.studies.mixes import Mix, Phases
from npt.studies.parameters import form, from_words
from npt.studies.reader import Reader
from npt.studies.synthetic import HotCold, Sequential, Strided, Synthetic, Uniform
from npt.studies.window import Window, Writer
from npt.studies.zipf import Zipf

__all__ = [
    "WRITERS",
    "HotCold",
    "Mix",
    "Phases",
    "Sequential",
    "Strided",
    "Synthetic",
    "Uniform",
    "Window",
    "Writer",
    "Zipf",
    "writer",
]

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

        Or several of these: ``"zipf:windows=30|uniform:windows=10"`` is ``Phases``, ``"zipf*0.7+uniform*0.3"`` is a ``Mix``,
        over the same pages, and ``"zipf*0.7&uniform*0.3"`` one over disjoint pages. Parentheses keep parts together, and a mix
        in parentheses may have parameters: ``"(sqlite*0.5+xz*0.5):accesses=500,seed=3|sort"``. Patterns and mixes in
        such a text that say no seed get 0, 1, 2 and so on, in the order in which they end. The name of a file that has any of
        ``|()*`` can only stand alone.

    Raises
    ------
    InvalidArgument
        A parameter is not as it must be. ``Unreadable``, which is one: there is no such writer or file, or it is damaged.

    Examples
    --------
    >>> writer("strided:size=1MiB,stride=16")
    Strided(n_pages=256, n_windows=100, accesses=10000, write_share=1.0, seed=0, stride=16)
    >>> writer("sqlite").n_windows
    1500
    >>> str(writer("uniform*7+sqlite*3"))
    '(uniform:pages=65536,windows=100,accesses=10000,write_share=1.0,seed=0*7.0+sqlite*3.0):windows=1500,accesses=10000,seed=1'
    """
    if not isinstance(text, (str, os.PathLike)):
        raise TypeError(f"a writer is made from a str or a path, not from {type(text).__name__}")
    if not isinstance(text, str) or os.path.isfile(text):
        return _pattern(text) or _history(text)
    return Reader(text, _pattern_or_history).read()


def _pattern_or_history(text: str, seed: int) -> Writer:
    return _pattern(text, seed) or _history(text)


def _pattern(text: str | os.PathLike[str], seed: int = 0) -> Synthetic | None:
    """One of ``WRITERS``; None if the text begins with none of their names."""
    name, colon, parameters = os.fspath(text).partition(":")
    kind = WRITERS.get(name) if isinstance(text, str) else None
    if kind is None:
        return None
    forms = {form(one).key: (one.name, form(one)) for one in fields(kind)}
    try:
        said = from_words(forms, parameters.split(",") if colon else [])
        return kind(**{**_UNLESS_SAID, "seed": seed, **said})
    except InvalidArgument as error:
        raise InvalidArgument(f"{text}: {error.strerror}") from None


def _history(name_or_file: str | os.PathLike[str]) -> History:
    try:
        return History.load(name_or_file)
    except FileNotFoundError:
        raise Unreadable(
            f"{os.fspath(name_or_file)!r} is neither a writer ({', '.join(WRITERS)}) nor a history ({', '.join(HISTORIES)}) "
            "nor a file"
        ) from None
