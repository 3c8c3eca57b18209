"""What dirty logging costs beside vCPUs that write: the experiment of KVM's selftest ``dirty_log_perf_test``.

vCPUs in threads of their own first populate a guest's memory; then logging is enabled, the vCPUs write (or read) in each
iteration while it is timed, the log is got, and cleared; at the end logging is disabled. Knobs, phases and printout have the
names that they have there, so that both can be laid side by side.

Each iteration is checked: what was reported is what was written, page by page.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import Any, SupportsIndex

from npt import kernels
from npt.errors import InvalidArgument, NotSupported
from npt.formats.base import PteFormat
from npt.formats.ept import EPT
from npt.studies.dirtylogrun import ALL, BACKINGS, Setting, run
from npt.studies.measuring import as_threads, check_memory, giving_back
from npt.studies.results import Results, provenance
from npt.units import PAGE_SHIFT, PAGE_SIZE, as_aligned, as_count, as_flag, as_int, as_length, format_size

__all__ = ["BACKINGS", "PHASES", "dirty_log", "dirty_log_memory", "dirty_log_text"]

_LABELS = {
    "populate": "Populate memory",
    "enable": "Enabling dirty logging",
    "dirty": "Iteration {} dirty memory",
    "get": "Iteration {} get dirty log",
    "clear": "Iteration {} clear dirty log",
    "disable": "Disabling dirty logging",
}
PHASES = tuple(_LABELS)
_VCPUS_END = 1025
_PAGES_END = 1 << 32
_SPACE_END = 1 << 47
_LEAST_ITERATIONS = 2
_SPARE = 32 << 20  # directories, threads, huge pages that are not full
_PAGE_BYTES, _ACCESS_BYTES, _DRAWING_BYTES = 12, 8, 48
_DRAWN_PAGE_BYTES, _DRAWN_WRITE_BYTES = 8, 1
_SECOND = 10**9  # in nanoseconds

Progress = Callable[[str, int, int], None]


@giving_back()
def dirty_log(
    *,
    format: PteFormat = EPT,
    iterations: SupportsIndex = 2,
    offset: SupportsIndex = 0,
    manual_protect: bool = True,
    vcpu_bytes: SupportsIndex = 1 << 30,
    vcpus: SupportsIndex = 1,
    overlap: bool = False,
    backing: str = "anonymous",
    slots: SupportsIndex = 1,
    write_percent: SupportsIndex = 100,
    random_access: bool = False,
    seed: SupportsIndex = 1,
    run_while_disabling: bool = False,
    pin: Sequence[int] | None = None,
    fault_around: SupportsIndex = 512,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Results:
    """Time the phases of dirty logging while vCPUs write, as KVM's ``dirty_log_perf_test`` does.

    Parameters
    ----------
    format
        ``EPT`` or ``NPT``; takes the place of ``-m``, the guest mode.
    iterations
        ``-i``: how often the vCPUs write and the log is got; at least 2.
    offset
        ``-p``: where the guest's memory starts, in bytes.
    manual_protect
        False is ``-g``. With it (``KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2``), getting the log (``peek_dirty``) and clearing what was
        got (``reset_dirty``) are two steps, and all pages count as dirty when logging is enabled
        (``KVM_DIRTY_LOG_INITIALLY_SET``), so that the first log reports them all. Without, getting clears
        (``track_dirty``), and the first log reports what was written.
    vcpu_bytes
        ``-b``: bytes for each vCPU, whole pages.
    vcpus
        ``-v``: vCPUs, each in a thread of its own.
    overlap
        ``-o``: every vCPU goes over the memory of all; else each over its own.
    backing
        ``-s``: ``"anonymous"``, or ``"none"`` for memory without bytes, where the vCPUs' writes leave marks only.
    slots
        ``-x``: mappings that the memory is divided into, of equal size.
    write_percent
        ``-w``: how likely an access is to write, in percent; else it reads.
    random_access
        ``-a``: as many accesses as before, to random pages.
    seed
        ``-r``: of the random pages and of which accesses write.
    run_while_disabling
        ``-e``: the vCPUs go on while logging is disabled.
    pin
        ``-c``: a processor for each vCPU's thread, and one more for this thread, or not.
    fault_around
        Pages that a vCPU asks for at once when it populates; with 1, each access faults.
    threads
        Most threads that a call is split over, as for ``VmSpace``.
    progress
        Called with ``(what, steps done, steps in all)``.

    Returns
    -------
    Results
        A row for each phase, and for each iteration those of its own. After all parameters these are the columns: ``phase``
        (one of ``PHASES``), ``iteration`` (from 1; None outside them), ``ns``, ``accesses`` (of all vCPUs; None where they
        are not waited for) and ``pages``: resident after ``populate``, dirty after ``enable``, distinct pages written in
        ``dirty``, reported by ``get``, cleared by ``clear``; None for ``disable``.

    Raises
    ------
    TypeError
        An argument of another type.
    InvalidArgument
        A number that cannot be; memory that the slots do not divide into whole pages; a processor that this thread may not use.
    NotSupported
        ``pin`` on a system that cannot.
    ReservoirExhausted
        It takes more memory than there is; nothing was allocated.
    InvariantError
        The log is not what was written.

    See Also
    --------
    dirty_log_text : the selftest's printout.
    dirty_log_memory : what it takes.

    Notes
    -----
    Left out, because it has no meaning here: ``-n`` (nested guests). ``-m`` chooses page sizes and address widths there, of
    which there is one here. Of the memory types of ``-s`` there is one; the others are files and huge pages. The memory is
    at ``offset`` here, and at the top of the guest there, whatever ``-p`` says. The random sequences are of the project's own
    making. Populating is always in order and all writes, as there. Logging is a property of the space here, and of each
    slot there.

    There, a write is noticed by a fault that write protection causes, or by the processor's log; here, by D bits. Enabling
    with ``-g`` clears the D bits that nPT sets while logging is off.

    The time of ``dirty`` ends when the last vCPU is done; the accesses are drawn before it starts, which guests there do on
    the way.

    Source: Linux, tools/testing/selftests/kvm/dirty_log_perf_test.c (github.com/torvalds/linux at 951cb0a3, and a later
    version, which has the options -a, -c, -r and -w) and lib/memstress.c (at 07b4b2f4).
    """
    setting = Setting(
        _as_format(format), as_int(iterations, "iterations"), as_int(offset, "offset"),
        as_flag(manual_protect, "manual_protect"), as_int(vcpu_bytes, "vcpu_bytes"), as_int(vcpus, "vcpus"),
        as_flag(overlap, "overlap"), _as_name(backing), as_int(slots, "slots"), as_int(write_percent, "write_percent"),
        as_flag(random_access, "random_access"), as_int(seed, "seed"), as_flag(run_while_disabling, "run_while_disabling"),
        tuple(as_int(cpu, "pin") for cpu in pin or ()), as_int(fault_around, "fault_around"),
    )  # fmt: skip
    _check(setting)
    needed = dirty_log_memory(**_sizes(setting))
    check_memory(needed)
    n_steps = 3 + setting.iterations * (3 if setting.manual_protect else 2)
    if progress is not None:
        progress(f"taking {format_size(needed)} of memory", 0, n_steps)
    rows = []
    _load_kernels(setting, threads)
    with closing(run(setting, threads)) as phases:
        for row in phases:
            rows.append({**setting.row(), **row})
            if progress is not None:
                progress(_label(row), len(rows), n_steps)
    meta = provenance(
        by=[*(name for name in setting.row() if name != "seed"), "phase", "iteration"],
        seed=setting.seed,
        threads=as_threads(threads),
        vectors=kernels.jit.target()._asdict(),
    )
    return Results(rows, meta, {"offset": "B", "vcpu_bytes": "B", "ns": "ns"})


def dirty_log_memory(
    *,
    vcpu_bytes: SupportsIndex = 1 << 30,
    vcpus: SupportsIndex = 1,
    overlap: bool = False,
    backing: str = "anonymous",
    write_percent: SupportsIndex = 100,
    random_access: bool = False,
) -> int:
    """How much memory ``dirty_log`` takes with these parameters, in bytes: no less than that.

    The interpreter, its libraries and compiled kernels are not counted.
    """
    n_vcpus, length = as_count(vcpus, "vcpus", least=1, end=_VCPUS_END), as_length(vcpu_bytes, "vcpu_bytes")
    n_pages = length * n_vcpus >> PAGE_SHIFT
    accesses = n_pages * (n_vcpus if as_flag(overlap, "overlap") else 1)
    some = 0 < as_count(write_percent, "write_percent", end=ALL + 1) < ALL
    taken = _SPARE + n_pages * (_PAGE_BYTES + _ACCESS_BYTES) + (n_pages * PAGE_SIZE if BACKINGS[_as_backing(backing)] else 0)
    drawn = (_DRAWN_PAGE_BYTES if as_flag(random_access, "random_access") else 0) + (_DRAWN_WRITE_BYTES if some else 0)
    return taken + (accesses * drawn + accesses // n_vcpus * _DRAWING_BYTES if drawn else 0)


def dirty_log_text(results: Results) -> str:
    """What ``dirty_log_perf_test`` would print: the same labels, in the same order.

    Parameters
    ----------
    results
        From ``dirty_log``, or loaded again.

    Raises
    ------
    InvalidArgument
        They are of another study.
    """
    rows = list(results.rows)
    if not rows or any(row.get("phase") not in PHASES for row in rows):
        raise InvalidArgument(f"{results!r} is not of the dirty-log study")
    setting = rows[0]
    end = setting["offset"] + setting["vcpu_bytes"] * setting["vcpus"]
    lines = [
        f"Test iterations: {setting['iterations']}",
        f"Testing guest mode: {setting['format']}, {PAGE_SIZE >> 10}K pages",
        f"Random seed: {setting['seed']:#x}",
        f"guest physical test memory: [{setting['offset']:#x}, {end:#x})",
    ]
    for row in rows:
        lines.append(f"{_label(row)} time: {_seconds(row['ns'])}" + ("\n" if row["phase"] == "enable" else ""))
    for phase in ("get", "clear"):
        taken = [row["ns"] for row in rows if row["phase"] == phase]
        if taken:
            lines.append(
                f"{phase.capitalize()} dirty log over {len(taken)} iterations took {_seconds(sum(taken))}. "
                f"(Avg {_seconds(sum(taken) // len(taken))}/iteration)"
            )
    return "\n".join(lines) + "\n"


def _label(row: Mapping[str, Any]) -> str:
    return _LABELS[row["phase"]].format(row["iteration"])


def _seconds(ns: int) -> str:
    return f"{ns // _SECOND}.{ns % _SECOND:09}s"


# -- what is asked for --------------------------------------------------------------------------------------------------


def _as_format(format: Any) -> PteFormat:
    if not isinstance(format, PteFormat):
        raise TypeError(f"format must be EPT or NPT, not {type(format).__name__}")
    return format


def _as_name(backing: Any) -> str:
    if not isinstance(backing, str):
        raise TypeError(f"backing must be a str, not {type(backing).__name__}")
    return backing


def _as_backing(backing: Any) -> str:
    if _as_name(backing) not in BACKINGS:
        raise InvalidArgument(f"backing {backing!r} is not one of {', '.join(BACKINGS)}")
    return str(backing)


def _check(setting: Setting) -> None:
    as_count(setting.iterations, "iterations", least=_LEAST_ITERATIONS)
    as_length(setting.vcpu_bytes, "vcpu_bytes")
    as_count(setting.vcpus, "vcpus", least=1, end=_VCPUS_END)
    as_count(setting.slots, "slots", least=1)
    as_count(setting.write_percent, "write_percent", end=ALL + 1)
    as_count(setting.seed, "seed", end=1 << 64)
    as_count(setting.fault_around, "fault_around", least=1)
    _as_backing(setting.backing)
    if setting.n_pages >= _PAGES_END:
        raise InvalidArgument(f"{setting.n_pages:#x} pages are too many; they must be fewer than {_PAGES_END:#x}")
    if as_aligned(setting.offset, "offset") + setting.length > _SPACE_END:
        raise InvalidArgument(
            f"offset {setting.offset:#x} + {setting.length:#x} reaches past the largest space, {_SPACE_END:#x}"
        )
    if setting.n_pages % setting.slots:
        raise InvalidArgument(f"{setting.n_pages:#x} pages cannot be divided evenly into {setting.slots} slots")
    _check_pin(setting.pin, setting.vcpus)


def _check_pin(pin: tuple[int, ...], vcpus: int) -> None:
    if not pin:
        return
    if len(pin) not in (vcpus, vcpus + 1):
        raise InvalidArgument(f"pin has {len(pin)} processors; {vcpus} vCPUs need one each, and one may follow for the caller")
    if not hasattr(os, "sched_getaffinity"):
        raise NotSupported("this system does not tie threads to processors; leave pin out")
    allowed = os.sched_getaffinity(0)
    for cpu in pin:
        if cpu not in allowed:
            raise InvalidArgument(f"pin: processor {cpu} is not one of {', '.join(map(str, sorted(allowed)))}")


def _load_kernels(setting: Setting, threads: int | None) -> None:
    """Go through all phases once with next to no memory: loading kernels is not what is timed."""
    kernels.load_all()  # before there is a guest: an interrupt in numba's import would keep it from being closed
    least = min(setting.slots * PAGE_SIZE, setting.vcpu_bytes)  # slots divide it, too
    with closing(run(setting._replace(vcpu_bytes=least, iterations=2), threads)) as phases:
        for _ in phases:
            pass


def _sizes(setting: Setting) -> dict[str, Any]:
    """The parameters that memory depends on."""
    names = ("vcpu_bytes", "vcpus", "overlap", "backing", "write_percent", "random_access")
    return {name: getattr(setting, name) for name in names}
