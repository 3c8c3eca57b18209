"""That forms are forced, and counted: a test in a form that was not forced would prove nothing."""

import threading
from contextlib import suppress

import pytest

from npt import NPT, Prot, Reservoir, VmSpace, _threads
from npt.table import tree
from tests.forms import FORMS, Form, forced

PAGE = 0x1000
N_TABLES = 4
LENGTH = N_TABLES * 512 * PAGE


def work(form: Form) -> dict[str, int]:
    """Populate, write to one leaf table, harvest twice, mark, look and unmap, in a form; what was seen."""
    with Reservoir(LENGTH, backed=False) as reservoir, reservoir.allocate(LENGTH) as ram, VmSpace(LENGTH, format=NPT) as space:
        with forced(form) as seen:
            space.map(ram, 0, LENGTH, Prot.RW)
            space.set_tracking(True)
            assert space.populate(0, LENGTH) == LENGTH // PAGE
            space.set_dirty(0, PAGE)
            assert space.track_dirty(0, LENGTH)[0] == 1
            assert not space.track_dirty(0, LENGTH).any()
            space.peek_dirty(0, LENGTH)
            space.unmap(0, LENGTH)
        return {**seen.calls, "tables": seen.tables, "shared": seen.shared, "helped": seen.helped}


@pytest.mark.parametrize("name", [name for name, form in FORMS.items() if form.threads is None])
def test_forms__of_one_thread(name: str) -> None:
    """Plain stores or atomics; the table that was written, or all of them each time."""
    form, seen = FORMS[name], work(FORMS[name])
    kernels = ("harvest_still", "harvest") if form.still else ("harvest", "harvest_still")
    assert [seen[kernel] for kernel in kernels] == [2, 0]
    assert seen["tables"] == (1 if form.summary else 2 * N_TABLES)
    assert (seen["shared"], seen["helped"]) == (0, 0)


@pytest.mark.parametrize("summary", [True, False])
@pytest.mark.parametrize("still", [True, False])
@pytest.mark.parametrize("n", [2, 3])
def test_forms__of_several_threads(n: int, still: bool, summary: bool) -> None:
    """Populate and unmap are split, harvests and looks where there is more than one table to read; others do parts."""
    seen = work(Form(still, summary, n))
    n_shared = 2 if summary else 5
    assert seen["shared"] == n_shared
    assert n_shared * (n - 1) <= seen["helped"] < n_shared * N_TABLES
    assert seen["tables"] == (1 if summary else 2 * N_TABLES)
    assert seen["harvest_still" if still else "harvest"] == (2 if summary else 2 * N_TABLES)
    assert seen["harvest" if still else "harvest_still"] == 0


def test_forms__leave_nothing_behind() -> None:
    """After a context all is as before, the helpers too, also after an error."""
    before = _threads._Sharing, _threads._helpers, _threads._jobs, tree._LEAST_TABLES, threading.active_count()
    with suppress(ValueError), forced(FORMS["all of it"]):
        assert len(_threads._helpers) == 2
        assert threading.active_count() == before[4] + 2
        raise ValueError
    assert (_threads._Sharing, _threads._helpers, _threads._jobs, tree._LEAST_TABLES, threading.active_count()) == before
