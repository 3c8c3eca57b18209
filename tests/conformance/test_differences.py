"""Where npt answers otherwise than the reference, on purpose: what it answers, and that nothing changed by it.

Every case is a line of a recorded trace, met in the state that the lines before it made.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from npt import (
    EPT,
    NPT,
    PAGE_SIZE,
    AddressOverflow,
    BeyondSpace,
    InvalidArgument,
    Prot,
    Reservoir,
    VmSpace,
)
from tests.conformance.books import SpaceState, tables_in_use
from tests.conformance.replayer import Replayer
from tests.conformance.trace import Line, Trace

TRACES = [Trace.read(path) for path in sorted((Path(__file__).parent / "traces").glob("*.jsonl"))]
READABLE = [trace for trace in TRACES if trace.header["profile"] != "weird"]
Case = tuple[Trace, Line]


def _lines(trace: Trace, *ops: str) -> Iterator[Line]:
    return (line for line in trace.lines if line.op in ops)


def _cases(found: Callable[[Trace, Line], bool], *ops: str) -> list[object]:
    cases = [(trace, line) for trace in READABLE for line in _lines(trace, *ops) if found(trace, line)]
    assert cases, "no trace has such a line any more"
    return [pytest.param(case, id=f"{case[0].path.stem}-{case[1].i}") for case in cases]


def _no_pages(trace: Trace, line: Line) -> bool:
    return line.number("len") == 0


def _past_the_end(trace: Trace, line: Line) -> bool:
    gpa, length = line.range
    return length > 0 and gpa + length > trace.size_of_space(line.args["s"])


def _past_64_bits(trace: Trace, line: Line) -> bool:
    return sum(line.range) >= 2**64


def _at_the_end(trace: Trace, line: Line) -> bool:
    return "Q3" in line.tags


def _count_is_stale(trace: Trace, line: Line) -> bool:
    return "Q2" in line.tags


class Scene:
    """A trace just before one of its lines."""

    def __init__(self, case: Case) -> None:
        trace, self.line = case
        self.replay = Replayer(trace).run(until=self.line.i)
        self.space = self.replay.spaces[self.line.args["s"]].space

    def state(self) -> SpaceState:
        return SpaceState.of(self.space, self.replay.reservoir)

    def rest(self) -> None:
        """Go on to the end: it was as if the line had not been tried."""
        for line in self.replay.trace.lines[self.line.i :]:
            self.replay.step(line)
        self.replay.finish()


@pytest.mark.parametrize("case", _cases(_at_the_end, "map"))
def test_map__may_end_where_the_space_ends(case: Case) -> None:
    """The reference refuses the last page of a space; npt maps it, and unmapping it leaves no trace."""
    scene = Scene(case)
    line, before, (gpa, length) = scene.line, scene.state(), scene.line.range
    obj = scene.replay.objects[line.args["o"]]
    assert line.res["st"] == "ENOMEM"
    assert gpa + length == scene.space.size
    scene.space.map(obj, gpa, length, Prot(line.args["prot"]), line.number("off"))
    assert scene.space.pte(gpa + length - PAGE_SIZE) == 0
    assert scene.space.generation == before.generation
    scene.space.unmap(gpa, length)
    assert scene.state() == before
    scene.rest()


@pytest.mark.parametrize("case", _cases(_no_pages, "track_dirty"))
def test_track_dirty__of_no_pages_is_refused(case: Case) -> None:
    """The reference raises the generation and calls back for an empty range, where it tracks; npt refuses it."""
    scene = Scene(case)
    before = scene.state()
    with pytest.raises(InvalidArgument):
        scene.space.track_dirty(*scene.line.range)
    assert scene.state() == before
    scene.rest()


@pytest.mark.parametrize("case", _cases(_no_pages, "populate"))
def test_populate__of_no_pages_is_refused(case: Case) -> None:
    """The reference finds an empty range in a mapping and does nothing; npt refuses it."""
    scene = Scene(case)
    before = scene.state()
    assert scene.line.res["st"] == "ok"
    with pytest.raises(InvalidArgument):
        scene.space.populate(*scene.line.range)
    assert scene.state() == before
    scene.rest()


@pytest.mark.parametrize("case", _cases(_past_the_end, "track_dirty"))
def test_track_dirty__past_the_end_is_refused(case: Case) -> None:
    """The reference harvests what there is and raises the generation; npt says that the range is wrong."""
    scene = Scene(case)
    before = scene.state()
    with pytest.raises(BeyondSpace):
        scene.space.track_dirty(*scene.line.range)
    assert scene.state() == before
    scene.rest()


@pytest.mark.parametrize("case", _cases(_past_64_bits, "map"))
def test_map__past_64_bits_says_overflow(case: Case) -> None:
    """The reference has one EINVAL for all; npt tells a range that wraps from other bad arguments."""
    scene = Scene(case)
    line, before = scene.line, scene.state()
    obj = scene.replay.objects[line.args["o"]]
    with pytest.raises(AddressOverflow):
        scene.space.map(obj, *line.range, Prot(line.args["prot"]), line.number("off"))
    assert scene.state() == before
    scene.rest()


@pytest.mark.parametrize("case", _cases(_count_is_stale, "resident"))
def test_resident_count__falls_when_pages_are_unmapped(case: Case) -> None:
    """The reference counts pages that are long gone; npt counts those that are there."""
    scene = Scene(case)
    assert scene.space.resident_count == scene.line.res["present"] < scene.line.res["n"]
    scene.rest()


def _unreadable() -> list[object]:
    weird = [trace for trace in TRACES if trace.header["profile"] == "weird"]
    cases = [(trace, line) for trace in weird for line in _lines(trace, "map") if not line.args["prot"] & Prot.READ]
    assert {line.args["prot"] for _, line in cases} >= {Prot.NONE, Prot.WRITE, Prot.EXEC}
    return [pytest.param(case, id=f"{case[0].path.stem}-{case[1].i}") for case in cases]


@pytest.mark.parametrize("case", _unreadable())
def test_map__without_read_is_refused(case: Case) -> None:
    """File 16 maps pages that are only written, only executed, or neither: npt makes no such entry in either format."""
    trace, line = case
    gpa, length = line.range
    form = {"ept": EPT, "rvi": NPT}[trace.header["format"]]
    with Reservoir(length) as reservoir:
        space = VmSpace(trace.size_of_space(line.args["s"]), format=form, reservoir=reservoir, track_dirty=True)
        with space, reservoir.allocate(length) as obj:
            before = SpaceState.of(space, reservoir)
            with pytest.raises(InvalidArgument):
                space.map(obj, gpa, length, line.args["prot"])
            assert SpaceState.of(space, reservoir) == before
            assert obj.refs == 1
            assert tables_in_use(space) == (1, 0, 0, 0)
