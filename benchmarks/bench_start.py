"""Start-up in fresh processes, with the caches on disk warm.

A child is ready, with nothing imported, before the clock starts; it is told to go, and says when it is done. So the start of
the interpreter does not count.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import npt
from benchmarks.figures import Figure, longer

_FIRST_RESULT = """
import npt
with npt.Reservoir(1 << 26, backed=False) as reservoir, reservoir.allocate(1 << 26) as ram:
    with npt.VmSpace(1 << 26, reservoir=reservoir, track_dirty=True) as space:
        space.map(ram, 0, 1 << 26, npt.Prot.RW)
        assert space.populate(0, 1 << 26) == 1 << 14
        npt.Vcpu(space.client()).run([0x5000], write=True)
        assert space.track_dirty(0, 1 << 26)[0] == 1 << 5
"""
_CHILD = "import sys; sys.stdin.readline(); exec(sys.argv[1]); print('done', flush=True)"

Fresh = Callable[[str], tuple[Callable[[], None], Callable[[], None]]]


@pytest.fixture
def fresh() -> Iterator[Fresh]:
    """Makes what prepares a child for a piece of code, and what has it run."""
    children: list[subprocess.Popen[str]] = []
    environment = os.environ | {"PYTHONPATH": str(Path(npt.__file__).parents[1])}

    def ready(code: str) -> tuple[Callable[[], None], Callable[[], None]]:
        def prepare() -> None:
            command = [sys.executable, "-c", _CHILD, code]
            pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            children.append(subprocess.Popen(command, env=environment, **pipes))

        def run() -> None:
            assert _tell(children[-1]) == "done\n", f"the child could not do {code!r}"

        return prepare, run

    yield ready
    for child in children:
        with child:
            child.kill()


def _tell(child: subprocess.Popen[str]) -> str:
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write("\n")
    child.stdin.flush()
    return child.stdout.readline()


@pytest.mark.parametrize(
    ("title", "ours", "theirs", "at_most"),
    [
        ("import npt", "import npt", "import numpy", 1.5),
        ("first result", _FIRST_RESULT, "import numpy, numba", 2.5),
    ],
    ids=["import", "first-result"],
)
def bench_start(figure: Figure, fresh: Fresh, title: str, ours: str, theirs: str, at_most: float) -> None:
    prepare, run = fresh(ours)
    other, other_run = fresh(theirs)
    figure.take(
        title, run, longer(f"`{theirs}`", other_run, prepare=other, at_most=at_most), n=1, unit="start", prepare=prepare
    )
