"""``Accesses``: what a vCPU is asked to do, checked."""

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from npt._types import Prot, U8Array, U64Array
from npt.errors import InvalidArgument
from npt.space.client import VmClient
from npt.units import as_integers, as_u64, check_unmasked, is_masked

__all__ = ["Accesses", "check"]

_Words = TypeVar("_Words", U64Array, U8Array)

_NOTHING = np.empty(0, np.uint64)
_PROTS = (Prot.READ, Prot.WRITE, Prot.EXEC)  # by kind
_WRITE, _EXECUTE = 1, 2
_OF_ONE_KIND = tuple(np.full(1, kind, np.uint8) for kind in range(3))
_VALUE_BYTES = 8


@dataclass(frozen=True, eq=False)
class Accesses:
    """A guest's accesses, in order.

    Attributes
    ----------
    gpas : numpy.ndarray
        Addresses; ``uint64``, shape ``(n,)``.
    kinds : numpy.ndarray
        0 read, 1 write, 2 execute; ``uint8``, shape ``(n,)``, or ``(1,)`` where all are of one kind.
    values, loads : numpy.ndarray
        What writes store and reads load; ``uint64``, shape ``(n,)``, or empty.
    """

    gpas: U64Array
    kinds: U8Array
    values: U64Array
    loads: U64Array

    def prot(self, i: int) -> Prot:
        """What access ``i`` needs."""
        return _PROTS[min(int(self.kinds[i if self.kinds.size > 1 else 0]), _EXECUTE)]


def check(client: VmClient, gpas: Any, write: Any, execute: Any, values: Any, into: Any) -> Accesses:
    """Types, stale handle, values: in this order; large arrays are read no more often than that takes."""
    addresses = as_integers(gpas, "gpas")
    stores = None if values is None else as_integers(values, "values")
    flags = _as_flags(write, "write"), _as_flags(execute, "execute")
    if into is not None and (not isinstance(into, np.ndarray) or is_masked(into) or into.dtype != np.uint64):
        raise TypeError("into must be a numpy array of uint64")
    client.gate.check_usable()
    addresses = as_u64(addresses, "gpas")
    kinds = _as_kinds(*flags, addresses.size)
    stored = _NOTHING if stores is None else as_u64(stores, "values")
    if stores is not None:
        _check_words(stored, addresses, kinds, _WRITE, "values")
    if into is not None:
        _check_words(into, addresses, kinds, 0, "into")
        _check_into(client, into)
        addresses, stored = _apart(addresses, into), _apart(stored, into)
        kinds = _apart(kinds, into)
    client.gate.refuse()
    return Accesses(addresses, kinds, stored, _NOTHING if into is None else into)


def _apart(array: _Words, into: U64Array) -> _Words:
    """The same where loads cannot change it."""
    return array.copy() if np.may_share_memory(array, into) else array


def _check_into(client: VmClient, into: U64Array) -> None:
    if not (into.flags.c_contiguous and into.flags.writeable and into.flags.aligned):
        raise InvalidArgument("into must be contiguous, aligned and writable")
    core = client.core
    if any(np.may_share_memory(into, own) for own in (core.memory, *core.table.levels)):
        raise InvalidArgument("into must not be memory of the tables or of the reservoir")


def _as_flags(flag: Any, name: str) -> np.ndarray[Any, Any]:
    """A bool, or bools, as an array of none or of some dimensions."""
    check_unmasked(flag, name, "a bool or an array of bools")
    try:
        array = np.asarray(flag)
    except ValueError:
        raise TypeError(f"{name} must be a bool or an array of bools, not a ragged sequence") from None
    if not array.size and not isinstance(flag, np.ndarray):
        return array.astype(np.bool_)  # numpy makes floats of []
    if array.dtype != np.bool_:
        raise TypeError(f"{name} must be a bool or an array of bools, not {array.dtype}")
    return array


def _as_kinds(write: np.ndarray[Any, Any], execute: np.ndarray[Any, Any], n: int) -> U8Array:
    """Kind of each access, or of all."""
    for flags, name in ((write, "write"), (execute, "execute")):
        if flags.ndim and flags.shape != (n,):
            raise InvalidArgument(f"{name} has shape {flags.shape}; there are {n} accesses")
    if write.ndim == execute.ndim == 0 and not (write and execute):
        return _OF_ONE_KIND[_WRITE if write else _EXECUTE if execute else 0]
    if execute.ndim == 0 and not execute:
        return _bytes(write).copy()  # the caller's may change: an access is one kind throughout
    kinds = _bytes(write) + _bytes(execute) * np.uint8(_EXECUTE)
    if n and int(kinds.max()) > _EXECUTE:
        raise InvalidArgument("an access cannot both write and execute")
    return np.ascontiguousarray(np.broadcast_to(kinds, (n,)))


def _bytes(flags: np.ndarray[Any, Any]) -> U8Array:
    """The same as zeros and ones."""
    numbers: U8Array = np.ascontiguousarray(flags).view(np.uint8)
    if numbers.size and int(numbers.max()) > 1:  # somebody's bytes, viewed as bools
        numbers = (numbers != 0).view(np.uint8)
    return numbers if flags.ndim else numbers.reshape(())


def _check_words(words: U64Array, gpas: U64Array, kinds: U8Array, kind: int, name: str) -> None:
    """One word an access, at addresses that are multiples of 8 where it is used."""
    if words.shape != gpas.shape:
        raise InvalidArgument(f"{name} has shape {words.shape}; there are {gpas.size} accesses")
    if int(np.bitwise_or.reduce(gpas, initial=np.uint64(0))) % _VALUE_BYTES == 0:
        return
    odd = (kinds == kind) & (gpas % np.uint64(_VALUE_BYTES) != 0)
    if odd.any():
        raise InvalidArgument(f"{name}: the address {int(gpas[odd.argmax()]):#x} is not a multiple of 8")
