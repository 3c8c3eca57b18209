"""Tables: how they are built and taken down, how pages are found in them, filled and cleared."""

from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS"]

_TABLES, _LEAVES, _WALK = "npt/kernels/tables.py", "npt/kernels/leaves.py", "npt/kernels/walk.py"
_TREE, _WINDOW, _SHARING = "npt/table/tree.py", "npt/table/window.py", "npt/_threads.py"
_OF_TABLES, _OF_LEAVES, _OF_WALK = (
    ("tests/kernels/test_tables.py",),
    ("tests/kernels/test_leaves.py",),
    ("tests/kernels/test_walk.py",),
)
_OF_TREE = ("tests/table/test_tree.py",)

MUTANTS = (
    Mutant(
        "build: pages of a leaf table counted one short",
        "a mapping counts one page too few in each leaf table",
        ((_TABLES, "counts[0][leaf] += np.uint16(stop - page)", "counts[0][leaf] += np.uint16(stop - page) - np.uint16(1)"),),
        _OF_TABLES,
        interpreted=True,
    ),
    Mutant(
        "build: free table taken twice",
        "a table from the free list stays on it",
        ((_TABLES, "        state[n_free] -= _ONE\n        return", "        return"),),
        _OF_TABLES,
        interpreted=True,
    ),
    Mutant(
        "unlink: highest directory stays",
        "the directory under the root is not unlinked with its last child",
        ((_TABLES, "level < np.uint64(3) and counts", "level < np.uint64(2) and counts"),),
        _OF_TABLES,
        interpreted=True,
    ),
    Mutant(
        "unlink: parent keeps its count",
        "a directory still counts a child that was unlinked",
        ((_TABLES, "            counts[level][table] -= np.uint16(1)\n", ""),),
        _OF_TABLES,
        interpreted=True,
    ),
    Mutant(
        "unmap: last page of a table stays",
        "the last leaf of each table's part of a mapping is not cleared",
        ((_TABLES, "leaf_index(levels, page), stop - page)", "leaf_index(levels, page), stop - page - _ONE)"),),
        _OF_TABLES,
    ),
    Mutant(
        "unmap: one page too many",
        "the leaf behind each table's part of a mapping is cleared, too",
        ((_TABLES, "leaf_index(levels, page), stop - page)", "leaf_index(levels, page), stop - page + _ONE)"),),
        _OF_TREE,
    ),
    Mutant(
        "unmap: resident count not lowered",
        "pages that are unmapped still count as resident, as in the source (lines 768 and 814)",
        ((_TABLES, "    atomic_add(words, RESIDENT, _ZERO - removed)  # modulo 2**64: a subtraction\n", ""),),
        ("tests/space/test_source_differences.py", "tests/space/test_vmspace.py"),
    ),
    Mutant(
        "free: a table twice",
        "who releases a record again puts its tables on the free list again",
        (
            (
                _TABLES,
                "known & _NUMBER\n        unlinked[row, _TABLE] = np.uint32(_DONE)\n",
                "known & _NUMBER\n",
            ),
        ),
        _OF_TABLES,
        interpreted=True,
    ),
    Mutant(
        "free: table not zeroed",
        "a freed table keeps what somebody wrote into it through read_table",
        ((_TABLES, "            clear_run(levels[level], table * _ENTRIES, _ENTRIES)\n", "            pass\n"),),
        _OF_TABLES,
        interpreted=True,
    ),
    Mutant(
        "free: table still marked",
        "a freed leaf table is still said to hold dirty entries",
        ((_TABLES, "            atomic_store(marks[level], table, CLEAN)\n", "            pass\n"),),
        _OF_TABLES,
        interpreted=True,
    ),
    Mutant(
        "relink: children not counted",
        "directories do not count tables that are linked back",
        ((_TABLES, "            counts[level + _ONE][place >> _NINE] += np.uint16(1)\n", ""),),
        _OF_TABLES,
        interpreted=True,
    ),
    Mutant(
        "relink: a table twice",
        "who links a record back again counts its tables again",
        (
            (
                _TABLES,
                "np.uint64(table_bits)))\n            unlinked[row, _TABLE] = np.uint32(_DONE)\n",
                "np.uint64(table_bits)))\n",
            ),
        ),
        _OF_TABLES,
        interpreted=True,
    ),
    Mutant(
        "walk: wrong shift under the root",
        "the root is indexed by the bits of the level below it",
        ((_WALK, "(region >> _EIGHTEEN) & _INDEX), region)", "(region >> _NINE) & _INDEX), region)"),),
        _OF_WALK,
        interpreted=True,
    ),
    Mutant(
        "walk: regions of 1 MiB",
        "many look-ups take the half of a leaf table for a whole one",
        ((_WALK, "np.uint64(12), np.uint64(21), np.uint64(9)", "np.uint64(12), np.uint64(20), np.uint64(9)"),),
        _OF_WALK,
        interpreted=True,
    ),
    Mutant(
        "translate: first byte past the end",
        "the first address past the end of a space is looked up",
        ((_WALK, "    if gpa < size:\n", "    if gpa <= size:\n"),),
        _OF_WALK,
        interpreted=True,
    ),
    Mutant(
        "hold: addresses alias",
        "a hold looks at 48 bits of an address, as the source does (line 735)",
        ((_WALK, "np.uint64(2**64 - 2**48 + 4095)", "np.uint64(4095)"),),
        _OF_WALK,
    ),
    Mutant(
        "hold: no look at the protection",
        "a resident page may be held for anything",
        (
            (
                _WALK,
                "    if (entry & need) != need or (entry & deny) != _ZERO:\n        return -1, 0\n",
                "",
            ),
        ),
        _OF_WALK,
    ),
    Mutant(
        "look-up: no look at the mapping's protection",
        "a page that is not resident may be had for anything",
        ((_WALK, "return FORBIDDEN if (extents[row, PROT] & prot) != prot else 0, row", "return 0, row"),),
        _OF_WALK,
        interpreted=True,
    ),
    Mutant(
        "look-up: first page of the next extent",
        "the first page of an extent is looked for in the one before",
        ((_WALK, "if extents[middle, END] <= page:", "if extents[middle, END] < page:"),),
        _OF_WALK,
        interpreted=True,
    ),
    Mutant(
        "look-up: resident count not raised",
        "a page that a look-up makes resident is not counted",
        ((_WALK, "atomic_add(words, RESIDENT, _ONE)", "atomic_add(words, RESIDENT, _ZERO)"),),
        _OF_WALK,
        interpreted=True,
    ),
    Mutant(
        "hold many: absent pages not installed",
        "pages that are not resident are held without becoming so",
        ((_WALK, "                absent += 1\n", ""),),
        _OF_WALK,
        interpreted=True,
    ),
    Mutant(
        "populate: last page",
        "the last page of a range stays as it was",
        (
            (
                _LEAVES,
                "page, end = np.uint64(first), np.uint64(end)\n    row",
                "page, end = np.uint64(first), np.uint64(end) - _ONE\n    row",
            ),
        ),
        _OF_LEAVES,
        interpreted=True,
    ),
    Mutant(
        "populate: first page",
        "the first page of a range stays as it was",
        (
            (
                _LEAVES,
                "page, end = np.uint64(first), np.uint64(end)\n    row",
                "page, end = np.uint64(first) + _ONE, np.uint64(end)\n    row",
            ),
        ),
        _OF_LEAVES,
        interpreted=True,
    ),
    Mutant(
        "populate: each group the same frames",
        "all groups of 64 pages get the frames of the first",
        ((_LEAVES, "fill64(leaves, first, entry + done * _PAGE, _PAGE)", "fill64(leaves, first, entry, _PAGE)"),),
        _OF_LEAVES,
    ),
    Mutant(
        "populate: present entries rewritten",
        "a resident page loses its A and D",
        ((_LEAVES, "empty = ~mask64(leaves, first, _ALL)", "empty = _ALL"),),
        _OF_LEAVES,
        interpreted=True,
    ),
    Mutant(
        "populate: a full group counted",
        "groups that were resident in part count as new altogether",
        ((_LEAVES, "            added -= _GROUP\n", ""),),
        _OF_LEAVES,
        interpreted=True,
    ),
    Mutant(
        "put back: page behind the range",
        "the page behind a range is made resident with it",
        ((_LEAVES, "or within >= np.uint64(end)", "or within > np.uint64(end)"),),
        _OF_LEAVES,
        interpreted=True,
    ),
    Mutant(
        "put back: read-only pages",
        "read-only pages are made resident, too",
        ((_LEAVES, "if row == NONE or (extents[row, PROT] & _WRITE) == _ZERO:", "if row == NONE:"),),
        _OF_LEAVES,
        interpreted=True,
    ),
    Mutant(
        "range of tables: last region",
        "a range that ends inside a leaf table's region has one region too few",
        ((_WINDOW, "-(-(page + n_pages) // ENTRIES) - self.region", "(page + n_pages) // ENTRIES - self.region"),),
        ("tests/table/test_window.py",),
    ),
    Mutant(
        "needed tables: range that ends at a border",
        "a range that ends at a border is said to need one table more",
        ((_TREE, "(gpa + length - 1 >> level_shift(n + 1))", "(gpa + length >> level_shift(n + 1))"),),
        _OF_TREE,
    ),
    Mutant(
        "threads: last part",
        "what is left over when work is split is not done",
        ((_TREE, "work(max(start - before, 0), stop - before)", "work(max(start - before, 0), stop - before - 1)"),),
        ("tests/table/test_tree_parts.py", "tests/table/test_tree.py"),
    ),
    Mutant(
        "read_table: not marked",
        "a table that anybody may write into counts as clean",
        ((_TREE, "        kernels.tables.hand_out(self._marks[place], table)\n", ""),),
        ("tests/space/test_summary.py", "tests/space/test_dirty_calls.py"),
        "read_table",
    ),
)
