"""A level's array: reserved, zero, and never moving."""

import gc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from npt import EPT, ReservoirExhausted
from npt.table import arena
from npt.table.arena import Arena
from npt.table.tree import PageTable

PAGE, MIB, GIB = 1 << 12, 1 << 20, 1 << 30


@pytest.mark.parametrize("capacity", [1, 2, 511, 512, 513])
def test_arena__room_for_that_many_tables(capacity: int) -> None:
    """512 entries each, a count and a mark each, and a stack that holds them all."""
    made = Arena(capacity)
    assert (made.entries.shape, made.counts.shape, made.free.shape) == ((512 * capacity,), (capacity,), (capacity,))
    assert [array.dtype.itemsize for array in (made.entries, made.counts, made.free, made.marks)] == [8, 2, 4, 1]
    assert made.marks.tolist() == [0] * capacity


def test_arena__reads_zero_at_both_ends() -> None:
    """Fresh memory is zero, also where nobody wrote before."""
    made = Arena(1 << 20)
    assert (int(made.entries[0]), int(made.entries[-1]), int(made.counts[-1]), int(made.free[-1])) == (0, 0, 0, 0)


def test_arena__is_page_aligned_and_contiguous() -> None:
    """A table is a page, as hardware wants it, and kernels want plain arrays."""
    entries = Arena(4).entries
    assert entries.ctypes.data % PAGE == 0
    assert entries.flags.c_contiguous
    assert entries.flags.aligned
    assert entries.flags.writeable


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="counts resident memory as Linux tells it")
def test_arena__takes_no_memory_until_it_is_touched() -> None:
    """2**26 tables, enough for 2**47 bytes of guest, are address space only: 256 GiB of it."""

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE

    before = resident()
    made = Arena(1 << 26)
    made.entries[:: 1 << 30] = 1
    assert resident() - before < 64 * MIB


def test_arena__views_outlive_it() -> None:
    """The array lives as long as any view of it."""
    view = Arena(2).entries[512:]
    view[0] = 7
    gc.collect()
    assert int(view[0]) == 7


def test_arena__never_moves_while_tables_are_added() -> None:
    """Each level stays at its address, and views taken early see what is built late."""
    table = PageTable(EPT, 512 * GIB)
    places = [level.ctypes.data for level in table.levels]
    early = table.read_table(table.root(False) >> 12)
    leaf_level = table.levels[0][:512]
    for gpa in range(0, 512 * GIB, 8 * GIB):
        table.build(gpa, 2 * MIB)
    assert len(places) == 4
    assert [level.ctypes.data for level in table.levels] == places
    assert int(early[0]) != 0
    table.levels[0][3] = 9
    assert int(leaf_level[3]) == 9


def _short_of_address_space(monkeypatch: pytest.MonkeyPatch, most_words: int, available: int) -> None:
    """Pretend that a larger reservation is refused, as under ``ulimit -v`` or without overcommit."""
    reserve = arena._reserve

    def refuse(n: int, dtype: Any) -> object:
        if n * np.dtype(dtype).itemsize > most_words * 8:
            raise OSError(12, "Cannot allocate memory")
        return reserve(n, dtype)

    monkeypatch.setattr(arena, "_reserve", refuse)
    monkeypatch.setattr(arena, "available_bytes", lambda: available)


def test_arena__smaller_where_address_space_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """What fits into a quarter of the memory there is, and ``capacity`` says so."""
    _short_of_address_space(monkeypatch, 512 * 64, 64 * 4 * PAGE)
    made = Arena(1 << 20)
    assert (made.capacity, made.entries.size) == (64, 512 * 64)


def test_arena__no_address_space_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that says so, where there is memory but no room for it."""
    _short_of_address_space(monkeypatch, 0, 1 << 40)
    with pytest.raises(ReservoirExhausted, match="address space"):
        Arena(4)


CUT = 16  # tables that a cut arena holds


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch) -> PageTable:
    """A page table for 1 GiB whose leaf level has room for 16 tables, 32 MiB, only."""
    _short_of_address_space(monkeypatch, 512 * CUT, CUT * 4 * PAGE)
    return PageTable(EPT, GIB)


def test_build__refused_where_a_cut_arena_is_too_small(cut: PageTable) -> None:
    """One mapping larger than all the room there is; nothing was made."""
    with pytest.raises(ReservoirExhausted):
        cut.build(0, (CUT + 1) * 2 * MIB)
    assert [cut.tables_in_use(level) for level in (4, 3, 2, 1)] == [1, 0, 0, 0]


def test_build__refused_where_a_cut_arena_is_full(cut: PageTable) -> None:
    """A low mapping after a high one: it is the tables in use that count, not the address."""
    cut.build(512 * MIB, (CUT - 1) * 2 * MIB)
    with pytest.raises(ReservoirExhausted):
        cut.build(0, 2 * 2 * MIB)
    assert cut.tables_in_use(1) == CUT - 1


def test_build__fills_a_cut_arena_to_the_last_table(cut: PageTable) -> None:
    """Room that is there can be used, wherever the mapping is."""
    cut.build(512 * MIB, (CUT - 1) * 2 * MIB)
    cut.build(0, 2 * MIB)
    assert cut.tables_in_use(1) == CUT
