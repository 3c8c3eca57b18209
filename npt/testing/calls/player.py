"""Plays calls on an implementation of the contract, and says what came of them in terms that implementations share.

Theory of operation
-------------------
The things that calls make have names, given by the calls; so a call says what it is about without an object in it. What comes
back is put in the form of ``npt.testing.calls.call``: a thing by its name, a host frame by object and page, because where an
object lies is the implementation's own business. Errors are told by class and number, not by their messages.

Guarantees: two implementations that keep the contract return equal outcomes for equal calls.
Relies on:  names are never used again.
"""

import warnings
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from npt.errors import Fault, NptError
from npt.testing.calls.call import Call, plain, value_of

__all__ = ["MAKES", "CallbackFailed", "Implementation", "NotThere", "Outcome", "Player"]

Outcome = dict[str, Any]
"""``ok``: the result, or ``error`` and what belongs to it; ``arrays`` that the call filled; ``callbacks`` that came."""

_ADDRESS, _PAGE_SHIFT = 0x000F_FFFF_FFFF_F000, 12
_FILLED = ("into", "out")
_WARNS = ("close", "destroy", "__exit__")  # of pages that were forgotten while they were held

# Calls that make something, and what.
MAKES = {
    "Reservoir": "Reservoir", "MmioObject": "MmioObject", "VmSpace": "VmSpace", "Vcpu": "Vcpu", "Vm": "Vm",
    "Reservoir.allocate": "RamObject", "Vm.alloc_memseg": "RamObject", "VmSpace.map_mmio": "MmioObject",
    "VmSpace.client": "VmClient", "VmClient.clone": "VmClient", "VmClient.hold": "VmPage", "VmClient.hold_many": "VmPages",
    "VmPage.readable": "view", "VmPage.writable": "view", "Vm.map_object": "Segment", "Vm.map_guest": "Segment",
    "Vm.vcpu": "Vcpu", "Vm.space": "VmSpace",
}  # fmt: skip


class Implementation(Protocol):
    """What makes the things of the contract: the module ``npt``, an ``Oracle``, or somebody else's."""

    @property
    def Reservoir(self) -> Any: ...
    @property
    def MmioObject(self) -> Any: ...
    @property
    def VmSpace(self) -> Any: ...
    @property
    def Vcpu(self) -> Any: ...
    @property
    def Vm(self) -> Any: ...


class CallbackFailed(Exception):
    """What a callback raises that is to fail."""


class NotThere(LookupError):
    """A call is about a thing that was never made, because the call that should have made it failed or is missing."""


class Player:
    """Things of one implementation, by name, and the calls on them.

    Parameters
    ----------
    implementation
        Where ``Reservoir``, ``VmSpace`` and so on are found: ``npt`` itself, an ``Oracle``, ...

    Attributes
    ----------
    things : dict of str to object
        All that was made and not forgotten, alive or dead, by name.
    kinds : dict of str to str
        Of what class each is, in the contract's words; ``"view"`` for an array of a page.
    """

    def __init__(self, implementation: Implementation) -> None:
        self.things: dict[str, Any] = {}
        self.kinds: dict[str, str] = {}
        self._implementation = implementation
        self.names: dict[int, str] = {}  # by id
        self._frames: dict[int, tuple[str, int]] = {}
        self._callbacks: list[list[Any]] = []
        self._inside: tuple[tuple[Call, ...], ...] = ()

    # -- playing ------------------------------------------------------------------------------------------------------

    def play(self, call: Call) -> Outcome:
        """Make a call and tell what came of it.

        Raises
        ------
        NotThere
            A thing that it is about was never made.
        Exception
            Anything that is neither an ``NptError`` nor a ``TypeError``: no implementation may raise that.
        """
        return self.attempt(call)[0]

    def answer(self, call: Call) -> Outcome:
        """The same, where a crash is an answer, too: one that no reference gives; and so is that a thing was never made."""
        try:
            return self.play(call)
        except NotThere:
            return {"not there": True}
        except Exception as error:
            return {"crash": repr(error), "of": id(self)}

    def attempt(self, call: Call) -> tuple[Outcome, Any]:
        """The same, and the result or the error itself."""
        target, arguments = self._resolve(call)
        outer = self._callbacks, self._inside
        self._callbacks, self._inside = [], call.inside
        try:
            outcome, result = self._outcome(call, target, arguments)
            if self._callbacks:
                outcome["callbacks"] = self._callbacks
        finally:
            self._callbacks, self._inside = outer
        filled = {name: self.tell(arguments[name]) for name in _FILLED if isinstance(arguments.get(name), np.ndarray)}
        return (outcome | {"arrays": filled} if filled else outcome), result

    def _resolve(self, call: Call) -> tuple[Any, dict[str, Any]]:
        try:
            target = self._implementation if call.on is None else self.things[call.on]
            return target, {name: self._argument(call, form) for name, form in call.args.items()}
        except KeyError as error:
            raise NotThere(f"{call}: there is no {error}") from None

    def _argument(self, call: Call, form: Any) -> Any:
        return self._callback(call) if form == {"callback": True} else value_of(form, self.things)

    def _outcome(self, call: Call, target: Any, arguments: dict[str, Any]) -> tuple[Outcome, Any]:
        try:
            result = self.do(call, target, arguments)
            return {"ok": self._tell_result(call, result)}, result
        except (NptError, TypeError, CallbackFailed) as error:
            return _tell_error(error), error.with_traceback(None)  # its frames would keep views alive until the next gc

    def do(self, call: Call, target: Any, arguments: dict[str, Any]) -> Any:
        """Make a call on what it is about, with its arguments; the result itself."""
        kind, _, method = call.name.rpartition(".")
        if call.name == "forget" or kind == "view":
            return self._do_own(call.name, call.on, target, **arguments)
        if method in _WARNS:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ResourceWarning)
                return _leave(target, **arguments) if method == "__exit__" else getattr(target, method)()
        found = getattr(target, method)
        return found(**arguments) if callable(found) else found

    def _do_own(self, name: str, on: str | None, target: Any, offset: int = 0, n: int = 0, data: bytes = b"") -> Any:
        """What is no call of the contract: with an array that somebody has, and dropping things."""
        if name == "view.read":
            return target[offset : offset + n].tobytes()
        if name == "view.write":
            target[offset : offset + len(data)] = np.frombuffer(data, np.uint8)
        else:
            self._forget(on or "")
        return None

    def _forget(self, name: str) -> None:
        """Drop a thing; the frames of an object keep their name until they are another's: it may still be mapped."""
        del self.names[id(self.things.pop(name))], self.kinds[name]

    # -- callbacks ----------------------------------------------------------------------------------------------------

    def _callback(self, call: Call) -> Callable[[int, int], object]:
        def invalidated(gpa: int, length: int) -> None:
            told: list[Any] = [call.on, gpa, length]
            n = len(self._callbacks)
            self._callbacks.append(told)
            for one in self._inside[n] if n < len(self._inside) else ():
                if one.name == "raise":
                    raise CallbackFailed
                told.append(self.play(one))

        return invalidated

    # -- telling ------------------------------------------------------------------------------------------------------

    def tell(self, value: Any) -> Any:
        """A value in the common form."""
        return plain(value, self.names)

    def name_of(self, thing: Any) -> str | None:
        """Name of a thing, if it has one."""
        return self.names.get(id(thing))

    def frame(self, pfn: int) -> Any:
        """A host frame in the common form."""
        owner = self._frames.get(int(pfn))
        return {"frame": list(owner) if owner else self.tell(int(pfn))}

    def entry(self, pte: int | None) -> Any:
        """A leaf entry in the common form: its frame apart from its other bits."""
        if not pte:
            return pte
        return {"bits of entry": self.tell(pte & ~_ADDRESS), **self.frame((pte & _ADDRESS) >> _PAGE_SHIFT)}

    def _tell_result(self, call: Call, result: Any) -> Any:
        method = call.name.rpartition(".")[2]
        if call.new is not None:
            return self._name(call, result)
        teller = _TELLERS.get(method)
        return self.tell(result) if teller is None else teller(self, result)

    def _name(self, call: Call, thing: Any) -> Any:
        name = self.names.get(id(thing))
        if name is None and call.new is not None:
            name = call.new
            self.things[name], self.names[id(thing)], self.kinds[name] = thing, name, MAKES[call.name]
            if self.kinds[name] == "RamObject":
                self._frames |= {thing.pfn_at(offset): (name, k) for k, offset in enumerate(range(0, thing.length, 0x1000))}
        return {"thing": name}


def _tell_error(error: Exception) -> Outcome:
    told: Outcome = {"error": type(error).__name__}
    if isinstance(error, NptError):
        told["errno"] = error.errno
    if isinstance(error, Fault):
        told["code"] = int(error.code)
    return told


def _leave(target: Any, failed: bool = False) -> Any:
    """Leave the context of a thing, as if its block had failed or not."""
    if not failed:
        return target.__exit__(None, None, None)
    error = CallbackFailed()
    return target.__exit__(CallbackFailed, error, None)


def _exit(player: Player, left: Any) -> Any:
    code = None if left.code is None else int(left.code)
    return [left.reason.name, left.completed, player.tell(left.gpa), code, player.tell(left.qualification)]


def _mappings(player: Player, mappings: Any) -> Any:
    return [[m.gpa, m.length, player.name_of(m.obj), m.offset, int(m.prot)] for m in mappings]


def _frames(player: Player, pfns: Any) -> Any:
    return [player.frame(pfn) for pfn in pfns.tolist()]


def _own(player: Player, thing: Any) -> Any:
    return None if thing is None else {"thing": player.name_of(thing)}


_TELLERS: dict[str, Callable[[Player, Any], Any]] = {
    "translate": _frames,
    "pfns": _frames,
    "pfn": Player.frame,
    "pfn_at": Player.frame,
    "pte": Player.entry,
    "mappings": _mappings,
    "next": _own,
    "memseg": _own,
    "run": _exit,
    "step": _exit,
    "usage": lambda player, usage: list(usage),
    "counters": lambda player, counters: counters.faults,
    "table_root": lambda player, root: root & 0xFFF,
    "prot": lambda player, prot: int(prot),
    "attr": lambda player, attr: int(attr),
    "format": lambda player, form: form.name,
    "gpas": lambda player, gpas: [player.tell(one) for one in gpas.tolist()],
    "reservoir": _own,
    "__enter__": _own,
}
