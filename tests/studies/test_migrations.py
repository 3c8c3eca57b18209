"""One writer under every policy: numbers worked out by hand, guests that are given back, and what is refused."""

import sys
from contextlib import AbstractContextManager
from importlib import import_module
from typing import Any

import numpy as np
import pytest

from npt import EPT, NPT, InvalidArgument, LinkDown, PteFormat, ReservoirExhausted
from npt.studies import POLICIES, Results, Timed, compare, compare_policies, policies_memory, policy, precopy, writer
from npt.studies.guests import Guest, guest
from tests.studies.peak import check_predicted

PAGE, MS = 4096, 10**6
STEADY = "sequential:pages=1000,windows=50,accesses=20"
LINK: dict[str, Any] = {"bandwidth": 1000 * PAGE, "dirty_rate": 400 * PAGE}  # a page takes a millisecond
SMALL = "zipf:pages=64,windows=4,accesses=50"

# 1000 pages take a second, in which 400 others are written; then 160, 64, and 25 (the 26th is not due yet).
PAGES = {
    "propolis": [1000, 400],
    "freebsd": [1000, 400, 160, 64, 25],
    "xen": [1000, 400, 160, 64, 25],
    "qemu": [1000, 400, 160],
    "cloud-hypervisor": [1000, 400, 160],
    "post-copy": [1000, 400],
}


def of(text: str, *policies: Any, **more: Any) -> Results:
    """Rows of a writer."""
    return compare_policies(writer(text), policies or tuple(POLICIES), **more)


def test_rows__by_hand() -> None:
    """Each send is two fifths of the one before it, because each write is to another page."""
    rows = of(STEADY, **LINK).rows
    assert [row["policy"] for row in rows] == list(POLICIES)
    for row in rows:
        sends, post = PAGES[row["policy"]], row["policy"] == "post-copy"
        assert row["live_sends"] == len(sends) - 1
        assert row["bytes_sent"] == sum(sends) * PAGE
        assert row["bytes_resent"] == sum(sends[1:]) * PAGE
        assert row["downtime_ns"] == (0 if post else sends[-1] * MS)
        assert row["total_ns"] == sum(sends) * MS
        assert (row["proven"], row["cancelled"]) == (True, False)
        assert row["converged"] is (row["policy"] != "propolis")


@pytest.mark.parametrize(
    ("text", "downtime", "pages", "throttles"),
    [
        # All pages are written in each of the first two sends. From the third on a hundred a second.
        (f"qemu:dirty_limit={100 * PAGE}", 0.05, [1000, 1000, 1000, 100, 10], [0, 0, 0, 0, 0]),
        # Of the guest's time 0.8 s pass in the third send, 0.64 s in the fourth, then 0.448, 0.3136 and 0.1878: 4.3894 s
        # in all, in which 4389 pages are written; 4201 of them before the last of these sends.
        (
            "qemu:auto_converge=yes",
            0.3,
            [1000, 1000, 1000, 800, 640, 448, 313, 188],
            [0, 0, 20, 20, 30, 30, 40, 0],
        ),
    ],
)
def test_qemu__slows_the_guest(text: str, downtime: float, pages: list[int], throttles: list[int]) -> None:
    """Which writes as many pages a second as the link takes."""
    told: list[tuple[str, int, int]] = []
    more = {"bandwidth": 1000 * PAGE, "dirty_rate": 1000 * PAGE, "downtime": downtime}
    (row,) = of(STEADY, text, **more, progress=lambda *said: told.append(said)).rows
    assert [of for _, done, of in told if done == of] == pages
    assert (row["live_sends"], row["downtime_ns"], row["converged"]) == (len(pages) - 1, pages[-1] * MS, True)
    assert row["total_ns"] == sum(pages) * MS
    model = precopy(1000 * PAGE, 1000 * PAGE, 1000 * PAGE, policy=text, downtime=downtime)
    assert [one.throttle for one in model.rounds] == throttles
    assert [one.n_bytes / PAGE for one in model.rounds] == pytest.approx(pages, abs=1)


def test_rows__of_several_are_those_of_each_alone() -> None:
    """The memory of both guests is what it was, though they are the same guests."""
    more = {**LINK, "zero": 0.5, "target_format": NPT}
    together = of(SMALL, **more).rows
    assert [row for name in POLICIES for row in of(SMALL, name, **more).rows] == list(together)
    assert {row["bytes_sent"] - row["bytes_resent"] for row in together} == {32 * PAGE}
    assert {(row["format"], row["target_format"]) for row in together} == {("ept", "npt")}


def test_guests__are_of_the_formats_and_are_filled_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is in their memory: half of the source's pages have words, which come from the seed; the target has none."""
    module, made = import_module("npt.studies.migrations"), list[tuple[int, PteFormat]]()

    def note(length: int, form: PteFormat) -> AbstractContextManager[Guest]:
        made.append((length, form))
        return guest(length, form)

    monkeypatch.setattr(module, "guest", note)
    of(SMALL, "xen", "propolis", target_format=NPT)
    assert made == [(64 * PAGE, EPT), (64 * PAGE, NPT)]
    fresh, used, target = (np.full((64, PAGE // 8), number, np.uint64) for number in (0, 7, 7))
    module._fill(fresh, target, 0.5, 3)
    module._fill(used, target, 0.5, 3)
    assert np.array_equal(fresh, used)
    assert fresh.any(axis=1).sum() == 32
    assert not target.any()
    module._fill(used, target, 0.5, 4)
    assert not np.array_equal(fresh, used)


def test_rows__a_migration_that_was_cancelled_proves_nothing() -> None:
    """The guest is still at the source."""
    (row,) = of(STEADY, "cloud-hypervisor:timeout=1", downtime=0, **LINK).rows
    assert (row["cancelled"], row["converged"], row["proven"]) == (True, False, None)


def test_policies__of_any_kind() -> None:
    """A policy itself, or a generator of them."""
    given = (one for one in (policy("xen:sends=2"), "freebsd:rounds=2"))
    assert [row["policy"] for row in of(SMALL, *given).rows] == ["xen:sends=2", "freebsd:rounds=2"]


def test_columns__tell_cases_apart() -> None:
    """Guests of two sizes are not one case; numpy's numbers are plain ones, several bandwidths text."""
    more: dict[str, Any] = {"max_rounds": np.int64(9), "bandwidth": [np.int64(1 << 20), 1.5], "seed": np.uint8(3)}
    a, b = of(SMALL, "propolis", **more), of(SMALL.replace("64", "65"), "propolis", **more)
    assert a.rows[0]["bandwidth"] == "1048576.0,1.5"
    assert {type(value) for value in a.rows[0].values()} <= {int, float, str, bool, type(None)}
    assert compare(a, a).meta["matched"] == 1
    assert (compare(a, b).meta["matched"], compare(a, b).meta["only_b"]) == (0, 1)
    assert set(a.meta["by"]) <= set(a.columns)
    assert "bytes_sent" not in a.meta["by"]


def test_progress__is_told_whose_send_it_is() -> None:
    """Name of the policy, number of the send, pages."""
    told: list[tuple[str, int, int]] = []
    of(STEADY, "propolis", **LINK, progress=lambda *said: told.append(said))
    assert told == [("propolis, send 1", 1000, 1000), ("propolis, send 2", 400, 400)]


def test_link__that_goes_down() -> None:
    """An error, not a row."""
    with pytest.raises(LinkDown, match="send 2"):
        of(SMALL, "propolis", bandwidth=[1 << 20, 0])


@pytest.mark.parametrize(
    ("more", "error", "word"),
    [
        ({"policies": "qemu"}, TypeError, "several, not str"),
        ({"policies": policy("xen")}, TypeError, "several, not Xen"),
        ({"policies": []}, InvalidArgument, "propolis"),
        ({"policies": ["xen", "vmware"]}, InvalidArgument, "vmware"),
        ({"writer": SMALL}, TypeError, "writer"),
        ({"writer": Timed(writer(SMALL), seconds_per_window=1)}, TypeError, "writer"),
        ({"format": "ept"}, TypeError, "format"),
        ({"target_format": "npt"}, TypeError, "format"),
        ({"zero": 1.1}, InvalidArgument, "zero"),
        ({"zero": float("nan")}, InvalidArgument, "zero"),
        ({"zero": True}, TypeError, "zero"),
        ({"seed": -1}, InvalidArgument, "seed"),
        ({"bandwidth": 0}, InvalidArgument, "bandwidth"),
        ({"bandwidth": "1GiB"}, TypeError, "bandwidth"),
        ({"bandwidth": 1 << 2000}, InvalidArgument, "bandwidth"),
        ({"max_rounds": 2.0}, TypeError, "max_rounds"),
        ({"max_rounds": True}, TypeError, "max_rounds"),
        ({"downtime": -1}, InvalidArgument, "downtime"),
        ({"dirty_rate": 0}, InvalidArgument, "dirty_rate 0"),
        ({"dirty_rate": -1}, InvalidArgument, "dirty_rate -1"),
        ({"dirty_rate": 1, "seconds_per_window": 1}, InvalidArgument, "not by both"),
        ({"seconds_per_window": 0}, InvalidArgument, "seconds_per_window"),
    ],
)
def test_arguments__are_refused(
    monkeypatch: pytest.MonkeyPatch, more: dict[str, Any], error: type[Exception], word: str
) -> None:
    """Before there is a guest."""
    monkeypatch.setattr("npt.studies.migrations.guest", None)
    arguments: dict[str, Any] = {"writer": writer(SMALL), "policies": ["xen"], **more}
    with pytest.raises(error, match=word):
        compare_policies(**arguments)


def test_memory__too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A window's accesses count, and those of the windows that a mix takes them from."""
    needed = policies_memory(n_pages=64, accesses=50)
    monkeypatch.setattr("npt.studies.measuring.available_bytes", lambda: needed)
    of(SMALL, "propolis")
    monkeypatch.setattr("npt.studies.migrations.guest", None)
    for text in (SMALL.replace("50", "51"), f"{SMALL}*0.5+{SMALL}*0.5"):
        with pytest.raises(ReservoirExhausted, match="are available"):
            of(text, "propolis")


MEASURE = """
from npt.studies import compare_policies, dirty_log, memory_needs, residuals, writer
def migrate(size):
    compare_policies(writer(f"zipf:size={size}"), ["xen", "post-copy"], zero=0.5, dirty_rate=1 << 29)
STUDIES = {"dirty-log": lambda size: dirty_log(vcpu_bytes=size), "migrate": migrate}
for run in STUDIES.values():
    run(1 << 20)
before = most()
for size in (32 << 20, 160 << 20):
    for name, run in STUDIES.items():
        run(size), run(size)
        print(most() - before, memory_needs(size)[name])
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory__is_as_predicted() -> None:
    """No more is taken, by a study that comes twice, too, and not less than a fourth."""
    check_predicted(MEASURE, 4)
