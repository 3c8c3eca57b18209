"""Bad numbers to the experiments, and to the pictures that take some: what is told, and that nothing of a guest changed."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from npt import EPT, InvalidArgument, Vm, studies, view
from npt.dirty import DirtyLog
from tests.space.bad_input import Call, Param
from tests.space.bad_kinds import cases, refuse_all
from tests.space.everything import N_RAM, PAGE, RAM, Scene

OPTIONAL: dict[str, type[Exception] | None] = {"NoneType:None": None}
ZEROS = dict.fromkeys(
    ("0x0", "float:0.0", "float:-0.0", "float64:np.float64(0.0)", "Decimal:Decimal('0')", "ndarray:array(0.)")
)  # fmt: skip
BITMAPS = [np.arange(8, dtype=np.uint8)] * 2


class Study(Scene):
    """A guest that is to be migrated, and where to."""

    def __init__(self) -> None:
        super().__init__(EPT)
        self.target = Vm(self.reservoir, size=1 << 30)
        self.target.alloc_memseg(0, N_RAM * PAGE)
        self.target.map_memseg(0, RAM, N_RAM * PAGE, 3)
        self.log = DirtyLog(self.space, RAM, N_RAM * PAGE)
        self.look()


def _of(function: Callable[..., Any]) -> Callable[[Any], Callable[..., Any]]:
    """What is called, whatever the scene."""
    return lambda _: function


POSITIVE: dict[str, type[Exception] | None] = {"float:1000000000.0": None}  # is no limit here
COURSE = {
    "policy": Param("policy", "xen"),
    "bandwidth": Param("seconds", 1e6, but={**POSITIVE, "list:[1.0]": None, "ndarray:array([1., 2.])": None}),
    "downtime": Param("seconds", 0.3, but={**POSITIVE, **ZEROS}),
    "max_rounds": Param("at least one", 10),
    "latency": Param("seconds", 0, but={**POSITIVE, **ZEROS}),
    "compression": Param("seconds", 1, but=POSITIVE),
}
CALLS: tuple[Call, ...] = (
    Call(
        "precopy",
        _of(studies.precopy),
        {
            "ram": Param("at least one", 1 << 20),
            "dirty_rate": Param("seconds", 1e5, but={**POSITIVE, **ZEROS}),
            "zero": Param("n", 0),
            **COURSE,
        },
    ),
    Call(
        "migrate",
        _of(studies.migrate),
        {
            "source": Param("space", lambda s: s.space),
            "target": Param("space", lambda s: s.target.space),
            "writer": Param("writer", studies.writer("uniform:pages=64,windows=2,accesses=8")),
            "gpa": Param("migrated gpa", RAM),
            "skip_zero": Param("flag", False),
            "seconds_per_window": Param("seconds", 0.001, but={**POSITIVE, "NoneType:None": InvalidArgument}),
            **COURSE,
        },
    ),
    Call(
        "sweep",
        _of(studies.sweep),
        {
            "task": Param("task", lambda _: lambda **point: point),
            "axes": Param("axes", {"x": [1]}),
            "seed": Param("n", 0),
            "in_flight": Param("threads", 1, but=OPTIONAL),
        },
    ),
    Call(
        "heat",
        _of(partial(view.heat, BITMAPS)),
        {"gpa": Param("gpa", 0, None), "first": Param("round", 1)},
    ),
    Call("bits", _of(view.bits), {"entry": Param("entry", 7)}),
)
BAD = {f"{call.name}-{name}": (call, name, values) for call, name, values in cases(CALLS)}


@pytest.fixture(scope="module")
def study() -> Study:
    """One for all: what is refused changes nothing."""
    return Study()


@pytest.mark.parametrize("parameter", BAD)
def test_bad_argument(study: Study, parameter: str) -> None:
    """One bad argument among good ones is refused as documented."""
    refuse_all(study, *BAD[parameter])
    assert len(BAD[parameter][2]) >= 5


def test_bad_argument__of_every_kind() -> None:
    """None was lost."""
    assert (len(CALLS), len(BAD)) == (5, 28)
    assert sum(len(values) for _, _, values in BAD.values()) >= 1000
