"""One call of the contract, as data: what is called, on which thing, with what; and its form in a line of JSON.

The form
--------
A call is an object with these keys; those that say nothing are left out:

==========  ===============================================================================================================
``call``    Name: ``VmSpace.map``; ``Reservoir``, ``VmSpace``, ``MmioObject``, ``Vcpu``, ``Vm`` for making one; a property is
            called by its name, too (``VmSpace.generation``); ``view.read``, ``view.write``, ``view.drop`` are what is done
            with an array that ``readable`` or ``writable`` returned, and ``forget`` drops a thing without ending it.
``on``      Name of the thing whose method it is.
``args``    Its arguments by their names.
``new``     Name that the thing gets which it makes. Names are never used again.
``inside``  For each callback that comes during the call, in order: the calls it makes. ``{"call": "raise"}`` makes it fail.
==========  ===============================================================================================================

Values, in arguments and in results, are JSON's own, and these objects with one key:

============  =============================================================================================================
``thing``     something that was made, by its name
``int``       an integer of 2**53 or more, or under -(2**53), as a hex string
``hex``       bytes
``bits``      a ``uint8`` array, as hex
``pages``     a ``uint8`` array of pages, shape ``(n, 4096)``, as hex
``words``     a ``uint64`` array, as a list
``flags``     an array of bools, as a list
``slice``     three values
``format``    ``"EPT"`` or ``"NPT"``
``callback``  a function to be called back; always ``true``
``frame``     a host frame: ``[name of the object, page]``, or the number itself if it is no object's
============  =============================================================================================================
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from npt.formats import EPT, NPT

__all__ = ["Call", "plain", "value_of"]

_PAGE = 4096
_EXACT = 1 << 53  # in a double, which is what many readers of JSON make of a number


@dataclass(frozen=True)
class Call:
    """One call, as data; see the module for what its parts are."""

    name: str
    on: str | None = None
    args: Mapping[str, Any] = field(default_factory=dict)
    new: str | None = None
    inside: tuple[tuple["Call", ...], ...] = ()

    def line(self) -> dict[str, Any]:
        """Its form in JSON."""
        found: dict[str, Any] = {"call": self.name}
        if self.on is not None:
            found["on"] = self.on
        if self.args:
            found["args"] = dict(self.args)
        if self.new is not None:
            found["new"] = self.new
        if self.inside:
            found["inside"] = [[call.line() for call in calls] for calls in self.inside]
        return found

    @classmethod
    def of(cls, line: Mapping[str, Any]) -> "Call":
        """The call that has this form."""
        inside = tuple(tuple(cls.of(one) for one in calls) for calls in line.get("inside", ()))
        return cls(line["call"], line.get("on"), line.get("args", {}), line.get("new"), inside)

    def __str__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self.args.items())
        method = self.name.partition(".")[2] or self.name
        return f"{f'{self.new} = ' if self.new else ''}{f'{self.on}.' if self.on else ''}{method}({shown})"


def plain(value: Any, names: Mapping[int, str]) -> Any:
    """A value as JSON has it; ``names`` of things, by their ids.

    Raises
    ------
    TypeError
        There is no form for it.
    """
    if id(value) in names:
        return {"thing": names[id(value)]}
    if value is None or isinstance(value, (bool, str, float)):
        return value
    if isinstance(value, (int, np.integer)):
        return int(value) if -_EXACT < value < _EXACT else {"int": hex(value)}
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {"hex": bytes(value).hex()}
    if isinstance(value, np.ndarray):
        return _plain_array(value)
    if isinstance(value, (list, tuple)):
        return [plain(one, names) for one in value]
    if isinstance(value, slice):
        return {"slice": [plain(one, names) for one in (value.start, value.stop, value.step)]}
    if value is EPT or value is NPT:
        return {"format": "EPT" if value is EPT else "NPT"}
    raise TypeError(f"a {type(value).__name__} cannot be written down")


def _plain_array(array: np.ndarray[Any, Any]) -> Any:
    if array.dtype == np.uint8 and (array.ndim == 1 or array.shape[1:] == (_PAGE,)):
        return {"bits" if array.ndim == 1 else "pages": array.tobytes().hex()}
    if array.dtype == np.bool_ and array.ndim == 1:
        return {"flags": array.tolist()}
    if array.dtype.kind in "iu" and array.ndim == 1:
        return {"words": [plain(one, {}) for one in array.tolist()]}
    raise TypeError(f"an array of {array.dtype} and shape {array.shape} cannot be written down")


def value_of(form: Any, things: Mapping[str, Any]) -> Any:
    """The value that has a form; ``things`` by their names."""
    if isinstance(form, list):
        return [value_of(one, things) for one in form]
    if not isinstance(form, Mapping):
        return form
    ((kind, told),) = form.items()
    match kind:
        case "thing":
            return things[told]
        case "int":
            return int(told, 16)
        case "hex":
            return bytes.fromhex(told)
        case "bits":
            return np.frombuffer(bytes.fromhex(told), np.uint8).copy()
        case "pages":
            return np.frombuffer(bytes.fromhex(told), np.uint8).reshape(-1, _PAGE).copy()
        case "words":
            words = [value_of(one, things) for one in told]
            return np.array(words, np.int64 if min(words, default=0) < 0 else np.uint64)
        case "flags":
            return np.array(told, np.bool_)
        case "slice":
            return slice(*(value_of(one, things) for one in told))
        case "format":
            return {"EPT": EPT, "NPT": NPT}[told]
    raise ValueError(f"no value has the form {form!r}")
