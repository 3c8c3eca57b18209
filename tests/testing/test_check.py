"""``npt.testing.check``: silent where all is well, and each invariant found by its name where it is broken."""

import pickle
import threading
from collections.abc import Callable, Iterator

import pytest

from npt import EPT, NPT, PAGE_SIZE, KickTimeout, MmioObject, Prot, PteFormat, Reservoir, Vcpu, VmSpace
from npt.testing.check import INVARIANTS, InvariantViolated, check, violations
from tests.testing.guest import FAR, PAGE, RAM, ROM, SIZE, Guest
from tests.testing.planted import PLANTS, Plant

NAMES = [one.name for one in INVARIANTS]
ALWAYS = {one.name for one in INVARIANTS if one.always}
PLANTED = [pytest.param(name, plant, id=f"{name} {n}") for name, plants in PLANTS.items() for n, plant in enumerate(plants)]


@pytest.fixture(params=[EPT, NPT], ids=["ept", "npt"])
def form(request: pytest.FixtureRequest) -> PteFormat:
    """Each entry format in turn."""
    assert isinstance(request.param, PteFormat)
    return request.param


@pytest.fixture
def guest(form: PteFormat) -> Guest:
    """Something of everything."""
    return Guest(form)


# -- all is well --------------------------------------------------------------------------------------------------------


def test_check__fresh_space(form: PteFormat) -> None:
    """A space that was just made is well, with a reservoir and without."""
    with Reservoir(PAGE) as reservoir:
        for space in (VmSpace(SIZE, format=form), VmSpace(PAGE_SIZE, format=form, reservoir=reservoir)):
            assert violations(space) == {}


@pytest.mark.parametrize("at_rest", [True, False])
def test_check__guest_with_everything(guest: Guest, at_rest: bool) -> None:
    """Mapped, populated, held, chained, unmapped, viewed, on CPU: all is well."""
    assert violations(guest.space, at_rest=at_rest) == {}


def _steps(guest: Guest) -> Iterator[Callable[[], object]]:
    """From the guest with everything to nothing."""
    space, reservoir = guest.space, guest.reservoir
    vcpu = Vcpu(guest.other)
    yield lambda: vcpu.run([RAM, RAM + 0x9 * PAGE, FAR, ROM], write=[True, False, True, False])
    yield lambda: vcpu.step([FAR], execute=True)
    yield guest.runner.table_exit
    yield lambda: space.track_dirty(0, SIZE >> 8)
    yield lambda: space.set_dirty(RAM, 0x10 * PAGE)
    yield lambda: space.accessed(RAM, 0x10 * PAGE, clear=True)
    yield lambda: space.reset_dirty(RAM, 8 * PAGE)
    yield lambda: space.set_tracking(False)
    yield lambda: reservoir.resize(0x90 * PAGE)
    yield lambda: space.unmap(RAM, guest.ram.length)
    yield guest.ram.release
    yield guest.first.release_chain
    yield lambda: reservoir.resize(0)
    yield guest.batch.release
    yield guest.unmapped_batch.release
    yield lambda: setattr(guest, "view", None)
    yield guest.unmapped.release
    yield guest.other.destroy
    yield space.close
    yield guest.client.release_all
    yield guest.client.destroy
    yield guest.far.release
    yield guest.rom.release
    yield guest.mmio.release
    yield guest.spare.release
    yield reservoir.close


def test_check__after_every_step(guest: Guest) -> None:
    """All is well after each of many calls, up to the end of the space and of its reservoir."""
    for number, step in enumerate(_steps(guest)):
        step()
        assert violations(guest.space) == {}, number


def test_check__kick_timeout(guest: Guest) -> None:
    """A vCPU that would not leave leaves a space behind that is well."""
    guest.runner.table_exit()
    entered, over = threading.Event(), threading.Event()

    def stay() -> None:
        guest.runner.table_enter()
        entered.set()
        over.wait()
        guest.runner.table_exit()

    thread = threading.Thread(target=stay)
    thread.start()
    try:
        assert entered.wait(10)
        with pytest.raises(KickTimeout):
            guest.space.unmap(FAR, guest.far.length)
        assert violations(guest.space) == {}
        with pytest.raises(KickTimeout):
            guest.space.close()
        assert violations(guest.space) == {}
    finally:
        over.set()
        thread.join()


def test_check__object_in_many_places(form: PteFormat) -> None:
    """One object mapped twice in two spaces at the same address, in spans that are apart, is well in both."""
    reservoir = Reservoir(0x10 * PAGE)
    kept = [reservoir.allocate(PAGE) for _ in range(0x10)]
    for obj in kept[::2]:
        obj.release()
    ram = reservoir.allocate(8 * PAGE)
    spaces = [VmSpace(SIZE, format=form, reservoir=reservoir) for _ in range(2)]
    for space in spaces:
        space.map(ram, 0, 8 * PAGE, Prot.RWX)
        space.map(ram, FAR, 2 * PAGE, Prot.READ, 3 * PAGE)
        space.populate(0, 8 * PAGE)
        space.populate(FAR, 2 * PAGE)
    for space in spaces:
        assert violations(space) == {}


def test_check__unbacked_reservoir(form: PteFormat) -> None:
    """A space over memory without bytes, and with MMIO before it had a reservoir, is well."""
    reservoir = Reservoir(0x10 * PAGE, backed=False)
    space = VmSpace(SIZE, format=form)
    space.map_mmio(FAR, PAGE, 0xFE00_0000)
    assert violations(space) == {}
    space.map(reservoir.allocate(4 * PAGE), 0, 4 * PAGE, Prot.RW)
    space.populate(0, 4 * PAGE)
    assert violations(space) == {}


def test_check__shared_device(form: PteFormat) -> None:
    """Two objects of one device may be mapped: only RAM has an owner."""
    space = VmSpace(SIZE, format=form)
    for gpa in (0, FAR):
        space.map(MmioObject(PAGE, 0xFE00_0000), gpa, PAGE, Prot.RW)
    assert violations(space) == {}


# -- in the middle of a call --------------------------------------------------------------------------------------------


def test_check__inside_a_callback(guest: Guest) -> None:
    """In the callback of an unmap, with locks taken and HOLD set, what always holds does, and the rest does not."""
    seen: list[dict[str, list[str]]] = []
    guest.runner.table_exit()
    guest.client.on_invalidate(lambda gpa, length: seen.extend(violations(guest.space, at_rest=rest) for rest in (False, True)))
    guest.space.unmap(RAM, guest.ram.length)
    always, rest = seen
    assert always == {}
    assert {"locks are free", "look-ups are let in", "every table is in a place"} <= set(rest)


def test_check__beside_a_kick(guest: Guest) -> None:
    """While an unmap waits for a vCPU, its tables unlinked and not yet free, what always holds does."""
    seen: list[dict[str, list[str]]] = []
    guest.runner.table_exit()
    entered = threading.Event()

    def run() -> None:
        guest.runner.table_enter()
        entered.set()
        while not guest.runner.kicked:
            pass
        seen.append(violations(guest.space, at_rest=False))
        guest.runner.table_exit()

    thread = threading.Thread(target=run)
    thread.start()
    assert entered.wait(10)
    guest.space._core.exclusion.kick_timeout = 10.0
    guest.space.unmap(FAR, guest.far.length)
    thread.join()
    assert seen == [{}]


def test_check__waits_for_no_lock(guest: Guest) -> None:
    """With all locks in other hands it answers, and says at rest that they are taken."""
    core, taken, over = guest.core, threading.Event(), threading.Event()

    def keep() -> None:
        with core.exclusion.lock, guest.client.gate.lock, guest.reservoir._lock, guest.ram._lock:
            taken.set()
            over.wait()

    thread = threading.Thread(target=keep)
    thread.start()
    try:
        assert taken.wait(10)
        assert violations(guest.space, at_rest=False) == {}
        assert set(violations(guest.space)) == {"locks are free", "nobody zeroes at rest"}
    finally:
        over.set()
        thread.join()


# -- what is broken is found --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "plant"), PLANTED)
def test_check__planted_violation_is_found(name: str, plant: Plant, guest: Guest) -> None:
    """What is broken on purpose is found under its name, in the middle of a call too if it always holds."""
    plant(guest)
    with pytest.raises(InvariantViolated) as caught:
        check(guest.space)
    assert name in caught.value.names
    assert caught.value.found[name]
    assert not any("could not be looked at" in line for line in caught.value.found[name]), str(caught.value)
    assert (name in violations(guest.space, at_rest=False)) is (name in ALWAYS)


def test_check__every_invariant_has_a_plant() -> None:
    """No invariant is without a way to break it."""
    assert list(PLANTS) == NAMES


def test_check__rest_is_not_asked_in_the_middle_of_a_call(guest: Guest) -> None:
    """What need not hold in the middle of a call is not looked at there."""
    guest.core.table.words[0] += 1
    assert violations(guest.space, at_rest=False) == {}


# -- how it is said -----------------------------------------------------------------------------------------------------


def test_invariants__have_names_and_sentences() -> None:
    """Each has a name of its own and a sentence."""
    assert len(set(NAMES)) == len(NAMES)
    for one in INVARIANTS:
        assert one.sentence.endswith("."), one.name
        assert str(one) == f"{one.name}: {one.sentence}"


def test_violated__tells_all_with_numbers(guest: Guest) -> None:
    """The error names everything that is wrong, with its sentence, and numbers in hex."""
    guest.core.table.words[0] += 1
    guest.client.gate.state |= 1
    with pytest.raises(InvariantViolated) as caught:
        check(guest.space)
    there = guest.space.resident_count - 1
    assert caught.value.names == ("the resident count is exact", "look-ups are let in", "HOLD is under the space lock")
    assert f"{there + 1:#x} pages are said to be resident, {there:#x} are" in str(caught.value)
    assert "``resident_count`` is how many leaves are not zero." in str(caught.value)


def test_violated__survives_pickling(guest: Guest) -> None:
    """The error says the same in another process."""
    guest.core.table.words[0] += 1
    with pytest.raises(InvariantViolated) as caught:
        check(guest.space)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_violated__does_not_go_on_for_ever(guest: Guest) -> None:
    """Of many lines the first few are shown."""
    guest.core.table.levels[0][guest.leaf(RAM) : guest.leaf(RAM) + 8] += 0x10_0000
    (lines,) = [lines for name, lines in violations(guest.space).items() if name == "leaves show their frames"]
    assert len(lines) == 5
    assert lines[-1] == "... and more"


def test_violated__spoilt_beyond_looking(guest: Guest) -> None:
    """A look that fails is told, and does not hide what else is wrong."""
    guest.core.mappings.extents = None  # type: ignore[assignment]
    guest.core.table.words[0] += 1
    found = violations(guest.space)
    assert set(found) == {"the resident count is exact", "extents are those of mappings", "extents cover the mappings"}
    assert found["extents cover the mappings"][0].startswith("could not be looked at: TypeError")
