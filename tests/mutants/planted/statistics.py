"""What samples say: working sets, drawn pages and their hashes, intervals, rates, residuals."""

from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS"]

_USAGE, _SET, _INTERVAL = "npt/kernels/usage.py", "npt/dirty/working_set.py", "npt/dirty/hypergeometric.py"
_RATE, _RATES, _RESIDUALS = "npt/dirty/rate.py", "npt/studies/rates.py", "npt/studies/residuals.py"
_OF_USAGE, _OF_INTERVAL, _OF_RATE = (
    ("tests/kernels/test_usage.py",),
    ("tests/dirty/test_rate_interval.py",),
    ("tests/dirty/test_rate.py",),
)
_OF_SET, _OF_RESIDUALS = (
    ("tests/dirty/test_working_set.py", "tests/dirty/test_working_set_oracle.py"),
    ("tests/studies/test_residuals.py",),
)

MUTANTS = (
    Mutant(
        "working set: window one sample short",
        "the oldest sample of a window does not count",
        ((_USAGE, "hit = np.uint64(np.uint64(last[page]) >= oldest)", "hit = np.uint64(np.uint64(last[page]) > oldest)"),),
        _OF_USAGE,
        interpreted=True,
    ),
    Mutant(
        "working set: reuse by number",
        "how long a page was not seen is told as when it was",
        ((_USAGE, "reuse[part, number - before] += _ONE", "reuse[part, number] += _ONE"),),
        _OF_USAGE,
        interpreted=True,
    ),
    Mutant(
        "working set: first page of a part",
        "the first page of each part counts in the part before",
        ((_USAGE, "            while page >= end:\n", "            while page > end:\n"),),
        _OF_USAGE,
        interpreted=True,
    ),
    Mutant(
        "working set: gap behind the last sample",
        "windows behind the last time that a page was seen count as if they had it",
        ((_SET, "        gaps[1 : number + 1] += last[:0:-1].astype(np.int64)", "        last[:0:-1].astype(np.int64)"),),
        _OF_SET,
    ),
    Mutant(
        "working set: number of windows",
        "a mean is taken over one window too few",
        ((_SET, "_mean(n_seen, number + 1 - length,", "_mean(n_seen, max(number - length, 1),"),),
        _OF_SET,
    ),
    Mutant(
        "working set: what was used before",
        "pages used before the working set was made are in its first sample",
        ((_SET, "        if clears:\n            space.accessed(gpa, length, clear=True)\n", ""),),
        _OF_SET,
    ),
    Mutant(
        "working set: idle is what was used",
        "resident pages that were used are told as idle",
        (
            (
                _SET,
                "found = difference(resident, space.accessed(gpa, length), out=resident)",
                "found = intersection(resident, space.accessed(gpa, length), out=resident)",
            ),
        ),
        _OF_SET,
    ),
    Mutant(
        "sample: ranks of words without one",
        "pages behind a word of which none is drawn have too low a rank",
        ((_USAGE, "            rank += n_set\n            continue", "            continue"),),
        _OF_USAGE,
        interpreted=True,
    ),
    Mutant(
        "sample: the same page twice",
        "a page that is drawn again counts again",
        (
            (
                _USAGE,
                "drawn += np.uint64((out[place] & flag) == np.uint8(0))",
                "drawn += _ONE",
            ),
        ),
        _OF_USAGE,
        interpreted=True,
    ),
    Mutant(
        "hash: half of each 32 bytes",
        "two of four lanes are not hashed",
        (
            (
                _USAGE,
                "total = _rotate(a, _R1) + _rotate(b, _R7) + _rotate(c, _R12) + _rotate(d, _R18)\n"
                "    total = _merge(_merge(_merge(_merge(total, a), b), c), d) + _PAGE",
                "total = _rotate(a, _R1) + _rotate(b, _R7)\n    total = _merge(_merge(total, a), b) + _PAGE",
            ),
        ),
        _OF_USAGE,
        interpreted=True,
    ),
    Mutant(
        "interval: all of the level on each side",
        "each side leaves out as much as both may",
        ((_INTERVAL, "(1 - as_level(level)) / 2 * (1 - _CLOSE)", "(1 - as_level(level)) * (1 - _CLOSE)"),),
        _OF_INTERVAL,
    ),
    Mutant(
        "interval: a tie is left out",
        "a bound that is just as likely as the level leaves is outside",
        ((_INTERVAL, "/ 2 * (1 - _CLOSE)", "/ 2 * (1 + _CLOSE)"),),
        _OF_INTERVAL,
    ),
    Mutant(
        "interval: with repeats",
        "the sample is taken as if a page could be in it twice",
        (
            (
                _INTERVAL,
                "((marked - x) * (sampled - x)) / ((x + 1) * (unmarked - sampled + x + 1))",
                "(marked * (sampled - x)) / ((x + 1) * unmarked)",
            ),
        ),
        _OF_INTERVAL,
    ),
    Mutant(
        "interval: upper bound one short",
        "the largest number of pages that is likely enough is left out",
        (
            (
                _INTERVAL,
                "return possible[low], possible[::-1][below]",
                "return possible[low], max(possible[::-1][below] - 1, possible[low])",
            ),
        ),
        _OF_INTERVAL,
    ),
    Mutant(
        "rate: of pages that are gone",
        "a sample stands for pages that are not there any more, too",
        ((_RATE, "pages = changed * n_pages / n if n", "pages = changed * self.n_pages / n if n"),),
        _OF_RATE,
    ),
    Mutant(
        "rate: gone pages have changed",
        "pages of the sample that are gone count as changed",
        ((_RATE, "changed = int((hashes != self._hashes)[still].sum())", "changed = int((hashes != self._hashes).sum())"),),
        _OF_RATE,
    ),
    Mutant(
        "rate: pages a second times seconds",
        "a rate is multiplied by its time",
        ((_RATE, "return self.pages / self.seconds", "return self.pages * self.seconds"),),
        ("tests/dirty/test_rate_numbers.py",),
    ),
    Mutant(
        "rate: error relative to the estimate",
        "an error is relative to what was estimated, not to the truth",
        (
            (
                _RATE,
                "return (self.pages - pages) / pages if pages else math.inf",
                "return (self.pages - pages) / self.pages if self.pages else math.inf",
            ),
        ),
        ("tests/dirty/test_rate_numbers.py",),
    ),
    Mutant(
        "rate: rounded down",
        "a sample has one page too few",
        ((_RATE, "n = -(-n_pages * per_gib // _PAGES_A_GIB)", "n = n_pages * per_gib // _PAGES_A_GIB"),),
        ("tests/dirty/test_rate_numbers.py",),
    ),
    Mutant(
        "rates: each period samples the same pages",
        "the seed of a period's sample does not depend on the period",
        ((_RATES, "SeedSequence(seed, spawn_key=(period,))", "SeedSequence(seed, spawn_key=(0,))"),),
        ("tests/studies/test_rates.py",),
    ),
    Mutant(
        "rates: periods add up",
        "what was written in earlier periods counts in each",
        (
            (_RATES, "        guest.space.track_dirty(*guest.range)\n        sample_seed", "        sample_seed"),
            (_RATES, "by_bitmap(guest.space.track_dirty(", "by_bitmap(guest.space.peek_dirty("),
        ),
        ("tests/studies/test_rates.py",),
    ),
    Mutant(
        "residuals: the model over the engine",
        "a residual is relative to the engine, not to the model",
        ((_RESIDUALS, "sent / said - 1 if", "said / sent - 1 if"),),
        _OF_RESIDUALS,
    ),
    Mutant(
        "residuals: independent writes of the same round",
        "what a round's writes dirty is compared with what that round sends",
        ((_RESIDUALS, "[None, *engine.rounds]", "[*engine.rounds]"),),
        _OF_RESIDUALS,
    ),
    Mutant(
        "residuals: every write to another page",
        "independent writes are taken as if no two were to one page",
        ((_RESIDUALS, "expected = -ram * math.expm1(-times)", "expected = ram * times"),),
        _OF_RESIDUALS,
    ),
    Mutant(
        "residuals: throttle forgotten",
        "independent writes go on as fast as ever while the guest is slowed down",
        ((_RESIDUALS, "rate * (1 - before.throttle / 100) * before.ns", "rate * before.ns"),),
        _OF_RESIDUALS,
    ),
)
