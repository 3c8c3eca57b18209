"""What always holds of tables and directories."""

from collections.abc import Iterator

import numpy as np

from npt.formats.base import ADDRESS
from npt.testing.inside.space import Inside
from npt.testing.inside.tables import IntArray, TablesInside
from npt.testing.invariants.listing import invariant
from npt.units import ENTRIES, LEVELS, PAGE_SHIFT

__all__: list[str] = []

_ROOT = LEVELS - 1  # place of the root's level in lists by level


def _places(tables: TablesInside) -> Iterator[tuple[int, str]]:
    yield from ((place, f"level {place + 1}") for place in range(LEVELS))


@invariant("one root", "Level 4 has one table, number 0, and it is never free.", always=True)
def _one_root(inside: Inside) -> Iterator[str]:
    n_ever, n_free = inside.tables.n_ever[_ROOT], inside.tables.n_free[_ROOT]
    if (n_ever, n_free) != (1, 0):
        yield f"level 4 has {n_ever:#x} tables, {n_free:#x} of them free"


@invariant("directories lead to tables", "A directory entry that is not zero names a table of the next level.", always=True)
def _lead_to_tables(inside: Inside) -> Iterator[str]:
    for directory in inside.tables.directories:
        good = inside.tables.is_table(directory.level - 2, directory.children)
        for at in np.flatnonzero(~good):
            table, index, entry = (int(column[at]) for column in directory[1:4])
            yield f"level {directory.level} table {table:#x} [{index:#x}] is {entry:#x}, which names no table"


@invariant(
    "directory entries are plain", "Beside its address a directory entry has exactly the format's table bits.", always=True
)
def _plain_entries(inside: Inside) -> Iterator[str]:
    plain = int(inside.format.masks.table)
    for directory in inside.tables.directories:
        for at in np.flatnonzero((directory.entries & np.uint64(~ADDRESS % 2**64)) != np.uint64(plain)):
            table, index, entry = (int(column[at]) for column in directory[1:4])
            yield f"level {directory.level} table {table:#x} [{index:#x}] is {entry:#x}, not an address and {plain:#x}"


def _how_often(tables: TablesInside, place: int) -> tuple[IntArray, IntArray]:
    """How often each table of a level is linked into the tree, and how often it is on the free list."""
    n, free = tables.n_ever[place], tables.free[place]
    return np.bincount(tables.linked(place)[0], minlength=n), np.bincount(free[free < n], minlength=n)


@invariant("no table is in two places", "A table is linked once or on the free list once, never both.", always=True)
def _not_in_two_places(inside: Inside) -> Iterator[str]:
    for place, level in _places(inside.tables):
        linked, free = _how_often(inside.tables, place)
        for table in np.flatnonzero(linked + free > 1):
            yield f"{level} table {table:#x} is linked {linked[table]:#x} times and free {free[table]:#x} times"


@invariant("every table is in a place", "A table that was ever used is linked or on the free list.", always=False)
def _in_a_place(inside: Inside) -> Iterator[str]:
    for place, level in _places(inside.tables):
        linked, free = _how_often(inside.tables, place)
        for table in np.flatnonzero(linked + free == 0):
            yield f"{level} table {table:#x} is neither linked nor free"


@invariant("free tables were used", "The free list names tables that were used before.", always=True)
def _free_were_used(inside: Inside) -> Iterator[str]:
    for place, level in _places(inside.tables):
        for table in inside.tables.free[place][inside.tables.free[place] >= inside.tables.n_ever[place]]:
            yield f"{level} table {table:#x} is free; only {inside.tables.n_ever[place]:#x} were ever used"


@invariant("free tables are empty", "A free table has 512 zero entries, and counts nothing.", always=True)
def _free_are_empty(inside: Inside) -> Iterator[str]:
    for place, level in _places(inside.tables):
        free = inside.tables.free[place][inside.tables.free[place] < inside.tables.n_ever[place]]
        for at in np.flatnonzero(inside.tables.levels[place][free].any(axis=1)):
            yield f"{level} table {free[at]:#x} is free and not zero"
        for table in free[inside.tables.counts[place][free] != 0]:
            yield f"{level} table {table:#x} is free and counts {inside.tables.counts[place][table]:#x}"


@invariant("tables in use add up", "``tables_in_use`` is how many tables can be reached from the root.", always=False)
def _tables_in_use(inside: Inside) -> Iterator[str]:
    for place, level in _places(inside.tables):
        said, there = inside.tables.in_use[place], inside.tables.linked(place)[0].size
        if said != there:
            yield f"{level}: {said:#x} tables are said to be in use, {there:#x} can be reached"


@invariant("directories count their children", "A directory's count is that of its entries that are not zero.", always=False)
def _count_children(inside: Inside) -> Iterator[str]:
    for place in range(1, LEVELS):
        tables = np.unique(inside.tables.linked(place)[0])
        there = np.count_nonzero(inside.tables.levels[place][tables], axis=1)
        said = inside.tables.counts[place][tables]
        for at in np.flatnonzero(said != there):
            yield f"level {place + 1} table {tables[at]:#x} counts {said[at]:#x} children and has {there[at]:#x}"


@invariant("leaf tables count their pages", "A leaf table's count is that of the pages of mappings over it.", always=False)
def _count_pages(inside: Inside) -> Iterator[str]:
    tables, starts = inside.tables.linked(0)
    there, said = _mapped_under(inside, starts), inside.tables.counts[0][tables]
    for at in np.flatnonzero(said != there):
        yield f"leaf table {tables[at]:#x} counts {said[at]:#x} pages; mappings have {there[at]:#x} there"


def _mapped_under(inside: Inside, starts: IntArray) -> IntArray:
    """Pages of mappings in the 512 from each start on."""
    there = np.zeros(starts.shape, np.int64)
    for run in inside.ranges:
        near = np.flatnonzero((starts < run.end) & (starts + ENTRIES > run.first))
        there[near] += np.minimum(starts[near] + ENTRIES, run.end) - np.maximum(starts[near], run.first)
    return there


@invariant("linked tables are needed", "Each table but the root is above a page of a mapping.", always=False)
def _needed(inside: Inside) -> Iterator[str]:
    for place in range(_ROOT):
        tables, starts = inside.tables.linked(place)
        needed = np.zeros(starts.shape, bool)
        for run in inside.ranges:
            needed |= (starts < run.end) & (starts + (ENTRIES << 9 * place) > run.first)
        for at in np.flatnonzero(~needed):
            yield f"level {place + 1} table {tables[at]:#x} at gpa {starts[at] << PAGE_SHIFT:#x} is above no mapping"


@invariant("mappings have their leaf tables", "There is a leaf table over every page of a mapping.", always=False)
def _have_leaf_tables(inside: Inside) -> Iterator[str]:
    regions = inside.tables.linked(0)[1] >> 9
    for run in inside.ranges:
        wanted = np.arange(run.first >> 9, (run.end - 1 >> 9) + 1)
        for region in wanted[~np.isin(wanted, regions)]:
            yield f"no leaf table at gpa {region << PAGE_SHIFT + 9:#x}, where there is a mapping"


@invariant("nothing mapped, nothing left", "Without mappings the root is the only table, and it is all zero.", always=False)
def _nothing_left(inside: Inside) -> Iterator[str]:
    n_entries = np.count_nonzero(inside.tables.levels[_ROOT])
    if not inside.mappings and (n_entries or inside.tables.in_use != [0, 0, 0, 1]):
        yield f"tables in use from leaf to root: {inside.tables.in_use}; the root has {n_entries:#x} entries"
