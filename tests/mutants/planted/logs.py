"""Dirty logs: rounds, debts, gaps; and the mechanisms beside them, with their exact counts."""

from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS"]

_ROUNDS, _DEBTS, _LOG, _SWITCH = "npt/dirty/rounds.py", "npt/dirty/debts.py", "npt/dirty/log.py", "npt/dirty/switch.py"
_PACKED, _KERNELS, _HERE = "npt/dirty/packed.py", "npt/kernels/mechanisms.py", "npt/dirty/mechanisms/"
_STAMPS = "npt/kernels/rounds.py"
_OF_ROUNDS, _OF_LOG, _OF_KERNELS = (
    ("tests/dirty/test_rounds.py",),
    ("tests/dirty/test_log.py",),
    ("tests/kernels/test_mechanisms.py",),
)
_FORMULAS, _STREAMS, _COPIES = (
    ("tests/dirty/test_mechanisms_formulas.py",),
    ("tests/dirty/test_mechanisms_streams.py",),
    ("tests/dirty/test_mechanisms_copies.py",),
)

MUTANTS = (
    Mutant(
        "rounds: between two instants one round early",
        "what was written before the first instant counts, too",
        ((_ROUNDS, "        return self._union(start, stop)\n", "        return self._union(max(start - 1, 0), stop)\n"),),
        _OF_ROUNDS,
    ),
    Mutant(
        "rounds: union without its first",
        "a union of rounds lacks the first of them",
        ((_ROUNDS, "return self._union(start - 1, stop)", "return self._union(start, stop)"),),
        _OF_ROUNDS,
    ),
    Mutant(
        "rounds: difference the wrong way round",
        "what is in the one round only is told as in the other",
        ((_ROUNDS, "difference(of_a, of_b), difference(of_b, of_a)", "difference(of_b, of_a), difference(of_a, of_b)"),),
        _OF_ROUNDS,
    ),
    Mutant(
        "rounds: last written counts from 0",
        "the first round is told as none",
        (
            (
                _ROUNDS,
                "for number, entry in enumerate(self._entries, 1):\n            entry.packed.stamp",
                "for number, entry in enumerate(self._entries, 0):\n            entry.packed.stamp",
            ),
        ),
        _OF_ROUNDS,
    ),
    Mutant(
        "rounds: last page of a run not stamped",
        "the last page of each run keeps its older round",
        ((_STAMPS, "range(first, first + runs[_TWO * i + _ONE])", "range(first, first + runs[_TWO * i + _ONE] - _ONE)"),),
        _OF_ROUNDS,
    ),
    Mutant(
        "rounds: packed by the largest form",
        "a round takes as much memory as it can",
        ((_PACKED, "form = min(sizes, ", "form = max(sizes, "),),
        _OF_ROUNDS,
    ),
    Mutant(
        "debts: a later round's are settled",
        "what was sent after a round settles what later rounds owe",
        (
            (
                _DEBTS,
                "            if each <= number:\n                now =",
                "            if True:\n                now =",
            ),
        ),
        _OF_LOG,
    ),
    Mutant(
        "debts: owed twice",
        "a page that is reported again stays owed by the earlier round, too",
        ((_DEBTS, "{each: difference(pages, owing) for each, pages in self.by_round.items()}", "dict(self.by_round)"),),
        _OF_LOG,
    ),
    Mutant(
        "debts: select not heeded",
        "an acknowledgement of some pages settles all",
        ((_DEBTS, "bitmap.copy() if select is None else intersection(bitmap, select)", "bitmap.copy()"),),
        _OF_LOG,
    ),
    Mutant(
        "debts: last pages of a stretch stay",
        "of a stretch that was copied the pages in its last byte stay owed",
        ((_DEBTS, "    bitmap[last >> 3] &= tail\n", ""),),
        ("tests/dirty/test_log.py", "tests/dirty/test_log_put_back.py"),
    ),
    Mutant(
        "log: what was mapped anew is not owed",
        "memory that was mapped since the last round is not sent",
        ((_DEBTS, "asked=union(self.asked, mapped))", "asked=self.asked)"),),
        ("tests/dirty/test_log_remaps.py",),
    ),
    Mutant(
        "log: gap forgotten",
        "a round after tracking was off does not say so",
        ((_LOG, "gap = self._books.gap or self._switch.turns != self._books.turns", "gap = False"),),
        ("tests/dirty/test_log_states.py",),
    ),
    Mutant(
        "log: stop without a last harvest",
        "what was written since the last round is not reported by a stop",
        (
            (
                _LOG,
                "            last = self._last_round()\n            self._books = self._books._replace(state=LogState.STOPPED)",
                "            last = None\n            self._books = self._books._replace(state=LogState.STOPPED)",
            ),
        ),
        ("tests/dirty/test_log_states.py",),
    ),
    Mutant(
        "log: abort puts nothing back",
        "what was not sent is not dirty in the tables again",
        ((_LOG, "                left = difference(left, self._mark(left))\n", ""),),
        ("tests/dirty/test_log_put_back.py",),
    ),
    Mutant(
        "log: tracking off under another log",
        "the first log that stops turns tracking off, though another runs on",
        ((_SWITCH, "if not self._before and not any(self._logs.values()):", "if not self._before:"),),
        ("tests/dirty/test_log_side_by_side.py",),
    ),
    Mutant(
        "log: tracking left on",
        "tracking stays on though it was off before",
        ((_SWITCH, "                self._turn(space, False)\n", "                pass\n"),),
        ("tests/dirty/test_log_states.py",),
    ),
    Mutant(
        "log: acknowledged before it was copied",
        "a stretch counts as sent when it is handed out",
        (
            (
                _LOG,
                "                yield self.gpa + (page << PAGE_SHIFT), n << PAGE_SHIFT\n"
                "                with self._changing():\n"
                "                    for each, bitmap in self._books.by_round.items():\n"
                "                        if each <= number:\n"
                "                            clear_pages(bitmap, page, n)\n",
                "                with self._changing():\n"
                "                    for each, bitmap in self._books.by_round.items():\n"
                "                        if each <= number:\n"
                "                            clear_pages(bitmap, page, n)\n"
                "                yield self.gpa + (page << PAGE_SHIFT), n << PAGE_SHIFT\n",
            ),
        ),
        _OF_LOG,
    ),
    Mutant(
        "pml: 511 entries",
        "a vCPU's log is full one entry early",
        ((_HERE + "page_modification_log.py", "PML_ENTRIES = 512", "PML_ENTRIES = 511"),),
        _FORMULAS,
    ),
    Mutant(
        "pml: drained when it is full",
        "the exit comes with the last entry, not when one is due that there is no room for",
        ((_KERNELS, "if used[0] == np.uint64(capacity):", "if used[0] == np.uint64(capacity) - _ONE:"),),
        _OF_KERNELS,
        interpreted=True,
    ),
    Mutant(
        "ring: full one entry late",
        "a ring takes one page more than it may",
        ((_KERNELS, "if used[0] == np.uint64(limit):", "if used[0] > np.uint64(limit):"),),
        _OF_KERNELS,
        interpreted=True,
    ),
    Mutant(
        "ring: reserved entries used",
        "a ring is full when no entry is left",
        ((_HERE + "ring.py", "self._room = self.size - self.reserved", "self._room = self.size"),),
        _FORMULAS,
    ),
    Mutant(
        "ring: not armed at an exit",
        "pages that a full ring gave up are not noticed again",
        ((_KERNELS, "unarmed[entries[k] >> _SIX] &= ~(_ONE << (entries[k] & _LOW))", "pass"),),
        _OF_KERNELS,
        interpreted=True,
    ),
    Mutant(
        "mechanisms: page behind the range",
        "a write just behind the range is noticed",
        ((_KERNELS, "return page if wanted and page < n_pages else n_pages", "return page if wanted else n_pages"),),
        _OF_KERNELS,
        interpreted=True,
    ),
    Mutant(
        "mechanisms: armed beyond the part",
        "a clear of a part arms pages behind it",
        ((_KERNELS, "        mask &= _ALL >> (start + _GROUP - end)\n", "        pass\n"),),
        _OF_KERNELS,
        interpreted=True,
    ),
    Mutant(
        "write-protect: entries written not counted",
        "a fault writes no entry",
        (
            (
                _HERE + "write_protect.py",
                "self._count(faults=faults, pte_reads=faults, pte_writes=faults)",
                "self._count(faults=faults, pte_reads=faults)",
            ),
        ),
        _STREAMS,
    ),
    Mutant(
        "shadow: a clear of nothing shoots down",
        "a clear that arms no page is a shoot-down, too",
        ((_HERE + "shadow.py", "shoot_downs=int(armed > 0)", "shoot_downs=1"),),
        _STREAMS,
    ),
    Mutant(
        "dirty bits: entries without a table read",
        "a scan reads entries of pages that have none",
        (
            (
                _HERE + "dirty_bits.py",
                "        return int(pages[pages > 0].sum())\n",
                "        return length >> PAGE_SHIFT\n",
            ),
        ),
        _STREAMS,
    ),
    Mutant(
        "mechanisms: flush at each run",
        "a run of a vCPU is a flush though nothing was shot down since",
        ((_HERE + "base.py", "if self._seen[number] != self._total.shoot_downs:", "if True:"),),
        _STREAMS,
    ),
    Mutant(
        "copies: a write with the copy",
        "a write that is the first access behind a page's copy counts as before it",
        ((_KERNELS, "written = last[page] >= since", "written = last[page] > since"),),
        ("tests/kernels/test_mechanisms.py", "tests/dirty/test_mechanisms_copies.py"),
        interpreted=True,
    ),
)
