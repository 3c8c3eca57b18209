"""vCPUs: which marks they set, what they refuse, where they store, what their TLB remembers."""

from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS"]

_GUEST, _HARDWARE, _TLB = "npt/kernels/guest.py", "npt/kernels/hardware.py", "npt/kernels/tlb.py"
_VCPU, _ACCESSES = "npt/space/vcpu.py", "npt/space/accesses.py"
_OF_GUEST, _OF_TLB, _OF_VCPU = ("tests/kernels/test_guest.py",), ("tests/kernels/test_tlb.py",), ("tests/space/test_vcpu.py",)

MUTANTS = (
    Mutant(
        "vcpu: reads set D",
        "an access that reads sets D, too",
        ((_GUEST, "rules[DIRTY] * np.uint64(known == WRITE)", "rules[DIRTY] * np.uint64(known != EXECUTE)"),),
        _OF_GUEST,
        interpreted=True,
    ),
    Mutant(
        "vcpu: A not set",
        "an access leaves A as it was",
        (
            (
                _GUEST,
                "permission(rules, known) | ((rules[ACCESSED] | dirty) & marks)",
                "permission(rules, known) | (dirty & marks)",
            ),
        ),
        _OF_GUEST,
        interpreted=True,
    ),
    Mutant(
        "vcpu: first byte past the end",
        "the first address past the end of a space is walked",
        ((_HARDWARE, "    if gpa >= size:\n", "    if gpa > size:\n"),),
        _OF_GUEST,
        interpreted=True,
    ),
    Mutant(
        "vcpu: remembered region past the end",
        "an address past the end whose region is remembered is accessed",
        ((_GUEST, "(gpa >> _TAG_SHIFT)) | np.uint64(gpa >= size)", "(gpa >> _TAG_SHIFT))"),),
        _OF_GUEST,
        interpreted=True,
    ),
    Mutant(
        "vcpu: directories that deny",
        "only the leaf's permission counts",
        (
            (
                _HARDWARE,
                "    return leaf, entry, both & entry, either | entry\n",
                "    return leaf, entry, entry, entry\n",
            ),
            (
                _GUEST,
                "if table == NONE or (good_bits(both, either, flip) & all_of_it) != all_of_it:",
                "if table == NONE:",
            ),
        ),
        _OF_GUEST,
        interpreted=True,
    ),
    Mutant(
        "vcpu: denied write stores",
        "a write that the tables deny ends the block behind it, not before",
        (
            (
                _GUEST,
                "            return k\n        scratch[block + _LEAF + k] = leaf",
                "            return k + _ONE\n        scratch[block + _LEAF + k] = leaf",
            ),
        ),
        _OF_GUEST,
        interpreted=True,
    ),
    Mutant(
        "vcpu: absent told as denied",
        "a page that is not there faults as one that is forbidden",
        ((_HARDWARE, "ABSENT if leaf == NONE else DENIED", "DENIED"),),
        _OF_GUEST,
        interpreted=True,
    ),
    Mutant(
        "vcpu: word in the page",
        "values are stored in every other word",
        (
            (
                _HARDWARE,
                "_PAGE_SHIFT, _WORD_SHIFT = np.uint64(12), np.uint64(3)",
                "_PAGE_SHIFT, _WORD_SHIFT = np.uint64(12), np.uint64(2)",
            ),
        ),
        _OF_GUEST,
        interpreted=True,
    ),
    Mutant(
        "vcpu: pages without bytes",
        "a read of a page without bytes loads nothing",
        ((_HARDWARE, "memory[word] if has_bytes else _ZERO", "memory[word] if has_bytes else loads[i]"),),
        _OF_GUEST,
        interpreted=True,
    ),
    Mutant(
        "vcpu: kick not looked at",
        "a kick is seen before the first access only",
        (
            (
                _GUEST,
                "        if atomic_load(line, KICK) != _ZERO:\n",
                "        if i == np.uint64(start) and atomic_load(line, KICK) != _ZERO:\n",
            ),
        ),
        ("tests/kernels/test_guest.py::test_access__kick_is_seen_within_64",),
    ),
    Mutant(
        "vcpu: any word is a kick",
        "the generation is taken for a kick",
        ((_HARDWARE, "KICK = _ZERO\nLINE", "KICK = np.uint64(3)\nLINE"),),
        _OF_GUEST,
        interpreted=True,
    ),
    Mutant(
        "vcpu: tables remembered for ever",
        "leaf tables of an earlier call are taken for good",
        ((_GUEST, "    scratch[_CALL] += _ONE\n    if scratch", "    scratch[_CALL] = _ONE\n    if scratch"),),
        _OF_GUEST,
        interpreted=True,
    ),
    Mutant(
        "vcpu: summary not touched",
        "writes of a vCPU lie under clean bytes",
        (
            (
                _GUEST,
                "        if writes:\n            _touch(touched, takes, since, scratch, block, n, marks & rules[DIRTY])\n",
                "",
            ),
        ),
        ("tests/space/test_summary.py",),
        "writes",
    ),
    Mutant(
        "vcpu: EPT marks while tracking is off",
        "EPT sets A and D always, as nPT does",
        ((_VCPU, "marking = core.tracking or core.format.marks_untracked", "marking = True"),),
        ("tests/space/test_vcpu.py", "tests/space/test_bhyve_checks.py"),
    ),
    Mutant(
        "vcpu: nPT does not mark while tracking is off",
        "nPT sets A and D only while tracking is on, as EPT does",
        ((_VCPU, "marking = core.tracking or core.format.marks_untracked", "marking = core.tracking"),),
        ("tests/space/test_vcpu.py", "tests/space/test_bhyve_checks.py"),
    ),
    Mutant(
        "vcpu: step serves faults",
        "a step makes pages resident",
        ((_VCPU, "return self._in_turn(accesses, self._stay)", "return self._in_turn(accesses, self._serve)"),),
        _OF_VCPU,
    ),
    Mutant(
        "vcpu: stays inside after an error",
        "a run that is interrupted leaves its vCPU on CPU",
        (
            (
                _VCPU,
                "        except BaseException:\n            gate.leave(accesses)\n            raise\n        if reason",
                "        except BaseException:\n            raise\n        if reason",
            ),
        ),
        _OF_VCPU,
    ),
    Mutant(
        "vcpu: fault of the wrong access",
        "the address of a fault is that of the access before",
        (
            (
                _VCPU,
                "int(accesses.gpas[start]), code, qualification)",
                "int(accesses.gpas[max(start - 1, 0)]), code, qualification)",
            ),
        ),
        _OF_VCPU,
    ),
    Mutant(
        "vcpu: values at odd addresses",
        "a write of a word to any address is taken",
        ((_ACCESSES, "    if odd.any():\n", "    if False:\n"),),
        _OF_VCPU,
    ),
    Mutant(
        "vcpu: write and execute at once",
        "an access that writes and executes is taken",
        ((_ACCESSES, "if n and int(kinds.max()) > _EXECUTE:", "if False:"),),
        _OF_VCPU,
    ),
    Mutant(
        "tlb: a write after a read leaves no mark",
        "an entry that a read has filled does for a write",
        ((_TLB, "            wanted |= _IS_DIRTY\n", "            pass\n"),),
        _OF_TLB,
        interpreted=True,
    ),
    Mutant(
        "tlb: page 0 is an empty entry",
        "an empty entry is taken for page 0",
        (
            (_TLB, "entries[first + way, PAGE] == page + _ONE", "entries[first + way, PAGE] == page"),
            (_TLB, "entries[row, PAGE] = page + _ONE", "entries[row, PAGE] = page"),
        ),
        _OF_TLB,
        interpreted=True,
    ),
    Mutant(
        "tlb: last set as large as the others",
        "the ways of the last set are taken for four, whatever is left",
        ((_TLB, "min(_WAYS, np.uint64(entries.shape[0]) - number * _WAYS)", "min(_WAYS, np.uint64(entries.shape[0]))"),),
        _OF_TLB,
        interpreted=True,
    ),
    Mutant(
        "tlb: always the first way",
        "a full set replaces its first way again and again",
        ((_TLB, "number * _WAYS + fills[number] % ways", "number * _WAYS + min(fills[number], ways - _ONE)"),),
        _OF_TLB,
        interpreted=True,
    ),
    Mutant(
        "tlb: a fault fills an entry",
        "what an entry allows is not looked at when it hits",
        (
            (
                _TLB,
                "translation, wanted = _way(entries, number * _WAYS, ways, page), _ZERO, _ONE << kind",
                "translation, wanted = _way(entries, number * _WAYS, ways, page), _ZERO, _ZERO",
            ),
        ),
        _OF_TLB,
        interpreted=True,
    ),
)
