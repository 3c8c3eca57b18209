"""Kernels as their steps, and a space under the scheduler."""

from collections.abc import Callable

import numpy as np
import pytest

from npt import EPT, NPT, PAGE_SIZE, ExitReason, Prot, PteFormat, Reservoir, Vcpu, VmSpace, kernels
from npt._types import U64Array
from npt.testing import Play, ScenarioFailed, Twins, explore, plant, replay, twins
from npt.testing.points import here

FIRST, LAST = 0x0, 63 * PAGE_SIZE


def space_of(n_pages: int, format: PteFormat = EPT, *, track_dirty: bool = False) -> VmSpace:
    """A space with one mapping at 0."""
    reservoir = Reservoir(n_pages * PAGE_SIZE)
    space = VmSpace(1 << 30, format=format, reservoir=reservoir, track_dirty=track_dirty)
    space.map(reservoir.allocate(n_pages * PAGE_SIZE), 0, n_pages * PAGE_SIZE, Prot.RWX)
    return space


def two_faults(one: int = FIRST, other: int = FIRST) -> Callable[[], Play]:
    """Two clients fault, on one page or on two."""

    def make() -> Play:
        space = space_of(64)
        clients = space.client(), space.client()

        def finish() -> None:
            present = np.count_nonzero(space.table.entries(1))
            assert space.resident_count == present == len({one, other}), f"{space.resident_count} counted, {present} there"

        pages = zip(clients, (one, other), strict=True)
        return Play([lambda client=client, gpa=gpa: client.fault(gpa, Prot.READ) for client, gpa in pages], finish)  # type: ignore[misc]

    return make


# -- loading ------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(kernels.jit.DISABLED, reason="there is no list of kernels without numba")
def test_twins__all_kernels_have_one_from_their_own_source() -> None:
    """Whatever kernel files there are, and none is compiled for it."""
    kernels.load_all()
    everything = Twins([f"{name}.*" for name in kernels.__all__ if name != "jit"]).functions
    assert {f"npt.kernels.{name}" for name in everything} == {name for name in kernels.jit.KERNELS if "npt." in name}
    assert "words.load" in everything


def test_twins__default_names_kernels_that_exist_and_others_are_refused() -> None:
    """Passing over is for the default list only."""
    assert "walk.look_up" in Twins().functions
    assert set(Twins(["walk.look_up"]).functions) == {"walk.look_up"}
    assert Twins(()).functions == {}
    for names in (["walk.nothing"], ["nothing.*"], ["walk.leaf_table"]):
        with pytest.raises(ValueError, match="there is no kernel"):
            Twins(names)


def test_twins__edits_are_there_exactly_once() -> None:
    """Else the fault that a test is about is not planted."""
    for edits in ({"walk": [("not there at all", "")]}, {"walk": [("import", "")]}):
        with pytest.raises(ValueError, match="times, not once"):
            Twins(edits=edits)
    with pytest.raises(ValueError, match="no kernel file nothing"):
        Twins(edits={"nothing": []})


@pytest.mark.parametrize("fails", [False, True])
def test_twins__kernels_are_back_in_place_afterwards(fails: bool) -> None:
    """Also after a failure."""
    kernels.load_all()

    def in_place() -> dict[str, object]:
        return {name: getattr(getattr(kernels, name.split(".")[0]), name.split(".")[1]) for name in Twins().functions}

    before = in_place()
    during: list[object] = []

    def work() -> None:
        during.append(kernels.walk.look_up)
        assert not fails

    make = lambda: Play([work])  # noqa: E731
    if fails:
        with pytest.raises(ScenarioFailed):
            explore(make)
    else:
        explore(make)
    assert during != [kernels.walk.look_up]
    assert before == in_place()


def test_twins__plain_accesses_of_shared_arrays_are_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading and writing an element, apart: what a kernel would do without atomic instructions."""
    monkeypatch.setattr(twins, "STEPPED", {"words"})
    plain = Twins(["words.*"], {"words": [("atomic_add(words, np.uint64(index), np.uint64(value))", "words[index] += value")]})
    words: U64Array = np.zeros(8, np.uint64)
    make = lambda: Play([lambda: kernels.words.add(words, 3, np.uint64(2))])  # noqa: E731
    assert replay(make, [], twins=plain) == ["0 start", "0 read words[3]", "0 write words[3]"]
    assert replay(make, [], twins=Twins(["words.add"])) == ["0 start", "0 add words[3]"]
    assert words[3] == 4


def test_twins__are_for_threads_of_the_scenario_only() -> None:
    """Who builds it and looks at it calls the kernels, at their speed, without the faults planted."""
    once = "atomic_add(words, np.uint64(index), np.uint64(value))"
    twice = Twins(["words.*"], {"words": [(once, f"{once}; {once}")]})
    words: U64Array = np.zeros(8, np.uint64)

    def add() -> None:
        kernels.words.add(words, 0, 1)

    def make() -> Play:
        add()
        return Play([add], add)

    explore(make, twins=twice)
    assert words[0] == 1 + 2 + 1


def test_twins__names_for_people() -> None:
    """An array goes by the name that the scenario gives it."""
    words: U64Array = np.zeros(8, np.uint64)
    make = lambda: Play([lambda: kernels.words.store(words, 1, 5)], names={"line of client 0": words})  # noqa: E731
    assert replay(make, []) == ["0 start", "0 store line of client 0[1]"]


def everything_once(space: VmSpace) -> list[object]:
    """Calls that go through most kernels; what they return, and what is left in the tables."""
    client = space.client()
    vcpu = Vcpu(client)
    size = 64 * PAGE_SIZE
    gpas: U64Array = np.array([FIRST, LAST + 8, 5 * PAGE_SIZE], np.uint64)
    found: list[object] = [vcpu.run(gpas, write=True, values=gpas + np.uint64(1)).reason is ExitReason.DONE]
    found += [space.track_dirty(0, size).tolist(), client.fault_many(gpas + np.uint64(PAGE_SIZE), Prot.READ).tolist()]
    page = client.hold(7 * PAGE_SIZE, Prot.RW)
    found += [page.pfn, page.release(), space.populate(0, size), space.peek_dirty(0, size).tolist()]
    found += [space.set_dirty(0, size).tolist(), space.accessed(0, size, clear=True).tolist()]
    found += [space.table.entries(level).tolist() for level in (1, 2, 3, 4)]
    space.unmap(0, size)
    found += [space.table.entries(level).tolist() for level in (1, 2, 3, 4)]
    return [*found, space.resident_count, space.generation]


@pytest.mark.slow
@pytest.mark.parametrize("format", [EPT, NPT], ids=["ept", "npt"])
def test_twins__do_what_the_kernels_do(format: PteFormat) -> None:
    """One history in a thread of a scenario, and outside."""
    found: list[list[object]] = []

    def make() -> Play:
        space = space_of(64, format, track_dirty=True)
        return Play([lambda: found.append(everything_once(space))])

    trace = replay(make, [], twins=Twins([f"{name}.*" for name in kernels.__all__ if name != "jit"]))
    assert len(trace) > 200
    assert found == [everything_once(space_of(64, format, track_dirty=True))]
    assert here() is None


# -- a space ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("other", [FIRST, LAST])
def test_faults__of_two_clients_make_each_page_resident_once(other: int) -> None:
    """Under all schedules with two preemptions."""
    explored = explore(two_faults(other=other), preemptions=2)
    assert explored.complete
    assert explored.schedules >= 6  # of two pages, they share the count alone


def test_faults__a_count_that_is_not_atomic_is_found() -> None:
    """By load and store: one preemption loses an update."""
    faulty = Twins(edits={"walk": [("atomic_add(words, RESIDENT, _ONE)", "words[RESIDENT] += _ONE")]})
    assert explore(two_faults(other=LAST), preemptions=0, twins=faulty).complete
    with pytest.raises(ScenarioFailed, match="1 counted, 2 there") as caught:
        explore(two_faults(other=LAST), preemptions=1, twins=faulty)
    with pytest.raises(ScenarioFailed) as again:
        replay(two_faults(other=LAST), caught.value.schedule, twins=faulty)
    assert again.value.steps == caught.value.steps
    assert replay(two_faults(), [])  # the fault is gone


def test_faults__an_entry_installed_by_a_plain_store_is_found() -> None:
    """Both find it zero, both count it."""
    faulty = Twins(edits={"walk": [("atomic_cas(levels[0], leaf, _ZERO, ", "not atomic_store(levels[0], leaf, ")]})
    with pytest.raises(ScenarioFailed, match="2 counted, 1 there"):
        explore(two_faults(), preemptions=1, twins=faulty)


def harvest_beside_vcpu() -> Play:
    """A vCPU stores a value while the host harvests, copies what was reported, and harvests again after it."""
    space = space_of(1, track_dirty=True)
    space.populate(0, PAGE_SIZE)
    vcpu = Vcpu(space.client())
    ram = space.mappings[0].obj
    copy: list[int] = [0]

    def harvest() -> None:
        if space.track_dirty(0, PAGE_SIZE)[0]:
            copy[0] = int(ram.reservoir.buffer[0])  # type: ignore[attr-defined]

    def run() -> None:
        vcpu.run(np.zeros(1, np.uint64), write=True, values=np.array([7], np.uint64))

    def finish() -> None:
        harvest()
        assert copy[0] == 7

    return Play([run, harvest], finish, may_time_out=False)


@pytest.mark.slow
def test_harvest__beside_a_vcpu_loses_nothing() -> None:
    """What was stored through a translation from before the kick is in the copy."""
    assert explore(harvest_beside_vcpu, preemptions=2).complete


def test_harvest__without_its_kick_loses_a_store() -> None:
    """The vCPU has set D and not yet stored: found with two preemptions."""
    from npt.space.exclusion import Exclusion

    with plant(Exclusion.kick, "if not behind:", "if behind or True:"), pytest.raises(ScenarioFailed):
        explore(harvest_beside_vcpu, preemptions=2)
