"""What options have in common: sizes, rates and times as people write them, and where results go."""

import math
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

import click
from click.shell_completion import CompletionItem

import npt
from npt.cli.exits import told
from npt.cli.output import STDOUT, Output, is_stream
from npt.errors import InvalidArgument, NptError, Unreadable
from npt.units import PAGE_SIZE, parse_size

__all__ = [
    "Duration",
    "FORMATS",
    "Number",
    "Rate",
    "Size",
    "Words",
    "check_target",
    "format_option",
    "formats_option",
    "reading",
    "results_options",
    "seed_option",
    "threads_option",
]

F = TypeVar("F", bound=Callable[..., Any])

FORMATS = {"ept": npt.EPT, "npt": npt.NPT}
_BITS = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([kMGT]?)bit/s")
_DECIMAL = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?) ?(ns|us|ms|s|min|h|)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "": 1.0, "min": 60.0, "h": 3600.0}


class _Amount(click.ParamType):  # type: ignore[type-arg]  # generic only in newer versions of click
    """How much of something; 0 is that only if ``zero``."""

    def __init__(self, *, zero: bool = False) -> None:
        self._zero = zero


class Size(_Amount):
    """A size like 64MiB, of whole pages."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Bytes of what the user wrote."""
        if isinstance(value, int):
            return value
        try:
            size = parse_size(value)
        except InvalidArgument as error:
            self.fail(str(error.strerror), param, ctx)
        if not (size > 0 or self._zero) or size % PAGE_SIZE:
            sign = "" if self._zero else "positive "
            self.fail(f"{value!r} is not a {sign}number of whole pages of {PAGE_SIZE} bytes", param, ctx)
        return size


class Rate(_Amount):
    """Bytes a second, like 1000MiB or 10Gbit/s."""

    name = "rate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Bytes a second of what the user wrote."""
        if isinstance(value, int):
            return value
        bits, size = _BITS.fullmatch(value), value.removesuffix("/s")
        try:
            rate = int(float(bits[1]) * _DECIMAL[bits[2]]) // 8 if bits else parse_size(size)
        except InvalidArgument:
            self.fail(f"{value!r} is not a rate; write it like 1000MiB, 1.5GiB/s or 10Gbit/s", param, ctx)
        if not bits and size.endswith("b"):
            self.fail(f"{value!r} may mean bits or bytes; write it like 10Gbit/s or 10GiB/s", param, ctx)
        if not (rate or self._zero):
            self.fail(f"{value!r} is not a positive rate", param, ctx)
        return rate


class Duration(_Amount):
    """Seconds, like 300ms, 1us or 0.3."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds of what the user wrote."""
        if isinstance(value, (int, float)):
            return float(value)
        match = _DURATION.fullmatch(value)
        seconds = float(match[1]) * _SECONDS[match[2]] if match else math.inf
        if seconds == math.inf:
            self.fail(f"{value!r} is not a time; write it like 300ms, 2us, 1.5s or 1h", param, ctx)
        if not (seconds or self._zero):
            self.fail(f"{value!r} is not a positive time", param, ctx)
        return seconds


class Number(click.FloatRange):
    """A number in a range; nan, which no range keeps out, and infinity are none."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number", param, ctx)
        return number


class Words(click.ParamType):  # type: ignore[type-arg]
    """Text that is often one of some words, or a file: a shell completes both."""

    name = "text"

    def __init__(self, words: Iterable[str], *, file: bool = False) -> None:
        self._words, self._file = tuple(words), file

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The words, and, if nothing else, any file."""
        found = [CompletionItem(word) for word in self._words if word.startswith(incomplete)]
        return found or ([CompletionItem(incomplete, type="file")] if self._file else [])


# -- where input comes from ---------------------------------------------------------------------------------------------


@contextmanager
def reading() -> Iterator[None]:
    """What cannot be read is told, and npt ends with the number for that."""
    try:
        yield
    except NptError:
        raise
    except OSError as error:
        raise Unreadable(told(error)) from None


# -- where results go ---------------------------------------------------------------------------------------------------


_STDOUT_NAMES = tuple(map(Path, ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")))


def check_target(_: click.Context, __: click.Parameter, value: Path | None) -> Path | None:
    """A result file must be writable before the work, not after it."""
    if value in _STDOUT_NAMES:  # not a file to be replaced, should it lead to one
        return STDOUT
    if value is None or is_stream(value):
        return value
    if not (value.parent.is_dir() and os.access(value.parent, os.W_OK)):
        raise click.BadParameter(f"{value.parent} is not a directory that can be written to")
    return value


def _check_apart(context: click.Context, parameter: click.Parameter, value: Path | None) -> Path | None:
    """The second of two result files must not take the place of the first."""
    target = check_target(context, parameter, value)
    first = context.params.get("json_file")
    if target is None or first is None:
        return target
    if target == first == STDOUT:
        raise click.BadParameter("standard output takes one form, and --json has it")
    if target.resolve() == first.resolve() and not is_stream(target):
        raise click.BadParameter(f"{target} is the file for --json, too")
    return target


_target = click.Path(dir_okay=False, writable=True, allow_dash=True, path_type=Path)


def results_options(function: F) -> F:
    """``--json``, ``--csv`` and ``--quiet``; the command gets them as ``out``, an ``Output``."""

    @wraps(function)
    def command(*arguments: Any, json_file: Path | None, csv_file: Path | None, quiet: bool, **options: Any) -> Any:
        return function(*arguments, out=Output(json_file, csv_file, quiet), **options)

    for option in (
        click.option("--quiet", "-q", is_flag=True, help="Print no table and no progress."),
        click.option("--csv", "csv_file", type=_target, callback=_check_apart, help="Save the rows; - is standard output."),
        click.option(
            "--json", "json_file", type=_target, is_eager=True, callback=check_target,
            help="Save the rows and how they came about; - is standard output.",
        ),
    ):  # fmt: skip
        command = option(command)
    return cast(F, command)


# -- options that several commands have ---------------------------------------------------------------------------------


def format_option(function: F) -> F:
    """``--format``, one of them."""
    option = click.option(
        "--format", "format_name", type=click.Choice(list(FORMATS)), default="ept", show_default=True, help="Of entries."
    )
    return option(function)


def formats_option(function: F) -> F:
    """``--format``, any of them."""
    option = click.option(
        "--format", "formats", type=click.Choice(list(FORMATS)), multiple=True, help="Of entries; repeatable.  [both]"
    )
    return option(function)


def seed_option(help: str, default: int = 0) -> Callable[[F], F]:
    """``--seed``."""
    return click.option("--seed", type=click.IntRange(0, (1 << 64) - 1), default=default, show_default=True, help=help)


def threads_option(function: F) -> F:
    """``--threads``."""
    return click.option(
        "--threads",
        type=click.IntRange(min=1),
        help="Most threads that a call is split over.  [NPT_THREADS, or one a processor]",
    )(function)
