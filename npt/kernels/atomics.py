"""Single instructions that numba has no words for: atomic words, vector tests, bit counts, page copies.

Theory of operation
-------------------
Each is an intrinsic that emits one LLVM instruction on an element of a ``uint64`` array (or a run of bytes; load, store
and compare-and-swap also take ``uint8`` arrays), sequentially consistent where it is atomic: x86 is not the only machine.
Where a result is not needed there is a form without one, because LLVM makes a compare-exchange loop of an and/or whose old
value is used. Under ``NUMBA_BOUNDSCHECK=1`` indices are checked here as they are elsewhere. With ``NUMBA_DISABLE_JIT=1`` the
plain Python twins at the end of the file stand in.

Guarantees: no torn and no lost update of an aligned element between threads.
Relies on:  arrays that are C-contiguous and aligned; indices of type ``uint64``.
"""

import ctypes
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from npt._types import U8Array, U64Array
from npt.kernels.jit import DISABLED

__all__ = [
    "any64",
    "atomic_add",
    "atomic_cas",
    "atomic_clear",
    "atomic_load",
    "atomic_or",
    "atomic_store",
    "atomic_xchg",
    "clear8",
    "copy_bytes",
    "ctz",
    "fence",
    "fill64",
    "load_at",
    "load_word",
    "mask64",
    "popcount",
    "prefetch",
    "publish",
    "zero_bytes",
]

_I1, _I8, _I64 = ir.IntType(1), ir.IntType(8), ir.IntType(64)
_LANES = 8  # of a test vector: one AVX-512 register, two AVX2, four SSE2 or NEON
_GROUP = 64  # entries that one bitmap word stands for
_PREFETCH = 0, 3, 1  # for reading (for writing would take the line away from other vCPUs), to the nearest cache, data
_VECTOR = ir.VectorType(_I64, _LANES)
_Word = TypeVar("_Word", np.uint64, np.uint8)


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, index: Any, last: Any = 0) -> Any:
    """Address of an element; under bounds checks, ``index`` to ``index + last`` must all be inside."""
    made = context.make_array(array_type)(context, builder, array)
    checked = context.enable_boundscheck
    if checked and last != 0:
        end = builder.add(index, ir.Constant(_I64, last) if isinstance(last, int) else last)
        cgutils.get_item_pointer(context, builder, array_type, made, [end], wraparound=False, boundscheck=True)
    return cgutils.get_item_pointer(context, builder, array_type, made, [index], wraparound=False, boundscheck=checked)


def _is_u64s(*array_types: Any) -> bool:
    return all(isinstance(a, types.Array) and a.dtype == types.uint64 and a.layout == "C" for a in array_types)


def _is_words(array_type: Any, *others: Any) -> bool:
    """A C array of ``uint64`` or ``uint8``, and the others of that type."""
    good = isinstance(array_type, types.Array) and array_type.layout == "C" and array_type.dtype in (types.uint64, types.uint8)
    return good and all(other == array_type.dtype for other in others)


def _require(good: bool, message: str) -> None:
    if not good:
        raise TypeError(message)  # while compiling: a kernel was written wrongly


if TYPE_CHECKING or DISABLED:
    # The same in plain Python: for people who debug, and for the type checker.

    def atomic_load(array: NDArray[_Word], index: np.uint64) -> _Word:
        """Read an element once, here and now."""
        return array.dtype.type(array[index])

    def load_at(address: np.uint64) -> np.uint64:
        """Read the word at an address, as ``atomic_load`` reads an element; nobody checks the address."""
        return np.uint64(ctypes.c_uint64.from_address(int(address)).value)

    def atomic_store(array: NDArray[_Word], index: np.uint64, value: _Word) -> None:
        """Write an element; what was written before is seen before it."""
        array[index] = value

    def fence() -> None:
        """No load or store passes this, whatever it is."""

    def publish(array: U64Array, index: np.uint64, value: np.uint64) -> None:
        """Write an element; who sees it sees all that was written before. Cheaper than ``atomic_store``."""
        array[index] = value

    def atomic_or(array: U64Array, index: np.uint64, bits: np.uint64) -> None:
        """Set bits of an element."""
        array[index] |= bits

    def atomic_clear(array: U64Array, index: np.uint64, bits: np.uint64) -> None:
        """Clear bits of an element."""
        array[index] &= ~bits

    def atomic_xchg(array: U64Array, index: np.uint64, value: np.uint64) -> np.uint64:
        """Put a value in and return what was there."""
        before = np.uint64(array[index])
        array[index] = value
        return before

    def atomic_add(array: U64Array, index: np.uint64, value: np.uint64) -> None:
        """Add to an element, modulo 2**64."""
        array[index] = (int(array[index]) + int(value)) % 2**64

    def atomic_cas(array: NDArray[_Word], index: np.uint64, expected: _Word, value: _Word) -> bool:
        """Put a value in if the expected one is there; say whether it was."""
        if array[index] != expected:
            return False
        array[index] = value
        return True

    def mask64(array: U64Array, first: np.uint64, bits: np.uint64) -> np.uint64:
        """Word whose bit k says whether element ``first + k`` has any of ``bits``; 64 elements."""
        i = int(first)
        return np.uint64(np.packbits((array[i : i + _GROUP] & bits) != 0, bitorder="little").view(np.uint64)[0])

    def any64(array: U64Array, first: np.uint64, bits: np.uint64) -> bool:
        """Whether any of 64 elements has any of ``bits``: a third of the work of ``mask64``, for what is mostly clean."""
        return bool(np.bitwise_or.reduce(array[int(first) : int(first) + _GROUP]) & bits)

    def fill64(array: U64Array, first: np.uint64, value: np.uint64, step: np.uint64) -> None:
        """Store ``value + k * step`` in element ``first + k``, for 64 elements."""
        i = int(first)
        array[i : i + _GROUP] = value + np.arange(_GROUP, dtype=np.uint64) * step

    def clear8(array: U64Array, first: np.uint64, bits: np.uint64) -> None:
        """Clear bits of 8 elements, by plain stores: nobody else may be changing them."""
        array[int(first) : int(first) + _LANES] &= ~bits

    def load_word(array: U8Array, at: np.uint64) -> np.uint64:
        """Eight bytes as one word, the first of them lowest; ``at`` need not be a multiple of anything."""
        return np.uint64(int.from_bytes(array[int(at) : int(at) + 8].tobytes(), "little"))

    def popcount(word: np.uint64) -> np.uint64:
        """How many bits are set."""
        return np.uint64(int(word).bit_count())

    def ctz(word: np.uint64) -> np.uint64:
        """Number of the lowest set bit of a word that is not zero."""
        return np.uint64((int(word) & -int(word)).bit_length() - 1)

    def prefetch(array: U64Array, index: np.uint64) -> None:
        """Have an element brought near, for reading; nothing waits for it."""

    def copy_bytes(target: U8Array, to: np.uint64, source: U8Array, at: np.uint64, n_bytes: np.uint64) -> None:
        """Copy ``source[at : at + n_bytes]`` to ``target[to:]``; they must not overlap."""
        target[int(to) : int(to) + int(n_bytes)] = source[int(at) : int(at) + int(n_bytes)]

    def zero_bytes(target: U8Array, to: np.uint64, n_bytes: np.uint64) -> None:
        """Zero ``target[to : to + n_bytes]``."""
        target[int(to) : int(to) + int(n_bytes)] = 0

else:

    @intrinsic
    def atomic_load(typing_context, array, index):
        _require(_is_words(array) and index == types.uint64, "atomic_load: array of words, uint64 index")

        def build(context, builder, signature, arguments):
            place = _pointer(context, builder, signature.args[0], *arguments)
            bits = signature.return_type.bitwidth
            return builder.load_atomic(place, "seq_cst", bits // 8, typ=ir.IntType(bits))

        return array.dtype(array, index), build

    @intrinsic
    def load_at(typing_context, address):
        _require(address == types.uint64, "load_at: uint64")

        def build(context, builder, signature, arguments):
            place = builder.inttoptr(arguments[0], _I64.as_pointer())
            return builder.load_atomic(place, "seq_cst", 8, typ=_I64)

        return types.uint64(address), build

    @intrinsic
    def atomic_store(typing_context, array, index, value):
        _require(_is_words(array, value) and index == types.uint64, "atomic_store: array of words, uint64 index")

        def build(context, builder, signature, arguments):
            place = _pointer(context, builder, signature.args[0], *arguments[:2])
            builder.store_atomic(arguments[2], place, "seq_cst", signature.args[2].bitwidth // 8)
            return context.get_dummy_value()

        return types.void(array, index, value), build

    @intrinsic
    def fence(typing_context):
        def build(context, builder, signature, arguments):
            builder.fence("seq_cst")
            return context.get_dummy_value()

        return types.void(), build

    @intrinsic
    def publish(typing_context, array, index, value):
        _require(_is_u64s(array) and index == value == types.uint64, "publish: uint64 throughout")

        def build(context, builder, signature, arguments):
            place = _pointer(context, builder, signature.args[0], *arguments[:2])
            builder.store_atomic(arguments[2], place, "release", 8)
            return context.get_dummy_value()

        return types.void(array, index, value), build

    def _rmw(operation: str, *, result: bool, invert: bool = False):
        """An intrinsic for one atomic read-modify-write."""

        def typed(typing_context, array, index, value):
            _require(_is_u64s(array) and index == value == types.uint64, f"atomic {operation}: uint64 throughout")

            def build(context, builder, signature, arguments):
                place = _pointer(context, builder, signature.args[0], *arguments[:2])
                operand = builder.not_(arguments[2]) if invert else arguments[2]
                before = builder.atomic_rmw(operation, place, operand, "seq_cst")
                return before if result else context.get_dummy_value()

            return (types.uint64 if result else types.void)(array, index, value), build

        return intrinsic(typed)

    atomic_or = _rmw("or", result=False)
    atomic_clear = _rmw("and", result=False, invert=True)
    atomic_add = _rmw("add", result=False)
    atomic_xchg = _rmw("xchg", result=True)

    @intrinsic
    def atomic_cas(typing_context, array, index, expected, value):
        _require(_is_words(array, expected, value) and index == types.uint64, "atomic_cas: array of words, uint64 index")

        def build(context, builder, signature, arguments):
            place = _pointer(context, builder, signature.args[0], *arguments[:2])
            pair = builder.cmpxchg(place, arguments[2], arguments[3], "seq_cst", "seq_cst")
            return builder.extract_value(pair, 1)

        return types.boolean(array, index, expected, value), build

    @intrinsic
    def mask64(typing_context, array, first, bits):
        _require(_is_u64s(array) and first == bits == types.uint64, "mask64: uint64 throughout")

        def build(context, builder, signature, arguments):
            place = _pointer(context, builder, signature.args[0], *arguments[:2], last=_GROUP - 1)
            wanted = ir.Constant(_VECTOR, ir.Undefined)
            for lane in range(_LANES):
                wanted = builder.insert_element(wanted, arguments[2], ir.Constant(ir.IntType(32), lane))
            word = ir.Constant(_I64, 0)
            vectors = builder.bitcast(place, _VECTOR.as_pointer())
            for step in range(_GROUP // _LANES):
                at = builder.gep(vectors, [ir.Constant(_I64, step)], source_etype=_VECTOR)
                entries = builder.load(at, align=8, typ=_VECTOR)
                hit = builder.icmp_unsigned("!=", builder.and_(entries, wanted), ir.Constant(_VECTOR, [0] * _LANES))
                lanes = builder.zext(builder.bitcast(hit, _I8), _I64)
                word = builder.or_(word, builder.shl(lanes, ir.Constant(_I64, step * _LANES)))
            return word

        return types.uint64(array, first, bits), build

    @intrinsic
    def any64(typing_context, array, first, bits):
        _require(_is_u64s(array) and first == bits == types.uint64, "any64: uint64 throughout")

        def build(context, builder, signature, arguments):
            place = _pointer(context, builder, signature.args[0], *arguments[:2], last=_GROUP - 1)
            vectors = builder.bitcast(place, _VECTOR.as_pointer())
            either = ir.Constant(_VECTOR, [0] * _LANES)
            for step in range(_GROUP // _LANES):
                at = builder.gep(vectors, [ir.Constant(_I64, step)], source_etype=_VECTOR)
                either = builder.or_(either, builder.load(at, align=8, typ=_VECTOR))
            wanted = ir.Constant(_VECTOR, ir.Undefined)
            for lane in range(_LANES):
                wanted = builder.insert_element(wanted, arguments[2], ir.Constant(ir.IntType(32), lane))
            hit = builder.icmp_unsigned("!=", builder.and_(either, wanted), ir.Constant(_VECTOR, [0] * _LANES))
            return builder.icmp_unsigned("!=", builder.bitcast(hit, _I8), ir.Constant(_I8, 0))

        return types.boolean(array, first, bits), build

    @intrinsic
    def fill64(typing_context, array, first, value, step):
        _require(_is_u64s(array) and first == value == step == types.uint64, "fill64: uint64 throughout")

        def build(context, builder, signature, arguments):
            place = _pointer(context, builder, signature.args[0], *arguments[:2], last=_GROUP - 1)
            vectors = builder.bitcast(place, _VECTOR.as_pointer())
            entries = ir.Constant(_VECTOR, ir.Undefined)
            strides = ir.Constant(_VECTOR, ir.Undefined)
            for lane in range(_LANES):
                where = ir.Constant(ir.IntType(32), lane)
                offset = builder.mul(arguments[3], ir.Constant(_I64, lane))
                entries = builder.insert_element(entries, builder.add(arguments[2], offset), where)
                strides = builder.insert_element(strides, builder.mul(arguments[3], ir.Constant(_I64, _LANES)), where)
            for vector in range(_GROUP // _LANES):
                at = builder.gep(vectors, [ir.Constant(_I64, vector)], source_etype=_VECTOR)
                builder.store(entries, at, align=8)
                entries = builder.add(entries, strides)
            return context.get_dummy_value()

        return types.void(array, first, value, step), build

    @intrinsic
    def clear8(typing_context, array, first, bits):
        _require(_is_u64s(array) and first == bits == types.uint64, "clear8: uint64 throughout")

        def build(context, builder, signature, arguments):
            place = _pointer(context, builder, signature.args[0], *arguments[:2], last=_LANES - 1)
            kept = ir.Constant(_VECTOR, ir.Undefined)
            for lane in range(_LANES):
                kept = builder.insert_element(kept, builder.not_(arguments[2]), ir.Constant(ir.IntType(32), lane))
            vector = builder.bitcast(place, _VECTOR.as_pointer())
            builder.store(builder.and_(builder.load(vector, align=8, typ=_VECTOR), kept), vector, align=8)
            return context.get_dummy_value()

        return types.void(array, first, bits), build

    @intrinsic
    def load_word(typing_context, array, at):
        good = isinstance(array, types.Array) and array.dtype == types.uint8 and array.layout == "C" and at == types.uint64
        _require(good, "load_word: uint8 array, uint64 index")

        def build(context, builder, signature, arguments):
            place = _pointer(context, builder, signature.args[0], *arguments, last=7)
            return builder.load(builder.bitcast(place, _I64.as_pointer()), align=1, typ=_I64)

        return types.uint64(array, at), build

    @intrinsic
    def popcount(typing_context, word):
        _require(word == types.uint64, "popcount: uint64")

        def build(context, builder, signature, arguments):
            return builder.ctpop(arguments[0])

        return types.uint64(word), build

    @intrinsic
    def ctz(typing_context, word):
        _require(word == types.uint64, "ctz: uint64")

        def build(context, builder, signature, arguments):
            return builder.cttz(arguments[0], ir.Constant(_I1, 1))

        return types.uint64(word), build

    @intrinsic
    def prefetch(typing_context, array, index):
        _require(_is_u64s(array) and index == types.uint64, "prefetch: uint64 array, uint64 index")

        def build(context, builder, signature, arguments):
            place = builder.bitcast(_pointer(context, builder, signature.args[0], *arguments), _I8.as_pointer())
            word = ir.IntType(32)
            hint = ir.FunctionType(ir.VoidType(), [place.type, word, word, word])
            function = builder.module.declare_intrinsic("llvm.prefetch", [place.type], hint)
            builder.call(function, [place, *(ir.Constant(word, how) for how in _PREFETCH)])
            return context.get_dummy_value()

        return types.void(array, index), build

    @intrinsic
    def copy_bytes(typing_context, target, to, source, at, n_bytes):
        def build(context, builder, signature, arguments):
            target_type, _, source_type, _, _ = signature.args
            target, to, source, at, n_bytes = arguments
            last = builder.sub(n_bytes, ir.Constant(_I64, 1))
            into = _pointer(context, builder, target_type, target, to, last)
            out_of = _pointer(context, builder, source_type, source, at, last)
            cgutils.raw_memcpy(builder, into, out_of, n_bytes, 1)
            return context.get_dummy_value()

        return types.void(target, to, source, at, n_bytes), build

    @intrinsic
    def zero_bytes(typing_context, target, to, n_bytes):
        def build(context, builder, signature, arguments):
            last = builder.sub(arguments[2], ir.Constant(_I64, 1))
            into = _pointer(context, builder, signature.args[0], *arguments[:2], last)
            cgutils.memset(builder, into, arguments[2], 0)
            return context.get_dummy_value()

        return types.void(target, to, n_bytes), build
