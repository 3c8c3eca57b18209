"""Writers under every mechanism: what is reported, false dirty and missed, against plain Python."""

from collections import Counter
from typing import Any

import pytest

from npt import EPT, NPT, InvalidArgument, PteFormat
from npt.dirty.mechanisms import COSTS, Costs, Events
from npt.studies import Results
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
        clears: dict[int, list[int]] = {}
        for first in sorted({page // granule for page in reported}):
            pages = [page for page in reported if page // granule == first]
            early, late = min(copied[p] for p in pages), max(copied[p] for p in pages)
            when = int(early * clear_at) if clear_at <= 1 else late + int((n - late) * (clear_at - 1))
            clears.setdefault(when, []).extend(pages)
        after: set[int] = set()  # written since their copy
        for i in range(n + 1):
            for page in clears.get(i, []):
                armed.add(page)
                dirty.discard(page)
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
    wanted = {"copied": 0, "reported": 0, "false_dirty": 0, "missed": 0, "noticed": 0, **rounds(source, granule, clear_at)}
    noticed = wanted.pop("noticed")
    assert len(results.rows) == len(MECHANISMS)
    for row in results.rows:
        assert {key: row[key] for key in wanted} == wanted
        if row["mechanism"] == "write-protect":
            assert row["faults"] == noticed


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
    """Each table of costs has a column."""
    costs = {"mine": Costs(faults=10, shoot_downs=3), **COSTS}
    for row in compare_mechanisms(writer(PATTERNS[1]), costs=costs).rows:
        assert row["stall_ns, mine"] == row["faults"] * 10 + row["shoot_downs"] * 3
        events = Events(*(row[name] for name in Events._fields))
        assert all(row[f"stall_ns, {name}"] == table.stall_ns(events) for name, table in costs.items())


def test_rows__repeat_and_say_how_they_came_about() -> None:
    """The same again gives the same rows, which have the writer's parameters and the setting."""
    source = writer(PATTERNS[2])
    results = compare_mechanisms(source, mechanisms=["pml", "ring"], ring=64, windows=3)
    assert results.rows == compare_mechanisms(source, mechanisms=["pml", "ring"], ring=64, windows=3).rows
    row = results.rows[1]
    assert (row["writer"], row["seed"], row["rounds"], row["mechanism"]) == ("strided", 5, 3, "ring-64")
    assert set(results.meta["costs"]) == set(COSTS)


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
    """Bad arguments are told before a guest is made."""
    with pytest.raises(error):
        compare_mechanisms(writer(PATTERNS[0]), **arguments)
