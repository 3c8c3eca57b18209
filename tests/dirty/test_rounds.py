"""``Rounds`` beside plain Python sets; and the forms in which they are kept."""

import pickle
from dataclasses import replace
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
import pytest

from npt import AddressOverflow, InvalidArgument, Prot, Reservoir, Vcpu, VmSpace
from npt.dirty.log import DirtyLog
from npt.dirty.packed import Form, Packed, number_type, pack
from npt.dirty.rounds import Rounds
from tests.dirty.migrating import PAGE, bitmap_of, pages_of
from tests.dirty.recording import CHOICES, record, some_rounds
from tests.space.scene import caught


@pytest.fixture(scope="module", params=CHOICES)
def recorded(request: pytest.FixtureRequest) -> tuple[list[set[int]], Rounds]:
    """Sets of pages, and rounds made of them."""
    n_pages: int = request.param
    sets = some_rounds(n_pages)
    return sets, record(sets, n_pages)


Recorded = tuple[list[set[int]], Rounds]


def test_rounds__give_back_what_was_recorded(recorded: Recorded) -> None:
    """By number from 1, and in order; bits past the end are zero."""
    sets, rounds = recorded
    assert len(rounds) == len(sets)
    for number, (pages, done) in enumerate(zip(sets, rounds, strict=True), 1):
        assert done.bitmap.tolist() == bitmap_of(pages, rounds.n_pages).tolist() == rounds[number].bitmap.tolist()
        assert (done.number, done.count, done.generation, done.time_ns) == (number, len(pages), 10 + 3 * number, 1000 * number)
        assert done.gap is (number % 3 == 0)


def test_rounds__as_arrays(recorded: Recorded) -> None:
    """One element a round."""
    sets, rounds = recorded
    numbers = range(1, len(sets) + 1)
    assert rounds.counts.tolist() == [len(pages) for pages in sets]
    assert rounds.generations.tolist() == [10 + 3 * number for number in numbers]
    assert rounds.times_ns.tolist() == [1000 * number for number in numbers]
    assert rounds.gaps.tolist() == [number % 3 == 0 for number in numbers]
    assert [str(array.dtype) for array in (rounds.counts, rounds.generations, rounds.times_ns)] == ["uint64"] * 3


def test_between__is_the_union_of_the_rounds_after_the_first_instant(recorded: Recorded) -> None:
    """All pairs of instants, 0 being the start; nothing is between an instant and itself."""
    sets, rounds = recorded
    for a, b in combinations_with_replacement(range(len(sets) + 1), 2):
        assert pages_of(rounds.between(a, b)) == set[int]().union(*sets[a:b]), (a, b)
        if a < b:
            assert pages_of(rounds.union(a + 1, b)) == set[int]().union(*sets[a:b])
    assert pages_of(rounds.union()) == set(range(rounds.n_pages))


def test_diff__of_all_pairs(recorded: Recorded) -> None:
    """Only in one, only in the other, in both."""
    sets, rounds = recorded
    assert len(sets) > 2
    for a, one in enumerate(sets, 1):
        for b, other in enumerate(sets, 1):
            assert [pages_of(bitmap) for bitmap in rounds.diff(a, b)] == [one - other, other - one, one & other]


@pytest.mark.parametrize("order", [1, -1])
def test_last_written__is_the_last_round_of_each_page(recorded: Recorded, order: int) -> None:
    """0 where none is; whatever forms the rounds are kept in."""
    sets = recorded[0][::order]
    rounds = record(sets, recorded[1].n_pages)
    for n in range(len(sets) + 1):
        part = record(sets[:n], rounds.n_pages)
        expected = [max((k for k, s in enumerate(sets[:n], 1) if page in s), default=0) for page in range(rounds.n_pages)]
        last = part.last_written()
        assert (last.tolist(), str(last.dtype)) == (expected, "uint32")


def test_rounds__of_a_guest() -> None:
    """A log's own record, over rounds of a vCPU's writes."""
    n_pages, rng = 700, np.random.default_rng(7)
    sets = []
    with (
        Reservoir(n_pages * PAGE, backed=False) as reservoir,
        reservoir.allocate(n_pages * PAGE) as ram,
        VmSpace(1 << 30) as space,
    ):
        space.map(ram, 0x1F_0000, ram.length, Prot.RW)
        log, vcpu = DirtyLog(space, 0x1F_0000, ram.length), Vcpu(space.client())
        log.start()
        for n in (0, 1, 5, 60, 700, 3):
            pages = rng.integers(0, n_pages, n)
            vcpu.run(0x1F_0000 + pages * PAGE, write=True)
            sets.append({int(page) for page in pages})
            log.round()
    assert [pages_of(each.bitmap) for each in log.rounds] == sets
    assert pages_of(log.rounds.between(1, 4)) == sets[1] | sets[2] | sets[3]


# -- forms --------------------------------------------------------------------------------------------------------------

N = 80_000  # pages: 10,000 bytes of bits


@pytest.mark.parametrize(
    ("pages", "form", "nbytes"),
    [
        (set[int](), Form.PAGES, 0),
        ({5}, Form.PAGES, 4),
        (set(range(0, 4998, 2)), Form.PAGES, 4 * 2499),
        (set(range(0, 5002, 2)), Form.BITS, 10_000),
        ({5, 6}, Form.PAGES, 8),
        ({5, 6, 7}, Form.RUNS, 8),
        (set(range(N)), Form.RUNS, 8),
        (set(range(100, 70_000)) - {500, 600}, Form.RUNS, 24),
        (set(range(N)) - set(range(7, N, 64)), Form.BITS, 10_000),
    ],
    ids=str,
)
def test_pack__takes_the_smallest_form(pages: set[int], form: Form, nbytes: int) -> None:
    """Page numbers cost 4 bytes each, runs 8, bits an eighth of a byte a page."""
    packed = pack(bitmap_of(pages, N), N)
    assert (packed.form, packed.data.nbytes, packed.n_set) == (form, nbytes, len(pages))
    assert packed.bitmap().tolist() == bitmap_of(pages, N).tolist()


def test_rounds__that_are_sparse_take_little() -> None:
    """A thousand rounds of ten pages: 40 KB rather than 10 MB."""
    rounds = record([set(range(n, N, N // 10)) for n in range(1000)], N)
    assert rounds.nbytes == 4 * int(rounds.counts.sum()) < 50_000


def test_number_type__holds_every_page() -> None:
    """8 bytes from where 4 are too few: also for a run that is the whole range."""
    assert [number_type(n).itemsize for n in (1, 2**32 - 1, 2**32, 2**35)] == [4, 4, 8, 8]


@pytest.mark.parametrize("form", Form)
def test_packed__adds_to_what_is_there(form: Form) -> None:
    """Its pages are OR-ed in, none is taken away."""
    data = {Form.BITS: np.array([0b110], np.uint8), Form.PAGES: np.array([1, 2]), Form.RUNS: np.array([1, 2])}[form]
    bitmap = np.array([0b1010], np.uint8)
    Packed(form, data, 2, 5).add_to(bitmap)
    assert bitmap.tolist() == [0b1110]


# -- what it is, and what it refuses ------------------------------------------------------------------------------------


def test_results__are_the_callers(recorded: Recorded) -> None:
    """What is done to them changes no round."""
    sets, rounds = recorded
    for bitmap in (rounds.between(0, 2), rounds.union(2, 2), *rounds.diff(2, 2)):
        bitmap[:] = 0xFF
    assert pages_of(rounds[1].bitmap) == sets[0]
    assert pages_of(rounds[3].bitmap) == sets[2]


def test_rounds__pickle(recorded: Recorded) -> None:
    """They are plain data."""
    sets, rounds = recorded
    again = pickle.loads(pickle.dumps(rounds))
    assert [pages_of(each.bitmap) for each in again] == sets


def test_rounds__say_what_they_are() -> None:
    """In a line, and as a table that has an end."""
    rounds = record([{1, 5}, {2}] * 30, 100)
    assert repr(rounds) == "<Rounds of 0x7000 + 0x64000: 60, kept in 360 B>"
    html = rounds._repr_html_()
    assert html.count("<tr>") == 1 + 10 + 1
    assert "and 50 more" in html
    assert "<tr>" in record([], 8)._repr_html_()


def test_rounds__backwards(recorded: Recorded) -> None:
    """The last first."""
    sets, rounds = recorded
    assert [(done.number, pages_of(done.bitmap)) for done in reversed(rounds)] == [*enumerate(sets, 1)][::-1]


def test_round__equals_one_that_says_the_same() -> None:
    """Number, generation, time, count, gap and pages; and so it is found among the rounds."""
    rounds, other = record([{1}, {2}], 9), record([{1}, {3}], 9)
    assert rounds[1] == rounds[1] == other[1]
    assert hash(rounds[1]) == hash(other[1])
    assert rounds[2] != other[2]
    assert rounds[2] in rounds
    assert other[2] not in rounds
    changes: list[dict[str, Any]] = [{name: 7} for name in ("number", "generation", "time_ns", "count", "gap")]
    assert rounds[1] not in [replace(rounds[1], **change) for change in changes]
    assert rounds[1] != 1


BAD_ROUNDS: list[tuple[tuple[Any, ...], type[Exception]]] = [
    ((1, -5), InvalidArgument),
    ((0, 0), InvalidArgument),
    ((7, PAGE), InvalidArgument),
    ((-PAGE, PAGE), InvalidArgument),
    ((2**64 - PAGE, PAGE), AddressOverflow),
    ((0.0, PAGE), TypeError),
    ((0, True), TypeError),
    ((0, PAGE, ("entry",)), TypeError),
    ((1, PAGE, ("entry",)), TypeError),
    ((0, PAGE, record([{1}], 9)._entries), InvalidArgument),
]


@pytest.mark.parametrize(("arguments", "error"), BAD_ROUNDS)
def test_rounds__of_a_bad_range(arguments: tuple[Any, ...], error: type[Exception]) -> None:
    """As a log's; and entries that are none, or of another range."""
    assert type(caught(lambda: Rounds(*arguments))) is error


def test_rounds__take_no_round_of_another_size() -> None:
    """It would be cut, or leave pages out."""
    with pytest.raises(InvalidArgument, match="9 pages is not one of 8"):
        record([{1}], 8).with_one(record([{1}], 9)._entries[0])


BAD = [
    ("between", (-1, 1)),
    ("between", (0, 4)),
    ("between", (2, 1)),
    ("union", (0, 1)),
    ("union", (1, 4)),
    ("union", (3, 2)),
    ("diff", (0, 1)),
    ("diff", (1, 4)),
    ("__getitem__", (0,)),
    ("__getitem__", (4,)),
    ("__getitem__", (-1,)),
    ("find", (4,)),
]


@pytest.mark.parametrize(("name", "arguments"), BAD)
def test_rounds__numbers_that_are_none(name: str, arguments: tuple[int, ...]) -> None:
    """Say which there are."""
    rounds = record([{1}, {2}, {3}], 9)
    with pytest.raises(InvalidArgument, match=r"from [01] to 3|comes after"):
        getattr(rounds, name)(*arguments)


@pytest.mark.parametrize("name", ["between", "union", "diff"])
@pytest.mark.parametrize("bad", [1.0, True, "1"])
def test_rounds__numbers_of_the_wrong_type(name: str, bad: Any) -> None:
    """Are told before wrong values."""
    rounds = record([{1}], 9)
    for arguments in ((bad, 99), (99, bad)):
        assert isinstance(caught(lambda arguments=arguments: getattr(rounds, name)(*arguments)), TypeError)  # type: ignore[misc]
    assert isinstance(caught(lambda: rounds[bad]), TypeError)


def test_union__of_no_rounds() -> None:
    """Is empty."""
    assert record([], 9).union().tolist() == record([], 9).between(0, 0).tolist() == [0, 0]
