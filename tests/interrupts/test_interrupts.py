"""An interrupt at any place of a public call leaves a guest whole: invariants, locks, log, and the next call.

Each call is interrupted at its first line, then at its second, and so on until it runs through; and likewise at every function
that it calls and behind every built-in. ``NPT_LONG=1`` goes through all of these, not only the first and each third, and with
both formats.
"""

import os
from itertools import product

import pytest

from npt import EPT, NPT, VmSpace, warm_up
from npt.kernels import load_all
from tests.ahead import Done, ahead
from tests.failures.calls import CALLS
from tests.failures.guest import SIZE
from tests.failures.injecting import INJECTORS
from tests.failures.sweep import sweep
from tests.interrupts.interrupt import KINDS, interrupted

# The format is no matter to an interrupt: each kind of place is gone through with one, with both in the long form.
FORMATS = {"ept": EPT, "npt": NPT}
ONE_EACH = [("call", "npt"), ("line", "ept"), ("c_return", "npt")]
BOTH = list(product(KINDS, FORMATS))
LONG = bool(os.environ.get("NPT_LONG"))
places = pytest.mark.parametrize(("kind", "form"), BOTH if LONG else ONE_EACH)
NO_BUILT_INS = {"VmPage.mark_dirty", "Vm.memseg"}  # that one could be interrupted behind


def go_through(name: str, kind: str, form: str) -> int:
    """Interrupt a call at its places; how many there are."""
    load_all()
    warm_up()  # kernels are compiled in another thread, which no interrupt reaches
    return sweep(name, form, INJECTORS[f"interrupt at a {kind}"], step=1 if LONG else 3)


@pytest.mark.slow
@ahead(go_through)
@places
@pytest.mark.parametrize("name", CALLS)
def test_interrupt__leaves_a_guest_whole(name: str, kind: str, form: str, done: Done) -> None:
    """As before, or done, or between where that is documented; the same call works, every page written is in the log."""
    assert done() > 0 or (kind == "c_return" and name in NO_BUILT_INS)


@places
def test_interrupt__destroy_of_a_space(kind: str, form: str) -> None:
    """A space whose destroy was interrupted can be used, or is gone for all its clients."""
    n, happened = 1, True
    while happened:
        space = VmSpace(SIZE, format=FORMATS[form])
        clients = [space.client(), space.client()]
        outcome = interrupted(space.destroy, kind, n)
        assert outcome is not False
        assert {client.orphaned for client in clients} == {space.destroyed}
        if not space.destroyed:
            clients[0].table_enter()
            clients[0].table_exit()
            space.destroy()
        happened, n = outcome is True, n + 1
    assert n > 2
