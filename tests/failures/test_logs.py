"""Dirty logs and working sets without memory, or interrupted: nothing that was written is lost, and the next call works.

Interrupts in calls of a log are ``tests/dirty/test_log_interrupts.py``; its calls and its check are used here. ``NPT_LONG=1``
goes through all lines, not each fifth.
"""

import os
from functools import partial

import numpy as np
import pytest

from npt import NPT, Prot, PteFormat, Reservoir, Vcpu, VmSpace, warm_up
from npt.dirty.working_set import WorkingSet
from npt.kernels import load_all
from npt.testing import check
from tests.ahead import Done, ahead
from tests.dirty.migrating import RAM, ROM, guest
from tests.dirty.test_log_interrupts import CALLS, before_start
from tests.dirty.test_log_interrupts import check as check_log
from tests.failures.guest import check_locks
from tests.failures.injecting import INJECTORS, Injector

pytestmark = pytest.mark.slow
LONG = bool(os.environ.get("NPT_LONG"))
STEPS = {
    "no memory at a line": 1 if LONG else 5,
    "no memory for an array": 1,
    "no memory in a kernel": 1,
    "interrupt behind a kernel": 1,
}
PAGE = 0x1000


def fail_in_log(name: str, kind: str) -> int:
    """A call of a log that fails at each of its places; how many there are."""
    load_all()
    warm_up()
    prepare, work = CALLS[name]
    n_failed = 0
    with guest(NPT) as made:
        for n in range(1, 5000, STEPS[kind]):
            made.target[:] = 0xEE
            prepare(made)
            if prepare is before_start:
                made.send_pages((RAM | ROM) - made.dirty())
            outcome = INJECTORS[kind](partial(work, made), n)
            assert outcome is not False, f"the failure at place {n} was swallowed"
            try:
                check_log(made, work)
            except BaseException as error:
                error.add_note(f"{kind}, place {n}")
                raise
            if outcome is None:
                return n_failed
            n_failed += 1
    raise AssertionError("too many places")


@ahead(fail_in_log)
@pytest.mark.parametrize("kind", STEPS)
@pytest.mark.parametrize("name", CALLS)
def test_log__loses_nothing(name: str, kind: str, done: Done) -> None:
    """Whatever was stale is dirty or owed."""
    assert done() > 0 or (kind, name) in NOTHING


NOTHING: set[tuple[str, str]] = set()


# -- working sets -------------------------------------------------------------------------------------------------------

N_PAGES = 20
USED = {0, 3, 7, 8, 19}


def sample_fails(form: PteFormat, inject: Injector, n: int) -> bool | None:
    """A sample that fails: what was used is in it, or in the next."""
    with Reservoir(N_PAGES * PAGE, backed=False) as reservoir, VmSpace(1 << 30, format=form, reservoir=reservoir) as space:
        with reservoir.allocate(N_PAGES * PAGE) as ram:
            space.map(ram, 0, N_PAGES * PAGE, Prot.RW)
        space.set_tracking(True)
        vcpu, usage = Vcpu(space.client()), WorkingSet(space, 0, N_PAGES * PAGE)
        vcpu.run([page * PAGE for page in range(N_PAGES)])
        first = usage.sample()
        vcpu.run([page * PAGE for page in USED])
        outcome = inject(usage.sample, n)
        check_locks(space)
        check(space)
        if outcome:
            usage.sample()
        assert set(np.flatnonzero(usage.last_seen > first.number).tolist()) == USED
        return outcome


SAMPLING = ("interrupt at a line", "interrupt at a call", "interrupt at a c_return", "interrupt behind a kernel", *STEPS)


@pytest.mark.parametrize("kind", sorted(set(SAMPLING)))
def test_sample__loses_no_use(kind: str) -> None:
    """A failure between the harvest of A bits and the end of the sample."""
    load_all()
    warm_up()
    n, outcome = 1, True
    while outcome:
        outcome = bool(sample_fails(NPT, INJECTORS[kind], n))
        n += 1 if LONG else 3
    assert n > 2
