"""Wrong bits: of entries in both formats, of masks, of addresses and of errors."""

from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS"]

_EPT, _AMD, _BASE = "npt/formats/ept.py", "npt/formats/amd.py", "npt/formats/base.py"
_UNITS, _ERRORS, _WALK = "npt/units.py", "npt/errors.py", "npt/kernels/walk.py"
_FORMATS = ("tests/formats/test_formats.py",)

MUTANTS = (
    Mutant(
        "ept: write and execute swapped",
        "the bits of writing and executing are each other's",
        ((_EPT, "1 << 0, 1 << 1, 1 << 2", "1 << 0, 1 << 2, 1 << 1"),),
        _FORMATS,
    ),
    Mutant(
        "ept: memory type one bit up",
        "the memory type is put into bits 6:4",
        ((_EPT, "_TYPE_SHIFT, _TYPE = 3, 7 << 3", "_TYPE_SHIFT, _TYPE = 4, 7 << 4"),),
        _FORMATS,
    ),
    Mutant(
        "ept: A and D swapped",
        "accessed is bit 9 and dirty bit 8",
        ((_EPT, "_ACCESSED, _DIRTY = 1 << 8, 1 << 9", "_ACCESSED, _DIRTY = 1 << 9, 1 << 8"),),
        _FORMATS,
    ),
    Mutant(
        "ept: table entry cannot execute",
        "an entry that points to a table lacks the bit of executing",
        ((_EPT, "table=np.uint64(_READ | _WRITE | _EXEC)", "table=np.uint64(_READ | _WRITE)"),),
        _FORMATS,
    ),
    Mutant(
        "ept: root of five levels",
        "the root pointer says a walk of five levels",
        ((_EPT, "3 << 3, 6, 1 << 6", "4 << 3, 6, 1 << 6"),),
        _FORMATS,
    ),
    Mutant(
        "ept: A and D not enabled",
        "the root pointer does not say that hardware sets A and D while tracking",
        ((_EPT, "(_ENABLE_AD if tracking else 0)", "0"),),
        _FORMATS,
    ),
    Mutant(
        "ept: qualification one bit down",
        "what the entries allow is told in bits 4:2 of the exit qualification",
        ((_EPT, "_EXEC)) << 3", "_EXEC)) << 2"),),
        _FORMATS,
    ),
    Mutant(
        "npt: no-execute in bit 62",
        "an entry that may not be executed has bit 62 set, not bit 63",
        ((_AMD, "1 << 63", "1 << 62"),),
        _FORMATS,
    ),
    Mutant(
        "npt: no-execute not heeded",
        "a fetch is not refused by bit 63",
        ((_AMD, "return _NX if prot & Prot.EXEC else 0", "return 0"),),
        _FORMATS,
    ),
    Mutant(
        "npt: fresh leaf not accessed",
        "a fresh leaf has A clear",
        ((_AMD, "bits = _PRESENT | _USER | _ACCESSED | (", "bits = _PRESENT | _USER | ("),),
        _FORMATS,
    ),
    Mutant(
        "npt: leaf of the supervisor",
        "a leaf lacks the bit of the user, with which all nested walks are made",
        ((_AMD, "bits = _PRESENT | _USER | _ACCESSED", "bits = _PRESENT | _ACCESSED"),),
        _FORMATS,
    ),
    Mutant(
        "npt: table of the supervisor",
        "an entry that points to a table lacks the bit of the user",
        ((_AMD, "table=np.uint64(_PRESENT | _WRITE | _USER | _ACCESSED)", "table=np.uint64(_PRESENT | _WRITE | _ACCESSED)"),),
        _FORMATS,
    ),
    Mutant(
        "npt: uncached by PCD alone",
        "device memory lacks PWT",
        ((_AMD, "_UNCACHED = 1 << 4 | 1 << 3", "_UNCACHED = 1 << 4"),),
        _FORMATS,
    ),
    Mutant(
        "npt: A and D swapped",
        "accessed is bit 6 and dirty bit 5",
        ((_AMD, "_ACCESSED, _DIRTY = 1 << 5, 1 << 6", "_ACCESSED, _DIRTY = 1 << 6, 1 << 5"),),
        _FORMATS,
    ),
    Mutant(
        "npt: EXITINFO1 without the write",
        "a refused write is told as a read",
        ((_AMD, "(_FAULT_WRITE if access == Prot.WRITE else 0)", "0"),),
        _FORMATS,
    ),
    Mutant(
        "npt: EXITINFO1 of a table walk",
        "a fault on the final address is told as one on a guest's page table",
        ((_AMD, "_FAULT_FINAL = 1 << 32", "_FAULT_FINAL = 1 << 33"),),
        _FORMATS,
    ),
    Mutant(
        "PFN mask too narrow",
        "bit 51 is not taken for address",
        ((_BASE, "0x000F_FFFF_FFFF_F000", "0x0007_FFFF_FFFF_F000"),),
        _FORMATS,
    ),
    Mutant(
        "PFN mask of kernels too wide",
        "bits 63:52 are taken for address, no-execute among them",
        ((_WALK, "np.uint64(0x000F_FFFF_FFFF_F000)", "np.uint64(0xFFFF_FFFF_FFFF_F000)"),),
        ("tests/kernels/test_walk.py",),
    ),
    Mutant(
        "level shift",
        "a level is indexed by the bits of the next one up",
        ((_UNITS, "PAGE_SHIFT + 9 * (level - 1)", "PAGE_SHIFT + 9 * level"),),
        ("tests/test_units.py",),
    ),
    Mutant(
        "range that ends at 2**64",
        "a range may reach the last address",
        ((_UNITS, "if gpa + length >= ADDRESS_END:", "if gpa + length > ADDRESS_END:"),),
        ("tests/test_units.py",),
    ),
    Mutant(
        "range that ends with the space",
        "the last page of a space is refused",
        ((_UNITS, "if gpa + length > size:", "if gpa + length >= size:"),),
        ("tests/test_units.py", "tests/space/test_vmspace.py"),
    ),
    Mutant(
        "bytes of a bitmap",
        "a bitmap has no byte for the last pages unless they fill it",
        ((_UNITS, "return (n_pages + 7) >> 3", "return n_pages >> 3"),),
        ("tests/test_units.py",),
    ),
    Mutant(
        "errno of an overlap",
        "a mapping over another is told as EEXIST",
        (
            (
                _ERRORS,
                'of another."""\n\n    _number = errno.ENOMEM',
                'of another."""\n\n    _number = errno.EEXIST',
            ),
        ),
        ("tests/test_errors.py",),
    ),
    Mutant(
        "errno of a stale handle",
        "a handle that was released is told as EINVAL",
        ((_ERRORS, "errno.EBADF", "errno.EINVAL"),),
        ("tests/test_errors.py",),
    ),
    Mutant(
        "parent of a fault",
        "a fault is no LookupError",
        ((_ERRORS, "class Fault(NptError, LookupError)", "class Fault(NptError, RuntimeError)"),),
        ("tests/test_errors.py",),
    ),
    Mutant(
        "fault that forgets its code",
        "a pickled fault comes back without its code",
        (
            (
                _ERRORS,
                "return type(self), (self.strerror, self.code), self.__dict__",
                "return type(self), (self.strerror, 1), {}",
            ),
        ),
        ("tests/test_errors.py",),
    ),
)
