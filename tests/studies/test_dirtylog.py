"""The dirty-log study against counts in plain Python."""

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from npt import EPT, NPT, InvalidArgument, Prot, PteFormat, Vcpu, VcpuExit, VmObject, VmSpace
from npt.studies import Results, dirty_log, dirty_log_text
from npt.studies.randomness import PAGES, WRITES
from tests.studies.slow_writers import WORD, is_chosen, word

PAGE = 0x1000
FORMATS = pytest.mark.parametrize("form", [EPT, NPT], ids=["ept", "npt"])


def pages(results: Results, phase: str) -> list[int]:
    """What a phase says, iteration by iteration."""
    return [row["pages"] for row in results.rows if row["phase"] == phase]


def written(iteration: int, *, vcpus: int, n: int, overlap: bool, percent: int, seed: int, in_order: bool) -> set[int]:
    """Pages that the vCPUs write in an iteration; ``n`` accesses each."""
    found = set()
    for vcpu in range(vcpus):
        number = iteration * vcpus + vcpu
        for i in range(n):
            page = i if in_order else word(seed, PAGES, number, i) * n // WORD
            if is_chosen(word(seed, WRITES, number, i), percent / 100):
                found.add(page if overlap else vcpu * n + page)
    return found


@FORMATS
@pytest.mark.parametrize("overlap", [False, True], ids=["apart", "overlap"])
@pytest.mark.parametrize("in_order", [False, True], ids=["random", "in-order"])
@pytest.mark.parametrize("percent", [0, 30, 100])
def test_dirty__what_vcpus_write(form: PteFormat, overlap: bool, in_order: bool, percent: int) -> None:
    """Each iteration writes and reports just the pages that the sequences say, in each slot."""
    length, vcpus = 60 * PAGE, 3
    results = dirty_log(
        format=form, iterations=3, vcpu_bytes=length, vcpus=vcpus, overlap=overlap, slots=4, write_percent=percent,
        random_access=not in_order, seed=7, manual_protect=False,
    )  # fmt: skip
    n = 180 if overlap else 60
    truth = [len(written(i, vcpus=vcpus, n=n, overlap=overlap, percent=percent, seed=7, in_order=in_order)) for i in (1, 2, 3)]
    assert pages(results, "dirty") == pages(results, "get") == truth
    assert [row["accesses"] for row in results.rows if row["phase"] == "dirty"] == [n * vcpus] * 3
    assert pages(results, "populate") == [180]


@FORMATS
def test_manual_protect__first_reports_all(form: PteFormat) -> None:
    """Initially all is dirty; what is got is cleared; then what was written is reported."""
    results = dirty_log(format=form, iterations=3, vcpu_bytes=50 * PAGE, slots=2, write_percent=50, backing="none")
    truth = [
        len(written(i, vcpus=1, n=50, overlap=False, percent=50, seed=1, in_order=True)) for i in (1, 2, 3)
    ]  # fmt: skip
    assert pages(results, "enable") == [50]
    assert pages(results, "dirty") == truth
    assert pages(results, "get") == pages(results, "clear") == [50, *truth[1:]]


@FORMATS
def test_no_manual_protect__starts_clean(form: PteFormat) -> None:
    """Marks from before are gone once logging is enabled, and no phase clears by itself."""
    results = dirty_log(format=form, vcpu_bytes=9 * PAGE, write_percent=0, manual_protect=False)
    assert pages(results, "enable") == [0]
    assert [row["phase"] for row in results.rows] == ["populate", "enable", "dirty", "get", "dirty", "get", "disable"]


def test_rows__repeat_the_parameters(tmp_path: Path) -> None:
    """Under their own names, in every row, as plain values."""
    results = dirty_log(vcpu_bytes=6 * PAGE, vcpus=2, slots=3, offset=7 * PAGE, iterations=2, pin=[least_cpu()] * 2)
    assert len(results.rows) == 9
    for row in results.rows:
        given = {key: row[key] for key in ("vcpu_bytes", "vcpus", "slots", "offset", "iterations", "format", "backing")}
        assert given == {
            "vcpu_bytes": 6 * PAGE, "vcpus": 2, "slots": 3, "offset": 7 * PAGE, "iterations": 2, "format": "ept",
            "backing": "anonymous",
        }  # fmt: skip
        assert row["pin"] == f"{least_cpu()},{least_cpu()}"
        assert row["ns"] > 0
    assert [row["iteration"] for row in results.rows] == [None, None, 1, 1, 1, 2, 2, 2, None]
    results.to_json(tmp_path / "log.json")
    assert dirty_log_text(Results.load(tmp_path / "log.json")) == dirty_log_text(results)


def least_cpu() -> int:
    """A processor that there is."""
    if not hasattr(os, "sched_getaffinity"):
        pytest.skip("this system does not tie threads to processors")
    return min(os.sched_getaffinity(0))


def test_pin__the_caller_is_as_before() -> None:
    """Its processor is its own only while the study runs."""
    cpu = least_cpu()
    before, seen = os.sched_getaffinity(0), []
    dirty_log(vcpu_bytes=PAGE, pin=[cpu, cpu], progress=lambda *_: seen.append(os.sched_getaffinity(0)))
    assert {cpu} in seen
    assert os.sched_getaffinity(0) == before


def test_slots__divide_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Side by side from the offset on, each over memory of its own."""
    right, mapped = VmSpace.map, []

    def record(space: VmSpace, obj: VmObject, gpa: int, length: int, prot: Prot, offset: int = 0) -> None:
        mapped.append((gpa, length, offset))
        right(space, obj, gpa, length, prot, offset)

    monkeypatch.setattr(VmSpace, "map", record)
    dirty_log(vcpu_bytes=6 * PAGE, slots=3, offset=PAGE)
    assert mapped[-3:] == [(PAGE, 2 * PAGE, 0), (3 * PAGE, 2 * PAGE, 2 * PAGE), (5 * PAGE, 2 * PAGE, 4 * PAGE)]


@pytest.mark.parametrize("fault_around", [1, 7, 1 << 30])
def test_fault_around__does_not_matter(fault_around: int) -> None:
    """All is resident after populating, however many pages are asked for at once."""
    assert pages(dirty_log(vcpu_bytes=100 * PAGE, vcpus=2, fault_around=fault_around), "populate") == [200]


@FORMATS
def test_run_while_disabling__ends(form: PteFormat) -> None:
    """vCPUs that go on beside the end of logging are ended, and no thread is left."""
    results = dirty_log(format=form, vcpu_bytes=64 * PAGE, vcpus=2, run_while_disabling=True, overlap=True)
    assert results.rows[-1]["phase"] == "disable"
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("vCPU")]


def test_run_while_disabling__beside(monkeypatch: pytest.MonkeyPatch) -> None:
    """While logging is being disabled, each vCPU goes over its memory again."""
    right_run, right_set, ran = Vcpu.run, VmSpace.set_tracking, [threading.Event(), threading.Event()]

    def run(vcpu: Vcpu, *args: Any, **more: Any) -> VcpuExit:
        exit = right_run(vcpu, *args, **more)
        ran[vcpu.cpu].set()
        return exit

    def set_tracking(space: VmSpace, enabled: bool) -> None:
        assert ran
        for event in () if enabled else ran:
            event.clear()
            assert event.wait(60)
        right_set(space, enabled)

    monkeypatch.setattr(Vcpu, "run", run)
    monkeypatch.setattr(VmSpace, "set_tracking", set_tracking)
    dirty_log(vcpu_bytes=PAGE, vcpus=2, run_while_disabling=True)


TEXT = """\
Test iterations: 2
Testing guest mode: ept, 4K pages
Random seed: 0x1
guest physical test memory: [0x1000, 0x5000)
Populate memory time: 1.000000001s
Enabling dirty logging time: 0.000000002s

Iteration 1 dirty memory time: 0.000000003s
Iteration 1 get dirty log time: 0.000000004s
Iteration 1 clear dirty log time: 2.000000005s
Iteration 2 dirty memory time: 0.000000006s
Iteration 2 get dirty log time: 0.000000007s
Iteration 2 clear dirty log time: 0.000000009s
Disabling dirty logging time: 12.345678901s
Get dirty log over 2 iterations took 0.000000011s. (Avg 0.000000005s/iteration)
Clear dirty log over 2 iterations took 2.000000014s. (Avg 1.000000007s/iteration)
"""


def test_text__labels_and_digits() -> None:
    """Line for line what the selftest prints: seconds and nine digits; averages are rounded down."""
    made = dirty_log(vcpu_bytes=4 * PAGE, offset=PAGE)
    times = [1_000_000_001, 2, 3, 4, 2_000_000_005, 6, 7, 9, 12_345_678_901]
    rows = [{**row, "ns": ns} for row, ns in zip(made.rows, times, strict=True)]
    assert dirty_log_text(Results(rows, {})) == TEXT


def test_text__without_clear() -> None:
    """Where getting clears, nothing is said of clearing."""
    text = dirty_log_text(dirty_log(vcpu_bytes=PAGE, manual_protect=False))
    assert "lear dirty log" not in text
    assert "Get dirty log over 2 iterations took " in text


@pytest.mark.parametrize("rows", [[], [{"a": 1}], [{"phase": "dance"}]])
def test_text__of_another_study(rows: list[dict[str, Any]]) -> None:
    """Refused, not printed."""
    with pytest.raises(InvalidArgument, match="not of the dirty-log study"):
        dirty_log_text(Results(rows, {}))


@pytest.mark.parametrize(("manual", "n_steps"), [(True, 9), (False, 7)])
def test_progress__is_told(manual: bool, n_steps: int) -> None:
    """What is done, after each phase."""
    told: list[tuple[str, int, int]] = []
    dirty_log(vcpu_bytes=PAGE, manual_protect=manual, progress=lambda what, done, n: told.append((what, done, n)))
    assert [(done, n) for _, done, n in told] == [(i, n_steps) for i in range(n_steps + 1)]
    assert told[3][0] == "Iteration 1 dirty memory"
