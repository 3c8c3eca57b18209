"""How much memory the machine can still give."""

import os
from pathlib import Path

import pytest

from npt import _host as host

MEMINFO = "MemTotal: 1000 kB\nMemFree: 10 kB\nMemAvailable: 800 kB\n"


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def v2(group: str, limit: str, current: int, inactive: int = 0) -> dict[str, str]:
    top = f"sys/fs/cgroup{group}"
    stat = f"anon 1\ninactive_file {inactive}\nactive_file 7\n"
    return {f"{top}/memory.max": f"{limit}\n", f"{top}/memory.current": f"{current}\n", f"{top}/memory.stat": stat}


def v1(group: str, limit: int, usage: int, inactive: int) -> dict[str, str]:
    top = f"sys/fs/cgroup/memory{group}"
    return {
        f"{top}/memory.limit_in_bytes": f"{limit}\n",
        f"{top}/memory.usage_in_bytes": f"{usage}\n",
        f"{top}/memory.stat": f"inactive_file 1\ntotal_inactive_file {inactive}\n",
    }


MEM = {"proc/meminfo": MEMINFO}
ME = "proc/self/cgroup"

MACHINES: dict[str, tuple[dict[str, str], int]] = {
    "no group": (MEM, 800 * 1024),
    "group is tighter": ({**MEM, ME: "0::/a/b\n", **v2("/a/b", "5000", 3000)}, 2000),
    "machine is tighter": ({**MEM, ME: "0::/a\n", **v2("/a", "9000000", 0)}, 800 * 1024),
    "parent is tighter": ({**MEM, ME: "0::/a/b\n", **v2("/a/b", "9000", 0), **v2("/a", "4000", 3900)}, 100),
    "top is tighter": ({**MEM, ME: "0::/a/b\n", **v2("", "4000", 3000)}, 1000),
    "own group is the top": ({**MEM, ME: "0::/\n", **v2("", "4000", 3500)}, 500),
    "no limit": ({**MEM, ME: "0::/a\n", **v2("/a", "max", 3000)}, 800 * 1024),
    "file cache can go": ({**MEM, ME: "0::/a\n", **v2("/a", "5000", 4000, 3000)}, 4000),
    "over the limit": ({**MEM, ME: "0::/a\n", **v2("/a", "5000", 6000)}, 0),
    "outside the namespace": ({**MEM, ME: "0::/../x\n", **v2("", "5000", 4000), **v2("/../x", "9", 9)}, 1000),
    "version 1": ({**MEM, ME: "9:cpu:/x\n5:memory:/a/b\n0::/a\n", **v1("/a", 6000, 5000, 300)}, 1300),
    "version 1 in a container": ({**MEM, ME: "5:memory:/docker/x\n", **v1("", 6000, 5000, 0)}, 1000),
    "version 2 beside version 1": ({**MEM, ME: "0::/a\n", **v2("/unified/a", "6000", 5000)}, 1000),
    "only a group": ({ME: "0::/a\n", **v2("/a", "5000", 3000)}, 2000),
    "nonsense": ({**MEM, ME: "\x00\n:::\n0::\n7\n", **v2("", "many", 0)}, 800 * 1024),
}


@pytest.fixture
def no_sysconf(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> int:
        raise ValueError(name)

    monkeypatch.setattr(os, "sysconf", refuse, raising=False)


@pytest.mark.usefixtures("no_sysconf")
@pytest.mark.parametrize("machine", MACHINES)
def test_available__least_of_machine_and_groups(machine: str, tmp_path: Path) -> None:
    """The tightest of machine and control groups decides."""
    files, expected = MACHINES[machine]
    assert host.available_bytes(write(tmp_path, files)) == expected


@pytest.mark.usefixtures("no_sysconf")
def test_available__nothing_known_is_none(tmp_path: Path) -> None:
    """Where nothing tells, nothing is claimed."""
    assert host.available_bytes(tmp_path) is None


def test_available__no_sysconf_at_all_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system whose Python has no ``os.sysconf`` is no error."""
    monkeypatch.delattr(os, "sysconf", raising=False)
    assert host.available_bytes(tmp_path) is None


def test_available__sysconf_where_there_is_no_proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without ``/proc`` the C library is asked."""
    answers = {"SC_AVPHYS_PAGES": 5, "SC_PHYS_PAGES": 9, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(os, "sysconf", answers.__getitem__, raising=False)
    assert host.available_bytes(tmp_path) == 5 * 4096


def test_available__here_is_none_or_some() -> None:
    """On the machine of the test the answer is usable."""
    available = host.available_bytes()
    assert available is None or available > 0
