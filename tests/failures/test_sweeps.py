"""Every public call, made to fail at each of its places for want of memory: as before, or as documented; the next call works.

``NPT_LONG=1`` goes through all lines, not each sixth, and with both formats; and it has Python's own allocator fail each time
that it is asked, where the interpreter was made with ``_testcapi``.
"""

import os
import subprocess
import sys

import pytest

from npt import warm_up
from npt.kernels import load_all
from tests.ahead import Done, ahead
from tests.failures.calls import CALLS, CLIENTS, DIRTY, MAPPINGS, MEMORY, VMS
from tests.failures.injecting import INJECTORS, has_testcapi
from tests.failures.sweep import FORMATS, sweep

pytestmark = pytest.mark.slow
LONG = bool(os.environ.get("NPT_LONG"))
formats = pytest.mark.parametrize("form", FORMATS if LONG else ["npt"])

GROUPS = {"memory": MEMORY, "mappings": MAPPINGS, "dirty": DIRTY, "clients": CLIENTS, "vms": VMS}
# How many places there are at least, by group: a sweep that finds none is none.
LEAST = {
    "no memory in a kernel": {"memory": 1, "mappings": 40, "dirty": 30, "clients": 40, "vms": 30},
    "interrupt behind a kernel": {"memory": 1, "mappings": 40, "dirty": 30, "clients": 40, "vms": 30},
    "no memory for an array": {"memory": 5, "mappings": 100, "dirty": 20, "clients": 80, "vms": 60},
    "no memory for a part": {"memory": 20, "mappings": 5, "dirty": 0, "clients": 0, "vms": 5},
}


def fail_at_lines(name: str, form: str) -> int:
    """A call without memory at each of its lines; how many there are."""
    load_all()
    warm_up()
    return sweep(name, form, INJECTORS["no memory at a line"], step=1 if LONG else 6)


def fail_inside(kind: str, group: str, form: str) -> int:
    """A group of calls with failures of a kind."""
    load_all()
    warm_up()
    return sum(sweep(name, form, INJECTORS[kind]) for name in GROUPS[group])


@ahead(fail_at_lines)
@formats
@pytest.mark.parametrize("name", CALLS)
def test_no_memory__at_a_line(name: str, form: str, done: Done) -> None:
    """What a line wants memory for, it may not get."""
    assert done() > 0


@ahead(fail_inside)
@formats
@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("kind", LEAST)
def test_failure__inside(kind: str, group: str, form: str, done: Done) -> None:
    """The same in kernels and behind them, for arrays, spans of frames, records and tables."""
    assert done() >= LEAST[kind][group]


NO_MEMORY = """
import sys
from npt import warm_up
from npt.kernels import load_all
from tests.failures.injecting import INJECTORS
from tests.failures.sweep import sweep
load_all(), warm_up()
print(sweep(sys.argv[1], sys.argv[2], INJECTORS["no memory at all"], patience=8))
"""


if LONG and has_testcapi():

    @formats
    @pytest.mark.parametrize("name", CALLS)
    def test_no_memory__at_all(name: str, form: str) -> None:
        """Python's own allocator fails each time; numpy and numba may end the process over that, which is no answer of ours."""
        ran = subprocess.run([sys.executable, "-c", NO_MEMORY, name, form], capture_output=True, text=True, check=False)
        if ran.returncode < 0:
            pytest.skip(f"the process died of signal {-ran.returncode} where it had no memory")
        assert ran.returncode == 0, ran.stderr
