"""The dirty-log study where something is wrong: arguments, the log, a vCPU, memory, patience."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from npt import InvalidArgument, InvariantError, ReservoirExhausted, StaleHandle, Vcpu, VmSpace
from npt.studies import dirty_log, dirty_log_memory
from npt.studies.vcputhreads import VcpuThreads
from tests.studies.peak import check_predicted

PAGE = 0x1000


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    """Whatever happens, the vCPUs' threads are gone when the study is over."""
    yield
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("vCPU")]


@pytest.mark.parametrize(
    ("more", "error"),
    [
        ({"format": "ept"}, TypeError),
        ({"iterations": 1}, InvalidArgument),
        ({"iterations": 2.0}, TypeError),
        ({"iterations": True}, TypeError),
        ({"offset": -PAGE}, InvalidArgument),
        ({"offset": 1}, InvalidArgument),
        ({"offset": 1 << 47}, InvalidArgument),
        ({"manual_protect": 1}, TypeError),
        ({"vcpu_bytes": 0}, InvalidArgument),
        ({"vcpu_bytes": PAGE + 1}, InvalidArgument),
        ({"vcpu_bytes": float("nan")}, TypeError),
        ({"vcpu_bytes": 1 << 46}, InvalidArgument),
        ({"vcpus": 0}, InvalidArgument),
        ({"vcpus": 1025}, InvalidArgument),
        ({"overlap": None}, TypeError),
        ({"backing": "anonymous_hugetlb"}, InvalidArgument),
        ({"backing": None}, TypeError),
        ({"slots": 0}, InvalidArgument),
        ({"slots": 3}, InvalidArgument),
        ({"write_percent": 101}, InvalidArgument),
        ({"write_percent": -1}, InvalidArgument),
        ({"write_percent": 0.5}, TypeError),
        ({"random_access": "no"}, TypeError),
        ({"seed": -1}, InvalidArgument),
        ({"seed": 1 << 64}, InvalidArgument),
        ({"run_while_disabling": 0}, TypeError),
        ({"pin": [0, 0, 0]}, InvalidArgument),
        ({"pin": [1 << 20]}, InvalidArgument),
        ({"pin": [0.0]}, TypeError),
        ({"fault_around": 0}, InvalidArgument),
    ],
)
def test_arguments__are_refused(more: dict[str, Any], error: type[Exception]) -> None:
    """Before anything is taken."""
    with pytest.raises(error):
        dirty_log(**{"vcpu_bytes": 4 * PAGE, **more})


def test_slots__that_do_not_divide() -> None:
    """Also where rounding would make pages of it, and one slot more."""
    with pytest.raises(InvalidArgument, match="0x1388 pages cannot be divided evenly into 4999 slots"):
        dirty_log(vcpu_bytes=5000 * PAGE, slots=4999, backing="none")


def test_memory__too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is less than the prediction says, nothing is taken."""
    needed = dirty_log_memory(vcpu_bytes=4 * PAGE)
    monkeypatch.setattr("npt.studies.measuring.available_bytes", lambda: needed - 1)
    monkeypatch.setattr("npt.studies.dirtylogrun.Reservoir", None)
    with pytest.raises(ReservoirExhausted, match="are available"):
        dirty_log(vcpu_bytes=4 * PAGE)


@pytest.mark.parametrize(
    ("call", "manual"), [("peek_dirty", True), ("reset_dirty", True), ("track_dirty", False)], ids=["get", "clear", "both"]
)
@pytest.mark.parametrize(("percent", "lost"), [(100, 1), (0, 0)], ids=["lost", "made-up"])
def test_log__that_is_wrong(monkeypatch: pytest.MonkeyPatch, call: str, manual: bool, percent: int, lost: int) -> None:
    """One bit too few, or too many, in one slot of one iteration, is found."""
    right, armed = getattr(VmSpace, call), threading.Event()

    def wrong(space: VmSpace, gpa: int, length: int, **more: Any) -> np.ndarray[Any, Any]:
        found: np.ndarray[Any, Any] = right(space, gpa, length, **more)
        if armed.is_set() and gpa:
            found[0] ^= 4
        return found

    def arm(what: str, done: int, n: int) -> None:
        if what == "Iteration 2 dirty memory":
            armed.set()

    monkeypatch.setattr(VmSpace, call, wrong)
    words = f"of slot 1 lacks {lost} pages that are dirty, and has {1 - lost} that are not; the first is page 0x2"
    with pytest.raises(InvariantError, match=f"iteration 2: .*{words}"):
        dirty_log(vcpu_bytes=16 * PAGE, slots=2, write_percent=percent, manual_protect=manual, iterations=3, progress=arm)


def test_populate__that_leaves_a_page_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Told at once."""
    monkeypatch.setattr(VmSpace, "resident_count", 7)  # where one page is used to load the kernels
    with pytest.raises(InvariantError, match="0x7 pages are resident of 0x1"):
        dirty_log(vcpu_bytes=8 * PAGE)


@pytest.mark.parametrize("at", range(10))
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_interrupt__between_phases(monkeypatch: pytest.MonkeyPatch, at: int, error: type[BaseException]) -> None:
    """Wherever it comes, everything ends."""

    def stop(what: str, done: int, n: int) -> None:
        if done == at:
            raise error("enough")

    right, spaces = VmSpace.map, []

    def record(space: VmSpace, *args: Any, **more: Any) -> None:
        spaces.append(space)
        right(space, *args, **more)

    monkeypatch.setattr(VmSpace, "map", record)
    with pytest.raises(error, match="enough"):
        dirty_log(vcpu_bytes=4 * PAGE, vcpus=3, progress=stop)
    assert bool(spaces) is (at > 0)
    for space in spaces:
        with pytest.raises(StaleHandle):
            space.map_mmio(0, PAGE, 0)


@pytest.mark.skipif(sys.platform == "win32", reason="os.kill ends the process there")
def test_interrupt__while_vcpus_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """The signal is seen while the vCPUs run; they stop where they are."""
    right, sent = Vcpu.run, threading.Event()

    def run(vcpu: Vcpu, *args: Any, **more: Any) -> Any:
        if args[0].size > 1 and vcpu.cpu == 1 and not sent.is_set():  # not while kernels are loaded
            sent.set()
            os.kill(os.getpid(), signal.SIGINT)
        return right(vcpu, *args, **more)

    monkeypatch.setattr(Vcpu, "run", run)
    with pytest.raises(KeyboardInterrupt):
        dirty_log(vcpu_bytes=64 << 20, vcpus=2, backing="none", iterations=1000)


@pytest.mark.parametrize("cpu", [0, 2])
def test_vcpu__that_fails(monkeypatch: pytest.MonkeyPatch, cpu: int) -> None:
    """Its error is raised here, the others end, though they have more to do."""
    right, armed = Vcpu.run, threading.Event()

    def run(vcpu: Vcpu, *args: Any, **more: Any) -> Any:
        if vcpu.cpu == cpu and armed.is_set():
            raise ValueError(f"of vCPU {vcpu.cpu}")
        return right(vcpu, *args, **more)

    monkeypatch.setattr(Vcpu, "run", run)
    with pytest.raises(ValueError, match=f"of vCPU {cpu}"):
        dirty_log(vcpu_bytes=PAGE, vcpus=3, progress=lambda *_: armed.set(), run_while_disabling=True)


def test_threads__end_each_other() -> None:
    """One that fails ends what the others would do for ever; what was not begun is not lost."""
    with VmSpace(1 << 30) as space, VcpuThreads(space, 3) as crew:

        def work(vcpu: Vcpu) -> None:
            if vcpu.cpu == 1:
                raise ValueError("enough")
            while not crew.ending:
                pass

        with pytest.raises(ValueError, match="enough"):
            crew.run(work)


def test_threads__end_with_the_block() -> None:
    """Work that would go on for ever ends where the block does."""
    with VmSpace(1 << 30) as space, VcpuThreads(space, 2) as crew:

        def work(vcpu: Vcpu) -> None:
            while not crew.ending:
                pass

        crew.start(work)
        threads = [thread for thread in threading.enumerate() if thread.name.startswith("vCPU")]
        assert len(threads) == 2
    assert not any(thread.is_alive() for thread in threads)


def test_threads__that_cannot_be_pinned() -> None:
    """What the system says against it is raised by the first work."""
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system does not tie threads to processors")
    with VmSpace(1 << 30) as space, VcpuThreads(space, 1, pin=[1023]) as crew, pytest.raises(OSError, match="Invalid"):
        crew.run(lambda vcpu: None)


MEASURE = """
from npt.studies import dirty_log, dirty_log_memory
more = {!r}
dirty_log(**{**more, "vcpu_bytes": 8 * 4096})
before = most()
dirty_log(**more)
print(most() - before, dirty_log_memory(**more))
"""
KINDS = [
    {"vcpu_bytes": 128 << 20, "vcpus": 2},
    {"vcpu_bytes": 2 << 30, "vcpus": 2, "backing": "none"},
    {"vcpu_bytes": 1 << 30, "vcpus": 2, "backing": "none", "random_access": True, "write_percent": 50},
    {"vcpu_bytes": 1 << 30, "vcpus": 2, "backing": "none", "overlap": True, "write_percent": 50},
]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("kind", range(len(KINDS)))
def test_memory__is_as_predicted(kind: int) -> None:
    """No more is taken, and not less than a fourth."""
    check_predicted(MEASURE.replace("{!r}", repr(KINDS[kind])))
