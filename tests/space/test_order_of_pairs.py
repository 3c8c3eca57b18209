"""Two things wrong at once, for every call and every pair of kinds: the one that is checked first is told, and nothing changes.

There is one order for all calls: type, stale handle, argument and overflow, orphaned, end of space, tracking, no such mapping,
deadlock, then the call's own. What can be wrong with each stands in ``ordered_spaces`` and ``ordered_handles``; all ways to
have two of that are tried.
"""

from collections.abc import Callable
from functools import partial
from itertools import combinations

import pytest

from npt import VmSpace
from tests.space.everything import Scene, refused
from tests.space.ordered_handles import HANDLES
from tests.space.ordered_spaces import SPACES
from tests.space.orders import CALLBACK, ON_CPU, ORDER, ORPHANED, STALE, Ordered, Wrong, pairs
from tests.space.scene import on_cpu

Case = tuple[str, str, tuple[Wrong, ...]]
BY_NAME = {call.name: call for call in (*SPACES, *HANDLES)}
CASES = {name: list(pairs(call)) for name, call in BY_NAME.items()}


def wrong_with(scene: Scene, call: Ordered, case: Case, *, first_of_all: bool) -> None:
    """One case: the earlier of two kinds is what is told."""
    first, second, wrongs = case
    arguments = call.arguments(*wrongs)
    made = {name: value(scene) if callable(value) else value for name, value in arguments.items()}
    try:
        refused(scene, lambda: call.make(**made), call.error(first), renew=first_of_all)
    except AssertionError as failure:
        raise AssertionError(f"{first}, {second}: {wrongs}") from failure


def all_wrong_with(scene: Scene, call: Ordered, cases: list[Case]) -> None:
    """Case after case."""
    for case in cases:
        wrong_with(scene, call, case, first_of_all=case is cases[0])


def space_of(scene: Scene, case: Case, call: Ordered) -> VmSpace:
    """In whose callback, or on whose CPU, a case is."""
    names = [wrong["self"](scene) for wrong in case[2] if "self" in wrong] or [call.good["self"](scene)]
    return scene.vm.space if names[0] is scene.vm else scene.untracked if names[0] is scene.untracked else scene.space


def in_its_callback(space: VmSpace, act: Callable[[], None]) -> None:
    """Do something in a callback of a space whose tracking stays as it is."""
    listener, before = space.client(), space.generation
    listener.on_invalidate(lambda gpa, length: act())
    try:
        space.accessed(0, space.size, clear=True)
    finally:
        listener.on_invalidate(None)
        listener.destroy()
    assert space.generation == before + 1


@pytest.mark.parametrize("name", BY_NAME)
def test_pairs(scene: Scene, name: str) -> None:
    """Each kind alone, and each two."""
    call, cases = BY_NAME[name], [case for case in CASES[name] if not {CALLBACK, ON_CPU} & set(case[:2])]
    all_wrong_with(scene, call, cases)
    assert cases or set(call.kinds()) <= {CALLBACK, ON_CPU}


WAITING = {name: call for name, call in BY_NAME.items() if call.waits}


@pytest.mark.parametrize("name", WAITING)
def test_pairs__in_a_callback(scene: Scene, name: str) -> None:
    """Each kind with a wait for oneself, in a callback."""
    call, cases = WAITING[name], [case for case in CASES[name] if CALLBACK in case[:2]]
    for space in scene.space, scene.vm.space, scene.untracked:
        here = [case for case in cases if space_of(scene, case, call) is space]
        if here:
            in_its_callback(space, partial(all_wrong_with, scene, call, here))
    assert cases


@pytest.mark.parametrize("name", [name for name, call in WAITING.items() if ON_CPU in call.waits])
def test_pairs__on_cpu(scene: Scene, name: str) -> None:
    """Each kind with a wait for oneself, on CPU."""
    call, cases = WAITING[name], [case for case in CASES[name] if ON_CPU in case[:2]]
    for space in scene.space, scene.vm.space, scene.untracked:
        here = [case for case in cases if space_of(scene, case, call) is space]
        if here:
            with on_cpu(space):
                all_wrong_with(scene, call, here)
    assert cases


def test_pairs__are_all_there() -> None:
    """None was lost: calls, cases, and those pairs of kinds that are had at once."""
    kinds = {(name, *case[:2]) for name, cases in CASES.items() for case in cases}
    assert (len(BY_NAME), len(kinds), sum(map(len, CASES.values()))) == (60, 731, 1606)


ONE_ARGUMENT = {  # that is wrong in one way only
    ("RamObject.pfn_at", "type", "argument"),
    ("Reservoir.allocate", "argument", "its own"),
    ("Vm.memseg", "type", "no such mapping"),
    ("Vm.map_memseg", "end of space", "its own"),
    ("VmClient.write", "argument", "its own"),
    ("VmClient.write", "overflow", "its own"),
    ("VmPage.chain", "type", "argument"),
    ("VmPages.gather", "type", "argument"),
    ("VmPages.mark_dirty", "type", "argument"),
    ("VmPages.scatter", "type", "argument"),
    ("VmSpace.explain", "type", "argument"),
    ("VmSpace.pte", "type", "argument"),
    ("VmSpace.translate", "type", "argument"),
    ("guest.write", "argument", "its own"),
    ("object.write", "argument", "its own"),
    ("guest[i]", "type", "its own"),
    ("object[i]", "type", "its own"),
}


def test_pairs__that_cannot_be_had_at_once() -> None:
    """Of all pairs only those are missing that nobody can have: what is gone has no callbacks, an argument is wrong once."""
    had = {(name, *case[:2]) for name, cases in CASES.items() for case in cases}
    missing = {
        (name, first, second)
        for name, call in BY_NAME.items()
        for first, second in combinations(call.kinds(), 2)
        if ORDER[first][0] < ORDER[second][0]
    } - had
    buried = {pair for pair in missing if pair[1] in (STALE, ORPHANED) and pair[2] in (CALLBACK, ON_CPU)}
    assert missing - buried == ONE_ARGUMENT
    assert len(buried) == 29
