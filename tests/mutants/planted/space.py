"""Address spaces: mappings, holds, their references and views, bytes, segments."""

from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS"]

_MAPPINGS, _SPACE, _ENDING, _CORE = "npt/space/mappings.py", "npt/space/vmspace.py", "npt/space/ending.py", "npt/space/core.py"
_PAGE, _HOLDING, _CLIENT, _SEGMENT = "npt/space/page.py", "npt/space/holding.py", "npt/space/client.py", "npt/space/segment.py"
_VM = "npt/space/vm.py"
_OF_SPACE, _OF_PAGE, _OF_PAGES = ("tests/space/test_vmspace.py",), ("tests/space/test_page.py",), ("tests/space/test_pages.py",)
_OF_CLIENT, _OF_SEGMENT, _ORDER = (
    ("tests/space/test_client.py",),
    ("tests/space/test_segment.py",),
    ("tests/space/test_order_of_pairs.py", "tests/space/test_order_of_checks.py"),
)

MUTANTS = (
    Mutant(
        "map: beside another",
        "a mapping that begins where another ends overlaps it",
        (
            (
                _MAPPINGS,
                "gpa < mapping.gpa + mapping.length:\n                raise",
                "gpa <= mapping.gpa + mapping.length:\n                raise",
            ),
        ),
        _OF_SPACE,
    ),
    Mutant(
        "map: over the last page of another",
        "a mapping may begin on another's last page",
        (
            (
                _MAPPINGS,
                "gpa < mapping.gpa + mapping.length:\n                raise",
                "gpa < mapping.gpa + mapping.length - 4096:\n                raise",
            ),
        ),
        _OF_SPACE,
    ),
    Mutant(
        "map: no reference",
        "a mapping takes over the caller's reference, as in the source (line 652)",
        ((_SPACE, "            mapping.obj.acquire(keeper)\n", ""),),
        ("tests/space/test_source_differences.py", "tests/space/test_vmspace.py"),
    ),
    Mutant(
        "unmap: reference leak",
        "a mapping that is gone keeps its object",
        ((_ENDING, "            self._mapping.obj.drop(self._keeper)\n", "            pass\n"),),
        _OF_SPACE,
    ),
    Mutant(
        "unmap: any length",
        "a mapping is taken down whatever length was said",
        ((_MAPPINGS, "(mappings[at].gpa, mappings[at].length) == (gpa, length)", "mappings[at].gpa == gpa"),),
        _OF_SPACE,
    ),
    Mutant(
        "unmap: extents of the neighbour",
        "the mapping behind one that is taken down loses its first extent",
        ((_MAPPINGS, "(self.extents[:, 0] >= np.uint64(end))", "(self.extents[:, 0] > np.uint64(end))"),),
        _OF_SPACE,
    ),
    Mutant(
        "populate: to the end of a mapping",
        "a range that ends with its mapping is in none",
        (
            (
                _MAPPINGS,
                "gpa + length <= mappings[at].gpa + mappings[at].length",
                "gpa + length < mappings[at].gpa + mappings[at].length",
            ),
        ),
        _OF_SPACE,
    ),
    Mutant(
        "map: RAM of another reservoir",
        "frames of two reservoirs are mixed",
        ((_CORE, "elif obj.reservoir is not self.reservoir:", "elif False:"),),
        _ORDER,
    ),
    Mutant(
        "mmio: before RAM",
        "device memory that ends where the reservoir begins is refused",
        ((_CORE, "first + n_pages > reservoir.base_pfn", "first + n_pages >= reservoir.base_pfn"),),
        _OF_SPACE,
    ),
    Mutant(
        "mmio: behind RAM",
        "device memory that begins where the reservoir ends is refused",
        ((_CORE, "and first < end and", "and first <= end and"),),
        _OF_SPACE,
    ),
    Mutant(
        "order of checks: unmap looks for the mapping first",
        "a range that is none is told as a mapping that is not there",
        (
            (
                _SPACE,
                "        gpa, length = as_range(gpa, length)\n        if exclusion.in_callback or",
                "        core.mappings.exact(gpa, length)\n        gpa, length = as_range(gpa, length)\n"
                "        if exclusion.in_callback or",
            ),
        ),
        _ORDER,
    ),
    Mutant(
        "order of checks: stale object after bad numbers",
        "map looks at its numbers before it looks whether the object is there",
        (
            (
                _SPACE,
                "        _ = obj.length  # a stale object is told before bad numbers\n"
                "        gpa, length = as_range(gpa, length)\n",
                "        gpa, length = as_range(gpa, length)\n        _ = obj.length\n",
            ),
        ),
        _ORDER,
    ),
    Mutant(
        "hold: unmapped with its neighbour",
        "a page held just behind an unmapped range counts as unmapped",
        ((_HOLDING, "if gpa <= page._gpa < gpa + length and", "if gpa <= page._gpa <= gpa + length and"),),
        _OF_PAGE,
    ),
    Mutant(
        "hold: first page of an unmapped range",
        "a page held at the start of an unmapped range does not know of it",
        ((_HOLDING, "if gpa <= page._gpa < gpa + length and", "if gpa < page._gpa < gpa + length and"),),
        _OF_PAGE,
    ),
    Mutant(
        "hold many: unmapped with their neighbours",
        "of pages held together the one behind an unmapped range counts as unmapped",
        ((_PAGE, "(self._gpas < np.uint64(gpa + length))", "(self._gpas <= np.uint64(gpa + length))"),),
        _OF_PAGES,
    ),
    Mutant(
        "unmap: never ends with a page held",
        "the loop over held pages steps the wrong variable, as in the source (line 1048)",
        (
            (
                _HOLDING,
                "            for page in tuple(self._pages):\n                if gpa",
                "            page = next(iter(self._pages), VmPage())\n            while self._pages:\n                if gpa",
            ),
        ),
        ("tests/space/test_source_differences.py::test_1048__unmap_with_pages_held_ends",),
        hangs=True,
    ),
    Mutant(
        "hold: early drop",
        "an unmapped page that is held keeps no reference to its object",
        ((_HOLDING, "                    obj.acquire(page)\n", ""),),
        _OF_PAGE,
    ),
    Mutant(
        "hold: reference leak",
        "a page that was unmapped meanwhile keeps its object after its release",
        ((_HOLDING, "                page._object.drop(page)\n", ""),),
        _OF_PAGE,
    ),
    Mutant(
        "hold many: reference leak",
        "the same for pages held together",
        (
            (
                _PAGE,
                "            obj.drop((self, keeper))\n        return",
                "            pass\n        return",
            ),
        ),
        _OF_PAGES,
    ),
    Mutant(
        "release: marks whoever is mapped there now",
        "a page that was unmapped marks the entry that is in its place",
        (
            (
                _PAGE,
                "if self._writes and self._object is None and client.core.tracking:",
                "if self._writes and client.core.tracking:",
            ),
        ),
        _OF_PAGE,
    ),
    Mutant(
        "release: marks nothing",
        "a page held for writing is not in the dirty log",
        ((_PAGE, "                    client._mark_page(self._leaf)\n", "                    pass\n"),),
        _OF_PAGE,
    ),
    Mutant(
        "release: defer_dirty not heeded",
        "a page is dirty though that was deferred",
        ((_CLIENT, "page._writes = _WRITES[prot] and not defer_dirty", "page._writes = _WRITES[prot]"),),
        _OF_PAGE,
    ),
    Mutant(
        "release: views not watched",
        "a frame is handed out again while a view of it is alive",
        ((_PAGE, "                        client.watch(self)\n", "                        pass\n"),),
        _OF_PAGE,
    ),
    Mutant(
        "release: twice",
        "a page that was released may be released again",
        ((_HOLDING, "        self._check_own()\n        page._holder()\n", "        self._check_own()\n"),),
        ("tests/space/test_queueing.py",),
        "release",
    ),
    Mutant(
        "release: still counted",
        "a released page is still among the client's holds",
        ((_PAGE, "                client._pages.discard(self)\n", ""),),
        ("tests/space/test_client.py", "tests/space/test_page.py"),
    ),
    Mutant(
        "holds: batches count one",
        "pages held together count as one",
        (
            (
                _CLIENT,
                "len(self._pages) + sum(batch.count() for batch in tuple(self._batches))",
                "len(self._pages) + len(self._batches)",
            ),
        ),
        ("tests/space/test_client.py", "tests/space/test_pages.py"),
    ),
    Mutant(
        "chain: rings",
        "a chain may lead back to where it began",
        ((_PAGE, "                if last is self:\n", "                if False:\n"),),
        _OF_PAGE,
        "ring",
    ),
    Mutant(
        "chain: twice",
        "a page may be chained to two",
        ((_PAGE, "if self._next is not None or page._before is not None:\n            ", "if False:\n            "),),
        _OF_PAGE,
        "chain",
    ),
    Mutant(
        "chain: a hole in it",
        "a page that leaves a chain in the middle cuts off what is behind it",
        ((_PAGE, "            self._before._next = self._next\n", "            self._before._next = None\n"),),
        _OF_PAGE,
        "chain",
    ),
    Mutant(
        "view: may be written",
        "a page held to be read can be written through its view",
        ((_PAGE, "frombuffer(core.windows[0], U8", "frombuffer(core.windows[1], U8"),),
        _OF_PAGE,
    ),
    Mutant(
        "view: of whatever it was held for",
        "a page held to be written may be read",
        ((_PAGE, "if client is None or not _READS[self._prot]:", "if client is None:"),),
        _OF_PAGE,
    ),
    Mutant(
        "write: few bytes mark nothing",
        "a write within a page is not in the dirty log",
        ((_CLIENT, "        if self.core.tracking:\n            self._mark_page(leaf)\n", "        pass\n"),),
        ("tests/space/test_client.py", "tests/space/test_bhyve_checks.py"),
    ),
    Mutant(
        "write: many bytes mark nothing",
        "a write across pages is not in the dirty log",
        (
            (
                _CLIENT,
                "gpa & PAGE_MASK, source)\n            self._mark(leaves)\n",
                "gpa & PAGE_MASK, source)\n",
            ),
        ),
        ("tests/space/test_client.py", "tests/space/test_bhyve_checks.py"),
    ),
    Mutant(
        "bytes: the last page",
        "the last page of bytes that cross pages is left out",
        (
            (
                _CLIENT,
                "n_pages = -(-(gpa + n - first) // PAGE_SIZE) if n else 0",
                "n_pages = max((gpa + n - first) // PAGE_SIZE, 1) if n else 0",
            ),
        ),
        _OF_CLIENT,
    ),
    Mutant(
        "bytes: within a page to its end",
        "bytes that end with their page are taken as crossing it, and those that cross it as not",
        (
            (
                _CLIENT,
                "        if 0 < n <= PAGE_SIZE - (gpa & PAGE_MASK):\n",
                "        if 0 < n <= PAGE_SIZE + 1 - (gpa & PAGE_MASK):\n",
            ),
        ),
        _OF_CLIENT,
    ),
    Mutant(
        "segment: its last byte",
        "a range that ends with the segment is outside of it",
        ((_SEGMENT, "if offset + n > self._length:", "if offset + n >= self._length:"),),
        _OF_SEGMENT,
    ),
    Mutant(
        "segment: in the middle of a scattered object's run",
        "bytes in the middle of a run are those at its start",
        ((_SEGMENT, "at = self._places[run] + offset - self._starts[run]", "at = self._places[run]"),),
        _OF_SEGMENT,
    ),
    Mutant(
        "segment: keeps its object",
        "a closed segment keeps its reference",
        ((_SEGMENT, "            self._obj.drop(self)\n", "            pass\n"),),
        _OF_SEGMENT,
    ),
    Mutant(
        "segment: of the object, written though read-only",
        "a segment that was mapped to be read can be written",
        ((_SEGMENT, "        if not self._allowed & need.value:\n", "        if False:\n"),),
        _OF_SEGMENT,
    ),
    Mutant(
        "segment: where the guest begins",
        "a guest segment reads from address 0, wherever it begins",
        ((_SEGMENT, "self._client.read(self._gpa + offset, n)", "self._client.read(offset, n)"),),
        _OF_SEGMENT,
    ),
    Mutant(
        "vm: memory segments belong to the caller",
        "the caller has a reference to a memory segment, and can free it under the guest",
        (
            (
                _VM,
                "            obj.release()  # the reference",
                "            pass  # the reference",
            ),
        ),
        ("tests/space/test_vm.py",),
    ),
)
