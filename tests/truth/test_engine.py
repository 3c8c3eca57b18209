"""The engine against the manuals' tables: what its vCPUs, its look-ups and its holds make of each entry that can be.

Entries are written by hand into the tables of a guest. Gone through completely are, each with reads, writes and fetches, for
both formats, while dirty pages are tracked and while not, without a TLB and with one:

- *leaves*: all rights, memory types, marks and ignored bits of leaves under directories that grant everything;
- *directories*: all rights of each of the three directories with all of each other, over leaves that lack one right each. Of
  the nPT directories that are absent only one kind, but with ``NPT_LONG=1`` each, and all rights of the leaves: minutes.

Ill-formed entries are left out: the engine never builds any, and says nothing of what a vCPU makes of those that somebody else
wrote (``tests/space/test_tampering.py``: it does no harm). Nor has it large pages. A of its directories stays as it was built:
clear in EPT, set in nPT.
"""

import os
from itertools import product

import numpy as np
import pytest

from npt import EPT, NPT, Fault, FaultCode, Prot, PteFormat, Reservoir, Vcpu, VmSpace
from tests.truth.cases import allowed, legal_rights
from tests.truth.guest import FIRST, PAGE, PAGES, Guest, compare, guest
from tests.truth.manuals import judge

LONG = bool(os.environ.get("NPT_LONG"))
FORMATS = [EPT, NPT]
LETTERS = {"R": Prot.READ, "W": Prot.WRITE, "X": Prot.EXEC}
EPT_TYPES = (0, 1, 4, 5, 6)
IGNORED_ABOVE = {"ept": (0, 0xFFF << 52), "npt": (0, 0x7FF << 52)}
WRITE_BACK = {"ept": 6 << 3, "npt": 0}

forms = pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
tracked = pytest.mark.parametrize("tracking", [True, False], ids=["tracking", "not tracking"])
cached = pytest.mark.parametrize("tlb", [0, 64])


def leaves_of(format: str) -> list[int]:
    """All legal leaves but for the address, the ignored bits above it, and those that the software may use."""
    kinds, free = (EPT_TYPES, (6, 7, 8, 9)) if format == "ept" else ((0, 1, 2, 3), (5, 6, 7))
    flags = [sum(bit << place for bit, place in zip(bits, free, strict=True)) for bits in product((0, 1), repeat=len(free))]
    return [bits | kind << 3 | flag for bits, kind, flag in product(legal_rights(format), kinds, flags)]


def directory_rights(format: str) -> list[int]:
    """All, but one only that is absent, with everything else set."""
    rights = legal_rights(format)
    return rights if LONG or format == "ept" else [bits for bits in rights if bits & 1 or bits == 6]


def lacking_one(format: str) -> list[int]:
    """Rights of leaves: all of them, and all but one."""
    if LONG or format == "ept":
        return legal_rights(format)
    return [allowed(format), *(allowed(format) ^ 1 << bit for bit in (0, 1, 2, 63))]


@pytest.mark.slow
@cached
@tracked
@forms
def test_vcpu__leaves(form: PteFormat, tracking: bool, tlb: int) -> None:
    """Outcome, code, qualification, bytes and marks, for each legal leaf."""
    count, granting = 0, [allowed(form.name)] * 3
    with guest(form, tracking=tracking) as there:
        for above, below in product(IGNORED_ABOVE[form.name], (0, 0x800)):
            expected = there.put(granting, [leaf | above | below for leaf in leaves_of(form.name)])
            count += compare(there, Vcpu(there.client, tlb=tlb), expected, tracking or form is NPT)
    assert count == {"ept": 5760, "npt": 6144}[form.name]


@pytest.mark.slow
@cached
@tracked
@forms
def test_vcpu__directories(form: PteFormat, tracking: bool, tlb: int) -> None:
    """The same for all rights of all directories."""
    count, leaves = 0, [bits | WRITE_BACK[form.name] for bits in lacking_one(form.name)]
    with guest(form, tracking=tracking) as there:
        for directories in product(directory_rights(form.name), repeat=3):
            expected = there.put(directories, leaves)
            count += compare(there, Vcpu(there.client, tlb=tlb), expected, tracking or form is NPT)
    assert count == {"ept": 6**3 * 6 * 3, "npt": 16**3 * 16 * 3 if LONG else 9**3 * 5 * 3}[form.name]


# -- look-ups and holds -------------------------------------------------------------------------------------------------


def _grants(there: Guest, page: int) -> Prot:
    """What the manuals say that a leaf grants."""
    granted = Prot.NONE
    for letter in judge(there.format, 1, int(there.leaves[page]), 46, True).grants:
        granted |= LETTERS[letter]
    return granted


@forms
def test_fault_and_hold__ask_the_leaf(form: PteFormat) -> None:
    """A leaf that is not zero decides alone: PROT where it does not grant all that is asked for, in one call as in many."""
    count, denied = 0, 0
    with guest(form, tracking=True) as there:
        leaves = leaves_of(form.name)
        there.put([allowed(form.name)] * 3, leaves)
        there.leaves[: len(leaves)] |= np.uint64(0x800)
        gpas = [FIRST + page * PAGE for page in range(len(leaves))]
        for asked in (Prot(bits) for bits in range(1, 8)):
            wanted = [0 if _grants(there, page) & asked == asked else FaultCode.PROT for page in range(len(gpas))]
            assert there.client.fault_many(gpas, asked).tolist() == wanted
            if asked is not Prot.EXEC:
                assert [_hold(there, gpa, asked) for gpa in gpas] == wanted
            count, denied = count + len(gpas), denied + sum(map(bool, wanted))
        assert there.space.resident_count == PAGES
    assert (count, denied) == {"ept": (80 * 42, 80 * 27), "npt": (32 * 112, 32 * 98)}[form.name]


def _hold(there: Guest, gpa: int, asked: Prot) -> int:
    """Outcome of a hold, as a number; and of ``hold_many``, which is the same."""
    outcomes = []
    for hold in (lambda: there.client.hold(gpa, asked), lambda: there.client.hold_many([gpa], asked)):
        try:
            with hold():
                outcomes.append(0)
        except Fault as fault:
            outcomes.append(int(fault.code))
    assert outcomes[0] == outcomes[1]
    return outcomes[0]


@forms
def test_fault__asks_the_mapping_of_what_is_not_resident(form: PteFormat) -> None:
    """The mapping decides, and what the manuals say of the entry that is made is what the mapping allows."""
    count, mapped = 0, (Prot.READ, Prot.RW, Prot.RX, Prot.RWX)
    for allows, asked, resident in product(mapped, range(1, 8), (False, True)):
        with Reservoir(PAGE) as reservoir, VmSpace(PAGE, format=form, reservoir=reservoir) as space:
            with reservoir.allocate(PAGE) as ram:
                space.map(ram, 0, PAGE, allows)
            if resident:
                space.populate(0, PAGE)
            wanted = 0 if allows & asked == asked else FaultCode.PROT
            assert space.client().fault_many([0], asked).tolist() == [wanted]
            assert space.resident_count == (resident or not wanted)
            if space.resident_count:
                leaf = judge(form.name, 1, space.pte(0) or 0, 46, False)
                assert (leaf.what, leaf.grants) == ("page", "".join(letter for letter, one in LETTERS.items() if allows & one))
            count += 1
    assert count == 56
