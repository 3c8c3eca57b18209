"""npt answers as the reference did: every field of every line of the recorded traces, in every form that its work can take."""

from pathlib import Path

import pytest

from tests.conformance.replayer import Replayer
from tests.conformance.trace import Trace
from tests.forms import FORMS, forced

TRACES = sorted((Path(__file__).parent / "traces").glob("*.jsonl"))
UNREADABLE = pytest.mark.skip(reason="maps pages without READ, which npt refuses: see test_differences.py")


def _cases() -> list[object]:
    return [pytest.param(p, id=p.stem, marks=[UNREADABLE] if p.stem.endswith("-16") else []) for p in TRACES]


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("path", _cases())
def test_trace__replays_without_a_mismatch(path: Path, name: str) -> None:
    """Results, entries, generations, callbacks, bitmaps and bytes agree, and all memory is back at the end."""
    with forced(FORMS[name]) as seen:
        Replayer(Trace.read(path)).run().finish()
    assert not seen.calls["harvest" if FORMS[name].still else "harvest_still"]
    assert (seen.shared > 0) == (seen.helped > 0)
    assert not seen.shared or FORMS[name].threads is not None


@pytest.mark.parametrize("name", FORMS)
def test_traces__take_the_form(name: str) -> None:
    """One that has harvests of clean tables and of several: forms that are the same would prove nothing."""
    with forced(FORMS[name]) as seen:
        Replayer(Trace.read(TRACES[0])).run().finish()
    still, summary, threads = FORMS[name]
    assert seen.calls["harvest_still" if still else "harvest"] > 10
    assert seen.tables == (5 if summary else 12)
    assert (seen.helped > 0) == (threads is not None)


def test_traces__are_all_there() -> None:
    """Ten runs in each format; a lost file must not look like success."""
    assert [path.stem for path in TRACES] == [f"{kind}-{n:02}" for kind in ("ept", "rvi") for n in range(0, 20, 2)]


def test_traces__exercise_every_operation_in_both_formats() -> None:
    """A method of the replayer that no trace calls would prove nothing."""
    known = {name.removeprefix("_op_") for name in vars(Replayer) if name.startswith("_op_")}
    assert len(known) > 20
    for kind in ("ept", "rvi"):
        paths = [p for p in TRACES if p.stem.startswith(kind) and not p.stem.endswith("-16")]
        assert len(paths) == 9
        assert {line.op for path in paths for line in Trace.read(path).lines} == known
