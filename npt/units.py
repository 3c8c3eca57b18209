"""Page size, level arithmetic, sizes for people, and the one place that checks arguments.

Every public call checks here, once, before anything else: integers go through ``operator.index`` (numpy integers are
welcome, floats and bools are not) and are compared as Python ints, so that nothing wraps. What passes may go to a kernel.
"""

import math
import operator
import re
from fractions import Fraction
from typing import Any, SupportsFloat, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from npt._types import Prot, U8Array, U64Array
from npt.errors import AddressOverflow, BeyondSpace, InvalidArgument

__all__ = [
    "ADDRESS_END",
    "ENTRIES",
    "LEVELS",
    "NO_PFN",
    "PAGE_MASK",
    "PAGE_SHIFT",
    "PAGE_SIZE",
    "as_address",
    "as_aligned",
    "as_bitmap",
    "as_count",
    "as_flag",
    "as_gpas",
    "as_into",
    "as_int",
    "as_integers",
    "as_length",
    "as_number",
    "as_prot",
    "as_range",
    "as_rate",
    "as_select",
    "as_u64",
    "bitmap_bytes",
    "check_aligned",
    "check_bitmap_type",
    "check_inside",
    "check_overflow",
    "check_unmasked",
    "check_writable",
    "digits",
    "format_size",
    "is_masked",
    "level_shift",
    "page_down",
    "parse_size",
]

PAGE_SHIFT = 12
PAGE_SIZE = 1 << PAGE_SHIFT
PAGE_MASK = PAGE_SIZE - 1
ENTRIES = 512  # entries of one table
LEVELS = 4
NO_PFN = 2**64 - 1
ADDRESS_END = 2**64

_UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40, "PiB": 1 << 50}
_U64 = np.dtype(np.uint64)  # there is one: what "is" it is of native byte order
_NO_NUMBERS = (bool, np.bool_, str, bytes, np.complexfloating)  # that Python or numpy would make a float of
_PROTS = tuple(Prot(bits) for bits in range(8))  # making one, or an operator of IntFlag, costs a microsecond
_MOST_TOLD = 1 << 128
_SIZE = re.compile(r"\s*(\d{1,30}(?:\.\d{1,30})?)\s*([KMGTP]i?B?|B)?\s*", re.IGNORECASE | re.ASCII)


def level_shift(level: int) -> int:
    """Lowest bit of a GPA that indexes a table of this level (1 = leaf ... 4 = root)."""
    return PAGE_SHIFT + 9 * (level - 1)


def page_down(address: int) -> int:
    """Address of the page that an address is in."""
    return address & ~PAGE_MASK


def bitmap_bytes(n_pages: int) -> int:
    """Bytes of a bitmap with one bit a page."""
    return (n_pages + 7) >> 3


# -- numbers -------------------------------------------------------------------------------------------------------


def as_int(value: SupportsIndex, name: str) -> int:
    """Any integer but a bool, as a Python int."""
    if value.__class__ is int:
        return value
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be an integer, not a bool")
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, not {type(value).__name__}") from None


def as_number(value: SupportsFloat, name: str) -> float:
    """Any number but a bool, as a float; infinite where it is too large for one."""
    if isinstance(value, _NO_NUMBERS) or not (hasattr(value, "__float__") or hasattr(value, "__index__")):
        raise TypeError(f"{name} must be a number, not {type(value).__name__}")
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf  # type: ignore[operator]


def as_flag(value: Any, name: str) -> bool:
    """A bool, and nothing that merely looks like one."""
    if value is True or value is False:
        return value
    if not isinstance(value, np.bool_):
        raise TypeError(f"{name} must be a bool, not {type(value).__name__}")
    return bool(value)


def as_address(value: SupportsIndex, name: str = "gpa") -> int:
    """A 64-bit byte address."""
    address = as_int(value, name)
    if not 0 <= address < ADDRESS_END:
        raise InvalidArgument(f"{name} {address:#x} is not a 64-bit address")
    return address


def as_aligned(value: SupportsIndex, name: str = "gpa") -> int:
    """A 64-bit byte address that starts a page."""
    address = as_address(value, name)
    if address & PAGE_MASK:
        raise InvalidArgument(f"{name} {address:#x} is not page-aligned; the page starts at {page_down(address):#x}")
    return address


def as_length(value: SupportsIndex, name: str = "length") -> int:
    """A length in bytes: whole pages, at least one."""
    length = as_int(value, name)
    if length <= 0:
        raise InvalidArgument(f"{name} {length:#x} is not positive")
    if length & PAGE_MASK:
        raise InvalidArgument(f"{name} {length:#x} is not a multiple of the page size {PAGE_SIZE:#x}")
    return length


def as_range(gpa: SupportsIndex, length: SupportsIndex, name: str = "gpa") -> tuple[int, int]:
    """A half-open range of whole pages, ``(gpa, length)``, that ends below 2**64."""
    as_int(gpa, name), as_int(length, "length")  # a wrong type is told before a wrong value
    gpa, length = as_aligned(gpa, name), as_length(length)
    check_overflow(gpa, length, name)
    return gpa, length


def check_overflow(gpa: int, length: int, name: str = "gpa") -> None:
    """Refuse a range that reaches 2**64."""
    if gpa + length >= ADDRESS_END:
        raise AddressOverflow(f"{name} {gpa:#x} + length {length:#x} reaches 2**64")


def check_inside(gpa: int, length: int, size: int) -> None:
    """Refuse a range that reaches past the end of a space of ``size`` bytes."""
    if gpa + length > size:
        raise BeyondSpace(f"{gpa:#x} + {length:#x} reaches past the end of the space, {size:#x}")


def as_prot(value: SupportsIndex, *, any_of: int = 7) -> Prot:
    """A protection that asks for at least one of ``any_of`` and for nothing unknown."""
    prot = as_int(value, "prot")
    if not 0 < prot <= 7:
        raise InvalidArgument(f"prot {prot:#x} is not made of READ, WRITE and EXEC")
    if not prot & any_of:
        raise InvalidArgument(f"prot {_PROTS[prot].name} must include {' or '.join(str(p.name) for p in Prot(any_of))}")
    return _PROTS[prot]


def as_count(value: SupportsIndex, name: str = "n_pages", *, least: int = 0, end: int = ADDRESS_END >> PAGE_SHIFT) -> int:
    """A number of things, ``least`` to below ``end``; of pages unless told, as many as there are addresses for."""
    count = as_int(value, name)
    if not least <= count < end:
        raise InvalidArgument(f"{name} {digits(count)} is not from {least} to below {end}")
    return count


def digits(number: int) -> str:
    """A number in a message: decimal, or hex where Python refuses to write so many decimal digits."""
    return str(number) if -_MOST_TOLD < number < _MOST_TOLD else hex(number)


# -- arrays --------------------------------------------------------------------------------------------------------


def is_masked(array: Any) -> bool:
    """Whether an array may say of its elements that they are none."""
    return type(array) is not np.ndarray and isinstance(array, np.ndarray) and isinstance(array, np.ma.MaskedArray)


def check_unmasked(values: Any, name: str, kind: str) -> None:
    """Refuse an array of which something is masked; ``kind`` is what it should be."""
    if is_masked(values) and np.ma.is_masked(values):
        raise TypeError(f"{name} must be {kind}; some of these are masked")


def as_integers(values: Any, name: str) -> NDArray[Any]:
    """An array of integers, whatever their values; ints that no numpy integer holds come as objects."""
    if type(values) is np.ndarray and values.dtype is _U64:
        return values
    check_unmasked(values, name, "an array of integers")
    try:
        array = np.asarray(values)
    except ValueError:
        raise TypeError(f"{name} must be an array of integers, not a ragged sequence") from None
    if isinstance(values, (list, tuple)) and any(value is True or value is False for value in values):
        raise TypeError(f"{name} must be an array of integers, not of bools")
    if not isinstance(values, np.ndarray) and array.ndim == 1 and array.dtype.kind in "fO":
        return np.array([as_int(value, name) for value in values], dtype=object)  # numpy makes floats of [] or [2**63, 1]
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} must be an array of integers, not {type(values).__name__} of {array.dtype}")
    return array


def as_u64(integers: NDArray[Any], name: str) -> U64Array:
    """What ``as_integers`` gave, one-dimensional and of 64-bit words; a copy only where one is needed."""
    if integers.ndim != 1:
        raise InvalidArgument(f"{name} must be one-dimensional, not of shape {integers.shape}")
    if integers.dtype is _U64 and integers.flags.c_contiguous and integers.flags.aligned:
        return integers
    if integers.dtype.kind == "O":
        return np.array([as_address(value, name) for value in integers], dtype=np.uint64)
    if integers.dtype.kind == "i" and integers.size and int(integers.min()) < 0:
        raise InvalidArgument(f"{name} holds a negative number, {int(integers.min())}")
    return np.require(integers, dtype=np.uint64, requirements=["C", "A"])


def as_gpas(integers: NDArray[Any]) -> U64Array:
    """Byte addresses, from what ``as_integers`` gave."""
    return as_u64(integers, "gpas")


def check_aligned(gpas: U64Array) -> None:
    """Refuse addresses that do not start a page."""
    if int(np.bitwise_or.reduce(gpas)) & PAGE_MASK:
        first = int(gpas[((gpas & np.uint64(PAGE_MASK)) != 0).argmax()])
        raise InvalidArgument(f"gpas holds {first:#x}, which is not page-aligned")


def check_bitmap_type(bitmap: Any, name: str) -> None:
    """Refuse what is not an array of bytes, whatever its shape."""
    if not isinstance(bitmap, np.ndarray) or is_masked(bitmap):
        raise TypeError(f"{name} must be a numpy array of uint8, not {type(bitmap).__name__}")
    if bitmap.dtype != np.uint8:
        raise TypeError(f"{name} must be of dtype uint8, not {bitmap.dtype}")


def as_bitmap(bitmap: Any, n_pages: int, name: str = "bitmap") -> U8Array:
    """A bitmap with one bit a page, at least as long as ``n_pages``."""
    check_bitmap_type(bitmap, name)
    if bitmap.ndim != 1:
        raise InvalidArgument(f"{name} must be one-dimensional, not of shape {bitmap.shape}")
    if bitmap.size < bitmap_bytes(n_pages):
        raise InvalidArgument(f"{name} has {bitmap.size:#x} bytes; {n_pages:#x} pages need {bitmap_bytes(n_pages):#x}")
    return bitmap  # type: ignore[no-any-return]


def as_select(select: Any, n_pages: int) -> U8Array:
    """A bitmap that is read: one bit a page, at least as long as the range."""
    return as_bitmap(select, n_pages, "select")


def as_into(into: Any, n_pages: int, *engine: np.ndarray[Any, Any] | None) -> U8Array:
    """A bitmap that is written: contiguous, writable, and no part of the engine's own memory."""
    bitmap = as_bitmap(into, n_pages, "into")
    check_writable(bitmap, "into", *engine)
    return bitmap


def check_writable(array: U8Array, name: str, *engine: np.ndarray[Any, Any] | None) -> None:
    """Refuse an array that cannot be written in one go, or is some of the engine's own memory."""
    if not array.flags.c_contiguous:
        raise InvalidArgument(f"{name} must be contiguous, not strided")
    if not array.flags.writeable:
        raise InvalidArgument(f"{name} must be writable")
    if any(own is not None and np.may_share_memory(array, own) for own in engine):
        raise InvalidArgument(f"{name} must not be memory of the tables or of the reservoir")


# -- sizes for people ----------------------------------------------------------------------------------------------


def as_rate(value: Any, name: str, *, positive: bool) -> Fraction:
    """Bytes a second, or another number that is not negative, as exactly as it is given."""
    number = as_number(value, name)
    if not (number > 0 if positive else number >= 0) or number == math.inf:
        raise InvalidArgument(f"{name} {number:g} is not a {'positive' if positive else 'non-negative'} finite number")
    return Fraction(as_int(value, name)) if hasattr(value, "__index__") else Fraction(number)


def parse_size(text: str) -> int:
    """Bytes of a size like ``"4GiB"``, ``"64M"``, ``"1.5 TiB"`` or ``"4096"``; units are powers of 1024.

    Raises
    ------
    InvalidArgument
        Not a size, or not a whole number of bytes.
    """
    match = _SIZE.fullmatch(text)
    if match is None:
        raise InvalidArgument(f"{text!r} is not a size; write it like 64MiB or 4GiB")
    number, unit = match.groups()
    factor = next(f for name, f in _UNITS.items() if name[0] == (unit or "B")[0].upper())
    whole, _, fraction = number.partition(".")
    scale: int = 10 ** len(fraction)
    scaled = int(whole + fraction) * factor
    size, rest = divmod(scaled, scale)
    if rest:
        raise InvalidArgument(f"{text!r} is not a whole number of bytes")
    return size


def format_size(n_bytes: int) -> str:
    """A size for people: the largest unit that it is at least one of, with up to one decimal.

    >>> format_size(4 << 30), format_size(1536), format_size(0)
    ('4 GiB', '1.5 KiB', '0 B')
    """
    for unit, factor in reversed(_UNITS.items()):
        if n_bytes >= factor:
            return f"{n_bytes / factor:.1f}".removesuffix(".0") + f" {unit}"
    return f"{n_bytes} B"
