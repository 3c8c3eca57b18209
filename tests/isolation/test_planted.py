"""Faults of isolation, planted one at a time: each is seen by a short form of the tests here, or the test of it fails."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import NamedTuple

import pytest

from npt import EPT, NPT, InvariantError
from npt.memory.backing import Backing
from npt.memory.ledger import Ledger
from npt.memory.objects import VmObject
from npt.memory.reservoir import Reservoir
from npt.memory.settling import Settling
from npt.memory.spans import SpanSet
from npt.memory.watch import Watch
from npt.space.ending import Ending
from npt.space.exclusion import Exclusion
from npt.space.holding import Holding
from npt.space.page import VmPage
from npt.space.vmspace import VmSpace
from npt.table.tree import PageTable
from npt.testing import plant
from tests.isolation import test_at_work as at_work
from tests.isolation import test_guests as guests
from tests.isolation import test_pool as pool
from tests.isolation import test_tables as table_tests
from tests.isolation import test_views as views

pytestmark = pytest.mark.slow
TRIES = 10  # of what takes luck: threads must meet


class Edit(NamedTuple):
    """A change of one method."""

    owner: type
    method: str
    old: str
    new: str


class Fault(NamedTuple):
    """What is planted, and the short forms that are to notice, each."""

    edits: tuple[Edit, ...]
    found_by: tuple[Callable[[], object], ...]


def in_turn() -> None:
    """Two guests, one thread."""
    guests.in_turn(EPT, 1, 30)


def side_by_side() -> None:
    """Two guests, two threads."""
    guests.side_by_side(NPT, 1, 2, 10)


def churn() -> None:
    """The pool beside the slow one."""
    pool.churn(1, 3000)


def threads() -> None:
    """The pool from several threads."""
    for _ in range(TRIES):
        pool.test_pool__from_several_threads()


def tables() -> None:
    """vCPUs while tables and frames change hands."""
    for _ in range(TRIES):
        table_tests.churn(EPT, 0, 100)


def translations() -> None:
    """The same with a TLB."""
    for _ in range(TRIES):
        table_tests.churn(NPT, 64, 100)


def writing() -> None:
    """Numpy writes while its page is freed."""
    for _ in range(TRIES):
        at_work.overlap(EPT, at_work.WORKS["copyto"], 1 << 16)


def reading() -> None:
    """Numpy reads while its page is freed."""
    for _ in range(TRIES):
        at_work.overlap(NPT, at_work.WORKS["reduce"], 1 << 16)


def dying() -> None:
    """A view dies while its page is freed."""
    at_work.test_at_work__views_that_die_in_another_thread(NPT)


def late() -> None:
    """One view that outlives its page."""
    views.outlive(NPT, "slice", "release, unmap, free")


def unmapped() -> None:
    """A page that is unmapped while it is held."""
    views.outlive(EPT, "view", "unmap, free, release")


def one_by_one() -> None:
    """Several views."""
    views.test_views__one_by_one(EPT)


def for_reading() -> None:
    """A view that one may not write through."""
    views.outlive(EPT, "slice", "release, unmap, free", writable=False)


def chained() -> None:
    """A page that is released by its chain."""
    views.outlive(EPT, "memoryview", "chain")


FAULTS: dict[str, Fault] = {
    "memory is not zeroed": Fault(
        (Edit(Settling, "_zero", "kernels.frames.zero_spans(memory, spans, first, end)", "pass"),),
        (in_turn, side_by_side, churn, threads, late),
    ),
    "the last frame is not zeroed": Fault(
        (Edit(Settling, "_zero", "(memory, spans, first, end)", "(memory, spans, first, end - 1)"),), (in_turn, churn)
    ),
    "zeroed after it is back": Fault(
        (
            Edit(
                Settling, "_finish",
                "self._zero(parting)\n            with self._lock:\n                self._put_back(parting, watched)",
                "with self._lock:\n                self._put_back(parting, watched)\n            self._zero(parting)",
            ),
        ),
        (threads,),
    ),
    "no lock while frames are taken": Fault((Edit(Reservoir, "allocate", "with self._lock:", "if True:"),), (threads,)),
    "no lock while frames come back": Fault(
        (Edit(Settling, "_finish", "with self._lock:\n                self._put", "if True:\n                self._put"),),
        (threads,),
    ),
    "no quarantine": Fault(
        (Edit(Settling, "_finish", "watched = self._watch.within(parting.spans)", "watched = []"),),
        (in_turn, side_by_side, churn, late, writing, reading, dying),
    ),
    "zeroed only once": Fault(
        (Edit(Settling, "_finish", "self._zero(parting)", "parting.quarantined or self._zero(parting)"),),
        (in_turn, side_by_side, churn, late, dying),
    ),
    "not zeroed before quarantine": Fault(
        (Edit(Settling, "_zero", "if not self._backing:", "if not self._backing or self._watch.within(parting.spans):"),),
        (in_turn, churn, late),
    ),
    "free while in quarantine": Fault(
        (Edit(Ledger, "put_back", "sorted(single.spans[0][0] for single in waiting)", "[]"),),
        (in_turn, churn, late),
    ),
    "quarantine forgets what is transient": Fault(
        (Edit(Settling, "_put_back", "parting.transient, quarantined=True", "False, quarantined=True"),), (in_turn, churn)
    ),
    "transient memory goes to the wrong place": Fault(
        (
            Edit(Ledger, "put_back", "self.empty if parting.transient else self.free", "self.free"),
            Edit(Ledger, "_with_home", "if transient", "if False"),
        ),
        (in_turn, churn),
    ),
    "freed twice": Fault(
        (
            Edit(Settling, "_is_due", "parting.done or early", "early"),
            Edit(Settling, "_strike", "if parting in", "if False and parting in"),
        ),
        (in_turn, churn, threads),
    ),
    "a mapping does not keep its object": Fault(
        (Edit(VmSpace, "_insert", "mapping.obj.acquire(keeper)", "pass"),), (in_turn, side_by_side)
    ),
    "spans are not merged": Fault((Edit(SpanSet, "add", "if behind[1] and behind[0] == end:", "if False:"),), (in_turn, churn)),
    "spans are merged too far": Fault((Edit(SpanSet, "add", "= _end(behind)", "= _end(behind) + 1"),), (in_turn, churn)),
    "the wrong end is handed out": Fault(
        (Edit(SpanSet, "_take_end", "return first + size - n, n", "return first, n"),), (in_turn, side_by_side, churn, threads)
    ),
    "split at the other end": Fault(
        (
            Edit(
                SpanSet, "_take_end",
                "self._insert(first, size - n)\n    return first + size - n, n",
                "self._insert(first + n, size - n)\n    return first, n",
            ),
        ),
        (churn,),
    ),
    "one frame too many is left": Fault(
        (Edit(SpanSet, "_take_end", "self._insert(first, size - n)", "self._insert(first, size - n + 1)"),),
        (in_turn, churn, threads),
    ),
    "not the best fit": Fault((Edit(SpanSet, "_at_least", "bisect_left(self._by_size, (n, -1))", "-1"),), (churn,)),
    "only the first view is watched": Fault(
        (Edit(Holding, "watch", "page.living_windows()", "page.living_windows()[:1]"),), (one_by_one,)
    ),
    "no view is watched": Fault((Edit(VmPage, "release", "client.watch(self)", "pass"),), (in_turn, side_by_side, late)),
    "no view is watched, in a chain": Fault((Edit(Holding, "_end", "self.watch(page)", "pass"),), (chained,)),
    "a view counts as dead": Fault((Edit(VmPage, "release", "> _KNOWN_TO_LOOP", "> _KNOWN_TO_LOOP + 1"),), (in_turn, late)),
    "forgotten with the first view that dies": Fault((Edit(Watch, "drain", "if not views:", "if True:"),), (one_by_one,)),
    "views for reading can be written": Fault(
        (Edit(Backing, "__init__", "whole.toreadonly()", "whole"),), (in_turn, for_reading)
    ),
    "a hold does not keep its object": Fault((Edit(Holding, "forget", "obj.acquire(page)", "pass"),), (unmapped,)),
    "another page of the object is mapped": Fault((Edit(VmObject, "runs", "rows[0, 0] += ahead", "pass"),), (in_turn,)),
    "entries are not cleared": Fault(
        (Edit(PageTable, "vacate", "self._share_pages(clear, first, n_pages)", "pass"),), (in_turn,)
    ),
    "nobody is kicked": Fault((Edit(Exclusion, "kick", "if not behind:", "if True:"),), (tables,)),
    "translations stay cached": Fault(
        (Edit(Ending, "_owe", "generation=record.n_present > 0", "generation=False"),), (translations,)
    ),
}  # fmt: skip
CASES = [(name, found_by) for name, fault in FAULTS.items() for found_by in fault.found_by]


@pytest.mark.parametrize(("name", "found_by"), CASES, ids=[f"{name} - {found_by.__name__}" for name, found_by in CASES])
def test_planted__is_found(name: str, found_by: Callable[[], object]) -> None:
    """With the fault in place the short form fails."""
    with ExitStack() as planted:
        for edit in FAULTS[name].edits:
            planted.enter_context(plant(getattr(edit.owner, edit.method), edit.old, edit.new))
        with pytest.raises((AssertionError, InvariantError)) as found:
            found_by()
    print(str(found.value)[:200])
