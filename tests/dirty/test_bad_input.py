"""Bad arguments to the calls of ``npt.dirty`` that take numbers, ranges or bitmaps: what is told, and that nothing changed.

``npt.dirty.mechanisms`` and ``kvm`` have theirs in files of their own.
"""

from collections.abc import Callable
from operator import attrgetter
from typing import Any

import numpy as np
import pytest

from npt import EPT, BeyondSpace, PteFormat, dirty
from npt.dirty import DirtyLog, PageSample, WorkingSet
from tests.space.bad_input import Call, Param
from tests.space.bad_kinds import cases, refuse_all
from tests.space.everything import N_RAM, PAGE, RAM, Scene

BITMAP = np.arange(8, dtype=np.uint8)
OPTIONAL: dict[str, type[Exception] | None] = {"NoneType:None": None}
RUNS = dirty.runs(BITMAP)
SHORT = ("empty", "short", "short and strided", "short and overlapping", "short and deaf", "short, of the tables")  # are fine


class Watched(Scene):
    """A guest of which a log, a working set and a sample are kept."""

    def __init__(self, form: PteFormat = EPT) -> None:
        super().__init__(form)
        self.log = DirtyLog(self.space, RAM, N_RAM * PAGE)
        self.log.start()
        self.vcpu.run([RAM, RAM + 9 * PAGE], write=True)
        self.log.round()
        self.log.round()
        self.used = WorkingSet(self.space, RAM, N_RAM * PAGE)
        self.used.sample()
        self.sampled = PageSample(self.space, RAM, N_RAM * PAGE)
        self.look()


def _of(function: Callable[..., Any]) -> Callable[[Any], Callable[..., Any]]:
    """What is called, whatever the scene."""
    return lambda _: function


def _range() -> dict[str, Param]:
    return {"gpa": Param("gpa", RAM, BeyondSpace), "length": Param("length", N_RAM * PAGE, BeyondSpace)}


def _n(name: str = "n_pages", good: int | None = 64, *, optional: bool = True) -> dict[str, Param]:
    return {name: Param("n", good, but=dict(OPTIONAL) if optional else {})}


def _bitmap(name: str = "bitmap") -> dict[str, Param]:
    return {name: Param("select", BITMAP, but=dict.fromkeys(SHORT))}


CALLS: tuple[Call, ...] = (
    Call("empty", _of(dirty.empty), _n(optional=False)),
    Call("full", _of(dirty.full), _n(optional=False)),
    Call("count", _of(dirty.count), {**_bitmap(), **_n()}),
    Call("next_set", _of(dirty.next_set), {**_bitmap(), "start": Param("number", 0), **_n()}),
    Call("next_clear", _of(dirty.next_clear), {**_bitmap(), "start": Param("number", 0), **_n()}),
    Call("to_pages", _of(dirty.to_pages), {**_bitmap(), **_n()}),
    Call("from_pages", _of(dirty.from_pages), {"pages": Param("numbers of pages", [0, 63]), **_n(optional=False)}),
    Call("section", _of(dirty.section), {**_bitmap(), **_n("first", 0, optional=False), **_n(optional=False)}),
    *(
        Call(name, _of(getattr(dirty, name)), {**_bitmap("a"), **_bitmap("b")})
        for name in ("union", "intersection", "difference", "symmetric_difference")
    ),
    Call("runs", _of(dirty.runs), {**_bitmap(), "base": Param("gpa", 0, None), **_n()}),
    Call("partition", _of(dirty.partition), {"runs": Param("runs", RUNS), **_n(optional=False)}),
    Call(
        "from_runs",
        _of(dirty.from_runs),
        {"runs": Param("runs", RUNS), **_n(optional=False), "base": Param("gpa", 0, None)},
    ),
    Call("coarsen", _of(dirty.coarsen), {**_bitmap(), "granule": Param("granule", 8 * PAGE), **_n()}),
    Call("refine", _of(dirty.refine), {**_bitmap("coarse"), "granule": Param("granule", 8 * PAGE), **_n(optional=False)}),
    Call("inflation", _of(dirty.inflation), {**_bitmap(), "granule": Param("granule", 8 * PAGE), **_n()}),
    Call("n_granules", _of(dirty.n_granules), {"granule": Param("granule", 8 * PAGE), **_n(optional=False)}),
    Call("idle", _of(dirty.idle), {"space": Param("space", lambda s: s.space), **_range()}),
    Call(
        "DirtyLog",
        _of(DirtyLog),
        {
            "space": Param("space", lambda s: s.space),
            "gpa": Param("gpa", RAM, BeyondSpace),
            "length": Param("length", N_RAM * PAGE, BeyondSpace, but=OPTIONAL),
        },
    ),
    Call("DirtyLog.owed_by", lambda s: s.log.owed_by, {"round": Param("round", 1)}),
    Call("DirtyLog.copying", lambda s: lambda **given: list(s.log.copying(**given)), {"round": Param("round", 1), **_n()}),
    Call("DirtyLog.acknowledge", lambda s: s.log.acknowledge, {"round": Param("round", 1), "select": Param("select", None)}),
    Call("DirtyLog.put_back", lambda s: s.log.put_back, {"select": Param("select", None)}),
    Call("Rounds.find", lambda s: s.log.rounds.find, {"round": Param("round", 1)}),
    Call("Rounds.between", lambda s: s.log.rounds.between, {"a": Param("instant", 0), "b": Param("instant", 1)}),
    Call("Rounds.union", lambda s: s.log.rounds.union, {"first": Param("round", 1)}),
    Call("Rounds.diff", lambda s: s.log.rounds.diff, {"a": Param("round", 1), "b": Param("round", 2)}),
    Call(
        "WorkingSet",
        _of(WorkingSet),
        {"space": Param("space", lambda s: s.space), **_range(), "clear": Param("flag", True)},
    ),
    *(
        Call(
            f"WorkingSet.{name}",
            attrgetter(f"used.{name}"),
            {"window": Param("n", 1, but=dict(OPTIONAL)), **_n("first", 0, optional=False), **_n()},
        )
        for name in ("pages", "size")
    ),
    Call("WorkingSet.reuse", lambda s: s.used.reuse, {**_n("first", 0, optional=False), **_n()}),
    Call(
        "PageSample",
        _of(PageSample),
        {"space": Param("space", lambda s: s.space), **_range(), "per_gib": Param("n", 8), "seed": Param("number", 0)},
    ),
    Call(
        "PageSample.compare",
        lambda s: s.sampled.compare,
        {"seconds": Param("seconds", 1.0, but={**OPTIONAL, "float:1000000000.0": None})},
    ),
)
BAD = {f"{call.name}-{name}": (call, name, values) for call, name, values in cases(CALLS)}


@pytest.fixture(scope="module", params=[EPT], ids=["ept"])
def watched(request: pytest.FixtureRequest) -> Watched:
    """One for all: what is refused changes nothing."""
    return Watched(request.param)


@pytest.mark.parametrize("parameter", BAD)
def test_bad_argument(watched: Watched, parameter: str) -> None:
    """One bad argument among good ones is refused as documented."""
    refuse_all(watched, *BAD[parameter])
    assert len(BAD[parameter][2]) >= 5


def test_bad_argument__of_every_kind() -> None:
    """None was lost."""
    assert (len(CALLS), len(BAD)) == (35, 80)
    assert sum(len(values) for _, _, values in BAD.values()) >= 4000


@pytest.mark.parametrize("call", CALLS, ids=[call.name for call in CALLS])
def test_good_arguments__are_good(call: Call) -> None:
    """What stands beside a bad argument is not what was refused."""
    watched = Watched()
    assert len(call.params) > 0
    call.of(watched)(**{name: param.make_good(watched) for name, param in call.params.items()})
