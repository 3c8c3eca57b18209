"""How much memory this machine can still give.

Relies on the kernel's own estimate (``MemAvailable``) and on the limits of the control groups that this process is in:
a container may be allowed much less than the machine has, and is killed, not refused, when it takes more.
"""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

__all__ = ["available_bytes"]

_V2 = ("memory.max", "memory.current", "inactive_file")
_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def available_bytes(root: Path = Path("/")) -> int | None:
    """Memory that can still be taken without swapping, or without being killed for it.

    Parameters
    ----------
    root
        Where ``proc`` and ``sys`` are mounted.

    Returns
    -------
    int or None
        Bytes: the least of what the machine and every control group above this process have left. None when nothing is
        known. Never raises.
    """
    machine = _field(root / "proc/meminfo", "MemAvailable:")
    known = [*_group_rooms(root), _sysconf_bytes() if machine is None else machine * 1024]
    return min((max(room, 0) for room in known if room is not None), default=None)


def _group_rooms(root: Path) -> Iterator[int | None]:
    """What is left in this process's memory control groups, from its own up to the root's."""
    mount = root / "sys/fs/cgroup"
    for line in _text(root / "proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            for base in (mount, mount / "unified"):  # where version 1 is in use, too, version 2 is beside it
                yield from (_room(group, *_V2) for group in _upwards(base, path))
        elif "memory" in controllers.split(","):
            yield from (_room(group, *_V1) for group in _upwards(mount / "memory", path))


def _upwards(base: Path, path: str) -> Iterator[Path]:
    """The directory of a group and of all above it; a path that leads out of our namespace leaves only the top."""
    group = PurePosixPath(path.lstrip("/"))
    if ".." in group.parts:
        group = PurePosixPath()
    yield base / group
    if group.parts:
        yield from (base / parent for parent in group.parents)


def _room(group: Path, limit_file: str, usage_file: str, reclaimable: str) -> int | None:
    """Limit less usage, where cached file pages that the kernel can drop do not count as used."""
    limit, usage = _number(_text(group / limit_file)), _number(_text(group / usage_file))
    if limit is None or usage is None:
        return None
    return limit - usage + (_field(group / "memory.stat", reclaimable) or 0)


def _field(path: Path, name: str) -> int | None:
    """The number that follows a name at the start of a line."""
    words = (line.split() for line in _text(path).splitlines())
    return next((_number(line[1]) for line in words if len(line) > 1 and line[0] == name), None)


def _number(text: str) -> int | None:
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None  # "max" is no limit


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except (OSError, ValueError):
        return ""


def _sysconf_bytes() -> int | None:
    """Free memory where there is no ``/proc``, or all there is: enough to refuse what can never fit."""
    for name in ("SC_AVPHYS_PAGES", "SC_PHYS_PAGES"):
        try:
            pages, page = os.sysconf(name), os.sysconf("SC_PAGE_SIZE")
        except (AttributeError, ValueError, OSError):
            continue
        if pages > 0 and page > 0:
            return pages * page
    return None
