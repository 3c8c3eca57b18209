"""Records live calls as a trace.

Theory of operation
-------------------
A ``Recorder`` is used in place of the module ``npt``. What it makes are stand-ins: each call of one is played as a ``Call`` on
the real thing, what came of it is written down, and the real result goes back, or a stand-in for it if it is a thing itself.
A call that a callback makes is written down as part of the call during which the callback came.

Arrays of a page's bytes are handed out as they are: what is read and written through them is memory, not calls. A trace shows
bytes where they are read by calls: ``client.read``, ``pages.gather``, a segment.
"""

import weakref
from collections import deque
from collections.abc import Callable
from inspect import Parameter, signature
from typing import IO, Any, Self

import numpy as np

import npt
from npt.testing.calls.call import Call, plain
from npt.testing.calls.player import MAKES, CallbackFailed, Implementation, Outcome, Player
from npt.testing.calls.trace import TraceWriter

__all__ = ["LETTERS", "Recorder"]

# First letters of the names of things.
LETTERS = {
    "Reservoir": "r", "RamObject": "o", "MmioObject": "d", "VmSpace": "s", "VmClient": "c", "VmPage": "p", "VmPages": "b",
    "Vcpu": "v", "Vm": "m", "Segment": "g", "view": "w",
}  # fmt: skip
_NOT_CALLS = {"table", "explain", "buffer", "spans", "free_spans", "destroyed"}  # looks at what an implementation is made of

Function = Callable[[int, int], object]


class Recorder:
    """An implementation that writes down all calls on the things that it makes.

    Parameters
    ----------
    file
        Text file, open for writing; each line is written when its call is over.
    implementation
        Whose calls are recorded.
    header
        What else the trace's first line is to say.

    Notes
    -----
    For one thread at a time: a trace is a row of calls.

    Examples
    --------
    >>> import io
    >>> from npt import Prot
    >>> from npt.testing import Recorder
    >>> npt = Recorder(io.StringIO(), made_by="a doctest")
    >>> reservoir = npt.Reservoir(1 << 20)
    >>> with npt.VmSpace(1 << 30, reservoir=reservoir) as space:
    ...     space.map(reservoir.allocate(8192), 0x1000, 8192, Prot.RW)
    ...     space.populate(0x1000, 8192)
    2
    """

    def __init__(self, file: IO[str], implementation: Implementation = npt, **header: Any) -> None:
        self._writer = TraceWriter(file, **header)
        self._implementation = implementation
        self._player = _LivePlayer(implementation)
        self._stand_ins: dict[str, StandIn] = {}
        self._made = dict.fromkeys(LETTERS.values(), 0)

    def __getattr__(self, name: str) -> Any:
        if name not in MAKES:
            raise AttributeError(f"a recorder makes {', '.join(one for one in MAKES if '.' not in one)}; not {name}")
        method = getattr(self._implementation, name)
        return lambda *args, **kwargs: self.call(Call(name), arguments_of(method, args, kwargs))

    def call(self, what: Call, arguments: dict[str, Any]) -> Any:
        """Internal: make a call and write it down."""
        callback = arguments.get("callback")
        if callable(callback):
            self._player.function, arguments["callback"] = callback, True
        args = {name: self._form(name, value) for name, value in arguments.items()}
        self._player.live = {name: value for name, value in arguments.items() if isinstance(value, np.ndarray)}
        outcome, result = self._record(Call(what.name, what.on, args, self._new_name(what.name)))
        if "error" in outcome:
            raise result.__cause__ if type(result) is CallbackFailed and result.__cause__ else result
        return self.wrapped(result)

    def _form(self, name: str, value: Any) -> Any:
        if name == "callback" and value is True:
            return {"callback": True}
        return plain(value._thing if isinstance(value, StandIn) else value, self._player.names)

    def _record(self, call: Call) -> tuple[Outcome, Any]:
        """Make a call; write it down when it is over, with the calls that callbacks made during it."""
        inside: list[list[Call]] = []
        while self._player.gone and not self._player.inside:
            self._writer.add(Call("view.drop", self._player.gone.popleft()), {"ok": None})
        self._player.inside.append(inside)
        try:
            outcome, result = self._player.attempt(call)
        finally:
            self._player.inside.pop()
        call = Call(call.name, call.on, call.args, call.new, tuple(map(tuple, inside)))
        if self._player.inside:
            self._player.inside[-1][-1].append(call)
            self._player.told[-1].append(outcome)
        else:
            self._writer.add(call, outcome)
        return outcome, result

    def _new_name(self, name: str) -> str | None:
        if name not in MAKES:
            return None
        letter = LETTERS[MAKES[name]]
        self._made[letter] += 1
        return f"{letter}{self._made[letter] - 1}"

    def wrapped(self, result: Any) -> Any:
        """Internal: a result with a stand-in for each thing in it."""
        if isinstance(result, tuple) and all(hasattr(one, "_replace") and hasattr(one, "obj") for one in result):  # mappings
            return tuple(one._replace(obj=self.wrapped(one.obj)) for one in result)
        name = self._player.names.get(id(result))
        if name is None:
            return result
        if name not in self._stand_ins:
            self._stand_ins[name] = StandIn(self, name, self._player.kinds[name], result)
        return self._stand_ins[name]


class _LivePlayer(Player):
    """Plays calls whose callbacks are somebody's functions."""

    def __init__(self, implementation: Implementation) -> None:
        super().__init__(implementation)
        self.function: Function = lambda gpa, length: None  # of the next ``on_invalidate``
        self.inside: list[list[list[Call]]] = []  # by call under way, by callback: calls that were made in it
        self.told: list[list[Any]] = []  # by callback under way
        self.gone: deque[str] = deque()  # names of views that nobody has any more
        self._views: dict[str, weakref.ref[Any]] = {}
        self.live: dict[str, Any] = {}  # arrays of the next call: those that it fills are the caller's

    def _resolve(self, call: Call) -> tuple[Any, dict[str, Any]]:
        live, self.live = self.live, {}
        target, arguments = super()._resolve(call)
        return target, arguments | live

    def _name(self, call: Call, thing: Any) -> Any:
        """A view is its caller's: kept here, it would keep its frame in quarantine, and the reservoir open."""
        name = call.new
        if name is None or MAKES[call.name] != "view":
            return super()._name(call, thing)
        gone = self.gone
        self._views[name] = weakref.ref(thing, lambda _: gone.append(name))
        return {"thing": name}

    def _callback(self, call: Call) -> Function:
        function = self.function

        def invalidated(gpa: int, length: int) -> None:
            self.inside[-1].append([])
            self.told.append([call.on, gpa, length])
            self._callbacks.append(self.told[-1])
            try:
                function(gpa, length)
            except BaseException as error:
                self.inside[-1][-1].append(Call("raise"))
                raise CallbackFailed from error
            finally:
                self.told.pop()

        return invalidated


class StandIn:
    """Stands for one thing that a recorder made; its calls are written down."""

    def __init__(self, recorder: Recorder, name: str, kind: str, thing: Any) -> None:
        self._recorder, self._name, self._kind, self._thing = recorder, name, kind, thing

    def __repr__(self) -> str:
        return f"<{self._name}, {self._thing!r}>"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in _NOT_CALLS:
            return getattr(self._thing, name)
        if not hasattr(type(self._thing), name):  # no call, but what it was made with
            return self._recorder.wrapped(getattr(self._thing, name))
        return self._called(name)

    def _called(self, name: str) -> Any:
        """What a property returns, or a method that will be recorded."""
        found, what = getattr(type(self._thing), name), Call(f"{self._kind}.{name}", self._name)
        if not callable(found):
            return self._recorder.call(what, {})
        method = found.__get__(self._thing)
        return lambda *args, **kwargs: self._recorder.call(what, arguments_of(method, args, kwargs))

    def __enter__(self) -> Self:
        self._called("__enter__")()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._recorder.call(Call(f"{self._kind}.__exit__", self._name), {"failed": True} if error is not None else {})

    def __len__(self) -> int:
        return int(self._called("__len__")())

    def __getitem__(self, key: Any) -> Any:
        return self._called("__getitem__")(key)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._called("__setitem__")(key, value)


def arguments_of(method: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Arguments by name."""
    found = signature(method)
    if any(one.kind in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD) for one in found.parameters.values()):
        raise TypeError(f"{method} takes any arguments: it cannot be written down by their names")
    return dict(found.bind(*args, **kwargs).arguments)
