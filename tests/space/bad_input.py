"""What a bad argument, a parameter and a public call are, as data; the values are in ``bad_arrays`` and ``bad_kinds``."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from npt import AddressOverflow, InvalidArgument
from tests.space.everything import Scene
from tests.space.odd import VAST, Broken

__all__ = ["BROKEN", "FAR", "LAST", "Bad", "Call", "Param", "far", "invalid", "told", "types"]

FAR, LAST = "far", "last"  # told by the parameter: past all ends; so near 2**64 that with a length it is past that, too


@dataclass(frozen=True)
class Bad:
    """One bad value: its name, itself or how to make it in a scene, and the error or where the parameter tells it."""

    name: str
    value: Any
    error: type[Exception] | str
    made: bool = False  # the value is a function of the scene


@dataclass(frozen=True)
class Param:
    """A parameter: its kind, a good value (or how to make it), and what its far values are answered with."""

    kind: str
    good: Any
    far: type[Exception] | None = None  # None: they are allowed
    last: type[Exception] | None = AddressOverflow
    but: dict[str, type[Exception] | None] = field(default_factory=dict)  # by name: another error, or allowed

    def error(self, bad: Bad) -> type[Exception] | None:
        """What a bad value is answered with here, or None if it is good here."""
        if bad.name in self.but:
            return self.but[bad.name]
        if isinstance(bad.error, type):
            return bad.error
        return self.far if bad.error == FAR else self.last

    def make_good(self, scene: Scene) -> Any:
        return self.good(scene) if callable(self.good) else self.good


@dataclass(frozen=True)
class Call:
    """A public call, as a function of the scene that gives what is called with keywords."""

    name: str
    of: Callable[[Any], Callable[..., Any]]
    params: dict[str, Param]


def types(*values: Any) -> tuple[Bad, ...]:
    return tuple(Bad(f"{type(value).__name__}:{_text(value)}"[:40].split(" at 0x")[0], value, TypeError) for value in values)


def invalid(*values: Any) -> tuple[Bad, ...]:
    return tuple(Bad(told(value), value, InvalidArgument) for value in values)


def far(*values: Any) -> tuple[Bad, ...]:
    return tuple(Bad(told(value), value, FAR) for value in values)


def told(value: Any) -> str:
    return _text(value) if isinstance(value, (int, list)) else f"{type(value).__name__}:{_text(value)}"


def _text(value: Any) -> str:
    try:
        return hex(value) if type(value) is int and -(2**200) < value < 2**200 else repr(value).replace("\n", "")
    except ValueError:
        return "-vast" if value in (-VAST, [-VAST]) else "vast"


BROKEN = Bad("broken", Broken(), ZeroDivisionError)
