"""``PageTable``: four level arrays as one tree, and what is done to it.

Theory of operation
-------------------
The tree knows pages, entries and tables, not mappings: those come in as *extents* (``kernels/walk.py``). It takes no lock
and checks no argument; the space above it does both. Taking down is in two steps, because a vCPU may be inside a table
until it has been kicked: ``vacate`` clears and unlinks, then ``release`` frees what was unlinked, or ``restore`` links it
back.

Large work is split over threads, a leaf table never. Of dirty entries there is a summary by leaf table
(``kernels/summary.py``), so that a harvest does not read the clean ones.

Guarantees: ``resident`` is exact; after the last unmapping only the root is left, all zero.
Relies on:  the space's exclusion, as each kernel file says.
"""

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from npt import _html, _sync, kernels
from npt._threads import share
from npt._types import Handle, U8Array, U64Array
from npt.errors import InvalidArgument, InvariantError, ReservoirExhausted
from npt.formats.base import FIRST_TABLE_PFN, TABLES_A_LEVEL, PteFormat, table_pfn
from npt.table.arena import Arena
from npt.table.vacancy import Vacancy
from npt.table.window import NO_SELECTION, Window
from npt.units import ENTRIES, LEVELS, PAGE_SHIFT, PAGE_SIZE, as_int, digits, format_size, level_shift

__all__ = ["NO_EXTENTS", "PageTable"]

NO_EXTENTS = np.empty((0, 4), np.uint64)
NO_PAGE = 2**64 - 1
_RESIDENT = 0  # word of the shared counts
_NO_SUMMARY = np.empty(0, np.uint8)
_LEAST_TABLES = 2048  # that are worth a thread: half a millisecond and more


class PageTable(Handle):
    """The nested page table of one space; ``VmSpace.table``.

    Parameters
    ----------
    format
        ``EPT`` or ``NPT``.
    size
        Bytes of guest-physical address space that it may come to cover.
    """

    def __init__(self, format: PteFormat, size: int, threads: int | None = None) -> None:
        self.format = format
        self.threads = threads
        self._handed_out = False  # somebody has a table that he may write into at any time
        self.words: U64Array = np.zeros(8, np.uint64)
        self._state: U64Array = np.zeros(2 * LEVELS, np.uint64)  # by level: tables ever used, tables on the free stack
        self._arenas = tuple(Arena(self._most(size, level)) for level in range(1, LEVELS + 1))
        self.levels = tuple(arena.entries for arena in self._arenas)
        self._counts = tuple(arena.counts for arena in self._arenas)
        self._free = tuple(arena.free for arena in self._arenas)
        self._marks = tuple(arena.marks for arena in self._arenas)
        self.touched = self._marks[0]  # the summary
        self.takes: U64Array = np.zeros(8, np.uint64)  # its first word is odd while a harvest takes tables
        self.cells = _sync.cells("leaves", self.levels[0])  # one leaf entry as a Python int
        self.touched_cells = _sync.cells("touched", self.touched)
        self._state[2 * (LEVELS - 1)] = 1  # the root
        addresses = [entries.ctypes.data for entries in self.levels]
        n_tables = [arena.capacity for arena in self._arenas]
        self._context: U64Array = np.array([*addresses, *n_tables, *format.need, *format.deny], np.uint64)
        self.context = self._context.ctypes.data  # address of what kernels need to know who take no arrays

    @staticmethod
    def _most(size: int, level: int) -> int:
        return -(-size >> level_shift(level + 1)) if level < LEVELS else 1

    def __repr__(self) -> str:
        counts = " + ".join(str(self.tables_in_use(level)) for level in range(LEVELS, 0, -1))
        return f"<PageTable {self.format.name}: {counts} tables, {self.resident} pages resident>"

    def _shown(self) -> Iterable[str]:
        levels = [(level, self.tables_in_use(level)) for level in range(LEVELS, 0, -1)]
        rows = [
            (level, f"{n:,}", format_size(n * ENTRIES * 8), f"{n * ENTRIES:,}", format_size(1 << level_shift(level)))
            for level, n in levels
        ]
        yield _html.table("tables", ("level", "tables", "memory", "entries", "an entry covers"), rows)

    # -- what it holds ----------------------------------------------------------------------------------------------

    @property
    def resident(self) -> int:
        """How many leaf entries are present."""
        return int(self.words[_RESIDENT])

    def entries(self, level: int) -> U64Array:
        """Entries of a level, all tables that were ever used side by side.

        Parameters
        ----------
        level
            4 (root) to 1 (leaf).

        Returns
        -------
        numpy.ndarray
            ``uint64``, shape ``(512 * n_tables,)``; a read-only view, not a copy.

        Raises
        ------
        InvalidArgument
            No such level.
        """
        place = self._place(level)
        view = self.levels[place][: int(self._state[2 * place]) * ENTRIES]
        view.flags.writeable = False
        return view

    def tables_in_use(self, level: int) -> int:
        """How many tables of a level (4 = root ... 1 = leaf) are linked into the tree; the root always is.

        Raises
        ------
        InvalidArgument
            No such level.
        """
        place = self._place(level)
        return int(self._state[2 * place] - self._state[2 * place + 1])

    def read_table(self, pfn: int) -> U64Array:
        """Read a table by its PFN, as hardware would.

        Parameters
        ----------
        pfn
            Of the root (``table_root >> 12``), or from the address bits of a directory entry.

        Returns
        -------
        numpy.ndarray
            ``uint64``, shape ``(512,)``: a writable view. What is written through it, nobody checks.

        Raises
        ------
        InvalidArgument
            No table was ever there.
        """
        place, table = divmod(as_int(pfn, "pfn") - FIRST_TABLE_PFN, TABLES_A_LEVEL)
        if not 0 <= place < LEVELS or table >= int(self._state[2 * place]):
            raise InvalidArgument(f"pfn {pfn:#x} is not that of a table")
        kernels.tables.hand_out(self._marks[place], table)
        self._handed_out = True
        return self.levels[place][table * ENTRIES : (table + 1) * ENTRIES]

    def root(self, tracking: bool) -> int:
        """Root pointer: EPTP or nCR3."""
        return table_pfn(LEVELS, 0) << PAGE_SHIFT | self.format.root_bits(tracking)

    def walk(self, gpa: int) -> Iterator[tuple[int, int, int]]:
        """Steps of a walk: level, index and entry, from the root to the first that is zero or to the leaf."""
        table = 0
        for level in range(LEVELS, 0, -1):
            index = gpa >> level_shift(level) & (ENTRIES - 1)
            entry = int(self.levels[level - 1][table * ENTRIES + index])
            yield level, index, entry
            table = (self.format.pfn_of(entry) - FIRST_TABLE_PFN) % TABLES_A_LEVEL
            if not entry or (level > 1 and table >= self._arenas[level - 2].capacity):
                return  # it leads nowhere, or somebody wrote nonsense through read_table

    def entry(self, gpa: int) -> int | None:
        """Raw leaf entry, or None where no leaf table exists."""
        *_, (level, _, entry) = self.walk(gpa)
        return entry if level == 1 else None

    def translate(self, gpas: U64Array, size: int) -> U64Array:
        """PFNs of addresses, ``NO_PFN`` where not resident or at or past ``size``."""
        pfns = np.empty(gpas.size, np.uint64)
        kernels.walk.translate(self.levels, gpas, size, pfns)
        return pfns

    def _place(self, level: int) -> int:
        number = as_int(level, "level")
        if not 1 <= number <= LEVELS:
            raise InvalidArgument(f"level {digits(number)} is not 1 to 4")
        return number - 1

    # -- building and taking down -----------------------------------------------------------------------------------

    def needed(self, gpa: int, length: int) -> tuple[int, ...]:
        """Most new tables that a mapping may need, by level from the leaf."""
        return tuple((gpa + length - 1 >> level_shift(n + 1)) - (gpa >> level_shift(n + 1)) + 1 for n in range(1, LEVELS))

    def check_sound(self, gpa: int, length: int, *, may_lack: bool = False) -> None:
        """Refuse to work on directories that were overwritten.

        Raises
        ------
        InvariantError
            An entry leads nowhere; only a write through ``read_table`` can do that.
        """
        first = gpa >> PAGE_SHIFT
        page: int = kernels.tables.first_unsound(self.levels, first, first + (length >> PAGE_SHIFT), may_lack)
        if page != NO_PAGE:
            raise InvariantError(f"the directories above {page << PAGE_SHIFT:#x} were overwritten, through read_table?")

    def build(self, gpa: int, length: int, record: Vacancy | None = None) -> None:
        """Make tables down to the leaf for a new mapping; a record tells after an interrupt whether that was done.

        Raises
        ------
        InvariantError
            Directories were overwritten.
        ReservoirExhausted
            There is no room for the tables; nothing was made.
        """
        self.check_sound(gpa, length, may_lack=True)
        needed = self.needed(gpa, length)
        if any(arena.cut for arena in self._arenas):
            self._check_room(gpa, length, needed)
        for arena, n in zip(self._arenas, needed, strict=False):
            arena.expect(n)
        first = gpa >> PAGE_SHIFT
        end = first + (length >> PAGE_SHIFT)
        notes = np.zeros(kernels.tables.NOTES, np.uint64) if record is None else record.notes
        masks = self.format.masks
        kernels.tables.build(self.levels, self._counts, self._free, self._state, first, end, masks.table, notes)

    def _check_room(self, gpa: int, length: int, needed: tuple[int, ...]) -> None:
        """Arenas that were cut to the machine's memory may be too small; those of full size never are."""
        n_there = self.find(Window(gpa, length))[0].size, 0, 0  # shared leaf tables; directories are reckoned as all new
        for level, n in enumerate(needed, 1):
            arena = self._arenas[level - 1]
            if arena.cut and n - n_there[level - 1] > arena.capacity - self.tables_in_use(level):
                raise ReservoirExhausted(f"no room for the tables of {gpa:#x} + {length:#x}")

    def vacancy(self, gpa: int, length: int) -> Vacancy:
        """A record to be filled in by the steps of taking a mapping down, or putting one up."""
        return Vacancy(gpa, length, sum(self.needed(gpa, length)))

    def vacate(self, gpa: int, length: int, record: Vacancy | None = None) -> Vacancy:
        """Clear a mapping's leaves and unlink the tables that nobody covers any more; return the record of it.

        After an interrupt the same again, with the record, does what is left.
        """
        record = self.vacancy(gpa, length) if record is None else record
        if not record.taken:
            first, n_pages = gpa >> PAGE_SHIFT, length >> PAGE_SHIFT

            def clear(start: int, stop: int) -> None:
                kernels.tables.clear(self.levels, self.words, first + start, first + stop, record.notes)

            self._share_pages(clear, first, n_pages)
            kernels.tables.unlink(self.levels, self._counts, first, first + n_pages, record.rows, record.notes)
        return record

    def release(self, record: Vacancy) -> None:
        """Free unlinked tables, once no vCPU can be inside them. Once more does no harm."""
        kernels.tables.release_tables(self.levels, self._free, self._state, self._marks, record.unlinked)

    def restore(self, record: Vacancy) -> None:
        """Link tables back, empty, because a vCPU would not leave them. Once more does no harm."""
        kernels.tables.relink(self.levels, self._counts, self.format.masks.table, record.unlinked)
        if record.taken and not record.counted:
            self.build(record.gpa, record.length, record)

    # -- leaves -----------------------------------------------------------------------------------------------------

    def populate(self, extents: U64Array, gpa: int, length: int) -> int:
        """Make a range inside one mapping resident; return how many pages were not."""
        first = gpa >> PAGE_SHIFT
        new = np.zeros(1, np.uint64)

        def populate(start: int, stop: int) -> None:
            kernels.leaves.populate(self.levels, extents, self.words, first + start, first + stop, new)

        self._share_pages(populate, first, length >> PAGE_SHIFT)
        return int(new[0])

    def _share_pages(self, work: Callable[[int, int], None], first: int, n_pages: int) -> None:
        """Work on pages counted from ``first``, each leaf table's in one thread."""
        before = first % ENTRIES

        def part(start: int, stop: int) -> None:
            work(max(start - before, 0), stop - before)

        share(part, before + n_pages, least=_LEAST_TABLES * ENTRIES, threads=self.threads, step=ENTRIES)

    def find(self, window: Window, *, dirty: bool = False) -> tuple[U64Array, U64Array]:
        """Leaf tables under a window, or those that may hold dirty entries, and the place of each in it."""
        most = min(window.n_regions, self.tables_in_use(1))
        tables, slots = np.empty(most, np.uint64), np.empty(most, np.uint64)
        end = window.region + window.n_regions
        n = kernels.walk.leaf_tables(self.levels, self._summary(dirty), window.region, end, tables, slots)
        return tables[:n], slots[:n]

    def leaves(self, window: Window) -> U64Array:
        """Leaf entries of a window, copied; 0 where there is no table."""
        tables, slots = self.find(window)
        found = np.zeros((window.n_regions, ENTRIES), np.uint64)
        found[slots] = self.levels[0].reshape(-1, ENTRIES)[tables]
        return found.reshape(-1)[window.first : window.end]

    def _summary(self, dirty: bool) -> U8Array:
        return self.touched if dirty else _NO_SUMMARY

    def harvest(self, window: Window, select: U64Array, mark: np.uint64, words: U64Array, *, still: bool) -> None:
        """Move marks into ``words``: one by one, or with ``still``, while nobody else is there, many at a time."""
        dirty = mark == self.format.masks.dirty
        tables, slots = self.find(window, dirty=dirty)

        def harvest(start: int, stop: int) -> None:
            found = self.levels[0], self._summary(dirty), tables[start:stop], slots[start:stop]
            how = window.first, window.end, select, mark
            if still and not self._handed_out:
                kernels.dirty.harvest_still(*found, *how, words)
            else:
                kernels.dirty.harvest(*found, *how, np.empty(ENTRIES, np.uint64), words)

        begun = (kernels.words.load(self.takes, 0) + 1) | 1  # it is odd already where an interrupt ended the last one
        kernels.words.store(self.takes, 0, begun)
        share(harvest, tables.size, least=_LEAST_TABLES, threads=self.threads)
        kernels.words.store(self.takes, 0, begun + 1)

    def peek(self, window: Window, select: U64Array, mark: np.uint64) -> U8Array:
        """Bitmap of marks, nothing changed."""
        tables, slots = self.find(window, dirty=bool(mark == self.format.masks.dirty))
        words = window.words()

        def peek(start: int, stop: int) -> None:
            parts = tables[start:stop], slots[start:stop]
            kernels.dirty.peek(self.levels[0], *parts, window.first, window.end, select, mark, words)

        share(peek, tables.size, least=_LEAST_TABLES, threads=self.threads)
        return window.bitmap(words)

    def mark(self, window: Window, select: U64Array, need: np.uint64, bits: int, told: np.uint64) -> U8Array:
        """Set bits of selected entries that have all of ``need``; bitmap of those that lacked ``told``."""
        tables, slots = self.find(window)
        summary, words = self._summary(bool(bits & self.format.masks.dirty)), window.words()

        def mark(start: int, stop: int) -> None:
            kernels.dirty.mark(
                self.levels[0], summary, tables[start:stop], slots[start:stop],
                window.first, window.end, select, need, bits, told, words,
            )  # fmt: skip

        share(mark, tables.size, least=_LEAST_TABLES, threads=self.threads)
        return window.bitmap(words)

    def populate_selected(self, extents: U64Array, window: Window, select: U64Array) -> None:
        """Make selected writable pages resident."""
        tables, slots = self.find(window)
        kernels.leaves.populate_selected(
            self.levels, extents, self.words, window.region, tables, slots, window.first, window.end,
            select if select.size else _all_of(window),
        )  # fmt: skip

    def memory_needed(self, gpa: int, length: int) -> int:
        """Bytes of memory that new tables for a mapping may take; those on the free lists have theirs."""
        needed = enumerate(self.needed(gpa, length))
        return sum(max(n - int(self._state[2 * place + 1]), 0) for place, n in needed) * PAGE_SIZE


def _all_of(window: Window) -> U64Array:
    return np.full_like(window.words(), ~np.uint64(0))


__all__ += ["NO_SELECTION", "Window"]
