"""Writers under every mechanism: what is reported, false dirty and missed, against plain Python."""

from collections import Counter
from typing import Any

import numpy as np
import pytest

from npt import EPT, NPT, InvalidArgument, PteFormat, ReservoirExhausted
from npt.dirty.mechanisms import COSTS, Costs, Events
from npt.studies import Results, dirty_rates
from npt.studies.tracking import GRANULE_PAGES, MECHANISMS, compare_mechanisms
from npt.studies.writers import WRITERS, Writer, writer

N_PAGES = 300
PATTERNS = [f"{name}:pages={N_PAGES},windows=6,accesses=400,write_share=0.7,seed=5" for name in WRITERS]


def rounds(source: Writer, granule: int, clear_at: float) -> dict[str, int]:
    """What a run must come to, access by access: pages armed, dirty, copied, in sets and dicts."""
    dirty: set[int] = set()
    armed = set(range(source.n_pages))
    total: Counter[str] = Counter()
    for window in source.windows():
        reported = sorted(dirty)
        n, many = len(window.pages), len(reported)
        copied = {page: (i + 1) * n // (many + 1) for i, page in enumerate(reported)}
        clears: dict[int, list[list[int]]] = {}
        for first in sorted({page // granule for page in reported}):
            pages = [page for page in reported if page // granule == first]
            early, late = min(copied[p] for p in pages), max(copied[p] for p in pages)
            when = int(early * clear_at) if clear_at <= 1 else late + int((n - late) * (clear_at - 1))
            clears.setdefault(when, []).append(pages)
        after: set[int] = set()  # written since their copy
        for i in range(n + 1):
            for pages in clears.get(i, []):
                armed.update(pages)
                dirty.difference_update(pages)
                total["clears"] += 1
                total["rearmed"] += len(pages)
            if i < n and window.write[i]:
                page = int(window.pages[i])
                if page in armed:
                    armed.discard(page)
                    dirty.add(page)
                    total["noticed"] += 1
                if i >= copied.get(page, n):
                    after.add(page)
        total["reported"] += len(dirty)
        total["copied"] += many
        total["false_dirty"] += len([page for page in reported if page in dirty and page not in after])
        total["missed"] += len([page for page in reported if page not in dirty and page in after])
    return dict(total)


def agree(results: Results, source: Writer, granule: int, clear_at: float) -> None:
    """All rows say what plain Python says."""
    told = ("copied", "reported", "false_dirty", "missed", "noticed", "clears", "rearmed")
    wanted = {**dict.fromkeys(told, 0), **rounds(source, granule, clear_at)}
    noticed, clears, rearmed = (wanted.pop(name) for name in told[-3:])
    assert len(results.rows) == len(MECHANISMS)
    for row in results.rows:
        assert {key: row[key] for key in wanted} == wanted
        if row["mechanism"] == "write-protect":
            assert row["faults"] == noticed
        if granule < source.n_pages or clear_at > 0:  # else a harvest clears, the last one, too
            touched = {"dirty-bits": rearmed, "write-protect": noticed + rearmed, "pml": rearmed}
            if row["mechanism"] in touched:
                assert row["pte_writes"] == touched[row["mechanism"]]
                assert row["shoot_downs"] == clears


@pytest.mark.parametrize("clear_at", [0.0, 0.5, 1.0, 1.5, 2.0])
@pytest.mark.parametrize("granule", [None, GRANULE_PAGES, 2 * GRANULE_PAGES])
@pytest.mark.parametrize("text", PATTERNS, ids=lambda text: text.partition(":")[0])
def test_patterns__under_every_mechanism(text: str, granule: int | None, clear_at: float) -> None:
    """Reported, false dirty and missed are what the accesses say, by every granule and at every moment."""
    source = writer(text)
    results = compare_mechanisms(source, granule=granule, clear_at=clear_at, vcpus=2)
    agree(results, source, granule or 1 << 30, clear_at)


@pytest.mark.slow
@pytest.mark.parametrize("format", [EPT, NPT], ids=["ept", "npt"])
@pytest.mark.parametrize("name", ["sort", "sqlite", "xz"])
def test_histories__under_every_mechanism(name: str, format: PteFormat) -> None:
    """All windows of the real programs; what is reported is what they wrote, window by window."""
    source = writer(name)
    results = compare_mechanisms(source, format=format)
    agree(results, source, 1 << 30, 0.0)
    assert {row["reported"] for row in results.rows} == {sum(int(w.write.sum()) for w in source.windows())}


def test_clearing_late__misses_and_early_does_not() -> None:
    """Just before the copy nothing is missed, and less is false dirty the finer the granule; after it, writes are missed."""
    source = writer(PATTERNS[0])

    def row(granule: int | None, clear_at: float) -> Any:
        return compare_mechanisms(source, mechanisms=["pml"], granule=granule, clear_at=clear_at).rows[0]

    whole, fine, late = row(None, 0.0), row(GRANULE_PAGES, 1.0), row(None, 2.0)
    assert whole["missed"] == fine["missed"] == late["false_dirty"] == 0
    assert 0 < fine["false_dirty"] < whole["false_dirty"]
    assert late["missed"] > 0


def test_events__of_one_vcpu_that_writes_every_page_once() -> None:
    """1025 first writes are 1025 faults, two full logs, and as many full rings as 1025 holds 100s."""
    source = writer("sequential:pages=1025,windows=1,accesses=1025")
    found = {row["mechanism"]: row for row in compare_mechanisms(source, ring=100).rows}
    assert found["write-protect"]["faults"] == found["ring-100"]["faults"] == 1025
    assert found["pml"]["log_full_exits"] == 2
    assert found["ring-100"]["ring_full_exits"] == 10
    assert found["dirty-bits"]["faults"] == found["pml"]["faults"] == 0


def test_stall__is_events_by_their_costs() -> None:
    """Each table of costs has a column; it is None where nothing that happened has a cost in the table."""
    costs = {"mine": Costs(faults=10, shoot_downs=3), "faults": Costs(faults=1), **COSTS}
    found = {row["mechanism"]: row for row in compare_mechanisms(writer(PATTERNS[1]), costs=costs).rows}
    for row in found.values():
        assert row["stall_ns, mine"] == row["faults"] * 10 + row["shoot_downs"] * 3
        assert row["stall_ns, faults"] == (row["faults"] or None)
        events = Events(*(row[name] for name in Events._fields))
        assert all(row[f"stall_ns, {name}"] in (table.stall_ns(events), None) for name, table in costs.items())
    assert found["pml"]["stall_ns, kvm-arm64"] is None
    assert found["pml"]["stall_ns, kvm-x86"] > 0


@pytest.mark.parametrize("clear_at", [0.0, 0.5, 1.0, 1.7])
@pytest.mark.parametrize("granule", [None, GRANULE_PAGES])
def test_vcpus__do_the_same_accesses_however_it_is_cleared(granule: int | None, clear_at: float) -> None:
    """A window is cut into a part for each vCPU; their logs fill as the accesses of each say."""
    source = writer("uniform:pages=4000,windows=1,accesses=5000,seed=8")
    (window,) = source.windows()
    noticed: set[int] = set()
    exits = 0
    for part in np.array_split(window.pages, 2):
        logged = [page for page in dict.fromkeys(part.tolist()) if page not in noticed]
        noticed.update(logged)
        exits += (len(logged) - 1) // 512
    (row,) = compare_mechanisms(source, mechanisms=["pml"], vcpus=2, granule=granule, clear_at=clear_at).rows
    assert row["log_full_exits"] == exits


def test_vcpus__run_their_own_parts_between_clears() -> None:
    """One vCPU after the other, as often as clears cut its part; nothing is done twice or by another."""
    source = writer("uniform:pages=640,windows=2,accesses=1000,seed=1")
    whole, cut = (
        compare_mechanisms(source, mechanisms=["ring"], ring=2000, vcpus=2, granule=granule, clear_at=1.0).rows[0]
        for granule in (None, GRANULE_PAGES)
    )
    assert whole["flushes"] <= 4 < cut["flushes"] <= 2 * 2 + 10  # at most once for each of ten clears, and twice a window


class Given:
    """A writer of windows that are given."""

    name = "given"

    def __init__(self, n_pages: int, n_windows: int, *windows: Any) -> None:
        self.n_pages, self.n_windows, self._windows = n_pages, n_windows, windows

    def windows(self) -> Any:
        """As they are."""
        return iter(self._windows)

    def row(self) -> dict[str, object]:
        """Nothing to say."""
        return {"writer": self.name}


PAGES, ALL = np.array([1, 2], np.uint64), np.ones(2, np.bool_)


@pytest.mark.parametrize(
    ("window", "error", "message"),
    [
        ((np.array([1, 50], np.uint64), ALL), InvalidArgument, "window 1 of given: page 50 is none of 10"),
        ((np.array([1, 2**52 + 1], np.uint64), ALL), InvalidArgument, "is none of 10"),
        ((PAGES, np.ones(3, np.bool_)), InvalidArgument, "one length"),
        ((PAGES.reshape(2, 1), ALL.reshape(2, 1)), InvalidArgument, "one length"),
        ((PAGES.astype(np.int64), ALL), TypeError, "uint64"),
        (([1, 2], ALL), TypeError, "uint64"),
        ((PAGES, [True, True]), TypeError, "bool"),
        ((PAGES, ALL.astype(np.uint8)), TypeError, "bool"),
    ],
)
@pytest.mark.parametrize("study", [compare_mechanisms, dirty_rates])
def test_windows__of_another_form(study: Any, window: Any, error: type[Exception], message: str) -> None:
    """Anybody may write a writer; a window that is none is refused, not done in part."""
    with pytest.raises(error, match=message):
        study(Given(10, 2, (PAGES, ALL), window))


@pytest.mark.parametrize("study", [compare_mechanisms, dirty_rates])
def test_windows__fewer_than_it_says(study: Any) -> None:
    """A result over windows that never were would be none."""
    with pytest.raises(InvalidArgument, match="given has 1 windows, and not the 3 that it says"):
        study(Given(10, 3, (PAGES, ALL)))


def test_memory__asked_before_it_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit is refused at the start, with how much it takes."""
    monkeypatch.setattr("npt.studies.tracking.available_bytes", lambda: 1 << 20)
    with pytest.raises(ReservoirExhausted, match=r"takes about .* MiB of memory; 1 MiB"):
        compare_mechanisms(writer("uniform:pages=100000,windows=1,accesses=1"))
    with pytest.raises(ReservoirExhausted, match="of memory"):
        compare_mechanisms(writer("uniform:pages=10,windows=1,accesses=1000000"))


def test_rows__repeat_and_say_how_they_came_about() -> None:
    """The same again gives the same rows, which have the writer's parameters and the setting."""
    source = writer(PATTERNS[2])
    results = compare_mechanisms(source, mechanisms=["pml", "ring"], ring=64, windows=3)
    assert results.rows == compare_mechanisms(source, mechanisms=["pml", "ring"], ring=64, windows=3).rows
    row = results.rows[1]
    assert (row["writer"], row["seed"], row["rounds"], row["mechanism"]) == ("strided", 5, 3, "ring-64")
    assert results.meta["costs"]["kvm-x86"]["faults"] == COSTS["kvm-x86"].faults


def test_progress__counts_windows() -> None:
    """After each window, up to all that were asked for."""
    seen: list[tuple[int, int]] = []
    compare_mechanisms(writer(PATTERNS[0]), windows=3, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


BAD: list[tuple[dict[str, Any], type[Exception]]] = [
    ({"mechanisms": []}, InvalidArgument), ({"mechanisms": ["pml", "pml"]}, InvalidArgument),
    ({"mechanisms": ["x"]}, InvalidArgument), ({"granule": 63}, InvalidArgument), ({"granule": 0}, InvalidArgument),
    ({"granule": -64}, InvalidArgument), ({"granule": 2**70}, InvalidArgument), ({"granule": 64.0}, TypeError),
    ({"clear_at": -0.1}, InvalidArgument), ({"clear_at": 2.1}, InvalidArgument), ({"clear_at": float("nan")}, InvalidArgument),
    ({"clear_at": "0"}, TypeError), ({"clear_at": True}, TypeError), ({"vcpus": 0}, InvalidArgument),
    ({"windows": 0}, InvalidArgument), ({"ring": 0}, InvalidArgument), ({"ring": 1.5}, TypeError),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "error"), BAD, ids=repr)
def test_refused(arguments: dict[str, Any], error: type[Exception]) -> None:
    """Bad arguments are told before a guest is made; a wrong type before a wrong value."""
    with pytest.raises(error):
        compare_mechanisms(writer(PATTERNS[0]), **arguments)


def test_refused__what_is_no_writer() -> None:
    """Not even words for one."""
    with pytest.raises(TypeError, match=r"npt\.studies\.writer"):
        compare_mechanisms("zipf")  # type: ignore[arg-type]
