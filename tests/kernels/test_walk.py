"""Look-ups, translations and lists of leaf tables against dictionaries."""

import random
from typing import Any

import numpy as np
import pytest

from npt import EPT, NPT, MemAttr, Prot, PteFormat
from npt._types import U64Array
from npt.kernels import walk
from npt.kernels.jit import kernel
from tests.kernels.world import ADDRESS, NONE, TOP, World, entry_in, extents_of, u64

FORMATS = [EPT, NPT]
in_both_formats = pytest.mark.parametrize("format", FORMATS, ids=[f.name for f in FORMATS])
GIB, TIB_HALF = 1 << 18, 1 << 27  # in pages
SIZE = 0x20C << 12  # of the space that look-ups are in
BORDERS = [0, 1, 511, 512, 513, GIB - 1, GIB, GIB + 1, TIB_HALF - 1, TIB_HALF, TIB_HALF + 1, 2**35 - 1]


@kernel("u8(UniTuple(u8[::1], 4), u8)")
def leaf_index(levels: walk.Levels, page: np.uint64) -> np.uint64:
    return walk.leaf_index(levels, np.uint64(page))


@kernel("u8(u8[:, ::1], u8)")
def find_extent(extents: U64Array, page: np.uint64) -> np.uint64:
    return walk.find_extent(extents, np.uint64(page))


# -- one page -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", BORDERS)
def test_leaf_index__through_four_levels(page: int) -> None:
    """The page's own entry in its own table."""
    w = World()
    for other in BORDERS:
        w.leaf(other)
    assert int(leaf_index(w.levels, page)) == w.leaf(page)


@pytest.mark.parametrize("page", BORDERS)
def test_leaf_index__none_in_an_empty_tree(page: int) -> None:
    """The root alone leads nowhere."""
    assert int(leaf_index(World().levels, page)) == NONE


@pytest.mark.parametrize("level", [1, 2, 3])
@pytest.mark.parametrize("page", [513, TIB_HALF + GIB + 512])
def test_leaf_index__none_where_a_directory_is_empty(page: int, level: int) -> None:
    """At whatever level the walk ends."""
    w = World()
    w.leaf(page)
    w.levels[level][:] = 0
    assert int(leaf_index(w.levels, page)) == NONE


@pytest.mark.parametrize("level", [1, 2, 3])
@pytest.mark.parametrize("entry", [0x1000_0007, TOP | 0x7, 0x7, 2**64 - 1, (2**33 + 5000) << 12 | 7, (2**33 - 1) << 12 | 7])
def test_leaf_index__none_where_an_entry_names_no_table(level: int, entry: int) -> None:
    """A directory entry that somebody spoilt leads to NONE, not out of the arrays."""
    w = World()
    w.leaf(513)
    w.levels[level][:] = entry
    assert int(leaf_index(w.levels, 513)) == NONE


@pytest.mark.parametrize("n", [0, 1, 2, 3, 7, 8])
def test_find_extent__as_a_loop_would(n: int) -> None:
    """Any number of rows, some touching, some apart; pages before, in, between and after."""
    numbers = random.Random(n)
    edges = sorted(numbers.sample(range(1, 60), 2 * n))
    rows = [(a, b, 0, 7) for a, b in zip(edges[::2], edges[1::2], strict=True)]
    for at in range(0, n - 1, 2):
        rows[at] = (rows[at][0], rows[at + 1][0], 0, 7)
    extents = extents_of(*rows)
    for page in [*range(62), 2**35, 2**52 - 1]:
        expected = next((i for i, (first, end, _, _) in enumerate(rows) if first <= page < end), NONE)
        assert int(find_extent(extents, page)) == expected


def _mapped(format: PteFormat) -> tuple[World, U64Array]:
    """Pages 0x1F0 to 0x210 mapped with each protection in turn; a few present; a hole in the host every four pages."""
    w = World((8, 4, 4, 1), int(format.masks.table))
    prots = [Prot.READ, Prot.RW, Prot.RX, Prot.RWX]
    rows = []
    for first in range(0x1F0, 0x210, 4):
        prot = prots[first // 4 % 4]
        attr = MemAttr.UC if first >= 0x208 else MemAttr.WB
        rows.append((first, first + 4, (0x10_0000 + 8 * first) << 12 | format.leaf_bits(prot, attr), int(prot)))
    extents = extents_of(*rows)
    for page in range(0x1F0, 0x210):
        w.leaf(page)
        if page % 3 == 0:
            found = entry_in(extents, page)
            assert found is not None
            w.put(page, found[0] | int(format.masks.dirty | format.masks.accessed))
    return w, extents


def _look_up(w: World, extents: U64Array, format: PteFormat, page: int, prot: Prot) -> tuple[int, int]:
    """Fault code, and the entry that is there afterwards: the slow way."""
    if not w.covers(page):
        return 1, 0
    entry = w.get(page)
    if entry:
        ok = entry & format.need[prot] == format.need[prot] and not entry & format.deny[prot]
        return (0 if ok else 2), entry
    found = entry_in(extents, page)
    if found is None:
        return 1, 0
    return (0, found[0]) if found[1] & prot == prot else (2, 0)


@in_both_formats
@pytest.mark.parametrize("prot", [Prot(p) for p in range(1, 8)])
def test_look_up__leaf_or_why_not(format: PteFormat, prot: Prot) -> None:
    """Every page of a range: the code, the leaf, the entry and the resident count are those of the slow twin."""
    w, extents = _mapped(format)
    for page in range(0x1E0, 0x220):
        code, entry = _look_up(w, extents, format, page, prot)
        was = w.get(page)
        before = int(w.words[0])
        said = int(walk.look_up(w.levels, extents, w.words, page, format.need[prot], format.deny[prot], int(prot)))
        assert said == (-code if code else w.leaf(page))
        assert w.get(page) == entry
        assert int(w.words[0]) - before == (entry != was)


def test_look_up__no_extent_behind_a_leaf_table() -> None:
    """A neighbour's leaf table, but nobody's page."""
    w, extents = _mapped(EPT)
    assert int(walk.look_up(w.levels, extents, w.words, 0x0, 1, 0, 1)) == -1
    assert int(walk.look_up(w.levels, extents_of(), w.words, 0x1F1, 1, 0, 1)) == -1


def _some_gpas() -> U64Array:
    """Pages of the range, some twice; past its end, past any space, up to the last address."""
    pages = [*range(0x1E0, 0x220), 0x1F1, 0x1F1]
    gpas = [page << 12 | page % 7 for page in pages]
    return u64(*gpas, 2**48 | 0x1F1 << 12, 2**63 | 0x1F1 << 12, 2**64 - 1, SIZE, SIZE - 1)


@in_both_formats
@pytest.mark.parametrize("prot", [Prot.READ, Prot.WRITE, Prot.EXEC, Prot.RWX])
def test_look_up_many__as_one_by_one(format: PteFormat, prot: Prot) -> None:
    """Outcome and entry of each, and the resident count; over several blocks."""
    w, extents = _mapped(format)
    twin, _ = _mapped(format)
    gpas = np.tile(_some_gpas(), 5)
    outcomes, ahead = np.zeros(gpas.size, np.uint8), np.empty(int(walk.AHEAD), np.uint64)
    before = w.levels[0].tolist()
    need, deny = format.need[prot], format.deny[prot]
    walk.look_up_many(w.levels, extents, w.words, gpas, SIZE, need, deny, int(prot), outcomes, ahead)
    expected = []
    for gpa in gpas.tolist():
        code, entry = _look_up(twin, extents, format, gpa >> 12, prot) if gpa < SIZE else (1, 0)
        expected.append(code)
        if not code:
            twin.put(gpa >> 12, entry)
    assert outcomes.tolist() == expected
    assert w.levels[0].tolist() == twin.levels[0].tolist()
    assert int(w.words[0]) == sum(1 for a, b in zip(w.levels[0].tolist(), before, strict=True) if a != b)


def _find_many(w: World, extents: U64Array, gpas: U64Array, format: PteFormat, prot: Prot) -> tuple[list[int], ...]:
    """What it says, and the leaves and PFNs up to there."""
    leaves, pfns = np.zeros(gpas.size, np.uint64), np.zeros(gpas.size, np.uint64)
    need, deny = format.need[prot], format.deny[prot]
    said = walk.find_many(w.levels, extents, gpas, SIZE, need, deny, int(prot), leaves, pfns)
    n = int(said[0])
    return [int(number) for number in said], leaves[:n].tolist(), pfns[:n].tolist()


@in_both_formats
@pytest.mark.parametrize("prot", [Prot.READ, Prot.WRITE, Prot.RWX])
def test_find_many__up_to_the_first_that_cannot_be_had(format: PteFormat, prot: Prot) -> None:
    """From wherever one starts: number and code of the first that cannot be had; leaves and PFNs before; nothing installed."""
    w, extents = _mapped(format)
    gpas = _some_gpas() & ~np.uint64(0xFFF)
    before = w.levels[0].tolist()
    assert gpas.size > 64
    for start in range(gpas.size):
        expected: list[tuple[int, int]] = []
        code, n_absent = 0, 0
        for gpa in gpas[start:].tolist():
            code, entry = _look_up(w, extents, format, gpa >> 12, prot) if gpa < SIZE else (1, 0)
            if code:
                break
            n_absent += not w.get(gpa >> 12)
            expected.append((w.leaf(gpa >> 12), (entry & ADDRESS) >> 12))
        said, leaves, pfns = _find_many(w, extents, gpas[start:].copy(), format, prot)
        assert said == [len(expected), code, n_absent]
        assert list(zip(leaves, pfns, strict=True)) == expected
    assert (w.levels[0].tolist(), int(w.words[0])) == (before, 0)


@pytest.mark.parametrize("n", [0, 1, 127, 128, 129, 300])
@pytest.mark.parametrize("writable", [True, False])
def test_find_many__then_install_many(n: int, writable: bool) -> None:
    """What is mapped for all of it is found and made resident, at once or in several blocks, each page counted once."""
    w, extents = _mapped(EPT)
    gpas = u64(*(0x1F0 + k * 7 % 0x1C << 12 for k in range(n)))
    gpas.flags.writeable = writable
    said, leaves, pfns = _find_many(w, extents, gpas, EPT, Prot.READ)
    absent = [gpa >> 12 for gpa in gpas.tolist() if not w.get(gpa >> 12)]
    assert said == [n, 0, len(absent)]
    walk.install_many(w.levels, extents, w.words, gpas, u64(*leaves))
    assert int(w.words[0]) == len(set(absent))
    assert [(w.get(gpa >> 12) & ADDRESS) >> 12 for gpa in gpas.tolist()] == pfns


@pytest.mark.parametrize("at", [0, 1, 126, 127, 128, 129, 255])
@pytest.mark.parametrize(("gpa", "code"), [(0x1F0_001, 1), (SIZE, 1), (2**63, 1), (2**64 - 0x1000, 1), (0x1E0_000, 1)])
def test_find_many__bad_one_at_a_blocks_edge(at: int, gpa: int, code: int) -> None:
    """Unaligned, past the end, in a hole: told by its number, wherever it stands."""
    w, extents = _mapped(EPT)
    gpas = np.full(256, 0x1F0 << 12, np.uint64)
    gpas[at] = gpa
    assert _find_many(w, extents, gpas, EPT, Prot.READ)[0][:2] == [at, code]


@in_both_formats
@pytest.mark.parametrize("prot", [Prot(p) for p in range(8)])
def test_find_resident__leaf_and_address_or_nothing(format: PteFormat, prot: Prot) -> None:
    """Of a resident page that may be held; -1 for all else: another's, unaligned, beyond, or no hold."""
    w, _ = _mapped(format)
    n_tables = [level.size // 512 for level in w.levels]
    words = u64(*(level.ctypes.data for level in w.levels), *n_tables, *format.need, *format.deny)
    for page in range(0x1E0, 0x220):
        entry = w.get(page) if w.covers(page) else 0
        good = entry and entry & format.need[prot] == format.need[prot] and not entry & format.deny[prot] and prot & 3
        expected = (w.leaf(page), entry & ADDRESS) if good else (-1, 0)
        assert walk.find_resident(words.ctypes.data + int(prot), page << 12) == expected
        for odd in (page << 12 | 1, page << 12 | 0x800, page << 12 | 2**48, page << 12 | 2**63):
            assert walk.find_resident(words.ctypes.data + int(prot), odd) == (-1, 0)


@in_both_formats
def test_translate__pfn_or_none(format: PteFormat) -> None:
    """Resident pages only; any byte of a page; nothing is installed."""
    w, _ = _mapped(format)
    w.put(0x1F2, 0xFFFF_FFFF_FFFF_F025)
    w.put(0x20C, 0x5000_0025)  # the first page past the end
    before = w.levels[0].tolist()
    gpas = [page << 12 | page * 91 % 4096 for page in range(0x1E0, 0x220)] + [SIZE, 2**47, 2**48 | 0x1F2 << 12, 2**64 - 1]
    pfns = np.zeros(len(gpas), np.uint64)
    walk.translate(w.levels, u64(*gpas), SIZE, pfns)
    expected = [w.get(g >> 12) if g < SIZE else 0 for g in gpas]
    assert pfns.tolist() == [(entry & ADDRESS) >> 12 if entry else NONE for entry in expected]
    assert w.levels[0].tolist() == before


@pytest.mark.parametrize("n", [0, 1, 63, 64, 65, 127, 128, 129, 257])
def test_translate__blocks(n: int) -> None:
    """However many, each PFN is its own address's: holes, regions apart, past the end and past 2**63 stand anywhere."""
    w = World((16, 16, 8, 1))
    pages = [0x1F1, 511, 512, GIB + 3, TIB_HALF + GIB, TIB_HALF - 1]
    for page in pages:
        w.put(page, (0x10_0000 + page) << 12 | 7)
    some = [page << 12 | 0xABC for page in pages]
    odd = [0x400 << 12, 0x1F2 << 12, 2**47, 2**47 - 1, 2**48 | some[0], 2**63, 2**63 | some[1], 2**64 - 1]
    numbers = random.Random(n)
    gpas = [numbers.choice(some if numbers.random() < 0.7 else odd) for _ in range(n)]
    pfns = np.zeros(n, np.uint64)
    walk.translate(w.levels, u64(*gpas), 2**47, pfns)
    assert pfns.tolist() == [0x10_0000 + (gpa >> 12) if gpa in some else NONE for gpa in gpas]


# -- lists of leaf tables ------------------------------------------------------------------------------------------------

NO_SUMMARY = np.empty(0, np.uint8)
SPARSE = [0, 1, 510, 511, 512, 513, 1029, (TIB_HALF >> 9) - 1, TIB_HALF >> 9, 5 * 2**18, 2**26 - 1]  # regions


def _leaf_tables(w: World, first: int, end: int) -> list[tuple[int, int]]:
    tables, slots = np.zeros(16, np.uint64), np.zeros(16, np.uint64)
    n = int(walk.leaf_tables(w.levels, NO_SUMMARY, first, end, tables, slots))
    return list(zip(tables[:n].tolist(), slots[:n].tolist(), strict=True))


@pytest.mark.parametrize(("first", "end"), [
    (0, 1), (0, 2), (0, 512), (1, 511), (509, 514), (511, 512), (512, 513), (2, 510), (0, 0), (512, 512), (514, 600),
    (0, 2**18), (0, 2**26), (2**18 - 1, 2**18 + 1), (2**18, 2**26), (2**26 - 1, 2**26), (600, 2**26 - 1),
    (600, 1100), (3 * 2**18 + 7, 6 * 2**18),
])  # fmt: skip
def test_leaf_tables__those_that_are_there(first: int, end: int) -> None:
    """In order, each with its place in the range; at once, even over 2**47 bytes."""
    w = World((16, 16, 8, 1))
    for region in sorted(SPARSE, key=lambda region: region * 7919 % 101):
        w.leaf(region << 9)
    expected = [(w.table(region << 9), region - first) for region in SPARSE if first <= region < end]
    assert _leaf_tables(w, first, end) == expected


def test_leaf_tables__full_directory() -> None:
    """All 512 of one directory, and the first of the next."""
    w = World((520, 4, 4, 1))
    for region in range(513):
        w.leaf(region << 9)
    tables, slots = np.zeros(513, np.uint64), np.zeros(513, np.uint64)
    assert int(walk.leaf_tables(w.levels, NO_SUMMARY, 0, 513, tables, slots)) == 513
    assert slots.tolist() == list(range(513))
    assert tables.tolist() == [w.table(region << 9) for region in range(513)]


@pytest.mark.parametrize("seed", range(8))
def test_leaf_tables__without_the_clean_ones(seed: int) -> None:
    """By the summary; those that were handed out are never clean."""
    w, numbers = World((16, 16, 8, 1)), random.Random(seed)
    touched = np.array([numbers.choice([0, 0, 1, 3]) for _ in range(16)], np.uint8)
    for region in SPARSE:
        w.leaf(region << 9)
    tables, slots = np.zeros(16, np.uint64), np.zeros(16, np.uint64)
    n = int(walk.leaf_tables(w.levels, touched, 1, 2**26, tables, slots))
    expected = [(w.table(region << 9), region - 1) for region in SPARSE if region >= 1 and touched[w.table(region << 9)]]
    assert list(zip(tables[:n].tolist(), slots[:n].tolist(), strict=True)) == expected


@pytest.mark.parametrize("levels_used", [1, 2])
def test_leaf_tables__empty_directories(levels_used: int) -> None:
    """A directory without children is gone through, and nothing is found."""
    w = World()
    w.table(513 << 9, level=levels_used)
    assert _leaf_tables(w, 0, 2**26) == []


def test_look_up__accepts_what_python_has() -> None:
    """Python ints, numpy's signed and unsigned: the same result."""
    w, extents = _mapped(EPT)
    kinds: list[Any] = [int, np.uint64, np.int64]
    said = {int(walk.look_up(w.levels, extents, w.words, k(0x1F5), k(1), k(0), k(1))) for k in kinds}
    assert said == {w.leaf(0x1F5)}
