"""Dirty rates of a writer, period by period: exact, by bitmap and sampled, side by side, on real bytes."""

from collections.abc import Callable, Iterator
from itertools import islice
from types import TracebackType
from typing import Any, Self, SupportsFloat, SupportsIndex

import numpy as np
from numpy.random import SeedSequence

from npt._types import ExitReason, Prot, U64Array
from npt.dirty.bitmap import empty, from_pages, to_pages, union
from npt.dirty.hypergeometric import as_level
from npt.dirty.rate import PageSample, as_seconds, by_bitmap, exact
from npt.errors import InvalidArgument, InvariantError
from npt.formats.base import PteFormat
from npt.formats.ept import EPT
from npt.memory.reservoir import Reservoir
from npt.space.vcpu import Vcpu
from npt.space.vmspace import VmSpace
from npt.studies.measuring import giving_back
from npt.studies.randomness import chosen, words
from npt.studies.results import Results, provenance
from npt.studies.window import Window, Writer, checked
from npt.units import PAGE_SHIFT, PAGE_SIZE, as_count, as_int, as_number

__all__ = ["dirty_rates"]

_SAME = 16  # a stream of random words that no writer uses


class _Guest:
    """As many pages as the writer has, side by side, all resident; what each page's first word holds is known."""

    def __init__(self, n_pages: int, format: PteFormat, unchanged: float, seed: int) -> None:
        length = n_pages * PAGE_SIZE
        self.n_pages, self.range = n_pages, (0, length)
        self._unchanged, self._seed = unchanged, seed
        self._held = np.zeros(n_pages, np.uint64)
        self._n_writes = 0
        self._reservoir = Reservoir(length)
        self._ram = self._reservoir.allocate(length)
        self.space = VmSpace(length, format=format, reservoir=self._reservoir, track_dirty=True)
        self.space.map(self._ram, 0, length, Prot.RW)
        self.space.populate(0, length)
        self._vcpu = Vcpu(self.space.client())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.space.close()
        self._ram.release()
        self._reservoir.close()

    def run(self, number: int, window: Window) -> tuple[U64Array, U64Array]:
        """Perform a window's accesses; which pages were written, and which of them hold something else now."""
        written = window.pages[window.write]
        pages, places = np.unique(written, return_inverse=True)
        same = chosen(words(self._seed, _SAME, number, pages.size), self._unchanged)
        fresh = np.arange(written.size, dtype=np.uint64) + np.uint64(self._n_writes + 1)  # no value comes twice
        self._n_writes += written.size
        stored = np.where(same[places], self._held[written], fresh)
        values = np.zeros(window.pages.size, np.uint64)
        values[window.write] = stored
        exit = self._vcpu.run(window.pages << np.uint64(PAGE_SHIFT), write=window.write, values=values)
        if exit.reason is not ExitReason.DONE:
            raise InvariantError(f"an access to memory that is mapped ended with {exit!r}")
        self._held[written] = stored  # of several, the last
        return pages, pages[~same]


@giving_back()
def dirty_rates(
    writer: Writer,
    *,
    format: PteFormat = EPT,
    period: SupportsIndex = 1,
    n_periods: SupportsIndex | None = None,
    window_seconds: SupportsFloat = 1.0,
    per_gib: SupportsIndex = 512,
    level: SupportsFloat = 0.95,
    unchanged: SupportsFloat = 0.0,
    seed: SupportsIndex = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Results:
    """Run a writer on a guest with real bytes, and measure its dirty rate in three ways.

    Each write stores a value that its page never held, in the page's first word; or, for some, what the word holds already.

    Parameters
    ----------
    writer
        A pattern or a history.
    format
        ``EPT`` or ``NPT``.
    period
        Windows over which a rate is taken; the last period has what is left.
    n_periods
        Stop after so many; None to go on to the end.
    window_seconds
        What counts as a window's duration.
    per_gib, level
        Of the sample and its interval, as for ``PageSample``.
    unchanged
        Share of the pages written in a window whose writes store what is there already, which no hash can see: 0 to 1.
    seed
        Of the samples, and of which writes change nothing.
    progress
        Called with ``(periods done, periods in all)``.

    Returns
    -------
    Results
        A row for each period: the writer's own columns; ``format``, ``period`` (from 1), ``period_windows``, ``seconds``,
        ``rate_seed`` (as given), ``sample_seed`` (the ``PageSample``'s), ``per_gib``, ``unchanged``; ``written`` (the truth:
        distinct pages), ``changed`` (those that hold something else than at the period's start), ``bytes_per_s``; ``bitmap``
        (pages) and ``bitmap_error``; ``sample`` and ``sample_changed`` (pages), ``estimate`` (pages), ``low``, ``high``,
        ``level``, ``estimate_error``, ``covers_written``, ``covers_changed``. Errors are relative to the truth; where nothing
        was written 0, or None if something was estimated.

    Raises
    ------
    TypeError
        An argument of another type.
    InvalidArgument
        A number that cannot be; a window of the writer has pages that its guest has not.

    See Also
    --------
    npt.dirty.rate.PageSample : how QEMU samples, and what is different here.
    """
    if not isinstance(writer, Writer):
        raise TypeError(f"writer must be a writer, not {type(writer).__name__}")
    if not isinstance(format, PteFormat):
        raise TypeError(f"format must be EPT or NPT, not {type(format).__name__}")
    for value, name in ((period, "period"), (per_gib, "per_gib"), (seed, "seed")):
        as_int(value, name)
    if n_periods is not None:
        as_int(n_periods, "n_periods")
    for number, name in ((window_seconds, "window_seconds"), (level, "level"), (unchanged, "unchanged")):
        as_number(number, name)
    n_windows = as_count(period, "period", least=1)
    in_all = -(-writer.n_windows // n_windows)
    n = in_all if n_periods is None else min(as_count(n_periods, "n_periods"), in_all)
    seconds, share = as_seconds(window_seconds, "window_seconds"), as_number(unchanged, "unchanged")
    if not 0 <= share <= 1:
        raise InvalidArgument(f"unchanged {share} is not between 0 and 1")
    study = _Study(format, seconds, as_int(per_gib, "per_gib"), as_level(level), share, as_count(seed, "seed", end=1 << 64))
    rows = []
    with _Guest(writer.n_pages, format, share, study.seed) as guest:
        windows = enumerate(checked(writer, min(n * n_windows, writer.n_windows)))
        for number in range(n):
            of_period = islice(windows, min(n_windows, writer.n_windows - number * n_windows))
            rows.append({**writer.row(), **study.row(guest, number, of_period)})
            if progress is not None:
                progress(number + 1, n)
    by = [*writer.row(), "format", "period", "period_windows", "seconds", "per_gib", "unchanged", "level"]
    return Results(rows, provenance(by=by), {"seconds": "s", "bytes_per_s": "B/s"})


class _Study:
    """How a period is measured."""

    def __init__(
        self, format: PteFormat, window_seconds: float, per_gib: int, level: float, unchanged: float, seed: int
    ) -> None:  # fmt: skip
        self._format, self._window_seconds, self._per_gib, self._level = format, window_seconds, per_gib, level
        self._unchanged, self.seed = unchanged, seed

    def row(self, guest: _Guest, number: int, windows: Iterator[tuple[int, Window]]) -> dict[str, Any]:
        """One period: sample, run, harvest, compare."""
        guest.space.track_dirty(*guest.range)
        sample_seed = _sample_seed(self.seed, number)
        sample = PageSample(guest.space, *guest.range, per_gib=self._per_gib, seed=sample_seed)
        in_written, in_changed, n_windows = empty(guest.n_pages), empty(guest.n_pages), 0
        for place, window in windows:
            of_window = (from_pages(pages, guest.n_pages) for pages in guest.run(place, window))
            union(in_written, next(of_window), out=in_written)
            union(in_changed, next(of_window), out=in_changed)
            n_windows += 1
        seconds = self._window_seconds * n_windows
        bitmap = by_bitmap(guest.space.track_dirty(*guest.range), seconds, n_pages=guest.n_pages)
        estimate = sample.compare(seconds, level=self._level)
        written = exact(to_pages(in_written), guest.n_pages, seconds)
        changed = exact(to_pages(in_changed), guest.n_pages, seconds)
        return {
            "format": self._format.name,
            "period": number + 1,
            "period_windows": n_windows,
            "seconds": seconds,
            "rate_seed": self.seed,
            "sample_seed": sample_seed,
            "per_gib": self._per_gib,
            "unchanged": self._unchanged,
            "written": int(written.pages),
            "changed": int(changed.pages),
            "bytes_per_s": written.bytes_per_s,
            "bitmap": int(bitmap.pages),
            "bitmap_error": bitmap.error(written),
            "sample": estimate.sampled,
            "sample_changed": estimate.changed,
            "estimate": estimate.pages,
            "low": estimate.low,
            "high": estimate.high,
            "level": estimate.level,
            "estimate_error": estimate.error(written),
            "covers_written": estimate.covers(written),
            "covers_changed": estimate.covers(changed),
        }


def _sample_seed(seed: int, period: int) -> int:
    """A seed of its own for each period."""
    (word,) = SeedSequence(seed, spawn_key=(period,)).generate_state(1, np.uint64).tolist()
    return int(word)
