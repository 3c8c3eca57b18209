"""Rounds in a file: an ``.npz`` of the form ``npt-dirty-log/1``.

Theory of operation
-------------------
The file is a zip of ``.npy`` members that are not compressed (rounds are kept compact as it is), all numbers little-endian:

========== ======== =========================================================================
member     type     what
========== ======== =========================================================================
format     U        ``npt-dirty-log/1``
range      u8 (2)   gpa and length, in bytes
forms      u1 (n)   of each round: 0 bits, 1 page numbers, 2 runs
sizes      u8 (n)   of each round: elements of ``bits`` or ``numbers`` that are its own
counts     u8 (n)   pages of each round
generations u8 (n)  generation of each round
times_ns   u8 (n)   instant of each round
gaps       b1 (n)   whether a round comes after a gap; 0 or 1
bits       u1       bitmaps of the rounds of form 0, one after the other
numbers    u4 or u8 page numbers, or first page and number of pages in turn, of the others; u8 from 2**32 pages on
========== ======== =========================================================================

A file is not believed: the checksums of the zip tell what was cut off or damaged; members that are missing, more or
compressed, other types and shapes, and rounds that do not fit their counts, their range or each other are refused. What says
the same is taken: the form's name in either byte order, members in another order, and what stands before or behind the zip,
which no reader of zips looks at. No array is made of a file that is larger than the file.
"""

import io
import os
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npt._files import write_whole
from npt.dirty.bitmap import count
from npt.dirty.packed import Entry, Form, Packed, number_type
from npt.errors import InvalidArgument, Unreadable
from npt.units import PAGE_SHIFT, as_range, bitmap_bytes

__all__ = ["FORMAT", "read", "write"]

FORMAT = "npt-dirty-log/1"
_FAMILY = "npt-dirty-log/"
_SPACE_END = 1 << 47
_EACH = {"forms": "|u1", "sizes": "<u8", "counts": "<u8", "generations": "<u8", "times_ns": "<u8", "gaps": "|b1"}
_MEMBERS = ("format", "range", *_EACH, "bits", "numbers")
_Arrays = Mapping[str, NDArray[Any]]


class _Misfit(Exception):
    """Why a file is none of ours."""


def write(path: str | os.PathLike[str], gpa: int, length: int, entries: tuple[Entry, ...]) -> None:
    """Write rounds to a file, whole or not at all."""
    number = number_type(length >> PAGE_SHIFT).newbyteorder("<")
    packed = [entry.packed for entry in entries]
    arrays: dict[str, Any] = {
        "format": np.array(FORMAT, "<U"),
        "range": np.array([gpa, length], "<u8"),
        "forms": [each.form for each in packed],
        "sizes": [each.data.size for each in packed],
        "counts": [each.n_set for each in packed],
        "generations": [entry.generation for entry in entries],
        "times_ns": [entry.time_ns for entry in entries],
        "gaps": [entry.gap for entry in entries],
        "bits": _joined([each.data for each in packed if each.form is Form.BITS], "|u1"),
        "numbers": _joined([each.data for each in packed if each.form is not Form.BITS], number),
    }
    content, members = io.BytesIO(), dict[str, Any]()
    for name, array in arrays.items():
        members[name] = np.array(array, _EACH.get(name))
    np.savez(content, **members)
    write_whole(Path(path), content.getbuffer())


def _joined(parts: list[NDArray[Any]], dtype: Any) -> NDArray[Any]:
    return np.concatenate([np.empty(0, dtype), *parts], dtype=dtype)


def read(path: str | os.PathLike[str]) -> tuple[int, int, tuple[Entry, ...]]:
    """Range and rounds of a file.

    Raises
    ------
    InvalidArgument
        It is none of ours, whole.
    """
    content = Path(path).read_bytes()
    try:
        arrays = _arrays(content)
        _check_form(arrays)
        gpa, length = _as_range(arrays)
        return gpa, length, tuple(_entries(arrays, length >> PAGE_SHIFT))
    except _Misfit as misfit:
        raise Unreadable(f"{os.fspath(path)} is not a dirty log of the form {FORMAT}: {misfit}") from None


# -- the container ------------------------------------------------------------------------------------------------------


def _arrays(content: bytes) -> _Arrays:
    """All members; each is read whole first, so that its checksum is looked at before anything else."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            members = file.infolist()
            if any(member.compress_type != zipfile.ZIP_STORED for member in members):  # a small file may be huge
                raise _Misfit("it is compressed")
            names = sorted(member.filename for member in members)
            if names != sorted(f"{name}.npy" for name in _MEMBERS):
                raise _Misfit(f"it holds {', '.join(names) or 'nothing'}")
            return {member.filename.removesuffix(".npy"): _array(file.read(member)) for member in members}
    except _Misfit:
        raise
    except Exception as error:  # whatever zipfile and numpy make of bytes that are none of ours
        raise _Misfit(f"it is cut off, damaged or of another kind ({type(error).__name__}: {error})") from None


def _array(content: bytes) -> NDArray[Any]:
    """A member's array, over its bytes."""
    file = io.BytesIO(content)
    np.lib.format.read_magic(file)
    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    array: NDArray[Any] = np.frombuffer(content, dtype, offset=file.tell())  # no objects: that is refused
    return array.reshape(shape)


# -- what stands in it --------------------------------------------------------------------------------------------------


def _check_form(arrays: _Arrays) -> None:
    """Version, types and shapes."""
    name = arrays["format"]
    if name.shape != () or name.dtype.kind != "U":
        raise _Misfit("it names no form")
    if str(name) != FORMAT:
        raise _Misfit(f"it is of the form {str(name)!r}" + (", another version" if str(name).startswith(_FAMILY) else ""))
    n = arrays["forms"].size
    expected = {"range": ("<u8", 2), **{each: (dtype, n) for each, dtype in _EACH.items()}, "bits": ("|u1", None)}
    for each, (dtype, size) in expected.items():
        array = arrays[each]
        if array.dtype != np.dtype(dtype) or array.ndim != 1 or size not in (None, array.size):
            raise _Misfit(f"{each} is {array.dtype} of shape {array.shape}")

    if (arrays["gaps"].view(np.uint8) > 1).any():
        raise _Misfit("gaps holds bytes other than 0 and 1")


def _as_range(arrays: _Arrays) -> tuple[int, int]:
    gpa, length = (int(value) for value in arrays["range"])
    try:
        as_range(gpa, length)
    except InvalidArgument as error:
        raise _Misfit(str(error.strerror)) from None
    if gpa + length > _SPACE_END:
        raise _Misfit(f"the range {gpa:#x} + {length:#x} is in no space")
    numbers = arrays["numbers"]
    if numbers.dtype != number_type(length >> PAGE_SHIFT).newbyteorder("<") or numbers.ndim != 1:
        raise _Misfit(f"numbers is {numbers.dtype} of shape {numbers.shape}")
    return gpa, length


def _entries(arrays: _Arrays, n_pages: int) -> Iterator[Entry]:
    places = {"bits": 0, "numbers": 0}
    before = (0, 0)  # generation, time
    columns = zip(*(arrays[each].tolist() for each in _EACH), strict=True)
    for number, (form, size, n_set, generation, time_ns, gap) in enumerate(columns, 1):
        if form not in (0, 1, 2):
            raise _Misfit(f"round {number} is kept in the form {form}")
        if generation <= before[0] or time_ns < before[1]:
            raise _Misfit(f"round {number} is older than the round before it")
        before = generation, time_ns
        member = "numbers" if form else "bits"
        data = arrays[member][places[member] : places[member] + size]
        places[member] += size
        packed = Packed(Form(form), data.astype(data.dtype.newbyteorder("=")), n_set, n_pages)
        if not _fits(packed):
            raise _Misfit(f"round {number} does not say {n_set} of {n_pages} pages")
        packed.data.flags.writeable = False
        yield Entry(packed, generation, time_ns, gap)
    if any(arrays[member].size != place for member, place in places.items()):
        raise _Misfit("it holds more than its rounds, or less")


def _fits(packed: Packed) -> bool:
    """Whether a round's data is what its form wants, and as many pages as it says."""
    form, data, n_set, n_pages = packed
    if form is Form.BITS:
        return data.size == bitmap_bytes(n_pages) and count(data) == count(data, n_pages=n_pages) == n_set
    if form is Form.PAGES:
        return bool(data.size == n_set and (data[1:] > data[:-1]).all() and (n_set == 0 or int(data[-1]) < n_pages))
    return data.size % 2 == 0 and _are_runs(data[0::2], data[1::2], n_set, n_pages)


def _are_runs(firsts: NDArray[Any], sizes: NDArray[Any], n_set: int, n_pages: int) -> bool:
    """Whether these are maximal runs inside the range, by address, of so many pages."""
    if not firsts.size:
        return n_set == 0
    firsts, sizes = firsts.astype(np.uint64), sizes.astype(np.uint64)
    limit = np.uint64(n_pages)
    if (firsts >= limit).any() or (sizes == 0).any() or (sizes > limit - firsts).any():
        return False
    return bool((firsts[1:] > firsts[:-1] + sizes[:-1]).all()) and int(sizes.sum()) == n_set
