"""Strategies: what they draw is what they say, they do reach what they promise, and they shrink to what is plain."""

import subprocess
import sys
from collections.abc import Callable
from functools import cache
from typing import Any, ClassVar

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, find, given, settings

import npt
from npt import EPT, NPT, NptError, Prot, PteFormat, Vcpu, VmSpace, units
from npt._types import U8Array
from npt.formats.base import ADDRESS, PFN_END
from npt.testing import check, strategies
from npt.testing.strategies import Access, Guest, Part, arguments

PAGE = 0x1000
MIB2, GIB, GIB512 = 2 << 20, 1 << 30, 512 << 30
SIZE = 1 << 40
MANY = 300  # examples
FORMATS = pytest.mark.parametrize("format", [EPT, NPT], ids=["ept", "npt"])


def drawn(strategy: st.SearchStrategy[Any], n: int = MANY) -> list[Any]:
    """So many examples, always the same."""
    seen: list[Any] = []

    @settings(max_examples=n, derandomize=True, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(strategy)
    def draw(example: Any) -> None:
        seen.append(example)

    draw()
    assert len(seen) > min(n, 4) // 2
    return seen


def pages_of(bitmap: U8Array) -> list[int]:
    """Pages that a bitmap names."""
    pages: list[int] = np.flatnonzero(np.unpackbits(bitmap, bitorder="little")).tolist()
    return pages


def refuses(check: Callable[..., object], value: Any, error: type[BaseException] = NptError) -> bool:
    """Whether a check raises that error."""
    try:
        check(value, "value")
    except error:
        return True
    return False


# -- addresses ----------------------------------------------------------------------------------------------------------


def test_gpas__are_pages_of_the_space_and_reach_its_borders() -> None:
    """A page before, at and behind the border of each level; the first and the last of the space."""
    seen = set(drawn(strategies.gpas(SIZE)))
    assert all(0 <= gpa < SIZE and gpa % PAGE == 0 for gpa in seen)
    borders = {border + step for border in (MIB2, GIB, GIB512) for step in (-PAGE, 0, PAGE)}
    assert borders | {0, SIZE - PAGE} <= seen
    assert len({gpa for gpa in seen if min(abs(gpa - border) for border in borders) > 100 * PAGE}) > 20


def test_gpas__unaligned_ones_reach_both_ends_of_a_page() -> None:
    """Its first and last byte, and what lies between."""
    assert {0, 1, PAGE - 1} <= {gpa % PAGE for gpa in drawn(strategies.gpas(SIZE, aligned=False))}


@pytest.mark.parametrize("n_pages", [1, 2, 511, 513])
def test_page_numbers__of_small_ranges(n_pages: int) -> None:
    """All below it, its last among them."""
    seen = drawn(strategies.page_numbers(n_pages), 300)
    assert {0, n_pages - 1} <= set(seen)
    assert all(0 <= page < n_pages for page in seen)
    assert len(seen) > 1


def test_page_counts__end_at_borders() -> None:
    """Before, at and behind the table border that a range crosses; one page, and all of them."""
    seen = set(drawn(strategies.page_counts(1500, first=100)))
    assert len(seen) > 8
    assert all(1 <= n <= 1500 for n in seen)
    assert {1, 411, 412, 413, 511, 512, 513, 1500} <= seen


def test_ranges__are_inside_and_cross_every_kind_of_border() -> None:
    """A space takes each; of each level some cross a border, end at it, and begin at it; some are the whole space."""
    seen = drawn(strategies.ranges(SIZE))
    assert all(sum(units.as_range(gpa, length)) <= SIZE for gpa, length in seen)
    for border in (MIB2, GIB, GIB512):
        assert any(gpa < border < gpa + length for gpa, length in seen)
        assert any(gpa + length == border for gpa, length in seen)
        assert any(gpa == border for gpa, _ in seen)
    assert {(0, SIZE), (0, PAGE), (SIZE - PAGE, PAGE)} <= set(seen)
    short = {length for _, length in drawn(strategies.ranges(SIZE, most=3 * PAGE), 100)}
    assert short == {PAGE, 2 * PAGE, 3 * PAGE}


def test_bad_ranges__are_all_refused() -> None:
    """For every reason that there is: unaligned, empty, negative, past the end, past 2**64."""
    reasons: set[type[NptError]] = set()
    with VmSpace(SIZE, track_dirty=True) as space:
        for gpa, length in drawn(strategies.bad_ranges(SIZE)):
            with pytest.raises(NptError) as caught:
                space.peek_dirty(gpa, length)
            reasons.add(type(caught.value))
    assert reasons == {npt.InvalidArgument, npt.AddressOverflow, npt.BeyondSpace}


def test_bad_gpas_and_lengths__are_all_refused() -> None:
    """By whoever wants a page of the space, or whole pages."""
    gpas, lengths = drawn(strategies.bad_gpas(SIZE)), drawn(strategies.bad_lengths())
    assert all(refuses(units.as_aligned, gpa) or gpa >= SIZE for gpa in gpas)
    assert len(lengths) > 3
    assert all(refuses(units.as_length, length) for length in lengths)
    assert any(gpa < 0 for gpa in gpas)
    assert any(gpa >= 2**64 for gpa in gpas)
    assert any(gpa % (1 << 47) < SIZE <= gpa < 2**64 and not gpa % PAGE for gpa in gpas)
    assert {0, 1, -PAGE} <= set(lengths)


def test_protections__with_what_is_needed() -> None:
    """All of them, never none."""
    assert {int(prot) for prot in drawn(strategies.protections(), 100)} == set(range(1, 8))
    assert set(drawn(strategies.protections(Prot.READ), 100)) == {Prot.READ, Prot.RW, Prot.RX, Prot.RWX}
    bad = drawn(strategies.bad_protections(), 100)
    assert len(bad) > 1
    assert all(refuses(lambda given, _: units.as_prot(given), prot) for prot in bad)


def test_not_integers__are_refused_as_of_a_wrong_type() -> None:
    """Bools and floats among them."""
    seen = drawn(strategies.not_integers(), 100)
    assert len(seen) > 3
    assert all(refuses(units.as_int, value, TypeError) for value in seen)
    assert {bool, float, str, type(None)} <= {type(value) for value in seen}


def test_sizes__are_those_of_spaces() -> None:
    """From a page to the largest there is."""
    seen = drawn(strategies.sizes())
    assert len(seen) > 3
    assert all(size % PAGE == 0 and PAGE <= size <= 1 << 47 for size in seen)
    assert {PAGE, 1 << 47, GIB, GIB + PAGE} <= set(seen)


# -- bitmaps ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_pages", [1, 13, 64, 513])
def test_bitmaps__have_junk_behind_their_end(n_pages: int) -> None:
    """In the last byte and in more bytes, unless they are to be clean."""
    seen = [np.unpackbits(bitmap, bitorder="little") for bitmap in drawn(strategies.bitmaps(n_pages))]
    assert all(flags.size >= n_pages for flags in seen)
    assert n_pages % 8 == 0 or any(flags[n_pages : -(-n_pages // 8) * 8].any() for flags in seen)
    assert any(flags.size > n_pages + 8 and flags[-8:].any() for flags in seen)
    clean = drawn(strategies.bitmaps(n_pages, junk=False), 100)
    assert len(clean) > 1
    assert all(bitmap.size == -(-n_pages // 8) for bitmap in clean)
    assert not any(np.unpackbits(bitmap, bitorder="little")[n_pages:].any() for bitmap in clean)


def test_bitmaps__none_all_first_last_and_runs() -> None:
    """Around the ends of words, too."""
    seen = [set(pages_of(bitmap)) for bitmap in drawn(strategies.bitmaps(200, junk=False))]
    assert set() in seen
    assert set(range(200)) in seen
    assert all(any(page in pages for pages in seen) for page in (0, 7, 8, 63, 64, 199))
    assert any(len(pages) > 2 and max(pages) - min(pages) + 1 == len(pages) < 200 for pages in seen)


def test_selects__nothing_or_a_bitmap() -> None:
    """Both."""
    assert {type(select) for select in drawn(strategies.selects(9), 50)} == {type(None), np.ndarray}


# -- entries ------------------------------------------------------------------------------------------------------------


@FORMATS
def test_entries__every_bit_is_a_chance(format: PteFormat) -> None:
    """Each of the 64 is set in some and clear in others; bit 63 in many; absent and present ones."""
    seen = drawn(strategies.entries(format))
    assert all(0 <= entry < 2**64 for entry in seen)
    shares = [sum(entry >> bit & 1 for entry in seen) / len(seen) for bit in range(64)]
    assert all(0.01 < share < 0.99 for share in shares), shares
    assert shares[63] > 0.1
    assert {format.is_present(entry) for entry in seen} == {True, False}
    assert any(entry and not format.is_present(entry) and entry & ADDRESS for entry in seen)
    assert 0 in seen


@FORMATS
def test_leaf_entries__are_those_of_the_engine(format: PteFormat) -> None:
    """All protections with READ, both memory types, each stage of A and D, no dirty one without A."""
    seen = drawn(strategies.leaf_entries(format))
    masks = format.masks
    assert all(format.is_present(entry) and format.pfn_of(entry) < PFN_END for entry in seen)
    assert {format.prot_of(entry) for entry in seen} == {Prot.READ, Prot.RW, Prot.RX, Prot.RWX}
    assert {int(format.attr_of(entry)) for entry in seen} == {0, 6}
    assert not any(entry & int(masks.dirty) and not entry & int(masks.accessed) for entry in seen)
    assert any(entry & int(masks.dirty) for entry in seen)


@FORMATS
@pytest.mark.parametrize("level", [1, 2, 3])
def test_table_entries__name_a_table_or_just_not(format: PteFormat, level: int) -> None:
    """The first and the last that is there, the next one, one of another level, none."""
    seen = drawn(strategies.table_entries(format, level))
    tables = {format.pfn_of(entry) - (2**33 + (level - 1 << 27)) for entry in seen if entry}
    assert {0, 3, 4} <= tables
    assert any(not 0 <= table < 1 << 27 for table in tables)
    assert 0 in seen


def test_pfns__reach_the_limits() -> None:
    """Of RAM, of MMIO, of 52 address bits."""
    assert {0, 0x100000, PFN_END - 1, PFN_END, 2**40 - 1} <= set(drawn(strategies.pfns()))


# -- guests -------------------------------------------------------------------------------------------------------------


@cache
def many_guests() -> list[Guest]:
    """Of all kinds."""
    return drawn(strategies.guests(), 200)


def test_guests__reach_what_they_promise() -> None:
    """Both formats, tracking or not; MMIO, neighbours, shared objects, all borders crossed, parts resident and dirty."""
    seen = many_guests()
    parts = [part for guest in seen for part in guest.parts]
    pairs = [pair for guest in seen for pair in zip(guest.parts, guest.parts[1:], strict=False)]
    assert {(guest.format, guest.tracking) for guest in seen} == {(f, t) for f in ("ept", "npt") for t in (False, True)}
    assert {part.prot for part in parts} == {1, 3, 5, 7}
    assert {part.obj is None for part in parts} == {True, False}
    assert any(one.end == other.gpa for one, other in pairs)
    assert any(one.end < other.gpa < (one.end | MIB2 - 1) for one, other in pairs)  # they share a leaf table
    assert any(one.obj == other.obj is not None for one, other in pairs)
    assert all(any(part.gpa < border < part.end for part in parts) for border in (MIB2, GIB, GIB512))
    assert any(part.end == guest.size for guest in seen for part in guest.parts)
    assert any(0 < sum(n for _, n in part.populated) < part.n_pages for part in parts)
    assert any(0 < sum(n for _, n in part.dirty) < part.n_pages for part in parts)


def test_guests__are_built_as_described() -> None:
    """All mappings, nothing resident or dirty that is not said to be; afterwards nothing is left."""
    some = many_guests()[:60]
    assert len(some) > 30
    assert sum(len(guest.parts) for guest in some) > 30
    for guest in some:
        with guest.build() as built:
            check(built.space)
            found = [(mapping.gpa, mapping.length, int(mapping.prot)) for mapping in built.space.mappings]
            assert found == [(part.gpa, part.length, part.prot) for part in guest.parts]
            for part in guest.parts:
                dirty = {page for first, n in part.dirty for page in range(first, first + n)}
                resident = dirty | {page for first, n in part.populated for page in range(first, first + n)}
                frames = built.space.translate([part.gpa + PAGE * page for page in range(part.n_pages)])
                assert set(np.flatnonzero(frames != np.uint64(npt.NO_PFN)).tolist()) == resident
                if guest.tracking:
                    assert set(pages_of(built.space.peek_dirty(part.gpa, part.length))) == dirty
        assert built.space.destroyed


def test_guests__go_to_json_and_back_and_print_what_makes_them() -> None:
    """The same guest either way."""
    names = {"Guest": Guest, "Part": Part}
    seen = many_guests()
    assert len(seen) > 30
    for guest in seen:
        assert Guest.from_json(guest.to_json()) == guest
        assert eval(repr(guest), names) == guest


def test_guests__as_they_are_asked_for() -> None:
    """Format, tracking, size, number and length of mappings, no MMIO."""
    asked = strategies.guests(format=NPT, tracking=True, size=GIB, most_parts=1, most_pages=5, mmio=False)
    seen = drawn(asked, 100)
    assert len(seen) > 30
    for guest in seen:
        (part,) = guest.parts
        assert (guest.format, guest.tracking, guest.size, part.obj is None) == ("npt", True, GIB, False)
        assert part.n_pages <= 5


def test_guests__are_built_on_any_implementation() -> None:
    """What has the names is asked for the rest."""

    class Theirs:
        EPT, NPT, Reservoir = npt.EPT, npt.NPT, npt.Reservoir
        made: ClassVar[list[VmSpace]] = []

        @staticmethod
        def VmSpace(*arguments: Any, **named: Any) -> VmSpace:
            Theirs.made.append(VmSpace(*arguments, **named))
            return Theirs.made[-1]

    with many_guests()[0].build(Theirs, threads=1) as built:
        assert [built.space] == Theirs.made


def test_guests__shrink_to_what_matters() -> None:
    """One mapping of RAM that just crosses the border, with nothing else."""
    crossing = find(strategies.guests(), lambda guest: any(part.gpa < MIB2 < part.end for part in guest.parts))
    (part,) = crossing.parts
    assert (part.gpa < MIB2 < part.end, part.populated, part.dirty, crossing.tracking) == (True, (), (), False)


# -- accesses -----------------------------------------------------------------------------------------------------------

GUEST = Guest("ept", GIB, True, (600,), (Part(0x1F0000, 600, 3, obj=0), Part(GIB - PAGE, 1, offset=0xFEE00)))


def test_accesses__inside_beside_and_beyond() -> None:
    """All kinds; mostly mapped pages, but holes and what is past the end, too; more than a block at once; bit 63 in values."""
    lists = drawn(strategies.accesses(GUEST), 120)
    seen = [access for each in lists for access in each]
    inside = [any(part.gpa <= access.gpa < part.end for part in GUEST.parts) for access in seen]
    assert {access.kind for access in seen} == {"read", "write", "execute"}
    assert 0.5 < sum(inside) / len(inside) < 0.95
    assert any(access.gpa >= GUEST.size for access in seen)
    assert all(access.gpa % 8 == 0 for access in seen)
    assert max(map(len, lists)) > 64
    assert any(access.value >> 63 for access in seen)
    quiet = [access for each in drawn(strategies.accesses(GUEST, faults=False), 50) for access in each]
    assert len(quiet) > 50
    assert all(any(part.gpa <= access.gpa < part.end for part in GUEST.parts) for access in quiet)


def test_accesses__are_taken_by_a_vcpu() -> None:
    """Written values are there; the first that is refused ends it."""
    with GUEST.build() as built:
        vcpu = Vcpu(built.space.client())
        writes = [Access(0x1F0000, "write", 2**64 - 1), Access(0x1F0008, "read"), Access(0x1F0000, "execute")]
        exit = vcpu.run(**arguments(writes))
        assert (exit.completed, exit.code) == (2, npt.FaultCode.PROT)
        assert built.space.client().read(0x1F0000, 8) == b"\xff" * 8


# -- without hypothesis -------------------------------------------------------------------------------------------------

WITHOUT = """
import sys
sys.modules["hypothesis"] = None
import npt.testing
assert "npt.testing.strategies" not in sys.modules
try:
    import npt.testing.strategies
except ImportError as error:
    print(error)
"""


@pytest.mark.slow
def test_import__without_hypothesis() -> None:
    """All of ``npt.testing`` but the strategies works, and these say what is missing."""
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=True)
    assert "pip install hypothesis" in done.stdout
