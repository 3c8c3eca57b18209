"""Bitmaps: bit order, tail bits, runs, parts, granules, words of KVM."""

from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS"]

_BITMAP, _RUNS, _LISTS = "npt/kernels/bitmap.py", "npt/kernels/runs.py", "npt/dirty/runlists.py"
_PYTHON, _KVM, _GRANULES = "npt/dirty/bitmap.py", "npt/dirty/kvm.py", "npt/dirty/granules.py"
_OF_BITMAPS, _OF_RUNS, _OF_KVM = (
    ("tests/dirty/test_bitmap.py",),
    ("tests/dirty/test_runlists.py",),
    ("tests/dirty/test_kvm.py",),
)
_OF_GRANULES, _OF_SHIFTS = ("tests/dirty/test_granules.py",), ("tests/kernels/test_bitmap.py",)

MUTANTS = (
    Mutant(
        "bitmap: bits past the end count",
        "the tail bits of the last byte are taken for pages",
        ((_BITMAP, "return word & ~(_ALL << (n_pages & _LOW))", "return word"),),
        _OF_BITMAPS,
        interpreted=True,
    ),
    Mutant(
        "bitmap: last word in part",
        "a last word that is not full is not looked at",
        ((_BITMAP, "(n_pages >> _SIX) + np.uint64((n_pages & _LOW) != _ZERO)", "n_pages >> _SIX"),),
        _OF_BITMAPS,
        interpreted=True,
    ),
    Mutant(
        "bitmap: bit order",
        "the lowest page of a byte is its highest bit",
        (
            (
                _BITMAP,
                "out[pages[i] >> _THREE] |= np.uint8(_ONE << (pages[i] & _SEVEN))",
                "out[pages[i] >> _THREE] |= np.uint8(_ONE << (_SEVEN - (pages[i] & _SEVEN)))",
            ),
        ),
        _OF_BITMAPS,
        interpreted=True,
    ),
    Mutant(
        "bitmap: count without the tail",
        "pages behind the last full word are not counted",
        ((_BITMAP, "return total + popcount(last_word(bitmap, n_pages))", "return total"),),
        _OF_BITMAPS,
        interpreted=True,
    ),
    Mutant(
        "bitmap: search from the start of each word",
        "pages before the start are hidden in all words, not in the first alone",
        ((_BITMAP, "        hidden = _ALL\n        i += _ONE", "        i += _ONE"),),
        _OF_BITMAPS,
        interpreted=True,
    ),
    Mutant(
        "bitmap: full beyond its end",
        "a full bitmap has pages past its end",
        ((_PYTHON, "bitmap[n_pages >> 3] &= (1 << n_pages % 8) - 1", "pass"),),
        _OF_BITMAPS,
    ),
    Mutant(
        "bitmap: shifted words lose a bit",
        "of each word but the first a bit goes to the wrong place",
        ((_BITMAP, "words[at + _ONE] << (_GROUP - low)", "words[at + _ONE] << (_LOW - low)"),),
        _OF_SHIFTS,
        interpreted=True,
    ),
    Mutant(
        "runs: cut at each word",
        "a run that crosses a word's border is two, or one that does not end",
        ((_RUNS, "edges = word ^ ((word << _ONE) | carry)", "edges = word ^ (word << _ONE)"),),
        _OF_RUNS,
        interpreted=True,
    ),
    Mutant(
        "runs: at the end of the bitmap",
        "a run that ends with the bitmap is one page short",
        ((_RUNS, "            out[k] = n_pages\n", "            out[k] = n_pages - _ONE\n"),),
        _OF_RUNS,
        interpreted=True,
    ),
    Mutant(
        "runs: a block that is all clear in a run",
        "where a run ends at a block's border it goes on through clear blocks",
        ((_RUNS, "_is_constant(bitmap, i, _ZERO - carry)", "_is_constant(bitmap, i, _ZERO)"),),
        _OF_RUNS,
        interpreted=True,
    ),
    Mutant(
        "runs: set one page short",
        "a bitmap made of runs lacks the last page of each",
        ((_BITMAP, "_set_range(out, first, first + n_pages)", "_set_range(out, first, first + max(n_pages - _ONE, _ONE))"),),
        _OF_RUNS,
        interpreted=True,
    ),
    Mutant(
        "partition: ends one piece early",
        "each part but the last lacks its last piece",
        (
            (
                _RUNS,
                "            if room == _ZERO:\n                ends[part] = k\n",
                "            if room == _ZERO:\n                ends[part] = k - _ONE\n",
            ),
        ),
        _OF_RUNS,
        interpreted=True,
    ),
    Mutant(
        "partition: the last part",
        "what is left is not counted as a part",
        ((_LISTS, "n_parts = -(-total // n)", "n_parts = max(total // n, 1)"),),
        _OF_RUNS,
    ),
    Mutant(
        "granules: by the bitmap's start",
        "granules are counted from the first page, not from address 0",
        ((_GRANULES, "return base >> PAGE_SHIFT & (1 << shift) - 1", "return 0"),),
        _OF_GRANULES,
    ),
    Mutant(
        "granules: the last one",
        "a granule that is touched in part is not counted",
        (
            (
                _GRANULES,
                "return -(-(n + _offset(base, shift)) >> shift) if n else 0",
                "return (n + _offset(base, shift)) >> shift",
            ),
        ),
        _OF_GRANULES,
    ),
    Mutant(
        "kvm: tail bits",
        "bits past the end of a slot are handed out",
        ((_KVM, "        words[-1] &= _WORD.type((1 << n % WORD_PAGES) - 1)\n", "        pass\n"),),
        _OF_KVM,
    ),
    Mutant(
        "kvm: a clear of a part anywhere",
        "a number of pages that is no multiple of 64 is taken inside the slot, too",
        ((_KVM, "if n % WORD_PAGES and first + n != self.n_pages:", "if False:"),),
        _OF_KVM,
    ),
    Mutant(
        "kvm: manual get clears",
        "a get of a manual log takes the bits away",
        ((_KVM, "        if self.manual:\n", "        if False:\n"),),
        _OF_KVM,
    ),
)
