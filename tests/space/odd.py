"""Things that nobody wants as an argument: they lie, fail, or are none of what is asked for."""

from typing import Any

import numpy as np

from npt import ExitReason

__all__ = ["NEVER", "ODD", "SOME", "VAST", "Broken", "Deaf", "Half", "Liar", "Matrix", "Mute", "TextIndex", "closed", "masked"]

PAGE = 0x1000


class Odd:
    """Nothing that anybody wants."""

    def __repr__(self) -> str:
        return "odd"


class Liar(int):
    """A number that says whatever one wants to hear: that it is in range, aligned, and another one."""

    def _agree(self, other: object) -> bool:
        return True

    __lt__ = __le__ = __gt__ = __ge__ = _agree

    def __and__(self, other: object) -> int:
        return 0

    def __index__(self) -> int:
        return PAGE

    def __repr__(self) -> str:
        return f"liar {int.__repr__(self)}"


class Broken:
    """What fails when it is asked for its number, its flag or its array."""

    def _fail(self, *arguments: object, **named: object) -> Any:
        raise ZeroDivisionError("what is asked fails")

    __index__ = __float__ = __array__ = __buffer__ = __bool__ = __len__ = _fail

    def __repr__(self) -> str:
        return "broken"


class Half:
    """A number for ``int`` and ``float``, and no index."""

    def __int__(self) -> int:
        return PAGE

    def __float__(self) -> float:
        return 1.0

    def __repr__(self) -> str:
        return "half a number"


class TextIndex:
    """An index that is a text."""

    def __index__(self) -> Any:
        return "4096"

    def __repr__(self) -> str:
        return "text as index"


class Matrix(np.ndarray[Any, Any]):
    """An array that is no plain one."""


class Mute(np.ndarray[Any, Any]):
    """An array that no ufunc gets anything from."""

    def __array_ufunc__(self, *arguments: object, **named: object) -> Any:
        raise ZeroDivisionError("no ufunc")


class Deaf(Mute):
    """An array with which nothing can be done."""

    def __array_function__(self, *arguments: object, **named: object) -> Any:
        raise ZeroDivisionError("no function")


def closed() -> memoryview:
    view = memoryview(bytes(8))
    view.release()
    return view


def masked(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.ma.masked_array(array, mask=np.ones(array.shape, bool))


ODD = Odd()
VAST = 10**5000  # which Python does not write in decimal digits
SOME = (None, "x", ODD)
# Nothing of these is a number, a flag, an array, bytes or a handle.
NEVER: tuple[Any, ...] = (
    {}, {4096: 4096}, {4096}, frozenset(), ..., NotImplemented, int, len, ExitReason.DONE, (n for n in (4096,)), object(),
)  # fmt: skip
