"""What the contract says of arguments: numbers, ranges, protections, arrays, bitmaps.

Types are told before a stale handle, and values after it. So what can be wrong in both ways has two functions here: one that
looks at the type, and one that looks at the value.
"""

import operator
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from npt._types import Prot
from npt.errors import AddressOverflow, BeyondSpace, InvalidArgument

__all__ = [
    "NO_PFN",
    "PAGE_SIZE",
    "Handle",
    "address",
    "addresses",
    "aligned",
    "bitmap",
    "bitmap_type",
    "byte_range",
    "bytes_like",
    "check_aligned",
    "flag",
    "flags",
    "inside",
    "integer",
    "integers",
    "length_of",
    "natural",
    "number",
    "numbers",
    "pages_of",
    "protection",
    "range_of",
    "written",
]  # fmt: skip

PAGE_SIZE = 4096
NO_PFN = 2**64 - 1
_END = 2**64


class Handle:
    """A thing of this process: it can be neither copied nor pickled."""

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"a {type(self).__name__} cannot be copied or pickled")


# -- one number ---------------------------------------------------------------------------------------------------------


def integer(value: Any, name: str) -> int:
    """Any integer, also numpy's; but neither a bool nor a float."""
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be an integer, not a bool")
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, not {type(value).__name__}") from None


def integers(**values: Any) -> None:
    """All of these are integers."""
    for name, value in values.items():
        integer(value, name)


def number(value: Any, name: str) -> float:
    """Any number but a bool; one that is too large is infinite."""
    is_number = hasattr(value, "__float__") or hasattr(value, "__index__")
    if isinstance(value, (bool, np.bool_, str, bytes)) or not is_number:
        raise TypeError(f"{name} must be a number, not {type(value).__name__}")
    try:
        return float(value)
    except OverflowError:
        return float("inf")


def flag(value: Any, name: str) -> bool:
    """A bool, and nothing that only looks like one."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be a bool, not {type(value).__name__}")
    return bool(value)


def natural(value: Any, name: str) -> int:
    """An integer that is not negative."""
    n = integer(value, name)
    if n < 0:
        raise InvalidArgument(f"{name} {n} is negative")
    return n


def address(value: Any, name: str = "gpa") -> int:
    """A byte address, below 2**64."""
    gpa = integer(value, name)
    if not 0 <= gpa < _END:
        raise InvalidArgument(f"{name} {gpa:#x} is not a 64-bit address")
    return gpa


def aligned(value: Any, name: str = "gpa") -> int:
    """The address of a page's first byte."""
    gpa = address(value, name)
    if gpa % PAGE_SIZE:
        raise InvalidArgument(f"{name} {gpa:#x} is not page-aligned")
    return gpa


def length_of(value: Any, name: str = "length") -> int:
    """Whole pages, at least one; in bytes."""
    length = integer(value, name)
    if length <= 0 or length % PAGE_SIZE:
        raise InvalidArgument(f"{name} {length:#x} is not one page or more, whole ones")
    return length


def pages_of(value: Any, name: str) -> int:
    """Whole pages, or none; in bytes."""
    n_bytes = integer(value, name)
    if n_bytes < 0 or n_bytes % PAGE_SIZE:
        raise InvalidArgument(f"{name} {n_bytes:#x} is not whole pages")
    return n_bytes


def protection(value: Any, needs: int) -> Prot:
    """A protection that has one of ``needs`` at least."""
    prot = integer(value, "prot")
    if not 0 < prot <= 7 or not prot & needs:
        raise InvalidArgument(f"prot {prot:#x} cannot be asked for here")
    return Prot(prot)


# -- ranges -------------------------------------------------------------------------------------------------------------


def range_of(gpa: Any, length: Any, name: str = "gpa") -> tuple[int, int]:
    """A range of whole pages that ends below 2**64."""
    gpa, length = aligned(gpa, name), length_of(length)
    if gpa + length >= _END:
        raise AddressOverflow(f"{name} {gpa:#x} + {length:#x} reaches 2**64")
    return gpa, length


def byte_range(gpa: Any, n: Any) -> tuple[int, int]:
    """Any number of bytes from any address on; may be none."""
    gpa, n = address(gpa), address(n, "n")
    if gpa + n >= _END:
        raise AddressOverflow(f"{gpa:#x} + {n:#x} reaches 2**64")
    return gpa, n


def inside(gpa: int, length: int, size: int) -> None:
    """A range does not reach past the end of its space."""
    if gpa + length > size:
        raise BeyondSpace(f"{gpa:#x} + {length:#x} reaches past the end of the space, {size:#x}")


# -- arrays of numbers --------------------------------------------------------------------------------------------------


def numbers(values: Any, name: str) -> Any:
    """Something made of integers: a list of ints, or an array of another shape than a list's. Values are looked at later."""
    try:
        array = np.asarray(values)
    except ValueError:
        raise TypeError(f"{name} must be an array of integers, not ragged") from None
    if not isinstance(values, np.ndarray) and array.ndim == 1:  # numpy may have made floats of them
        return [integer(value, name) for value in values]
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} must be an array of integers, not of {array.dtype}")
    return array.tolist() if array.ndim == 1 else array


def addresses(values: Any, name: str = "gpas") -> list[int]:
    """What ``numbers`` gave, one-dimensional and each below 2**64."""
    if not isinstance(values, list):
        raise InvalidArgument(f"{name} must be one-dimensional")
    return [address(value, name) for value in values]


def check_aligned(gpas: list[int]) -> None:
    """Each of these is the address of a page's first byte."""
    for gpa in gpas:
        aligned(gpa, "gpas")


def flags(value: Any, name: str) -> NDArray[np.bool_]:
    """A bool, or an array of bools of some shape."""
    try:
        array = np.asarray(value)
    except ValueError:
        raise TypeError(f"{name} must be a bool or an array of bools, not ragged") from None
    if isinstance(value, (list, tuple)) and not array.size:
        return array.astype(np.bool_)
    if array.dtype != np.bool_:
        raise TypeError(f"{name} must be a bool or an array of bools, not of {array.dtype}")
    return array


# -- bitmaps and bytes --------------------------------------------------------------------------------------------------


def bitmap_type(value: Any, name: str) -> None:
    """An array of ``uint8``."""
    if not isinstance(value, np.ndarray) or isinstance(value, np.ma.MaskedArray) or value.dtype != np.uint8:
        raise TypeError(f"{name} must be an array of uint8, not {type(value).__name__}")


def bitmap(value: NDArray[np.uint8], n_pages: int, name: str) -> None:
    """A bitmap with a bit for each page, or more."""
    if value.ndim != 1 or value.size < (n_pages + 7) // 8:
        raise InvalidArgument(f"{name} of shape {value.shape} is no bitmap of {n_pages} pages")


def written(array: NDArray[Any], name: str, windows: list[NDArray[np.uint8]]) -> None:
    """An array that may be written to: in one piece, writable, and no memory of the guest."""
    if not (array.flags.c_contiguous and array.flags.writeable and array.flags.aligned):
        raise InvalidArgument(f"{name} must be contiguous and writable")
    if any(np.may_share_memory(array, window) for window in windows):
        raise InvalidArgument(f"{name} must not be memory of a guest")


def bytes_like(data: Any) -> bytes:
    """A copy of the bytes of anything that has some."""
    try:
        view = memoryview(data)
    except (TypeError, ValueError):
        raise TypeError(f"data must be bytes-like, not {type(data).__name__}") from None
    if "O" in view.format:
        raise TypeError("data must be bytes-like, not an array of objects")
    return view.tobytes()
