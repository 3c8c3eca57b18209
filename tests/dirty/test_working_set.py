"""Working sets: idle pages, samples of A bits with and without clearing, what they refuse."""

import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from npt import (
    EPT,
    NPT,
    AddressOverflow,
    BeyondSpace,
    Deadlock,
    InvalidArgument,
    KickTimeout,
    NotSupported,
    Prot,
    PteFormat,
    Reservoir,
    StaleHandle,
    TrackingDisabled,
    Vcpu,
    VmSpace,
    kernels,
)  # fmt: skip
from npt.dirty.working_set import WorkingSet, idle
from tests.dirty.usage_scene import BASE, PAGE, Guest, guest
from tests.space.scene import bits, caught, listen, on_cpu_elsewhere

N = 20


@pytest.fixture(params=[EPT, NPT], ids=["ept", "npt"])
def form(request: pytest.FixtureRequest) -> PteFormat:
    """Each entry format in turn."""
    assert isinstance(request.param, PteFormat)
    return request.param


@pytest.fixture
def machine(form: PteFormat) -> Iterator[Guest]:
    """Twenty pages, all resident, across the end of a leaf table."""
    with guest(form, N) as made:
        yield made


def made(machine: Guest, **more: Any) -> WorkingSet:
    """A working set over the guest."""
    return WorkingSet(machine.space, *machine.range, **more)


# -- idle ---------------------------------------------------------------------------------------------------------------


def test_idle__resident_and_not_used(machine: Guest) -> None:
    """After the A bits were cleared, all that nobody touches; fresh nPT leaves have A set and are not idle."""
    fresh = bits(idle(machine.space, *machine.range))
    assert fresh == ([] if machine.space.format is NPT else list(range(N)))
    machine.space.accessed(*machine.range, clear=True)
    machine.read([0, 3, 19])
    assert bits(idle(machine.space, *machine.range)) == [page for page in range(N) if page not in (0, 3, 19)]
    assert bits(idle(machine.space, BASE + 2 * PAGE, 3 * PAGE)) == [0, 2]


def test_idle__not_what_is_not_resident(form: PteFormat) -> None:
    """A page that is mapped and was never touched is not idle memory: it has none."""
    with guest(form, N, populate=False) as machine:
        machine.read([4, 5])
        machine.space.accessed(*machine.range, clear=True)
        machine.read([5])
        assert bits(idle(machine.space, *machine.range)) == [4]


def test_idle__changes_nothing(machine: Guest) -> None:
    """Neither marks nor the generation."""
    machine.read([1])
    before = machine.space.accessed(*machine.range).tolist(), machine.space.generation
    idle(machine.space, *machine.range)
    assert before == (machine.space.accessed(*machine.range).tolist(), machine.space.generation)


# -- samples ------------------------------------------------------------------------------------------------------------


def test_sample__counts_what_was_used_since_the_last(machine: Guest) -> None:
    """Reads and writes; each sample begins anew; ``new`` counts a page once."""
    working_set = made(machine)
    machine.read([0, 1, 2])
    machine.write([2, 3], 1)
    one = working_set.sample()
    machine.read([3, 7])
    two, three = working_set.sample(), working_set.sample()
    assert [(s.number, s.accessed, s.new) for s in (one, two, three)] == [(1, 4, 4), (2, 2, 1), (3, 0, 0)]
    assert 0 <= one.time_ns <= two.time_ns <= three.time_ns
    assert working_set.samples == (one, two, three)


def test_sample__keeps_what_an_interrupt_left_meanwhile(machine: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    """One thread waits to enter what it harvested while another's kernel runs, and is interrupted there."""
    working_set, usage = made(machine), kernels.usage
    machine.read([5])
    left, record = [machine.space.accessed(*machine.range, clear=True)], usage.record

    def meanwhile(*arguments: Any) -> None:
        record(*arguments)
        working_set._late.extend(left)
        left.clear()

    monkeypatch.setattr(usage, "record", meanwhile)
    assert [working_set.sample().accessed for _ in range(3)] == [0, 1, 0]


def test_made__forgets_what_was_used_before(machine: Guest) -> None:
    """On nPT, where fresh leaves have A set, too."""
    machine.read([5])
    working_set = made(machine)
    assert working_set.sample().accessed == 0
    assert bits(machine.space.accessed(*machine.range)) == []


def test_sample__takes_its_range_only(machine: Guest) -> None:
    """Pages beside it keep their A bits."""
    working_set = WorkingSet(machine.space, BASE + 5 * PAGE, 4 * PAGE)
    machine.space.accessed(*machine.range, clear=True)
    machine.read(range(N))
    assert working_set.sample().accessed == 4
    assert bits(machine.space.accessed(*machine.range)) == [*range(5), *range(9, N)]
    assert working_set.n_pages == 4


def test_sample__a_page_populated_since(form: PteFormat) -> None:
    """An nPT leaf is made with A set, so the page counts; an EPT leaf is not."""
    with guest(form, N, populate=False) as machine:
        working_set = made(machine)
        machine.space.populate(BASE, 2 * PAGE)
        assert working_set.sample().accessed == (2 if form is NPT else 0)
        assert working_set.sample().accessed == 0


def test_sample__sees_what_a_tlb_would_hide(machine: Guest) -> None:
    """The shoot-down makes the vCPU walk, and mark, again."""
    working_set = made(machine)
    vcpu = Vcpu(machine.space.client(), tlb=64)
    for _ in range(3):
        vcpu.run([BASE, BASE + PAGE])
        assert working_set.sample().accessed == 2


def test_samples__more_than_there_was_room_for(machine: Guest) -> None:
    """The histograms grow, and keep what they hold."""
    working_set = made(machine, part_pages=7)
    for number in range(300):
        machine.read([number % N])
        working_set.sample()
    assert working_set.reuse().tolist()[:21] == [0] * 20 + [280]
    assert [s.number for s in working_set.samples] == list(range(1, 301))
    assert working_set.size() == N
    assert working_set.curve([1, 20, 300]).tolist() == [1.0, 20.0, 20.0]


def test_unmapped__a_page_stays_in_what_was_seen(machine: Guest) -> None:
    """It is not idle, for it is not there, but it was used."""
    working_set = made(machine)
    machine.read([0, 1, 15])
    working_set.sample()
    machine.unmap(0)
    assert working_set.sample().accessed == 0
    assert bits(working_set.pages()) == [0, 1, 15]
    assert bits(working_set.idle(1)) == list(range(10, N))
    assert bits(working_set.idle()) == [page for page in range(10, N) if page != 15]
    assert bits(working_set.idle(first=8, n_pages=9)) == [2, 3, 4, 5, 6, 8]


# -- queries ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def three(machine: Guest) -> WorkingSet:
    """Samples of pages 0 to 9, of 8 to 12, and of page 12 alone."""
    working_set = made(machine, part_pages=5)
    for pages in (range(10), range(8, 13), [12]):
        machine.read(pages)
        working_set.sample()
    return working_set


def test_size__distinct_pages_of_a_window(three: WorkingSet) -> None:
    """Each page once; all samples without a window."""
    assert [three.size(window) for window in (1, 2, 3)] == [1, 5, 13]
    assert three.size() == 13
    assert bits(three.pages(2)) == [8, 9, 10, 11, 12]


def test_size__of_some_pages(three: WorkingSet) -> None:
    """Any of the range, by number."""
    assert (three.size(first=9), three.size(2, first=9, n_pages=3), three.size(first=13)) == (4, 3, 0)
    assert bits(three.pages(2, first=7, n_pages=4)) == [1, 2, 3]
    assert three.pages(first=7, n_pages=9).shape == (2,)


def test_idle__of_a_working_set(three: WorkingSet) -> None:
    """Resident, and not seen for so many samples."""
    assert bits(three.idle(1)) == [page for page in range(N) if page != 12]
    assert bits(three.idle(2)) == [*range(8), *range(13, N)]
    assert bits(three.idle(2, first=6, n_pages=9)) == [0, 1, 7, 8]


def test_last_seen__is_a_copy(three: WorkingSet) -> None:
    """Sample numbers by page; what the caller does with them changes nothing."""
    seen = three.last_seen
    assert seen.dtype == np.uint32
    assert seen.tolist() == [1] * 8 + [2] * 4 + [3] + [0] * 7
    seen[:] = 0
    assert three.last_seen.any()


def test_histograms__by_part(three: WorkingSet) -> None:
    """Whole parts, the last of them as it is; pages 8, 9 and 12 were seen again in the next sample."""
    assert three.reuse().tolist() == [0, 3, 0]
    assert three.reuse(first=5, n_pages=5).tolist() == [0, 2, 0]
    assert three.reuse(first=10).tolist() == [0, 1, 0]
    assert three.curve(first=5, n_pages=5).tolist() == [7 / 3, 7 / 2, 5.0]
    assert three.curve([3, 1], first=15, n_pages=5).tolist() == [0.0, 0.0]


def test_curve__nothing_sampled(machine: Guest) -> None:
    """No samples, no windows."""
    working_set = made(machine)
    assert working_set.curve().shape == working_set.curve([]).shape == working_set.reuse().shape == (0,)
    assert working_set.curve().dtype == np.float64
    assert (working_set.size(), working_set.samples) == (0, ())
    assert not working_set.last_seen.any()


def test_repr__is_short(three: WorkingSet) -> None:
    """What it covers and how far it is."""
    assert repr(three) == "<WorkingSet of 20 pages, 3 samples>"


# -- without clearing ---------------------------------------------------------------------------------------------------


def test_without_clearing__bits_only_grow(machine: Guest) -> None:
    """Samples tell what was touched so far; nothing is cleared, and nobody is kicked or called."""
    machine.space.accessed(*machine.range, clear=True)
    working_set = made(machine, clear=False)
    generation = machine.space.generation
    for pages in ([1, 2], [2, 3], []):
        machine.read(pages)
        working_set.sample()
    assert [(s.accessed, s.new) for s in working_set.samples] == [(2, 2), (3, 1), (3, 0)]
    assert (working_set.size(), bits(working_set.pages(first=2))) == (3, [0, 1])
    assert bits(working_set.idle(first=1, n_pages=4)) == [3]
    assert machine.space.generation == generation
    assert bits(machine.space.accessed(*machine.range)) == [1, 2, 3]
    assert "without clearing" in repr(working_set)


def test_without_clearing__touched_so_far_outlasts_others_clearing(machine: Guest) -> None:
    """Somebody else clears the bits: what a sample saw is known."""
    machine.space.accessed(*machine.range, clear=True)
    working_set = made(machine, clear=False)
    machine.read([1, 2])
    working_set.sample()
    machine.space.accessed(*machine.range, clear=True)
    machine.read([5])
    assert working_set.sample().accessed == 1
    assert bits(working_set.pages()) == [1, 2, 5]


def test_without_clearing__includes_what_was_there(machine: Guest) -> None:
    """All bits count, also those from before: on nPT all pages that are resident."""
    machine.read([3])
    assert made(machine, clear=False).sample().accessed == (N if machine.space.format is NPT else 1)


@pytest.mark.parametrize("ask", ["size(1)", "pages(1)", "idle(1)", "curve()", "reuse()", "last_seen"])
def test_without_clearing__says_nothing_of_times(machine: Guest, ask: str) -> None:
    """Whether a page was used since the sample before is not known."""
    working_set = made(machine, clear=False)
    working_set.sample()
    with pytest.raises(NotSupported, match="clear=True"):
        eval(f"one.{ask}", {"one": working_set})


# -- what is refused ----------------------------------------------------------------------------------------------------

BAD = [
    ("WorkingSet(None, 0, PAGE)", TypeError),
    ("WorkingSet(space, 0.0, PAGE)", TypeError),
    ("WorkingSet(space, 0, True)", TypeError),
    ("WorkingSet(space, 0, PAGE, clear=1)", TypeError),
    ("WorkingSet(space, 0, PAGE, part_pages=1.0)", TypeError),
    ("WorkingSet(space, 1, PAGE)", InvalidArgument),
    ("WorkingSet(space, 0, 0)", InvalidArgument),
    ("WorkingSet(space, 0, -PAGE)", InvalidArgument),
    ("WorkingSet(space, 2**64 - PAGE, PAGE)", AddressOverflow),
    ("WorkingSet(space, 1 << 30, PAGE)", BeyondSpace),
    ("WorkingSet(space, 1 << 30, PAGE, clear=False)", BeyondSpace),
    ("WorkingSet(space, 0, PAGE, part_pages=0)", InvalidArgument),
    ("WorkingSet(space, 0, PAGE, part_pages=-1)", InvalidArgument),
    ("idle(None, 0, PAGE)", TypeError),
    ("idle(space, 0, '1')", TypeError),
    ("idle(space, 0, 1)", InvalidArgument),
    ("idle(space, 1 << 30, PAGE)", BeyondSpace),
]


@pytest.mark.parametrize(("call", "error"), BAD)
def test_made__refuses(machine: Guest, call: str, error: type[Exception]) -> None:
    """Before anything is cleared."""
    machine.read([1])
    before = machine.space.accessed(*machine.range).tolist(), machine.space.generation
    with pytest.raises(error):
        eval(call, {"WorkingSet": WorkingSet, "idle": idle, "space": machine.space, "PAGE": PAGE})
    assert before == (machine.space.accessed(*machine.range).tolist(), machine.space.generation)


BAD_QUERIES = [
    ("size(True)", TypeError),
    ("size(1.0)", TypeError),
    ("size(0)", InvalidArgument),
    ("size(-1)", InvalidArgument),
    ("size(4)", InvalidArgument),
    ("pages(2**70)", InvalidArgument),
    ("size(first=20)", InvalidArgument),
    ("size(first=-1)", InvalidArgument),
    ("size(first='a')", TypeError),
    ("size(n_pages=0)", InvalidArgument),
    ("size(first=1, n_pages=20)", InvalidArgument),
    ("idle(1, first=19, n_pages=2)", InvalidArgument),
    ("size(n_pages=2.0)", TypeError),
    ("reuse(first=1)", InvalidArgument),
    ("reuse(n_pages=6)", InvalidArgument),
    ("curve(first=5, n_pages=4)", InvalidArgument),
    ("curve([0])", InvalidArgument),
    ("curve([1, 4])", InvalidArgument),
    ("curve([-1])", InvalidArgument),
    ("curve([[1]])", InvalidArgument),
    ("curve([2**64 - 1])", InvalidArgument),
    ("curve([2**64])", InvalidArgument),
    ("curve(1.5)", TypeError),
    ("curve([True])", TypeError),
    ("curve(['1'])", TypeError),
]


@pytest.mark.parametrize(("call", "error"), BAD_QUERIES)
def test_queries__refuse(three: WorkingSet, call: str, error: type[Exception]) -> None:
    """Windows that are not there, pages that are not there, parts that are not whole."""
    with pytest.raises(error):
        eval(f"three.{call}", {"three": three})
    assert (len(three.samples), three.size()) == (3, 13)


def test_ept__needs_tracking(form: PteFormat) -> None:
    """Without it EPT vCPUs set no A: all would look unused. nPT sets A always."""
    with guest(form, N, tracking=False) as machine:
        if form is EPT:
            with pytest.raises(TrackingDisabled):
                made(machine)
        else:
            working_set = made(machine)
            machine.read([3])
            assert working_set.sample().accessed == 1


def test_ept__tracking_turned_off_between(machine: Guest) -> None:
    """The sample is refused, and nothing is read; later ones go on."""
    working_set = made(machine)
    machine.read([3])
    machine.space.set_tracking(False)
    if machine.space.format is EPT:
        with pytest.raises(TrackingDisabled):
            working_set.sample()
        machine.space.set_tracking(True)
    assert working_set.sample().accessed == 1
    assert len(working_set.samples) == 1


def test_space_gone__what_was_sampled_stays(three: WorkingSet, machine: Guest) -> None:
    """No more samples, but all questions that need no space."""
    machine.space.close()
    for call in (three.sample, lambda: three.idle(1)):
        with pytest.raises(StaleHandle):
            call()
    with pytest.raises(StaleHandle):
        made(machine)
    assert (three.size(), three.size(1), len(three.samples)) == (13, 1, 3)


def test_sample__timed_out(form: PteFormat) -> None:
    """A vCPU does not leave: the A bits are as they were, and the next sample has them."""
    with (
        Reservoir(4 * PAGE) as reservoir,
        reservoir.allocate(4 * PAGE) as ram,
        VmSpace(1 << 30, format=form, reservoir=reservoir, track_dirty=True, kick_timeout=0.01) as space,
    ):
        space.map(ram, 0, ram.length, Prot.RW)
        working_set = WorkingSet(space, 0, ram.length)
        Vcpu(space.client()).run([PAGE])
        with on_cpu_elsewhere(space.client(), leaves=False), pytest.raises(KickTimeout):
            working_set.sample()
        assert working_set.samples == ()
        assert working_set.sample().accessed == 1
        assert bits(working_set.pages()) == [1]


def test_callbacks__may_ask_and_may_not_sample(machine: Guest, three: WorkingSet) -> None:
    """Queries need no lock that a harvest has; a sample in a callback is a deadlock, refused."""
    seen: list[object] = []
    client = machine.space.client()
    client.on_invalidate(lambda gpa, length: seen.extend((three.size(2), caught(three.sample))))
    machine.unmap(1)
    client.destroy()
    assert seen[0] == 5
    assert isinstance(seen[1], Deadlock)
    assert len(three.samples) == 3


def test_callback_raises__the_bits_are_put_back(machine: Guest, three: WorkingSet) -> None:
    """As after any harvest that fails: no sample, and the next one has them."""
    client = machine.space.client()
    listen(client, "one", [], ValueError("mine"))
    machine.read([17])
    with pytest.raises(ValueError, match="mine"):
        three.sample()
    client.destroy()
    assert len(three.samples) == 3
    assert three.sample().accessed == 1


def test_handle__is_of_this_process(three: WorkingSet) -> None:
    """It has locks, and a space."""
    with pytest.raises(TypeError, match="cannot be copied"):
        pickle.dumps(three)
