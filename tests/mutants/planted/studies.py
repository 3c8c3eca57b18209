"""Studies: the rules of hypervisors, the closed model, migration, writers, sweeps, result tables, histories."""

from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS"]

_POLICIES, _MODEL, _MIGRATE = "npt/studies/policies.py", "npt/studies/precopy.py", "npt/studies/migrate.py"
_GRID, _SWEEP, _TEXT, _HISTORY = (
    "npt/studies/grid.py",
    "npt/studies/sweep.py",
    "npt/studies/result_text.py",
    "npt/studies/history.py",
)
_PATTERNS, _RANDOM, _TIMED = "npt/studies/synthetic.py", "npt/studies/randomness.py", "npt/studies/timed.py"
_RESULTS = "npt/studies/results.py"
_OF_MODEL, _OF_MIGRATE, _OF_SWEEP = (
    ("tests/studies/test_precopy.py",),
    ("tests/studies/test_migrate.py",),
    ("tests/studies/test_sweep.py",),
)
_OF_WRITERS, _OF_TIMED, _OF_HISTORY = (
    ("tests/studies/test_writers.py",),
    ("tests/studies/test_timed.py",),
    ("tests/studies/test_history.py",),
)

MUTANTS = (
    Mutant(
        "propolis: goes on",
        "it sends live until nothing is left",
        (
            (
                _POLICIES,
                '"""Stop, whatever is left."""\n        return Verdict.STOP',
                '"""Stop, whatever is left."""\n        return Verdict.STOP if progress.fits else Verdict.GO_ON',
            ),
        ),
        _OF_MODEL,
    ),
    Mutant(
        "freebsd: one send more",
        "it stops after more sends than it says",
        (
            (
                _POLICIES,
                "return Verdict.STOP if len(progress.sends) >= self.rounds",
                "return Verdict.STOP if len(progress.sends) > self.rounds",
            ),
        ),
        _OF_MODEL,
    ),
    Mutant(
        "xen: at fifty pages",
        "it stops at 50 dirty pages, not below",
        (
            (
                _POLICIES,
                "few = -(-progress.left >> PAGE_SHIFT) < self.pages",
                "few = -(-progress.left >> PAGE_SHIFT) <= self.pages",
            ),
        ),
        _OF_MODEL,
    ),
    Mutant(
        "xen: no end to its sends",
        "it goes on until few pages are dirty",
        ((_POLICIES, "few or len(progress.sends) >= self.sends else", "few else"),),
        _OF_MODEL,
    ),
    Mutant(
        "qemu: when the rest just fits",
        "what takes exactly the downtime does not fit",
        ((_POLICIES, "self.left * sent.ns <= self.downtime", "self.left * sent.ns < self.downtime"),),
        _OF_MODEL,
    ),
    Mutant(
        "qemu: slows the guest at once",
        "each send that dirtied much slows the guest, not each second",
        ((_POLICIES, "for send in sends) // 2", "for send in sends)"),),
        _OF_MODEL,
    ),
    Mutant(
        "qemu: no end to slowing",
        "the guest is slowed by more than it may be",
        (
            (
                _POLICIES,
                "min(self.initial + (times - 1) * self.increment, self.most)",
                "self.initial + (times - 1) * self.increment",
            ),
        ),
        _OF_MODEL,
    ),
    Mutant(
        "cloud-hypervisor: the clock first",
        "it cancels when the time is up, though the rest fits",
        (
            (
                _POLICIES,
                "        if progress.fits:\n            return Verdict.STOP\n"
                "        if progress.elapsed < self.timeout * _SECOND:\n"
                "            return Verdict.GO_ON\n",
                "        if progress.elapsed < self.timeout * _SECOND:\n"
                "            return Verdict.STOP if progress.fits else Verdict.GO_ON\n",
            ),
        ),
        _OF_MODEL,
    ),
    Mutant(
        "post-copy: one send more",
        "it switches after more sends than it says",
        (
            (
                _POLICIES,
                "return Verdict.SWITCH if len(progress.sends) >= self.rounds",
                "return Verdict.SWITCH if len(progress.sends) > self.rounds",
            ),
        ),
        _OF_MODEL,
    ),
    Mutant(
        "model: time rounded down",
        "a send has ended before its last byte has gone",
        (
            (
                _MODEL,
                "return self.latency - int(-wire * _SECOND // bandwidth)",
                "return self.latency + int(wire * _SECOND // bandwidth)",
            ),
        ),
        _OF_MODEL,
    ),
    Mutant(
        "model: downtime just as aimed at",
        "a downtime that is exactly the target has not converged",
        ((_MODEL, "not cancelled and downtime <= self._target", "not cancelled and downtime < self._target"),),
        _OF_MODEL,
    ),
    Mutant(
        "model: one send beyond the most",
        "a migration goes on past max_rounds",
        ((_MODEL, "len(self._sends) >= self._most else verdict", "len(self._sends) > self._most else verdict"),),
        _OF_MODEL,
    ),
    Mutant(
        "model: bandwidth of the send before",
        "of several bandwidths each send has the one before its own",
        (
            (
                _MODEL,
                "self.bandwidths[min(send, len(self.bandwidths)) - 1]",
                "self.bandwidths[max(min(send, len(self.bandwidths)) - 2, 0)]",
            ),
        ),
        _OF_MODEL,
    ),
    Mutant(
        "model: throttle forgotten",
        "a guest that is slowed down dirties as much as ever",
        ((_MODEL, "slowed = rate * (_PERCENT - throttle) / _PERCENT", "slowed = rate"),),
        _OF_MODEL,
    ),
    Mutant(
        "migrate: bits kept after a failure",
        "a migration that fails does not put back what it has harvested",
        (
            (
                _MIGRATE,
                "            except BaseException:\n                self._put_back()\n                raise\n",
                "            except BaseException:\n                raise\n",
            ),
        ),
        _OF_MIGRATE,
    ),
    Mutant(
        "migrate: only the last harvest put back",
        "what earlier sends harvested is lost",
        ((_MIGRATE, "select=self._log)", "select=self._dirty)"),),
        _OF_MIGRATE,
    ),
    Mutant(
        "migrate: no proof",
        "a page that did not arrive is not noticed",
        ((_MIGRATE, "            if differ.any():\n", "            if False:\n"),),
        _OF_MIGRATE,
    ),
    Mutant(
        "migrate: harvest before the guest has run",
        "what is dirty is harvested before the guest is done with the send's time",
        (
            (
                _MIGRATE,
                "        self._harvest()\n        return to_pages(self._dirty).size << PAGE_SHIFT",
                "        return to_pages(self._dirty).size << PAGE_SHIFT",
            ),
            (_MIGRATE, "        with ThreadPoolExecutor(1,", "        self._harvest()\n        with ThreadPoolExecutor(1,"),
        ),
        _OF_MIGRATE,
    ),
    Mutant(
        "sweep: one seed for all",
        "all points of a sweep have the same seed",
        ((_GRID, "SeedSequence(self.seed, spawn_key=(place,))", "SeedSequence(self.seed, spawn_key=(0,))"),),
        _OF_SWEEP,
    ),
    Mutant(
        "sweep: first axis fastest",
        "points come in another order than axes say",
        (
            (
                _GRID,
                "enumerate(product(*self.axes.values())):",
                "enumerate(one[::-1] for one in product(*list(self.axes.values())[::-1])):",
            ),
        ),
        _OF_SWEEP,
    ),
    Mutant(
        "sweep: rows in the order in which they were done",
        "a pool's results come as they were ready",
        ((_SWEEP, "return [outcomes[place] for place in range(len(grid))]", "return list(outcomes.values())"),),
        ("tests/studies/test_sweep_executors.py",),
        "order",
    ),
    Mutant(
        "sweep: units that points disagree on",
        "a unit that only some points tell is the sweep's",
        ((_SWEEP, "if len(units) == 1}", "if units}"),),
        _OF_SWEEP,
    ),
    Mutant(
        "results: units not saved",
        "a table comes back from a file without its units",
        ((_RESULTS, "result_text.as_json(self.rows, self.meta, self.units)", "result_text.as_json(self.rows, self.meta, {})"),),
        ("tests/studies/test_results.py",),
    ),
    Mutant(
        "results: a row's own column overwritten",
        "what a row says is replaced by what all have in common",
        ((_RESULTS, "for key in kept if key not in row}}", "for key in kept}}"),),
        ("tests/studies/test_results.py",),
    ),
    Mutant(
        "history: windows in rounds told as instructions",
        "the unit of a history's windows is lost in its file",
        ((_HISTORY, "return units[0] if units else _UNITS[0]", "return _UNITS[0]"),),
        ("tests/studies/test_history.py", "tests/studies/imports/test_bitmaps.py"),
    ),
    Mutant(
        "history: last page of each window",
        "the last page written in each window is left out",
        (
            (
                _HISTORY,
                "self.write_pages[self.write_offsets[window] : self.write_offsets[window + 1]]",
                "self.write_pages[self.write_offsets[window] : self.write_offsets[window + 1] - 1]",
            ),
        ),
        _OF_HISTORY,
    ),
    Mutant(
        "history: reads and writes the other way round",
        "what was read counts as written",
        ((_HISTORY, "np.arange(pages.size) >= read.size", "np.arange(pages.size) < read.size"),),
        _OF_HISTORY,
    ),
    Mutant(
        "writers: each window from the start",
        "a sequential writer begins at page 0 in each window",
        (
            (
                _PATTERNS,
                "pages = _from(window * self.accesses % self.n_pages, self.accesses)",
                "pages = _from(0, self.accesses)",
            ),
        ),
        _OF_WRITERS,
    ),
    Mutant(
        "writers: hot set does not move",
        "the hot set stays where it was at first",
        (
            (
                _PATTERNS,
                "moves = as_window(window, self.n_windows) // self.move_every",
                "moves = 0 * as_window(window, self.n_windows)",
            ),
        ),
        _OF_WRITERS,
    ),
    Mutant(
        "writers: writes and pages by the same words",
        "whether an access writes depends on its page",
        ((_PATTERNS, "self._words(randomness.WRITES, number)", "self._words(randomness.PAGES, number)"),),
        _OF_WRITERS,
    ),
    Mutant(
        "writers: numbers below n by a remainder",
        "a page is a random word's remainder, not its share",
        (
            (
                _RANDOM,
                "    drawn >>= _HALF\n    return drawn\n",
                "    drawn >>= _HALF\n    drawn[drawn == count - np.uint64(1)] = np.uint64(0)\n    return drawn\n",
            ),
        ),
        _OF_WRITERS,
    ),
    Mutant(
        "timed: accesses one early",
        "an access is done before its time has come",
        (
            (
                _TIMED,
                "return int(n * passed / self._place.duration) if passed > 0 else 0",
                "return min(int(n * passed / self._place.duration) + 1, n) if passed > 0 else 0",
            ),
        ),
        _OF_TIMED,
    ),
    Mutant(
        "timed: distinct pages counted each time",
        "a rate in pages counts a page as often as it is written",
        ((_TIMED, "np.unique(window.pages[window.write]).size", "window.pages[window.write].size"),),
        _OF_TIMED,
    ),
)
