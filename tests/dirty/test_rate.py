"""Pages sampled by their contents: what changed, what went away, what is refused."""

import math
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
    NotSupported,
    Prot,
    PteFormat,
    Reservoir,
    StaleHandle,
    VmSpace,
)  # fmt: skip
from npt.dirty.bitmap import from_pages
from npt.dirty.hypergeometric import interval
from npt.dirty.rate import PageSample, by_bitmap, draw
from tests.dirty.usage_scene import BASE, PAGE, Guest, guest
from tests.space.scene import GIB, bits, caught, on_cpu

N = 40
ALL = 1 << 18  # pages a GiB: every page


@pytest.fixture(params=[EPT, NPT], ids=["ept", "npt"])
def form(request: pytest.FixtureRequest) -> PteFormat:
    """Each entry format in turn."""
    assert isinstance(request.param, PteFormat)
    return request.param


@pytest.fixture
def machine(form: PteFormat) -> Iterator[Guest]:
    """Forty pages, all resident, across the end of a leaf table."""
    with guest(form, N) as made:
        yield made


def whole(machine: Guest, per_gib: int = ALL, seed: int = 0) -> PageSample:
    """A sample of the guest, of every page unless told."""
    return PageSample(machine.space, *machine.range, per_gib=per_gib, seed=seed)


# -- samples ------------------------------------------------------------------------------------------------------------


def test_sample__of_every_page_is_exact(machine: Guest) -> None:
    """As many as changed, with nothing left to chance."""
    sample = whole(machine)
    machine.write([0, 7, 39], 1)
    machine.write([7], 2)
    rate = sample.compare(2.0)
    assert (rate.pages, rate.low, rate.high, rate.n_pages, rate.sampled, rate.changed, rate.gone) == (3, 3, 3, N, N, 3, 0)
    assert (rate.seconds, rate.method, rate.level, rate.bytes_per_s) == (2.0, "sampled", 0.95, 6144.0)


def test_sample__any_byte_of_a_page(machine: Guest) -> None:
    """The first, the last, one in the middle."""
    sample = whole(machine)
    client = machine.space.client()
    for page, at in enumerate((0, 1, 7, 8, 2047, 4088, 4095)):
        client.write(BASE + page * PAGE + at, b"\x01")
    client.destroy()
    assert sample.compare(1).pages == 7


def test_sample__what_was_stored_as_it_was_is_not_seen(machine: Guest) -> None:
    """Nor what was changed and changed back: hashes know contents, not writes. The bitmap knows."""
    machine.write(range(10), 5)
    sample = whole(machine)
    machine.space.track_dirty(*machine.range)
    machine.write(range(5), 5)
    machine.write([7], 6)
    machine.write([7], 5)
    machine.write([8], 6)
    assert sample.compare(1).pages == 1
    assert by_bitmap(machine.space.track_dirty(*machine.range), 1, n_pages=N).pages == 7


def test_sample__of_some_pages(machine: Guest) -> None:
    """The estimate is the share of the sample, the interval that of the numbers seen."""
    sample = whole(machine, ALL // 4, seed=5)
    assert (sample.n_pages, sample.n_sampled) == (N, 10)
    machine.write(range(20), 9)
    rate = sample.compare(1, level=0.9)
    drawn = draw(from_pages(range(N), N), ALL // 4, 5)
    assert rate.changed == (drawn < 20).sum()
    assert rate.pages == rate.changed * 4
    assert (rate.low, rate.high) == interval(N, 10, rate.changed, level=0.9)


def test_sample__stays_as_it_was_taken(machine: Guest) -> None:
    """Each comparison is with the beginning, not with the one before."""
    sample = whole(machine)
    machine.write([1], 1)
    assert sample.compare(1).pages == 1
    machine.write([2], 1)
    assert sample.compare(2).pages == 2
    machine.write([1, 2], 0)
    assert sample.compare(3).pages == 0


def test_sample__leaves_no_marks(machine: Guest) -> None:
    """Neither A nor D, nor holds, nor clients, nor a generation."""
    machine.space.accessed(*machine.range, clear=True)
    machine.space.track_dirty(*machine.range)
    before = machine.space.generation, [machine.space.pte(BASE + page * PAGE) for page in range(N)]
    n_clients = len(machine.space._core.exclusion.gates)
    whole(machine).compare(1)
    assert len(machine.space._core.exclusion.gates) == n_clients
    assert before == (machine.space.generation, [machine.space.pte(BASE + page * PAGE) for page in range(N)])
    machine.unmap(0)  # nobody holds anything
    assert machine.reservoir.usage.quarantined == 0


def test_sample__works_with_tracking_off(machine: Guest) -> None:
    """It needs no dirty log."""
    machine.space.set_tracking(False)
    sample = whole(machine)
    machine.write([3], 1)
    assert sample.compare(1).pages == 1


def test_sample__of_a_part(machine: Guest) -> None:
    """Pages beside the range do not count."""
    sample = PageSample(machine.space, BASE + 10 * PAGE, 5 * PAGE, per_gib=ALL)
    machine.write(range(8, 12), 1)
    assert (sample.n_pages, sample.compare(1).pages) == (5, 2)


def test_sample__time_is_the_clock_s(machine: Guest) -> None:
    """Unless told."""
    sample = whole(machine)
    first, second = sample.compare().seconds, sample.compare().seconds
    assert 0 < first < second


@pytest.mark.parametrize("n_pages", [1, 2])
def test_sample__of_one_page(form: PteFormat, n_pages: int) -> None:
    """At least one is sampled, of however few."""
    with guest(form, n_pages) as machine:
        sample = PageSample(machine.space, *machine.range)
        assert (sample.n_pages, sample.n_sampled) == (n_pages, 1)
        machine.write(range(n_pages), 1)
        rate = sample.compare(1)
        assert (rate.pages, rate.low, rate.high) == (n_pages, 1, n_pages)


def test_sample__more_than_are_held_at_once(form: PteFormat) -> None:
    """Several batches, each page's hash with its own."""
    with guest(form, 2500) as machine:
        machine.write(range(2500), 3)
        machine.write([1023], 1)
        sample = whole(machine)
        changed = [0, 1022, 1023, 1024, 1025, 2047, 2048, 2499]
        machine.write(changed, 4)
        assert (sample.n_sampled, sample.compare(1).pages) == (2500, len(changed))


# -- what is there ------------------------------------------------------------------------------------------------------


def test_sample__nothing_resident(form: PteFormat) -> None:
    """No pages: a rate of nothing, and of what came later nothing is known."""
    with guest(form, N, populate=False) as machine:
        sample = whole(machine)
        machine.write([1, 2], 1)
        rate = sample.compare(1)
        assert (sample.n_pages, sample.n_sampled, repr(sample)) == (0, 0, "<PageSample of 0 pages for 0>")
        assert (rate.pages, rate.n_pages, rate.low, rate.high, rate.share) == (0.0, 0, 0, 0, 0.0)


def test_sample__resident_pages_only(form: PteFormat) -> None:
    """What is mapped and not touched stays so, then and later; what became resident since is left out."""
    with guest(form, N, populate=False) as machine:
        machine.write([1, 5, 30], 1)
        sample = whole(machine)
        assert (sample.n_pages, machine.space.resident_count) == (3, 3)
        machine.write([5, 6], 2)
        rate = sample.compare(1)
        assert (rate.pages, rate.n_pages, machine.space.resident_count) == (1, 3, 4)


def test_sample__unmapped_since(machine: Guest) -> None:
    """Pages that went away are told apart, and stand for nothing."""
    sample = whole(machine)
    machine.write(range(15, 25), 1)
    machine.unmap(0)
    rate = sample.compare(1)
    assert (rate.n_pages, rate.sampled, rate.changed, rate.gone) == (20, 20, 5, 20)
    assert (rate.pages, rate.low, rate.high) == (5, 5, 5)


def test_sample__unmapped_in_part(machine: Guest) -> None:
    """What is left of the sample stands for what is left of the pages."""
    sample = whole(machine, ALL // 4, seed=5)
    drawn = draw(from_pages(range(N), N), ALL // 4, 5)
    machine.write(range(N), 1)
    machine.unmap(1)
    rate = sample.compare(1)
    left = int((drawn < 20).sum())
    assert 0 < left < 10
    assert (rate.n_pages, rate.sampled, rate.changed, rate.gone) == (20, left, left, 10 - left)
    assert (rate.pages, rate.high) == (20.0, 20)


def test_sample__all_gone(machine: Guest) -> None:
    """Nothing is left to compare."""
    sample = whole(machine)
    machine.unmap(0)
    machine.unmap(1)
    rate = sample.compare(1)
    assert (rate.pages, rate.n_pages, rate.sampled, rate.gone) == (0.0, 0, 0, N)


def test_sample__only_its_own_pages_gone(form: PteFormat) -> None:
    """One page was sampled and went away; of the others all is possible, and the estimate is none."""
    with guest(form, 2) as machine:
        sample = PageSample(machine.space, *machine.range, seed=0)
        (page,) = draw(np.array([3], np.uint8), 512, 0).tolist()
        machine.unmap(page)
        rate = sample.compare(1)
        assert math.isnan(rate.pages)
        assert (rate.n_pages, rate.low, rate.high, rate.gone) == (1, 0, 1, 1)


def test_sample__gone_and_back(machine: Guest) -> None:
    """A page that is resident again counts by what it holds; one that is only mapped again is gone."""
    sample = whole(machine)
    machine.unmap(0)
    machine.map(0, 20)
    machine.write([4], 9)
    machine.read([5])
    rate = sample.compare(1)
    assert (rate.n_pages, rate.changed, rate.gone) == (22, 1, 18)


def test_sample__passes_over_mmio(machine: Guest) -> None:
    """Device memory has no contents."""
    machine.unmap(0)
    with machine.space.map_mmio(BASE, 3 * PAGE, 1 << 40):
        machine.space.populate(BASE, 3 * PAGE)
        sample = whole(machine)
        machine.write([1, 30], 7)
        assert (sample.n_pages, sample.compare(1).pages) == (20, 1)


def test_sample__needs_bytes(form: PteFormat) -> None:
    """An unbacked reservoir has none."""
    with Reservoir(4 * PAGE, backed=False) as reservoir, VmSpace(GIB, format=form, reservoir=reservoir) as space:
        with reservoir.allocate(4 * PAGE) as ram:
            space.map(ram, 0, 4 * PAGE, Prot.RW)
        space.populate(0, 4 * PAGE)
        with pytest.raises(NotSupported):
            PageSample(space, 0, 4 * PAGE)


# -- what is refused ----------------------------------------------------------------------------------------------------

BAD: list[tuple[Any, dict[str, Any], type[Exception]]] = [
    ((0, PAGE), {"per_gib": 0}, InvalidArgument),
    ((0, PAGE), {"per_gib": -1}, InvalidArgument),
    ((0, PAGE), {"per_gib": ALL + 1}, InvalidArgument),
    ((0, PAGE), {"per_gib": 512.0}, TypeError),
    ((0, PAGE), {"per_gib": True}, TypeError),
    ((0, PAGE), {"seed": -1}, InvalidArgument),
    ((0, PAGE), {"seed": None}, TypeError),
    ((1, PAGE), {}, InvalidArgument),
    ((0, 0), {}, InvalidArgument),
    ((2**64 - PAGE, PAGE), {}, AddressOverflow),
    ((0, GIB + PAGE), {}, BeyondSpace),
    ((0.0, PAGE), {}, TypeError),
    ((0, "1"), {}, TypeError),
]


@pytest.mark.parametrize(("place", "more", "error"), BAD)
def test_sample__refuses(machine: Guest, place: Any, more: Any, error: type[Exception]) -> None:
    """Ranges, numbers and seeds that are none; nothing becomes resident by it."""
    with pytest.raises(error):
        PageSample(machine.space, *place, **more)
    assert machine.space.resident_count == N


def test_sample__refuses_what_is_no_space() -> None:
    """A client is not."""
    with pytest.raises(TypeError, match="VmSpace"):
        PageSample(None, 0, PAGE)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"seconds": 0}, InvalidArgument),
        ({"seconds": -1}, InvalidArgument),
        ({"seconds": "1"}, TypeError),
        ({"level": 0}, InvalidArgument),
        ({"level": 1.0}, InvalidArgument),
        ({"level": None}, TypeError),
    ],
)
def test_compare__refuses(machine: Guest, arguments: Any, error: type[Exception]) -> None:
    """Times and levels that are none; the sample is as it was."""
    sample = whole(machine)
    with pytest.raises(error):
        sample.compare(**arguments)
    assert sample.compare(1).pages == 0


def test_sample__space_gone(machine: Guest) -> None:
    """Neither taken nor compared."""
    sample = whole(machine)
    machine.space.close()
    for call in (lambda: whole(machine), lambda: sample.compare(1)):
        with pytest.raises(StaleHandle):
            call()


def test_sample__not_in_a_callback(machine: Guest) -> None:
    """It would look pages up."""
    sample, seen = whole(machine), []
    client = machine.space.client()
    client.on_invalidate(lambda gpa, length: seen.append(caught(lambda: sample.compare(1))))
    machine.space.track_dirty(*machine.range)
    client.destroy()
    assert [type(error) for error in seen] == [Deadlock]


def test_sample__on_cpu(machine: Guest) -> None:
    """A thread that is inside the tables may look at pages."""
    with on_cpu(machine.space):
        assert whole(machine).compare(1).pages == 0


def test_handle__is_of_this_process(machine: Guest) -> None:
    """It has a space; a rate is plain values."""
    sample = whole(machine)
    with pytest.raises(TypeError, match="cannot be copied"):
        pickle.dumps(sample)
    rate = sample.compare(1)
    assert pickle.loads(pickle.dumps(rate)) == rate
    assert bits(machine.space.resident(*machine.range)) == list(range(N))
