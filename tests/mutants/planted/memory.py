"""Host memory: spans, objects, zeroing, quarantine, resizing."""

from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS"]

_SPANS, _OBJECTS, _LEDGER = "npt/memory/spans.py", "npt/memory/objects.py", "npt/memory/ledger.py"
_SETTLING, _RESERVOIR, _WATCH = "npt/memory/settling.py", "npt/memory/reservoir.py", "npt/memory/watch.py"
_FRAMES = "npt/kernels/frames.py"
_OF_SPANS, _OF_OBJECTS, _OF_RESERVOIR = (
    ("tests/memory/test_spans.py",),
    ("tests/memory/test_objects.py",),
    ("tests/memory/test_reservoir.py",),
)
_OF_VIEWS, _OF_RESIZE, _OF_FRAMES = (
    ("tests/memory/test_views.py",),
    ("tests/memory/test_resize.py",),
    ("tests/kernels/test_frames.py",),
)

MUTANTS = (
    Mutant(
        "spans: not merged with the one before",
        "frames that come back behind a free span are a span of their own",
        ((_SPANS, "if before[1] and _end(before) == first:", "if False:"),),
        _OF_SPANS,
    ),
    Mutant(
        "spans: not merged with the one behind",
        "frames that come back before a free span are a span of their own",
        ((_SPANS, "if behind[1] and behind[0] == end:", "if False:"),),
        _OF_SPANS,
    ),
    Mutant(
        "spans: largest instead of best fit",
        "what is taken is cut from the largest span",
        ((_SPANS, "self._by_size[bisect_left(self._by_size, (n, -1))]", "self._by_size[-1]"),),
        _OF_SPANS,
    ),
    Mutant(
        "spans: beginning of a larger span",
        "what is taken is the beginning of a span, not its end",
        (
            (
                _SPANS,
                "        self._insert(first, size - n)\n        return first + size - n, n",
                "        self._insert(first + n, size - n)\n        return first, n",
            ),
        ),
        _OF_SPANS,
    ),
    Mutant(
        "spans: frames twice",
        "frames that are there already may be put in again",
        ((_SPANS, "if n <= 0 or _end(before) > first or first + n > behind[0]:", "if n <= 0:"),),
        _OF_SPANS,
    ),
    Mutant(
        "spans: all that is left",
        "exactly all free frames cannot be taken",
        ((_SPANS, "        if n > self.total:\n", "        if n >= self.total:\n"),),
        _OF_SPANS,
    ),
    Mutant(
        "missing zero",
        "memory comes back as it was",
        ((_SETTLING, "                self._zero(parting)\n", ""),),
        _OF_RESERVOIR,
    ),
    Mutant(
        "missing zero: last frame of each span",
        "the last frame of each span that comes back is as it was",
        ((_FRAMES, "(high - low) * _PAGE)", "(high - low - _ONE) * _PAGE)"),),
        _OF_FRAMES,
    ),
    Mutant(
        "missing zero: second time in quarantine",
        "a frame that was written through an old view is handed out like that",
        (
            (
                _SETTLING,
                "                self._zero(parting)\n",
                "                if not parting.quarantined:\n                    self._zero(parting)\n",
            ),
        ),
        _OF_VIEWS,
    ),
    Mutant(
        "missing zero: transient",
        "transient memory comes back as it was",
        (
            (
                _SETTLING,
                "                self._zero(parting)\n",
                "                if not parting.transient:\n                    self._zero(parting)\n",
            ),
        ),
        _OF_RESERVOIR,
    ),
    Mutant(
        "quarantine skipped",
        "a frame that still has views is free at once",
        ((_SETTLING, "watched = self._watch.within(parting.spans)", "watched = list[int]()"),),
        _OF_VIEWS,
    ),
    Mutant(
        "quarantine: frame behind the span",
        "a view of the frame behind an object's keeps a frame of it in quarantine",
        ((_WATCH, "frame < spans[at][0] + spans[at][1]", "frame <= spans[at][0] + spans[at][1]"),),
        ("tests/memory/test_watch.py",),
    ),
    Mutant(
        "quarantine: ends with the first view",
        "a frame with two views is free when one is gone",
        ((_WATCH, "            if not views:\n", "            if True:\n"),),
        _OF_VIEWS,
    ),
    Mutant(
        "double free",
        "what is back already goes back again",
        ((_SETTLING, "if parting.done or early:", "if early:"),),
        ("tests/memory/test_reservoir.py", "tests/memory/test_trouble.py", "tests/memory/test_objects.py"),
    ),
    Mutant(
        "usage: transient quarantine",
        "frames of transient objects in quarantine count as ordinary ones",
        ((_LEDGER, "change = 0 if parting.transient else len", "change = len"),),
        _OF_VIEWS,
    ),
    Mutant(
        "usage: allocated counts the quarantine",
        "what is in quarantine counts as allocated, too",
        ((_LEDGER, "return self.size - self.free.total - self.quarantined", "return self.size - self.free.total"),),
        _OF_VIEWS,
    ),
    Mutant(
        "resize: to the limit exactly",
        "a reservoir cannot grow to its limit",
        ((_RESERVOIR, "if target > self._limit:", "if target >= self._limit:"),),
        _OF_RESIZE,
    ),
    Mutant(
        "resize: shrinks from below",
        "a reservoir gives its lowest free frames away",
        ((_LEDGER, "in free.take_highest(", "in free.take_lowest("),),
        _OF_RESIZE,
    ),
    Mutant(
        "resize: all at once",
        "a resize in chunks moves everything in one step",
        ((_RESERVOIR, "(chunk or self._limit) >> PAGE_SHIFT", "self._limit >> PAGE_SHIFT"),),
        _OF_RESIZE,
    ),
    Mutant(
        "resize: one step",
        "a resize in chunks ends after the first",
        ((_RESERVOIR, "        while moved:\n            reached", "        if False:\n            reached"),),
        _OF_RESIZE,
    ),
    Mutant(
        "object: window keeps the rest of its last span",
        "the frames of a window reach past its end",
        ((_OBJECTS, "        rows[-1, 1] -= self._starts[stop - 1] + self._spans[stop - 1].n_pages - end\n", ""),),
        _OF_OBJECTS,
    ),
    Mutant(
        "object: window from the start of its span",
        "the frames of a window begin where its first span does",
        ((_OBJECTS, "        rows[0, 0] += ahead\n", ""),),
        _OF_OBJECTS,
    ),
    Mutant(
        "object: page at a span's start",
        "the first page of each span but the first is looked for in the one before",
        ((_OBJECTS, "at = bisect_right(self._starts, page) - 1", "at = max(bisect_left(self._starts, page) - 1, 0)"),),
        _OF_OBJECTS,
    ),
    Mutant(
        "object: last byte",
        "the page behind an object's last has a frame",
        (
            (
                _OBJECTS,
                "if not 0 <= offset >> PAGE_SHIFT < self._n_pages:",
                "if not 0 <= offset >> PAGE_SHIFT <= self._n_pages:",
            ),
        ),
        _OF_OBJECTS,
    ),
    Mutant(
        "object: released beyond the caller's own",
        "the caller can give up what mappings hold",
        (
            (
                _OBJECTS,
                "        self._change(self._callers.pop)\n",
                "        self._change(self._callers.pop if self._callers else self._keepers.popitem)\n",
            ),
        ),
        _OF_OBJECTS,
    ),
    Mutant(
        "object: keeper counted each time",
        "a mapping that is entered again counts twice",
        (
            (
                _OBJECTS,
                "self._change(self._keepers.__setitem__, keeper, n)",
                "self._change(self._keepers.__setitem__, keeper, n + self._keepers.get(keeper, 0))",
            ),
        ),
        _OF_OBJECTS,
    ),
    Mutant(
        "mmio: over the tables' frames",
        "device memory may end one page behind where tables begin",
        ((_OBJECTS, "if hpa + length > RAM_FRAMES_END << PAGE_SHIFT:", "if hpa + length > RAM_FRAMES_END + 1 << PAGE_SHIFT:"),),
        _OF_OBJECTS,
    ),
    Mutant(
        "reservoir: closed with views",
        "memory is given up while views of it are alive",
        ((_RESERVOIR, "if self._watch or ledger.quarantine:", "if False:"),),
        _OF_RESERVOIR,
    ),
    Mutant(
        "copy: each frame from the same byte",
        "bytes that cross a page's end go on at the same place of the next page",
        ((_FRAMES, "        skip = _ZERO\n", "        pass\n"),),
        _OF_FRAMES,
    ),
)
