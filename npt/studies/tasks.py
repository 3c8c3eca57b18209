"""The studies as tasks of a sweep: functions of plain values, that can be sent to another process or machine."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from npt.errors import InvalidArgument
from npt.formats.amd import NPT
from npt.formats.base import PteFormat
from npt.formats.ept import EPT
from npt.studies.dirtylog import dirty_log
from npt.studies.migrations import compare_policies
from npt.studies.population import population
from npt.studies.precopy import UNITS, precopy
from npt.studies.results import Results
from npt.studies.tracking import compare_mechanisms
from npt.studies.writers import writer

__all__ = ["TASKS", "dirty_log_point", "dirty_point", "migrate_point", "populate_point", "precopy_point"]

_FORMATS = {one.name: one for one in (EPT, NPT)}


def _format(name: str) -> PteFormat:
    if name not in _FORMATS:
        raise InvalidArgument(f"{name!r} is no format; there are {', '.join(_FORMATS)}")
    return _FORMATS[name]


def precopy_point(
    *, ram: int = 4 << 30, bandwidth: int = 1 << 30, dirty_rate: int = 400 << 20, policy: str = "qemu", downtime: float = 0.3,
    max_rounds: int = 1000, latency: float = 0.0, compression: float = 1.0, zero: int = 0, seed: int = 0,
) -> Results:  # fmt: skip
    """A migration in the closed model; nothing in it is random.

    Returns
    -------
    Results
        One row: what ``PrecopyResult.row`` has, with the policy as it is given.
    """
    moved = precopy(
        ram, bandwidth, dirty_rate, policy=policy, downtime=downtime, max_rounds=max_rounds, latency=latency,
        compression=compression, zero=zero,
    )  # fmt: skip
    return Results([{**moved.row(), "policy": policy}], {}, UNITS)


def migrate_point(
    *, history: str = "sqlite", policy: str = "qemu", bandwidth: int = 1 << 30, downtime: float = 0.3, max_rounds: int = 1000,
    latency: float = 0.0, compression: float = 1.0, zero: float = 0.0, window: float = 0.001, format: str = "ept",
    target_format: str = "ept", seed: int = 0,
) -> Results:  # fmt: skip
    """A migration of real bytes under one policy; ``window`` is the time that a window of the writer takes, in seconds.

    Returns
    -------
    Results
        The one row of ``compare_policies``, with policy and bandwidth as they are given, and without seconds or pages a window
        and the writer's seed, which are in ``window`` and ``history``.
    """
    moved = compare_policies(
        writer(history), [policy], format=_format(format), target_format=_format(target_format), bandwidth=bandwidth,
        downtime=downtime, max_rounds=max_rounds, latency=latency, compression=compression, zero=zero,
        seconds_per_window=window, seed=seed,
    )  # fmt: skip
    (row,) = moved.rows
    own = {"seconds_per_window", "pages_per_second", "seed"}
    said = {**row, "policy": policy, "bandwidth": bandwidth}
    return Results([{name: value for name, value in said.items() if name not in own}], {}, moved.units)


def dirty_point(
    *, history: str = "sqlite", mechanism: str = "dirty-bits", format: str = "ept", ring: int = 4096, vcpus: int = 1,
    clear_at: float = 0.0, windows: int | None = None, seed: int = 0,
) -> Results:  # fmt: skip
    """A writer under one mechanism that notices writes.

    Returns
    -------
    Results
        The one row of ``compare_mechanisms``, with the mechanism as it is given.
    """
    found = compare_mechanisms(
        writer(history), mechanisms=(mechanism,), format=_format(format), ring=ring, vcpus=vcpus, clear_at=clear_at,
        windows=windows,
    )  # fmt: skip
    (row,) = found.rows
    said = {**row, "mechanism": mechanism}  # a ring's own name has its size
    return Results([{name: value for name, value in said.items() if name not in ("seed", "windows")}], {}, found.units)


def dirty_log_point(
    *, vcpu_bytes: int = 1 << 28, vcpus: int = 1, iterations: int = 2, format: str = "ept", manual_protect: bool = True,
    overlap: bool = False, backing: str = "none", slots: int = 1, write_percent: int = 100, random_access: bool = False,
    fault_around: int = 512, seed: int = 1,
) -> Results:  # fmt: skip
    """The dirty-log study; its times are those of the machine that it runs on.

    Returns
    -------
    Results
        A row for each phase.
    """
    return dirty_log(
        vcpu_bytes=vcpu_bytes, vcpus=vcpus, iterations=iterations, format=_format(format), manual_protect=manual_protect,
        overlap=overlap, backing=backing, slots=slots, write_percent=write_percent, random_access=random_access,
        fault_around=fault_around, seed=seed,
    )  # fmt: skip


def populate_point(
    *, size: int = 1 << 26, way: str = "eager", shape: str = "one", format: str = "ept", mapping: int = 8 << 20,
    piece: int = 2 << 20, touches: int = 1000, repeat: int = 5, seed: int = 0,
) -> Results:  # fmt: skip
    """One way of populating one guest; its times are those of the machine that it runs on.

    Returns
    -------
    Results
        One row with the columns of ``Population``.
    """
    found = population(
        [_format(format)], sizes=[size], ways=[way], shapes=[shape], mapping=mapping, piece=piece, touches=touches,
        repeat=repeat, seed=seed,
    )  # fmt: skip
    (row,) = found.rows
    return Results([{name: value for name, value in row.items() if name not in ("piece", "touches")}], {}, found.units)


TASKS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        "precopy": precopy_point,
        "migrate": migrate_point,
        "dirty": dirty_point,
        "dirty-log": dirty_log_point,
        "populate": populate_point,
    }
)
