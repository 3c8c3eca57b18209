"""The one place that checks arguments: what it lets through, what it refuses, and as what."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from npt import AddressOverflow, BeyondSpace, InvalidArgument, Prot, units

END = 2**64


class Index:
    """Something that is an integer by its own word."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __index__(self) -> int:
        return self.value


# What is an integer, and what it is.
INTEGERS: list[tuple[Any, int]] = [
    (0, 0), (0x1000, 0x1000), (np.int8(0x40), 0x40), (np.uint64(END - 4096), END - 4096), (np.int64(0x1000), 0x1000),
    (np.array(0x2000), 0x2000), (Index(0x3000), 0x3000), (Prot.RW, 3),
]  # fmt: skip
# What is none.
STRANGERS: list[Any] = [
    None, True, False, np.True_, 1.0, np.float64(4096), 4096.0, "4096", b"\0", 1j, Fraction(1), [], [1], (), {},
    object(), np.array([1]), np.array([1, 2]), np.array(1.0), np.array(True), np.datetime64(1, "s"),
]  # fmt: skip


def _refuses(function: Callable[..., Any], cases: list[Any], error: type[BaseException]) -> list[Any]:
    return [
        pytest.param(function, case, error, id=f"{function.__name__}-{type(case).__name__}-{index}")
        for index, case in enumerate(cases)
    ]


def as_int(value: Any) -> int:
    return units.as_int(value, "n")


NUMBERS: list[Callable[..., Any]] = [as_int, units.as_address, units.as_aligned, units.as_length, units.as_prot]


# -- numbers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("function", "value", "error"), [
    case for function in NUMBERS for case in _refuses(function, STRANGERS, TypeError)
])  # fmt: skip
def test_number__strangers_are_type_errors(function: Callable[..., Any], value: Any, error: type[Exception]) -> None:
    """Floats, bools and everything else that only looks like an integer."""
    with pytest.raises(error):
        function(value)


@pytest.mark.parametrize(("value", "expected"), INTEGERS, ids=[type(value).__name__ for value, _ in INTEGERS])
def test_as_int__any_integer_as_a_python_int(value: Any, expected: int) -> None:
    """Whatever it came as: nothing is computed with numpy scalars."""
    got = as_int(value)
    assert (got, type(got)) == (expected, int)


@pytest.mark.parametrize("value", [-(2**70), -1, 2**64, 2**200])
def test_as_int__of_any_size(value: int) -> None:
    """Ranges are checked elsewhere."""
    assert as_int(value) == value


@pytest.mark.parametrize("value", [True, False, np.True_, np.False_])
def test_as_flag__bools(value: Any) -> None:
    """Python's and numpy's, as Python's."""
    got = units.as_flag(value, "clear")
    assert (got, type(got)) == (bool(value), bool)


@pytest.mark.parametrize("value", [0, 1, None, "yes", np.int64(1), 1.0, [], np.array(True), np.array([True])])
def test_as_flag__nothing_that_merely_looks_like_one(value: Any) -> None:
    """Zero and one are numbers."""
    with pytest.raises(TypeError, match="clear"):
        units.as_flag(value, "clear")


@pytest.mark.parametrize("value", [0, 1, 0xFFF, 2**47, 2**48, 2**63, END - 1])
def test_as_address__64_bits(value: int) -> None:
    """All of them."""
    assert units.as_address(value) == value


@pytest.mark.parametrize("value", [-1, np.int8(-1), -(2**63), END, END + 4096, 2**200])
def test_as_address__no_others(value: Any) -> None:
    """A negative number is not a large one."""
    with pytest.raises(InvalidArgument, match="gpa"):
        units.as_address(value)


@pytest.mark.parametrize("value", [0, 0x1000, 2**63, END - 4096])
def test_as_aligned__starts_a_page(value: int) -> None:
    """Any page."""
    assert units.as_aligned(value) == value


@pytest.mark.parametrize("value", [1, 0xFFF, 0x1001, 0x1800, END - 1, -4096, END])
def test_as_aligned__inside_a_page(value: int) -> None:
    """Or outside of 64 bits."""
    with pytest.raises(InvalidArgument):
        units.as_aligned(value)


def test_as_aligned__says_where_the_page_starts() -> None:
    """The message helps."""
    with pytest.raises(InvalidArgument, match="0x1801 is not page-aligned; the page starts at 0x1000"):
        units.as_aligned(0x1801)


@pytest.mark.parametrize("value", [0x1000, 0x2000, 2**47, END])
def test_as_length__whole_pages(value: int) -> None:
    """At least one."""
    assert units.as_length(value) == value


@pytest.mark.parametrize("value", [0, -1, -4096, 1, 0xFFF, 0x1001, np.int64(-4096)])
def test_as_length__nothing_else(value: Any) -> None:
    """Zero, negative, or part of a page."""
    with pytest.raises(InvalidArgument, match="length"):
        units.as_length(value)


@pytest.mark.parametrize(("gpa", "length"), [(0, 0x1000), (0x1000, 2**47), (END - 0x2000, 0x1000), (0, END - 0x1000)])
def test_as_range__ends_below_2_to_64(gpa: int, length: int) -> None:
    """The last page of the address space cannot be part of a range: its end has no address."""
    assert units.as_range(gpa, length) == (gpa, length)


@pytest.mark.parametrize(("gpa", "length"), [(END - 0x1000, 0x1000), (0x1000, END - 0x1000), (0, END), (0x1000, 2**70)])
def test_as_range__reaches_2_to_64(gpa: int, length: int) -> None:
    """Nothing wraps round."""
    with pytest.raises(AddressOverflow, match="reaches 2\\*\\*64"):
        units.as_range(gpa, length)


def test_as_range__numpy_scalars_do_not_wrap() -> None:
    """``np.uint64(2**64 - 4096) + 8192`` would, without a word."""
    with pytest.raises(AddressOverflow):
        units.as_range(np.uint64(END - 4096), np.int64(8192))


@pytest.mark.parametrize(("gpa", "length", "error"), [
    (1, 0x1000, InvalidArgument), (0, 1, InvalidArgument), (0, 0, InvalidArgument), (-4096, 0x1000, InvalidArgument),
    (END, 0x1000, InvalidArgument), (1, "x", TypeError), (None, 1, TypeError), (-1, True, TypeError),
    (1.5, 0x1000, TypeError), (1, END, InvalidArgument),
])  # fmt: skip
def test_as_range__a_wrong_type_is_told_first(gpa: Any, length: Any, error: type[Exception]) -> None:
    """Then a wrong value, then the overflow."""
    with pytest.raises(error) as told:
        units.as_range(gpa, length)
    assert not isinstance(told.value, AddressOverflow)


@pytest.mark.parametrize(("gpa", "length", "size"), [(0, 0x1000, 0x1000), (0x1000, 0x1000, 0x2000)])
def test_check_inside__up_to_the_end(gpa: int, length: int, size: int) -> None:
    """A range may end where the space ends."""
    units.check_inside(gpa, length, size)


@pytest.mark.parametrize(("gpa", "length", "size"), [(0, 0x2000, 0x1000), (0x1000, 0x1000, 0x1000), (2**48, 0x1000, 2**47)])
def test_check_inside__beyond_the_end(gpa: int, length: int, size: int) -> None:
    """By one page or by a bit that does not exist."""
    with pytest.raises(BeyondSpace):
        units.check_inside(gpa, length, size)


@pytest.mark.parametrize("value", range(1, 8))
@pytest.mark.parametrize("kind", [int, Prot, np.uint8, np.int64])
def test_as_prot__made_of_the_three(value: int, kind: Callable[[int], Any]) -> None:
    """As a ``Prot``, whatever it came as."""
    got = units.as_prot(kind(value))
    assert (got, type(got)) == (Prot(value), Prot)


@pytest.mark.parametrize("value", [0, 8, 9, -1, -7, 2**64, Prot.NONE, np.int8(-1)])
def test_as_prot__nothing_unknown(value: Any) -> None:
    """None at all is no protection either."""
    with pytest.raises(InvalidArgument, match="prot"):
        units.as_prot(value)


@pytest.mark.parametrize("value", range(1, 8))
@pytest.mark.parametrize("any_of", [Prot.READ, Prot.RW, Prot.RWX])
def test_as_prot__at_least_one_of(value: int, any_of: Prot) -> None:
    """A mapping needs READ, a hold READ or WRITE."""
    if value & any_of:
        assert units.as_prot(value, any_of=any_of) == value
    else:
        with pytest.raises(InvalidArgument, match=" or ".join(str(p.name) for p in any_of)):
            units.as_prot(value, any_of=any_of)


# -- level arithmetic -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("level", "shift"), [(1, 12), (2, 21), (3, 30), (4, 39)])
def test_level_shift__nine_bits_a_level(level: int, shift: int) -> None:
    """From 4 KiB to 512 GiB."""
    assert units.level_shift(level) == shift


@pytest.mark.parametrize(("address", "page"), [(0, 0), (0xFFF, 0), (0x1000, 0x1000), (END - 1, END - 4096)])
def test_page_down__start_of_the_page(address: int, page: int) -> None:
    """Its own start stays."""
    assert units.page_down(address) == page


@pytest.mark.parametrize(("n_pages", "n_bytes"), [(0, 0), (1, 1), (7, 1), (8, 1), (9, 2), (512, 64), (513, 65)])
def test_bitmap_bytes__one_bit_a_page(n_pages: int, n_bytes: int) -> None:
    """Rounded up."""
    assert units.bitmap_bytes(n_pages) == n_bytes


# -- arrays --------------------------------------------------------------------------------------------------------


def words(values: Any) -> Any:
    """The two steps that every array of addresses goes through."""
    return units.as_u64(units.as_integers(values, "gpas"), "gpas")


BIG_ENDIAN = np.array([0x1000, 2**63 + 1], ">u8")
READ_ONLY = np.array([1, 2**64 - 1], np.uint64)
READ_ONLY.flags.writeable = False
UNALIGNED = np.frombuffer(bytearray(17), np.uint8)[1:].view(np.uint64)

ARRAYS: dict[str, tuple[Any, list[int]]] = {
    "empty list": ([], []),
    "empty tuple": ((), []),
    "empty array": (np.empty(0, np.uint64), []),
    "list": ([0, 0x1000], [0, 0x1000]),
    "tuple": ((0x1000, 0), [0x1000, 0]),
    "range": (range(3), [0, 1, 2]),
    "large beside small": ([2**63, 1], [2**63, 1]),
    "largest": ([2**64 - 1], [2**64 - 1]),
    "largest and zero": ([2**64 - 1, 0], [2**64 - 1, 0]),
    "numpy scalars": ([np.uint64(2**64 - 1), np.int8(1)], [2**64 - 1, 1]),
    "own integers": ([Index(5), Index(2**63)], [5, 2**63]),
    "int8": (np.array([0, 127], np.int8), [0, 127]),
    "uint8": (np.array([0, 255], np.uint8), [0, 255]),
    "int64": (np.array([0, 2**63 - 1], np.int64), [0, 2**63 - 1]),
    "big-endian": (BIG_ENDIAN, [0x1000, 2**63 + 1]),
    "big-endian signed": (np.array([1, 2], ">i4"), [1, 2]),
    "strided": (np.arange(10, dtype=np.uint64)[::3], [0, 3, 6, 9]),
    "backwards": (np.arange(3, dtype=np.uint64)[::-1], [2, 1, 0]),
    "read-only": (READ_ONLY, [1, 2**64 - 1]),
    "unaligned": (UNALIGNED, [0, 0]),
    "memoryview": (memoryview(np.array([1, 2**63], np.uint64).data), [1, 2**63]),
    "masked array": (np.ma.array([1, 2], mask=[False, False]), [1, 2]),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_as_u64__machine_words(name: str) -> None:
    """The same numbers, as a plain, native, contiguous, aligned ``uint64`` array."""
    values, expected = ARRAYS[name]
    got = words(values)
    assert got.tolist() == expected
    assert (type(got), got.dtype, got.dtype.isnative) == (np.ndarray, np.dtype(np.uint64), True)
    assert got.flags.c_contiguous
    assert got.flags.aligned


@pytest.mark.parametrize("array", [READ_ONLY, np.array([1, 2], np.uint64)], ids=["read-only", "writable"])
def test_as_u64__copies_only_where_it_must(array: Any) -> None:
    """Millions of addresses pass through as they are."""
    assert np.may_share_memory(words(array), array)


NO_INTEGERS: dict[str, Any] = {
    "None": None, "float": 1.0, "string": "0x1000", "bytes": b"12345678", "dict": {}, "set": {1}, "object": object(),
    "generator": (i for i in range(3)), "floats": [1.0, 2.0], "one float": [1, 2.5], "whole float": [0x1000, 2.0],
    "bools": [True, False], "bool array": np.array([True]), "Nones": [None], "strings": ["1"],
    "large and a float": [2**63, 1.0], "large and a string": [2**70, "x"], "float array": np.array([1.0]),
    "empty float array": np.empty(0), "complex": np.array([1j]), "object array": np.array([1, 2], object),
    "times": np.array([1, 2], "m8[s]"), "structured": np.zeros(2, "u8,u8"), "bool": True, "nan": [float("nan")],
}  # fmt: skip


@pytest.mark.parametrize("name", NO_INTEGERS)
def test_as_integers__strangers_are_type_errors(name: str) -> None:
    """Floats, bools, objects, text: by their type, whatever their values."""
    with pytest.raises(TypeError):
        units.as_integers(NO_INTEGERS[name], "gpas")


WRONG_VALUES: dict[str, Any] = {
    "negative": [-1], "negative last": [5, -1], "negative array": np.array([1, -1]), "negative int8": np.array([-1], np.int8),
    "2**64": [2**64], "2**64 and less": [2**64, 1], "large and negative": [2**63, -1], "far too large": [2**200],
    "0-d": np.array(5), "scalar": 5, "numpy scalar": np.uint64(5), "2-d": [[1, 2], [3, 4]],
    "2-d array": np.zeros((2, 2), np.uint64), "2-d empty": np.zeros((0, 2), np.uint64),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG_VALUES)
def test_as_u64__wrong_values_are_invalid(name: str) -> None:
    """Integers, but no addresses, or not one after another."""
    with pytest.raises(InvalidArgument, match="gpas"):
        words(WRONG_VALUES[name])


@given(values=st.lists(st.integers(0, 2**64 - 1), max_size=8))
def test_as_u64__any_list(values: list[int]) -> None:
    """No number is changed, whatever numpy would make of the list."""
    assert words(values).tolist() == values


@given(values=st.lists(st.integers(-(2**65), 2**65), min_size=1, max_size=4))
def test_as_u64__any_list_or_invalid(values: list[int]) -> None:
    """Exactly those outside of 64 bits are refused."""
    if all(0 <= value < END for value in values):
        assert words(values).tolist() == values
    else:
        with pytest.raises(InvalidArgument):
            words(values)


def test_check_aligned__fine() -> None:
    """Every one starts a page."""
    for gpas in ([], [0], [0, 0x1000, END - 4096]):
        units.check_aligned(np.array(gpas, np.uint64))


def test_check_aligned__names_the_first_that_is_not() -> None:
    """The message helps."""
    with pytest.raises(InvalidArgument, match="0x1001"):
        units.check_aligned(np.array([0, 0x1001, 0x2002], np.uint64))


def test_as_gpas__any_byte_where_alignment_does_not_matter() -> None:
    """As for ``translate``."""
    assert units.as_gpas(np.array([1, 0xFFF], np.uint64)).tolist() == [1, 0xFFF]


@pytest.mark.parametrize(("n_pages", "n_bytes"), [(0, 0), (1, 1), (8, 1), (9, 2), (9, 5), (513, 65)])
def test_as_select__long_enough(n_pages: int, n_bytes: int) -> None:
    """Longer is fine, and so are strided and read-only ones: it is only read."""
    bitmap = np.zeros(2 * n_bytes, np.uint8)[::2]
    bitmap.flags.writeable = False
    assert units.as_select(bitmap, n_pages) is bitmap


BITMAPS: dict[str, tuple[Any, type[Exception]]] = {
    "None": (None, TypeError), "list": ([0, 0], TypeError), "bytes": (b"\0\0", TypeError),
    "bytearray": (bytearray(2), TypeError), "int8": (np.zeros(2, np.int8), TypeError),
    "bool": (np.zeros(2, bool), TypeError), "words": (np.zeros(2, np.uint64), TypeError),
    "short": (np.zeros(1, np.uint8), InvalidArgument), "empty": (np.zeros(0, np.uint8), InvalidArgument),
    "0-d": (np.zeros((), np.uint8), InvalidArgument), "2-d": (np.zeros((2, 2), np.uint8), InvalidArgument),
}  # fmt: skip


@pytest.mark.parametrize("name", BITMAPS)
@pytest.mark.parametrize("check", [units.as_select, units.as_into], ids=["select", "into"])
def test_bitmap__wrong_type_or_shape(check: Callable[..., Any], name: str) -> None:
    """Nine pages need two bytes of ``uint8``."""
    bitmap, error = BITMAPS[name]
    with pytest.raises(error):
        check(bitmap, 9)


def test_as_into__as_it_is() -> None:
    """The caller's own array is what is written."""
    bitmap = np.zeros(2, np.uint8)
    assert units.as_into(bitmap, 9, np.zeros(5, np.uint64), None) is bitmap


def _read_only() -> Any:
    bitmap = np.zeros(2, np.uint8)
    bitmap.flags.writeable = False
    return bitmap


ENGINE = np.zeros(8, np.uint64)
UNFIT_INTO: dict[str, Any] = {
    "strided": np.zeros(4, np.uint8)[::2], "backwards": np.zeros(2, np.uint8)[::-1], "read-only": _read_only(),
    "engine's": ENGINE.view(np.uint8), "part of the engine's": ENGINE.view(np.uint8)[60:],
}  # fmt: skip


@pytest.mark.parametrize("name", UNFIT_INTO)
def test_as_into__must_be_the_callers_own_and_writable(name: str) -> None:
    """Contiguous, and apart from the tables and the reservoir."""
    with pytest.raises(InvalidArgument, match="into"):
        units.as_into(UNFIT_INTO[name], 9, None, ENGINE)
