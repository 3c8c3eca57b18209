"""The population study: what is made resident how, what is counted, what is refused."""

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from npt import (
    EPT,
    NPT,
    InvalidArgument,
    InvariantError,
    Prot,
    PteFormat,
    ReservoirExhausted,
    StaleHandle,
    VmClient,
    VmObject,
    VmSpace,
)
from npt.studies import Results, population, population_memory
from npt.studies.populating import WAYS, _quantile
from npt.studies.shapes import SHAPES
from tests.studies.peak import check_predicted

PAGE = 0x1000
SIZE = 40 * PAGE
SMALL: dict[str, Any] = {"sizes": [SIZE], "mapping": 6 * PAGE, "piece": 4 * PAGE, "repeat": 1, "touches": 8}
Calls = dict[tuple[Any, ...], int]
FORMATS = pytest.mark.parametrize("form", [EPT, NPT], ids=["ept", "npt"])


@FORMATS
def test_rows__one_for_each(form: PteFormat, tmp_path: Path) -> None:
    """Size, shape and way, in order; counts are what the parameters say; the table can be saved."""
    results = population([form], **{**SMALL, "sizes": [SIZE, PAGE]})
    assert [(row["format"], row["size"], row["shape"], row["way"]) for row in results.rows] == [
        (form.name, size, shape, way) for size in (SIZE, PAGE) for shape in SHAPES for way in WAYS
    ]
    for row in results.rows:
        n_pages, touched = row["size"] // PAGE, 8 if row["size"] == SIZE else 1
        assert row["mappings"] == (1 if row["shape"] == "one" or n_pages == 1 else 7)
        assert row["pages"] == (touched if row["way"] == "on-demand" else n_pages)
        assert row["touches"] == touched
        assert row["piece"] == (4 * PAGE if row["way"] == "range" else None)
        assert row["tables"] == 4
        assert row["table_bytes"] == 4 * PAGE
        assert 0 < row["ns_per_page"] <= row["ns_per_page_median"]
        assert row["pages_per_s"] == 1e9 / row["ns_per_page"]
        assert 0 < row["touch_ns_median"] <= row["touch_ns_99"] <= row["touch_ns_most"]
        assert row["limit"] == "fill"
        assert row["of_limit"] > 0
        assert row["map_ns"] > 0
    results.to_json(tmp_path / "population.json")
    assert Results.load(tmp_path / "population.json").rows == results.rows


def test_tables__grow_with_holes() -> None:
    """Scattered mappings lie under more leaf tables than those side by side."""
    rows = population([EPT], sizes=[4 << 20], mapping=64 * PAGE, ways=["eager"], repeat=1).rows
    one, many, scattered = (row["tables"] for row in rows)
    assert one == many == 1 + 1 + 1 + 2
    assert scattered == 1 + 1 + 1 + 8


def calls(monkeypatch: pytest.MonkeyPatch, way: str, shape: str) -> Counter[tuple[Any, ...]]:
    """How often which ranges are populated, or which single pages are touched, with how many resident before."""
    made: Counter[tuple[Any, ...]] = Counter()
    spaces: list[VmSpace] = []
    map, populate, fault = VmSpace.map, VmSpace.populate, VmClient.fault

    def map_(space: VmSpace, obj: VmObject, gpa: int, length: int, prot: Prot, offset: int = 0) -> None:
        spaces.append(space)
        map(space, obj, gpa, length, prot, offset)

    def populate_(space: VmSpace, gpa: int, length: int) -> int:
        made["populate", gpa // PAGE, length // PAGE] += 1
        return populate(space, gpa, length)

    def fault_(client: VmClient, gpa: int, prot: Prot) -> None:
        made["touch", gpa // PAGE] += 1
        made["resident", spaces[-1].resident_count] += 1
        fault(client, gpa, prot)

    monkeypatch.setattr(VmSpace, "map", map_)
    monkeypatch.setattr(VmSpace, "populate", populate_)
    monkeypatch.setattr(VmClient, "fault", fault_)
    population([EPT], **{**SMALL, "repeat": 2}, ways=[way], shapes=[shape])
    return made


TOUCHED: Calls = {("touch", page): 1 for page in range(0, 40, 5)}
N_ROUNDS = 2 + 1 + 1  # that are timed, one before, one for touches


def test_eager__whole_mappings(monkeypatch: pytest.MonkeyPatch) -> None:
    """One call for each; all is resident before the first touch."""
    made = calls(monkeypatch, "eager", "many")
    ranges: Calls = {("populate", first, min(6, 40 - first)): N_ROUNDS for first in range(0, 40, 6)}
    assert made == Counter({**ranges, **TOUCHED, ("resident", 40): 8})


def test_range__pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of at most that size, none across two mappings."""
    made = calls(monkeypatch, "range", "many")
    places = [(first + at, min(4, 6 - at, 40 - first - at)) for first in range(0, 40, 6) for at in (0, 4)]
    pieces: Calls = {("populate", *place): N_ROUNDS for place in places if place != (40, 0)}
    assert made == Counter({**pieces, **TOUCHED, ("resident", 40): 8})


def test_fault_many__no_populate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look-ups alone; all is resident before the first touch."""
    assert calls(monkeypatch, "fault-many", "one") == Counter({**TOUCHED, ("resident", 40): 8})


def test_on_demand__nothing_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each touch is of a page that is not resident."""
    resident: Calls = {("resident", n): 1 for n in range(8)}
    assert calls(monkeypatch, "on-demand", "one") == Counter(TOUCHED | resident)


def test_quantile__least_that_so_many_do_not_exceed() -> None:
    """Of 1 to n."""
    for n, half, most in ((1, 1, 1), (2, 1, 2), (3, 2, 3), (100, 50, 99), (200, 100, 198), (101, 51, 100)):
        assert (_quantile(range(1, n + 1), 50), _quantile(range(1, n + 1), 99)) == (half, most)


@pytest.mark.parametrize("way", WAYS)
def test_page__that_is_left_out(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """Told at once."""
    right = VmSpace.resident_count.fget  # type: ignore[attr-defined]
    monkeypatch.setattr(VmSpace, "resident_count", property(lambda space: right(space) - 1))
    n = 8 if way == "on-demand" else 40
    with pytest.raises(InvariantError, match=f"{n - 1:#x} pages are resident, not {n:#x}"):
        population([EPT], **SMALL, ways=[way])


def test_tables__that_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Told at once."""
    monkeypatch.setattr("npt.studies.populating.table_bytes", lambda shape: 3 * PAGE)
    with pytest.raises(InvariantError, match="4 tables are in use, not 3"):
        population([EPT], **SMALL)


def test_progress__is_told_and_may_stop_it() -> None:
    """After each row; an interrupt there is the caller's."""
    told: list[tuple[str, int, int]] = []

    def stop(what: str, done: int, n: int) -> None:
        told.append((what, done, n))
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        population([NPT, EPT], **SMALL, ways=["eager", "range"], shapes=["many"], progress=stop)
    assert told == [("npt 160 KiB many eager", 1, 4), ("npt 160 KiB many range", 2, 4), ("ept 160 KiB many eager", 3, 4)]


@pytest.mark.parametrize("call", ["populate", "unmap"])
def test_interrupt__closes_the_guest(monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """In the middle of a round, with everything mapped."""
    spaces: list[VmSpace] = []

    def stop(space: VmSpace, gpa: int, length: int) -> None:
        spaces.append(space)
        raise KeyboardInterrupt

    monkeypatch.setattr(VmSpace, call, stop)
    with pytest.raises(KeyboardInterrupt):
        population([EPT], **SMALL)
    with pytest.raises(StaleHandle):
        spaces[0].map_mmio(0, PAGE, 0)


@pytest.mark.parametrize(
    ("more", "error"),
    [
        ({"formats": []}, InvalidArgument),
        ({"formats": ["ept"]}, TypeError),
        ({"sizes": []}, InvalidArgument),
        ({"sizes": [0]}, InvalidArgument),
        ({"sizes": [PAGE + 1]}, InvalidArgument),
        ({"sizes": [4096.0]}, TypeError),
        ({"sizes": [1 << 45], "shapes": ["one"]}, InvalidArgument),
        ({"ways": []}, InvalidArgument),
        ({"ways": ["lazy"]}, InvalidArgument),
        ({"shapes": []}, InvalidArgument),
        ({"shapes": ["round"]}, InvalidArgument),
        ({"mapping": 0}, InvalidArgument),
        ({"mapping": 1.5}, TypeError),
        ({"mapping": PAGE, "sizes": [1 << 30]}, InvalidArgument),
        ({"piece": -PAGE}, InvalidArgument),
        ({"piece": True}, TypeError),
        ({"touches": 0}, InvalidArgument),
        ({"touches": float("inf")}, TypeError),
        ({"repeat": 0}, InvalidArgument),
        ({"repeat": float("nan")}, TypeError),
        ({"seed": -1}, InvalidArgument),
        ({"seed": None}, TypeError),
    ],
)
def test_arguments__are_refused(monkeypatch: pytest.MonkeyPatch, more: dict[str, Any], error: type[Exception]) -> None:
    """Before anything is taken."""
    monkeypatch.setattr("npt.studies.populating.Reservoir", None)
    arguments = {**SMALL, "formats": [EPT], **more}
    with pytest.raises(error) as raised:
        population(arguments.pop("formats"), **arguments)
    assert "NoneType" not in str(raised.value) or more == {"seed": None}


def test_memory__too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is less than the prediction says, nothing is taken."""
    needed = population_memory(sizes=[SIZE])
    monkeypatch.setattr("npt.studies.measuring.available_bytes", lambda: needed - 1)
    monkeypatch.setattr("npt.studies.populating.Reservoir", None)
    with pytest.raises(ReservoirExhausted, match="are available"):
        population([EPT], sizes=[SIZE])


MEASURE = """
from npt import EPT
from npt.studies import population, population_memory
more = {!r}
population([EPT], sizes=[1 << 20], repeat=1)
before = most()
population([EPT], **more, ways=["eager", "fault-many"], repeat=1)
print(most() - before, population_memory(**more))
"""
KINDS = [{"sizes": [8 << 30], "shapes": ["one"]}, {"sizes": [1 << 30], "shapes": ["scattered"], "mapping": 512 << 10}]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("kind", range(len(KINDS)))
def test_memory__is_as_predicted(kind: int) -> None:
    """No more is taken, and not less than a fourth."""
    check_predicted(MEASURE.replace("{!r}", repr(KINDS[kind])))
