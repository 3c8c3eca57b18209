"""What this machine has, and what a guest of a size takes of it."""

import os
from collections.abc import Callable, Mapping
from typing import Any

from npt._host import available_bytes
from npt._threads import default_threads
from npt.kernels import jit
from npt.studies.dirtylog import dirty_log_memory
from npt.studies.migrations import policies_memory
from npt.studies.population import population_memory
from npt.studies.results import provenance
from npt.studies.shapes import SHAPES, table_bytes
from npt.studies.throughput import largest_guest
from npt.units import PAGE_SHIFT, as_length

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
        own defaults but for the size, no less than they take: ``populate``, ``dirty-log``, ``dirty-log, no bytes``,
        ``migrate``.

    Raises
    ------
    TypeError, InvalidArgument
        It is no size.
    """
    length = as_length(size, "size")
    tables, bitmap = table_bytes(SHAPES["one"](length, length, 0)), -(-(length >> PAGE_SHIFT) // 8)
    studies: Mapping[str, Callable[[], int]] = {
        "populate": lambda: population_memory(sizes=[length], shapes=["one"]),
        "dirty-log": lambda: dirty_log_memory(vcpu_bytes=length),
        "dirty-log, no bytes": lambda: dirty_log_memory(vcpu_bytes=length, backing="none"),
        "migrate": lambda: policies_memory(n_pages=length >> PAGE_SHIFT),
    }
    return {
        "tables": tables, "bitmap": bitmap, "guest": length + tables + bitmap,
        **{name: needed() for name, needed in studies.items()},
    }  # fmt: skip
