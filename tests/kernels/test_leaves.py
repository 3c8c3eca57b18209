"""Filling and clearing leaves against a loop over pages in plain Python."""

import numpy as np
import pytest

from npt._types import U64Array
from npt.kernels import leaves
from npt.kernels.jit import kernel
from tests.kernels.world import TOP, World, bitmap, entry_in, extents_of, random_entries, u64

EMPTY = np.empty(0, np.uint64)
NX = TOP
# Scattered in the host, side by side in the guest, over the edges of leaf tables; an nPT entry has bit 63.
EXTENTS = extents_of(
    (0x100, 0x1FF, 0x10_0000_0037, 7),
    (0x1FF, 0x200, 0x90_0000_0025 | NX, 3),
    (0x200, 0x201, 0x20_0000_0037, 3),
    (0x201, 0x640, 0xF_FFFF_0000_0031, 1),
    (0x640, 0xA00, 0x30_0000_0025 | NX, 3),
)
RANGES = [
    (0x100, 0xA00), (0x100, 0x101), (0x1FE, 0x202), (0x1FF, 0x200), (0x200, 0x201), (0x1FF, 0x201), (0x201, 0x400),
    (0x3FF, 0x401), (0x400, 0x600), (0x600, 0x6C1), (0x63F, 0x641), (0x9FF, 0xA00), (0x300, 0x300), (0x440, 0x480),
]  # fmt: skip
PRESETS = ["none", "few", "half", "most", "all"]
SHARE = {"none": 0.0, "few": 0.01, "half": 0.5, "most": 0.99, "all": 1.0}


def populate(w: World, first: int, end: int) -> int:
    """Run the kernel; how many it says it added."""
    new = u64(1000)
    leaves.populate(w.levels, EXTENTS, w.words, first, end, new)
    return int(new[0]) - 1000


def world(preset: str = "none", seed: int = 1) -> World:
    """Leaf tables over all extents, some entries present already, with A and D and any other bit."""
    made = World((8, 4, 4, 1))
    for page in range(0, 0xC00, 0x200):
        made.leaf(page)
    made.levels[0][: 6 * 512] = random_entries(seed, 6 * 512, absent=1 - SHARE[preset])
    return made


@pytest.mark.parametrize(("first", "end"), RANGES)
@pytest.mark.parametrize("preset", PRESETS)
def test_populate__fills_what_is_empty(first: int, end: int, preset: str) -> None:
    """Each zero entry of the range gets its extent's; all others, in and out of the range, stay."""
    w = world(preset)
    expected = {page: w.get(page) for page in range(0xC00)}
    empty = [page for page in range(first, end) if not expected[page]]
    for page in empty:
        found = entry_in(EXTENTS, page)
        assert found is not None
        expected[page] = found[0]
    added = populate(w, first, end)
    assert added == len(empty)
    assert {page: w.get(page) for page in range(0xC00)} == expected


@pytest.mark.parametrize(("first", "end"), RANGES)
def test_populate__counts_into_resident(first: int, end: int) -> None:
    """The shared count moves by what is returned, and no other word does."""
    w = world("half")
    w.words[:] = range(100, 108)
    added = populate(w, first, end)
    assert w.words.tolist() == [100 + added, *range(101, 108)]


@pytest.mark.parametrize("mark", [0x300, 0x60, TOP])
@pytest.mark.parametrize("page", [0x240, 0x27F, 0x25A])
def test_populate__keeps_marks_of_a_present_entry(page: int, mark: int) -> None:
    """One present entry among 63 empty ones is not rewritten, not even with the same address."""
    w = world()
    entry = w.put(page, 0x5000_0037 | mark)
    populate(w, 0x201, 0x400)
    assert int(w.levels[0][entry]) == 0x5000_0037 | mark


@pytest.mark.parametrize("preset", PRESETS)
def test_populate__twice_adds_nothing(preset: str) -> None:
    """The second call finds every page resident."""
    w = world(preset)
    populate(w, 0x100, 0xA00)
    before = w.levels[0].tolist()
    assert populate(w, 0x100, 0xA00) == 0
    assert w.levels[0].tolist() == before


def test_populate__leaf_tables_in_any_order() -> None:
    """Tables that lie side by side in the guest need not do so in the level."""
    w = World((8, 4, 4, 1))
    for page in (0x800, 0x200, 0x600, 0x0, 0x400):
        w.leaf(page)
    populate(w, 0x100, 0xA00)
    assert all((w.get(page), 7)[0] == (entry_in(EXTENTS, page) or (0, 0))[0] for page in range(0xA00))


def _selected(first: int, end: int, preset: str, chosen: set[int], slots: tuple[int, ...]) -> None:
    """Run ``populate_selected`` over regions 0 to 4 of the world, and a loop that does the same."""
    w = world(preset)
    expected = {page: w.get(page) for page in range(0xC00)}
    added = 0
    for page in range(first, end):
        found = entry_in(EXTENTS, page)
        if page >> 9 in slots and page in chosen and not expected[page] and found and found[1] & 2:
            expected[page] = found[0]
            added += 1
    tables = u64(*(w.table(slot << 9) for slot in slots))
    leaves.populate_selected(
        w.levels, EXTENTS, w.words, 0, tables, u64(*slots), first, end, bitmap(chosen, 6 * 8)
    )  # fmt: skip
    assert int(w.words[0]) == added
    assert {page: w.get(page) for page in range(0xC00)} == expected


@pytest.mark.parametrize(("first", "end"), [*RANGES, (0, 0xC00)])
@pytest.mark.parametrize("preset", ["none", "half", "all"])
def test_populate_selected__writable_selected_empty(first: int, end: int, preset: str) -> None:
    """Only those three together; read-only pages, holes and present entries stay."""
    _selected(first, end, preset, {page for page in range(0xC00) if page * 2654435761 % 97 < 40}, (0, 1, 2, 3, 4))


@pytest.mark.parametrize("slots", [(0, 4), (3, 1), (2,), ()])
def test_populate_selected__only_in_the_tables_listed(slots: tuple[int, ...]) -> None:
    """In any order, with gaps."""
    _selected(0, 0xC00, "none", set(range(0xC00)), slots)


def test_populate_selected__pages_count_from_the_region() -> None:
    """Bit 0 and ``first`` are the first page of the region, not page 0."""
    w = world()
    table = w.table(0x800)
    leaves.populate_selected(w.levels, EXTENTS, w.words, 4, u64(table), u64(0), 3, 6, bitmap([2, 3, 5, 6], 8))
    assert int(w.words[0]) == 2
    assert [page for page in range(0xC00) if w.get(page)] == [0x803, 0x805]


@kernel("u8(u8[::1], u8, u8)")
def clear(entries: U64Array, leaf: np.uint64, n_pages: np.uint64) -> np.uint64:
    return leaves.clear_run(entries, np.uint64(leaf), np.uint64(n_pages))


@pytest.mark.parametrize("n_pages", [0, 1, 63, 64, 65, 128, 511, 512])
@pytest.mark.parametrize("leaf", [0, 1, 63, 64, 511, 512, 513])
@pytest.mark.parametrize("preset", PRESETS)
def test_clear_run__that_many_and_how_many_were_there(n_pages: int, leaf: int, preset: str) -> None:
    """The neighbours stay."""
    entries = random_entries(leaf, 2048, absent=1 - SHARE[preset])
    expected = entries.tolist()
    present = sum(1 for entry in expected[leaf : leaf + n_pages] if entry)
    expected[leaf : leaf + n_pages] = [0] * n_pages
    assert int(clear(entries, leaf, n_pages)) == present
    assert entries.tolist() == expected
