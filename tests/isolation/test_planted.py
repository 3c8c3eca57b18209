"""Faults of isolation, planted one at a time: each is seen by a short form of the tests here, or the test of it fails."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import NamedTuple

import pytest

from npt import EPT, NPT, InvariantError
from npt.memory.backing import Backing
from npt.memory.ledger import Ledger
from npt.memory.objects import VmObject
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
from tests.isolation import test_tables as tables
from tests.isolation import test_views as views

pytestmark = pytest.mark.slow
TRIES = 10  # of what takes luck: threads must meet
Edits = tuple[tuple[type, str, str, str], ...]


class Fault(NamedTuple):
    """What is planted, and who is to notice."""

    edits: Edits
    found_by: Callable[[], object]


def _guests() -> None:
    guests.in_turn(EPT, 1, 30)


def _pool() -> None:
    pool.churn(1, 3000)


def _view() -> None:
    views.outlive(NPT, "slice", "release, unmap, free")


def _held() -> None:
    views.outlive(EPT, "view", "unmap, free, release")


def _one_by_one() -> None:
    views.test_views__one_by_one(EPT)


def _for_reading() -> None:
    views.outlive(EPT, "slice", "release, unmap, free", writable=False)


def _chain() -> None:
    views.outlive(EPT, "memoryview", "chain")


def _tables() -> None:
    for _ in range(TRIES):
        tables.churn(EPT, 0, 100)


def _translations() -> None:
    for _ in range(TRIES):
        tables.churn(NPT, 64, 100)


def _writing() -> None:
    for _ in range(TRIES):
        at_work.overlap(EPT, at_work.WORKS["copyto"], 1 << 16)


def _reading() -> None:
    for _ in range(TRIES):
        at_work.overlap(NPT, at_work.WORKS["reduce"], 1 << 16)


FAULTS: dict[str, Fault] = {
    "memory is not zeroed": Fault(
        ((Settling, "_zero", "kernels.frames.zero_spans(memory, spans, first, end)", "pass"),), _pool
    ),
    "the last frame is not zeroed": Fault(
        ((Settling, "_zero", "(memory, spans, first, end)", "(memory, spans, first, end - 1)"),), _guests
    ),
    "no quarantine": Fault(((Settling, "_finish", "watched = self._watch.within(parting.spans)", "watched = []"),), _guests),
    "no quarantine, and a writer": Fault(
        ((Settling, "_finish", "watched = self._watch.within(parting.spans)", "watched = []"),), _writing
    ),
    "no quarantine, and a reader": Fault(
        ((Settling, "_finish", "watched = self._watch.within(parting.spans)", "watched = []"),), _reading
    ),
    "zeroed only once": Fault(
        ((Settling, "_finish", "self._zero(parting)", "parting.quarantined or self._zero(parting)"),), _view
    ),
    "not zeroed before quarantine": Fault(
        ((Settling, "_zero", "if not self._backing:", "if not self._backing or self._watch.within(parting.spans):"),), _view
    ),
    "free while in quarantine": Fault(
        ((Ledger, "put_back", "_without(parting.spans, sorted(single.spans[0][0] for single in waiting))", "parting.spans"),),
        _guests,
    ),
    "quarantine forgets what is transient": Fault(
        ((Settling, "_put_back", "parting.transient, quarantined=True", "False, quarantined=True"),), _pool
    ),
    "transient memory goes to the wrong place": Fault(
        (
            (Ledger, "put_back", "self.empty if parting.transient else self.free", "self.free"),
            (Ledger, "_with_home", "if transient", "if False"),
        ),
        _pool,
    ),
    "freed twice": Fault(
        (
            (Settling, "_is_due", "parting.done or early", "early"),
            (Settling, "_strike", "if parting in", "if False and parting in"),
        ),
        _pool,
    ),
    "freed at the first of two references": Fault(((VmSpace, "_insert", "mapping.obj.acquire(keeper)", "pass"),), _guests),
    "spans are not merged": Fault(((SpanSet, "add", "if behind[1] and behind[0] == end:", "if False:"),), _pool),
    "spans are merged too far": Fault(((SpanSet, "add", "end = _end(behind)", "end = _end(behind) + 1"),), _pool),
    "the other end is handed out": Fault(((SpanSet, "_take_end", "return first + size - n, n", "return first, n"),), _guests),
    "split at the other end": Fault(
        (
            (
                SpanSet,
                "_take_end",
                "self._insert(first, size - n)\n    return first + size - n, n",
                "self._insert(first + n, size - n)\n    return first, n",
            ),
        ),
        _pool,
    ),
    "one frame too many is left": Fault(
        ((SpanSet, "_take_end", "self._insert(first, size - n)", "self._insert(first, size - n + 1)"),), _guests
    ),
    "not the best fit": Fault(((SpanSet, "_at_least", "bisect_left(self._by_size, (n, -1))", "-1"),), _pool),
    "only the first view is watched": Fault(
        ((Holding, "watch", "page.living_windows()", "page.living_windows()[:1]"),), _one_by_one
    ),
    "no view is watched": Fault(((VmPage, "release", "client.watch(self)", "pass"),), _view),
    "no view is watched, in a chain": Fault(((Holding, "_end", "self.watch(page)", "pass"),), _chain),
    "a view counts as dead": Fault(((VmPage, "release", "> _KNOWN_TO_LOOP", "> _KNOWN_TO_LOOP + 1"),), _view),
    "forgotten with the first view that dies": Fault(((Watch, "drain", "if not views:", "if True:"),), _one_by_one),
    "views for reading can be written": Fault(((Backing, "__init__", "whole.toreadonly()", "whole"),), _for_reading),
    "a hold does not keep its object": Fault(((Holding, "forget", "obj.acquire(page)", "pass"),), _held),
    "another page of the object is mapped": Fault(((VmObject, "runs", "rows[0, 0] += ahead", "pass"),), _guests),
    "entries are not cleared": Fault(((PageTable, "vacate", "self._share_pages(clear, first, n_pages)", "pass"),), _guests),
    "nobody is kicked": Fault(((Exclusion, "kick", "if not behind:", "if True:"),), _tables),
    "translations stay cached": Fault(
        ((Ending, "_owe", "generation=record.n_present > 0", "generation=False"),), _translations
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_planted__is_found(name: str) -> None:
    """With the fault in place the short form fails."""
    edits, found_by = FAULTS[name]
    with ExitStack() as planted:
        for owner, function, old, new in edits:
            planted.enter_context(plant(getattr(owner, function), old, new))
        with pytest.raises((AssertionError, InvariantError)) as found:
            found_by()
    print(str(found.value)[:200])


def test_planted__short_forms_pass_without() -> None:
    """It is the fault that they find."""
    for found_by in {fault.found_by for fault in FAULTS.values()} - {_tables, _translations, _writing, _reading}:
        found_by()
