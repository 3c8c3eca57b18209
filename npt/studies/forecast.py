"""What this machine has, and what a guest of a size takes of it."""

import os
from typing import Any

from npt._host import available_bytes
from npt._threads import default_threads
from npt.errors import InvalidArgument
from npt.kernels import jit
from npt.studies.dirtylog import dirty_log_memory
from npt.studies.migrations import policies_memory
from npt.studies.population import population_memory
from npt.studies.results import provenance
from npt.studies.shapes import SHAPES, table_bytes
from npt.studies.throughput import largest_guest
from npt.units import PAGE_SHIFT, as_length, bitmap_bytes

__all__ = ["machine", "memory_needs"]


def machine() -> dict[str, Any]:
    """What matters here for speed and size, as plain values.

    Returns
    -------
    dict
        ``cpu``, ``cpus`` (that this process may use), ``threads`` (that a call is split over), ``memory_available`` and
        ``largest_guest`` (bytes; None where nobody knows), ``kernels_for`` and ``vector_bits``, ``kernels_in``,
        ``python`` and the versions of packages.
    """
    made = provenance()
    target, directory = jit.target(), jit.cache_directory()
    return {
        "cpu": made["cpu"],
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": default_threads(),
        "memory_available": available_bytes(),
        "largest_guest": largest_guest(),
        "kernels_for": target.cpu,
        "vector_bits": target.vector_bits,
        "kernels_in": None if directory is None else str(directory),
        "python": made["python"],
        **made["versions"],
    }


def memory_needs(size: int) -> dict[str, int]:
    """What a guest of a size takes, in bytes; the interpreter, its libraries and compiled kernels are not counted.

    Parameters
    ----------
    size
        Bytes of the guest's memory, whole pages.

    Returns
    -------
    dict
        ``tables`` of one mapping, all levels; ``bitmap`` of one harvest; ``guest`` with bytes; and of the studies, with their
        own defaults but for the size, no less than they take: ``populate`` (of one mapping, where more would be too many),
        ``dirty-log``, ``dirty-log, no bytes``, ``migrate``.

    Raises
    ------
    TypeError, InvalidArgument
        It is no size.
    """
    length = as_length(size, "size")
    studies = {
        "populate": _population(length),
        "dirty-log": dirty_log_memory(vcpu_bytes=length),
        "dirty-log, no bytes": dirty_log_memory(vcpu_bytes=length, backing="none"),
        "migrate": policies_memory(n_pages=length >> PAGE_SHIFT),
    }
    tables, bitmap = table_bytes(SHAPES["one"](length, length, 0)), bitmap_bytes(length >> PAGE_SHIFT)
    return {"tables": tables, "bitmap": bitmap, "guest": length + tables + bitmap, **studies}


def _population(length: int) -> int:
    try:
        return population_memory(sizes=[length])
    except InvalidArgument:
        return population_memory(sizes=[length], shapes=["one"])  # refuses what no space holds
