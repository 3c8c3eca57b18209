"""A and D: harvested, looked at, put back; the summary by leaf table; the calls that do it."""

from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS"]

_DIRTY, _CALLS = "npt/kernels/dirty.py", "npt/space/dirtycalls.py"
_KERNELS, _OF_CALLS = ("tests/kernels/test_dirty.py",), ("tests/space/test_dirty_calls.py",)

MUTANTS = (
    Mutant(
        "harvest: first page",
        "the first page of a range that does not begin with a word is left out",
        ((_DIRTY, "wanted << (first - start)", "wanted << (first - start + _ONE)"),),
        _KERNELS,
        interpreted=True,
    ),
    Mutant(
        "harvest: last page",
        "the last page of a range that does not end with a word is left out",
        ((_DIRTY, "(_ALL >> (start + _GROUP - end))", "(_ALL >> (start + _GROUP - end + _ONE))"),),
        _KERNELS,
        interpreted=True,
    ),
    Mutant(
        "harvest: page behind the range",
        "the page behind a range that does not end with a word is harvested, too",
        ((_DIRTY, "(_ALL >> (start + _GROUP - end))", "(_ALL >> (start + _GROUP - end - _ONE))"),),
        _KERNELS,
        interpreted=True,
    ),
    Mutant(
        "harvest: select ignored",
        "all pages of the range are taken, whatever is selected",
        ((_DIRTY, "        wanted &= select[word]\n", "        pass\n"),),
        _KERNELS,
    ),
    Mutant(
        "harvest: bitmap overwritten",
        "what the bitmap held before is gone",
        (
            (
                _DIRTY,
                "words[word] |= wanted\n            left |= marked ^ wanted\n            n = _list",
                "words[word] = wanted\n            left |= marked ^ wanted\n            n = _list",
            ),
        ),
        _KERNELS,
        interpreted=True,
    ),
    Mutant(
        "harvest: clears what it does not report",
        "marks outside the range or the selection are cleared, too",
        ((_DIRTY, "n = _list(leaf, wanted, places, n)", "n = _list(leaf, marked, places, n)"),),
        _KERNELS,
        interpreted=True,
    ),
    Mutant(
        "harvest: clears nothing",
        "what was reported is reported again",
        ((_DIRTY, "        _clear_listed(leaves, places, n, np.uint64(mark), following)\n", ""),),
        _KERNELS,
        interpreted=True,
    ),
    Mutant(
        "still harvest: lines that begin clean",
        "marks in the upper half of a cache line's entries are not cleared",
        ((_DIRTY, "    lines |= lines >> np.uint64(2)\n", ""),),
        _KERNELS,
    ),
    Mutant(
        "still harvest: bitmap overwritten",
        "the same where nobody else is there",
        (
            (
                _DIRTY,
                "words[word] |= wanted\n            left |= marked ^ wanted\n            if marked",
                "words[word] = wanted\n            left |= marked ^ wanted\n            if marked",
            ),
        ),
        _KERNELS,
    ),
    Mutant(
        "summary: not touched again after a part",
        "a harvest of a part leaves dirty entries under a clean byte",
        (
            (
                _DIRTY,
                "        if left != _ZERO:\n            touch(touched, tables[i])\n\n\n@inline\n",
                "        pass\n\n\n@inline\n",
            ),
        ),
        _KERNELS,
        interpreted=True,
    ),
    Mutant(
        "summary: not touched again after a still part",
        "the same where nobody else is there",
        (
            (
                _DIRTY,
                '        if left != _ZERO:\n            touch(touched, tables[i])\n\n\n@kernel("',
                '        pass\n\n\n@kernel("',
            ),
        ),
        ("tests/space/test_summary.py",),
        "harvest",
    ),
    Mutant(
        "summary: put back without a touch",
        "bits that are put back lie under a clean byte",
        ((_DIRTY, "        if any_wanted != _ZERO:\n            touch(touched, tables[i])\n", ""),),
        _KERNELS,
        interpreted=True,
    ),
    Mutant(
        "summary: release without a touch",
        "a page that was released dirty lies under a clean byte",
        (
            (
                _DIRTY,
                "_ZERO)\n    touch(touched, np.uint64(leaf) >> _NINE)\n",
                "_ZERO)\n",
            ),
        ),
        ("tests/space/test_summary.py",),
    ),
    Mutant(
        "put back: told twice",
        "set_dirty reports pages that were dirty already",
        ((_DIRTY, "return bool((entry & told) != told)", "return True"),),
        _KERNELS,
        interpreted=True,
    ),
    Mutant(
        "put back: D alone",
        "set_dirty sets D without A",
        ((_CALLS, "masks.write, core.dirty_bits, masks.dirty)", "masks.write, int(masks.dirty), masks.dirty)"),),
        _OF_CALLS,
    ),
    Mutant(
        "peek clears",
        "who only looks takes the bits away",
        (
            (
                _CALLS,
                "            return core.table.peek(window, _selection(window, select), core.format.masks.dirty)",
                "            found = window.words()\n"
                "            chosen = _selection(window, select)\n"
                "            core.table.harvest(window, chosen, core.format.masks.dirty, found, still=False)\n"
                "            return window.bitmap(found)",
            ),
        ),
        _OF_CALLS,
    ),
    Mutant(
        "peek: select ignored",
        "all dirty pages of the range are told",
        ((_CALLS, "core.table.peek(window, _selection(window, select),", "core.table.peek(window, NO_SELECTION,"),),
        _OF_CALLS,
    ),
    Mutant(
        "reset: select ignored",
        "all pages of the range are harvested",
        ((_CALLS, "_selection(Window(gpa, length), select), self._core", "NO_SELECTION, self._core"),),
        _OF_CALLS,
    ),
    Mutant(
        "into overwritten",
        "what into held before is gone, not OR-ed",
        (
            (
                _CALLS,
                "np.bitwise_or(bitmap, found, out=bitmap)",
                "bitmap[:] = found",
            ),
        ),
        _OF_CALLS,
    ),
    Mutant(
        "into touched on failure",
        "into has the bits before it is known whether the harvest succeeds",
        (
            (
                _CALLS,
                "                    with exclusion.hold():\n                        exclusion.raise_epoch(generation=True)\n",
                "                    if into is not None:\n"
                "                        np.bitwise_or(into[: found.size], found, out=into[: found.size])\n"
                "                    with exclusion.hold():\n                        exclusion.raise_epoch(generation=True)\n",
            ),
        ),
        ("tests/space/test_kick_timeout.py", "tests/space/test_callbacks.py"),
        "into",
    ),
    Mutant(
        "put-back missing",
        "a harvest that fails keeps what it has cleared, as in the source (line 300)",
        ((_CALLS, "        self._core.table.mark(window, words, _PRESENT, int(mark), mark)\n", ""),),
        ("tests/space/test_source_differences.py", "tests/space/test_callbacks.py", "tests/space/test_kick_timeout.py"),
    ),
    Mutant(
        "generation not raised by a harvest",
        "vCPUs keep their translations of pages whose bits were cleared",
        (
            (
                _CALLS,
                "raise_epoch(generation=True)\n                        exclusion.kick()",
                "raise_epoch(generation=False)\n                        exclusion.kick()",
            ),
        ),
        _OF_CALLS,
    ),
    Mutant(
        "generation not raised by set_tracking",
        "vCPUs keep translations that do without marks",
        (
            (
                _CALLS,
                "raise_epoch(generation=True)\n                    exclusion.kick()\n                    self._switch",
                "raise_epoch(generation=False)\n                    exclusion.kick()\n                    self._switch",
            ),
        ),
        ("tests/space/test_dirty_calls.py", "tests/space/test_bhyve_checks.py", "tests/space/test_exclusion.py"),
    ),
    Mutant(
        "generation raised by set_dirty",
        "bits that are put back make translations stale",
        (
            (
                _CALLS,
                "            core.table.populate_selected(core.mappings.extents, window, selection)\n",
                "            core.table.populate_selected(core.mappings.extents, window, selection)\n"
                "            core.exclusion.raise_epoch(generation=True)\n",
            ),
        ),
        _OF_CALLS,
    ),
    Mutant(
        "accessed: clear does nothing",
        "A bits that are to be cleared stay",
        (
            (
                _CALLS,
                "        if clear:\n            return self._harvest",
                "        if False:\n            return self._harvest",
            ),
        ),
        _OF_CALLS,
    ),
    Mutant(
        "accessed: clear takes D, too",
        "what was dirty is lost to who asks for A",
        (
            (
                _CALLS,
                "self._harvest(gpa, length, NO_SELECTION, mark)",
                "self._harvest(gpa, length, NO_SELECTION, mark | core.format.masks.dirty)",
            ),
        ),
        _OF_CALLS,
    ),
    Mutant(
        "dirty calls while tracking is off",
        "they are not refused",
        (
            (
                _CALLS,
                '            raise TrackingDisabled("dirty',
                '            return\n            raise TrackingDisabled("dirty',
            ),
        ),
        _OF_CALLS,
    ),
    Mutant(
        "tracking: D cleared with it",
        "what is dirty when tracking is turned on is forgotten",
        (
            (
                _CALLS,
                "            core.tracking, exclusion.switching = enabled, False\n",
                "            core.tracking, exclusion.switching = enabled, False\n"
                "            whole = Window(0, core.size)\n"
                "            dirty = core.format.masks.dirty\n"
                "            core.table.harvest(whole, NO_SELECTION, dirty, whole.words(), still=False)\n",
            ),
        ),
        _OF_CALLS,
    ),
)
