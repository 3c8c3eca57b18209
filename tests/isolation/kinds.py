"""What can be made of a view, and be kept: each with the way back to the bytes.

``derive`` makes it from an array of one page. ``look`` gives an array of some or all of the bytes that it reaches: of what was
made of a view, and of what was made alike of an array that says what should be there.
"""

import functools
import pickle
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from npt._types import U8Array
from tests.isolation.canary import PAGE

__all__ = ["COPIES", "KINDS", "WHOLE", "Kind"]


class Kind(NamedTuple):
    """A way to keep a view."""

    derive: Callable[[Any], Any]
    look: Callable[[Any], Any] = np.asarray
    collects: bool = False  # whether it takes the collector to be rid of it


class _Own(np.ndarray[Any, np.dtype[np.uint8]]):
    """A class of the user's."""


class _Slot:
    """An attribute of something."""

    __slots__ = ("view",)

    def __init__(self, view: U8Array) -> None:
        self.view = view


def _closure(view: U8Array) -> Callable[[], U8Array]:
    return lambda: view


def _generator(view: U8Array) -> Iterator[U8Array]:
    def generate() -> Iterator[U8Array]:
        while True:
            yield view

    made = generate()
    next(made)
    return made


def _fail(view: U8Array) -> None:
    raise ValueError(view.size)


def _traceback(view: U8Array) -> Exception:
    try:
        _fail(view)
    except ValueError as error:
        return error
    raise AssertionError


def _seen_in(error: Exception) -> Any:
    trace = error.__traceback__
    assert trace is not None
    assert trace.tb_next is not None
    return trace.tb_next.tb_frame.f_locals["view"]


def _cycle(view: U8Array) -> list[Any]:
    made: list[Any] = [view]
    made.append(made)
    return made


def _out_of_band(view: U8Array) -> tuple[bytes, list[pickle.PickleBuffer]]:
    buffers: list[pickle.PickleBuffer] = []
    return pickle.dumps(view, protocol=5, buffer_callback=buffers.append), buffers


def _nditer(view: U8Array) -> np.nditer:
    flags: Any = [["readwrite" if view.flags.writeable else "readonly"]]
    return np.nditer(view, op_flags=flags)


def _as_bytes(kept: Any) -> Any:
    return np.frombuffer(kept, np.uint8)


KINDS: dict[str, Kind] = {
    "itself": Kind(lambda view: view),
    "slice": Kind(lambda view: view[8:16]),
    "slice of a slice": Kind(lambda view: view[8:][::2]),
    "view": Kind(lambda view: view.view()),
    "other type": Kind(lambda view: view.view(np.uint64)),
    "reshaped": Kind(lambda view: view.reshape(64, 64)),
    "transposed": Kind(lambda view: view.reshape(64, 64).T),
    "reversed": Kind(lambda view: view[::-1]),
    "own class": Kind(lambda view: view.view(_Own)),
    "masked": Kind(lambda view: np.ma.MaskedArray(view, copy=False), np.ma.getdata),
    "broadcast": Kind(lambda view: np.broadcast_to(view, (3, PAGE))),
    "as_strided": Kind(lambda view: np.lib.stride_tricks.as_strided(view, (8, 512), (512, 1))),
    "sliding window": Kind(lambda view: np.lib.stride_tricks.sliding_window_view(view, 8)),
    "split": Kind(lambda view: np.split(view, 4)[1]),
    "flat": Kind(lambda view: view.flat, lambda kept: kept.base),
    "nditer": Kind(_nditer, lambda kept: kept.operands[0]),
    "memoryview": Kind(lambda view: memoryview(view)),
    "memoryview slice": Kind(lambda view: memoryview(view)[8:24]),
    "memoryview of another type": Kind(lambda view: memoryview(view).cast("Q")),
    "memoryview for reading": Kind(lambda view: memoryview(view).toreadonly()),
    "memoryview of a memoryview": Kind(lambda view: memoryview(memoryview(view)[8:])[::2]),
    "frombuffer": Kind(lambda view: np.frombuffer(view, np.uint32)),
    "frombuffer of a memoryview": Kind(lambda view: np.frombuffer(memoryview(view)[8:16], np.uint32)),
    "ndarray over it": Kind(lambda view: np.ndarray((64,), np.uint8, buffer=view, offset=64)),
    "dlpack": Kind(lambda view: np.from_dlpack(view) if view.flags.writeable else view),
    "PickleBuffer": Kind(pickle.PickleBuffer, _as_bytes),
    "pickled out of band": Kind(_out_of_band, lambda kept: pickle.loads(kept[0], buffers=kept[1])),
    "closure": Kind(_closure, lambda kept: kept()),
    "partial": Kind(lambda view: functools.partial(np.asarray, view), lambda kept: kept()),
    "bound method": Kind(lambda view: view.any, lambda kept: kept.__self__),
    "generator": Kind(_generator, next),
    "traceback": Kind(_traceback, _seen_in),
    "slot": Kind(_Slot, lambda kept: kept.view),
    "array of objects": Kind(lambda view: np.array([view, None], object), lambda kept: kept[0]),
    "cycle": Kind(_cycle, lambda kept: kept[0], collects=True),
}

WHOLE = (
    "itself",
    "view",
    "other type",
    "reshaped",
    "memoryview",
    "frombuffer",
    "closure",
    "traceback",
    "as_strided",
    "PickleBuffer",
)
"""Those that show whole words in their order."""

COPIES: dict[str, Callable[[Any], Any]] = {
    "copy": lambda view: view.copy(),
    "bytes": lambda view: view.tobytes(),
    "list": lambda view: view.tolist(),
    "pickle": lambda view: pickle.loads(pickle.dumps(view)),
    "sum with zero": lambda view: view + np.uint8(0),
    "fancy index": lambda view: view[[*range(PAGE)]],
}
"""Those that are bytes of their own."""
