"""What it costs to make a guest's memory resident: all at once, by ranges, or page by page when a vCPU touches it.

Speed is a ratio to a fill of as many leaf entries, measured in the same run. What was not paid in front is paid later, at
the first touch of each page: so that is measured, too.
"""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from typing import Any, SupportsIndex

from npt import kernels
from npt.errors import InvalidArgument
from npt.formats.base import PteFormat
from npt.studies.measuring import as_threads, check_memory
from npt.studies.populating import WAYS, Population, Setting, measure
from npt.studies.results import Results, provenance
from npt.studies.shapes import SHAPES, Shape, table_bytes
from npt.units import PAGE_SHIFT, as_count, as_int, as_length, format_size

__all__ = ["WAYS", "Population", "population", "population_memory"]

SIZES = (64 << 20, 1 << 30, 4 << 30)
_REPEAT = 5
_SPARE = 32 << 20  # directories, Python's objects for mappings, huge pages that are not full
_PAGE_BYTES = 24  # the limit's array, addresses, and what is made of them on the way
_MAPPING_BYTES = 4096
_SPACE_END = 1 << 47
_SIZE_END = 1 << 45
_MOST_MAPPINGS = 1 << 13  # each map and unmap takes time for each of the others

Progress = Callable[[str, int, int], None]


def population(
    formats: Sequence[PteFormat],
    *,
    sizes: Sequence[int] = SIZES,
    ways: Sequence[str] = tuple(WAYS),
    shapes: Sequence[str] = tuple(SHAPES),
    mapping: SupportsIndex = 8 << 20,
    piece: SupportsIndex = 2 << 20,
    touches: SupportsIndex = 10_000,
    repeat: SupportsIndex = _REPEAT,
    seed: SupportsIndex = 0,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Results:
    """Measure how fast guests are populated, what their tables take, and how long a first touch takes afterwards.

    Parameters
    ----------
    formats
        ``EPT``, ``NPT`` or both.
    sizes
        Of the guests' memory, in bytes, whole pages. It has no bytes: tables are all that is touched.
    ways
        Some of ``WAYS``: ``eager`` (``populate`` of each mapping), ``range`` (``populate`` of pieces), ``fault-many`` (look-ups
        of many pages at once) or ``on-demand`` (a vCPU's first touches, one fault each; as many as ``touches``, evenly spread).
    shapes
        Some of ``SHAPES``: ``one`` mapping, ``many`` side by side, or ``scattered``, each at a random page of four times its
        length.
    mapping
        Bytes of each of many mappings.
    piece
        Bytes of a range.
    touches
        Most first touches that are timed: single ``fault`` calls, in random order. After ``eager``, ``range`` and
        ``fault-many`` the pages are there; after ``on-demand`` none is.
    repeat
        Timed rounds; one untimed goes before.
    seed
        Of the layout of scattered mappings, and of the order of touches.
    threads
        Most threads that a call is split over, as for ``VmSpace``.
    progress
        Called with ``(what, steps done, steps in all)``.

    Returns
    -------
    Results
        A row for each format, size, shape and way, with the columns of ``Population``.

    Raises
    ------
    TypeError
        An argument of another type.
    InvalidArgument
        Nothing to measure, an unknown name, a number that cannot be.
    ReservoirExhausted
        It takes more memory than there is; nothing was allocated.
    InvariantError
        Not all is resident that should be, or the tables are not as many as they should be.

    See Also
    --------
    population_memory : what it takes.
    throughput : map, populate, harvest and unmap, without faults.

    Notes
    -----
    Tables are made when memory is mapped, not when it is populated: they depend on the shape alone.

    The single calls are made from Python, and most of such a call is that: compare ways by it, not machines.
    """
    setting = _check(formats, sizes, ways, shapes, mapping, piece, touches, repeat, seed)
    check_memory(population_memory(sizes=setting.sizes, shapes=setting.shapes, mapping=setting.mapping, seed=setting.seed))
    kernels.load_all()  # before there is a guest: an interrupt in numba's import would keep it from being closed
    guests = list(itertools.product(setting.formats, setting.sizes, setting.shapes))
    n_steps = len(guests) * len(setting.ways)
    rows: list[dict[str, Any]] = []
    for format, size, name in guests:
        with closing(measure(setting, format, size, name, threads)) as measured:
            for row in measured:
                rows.append(asdict(row))
                if progress is not None:
                    progress(f"{row.format} {format_size(size)} {name} {row.way}", len(rows), n_steps)
    meta = provenance(
        by=["format", "size", "shape", "mappings", "way", "piece"],
        seed=setting.seed,
        repeat=setting.repeat,
        threads=as_threads(threads),
        vectors=kernels.jit.target()._asdict(),
    )
    return Results(rows, meta, _UNITS)


_UNITS = {"size": "B", "piece": "B", "table_bytes": "B", "pages_per_s": "1/s"} | dict.fromkeys(
    ("ns_per_page", "ns_per_page_median", "map_ns", "touch_ns_median", "touch_ns_99", "touch_ns_most"), "ns"
)


def population_memory(
    *,
    sizes: Sequence[int] = SIZES,
    shapes: Sequence[str] = tuple(SHAPES),
    mapping: SupportsIndex = 8 << 20,
    seed: SupportsIndex = 0,
) -> int:
    """How much memory ``population`` takes with these parameters, in bytes: no less than that.

    The interpreter, its libraries and compiled kernels are not counted.
    """
    layouts = _layouts(_as_sizes(sizes), _as_names(shapes, SHAPES, "shapes"), as_length(mapping, "mapping"), _as_seed(seed))
    return _SPARE + max(
        table_bytes(shape) + shape.gpas.size * _MAPPING_BYTES + (size >> PAGE_SHIFT) * _PAGE_BYTES for size, shape in layouts
    )


# -- what is asked for --------------------------------------------------------------------------------------------------


def _as_names(names: Iterable[str], known: Mapping[str, object], what: str) -> tuple[str, ...]:
    """Some of those that are known, at least one."""
    given = tuple(names)
    unknown = [name for name in given if name not in known]
    if not given or unknown:
        raise InvalidArgument(f"{what}: {', '.join(map(repr, unknown)) or 'none'}; give some of {', '.join(known)}")
    return given


def _as_sizes(sizes: Iterable[SupportsIndex]) -> tuple[int, ...]:
    given = tuple(as_length(size, "size") for size in sizes)
    if not given:
        raise InvalidArgument("give at least one size")
    if max(given) >= _SIZE_END:
        raise InvalidArgument(
            f"size {format_size(max(given))} is too large for this study; it must be below {format_size(_SIZE_END)}"
        )
    return given


def _as_seed(seed: SupportsIndex) -> int:
    return as_count(seed, "seed", end=1 << 64)


def _as_formats(formats: Iterable[PteFormat]) -> tuple[PteFormat, ...]:
    given = tuple(formats)
    if not all(isinstance(format, PteFormat) for format in given):
        raise TypeError("formats must be EPT, NPT or both")
    if not given:
        raise InvalidArgument("give at least one format")
    return given


def _check(
    formats: Iterable[PteFormat], sizes: Iterable[int], ways: Iterable[str], shapes: Iterable[str],
    mapping: SupportsIndex, piece: SupportsIndex, touches: SupportsIndex, repeat: SupportsIndex, seed: SupportsIndex,
) -> Setting:  # fmt: skip
    for value, name in ((mapping, "mapping"), (piece, "piece"), (touches, "touches"), (repeat, "repeat"), (seed, "seed")):
        as_int(value, name)
    return Setting(
        _as_formats(formats), _as_sizes(sizes), _as_names(ways, WAYS, "ways"), _as_names(shapes, SHAPES, "shapes"),
        as_length(mapping, "mapping"), as_length(piece, "piece"), as_count(touches, "touches", least=1),
        as_count(repeat, "repeat", least=1), _as_seed(seed),
    )  # fmt: skip


def _layouts(sizes: Iterable[int], shapes: Sequence[str], mapping: int, seed: int) -> list[tuple[int, Shape]]:
    """All shapes of all sizes; those that would take for ever, or do not fit in a space, are refused."""
    found = []
    for size, name in itertools.product(sizes, shapes):
        if name != "one" and size > mapping * _MOST_MAPPINGS:
            raise InvalidArgument(f"{size:#x} bytes in mappings of {mapping:#x} are more than {_MOST_MAPPINGS} mappings")
        shape = SHAPES[name](size, min(mapping, size), seed)
        if shape.size > _SPACE_END:
            raise InvalidArgument(f"{size:#x} bytes, {name}, take a space of {shape.size:#x}; the largest is {_SPACE_END:#x}")
        found.append((size, shape))
    return found
