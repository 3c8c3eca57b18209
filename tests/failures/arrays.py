"""An array that there is no memory for: numpy asks the handler that is put in place here (NEP 49), with the GIL or without."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import numpy as np
from numba import carray, cfunc, types

__all__ = ["nth_array_fails"]

_SET_HANDLER, _GET_HANDLER = 304, 305  # places in numpy's table of C functions
_NAME = b"mem_handler"


class _Handler(ctypes.Structure):
    """``PyDataMem_Handler``, version 1; what is called gets the context."""

    _fields_ = (
        ("name", ctypes.c_char * 127), ("version", ctypes.c_uint8), ("context", ctypes.c_void_p),
        ("malloc", ctypes.c_void_p), ("calloc", ctypes.c_void_p), ("realloc", ctypes.c_void_p), ("free", ctypes.c_void_p),
    )  # fmt: skip


_new = ctypes.pythonapi.PyCapsule_New
_new.restype, _new.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype, _pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
_numpy = import_module(f"numpy.{'_core' if hasattr(np, '_core') else 'core'}._multiarray_umath")
_table = ctypes.cast(_pointer(_numpy._ARRAY_API, None), ctypes.POINTER(ctypes.c_void_p))
_set = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.py_object)(_table[_SET_HANDLER])
_get = ctypes.PYFUNCTYPE(ctypes.py_object)(_table[_GET_HANDLER])

_OWN = _Handler.from_address(_pointer(_get(), _NAME))
_LEFT = np.zeros(1, np.int64)  # arrays up to the one that fails
_size, _count = types.uintp, types.CPointer(types.int64)
_two, _three = (ctypes.CFUNCTYPE(ctypes.c_size_t, *[ctypes.c_size_t] * n) for n in (2, 3))
_own_malloc, _own_calloc, _own_realloc = _two(_OWN.malloc), _three(_OWN.calloc), _three(_OWN.realloc)


@cfunc(_size(_count, _size))  # type: ignore[untyped-decorator]
def _malloc(left: Any, n: int) -> Any:
    count = carray(left, 1)
    count[0] -= 1
    return 0 if count[0] == 0 else _own_malloc(0, n)


@cfunc(_size(_count, _size, _size))  # type: ignore[untyped-decorator]
def _calloc(left: Any, n: int, size: int) -> Any:
    count = carray(left, 1)
    count[0] -= 1
    return 0 if count[0] == 0 else _own_calloc(0, n, size)


@cfunc(_size(_count, _size, _size))  # type: ignore[untyped-decorator]
def _realloc(left: Any, address: int, n: int) -> Any:
    count = carray(left, 1)
    count[0] -= 1
    return 0 if count[0] == 0 else _own_realloc(0, address, n)


# For ever: arrays that were made with it know it. They are freed by what is numpy's own.
_HANDLER = _Handler(b"npt_failing", 1, _LEFT.ctypes.data, _malloc.address, _calloc.address, _realloc.address, _OWN.free)
_CAPSULE = _new(ctypes.addressof(_HANDLER), _NAME, None)


@contextmanager
def nth_array_fails(n: int) -> Iterator[np.ndarray[Any, np.dtype[np.int64]]]:
    """There is no memory for the n-th array; the number yielded is positive as long as it was not wanted."""
    _LEFT[0] = n
    before = _set(_CAPSULE)
    try:
        yield _LEFT
    finally:
        _set(before)
